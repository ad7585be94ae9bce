"""What looks like a change and is only the season, or the way back from what passed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from logscope.detect.anomalies.seasons import DAY_S
from logscope.detect.anomalies.signs import Sign
from logscope.detect.anomalies.sorting import Sorter

_EDGE_S = 9000
_LOOK_S = 21_600.0
_HOUR_S, _SHARP_S = 3600, 1800.0
_NIGHT_S = (-3 * _HOUR_S, 9 * _HOUR_S)
"""When, after midnight, a day that turns by and by may be seen to be of another kind."""
_MIDNIGHT_S, _STROKE_S = 4500.0, 900.0
"""A change that is seen at once is a day's beginning only at the stroke of an hour; zones and summer time
leave in doubt which hour is midnight."""
_LONG_AGO_S = (6 * 3600, 3600)
_LEAST_DAYS, _SLOW_SHIFT_S = 1.9, 7200.0
_ENOUGH_BEFORE = 200


def at_weekends_edge(sign: Sign) -> bool:
    """Whether the rate is that of the other kind of day, whose beginning or end is only some hours away."""
    season, tick = sign.alarm.series.season, sign.panel.ledger.tick_s
    until = max(min(sign.end, sign.since + _LOOK_S), sign.since + tick)
    seconds = np.arange(sign.since, until, tick) + tick / 2
    usual = float(season.at(seconds).sum())
    for shift in (-_EDGE_S, _EDGE_S):
        other = float(season.at(seconds, shift).sum()) / max(usual, 1e-9) * sign.expected
        if abs(other / max(sign.expected, 1e-9) - 1) > 0.2 and 0.6 * other < sign.observed < 1.6 * other:
            return True
    return False


def as_of_another_day(sign: Sign) -> str:
    """Why more or fewer sessions from the night on may be in order: a working day that is as weekends are is
    a holiday, and what is usual again after such a day is its end.
    """
    season, ledger = sign.alarm.series.season, sign.panel.ledger
    if not season.days.std(axis=0).any() or not _at_night(sign):
        return ""
    tick = ledger.tick_s
    first = int(sign.since) // tick
    after = max(int(min(sign.end, sign.since + _LOOK_S, sign.detected + _LOOK_S)) // tick, first + 1)
    seconds = (np.arange(first, after, dtype=np.float64) + 0.5) * tick
    observed = float(ledger.series(sign.alarm.series.counts, first, after).sum())
    if sign.up:
        usual = (float(season.at(seconds, shift).sum()) * tick for shift in (0, -_HOUR_S, _HOUR_S))
        again = any(0.65 * one < observed < 1.5 * one for one in usual)
        return "as is usual at this time, after a quieter day" if again else ""
    usual_now = max(float(season.at(seconds).sum()), 1e-9)
    for weekday in (0, 6):
        as_then = replace(season, days=np.tile(season.days[weekday], (7, 1)))
        other = float(as_then.at(seconds).sum()) / usual_now
        if other < 0.8 and 0.6 * other < sign.ratio < 1.6 * other:
            return "as on a weekend, from the night on: a holiday"
    return ""


def _at_night(sign: Sign) -> bool:
    """Whether it begins as days do: at the stroke of midnight, or by and by from one day to the next."""
    after_s = (sign.since - sign.alarm.series.season.begin_s + DAY_S / 2) % DAY_S - DAY_S / 2
    if sign.detected - sign.since > _SHARP_S:
        return _NIGHT_S[0] <= after_s <= _NIGHT_S[1]
    off_the_hour = (sign.since + _HOUR_S / 2) % _HOUR_S - _HOUR_S / 2
    return abs(after_s) <= _MIDNIGHT_S and abs(off_the_hour) <= _STROKE_S


def is_return(sorter: Sorter, sign: Sign) -> bool:
    """Whether it only came back, as the season goes, to what it was some hours ago: the level of the last
    minutes may have followed something that passed.
    """
    series, ledger = sign.alarm.series, sign.panel.ledger
    tick = ledger.tick_s
    first, after = int(sign.since) // tick, max(int(sorter.until(sign)), int(sign.since) + tick) // tick
    begin, end = first - _LONG_AGO_S[0] // tick, first - _LONG_AGO_S[1] // tick

    def usual(low: int, high: int) -> float:
        return float(series.season.at((np.arange(low, high, dtype=np.float64) + 0.5) * tick).mean())

    if begin < ledger.span()[0]:
        if series.trials or not sorter.signs.of_other_days:
            return False
        ratio = sign.observed / max(usual(first, after) * tick * (after - first), 1.0)
        return 0.7 < ratio < 1.3
    before = float(ledger.series(series.counts, begin, end).sum())

    change = usual(first, after) / max(usual(begin, end), 1e-9)
    if not series.trials:
        if not series.season.days.std():
            return False
        ratio = sign.observed / max(before / (end - begin) * (after - first) * change, 1.0)
        return ratio < 1.3 if sign.up else ratio > 0.7
    tried = float(ledger.series(series.trials, begin, end).sum())
    if tried < _ENOUGH_BEFORE:
        return False
    now, due = sign.observed / max(sign.trials, 1.0), sign.expected / max(sign.trials, 1.0)
    once = before / tried * min(max(change, 0.5), 2.0)
    return abs(now - once) < 0.4 * abs(now - due)


def may_be_the_day(sorter: Sorter, sign: Sign) -> bool:
    """Whether it took hours to be sure, where days are not known yet: evening and night differ."""
    return sorter.signs.baseline.days < _LEAST_DAYS and sign.detected - sign.since > _SLOW_SHIFT_S
