"""What is usual between the balancer's end and the server's session: bytes by what was said, and ends after
queue files.
"""

from __future__ import annotations

import math

from logscope.correlate.layout import *
from logscope.correlate.tables import *
from logscope.engine import kernel

MOST_TALK = 5.0  # nats
TICKS_UNKNOWN = 8.0  # sessions that it takes to believe in a habit


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
    return int((m[b + B_END] // 1000 - m[s + S_QUEUED_US]) % 1_000_000 * TICK_PLACES // 1_000_000)


@kernel
def habit_cost(m: Memory, b: int, p: int, s: int, own: int) -> float:
    """How much less often than by chance these bytes and these counters, and this end and this queue file,
    come together, in nats.

    `own` is 1 where the pair itself has been counted: it must not speak for itself.
    """
    if b < 0 or m[b + B_ASAP] == 1:
        return 0.0
    return talk_cost(m, b, signature_of(m, p, s), own) + tick_cost(m, b, s, own)


@kernel
def tick_cost(m: Memory, b: int, s: int, own: int) -> float:
    """Habits may be narrow (a program that quits at once) or wide (a busy server), so narrow and wide parts
    of a second have a say, and none of them all of it.
    """
    phase = tick_phase(m, b, s)
    if phase < 0:
        return 0.0
    at = ticks_of(m, m[s + S_HOST])
    known = max(m[at] - own, 0)
    at += 1
    density = 1.0
    for level in range(TICK_LEVELS):
        places = TICK_PLACES >> 3 * level
        here = max(m[at + (phase >> 3 * level)] - own, 0)
        density += here * places / (known + TICKS_UNKNOWN)
        at += places
    return -math.log(density / (1.0 + TICK_LEVELS * known / (known + TICKS_UNKNOWN)))


@kernel
def talk_cost(m: Memory, b: int, signature: int, own: int) -> float:
    if signature == NULL:
        return 0.0
    talks = m[TALKS]
    told = mix(17, m[b + B_BYTES_CLIENT])
    left = max(m[talks + 1 + (told & (TALK_PLACES - 1))] - own, 0)
    right = max(m[talks + 1 + TALK_PLACES + (signature & (TALK_PLACES - 1))] - own, 0)
    both = max(m[talks + 1 + 2 * TALK_PLACES + (mix(told, signature) & (TALK_PLACES - 1))] - own, 0)
    ratio = (both + 0.05) * (max(m[talks], 0) + 1) / ((left + 0.3) * (right + 0.3))
    return -min(max(math.log(ratio), -MOST_TALK), MOST_TALK)
