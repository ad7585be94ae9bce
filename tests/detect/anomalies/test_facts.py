"""What a session is counted as."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from logscope.detect.anomalies.facts import session_facts

TIME = pa.timestamp("ns", tz="UTC")


def families_of(**values: Any) -> set[tuple[str, str]]:
    """Families and values that one session is counted under."""
    columns = {
        name: pa.array([value], TIME if name.endswith("_at") else None) for name, value in values.items()
    }
    facts = session_facts(pa.record_batch(columns))
    return {(family.name, family.values[code]) for family in facts.families for code in family.codes.tolist()}


TURNED_AWAY = {
    "accepted_at": 10**18, "server": "mx-a", "termination_state": "--", "bytes_to_client": 31,
    "outcome": "unknown",
}  # fmt: skip


def test_a_session_that_the_server_ended_with_one_line() -> None:
    assert ("ended", "one_reply") in families_of(**TURNED_AWAY)


@pytest.mark.parametrize(
    "other",
    [
        {"bytes_to_client": 480},
        {"bytes_to_client": None},
        {"termination_state": "CD"},
        {"server": None},
        {"mta_connected_at": 10**18},
    ],
    ids=str,
)
def test_any_other_session_was_not_turned_away(other: dict[str, Any]) -> None:
    assert ("ended", "one_reply") not in families_of(**{**TURNED_AWAY, **other})


@pytest.mark.parametrize(
    ("screen", "left"),
    [("pass_old", True), ("none", True), (None, True), ("hangup", False), ("rejected", False)],
)
def test_who_leaves_in_the_dialogue_is_told_from_who_leaves_at_the_door(
    screen: str | None, left: bool
) -> None:
    found = families_of(accepted_at=10**18, outcome="aborted", screen=screen)
    assert (("dialogue", "aborted") in found) is left
    assert ("dialogue", "aborted") not in families_of(accepted_at=10**18, outcome="delivered", screen=screen)
