"""The test that all series share: quiet by chance, quick when something changes, the same however cut."""

from __future__ import annotations

import numpy as np
import pytest

from logscope.detect.anomalies import cusum
from logscope.detect.anomalies.cusum import Settings, Test


def settings(series: int, tests: tuple[Test, ...], *, shares: bool = False, lag: int = 10) -> Settings:
    return Settings(
        tests, np.full(series, 60.0), lag, 720, np.full(series, 20.0), np.full(series, 0.003), shares
    )


def watched(
    counts: np.ndarray,
    shape: np.ndarray,
    trials: np.ndarray | None,
    threshold: float = 18.0,
    cuts: tuple[int, ...] = (),
) -> cusum.Paths:
    """All ticks, in as many runs as there are cuts and one more."""
    series = counts.shape[1]
    tests = (Test(1.8, 0.03), Test(0.35, 0.02)) if trials is not None else (Test(2.0), Test(0.5))
    how = settings(series, tests, shares=trials is not None)
    state = cusum.start(how, series)
    parts = []
    for begin, end in zip((0, *cuts), (*cuts, len(counts)), strict=True):
        some = None if trials is None else trials[begin:end]
        thresholds = np.full((len(tests), series), threshold)
        ticks = cusum.ticks_of(counts[begin:end], shape[begin:end], some)
        parts.append(cusum.run(how, state, ticks, thresholds, begin))
    return cusum.Paths(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("sums", "begun", "expected"))
    )


def steady(seed: int, ticks: int = 2000, series: int = 4, mean: float = 50.0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean, (ticks, series)).astype(float)


def test_chance_alone_stays_below_the_threshold() -> None:
    for seed in range(5):
        counts = steady(seed)
        assert watched(counts, np.full_like(counts, 50.0), None).sums.max() < 18


def test_a_doubled_rate_shows_within_three_ticks_and_says_since_when() -> None:
    counts = steady(1)
    counts[1000:1010, 2] *= 2
    paths = watched(counts, np.full_like(counts, 50.0), None)
    found = np.nonzero(paths.sums[:, 0, 2] > 18)[0]
    assert 1000 <= found[0] <= 1002
    assert abs(int(paths.begun[found[0], 0, 2]) - 1000) <= 1
    assert not (paths.sums[:, 0, [0, 1, 3]] > 18).any()


def test_a_level_that_the_season_does_not_know_is_learnt() -> None:
    """A series may be at thrice of what its season says, as long as it stays there."""
    counts = steady(2, mean=150.0)
    paths = watched(counts, np.full_like(counts, 50.0), None)
    assert not (paths.sums[200:] > 18).any()
    assert paths.expected[1500:].mean() == pytest.approx(150, rel=0.05)


def test_what_is_found_does_not_enter_the_level() -> None:
    counts = steady(3)
    counts[1000:1200, 0] *= 2
    paths = watched(counts, np.full_like(counts, 50.0), None)
    assert paths.expected[1190, 0] == pytest.approx(50, rel=0.15)
    assert (paths.sums[1010:1195, 0, 0] > 18).all()


@pytest.mark.parametrize("cuts", [(500,), (997, 1001, 1003), (1005, 1100), tuple(range(990, 1030))])
@pytest.mark.parametrize("shares", [False, True])
def test_the_same_however_the_ticks_are_cut(cuts: tuple[int, ...], shares: bool) -> None:
    """Live, a tick comes alone; in batch all come at once. With a change in the middle of them."""
    draw = np.random.default_rng(4)
    trials = draw.poisson(80, (1300, 3)).astype(float) if shares else None
    if trials is None:
        counts, shape = steady(4, 1300, 3), np.full((1300, 3), 50.0)
        counts[1000:1020, 1] *= 3
    else:
        share = np.full((1300, 3), 0.1)
        share[1000:1020, 1] = 0.5
        counts, shape = draw.binomial(trials.astype(int), share).astype(float), np.full((1300, 3), 0.1)
    whole, pieces = watched(counts, shape, trials), watched(counts, shape, trials, cuts=cuts)
    np.testing.assert_allclose(pieces.sums, whole.sums, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(pieces.begun, whole.begun)
    np.testing.assert_allclose(pieces.expected, whole.expected, rtol=1e-4)
    assert (whole.sums[1000:1020, 0, 1] > 18).any()


def test_a_share_that_cannot_fall_so_far_is_not_tested_for_it() -> None:
    draw = np.random.default_rng(5)
    trials = draw.poisson(80, (800, 1)).astype(float)
    counts = draw.binomial(trials.astype(int), 0.005).astype(float)
    paths = watched(counts, np.full_like(counts, 0.005), trials)
    assert paths.sums[:, 1].max() == 0
