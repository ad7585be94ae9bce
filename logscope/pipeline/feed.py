"""One source on its way to rows: bytes are cut into chunks of whole lines, scanned, and put into time.

    feed = Feed(source, …)
    while not feed.ended:
        chunk = feed.next_chunk()

The three steps of `next_chunk` may also be made one by one, so that several chunks are scanned at a time:
`cut` and `take` for each chunk in turn, `scan` in between, in any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import LONGEST_LINE, NULL
from logscope.detect.signals import Collector, Signals
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.rows import UNPARSED, Names, Rows
from logscope.grammar.scan import Scanner
from logscope.pipeline.numbering import Dictionary
from logscope.pipeline.options import Counts, Input, Options
from logscope.syslog import envelopes, pieces, records
from logscope.syslog.clock import Clock

CHUNK = LONGEST_LINE
SMALL_CHUNK = 1 << 18
PADDING = 64
_TRIED = 64  # lines of a chunk that are asked why they were not read
_STAMP_BYTES = 64
_BLOCK = 1 << 12
_BEGINNING = 1 << 10  # of a line that is too long


@dataclass(frozen=True)
class Cut:
    """Bytes to be scanned: whole lines, or a part of a line that is longer than a chunk.

    Attributes:
        place: which of the feed's buffers they are in.
        start, end: of the bytes in it.
        filled: where what was read ends.
        full: no more could be read.
        last: they are the last of the source.
        overlong: a line begins here that is too long.
    """

    place: int
    start: int
    end: int
    filled: int
    full: bool
    last: bool
    overlong: bool = False


@dataclass(frozen=True)
class Scanned:
    """The rows of a cut.

    Attributes:
        raw: its bytes, where they were records (JSON, the journal's export) and lines took their place.
        undone: how many of them at the end have not become lines yet.
        too_long: a record begins here that is.
    """

    cut: Cut
    rows: Rows
    raw: bytes | None = None
    undone: int = 0
    too_long: bool = False

    @property
    def holds_records(self) -> bool:
        return self.raw is not None


@dataclass
class Chunk:
    """One scanned chunk of a source: its rows, their times, and where its lines are counted from."""

    rows: Rows
    logged_at: NDArray[np.int64]
    accepted_at: NDArray[np.int64]
    first_line: int


class Feed:
    """Reads one source chunk by chunk: bytes, rows, times.

    Args:
        buffers: where the bytes go, in turn. The rows of a chunk are valid until its buffer's turn comes
            again.
        envelope: what stands before each message, see `Options`.
        signals: whether to gather what `detect.signals` does, for which many lines are read again.
        most_names: how many hosts, programs, servers and the like may be told apart; None for all there are.

    Attributes:
        may_look_ahead: whether a chunk may be cut before the one before it was scanned. Where there are
            records, what was scanned tells where the next chunk begins.
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
        signals: bool = True,
        most_names: int | None = None,
    ) -> None:
        self.source = source
        self.counts = Counts()
        self.clock = clock
        self.collector = Collector(catalogue)
        self._signals = signals
        self.lines = 0
        self.ended = False
        self.may_look_ahead = envelope != envelopes.JSON
        self._catalogue = catalogue
        self._buffers = buffers
        self._names = [Names(most_names) for _ in buffers]
        self._all_names = Dictionary()
        self._turn = 0
        self._rest = b""
        self._skipping = False
        self._exhausted = False
        self._read_as(envelope, machine_code=machine_code)

    def __getstate__(self) -> dict[str, Any]:
        """What lasts from chunk to chunk, for another process; buffers and scanners are made anew."""
        state = dict(vars(self))
        state["_buffers"] = [len(buffer) - PADDING for buffer in self._buffers]
        del state["_scanners"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._buffers = [input_buffer(size) for size in state["_buffers"]]
        self._make_scanners(machine_code=False)

    def reconfigure(self, catalogue: Catalogue, options: Options, *, machine_code: bool) -> Signals:
        """Read the rest with other grammars and options; returns what was collected with those before."""
        collected = self.collector.signals
        self._catalogue, self.collector = catalogue, Collector(catalogue)
        self.clock.use_zones(options.zones)
        self._read_as(options.envelope, machine_code=machine_code)
        return collected

    def _read_as(self, envelope: str, *, machine_code: bool) -> None:
        """What follows from the catalogue and from what stands before each message."""
        catalogue = self._catalogue
        self._envelope = envelope
        self._records_only = envelope == envelopes.JSON
        self._records_too = not envelope
        self._pieces_too = envelope in ("", envelopes.JSON, envelopes.CONTAINER)
        self._accepted = catalogue.field_id("accepted_at")
        self._accepted_utc = catalogue.field_id("accepted_at_utc")
        self._duration = catalogue.field_id("duration_ms")
        self._make_scanners(machine_code=machine_code)

    def _make_scanners(self, *, machine_code: bool) -> None:
        self._machine_code = machine_code
        self._scanners = [
            Scanner(self._catalogue, compiled=machine_code, names=names, envelope=self._envelope)
            for names in self._names
        ]

    @property
    def refused_names(self) -> int:
        """How often a name was one too many."""
        return sum(names.refused for names in self._names)

    def use_machine_code(self, size: int) -> None:
        """Scan the rest in machine code, in chunks of at least so many bytes."""
        self._make_scanners(machine_code=True)
        self._buffers = [
            buffer if len(buffer) >= size + PADDING else input_buffer(size) for buffer in self._buffers
        ]

    def next_chunk(self) -> Chunk:
        """The next chunk; an empty one with `ended` at the end."""
        scanned = self.scan(self.cut())
        if scanned.holds_records:
            self.rewind(scanned)
        return self.take(scanned)

    # --- bytes ----------------------------------------------------------------------------------------------

    def cut(self) -> Cut:
        """The next bytes of the source; to be called for one chunk after the other."""
        place = self._turn % len(self._buffers)
        self._turn += 1
        buffer = self._buffers[place]
        room = len(buffer) - PADDING
        filled = self._fill(buffer, room)
        over = self._exhausted and not self._rest
        start = self._after_line(buffer, filled) if self._skipping else 0
        end = filled if over else _line_end(buffer, start, filled)
        full = filled == room and not over
        if full and end == 0:
            self._skipping = True
            return Cut(place, 0, filled, filled, full, last=False, overlong=True)
        self._rest = bytes(buffer[end:filled]) + self._rest
        return Cut(place, start, end, filled, full, over)

    def _fill(self, buffer: NDArray[np.uint8], room: int) -> int:
        """Bytes that were left, and new ones behind them; returns how many there are."""
        filled = min(len(self._rest), room)
        buffer[:filled] = np.frombuffer(self._rest[:filled], np.uint8)
        self._rest = self._rest[filled:]
        while filled < room and not self._exhausted:
            count = self.source.read_into(buffer, filled)
            if count == 0:
                self._exhausted = not self.source.follows
                break
            filled += count
            if self.source.size is None:
                break
        return filled

    def _after_line(self, buffer: NDArray[np.uint8], filled: int) -> int:
        """Where the line that was too long to keep ends."""
        ends = np.flatnonzero(buffer[:filled] == 10)
        if not len(ends):
            return filled
        self._skipping = False
        return int(ends[0]) + 1

    def rewind(self, scanned: Scanned, later: Iterable[Scanned] = ()) -> None:
        """Go back to where the records of a chunk end that have become lines; chunks cut later are void."""
        cut, raw = scanned.cut, scanned.raw
        assert raw is not None
        self.may_look_ahead = False
        rest = b"".join(self._bytes_of(one) for one in later) + self._rest
        self._skipping = scanned.too_long
        self._rest = (
            rest[cut.filled - cut.end :] if scanned.too_long else raw[len(raw) - scanned.undone :] + rest
        )
        self._turn = cut.place + 1

    def _bytes_of(self, scanned: Scanned) -> bytes:
        if scanned.raw is not None:
            return scanned.raw
        return bytes(self._buffers[scanned.cut.place][: scanned.cut.end])

    # --- rows -----------------------------------------------------------------------------------------------

    def scan(self, cut: Cut) -> Scanned:
        """The rows of a cut. Records that are no lines of syslog are turned into such lines, which take their
        place in the buffer.
        """
        buffer, scanner = self._buffers[cut.place], self._scanners[cut.place]
        if cut.overlong:
            return Scanned(cut, self._too_long(cut))
        rows = scanner.scan(buffer, cut.start, cut.end, True)
        holds_records = self._records_only or (self._records_too and has_records(rows))
        if not (holds_records or (self._pieces_too and has_pieces(rows))):
            return Scanned(cut, rows)
        raw, room = bytes(buffer[: cut.end]), len(buffer) - PADDING
        data = raw[cut.start :]
        lines, used = self._decoded(data, room, cut)
        if len(lines) > room:  # one line that grew beyond all: it stays as it was
            lines = data[:used]
        buffer[: len(lines)] = np.frombuffer(lines, np.uint8)
        if cut.full and data and not used:
            return Scanned(cut, self._too_long(cut), raw, len(data), too_long=True)
        rows = scanner.scan(buffer, 0, len(lines), True)
        return Scanned(cut, rows, raw, len(data) - used)

    def _decoded(self, data: bytes, room: int, cut: Cut) -> tuple[bytes, int]:
        """Records and lines in pieces, as the lines that they are; and how many bytes of `data` those are."""
        final, waits = cut.last, not cut.full
        begun = data
        while True:
            whole = pieces.joined(begun, room // 2, final=final) if self._pieces_too else begun
            if not whole and not waits:  # there is no room for the last piece
                whole = begun
            lines, used = records.decoded(whole, room, final=final, inner=not self._records_only)
            if whole is data:
                return lines, used
            done = _length(begun, whole[:used].count(b"\n"))
            if used == len(whole):
                return lines, done
            begun, final, waits = data[:done], False, False  # what has room, its last line whole as well

    def _too_long(self, cut: Cut) -> Rows:
        """A line (or record) longer than a chunk counts as one that was not understood; what is behind it is
        read.
        """
        scanner, buffer = self._scanners[cut.place], self._buffers[cut.place]
        begin = cut.start
        ends = np.flatnonzero(buffer[begin : begin + _BEGINNING] == 10)  # a record has lines
        length = int(ends[0]) if len(ends) else _BEGINNING
        rows = scanner.scan(buffer, begin, min(begin + length, cut.end), True)
        rows.template[:] = UNPARSED
        return rows

    def take(self, scanned: Scanned) -> Chunk:
        """What was scanned with its times; to be called for one chunk after the other."""
        rows, cut = scanned.rows, scanned.cut
        self.ended = cut.last and not (scanned.undone or scanned.too_long)
        chunk = self._timed(rows)
        self.counts.add(rows.template)
        self._look_for_months(chunk)
        if self._signals:
            self.collector.add(
                rows, chunk.logged_at, self.source.name, chunk.first_line, machine_code=self._machine_code
            )
        self.lines += rows.count
        return chunk

    def _timed(self, rows: Rows) -> Chunk:
        accepted = rows.integers(self._accepted) if rows.has(self._accepted) else None
        in_utc = rows.integers(self._accepted_utc) if rows.has(self._accepted_utc) else None
        zoned = False
        if in_utc is not None and (in_utc != NULL).any():  # formats with %T, %Ts; one log rarely has both
            zoned = True
            accepted = in_utc if accepted is None else np.where(accepted == NULL, in_utc, accepted)
        found = accepted is not None and bool((accepted != NULL).any())
        # A host's code has to be the same in each of the buffers.
        codes = np.append(self._all_names.translate(rows.names), -1).astype(np.int32)
        resolved = self.clock.resolve(
            rows.stamp,
            rows.stamp_kind,
            codes[rows.host],
            self._all_names.text,
            accepted if found else None,
            rows.integers(self._duration) if found else None,
            accepted_in_utc=zoned,
        )
        return Chunk(rows, resolved.logged_at, resolved.accepted_at, self.lines + 1)

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


def has_records(rows: Rows) -> bool:
    """Whether a line that was not understood may be a record in JSON or in the journal's export format."""
    begins = rows.line_start[rows.template == UNPARSED]
    firsts = rows.buffer[np.minimum(begins, len(rows.buffer) - 1)] if len(begins) else begins
    candidates = begins[(firsts == ord("{")) | (firsts == ord("_"))]
    return any(records.has_record(rows.slice(begin, begin + 32)) for begin in candidates.tolist())


def has_pieces(rows: Rows) -> bool:
    """Whether there may be pieces of lines in a Kubernetes file, which stand behind nanoseconds and a zone.

    Their stamps are looked for first: to search all bytes of a log for the mark takes as long as to scan it.
    """
    begins = rows.line_start
    if not len(begins):
        return False
    buffer = rows.buffer
    dated = begins[buffer.take(begins + len("2026-11-22"), mode="clip") == ord("T")]
    digits = buffer.take(dated + len("2026-11-22T09:20:30.12345678"), mode="clip") - np.uint8(ord("0"))
    if not (digits <= 9).any():
        return False
    return pieces.may_hold_marked(rows.slice(int(begins[0]), int(rows.line_end[-1])))


def _length(data: bytes, lines: int) -> int:
    """Bytes that so many lines take; all, where there are no more."""
    begins = data.split(b"\n", lines)
    return len(data) - len(begins[-1]) if len(begins) > lines else len(data)


def _line_end(buffer: NDArray[np.uint8], start: int, filled: int) -> int:
    """Where the last whole line ends; `start` where there is none."""
    last = filled
    while last > start:
        first = max(start, last - _BLOCK)
        found = bytes(buffer[first:last]).rfind(b"\n")
        if found >= 0:
            return first + found + 1
        last = first
    return start


def chunk_size(sources: int, machine_code: bool) -> int:
    """Bytes read of a source at a time: many sources share what memory there is."""
    return SMALL_CHUNK if not machine_code or sources > 8 else CHUNK


def input_buffer(size: int) -> NDArray[np.uint8]:
    """A buffer for chunks of so many bytes."""
    return np.zeros(size + PADDING, np.uint8)
