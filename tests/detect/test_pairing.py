"""Whether two logs' sessions are the same ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from logscope.correlate.layout import NULL
from logscope.detect.pairing import pair

SECOND = 10**9


def sessions(seed: int, count: int = 200, pace_s: float = 3.0) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.exponential(pace_s, count)) + 1.7e9
    ends = starts + random.choice([0.1, 0.5, 2.5, 9.0, 31.0], count) + random.random(count)
    return (np.stack([starts, ends], axis=1) * SECOND).astype(np.int64)


def coarse(times: NDArray[np.int64]) -> NDArray[np.int64]:
    return times // SECOND * SECOND


@pytest.mark.parametrize("clock_s", [0, 1.5, -40])
def test_the_same_sessions_pair_whatever_the_clocks(clock_s: float) -> None:
    one = sessions(1)
    found = pair(one, coarse(one - int(clock_s * SECOND)))
    assert found is not None
    assert found.share > 0.9
    assert found.lift > 0.5
    assert found.luck < 1e-6
    assert abs(found.clock_ns / SECOND - clock_s) < 1.5


def test_a_known_clock_is_believed() -> None:
    one = sessions(1)
    assert pair(one, coarse(one - 40 * SECOND), clocks=[40 * SECOND]).share > 0.9
    assert pair(one, coarse(one - 40 * SECOND), clocks=[0]).lift < 0.2


def test_other_sessions_pair_by_chance_only() -> None:
    found = pair(sessions(1), coarse(sessions(2)))
    assert found.lift < 0.2
    assert found.luck > 0.001


def test_busy_logs_pair_by_chance() -> None:
    found = pair(sessions(1, 800, 0.02), coarse(sessions(2, 800, 0.02)))
    assert found.chance > 0.5
    assert found.lift < 0.3


def test_few_pairs_may_be_luck() -> None:
    """Five of five in a quiet hour are none; among many others they may be."""
    one = sessions(1, 5, 60)
    assert pair(one, coarse(one)).luck < 0.001
    crowd = sessions(3, 400, 1)
    assert pair(crowd[::80], coarse(crowd)).luck > 0.001


def test_unknown_ends_leave_the_starts() -> None:
    one = sessions(1)
    other = coarse(one)
    other[:, 1] = NULL
    assert pair(one, other).share > 0.9


def test_half_of_them() -> None:
    one = sessions(1)
    found = pair(one, coarse(one[::2]))
    assert 0.4 < found.share_one < 0.65
    assert found.share_other > 0.9
    assert found.paired_one.sum() == found.paired_other.sum() == found.count


def test_nothing_pairs_with_nothing() -> None:
    none = np.empty((0, 2), np.int64)
    assert pair(none, sessions(1)) is None
    assert pair(sessions(1), none) is None


def test_logs_of_other_days_share_no_time() -> None:
    one = sessions(1)
    assert pair(one, one + 86_400 * SECOND) is None
