"""Messages and deliveries: what becomes of the mail that sessions bring, and the notices it causes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import D_BOUNCED, D_DEFERRED, D_SENT, NULL
from logscope.correlate.output import F_BOUNCED, F_DEFERRED, F_PARTLY, F_SENT, F_UNKNOWN
from logscope.engine import kernel
from logscope.simulate.chance import below, draw, spread, waiting
from logscope.simulate.layout import *
from logscope.simulate.model import (
    O_BOUNCED,
    O_DEFERRED,
    O_DELIVERED,
    O_PARTLY,
)
from logscope.simulate.texts import DESTINATIONS

Matrix = NDArray[np.int64]
Vector = NDArray[np.int64]
Floats = NDArray[np.float64]

DOMAINS = 5
MOST_RECIPIENTS = 50
MOST_ATTEMPTS = 12
FIRST_RETRY_S = 300.0  # minimal_backoff_time
LONGEST_RETRY_S = 4000.0  # maximal_backoff_time
FIRST_INODE = 0x22A000
INODES = 0x4000


@kernel
def bring(
    s: Matrix,
    count: int,
    m: Matrix,
    conditions: Matrix,
    streams: Matrix,
    servers: int,
    inodes: Vector,
    r: Vector,
) -> tuple[int, int]:
    """The messages of `count` sessions, each ready for its deliveries.

    Returns how many there are, and how many deliveries the first attempts will make.
    """
    row = 0
    recipients = 0
    for i in range(count):
        s[S_FIRST_MESSAGE, i] = row
        if s[S_MESSAGES, i] == 0:
            continue
        g = conditions[s[S_CONDITION, i]][servers * C_CONDITIONS :]
        q = streams[s[S_STREAM, i]]
        begin = s[S_SMTPD_AT, i]
        part = (s[S_SMTPD_END, i] - begin) / (s[S_MESSAGES, i] + 0.6)
        sender = below(r, 1013)
        domain = s[S_CLIENT, i] % DOMAINS
        for n in range(s[S_MESSAGES, i]):
            queued = moment(begin, part * (0.45 + n))
            m[M_SESSION, row] = i
            m[M_SERVER, row] = s[S_SERVER, i]
            m[M_SKEW, row] = s[S_SKEW, i]
            m[M_LOST, row] = s[S_LOST, i]
            m[M_QUEUED, row] = queued
            m[M_QUEUE_ID, row] = new_queue_id(inodes, s[S_SERVER, i], queued + s[S_SKEW, i])
            m[M_NUMBER, row] = below(r, 1 << 30)
            m[M_SENDER, row] = sender if s[S_USER, i] < 0 else s[S_USER, i]
            m[M_DOMAIN, row] = domain
            m[M_PARENT, row] = -1
            m[M_DELIVERIES, row] = 0
            m[M_ATTEMPTS, row] = 0
            m[M_FIRST_DELIVERY, row] = 0
            m[M_REMOVED, row] = NULL
            m[M_RETRY, row] = NULL
            m[M_STATUS, row] = F_UNKNOWN
            m[M_SIZE, row] = NULL
            m[M_RECIPIENTS, row] = NULL
            m[M_ACTIVE, row] = NULL
            m[M_ID_AT, row] = NULL
            if s[S_QUEUED, i] > 0:
                m[M_SIZE, row] = 520 + int(spread(r, 2600.0, 1.5) * q[Q_SIZE] * g[G_SIZE])
                m[M_ID_AT, row] = moment(begin, part * (0.9 + n))
                m[M_ACTIVE, row] = moment(begin, part * (1.2 + n))
                m[M_RECIPIENTS, row] = how_many(r, q[Q_RECIPIENTS])
                recipients += m[M_RECIPIENTS, row]
                s[S_RECIPIENTS, i] += m[M_RECIPIENTS, row]
            elif s[S_BEHAVIOUR, i] == B_LOST_DATA:
                m[M_ID_AT, row] = s[S_SMTPD_END, i] + 150 * MICROSECOND  # what came of it has a header
            row += 1
    return row, recipients


@kernel
def moment(begin: int, after: float) -> int:
    return int(begin + int(after / MICROSECOND) * MICROSECOND)


@kernel
def how_many(r: Vector, mean: float) -> int:
    """At least one, geometrically distributed."""
    if mean <= 1.0:
        return 1
    number = 1 + int(waiting(r, 1.0) / -np.log(1.0 - 1.0 / mean))
    return min(number, MOST_RECIPIENTS)


@kernel
def new_queue_id(inodes: Vector, server: int, at: int) -> int:
    """A short queue id: the microseconds of its moment and the inode of its file."""
    inodes[server] = (inodes[server] + 1) % INODES
    return int(((at // MICROSECOND % 1_000_000) << 32) | (FIRST_INODE + inodes[server]))


@kernel
def deliver(
    s: Matrix,
    sessions: int,
    m: Matrix,
    count: int,
    d: Matrix,
    conditions: Matrix,
    servers: int,
    inodes: Vector,
    r: Vector,
) -> tuple[int, int]:
    """All deliveries of these messages, and the outcome of the sessions; returns how many messages, with the
    notices put behind them, and how many deliveries there are.
    """
    notices = count
    row = 0
    for k in range(count):
        if m[M_SIZE, k] == NULL:
            continue
        i = m[M_SESSION, k]
        g = conditions[s[S_CONDITION, i]][servers * C_CONDITIONS :]
        m[M_FIRST_DELIVERY, k] = row
        outbound = s[S_SERVICE, i] == 1
        agent = A_SMTP if outbound else A_VIRTUAL if m[M_NUMBER, k] % 10 < 7 else A_RELAY
        row, bounced, at = attempts(m, k, d, row, agent, g, r)
        m[M_DELIVERIES, k] = row - m[M_FIRST_DELIVERY, k]
        if bounced > 0 and m[M_SENDER, k] >= 0:
            row = notify(m, k, notices, d, row, at, g, inodes, r)
            notices += 1
    for i in range(sessions):
        if s[S_QUEUED, i] > 0:
            s[S_OUTCOME, i] = outcome(m, s[S_FIRST_MESSAGE, i], s[S_MESSAGES, i])
    return notices, row


@kernel
def attempts(
    m: Matrix, k: int, d: Matrix, row: int, agent: int, g: Floats, r: Vector
) -> tuple[int, int, int]:
    """Deliver to each recipient, again to those that were put off; sets status and end of the message.

    Returns the next row of `d`, how many recipients were refused for good, and when the last one was.
    """
    sent = 0
    bounced = 0
    refused_at = 0
    open_from = row
    begin = m[M_ACTIVE, k]
    last = begin
    waiting_for = m[M_RECIPIENTS, k]
    pause_s = FIRST_RETRY_S
    for attempt in range(MOST_ATTEMPTS):
        m[M_ATTEMPTS, k] = attempt + 1
        put_off = 0
        source = open_from
        open_from = row
        for n in range(waiting_for):
            if attempt == 0:
                d[D_RECIPIENT, row] = below(r, 997)
                d[D_DESTINATION, row] = int(DESTINATIONS * draw(r) ** 2.5)
            else:
                while d[D_STATUS, source] != D_DEFERRED:
                    source += 1
                d[D_RECIPIENT, row] = d[D_RECIPIENT, source]
                d[D_DESTINATION, row] = d[D_DESTINATION, source]
                source += 1
            one_delivery(m, k, d, row, agent, begin, attempt, n, g, r)
            status = d[D_STATUS, row]
            if status == D_SENT:
                sent += 1
            elif status == D_BOUNCED:
                bounced += 1
                refused_at = max(refused_at, d[D_AT, row])
            else:
                put_off += 1
            last = max(last, d[D_AT, row])
            row += 1
        waiting_for = put_off
        if put_off == 0:
            break
        begin = last + int((pause_s + 60.0 * draw(r)) * 1e6) * MICROSECOND
        pause_s = min(2.0 * pause_s, LONGEST_RETRY_S)
        if attempt == 0:
            m[M_RETRY, k] = begin
    if waiting_for == 0:
        m[M_REMOVED, k] = last + (500 + below(r, 2500)) * MICROSECOND
        m[M_STATUS, k] = F_SENT if bounced == 0 else F_PARTLY if sent > 0 else F_BOUNCED
    else:
        m[M_STATUS, k] = F_PARTLY if sent > 0 else F_DEFERRED
    return row, bounced, refused_at


@kernel
def one_delivery(
    m: Matrix, k: int, d: Matrix, row: int, agent: int, begin: int, attempt: int, n: int, g: Floats, r: Vector
) -> None:
    """One attempt for one recipient: how long each part took, and what came of it."""
    before = (begin - m[M_QUEUED, k]) // MICROSECOND
    queue = int((0.004 + 0.008 * draw(r)) * g[G_IN_QUEUE] * 1e6)
    connect = 0
    transmit = int(spread(r, 0.008, 0.8) * g[G_TRANSMIT] * 1e6)
    if agent != A_VIRTUAL:
        connect = int(spread(r, 0.012 if agent == A_RELAY else 0.09, 0.7) * g[G_CONNECT] * 1e6)
        transmit += int(spread(r, 0.06, 0.8) * g[G_TRANSMIT] * 1e6)
    d[D_MESSAGE, row] = k
    d[D_AGENT, row] = agent
    d[D_STATUS, row] = D_SENT
    d[D_REPLY, row] = Y_MAILDIR if agent == A_VIRTUAL else Y_QUEUED
    d[D_NEXT, row] = NULL
    d[D_BEGIN, row] = begin
    struck = agent == A_SMTP and d[D_DESTINATION, row] == int(g[G_DESTINATION]) and begin < g[G_UNTIL]
    if struck and draw(r) < g[G_DEFER]:
        d[D_STATUS, row] = D_DEFERRED
        d[D_REPLY, row] = Y_REFUSED
        if draw(r) < 0.4:
            d[D_REPLY, row] = Y_TIMEOUT
            connect = 30_000_000
            transmit = 0
    elif agent == A_SMTP and attempt < 2 and draw(r) < 0.02:
        d[D_STATUS, row] = D_DEFERRED
        d[D_REPLY, row] = Y_GREYLISTED
    elif agent != A_VIRTUAL and draw(r) < (0.012 if agent == A_SMTP else 0.002) + g[G_UNKNOWN]:
        d[D_STATUS, row] = D_BOUNCED
        d[D_REPLY, row] = Y_UNKNOWN
    elif agent != A_VIRTUAL:
        d[D_NEXT, row] = below(r, 1 << 30)
    total = before + queue + connect + transmit
    d[D_AT, row] = m[M_QUEUED, k] + total * MICROSECOND
    d[D_DELAY, row] = logged_delay(total)
    d[D_BEFORE_QUEUE, row] = logged_delay(before)
    d[D_IN_QUEUE, row] = logged_delay(queue)
    d[D_CONNECT, row] = logged_delay(connect)
    d[D_TRANSMIT, row] = logged_delay(transmit)


@kernel
def logged_delay(delay: int) -> int:
    """Microseconds as Postfix writes them: two significant digits, no finer than hundredths, whole seconds as
    they are (postconf(5), delay_logging_resolution_limit).
    """
    unit = 10_000 if delay < 1_000_000 else 100_000 if delay < 10_000_000 else 1_000_000
    return (delay + unit // 2) // unit * unit


@kernel
def notify(
    m: Matrix, k: int, notice: int, d: Matrix, row: int, at: int, g: Floats, inodes: Vector, r: Vector
) -> int:
    """The notice to the sender of message `k`: a message of its own, from the null sender."""
    for column in range(M_WIDTH):
        m[column, notice] = 0
    server = m[M_SERVER, k]
    queued = at + (900 + below(r, 900)) * MICROSECOND
    m[M_SESSION, notice] = -1
    m[M_SERVER, notice] = server
    m[M_SKEW, notice] = m[M_SKEW, k]
    m[M_LOST, notice] = m[M_LOST, k]
    m[M_QUEUED, notice] = queued
    m[M_ID_AT, notice] = queued
    m[M_ACTIVE, notice] = queued + 2000 * MICROSECOND
    m[M_QUEUE_ID, notice] = new_queue_id(inodes, server, queued + m[M_SKEW, k])
    m[M_SENDER, notice] = -1
    m[M_DOMAIN, notice] = m[M_DOMAIN, k]
    m[M_SIZE, notice] = 2300 + below(r, 900)
    m[M_RECIPIENTS, notice] = 1
    m[M_PARENT, notice] = k
    m[M_RETRY, notice] = NULL
    m[M_ATTEMPTS, notice] = 1
    m[M_FIRST_DELIVERY, notice] = row
    m[M_DELIVERIES, notice] = 1
    m[M_STATUS, notice] = F_SENT
    d[D_RECIPIENT, row] = m[M_SENDER, k]
    d[D_DESTINATION, row] = -1 - m[M_DOMAIN, k]  # home to the sender's domain
    one_delivery(m, notice, d, row, A_RELAY, m[M_ACTIVE, notice], 0, 0, g, r)
    d[D_AGENT, row] = A_SMTP
    d[D_STATUS, row] = D_SENT
    d[D_REPLY, row] = Y_QUEUED
    d[D_NEXT, row] = below(r, 1 << 30)
    m[M_REMOVED, notice] = d[D_AT, row] + 1500 * MICROSECOND
    # The message itself leaves the queue only once the notice is in it.
    if m[M_REMOVED, k] != NULL:
        m[M_REMOVED, k] = max(m[M_REMOVED, k], queued + 2500 * MICROSECOND)
    return row + 1


@kernel
def outcome(m: Matrix, first: int, count: int) -> int:
    """Of a session with queued messages (`correlate.output` judges what it reads by the same rules)."""
    sent = 0
    partly = 0
    deferred = 0
    for k in range(first, first + count):
        status = m[M_STATUS, k]
        sent += status == F_SENT
        partly += status == F_PARTLY
        deferred += status == F_DEFERRED
    if sent == count:
        return O_DELIVERED
    if sent > 0 or partly > 0:
        return O_PARTLY
    return O_DEFERRED if deferred > 0 else O_BOUNCED
