"""Runs the detectors, and the controls, over labelled weeks."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from logscope.detect.anomalies import Finder, Finding

from . import controls as others
from .outcomes import Outcomes
from .score import Compared, Event, Scored, Tally, at_random, compare, is_stated, pairs_of, tally
from .series import Rate, Series
from .weeks import NS, Spec, make


def judged(spec: Spec, controls: Iterable[str] = ()) -> Scored:
    """One week."""
    week = make(spec)
    finder = Finder()
    series = Series(week.start_s) if controls else None
    minutes = Rate(week.start_s)
    spent = 0.0
    for table, batch in week.batches:
        begun = time.process_time()
        finder.add(table, batch)
        spent += time.process_time() - begun
        minutes.add(table, batch)
        if series is not None:
            series.add(table, batch)
    begun = time.process_time()
    report = finder.report()
    spent += time.process_time() - begun
    for label in week.labels:
        label.rate = minutes.before(label.start_s)
    scored = Scored(
        spec, week.per_day, week.labels, [_event(one) for one in report.findings], start_s=week.start_s,
        seconds=spent,
    )  # fmt: skip
    if series is not None:
        names, table_ = series.table()
        scored.curves = {
            name: others.by_class(names, others.CONTROLS[name](names, table_)) for name in controls
        }
    return scored


def _event(one: Finding) -> Event:
    until = None if one.until is None else one.until / NS
    return Event(one.kind, one.scope, one.since / NS, until, one.detected_at / NS)


def all_judged(
    specs: Sequence[Spec],
    controls: Sequence[str],
    compared: Container[Spec],
    jobs: int,
    until: float | None,
    kept: Outcomes,
) -> list[Scored]:
    """Many weeks, in order; those that are kept already are not made again.

    Args:
        specs: the weeks.
        controls: names of the controls.
        compared: the weeks for which the controls are run.
        jobs: processes.
        until: of `time.monotonic`, when to begin no more weeks; None: never.
        kept: where each is written down as soon as it is done.
    """
    found: dict[Spec, Scored] = {}
    for spec in specs:
        done = kept.of(spec, bool(controls) and spec in compared)
        if done is not None:
            found[spec] = done
    waiting = [spec for spec in specs if spec not in found]
    with ProcessPoolExecutor(jobs) as pool:
        running: set[Future[Scored]] = set()
        while running or waiting:
            # Only as many at once as there are processes: nothing has to be called off when time is up.
            while waiting and len(running) < jobs:
                if until is not None and time.monotonic() >= until:
                    waiting.clear()
                    break
                spec = waiting.pop(0)
                running.add(pool.submit(judged, spec, tuple(controls) if spec in compared else ()))
            done_now, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done_now:
                one = future.result()
                kept.keep(one)
                found[one.spec] = one
    return [found[spec] for spec in specs if spec in found]


# --- controls -----------------------------------------------------------------------------------------------

Scales = dict[tuple[str, int], dict[str, float]]


def scales_of(clean: Iterable[Scored]) -> Scales:
    """How large each class of each control's scores gets in clean weeks of training, by the sites' size."""
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    for week in clean:
        for name, (classes, curve) in week.curves.items():
            for size in {others.bucket(week.per_day), -1}:
                own = found.setdefault((name, size), {})
                for one, most in zip(classes, curve.max(axis=0).tolist(), strict=True):
                    own.setdefault(one, []).append(most)
    return {key: {one: max(values) for one, values in classes.items()} for key, classes in found.items()}


def curve_of(week: Scored, name: str, scales: Scales) -> NDArray[np.float32]:
    """One score for each minute: the largest of all classes."""
    classes, curve = week.curves[name]
    own = scales.get((name, others.bucket(week.per_day)), {})
    fallback = scales.get((name, -1), {})
    scale = np.array([own.get(one) or fallback.get(one) or 1.0 for one in classes], np.float32)
    return np.asarray((curve / np.maximum(scale, 1e-6)).max(axis=1), np.float32)


def comparison(train: list[Scored], test: list[Scored]) -> list[Compared]:
    """Logscope and the controls at the same number of false alarms, over the test weeks that have curves."""
    weeks = [week for week in test if week.curves]
    if not weeks:
        return []
    allowed = sum(len(week.false) for week in weeks)
    own = tally((label, events) for label, events in pairs_of(weeks) if is_stated(label))
    found = [Compared("logscope", allowed, own), _by_chance(weeks)]
    scales = scales_of(week for week in train if week.spec.sort.endswith("clean") and week.curves)
    return found + [
        compare(name, weeks, [curve_of(week, name, scales) for week in weeks], allowed)
        for name in weeks[0].curves
    ]


def _by_chance(weeks: list[Scored]) -> Compared:
    """Alarms as many as logscope's, at random: what is found by luck. The mean of many draws."""
    whole, false = Tally(), 0
    draws = 20
    for seed in range(draws):
        curves = at_random(weeks, seed)
        one = compare("random", weeks, curves, 10**9)
        whole.found += one.result.found
        whole.of += one.result.of
        whole.delays += one.result.delays
        false += one.false
    return Compared("random alarms, as many as logscope's findings", round(false / draws), whole)
