"""By how much the clocks of two hosts differ, as links show that needed no time to be decided."""

from __future__ import annotations

import numpy as np

from logscope.correlate.layout import *
from logscope.correlate.matching import in_order
from logscope.correlate.tables import *
from logscope.engine import kernel

SKEW_ENOUGH = 8  # samples before a skew counts as known
SKEW_UNKNOWN, SKEW_GUESSED = 20.0, 4.0  # seconds to add without any sample, and to share among the first


@kernel
def skew_pair(balancer_host: int, mta_host: int) -> int:
    if balancer_host < 0 or mta_host < 0 or balancer_host >= SKEW_HOSTS or mta_host >= SKEW_HOSTS:
        return -1
    return balancer_host * SKEW_HOSTS + mta_host


@kernel
def skew_of(m: Memory, balancer_host: int, mta_host: int) -> int:
    """Nanoseconds by which the server's clock is ahead of the balancer's; 0 while nobody knows."""
    pair = skew_pair(balancer_host, mta_host)
    if pair < 0:
        return 0
    return int(m[m[SKEW] + pair * SKEW_WIDTH + SKEW_MEDIAN])


@kernel
def skew_known(m: Memory, balancer_host: int, mta_host: int) -> bool:
    pair = skew_pair(balancer_host, mta_host)
    return pair >= 0 and m[m[SKEW] + pair * SKEW_WIDTH + SKEW_COUNT] >= SKEW_ENOUGH


@kernel
def skew_doubt(m: Memory, balancer_host: int, mta_host: int) -> float:
    """Seconds by which the skew may be wrong while there are few samples."""
    pair = skew_pair(balancer_host, mta_host)
    count = m[m[SKEW] + pair * SKEW_WIDTH + SKEW_COUNT] if pair >= 0 else 0
    if count <= 0:
        return SKEW_UNKNOWN
    return 0.0 if count >= SKEW_ENOUGH else SKEW_GUESSED / count


@kernel
def sample_skew(m: Memory, balancer_host: int, mta_host: int, seen: int, coarse: int, expected: int) -> None:
    """Remember one difference between the clocks, from a link that needed no time to be decided."""
    pair = skew_pair(balancer_host, mta_host)
    if pair < 0:
        return
    difference = seen - expected
    if coarse:  # the stamp lost half a second on average
        difference += SECOND // 2
    at = m[SKEW] + pair * SKEW_WIDTH
    count = m[at + SKEW_COUNT]
    m[at + SKEW_FIRST + count % SKEW_SAMPLES] = difference
    m[at + SKEW_COUNT] = count + 1
    if count < SKEW_SAMPLES or count % 16 == 0:
        kept = min(count + 1, SKEW_SAMPLES)
        samples = np.empty(kept, np.int64)
        for i in range(kept):
            samples[i] = m[at + SKEW_FIRST + i]
        in_order(samples)
        m[at + SKEW_MEDIAN] = samples[kept // 2]
