"""Whether two sets of sessions are the same sessions seen by two hosts, judged by when they began and ended.

Each side's sessions are paired one to one. Busy logs pair by chance too: the share that is paired at the
right clock is held against the share that is paired at wrong ones.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from math import comb, erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import NULL, SECOND
from logscope.detect.sample import Times

NEAR = 1_500_000_000
"""Starts, and ends, this far apart may be one moment: stamps have whole seconds, clocks are not quite
equal."""
NEAR_FINE = 400_000_000
"""The same where the stamps of both sides have fractions."""

_FEW = 10
_WINDOW = 96
_MOST_CLOCK = 120 * SECOND
_TURN = 600 * SECOND
_NORMAL = 200  # from so many on the normal distribution will do
_WRONG_CLOCKS = (
    0.13,
    0.23,
    0.37,
    0.47,
    0.61,
    0.71,
    0.83,
    0.91,
)  # of the time that both sides cover, or of ten minutes

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairing:
    """How well sessions of one side fit those of the other, within the time that both logs cover.

    Attributes:
        one, other: which of either side's sessions (in order of their starts) are in that time.
        paired_one, paired_other: which of all of either side have a partner.
        chance: share of the smaller side that finds a partner at wrong clocks.
        clock_ns: what was added to the second side's times.
    """

    one: Mask
    other: Mask
    paired_one: Mask
    paired_other: Mask
    chance: float
    clock_ns: int

    @property
    def count(self) -> int:
        """Pairs."""
        return int(self.paired_one.sum())

    @property
    def share_one(self) -> float:
        """Share of the first side's sessions, of those in the common time, that are paired."""
        return self.count / max(1, int(self.one.sum()))

    @property
    def share_other(self) -> float:
        """The same for the second side."""
        return self.count / max(1, int(self.other.sum()))

    @property
    def share(self) -> float:
        """Share of the smaller side."""
        return max(self.share_one, self.share_other)

    @property
    def lift(self) -> float:
        """By how much that is more than chance."""
        return self.share - self.chance

    @property
    def luck(self) -> float:
        """How likely so many pairs would be if only chance made them."""
        few = min(int(self.one.sum()), int(self.other.sum()))
        # Eight wrong clocks measure chance; one pair more in one of them would be no surprise.
        chance = min(1.0, self.chance + 1 / (len(_WRONG_CLOCKS) * max(few, 1)))
        return _tail(few, self.count, chance)


def _tail(count: int, least: int, chance: float) -> float:
    """Probability of `least` or more of `count` independent things that each happen with this chance."""
    if count > _NORMAL:
        deviation = sqrt(max(count * chance * (1 - chance), 1e-9))
        return erfc((least - 0.5 - count * chance) / deviation / sqrt(2)) / 2
    return sum(comb(count, n) * chance**n * (1 - chance) ** (count - n) for n in range(least, count + 1))


def pair(one: Times, other: Times, clocks: Iterable[int] = ()) -> Pairing | None:
    """Pair two sides' sessions; both in order of their starts, all of which are known.

    Args:
        clocks: ns that may have to be added to the second side, besides none. Without any, what most starts
            agree on is tried.

    Returns:
        the pairing by the clock at which most are paired, the first of equals; None where the logs share no
        time.
    """
    found: Pairing | None = None
    near = NEAR_FINE if _is_fine(one) and _is_fine(other) else NEAR
    tried: set[int] = set()
    known = tuple(clocks)
    for clock in (0, *(known or _likely_clock(one, other))):
        if clock in tried:
            continue
        tried.add(clock)
        trial = _pair_at(one, other, clock, near)
        if trial is not None and (found is None or trial.count > found.count):
            found = trial
    return found


def _is_fine(times: Times) -> bool:
    return bool((times[:, 0] % SECOND != 0).any())


def _pair_at(one: Times, other: Times, clock: int, near: int) -> Pairing | None:
    moved = np.where(other == NULL, NULL, other + clock)
    mine, theirs = _within(one, moved, near), _within(moved, one, near)
    if not mine.any() or not theirs.any():
        return None
    paired = _pairs(one[mine], moved[theirs], near)
    wrong = [len(_pairs(one[mine], _turned(moved[theirs], part), near)[0]) for part in _WRONG_CLOCKS]
    chance = float(np.mean(wrong)) / min(int(mine.sum()), int(theirs.sum()))
    paired_one, paired_other = (
        _marked(len(inside), np.flatnonzero(inside)[places])
        for inside, places in zip((mine, theirs), paired, strict=True)
    )
    return Pairing(mine, theirs, paired_one, paired_other, chance, clock)


def _marked(length: int, places: NDArray[np.int64]) -> Mask:
    mask = np.zeros(length, np.bool_)
    mask[places] = True
    return mask


def _within(times: Times, other: Times, near: int) -> Mask:
    """The sessions that start while the other side's log runs."""
    if not len(other):
        return np.zeros(len(times), np.bool_)
    inside: Mask = (times[:, 0] >= other[0, 0] - near) & (times[:, 0] <= other[-1, 0] + near)
    return inside


def _turned(times: Times, part: float) -> Times:
    """The same sessions by a wrong clock; what leaves the covered time at its end comes in again at its
    beginning."""
    first, length = times[0, 0], int(times[-1, 0] - times[0, 0]) + SECOND
    shift = int(part * min(length, _TURN))
    starts: NDArray[np.int64] = first + (times[:, 0] - first + shift) % length
    ends = np.where(times[:, 1] == NULL, NULL, times[:, 1] + starts - times[:, 0])
    turned = np.stack([starts, ends], axis=1)
    return turned[np.argsort(starts, kind="stable")]


def _likely_clock(one: Times, other: Times) -> list[int]:
    """The difference of clocks that most pairs of starts agree on."""
    if min(len(one), len(other)) < _FEW:
        return []  # with so few, some clock always fits
    first, last = np.searchsorted(other[:, 0], (one[0, 0] - _MOST_CLOCK, one[-1, 0] + _MOST_CLOCK))
    difference = (one[:512, None, 0] - other[None, first:last, 0][:, :1024]).ravel()
    difference = difference[np.abs(difference) <= _MOST_CLOCK]
    if not len(difference):
        return []
    bins, counts = np.unique(difference // (SECOND // 2), return_counts=True)
    best = bins[int(np.argmax(counts))]
    near = difference[np.abs(difference - best * (SECOND // 2)) <= SECOND]
    return [int(np.median(near))]


def _pairs(one: Times, other: Times, near: int) -> tuple[list[int], list[int]]:
    """Places of pairs on either side; of the partners that are left the one whose end is nearest is taken."""
    starts, ends = other[:, 0].tolist(), other[:, 1].tolist()
    taken = [False] * len(starts)
    found: tuple[list[int], list[int]] = ([], [])
    for at, (start, end) in enumerate(one.tolist()):
        best, least = -1, near + 1
        first = bisect_left(starts, start - near)
        for candidate in range(first, min(first + _WINDOW, len(starts))):
            if starts[candidate] > start + near:
                break
            if taken[candidate]:
                continue
            known = end != NULL and ends[candidate] != NULL
            distance = abs((ends[candidate] - end) if known else (starts[candidate] - start))
            if distance < least:
                best, least = candidate, distance
        if best >= 0:
            taken[best] = True
            found[0].append(at)
            found[1].append(best)
    return found
