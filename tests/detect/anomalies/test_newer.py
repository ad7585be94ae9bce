"""One sender that changes, one client at many listeners, one destination whose queue grows; and what is usual
of such.
"""

from __future__ import annotations

import numpy as np
import pytest
from anomalies.holdout import START_S, Fault, Week

from logscope.detect.anomalies import Finder, Report
from logscope.detect.anomalies.senders import RECIPIENTS, SIZE, Senders

HOUR, DAY = 3600, 86_400
AT_S = 2 * DAY + 10 * HOUR


def report_of(week: Week) -> Report:
    finder = Finder()
    for table, batch in week.batches():
        finder.add(table, batch)
    return finder.report()


@pytest.mark.parametrize(
    ("kind", "size", "wanted"),
    [
        ("sender_size", 30.0, "sender_shift sender user3@example.com"),
        ("listener_scan", 5.0, "port_scan client"),
        ("queue_growth", 8.0, "queue_growth destination dest1.example"),
    ],
)
def test_it_is_found_while_it_lasts(kind: str, size: float, wanted: str) -> None:
    fault = Fault(kind, AT_S, 600 if kind == "listener_scan" else 1200, size)
    (found,) = report_of(Week(5, 30_000, [fault], days=3)).findings
    assert f"{found.kind} {found.scope}".startswith(wanted)
    begin = START_S + AT_S
    assert begin - 120 <= found.since / 1e9 <= found.detected_at / 1e9 <= begin + fault.length_s + 60
    assert found.expected <= found.expected_high < found.observed


def test_what_has_been_so_all_along_is_no_news() -> None:
    assert report_of(Week(5, 2_000, [], days=7, extras=("reports", "prober"))).findings == []


# --- senders ------------------------------------------------------------------------------------------------


def senders_of(sizes: np.ndarray, recipients: np.ndarray, gap_s: np.ndarray) -> Senders:
    """One sender's messages, so many seconds after each other."""
    senders = Senders()
    times = (START_S + np.cumsum(gap_s)).astype(np.int64) * 1_000_000_000
    for row in range(len(sizes)):
        one = slice(row, row + 1)
        senders.add(np.zeros(1, np.int64), ["a"], times[one], sizes[one], recipients[one])
    return senders


def history(count: int, spread: float) -> np.ndarray:
    chance = np.random.default_rng(8)
    return np.exp(chance.normal(10, spread, count)).astype(np.int64)


def test_more_recipients_are_found_though_they_are_few() -> None:
    usual, many = np.ones(60, np.int64), np.full(15, 8)
    gaps = np.concatenate((np.full(60, 1800), np.full(15, 120)))
    senders = senders_of(history(75, 1.0), np.concatenate((usual, many)), gaps)
    (burst,) = senders.take()
    assert (burst.what, burst.usual) == (RECIPIENTS, 1.0)
    assert burst.peak >= 4


def test_larger_messages_are_found_before_half_an_hour_of_ordinary_ones_is_over() -> None:
    """The ordinary ones just before do not hide them."""
    sizes = np.concatenate((history(60, 1.0), 30 * history(10, 1.0)))
    gaps = np.concatenate((np.full(40, 1800), np.full(30, 60)))
    (burst,) = senders_of(sizes, np.ones(70, np.int64), gaps).take()
    begun_s = START_S + gaps[:61].sum()
    assert burst.what == SIZE
    assert burst.detected <= begun_s + 10 * 60


def test_who_sends_seldom_is_remembered_in_little_room() -> None:
    senders = senders_of(history(1000, 1.0), np.ones(1000, np.int64), np.full(1000, 1800))
    assert not list(senders.take())
    (one,) = senders._senders.values()
    assert len(one.minutes) <= 241
    assert one.past is not None
    assert one.past[0].count >= 700


def test_campaigns_of_one_size_each_are_as_that_sender_is() -> None:
    """Each is alike in itself: their many messages say no more than a few would."""
    chance = np.random.default_rng(3)
    sizes = np.repeat(np.exp(chance.normal(10, 0.9, 12)).astype(np.int64), 20)
    gaps = np.tile(np.concatenate(([6 * HOUR], np.full(19, 60))), 12)
    assert not list(senders_of(sizes, np.ones(240, np.int64), gaps).take())


def test_who_did_so_last_night_does_as_ever() -> None:
    """Found the first time, and then no more."""
    day = np.concatenate((history(40, 0.8), 40 * history(20, 0.8)))
    gaps = np.concatenate((np.full(40, 1800), np.full(20, 60)))
    senders = senders_of(np.tile(day, 4), np.ones(240, np.int64), np.tile(gaps, 4))
    assert [burst.what for burst in senders.take()] == [SIZE]


def test_a_sender_without_a_past_is_not_judged() -> None:
    sizes = np.concatenate((history(10, 0.5), 100 * history(20, 0.5)))
    assert not list(senders_of(sizes, np.ones(30, np.int64), np.full(30, 240)).take())
