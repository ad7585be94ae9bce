"""Sessions as they happen: the stages of `pipeline`, fed by inputs that go on.

Lines of several inputs are joined in the order of their stamps, as when files are read, so a line has to
wait until no input can bring an earlier one: until all others have brought a later one or, of those that
have nothing more to read, until the *grace* is over. A line that comes later still is taken as it comes, and
counted. So the same lines give the same sessions, live or read from files, however they arrive, as long as
none is later than the grace. (Clocks of hosts that differ make lines early or late by as much.)

Nothing here looks at a clock: each move is told the time, in nanoseconds of any clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.inputs import Plans
from logscope.correlate.layout import E_ORDER, E_WIDTH, NULL, SECOND
from logscope.correlate.tables import ALL_TEXT
from logscope.detect.signals import Signals, merged
from logscope.grammar.catalogue import Catalogue
from logscope.live.streams import Gone, Held, Lines, LiveInput, SourceState, Stream, side_by_side
from logscope.pipeline import (
    JOIN_CLASSES,
    Counts,
    Extractor,
    Feed,
    Options,
    chunk_size,
    heads,
    input_buffer,
    references,
)
from logscope.syslog.clock import Clock

if TYPE_CHECKING:
    import pyarrow as pa

GRACE = 3 * SECOND // 20
"""How long a line waits for lines of silent inputs, unless told otherwise."""
FOREVER = 2**62
MOST_NAMES = 1 << 16
"""Hosts, programs, servers and the like that one input may name. Somebody who makes up more is not given the
memory: the rest are told as one.
"""
MOST_KEPT = 256 << 20
"""Bytes of open sessions: some 300,000 that wait for their ends."""
UNHEARD = 30 * SECOND
"""After which the lines of a hop of which nobody has heard, such as a balancer, are not waited for."""
FIRST_TOLD = 60 * SECOND
"""How long a session is open before it is shown, unless told otherwise; and again whenever twice as long."""

Matrix = NDArray[np.int64]


@dataclass
class Tally:
    """What has been counted so far.

    Attributes:
        sessions: by how they were joined, in the order of `JOIN_CLASSES`.
        late: lines that came when their time had passed.
        left_open: sessions of which no end had been seen when the run ended.
        amended: sessions that were handed out anew, because a late line told more of them.
        evicted: sessions that were handed out before their ends, because too many were open.
    """

    sessions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(JOIN_CLASSES), np.int64))
    late: int = 0
    left_open: int = 0
    amended: int = 0
    evicted: int = 0


class Live:
    """Joins the sessions of inputs that go on.

    Args:
        catalogue: compiled grammars.
        options: how to read; `machine_code` None means plain Python, see `use_machine_code`.
        grace: nanoseconds that a line waits for lines of silent inputs.
        events, deliveries: what the caller wants of the tables; the rest is not kept.
        text: see `pipeline.text_of`.
        lines: whether the caller will `take_lines`.
        signals: whether `Live.signals` is wanted.

    Attributes:
        eager: sessions of which everything is known are handed out before that is decided, see
            `correlate.early`; what is decided otherwise amends them.
        most_kept: bytes that open sessions may take; beyond it the older half of them is handed out.
        most_names: see `MOST_NAMES`.
    """

    eager = True
    most_kept = MOST_KEPT
    most_names = MOST_NAMES

    def __init__(
        self,
        catalogue: Catalogue,
        options: Options | None = None,
        *,
        grace: int = GRACE,
        events: bool = True,
        deliveries: bool = False,
        text: int = ALL_TEXT,
        lines: bool = False,
        signals: bool = True,
    ) -> None:
        from logscope.correlate.balancers import Balancers
        from logscope.correlate.join import Joiner
        from logscope.events import EventTable  # loads Arrow

        self.catalogue = catalogue
        self.options = options or Options()
        self._grace = grace
        self.machine_code = bool(self.options.machine_code)
        self._extractor = Extractor(catalogue, self.options.naming, machine_code=self.machine_code)
        self._wants_signals = signals
        self._joiner = Joiner(
            machine_code=self.machine_code, events=events, deliveries=deliveries, text=text, late=True
        )
        self._balancers = Balancers(self.options.balancers)
        self._event_table = EventTable(catalogue) if lines else None
        self._lines: list[Lines] = []
        self._streams: list[Stream] = []
        self._names: list[str] = []
        self._dates: list[int] = []
        self._ended = Counts()
        self._ended_signals: list[Signals] = []
        self._ended_doubted = 0
        self._ended_crowded: list[tuple[str, int]] = []
        self.tally = Tally()
        self._began: int | None = None
        self._evicting = False
        self._was_busy = False  # there was more to read after the last pump than it read
        self._told: dict[int, int] = {}  # sessions shown while open: id, and from when on to show them again
        self._scanner = _new_scanner() if self.machine_code else None
        self.closing = False
        """What is handed out now is so because the run ends."""

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_scanner": None}

    def add(self, sources: Sequence[LiveInput], now: int, today: int) -> None:
        """Follow some more inputs.

        Args:
            now: the time as `pump` is told it.
            today: nanoseconds since 1970, for stamps without a year.
        """
        self._began = now if self._began is None else self._began
        scanned = heads(sources, self.catalogue)
        known = references(sources, scanned, self.catalogue, self.options.year, today, self._dates)
        size = chunk_size(len(self._streams) + len(sources), self.machine_code)
        for source, reference in zip(sources, known, strict=True):
            stream = Stream(source, len(self._names), now)
            self._names.append(source.name)
            stream.feed = Feed(
                stream,
                self.catalogue,
                Clock(reference, self.options.zones),
                [input_buffer(size)],
                machine_code=self.machine_code,
                envelope=self.options.envelope,
                signals=self._wants_signals,
                most_names=self.most_names,
            )
            self._streams.append(stream)

    def go_on(self, sources: Sequence[LiveInput], now: int) -> list[LiveInput]:
        """Take up the inputs again where another process left them (this object has been pickled there).

        What waits is given the grace anew. An input that is not there any more has ended.

        Args:
            now: the time as `pump` is told it.

        Returns:
            the inputs that this run has not had yet; `add` takes them.
        """
        self._began = now
        self._scanner = _new_scanner() if self.machine_code else None
        by_name = {source.name: source for source in sources}
        for stream in self._streams:
            stream.source = by_name.pop(stream.name) if stream.name in by_name else Gone()
            stream.heard_at, stream.moved_at, stream.caught_up = now, None, False
            for part in stream.held:
                part.came_at = now
            if self.machine_code:
                stream.feed.use_machine_code(self._chunk_size())
        return list(by_name.values())

    def reconfigure(self, catalogue: Catalogue, options: Options, now: int) -> Iterator[Any]:
        """Read the rest with other grammars and options. What is open stays; what waits for its turn is
        joined first, as its grammars say what it is.

        Yields:
            `output.Finished`, as `pump` does.
        """
        from logscope.events import EventTable

        yield from self._join(now, over=True)
        self.catalogue, self.options = catalogue, options
        self._extractor.plans, self._extractor.naming = Plans(catalogue), options.naming
        self._balancers.configure(options.balancers)
        if self._event_table is not None:
            self._event_table = EventTable(catalogue)
        for stream in self._streams:
            collected = stream.feed.reconfigure(catalogue, options, machine_code=self.machine_code)
            self._ended_signals = [merged([*self._ended_signals, collected])]

    def use_machine_code(self) -> None:
        """Go on in machine code, compiling it if need be: for more lines than plain Python can read."""
        if self.machine_code:
            return
        self.machine_code = self._extractor.machine_code = True
        self._joiner.use_machine_code()
        self._scanner = _new_scanner()
        for stream in self._streams:
            stream.feed.use_machine_code(self._chunk_size())

    def _chunk_size(self) -> int:
        return chunk_size(len(self._streams), self.machine_code)

    def count_anew(self) -> None:
        """Count sessions from here on; what was read until now told what is open."""
        self.tally = Tally()

    def pump(self, now: int) -> Iterator[Any]:
        """Read what has arrived, at most a chunk of each input, and join what can be joined.

        Yields:
            `output.Finished` of each step that finished something; valid until the next one is asked for.
        """
        self._joiner.hasten(self._began is not None and now - self._began >= UNHEARD)
        for stream in self._streams:
            self._read(stream, now)
            if self._scanner is not None:
                stream.scan_ahead(self._scanner, now)
        behind, self._was_busy = self._was_busy and self.busy, self.busy
        self._joiner.be_eager(self.eager and not behind)  # what is far behind is decided soon enough
        yield from self._join(now)
        if self._joiner.show_early():
            yield from self._flush()
        self._drop_ended()

    def settle(self, now: int) -> None:
        """Wait for what is being scanned beside: all that was read is here then, and can be kept."""
        for stream in self._streams:
            if stream.scanning is not None:
                self._read(stream, now)

    def finish(self, now: int) -> Iterator[Any]:
        """All inputs are over: what waits is joined, and what is open is handed out as it is.

        Inputs that do not follow any more are read to their ends before.
        """
        self.settle(now)
        while any(not stream.feed.ended and not stream.source.follows for stream in self._streams):
            yield from self.pump(now)
        yield from self._join(now, over=True)
        self.closing = True
        self._joiner.finish()
        yield from self._flush()

    def still_open(self, now: int, after: int = FIRST_TOLD) -> Iterator[Any]:
        """Sessions that have been open, or had mail in the queue, for so long; again after twice as long.

        Args:
            now: the time as `pump` is told it.
            after: nanoseconds.

        Yields:
            an `output.StillOpen`, if there are any.
        """
        from logscope.correlate.output import StillOpen

        here = max(self._joiner.now, self._quiet_since(now))
        taken = self._joiner.still_open(here - after)
        if not taken.sessions.shape[1]:
            self._told = {}
            return
        batch = StillOpen(taken, *self._context(), now=here, machine_code=self.machine_code)
        ids, starts = batch.session_ids.tolist(), batch.started_at.tolist()
        told = {one: self._told[one] for one in ids if one in self._told}
        due = [here >= told.get(one, NULL) for one in ids]
        for one, start, is_due in zip(ids, starts, due, strict=True):
            if is_due:
                told[one] = start + 2 * (here - start)
        self._told = told
        if any(due):
            yield batch.only(np.array(due))

    def take_lines(self) -> Iterator[pa.RecordBatch]:
        """Lines of all inputs in order of time, as rows of the `events` table, since they were last taken."""
        import pyarrow as pa

        parts, self._lines = self._lines, []
        if parts:
            table = pa.concat_tables(
                [pa.Table.from_batches([part.batch]) for part in parts], promote_options="default"
            )
            order = np.argsort(np.concatenate([part.order for part in parts]), kind="stable")
            yield from table.take(order).combine_chunks().to_batches()

    @property
    def busy(self) -> bool:
        """Whether there is more to read at once."""
        return any(stream.may_be_read for stream in self._streams)

    @property
    def heard_at(self) -> int | None:
        """When something last came, by the clock that `pump` is told."""
        return max((stream.heard_at for stream in self._streams), default=None)

    def due_at(self, now: int) -> int | None:
        """When there is something to do if nothing comes, None for never; `now`: when it was last pumped."""
        moments = [stream.ripe_at(self._grace) for stream in self._streams]
        deadline = self._joiner.first_deadline
        ahead = [stream.latest - stream.heard_at for stream in self._streams if stream.latest != NULL]
        if deadline is not None and ahead:
            moments.append(deadline + 1 + self._grace - max(ahead))
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    # --- what is known so far -------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        """Lines by what became of them."""
        total = Counts()
        total.merge(self._ended)
        for stream in self._streams:
            total.merge(stream.feed.counts)
        return total

    def crowded(self) -> Iterator[tuple[str, int]]:
        """Inputs that name more than may be told apart, and how often they did."""
        yield from self._ended_crowded
        for stream in self._streams:
            if stream.feed.refused_names:
                yield stream.name, stream.feed.refused_names

    @property
    def doubted(self) -> int:
        """Lines stamped so far ahead of all others that their times move nothing on."""
        return self._ended_doubted + sum(stream.order.doubted for stream in self._streams)

    @property
    def signals(self) -> Signals:
        """Lines about PROXY headers that belong to no session."""
        return merged([*self._ended_signals, *(stream.feed.collector.signals for stream in self._streams)])

    @property
    def quality(self) -> dict[str, int]:
        """The counts that close, as in `pipeline.Result`; sessions are those handed out."""
        joined = dict(zip(JOIN_CLASSES, self.tally.sessions.tolist(), strict=True))
        return dict(vars(self.counts)) | {"sessions": sum(joined.values())} | joined

    def sources(self) -> list[SourceState]:
        """How the inputs are doing."""
        return [
            SourceState(
                stream.name,
                stream.feed.counts.lines_read,
                None if stream.latest == NULL else stream.latest,
                stream.heard_at,
                stream.waiting,
            )
            for stream in self._streams
        ]

    # --- reading --------------------------------------------------------------------------------------------

    def _read(self, stream: Stream, now: int) -> None:
        chunk = stream.next_chunk(now)
        if chunk is None or not chunk.rows.count:
            return
        rows = chunk.rows
        order = stream.put_in_order(chunk.logged_at, now)
        data = rows.buffer[: rows.consumed].copy()
        events = np.empty((rows.count, E_WIDTH), np.int64)
        numbers = self._extractor.number(rows)
        count = self._extractor.extract(chunk, order, numbers, stream.number, data, 0, events)
        lines = None
        if self._event_table:
            table = self._event_table.batch(chunk, stream.name, machine_code=self.machine_code).dense()
            lines = Lines(order, table)
        stream.hold(chunk, Held(events[:count], data, lines, int(order[-1]), now))

    def _drop_ended(self) -> None:
        for stream in [one for one in self._streams if one.feed.ended and not one.held]:
            self._ended.merge(stream.feed.counts)
            self._ended_signals = [merged([*self._ended_signals, stream.feed.collector.signals])]
            self._ended_doubted += stream.order.doubted
            if stream.feed.refused_names:
                self._ended_crowded.append((stream.name, stream.feed.refused_names))
            self._streams.remove(stream)

    # --- joining --------------------------------------------------------------------------------------------

    def _join(self, now: int, over: bool = False) -> Iterator[Any]:
        ranked = sorted(self._streams, key=lambda stream: stream.key or (0, b""))
        until = (FOREVER, 0) if over else self._decided(ranked, now)
        if any(stream.held for stream in ranked):
            yield from self._take(ranked, until)
        quiet = min(self._earliest_waiting(), self._quiet_since(now))
        if any(stream.has_more for stream in self._streams):
            quiet = min(quiet, until[0])
        if not over and self._joiner.is_due(quiet - 1):
            self._joiner.advance(quiet - 1)
            yield from self._flush()

    def _take(self, ranked: Sequence[Stream], until: tuple[int, int]) -> Iterator[Any]:
        """Join what waits up to a time and a rank."""
        taken = [stream.take(until[0], rank <= until[1]) for rank, stream in enumerate(ranked)]
        parts = [part for of_stream in taken for part in of_stream]
        self._lines += [part.lines for part in parts if part.lines is not None and len(part.lines.order)]
        if any(len(part.events) for part in parts):
            yield from self._step(*side_by_side(taken, self._extractor.plans))

    def _decided(self, ranked: Sequence[Stream], now: int) -> tuple[int, int]:
        """Up to where no input brings an earlier event: time, and rank of the last input that it includes."""
        going_on = [
            (stream.latest, rank, stream) for rank, stream in enumerate(ranked) if not stream.feed.ended
        ]
        reached = min(((order, rank) for order, rank, _ in going_on), default=(FOREVER, 0))
        unread = min(
            ((order, rank) for order, rank, stream in going_on if stream.has_more), default=(FOREVER, 0)
        )
        ripe = [(stream.ripe(now - self._grace), rank) for rank, stream in enumerate(ranked)]
        waited = max(((order, rank) for order, rank in ripe if order is not None), default=reached)
        return min(max(reached, waited), unread)

    def _earliest_waiting(self) -> int:
        """The time of the first event that waits for its turn."""
        waiting = (
            int(part.events[0, E_ORDER]) for one in self._streams for part in one.held if len(part.events)
        )
        return min(waiting, default=FOREVER)

    def _quiet_since(self, now: int) -> int:
        """The stamp that a line would have by now, less the grace: nobody brings an earlier one."""
        stamped = [stream for stream in self._streams if stream.latest != NULL]
        if not stamped:
            return NULL
        return max(stream.latest + now - stream.heard_at for stream in stamped) - self._grace

    def _step(
        self, events: Matrix, pool: NDArray[np.uint8], cursor: NDArray[np.int64], limit: NDArray[np.int64]
    ) -> Iterator[Any]:
        self.tally.late += int(np.count_nonzero(events[:, E_ORDER] < self._joiner.now))
        closed = np.zeros(len(cursor), np.int64)
        more = True
        while more:
            more = self._joiner.step(events, pool, cursor, limit, closed) == -2
            yield from self._flush()
            yield from self._make_room()

    def _flush(self) -> Iterator[Any]:
        from logscope.correlate.output import Finished

        while (taken := self._joiner.take()) is not None:
            batch = Finished(taken, *self._context(), machine_code=self.machine_code)
            batch.told = frozenset(self._told)
            self.tally.sessions += np.bincount(batch.joined, minlength=len(JOIN_CLASSES)) - batch.amended
            self.tally.amended += batch.amendments
            self.tally.left_open += int(np.count_nonzero(batch.unended)) if self.closing else 0
            self.tally.evicted += batch.count if self._evicting else 0
            yield batch

    def _context(self) -> tuple[Any, ...]:
        """What `Finished` is told besides the facts."""
        return *self._extractor.texts(), self._names, self._balancers

    def _make_room(self) -> Iterator[Any]:
        """Hand out the older half of what is open, where it takes more memory than it may."""
        if self._joiner.taken <= self.most_kept or self._joiner.kept() <= self.most_kept:
            return
        self._evicting = True
        self._joiner.evict()
        yield from self._flush()
        self._evicting = False


def _new_scanner() -> Executor:
    """Scans ahead what is far behind, while the joins go on in the main thread."""
    return ThreadPoolExecutor(1)
