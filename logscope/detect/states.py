"""The history of one target: which state held when, and what was done shortly before a change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from logscope.correlate.layout import SECOND
from logscope.detect.signals import Change
from logscope.detect.tally import ALONE, BY_PORT, BY_TEXT, CUT, INNER, PASSED, REFUSED, UNCLEAR
from logscope.detect.targets import Target
from logscope.detect.timeline import ALTERNATING, State, Timeline

BEFORE = 900 * SECOND
"""A change of state so long after a reload is put down to it: open connections live on, mail comes in
waves."""
AFTER = 60 * SECOND
"""A new process shows itself by the end of its first session, which may have begun earlier."""


def course(
    target: Target,
    kinds: Collection[str],
    joined_kind: str,
    hidden_kind: str,
    *,
    inner_kind: str = "passed",
    named: bool = False,
) -> tuple[Timeline, dict[int, str]]:
    """What became of a target's sessions in time, and what each fate means.

    Args:
        kinds: what counts; sessions of another kind are taken for accidents.
        joined_kind, hidden_kind: what sessions joined by the balancer's port, and unjoined ones, are.
        inner_kind: what sessions of private addresses are.
        named: lone sessions are held to have passed.
    """
    refused = "missing_header" if target.refused.span.count else joined_kind
    meaning = {BY_PORT: joined_kind, BY_TEXT: "unexpected_header", CUT: refused}
    if not target.strangers:
        meaning |= {PASSED: "passed", INNER: inner_kind}
    without: set[int] = set()
    lone = [(target.hidden, ALONE, hidden_kind), (target.refused, REFUSED, "missing_header")]
    for found, fate, kind in lone:
        if found.span.count:
            meaning[fate] = kind
        if found.complete or not found.span.count:
            without.add(fate)
    if named:
        meaning |= dict.fromkeys((ALONE, REFUSED, UNCLEAR), "passed")
        without = set()
    parts = [cell.timeline for cell in target.cells.values()]
    timeline = Timeline.merged(parts, without)
    for found, fate, _ in lone:
        if fate in without and found.span.count:
            timeline.add(found.starts, np.full(len(found.starts), fate, np.int64))
    return timeline, {fate: kind for fate, kind in meaning.items() if kind in kinds}


def history(timeline: Timeline, meaning: Mapping[int, str], kinds: Collection[str]) -> list[State]:
    """The states of a target in order of time."""
    states = timeline.states(meaning)
    one = len({state.kind for state in states}) == 1
    return [timeline.as_one(meaning)] if one and len(kinds) > 1 else states


def onset(states: Sequence[State]) -> tuple[int, int] | None:
    """When the first session that was not passed began, and the last; None where all were."""
    bad = [state for state in states if state.kind != "passed"]
    return (bad[0].first, bad[-1].last) if bad else None


def cause_of(moment: int, changes: Iterable[Change], hosts: Collection[str | None]) -> Change | None:
    """The latest start or reload on one of these hosts that may have brought about what began at a moment."""
    near = [change for change in changes if change.host in hosts and -AFTER <= moment - change.at <= BEFORE]
    before = [change for change in near if change.at <= moment]
    return max(before or near, key=lambda change: change.at, default=None)


def shares(state: State) -> Mapping[str, float]:
    """Share of each kind in a state."""
    return {kind: count / state.sessions for kind, count in state.counts.items()}


__all__ = ["ALTERNATING", "cause_of", "history", "onset", "shares"]
