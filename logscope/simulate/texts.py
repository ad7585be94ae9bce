"""The words that numbers of the model stand for: names, mailboxes, ids, replies.

All text of a block stands in one pool of bytes: `words` first, which are the same in every block, `SPARE`
bytes last. What a session, message or delivery needs beyond the words is put behind them once, and columns
hold spans (`start << 32 | length`), from which both the lines and the tables are made. Only documentation
names and addresses (RFC 2606, RFC 5737, RFC 6761).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import NULL
from logscope.engine import kernel
from logscope.grammar.machine.write import put_address, put_hexadecimal, put_number
from logscope.simulate.chance import trait
from logscope.simulate.layout import *
from logscope.simulate.site import BACKENDS, FRONTENDS, Options
from logscope.wide_copy import SPARE, copy16

Matrix = NDArray[np.int64]
Ints = NDArray[np.int64]
Pool = NDArray[np.uint8]
Runner = Callable[[Callable[..., Any]], Any]
"""Gives a kernel in the form that the simulation runs."""

SENDER_DOMAINS = ("mail.example", "sender.example", "example.net", "news.example", "lists.example.org")
DOMAIN = "example.com"
INNER_DOMAIN = "example.org"
INNER = ("inner.example.org", "172.20.5.30")
TLS_PROTOCOL = "TLSv1.3"
TLS_CIPHER = "TLS_AES_256_GCM_SHA384"
DNSBL = ("zen.dnsbl.example", "bl.list.example")
SERVICES = (
    "haproxy", "postfix/postscreen", "postfix/dnsblog", "postfix/smtpd", "postfix/submission/smtpd",
    "postfix/cleanup", "postfix/qmgr", "postfix/virtual", "postfix/relay/smtp", "postfix/smtp",
    "postfix/bounce",
)  # fmt: skip
"""Who logs."""

COUNTED = ("ehlo", "starttls", "auth", "mail", "rcpt", "data", "quit", "unknown")
"""Commands that smtpd counts, in the order in which it tells them."""
(
    COUNT_EHLO, COUNT_STARTTLS, COUNT_AUTH, COUNT_MAIL, COUNT_RCPT, COUNT_DATA, COUNT_QUIT, COUNT_UNKNOWN,
) = range(8)  # fmt: skip

ESCAPES = np.frombuffer(b"abtnvfr", np.uint8)
"""Letters of the bytes from 7 to 13."""

SPAN = 32
LENGTH = (1 << SPAN) - 1
ROOM_SESSION = 640
ROOM_SEEN = 320  # of what tables show
ROOM_MESSAGE = 160
ROOM_DELIVERY = 320
ROOM_NAME = 40
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
    "Protocol error",
    "host_name", "nowhere.invalid", "partner", ".example", "/", "<NOSRV>",
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
    W_PROTOCOL,
    W_HOST_NAME, W_NOWHERE, W_PARTNER, W_EXAMPLE, W_SLASH, W_NO_SERVER,
    W_DOMAINS,
) = range(53)  # fmt: skip
W_FRONTENDS = W_DOMAINS + len(SENDER_DOMAINS)
W_BACKENDS = W_FRONTENDS + len(FRONTENDS)
W_TERMINATIONS = W_BACKENDS + len(BACKENDS)
W_SERVICES = W_TERMINATIONS + len(TERMINATIONS)
W_COUNTED = W_SERVICES + len(SERVICES)
W_HOSTS = W_COUNTED + len(COUNTED)
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
    counted = [f" {command}=" for command in COUNTED]
    return _words(
        [*_WORDS, *SENDER_DOMAINS, *FRONTENDS, *BACKENDS, *TERMINATIONS, *SERVICES, *counted, *names]
    )


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


# --- putting text together ----------------------------------------------------------------------------------
# A text is first a list of items, in `t` behind their count, and then written at one place: words, numbers …
# The alternative, a call for each word, takes the compiler three times as long.

I_SPAN, I_NUMBER, I_HEX, I_ADDRESS, I_CAPITAL, I_BYTES = range(6)
MOST_ITEMS = 64


def no_items(used: int) -> Ints:
    """Room for the items of one text, for a pool of which so many bytes are used."""
    items = np.zeros(3 * MOST_ITEMS + 2, np.int64)
    items[-1] = used
    return items


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
            for place in range(0, value & LENGTH, SPARE):
                copy16(pool, (value >> SPAN) + place, pool, at + place)
            at += value & LENGTH
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
def put_all(
    s: Matrix, m: Matrix, d: Matrix, pool: Pool, t: Ints, w: Ints, front: Ints, counted: Matrix, lines: bool
) -> int:
    """Put the texts of all rows behind the words; returns the end. Those of messages and deliveries are put
    there column after column, so that they stand together.

    Args:
        t: room for items; the last word says where the words end.
        w: spans of the words.
        front: of each session the word that is the name of the balancer in front of its server.
        counted: room for `count_commands`.
        lines: also what only lines have.
    """
    t[0] = 0
    for i in range(s.shape[0]):
        if s[i, S_USER] >= 0:
            add_mailbox(t, w[W_USER], s[i, S_USER], w[W_AT], w[W_DOMAIN])
            s[i, S_LOGIN] = write(t, pool)
        if lines or s[i, S_REJECT] != R_NOTHING:
            session_names(s, i, pool, t, w, front[i])
        if s[i, S_REJECT] != R_NOTHING:
            refusal(s, i, pool, t, w)
        if lines:
            session_texts(s, i, pool, t, w, counted)
    for k in range(m.shape[0]):
        add(t, I_CAPITAL, m[k, M_QUEUE_ID] >> 32, 5)
        add(t, I_CAPITAL, m[k, M_QUEUE_ID] & 0xFFFFFFFF, 6)
        m[k, M_ID] = write(t, pool)
    for k in range(m.shape[0]):
        m[k, M_MESSAGE_ID] = NULL
        if m[k, M_ID_AT] != NULL:
            message_id(s, m, k, pool, t, w)
    for k in range(m.shape[0]):
        m[k, M_FROM] = NULL
        if m[k, M_SIZE] != NULL:
            sender(s, m, k, pool, t, w)
    for k in range(d.shape[0]):
        recipient(m, d, k, pool, t, w)
    for k in range(d.shape[0]):
        next_hop(d, k, pool, t, w, lines)
    for k in range(d.shape[0]):
        answer(d, k, pool, t, w)
    return int(t[t.shape[0] - 1])


@kernel
def put_names(spans: Ints, pool: Pool, t: Ints, w: Ints) -> None:
    """The host names of clients, by their numbers."""
    t[0] = 0
    for client in range(spans.shape[0]):
        spans[client] = w[W_UNKNOWN]
        if is_named(client):
            add_name(t, w, client)
            spans[client] = write(t, pool)


@kernel
def add_name(t: Ints, w: Ints, client: int) -> None:
    add_span(t, w[W_MX])
    add_number(t, client)
    add_span(t, w[W_DOT])
    add_span(t, w[W_DOMAINS + client % 5])


@kernel
def session_names(s: Matrix, i: int, pool: Pool, t: Ints, w: Ints, front: int) -> None:
    """Host name and helo of the client."""
    client = s[i, S_CLIENT]
    if is_named(client):
        add_name(t, w, client)
        s[i, S_HELO] = write(t, pool)
        s[i, S_NAME] = s[i, S_HELO]
    else:
        add_span(t, w[W_HOST])
        add_number(t, client % 9973)
        add_span(t, w[W_DYN])
        s[i, S_HELO] = write(t, pool)
        s[i, S_NAME] = w[W_UNKNOWN]
    if s[i, S_HEADER] != H_PASSED:
        s[i, S_NAME] = w[front]


@kernel
def session_texts(s: Matrix, i: int, pool: Pool, t: Ints, w: Ints, counted: Matrix) -> None:
    """What only lines have of a session."""
    if s[i, S_HEADER] == H_UNEXPECTED:
        add_header(s, i, t)
        s[i, S_HEADER_TEXT] = write(t, pool)
    if s[i, S_SMTPD_AT] != NULL:
        counters(s, i, t, w, counted)
        s[i, S_COUNTERS] = write(t, pool)


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
    four = s[i, S_HI] == 0 and s[i, S_LO] >> 32 == 0xFFFF
    add(
        t, I_BYTES, 0x21110000 + 12 if four else 0x21210000 + 36, 4
    )  # PROXY, a stream over IPv4 or IPv6, length
    if four:
        add(t, I_BYTES, s[i, S_LO], 4)
        add(t, I_BYTES, 0xCB00_7119, 4)  # 203.0.113.25
    else:
        add(t, I_BYTES, s[i, S_HI], 8)
        add(t, I_BYTES, s[i, S_LO], 8)
        add(t, I_BYTES, 0x2001_0DB8_0000_0000, 8)
        add(t, I_BYTES, 0x25, 8)
    add(t, I_BYTES, s[i, S_PORT] << 16 | 25, 4)


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
    client = s[i, S_CLIENT]
    kind = s[i, S_REJECT]
    domain = W_NOWHERE if kind == R_SENDER else W_DOMAINS + client % 5
    add_mailbox(t, w[W_USER], client % 1013, w[W_AT], w[domain])
    s[i, S_FROM] = write(t, pool)
    mailbox = W_NOBODY if kind == R_UNKNOWN_USER else W_VICTIM if kind == R_RELAY_DENIED else W_BOX
    domain = W_ELSEWHERE if kind == R_RELAY_DENIED else W_DOMAIN
    add_mailbox(t, w[mailbox], (client + s[i, S_NUMBER]) % 997, w[W_AT], w[domain])
    s[i, S_TO] = write(t, pool)
    if kind == R_HELO:
        s[i, S_HELO] = w[W_HOST_NAME]
    if kind == R_LISTED:
        add_span(t, w[W_LISTED])
        add(t, I_ADDRESS, s[i, S_HI], s[i, S_LO])
    elif kind not in (R_UNAVAILABLE, R_PROTOCOL):
        add_span(t, w[W_OPEN])
        if kind == R_POLICY:
            add_span(t, s[i, S_NAME])
            add_span(t, w[W_BRACKET])
            add(t, I_ADDRESS, s[i, S_HI], s[i, S_LO])
            add_span(t, w[W_BRACKET_END])
        else:
            add_span(t, s[i, S_HELO] if kind == R_HELO else s[i, S_FROM] if kind == R_SENDER else s[i, S_TO])
        add_span(t, w[W_CLOSE])
    add_span(t, w[REASONS[kind]])
    s[i, S_REASON] = write(t, pool)


REASONS = np.array(
    [
        W_UNKNOWN, W_NO_USER, W_RELAY_DENIED, W_HELO, W_SENDER, W_BLOCKED, W_UNAVAILABLE, W_LOOKUP, W_DENIED,
        W_PROTOCOL,
    ]
)  # fmt: skip
"""The end of what is said, by R_…."""


@kernel
def count_commands(s: Matrix, i: int, counted: Matrix) -> None:
    """smtpd's counters at disconnect: of each command how many were accepted, and given."""
    for command in range(counted.shape[1]):
        count(counted, command, 0, 0)
    behaviour = s[i, S_BEHAVIOUR]
    if s[i, S_HEADER] == H_UNEXPECTED:
        count(counted, COUNT_EHLO, 1, 1)
        count(counted, COUNT_QUIT, 1, 1)
        count(counted, COUNT_UNKNOWN, 0, 1)
        return
    if s[i, S_HEADER] == H_MISSING or behaviour == B_LOST_CONNECT:
        return
    tls = s[i, S_TLS]
    count(counted, COUNT_EHLO, 1 + tls, 1 + tls)
    count(counted, COUNT_STARTTLS, tls, tls)
    if behaviour == B_BAD_PASSWORD:
        count(counted, COUNT_AUTH, 0, s[i, S_REJECT_COUNT])
    elif s[i, S_USER] >= 0:
        count(counted, COUNT_AUTH, 1, 1)
    messages = max(s[i, S_MESSAGES], 1)
    refused = behaviour != B_DELIVERED and (behaviour <= B_SENDER_REJECTED or behaviour == B_TOO_MANY_ERRORS)
    lost = behaviour in (B_LOST_RCPT, B_LOST_DATA)
    if behaviour == B_DELIVERED or refused or lost:
        count(counted, COUNT_MAIL, messages, messages)
        taken = s[i, S_RECIPIENTS] if behaviour == B_DELIVERED else 1 if lost else 0
        count(counted, COUNT_RCPT, taken, s[i, S_REJECT_COUNT] if refused else taken)
    if behaviour in (B_DELIVERED, B_LOST_DATA):
        count(counted, COUNT_DATA, messages if behaviour == B_DELIVERED else 0, messages)
    if behaviour <= B_SENDER_REJECTED or behaviour in (B_QUIT, B_BAD_PASSWORD, B_HOARD):
        count(counted, COUNT_QUIT, 1, 1)


@kernel
def count(counted: Matrix, command: int, accepted: int, total: int) -> None:
    counted[0, command] = accepted
    counted[1, command] = total


@kernel
def counters(s: Matrix, i: int, t: Ints, w: Ints, counted: Matrix) -> None:
    """The counters as text, and how many commands were accepted, and given: ` name=n`, or ` name=n/m` where
    some were not accepted.
    """
    count_commands(s, i, counted)
    s[i, S_COMMANDS_OK] = 0
    s[i, S_COMMANDS] = 0
    for command in range(counted.shape[1]):
        accepted = counted[0, command]
        total = counted[1, command]
        if total > 0:
            add_span(t, w[W_COUNTED + command])
            add_number(t, accepted)
            if accepted != total:
                add_span(t, w[W_SLASH])
                add_number(t, total)
            s[i, S_COMMANDS_OK] += accepted
            s[i, S_COMMANDS] += total


@kernel
def message_id(s: Matrix, m: Matrix, k: int, pool: Pool, t: Ints, w: Ints) -> None:
    session = m[k, M_SESSION]
    if session < 0:
        add_span(t, m[k, M_ID])
        add_span(t, w[W_AT])
        add_span(t, w[W_HOSTS + m[k, M_SERVER]])
    else:
        add(t, I_HEX, m[k, M_NUMBER], 0)
        add_span(t, w[W_DOT])
        add(t, I_HEX, s[session, S_NUMBER], 0)
        add_span(t, w[W_AT])
        add_span(t, w[W_DOMAINS + m[k, M_DOMAIN]])
    m[k, M_MESSAGE_ID] = write(t, pool)


@kernel
def sender(s: Matrix, m: Matrix, k: int, pool: Pool, t: Ints, w: Ints) -> None:
    """The envelope sender; of a notice: nothing."""
    session = m[k, M_SESSION]
    if session >= 0 and s[session, S_USER] >= 0:
        add_span(t, s[session, S_LOGIN])
    elif session >= 0 and m[k, M_SENDER] >= 0:
        add_mailbox(t, w[W_USER], m[k, M_SENDER], w[W_AT], w[W_DOMAINS + m[k, M_DOMAIN]])
    m[k, M_FROM] = write(t, pool)


@kernel
def recipient(m: Matrix, d: Matrix, k: int, pool: Pool, t: Ints, w: Ints) -> None:
    message = d[k, D_MESSAGE]
    agent = d[k, D_AGENT]
    number = d[k, D_RECIPIENT]
    if m[message, M_SESSION] < 0:
        add_span(t, m[m[message, M_PARENT], M_FROM])
    else:
        add_span(t, w[W_BOX if agent == A_VIRTUAL else W_ANYONE if agent == A_RELAY else W_PERSON])
        add_number(t, number % 61 if agent == A_VIRTUAL else number)
        add_span(t, w[W_AT])
        add_domain(t, w, agent, d[k, D_DESTINATION])
    d[k, D_TO] = write(t, pool)


@kernel
def next_hop(d: Matrix, k: int, pool: Pool, t: Ints, w: Ints, lines: bool) -> None:
    """Host name, where lines are wanted or an answer names it, and address of the next hop."""
    agent = d[k, D_AGENT]
    place = d[k, D_DESTINATION]
    d[k, D_HOST] = NULL
    d[k, D_HI] = 0
    if agent == A_VIRTUAL:
        d[k, D_HI] = NULL
        d[k, D_LO] = NULL
    elif agent == A_RELAY:
        d[k, D_HOST] = w[W_INNER]
        d[k, D_LO] = 0xFFFF_AC14_051E  # 172.20.5.30
    else:
        if lines or d[k, D_REPLY] != Y_QUEUED:
            add_span(t, w[W_MX])
            add_span(t, w[W_DOT])
            add_domain(t, w, agent, place)
            d[k, D_HOST] = write(t, pool)
        d[k, D_LO] = 0xFFFF_C000_0200 + (place + 1 if place >= 0 else 100 - place)  # 192.0.2.0/24


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
    kind = d[k, D_REPLY]
    if kind == Y_MAILDIR:
        add_span(t, w[W_MAILDIR])
        d[k, D_SAID] = write(t, pool)
        return
    if kind == Y_QUEUED:
        add_span(t, w[W_QUEUED_AS])
        add(t, I_CAPITAL, d[k, D_NEXT], 8)
        add_span(t, w[W_F])
        d[k, D_SAID] = write(t, pool)
        return
    add_span(t, w[W_CONNECT_TO if kind == Y_TIMEOUT else W_HOST_SPACE])
    add_span(t, d[k, D_HOST])
    add_span(t, w[W_BRACKET])
    add(t, I_ADDRESS, d[k, D_HI], d[k, D_LO])
    if kind == Y_TIMEOUT:
        add_span(t, w[W_TIMED_OUT])
        d[k, D_HOST] = NULL  # it reached none
        d[k, D_HI] = NULL
        d[k, D_LO] = NULL
    else:
        add_span(t, w[W_BRACKET_END])
        add_span(t, w[W_SAID])
        if kind == Y_REFUSED:
            add_span(t, w[W_421])
            add_span(t, w[W_TO_MAIL])
        else:
            add_span(t, w[W_450 if kind == Y_GREYLISTED else W_550])
            add_span(t, d[k, D_TO])
            add_span(t, w[W_GREYLISTED if kind == Y_GREYLISTED else W_USER_UNKNOWN])
            add_span(t, w[W_TO_RCPT])
    d[k, D_SAID] = write(t, pool)
