"""Faults of simulated sites that were missed, or called by another name, once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from logscope.detect.anomalies import Finder, Report
from logscope.simulate import Fault, Options, Simulation, Tables, balancers, servers

DAY = 86_400
AT_S = 2 * DAY + 10 * 3600
START = datetime(2026, 6, 8, tzinfo=UTC)


def report_of(per_day: int, *faults: Fault, seed: int = 6) -> Report:
    """What is found in the three days from a Monday on."""
    options = Options(
        sessions=3 * per_day, start=START, duration_s=3.0 * DAY, seed=seed, balancers=balancers(1),
        servers=servers(3), faults=faults,
    )  # fmt: skip
    simulation, finder = Simulation(options), Finder()
    for block in simulation.blocks():
        made = Tables(simulation, block)
        for table in ("sessions", "messages", "deliveries"):
            finder.add(table, made.table(table))
    return finder.report()


@pytest.mark.parametrize(
    ("per_day", "fault", "wanted"),
    [
        (40_000, Fault("ramp", AT_S, 5400, 3.0), "ramp fleet"),
        (50_000, Fault("header_missing", AT_S, 900, 1.0, 1), "server_worse server bk_postfix/mx-b"),
        (60_000, Fault("slow_session", AT_S, 900, 2.0), "session_latency fleet"),
        (9_000, Fault("backscatter", AT_S, 900, 40.0), "user_enumeration fleet"),
        (60_000, Fault("aborts", AT_S, 900, 0.1), "outcome_shift fleet"),
    ],
    ids=lambda one: one.kind if isinstance(one, Fault) else "",
)
def test_a_fault_is_found_and_called_by_its_name(per_day: int, fault: Fault, wanted: str) -> None:
    found = report_of(per_day, fault).findings
    assert [f"{one.kind} {one.scope}" for one in found] == [wanted]
    begin = START.timestamp() + AT_S
    assert begin - 300 <= found[0].since / 1e9 <= found[0].detected_at / 1e9 <= begin + fault.duration_s


def test_what_a_server_ends_at_once_is_said_to_be_so() -> None:
    (found,) = report_of(50_000, Fault("header_missing", AT_S, 900, 1.0, 1)).findings
    assert "without a word of the mail server" in found.explanation
    assert "PROXY header" in found.explanation
    (gap,) = report_of(50_000, Fault("log_gap", AT_S, 900, 1.0, 1)).findings
    assert (gap.kind, gap.scope) == ("log_gap", "server bk_postfix/mx-b")


@pytest.mark.parametrize("a_minute", [1.0, 6.0])
def test_a_monitor_is_in_order_and_explains_nothing_that_comes_later(a_minute: float) -> None:
    """It is there from then on: what happens a day later has another cause."""
    monitor = Fault("monitor", AT_S - 1.2 * DAY, None, a_minute)
    assert report_of(2_000, monitor).findings == []
    report = report_of(60_000, monitor, Fault("rejects", AT_S, 900, 0.2))
    assert [one.kind for one in report.findings] == ["reject_shift"]
