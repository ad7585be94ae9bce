"""The words that numbers of the model stand for: names, mailboxes, ids, replies.

All text of a block stands in one pool of bytes, `words` first, which are the same in every block. What a
session, message or delivery needs beyond them is put behind them once, and columns hold spans
(`start << 32 | length`), from which both the lines and the tables are made. Only documentation names and
addresses (RFC 2606, RFC 5737, RFC 6761).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope.correlate.layout import NULL
from logscope.engine import kernel
from logscope.grammar.machine.write import put_address, put_bytes, put_hexadecimal, put_number
from logscope.simulate.chance import trait
from logscope.simulate.layout import *
from logscope.simulate.site import BACKENDS, FRONTENDS, Options

Matrix = NDArray[np.int64]
Ints = NDArray[np.int64]
Pool = NDArray[np.uint8]

SENDER_DOMAINS = ("mail.example", "sender.example", "example.net", "news.example", "lists.example.org")
DOMAIN = "example.com"
INNER_DOMAIN = "example.org"
INNER = ("inner.example.org", "172.20.5.30")
TLS_PROTOCOL = "TLSv1.3"
TLS_CIPHER = "TLS_AES_256_GCM_SHA384"
DNSBL = ("zen.dnsbl.example", "bl.list.example")
DESTINATIONS = 40
"""Next hops of the users' mail; the first few get most of it."""

SERVICES = (
    "haproxy", "postfix/postscreen", "postfix/dnsblog", "postfix/smtpd", "postfix/submission/smtpd",
    "postfix/cleanup", "postfix/qmgr", "postfix/virtual", "postfix/relay/smtp", "postfix/smtp",
    "postfix/bounce",
)  # fmt: skip
"""Who logs."""

ESCAPES = np.frombuffer(b"abtnvfr", np.uint8)
"""Letters of the bytes from 7 to 13."""

SPAN = 32
LENGTH = (1 << SPAN) - 1
ROOM_SESSION = 640
ROOM_MESSAGE = 160
ROOM_DELIVERY = 320
"""Bytes that the texts of one row need at most."""

_WORDS = (
    "unknown", "mx", "host", ".dyn.example", "user", "@", "nobody", "victim", "box", "anyone", "person",
    "postmaster", "elsewhere.example", DOMAIN, INNER_DOMAIN, ".", "<", ">: ", "virtual", INNER[0],
    "delivered to maildir", "250 2.0.0 Ok: queued as ", "F", "host ", "[", "]", " said: ",
    " (in reply to RCPT TO command)", " (in reply to MAIL FROM command)", "450 4.2.0 <", "550 5.1.1 <",
    "421 4.7.0 Try again later", ">: Recipient address rejected: Greylisted",
    ">: Recipient address rejected: User unknown", "connect to ", "]:25: Connection timed out",
    "Recipient address rejected: User unknown in virtual mailbox table", "Relay access denied",
    "Helo command rejected: need fully-qualified hostname", "Sender address rejected: Domain not found",
    "Service unavailable; client [", "] blocked using " + DNSBL[0], "Service currently unavailable",
    "Recipient address rejected: Temporary lookup failure", "Client host rejected: Access denied",
    "host_name", "nowhere.invalid", "partner", ".example", " ehlo=", " starttls=", " auth=", " mail=",
    " rcpt=", " data=", " quit=", " unknown=", "/", "<NOSRV>",
)  # fmt: skip
(
    W_UNKNOWN, W_MX, W_HOST, W_DYN, W_USER, W_AT, W_NOBODY, W_VICTIM, W_BOX, W_ANYONE, W_PERSON,
    W_POSTMASTER, W_ELSEWHERE, W_DOMAIN, W_INNER_DOMAIN, W_DOT, W_OPEN, W_CLOSE, W_VIRTUAL, W_INNER,
    W_MAILDIR, W_QUEUED_AS, W_F, W_HOST_SPACE, W_BRACKET, W_BRACKET_END, W_SAID,
    W_TO_RCPT, W_TO_MAIL, W_450, W_550,
    W_421, W_GREYLISTED,
    W_USER_UNKNOWN, W_CONNECT_TO, W_TIMED_OUT,
    W_NO_USER, W_RELAY_DENIED,
    W_HELO, W_SENDER,
    W_LISTED, W_BLOCKED, W_UNAVAILABLE,
    W_LOOKUP, W_DENIED,
    W_HOST_NAME, W_NOWHERE, W_PARTNER, W_EXAMPLE, W_EHLO, W_STARTTLS, W_AUTH, W_MAIL, W_RCPT,
    W_DATA, W_QUIT, W_NOT_KNOWN, W_SLASH, W_NO_SERVER,
    W_DOMAINS,
) = range(60)  # fmt: skip
W_FRONTENDS = W_DOMAINS + len(SENDER_DOMAINS)
W_BACKENDS = W_FRONTENDS + len(FRONTENDS)
W_TERMINATIONS = W_BACKENDS + len(BACKENDS)
W_SERVICES = W_TERMINATIONS + len(TERMINATIONS)
W_HOSTS = W_SERVICES + len(SERVICES)
"""Here the whole names of the servers begin, then those of the balancers, and then their first parts."""


@dataclass(frozen=True)
class Words:
    """Text that is the same in every block.

    Attributes:
        data: the beginning of every pool.
        spans: of each word.
    """

    data: Pool
    spans: Ints


def words(options: Options) -> Words:
    """The words of a site."""
    hosts = (*options.servers, *options.balancers, *options.inner)
    names = [f"{host.name}.{DOMAIN}" for host in hosts] + [host.name for host in hosts]
    return _words([*_WORDS, *SENDER_DOMAINS, *FRONTENDS, *BACKENDS, *TERMINATIONS, *SERVICES, *names])


def _words(texts: Iterable[str]) -> Words:
    data = bytearray()
    spans = []
    for text in texts:
        spans.append(len(data) << SPAN | len(text.encode()))
        data += text.encode()
    return Words(np.frombuffer(bytes(data), np.uint8).copy(), np.array(spans))


def user(number: int) -> str:
    """A login name."""
    return f"user{number}@{DOMAIN}"


def to_arrow(pool: Pool, spans: Ints, there: NDArray[np.bool_] | None, run: object) -> pa.Array:
    """string[n] of spans, null where there is none; `run` is `gather`, compiled or not."""
    absent = spans == NULL if there is None else (spans == NULL) | ~there
    lengths = np.where(absent, 0, spans & LENGTH)
    offsets = np.zeros(len(spans) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    data = np.empty(int(offsets[-1]), np.uint8)
    run(pool, spans, offsets, data)  # type: ignore[operator]
    mask = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
    return pa.StringArray.from_buffers(len(spans), pa.py_buffer(offsets), pa.py_buffer(data), mask)


@kernel
def gather(pool: Pool, spans: Ints, offsets: NDArray[np.int32], out: Pool) -> None:
    """Copy each span to its place; those of no length are left out."""
    for i in range(spans.shape[0]):
        at = offsets[i]
        length = offsets[i + 1] - at
        if length > 0:
            start = spans[i] >> SPAN
            for k in range(length):
                out[at + k] = pool[start + k]


# --- putting text together ----------------------------------------------------------------------------------
# A text is first a list of items, in `t` behind their count, and then written at one place: words, numbers …
# The alternative, a call for each word, takes the compiler three times as long.

I_SPAN, I_NUMBER, I_HEX, I_ADDRESS, I_CAPITAL, I_BYTES = range(6)
MOST_ITEMS = 64


@kernel
def add(t: Ints, kind: int, value: int, more: int) -> None:
    """One item: its kind and two numbers."""
    n = t[0]
    t[0] = n + 1
    t[3 * n + 1] = kind
    t[3 * n + 2] = value
    t[3 * n + 3] = more


@kernel
def add_span(t: Ints, span: int) -> None:
    add(t, I_SPAN, span, 0)


@kernel
def add_number(t: Ints, number: int) -> None:
    add(t, I_NUMBER, number, 0)


@kernel
def write(t: Ints, pool: Pool) -> int:
    """Write the items at the end of the pool's text, which the last word of `t` holds; returns their span."""
    start = t[t.shape[0] - 1]
    at = start
    for n in range(t[0]):
        kind = t[3 * n + 1]
        value = t[3 * n + 2]
        more = t[3 * n + 3]
        if kind == I_SPAN:
            at = put_bytes(pool, at, pool, value >> SPAN, value & LENGTH)
        elif kind == I_NUMBER:
            at = put_number(pool, at, value)
        elif kind == I_HEX:
            at = put_hexadecimal(pool, at, value)
        elif kind == I_ADDRESS:
            at = put_address(pool, at, value, more)
        elif kind == I_CAPITAL:
            for place in range(more):
                digit = (value >> (4 * (more - 1 - place))) & 15
                pool[at + place] = 48 + digit if digit < 10 else 55 + digit
            at += more
        else:
            for place in range(more):
                at = escaped(pool, at, (value >> (8 * (more - 1 - place))) & 255)
    t[0] = 0
    t[t.shape[0] - 1] = at
    return int(start << SPAN | (at - start))


@kernel
def put_all(s: Matrix, m: Matrix, d: Matrix, pool: Pool, t: Ints, w: Ints, front: Ints) -> int:
    """Put the texts of all rows behind the words; returns the end.

    Args:
        t: room for items; the last word says where the words end.
        w: spans of the words.
        front: of each session the word that is the name of the balancer in front of its server.
    """
    t[0] = 0
    for i in range(s.shape[1]):
        session_texts(s, i, pool, t, w, front[i])
    for k in range(m.shape[1]):
        message_texts(s, m, k, pool, t, w)
    for k in range(d.shape[1]):
        delivery_texts(m, d, k, pool, t, w)
    return int(t[t.shape[0] - 1])


@kernel
def session_texts(s: Matrix, i: int, pool: Pool, t: Ints, w: Ints, front: int) -> None:
    """Host name and helo of the client, its login, and what it was refused for."""
    for column in (S_LOGIN, S_FROM, S_TO, S_REASON, S_HEADER_TEXT, S_COUNTERS):
        s[column, i] = NULL
    client = s[S_CLIENT, i]
    if is_named(client):
        add_span(t, w[W_MX])
        add_number(t, client)
        add_span(t, w[W_DOT])
        add_span(t, w[W_DOMAINS + client % 5])
        s[S_HELO, i] = write(t, pool)
        s[S_NAME, i] = s[S_HELO, i]
    else:
        add_span(t, w[W_HOST])
        add_number(t, client % 9973)
        add_span(t, w[W_DYN])
        s[S_HELO, i] = write(t, pool)
        s[S_NAME, i] = w[W_UNKNOWN]
    if s[S_HEADER, i] != H_PASSED:
        s[S_NAME, i] = w[front]
    if s[S_HEADER, i] == H_UNEXPECTED:
        add_header(s, i, t)
        s[S_HEADER_TEXT, i] = write(t, pool)
    if s[S_USER, i] >= 0:
        add_mailbox(t, w[W_USER], s[S_USER, i], w[W_AT], w[W_DOMAIN])
        s[S_LOGIN, i] = write(t, pool)
    if s[S_REJECT, i] != R_NOTHING:
        refusal(s, i, pool, t, w)
    if s[S_SMTPD_AT, i] != NULL:
        counters(s, i, t, w)
        s[S_COUNTERS, i] = write(t, pool)


@kernel
def is_named(client: int) -> bool:
    """Whether the client's address resolves to a name, and that to the address."""
    return trait(client, 5) % 10 >= 4


@kernel
def add_mailbox(t: Ints, user: int, number: int, at: int, domain: int) -> None:
    add_span(t, user)
    add_number(t, number)
    add_span(t, at)
    add_span(t, domain)


@kernel
def add_header(s: Matrix, i: int, t: Ints) -> None:
    """What follows the signature of a PROXY header of version 2 (proxy-protocol.txt, section 2.2)."""
    four = s[S_HI, i] == 0 and s[S_LO, i] >> 32 == 0xFFFF
    add(
        t, I_BYTES, 0x21110000 + 12 if four else 0x21210000 + 36, 4
    )  # PROXY, a stream over IPv4 or IPv6, length
    if four:
        add(t, I_BYTES, s[S_LO, i], 4)
        add(t, I_BYTES, 0xCB00_7119, 4)  # 203.0.113.25
    else:
        add(t, I_BYTES, s[S_HI, i], 8)
        add(t, I_BYTES, s[S_LO, i], 8)
        add(t, I_BYTES, 0x2001_0DB8_0000_0000, 8)
        add(t, I_BYTES, 0x25, 8)
    add(t, I_BYTES, s[S_PORT, i] << 16 | 25, 4)


@kernel
def escaped(pool: Pool, at: int, byte: int) -> int:
    """One byte as Postfix's escape() writes it: C escapes, octal digits for what cannot be printed."""
    letter = 0
    if byte == 92:
        letter = 92
    elif 7 <= byte <= 13:
        letter = ESCAPES[byte - 7]
    if letter:
        pool[at] = 92
        pool[at + 1] = letter
        return at + 2
    if 32 <= byte < 127:
        pool[at] = byte
        return at + 1
    pool[at] = 92
    pool[at + 1] = 48 + (byte >> 6)
    pool[at + 2] = 48 + ((byte >> 3) & 7)
    pool[at + 3] = 48 + (byte & 7)
    return at + 4


@kernel
def refusal(s: Matrix, i: int, pool: Pool, t: Ints, w: Ints) -> None:
    """Sender, recipient and reason of a refused command."""
    client = s[S_CLIENT, i]
    kind = s[S_REJECT, i]
    domain = W_NOWHERE if kind == R_SENDER else W_DOMAINS + client % 5
    add_mailbox(t, w[W_USER], client % 1013, w[W_AT], w[domain])
    s[S_FROM, i] = write(t, pool)
    mailbox = W_NOBODY if kind == R_UNKNOWN_USER else W_VICTIM if kind == R_RELAY_DENIED else W_BOX
    domain = W_ELSEWHERE if kind == R_RELAY_DENIED else W_DOMAIN
    add_mailbox(t, w[mailbox], (client + s[S_NUMBER, i]) % 997, w[W_AT], w[domain])
    s[S_TO, i] = write(t, pool)
    if kind == R_HELO:
        s[S_HELO, i] = w[W_HOST_NAME]
    if kind == R_LISTED:
        add_span(t, w[W_LISTED])
        add(t, I_ADDRESS, s[S_HI, i], s[S_LO, i])
    elif kind != R_UNAVAILABLE:
        add_span(t, w[W_OPEN])
        if kind == R_POLICY:
            add_span(t, s[S_NAME, i])
            add_span(t, w[W_BRACKET])
            add(t, I_ADDRESS, s[S_HI, i], s[S_LO, i])
            add_span(t, w[W_BRACKET_END])
        else:
            add_span(t, s[S_HELO, i] if kind == R_HELO else s[S_FROM, i] if kind == R_SENDER else s[S_TO, i])
        add_span(t, w[W_CLOSE])
    add_span(t, w[REASONS[kind]])
    s[S_REASON, i] = write(t, pool)


REASONS = np.array(
    [
        W_UNKNOWN, W_NO_USER, W_RELAY_DENIED, W_HELO, W_SENDER, W_BLOCKED, W_UNAVAILABLE, W_LOOKUP, W_DENIED,
    ]
)  # fmt: skip
"""The end of what is said, by R_…."""


@kernel
def counters(s: Matrix, i: int, t: Ints, w: Ints) -> None:
    """smtpd's counters at disconnect, and how many commands were accepted, and given."""
    s[S_COMMANDS_OK, i] = 0
    s[S_COMMANDS, i] = 0
    behaviour = s[S_BEHAVIOUR, i]
    if s[S_HEADER, i] == H_UNEXPECTED:
        counted(s, i, t, w, W_EHLO, 1, 1)
        counted(s, i, t, w, W_QUIT, 1, 1)
        counted(s, i, t, w, W_NOT_KNOWN, 0, 1)
        return
    if s[S_HEADER, i] == H_MISSING or behaviour == B_LOST_CONNECT:
        return
    tls = s[S_TLS, i]
    counted(s, i, t, w, W_EHLO, 1 + tls, 1 + tls)
    if tls:
        counted(s, i, t, w, W_STARTTLS, 1, 1)
    if behaviour == B_BAD_PASSWORD:
        counted(s, i, t, w, W_AUTH, 0, s[S_REJECT_COUNT, i])
    elif s[S_USER, i] >= 0:
        counted(s, i, t, w, W_AUTH, 1, 1)
    messages = max(s[S_MESSAGES, i], 1)
    refused = behaviour != B_DELIVERED and (behaviour <= B_SENDER_REJECTED or behaviour == B_TOO_MANY_ERRORS)
    lost = behaviour in (B_LOST_RCPT, B_LOST_DATA)
    if behaviour == B_DELIVERED or refused or lost:
        counted(s, i, t, w, W_MAIL, messages, messages)
        taken = s[S_RECIPIENTS, i] if behaviour == B_DELIVERED else 1 if lost else 0
        counted(s, i, t, w, W_RCPT, taken, s[S_REJECT_COUNT, i] if refused else taken)
    if behaviour in (B_DELIVERED, B_LOST_DATA):
        counted(s, i, t, w, W_DATA, messages if behaviour == B_DELIVERED else 0, messages)
    if behaviour <= B_SENDER_REJECTED or behaviour in (B_QUIT, B_BAD_PASSWORD, B_HOARD):
        counted(s, i, t, w, W_QUIT, 1, 1)


@kernel
def counted(s: Matrix, i: int, t: Ints, w: Ints, what: int, accepted: int, total: int) -> None:
    """One counter: ` name=n`, or ` name=n/m` where some were not accepted."""
    add_span(t, w[what])
    add_number(t, accepted)
    if accepted != total:
        add_span(t, w[W_SLASH])
        add_number(t, total)
    s[S_COMMANDS_OK, i] += accepted
    s[S_COMMANDS, i] += total


@kernel
def message_texts(s: Matrix, m: Matrix, k: int, pool: Pool, t: Ints, w: Ints) -> None:
    """Queue id, message-id and sender."""
    add(t, I_CAPITAL, m[M_QUEUE_ID, k] >> 32, 5)
    add(t, I_CAPITAL, m[M_QUEUE_ID, k] & 0xFFFFFFFF, 6)
    m[M_ID, k] = write(t, pool)
    m[M_MESSAGE_ID, k] = NULL
    m[M_FROM, k] = NULL
    if m[M_ID_AT, k] == NULL:
        return
    session = m[M_SESSION, k]
    if session < 0:
        add_span(t, m[M_ID, k])
        add_span(t, w[W_AT])
        add_span(t, w[W_HOSTS + m[M_SERVER, k]])
    else:
        add(t, I_HEX, m[M_NUMBER, k], 0)
        add_span(t, w[W_DOT])
        add(t, I_HEX, s[S_NUMBER, session], 0)
        add_span(t, w[W_AT])
        add_span(t, w[W_DOMAINS + m[M_DOMAIN, k]])
    m[M_MESSAGE_ID, k] = write(t, pool)
    if m[M_SIZE, k] == NULL:
        return
    if session >= 0 and s[S_USER, session] >= 0:
        m[M_FROM, k] = s[S_LOGIN, session]
        return
    if session >= 0 and m[M_SENDER, k] >= 0:
        add_mailbox(t, w[W_USER], m[M_SENDER, k], w[W_AT], w[W_DOMAINS + m[M_DOMAIN, k]])
    m[M_FROM, k] = write(t, pool)  # of a notice: nothing


@kernel
def delivery_texts(m: Matrix, d: Matrix, k: int, pool: Pool, t: Ints, w: Ints) -> None:
    """Recipient, next hop and its answer."""
    message = d[D_MESSAGE, k]
    agent = d[D_AGENT, k]
    place = d[D_DESTINATION, k]
    number = d[D_RECIPIENT, k]
    if m[M_SESSION, message] < 0:
        d[D_TO, k] = m[M_FROM, m[M_PARENT, message]]
    else:
        add_span(t, w[W_BOX if agent == A_VIRTUAL else W_ANYONE if agent == A_RELAY else W_PERSON])
        add_number(t, number % 61 if agent == A_VIRTUAL else number)
        add_span(t, w[W_AT])
        add_domain(t, w, agent, place)
        d[D_TO, k] = write(t, pool)
    d[D_HI, k] = 0
    if agent == A_VIRTUAL:
        d[D_HOST, k] = NULL
        d[D_HI, k] = NULL
        d[D_LO, k] = NULL
    elif agent == A_RELAY:
        d[D_HOST, k] = w[W_INNER]
        d[D_LO, k] = 0xFFFF_AC14_051E  # 172.20.5.30
    else:
        add_span(t, w[W_MX])
        add_span(t, w[W_DOT])
        add_domain(t, w, agent, place)
        d[D_HOST, k] = write(t, pool)
        d[D_LO, k] = 0xFFFF_C000_0200 + (place + 1 if place >= 0 else 100 - place)  # 192.0.2.0/24
    answer(d, k, pool, t, w)


@kernel
def add_domain(t: Ints, w: Ints, agent: int, place: int) -> None:
    """Domain of a recipient."""
    if agent == A_SMTP and place >= 0:
        add_span(t, w[W_PARTNER])
        add_number(t, place)
        add_span(t, w[W_EXAMPLE])
    else:
        home = (
            W_DOMAIN if agent == A_VIRTUAL else W_INNER_DOMAIN if agent == A_RELAY else W_DOMAINS - 1 - place
        )
        add_span(t, w[home])


@kernel
def answer(d: Matrix, k: int, pool: Pool, t: Ints, w: Ints) -> None:
    """What stands in the parentheses of a delivery line."""
    kind = d[D_REPLY, k]
    if kind == Y_MAILDIR:
        d[D_SAID, k] = w[W_MAILDIR]
        return
    if kind == Y_QUEUED:
        add_span(t, w[W_QUEUED_AS])
        add(t, I_CAPITAL, d[D_NEXT, k], 8)
        add_span(t, w[W_F])
        d[D_SAID, k] = write(t, pool)
        return
    add_span(t, w[W_CONNECT_TO if kind == Y_TIMEOUT else W_HOST_SPACE])
    add_span(t, d[D_HOST, k])
    add_span(t, w[W_BRACKET])
    add(t, I_ADDRESS, d[D_HI, k], d[D_LO, k])
    if kind == Y_TIMEOUT:
        add_span(t, w[W_TIMED_OUT])
        d[D_HOST, k] = NULL  # it reached none
        d[D_HI, k] = NULL
        d[D_LO, k] = NULL
    else:
        add_span(t, w[W_BRACKET_END])
        add_span(t, w[W_SAID])
        if kind == Y_REFUSED:
            add_span(t, w[W_421])
            add_span(t, w[W_TO_MAIL])
        else:
            add_span(t, w[W_450 if kind == Y_GREYLISTED else W_550])
            add_span(t, d[D_TO, k])
            add_span(t, w[W_GREYLISTED if kind == Y_GREYLISTED else W_USER_UNKNOWN])
            add_span(t, w[W_TO_RCPT])
    d[D_SAID, k] = write(t, pool)
