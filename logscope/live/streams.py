"""The inputs of a live run on their way to the joins: what was read, and what waits for others."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.inputs import Plans
from logscope.correlate.layout import E_ORDER, NULL
from logscope.errors import InputError
from logscope.pipeline import Chunk, Cut, Feed, Input, RunningOrder, Scanned

if TYPE_CHECKING:
    import pyarrow as pa

AHEAD = 1 << 15
"""Events of one input that may wait for the others before it is read no further."""

Matrix = NDArray[np.int64]


class LiveInput(Input, Protocol):
    """What is followed: an input that says whether there may be something to read, and where it stands.

    Attributes:
        lines_before: lines of the file before those read last; None where lines are counted as they come.
    """

    lines_before: int | None

    def ready(self) -> bool: ...


@dataclass
class Held:
    """What one chunk has that waits for its turn.

    Attributes:
        events: for the joins, in order of time.
        data: the bytes that their texts are in.
        lines: rows of the `events` table, if they are wanted, and the times that they are merged by.
        last: the latest time in the chunk.
        came_at: when it was read.
    """

    events: Matrix
    data: NDArray[np.uint8]
    lines: Lines | None
    last: int
    came_at: int

    def until(self, last: int, equal: bool) -> Held:
        """Take what waits up to a time, `equal`: that time included."""
        side: Literal["left", "right"] = "right" if equal else "left"
        cut = int(np.searchsorted(self.events[:, E_ORDER], last, side=side))
        events, self.events = self.events[:cut], self.events[cut:]
        lines = None
        if self.lines is not None:
            cut = int(np.searchsorted(self.lines.order, last, side=side))
            lines, self.lines = self.lines.slice(0, cut), self.lines.slice(cut, None)
        return Held(events, self.data, lines, self.last, self.came_at)


@dataclass
class Lines:
    """Rows of the `events` table, and the times that they are merged by."""

    order: NDArray[np.int64]
    batch: pa.RecordBatch

    def slice(self, first: int, last: int | None) -> Lines:
        """Some of them."""
        order = self.order[first:last]
        return Lines(order, self.batch.slice(first, len(order)))


@dataclass(frozen=True)
class SourceState:
    """How one input is doing.

    Attributes:
        name: of the input.
        lines: read so far.
        latest: stamp of the latest line, ns since 1970 UTC; None without any.
        heard_at: when something last came, by the clock that `pump` is told.
        waiting: events that wait for other inputs.
    """

    name: str
    lines: int
    latest: int | None
    heard_at: int
    waiting: int


class Gone:
    """An input of an earlier process that is not there any more: nothing comes of it."""

    name, head, position, follows = "", b"", 0, False
    compression: str | None = None
    size: int | None = None
    modified_at: int | None = None
    lines_before: int | None = None
    problem: InputError | None = None

    def ready(self) -> bool:
        return False

    def read_into(self, _buffer: NDArray[np.uint8], _at: int) -> int:
        return 0


class Stream:
    """One input on its way: what was read of it, and what waits for the others.

    It stands between the input and its feed to see whether there was anything to read.
    """

    def __init__(self, source: LiveInput, number: int, now: int) -> None:
        self.source = source
        self.number = number
        self.name = source.name
        self.compression = source.compression
        self.modified_at = source.modified_at
        self.head = source.head
        self.size: int | None = None  # of no interest: what can be read now is a chunk
        self.position = 0
        self.problem: InputError | None = None
        self.follows = True
        self.feed: Feed
        self.heard_at = now
        self.caught_up = self.brought = False
        self.scanning: Future[Scanned] | None = None
        self.order = RunningOrder()
        self.moved_at: int | None = None  # when the latest time was read, as far as this process knows
        self.key: tuple[int, bytes] | None = None
        self.held: list[Held] = []

    def read_into(self, buffer: NDArray[np.uint8], at: int) -> int:
        """See `Input`."""
        count = self.source.read_into(buffer, at)
        self.follows, self.position = self.source.follows, self.source.position
        self.problem = self.source.problem
        self.brought = self.brought or count > 0
        self.caught_up = count == 0 or not self.source.ready()
        if count and self.source.lines_before is not None:
            self.feed.lines = self.source.lines_before
        return count

    def next_chunk(self, now: int) -> Chunk | None:
        """The chunk that was scanned ahead, or the one that there is to be read; None without any.

        Args:
            now: when it is read.
        """
        scanned, self.scanning = self.scanning, None
        if scanned is None and not self._has_some():
            return None
        rows = self.feed.scan(self._cut(now)) if scanned is None else scanned.result()
        if rows.holds_records:
            self.feed.rewind(rows)
        return self.feed.take(rows)

    def scan_ahead(self, pool: Executor, now: int) -> None:
        """Have the next chunk scanned beside, if it is known that there is one."""
        if self.may_be_read and self._has_some():
            self.scanning = pool.submit(self.feed.scan, self._cut(now))

    def _has_some(self) -> bool:
        """Whether there may be something to read, for which there is room."""
        if self.feed.ended:
            return False
        # Known also where there is no room: what has not been read holds the other inputs back.
        self.caught_up = self.source.follows and not self.source.ready()
        return not self.caught_up and self.waiting <= AHEAD

    def _cut(self, now: int) -> Cut:
        self.brought = False
        cut = self.feed.cut()
        if self.brought:
            self.heard_at = now
        return cut

    def put_in_order(self, times: NDArray[np.int64], now: int) -> NDArray[np.int64]:
        """What the lines of a chunk are merged by; `now`: when it is read."""
        before = self.latest
        order = self.order.of(times, None if self.moved_at is None else now - self.moved_at)
        if self.latest != before:
            self.moved_at = now
        return order

    def hold(self, chunk: Chunk, held: Held) -> None:
        """Keep what one chunk has until its turn comes."""
        if self.key is None:
            self.key = _key(chunk)
        self.held.append(held)

    def __getstate__(self) -> dict[str, Any]:
        assert self.scanning is None, "what is scanned ahead has to be taken before"
        return {name: value for name, value in vars(self).items() if name not in ("source", "scanning")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.scanning = None

    @property
    def latest(self) -> int:
        """The latest time so far; NULL without any."""
        return self.order.latest

    @property
    def waiting(self) -> int:
        return sum(len(part.events) for part in self.held)

    @property
    def has_more(self) -> bool:
        """Whether there is something that has not been read, or a rest to be read when it ends."""
        return not self.feed.ended and (self.scanning is not None or not self.caught_up)

    @property
    def may_be_read(self) -> bool:
        """Whether there is more, and room for it."""
        return self.has_more and self.waiting <= AHEAD

    def ripe_at(self, grace: int) -> int | None:
        """When the first that waits has waited long enough; None where nothing waits."""
        return min((part.came_at + grace for part in self.held), default=None)

    def ripe(self, before: int) -> int | None:
        """The time of the last event that came before a moment; None without any."""
        return max((part.last for part in self.held if part.came_at <= before), default=None)

    def take(self, last: int, equal: bool) -> list[Held]:
        """Take what waits up to a time, `equal`: that time included."""
        taken = [part.until(last, equal) for part in self.held]
        self.held = [part for part in self.held if not (part.last < last or (equal and part.last == last))]
        return taken


def _key(chunk: Chunk) -> tuple[int, bytes] | None:
    """What inputs are ordered by where their lines have the same time: as for files, see `pipeline`."""
    stamps = chunk.rows.stamp
    present = stamps[stamps != NULL]
    first = int(chunk.rows.line_start[0])
    return (
        (int(present[0]), chunk.rows.slice(first, min(first + 1024, chunk.rows.consumed)))
        if len(present)
        else None
    )


def side_by_side(
    taken: Sequence[Sequence[Held]], plans: Plans
) -> tuple[Matrix, NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """What was taken of each input, for the joins to merge: all events and all bytes, and where the events of
    each input begin and end.
    """
    pieces: list[NDArray[np.uint8]] = []
    events: list[Matrix] = []
    ends = np.zeros(len(taken) + 1, np.int64)
    size = 0
    for number, parts in enumerate(taken):
        ends[number + 1] = ends[number]
        for part in parts:
            if len(part.events):
                events.append(plans.moved(part.events, size))
                pieces.append(part.data)
                size += len(part.data)
                ends[number + 1] += len(part.events)
    return np.concatenate(events), np.concatenate(pieces), ends[:-1].copy(), ends[1:].copy()
