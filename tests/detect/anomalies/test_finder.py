"""What the detectors find in generated days, and what they leave alone."""

from __future__ import annotations

from functools import cache

import pytest
from anomalies.holdout import START_S, Fault, Week

from logscope.detect.anomalies import Finder, Finding, Options, Report
from logscope.detect.anomalies.baseline import from_document

HOUR, DAY = 3600, 86400
SECOND = 1_000_000_000

FAULTS: dict[str, tuple[Fault, str]] = {
    "surge": (Fault("volume_surge", DAY + 11 * HOUR, 600, 2.0), "fleet"),
    "drop": (Fault("volume_drop", 14 * HOUR, 1200, 0.4), "fleet"),
    "silence": (Fault("silence", 2 * DAY + 15 * HOUR, 600), "fleet"),
    "auth_guessing": (Fault("auth_guessing", 2 * DAY + 9 * HOUR, 300, 5.0), "client"),
    "auth_guessing_distributed": (
        Fault("auth_guessing_distributed", 2 * DAY + 11 * HOUR, 3600, 4.0),
        "fleet",
    ),
    "server_worse": (Fault("server_worse", DAY + 15 * HOUR, 1800, 0.2, "1"), "server bk_smtp/mx-b"),
    "connect_latency": (Fault("connect_latency", DAY + 9 * HOUR, 600, 2.0), "fleet"),
    "server_silent": (Fault("server_down", DAY + 17 * HOUR, 1800, target="2"), "server bk_smtp/mx-c"),
    "mta_log_loss": (Fault("unmatched", 2 * DAY + 13 * HOUR, 1500, 0.05), "fleet"),
}
MORE_FAULTS: dict[str, tuple[Fault, str]] = {
    "heavy_client": (Fault("heavy_client", 11 * HOUR, 1200, 25), "client"),
    "heavy_network": (Fault("heavy_network", 2 * DAY + 10 * HOUR, 1200, 40), "network"),
    "user_enumeration": (Fault("user_enumeration", DAY + 9 * HOUR, 600, 20), "client"),
    "pregreet_wave": (Fault("pregreet_wave", 15 * HOUR, 900, 40), "fleet"),
    "dnsbl_surge": (Fault("dnsbl_surge", DAY + 14 * HOUR, 900, 60), "fleet"),
    "termination_shift": (Fault("termination_shift", DAY + 11 * HOUR, 1800, 0.1), "fleet"),
    "no_server": (Fault("no_server", DAY + 17 * HOUR, 900), "fleet"),
    "session_latency": (Fault("session_latency", 2 * DAY + 14 * HOUR, 1800, 3), "fleet"),
    "log_gap": (Fault("log_gap", 2 * DAY + 16 * HOUR, 1800, target="1"), "server bk_smtp/mx-b"),
}
STRANGE_FAULTS: dict[str, tuple[Fault, str]] = {
    "clock_step": (Fault("clock_step", 11 * HOUR, 5400, 5, "1"), "server bk_smtp/mx-b"),
    "clock_drift": (Fault("clock_drift", 2 * DAY + 9 * HOUR, 7200, 20, "2"), "server bk_smtp/mx-c"),
    "imbalance": (Fault("imbalance", DAY + 9 * HOUR, 2400, 0.5, "0"), "server bk_smtp/mx-a"),
    "flapping": (Fault("flapping", 14 * HOUR, 3600, target="1"), "server bk_smtp/mx-b"),
    "connection_hoarding": (Fault("hoarding", DAY + 15 * HOUR, 1800, 5), "client"),
    "backscatter": (Fault("backscatter", DAY + 13 * HOUR, 1800, 30), "fleet"),
    "account_takeover": (Fault("account_takeover", 2 * DAY + 14 * HOUR, 1200, 10), "user user7@example.com"),
    "deferrals": (Fault("deferral_growth", 2 * DAY + 16 * HOUR, 3600), "destination dest0.example"),
    "delivery_latency": (Fault("delivery_latency", 16 * HOUR, 1800, 10), "fleet"),
    "masking": (Fault("masking", DAY + 11 * HOUR, 1800, 1, "1"), "server bk_smtp/mx-b"),
}
SCENES = (FAULTS, MORE_FAULTS, STRANGE_FAULTS)


def report_of(week: Week, options: Options | None = None) -> Report:
    finder = Finder(options)
    for table, batch in week.batches():
        finder.add(table, batch)
    return finder.report()


@cache
def found_in(scene: int) -> list[Finding]:
    """The findings of three days with all faults of a scene."""
    faults = [fault for fault, _ in SCENES[scene].values()]
    return report_of(Week(scene + 1, 60_000, faults, days=3)).findings


def _cases() -> list[tuple[int, str]]:
    return [(number, kind) for number, scene in enumerate(SCENES) for kind in scene]


@pytest.mark.parametrize(("scene", "kind"), _cases(), ids=[kind for _, kind in _cases()])
def test_a_fault_is_found_where_and_when_it_is(scene: int, kind: str) -> None:
    fault, scope = SCENES[scene][kind]
    own = [one for one in found_in(scene) if one.kind == kind]
    assert len(own) == 1
    assert own[0].scope == scope or own[0].scope.startswith(scope + " ")
    begin, end = START_S + fault.start_s, START_S + fault.end_s
    assert begin - 600 <= own[0].since / SECOND <= begin + 900
    assert own[0].detected_at / SECOND <= end + 60
    assert own[0].explanation
    assert own[0].doubt
    assert own[0].remedy


@pytest.mark.parametrize("scene", range(len(SCENES)))
def test_what_was_observed_is_outside_of_what_is_called_ordinary(scene: int) -> None:
    for one in found_in(scene):
        assert not one.expected_low <= one.observed <= one.expected_high, one.explanation


@pytest.mark.parametrize("scene", range(len(SCENES)))
def test_a_fault_is_one_finding_and_nothing_else_is_found(scene: int) -> None:
    assert sorted(one.kind for one in found_in(scene)) == sorted(SCENES[scene])


@pytest.mark.parametrize("per_day", [200, 25_000])
def test_what_only_looks_unusual_is_left_alone(per_day: int) -> None:
    """A newsletter, a monitor, servers that restart in turn, log rotation, a holiday, growth."""
    extras = ("newsletter", "monitor", "deployment", "rotation")
    week = Week(11, per_day, days=5, extras=extras, holiday=3, growth=1.3)
    assert [(one.kind, one.scope) for one in report_of(week).findings] == []


def test_an_allowed_client_may_do_what_it_likes() -> None:
    fault = MORE_FAULTS["user_enumeration"][0]
    finder = Finder(Options(allowed=("100.64.0.0/10", "2001:db8::/32")))
    for table, batch in Week(3, 20_000, [fault], days=2, lines=False).batches():
        finder.add(table, batch)
    assert [one.kind for one in finder.report().findings if one.scope.startswith("client")] == []


def test_nothing_is_reported_of_maintenance() -> None:
    fault = FAULTS["silence"][0]
    begin = int((START_S + fault.start_s) * SECOND)
    window = ((begin - 60 * SECOND, begin + 1200 * SECOND),)
    report = report_of(Week(4, 20_000, [fault], days=3, lines=False), Options(maintenance=window))
    assert report.findings == []


def test_a_baseline_of_other_days_judges_an_hour() -> None:
    """What is unusual from the first minute on is nothing by itself; who knows the week sees it."""
    learnt = report_of(Week(5, 30_000, days=4, lines=False, connect_ms=3.0)).baseline
    stored = from_document(learnt.document())
    assert stored.days == pytest.approx(4, abs=0.01)

    def judged(factor: float, start_s: float = 10 * HOUR + 1800) -> list[str]:
        finder = Finder(baseline=from_document(learnt.document()))
        fault = Fault("volume_surge", start_s, 1800, factor)
        for table, batch in Week(
            6, 30_000, [fault] if factor > 1 else [], days=0.5, lines=False, connect_ms=3.0
        ).batches():
            finder.add(table, batch)
        return [one.kind for one in finder.report().findings]

    assert judged(2.5) == ["surge"]
    assert judged(2.5, 0) == ["surge"]
    assert judged(1.0) == []


def test_the_batches_may_be_cut_anyhow() -> None:
    fault = Fault("volume_surge", DAY + 11 * HOUR, 600, 3.0)
    whole = report_of(Week(7, 20_000, [fault], days=2, lines=False))
    finder = Finder()
    for table, batch in Week(7, 20_000, [fault], days=2, lines=False).batches():
        for start in range(0, batch.num_rows, 97):
            finder.add(table, batch.slice(start, 97))
    assert [one.document() for one in finder.report().findings] == [one.document() for one in whole.findings]
    assert [one.kind for one in whole.findings] == ["surge"]


def test_nothing_at_all_is_no_finding() -> None:
    report = Finder().report()
    assert report.findings == []
    assert report.span is None
