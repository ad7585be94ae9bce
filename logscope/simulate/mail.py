"""Messages and deliveries: what becomes of the mail that sessions bring, and the notices it causes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.handout import F_BOUNCED, F_DEFERRED, F_PARTLY, F_SENT, F_UNKNOWN
from logscope.correlate.layout import D_BOUNCED, D_DEFERRED, D_SENT, NULL
from logscope.engine import kernel
from logscope.simulate.chance import below, draw, spread, waiting
from logscope.simulate.faults import DESTINATIONS
from logscope.simulate.layout import *

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
        s[i, S_FIRST_MESSAGE] = row
        if s[i, S_MESSAGES] == 0:
            continue
        g = conditions[s[i, S_CONDITION]][servers * C_CONDITIONS :]
        q = streams[s[i, S_STREAM]]
        begin = s[i, S_SMTPD_AT]
        part = (s[i, S_SMTPD_END] - begin) / (s[i, S_MESSAGES] + 0.6)
        sender = below(r, 1013)
        domain = s[i, S_CLIENT] % DOMAINS
        for n in range(s[i, S_MESSAGES]):
            queued = moment(begin, part * (0.45 + n))
            m[row, M_SESSION] = i
            m[row, M_SERVER] = s[i, S_SERVER]
            m[row, M_SKEW] = s[i, S_SKEW]
            m[row, M_LOST] = s[i, S_LOST]
            m[row, M_QUEUED] = queued
            m[row, M_QUEUE_ID] = new_queue_id(inodes, s[i, S_SERVER], queued + s[i, S_SKEW])
            m[row, M_NUMBER] = below(r, 1 << 30)
            m[row, M_SENDER] = sender if s[i, S_USER] < 0 else s[i, S_USER]
            m[row, M_DOMAIN] = domain
            m[row, M_PARENT] = -1
            m[row, M_DELIVERIES] = 0
            m[row, M_ATTEMPTS] = 0
            m[row, M_FIRST_DELIVERY] = 0
            m[row, M_REMOVED] = NULL
            m[row, M_RETRY] = NULL
            m[row, M_STATUS] = F_UNKNOWN
            m[row, M_SIZE] = NULL
            m[row, M_RECIPIENTS] = NULL
            m[row, M_ACTIVE] = NULL
            m[row, M_ID_AT] = NULL
            no_texts(m, row)
            if s[i, S_QUEUED] > 0:
                m[row, M_SIZE] = 520 + int(spread(r, 2600.0, 1.5) * q[Q_SIZE] * g[G_SIZE])
                m[row, M_ID_AT] = moment(begin, part * (0.9 + n))
                m[row, M_ACTIVE] = moment(begin, part * (1.2 + n))
                m[row, M_RECIPIENTS] = how_many(r, q[Q_RECIPIENTS])
                recipients += m[row, M_RECIPIENTS]
                s[i, S_RECIPIENTS] += m[row, M_RECIPIENTS]
            elif s[i, S_BEHAVIOUR] == B_LOST_DATA:
                m[row, M_ID_AT] = s[i, S_SMTPD_END] + 150 * MICROSECOND  # what came of it has a header
            row += 1
    return row, recipients


@kernel
def no_texts(m: Matrix, row: int) -> None:
    for column in range(M_ID, M_WIDTH):
        m[row, column] = NULL


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
        if m[k, M_SIZE] == NULL:
            continue
        i = m[k, M_SESSION]
        g = conditions[s[i, S_CONDITION]][servers * C_CONDITIONS :]
        m[k, M_FIRST_DELIVERY] = row
        outbound = s[i, S_SERVICE] == 1
        agent = A_SMTP if outbound else A_VIRTUAL if m[k, M_NUMBER] % 10 < 7 else A_RELAY
        row, bounced, at = attempts(m, k, d, row, agent, g, r)
        m[k, M_DELIVERIES] = row - m[k, M_FIRST_DELIVERY]
        if bounced > 0 and m[k, M_SENDER] >= 0:
            row = notify(m, k, notices, d, row, at, g, inodes, r)
            notices += 1
    for i in range(sessions):
        if s[i, S_QUEUED] > 0:
            s[i, S_OUTCOME] = outcome(m, s[i, S_FIRST_MESSAGE], s[i, S_MESSAGES])
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
    begin = m[k, M_ACTIVE]
    last = begin
    waiting_for = m[k, M_RECIPIENTS]
    pause_s = FIRST_RETRY_S
    for attempt in range(MOST_ATTEMPTS):
        m[k, M_ATTEMPTS] = attempt + 1
        put_off = 0
        source = open_from
        open_from = row
        for n in range(waiting_for):
            if attempt == 0:
                d[row, D_RECIPIENT] = below(r, 997)
                d[row, D_DESTINATION] = int(DESTINATIONS * draw(r) ** 2.5)
            else:
                while d[source, D_STATUS] != D_DEFERRED:
                    source += 1
                d[row, D_RECIPIENT] = d[source, D_RECIPIENT]
                d[row, D_DESTINATION] = d[source, D_DESTINATION]
                source += 1
            one_delivery(m, k, d, row, agent, begin, attempt, n, g, r)
            status = d[row, D_STATUS]
            if status == D_SENT:
                sent += 1
            elif status == D_BOUNCED:
                bounced += 1
                refused_at = max(refused_at, d[row, D_AT])
            else:
                put_off += 1
            last = max(last, d[row, D_AT])
            row += 1
        waiting_for = put_off
        if put_off == 0:
            break
        begin = last + int((pause_s + 60.0 * draw(r)) * 1e6) * MICROSECOND
        pause_s = min(2.0 * pause_s, LONGEST_RETRY_S)
        if attempt == 0:
            m[k, M_RETRY] = begin
    if waiting_for == 0:
        m[k, M_REMOVED] = last + (500 + below(r, 2500)) * MICROSECOND
        m[k, M_STATUS] = F_SENT if bounced == 0 else F_PARTLY if sent > 0 else F_BOUNCED
    else:
        m[k, M_STATUS] = F_PARTLY if sent > 0 else F_DEFERRED
    return row, bounced, refused_at


@kernel
def one_delivery(
    m: Matrix, k: int, d: Matrix, row: int, agent: int, begin: int, attempt: int, n: int, g: Floats, r: Vector
) -> None:
    """One attempt for one recipient: how long each part took, and what came of it."""
    before = (begin - m[k, M_QUEUED]) // MICROSECOND
    queue = int((0.004 + 0.008 * draw(r)) * g[G_IN_QUEUE] * 1e6)
    connect = 0
    transmit = int(spread(r, 0.008, 0.8) * g[G_TRANSMIT] * 1e6)
    if agent != A_VIRTUAL:
        connect = int(spread(r, 0.012 if agent == A_RELAY else 0.09, 0.7) * g[G_CONNECT] * 1e6)
        transmit += int(spread(r, 0.06, 0.8) * g[G_TRANSMIT] * 1e6)
    d[row, D_MESSAGE] = k
    d[row, D_AGENT] = agent
    d[row, D_STATUS] = D_SENT
    d[row, D_REPLY] = Y_MAILDIR if agent == A_VIRTUAL else Y_QUEUED
    d[row, D_NEXT] = NULL
    d[row, D_BEGIN] = begin
    for column in range(D_HI, D_WIDTH):
        d[row, column] = NULL
    struck = agent == A_SMTP and d[row, D_DESTINATION] == int(g[G_DESTINATION]) and begin < g[G_UNTIL]
    if struck and draw(r) < g[G_DEFER]:
        d[row, D_STATUS] = D_DEFERRED
        d[row, D_REPLY] = Y_REFUSED
        if draw(r) < 0.4:
            d[row, D_REPLY] = Y_TIMEOUT
            connect = 30_000_000
            transmit = 0
    elif agent == A_SMTP and attempt < 2 and draw(r) < 0.02:
        d[row, D_STATUS] = D_DEFERRED
        d[row, D_REPLY] = Y_GREYLISTED
    elif agent != A_VIRTUAL and draw(r) < (0.012 if agent == A_SMTP else 0.002) + g[G_UNKNOWN]:
        d[row, D_STATUS] = D_BOUNCED
        d[row, D_REPLY] = Y_UNKNOWN
    elif agent != A_VIRTUAL:
        d[row, D_NEXT] = below(r, 1 << 30)
    total = before + queue + connect + transmit
    d[row, D_AT] = m[k, M_QUEUED] + total * MICROSECOND
    d[row, D_DELAY] = logged_delay(total)
    d[row, D_BEFORE_QUEUE] = logged_delay(before)
    d[row, D_IN_QUEUE] = logged_delay(queue)
    d[row, D_CONNECT] = logged_delay(connect)
    d[row, D_TRANSMIT] = logged_delay(transmit)


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
        m[notice, column] = 0
    no_texts(m, notice)
    server = m[k, M_SERVER]
    queued = at + (900 + below(r, 900)) * MICROSECOND
    m[notice, M_SESSION] = -1
    m[notice, M_SERVER] = server
    m[notice, M_SKEW] = m[k, M_SKEW]
    m[notice, M_LOST] = m[k, M_LOST]
    m[notice, M_QUEUED] = queued
    m[notice, M_ID_AT] = queued
    m[notice, M_ACTIVE] = queued + 2000 * MICROSECOND
    m[notice, M_QUEUE_ID] = new_queue_id(inodes, server, queued + m[k, M_SKEW])
    m[notice, M_SENDER] = -1
    m[notice, M_DOMAIN] = m[k, M_DOMAIN]
    m[notice, M_SIZE] = 2300 + below(r, 900)
    m[notice, M_RECIPIENTS] = 1
    m[notice, M_PARENT] = k
    m[notice, M_RETRY] = NULL
    m[notice, M_ATTEMPTS] = 1
    m[notice, M_FIRST_DELIVERY] = row
    m[notice, M_DELIVERIES] = 1
    m[notice, M_STATUS] = F_SENT
    d[row, D_RECIPIENT] = m[k, M_SENDER]
    d[row, D_DESTINATION] = -1 - m[k, M_DOMAIN]  # home to the sender's domain
    one_delivery(m, notice, d, row, A_RELAY, m[notice, M_ACTIVE], 0, 0, g, r)
    d[row, D_AGENT] = A_SMTP
    d[row, D_STATUS] = D_SENT
    d[row, D_REPLY] = Y_QUEUED
    d[row, D_NEXT] = below(r, 1 << 30)
    m[notice, M_REMOVED] = d[row, D_AT] + 1500 * MICROSECOND
    # The message itself leaves the queue only once the notice is in it.
    if m[k, M_REMOVED] != NULL:
        m[k, M_REMOVED] = max(m[k, M_REMOVED], queued + 2500 * MICROSECOND)
    return row + 1


@kernel
def outcome(m: Matrix, first: int, count: int) -> int:
    """Of a session with queued messages (`correlate.output` judges what it reads by the same rules)."""
    sent = 0
    partly = 0
    deferred = 0
    for k in range(first, first + count):
        status = m[k, M_STATUS]
        sent += status == F_SENT
        partly += status == F_PARTLY
        deferred += status == F_DEFERRED
    if sent == count:
        return O_DELIVERED
    if sent > 0 or partly > 0:
        return O_PARTLY
    return O_DEFERRED if deferred > 0 else O_BOUNCED
