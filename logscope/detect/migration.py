"""How much of the traffic is visible, step by step in time, for those who are introducing the PROXY "
"header."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from logscope.correlate.layout import SECOND
from logscope.detect.timeline import Timeline

STEPS_S = (60, 300, 3600, 86_400)
MOST_STEPS = 72
"""The finest step is taken that needs no more of them."""

Course = tuple[Timeline, dict[int, str]]
"""What became of a target's sessions in time, and what that means."""


def step_of(courses: Iterable[Course]) -> int:
    """The step for all targets, in seconds."""
    spans = [span for timeline, _ in courses if (span := timeline.span) is not None]
    if not spans:
        return STEPS_S[0]
    length_s = (max(last for _, last in spans) - min(first for first, _ in spans)) // SECOND
    return next((step for step in STEPS_S if length_s <= MOST_STEPS * step), STEPS_S[-1])


def visible(course: Course, step_s: int) -> list[dict[str, Any]]:
    """For each step in which sessions began: `at` (ns since 1970), `sessions` and those `visible`."""
    timeline, meaning = course
    if timeline.span is None:
        return []
    first, last = timeline.span
    step = step_s * SECOND
    seen = [fate for fate, kind in meaning.items() if kind == "passed"]
    found = []
    for at in range(first // step * step, last + 1, step):
        sessions = timeline.count(list(meaning), at, at + step - 1)
        if sessions:
            found.append({"at": at, "sessions": sessions, "visible": timeline.count(seen, at, at + step - 1)})
    return found
