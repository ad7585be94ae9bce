"""One source's stamps in UTC.

A stamp may lack its year (`years`) and its zone (`zones`); what is missing is taken from, in this order, the
line itself, the user, and the neighbouring lines, and every choice has an origin that can be shown. A clock
is fed batch after batch and carries what it knows, so the result does not depend on where batches are cut.
It never looks ahead: a source whose first lines must wait for a better reference has to be opened with that
reference.

HAProxy lines have two stamps: the syslog stamp, about when the session ended (under `option logasap`:
connected), and the accept date inside, in the balancer's local time without a zone. Their difference, less
the duration, is the offset between the two clocks' zones, a multiple of a quarter of an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from logscope.syslog.years import Reference, YearOrigin, in_year, in_years, turns, year_near
from logscope.syslog.zones import HOUR, SECOND, UTC_ZONE, Times, Zones, offset_at, to_utc

Mask: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.int32]

NULL = -(2**63)
YEARLESS = 1
"""Bit of a stamp's kind: no year; it is given as if of the year 2000."""
ZONED = 2
"""Bit of a stamp's kind: it had a zone and is in UTC already."""

_MILLISECOND = 1_000_000
_QUARTER = HOUR // 4
_DISORDER = 300 * SECOND  # lines of one host are never this late
_AGREEING = 3  # lines in a row that must agree before a host's offset is believed to have changed


class ZoneOrigin(StrEnum):
    """Where the zone of a host's stamps is known from, the best first."""

    STAMP = "stamp"
    """The stamps have one."""
    OPTION = "option"
    """`--tz`."""
    ACCEPT_DATE = "accept_date"
    """HAProxy's accept date has one, and the stamps are apart from it by this."""
    ASSUMED = "assumed"
    """Nothing is known; UTC."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A batch in UTC.

    Attributes:
        logged_at: the stamps, nanoseconds; NULL where there was none.
        accepted_at: HAProxy's accept dates, nanoseconds; NULL where there was none.
    """

    logged_at: Times
    accepted_at: Times


class Clock:
    """Resolves the stamps of one source, batch after batch."""

    def __init__(self, reference: Reference, zones: Zones | None = None) -> None:
        self._reference = reference
        self._zones = zones or Zones()
        self._last: int | None = None  # the last year-less stamp, as if of the year 2000
        self._year = 0  # and its year
        self._anchored = False
        self._latest: dict[tzinfo, int] = {}
        self._stamp_offsets: dict[int, OffsetTracker] = {}
        self._accept_offsets: dict[int, OffsetTracker] = {}
        self.year_origins: set[YearOrigin] = set()
        """Where years were known from, so far."""
        self.zone_origins: dict[str, ZoneOrigin] = {}
        """Where each host's zone is known from, so far."""

    def use_zones(self, zones: Zones) -> None:
        """Take other zones from here on."""
        self._zones = zones

    def resolve(
        self,
        stamp: Times,
        kind: NDArray[np.int8],
        host: Codes,
        host_name: Callable[[int], str],
        accepted: Times | None = None,
        duration_ms: Times | None = None,
        accepted_in_utc: bool = False,
    ) -> Resolved:
        """Resolve the next lines of the source.

        Args:
            stamp: as written, as if UTC and, where year-less, of the year 2000; nanoseconds, NULL for none.
            kind: bits YEARLESS and ZONED of each stamp; others are ignored.
            host: code of the host that wrote the line, -1 for none.
            host_name: the name of a code.
            accepted: HAProxy's accept date as written, as if UTC; NULL where the line has none. No array
                when no line has.
            duration_ms: from accept date to stamp, as the line says; NULL counts as 0.
            accepted_in_utc: the accept dates had a zone (`%T`, `%Tl`, `%Ts`) and are in UTC already.
        """
        present = stamp != NULL
        if accepted is None:  # arrays that take no memory, and no time
            accepted = np.full(stamp.shape, NULL)
            has_accepted = np.broadcast_to(np.False_, stamp.shape)
            duration = ended = np.broadcast_to(np.int64(0), stamp.shape)
        else:
            has_accepted = present & (accepted != NULL)
            duration = (
                np.zeros_like(stamp) if duration_ms is None else np.where(duration_ms == NULL, 0, duration_ms)
            )
            ended = np.where(has_accepted, accepted, 0) + duration * _MILLISECOND

        local = self._with_years(stamp, present & (kind & YEARLESS != 0), ended, has_accepted)
        if np.any(present & (kind & YEARLESS == 0)):
            self.year_origins.add(YearOrigin.STAMP)
        hosts = _hosts(host, present)
        if not has_accepted.any() and not np.any(kind & ZONED) and self._all_in_utc(hosts, host_name):
            return Resolved(local, accepted)
        logged_at = np.full_like(stamp, NULL)
        accepted_at = accepted.copy()
        for code, rows in _by_host(hosts, host, present):
            pairs = has_accepted[rows]
            logged_at[rows] = self._utc(
                code, host_name, local[rows], kind[rows] & ZONED != 0, ended[rows], pairs & accepted_in_utc
            )
            if not accepted_in_utc and pairs.any():
                rows = rows[pairs]
                named = self._named(code, host_name)
                accepted_at[rows] -= self._accept_offset(
                    code, named, logged_at[rows], ended[rows], duration[rows]
                )
        return Resolved(logged_at, accepted_at)

    # --- years ----------------------------------------------------------------------------------------------

    def _with_years(self, stamp: Times, yearless: Mask, ended: Times, has_accepted: Mask) -> Times:
        rows: NDArray[np.intp] | slice = slice(None)
        stamps = stamp
        if not yearless.all():
            rows = np.flatnonzero(yearless)
            stamps = stamp[rows]
        if stamps.size == 0:
            return stamp
        if self._last is None:
            self._last = int(stamps[0])
            self._year = self._reference.first_year(self._last)
        years = self._year + turns(stamps, self._last)
        anchors = np.flatnonzero(has_accepted[rows])
        if anchors.size:
            years = _corrected(
                years, anchors, year_near(stamps[anchors], ended[rows][anchors], years[anchors])
            )
        self._note_years(anchors, stamps.size)
        self._last, self._year = int(stamps[-1]), int(years[-1])
        moments = in_year(stamps, self._year) if np.all(years == self._year) else in_years(stamps, years)
        if stamps is stamp:
            return moments
        local = stamp.copy()
        local[rows] = moments
        return local

    def _note_years(self, anchors: NDArray[np.intp], count: int) -> None:
        before_first = int(anchors[0]) if anchors.size else count
        if not self._anchored and before_first > 0:
            self.year_origins.add(self._reference.origin)
        if anchors.size:
            self._anchored = True
            self.year_origins.add(YearOrigin.ACCEPT_DATE)

    # --- zones ----------------------------------------------------------------------------------------------

    def _all_in_utc(self, hosts: Sequence[int], host_name: Callable[[int], str]) -> bool:
        """Whether all stamps without a zone are in UTC as far as anybody knows."""
        if any(code in self._stamp_offsets or self._named(code, host_name) is not None for code in hosts):
            return False
        for code in hosts:
            self._note_zone(host_name(code) if code >= 0 else "", ZoneOrigin.ASSUMED)
        return True

    def _named(self, code: int, host_name: Callable[[int], str]) -> tzinfo | None:
        return self._zones.of(host_name(code) if code >= 0 else "")

    def _utc(
        self,
        code: int,
        host_name: Callable[[int], str],
        local: Times,
        zoned: Mask,
        ended: Times,
        pairs_in_utc: Mask,
    ) -> Times:
        """UTC of one host's stamps."""
        name = host_name(code) if code >= 0 else ""
        if zoned.all():
            self._note_zone(name, ZoneOrigin.STAMP)
            return local
        named = self._named(code, host_name)
        tracker = self._stamp_offsets.get(code)
        if named is None and (tracker or pairs_in_utc.any()):
            tracker = self._stamp_offsets.setdefault(code, OffsetTracker())
            apart = np.where(pairs_in_utc & ~zoned, local - ended, NULL)
            utc = local - tracker.follow(apart)
            self._note_zone(name, ZoneOrigin.ACCEPT_DATE)
        else:
            self._note_zone(name, ZoneOrigin.OPTION if named else ZoneOrigin.ASSUMED)
            if not zoned.any():
                return self._in_order(named or UTC_ZONE, local)
            utc = local.copy()
            utc[~zoned] = self._in_order(named or UTC_ZONE, local[~zoned])
        utc[zoned] = local[zoned]
        return utc

    def _note_zone(self, name: str, origin: ZoneOrigin) -> None:
        """Keep the weakest origin: a host with one assumed stamp has an assumed zone."""
        weakest = list(ZoneOrigin).index
        known = self.zone_origins.get(name, origin)
        self.zone_origins[name] = max(known, origin, key=weakest)

    def _in_order(self, zone: tzinfo, local: Times) -> Times:
        """UTC of local times; in an hour that exists twice, the second one once the first would be a step
        back."""
        if zone is UTC_ZONE:
            return local
        utc, fold = to_utc(zone, local)
        latest = self._latest.get(zone, NULL)
        ambiguous = np.flatnonzero(fold)
        if ambiguous.size == 0:
            self._latest[zone] = max(latest, int(utc.max()))
            return utc
        certain = np.maximum.accumulate(np.where(fold == 0, utc, NULL))
        for row in ambiguous.tolist():
            latest = max(latest, int(certain[row]))
            if int(utc[row]) < latest - _DISORDER:
                utc[row] += fold[row]
            latest = max(latest, int(utc[row]))
        self._latest[zone] = max(latest, int(certain[-1]))
        return utc

    def _accept_offset(
        self, code: int, named: tzinfo | None, logged_at: Times, ended: Times, duration: Times
    ) -> Times:
        """How far the accept dates of one host are ahead of UTC."""
        if named is not None:
            return offset_at(named, logged_at - duration * _MILLISECOND)
        return self._accept_offsets.setdefault(code, OffsetTracker()).follow(ended - logged_at)


def _corrected(years: Times, anchors: NDArray[np.intp], said: Times) -> Times:
    """Years as lines that say theirs have it; each holds for the lines behind it up to the next such line."""
    correction = said - years[anchors]
    if not correction.any():
        return years
    latest = np.searchsorted(anchors, np.arange(years.size), side="right") - 1
    return years + np.where(latest < 0, 0, correction[np.maximum(latest, 0)])


def _hosts(host: Codes, present: Mask) -> list[int]:
    """The hosts of the rows that have a stamp."""
    codes = host if present.all() else host[present]
    found: list[int] = (np.flatnonzero(np.bincount(codes + 1)) - 1).tolist()
    return found


def _by_host(hosts: Sequence[int], host: Codes, present: Mask) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """The rows of each host that have a stamp."""
    for code in hosts:
        yield code, np.flatnonzero(present if len(hosts) == 1 else present & (host == code))


class OffsetTracker:
    """Follows the offset between two clocks of one host through pairs of their times.

    Each pair shows the offset to the nearest quarter of an hour, unless the line was late. The first pair is
    believed; after that three in a row must agree on another offset (summer time) before it is.
    """

    def __init__(self) -> None:
        self.offset: int | None = None
        """The offset believed, nanoseconds; None until the first pair."""
        self._rival = 0
        self._agreeing = 0

    def follow(self, apart: Times) -> Times:
        """The offset at each line. `apart` is the difference of its two times, NULL for a line that is no
        pair."""
        shown = np.where(apart == NULL, NULL, np.floor_divide(apart + _QUARTER // 2, _QUARTER) * _QUARTER)
        usable = (shown != NULL) & (np.abs(shown) <= 15 * HOUR)
        offsets = np.full(apart.shape, self.offset or 0, np.int64)
        if self.offset is not None and not self._agreeing and np.all(~usable | (shown == self.offset)):
            return offsets
        for row in np.flatnonzero(usable).tolist():
            if self._believe(int(shown[row])):
                offsets[row:] = self._rival
        return offsets

    def _believe(self, shown: int) -> bool:
        """Take one pair; whether the offset changed."""
        if shown == self.offset:
            self._agreeing = 0
            return False
        self._agreeing = self._agreeing + 1 if shown == self._rival else 1
        self._rival = shown
        if self.offset is not None and self._agreeing < _AGREEING:
            return False
        self.offset, self._agreeing = shown, 0
        return True
