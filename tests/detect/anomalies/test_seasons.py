"""The usual shape of days and weeks, and what must not disturb it."""

from __future__ import annotations

import numpy as np
import pytest

from logscope.detect.anomalies.seasons import flat, rate_season, share_season

MONDAY = 1_780_876_800 // 60
"""A Monday's first minute."""


def week(days: int = 7, *, weekend: float = 0.4, mean: float = 40.0) -> np.ndarray:
    """Expected counts of each minute."""
    minutes = np.arange(days * 1440)
    shape = 1 + 0.8 * np.sin(2 * np.pi * (minutes / 1440 - 0.35))
    return mean * shape * np.where(minutes // 1440 % 7 >= 5, weekend, 1.0)


def drawn(expected: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(expected).astype(float)


def usual(counts: np.ndarray) -> np.ndarray:
    """What the season learnt from a week says for each of its minutes."""
    season = rate_season(counts, MONDAY, 60)
    return season.at((MONDAY + np.arange(len(counts)) + 0.5) * 60.0) * 60


def test_days_and_weekends_are_told_apart() -> None:
    expected = week()
    found = usual(drawn(expected))
    assert np.median(np.abs(found / expected - 1)) < 0.06
    assert found[5 * 1440 :].mean() == pytest.approx(expected[5 * 1440 :].mean(), rel=0.1)


def test_one_bad_hour_and_one_odd_day_leave_the_season_alone() -> None:
    expected = week()
    counts = drawn(expected)
    counts[1440 + 600 : 1440 + 660] *= 5
    counts[3 * 1440 : 4 * 1440] *= 0.4
    found = usual(counts)
    assert found[1440 + 630] == pytest.approx(expected[1440 + 630], rel=0.15)
    assert np.median(np.abs(found / expected - 1)) < 0.1


def test_less_than_two_days_have_no_season() -> None:
    counts = drawn(week(1))
    assert rate_season(counts, MONDAY, 60).days.std() == 0


def test_a_share_has_the_season_of_its_day() -> None:
    trials = drawn(week(), 2)
    share = np.where((np.arange(len(trials)) % 1440) < 480, 0.3, 0.1)
    counts = np.random.default_rng(3).binomial(trials.astype(int), share).astype(float)
    season = share_season(counts, trials, MONDAY, 60)
    at_night, by_day = season.at(np.array([(MONDAY + 240) * 60.0, (MONDAY + 900) * 60.0]))
    assert at_night == pytest.approx(0.3, abs=0.04)
    assert by_day == pytest.approx(0.1, abs=0.03)


def test_a_flat_season_says_the_same_always() -> None:
    assert set(flat(2.5).at(np.arange(0, 1e6, 7777.0)).tolist()) == {2.5}


def test_two_days_do_not_take_a_surge_on_one_of_them_for_usual() -> None:
    expected = week(2)
    counts = drawn(expected)
    counts[1440 + 660 : 1440 + 680] *= 3
    assert usual(counts)[1440 + 670] == pytest.approx(expected[1440 + 670], rel=0.15)


@pytest.mark.parametrize("a_day", [1, 3, 20])
def test_what_is_seldom_is_usual_at_its_mean_rate(a_day: int) -> None:
    counts = np.zeros(7 * 1440)
    counts[np.random.default_rng(4).choice(len(counts), 7 * a_day, replace=False)] = 1
    assert usual(counts).mean() == pytest.approx(a_day / 1440, rel=0.5)


def test_what_came_on_two_days_of_seven_is_usual_at_its_mean_rate() -> None:
    counts = np.zeros(7 * 1440)
    counts[1440:1500] = counts[5000:5060] = 5
    assert usual(counts).mean() == pytest.approx(600 / len(counts))


def test_a_share_has_weekends_of_its_own() -> None:
    """Bots come as ever while people rest."""
    trials = drawn(week(14), 2)
    share = np.where(np.arange(len(trials)) // 1440 % 7 >= 5, 0.3, 0.12)
    counts = np.random.default_rng(3).binomial(trials.astype(int), share).astype(float)
    season = share_season(counts, trials, MONDAY, 60)
    monday, saturday = season.at(np.array([(MONDAY + 840.0) * 60, (MONDAY + 5 * 1440 + 840.0) * 60]))
    assert monday == pytest.approx(0.12, abs=0.02)
    assert saturday == pytest.approx(0.3, abs=0.06)


def test_days_of_which_nothing_is_known_say_nothing_of_a_share() -> None:
    trials = drawn(week(), 2)
    trials[np.arange(len(trials)) % 1440 < 300] = 0
    season = share_season(trials * 0.5, trials, MONDAY, 60)
    assert np.isfinite(season.days).all()
    assert season.days.max() <= 0.95
