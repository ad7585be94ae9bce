"""The wiring: inputs through scanner, clocks and joins to finished sessions.

Small inputs run in plain Python and never wait for a compiler; large ones run as machine code, scanned by
one thread a core while the joins go on in another. Both give the same tables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.correlate.inputs import Plans, extract
from logscope.correlate.layout import E_WIDTH, LONGEST_LINE, NULL
from logscope.correlate.tables import (
    ALL_TEXT,
    TEXT_OF_COMMANDS,
    TEXT_OF_DELIVERIES,
    TEXT_OF_MESSAGES,
    TEXT_OF_NAMES,
    TEXT_OF_REJECTS,
    TEXT_OF_SESSIONS,
)
from logscope.detect.signals import Collector, Signals, merged
from logscope.errors import InputError
from logscope.grammar import ops
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.rows import FOREIGN, UNPARSED, Names, Rows
from logscope.grammar.scan import Scanner
from logscope.syslog import envelopes, records
from logscope.syslog.clock import Clock
from logscope.syslog.years import Reference, best_reference
from logscope.syslog.zone_names import offset_name
from logscope.syslog.zones import Zones

MACHINE_CODE_FROM = 6 << 20
"""Bytes of input from which compiling pays, seconds of it included."""
CACHED_CODE_FROM = 1 << 20
"""The same where the machine code is on disk already."""
CHUNK = LONGEST_LINE
SMALL_CHUNK = 1 << 18
_PADDING = 64
_HEAD = 1 << 14
_TRIED = 64  # lines of a chunk that are asked why they were not read
_STAMP_BYTES = 64
_BYTES_AN_EVENT = 32  # no line that the joins read is shorter


class Input(Protocol):
    """What the pipeline needs of an input; `sources.Source` has it.

    `follows`: reading nothing means that nothing has arrived yet, not that the input is over.
    """

    name: str
    size: int | None
    position: int
    compression: str | None
    modified_at: int | None
    head: bytes
    problem: InputError | None
    follows: bool

    def read_into(self, buffer: NDArray[np.uint8], at: int) -> int: ...


@dataclass(frozen=True)
class Options:
    """How to read.

    Attributes:
        zones: of hosts whose stamps have none.
        year: of the first year-less stamp.
        balancers: addresses that the configuration says are a balancer's, as halves of 128 bits.
        machine_code: force one engine; None chooses by the size of the input.
        envelope: what stands before each message, one of `syslog.envelopes.NAMES`; empty to find out.
    """

    zones: Zones = field(default_factory=Zones)
    year: int | None = None
    balancers: frozenset[tuple[int, int]] = frozenset()
    machine_code: bool | None = None
    envelope: str = ""


@dataclass
class Counts:
    """Lines read, and what became of them: `lines_read = parsed + foreign + unparsed`, always.

    Attributes:
        remarks: what users should know of lines that could not be read.
    """

    lines_read: int = 0
    parsed: int = 0
    foreign: int = 0
    unparsed: int = 0
    remarks: list[str] = field(default_factory=list)

    def add(self, template: NDArray[np.int32]) -> None:
        foreign = int(np.count_nonzero(template == FOREIGN))
        unparsed = int(np.count_nonzero(template == UNPARSED))
        self.lines_read += len(template)
        self.foreign += foreign
        self.unparsed += unparsed
        self.parsed += len(template) - foreign - unparsed

    def numbers(self) -> dict[str, int]:
        """The counts by their names."""
        return {name: count for name, count in vars(self).items() if isinstance(count, int)}

    def merge(self, other: Counts) -> None:
        self.lines_read += other.lines_read
        self.parsed += other.parsed
        self.foreign += other.foreign
        self.unparsed += other.unparsed
        self.remarks += other.remarks


class Dictionary:
    """Codes of the names of one run, shared by all scanners; any thread may translate."""

    def __init__(self) -> None:
        self._names = Names()
        self._lock = Lock()
        self._known: dict[int, NDArray[np.int64]] = {}

    def translate(self, names: Names) -> NDArray[np.int64]:
        """int64[names]: this dictionary's codes of a scanner's names."""
        known = self._known.get(id(names))
        if known is not None and len(known) == len(names):
            return known
        with self._lock:
            start = 0 if known is None else len(known)
            new = [self._names.intern(names.raw(code)) for code in range(start, len(names))]
            known = np.concatenate(
                [np.empty(0, np.int64) if known is None else known, np.array(new, np.int64)]
            )
            self._known[id(names)] = known
        return known

    def raw(self, code: int) -> bytes:
        """The bytes of a code."""
        return self._names.raw(code)

    def texts(self) -> list[str]:
        return self._names.texts()

    def __getstate__(self) -> Names:
        return self._names  # who asked for what goes by identity, which ends with the process

    def __setstate__(self, names: Names) -> None:
        self._names, self._lock, self._known = names, Lock(), {}


class Hosts:
    """Numbers hosts from 0 in the order in which they appear, so that pairs of hosts can be kept in small
    tables.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers: dict[int, int] = {}

    def number(
        self, codes: NDArray[np.int64], raw: Callable[[int], bytes]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The numbers of some dictionary codes, where -1 stays -1; and hashes of their names.

        The numbers depend on which name came first, the hashes do not.

        Args:
            raw: the name of a code.
        """
        wanted = codes.tolist()
        with self._lock:
            known = {
                code: self._numbers.setdefault(code, len(self._numbers)) if code >= 0 else -1
                for code in sorted(set(wanted))
            }
        hashes = {code: crc32(raw(code)) if code >= 0 else 0 for code in known}
        numbers = [known[code] for code in wanted]
        return np.array(numbers, np.int64), np.array([hashes[code] for code in wanted], np.int64)

    def names(self, texts: Sequence[str]) -> list[str]:
        return [texts[code] for code in self._numbers]

    def __getstate__(self) -> dict[int, int]:
        return self._numbers

    def __setstate__(self, numbers: dict[int, int]) -> None:
        self._numbers, self._lock = numbers, Lock()


class Extractor:
    """Turns scanned rows into the events that the joins read, with names and hosts numbered for the run."""

    def __init__(self, catalogue: Catalogue, *, machine_code: bool) -> None:
        self.machine_code = machine_code
        self.plans = Plans(catalogue)
        self._dictionary = Dictionary()
        self._hosts = Hosts()

    def extract(
        self,
        chunk: Chunk,
        order: NDArray[np.int64],
        names: Names,
        source: int,
        pool: NDArray[np.uint8],
        base: int,
        out: NDArray[np.int64],
    ) -> int:
        """Write the events of a chunk to `out`; returns how many.

        Args:
            order: what the rows are merged by, see `running_order`.
            names: of the chunk's scanner.
            source: number of the source.
            pool, base: where the chunk's bytes are, and begin.
        """
        rows, plans = chunk.rows, self.plans
        codes = np.append(self._dictionary.translate(names), -1)  # code -1, no name, stays -1
        run = engine.compiled(extract) if self.machine_code else extract
        present = np.flatnonzero(np.bincount(rows.host + 1)) - 1
        numbers, hashes = (np.full(int(present.max(initial=-1)) + 2, -1, np.int64) for _ in range(2))
        numbers[present + 1], hashes[present + 1] = self._hosts.number(codes[present], self._dictionary.raw)
        count = run(
            rows.template, rows.start, rows.arena, 0, rows.count, rows.stamp, chunk.logged_at,
            chunk.accepted_at, order, rows.stamp_kind,
            rows.host, numbers, hashes, rows.service, rows.pid, source, chunk.first_line,
            plans.roles, plans.kinds, plans.first, plans.entries, plans.enum_values, codes, pool, base, out,
        )  # fmt: skip
        return int(count)

    def texts(self) -> tuple[list[str], list[str]]:
        """The text of each name's code, and the name of each host's number."""
        names = self._dictionary.texts()
        return names, self._hosts.names(names)


def running_order(times: NDArray[np.int64], before: int) -> NDArray[np.int64]:
    """What sources are merged by: the latest time so far in the source; `before` is that of its last row."""
    return np.maximum.accumulate(np.maximum(times, before))


@dataclass
class Chunk:
    """One scanned chunk of a source: its rows, their times, and where its lines are counted from."""

    rows: Rows
    logged_at: NDArray[np.int64]
    accepted_at: NDArray[np.int64]
    first_line: int
    last: bool


class Feed:
    """Reads one source chunk by chunk: bytes, rows, times.

    Args:
        buffers: where the bytes go, in turn; a buffer is not touched while its neighbour is in use.
        envelope: what stands before each message, see `Options`.
    """

    def __init__(
        self,
        source: Input,
        catalogue: Catalogue,
        clock: Clock,
        buffers: Sequence[NDArray[np.uint8]],
        *,
        machine_code: bool,
        envelope: str = "",
    ) -> None:
        self.source = source
        self.counts = Counts()
        self.clock = clock
        self.names = Names()
        self.collector = Collector(catalogue)
        self._catalogue = catalogue
        self._scanner = Scanner(catalogue, compiled=machine_code, names=self.names, envelope=envelope)
        self._buffers = buffers
        self._turn = 0
        self._rest = b""
        self.lines = 0
        self._skipping = False
        self.ended = False
        self._exhausted = False
        self._read_as(envelope)

    def __getstate__(self) -> dict[str, Any]:
        """What lasts from chunk to chunk, for another process; buffers and scanner are made anew."""
        state = dict(vars(self))
        state["_buffers"] = [len(buffer) - _PADDING for buffer in self._buffers]
        del state["_scanner"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._buffers = [input_buffer(size) for size in state["_buffers"]]
        self._scanner = Scanner(self._catalogue, compiled=False, names=self.names, envelope=self._envelope)

    def reconfigure(self, catalogue: Catalogue, options: Options, *, machine_code: bool) -> Signals:
        """Read the rest with other grammars and options; returns what was collected with those before."""
        collected = self.collector.signals
        self._catalogue, self.collector = catalogue, Collector(catalogue)
        self.clock.use_zones(options.zones)
        self._read_as(options.envelope)
        self._scanner = Scanner(catalogue, compiled=machine_code, names=self.names, envelope=self._envelope)
        return collected

    def _read_as(self, envelope: str) -> None:
        """What follows from the catalogue and from what stands before each message."""
        catalogue = self._catalogue
        self._envelope = envelope
        self._records_only = envelope == envelopes.JSON
        self._records_too = not envelope
        self._accepted = catalogue.field_id("accepted_at")
        self._accepted_utc = catalogue.field_id("accepted_at_utc")
        self._duration = catalogue.field_id("duration_ms")

    def use_machine_code(self) -> None:
        """Scan the rest in machine code."""
        self._scanner = Scanner(self._catalogue, compiled=True, names=self.names, envelope=self._envelope)

    def next_chunk(self) -> Chunk:
        """The next chunk; an empty one with `last` at the end."""
        buffer = self._buffers[self._turn % len(self._buffers)]
        self._turn += 1
        room = len(buffer) - _PADDING
        filled = len(self._rest)
        buffer[:filled] = np.frombuffer(self._rest, np.uint8)
        while filled < room and not self._exhausted:
            count = self.source.read_into(buffer[: room + _PADDING], filled)
            if count == 0:
                self._exhausted = not self.source.follows
                break
            filled += count
            if self.source.size is None:
                break
        start = 0
        if self._skipping:
            start = self._after_line(buffer, filled)
        rows, rest = self._scanned(buffer, start, filled)
        if rows.count == 0 and filled == room and not self._exhausted:
            return self._overlong(buffer)
        self._rest = rest
        self.ended = self._exhausted and not rest
        chunk = self._timed(rows)
        self.counts.add(rows.template)
        self._look_for_months(chunk)
        self.collector.add(
            rows, chunk.logged_at, self.source.name, chunk.first_line, machine_code=self._scanner.compiled
        )
        self.lines += rows.count
        return chunk

    def _scanned(self, buffer: NDArray[np.uint8], start: int, filled: int) -> tuple[Rows, bytes]:
        """The rows of whole lines and the bytes behind them. Records that are no lines of syslog are turned
        into such lines, which take their place in the buffer.
        """
        rows = self._scanner.scan(buffer, start, filled, self._exhausted)
        if not (self._records_only or (self._records_too and has_records(rows))):
            return rows, bytes(buffer[rows.consumed : filled])
        data = bytes(buffer[start:filled])
        lines, used = records.decoded(
            data, len(buffer) - _PADDING, final=self._exhausted, inner=not self._records_only
        )
        if len(lines) > len(buffer) - _PADDING:  # one line that grew beyond all: it stays as it was
            lines = data[:used]
        buffer[: len(lines)] = np.frombuffer(lines, np.uint8)
        return self._scanner.scan(buffer, 0, len(lines), True), data[used:]

    def _timed(self, rows: Rows) -> Chunk:
        accepted = rows.integers(self._accepted) if rows.has(self._accepted) else None
        in_utc = rows.integers(self._accepted_utc) if rows.has(self._accepted_utc) else None
        zoned = False
        if in_utc is not None and (in_utc != NULL).any():  # formats with %T, %Ts; one log rarely has both
            zoned = True
            accepted = in_utc if accepted is None else np.where(accepted == NULL, in_utc, accepted)
        found = accepted is not None and bool((accepted != NULL).any())
        resolved = self.clock.resolve(
            rows.stamp,
            rows.stamp_kind,
            rows.host,
            lambda code: self.names.text(code),
            accepted if found else None,
            rows.integers(self._duration) if found else None,
            accepted_in_utc=zoned,
        )
        return Chunk(rows, resolved.logged_at, resolved.accepted_at, self.lines + 1, self.ended)

    def _look_for_months(self, chunk: Chunk) -> None:
        """Tell of stamps in another language; as some months look English, the loss is easily missed."""
        rows = chunk.rows
        if self.counts.remarks:
            return
        lost = np.flatnonzero((rows.template == UNPARSED) & (rows.service < 0) & (rows.stamp == NULL))
        for row in lost[:_TRIED].tolist():
            start = int(rows.line_start[row])
            line = rows.slice(start, min(start + _STAMP_BYTES, int(rows.line_end[row])))
            if envelopes.why_unread(line) == envelopes.FOREIGN_MONTH:
                place = f"{self.source.name}:{chunk.first_line + row}"
                self.counts.remarks.append(f"{place}: such lines are not read: {envelopes.FOREIGN_MONTH}.")
                return

    def _after_line(self, buffer: NDArray[np.uint8], filled: int) -> int:
        """Where the line that was too long to keep ends."""
        ends = np.flatnonzero(buffer[:filled] == 10)
        if not len(ends):
            return filled
        self._skipping = False
        return int(ends[0]) + 1

    def _overlong(self, buffer: NDArray[np.uint8]) -> Chunk:
        """A line (or record) longer than a chunk counts as one that was not understood; what is behind it is
        read.
        """
        if not self._skipping:
            ends = np.flatnonzero(buffer[: 1 << 10] == 10)  # of a record that is too long: in its first line
            rows = self._scanner.scan(buffer, 0, int(ends[0]) if len(ends) else 1 << 10, True)
            self._skipping = True
            chunk = self._timed(_one_unparsed(rows))
            self.counts.add(chunk.rows.template)
            self.lines += 1
        else:
            chunk = self._timed(self._scanner.scan(buffer, 0, 0, True))
        self._rest = b""
        return chunk


def has_records(rows: Rows) -> bool:
    """Whether a line that was not understood may be a record in JSON or in the journal's export format."""
    begins = rows.line_start[rows.template == UNPARSED]
    firsts = rows.buffer[np.minimum(begins, len(rows.buffer) - 1)] if len(begins) else begins
    candidates = begins[(firsts == ord("{")) | (firsts == ord("_"))]
    return any(records.has_record(rows.slice(begin, begin + 32)) for begin in candidates.tolist())


def _one_unparsed(rows: Rows) -> Rows:
    rows.template[:] = UNPARSED
    return rows


def heads(sources: Sequence[Input], catalogue: Catalogue) -> list[Rows]:
    """The first lines of each source, scanned in plain Python."""
    scanned = []
    for source in sources:
        head = source.head[:_HEAD]
        cut = head.rfind(b"\n") + 1
        lines, _ = records.decoded(head[:cut] or head, 2 * _HEAD)
        scanned.append(Scanner(catalogue, compiled=False).scan_bytes(lines))
    return scanned


def references(
    sources: Sequence[Input],
    scanned: Sequence[Rows],
    catalogue: Catalogue,
    year: int | None,
    now: int,
    dates: list[int] | None = None,
) -> list[Reference]:
    """What each source's years are counted from: whatever in any of them has a year, else what the file's
    name or `--year` says.

    Args:
        dates: times with a year that are known from elsewhere; those found here are added.
    """
    dates = [] if dates is None else dates
    accepted = [rows.integers(catalogue.field_id("accepted_at")) for rows in scanned]
    stamped = [np.where(rows.stamp_kind & ops.YEARLESS == 0, rows.stamp, NULL) for rows in scanned]
    dates += [int(date) for column in (*accepted, *stamped) for date in column[column != NULL][:1]]
    return [
        best_reference(
            now=now,
            accepted=min(dates, default=None),
            name=source.name,
            year=year,
            modified=source.modified_at,
        )
        for source in sources
    ]


def clocks(sources: Sequence[Input], catalogue: Catalogue, options: Options, now: int) -> list[Clock]:
    """One clock for each source, with what the heads of all of them tell about the year."""
    known = references(sources, heads(sources, catalogue), catalogue, options.year, now)
    return [Clock(reference, options.zones) for reference in known]


def chunk_buffers(sources: int, machine_code: bool) -> list[NDArray[np.uint8]]:
    """A buffer to read one source's chunks into, one after the other."""
    return [input_buffer(SMALL_CHUNK if not machine_code or sources > 8 else CHUNK)]


def input_buffer(size: int) -> NDArray[np.uint8]:
    """A buffer for chunks of so many bytes."""
    return np.zeros(size + _PADDING, np.uint8)


def _in_time_order(sources: Sequence[Input], scanned: Sequence[Rows]) -> list[int]:
    """Sources by their first stamp, then by content: never by name or by the order given."""

    def key(index: int) -> tuple[int, bytes]:
        stamps = scanned[index].stamp
        present = stamps[stamps != NULL]
        return (int(present[0]) if len(present) else 0, sources[index].head[:1024])

    return sorted(range(len(sources)), key=key)


def wants_machine_code(sources: Sequence[Input], choice: bool | None) -> bool:
    """Whether the input is large enough for machine code."""
    if choice is not None:
        return choice
    total = sum((source.size or 0) * (8 if source.compression else 1) for source in sources)
    return total >= MACHINE_CODE_FROM or (total >= CACHED_CODE_FROM and has_machine_code())


def has_machine_code() -> bool:
    """Whether scanner and joins are on disk as machine code, so that nobody waits for the compiler."""
    from logscope.correlate.join import move
    from logscope.grammar.machine.lines import scan

    return engine.is_cached(scan) and engine.is_cached(move)


JOIN_CLASSES = ("joined_exact", "joined_probable", "ambiguous", "balancer_only", "mta_only")


@dataclass
class Result:
    """What is known when all is read.

    Attributes:
        quality: the counts that close: lines_read = parsed + foreign + unparsed, and sessions = the sum
            of `JOIN_CLASSES`.
        counts: lines by what became of them.
        notes: remarks for the user: guessed years and zones, skew, inputs that ended early.
        problems: inputs that could not be read to their end.
        skew_s: seconds by which a mail server's clock is ahead of a balancer's, by pair of host names,
            with its samples.
        signals: lines about PROXY headers that belong to no session, and who logged at all.
    """

    counts: Counts
    quality: dict[str, int]
    notes: list[str]
    problems: list[InputError]
    skew_s: dict[tuple[str, str], tuple[float, int]]
    years: set[str] = field(default_factory=set)
    signals: Signals = field(default_factory=Signals)


class Pipeline:
    """Joins the sessions of some sources.

    Args:
        sources: open inputs.
        catalogue: compiled grammars.
        options: how to read.
        events, deliveries: what the caller wants of the tables; the rest is not kept.
        text: see `text_of`.
        progress: told the bytes consumed after each chunk.
    """

    def __init__(
        self,
        sources: Sequence[Input],
        catalogue: Catalogue,
        options: Options | None = None,
        *,
        events: bool = True,
        deliveries: bool = False,
        text: int = ALL_TEXT,
        progress: Callable[[int], None] | None = None,
        now: int = 0,
    ) -> None:
        options = options or Options()
        self._machine_code = wants_machine_code(sources, options.machine_code)
        self._progress = progress or (lambda _position: None)
        self._catalogue = catalogue
        scanned = heads(sources, catalogue)
        order = _in_time_order(sources, scanned)
        known = references(sources, scanned, catalogue, options.year, now)
        self._sources = [sources[index] for index in order]
        self._options = options
        self._extractor = Extractor(catalogue, machine_code=self._machine_code)
        from logscope.correlate.balancers import Balancers
        from logscope.correlate.join import Joiner
        from logscope.correlate.zones_apart import ZonesApart

        self._zones_apart = ZonesApart()
        self._joiner = Joiner(
            machine_code=self._machine_code, events=events, deliveries=deliveries, text=text
        )
        self._balancers = Balancers(options.balancers)
        self._segments = _Segments(len(sources), self._machine_code)
        self._feeds = [
            Feed(
                source,
                catalogue,
                Clock(known[index], options.zones),
                self._segments.buffers(number),
                machine_code=self._machine_code,
                envelope=options.envelope,
            )
            for number, (index, source) in enumerate(zip(order, self._sources, strict=True))
        ]
        self._order = [NULL] * len(sources)
        self._joined = np.zeros(len(JOIN_CLASSES), np.int64)
        self._turns = [0] * len(sources)

    def finished(self) -> Iterator[Any]:
        """`output.Finished` of some thousand at a time; each is valid until the next one is asked for."""
        from logscope.correlate.output import Finished

        def flush() -> Iterator[Any]:
            while (taken := self._joiner.take()) is not None:
                batch = Finished(
                    taken,
                    *self._extractor.texts(),
                    [source.name for source in self._sources],
                    self._balancers,
                    machine_code=self._machine_code,
                )
                self._joined += np.bincount(batch.joined, minlength=len(JOIN_CLASSES))
                self._zones_apart.note(batch)
                yield batch

        for _ in self._steps():
            yield from flush()
        self._joiner.finish()  # what is left comes at once: whose addresses are a balancer's is told by many
        yield from flush()

    def _steps(self) -> Iterator[None]:
        """Join all that is read; stops now and then for what is finished to be taken."""
        count = len(self._feeds)
        cursor, limit = np.zeros(count, np.int64), np.zeros(count, np.int64)
        live = np.ones(count, np.int64)
        workers = min(count, os.cpu_count() or 1) if self._machine_code else 0
        pool = ThreadPoolExecutor(workers) if workers else None
        waiting: list[Future[tuple[int, int, bool]] | None] = []

        def after(before: Future[tuple[int, int, bool]] | None, number: int) -> tuple[int, int, bool]:
            """The first chunks one after the other: names and hosts are numbered in the order in which they
            are met, and which of two threads is first would be luck.
            """
            if before:
                before.result()
            return self._fill(number)

        first = None
        for n in range(count):
            first = pool.submit(after, first, n) if pool else None
            waiting.append(first)
        try:
            while True:
                needy = self._joiner.step(self._segments.events, self._segments.pool, cursor, limit, live)
                if needy == -2:
                    yield
                    continue
                if needy == -1:
                    break
                task = waiting[needy]
                cursor[needy], limit[needy], ended = task.result() if task else self._fill(needy)
                if ended:
                    live[needy] = 0
                elif pool:
                    waiting[needy] = pool.submit(self._fill, needy)
                self._progress(sum(source.position for source in self._sources))
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)

    def _fill(self, number: int) -> tuple[int, int, bool]:
        """Scan a source's next chunk and put its events into its next segment: first row, row after the last,
        whether it ended.
        """
        feed = self._feeds[number]
        chunk = feed.next_chunk()
        rows = chunk.rows
        base, first = self._segments.place(number, self._turns[number])
        self._turns[number] += 1
        if not rows.count:
            return first, first, feed.ended
        order = running_order(chunk.logged_at, self._order[number])
        self._order[number] = int(order[-1])
        count = self._extractor.extract(
            chunk, order, feed.names, number, self._segments.pool, base, self._segments.events[first:]
        )
        return first, first + count, feed.ended

    def result(self) -> Result:
        """Counts and remarks; complete once `finished` is exhausted."""
        counts = Counts()
        for feed in self._feeds:
            counts.merge(feed.counts)
        problems = [source.problem for source in self._sources if source.problem is not None]
        _, names = self._extractor.texts()
        skew = {
            (names[balancer], names[mta]): (seconds, samples)
            for (balancer, mta), (seconds, samples) in self._joiner.skews().items()
        }
        years = {str(origin) for feed in self._feeds for origin in feed.clock.year_origins}
        quality = counts.numbers() | {"sessions": int(self._joined.sum())}
        quality |= dict(zip(JOIN_CLASSES, self._joined.tolist(), strict=True))
        signals = merged(feed.collector.signals for feed in self._feeds)
        signals.skew_s = {hosts: seconds for hosts, (seconds, _) in skew.items()}
        return Result(counts, quality, [*counts.remarks, *self._notes(years)], problems, skew, years, signals)

    def _notes(self, years: set[str]) -> list[str]:
        notes = []
        if "modified" in years:
            notes.append(
                "The stamps have no year: it was taken from the files' time of modification. "
                "Use --year if that is wrong."
            )
        elif "now" in years:
            notes.append("The stamps have no year: the current one was assumed. Use --year to name it.")
        zones = {name: origin for feed in self._feeds for name, origin in feed.clock.zone_origins.items()}
        assumed = sorted(name for name, origin in zones.items() if str(origin) == "assumed")
        if assumed:
            notes.append(
                f"The stamps of {', '.join(name or 'lines without a host' for name in assumed)} have no "
                "zone: UTC was assumed. Use --tz to name it."
            )
        return [*notes, *self._apart(set(assumed))]

    def _apart(self, assumed: set[str]) -> Iterator[str]:
        _, names = self._extractor.texts()
        for apart in self._zones_apart.found():
            balancer, mta = names[apart.balancer_host], names[apart.mta_host]
            hours = f"{abs(apart.ahead_s) / 3600:g} h {'ahead of' if apart.ahead_s > 0 else 'behind'}"
            if not (balancer and mta):
                continue  # lines without a host: no option could name it
            if mta in assumed:
                cure = f"Use --tz {mta}={offset_name(apart.ahead_s)} if {balancer}'s are right."
            elif balancer in assumed:
                cure = f"Use --tz {balancer}={offset_name(-apart.ahead_s)}."
            else:
                cure = "One of the two has a wrong clock, or was named a wrong zone."
            yield (
                f"The stamps of {mta} are {hours} those of {balancer} for the same clients "
                f"({apart.sessions} sessions), which are not joined for that reason. {cure}"
            )

    @property
    def balancers(self) -> Any:
        """Addresses found to be a balancer's."""
        return self._balancers


class _Segments:
    """Two places for each source, used in turn: for the bytes of a chunk and for its events."""

    def __init__(self, sources: int, machine_code: bool) -> None:
        self._size = SMALL_CHUNK if not machine_code or sources > 8 else CHUNK
        self._rows = self._size // _BYTES_AN_EVENT
        self.pool = np.zeros(2 * sources * (self._size + _PADDING), np.uint8)
        self.events = np.empty((2 * sources * self._rows, E_WIDTH), np.int64)

    def buffers(self, source: int) -> list[NDArray[np.uint8]]:
        width = self._size + _PADDING
        return [self.pool[at * width : (at + 1) * width] for at in (2 * source, 2 * source + 1)]

    def place(self, source: int, turn: int) -> tuple[int, int]:
        """Offset of the bytes in the pool, and of the first event."""
        slot = 2 * source + turn % 2
        return slot * (self._size + _PADDING), slot * self._rows


def run(
    sources: Sequence[Input],
    catalogue: Catalogue,
    options: Options,
    tables: Mapping[str, Sequence[str]],
    sink: Callable[[str, Any], None],
    *,
    progress: Callable[[int], None] | None = None,
    now: int = 0,
) -> Result:
    """Join everything and hand each finished batch to `sink(table, record_batch)`.

    Args:
        sources: open inputs.
        catalogue: compiled grammars.
        options: how to read.
        tables: the tables wanted (`sessions`, `messages`, `deliveries`) and the columns of `sessions`
            wanted, in order.
        sink: takes the name of a table and a `pyarrow.RecordBatch`.
        progress: told the bytes read so far, over all sources.
        now: the current time in nanoseconds, used only where nothing else says which year it is.
    """
    columns = tuple(tables.get("sessions", ()))
    joining = Pipeline(
        sources,
        catalogue,
        options,
        events="events" in columns,
        deliveries="deliveries" in tables,
        text=text_of(tables),
        progress=progress,
        now=now,
    )
    for batch in joining.finished():
        if columns and batch.count:
            sink("sessions", batch.sessions(columns))
        if "messages" in tables:
            sink("messages", batch.message_table())
        if "deliveries" in tables:
            sink("deliveries", batch.delivery_table())
    return joining.result()


def text_of(tables: Mapping[str, Sequence[str]]) -> int:
    """Whose text must be kept while a session is open for these tables and columns, as the joins' bits."""
    text = 0
    for name in tables.get("sessions", ()):
        text |= _TEXT_OF.get(name, 0)
    if "messages" in tables:
        text |= TEXT_OF_MESSAGES
    if "deliveries" in tables:
        text |= TEXT_OF_MESSAGES | TEXT_OF_DELIVERIES
    return text


_TEXT_OF = {
    "client_name": TEXT_OF_NAMES,
    "helo": TEXT_OF_SESSIONS,
    "sasl_username": TEXT_OF_SESSIONS,
    "commands": TEXT_OF_COMMANDS,
    "rejects": TEXT_OF_REJECTS,
    "queue_ids": TEXT_OF_MESSAGES,
}
