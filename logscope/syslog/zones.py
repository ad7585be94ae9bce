"""Local time to UTC and back, for whole columns.

A zone is a table of periods, each with one offset; the tables come from zoneinfo, a year at a time. Going
from UTC to local time is a look-up. Going back, two things can happen when clocks change: an hour that
exists twice (a *fold*; the order of lines decides) and one that does not exist (a *gap*; the offset before
it counts, as in Python).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.int64]
"""Nanoseconds since 1970."""

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_OFFSET = 26 * HOUR

UTC_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Zones:
    """The zones the user named: one for hosts of a name, one for all others.

    Attributes:
        by_host: host name, full or up to the first dot, to zone.
        default: the zone of every other host; None when the user named none, and UTC is assumed.
    """

    by_host: Mapping[str, tzinfo] = field(default_factory=dict)
    default: tzinfo | None = None

    def of(self, host: str) -> tzinfo | None:
        """The zone the user named for a host, or None."""
        named = self.by_host.get(host) or self.by_host.get(host.partition(".")[0])
        return named or self.default


@dataclass(frozen=True)
class Periods:
    """Times of one offset each: period i runs from `start[i]` (UTC) to `start[i + 1]`, `offset[i]` ahead of
    UTC."""

    start: Times
    offset: Times

    @property
    def first_local(self) -> Times:
        """Local time at which each period begins."""
        return self.start + self.offset

    @property
    def last_local(self) -> Times:
        """Local time at which each period ends (the last one never does)."""
        end = np.append(self.start[1:], np.iinfo(np.int64).max - _LONGEST_OFFSET)
        return end + self.offset


def offset_at(name: tzinfo, utc: Times) -> Times:
    """How far local time is ahead of UTC, in nanoseconds, at each instant."""
    if utc.size == 0 or name is UTC_ZONE:
        return np.zeros_like(utc)
    periods = _periods(name, utc)
    return periods.offset[np.searchsorted(periods.start, utc, side="right") - 1]


def to_utc(name: tzinfo, local: Times) -> tuple[Times, Times]:
    """UTC of local times, and how much later each could be as well: 0, or the width of the fold it falls
    into."""
    if local.size == 0 or name is UTC_ZONE:
        return local.copy(), np.zeros_like(local)
    periods = _periods(name, local)
    # The last period that has begun; in a fold that is the second one, and the one before it has not ended
    # yet.
    at = np.searchsorted(periods.first_local, local, side="right") - 1
    before = np.maximum(at - 1, 0)
    in_fold = (at > 0) & (local < periods.last_local[before])
    first = np.where(in_fold, before, at)
    earliest = local - periods.offset[first]
    return earliest, np.where(in_fold, periods.offset[before] - periods.offset[at], 0)


def _periods(name: tzinfo, near: Times) -> Periods:
    low, high = int(near.min()) - _LONGEST_OFFSET, int(near.max()) + _LONGEST_OFFSET
    years = range(_year(low), _year(high) + 1)
    parts = [_periods_of_year(name, year) for year in years]
    start = np.concatenate([part.start for part in parts])
    offset = np.concatenate([part.offset for part in parts])
    changed = np.append(True, offset[1:] != offset[:-1])
    return Periods(start[changed], offset[changed])


def _year(nanoseconds: int) -> int:
    return (_EPOCH + timedelta(seconds=nanoseconds // SECOND)).year


@cache
def _periods_of_year(name: tzinfo, year: int) -> Periods:
    """The offsets of one year (UTC). Zones change at whole minutes and keep an offset for days."""
    day = datetime(year, 1, 1, tzinfo=UTC)
    starts, offsets = [day], [_offset(name, day)]
    while day.year == year:
        following = day + timedelta(days=1)
        if _offset(name, following) != offsets[-1]:
            change = _change(name, day, following)
            starts.append(change)
            offsets.append(_offset(name, change))
        day = following
    start = np.array([round((moment - _EPOCH).total_seconds()) * SECOND for moment in starts], np.int64)
    return Periods(
        start, np.array([shift // timedelta(microseconds=1) * 1000 for shift in offsets], np.int64)
    )


def _change(name: tzinfo, low: datetime, high: datetime) -> datetime:
    """The first whole minute after `low` at which the offset is no longer that of `low`."""
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) // 2
        middle = middle.replace(second=0, microsecond=0)
        if middle <= low:
            break
        if _offset(name, middle) == _offset(name, low):
            low = middle
        else:
            high = middle
    return high


def _offset(name: tzinfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(name).utcoffset()
    assert offset is not None, "a zone knows its offset"
    return offset
