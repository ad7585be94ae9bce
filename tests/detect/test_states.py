"""Since when a target is in disorder, and after what."""

from __future__ import annotations

import pytest

from logscope.detect.signals import Change
from logscope.detect.states import cause_of
from tests.detect.scenes import SECOND, Scene

MINUTE = 60 * SECOND


def changed(*steps: tuple[str, int], seed: int = 1) -> tuple[Scene, list[int]]:
    """A scene of some steps, and when each began."""
    scene, moments = Scene(seed), []
    for what, count in steps:
        moments.append(scene.now)
        getattr(scene, what)("mx-a", "mx-a", count)
    return scene, moments


@pytest.mark.parametrize("bad", ["masked", "by_port", "by_text", "refused"])
def test_onset_and_end(bad: str) -> None:
    scene, _ = changed(("passed", 40), (bad, 25), ("passed", 40))
    [target] = scene.document()["targets"]
    assert target["verdict"] == "mixed"
    assert [state["verdict"] for state in target["evidence"]["states"]][::2] == ["passed", "passed"]
    assert len(target["evidence"]["states"]) == 3
    assert target["since"] == target["evidence"]["states"][1]["since"]
    assert target["until"] == target["evidence"]["states"][1]["until"]
    assert not target["evidence"]["ongoing"]


def test_a_reload_before_is_named_with_its_distance() -> None:
    scene, moments = changed(("passed", 40), ("by_port", 25))
    scene.signals.happened.add(Change(moments[1] - 4 * MINUTE, "edge1", "HAProxy was reloaded"))
    [target] = scene.document()["targets"]
    assert target["evidence"]["began_after"]["what"] == "HAProxy was reloaded"
    assert 4 * 60 <= target["evidence"]["began_after"]["seconds_before"] <= 4 * 60 + 20


def test_a_reload_elsewhere_or_long_before_is_not() -> None:
    for change in (
        lambda at: Change(at - 4 * MINUTE, "edge9", "HAProxy was reloaded"),
        lambda at: Change(at - 40 * MINUTE, "edge1", "HAProxy was reloaded"),
        lambda at: Change(at + 5 * MINUTE, "edge1", "HAProxy was reloaded"),
    ):
        scene, moments = changed(("passed", 40), ("by_port", 25))
        scene.signals.happened.add(change(moments[1]))
        assert scene.document()["targets"][0]["evidence"]["began_after"] is None


def test_what_was_so_from_the_beginning_has_no_cause_in_these_logs() -> None:
    scene, moments = changed(("by_port", 25), ("passed", 40))
    scene.signals.happened.add(Change(moments[0] - MINUTE, "edge1", "HAProxy was reloaded"))
    [target] = scene.document()["targets"]
    assert target["evidence"]["began_after"] is None
    assert not target["evidence"]["ongoing"]


def test_two_kinds_of_disorder_are_two_states() -> None:
    scene, _ = changed(("passed", 30), ("by_text", 20), ("by_port", 20))
    [target] = scene.document()["targets"]
    assert [state["verdict"] for state in target["evidence"]["states"]] == [
        "passed",
        "unexpected_header",
        "masked",
    ]
    assert target["evidence"]["ongoing"]


def test_clients_by_turns_are_mixed_all_the_time() -> None:
    scene = Scene()
    for _ in range(30):
        scene.passed("mx-a", "mx-a", 1).by_port("mx-a", "mx-a", 1)
    [target] = scene.document()["targets"]
    [state] = target["evidence"]["states"]
    assert state["verdict"] == target["verdict"] == "mixed"
    assert state["shares"] == {"masked": 0.5, "passed": 0.5}


def test_the_latest_change_before_is_the_cause() -> None:
    changes = [Change(at * MINUTE, "edge1", str(at)) for at in (1, 5, 9)]
    assert cause_of(8 * MINUTE, changes, {"edge1"}) == changes[1]
    assert cause_of(8 * MINUTE, changes, {"mx-a"}) is None
    assert cause_of(0, changes[2:], {"edge1"}) is None
    assert cause_of(9 * MINUTE - 10 * SECOND, changes[2:], {"edge1"}) == changes[2]
