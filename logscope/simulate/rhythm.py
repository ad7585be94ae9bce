"""How often clients come: day and week, holidays, growth and unrest, as one rate for each stretch of time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from logscope.simulate.site import Options

Floats = NDArray[np.float64]

_DAY_S = 86400.0
_PEAKS = {
    # hour of the peak, its width in hours, its height above the floor; of a working day
    "mail": ((10.3, 2.6, 1.0), (15.2, 2.4, 0.9), (20.5, 1.8, 0.35)),
    "bots": ((3.0, 4.0, 0.25), (15.0, 5.0, 0.2)),
    "users": ((9.6, 1.9, 1.3), (14.6, 2.1, 1.1), (21.0, 1.3, 0.3)),
    "monitor": (),
}
_FLOOR = {"mail": 0.35, "bots": 0.9, "users": 0.05, "monitor": 1.0}
_FREE_DAY = {"mail": 0.45, "bots": 0.95, "users": 0.25, "monitor": 1.0}
"""What is left of the rate on Saturday; on Sundays and holidays it is a fifth less again."""
_NIGHT_H = 2.0
_TURN_H = 8.0
"""People's days turn in their sleep: from one kind of day to the next in so many hours around two at night,
not at the stroke of twelve."""


def rates(stream: str, moments_s: Floats, options: Options) -> Floats:
    """The rate at these moments, in any unit.

    Args:
        stream: one of `STREAMS`.
        moments_s: seconds after the start, growing.
        options: of the simulation.
    """
    local_s = moments_s + options.start_ns / 1e9 + _offsets_s(moments_s, options)
    hour = local_s % _DAY_S / 3600.0
    rate = np.full(len(moments_s), _FLOOR[stream])
    for peak, width, height in _PEAKS[stream]:
        apart = np.abs(hour - peak)
        apart = np.minimum(apart, 24.0 - apart)
        rate += height * np.exp(-0.5 * (apart / width) ** 2)
    rate *= _kind_of_day(stream, local_s, options)
    rate = rate**options.rhythm
    rate *= (1.0 + options.growth) ** (moments_s / (7 * _DAY_S))
    return rate * _unrest(stream, moments_s, options)


def _kind_of_day(stream: str, local_s: Floats, options: Options) -> Floats:
    """What working days, weekends and holidays make of the rate, from one to the next by and by."""
    free = _FREE_DAY[stream]
    epoch = date(1970, 1, 1).toordinal()
    holidays = [holiday.toordinal() - epoch for holiday in options.holidays]

    def level(day: NDArray[np.int64]) -> Floats:
        weekday = (day + 3) % 7  # 1970-01-01 was a Thursday
        resting = (weekday == 6) | np.isin(day, holidays)
        return np.where(resting, free * 0.8, np.where(weekday == 5, free, 1.0))

    turn = (local_s - (_NIGHT_H + _TURN_H / 2) * 3600.0) / _DAY_S  # whole when a turn is over
    day = np.floor(turn).astype(np.int64)
    part = np.clip((turn - day - 1.0) * 24.0 / _TURN_H + 1.0, 0.0, 1.0)
    part = part * part * (3.0 - 2.0 * part)
    return level(day) * (1.0 - part) + level(day + 1) * part


def _offsets_s(moments_s: Floats, options: Options) -> Floats:
    """What the zone's clock is ahead of UTC, looked up once for each quarter of an hour."""
    if options.zone == "UTC":
        return np.zeros(len(moments_s))
    zone = ZoneInfo(options.zone)
    quarters = np.floor((moments_s + options.start_ns / 1e9) / 900.0).astype(np.int64)
    unique, inverse = np.unique(quarters, return_inverse=True)
    offsets = []
    for quarter in unique.tolist():
        offset = datetime.fromtimestamp(quarter * 900, UTC).astimezone(zone).utcoffset()
        assert offset is not None
        offsets.append(offset.total_seconds())
    return np.array(offsets)[inverse]


def _unrest(stream: str, moments_s: Floats, options: Options) -> Floats:
    """A factor that wanders from hour to hour and forgets most of it within half a day."""
    if not options.unrest or stream == "monitor":
        return np.ones(len(moments_s))
    hours = int(options.duration_s // 3600) + 2
    chance = np.random.default_rng([options.seed, 17, len(stream), ord(stream[0])])
    steps = chance.normal(size=hours)
    level = np.empty(hours)
    now = steps[0]
    for hour in range(hours):
        now = 0.8 * now + 0.6 * steps[hour]  # keeps its variance
        level[hour] = now
    return np.exp(options.unrest * np.interp(moments_s / 3600.0, np.arange(hours), level))
