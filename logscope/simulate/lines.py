"""The lines that the daemons of a site log about its sessions, as rows for the column writer.

Each kind of line is a shape made from the grammars (`KINDS_OF_LINES`). The kernels put the values of its
fields into rows, one for each line, in the order of the fields in the text; beside each row they keep when
it was logged, since that is the order of a file, and what it is to the truth.
"""

from __future__ import annotations

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
from logscope.simulate.chance import trait
from logscope.simulate.layout import *
from logscope.simulate.mail import logged_delay
from logscope.simulate.shapes import *
from logscope.simulate.texts import (
    LENGTH,
    W_BACKENDS,
    W_FRONTENDS,
    W_NO_SERVER,
    W_SERVICES,
    W_TERMINATIONS,
)

Matrix = NDArray[np.int64]
Ints = NDArray[np.int64]


def room(s: Matrix, m: Matrix, d: Matrix) -> int:
    """How many lines there can be at most."""
    if s.shape[0] == 0:
        return 0
    extra = int(s[:, S_REJECT_COUNT].sum())
    return int(14 * s.shape[0] + extra + 8 * m.shape[0] + 2 * d.shape[0])


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
