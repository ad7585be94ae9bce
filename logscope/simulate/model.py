"""Sessions: who connects, where the balancer sends them, what postscreen and smtpd make of them.

`fill` draws the sessions of some stretches of a plan, in the order of their arrival, into the columns of
`layout`. What it must remember from one call to the next stands in the arrays of `State`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import (
    NULL,
    SECOND,
    TEST_DNSBL,
    TEST_PREGREET,
    V_ALLOWLISTED,
    V_DENYLISTED,
    V_DROPPED,
    V_HANDED_OFF,
    V_HANGUP,
    V_NONE,
    V_PASS_NEW,
    V_PASS_OLD,
    V_REJECTED,
)
from logscope.engine import kernel
from logscope.simulate import chance
from logscope.simulate.chance import below, draw, scattered, spread, trait, waiting
from logscope.simulate.layout import *
from logscope.simulate.plan import Plan
from logscope.simulate.site import Options

Matrix = NDArray[np.int64]
Vector = NDArray[np.int64]
Floats = NDArray[np.float64]

HOUR = 3600 * SECOND
PASSED_FOR = HOUR  # postscreen_dnsbl_max_ttl; then the tests are made again
KNOWN_FOR = 7 * 24 * HOUR  # postscreen_cache_retention_time
SMTPD_TIMEOUT_S = 300.0
NO_HEADER_S = 5.0  # postscreen_upstream_proxy_timeout
MOST_PROCESSES = 8192
MOST_OPEN = 1 << 17
MAX_USE = 100  # sessions an smtpd process serves
MAX_IDLE_MS = 100_000  # after which it leaves
FIRST_PORT = 32768  # ip_local_port_range
PORTS = 28232
BUSY_BITS = 17
MOST_TRIES = 20

(
    P_SERVERS,
    P_BALANCERS,
    P_INNER,
    P_CLIENTS,
    P_TALK,
    P_CONNECT_MS,
    P_SCREEN,
    P_START,
    P_WIDTH,
) = range(9)

# Outcomes of schema.OUTCOMES, by their place.
(
    O_UNKNOWN, O_DELIVERED, O_PARTLY, O_ACCEPTED, O_DEFERRED, O_BOUNCED, O_REJECTED, O_SCREENED, O_NO_MAIL,
    O_ABORTED, O_TIMEOUT, O_SERVER_ERROR, O_NO_SERVER, O_PROBE, O_OPEN,
) = range(15)  # fmt: skip

# What HAProxy counts, as real daemons sent it (Postfix 3.7, host names of 16 characters).
GREETING = 36  # 220 mx-a.example.com ESMTP Postfix; the teaser is as long
EHLO = 189
OK = 14  # 250 2.1.0 Ok
DATA = 37  # 354 …
QUEUED = 37  # 250 2.0.0 Ok: queued as …
BYE = 15  # 221 2.0.0 Bye
TLS = 1943  # certificate and records


@dataclass
class State:
    """What the model remembers.

    Attributes:
        random: of `chance`.
        passed: for each server and client, when postscreen passed it; 0: never. Clients are followed by the
            balancers, which are clients where they are not told apart.
        inside: until when a session of theirs is held in postscreen's tests.
        credit: of each server at each balancer and service, for the weighted round.
        ports: next port of each balancer towards each server, and of the outer balancers towards the inner.
        idle: for each server and service the heap of smtpd processes by the end of their work.
        open: the heap of sessions open at the balancers, by their end.
        counts: their number, for all and for each server; the number of processes in each heap; next pid of
            each server; number of the next session.
        last: last client of each stream.
        busy: until when a port of a client is in use, by `place_of_port`.
    """

    random: Vector
    passed: Matrix
    inside: Matrix
    credit: Floats
    ports: Matrix
    idle: Matrix
    idle_count: Vector
    next_pid: Vector
    open: Vector
    open_count: Vector
    last: Vector
    busy: Vector
    number: Vector


def begin(options: Options, plan: Plan) -> State:
    """The state before the first session."""
    servers = len(options.servers)
    balancers = len(options.balancers) + len(options.inner)
    return State(
        random=chance.begin(options.seed, 2),
        passed=np.zeros((servers, plan.clients + balancers), np.int64),
        inside=np.zeros((servers, plan.clients + balancers), np.int64),
        credit=np.zeros((2 * balancers, servers)),
        ports=np.tile(FIRST_PORT + 977 * np.arange(servers + 1, dtype=np.int64), (balancers, 1)),
        idle=np.zeros((2 * servers, MOST_PROCESSES), np.int64),
        idle_count=np.zeros(2 * servers, np.int64),
        next_pid=np.full(servers, 8950, np.int64),
        open=np.zeros(MOST_OPEN, np.int64),
        open_count=np.zeros(servers + 2, np.int64),
        last=np.full(len(plan.streams), -1, np.int64),
        busy=np.zeros(1 << BUSY_BITS, np.int64),
        number=np.zeros(1, np.int64),
    )


def parameters(options: Options, plan: Plan) -> Floats:
    """The numbers of a site that hold all the time, P_…"""
    values = np.zeros(P_WIDTH)
    values[[P_SERVERS, P_BALANCERS, P_INNER]] = (
        len(options.servers), len(options.balancers), len(options.inner),
    )  # fmt: skip
    values[[P_CLIENTS, P_TALK, P_CONNECT_MS, P_SCREEN, P_START]] = (
        plan.clients, options.talk, options.connect_ms, options.screen, options.start_ns,
    )  # fmt: skip
    return values


# --- heaps of numbers ---------------------------------------------------------------------------------------


@kernel
def push(heap: Vector, count: int, key: int) -> None:
    """Add a key to a heap that has room."""
    at = count
    while at > 0:
        above = (at - 1) >> 1
        if heap[above] <= key:
            break
        heap[at] = heap[above]
        at = above
    heap[at] = key


@kernel
def pop(heap: Vector, count: int) -> int:
    """Take the least key from a heap that is not empty."""
    least = heap[0]
    key = heap[count - 1]
    last = count - 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= last:
            break
        if child + 1 < last and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key
    return int(least)


# --- the sessions of some stretches -------------------------------------------------------------------------


@kernel
def fill(
    s: Matrix,
    edges: Vector,
    counts: Matrix,
    condition: Vector,
    conditions: Matrix,
    streams: Matrix,
    p: Floats,
    r: Vector,
    passed: Matrix,
    inside: Matrix,
    credit: Floats,
    ports: Matrix,
    idle: Matrix,
    idle_count: Vector,
    next_pid: Vector,
    opened: Vector,
    open_count: Vector,
    last: Vector,
    busy: Vector,
    number: Vector,
) -> int:
    """Draw the sessions of these stretches into the columns `s`; returns how many."""
    row = 0
    left = np.zeros(streams.shape[0], np.int64)
    for stretch in range(counts.shape[0]):
        total = 0
        for stream in range(streams.shape[0]):
            left[stream] = counts[stretch, stream]
            total += left[stream]
        if total == 0:
            continue
        c = conditions[condition[stretch]]
        first = row
        at = 0.0
        for n in range(total):
            # Gaps like these, brought to scale below, make moments as even chance would have them, sorted.
            at += waiting(r, 1.0)
            s[row, S_AT] = int(at * 1e6)
            which = below(r, total - n)
            stream = 0
            while which >= left[stream]:
                which -= left[stream]
                stream += 1
            left[stream] -= 1
            s[row, S_STREAM] = stream
            row += 1
        whole = at + waiting(r, 1.0)
        width = (edges[stretch + 1] - edges[stretch]) // MILLISECOND
        for i in range(first, row):
            share = s[i, S_AT] / (whole * 1e6)
            s[i, S_AT] = (edges[stretch] // MILLISECOND + int(share * width)) * MILLISECOND
            s[i, S_CONDITION] = condition[stretch]
            s[i, S_NUMBER] = number[0]
            number[0] += 1
            one(
                s, i, c, streams[s[i, S_STREAM]], p, r, passed, inside, credit, ports, idle, idle_count,
                next_pid, opened, open_count, last, busy,
            )  # fmt: skip
    return row


@kernel
def one(
    s: Matrix,
    i: int,
    c: Floats,
    q: Floats,
    p: Floats,
    r: Vector,
    passed: Matrix,
    inside: Matrix,
    credit: Floats,
    ports: Matrix,
    idle: Matrix,
    idle_count: Vector,
    next_pid: Vector,
    opened: Vector,
    open_count: Vector,
    last: Vector,
    busy: Vector,
) -> None:
    """One session, whose stream and moment are known."""
    for column in (S_SCREEN_END, S_CONNECTED, S_VERDICT_AT, S_SMTPD_AT, S_SMTPD_END):
        s[i, column] = NULL
    for column in (
        S_TESTS, S_RANK, S_TLS, S_REJECT, S_REJECT_COUNT, S_MESSAGES, S_FIRST_MESSAGE, S_QUEUED, S_RECIPIENTS,
        S_RETRIES, S_PID, S_LOST, S_BACK_PORT, S_OUTER_PORT, S_BYTES, S_DURATION, S_SKEW,
    ):  # fmt: skip
        s[i, column] = 0
    for column in range(S_NAME, S_WIDTH):
        s[i, column] = NULL
    s[i, S_USER] = -1
    s[i, S_TERMINATION] = T_NORMAL
    s[i, S_VERDICT] = V_NONE
    s[i, S_OUTCOME] = O_UNKNOWN
    s[i, S_HEADER] = H_PASSED
    s[i, S_FAULT] = int(q[Q_FAULT])
    s[i, S_SERVICE] = int(q[Q_SERVICE])
    choose_behaviour(s, i, q, r)
    choose_client(s, i, q, p, r, last)
    choose_port(s, i, r, busy)
    choose_route(s, i, c, q, p, r, credit, ports)
    close_sessions(s[i, S_AT], opened, open_count)
    if s[i, S_SERVER] < 0:
        nobody_there(s, i, r)
    else:
        serve(s, i, c, q, p, r, passed, inside, idle, idle_count, next_pid)
    open_session(s, i, opened, open_count)
    busy[place_of_port(s, i)] = s[i, S_AT] + (s[i, S_DURATION] + 1) * MILLISECOND
    lose(s, i, c, r)


@kernel
def choose_behaviour(s: Matrix, i: int, q: Floats, r: Vector) -> None:
    u = draw(r)
    behaviour = 0
    while behaviour < B_COUNT - 1 and u > q[Q_MIX + behaviour]:
        behaviour += 1
    s[i, S_BEHAVIOUR] = behaviour


@kernel
def is_screened(behaviour: int) -> bool:
    """Whether postscreen ends such sessions itself, so that the client is never passed on."""
    return behaviour >= B_LISTED and behaviour <= B_SCREEN_HANGUP


@kernel
def choose_client(s: Matrix, i: int, q: Floats, p: Floats, r: Vector, last: Vector) -> None:
    """A client of the stream: a few come often, most hardly ever; and the address it comes from."""
    stream = s[i, S_STREAM]
    clients = int(q[Q_CLIENTS])
    screened = is_screened(s[i, S_BEHAVIOUR])
    first = int(q[Q_FIRST])
    if q[Q_SPLIT] > 0.0:
        # Who is on a blocklist is on it every time: the screened are the first half.
        half = clients // 2
        if not screened:
            first += half
        clients = half
    client = last[stream]
    if client < first or client >= first + clients or draw(r) >= q[Q_AGAIN]:
        client = first + int(clients * draw(r) ** q[Q_TAIL])
    last[stream] = client
    s[i, S_CLIENT] = client
    s[i, S_HI], s[i, S_LO] = address_of(client, q[Q_NEAR] > 0.0)


@kernel
def address_of(client: int, near: bool) -> tuple[int, int]:
    """Both halves of a client's address.

    Args:
        near: it is one of a network of neighbours.
    """
    if near:
        return 0, 0xFFFF_C633_6400 + client % 256  # 198.51.100.0/24
    if trait(client, 1) % 12 == 0:
        return 0x2001_0DB8_0000_0000 + (scattered(client & 0xFFFF, 16) << 8), 1 + client // 0x10000
    if client < 1 << 17:
        return 0, 0xFFFF_C612_0000 + scattered(client, 17)  # 198.18.0.0/15, RFC 2544
    return 0, 0xFFFF_6440_0000 + scattered(client & 0x3FFFFF, 22)  # 100.64.0.0/10, RFC 6598


@kernel
def choose_port(s: Matrix, i: int, r: Vector, busy: Vector) -> None:
    """Any port but one that the client has in use: ports come again, once the session before is over."""
    for _ in range(MOST_TRIES):
        s[i, S_PORT] = 1024 + below(r, 64512)
        if busy[place_of_port(s, i)] < s[i, S_AT]:
            break


@kernel
def place_of_port(s: Matrix, i: int) -> int:
    """Where it stands until when a port is in use. Some share a place, and one waits for the other then."""
    return int((s[i, S_CLIENT] * 0x2C1B3C6D + s[i, S_PORT] * 0x297A2D39) >> 9 & (1 << BUSY_BITS) - 1)


@kernel
def choose_route(
    s: Matrix, i: int, c: Floats, q: Floats, p: Floats, r: Vector, credit: Floats, ports: Matrix
) -> None:
    """The balancers it goes through and the server it comes to: a weighted round."""
    servers = int(p[P_SERVERS])
    if q[Q_PAST] >= 0.0:
        s[i, S_BALANCER] = -1
        s[i, S_SERVER] = int(q[Q_PAST])
        return
    outer = trait(s[i, S_CLIENT], 2) % int(p[P_BALANCERS])
    s[i, S_BALANCER] = outer
    balancer = outer
    if p[P_INNER] > 0.0:
        balancer = int(p[P_BALANCERS]) + s[i, S_NUMBER] % int(p[P_INNER])
        s[i, S_OUTER_PORT] = next_port(ports, outer, servers)
    line = 2 * balancer + s[i, S_SERVICE]
    total = 0.0
    best = -1
    for server in range(servers):
        weight = c[server * C_CONDITIONS + C_WEIGHT]
        if weight > 0.0:
            total += weight
            credit[line, server] += weight
            if best < 0 or credit[line, server] > credit[line, best]:
                best = server
    s[i, S_SERVER] = best
    if best >= 0:
        credit[line, best] -= total
        s[i, S_BACK_PORT] = next_port(ports, balancer, best)


@kernel
def next_port(ports: Matrix, balancer: int, towards: int) -> int:
    port = ports[balancer, towards]
    ports[balancer, towards] = FIRST_PORT + (port + 2 - FIRST_PORT) % PORTS
    return int(port)


@kernel
def nobody_there(s: Matrix, i: int, r: Vector) -> None:
    s[i, S_QUEUE] = -1
    s[i, S_CONNECT] = -1
    s[i, S_DURATION] = 1 if draw(r) < 0.1 else 0
    s[i, S_TERMINATION] = T_NO_SERVER
    s[i, S_OUTCOME] = O_NO_SERVER


# --- at the server ------------------------------------------------------------------------------------------


@kernel
def serve(
    s: Matrix,
    i: int,
    c: Floats,
    q: Floats,
    p: Floats,
    r: Vector,
    passed: Matrix,
    inside: Matrix,
    idle: Matrix,
    idle_count: Vector,
    next_pid: Vector,
) -> None:
    server = s[i, S_SERVER]
    v = c[server * C_CONDITIONS : (server + 1) * C_CONDITIONS]
    g = c[int(p[P_SERVERS]) * C_CONDITIONS :]
    at = s[i, S_AT]
    s[i, S_SKEW] = int(v[C_SKEW] + v[C_DRIFT] * ((at - p[P_START]) / 1e9 - v[C_SINCE]))
    if s[i, S_BALANCER] < 0:
        s[i, S_QUEUE] = -1
        s[i, S_CONNECT] = -1
        start = at
    else:
        if v[C_REFUSE] > 0.0:
            # Three retries, a second apart, all refused (HAProxy's manual, `retries`).
            s[i, S_QUEUE] = 1
            s[i, S_CONNECT] = -1
            s[i, S_DURATION] = 3004 + below(r, 5)
            s[i, S_RETRIES] = 3
            s[i, S_TERMINATION] = T_NO_SERVER
            s[i, S_OUTCOME] = O_NO_SERVER
            s[i, S_FAULT] = int(v[C_FAULT])
            return
        s[i, S_QUEUE] = 1  # what an idle balancer of the field logs
        if v[C_QUEUE] > 0.0:
            s[i, S_QUEUE] += int(waiting(r, v[C_QUEUE]))
        s[i, S_CONNECT] = int(spread(r, p[P_CONNECT_MS] * v[C_CONNECT], 0.4))
        start = at + (s[i, S_QUEUE] - 1 + s[i, S_CONNECT]) * MILLISECOND
    # The balancer's own millisecond began up to one earlier.
    start += 200_000 + int(draw(r) * 900_000)
    start = start // MICROSECOND * MICROSECOND
    s[i, S_CONNECTED] = start
    meet_header(s, i, v, r)
    if s[i, S_HEADER] >= H_MISSING:
        no_session(s, i, start, p, r)
        return
    rtt = 0.006 * np.exp(trait(s[i, S_CLIENT], 3) / 2147483648.0 * 3.2) * p[P_TALK]
    if s[i, S_SERVICE] == 0 and p[P_SCREEN] > 0.0:
        begin = screen(s, i, start, v, p, r, rtt, passed, inside)
        if begin == NULL:
            return
    else:
        s[i, S_VERDICT] = V_NONE
        begin = start
        unscreened(s, i, r)
    talk(s, i, begin, v, g, q, r, rtt * v[C_TALK] * (0.8 + 0.5 * draw(r)))
    s[i, S_PID] = process(
        idle[2 * server + s[i, S_SERVICE]], idle_count, 2 * server + s[i, S_SERVICE], next_pid, server,
        s[i, S_SMTPD_AT], s[i, S_SMTPD_END], int(p[P_START]),
    )  # fmt: skip


@kernel
def meet_header(s: Matrix, i: int, v: Floats, r: Vector) -> None:
    """What became of the PROXY header on this way."""
    kind = v[C_HEADER_SMTP]
    share = v[C_SHARE_SMTP]
    if s[i, S_SERVICE] == 1:
        kind = v[C_HEADER_SUBMISSION]
        share = v[C_SHARE_SUBMISSION]
    if s[i, S_BALANCER] < 0 or kind == 0.0:
        return
    if draw(r) < share:
        s[i, S_HEADER] = int(kind)
        if s[i, S_FAULT] < 0:
            s[i, S_FAULT] = int(v[C_FAULT])


@kernel
def no_session(s: Matrix, i: int, start: int, p: Floats, r: Vector) -> None:
    """Header and expectation do not fit: nobody gets anywhere."""
    s[i, S_OUTCOME] = O_SERVER_ERROR
    screened = s[i, S_SERVICE] == 0 and p[P_SCREEN] > 0.0
    if s[i, S_HEADER] == H_MISSING:
        end = start + int(NO_HEADER_S * 1e9) + below(r, 2000) * MICROSECOND
        s[i, S_BYTES] = (
            31 if screened else 47
        )  # 421 4.3.2 No system resources, 421 4.3.0 … Server local error
    else:
        end = start + int((0.02 + 0.3 * draw(r)) * 1e6) * MICROSECOND
        s[i, S_BYTES] = GREETING + 61 + 62
        s[i, S_TESTS] = 1 << TEST_PREGREET
    if screened:
        s[i, S_VERDICT] = V_HANGUP if s[i, S_HEADER] == H_UNEXPECTED else V_DROPPED
        s[i, S_SCREEN_END] = end
    else:
        s[i, S_SMTPD_AT] = start if s[i, S_HEADER] == H_UNEXPECTED else end - 200 * MICROSECOND
        s[i, S_SMTPD_END] = end
    finish(s, i, end, 300_000)


@kernel
def finish(s: Matrix, i: int, end: int, after: int) -> None:
    """The balancer sees the end, so many nanoseconds after the mail server."""
    s[i, S_DURATION] = max(-(-(end + after - s[i, S_AT]) // MILLISECOND), 0)


@kernel
def unscreened(s: Matrix, i: int, r: Vector) -> None:
    """What clients that postscreen would have kept away do where nobody does."""
    behaviour = s[i, S_BEHAVIOUR]
    if behaviour in (B_LISTED, B_DENYLISTED):
        s[i, S_BEHAVIOUR] = B_DELIVERED if draw(r) < 0.4 else B_UNKNOWN_USER
    elif behaviour == B_PREGREET:
        s[i, S_BEHAVIOUR] = B_LOST_EHLO
    elif behaviour == B_SCREEN_HANGUP:
        s[i, S_BEHAVIOUR] = B_LOST_CONNECT


@kernel
def screen(
    s: Matrix,
    i: int,
    start: int,
    v: Floats,
    p: Floats,
    r: Vector,
    rtt: float,
    passed: Matrix,
    inside: Matrix,
) -> int:
    """What postscreen does; returns when smtpd gets the session, NULL when it never does."""
    server = s[i, S_SERVER]
    who = s[i, S_CLIENT]
    masked = s[i, S_HEADER] == H_MASKED
    if masked:
        who = int(p[P_CLIENTS]) + s[i, S_BALANCER]
        if s[i, S_OUTER_PORT] > 0:
            who = int(p[P_CLIENTS] + p[P_BALANCERS]) + s[i, S_NUMBER] % int(p[P_INNER])
    at = passed[server, who]
    known = at > 0 and at <= start and start - at < KNOWN_FOR
    fresh = known and start - at < PASSED_FOR
    behaviour = s[i, S_BEHAVIOUR]
    quick = start + 100_000 + int(draw(r) * 400) * MICROSECOND
    if behaviour == B_DENYLISTED and not masked:
        denied(s, i, start, quick, v, r, rtt, server, who, inside)
        return NULL
    listed = behaviour == B_LISTED and not masked and (v[C_DNSBL] >= 1.0 or draw(r) < v[C_DNSBL])
    if behaviour == B_LISTED and not listed and s[i, S_FAULT] < 0 and not masked:
        s[i, S_FAULT] = int(v[C_FAULT])
    if not masked and trait(who, 4) % 14 == 0 and not is_screened(behaviour):
        s[i, S_VERDICT] = V_ALLOWLISTED
        verdict = quick
    elif fresh and not listed:
        unscreened(s, i, r)
        if inside[server, who] > start:
            # Tests are satisfied while another session of the address is still held: no line is logged.
            s[i, S_VERDICT] = V_HANDED_OFF
            return quick + (200 + below(r, 1000)) * MICROSECOND
        s[i, S_VERDICT] = V_PASS_OLD
        verdict = quick
    else:
        wait = (2.0 + 1.8 * draw(r)) * v[C_SCREEN]
        held = int(wait * 1e6) * MICROSECOND
        s[i, S_BYTES] = GREETING  # the teaser
        if behaviour in (B_LISTED, B_DENYLISTED) and not listed:
            s[i, S_BEHAVIOUR] = B_UNKNOWN_USER if draw(r) < 0.6 else B_DELIVERED
        elif listed or behaviour in (B_PREGREET, B_SCREEN_HANGUP):
            kept_away(s, i, start, held, r, rtt)
            inside[server, who] = max(inside[server, who], s[i, S_SCREEN_END])
            return NULL
        s[i, S_VERDICT] = V_PASS_OLD if known else V_PASS_NEW
        verdict = start + held
        inside[server, who] = max(inside[server, who], verdict)
        passed[server, who] = verdict if at == 0 or verdict > at else at
    s[i, S_VERDICT_AT] = verdict
    return int(verdict + (200 + below(r, 1000)) * MICROSECOND)


@kernel
def denied(
    s: Matrix,
    i: int,
    start: int,
    quick: int,
    v: Floats,
    r: Vector,
    rtt: float,
    server: int,
    who: int,
    inside: Matrix,
) -> None:
    """On postscreen's own denylist: told so at RCPT, after the greeting's delay."""
    s[i, S_VERDICT] = V_DENYLISTED
    s[i, S_VERDICT_AT] = quick
    s[i, S_REJECT] = R_UNAVAILABLE
    s[i, S_REJECT_COUNT] = 1
    s[i, S_OUTCOME] = O_SCREENED
    end = start + int(((2.0 + 1.8 * draw(r)) * v[C_SCREEN] + 5 * rtt) * 1e6) * MICROSECOND
    s[i, S_SCREEN_END] = end
    s[i, S_BYTES] = 307
    inside[server, who] = max(inside[server, who], end)
    finish(s, i, end, 400_000)


@kernel
def kept_away(s: Matrix, i: int, start: int, held: int, r: Vector, rtt: float) -> None:
    """Listed, or talking too early, or leaving while the tests run."""
    behaviour = s[i, S_BEHAVIOUR]
    s[i, S_OUTCOME] = O_SCREENED
    if behaviour == B_LISTED:
        s[i, S_TESTS] = 1 << TEST_DNSBL
        s[i, S_RANK] = 3 + below(r, 4)
        s[i, S_VERDICT] = V_REJECTED
        s[i, S_REJECT] = R_LISTED
        s[i, S_REJECT_COUNT] = 1
        end = start + held + int(6 * rtt * 1e6) * MICROSECOND
        s[i, S_BYTES] = 326
        finish(s, i, end, 400_000)
    elif behaviour == B_PREGREET:
        s[i, S_TESTS] = 1 << TEST_PREGREET
        if draw(r) < 0.5:
            s[i, S_VERDICT] = V_REJECTED
            s[i, S_REJECT] = R_PROTOCOL
            s[i, S_REJECT_COUNT] = 1
            end = start + held + int(4 * rtt * 1e6) * MICROSECOND
            s[i, S_BYTES] = 242
        else:
            s[i, S_VERDICT] = V_HANGUP
            end = start + held + int(waiting(r, 4.0) * 1e6) * MICROSECOND
            s[i, S_BYTES] = 187
        finish(s, i, end, 400_000)
    else:
        s[i, S_VERDICT] = V_HANGUP
        s[i, S_OUTCOME] = O_ABORTED
        s[i, S_TERMINATION] = T_CLIENT
        end = start + int(draw(r) * held / MICROSECOND * 0.97) * MICROSECOND
        finish(s, i, end, 0)
    s[i, S_SCREEN_END] = end


# --- the dialogue with smtpd --------------------------------------------------------------------------------


@kernel
def talk(s: Matrix, i: int, begin: int, v: Floats, g: Floats, q: Floats, r: Vector, rtt: float) -> None:
    """From `connect from` to `disconnect from`."""
    s[i, S_SMTPD_AT] = begin
    change_of_plan(s, i, v, g, r)
    behaviour = s[i, S_BEHAVIOUR]
    submission = s[i, S_SERVICE] == 1
    users = int(q[Q_USERS])
    if submission or (behaviour != B_LOST_CONNECT and draw(r) < 0.3):
        s[i, S_TLS] = 1
    length = 2.0 * rtt + (3.0 * rtt + 0.008 if s[i, S_TLS] else 0.0)
    count = s[i, S_BYTES] + GREETING + EHLO + (TLS if s[i, S_TLS] else 0)
    if submission and behaviour == B_DELIVERED:
        s[i, S_USER] = int(q[Q_FIRST_USER]) + (s[i, S_CLIENT] - int(q[Q_FIRST])) % max(users, 1)
        length += rtt
        count += 37
    after = 500_000
    if behaviour == B_DELIVERED:
        messages = 1
        while messages < 20 and draw(r) > 1.0 / q[Q_MESSAGES]:
            messages += 1
        s[i, S_MESSAGES] = messages
        s[i, S_QUEUED] = messages
        length += rtt
        for _ in range(messages):
            length += 3.0 * rtt + spread(r, 0.05, 0.9)
        length *= g[G_BEFORE_QUEUE] if g[G_BEFORE_QUEUE] > 1.0 else 1.0
        count += messages * (2 * OK + DATA + QUEUED) + BYE
        s[i, S_OUTCOME] = O_ACCEPTED
    elif behaviour <= B_SENDER_REJECTED:
        if s[i, S_REJECT] == R_NOTHING:
            s[i, S_REJECT] = behaviour
        s[i, S_REJECT_COUNT] = 1
        length += 4.0 * rtt + spread(r, 0.01, 0.8)
        count += OK + 60 + BYE
        s[i, S_OUTCOME] = O_REJECTED
    elif behaviour == B_BAD_PASSWORD:
        tries = max(int(q[Q_TRIES]), 1)
        s[i, S_USER] = int(q[Q_FIRST_USER]) + below(r, max(users, 1))
        s[i, S_REJECT_COUNT] = tries
        length += tries * (rtt + 0.3 + 1.2 * draw(r))
        count += tries * 51 + BYE
        s[i, S_OUTCOME] = O_REJECTED
    elif behaviour == B_TOO_MANY_ERRORS:
        s[i, S_REJECT] = R_UNKNOWN_USER
        s[i, S_REJECT_COUNT] = 20
        length += 20 * rtt + 10.0  # smtpd_error_sleep_time from the tenth error on
        count += OK + 20 * 100 + 50
        s[i, S_TERMINATION] = T_SERVER
        s[i, S_OUTCOME] = O_REJECTED
    elif behaviour == B_TIMEOUT:
        length += SMTPD_TIMEOUT_S
        count += 47
        s[i, S_OUTCOME] = O_TIMEOUT
    elif behaviour == B_HOARD:
        length += q[Q_HOLD] * (0.5 + draw(r))
        count += BYE
        s[i, S_OUTCOME] = O_NO_MAIL
    elif behaviour == B_QUIT:
        length += rtt
        count += BYE
        s[i, S_OUTCOME] = O_NO_MAIL
    else:
        s[i, S_TERMINATION] = T_CLIENT
        s[i, S_OUTCOME] = O_ABORTED
        after = -400_000
        if behaviour == B_LOST_CONNECT:
            length = spread(r, 0.2, 1.0)
            count -= EHLO + (TLS if s[i, S_TLS] else 0)
            s[i, S_TLS] = 0
        elif behaviour == B_LOST_EHLO:
            # It closes in order, without QUIT: HAProxy sees both ends close, the server last.
            s[i, S_TERMINATION] = T_NORMAL
            after = 500_000
            length += spread(r, 0.3, 0.9)
        elif behaviour == B_LOST_RCPT:
            length += 2.0 * rtt + spread(r, 0.2, 0.9)
            count += 2 * OK
            s[i, S_MESSAGES] = 1
        else:
            length += 3.0 * rtt + spread(r, 0.8, 0.9)
            count += 2 * OK + DATA
            s[i, S_MESSAGES] = 1
    end = begin + max(int(length * 1e6), 800) * MICROSECOND
    s[i, S_SMTPD_END] = end
    s[i, S_BYTES] = count
    finish(s, i, end, after)


@kernel
def change_of_plan(s: Matrix, i: int, v: Floats, g: Floats, r: Vector) -> None:
    """Where a fault refuses the session or cuts it short."""
    behaviour = s[i, S_BEHAVIOUR]
    if behaviour > B_SENDER_REJECTED or s[i, S_FAULT] >= 0:
        return
    if v[C_REJECT] > 0.0 and draw(r) < v[C_REJECT]:
        s[i, S_BEHAVIOUR] = B_SENDER_REJECTED
        s[i, S_REJECT] = R_SERVER
        s[i, S_FAULT] = int(v[C_FAULT])
    elif g[G_POLICY] > 0.0 and draw(r) < g[G_POLICY]:
        s[i, S_BEHAVIOUR] = B_SENDER_REJECTED
        s[i, S_REJECT] = R_POLICY
        s[i, S_FAULT] = int(g[G_FAULT])
    elif g[G_LEAVE] > 0.0 and draw(r) < g[G_LEAVE]:
        s[i, S_BEHAVIOUR] = B_LOST_EHLO + below(r, 3)
        s[i, S_FAULT] = int(g[G_FAULT])
    elif v[C_ABORT] > 0.0 and draw(r) < v[C_ABORT]:
        s[i, S_BEHAVIOUR] = B_TOO_MANY_ERRORS
        s[i, S_FAULT] = int(v[C_FAULT])


@kernel
def process(
    heap: Vector,
    counts: Vector,
    which: int,
    next_pid: Vector,
    server: int,
    start: int,
    end: int,
    begin: int,
) -> int:
    """The smtpd process that serves a session: one that is idle, else a new one."""
    now = (start - begin) // MILLISECOND
    until = (end - begin) // MILLISECOND + 1
    count = counts[which]
    pid = -1
    uses = 0
    while count > 0 and heap[0] >> 27 < now:
        key = pop(heap, count)
        count -= 1
        if (key >> 27) + MAX_IDLE_MS >= now:
            pid = (key >> 7) & 0xFFFFF
            uses = key & 127
            break
    if pid < 0:
        next_pid[server] = 2000 + (next_pid[server] - 1999) % 1_000_000
        pid = next_pid[server]
    if uses + 1 < MAX_USE and count < heap.shape[0]:
        push(heap, count, (until << 27) | (pid << 7) | (uses + 1))
        count += 1
    counts[which] = count
    return int(pid)


# --- how many are open, and what is lost --------------------------------------------------------------------


@kernel
def close_sessions(now: int, opened: Vector, counts: Vector) -> None:
    """Count off what ended before now. Keys are the end in microseconds, then the server."""
    count = counts[0]
    while count > 0 and (opened[0] >> 7) <= now // MICROSECOND:
        key = pop(opened, count)
        count -= 1
        counts[1 + (key & 127)] -= 1
    counts[0] = count


@kernel
def open_session(s: Matrix, i: int, opened: Vector, counts: Vector) -> None:
    server = s[i, S_SERVER] + 1  # 0: none
    if counts[0] < opened.shape[0] and s[i, S_BALANCER] >= 0:
        end = (s[i, S_AT] + s[i, S_DURATION] * MILLISECOND) // MICROSECOND
        push(opened, counts[0], (end << 7) | server)
        counts[0] += 1
        counts[1 + server] += 1
    s[i, S_OPEN] = counts[0]
    s[i, S_OPEN_SERVER] = counts[1 + server]


@kernel
def lose(s: Matrix, i: int, c: Floats, r: Vector) -> None:
    """Lines that never reach the log."""
    g = c[c.shape[0] - G_WIDTH :]
    struck = s[i, S_BALANCER] >= 0 and (g[G_BALANCER] < 0.0 or g[G_BALANCER] == s[i, S_BALANCER])
    if struck and g[G_LOSE] > 0.0 and draw(r) < g[G_LOSE]:
        s[i, S_LOST] |= 1
        if s[i, S_FAULT] < 0:
            s[i, S_FAULT] = int(g[G_FAULT])
    server = s[i, S_SERVER]
    if server >= 0:
        share = c[server * C_CONDITIONS + C_LOSE]
        if share > 0.0 and draw(r) < share:
            s[i, S_LOST] |= 2
            if s[i, S_FAULT] < 0:
                s[i, S_FAULT] = int(c[server * C_CONDITIONS + C_FAULT])
