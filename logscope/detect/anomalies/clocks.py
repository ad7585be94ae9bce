"""Clocks that jump or run away: how much later, by its own clock, a mail server sees a client than the
balancer hands it over.

On one clock that is next to nothing (stamps in whole seconds take up to one off). The median of some minutes
is compared with what it was; a jump that two windows in a row confirm is a step, a distance that grows by and
by is drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logscope.detect.anomalies.facts import OFFSET_CLASSES
from logscope.detect.anomalies.ledger import Ledger
from logscope.detect.anomalies.panels import Scope
from logscope.detect.anomalies.survey import Site

_WINDOW_S = 180
_LEAST = 8
_STEP_S = 1.6
_AGREE_S = 1.1
_STARTING = 4
_MIDDLES = np.array([-20_000.0] + [float(one) + 0.25 for one in OFFSET_CLASSES[1:]])


@dataclass
class ClockChange:
    """A clock that changed against another.

    Attributes:
        scope: the server.
        drift: by and by, or at once.
        since, detected, until: seconds since 1970; None while it lasts.
        before_s, after_s: the offset.
        samples: sessions in the windows that show it.
    """

    scope: Scope
    drift: bool
    since: float
    detected: float
    until: float | None
    before_s: float
    after_s: float
    samples: int


def clock_changes(ledger: Ledger, site: Site, first: int, after: int) -> Iterator[ClockChange]:
    """What the clocks of a site's servers did."""
    codes = {str(value): n for n, (family, value) in enumerate(ledger.codes.keys) if family == "offset"}
    for scope, routes in site.places.items():
        if scope.type == "server":
            table = [
                ledger.series([(route, codes[one]) for route in routes], first, after)
                if one in codes
                else np.zeros(after - first, np.int64)
                for one in OFFSET_CLASSES
            ]
            counts = np.stack(table)
            if counts.any():
                yield from _changes(scope, counts, first, ledger.tick_s)


def _changes(scope: Scope, counts: NDArray[np.int64], first: int, tick_s: int) -> Iterator[ClockChange]:
    windows = list(_windows(counts, max(1, _WINDOW_S // tick_s)))
    reference: float | None = None
    start: list[float] = []
    pending: tuple[int, float, int] | None = None
    change: ClockChange | None = None
    previous = 0.0
    for begin, end, median, samples in windows:
        if reference is None:
            start.append(median)
            if len(start) >= _STARTING:
                reference = float(np.median(start))
            previous = median
            continue
        if abs(median - reference) < _STEP_S:
            pending = None
            if abs(median - reference) < 0.6:  # slow enough not to follow a drift
                reference += 0.05 * (median - reference)
        elif pending is None:
            jump = abs(median - previous) >= 0.7 * abs(median - reference)
            pending = (begin, median if jump else np.nan, samples)
        else:
            since, height, some = pending
            sudden = not np.isnan(height) and abs(median - height) <= _AGREE_S
            at = (first + since) * tick_s
            detected = float((first + end) * tick_s)
            if change is not None and abs(median - change.before_s) < _STEP_S:
                change.until = float(at)
                change = None
            elif change is not None and change.drift and at - change.detected < 7200:
                change.after_s, change.detected = median, change.detected
                change.samples += samples
            else:
                change = ClockChange(
                    scope, not sudden, float(at), detected, None, reference, median, some + samples
                )
                yield change
            reference, pending = median, None
        previous = median


def _windows(counts: NDArray[np.int64], length: int) -> Iterator[tuple[int, int, float, int]]:
    """Begin, end, median offset and sessions of windows with enough sessions in them."""
    whole = counts.shape[1] // length
    parts = counts[:, : whole * length].reshape(len(counts), whole, length).sum(axis=2).T
    sizes = parts.sum(axis=1)
    medians = _middles(parts, sizes)
    begin, collecting = 0, False
    running = np.zeros(len(counts), np.int64)
    for at, size in enumerate(sizes.tolist()):
        end = (at + 1) * length
        if not collecting and size >= _LEAST:
            yield begin, end, float(medians[at]), size
            begin = end
            continue
        running = running + parts[at] if collecting else parts[at]
        collecting = True
        samples = int(running.sum())
        if samples >= _LEAST:
            yield begin, end, float(_middles(running[None], np.array([samples]))[0]), samples
            begin, collecting = end, False
        elif end - begin > 20 * length:
            begin, collecting = end, False


def _middles(parts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median offset of each window: [windows, classes] and sessions of each."""
    places = (np.cumsum(parts, axis=1) < ((sizes + 1) // 2)[:, None]).sum(axis=1)
    return np.asarray(_MIDDLES[np.minimum(places, len(_MIDDLES) - 1)])
