"""Samples of sessions that two logs have in common."""

from __future__ import annotations

import numpy as np

from logscope.correlate.layout import NULL, SECOND
from logscope.detect.sample import MOST, Sample

HOUR = 3600 * SECOND


def times(starts: np.ndarray) -> np.ndarray:
    return np.column_stack([starts, starts + SECOND])


def test_few_sessions_are_all_kept_with_whose_they_are() -> None:
    sample = Sample()
    starts = np.array([30, 10, NULL, 20])
    names = ["c", "a", "x", "b"]
    sample.add(times(starts), lambda places: [names[place] for place in places], starts + 1)
    assert sample.times()[:, 0].tolist() == [10, 20, 30]
    assert sample.addresses() == ["a", "b", "c"]
    assert sample.dates().tolist() == [11, 21, 31]


def test_two_samples_of_many_sessions_keep_the_same_stretches() -> None:
    random = np.random.default_rng(1)
    starts = np.sort(random.integers(0, 300 * HOUR, 40_000))
    one, other = Sample(), Sample()
    for part in np.array_split(starts, 9):
        one.add(times(part))
    for part in np.array_split(starts[::2], 4):
        other.add(times(part[::-1]))
    assert max(len(one), len(other)) <= 2 * MOST + 40_000 // 4
    thinning = max(one.thinning, other.thinning)
    assert thinning > 0
    mine, theirs = one.times(thinning)[:, 0], other.times(thinning)[:, 0]
    assert set(theirs.tolist()) <= set(mine.tolist())
    assert len(theirs) > 100


def test_one_busy_stretch_keeps_its_beginning() -> None:
    sample = Sample()
    for part in range(5):
        sample.add(times(np.arange(part * 2000, part * 2000 + 2000)))
    assert len(sample) <= 2 * MOST + 2000
    assert sample.times()[0, 0] == 0


def test_joined_samples_are_one() -> None:
    one, other = Sample(), Sample()
    one.add(times(np.array([1, 3])))
    other.add(times(np.array([2])))
    one.join(other)
    assert one.times()[:, 0].tolist() == [1, 2, 3]
