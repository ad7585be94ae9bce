"""Whether two sets of sessions are the same sessions seen by two hosts, judged by when they began and ended.

Each side's sessions are paired one to one. Busy logs pair by chance too: the share that is paired at the
right clock is held against the share that is paired at wrong ones.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import NULL, SECOND

Times = NDArray[np.int64]
"""int64[n, 2]: start and end of each session, ns since 1970; an unknown end is NULL."""

NEAR = 1_500_000_000
"""Starts, and ends, this far apart may be one moment: stamps have whole seconds, clocks are not quite
equal."""

MOST = 1024
_WINDOW = 96
_MOST_CLOCK = 120 * SECOND
_TURN = 600 * SECOND
_WRONG_CLOCKS = (0.17, 0.37, 0.61, 0.83)  # of the time that both sides cover, or of ten minutes


@dataclass(frozen=True)
class Pairing:
    """How well sessions of one side fit those of the other.

    Attributes:
        paired: bool for each session of the first side, in order of their starts, that was looked at.
        starts: their starts.
        chance: share that is paired at wrong clocks.
        clock_ns: what was added to the second side's times.
    """

    paired: NDArray[np.bool_]
    starts: NDArray[np.int64]
    chance: float
    clock_ns: int

    @property
    def share(self) -> float:
        """Share of the first side that is paired."""
        return float(self.paired.mean()) if len(self.paired) else 0.0

    @property
    def lift(self) -> float:
        """By how much that is more than chance."""
        return self.share - self.chance


NOTHING = Pairing(np.empty(0, np.bool_), np.empty(0, np.int64), 0.0, 0)


def pair(one: Times, other: Times, clocks: tuple[int, ...] = (0,)) -> Pairing:
    """Pair two sides' sessions.

    Args:
        clocks: ns to add to the second side's times that are worth trying, besides the one that the starts
        suggest.
    """
    one, other = _overlapping(_in_order(one), _in_order(other))
    if not len(one) or not len(other):
        return NOTHING
    tried = {clock: _pairs(one, other, clock) for clock in {*clocks, *_likely_clock(one[:, 0], other[:, 0])}}
    clock = max(tried, key=lambda tried_clock: (int(tried[tried_clock].sum()), -abs(tried_clock)))
    wrong = [_pairs(one, _turned(other, part), clock).mean() for part in _WRONG_CLOCKS]
    return Pairing(tried[clock], one[:, 0], float(np.mean(wrong)), clock)


def _in_order(times: Times) -> Times:
    times = times[times[:, 0] != NULL]
    return times[np.argsort(times[:, 0], kind="stable")]


def _overlapping(one: Times, other: Times) -> tuple[Times, Times]:
    """The first sessions of both sides within the time that both cover."""
    if not len(one) or not len(other):
        return one[:0], other[:0]
    margin = _MOST_CLOCK
    first = max(one[0, 0], other[0, 0]) - margin
    one, other = one[one[:, 0] >= first][:MOST], other[other[:, 0] >= first]
    if not len(one) or not len(other):
        return one[:0], other[:0]
    one = one[one[:, 0] <= other[-1, 0] + margin]
    return one, other[other[:, 0] <= one[-1, 0] + margin] if len(one) else other[:0]


def _turned(times: Times, part: float) -> Times:
    """The same sessions by a wrong clock; what leaves the covered time at its end comes in again at its
    beginning."""
    first, length = times[0, 0], int(times[-1, 0] - times[0, 0]) + SECOND
    shift = int(part * min(length, _TURN))
    starts = first + (times[:, 0] - first + shift) % length
    ends = np.where(times[:, 1] == NULL, NULL, times[:, 1] + starts - times[:, 0])
    return _in_order(np.stack([starts, ends], axis=1))


def _likely_clock(one: NDArray[np.int64], other: NDArray[np.int64]) -> list[int]:
    """The difference of clocks that most pairs of starts agree on."""
    if min(len(one), len(other)) < 10:
        return []  # with so few, some clock always fits
    difference = (one[:512, None] - other[None, :1024]).ravel()
    difference = difference[np.abs(difference) <= _MOST_CLOCK]
    if not len(difference):
        return []
    bins, counts = np.unique(difference // (SECOND // 2), return_counts=True)
    best = bins[int(np.argmax(counts))]
    near = difference[np.abs(difference - best * (SECOND // 2)) <= SECOND]
    return [int(np.median(near))]


def _pairs(one: Times, other: Times, clock: int) -> NDArray[np.bool_]:
    """bool[len(one)]: whether a partner is left for it; the one whose end is nearest is taken."""
    starts = (other[:, 0] + clock).tolist()
    ends = np.where(other[:, 1] == NULL, NULL, other[:, 1] + clock).tolist()
    taken = [False] * len(starts)
    paired = np.zeros(len(one), np.bool_)
    for at, (start, end) in enumerate(one.tolist()):
        best, least = -1, NEAR + 1
        first = bisect_left(starts, start - NEAR)
        for candidate in range(first, min(first + _WINDOW, len(starts))):
            if starts[candidate] > start + NEAR:
                break
            if taken[candidate]:
                continue
            known = end != NULL and ends[candidate] != NULL
            distance = abs((ends[candidate] - end) if known else (starts[candidate] - start))
            if distance < least:
                best, least = candidate, distance
        if best >= 0:
            taken[best] = paired[at] = True
    return paired
