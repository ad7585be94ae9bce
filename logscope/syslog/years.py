"""Which year a year-less stamp belongs to.

RFC 3164 stamps have no year. The first line of a source gets one from a *reference*, an instant near it that
does have a year; after that the order of lines tells where a year begins. A HAProxy line says its year
itself, in its accept date, and overrules both.

Order: a stamp follows the one before it by less than ten months, or precedes it by less than two. So a year
turns where stamps fall from December to January, turns back for a straggler from December behind the first
lines of January, and two months of disorder (files concatenated in the wrong order) are still disorder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from logscope.syslog.zones import DAY, SECOND, Times

Years: TypeAlias = Times
"""Calendar years."""

_START_2000 = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * SECOND
_MARCH = 60  # days of January and February in the year 2000, whose calendar year-less stamps are counted in
_BACK = 60 * DAY
_AHEAD = 306 * DAY
_HALF_YEAR = 182 * DAY


class YearOrigin(StrEnum):
    """Where the year of a stamp is known from, the best first."""

    STAMP = "stamp"
    """It is written in the stamp."""
    ACCEPT_DATE = "accept_date"
    """HAProxy's accept date, in the line itself or in another source of the same run."""
    ROTATION = "rotation"
    """The date a rotated file has in its name."""
    OPTION = "option"
    """`--year`."""
    MODIFIED = "modified"
    """When the file was last written; wrong for a copy or a fresh clone."""
    NOW = "now"
    """The time of reading: nothing else was known."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the year of a source's first stamp is taken from.

    The first stamp lies between `earliest` and a year after it.
    """

    earliest: int
    origin: YearOrigin

    @classmethod
    def accept_date(cls, accepted: int) -> Reference:
        """From an accept date in any source: logs of one run begin within ten months before or two after
        it."""
        return cls(accepted - _AHEAD, YearOrigin.ACCEPT_DATE)

    @classmethod
    def end(cls, last: int, origin: YearOrigin) -> Reference:
        """From an instant near the end of the source. Two days more allow for zones and clocks that are
        ahead."""
        return cls(last + 2 * DAY - 365 * DAY, origin)

    @classmethod
    def year(cls, year: int) -> Reference:
        """From `--year`: the year of the first line."""
        return cls(_start(year), YearOrigin.OPTION)

    def first_year(self, stamp: int) -> int:
        """The year of a first stamp, given as if it were of the year 2000."""
        year = datetime.fromtimestamp(self.earliest // SECOND, UTC).year
        stamps = in_years(np.full(3, stamp), np.array([year - 1, year, year + 1]))
        return int(year - 1 + np.searchsorted(stamps, self.earliest))


def best_reference(
    *,
    now: int,
    accepted: int | None = None,
    name: str = "",
    year: int | None = None,
    modified: int | None = None,
) -> Reference:
    """The best reference there is for a source.

    Args:
        now: the time of reading, in nanoseconds.
        accepted: an accept date of HAProxy, from this source or another of the run, in nanoseconds.
        name: the file's name; a rotation date in it counts.
        year: the user's `--year`.
        modified: when the file was last written, in nanoseconds.
    """
    rotated = rotation_date(name)
    if accepted is not None:
        return Reference.accept_date(accepted)
    if rotated is not None:
        return Reference.end(
            _start(rotated.year) + (rotated - date(rotated.year, 1, 1)).days * DAY, YearOrigin.ROTATION
        )
    if year is not None:
        return Reference.year(year)
    if modified is not None:
        return Reference.end(modified, YearOrigin.MODIFIED)
    return Reference.end(now, YearOrigin.NOW)


def rotation_date(name: str) -> date | None:
    """The day of rotation in a file name such as `mail.log-20261122.gz` (logrotate's dateext),
    `haproxy.2026-11-22.log`."""
    found = re.search(r"(?<!\d)(20\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d{3})", name)
    if not found:
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def in_year(stamps: Times, year: int) -> Times:
    """Put stamps of the year 2000 into one other year; much faster than `in_years` where all are on one side
    of March."""
    march = _START_2000 + _MARCH * DAY
    if stamps.max() < march or stamps.min() >= march:
        return stamps + _shift(year, bool(stamps[0] >= march))
    return in_years(stamps, np.full(stamps.shape, year))


@lru_cache(64)
def _shift(year: int, after_february: bool) -> int:
    """From the year 2000 to another one."""
    moment = _START_2000 + (_MARCH * DAY if after_february else 0)
    return int(in_years(np.array([moment]), np.array([year]))[0] - moment)


def in_years(stamps: Times, years: Years) -> Times:
    """Put stamps of the year 2000 into other years. 29 February of a year without one is 1 March."""
    day, rest = np.divmod(stamps - _START_2000, DAY)
    is_leap = (years % 4 == 0) & ((years % 100 != 0) | (years % 400 == 0))
    past = years - 1
    start = past * 365 + past // 4 - past // 100 + past // 400 - 719162  # days from 1970 to 1 January
    moments: Times = (start + day - ((day >= _MARCH) & ~is_leap)) * DAY + rest
    return moments


def turns(stamps: Times, before: int) -> Years:
    """How many years later than `before` (the stamp in front of the first) each stamp is; stamps as if of
    the year 2000."""
    if max(int(stamps.max()), before) - min(int(stamps.min()), before) < _BACK:  # so is each step
        return np.zeros_like(stamps)
    steps = np.diff(stamps, prepend=before)
    if steps.min() >= -_BACK and steps.max() < _AHEAD:
        return np.zeros_like(stamps)
    return np.cumsum((steps < -_BACK).astype(np.int64) - (steps >= _AHEAD))


def year_near(stamps: Times, near: Times, guess: Years) -> Years:
    """The year that brings each stamp (as if of the year 2000) closest to an instant that has a year.

    `guess` is returned when it is right for all of them.
    """
    year = int(guess[0])
    if np.all(guess == year) and np.abs(in_year(stamps, year) - near).max() < _HALF_YEAR:
        return guess
    years = near.astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970
    distance = np.stack([np.abs(in_years(stamps, years + step) - near) for step in (-1, 0, 1)])
    closest: Years = years + np.argmin(distance, axis=0) - 1
    return closest


def _start(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * SECOND
