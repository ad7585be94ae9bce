"""The lines that the daemons of a site log about its sessions, as rows for the column writer.

Each kind of line is a shape made from the grammars (`KINDS_OF_LINES`). The kernels put the values of its
fields into rows, one for each line, in the order of the fields in the text; beside each row they keep when
it was logged, since that is the order of a file, and what it is to the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import (
    D_DEFERRED,
    D_SENT,
    NULL,
    TEST_DNSBL,
    TEST_PREGREET,
    V_ALLOWLISTED,
    V_DENYLISTED,
    V_HANGUP,
    V_PASS_NEW,
    V_PASS_OLD,
)
from logscope.engine import kernel
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.columns import COLUMN, ColumnWriter, Pattern
from logscope.simulate.chance import trait
from logscope.simulate.layout import *
from logscope.simulate.mail import logged_delay
from logscope.simulate.texts import (
    DNSBL,
    LENGTH,
    TLS_CIPHER,
    TLS_PROTOCOL,
    W_BACKENDS,
    W_FRONTENDS,
    W_NO_SERVER,
    W_SERVICES,
    W_TERMINATIONS,
)
from logscope.syslog.priority import LOCAL0, MAIL, priority

Matrix = NDArray[np.int64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """A kind of line.

    Attributes:
        kind: of its template.
        columns: fields that vary, in the order of the text.
        same: the others.
    """

    kind: str
    columns: tuple[str, ...]
    same: Mapping[str, Any]


def _line(kind: str, *columns: str, **same: Any) -> Line:
    return Line(kind, columns, same)


_PEER = ("client_address", "client_port")
_NAMED = ("client_name", "client_address")
_CLAIMED = (
    "proxy_client_address", "proxy_destination_address", "proxy_client_port", "proxy_destination_port",
)  # fmt: skip
_DELAYS = ("delay_s", "delay_before_queue_s", "delay_in_queue_s", "delay_connect_s", "delay_transmit_s")
_ENVELOPE = ("sender", "recipient")
_RELAY = ("relay_host", "relay_address")

LINES: dict[str, Line] = {
    "connect": _line("postscreen.connect", *_PEER, "destination_address", "destination_port"),
    "pass_new": _line("postscreen.pass_new", *_PEER),
    "pass_old": _line("postscreen.pass_old", *_PEER),
    "allowlisted": _line("postscreen.allowlisted", *_PEER),
    "denylisted": _line("postscreen.denylisted", *_PEER),
    "pregreet": _line(
        "postscreen.pregreet", "text_length", "after_s", *_PEER, "helo",
        client_text=Pattern(r"EHLO {helo:word}\r\n"),
    ),
    "pregreet_v1": _line(
        "postscreen.pregreet_proxy_v1", "text_length", *_PEER, *_CLAIMED,
        after_s=0.0, proxy_protocol="TCP4", client_text="",
    ),
    "pregreet_v1_6": _line(
        "postscreen.pregreet_proxy_v1", "text_length", *_PEER, *_CLAIMED,
        after_s=0.0, proxy_protocol="TCP6", client_text="",
    ),
    "pregreet_v2": _line("postscreen.pregreet_proxy_v2", "text_length", *_PEER, "proxy_v2_text", after_s=0.0),
    "dnsblog": _line("dnsblog.listed", "client_address", list_domain=DNSBL[0], list_result="127.0.0.3"),
    "dnsblog_2": _line("dnsblog.listed", "client_address", list_domain=DNSBL[1], list_result="127.0.0.2"),
    "rank": _line("postscreen.dnsbl_rank", "dnsbl_rank", *_PEER),
    "screen_reject": _line(
        "postscreen.reject", *_PEER, "dsn", "reply", *_ENVELOPE, "helo",
        action="reject", stage="RCPT", reply_code=550, protocol="ESMTP",
    ),
    "hangup": _line("postscreen.hangup", "after_s", *_PEER, test_phase="tests before SMTP handshake"),
    "hangup_later": _line("postscreen.hangup", "after_s", *_PEER, test_phase="tests after SMTP handshake"),
    "no_header": _line("postscreen.haproxy_error", reason="time limit exceeded"),
    "screen_end": _line("postscreen.disconnect", *_PEER),
    "no_name": _line(
        "smtpd.hostname_mismatch", "number", "client_address",
        client_name=Pattern("pool{number:uint}.dyn.example"), reason="Name or service not known",
    ),
    "smtpd": _line("smtpd.connect", *_NAMED),
    "tls": _line(
        "smtpd.tls_established", *_NAMED, tls_level="Anonymous", tls_usage="established",
        tls_protocol=TLS_PROTOCOL, tls_cipher=TLS_CIPHER, tls_bits_used=256, tls_bits=256,
        key_exchange="X25519", server_signature="RSA-PSS", server_signature_bits=2048, server_digest="SHA256",
    ),
    "smtpd_no_header": _line("smtpd.haproxy_error", reason="timeout error"),
    "smtpd_header": _line(
        "smtpd.improper_pipelining_proxy_v1", *_NAMED, *_CLAIMED,
        stage="CONNECT", proxy_protocol="TCP4", client_text="",
    ),
    "smtpd_header_6": _line(
        "smtpd.improper_pipelining_proxy_v1", *_NAMED, *_CLAIMED,
        stage="CONNECT", proxy_protocol="TCP6", client_text="",
    ),
    "smtpd_header_v2": _line("smtpd.improper_pipelining_proxy_v2", *_NAMED, "proxy_v2_text", stage="CONNECT"),
    "sasl": _line(
        "smtpd.sasl_failed", *_NAMED, "sasl_username", sasl_method="PLAIN", reason="(reason unavailable)"
    ),
    "reject": _line(
        "smtpd.decision", *_NAMED, "reply_code", "dsn", "reply", *_ENVELOPE, "helo",
        action="reject", stage="RCPT", protocol="ESMTP",
    ),
    "lost_connect": _line("smtpd.lost_connection", *_NAMED, stage="CONNECT"),
    "lost_ehlo": _line("smtpd.lost_connection", *_NAMED, stage="EHLO"),
    "lost_rcpt": _line("smtpd.lost_connection", *_NAMED, stage="RCPT"),
    "lost_data": _line("smtpd.lost_connection", "byte_count", *_NAMED, stage="DATA"),
    "timeout": _line("smtpd.timeout", *_NAMED, stage="EHLO"),
    "too_many": _line("smtpd.too_many_errors", *_NAMED, stage="RCPT"),
    "end": _line("smtpd.disconnect", *_NAMED, "commands", "commands_ok"),
    "end_some": _line("smtpd.disconnect", *_NAMED, "commands", "commands_ok", "commands_all"),
    "client": _line("smtpd.client", "queue_id", *_NAMED),
    "client_login": _line("smtpd.client", "queue_id", *_NAMED, "sasl_username", sasl_method="PLAIN"),
    "message_id": _line("cleanup.message_id", "queue_id", "message_id"),
    "active": _line("qmgr.active", "queue_id", "sender", "size", "recipient_count", queue_name="active"),
    "removed": _line("qmgr.removed", "queue_id"),
    "virtual": _line(
        "virtual.delivery", "queue_id", "recipient", *_DELAYS, "reply",
        relay="virtual", dsn="2.0.0", status="sent",
    ),
    "sent": _line(
        "smtp.delivery", "queue_id", "recipient", *_RELAY, *_DELAYS, "dsn", "reply",
        relay_port=25, status="sent",
    ),
    "deferred": _line(
        "smtp.delivery", "queue_id", "recipient", *_RELAY, *_DELAYS, "dsn", "reply",
        relay_port=25, status="deferred",
    ),
    "bounced": _line(
        "smtp.delivery", "queue_id", "recipient", *_RELAY, *_DELAYS, "dsn", "reply",
        relay_port=25, status="bounced",
    ),
    "not_reached": _line(
        "smtp.delivery", "queue_id", "recipient", *_DELAYS, "dsn", "reply", relay="none", status="deferred"
    ),
    "notice": _line(
        "bounce.notification", "queue_id", "next_queue_id", notified="sender", notice="non-delivery"
    ),
}  # fmt: skip
"""All kinds of lines of the mail servers; those with `client_name` have a port where smtpd logs it."""

(
    E_CONNECT, E_PASS_NEW, E_PASS_OLD, E_ALLOWLISTED, E_DENYLISTED,
    E_PREGREET, E_PREGREET_V1, E_PREGREET_V1_6,
    E_PREGREET_V2, E_DNSBLOG, E_DNSBLOG_2, E_RANK, E_SCREEN_REJECT, E_HANGUP, E_HANGUP_LATER,
    E_NO_HEADER, E_SCREEN_END, E_NO_NAME, E_SMTPD, E_TLS, E_SMTPD_NO_HEADER, E_SMTPD_HEADER, E_SMTPD_HEADER_6,
    E_SMTPD_HEADER_V2, E_SASL, E_REJECT, E_LOST_CONNECT, E_LOST_EHLO, E_LOST_RCPT, E_LOST_DATA, E_TIMEOUT,
    E_TOO_MANY, E_END, E_END_SOME, E_CLIENT, E_CLIENT_LOGIN, E_MESSAGE_ID, E_ACTIVE, E_REMOVED, E_VIRTUAL,
    E_SENT, E_DEFERRED, E_BOUNCED, E_NOT_REACHED, E_NOTICE,
    E_BALANCER,
) = range(46)  # fmt: skip

_BALANCER = (
    *_PEER, "accepted_at", "frontend", "backend", "server", "queue_ms", "connect_ms", "duration_ms",
    "bytes_to_client", "termination_state", "process_connections", "frontend_connections",
    "backend_connections", "server_connections", "retries",
)  # fmt: skip
_SOURCE = ("source_address", "source_port")
_BEFORE = ("stamp", "host", "service", "pid")

WIDEST = 26
"""Slots that no row is longer than."""

# What a line is to the truth, in the lowest bits of its tag; above them the number of the host that logged
# it, and then that of the session.
TAG_NONE, TAG_BALANCER, TAG_SCREEN, TAG_SMTPD = range(4)
TAG_BITS = 2
HOST_BITS = 7
SESSION_SHIFT = TAG_BITS + HOST_BITS

# Columns of lines.
L_SHAPE, L_ROW, L_TIME, L_TAG, L_WIDTH = range(5)

MOST_HOSTS = 96
MOST_CHANGES = 64
MOST_WORDS = 512
# Numbers that hold all the time, K_…
(
    K_RESOLUTION,  # ns of the mail servers' stamps
    K_BALANCER_RESOLUTION,
    K_PORTS,  # 1: smtpd logs the client's port
    K_SOURCE,  # 1: the balancer logs its own address and port towards the server
    K_FORWARDED,  # 1: an inner balancer is told the client's address by the outer one
    K_VERSION,  # of the PROXY header
    K_SERVERS,
    K_BALANCERS,
    K_INNER,
    K_SCREEN,
    K_HOSTS,  # word of the short name of the first host
    K_CHANGES,  # how many there are of the hosts' clocks' offset from UTC
    K_WIDTHS,  # from here the slots of a row of each shape
) = range(13)
K_ADDRESSES = K_WIDTHS + E_BALANCER + 1  # lower halves of the addresses of servers and balancers
K_ZONES = K_ADDRESSES + MOST_HOSTS  # from when on which offset holds, both ns
K_SPANS = K_ZONES + 2 * MOST_CHANGES  # of the words
K_WIDTH = K_SPANS + MOST_WORDS

POSTSCREEN_PID, QMGR_PID, BOUNCE_PID, HAPROXY_PID = 8947, 8946, 8900, 3026
HAPROXY, POSTSCREEN, DNSBLOG, SMTPD, SUBMISSION, CLEANUP, QMGR, VIRTUAL, RELAY, SMTP, BOUNCE = range(11)
"""Order of `texts.SERVICES`."""


def make_shapes(
    writer: ColumnWriter, catalogue: Catalogue, *, stamps: str, ports: bool, source: bool
) -> list[int]:
    """Make the shapes of all lines, so that their numbers are those of E_…; returns the slots of each.

    Args:
        writer: a new one.
        stamps: what stands before the message: `bsd`, `rfc3339` or `rfc5424`.
        ports: `smtpd_client_port_logging`.
        source: whether the balancer's lines end in `%bi:%bp`.
    """
    severities = {template.kind: template.severity for template in catalogue.templates}
    widths: list[int] = []
    for number, line in enumerate(LINES.values()):
        columns = line.columns
        if ports and "client_name" in columns:
            at = columns.index("client_address") + 1
            columns = (*columns[:at], "client_port", *columns[at:])
        values = {**{name: COLUMN for name in columns if name != "number"}, **line.same}
        if "helo" in columns and "client_text" in line.same:
            del values["helo"]
        shape = writer.shape(line.kind, values, envelope(stamps, MAIL, severities[line.kind]))
        assert (shape.number, tuple(shape.slots)) == (number, (*_BEFORE, *columns)), (line, shape)
        widths.append(shape.width)
    columns = (*_BALANCER, *(_SOURCE if source else ()))
    values = {**dict.fromkeys(columns, COLUMN), "server_queue": 0, "backend_queue": 0}
    kind = "haproxy.tcp_session"
    shape = writer.shape(kind, values, envelope(stamps, LOCAL0, severities[kind]))
    assert (shape.number, tuple(shape.slots)) == (E_BALANCER, (*_BEFORE, *columns)), shape
    widths.append(shape.width)
    assert max(widths) <= WIDEST
    return widths


def envelope(stamps: str, facility: int, severity: str, **values: Any) -> tuple[str, dict[str, Any]]:
    """Kind and fields of what stands before a message; those that are not given are columns."""
    if stamps == "rfc5424":
        values |= {"priority": priority(facility, severity), "syslog_msgid": "-"}
    return f"envelope.{stamps}", {**dict.fromkeys(_BEFORE, COLUMN), **values}


def room(s: Matrix, m: Matrix, d: Matrix) -> int:
    """How many lines there can be at most."""
    if s.shape[0] == 0:
        return 0
    extra = int(s[:, S_REJECT_COUNT].sum())
    return int(14 * s.shape[0] + extra + 8 * m.shape[0] + 2 * d.shape[0])


# --- kernels ------------------------------------------------------------------------------------------------


@kernel
def tell(s: Matrix, m: Matrix, d: Matrix, k: Ints, e: Matrix, arena: Ints) -> int:
    """Put all lines about these rows; returns how many.

    Args:
        k: K_….
        e: filled for each line: its shape, its row in the arena, when it was logged (ns, by the log host's
            clock), and TAG_….
        arena: of values. Its first two words count the lines and the words used.
    """
    arena[0] = 0
    arena[1] = 2
    for i in range(s.shape[0]):
        session = s[i, S_NUMBER] << SESSION_SHIFT
        if s[i, S_BALANCER] >= 0 and s[i, S_LOST] & 1 == 0:
            balancer(s, i, k, e, arena, session)
        if s[i, S_CONNECTED] != NULL and s[i, S_LOST] & 2 == 0:
            if s[i, S_SERVICE] == 0 and k[K_SCREEN]:
                screen(s, i, k, e, arena, session)
            if s[i, S_SMTPD_AT] != NULL:
                smtpd(s, i, k, e, arena, session)
    for n in range(m.shape[0]):
        if m[n, M_LOST] & 2 == 0:
            message(s, m, d, n, k, e, arena)
    return int(arena[0])


@kernel
def put(
    shape: int,
    time: int,
    skew: int,
    k: Ints,
    host: int,
    service: int,
    pid: int,
    e: Matrix,
    arena: Ints,
    tag: int,
) -> int:
    """Begin a line; returns where its own fields go in the arena."""
    n = arena[0]
    at = arena[1]
    arena[0] = n + 1
    arena[1] = at + k[K_WIDTHS + shape]
    e[L_SHAPE, n] = shape
    e[L_ROW, n] = at
    e[L_TIME, n] = time
    e[L_TAG, n] = tag | host << TAG_BITS
    resolution = k[K_BALANCER_RESOLUTION] if service == HAPROXY else k[K_RESOLUTION]
    stamp = (time + skew) // resolution * resolution
    arena[at] = local(stamp, k)
    arena[at + 1] = k[K_SPANS + k[K_HOSTS] + host]
    arena[at + 2] = k[K_SPANS + W_SERVICES + service]
    arena[at + 3] = pid
    return int(at + 4)


@kernel
def local(moment: int, k: Ints) -> int:
    """By the hosts' clocks."""
    last = k[K_CHANGES] - 1
    while last > 0 and moment < k[K_ZONES + 2 * last]:
        last -= 1
    return int(moment + k[K_ZONES + 2 * last + 1])


@kernel
def balancer(
    s: Matrix,
    i: int,
    k: Ints,
    e: Matrix,
    arena: Ints,
    session: int,
) -> None:
    """HAProxy's line, at the session's end; two of them in a chain, unless no server was reached."""
    outer = s[i, S_BALANCER]
    words = k[K_HOSTS]
    end = s[i, S_AT] + s[i, S_DURATION] * MILLISECOND
    server = s[i, S_SERVER]
    reached = server >= 0 and s[i, S_TERMINATION] != T_NO_SERVER
    chained = k[K_INNER] > 0 and reached
    inner = k[K_BALANCERS] + s[i, S_NUMBER] % max(k[K_INNER], 1)
    # The inner one is connected when the outer one has waited, and then has as little to wait for.
    before = max(s[i, S_QUEUE], 0) + max(s[i, S_CONNECT], 0)
    for hop in range(2 if chained else 1):
        who = inner if hop == 1 else outer
        host = k[K_SERVERS] + who
        tag = session | TAG_BALANCER if hop == 0 else TAG_NONE
        at = put(
            E_BALANCER, end + hop * 40_000, 0, k, host, HAPROXY, HAPROXY_PID, e, arena, tag,
        )  # fmt: skip
        if hop == 1 and k[K_FORWARDED] == 0:
            arena[at] = 0
            arena[at + 1] = k[K_ADDRESSES + k[K_SERVERS] + outer]
            arena[at + 2] = s[i, S_OUTER_PORT]
        else:
            arena[at] = s[i, S_HI]
            arena[at + 1] = s[i, S_LO]
            arena[at + 2] = s[i, S_PORT]
        arena[at + 3] = local(s[i, S_AT] + hop * before * MILLISECOND, k)
        arena[at + 4] = k[K_SPANS + W_FRONTENDS + s[i, S_SERVICE]]
        arena[at + 5] = k[K_SPANS + W_BACKENDS + s[i, S_SERVICE]]
        arena[at + 6] = k[K_SPANS + W_NO_SERVER]
        if hop == 0 and chained:
            arena[at + 6] = k[K_SPANS + words + k[K_SERVERS] + inner]
        elif reached:
            arena[at + 6] = k[K_SPANS + words + server]
        arena[at + 7] = 0 if hop else s[i, S_QUEUE]
        arena[at + 8] = 0 if hop else s[i, S_CONNECT]
        arena[at + 9] = s[i, S_DURATION] - hop * before
        arena[at + 10] = s[i, S_BYTES]
        arena[at + 11] = k[K_SPANS + W_TERMINATIONS + s[i, S_TERMINATION]]
        arena[at + 12] = s[i, S_OPEN]
        arena[at + 13] = s[i, S_OPEN]
        arena[at + 14] = max(s[i, S_OPEN] - 1, 0)
        arena[at + 15] = max(s[i, S_OPEN_SERVER] - 1, 0) if reached else 0
        arena[at + 16] = s[i, S_RETRIES]
        if k[K_SOURCE]:
            arena[at + 17] = 0
            arena[at + 18] = k[K_ADDRESSES + k[K_SERVERS] + who]
            arena[at + 19] = s[i, S_OUTER_PORT] if hop == 0 and chained else s[i, S_BACK_PORT]


@kernel
def is_own(s: Matrix, i: int) -> bool:
    """Whether the server sees the balancer's address instead of the client's."""
    return bool(s[i, S_HEADER] != H_PASSED)


@kernel
def front(s: Matrix, i: int, k: Ints) -> int:
    """Lower half of the address of the balancer in front of the server."""
    who = max(s[i, S_BALANCER], 0)
    if k[K_INNER] > 0:
        who = k[K_BALANCERS] + s[i, S_NUMBER] % k[K_INNER]
    return int(k[K_ADDRESSES + k[K_SERVERS] + who])


@kernel
def put_peer(s: Matrix, i: int, k: Ints, arena: Ints, at: int) -> int:
    """Address and port of the peer as the mail server sees it."""
    if is_own(s, i):
        arena[at] = 0
        arena[at + 1] = front(s, i, k)
        arena[at + 2] = s[i, S_BACK_PORT]
    elif k[K_INNER] > 0 and k[K_FORWARDED] == 0:  # the inner balancer passes on what it knows
        arena[at] = 0
        arena[at + 1] = k[K_ADDRESSES + k[K_SERVERS] + s[i, S_BALANCER]]
        arena[at + 2] = s[i, S_OUTER_PORT]
    else:
        arena[at] = s[i, S_HI]
        arena[at + 1] = s[i, S_LO]
        arena[at + 2] = s[i, S_PORT]
    return at + 3


@kernel
def put_claim(s: Matrix, i: int, arena: Ints, at: int) -> int:
    """Addresses and ports in the PROXY header."""
    arena[at] = s[i, S_HI]
    arena[at + 1] = s[i, S_LO]
    if is_four(s, i):
        arena[at + 2] = 0
        arena[at + 3] = 0xFFFF_CB00_7119
    else:
        arena[at + 2] = 0x2001_0DB8_0000_0000
        arena[at + 3] = 0x25
    arena[at + 4] = s[i, S_PORT]
    arena[at + 5] = 25
    return at + 6


@kernel
def is_four(s: Matrix, i: int) -> bool:
    return bool(s[i, S_HI] == 0 and s[i, S_LO] >> 32 == 0xFFFF)


@kernel
def digits(number: int) -> int:
    count = 1
    while number >= 10:
        number //= 10
        count += 1
    return count


@kernel
def header_length(s: Matrix, i: int, version: int) -> int:
    """Bytes of the PROXY header of this session; that of a v1 header with an IPv6 address is a good guess."""
    if version == 2:
        return 28 if is_four(s, i) else 52
    if not is_four(s, i):
        return 28 + 21 + digits(s[i, S_PORT])
    length = 11 + 1 + 12 + 1 + digits(s[i, S_PORT]) + 1 + 2 + 2 + 3
    for shift in (0, 8, 16, 24):
        length += digits((s[i, S_LO] >> shift) & 255)
    return length


@kernel
def screen(
    s: Matrix,
    i: int,
    k: Ints,
    e: Matrix,
    arena: Ints,
    session: int,
) -> None:
    """What postscreen and dnsblog log."""
    server = s[i, S_SERVER]
    host = server
    skew = s[i, S_SKEW]
    start = s[i, S_CONNECTED]
    end = s[i, S_SCREEN_END]
    if s[i, S_HEADER] == H_MISSING:
        put(
            E_NO_HEADER, end, skew, k, host, POSTSCREEN, POSTSCREEN_PID, e, arena, TAG_NONE,
        )  # fmt: skip
        return
    at = put(
        E_CONNECT, start, skew, k, host, POSTSCREEN, POSTSCREEN_PID, e, arena, session | TAG_SCREEN,
    )  # fmt: skip
    at = put_peer(s, i, k, arena, at)
    arena[at] = 0
    if is_own(s, i) or s[i, S_BALANCER] < 0:
        arena[at + 1] = k[K_ADDRESSES + server]
        arena[at + 2] = 10024
    elif is_four(s, i):
        arena[at + 1] = 0xFFFF_CB00_7119  # 203.0.113.25
        arena[at + 2] = 25
    else:
        arena[at] = 0x2001_0DB8_0000_0000
        arena[at + 1] = 0x25
        arena[at + 2] = 25
    verdict = s[i, S_VERDICT]
    shape = -1
    if verdict == V_PASS_NEW:
        shape = E_PASS_NEW
    elif verdict == V_PASS_OLD:
        shape = E_PASS_OLD
    elif verdict == V_ALLOWLISTED:
        shape = E_ALLOWLISTED
    elif verdict == V_DENYLISTED:
        shape = E_DENYLISTED
    if shape >= 0:
        at = put(
            shape, s[i, S_VERDICT_AT], skew, k, host, POSTSCREEN, POSTSCREEN_PID, e, arena, TAG_NONE,
        )  # fmt: skip
        put_peer(s, i, k, arena, at)
    if end == NULL:
        return
    tests(s, i, k, e, arena, host)
    if s[i, S_REJECT] != R_NOTHING:
        at = put(
            E_SCREEN_REJECT, end - 900_000, skew, k, host, POSTSCREEN, POSTSCREEN_PID, e, arena, TAG_NONE,
        )  # fmt: skip
        at = put_peer(s, i, k, arena, at)
        arena[at] = DSNS[s[i, S_REJECT]]
        arena[at + 1] = s[i, S_REASON]
        arena[at + 2] = s[i, S_FROM]
        arena[at + 3] = s[i, S_TO]
        arena[at + 4] = s[i, S_HELO]
    if verdict == V_HANGUP or s[i, S_HEADER] == H_UNEXPECTED:
        later = s[i, S_TESTS] != 0
        at = put(
            E_HANGUP_LATER if later else E_HANGUP, end - 11_000, skew, k, host, POSTSCREEN,
            POSTSCREEN_PID, e, arena, TAG_NONE,
        )  # fmt: skip
        arena[at] = logged_delay((end - start) // MICROSECOND)
        put_peer(s, i, k, arena, at + 1)
    at = put(
        E_SCREEN_END, end, skew, k, host, POSTSCREEN, POSTSCREEN_PID, e, arena, TAG_NONE,
    )  # fmt: skip
    put_peer(s, i, k, arena, at)


@kernel
def tests(
    s: Matrix,
    i: int,
    k: Ints,
    e: Matrix,
    arena: Ints,
    host: int,
) -> None:
    """Lines of the tests that failed."""
    skew = s[i, S_SKEW]
    start = s[i, S_CONNECTED]
    end = s[i, S_SCREEN_END]
    if s[i, S_TESTS] & (1 << TEST_DNSBL):
        for which in range(2):
            at = put(
                E_DNSBLOG + which, start + (2100 + 350 * which) * MICROSECOND, skew, k, host, DNSBLOG,
                8910 - (s[i, S_PORT] + which) % 4, e, arena, TAG_NONE,
            )  # fmt: skip
            arena[at] = s[i, S_HI]
            arena[at + 1] = s[i, S_LO]
        at = put(
            E_RANK, end - (end - start) // 8, skew, k, host, POSTSCREEN, POSTSCREEN_PID, e, arena, TAG_NONE,
        )  # fmt: skip
        arena[at] = s[i, S_RANK]
        put_peer(s, i, k, arena, at + 1)
    if s[i, S_HEADER] == H_UNEXPECTED:
        shape = E_PREGREET_V2
        if k[K_VERSION] != 2:
            shape = E_PREGREET_V1 if is_four(s, i) else E_PREGREET_V1_6
        at = put(
            shape, start + 700_000, skew, k, host, POSTSCREEN, POSTSCREEN_PID, e, arena, TAG_NONE,
        )  # fmt: skip
        arena[at] = header_length(s, i, k[K_VERSION])
        at = put_peer(s, i, k, arena, at + 1)
        if shape == E_PREGREET_V2:
            arena[at] = s[i, S_HEADER_TEXT]
        else:
            put_claim(s, i, arena, at)
    elif s[i, S_TESTS] & (1 << TEST_PREGREET):
        at = put(
            E_PREGREET, start + 1_500_000, skew, k, host, POSTSCREEN, POSTSCREEN_PID, e, arena, TAG_NONE,
        )  # fmt: skip
        arena[at] = (s[i, S_HELO] & LENGTH) + 7
        arena[at + 1] = 0
        at = put_peer(s, i, k, arena, at + 2)
        arena[at] = s[i, S_HELO]


@kernel
def put_named(s: Matrix, i: int, k: Ints, arena: Ints, at: int) -> int:
    """Host name and address of the peer as smtpd logs them, and its port where it does."""
    arena[at] = s[i, S_NAME]
    end = put_peer(s, i, k, arena, at + 1)
    return end if k[K_PORTS] else end - 1


@kernel
def smtpd(
    s: Matrix,
    i: int,
    k: Ints,
    e: Matrix,
    arena: Ints,
    session: int,
) -> None:
    """What smtpd logs, but for the lines of messages."""
    host = s[i, S_SERVER]
    service = SUBMISSION if s[i, S_SERVICE] == 1 else SMTPD
    pid = s[i, S_PID]
    skew = s[i, S_SKEW]
    start = s[i, S_SMTPD_AT]
    end = s[i, S_SMTPD_END]
    header = s[i, S_HEADER]
    if header == H_MISSING:
        put(
            E_SMTPD_NO_HEADER, start - 20_000, skew, k, host, service, pid, e, arena, TAG_NONE,
        )  # fmt: skip
    elif header == H_PASSED and trait(s[i, S_CLIENT], 5) % 10 < 2 and is_four(s, i):
        at = put(
            E_NO_NAME, start - 60_000, skew, k, host, service, pid, e, arena, TAG_NONE,
        )  # fmt: skip
        arena[at] = s[i, S_CLIENT]
        arena[at + 1] = s[i, S_HI]
        arena[at + 2] = s[i, S_LO]
    at = put(
        E_SMTPD, start, skew, k, host, service, pid, e, arena, session | TAG_SMTPD,
    )  # fmt: skip
    put_named(s, i, k, arena, at)
    if header < H_MISSING:
        dialogue(s, i, k, e, arena, host, service)
    elif header == H_UNEXPECTED:
        shape = E_SMTPD_HEADER_V2
        if k[K_VERSION] != 2:
            shape = E_SMTPD_HEADER if is_four(s, i) else E_SMTPD_HEADER_6
        at = put(
            shape, start + 22_000, skew, k, host, service, pid, e, arena, TAG_NONE,
        )  # fmt: skip
        at = put_named(s, i, k, arena, at)
        if shape == E_SMTPD_HEADER_V2:
            arena[at] = s[i, S_HEADER_TEXT]
        else:
            put_claim(s, i, arena, at)
    all_of_them = s[i, S_COMMANDS] == s[i, S_COMMANDS_OK] and s[i, S_COMMANDS] > 0
    at = put(
        E_END if all_of_them else E_END_SOME, end, skew, k, host, service, pid, e, arena, TAG_NONE,
    )  # fmt: skip
    at = put_named(s, i, k, arena, at)
    arena[at] = s[i, S_COUNTERS]
    arena[at + 1] = s[i, S_COMMANDS_OK]
    arena[at + 2] = s[i, S_COMMANDS]


@kernel
def dialogue(
    s: Matrix,
    i: int,
    k: Ints,
    e: Matrix,
    arena: Ints,
    host: int,
    service: int,
) -> None:
    """TLS, refusals, failed logins, and how the session broke off."""
    pid = s[i, S_PID]
    skew = s[i, S_SKEW]
    start = s[i, S_SMTPD_AT]
    end = s[i, S_SMTPD_END]
    length = end - start
    behaviour = s[i, S_BEHAVIOUR]
    if s[i, S_TLS]:
        at = put(
            E_TLS, start + length // 9, skew, k, host, service, pid, e, arena, TAG_NONE,
        )  # fmt: skip
        put_named(s, i, k, arena, at)
    for n in range(s[i, S_REJECT_COUNT]):
        moment = start + length // 6 + length * (4 * n + 2) // (6 * s[i, S_REJECT_COUNT])
        at = put(
            E_SASL if behaviour == B_BAD_PASSWORD else E_REJECT, moment, skew, k, host, service, pid,
            e, arena, TAG_NONE,
        )  # fmt: skip
        at = put_named(s, i, k, arena, at)
        if behaviour == B_BAD_PASSWORD:
            arena[at] = s[i, S_LOGIN]
        else:
            arena[at] = CODES[s[i, S_REJECT]]
            arena[at + 1] = DSNS[s[i, S_REJECT]]
            arena[at + 2] = s[i, S_REASON]
            arena[at + 3] = s[i, S_FROM]
            arena[at + 4] = s[i, S_TO]
            arena[at + 5] = s[i, S_HELO]
    shape = BREAKS[behaviour]
    if shape >= 0:
        at = put(
            shape, end - 12_000, skew, k, host, service, pid, e, arena, TAG_NONE,
        )  # fmt: skip
        if shape == E_LOST_DATA:
            arena[at] = 200 + s[i, S_PORT] % 900
            at += 1
        put_named(s, i, k, arena, at)


CODES = np.array([code for _, code, _ in REJECTS])
DSNS = np.array([dsn for _, _, dsn in REJECTS])
BREAKS = np.full(B_COUNT, -1)
BREAKS[[B_LOST_CONNECT, B_LOST_EHLO, B_LOST_RCPT, B_LOST_DATA, B_TIMEOUT, B_TOO_MANY_ERRORS]] = (
    E_LOST_CONNECT, E_LOST_EHLO, E_LOST_RCPT, E_LOST_DATA, E_TIMEOUT, E_TOO_MANY,
)  # fmt: skip
DSN_OF_REPLY = np.array(REPLY_DSN)


@kernel
def message(
    s: Matrix,
    m: Matrix,
    d: Matrix,
    n: int,
    k: Ints,
    e: Matrix,
    arena: Ints,
) -> None:
    """The lines of one queue id, deliveries included."""
    server = m[n, M_SERVER]
    host = server
    skew = m[n, M_SKEW]
    i = m[n, M_SESSION]
    variety = m[n, M_NUMBER]
    if i >= 0:
        login = s[i, S_USER] >= 0
        at = put(
            E_CLIENT_LOGIN if login else E_CLIENT, m[n, M_QUEUED], skew, k, host,
            SUBMISSION if s[i, S_SERVICE] == 1 else SMTPD, s[i, S_PID], e, arena, TAG_NONE,
        )  # fmt: skip
        arena[at] = m[n, M_ID]
        at = put_named(s, i, k, arena, at + 1)
        arena[at] = s[i, S_LOGIN]
    if m[n, M_ID_AT] != NULL:
        at = put(
            E_MESSAGE_ID, m[n, M_ID_AT], skew, k, host, CLEANUP, 8941 - variety % 4, e, arena, TAG_NONE,
        )  # fmt: skip
        arena[at] = m[n, M_ID]
        arena[at + 1] = m[n, M_MESSAGE_ID]
    if m[n, M_SIZE] == NULL:
        return
    parent = m[n, M_PARENT]
    if parent >= 0:
        at = put(
            E_NOTICE, m[n, M_QUEUED] + 1_000_000, skew, k, host, BOUNCE, BOUNCE_PID, e, arena, TAG_NONE,
        )  # fmt: skip
        arena[at] = m[parent, M_ID]
        arena[at + 1] = m[n, M_ID]
    attempt = NULL
    for row in range(m[n, M_FIRST_DELIVERY], m[n, M_FIRST_DELIVERY] + m[n, M_DELIVERIES]):
        if d[row, D_BEGIN] != attempt:
            attempt = d[row, D_BEGIN]
            at = put(
                E_ACTIVE, attempt, skew, k, host, QMGR, QMGR_PID, e, arena, TAG_NONE,
            )  # fmt: skip
            arena[at] = m[n, M_ID]
            arena[at + 1] = m[n, M_FROM]
            arena[at + 2] = m[n, M_SIZE]
            arena[at + 3] = m[n, M_RECIPIENTS]
        delivery(m, d, n, row, k, e, arena, host)
    if m[n, M_REMOVED] != NULL:
        at = put(
            E_REMOVED, m[n, M_REMOVED], skew, k, host, QMGR, QMGR_PID, e, arena, TAG_NONE,
        )  # fmt: skip
        arena[at] = m[n, M_ID]


@kernel
def delivery(
    m: Matrix,
    d: Matrix,
    n: int,
    row: int,
    k: Ints,
    e: Matrix,
    arena: Ints,
    host: int,
) -> None:
    """A delivery agent's line."""
    agent = d[row, D_AGENT]
    status = d[row, D_STATUS]
    reached = d[row, D_HOST] != NULL
    if agent == A_VIRTUAL:
        shape = E_VIRTUAL
    elif not reached:
        shape = E_NOT_REACHED
    else:
        shape = E_SENT if status == D_SENT else E_DEFERRED if status == D_DEFERRED else E_BOUNCED
    service = VIRTUAL if agent == A_VIRTUAL else RELAY if agent == A_RELAY else SMTP
    at = put(
        shape, d[row, D_AT], m[n, M_SKEW], k, host, service, 8930 - 10 * agent - d[row, D_RECIPIENT] % 4,
        e, arena, TAG_NONE,
    )  # fmt: skip
    arena[at] = m[n, M_ID]
    arena[at + 1] = d[row, D_TO]
    at += 2
    if reached and agent != A_VIRTUAL:
        arena[at] = d[row, D_HOST]
        arena[at + 1] = d[row, D_HI]
        arena[at + 2] = d[row, D_LO]
        at += 3
    arena[at] = d[row, D_DELAY]
    arena[at + 1] = d[row, D_BEFORE_QUEUE]
    arena[at + 2] = d[row, D_IN_QUEUE]
    arena[at + 3] = d[row, D_CONNECT]
    arena[at + 4] = d[row, D_TRANSMIT]
    at += 5
    if shape != E_VIRTUAL:
        arena[at] = DSN_OF_REPLY[d[row, D_REPLY]]
        at += 1
    arena[at] = d[row, D_SAID]
