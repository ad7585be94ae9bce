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
_FEW = 10
_WINDOW = 96
_MOST_CLOCK = 120 * SECOND
_TURN = 600 * SECOND
_WRONG_CLOCKS = (0.17, 0.37, 0.61, 0.83)  # of the time that both sides cover, or of ten minutes


@dataclass(frozen=True)
class Pairing:
    """How well sessions of one side fit those of the other, within the time that both logs cover.

    Attributes:
        paired: bool for each session of the first side, in order of their starts, that was looked at.
        starts: their starts.
        looked_at, others: shares of either side's sessions that are in the time that both cover.
        chance: share that is paired at wrong clocks.
        clock_ns: what was added to the second side's times.
    """

    paired: NDArray[np.bool_]
    starts: NDArray[np.int64]
    looked_at: float
    others: float
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


NOTHING = Pairing(np.empty(0, np.bool_), np.empty(0, np.int64), 0.0, 0.0, 0.0, 0)


def pair(one: Times, other: Times) -> Pairing:
    """Pair two sides' sessions by the clock that most starts agree on, or the same clock if that is no
    worse."""
    one, other = _in_order(one), _in_order(other)
    found = NOTHING
    for clock in (0, *_likely_clock(one, other)):
        tried = _pair_at(one, other, clock)
        if tried.paired.sum() > found.paired.sum():
            found = tried
    return found


def _pair_at(one: Times, other: Times, clock: int) -> Pairing:
    moved = np.where(other == NULL, NULL, other + clock)
    mine, theirs = _within(one, moved), _within(moved, one)
    if not len(mine) or not len(theirs):
        return NOTHING
    shares = len(mine) / len(one), len(theirs) / len(other)
    mine = mine[:MOST]
    theirs = _within(theirs, mine)
    wrong = [_pairs(mine, _turned(theirs, part)).mean() for part in _WRONG_CLOCKS]
    return Pairing(_pairs(mine, theirs), mine[:, 0], *shares, float(np.mean(wrong)), clock)


def _within(times: Times, other: Times) -> Times:
    """The sessions that start while the other side's log runs."""
    if not len(other):
        return times[:0]
    first, last = np.searchsorted(times[:, 0], (other[0, 0] - NEAR, other[-1, 0] + NEAR + 1))
    return times[first:last]


def _in_order(times: Times) -> Times:
    times = times[times[:, 0] != NULL]
    return times[np.argsort(times[:, 0], kind="stable")]


def _turned(times: Times, part: float) -> Times:
    """The same sessions by a wrong clock; what leaves the covered time at its end comes in again at its
    beginning."""
    first, length = times[0, 0], int(times[-1, 0] - times[0, 0]) + SECOND
    shift = int(part * min(length, _TURN))
    starts: NDArray[np.int64] = first + (times[:, 0] - first + shift) % length
    ends = np.where(times[:, 1] == NULL, NULL, times[:, 1] + starts - times[:, 0])
    return _in_order(np.stack([starts, ends], axis=1))


def _likely_clock(one: Times, other: Times) -> list[int]:
    """The difference of clocks that most pairs of starts agree on."""
    if min(len(one), len(other)) < _FEW:
        return []  # with so few, some clock always fits
    first, last = np.searchsorted(other[:, 0], (one[0, 0] - _MOST_CLOCK, one[-1, 0] + _MOST_CLOCK))
    difference = (one[:512, None, 0] - other[None, first:last, 0][:, :MOST]).ravel()
    difference = difference[np.abs(difference) <= _MOST_CLOCK]
    if not len(difference):
        return []
    bins, counts = np.unique(difference // (SECOND // 2), return_counts=True)
    best = bins[int(np.argmax(counts))]
    near = difference[np.abs(difference - best * (SECOND // 2)) <= SECOND]
    return [int(np.median(near))]


def _pairs(one: Times, other: Times) -> NDArray[np.bool_]:
    """bool[len(one)]: whether a partner is left for it; the one whose end is nearest is taken."""
    starts, ends = other[:, 0].tolist(), other[:, 1].tolist()
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
