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
    V_NONE,
)
from logscope.engine import kernel
from logscope.simulate import chance
from logscope.simulate.chance import below, draw, scattered, trait, waiting
from logscope.simulate.heaps import pop, push
from logscope.simulate.layout import *
from logscope.simulate.plan import Plan
from logscope.simulate.serving import is_screened, serve
from logscope.simulate.site import Options

Matrix = NDArray[np.int64]
Vector = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_PROCESSES = 8192
MOST_OPEN = 1 << 17
FIRST_PORT = 32768  # ip_local_port_range
PORTS = 28232
BUSY_BITS = 17
MOST_TRIES = 20


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
