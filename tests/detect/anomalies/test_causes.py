"""Which signs go together, and which do not: cases that were wrong once."""

from __future__ import annotations

import pytest
from anomalies.holdout import START_S, Fault, Week

from logscope.detect.anomalies import Finder, Report

HOUR, DAY = 3600, 86_400


def report_of(week: Week) -> Report:
    finder = Finder()
    for table, batch in week.batches():
        finder.add(table, batch)
    return finder.report()


def test_a_surge_after_a_server_came_back_is_a_surge() -> None:
    """Nobody waits for a server whose peers took the sessions: what comes later is not its aftermath."""
    faults = [
        Fault("server_down", 4800, 720, target="1"),
        Fault("volume_surge", 7200, 600, 4.0),
    ]
    report = report_of(Week(31, 30_000, faults, days=0.125, servers=3))
    assert sorted(one.kind for one in report.findings) == ["server_silent", "surge"]


def test_silence_is_that_of_the_whole_site_though_its_listener_fell_silent_too() -> None:
    fault = Fault("silence", 2 * DAY + 10 * HOUR, 360)
    report = report_of(Week(32, 60_000, [fault], days=3, lines=False))
    assert [(one.kind, one.scope) for one in report.findings] == [("silence", "fleet")]
    assert abs(report.findings[0].since / 1e9 - START_S - fault.start_s) <= 120


@pytest.mark.parametrize("kind", ["connect_latency", "server_latency"])
def test_slowness_is_of_the_server_that_is_slow(kind: str) -> None:
    fault = Fault(kind, DAY + 10 * HOUR, 1200, 3.0, "2")
    report = report_of(Week(33, 60_000, [fault], days=2, lines=False))
    where = "fleet" if kind == "connect_latency" else "server bk_smtp/mx-c"
    assert [(one.kind, one.scope) for one in report.findings] == [("connect_latency", where)]
