"""What looks like a change of the rate and is only the calendar, and what is none of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from logscope.detect.anomalies import Finder, Report

START_S = 1_767_571_200  # Monday 2026-01-05
HOUR_S, DAY_S = 3600, 86_400
MINUTES = 7 * 1440


def week(day_turns_h: float = 0.0) -> np.ndarray:
    """Sessions a minute: quiet weekends, and Wednesday quiet as well; the turn takes so many hours."""
    level = np.repeat([1.0, 1.0, 0.4, 1.0, 1.0, 0.4, 0.4], 1440)
    if day_turns_h:
        width = int(day_turns_h * 60)
        level = np.convolve(np.pad(level, width, mode="edge"), np.ones(width) / width, "same")[width:-width]
    hours = np.arange(MINUTES) / 60
    return 20.0 * level * (1 + 0.5 * np.sin(2 * np.pi * (hours - 9) / 24))


def report_of(rates: np.ndarray) -> Report:
    chance = np.random.default_rng(5)
    counts = chance.poisson(rates)
    minute = np.repeat(np.arange(MINUTES), counts)
    at_ns = np.sort((START_S + (minute + chance.random(len(minute))) * 60) * 1e9).astype(np.int64)
    count = len(at_ns)
    batch = pa.record_batch(
        {
            "accepted_at": pa.array(at_ns).cast(pa.timestamp("ns", tz="UTC")),
            "balancer": pa.array(["lb1"] * count),
            "frontend": pa.array(["ft_smtp"] * count),
            "outcome": pa.array(["delivered"] * count),
        }
    )
    finder = Finder()
    finder.add("sessions", batch)
    return finder.report()


@pytest.mark.parametrize("hours", [0.0, 8.0])
def test_a_holiday_is_no_outage_however_it_begins(hours: float) -> None:
    report = report_of(week(hours))
    assert [(one.kind, one.scope) for one in report.findings] == []


def test_a_holiday_that_begins_at_once_is_told_apart_with_its_reason() -> None:
    reasons = [reason for _, reason in report_of(week()).ordinary]
    assert any("a holiday" in one for one in reasons)
    assert any("after a quieter day" in one for one in reasons)


@pytest.mark.parametrize(("day", "hour"), [(1, 2.6), (4, 11.0)])
def test_a_loss_of_more_than_half_on_a_working_day_is_a_drop(day: int, hour: float) -> None:
    rates = week()
    begin = int((day * 24 + hour) * 60)
    rates[begin : begin + 60] *= 0.4
    found = [(one.kind, one.scope) for one in report_of(rates).findings]
    assert found == [("drop", "fleet")]


@pytest.mark.parametrize("day", [1, 4])
def test_a_surge_in_the_night_is_one(day: int) -> None:
    rates = week()
    begin = (day * 24 + 1) * 60 + 17
    rates[begin : begin + 30] *= 3
    assert [one.kind for one in report_of(rates).findings] == ["surge"]
