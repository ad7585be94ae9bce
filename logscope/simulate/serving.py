"""What a mail server makes of a session: postscreen with its tests, and the dialogue with smtpd."""

from __future__ import annotations

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
from logscope.simulate.chance import below, draw, spread, trait, waiting
from logscope.simulate.heaps import pop, push
from logscope.simulate.layout import *

Matrix = NDArray[np.int64]
Vector = NDArray[np.int64]
Floats = NDArray[np.float64]

HOUR = 3600 * SECOND
PASSED_FOR = HOUR  # postscreen_dnsbl_max_ttl; then the tests are made again
KNOWN_FOR = 7 * 24 * HOUR  # postscreen_cache_retention_time
SMTPD_TIMEOUT_S = 300.0
NO_HEADER_S = 5.0  # postscreen_upstream_proxy_timeout
MAX_USE = 100  # sessions an smtpd process serves
MAX_IDLE_MS = 100_000  # after which it leaves

# What HAProxy counts, as real daemons sent it (Postfix 3.7, host names of 16 characters).
GREETING = 36  # 220 mx-a.example.com ESMTP Postfix; the teaser is as long
EHLO = 189
OK = 14  # 250 2.1.0 Ok
DATA = 37  # 354 …
QUEUED = 37  # 250 2.0.0 Ok: queued as …
BYE = 15  # 221 2.0.0 Bye
TLS = 1943  # certificate and records


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
def is_screened(behaviour: int) -> bool:
    """Whether postscreen ends such sessions itself, so that the client is never passed on."""
    return behaviour >= B_LISTED and behaviour <= B_SCREEN_HANGUP


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
