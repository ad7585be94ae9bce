"""One source's chunks on their way to the joins: some are scanned ahead, side by side, while the joins go on.

    chunk         n            n + 1             n + 2
    is            being joined numbered, events  being scanned, in any order

Names are numbered by whoever asks for the events, when it asks, so in an order that the input alone decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

from logscope.pipeline.extractor import Extractor, Numbers
from logscope.pipeline.feed import Cut, Feed, Scanned
from logscope.pipeline.order import RunningOrder
from logscope.pipeline.segments import Segments


class AtOnce(Executor):
    """Does what it is asked for before it returns: for plain Python, which gains nothing by threads."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Events(NamedTuple):
    """Rows of the segments' events, and whether they are the source's last."""

    first: int
    end: int
    ended: bool


class Ahead:
    """The chunks of one source.

    Args:
        feed: with one buffer for each of the source's places in the segments.
        number: of the source.
        pool: does the work.
    """

    def __init__(
        self, feed: Feed, number: int, extractor: Extractor, segments: Segments, pool: Executor
    ) -> None:
        self._feed, self._number = feed, number
        self._extractor, self._segments, self._pool = extractor, segments, pool
        self._cuts: deque[Future[Cut]] = deque()
        self._scans: deque[Future[Scanned]] = deque()
        self._numbered = 0
        self._joined = 0
        self._seen_lines = False
        self._events: Future[Events] | None = None
        self._order = RunningOrder()

    def begin(self) -> None:
        """Have the first chunk scanned."""
        self._scan_ahead()

    def prepare(self) -> None:
        """Number the names of the next chunk, and have its events made."""
        self._scan_ahead()
        scanned = self._scans.popleft().result()
        self._cuts.popleft()
        if scanned.holds_records:
            later = [scan.result() for scan in self._scans]
            self._feed.rewind(scanned, later)
            self._cuts.clear()
            self._scans.clear()
        self._numbered += 1
        self._seen_lines |= scanned.rows.count > 0
        numbers = self._extractor.number(scanned.rows)
        self._events = self._pool.submit(self._make_events, scanned, numbers)
        self._scan_ahead()

    def take(self) -> Events:
        """The events of the next chunk; those of the last one are not needed any more."""
        assert self._events is not None
        events = self._events.result()
        if not events.ended:
            self._joined = self._numbered - 1
            self.prepare()
        return events

    def _scan_ahead(self) -> None:
        """Scan as many chunks as there are free places; one at a time while it is open what the source
        holds.
        """
        free = self._joined + self._segments.places - self._numbered
        wanted = free if self._seen_lines and self._feed.may_look_ahead else min(free, 1)
        while len(self._scans) < wanted:
            before = self._cuts[-1] if self._cuts else None
            cut: Future[Cut] = Future()
            self._cuts.append(cut)
            self._scans.append(self._pool.submit(self._scan, before, cut))

    def _scan(self, before: Future[Cut] | None, mine: Future[Cut]) -> Scanned:
        if before is not None:
            before.result()  # its bytes come first; whoever cuts them has begun earlier
        try:
            cut = self._feed.cut()
        except BaseException as error:
            mine.set_exception(error)
            raise
        mine.set_result(cut)
        return self._feed.scan(cut)

    def _make_events(self, scanned: Scanned, numbers: Numbers) -> Events:
        feed, segments = self._feed, self._segments
        chunk = feed.take(scanned)
        base, first = segments.place(self._number, scanned.cut.place)
        if not chunk.rows.count:
            return Events(first, first, feed.ended)
        order = self._order.of(chunk.logged_at)
        count = self._extractor.extract(
            chunk, order, numbers, self._number, segments.pool, base, segments.events[first:]
        )
        return Events(first, first + count, feed.ended)
