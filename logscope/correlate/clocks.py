"""Clocks that no sure link has told, as all waiting sessions of the same clients tell them together.

Where smtpd logs no ports, its sessions are joined by address and time. By a wrong clock, or at a host that is
another server's, each client's sessions fit some others of its own, one by one; all of them together fit only
where most sessions of one server began as much later, and were as long, as those of one host.
"""

from __future__ import annotations

import numpy as np

from logscope.correlate.arrays import integers
from logscope.correlate.layout import *
from logscope.correlate.servers import NAMED, server_at, usual_host
from logscope.correlate.skew import SKEW_ENOUGH, sample_skew, skew_known
from logscope.correlate.tables import *
from logscope.engine import kernel

MOST = 512  # sessions of either side that are looked at
FEWEST = 8  # that must agree, …
SHARE = 0.5  # … and this share of a server's, or of a host's
CLEARLY = 2  # times as many as agree on any clock that is not near
LONGEST = 90 * SECOND
STEP = SECOND // 2
BINS = 361
NEAR = 3  # steps
SAME_LENGTH_FINE, SAME_LENGTH_COARSE = SECOND // 4, 6 * SECOND // 5
PAUSE = 30 * SECOND


@kernel
def clock_told(m: Memory, host: int) -> bool:
    """Whether the difference to any balancer's clock is known, or none can be."""
    told = host < 0 or host >= SKEW_HOSTS
    for balancer_host in range(SKEW_HOSTS):
        told = told or skew_known(m, balancer_host, host)
    return bool(told)


@kernel
def learn_clocks(m: Memory) -> None:
    """Learn the clock of each host that most sessions of a server agree on, and that it is that server's."""
    if m[NOW] - m[CLOCKS_AT] < PAUSE:
        return
    m[CLOCKS_AT] = m[NOW]
    left = np.empty(MOST, np.int64)
    right = np.empty(MOST, np.int64)
    lefts = 0
    rights = 0
    row = m[BOTTOM]
    while row < m[TOP]:
        kind = m[row + 2]
        if m[row] == OPEN and kind == BALANCER and lefts < MOST:
            if m[row + B_P] < 0 and m[row + B_S] < 0 and m[row + B_SERVER] >= 0 and m[row + B_HI] != NULL:
                left[lefts] = row
                lefts += 1
        elif m[row] == OPEN and kind == SMTPD and rights < MOST:
            waits = m[row + S_B] < 0 and m[row + S_P] < 0 and m[row + S_PORT] == NULL
            if waits and m[row + S_ENDED] != NULL and m[row + S_STARTED] != NULL and m[row + S_HI] != NULL:
                right[rights] = row
                rights += 1
        row += width_of(kind)
    done = integers(lefts, 0)
    for i in range(lefts):
        if done[i]:
            continue
        server = server_at(m, left[i])
        of_server = np.empty(lefts, np.int64)
        count = 0
        for k in range(i, lefts):
            if not done[k] and server_at(m, left[k]) == server:
                done[k] = 1
                of_server[count] = left[k]
                count += 1
        for host in range(SKEW_HOSTS):
            if not skew_known(m, m[left[i] + B_HOST], host):
                learn_clock(m, of_server[:count], right[:rights], host)


@kernel
def learn_clock(m: Memory, left: Vector, right: Vector, host: int) -> None:
    """The same of one server and one host."""
    votes = integers(BINS, 0)
    here = 0
    for j in range(right.shape[0]):
        if m[right[j] + S_HOST] == host:
            here += 1
            for i in range(left.shape[0]):
                at = step_of(m, left[i], right[j])
                if at >= 0:
                    votes[at] += 1
    fewer = min(here, left.shape[0])
    if fewer < FEWEST:
        return
    best = 0
    for at in range(BINS - 1):
        if votes[at] + votes[at + 1] > votes[best] + votes[best + 1]:
            best = at
    most = votes[best] + votes[best + 1]
    elsewhere = 0
    for at in range(BINS - 1):
        if abs(at - best) > NEAR:
            elsewhere = max(elsewhere, votes[at] + votes[at + 1])
    if most < max(FEWEST, SHARE * fewer) or most < CLEARLY * elsewhere:
        return
    late = np.empty(most, np.int64)
    count = 0
    for j in range(right.shape[0]):
        if m[right[j] + S_HOST] == host:
            for i in range(left.shape[0]):
                at = step_of(m, left[i], right[j])
                if at == best or at == best + 1:
                    late[count] = difference(m, left[i], right[j])
                    count += 1
    late.sort()
    for _ in range(SKEW_ENOUGH):
        sample_skew(m, m[left[0] + B_HOST], host, late[count // 2], 0, 0)
    if usual_host(m, left[0]) < 0:
        server = server_at(m, left[0])
        m[server + SERVER_HOST] = host
        m[server + SERVER_LINKS] = NAMED


@kernel
def step_of(m: Memory, b: int, s: int) -> int:
    """The step of the clock by which two sessions of one client are one; -1 where they are not."""
    if m[b + B_HI] != m[s + S_HI] or m[b + B_LO] != m[s + S_LO]:
        return -1
    if m[b + B_ASAP] == 0:
        same = SAME_LENGTH_COARSE if m[s + S_COARSE] else SAME_LENGTH_FINE
        if abs(m[s + S_ENDED] - m[s + S_STARTED] - m[b + B_END] + m[b + B_START]) > same:
            return -1
    at = (difference(m, b, s) + LONGEST) // STEP
    return int(at) if 0 <= at < BINS else -1


@kernel
def difference(m: Memory, b: int, s: int) -> int:
    """By how much a session began later at the server; whole seconds lost half of one on average."""
    return int(m[s + S_STARTED] - m[b + B_START] + (SECOND // 2 if m[s + S_COARSE] else 0))
