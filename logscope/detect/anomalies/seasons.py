"""The usual shape of a day and a week, learnt from counts.

With two days and more, what is usual at a time of day is the median over the days, each day's level apart,
for working days and weekends; what sets one day of the week apart counts only where several weeks show it.
The steps of a day are as short as the counts allow. With less than two days there is no season: then the
level of the last minutes is all there is to go by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY_S = 86_400
_STEPS_S = (600, 900, 1200, 1800, 3600, 7200, 14_400)
_COUNTS_A_STEP = 40.0
_FEW_A_STEP = 3.0
"""With fewer in the longest step, the median over the days is far from the mean, or 0."""
_LEAST_DAYS = 1.9
_ENOUGH_DAYS = 5
"""Days of which the median does not depend on one."""
_FITS_BETTER = 0.98
_MOST = 0.95
"""Share that a weekend is believed to have, if working days have less."""
_THURSDAY = 3  # 1970-01-01, with Monday as 0


@dataclass(frozen=True)
class Season:
    """What is usual for one series.

    Attributes:
        step_s: seconds of a step.
        days: [kinds of day, steps of a day] counts a second (or, for a share, the share); one kind of day
            for each day of the week.
        begin_s: seconds after midnight UTC at which its days begin, from -43,200: where people live, the
            weekend begins and ends at another hour.
    """

    step_s: int
    days: Floats
    begin_s: int = 0

    def at(self, seconds: Floats, shift_s: int = 0) -> Floats:
        """What is usual at some times, in seconds since 1970.

        Args:
            seconds: the times.
            shift_s: on days that begin so much earlier.
        """
        steps = self.days.shape[1]
        seconds = seconds - self.begin_s
        place = (seconds % DAY_S) / self.step_s - 0.5
        low = np.floor(place).astype(np.int64)
        part = place - low
        weekday = (((seconds + shift_s) // DAY_S).astype(np.int64) + _THURSDAY) % 7
        before = np.where(low < 0, (weekday - 1) % 7, weekday)
        after = np.where(low + 1 >= steps, (weekday + 1) % 7, weekday)
        first, second = self.days[before, low % steps], self.days[after, (low + 1) % steps]
        return np.asarray(first * (1 - part) + second * part)


def flat(rate: float) -> Season:
    """A season that says the same for all times."""
    return Season(14_400, np.full((7, 6), rate))


def has_season(ticks: int, tick_s: int) -> bool:
    """Whether this is long enough to know the shape of a day."""
    return ticks * tick_s >= _LEAST_DAYS * DAY_S


def day_begins(counts: Floats, first_tick: int, tick_s: int) -> int:
    """When days begin at a site, in seconds after midnight UTC: the hour with which working days and
    weekends fit best.

    A weekend that began at midnight UTC would have half of a Friday evening in America, and half of a Monday
    morning in Japan.
    """
    if len(counts) * tick_s < _ENOUGH_DAYS * DAY_S:
        return 0
    misfit = {}
    for begin_s in range(-11 * 3600, 13 * 3600, 3600):
        table, weekdays = by_day(counts, first_tick - begin_s // tick_s, tick_s, 3600)
        usual = _days(table, weekdays)[weekdays]
        misfit[begin_s] = float(np.nanmean(np.abs(table - usual) / np.sqrt(usual + 1)))
    best = min(misfit, key=lambda begin_s: (misfit[begin_s], abs(begin_s)))
    return best if misfit[best] < _FITS_BETTER * misfit[0] else 0


def rate_season(counts: Floats, first_tick: int, tick_s: int, begin_s: int = 0) -> Season:
    """The season of a series of counts, with days that begin at some time."""
    span_s = len(counts) * tick_s
    mean = float(counts.sum()) / max(span_s, 1)
    if not has_season(len(counts), tick_s) or mean * _STEPS_S[-1] < _FEW_A_STEP:
        return flat(mean)
    step_s = next((s for s in _STEPS_S if mean * s >= _COUNTS_A_STEP), _STEPS_S[-1])
    table, weekdays = by_day(counts, first_tick - begin_s // tick_s, tick_s, step_s)
    days = _days(table / step_s, weekdays)
    if (
        not float(days.mean()) > 1e-6 * mean
    ):  # every step's median is 0, as when all came on two days of seven
        return flat(mean)
    return Season(step_s, days, begin_s)


def share_season(counts: Floats, trials: Floats, first_tick: int, tick_s: int, begin_s: int = 0) -> Season:
    """The season of a share: that of the counts over that of the trials, kept between them; weekends, where
    people send less and bots as ever, as far as two of their days agree.
    """
    total, all_trials = float(counts.sum()), float(trials.sum())
    overall = total / max(all_trials, 1.0)
    if not has_season(len(counts), tick_s) or not total:
        return flat(robust_share(counts, trials, tick_s))
    mean = total / (len(counts) * tick_s)
    step_s = next((s for s in _STEPS_S[3:] if mean * s >= _COUNTS_A_STEP), _STEPS_S[-1])
    hits, weekdays = by_day(counts, first_tick - begin_s // tick_s, tick_s, step_s)
    tries, _ = by_day(trials, first_tick - begin_s // tick_s, tick_s, step_s)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(tries > 0, hits / tries, np.nan)
    usual = _nanmedian(_with_neighbours(shares) if len(shares) < _ENOUGH_DAYS else shares)
    weight = _share_weight(tries)
    shape = np.nan_to_num(usual * weight + overall * (1 - weight), nan=overall)
    days = np.tile(shape, (7, 1))
    free = (weekdays >= 5) & (np.nansum(tries, axis=1) > 0)
    if len(shares) >= _ENOUGH_DAYS and free.sum() >= 2:
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = np.log(_agreed(shares[free] / np.maximum(shape, 1e-12)))
        days[5:] = np.minimum(shape * np.exp(apart * _share_weight(tries[free])), np.maximum(shape, _MOST))
    return Season(step_s, days, begin_s)


def _share_weight(tries: Floats) -> Floats:
    """How far the share of each step is believed, by how many trials it is of."""
    known = np.nansum(np.where(tries > 0, tries, 0), axis=0)
    return np.asarray(known / (known + 200.0))


def robust_share(counts: Floats, trials: Floats, tick_s: int) -> float:
    """The share of an ordinary hour (or tenth of the time, if that is shorter): the median over them."""
    together = max(1, min(3600 // tick_s, len(counts) // 10))
    whole = len(counts) // together * together
    x = counts[:whole].reshape(-1, together).sum(axis=1)
    n = trials[:whole].reshape(-1, together).sum(axis=1)
    known = n > 0
    if not known.any():
        return 0.0
    order = np.argsort(x[known] / n[known])
    weight = np.cumsum(n[known][order])
    middle = int(np.searchsorted(weight, weight[-1] / 2))
    return float((x[known] / n[known])[order[middle]])


def by_day(counts: Floats, first_tick: int, tick_s: int, step_s: int) -> tuple[Floats, NDArray[np.int64]]:
    """Counts as [days, steps of a day], NaN where nothing was watched, and each day's weekday."""
    a_day = DAY_S // tick_s
    first_day = first_tick // a_day
    days = (first_tick + len(counts) - 1) // a_day - first_day + 1
    padded = np.full(days * a_day, np.nan)
    start = first_tick - first_day * a_day
    padded[start : start + len(counts)] = counts
    table = padded.reshape(days, DAY_S // step_s, -1).sum(axis=2)  # a step partly watched is NaN too
    return table, (np.arange(first_day, first_day + days) + _THURSDAY) % 7


def _days(table: Floats, weekdays: NDArray[np.int64]) -> Floats:
    """What is usual on each day of the week, from [days, steps]."""
    steps = table.shape[1]
    few = len(table) < _ENOUGH_DAYS
    shape = np.ones(steps)
    level = np.ones(len(table))
    # Levels and shape in turn; each is a median, so that one bad hour or day moves nothing.
    for _ in range(3):
        with np.errstate(invalid="ignore", divide="ignore"):
            level = _level(table, shape)
            ratios = table / level[:, None]
            shape = _nanmedian(_with_neighbours(ratios) if few else ratios)
        shape = _filled(shape)
        shape /= max(shape.mean(), 1e-12)
    usual = np.empty((7, steps))
    free = weekdays >= 5
    for kind, days in ((0, ~free), (1, free)):
        known = days & np.isfinite(level)
        heights = level[known] if known.any() else level[np.isfinite(level)]
        height = float(np.median(heights)) if len(heights) else math.nan
        own = shape
        if kind and not few and known.sum() >= 2:
            with np.errstate(invalid="ignore", divide="ignore"):
                own = shape * _agreed(table[known] / level[known][:, None] / np.maximum(shape, 1e-12))
        elif not kind and not few and known.sum() >= 3:
            with np.errstate(invalid="ignore", divide="ignore"):
                own = _filled(_nanmedian(table[known] / level[known][:, None]), shape)
        usual[5:] = own * height
        if not kind:
            usual[:] = own * height
    return np.maximum(usual, 1e-12)


def _with_neighbours(ratios: Floats) -> Floats:
    """The steps around each step as further days: the median of two days alone would believe either."""
    return np.concatenate([np.roll(ratios, shift, axis=1) for shift in range(-3, 4)])


def _level(table: Floats, shape: Floats) -> Floats:
    """Each day's level: the median of its steps' ratios, weighted by the shape."""
    found = np.full(len(table), np.nan)
    for row, day in enumerate(table):
        known = np.isfinite(day) & (shape > 0)
        if known.sum() < 3:
            continue
        ratio = day[known] / shape[known]
        order = np.argsort(ratio)
        weight = np.cumsum(shape[known][order])
        found[row] = ratio[order[int(np.searchsorted(weight, weight[-1] / 2))]]
    floor = np.nanmedian(found) * 0.05 if np.isfinite(found).any() else 1.0
    return np.where(np.isfinite(found), np.maximum(found, max(floor, 1e-12)), np.nan)


def _agreed(ratios: Floats) -> Floats:
    """By how much several days differ from the shape, as far as they agree: with two days the smaller of two
    differences to one side, else none.
    """
    logs = np.log(np.clip(ratios, 0.05, 20))
    known = ~np.isnan(logs)
    least = np.where(known, logs, np.inf).min(axis=0)
    most = np.where(known, logs, -np.inf).max(axis=0)
    agreed = np.where(least > 0, least, np.where(most < 0, most, 0.0))
    agreed = np.where(known.any(axis=0), agreed, 0.0)
    # one step alone may agree by chance; its neighbours have a say
    smooth = (np.roll(agreed, 1) + agreed + np.roll(agreed, -1)) / 3
    return np.asarray(np.exp(smooth))


def _nanmedian(table: Floats) -> Floats:
    """Over the days; numpy's own goes by masked arrays where there are few, and takes fifty times as long."""
    ordered = np.sort(table, axis=0)  # what is not known comes last
    known = (~np.isnan(table)).sum(axis=0)
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    steps = np.arange(table.shape[1])
    middle = (ordered[low, steps] + ordered[np.minimum(high, len(table) - 1), steps]) / 2
    return np.asarray(np.where(np.isfinite(table).any(axis=0), middle, np.nan))


def _filled(values: Floats, other: Floats | None = None) -> Floats:
    """Without gaps: the other values where nothing is known, else the mean."""
    fine = np.isfinite(values)
    if fine.all():
        return values
    if other is not None:
        return np.where(fine, values, other)
    return np.where(fine, values, values[fine].mean() if fine.any() else 1.0)
