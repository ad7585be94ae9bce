"""What lines are merged by, where some are stamped far ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.correlate.layout import NULL, SECOND
from logscope.pipeline.order import FAR_AHEAD, RunningOrder

HOUR = 3600 * SECOND
NOW = 1_800_000_000 * SECOND
FAKE = NOW + 100 * 365 * 24 * HOUR


def of(order: RunningOrder, *times: int, passed: int | None = None) -> list[int]:
    return order.of(np.array(times, np.int64), passed).tolist()


@given(st.lists(st.integers(NOW, NOW + FAR_AHEAD) | st.just(NULL), min_size=1), st.integers(0, 50))
def test_it_is_the_latest_time_so_far_however_the_lines_are_cut(times: list[int], cut: int) -> None:
    whole, parts = RunningOrder(), RunningOrder()
    latest = np.maximum.accumulate(times).tolist()
    assert of(whole, *times) == latest
    assert of(parts, *times[:cut]) + of(parts, *times[cut:]) == latest
    assert whole.doubted == 0


@pytest.mark.parametrize("at", range(4))
def test_a_line_far_ahead_of_those_around_it_moves_nothing_on(at: int) -> None:
    times = [NOW, NOW + SECOND, NOW + 2 * SECOND]
    times.insert(at, FAKE)
    order = RunningOrder()
    found = of(order, *times, NOW + 3 * SECOND)
    assert max(found) == NOW + 3 * SECOND
    assert found[at] == (found[at - 1] if at else NULL)
    assert order.doubted == 1


def test_a_log_that_pauses_for_days_goes_on() -> None:
    later = NOW + 72 * HOUR
    order = RunningOrder()
    assert of(order, NOW, later, later + SECOND) == [NOW, later, later + SECOND]
    assert of(order, later + 72 * HOUR) == [later + 72 * HOUR]
    assert order.doubted == 0


def test_live_a_last_line_may_be_ahead_by_the_time_that_has_passed() -> None:
    order = RunningOrder()
    assert of(order, NOW) == [NOW]
    assert of(order, FAKE, passed=SECOND) == [NOW]
    assert of(order, NOW + 72 * HOUR, passed=72 * HOUR) == [NOW + 72 * HOUR]
    assert order.doubted == 1


def test_a_clock_that_was_set_right_is_believed_in_the_end() -> None:
    order = RunningOrder()
    of(order, NOW)
    for number in range(20):
        of(order, NOW + 72 * HOUR + number * SECOND, passed=SECOND)
    assert order.latest == NOW + 72 * HOUR + 19 * SECOND
    assert order.doubted < 10
