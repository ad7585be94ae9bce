"""How often something happened in each tick of time, at each place: what all baselines are learnt from and
all tests are made on.

A *route* is a place as the sessions name it (balancer, frontend, backend, server, host, service); a *code* is
a thing that can happen, such as `outcome/rejected`. Each pair that occurs has a series of counts, kept in
blocks of a day. A tick is a minute; logs that cover less than two hours are counted in ticks of ten seconds,
or there would be too few of them to tell a change from chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from logscope.detect.anomalies.columns import Longs, counted

SECOND = 1_000_000_000
DAY_S = 86_400
SHORT_TICK_S, TICK_S = 10, 60
_SHORT_SPAN_S = 7200
_MOST_DAYS = 400
_MOST_ROUTES = 512
_MOST_CODES = 2048

Code = tuple[str, str]
"""What happened: family and value."""


class Interned:
    """Numbers for keys, from 0 in the order in which they come; those beyond a limit share one."""

    def __init__(self, most: int, other: tuple[str | None, ...]) -> None:
        self._most = most
        self._other = other
        self.keys: list[tuple[str | None, ...]] = []
        self._numbers: dict[tuple[str | None, ...], int] = {}

    def number(self, key: tuple[str | None, ...]) -> int:
        """The number of a key."""
        found = self._numbers.get(key)
        if found is None:
            if len(self.keys) >= self._most - 1 and key != self._other:
                return self.number(self._other)
            found = self._numbers[key] = len(self.keys)
            self.keys.append(key)
        return found

    def __len__(self) -> int:
        return len(self.keys)


class Ledger:
    """Counts by route, code and tick.

    Args:
        route_width: how many names a route has.
        tick_s: seconds of a tick; None to begin with short ones and to go over to minutes when the time
            covered is long enough.
    """

    def __init__(self, route_width: int, tick_s: int | None = None) -> None:
        self._adapting = tick_s is None
        self.tick_s = tick_s or SHORT_TICK_S
        self.routes = Interned(_MOST_ROUTES, (None,) * route_width)
        self.codes = Interned(_MOST_CODES, ("other", "other"))
        self._blocks: dict[tuple[int, int], dict[int, NDArray[np.int32]]] = {}
        self.first: int | None = None
        self.last: int | None = None
        self.dropped = 0
        self._days: set[int] = set()
        self._span: tuple[int, int] | None = None

    # --- counting -------------------------------------------------------------------------------------------

    def ticks_of(self, times_ns: Longs) -> Longs:
        """The tick of each time, counted from 1970."""
        return times_ns // (self.tick_s * SECOND)

    def cover(self, times_ns: Longs) -> None:
        """Say which times the counts to come have, so that the tick can be chosen before they are counted."""
        if not len(times_ns):
            return
        self._span = None
        low, high = int(times_ns.min()) // SECOND, int(times_ns.max()) // SECOND
        first = low if self.first is None else min(low, self.first * self.tick_s)
        last = high if self.last is None else max(high, self.last * self.tick_s)
        if self._adapting and last - first > _SHORT_SPAN_S:
            self._coarsen()
        self.first, self.last = first // self.tick_s, last // self.tick_s

    def _coarsen(self) -> None:
        together = TICK_S // SHORT_TICK_S
        for days in self._blocks.values():
            for day, counts in days.items():
                days[day] = counts.reshape(-1, together).sum(axis=1, dtype=np.int32)
        self.tick_s, self._adapting = TICK_S, False
        if self.first is not None and self.last is not None:
            self.first, self.last = self.first // together, self.last // together

    def add(self, ticks: Longs, routes: Longs, codes: Longs) -> None:
        """Count one of each: equally long arrays of ticks, routes and codes."""
        if not len(ticks):
            return
        self._span = None
        low, least = int(ticks.min()), int(codes.min())
        width, several = int(ticks.max()) - low + 1, int(codes.max()) - least + 1
        places = (routes * several + (codes - least)) * width + (ticks - low)
        size = len(self.routes) * several * width
        if size <= 4 * len(ticks) + 65_536:
            counts = np.bincount(places, minlength=size)
            keys = np.nonzero(counts)[0]
            counts = counts[keys]
        else:
            keys, counts = counted(places)
            order = np.argsort(keys)
            keys, counts = keys[order], counts[order]
        pairs = keys // width
        starts = np.concatenate(([0], np.nonzero(np.diff(pairs))[0] + 1, [len(pairs)]))
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            route, code = divmod(int(pairs[start]), several)
            self._put(route, code + least, keys[start:end] % width + low, counts[start:end])

    def _put(self, route: int, code: int, ticks: Longs, counts: Longs) -> None:
        a_day = DAY_S // self.tick_s
        days = self._blocks.setdefault((route, code), {})
        first, last = int(ticks[0]) // a_day, int(ticks[-1]) // a_day
        for day in (
            range(first, last + 1) if last - first < _MOST_DAYS else np.unique(ticks // a_day).tolist()
        ):
            here = slice(None) if first == last else (ticks // a_day) == day
            block = days.get(day)
            if block is None:
                if day not in self._days and len(self._days) >= _MOST_DAYS:
                    self.dropped += int(counts[here].sum())
                    continue
                self._days.add(day)
                block = days[day] = np.zeros(a_day, np.int32)
            block[ticks[here] - day * a_day] += counts[here].astype(np.int32)

    def forget_before(self, tick: int) -> None:
        """Drop the days that ended before a tick."""
        self._span = None
        day = tick // (DAY_S // self.tick_s)
        self._days = {one for one in self._days if one >= day}
        for days in self._blocks.values():
            for old in [one for one in days if one < day]:
                del days[old]
        if self.first is not None:
            self.first = max(self.first, day * (DAY_S // self.tick_s))

    # --- reading --------------------------------------------------------------------------------------------

    def span(self) -> tuple[int, int]:
        """First tick and the one after the last, of the longest stretch without a day that has nothing: a
        stray stamp years away is no history.
        """
        if self._span is None:
            self._span = self._longest()
        return self._span

    def _longest(self) -> tuple[int, int]:
        if not self._days:
            return 0, 0
        a_day = DAY_S // self.tick_s
        runs: list[list[int]] = []
        for day in sorted(self._days):
            if runs and day - runs[-1][-1] <= 2:
                runs[-1].append(day)
            else:
                runs.append([day])
        run = max(runs, key=lambda days: self._weight(days))
        assert self.first is not None
        assert self.last is not None
        first, last = run[0] * a_day, run[-1] * a_day + a_day - 1
        first = self.first if self.first >= first else first + self._edge(run[0], 0)
        last = self.last if self.last <= last else run[-1] * a_day + self._edge(run[-1], -1)
        return first, last + 1

    def _edge(self, day: int, which: int) -> int:
        """The first (0) or last (-1) tick of a day in which anything happened."""
        blocks = [days[day] for days in self._blocks.values() if day in days]
        return int(np.nonzero(np.any(blocks, axis=0))[0][which])

    def _weight(self, days: Iterable[int]) -> int:
        return sum(
            int(blocks[day].sum()) for blocks in self._blocks.values() for day in days if day in blocks
        )

    def pairs(self) -> list[tuple[int, int]]:
        """Routes and codes that occurred together."""
        return list(self._blocks)

    def series(self, pairs: Iterable[tuple[int, int]], first: int, after: int) -> Longs:
        """The counts of some pairs together, for each tick from `first` to before `after`."""
        total = np.zeros(after - first, np.int64)
        a_day = DAY_S // self.tick_s
        for pair in pairs:
            for day, block in self._blocks.get(pair, {}).items():
                start, end = day * a_day, (day + 1) * a_day
                low, high = max(start, first), min(end, after)
                if low < high:
                    total[low - first : high - first] += block[low - start : high - start]
        return total

    def code_numbers(self, family: str, values: Sequence[str]) -> Longs:
        """The numbers of a family's values, with -1 behind them for the code -1."""
        numbers = [self.codes.number((family, value)) for value in values]
        return np.array([*numbers, -1], np.int64)
