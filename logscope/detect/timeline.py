"""When sessions of which fate began, and the states that follow from it.

    timeline.add(starts, fates)     in any order
    timeline.states(meaning)        [State("passed", …), State("masked", …)]: each from its first session on

Neighbours of one fate are kept as one stretch with its first, its last and its count, so a log that changes
twice is three stretches however long it is. Where fates alternate so much that there are too many stretches,
neighbours are put together and their border is known less exactly.

States are the likeliest sequence (Viterbi) under two simple beliefs: a state shows itself in all but few of
its sessions, and a change is rare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import NULL

FATES = 8
MOST = 2048
"""Stretches that are kept."""
ALTERNATING = "mixed"
"""The state in which two kinds come by turns."""

_ACCIDENT = 0.03  # share of a state's sessions that look like another's
_CHANGE = 8.0  # a change costs as much as two or three such accidents: -log of how rare it is
_TURNS = 0.5  # share of either of two kinds that come by turns
_ISLAND = 8  # times as many neighbours on either side make a session of another fate an island

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class State:
    """What held of a target for a while.

    Attributes:
        kind: what its sessions were, or `ALTERNATING`.
        first, last: when its first and its last session began that was of the kind, or not passed where kinds
            come by turns; ns since 1970.
        counts: its sessions by kind.
    """

    kind: str
    first: int
    last: int
    counts: Mapping[str, int]

    @property
    def sessions(self) -> int:
        """All of them."""
        return sum(self.counts.values())


class Timeline:
    """The fates of one target's sessions in time."""

    def __init__(self) -> None:
        self._counts: Ints = np.empty((0, FATES), np.int64)
        self._first: Ints = np.empty((0, FATES), np.int64)  # NULL's opposite where there are none
        self._last: Ints = np.empty((0, FATES), np.int64)

    @classmethod
    def merged(cls, parts: Iterable[Timeline], without: Collection[int] = ()) -> Timeline:
        """Several as one, without the sessions of some fates."""
        result = cls()
        for part in parts:
            counts = part._counts.copy()
            counts[:, list(without)] = 0
            kept = counts.any(axis=1)
            result._counts = np.concatenate([result._counts, counts[kept]])
            for whole, mine, empty in (
                ("_first", part._first, _NEVER),
                ("_last", part._last, NULL),
            ):
                times = mine[kept].copy()
                times[:, list(without)] = empty
                setattr(result, whole, np.concatenate([getattr(result, whole), times]))
        return result

    def add(self, starts: Ints, fates: Ints) -> None:
        """Take in some sessions; those without a start are left out."""
        known = starts != NULL
        starts, fates = starts[known], fates[known]
        rows = np.arange(len(starts))
        counts = np.zeros((len(starts), FATES), np.int64)
        first, last = np.full_like(counts, _NEVER), np.full_like(counts, NULL)
        counts[rows, fates] = 1
        first[rows, fates] = last[rows, fates] = starts
        self._counts = np.concatenate([self._counts, counts])
        self._first = np.concatenate([self._first, first])
        self._last = np.concatenate([self._last, last])
        if len(self._counts) > 2 * MOST:
            self._compress()

    # --- stretches ------------------------------------------------------------------------------------------

    def _sort(self) -> None:
        order = np.argsort(self._first.min(axis=1), kind="stable")
        self._counts, self._first, self._last = (
            self._counts[order], self._first[order], self._last[order]
        )  # fmt: skip

    def _compress(self) -> None:
        self._sort()
        self._join(self._alike())
        while len(self._counts) > MOST:
            before = len(self._counts)
            self._join(self._islands())
            self._join(self._alike())
            if len(self._counts) > 0.75 * before:
                self._join(np.arange(len(self._counts)) % 2 == 1)

    def _alike(self) -> NDArray[np.bool_]:
        """bool[n]: the stretch has the same fates as the one before."""
        present = self._counts > 0
        return np.append(False, (present[1:] == present[:-1]).all(axis=1))

    def _islands(self) -> NDArray[np.bool_]:
        """bool[n]: the stretch is a single session among many of another fate, or comes after one."""
        size, main = self._counts.sum(axis=1), self._counts.argmax(axis=1)
        island = np.zeros(len(size), np.bool_)
        near = np.minimum(size[:-2], size[2:]) >= _ISLAND * size[1:-1]
        island[1:-1] = near & (main[:-2] == main[2:])
        joined = island.copy()
        joined[1:] |= island[:-1]
        return joined

    def _join(self, with_before: NDArray[np.bool_]) -> None:
        """Put stretches together with the ones before them."""
        if not len(self._counts):
            return
        begins = np.flatnonzero(~with_before)
        self._counts = np.add.reduceat(self._counts, begins, axis=0)
        self._first = np.minimum.reduceat(self._first, begins, axis=0)
        self._last = np.maximum.reduceat(self._last, begins, axis=0)

    def as_one(self, meaning: Mapping[int, str]) -> State:
        """All of its sessions as a state in which kinds come by turns."""
        counts: Counter[str] = Counter()
        for fate, kind in meaning.items():
            counts[kind] += int(self._counts[:, fate].sum())
        wrong = [fate for fate, kind in meaning.items() if kind != "passed"]
        first, last = int(self._first[:, wrong].min()), int(self._last[:, wrong].max())
        return State(ALTERNATING, first, last, {kind: count for kind, count in counts.items() if count})

    # --- states ---------------------------------------------------------------------------------------------

    @property
    def span(self) -> tuple[int, int] | None:
        """When the first and the last session began; None without any."""
        present = self._counts > 0
        if not present.any():
            return None
        return int(self._first[present].min()), int(self._last[present].max())

    def count(self, fates: list[int], first: int, last: int) -> int:
        """How many sessions of some fates began in a period, as nearly as the stretches tell."""
        total = 0
        for fate in fates:
            begins, ends, counts = self._first[:, fate], self._last[:, fate], self._counts[:, fate]
            inside = (counts > 0) & (ends >= first) & (begins <= last)
            length = np.maximum(ends - begins, 1)
            covered = np.minimum(ends, last) - np.maximum(begins, first)
            share = np.where((begins >= first) & (ends <= last), 1.0, covered / length)
            total += round(float((counts * np.clip(share, 0, 1))[inside].sum()))
        return total

    def states(self, meaning: Mapping[int, str]) -> list[State]:
        """The states in the order of time.

        Args:
            meaning: what sessions of a fate are; fates that are not named say nothing.
        """
        if not meaning:
            return []
        kinds = sorted(set(meaning.values()))
        self._sort()
        self._join(self._alike())
        counts = _by_kind(self._counts, meaning, kinds, np.add.reduce)
        first = _by_kind(self._first, meaning, kinds, np.minimum.reduce)
        last = _by_kind(self._last, meaning, kinds, np.maximum.reduce)
        kept = counts.sum(axis=1) > 0
        if not kept.any():
            return []
        counts, first, last = counts[kept], first[kept], last[kept]
        path = _likeliest(counts)
        cuts = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
        return [
            _state(kinds, path[begin], counts[begin:end], first[begin:end], last[begin:end])
            for begin, end in pairwise(cuts)
        ]


_NEVER = np.iinfo(np.int64).max


def _by_kind(values: Ints, meaning: Mapping[int, str], kinds: list[str], reduce: Callable[..., Ints]) -> Ints:
    columns = [[fate for fate, kind in meaning.items() if kind == wanted] for wanted in kinds]
    return np.column_stack([reduce(values[:, fates], axis=1) for fates in columns])


def _likeliest(counts: Ints) -> Ints:
    """The state of each stretch: the number of a kind, or one more for kinds that come by turns."""
    kinds = counts.shape[1]
    if kinds == 1:
        return np.zeros(len(counts), np.int64)
    cost = np.empty((len(counts), kinds + 1))
    wrong, right = -log(_ACCIDENT / (kinds - 1)), -log(1 - _ACCIDENT)
    size = counts.sum(axis=1)
    for kind in range(kinds):
        cost[:, kind] = counts[:, kind] * right + (size - counts[:, kind]) * wrong
    cost[:, kinds] = size * -log(_TURNS)
    best, came = cost[0], np.empty(cost.shape, np.int64)
    for row in range(1, len(cost)):
        cheapest = int(best.argmin())
        change = best[cheapest] + _CHANGE
        came[row] = np.where(best <= change, np.arange(kinds + 1), cheapest)
        best = np.minimum(best, change) + cost[row]
    path = np.empty(len(cost), np.int64)
    path[-1] = best.argmin()
    for row in range(len(cost) - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path


def _state(kinds: list[str], number: int, counts: Ints, first: Ints, last: Ints) -> State:
    totals = counts.sum(axis=0)
    named = {kind: int(count) for kind, count in zip(kinds, totals, strict=True) if count}
    if number == len(kinds):
        return State(ALTERNATING, *_without_passed(kinds, first, last), named)
    return State(kinds[number], int(first[:, number].min()), int(last[:, number].max()), named)


def _without_passed(kinds: list[str], first: Ints, last: Ints) -> tuple[int, int]:
    wrong = [place for place, kind in enumerate(kinds) if kind != "passed"]
    return int(first[:, wrong].min()), int(last[:, wrong].max())
