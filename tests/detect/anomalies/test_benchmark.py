"""The published score: what counts as found, what as false, and that the whole of it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.anomalies import __main__ as command
from benchmarks.anomalies import table
from benchmarks.anomalies.cases import BY_NAME, CASES
from benchmarks.anomalies.controls import by_class
from benchmarks.anomalies.holdout import Week
from benchmarks.anomalies.outcomes import Outcomes
from benchmarks.anomalies.run import all_judged
from benchmarks.anomalies.score import Event, Scored, compare, is_stated, named, tally
from benchmarks.anomalies.weeks import Label, Spec, make, specs
from logscope.detect.anomalies.kinds import KINDS
from logscope.simulate import KINDS as FAULTS

BEGIN = 1_000_000.0
"""Of the fault, seconds; the week begins at 0."""


def label(case: str = "surge", size: float = 2.0, rate: float = 60.0, server: str = "") -> Label:
    return Label(case, size, BEGIN, BEGIN + 600, server, rate)


def event(kind: str = "surge", scope: str = "fleet", after: float = 120.0, since: float = 0.0) -> Event:
    return Event(kind, scope, BEGIN + since, BEGIN + 600, BEGIN + after)


def week(labels: list[Label], events: list[Event]) -> Scored:
    return Scored(Spec(1, "faults"), 90_000, labels, events, days=14.0)


def test_a_finding_made_while_a_fault_lasts_has_found_it() -> None:
    one = week([label()], [event()])
    assert one.false == []
    found = tally(zip(one.labels, one.hits, strict=True))
    assert (found.found, found.named, found.delays) == (1, 1, [120.0])


@pytest.mark.parametrize("after", [-60.0, 1300.0])
def test_a_finding_at_another_time_is_false_and_the_fault_missed(after: float) -> None:
    one = week([label()], [event(after=after, since=after - 60)])
    assert len(one.false) == 1
    found = tally(zip(one.labels, one.hits, strict=True))
    assert (found.found, found.delays) == (0, [1200.0])  # a miss counts as the longest delay


def test_a_finding_that_began_long_before_is_not_about_the_fault() -> None:
    assert len(week([label()], [event(since=-4000.0)]).false) == 1


def test_the_cause_is_named_by_kind_and_place_of_the_first_finding() -> None:
    struck = label("server_rejects", 0.2, 200.0, "mx-b")
    assert named(struck, [event("server_worse", "server bk_postfix/mx-b")])
    assert not named(struck, [event("server_worse", "server bk_postfix/mx-a")])
    assert not named(struck, [event("surge"), event("server_worse", "server bk_postfix/mx-b")])


def test_a_fault_must_be_found_at_its_size_on_a_site_that_is_busy_enough() -> None:
    assert is_stated(label())
    assert not is_stated(label(size=1.4))
    assert not is_stated(label(rate=20.0))


def test_a_control_gets_as_many_false_alarms_and_no_point_is_adjusted() -> None:
    one = week([label()], [])
    curve = np.zeros(14 * 1440, np.float32)
    at = int(BEGIN // 60)
    curve[100] = 9.0  # false
    curve[at + 5 : at + 9] = 5.0
    none = compare("x", [one], [curve], 0)
    assert (none.false, none.result.found) == (0, 0)
    some = compare("x", [one], [curve], 1)
    assert (some.false, some.result.found) == (1, 1)
    begin = (at + 6) * 60 - BEGIN
    assert some.result.delays == [begin]


def test_servers_are_of_one_class_and_lows_of_another() -> None:
    names = ["server mx-a in trouble", "server mx-b in trouble", "sessions"]
    scores = np.array([[1, 2, 3, 4, 5, 6]], np.float32)
    classes, values = by_class(names, scores)
    found = dict(zip(classes, values[0].tolist(), strict=True))
    assert found == {
        "server * in trouble": 2, "sessions": 3, "server * in trouble low": 5, "sessions low": 6,
    }  # fmt: skip


def test_train_and_test_have_no_week_in_common_and_a_week_is_the_same_whatever_else_is_drawn() -> None:
    train, test = specs("train", 60), specs("test", 60)
    assert not {one.seed for one in train} & {one.seed for one in test}
    assert specs("test", 60)[:20] == specs("test", 20)
    assert make(test[0]).labels == make(test[0]).labels


def test_every_case_is_a_fault_of_the_simulator_and_is_explained_by_kinds_that_exist() -> None:
    for case in CASES:
        assert case.fault in FAULTS if case.simulated else hasattr(Week, f"_{case.fault}")
        assert case.stated in case.sizes
        assert set(case.kinds) <= set(KINDS)
    assert {case.fault for case in CASES} >= {
        kind for kind, fault in FAULTS.items() if not fault.negative and kind != "header_unexpected"
    }
    assert len(BY_NAME) == len(CASES)


def test_every_case_comes_at_its_stated_size_among_three_hundred_weeks() -> None:
    counts = dict.fromkeys(BY_NAME, 0)
    for spec in specs("test", 120):
        if spec.sort.endswith("faults"):
            for one in make(spec).labels:
                counts[one.case] += one.size >= BY_NAME[one.case].stated
    assert min(counts.values()) >= 3


@pytest.mark.slow
def test_the_smoke_run_prints_all_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--smoke", "--jobs", "1", "--keep", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "2 weeks of the test split" in text
    assert "| precision, all weeks" in text
    assert "| tuned static threshold |" in text
    assert text.count("\n| auth_guessing |") == 1


def test_what_came_of_a_week_is_kept_even_where_a_later_line_was_cut_off(tmp_path: Path) -> None:
    one = week([label()], [event(), event("drop", after=-9e4, since=-9e4)])
    one.curves = {"a control": (["sessions"], np.array([[1], [2]], np.float32))}
    Outcomes(tmp_path).keep(one)
    lines = tmp_path / "weeks.jsonl"
    whole = lines.read_text()
    lines.write_text(whole + whole.replace('"seed": 1', '"seed": 3')[:200])
    kept = Outcomes(tmp_path)
    assert kept.of(Spec(3, "faults"), False) is None
    found = kept.of(Spec(1, "faults"), True)
    assert found is not None
    assert (found.labels, found.events, found.false) == (one.labels, one.events, one.false)
    classes, scores = found.curves["a control"]
    assert (classes, scores.tolist()) == (["sessions"], [[1], [2]])


def test_a_week_that_is_kept_is_not_made_again_and_no_more_are_begun_when_time_is_up(tmp_path: Path) -> None:
    kept = Outcomes(tmp_path)
    kept.keep(week([label()], [event()]))
    kept = Outcomes(tmp_path)
    found = all_judged([Spec(3, "faults"), Spec(1, "faults")], [], [], 1, 0.0, kept)
    assert [one.spec.seed for one in found] == [1]


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{command.BEGIN}\nold\n{command.END}\nafter\n")
    command.put(path, "new")
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{command.END}\nafter\n")
    assert "old" not in text
    assert "new" in text
    assert command.BEGIN in command.DOCUMENT.read_text("utf-8")


def test_the_misses_are_told_one_on_a_line() -> None:
    one = week([label(), label("drop", 0.5)], [event(), event("drop", after=-9e4, since=-9e4)])
    told = list(table.misses([one]))
    assert len([line for line in told if "false drop" in line]) == 1
