"""One sender that changes, one client at many listeners, one destination whose queue grows; and what is usual
of such.
"""

from __future__ import annotations

import numpy as np
import pytest
from anomalies.holdout import START_S, Fault, Week

from logscope.detect.anomalies import Finder, Report
from logscope.detect.anomalies.senders import RECIPIENTS, SIZE, Senders
from logscope.detect.anomalies.sent import COUNT

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
    assert len(senders._numbers) == 1
    assert senders._books.held[0] == 1
    assert senders._books.past[0, 0, COUNT] == 999


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


# --- senders of one domain ----------------------------------------------------------------------------------


def domain_of_senders(changing: int, accounts: bool = False) -> Senders:
    """Thirty senders of a domain that send all day; then so many of them larger messages, half an hour."""
    chance = np.random.default_rng(14)
    senders, names = Senders(), [f"user{n}@news.example" for n in range(30)]
    for minute in range(330):
        who = np.nonzero(chance.random(30) < 0.5)[0]
        large = (minute >= 300) & (who < changing)
        sizes = (np.exp(chance.normal(8, 0.5, len(who))) * np.where(large, 30, 1)).astype(np.int64)
        times = np.full(len(who), (START_S + minute * 60) * 1_000_000_000)
        senders.add(who, names, times, sizes, np.ones(len(who), np.int64), accounts)
    return senders


def findings_of(senders: Senders) -> Report:
    week = Week(5, 2_000, [], days=1, lines=False)
    finder = Finder()
    for table, batch in week.batches():
        finder.add(table, batch)
    finder._gathered.senders = senders
    return finder.report()


def test_a_domain_that_begins_to_send_large_messages_is_a_newsletter() -> None:
    report = findings_of(domain_of_senders(30))
    assert not [one for one in report.findings if one.kind == "sender_shift"]
    (told,) = [(one, why) for one, why in report.ordinary if one.kind == "sender_shift"]
    assert "of news.example" in told[0].scope
    assert "newsletter" in told[1]


def test_accounts_that_logged_in_and_change_together_are_one_finding() -> None:
    (found,) = [
        one for one in findings_of(domain_of_senders(30, True)).findings if one.kind == "sender_shift"
    ]
    assert "of news.example" in found.scope


def test_a_sender_that_changes_alone_is_told_though_its_domain_is_large() -> None:
    found = [one for one in findings_of(domain_of_senders(1)).findings if one.kind == "sender_shift"]
    assert [one.scope for one in found] == ["sender user0@news.example"]


def test_two_batches_or_one_make_the_same_of_senders() -> None:
    """However often one of them came already, minutes count in their order."""
    chance = np.random.default_rng(15)
    count = 6_000
    who = chance.integers(0, 40, count)
    times = (START_S + np.sort(chance.integers(0, 6 * HOUR, count))) * 1_000_000_000
    late = times >= (START_S + 5 * HOUR) * 1_000_000_000
    sizes = (np.exp(chance.normal(8, 0.4, count)) * np.where(late & (who < 3), 40, 1)).astype(np.int64)
    names, ones = [f"s{n}@{'a' if n % 2 else 'b'}.example" for n in range(40)], np.ones(count, np.int64)

    def found(cuts: list[int]) -> list[tuple[str, float, float, int]]:
        senders = Senders()
        for first, after in zip([0, *cuts], [*cuts, count], strict=True):
            part = slice(first, after)
            senders.add(who[part], names, times[part], sizes[part], ones[part])
        return [(one.actor, one.since, one.detected, one.company) for one in senders.take()]

    minutes = times // (60 * 1_000_000_000)
    between = (np.nonzero(np.diff(minutes))[0] + 1).tolist()
    assert found([]) == found(between[50::50]) == found(between)
    assert len(found([])) == 3


def test_parts_of_a_minute_are_no_minutes() -> None:
    """A run that goes on takes in what came every few seconds: all of it is one minute of large messages."""
    past = history(60, 0.5)
    sizes = np.concatenate((past, np.full(12, 60 * int(past.mean()))))
    gaps = np.concatenate((np.full(60, 60), [60], np.full(11, 5)))
    assert not list(senders_of(sizes, np.ones(72, np.int64), gaps).take())


def test_machine_code_finds_the_same() -> None:
    chance = np.random.default_rng(16)
    count = 3_000
    seconds = np.sort(chance.integers(0, 8 * HOUR, count))
    who = chance.zipf(1.5, count) % 30
    changed = (seconds > 5 * HOUR) & (who < 4)
    sizes = (np.exp(chance.normal(8, 0.5, count)) * np.where(changed, 20, 1)).astype(np.int64)
    recipients = chance.integers(1, 4, count) * np.where(changed & (who < 2), 30, 1)
    names = [f"user{n}@{'a' if n % 2 else 'b'}.example" for n in range(30)]
    found = []
    for machine_code in (False, True):
        senders = Senders()
        if machine_code:
            senders._reader.use_machine_code()
        for part in np.array_split(np.arange(count), 7):
            times = (START_S + seconds[part]) * 1_000_000_000
            senders.add(who[part], names, times, sizes[part], recipients[part])
        found.append(list(senders.take()))
    assert found[0]
    assert found[0] == found[1]
