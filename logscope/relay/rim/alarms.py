"""Wakes connections that have been silent for too long, of which there are thousands, and nearly none is.

A timer of asyncio's is an object that goes into a heap and stays there when it is cancelled. Here an alarm
that is far away is only noted, under the second in which it is due, and gets a timer when that second comes:
to set it and to cancel it are one step each, and it rings as exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_NEAR_S = 2.0


class Alarm:
    """One of them: `then` is called at a time of the loop's clock, unless it is cancelled before."""

    __slots__ = ("_at", "_noted", "_then", "_timer")

    def __init__(self, at: float, then: Callable[[], None]) -> None:
        self._at, self._then = at, then
        self._noted: set[Alarm] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """It is to ring no more."""
        if self._noted is not None:
            self._noted.discard(self)
        if self._timer is not None:
            self._timer.cancel()


class Alarms:
    """The alarms of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_second: dict[int, set[Alarm]] = {}
        self._tick: asyncio.TimerHandle | None = None

    def after(self, delay_s: float, then: Callable[[], None]) -> Alarm:
        """Have something called in a while."""
        alarm = Alarm(self._loop.time() + delay_s, then)
        if delay_s < _NEAR_S:
            self._set(alarm)
            return alarm
        second = int(alarm._at)
        noted = self._by_second.get(second)
        if noted is None:
            noted = self._by_second[second] = set()
        noted.add(alarm)
        alarm._noted = noted
        if self._tick is None:
            self._wait()
        return alarm

    def _set(self, alarm: Alarm) -> None:
        alarm._timer = self._loop.call_at(alarm._at, alarm._then)

    def _wait(self) -> None:
        self._tick = self._loop.call_at(int(self._loop.time()) + 1, self._second_begins)

    def _second_begins(self) -> None:
        now = int(self._loop.time())
        for second in [second for second in self._by_second if second <= now]:
            for alarm in self._by_second.pop(second):
                alarm._noted = None
                self._set(alarm)
        self._tick = None
        if self._by_second:
            self._wait()

    def close(self) -> None:
        """None of them rings any more."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._by_second.clear()
