"""Events against labels: what was found, how soon, whether its cause was named, and what was false.

An event counts as it is: no point of a fault that was found lends its score to the others (no point-adjust).
A finding belongs to a fault if it became known while the fault lasted or within ten minutes after, and does
not begin long before it. Any other finding is a false alarm. A fault that was missed counts as found after
the longest delay there is, its length and those ten minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .cases import BY_NAME, Case
from .weeks import Label, Spec

GRACE_S = 600.0
_BEFORE_S = 1800.0
_SAME_S = 1200.0


@dataclass
class Event:
    """A finding, as far as it is scored. Seconds since 1970."""

    kind: str
    scope: str
    since: float
    until: float | None
    detected: float


@dataclass
class Scored:
    """A week, its findings and what they are worth.

    Attributes:
        hits: of each label the findings that belong to it, in the order of the report.
        false: findings that belong to none.
    """

    spec: Spec
    per_day: float
    labels: list[Label]
    events: list[Event]
    days: float = 7.0
    curves: dict[str, tuple[list[str], NDArray[np.float32]]] = field(default_factory=dict)
    start_s: float = 0.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.hits: list[list[Event]] = [[] for _ in self.labels]
        self.false: list[Event] = []
        for event in self.events:
            own = [number for number, label in enumerate(self.labels) if belongs(event, label)]
            for number in own:
                self.hits[number].append(event)
            if not own:
                self.false.append(event)


def belongs(event: Event, label: Label) -> bool:
    """Whether a finding is about a fault, by its time."""
    return (
        label.start_s <= event.detected <= label.end_s + GRACE_S
        and event.since >= label.start_s - _BEFORE_S
        and event.since <= label.end_s + 60
    )


def is_stated(label: Label) -> bool:
    """Whether it must be found: large enough, and on a site busy enough."""
    case = BY_NAME[label.case]
    return label.size >= case.stated and label.rate >= case.least_rate


def named(label: Label, events: Sequence[Event]) -> bool:
    """Whether the first finding in the report names the cause, and the place."""
    return bool(events) and _names(BY_NAME[label.case], label, events[0])


def _names(case: Case, label: Label, event: Event) -> bool:
    if event.kind not in case.kinds:
        return False
    kind, _, name = event.scope.partition(" ")
    if case.scope == "server":
        return kind == "server" and name.rpartition("/")[2] == label.server
    return not case.scope or kind == case.scope


def delay_s(label: Label, events: Sequence[Event]) -> float:
    """From the beginning until it was known; the longest there is if it never was."""
    if not events:
        return label.end_s - label.start_s + GRACE_S
    return max(0.0, min(one.detected for one in events) - label.start_s)


# --- all weeks ----------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """Faults of one sort, together."""

    found: int = 0
    of: int = 0
    named: int = 0
    delays: list[float] = field(default_factory=list)
    findings: int = 0

    def add(self, label: Label, events: Sequence[Event]) -> None:
        self.of += 1
        self.found += bool(events)
        self.named += named(label, events)
        self.findings += len(events)
        self.delays.append(delay_s(label, events))

    @property
    def recall(self) -> float:
        return self.found / self.of if self.of else float("nan")

    @property
    def accuracy(self) -> float:
        return self.named / self.found if self.found else float("nan")

    @property
    def median_min(self) -> float:
        return float(np.median(self.delays)) / 60 if self.delays else float("nan")

    @property
    def mean_min(self) -> float:
        return float(np.mean(self.delays)) / 60 if self.delays else float("nan")


def tally(pairs: Iterable[tuple[Label, Sequence[Event]]]) -> Tally:
    """Some faults together."""
    found = Tally()
    for label, events in pairs:
        found.add(label, events)
    return found


def pairs_of(weeks: Iterable[Scored]) -> list[tuple[Label, list[Event]]]:
    """Each fault with its findings."""
    return [pair for week in weeks for pair in zip(week.labels, week.hits, strict=True)]


# --- controls -----------------------------------------------------------------------------------------------


@dataclass
class Compared:
    """A control over the same weeks."""

    name: str
    false: int
    result: Tally


def alarms(curve: NDArray[np.float32], threshold: float) -> list[tuple[int, int]]:
    """Minutes above a threshold, those less than twenty apart together: first and last minute."""
    over = np.nonzero(curve > threshold)[0]
    if not len(over):
        return []
    cuts = np.nonzero(np.diff(over) > _SAME_S / 60)[0]
    starts, ends = np.concatenate(([0], cuts + 1)), np.concatenate((cuts, [len(over) - 1]))
    return list(zip(over[starts].tolist(), over[ends].tolist(), strict=True))


def window(week: Scored, label: Label) -> tuple[int, int]:
    """First minute of a fault, and the one after the last in which it may be found."""
    return int((label.start_s - week.start_s) // 60), int((label.end_s + GRACE_S - week.start_s) // 60) + 1


def false_alarms(week: Scored, curve: NDArray[np.float32], threshold: float) -> int:
    """Alarms that overlap no fault."""
    windows = [window(week, label) for label in week.labels]
    return sum(
        not any(first < end and last >= begin for begin, end in windows)
        for first, last in alarms(curve, threshold)
    )


def compare(
    name: str, weeks: Sequence[Scored], curves: Sequence[NDArray[np.float32]], allowed: int
) -> Compared:
    """A control at the lowest threshold that gives no more false alarms than allowed."""
    low, high = 0.0, float(max(curve.max(initial=0.0) for curve in curves)) + 1.0
    for _ in range(40):
        middle = (low + high) / 2
        count = sum(false_alarms(week, curve, middle) for week, curve in zip(weeks, curves, strict=True))
        low, high = (middle, high) if count > allowed else (low, middle)
    result = Tally()
    for week, curve in zip(weeks, curves, strict=True):
        for label in week.labels:
            if is_stated(label):
                result.add(label, _first(week, label, curve, high))
    false = sum(false_alarms(week, curve, high) for week, curve in zip(weeks, curves, strict=True))
    return Compared(name, false, result)


def _first(week: Scored, label: Label, curve: NDArray[np.float32], threshold: float) -> list[Event]:
    begin, end = window(week, label)
    over = np.nonzero(curve[begin:end] > threshold)[0]
    if not len(over):
        return []
    at = week.start_s + (begin + int(over[0]) + 1) * 60.0
    return [Event("", "", at, at, min(at, label.end_s + GRACE_S))]


def at_random(weeks: Sequence[Scored], seed: int = 1) -> list[NDArray[np.float32]]:
    """As many alarms as there were findings, at any time."""
    chance = np.random.default_rng(seed)
    curves = []
    for week in weeks:
        curve = np.zeros(int(week.days * 1440), np.float32)
        curve[chance.integers(0, len(curve), len(week.events))] = 1.0
        curves.append(curve)
    return curves
