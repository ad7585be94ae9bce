"""What is usual between the balancer's end and the server's session: bytes by what was said, and ends after
queue files.
"""

from __future__ import annotations

import math

import numpy as np

from logscope.correlate.layout import *
from logscope.correlate.tables import *
from logscope.engine import kernel

MOST_TALK = math.exp(5.0)  # odds, either way
TICKS_UNKNOWN = 8.0  # sessions that it takes to believe in a habit

# What habits ask of a balancer session (what its client was told, and how often that was), and of a visit.
TOLD, TOLD_TIMES, END_US, BALANCER_HABITS = range(4)
SIGNATURE, SIGNATURE_TIMES, QUEUED_US, TICKS_AT, VISIT_HABITS = range(5)


@kernel
def signature_of(m: Memory, p: int, s: int) -> int:
    """What the server's lines say of how it was talked to: smtpd's counters, or how postscreen ended it."""
    if s >= 0:
        return int(m[s + S_SIGNATURE])
    if m[p + P_ENDED] == NULL:
        return NULL
    ended = mix(mix(mix(23, m[p + P_TESTS]), m[p + P_HANGUP]), min(m[p + P_REJECTED], 3))
    return mix(ended, m[p + P_HOST])


@kernel
def note_habits(m: Memory, b: int, p: int, s: int) -> None:
    """Learn from a link that is as good as sure. The past counts less and less."""
    host = m[s + S_HOST] if s >= 0 else m[p + P_HOST]
    note_pair(m, b, p, s, 1)
    if m[m[TALKS]] >= MOST_TALKS:
        halve(m, m[TALKS], TALKS_WIDTH)
    ticks = ticks_of(m, host)
    if ticks >= 0 and m[ticks] >= MOST_TICKS:
        halve(m, ticks, TICKS_WIDTH)


@kernel
def halve(m: Memory, first: int, count: int) -> None:
    for i in range(first, first + count):
        m[i] >>= 1


@kernel
def note_pair(m: Memory, b: int, p: int, s: int, times: int) -> None:
    """Count (or, with -1, uncount) how many bytes a session with these disconnect counters brought its
    client, and how long after its last queue file it ended.

    Either of `p` and `s`, the server's two hops, may be -1.
    """
    if b < 0 or m[b + B_ASAP] == 1:
        return
    phase = tick_phase(m, b, s)
    if phase >= 0:
        at = ticks_of(m, m[s + S_HOST])
        m[at] += times
        at += 1
        for level in range(TICK_LEVELS):
            m[at + (phase >> 3 * level)] += times
            at += TICK_PLACES >> 3 * level
    signature = signature_of(m, p, s)
    if signature == NULL:
        return
    talks = m[TALKS]
    told = mix(17, m[b + B_BYTES_CLIENT])
    m[talks] += times
    m[talks + 1 + (told & (TALK_PLACES - 1))] += times
    m[talks + 1 + TALK_PLACES + (signature & (TALK_PLACES - 1))] += times
    m[talks + 1 + 2 * TALK_PLACES + (mix(told, signature) & (TALK_PLACES - 1))] += times


@kernel
def ticks_of(m: Memory, host: int) -> int:
    if host < 0 or host >= SKEW_HOSTS:
        return -1
    return int(m[TICKS] + host * TICKS_WIDTH)


@kernel
def tick_phase(m: Memory, b: int, s: int) -> int:
    """The part of a second from smtpd's last queue file to the balancer's end; -1 if one is not known.

    Queue ids say when within the second a file was made, by the clock of the mail server, whatever the
    resolution of its stamps, whoever wrote them.
    """
    if s < 0 or m[s + S_QUEUED_US] == NULL or ticks_of(m, m[s + S_HOST]) < 0:
        return -1
    return part_of_second(m[b + B_END] // 1000, m[s + S_QUEUED_US])


@kernel
def part_of_second(end_us: int, queued_us: int) -> int:
    return int((end_us - queued_us) % 1_000_000 * TICK_PLACES // 1_000_000)


@kernel
def habit_cost(m: Memory, b: int, p: int, s: int, own: int) -> float:
    """How much less often than by chance these bytes and these counters, and this end and this queue file,
    come together, in nats.

    `own` is 1 where the pair itself has been counted: it must not speak for itself.
    """
    of_balancer = np.empty((BALANCER_HABITS, 1), np.int64)
    of_visit = np.empty((VISIT_HABITS, 1), np.int64)
    tell_balancer(m, b, of_balancer, 0)
    tell_visit(m, p, s, of_visit, 0)
    return -math.log(told_odds(m, of_balancer, 0, of_visit, 0, own))


@kernel
def tell_balancer(m: Memory, b: int, facts: Matrix, i: int) -> None:
    """Write down what habits ask of a balancer session, once for all visits that it is held against."""
    facts[TOLD, i] = NULL
    if b >= 0 and m[b + B_ASAP] == 0:
        facts[TOLD, i] = mix(17, m[b + B_BYTES_CLIENT])
        facts[TOLD_TIMES, i] = m[m[TALKS] + 1 + (facts[TOLD, i] & (TALK_PLACES - 1))]
        facts[END_US, i] = m[b + B_END] // 1000


@kernel
def tell_visit(m: Memory, p: int, s: int, facts: Matrix, j: int) -> None:
    """The same of a visit."""
    facts[SIGNATURE, j] = signature_of(m, p, s)
    if facts[SIGNATURE, j] != NULL:
        at = m[TALKS] + 1 + TALK_PLACES + (facts[SIGNATURE, j] & (TALK_PLACES - 1))
        facts[SIGNATURE_TIMES, j] = m[at]
    facts[QUEUED_US, j] = NULL
    if s >= 0 and ticks_of(m, m[s + S_HOST]) >= 0:
        facts[QUEUED_US, j] = m[s + S_QUEUED_US]
        facts[TICKS_AT, j] = ticks_of(m, m[s + S_HOST])


@kernel
def told_odds(m: Memory, balancers: Matrix, i: int, visits: Matrix, j: int, own: int) -> float:
    """How much more often than by chance, from what was written down: `habit_cost` before the logarithm."""
    if balancers[TOLD, i] == NULL:
        return 1.0
    odds = talk_odds(m, balancers, i, visits, j, own)
    if visits[QUEUED_US, j] != NULL:
        odds *= tick_odds(m, balancers[END_US, i], visits[QUEUED_US, j], visits[TICKS_AT, j], own)
    return odds


@kernel
def tick_odds(m: Memory, end_us: int, queued_us: int, at: int, own: int) -> float:
    """Habits may be narrow (a program that quits at once) or wide (a busy server), so narrow and wide parts
    of a second have a say, and none of them all of it.
    """
    phase = part_of_second(end_us, queued_us)
    known = max(m[at] - own, 0)
    at += 1
    times = 0
    for level in range(TICK_LEVELS):
        places = TICK_PLACES >> 3 * level
        times += max(m[at + (phase >> 3 * level)] - own, 0) * places
        at += places
    return float((known + TICKS_UNKNOWN + times) / (known + TICKS_UNKNOWN + TICK_LEVELS * known))


@kernel
def talk_odds(m: Memory, balancers: Matrix, i: int, visits: Matrix, j: int, own: int) -> float:
    told = balancers[TOLD, i]
    signature = visits[SIGNATURE, j]
    if signature == NULL:
        return 1.0
    talks = m[TALKS]
    left = max(balancers[TOLD_TIMES, i] - own, 0)
    right = max(visits[SIGNATURE_TIMES, j] - own, 0)
    both = max(m[talks + 1 + 2 * TALK_PLACES + (mix(told, signature) & (TALK_PLACES - 1))] - own, 0)
    ratio = (both + 0.05) * (max(m[talks], 0) + 1) / ((left + 0.3) * (right + 0.3))
    return float(min(max(ratio, 1.0 / MOST_TALK), MOST_TALK))
