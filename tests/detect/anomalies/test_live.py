"""Findings of a run that goes on: told once, when they are known, and again when they are over."""

from __future__ import annotations

import pyarrow as pa
from anomalies.holdout import START_S, Fault, Week

from logscope.cli.unusual import line_of
from logscope.detect.anomalies import Finder
from logscope.detect.anomalies.live import LiveFinder, News

HOUR, SECOND = 3600, 1_000_000_000
SURGE = Fault("volume_surge", 26 * HOUR, 1800, 3.0)


def hours(days: float = 1.25) -> list[list[tuple[str, pa.RecordBatch]]]:
    """What a site's hours bring: sessions of which the 27th hour has three times as many."""
    found: list[list[tuple[str, pa.RecordBatch]]] = []
    for table, batch in Week(21, 20_000, [SURGE], days=days).batches():
        if table == "sessions":
            found.append([])
        found[-1].append((table, batch))
    return found


def test_a_finding_is_told_when_it_is_known_and_once_again_when_it_is_over() -> None:
    finder = LiveFinder()
    told: list[tuple[int, News]] = []
    for hour, batches in enumerate(hours()):
        for table, batch in batches:
            finder.add(table, batch)
        told += [(hour, news) for news in finder.look()]
    surges = [(hour, news) for hour, news in told if news.finding.kind == "surge"]
    assert surges[0][0] == 26
    assert sum(not news.over for _, news in surges) == 1
    assert {news.finding.kind for _, news in told} == {"surge"}
    assert abs(surges[0][1].finding.since / SECOND - (START_S + SURGE.start_s)) < 300


def test_in_the_end_live_and_batch_have_found_the_same() -> None:
    finder, whole = LiveFinder(), Finder()
    for batches in hours():
        for table, batch in batches:
            finder.add(table, batch)
            whole.add(table, batch)
    finder.look()
    assert [one.document() for one in finder.findings] == [one.document() for one in whole.report().findings]


def test_the_last_hours_alone_are_judged_by_what_all_of_it_showed_to_be_usual() -> None:
    late = Fault("volume_surge", 57 * HOUR, 1800, 3.0)
    finder = Finder()
    for table, batch in Week(21, 20_000, [SURGE, late], days=2.5, lines=False).batches():
        finder.add(table, batch)
    whole, last = finder.report(), finder.report(6 * HOUR)
    assert whole.baseline.is_seasoned
    assert [one.kind for one in whole.findings] == ["surge", "surge"]
    [same] = last.findings
    one = whole.findings[1]
    assert (one.kind, one.scope) == (same.kind, same.scope)
    assert abs(one.since - same.since) <= 120 * SECOND
    assert abs(one.detected_at - same.detected_at) <= 120 * SECOND
    assert finder.report(2 * HOUR).findings == []
    assert last.span == whole.span


def test_what_was_known_before_is_no_news() -> None:
    finder = LiveFinder()
    finder.since = int((START_S + 28 * HOUR) * SECOND)
    for batches in hours():
        for table, batch in batches:
            finder.add(table, batch)
    assert finder.look() == []
    assert [one.kind for one in finder.findings] == ["surge"]


def test_what_is_old_is_forgotten() -> None:
    finder = Finder()
    for batches in hours(3.0):
        for table, batch in batches:
            finder.add(table, batch)
    before = finder.report()
    finder.forget(86_400)
    after = finder.report()
    assert before.span is not None
    assert after.span is not None
    assert after.span[1] == before.span[1]
    assert 24 * HOUR <= (after.span[1] - after.span[0]) / SECOND <= 49 * HOUR


def test_a_line_says_what_since_when_and_what_to_do() -> None:
    finder = LiveFinder()
    for batches in hours():
        for table, batch in batches:
            finder.add(table, batch)
    news = finder.look()
    assert news
    line = line_of(news[0])
    assert line.startswith("warning since 2026-06-09 02:")
    assert "More sessions than usual" in line
    assert "\n" not in line
    assert line_of(News(news[0].finding, over=True)).startswith("over since ")
