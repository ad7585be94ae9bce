"""States out of sessions in time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from logscope.correlate.layout import NULL, SECOND
from logscope.detect.timeline import ALTERNATING, MOST, State, Timeline

PASSED, MASKED = 0, 1
KINDS = {PASSED: "passed", MASKED: "masked"}


def states(fates: list[int], seed: int = 1, pieces: int = 7) -> list[State]:
    """The states of sessions a second apart, handed over in pieces and within those in any order."""
    random = np.random.default_rng(seed)
    timeline = Timeline()
    starts = np.arange(len(fates), dtype=np.int64) * SECOND
    for part in np.array_split(np.arange(len(fates)), pieces):
        order = random.permutation(part)
        timeline.add(starts[order], np.array(fates, np.int64)[order])
    return timeline.states(KINDS)


def spans(found: list[State]) -> list[tuple[str, int, int]]:
    return [(state.kind, state.first // SECOND, state.last // SECOND) for state in found]


def noisy(fates: list[int], seed: int, share: float) -> list[int]:
    wrong: NDArray[np.bool_] = np.random.default_rng(seed).random(len(fates)) < share
    return [1 - fate if bad else fate for fate, bad in zip(fates, wrong.tolist(), strict=True)]


def test_a_change_is_dated_to_the_session() -> None:
    assert spans(states([PASSED] * 40 + [MASKED] * 20)) == [("passed", 0, 39), ("masked", 40, 59)]


@pytest.mark.parametrize("length", [5, 8, 300])
def test_a_spell_between_is_a_state(length: int) -> None:
    found = states([PASSED] * 60 + [MASKED] * length + [PASSED] * 60)
    assert spans(found) == [
        ("passed", 0, 59),
        ("masked", 60, 59 + length),
        ("passed", 60 + length, 119 + length),
    ]


def test_accidents_are_no_states() -> None:
    fates = [PASSED] * 200
    for place in (3, 50, 51, 120):
        fates[place] = MASKED
    [state] = states(fates)
    assert state.kind == "passed"
    assert state.counts == {"passed": 196, "masked": 4}


def test_kinds_by_turns_are_a_state_of_their_own() -> None:
    found = states([PASSED] * 40 + [MASKED, PASSED] * 20 + [MASKED] * 40)
    assert [state.kind for state in found] == ["passed", ALTERNATING, "masked"]
    assert abs(found[1].first // SECOND - 40) <= 2


def test_very_many_sessions_stay_exact_where_little_changes() -> None:
    fates = [PASSED] * 30_000 + [MASKED] * 30_000
    assert spans(states(fates, pieces=20)) == [("passed", 0, 29_999), ("masked", 30_000, 59_999)]


@pytest.mark.parametrize("seed", range(5))
def test_very_many_sessions_with_accidents(seed: int) -> None:
    fates = noisy([PASSED] * 30_000 + [MASKED] * 30_000, seed, 0.02)
    found = states(fates, seed, pieces=20)
    assert [state.kind for state in found] == ["passed", "masked"]
    assert abs(found[1].first // SECOND - 30_000) <= 20


def test_memory_is_bounded_whatever_alternates() -> None:
    timeline = Timeline()
    for piece in range(30):
        starts = (np.arange(4000, dtype=np.int64) + 4000 * piece) * SECOND
        timeline.add(starts, np.arange(4000) % 2)
    assert len(timeline._counts) <= 2 * MOST + 4000
    [state] = timeline.states(KINDS)
    assert state.kind == ALTERNATING
    assert state.sessions == 120_000


def test_sessions_without_a_time_and_fates_without_a_meaning_say_nothing() -> None:
    timeline = Timeline()
    timeline.add(np.array([NULL, 5, 6]), np.array([PASSED, PASSED, 3]))
    assert [state.sessions for state in timeline.states(KINDS)] == [1]
    assert timeline.states({4: "masked"}) == []
    assert timeline.states({}) == []


def test_counts_of_a_period() -> None:
    timeline = Timeline()
    timeline.add(np.arange(100, dtype=np.int64), np.array([PASSED] * 60 + [MASKED] * 40))
    assert timeline.count([PASSED], 0, 99) == 60
    assert timeline.count([MASKED], 60, 79) == 20
    assert timeline.count([PASSED, MASKED], 200, 300) == 0


def test_timelines_of_two_balancers_are_one() -> None:
    one, other = Timeline(), Timeline()
    one.add(np.arange(0, 40, 2), np.full(20, PASSED))
    other.add(np.arange(1, 41, 2), np.full(20, MASKED))
    merged = Timeline.merged([one, other])
    assert [state.kind for state in merged.states(KINDS)] == [ALTERNATING]
    assert [state.kind for state in Timeline.merged([one, other], without=[MASKED]).states(KINDS)] == [
        "passed"
    ]
    assert merged.as_one(KINDS).first == 1
