"""Bytes to rows: one scanner, two engines that give the same rows.

The kernel needs compiled machine code (seconds, once); the interpreter starts at once and is some hundred
times slower. A scanner may be used by one thread at a time; several scanners may scan at the same time, the
kernel holds no lock.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.grammar import ops
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.dispatch import Dispatcher, Programs
from logscope.grammar.interpret import Log
from logscope.grammar.machine import layout, lines
from logscope.grammar.machine import names as name_table
from logscope.grammar.machine.base import SPARE
from logscope.grammar.rows import Names, Rows

_FIRST_ROWS: Final = 1 << 12
_FIRST_ARENA: Final = 1 << 16
_ENVELOPE_FIELDS = {
    layout.STAMP: "stamp",
    layout.HOST: "host",
    layout.SERVICE: "service",
    layout.PID: "pid",
    layout.REPEAT_COUNT: "repeat_count",
    layout.STRUCTURED_DATA: "structured_data",
    layout.MESSAGE: "message",
}


class Scanner:
    """Scans chunks of log bytes.

    Args:
        catalogue: the compiled grammars.
        compiled: whether to run machine code (compiling it when it is not on disk yet) or plain Python.
        names: the dictionary of names to use and extend; a new one by default.
        envelope: the one kind of envelope that lines can have (`bsd` for the templates `envelope.bsd…`), or
            `raw` for none; empty for any.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        compiled: bool = True,
        names: Names | None = None,
        envelope: str = "",
    ) -> None:
        self.catalogue = catalogue
        self.compiled = compiled
        self.names = names if names is not None else Names()
        self._dispatcher = Dispatcher(catalogue, envelope)
        self._engine: _Kernel | _Interpreter = (_Kernel if compiled else _Interpreter)(
            catalogue, self.names, self._dispatcher
        )

    def scan(self, buffer: NDArray[np.uint8], start: int, end: int, final: bool = False) -> Rows:
        """Scan the lines of buffer[start:end]. `Rows.consumed` says where the first line not read begins.

        Args:
            buffer: the bytes; they must stay as they are while the rows are used.
            final: whether the input ends at `end`; else a last line without a line feed is left for later.
        """
        return self._engine.scan(buffer, start, end, final)

    def scan_bytes(self, data: bytes, final: bool = True) -> Rows:
        """Scan some bytes, by default as a whole input."""
        return self.scan(np.frombuffer(data + bytes(SPARE), np.uint8).copy(), 0, len(data), final)


class _Kernel:
    """The compiled engine and the arrays it fills, which are kept from chunk to chunk."""

    def __init__(self, catalogue: Catalogue, names: Names, dispatcher: Dispatcher) -> None:
        self._catalogue, self._names, self._dispatcher = catalogue, names, dispatcher
        self._scan = engine.compiled(lines.scan)
        self._control = _control(catalogue, dispatcher)
        self._wide = np.zeros((layout.WIDE_COLUMNS, _FIRST_ROWS), np.int64)
        self._narrow = np.zeros((layout.NARROW_COLUMNS, _FIRST_ROWS), np.int32)
        self._small = np.zeros((layout.SMALL_COLUMNS, _FIRST_ROWS), np.int8)
        self._arena = np.zeros(_FIRST_ARENA, np.int64)
        self._starts = np.full((1024, layout.START_COLUMNS), -1, np.int32)
        self._starts[:, layout.KNOWN] = 0
        self._work = np.zeros(layout.WORK_WORDS, np.int64)
        self._memory = np.zeros((layout.MEMORY_PLACES, layout.MEMORY_COLUMNS), np.int64)
        self._in_table = 0
        self._enter(0, dispatcher.without_service())

    def _enter(self, row: int, programs: Programs) -> None:
        whose, words, data = programs
        self._starts[row, layout.KNOWN] = 1
        self._starts[row, layout.DATA_START] = data
        self._starts[row, layout.WHOSE] = whose
        self._starts[row, layout.FIRST_START : layout.FIRST_START + len(words)] = words

    def scan(self, buffer: NDArray[np.uint8], start: int, end: int, final: bool) -> Rows:
        """See `Scanner.scan`."""
        if len(buffer) < end + SPARE:
            buffer = np.concatenate([buffer[:end], np.zeros(SPARE, np.uint8)])
        if not (buffer.flags.writeable and buffer.flags.c_contiguous and buffer.ctypes.data % 8 == 0):
            buffer = buffer.copy()  # a read-only array would be another type, and compile the kernel again
        control, names = self._control, self._names
        control[layout.POSITION], control[layout.LIMIT], control[layout.FINAL] = start, end, int(final)
        control[layout.ROWS] = control[layout.ARENA_USED] = 0
        control[layout.STAMP_LINE] = -1  # it was in another buffer, or other bytes are there now
        control[layout.NAMES_COUNT], control[layout.NAMES_USED] = names.count, names.offsets[names.count]
        control[layout.NAMES_MOST], control[layout.NAMES_ROOM] = names.most, names.room
        control[layout.NAMES_REFUSED] = names.refused
        if self._in_table != names.count:
            self._refill()
        while (short := self._run(buffer)) != layout.DONE:
            self._make_room(short, buffer, start)
        return self._rows(buffer)

    def _run(self, buffer: NDArray[np.uint8]) -> int:
        catalogue, names = self._catalogue, self._names
        words = buffer[: len(buffer) & ~7].view(np.uint64)
        short: int = self._scan(
            buffer,
            words,
            catalogue.code,
            catalogue.text,
            catalogue.slot_of,
            catalogue.widths,
            catalogue.captures,
            self._control,
            self._wide,
            self._narrow,
            self._small,
            self._arena,
            names.table,
            names.offsets,
            names.data,
            self._starts,
            self._work,
            self._memory,
        )
        names.count = self._in_table = int(self._control[layout.NAMES_COUNT])
        names.refused = int(self._control[layout.NAMES_REFUSED])
        return short

    def _make_room(self, short: int, buffer: NDArray[np.uint8], start: int) -> None:
        control = self._control
        done, left = control[layout.POSITION] - start, control[layout.LIMIT] - control[layout.POSITION]
        rows = int(control[layout.ROWS])
        # As much more as what was scanned so far needed, and some.
        share = 1.2 * float(left) / max(1.0, float(done)) + 0.2
        if short == layout.NEED_ROWS:
            more = max(_FIRST_ROWS, int(rows * share))
            self._wide, self._narrow, self._small = (
                _widened(array, rows, rows + more) for array in (self._wide, self._narrow, self._small)
            )
        elif short == layout.NEED_ARENA:
            used = int(control[layout.ARENA_USED])
            more = max(_FIRST_ARENA, int(used * share), int(control[layout.WIDEST]))
            self._arena = np.concatenate([self._arena[:used], np.zeros(more, np.int64)])
        elif short == layout.NEED_NAMES:
            line = np.flatnonzero(buffer[control[layout.POSITION] : control[layout.LIMIT]] == 10)[:1]
            length = int(line[0]) if len(line) else int(left)
            if self._names.reserve(layout.NAMES_A_LINE + 2, 2 * length + 2):
                self._refill()
        else:
            self._classify(int(control[layout.SERVICE_CODE]))

    def _refill(self) -> None:
        """Enter all names into the table, after it was made anew or names were added by others."""
        names = self._names
        names.table[:] = 0
        engine.compiled(name_table.rebuild_names)(names.table, names.offsets, names.data, names.count)
        self._in_table = names.count

    def _classify(self, service: int) -> None:
        if service + 2 > len(self._starts):
            grown = np.full((2 * (service + 2), layout.START_COLUMNS), -1, np.int32)
            grown[:, layout.KNOWN] = 0
            grown[: len(self._starts)] = self._starts
            self._starts = grown
        self._enter(service + 1, self._dispatcher.programs(self._names.text(service)))

    def _rows(self, buffer: NDArray[np.uint8]) -> Rows:
        count = int(self._control[layout.ROWS])
        wide, narrow, small = self._wide[:, :count], self._narrow[:, :count], self._small[:, :count]
        return Rows(
            catalogue=self._catalogue,
            names=self._names,
            buffer=buffer,
            consumed=int(self._control[layout.POSITION]),
            line_start=wide[layout.LINE_START],
            line_end=wide[layout.LINE_END],
            template=narrow[layout.TEMPLATE],
            start=wide[layout.START],
            arena=self._arena[: int(self._control[layout.ARENA_USED])],
            stamp=wide[layout.STAMP_NS],
            stamp_kind=small[layout.STAMP_KIND],
            host=narrow[layout.HOST_NAME],
            service=narrow[layout.SERVICE_NAME],
            pid=wide[layout.PID_NUMBER],
            repeat_count=wide[layout.REPEATS],
            message_start=wide[layout.MESSAGE_START],
            message_end=wide[layout.MESSAGE_END],
            not_utf8=small[layout.NOT_UTF8],
        )


def _control(catalogue: Catalogue, dispatcher: Dispatcher) -> NDArray[np.int64]:
    control = np.zeros(layout.CONTROL_WORDS, np.int64)
    control[layout.ENVELOPE_START] = dispatcher.envelope
    for word, name in _ENVELOPE_FIELDS.items():
        control[word] = catalogue.field_id(name)
    control[layout.WIDEST] = catalogue.widths.max(initial=0)
    return control


def _widened(array: NDArray[Any], used: int, capacity: int) -> NDArray[Any]:
    larger = np.zeros((array.shape[0], capacity), array.dtype)
    larger[:, :used] = array[:, :used]
    return larger


class _Interpreter:
    """The plain-Python engine."""

    def __init__(self, catalogue: Catalogue, names: Names, dispatcher: Dispatcher) -> None:
        self._catalogue, self._names, self._dispatcher = catalogue, names, dispatcher
        self._machine = catalogue.machine
        self._fields = {catalogue.field_id(name): name for name in _ENVELOPE_FIELDS.values()}
        self._captures = catalogue.captures.tolist()
        self._widths = catalogue.widths.tolist()
        self._slot_of: dict[int, list[int]] = {}
        self._programs: dict[bytes, tuple[int, Programs]] = {}

    def scan(self, buffer: NDArray[np.uint8], start: int, end: int, final: bool) -> Rows:
        """See `Scanner.scan`."""
        data = buffer[:end].tobytes()
        rows: list[tuple[int, ...]] = []
        arena: list[int] = []
        position = start
        while position < end:
            line_end = data.find(b"\n", position, end)
            if line_end < 0:
                if not final:
                    break
                line_end = end
            rows.append(self._row(data, position, line_end, arena))
            position = min(line_end + 1, end)
        return self._rows(buffer, position, rows, arena)

    def _row(self, data: bytes, position: int, line_end: int, arena: list[int]) -> tuple[int, ...]:
        line = data[position:line_end].rstrip(b" \t\r")
        end = position + len(line)
        stamp, kind, host, pid, repeats = ops.NULL, 0, -1, ops.NULL, 1
        service, (whose, words, data_start) = -1, self._dispatcher.without_service()
        structured_data = -1
        message, message_end = position, end
        log: Log = []
        if self._machine.match(data, position, end, self._dispatcher.envelope, log) >= 0:
            for number, value, second in log:
                name = self._fields.get(number)
                if name == "stamp":
                    stamp, kind = value, second
                elif name == "host":
                    host = self._names.intern(_cut(data, value))
                elif name == "service":
                    service, (whose, words, data_start) = self._service(_cut(data, value))
                elif name == "pid":
                    pid = value
                elif name == "repeat_count":
                    repeats = value
                elif name == "structured_data":
                    structured_data = (value >> ops.SPAN_SHIFT) - 1  # the bracket before it
                elif name == "message":
                    message = value >> ops.SPAN_SHIFT
                    message_end = message + (value & ops.SPAN_LENGTH)
        template = ops.UNPARSED
        captures: Log = []
        if structured_data >= 0 and data_start >= 0:
            template, captures = self._message(data, structured_data, message_end, [data_start])
        if template < 0:
            template, captures = self._message(data, message, message_end, words)
        start = len(arena)
        if template >= 0:
            self._store(template, captures, data, arena)
        elif not whose:
            template = ops.FOREIGN
        invalid = 0 if line.isascii() or _is_utf8(line) else 1
        return (
            position,
            line_end,
            template,
            start,
            stamp,
            kind,
            host,
            service,
            pid,
            repeats,
            message,
            message_end,
            invalid,
        )

    def _service(self, tag: bytes) -> tuple[int, Programs]:
        known = self._programs.get(tag)
        if known is None:
            code = self._names.intern(tag)
            known = code, self._dispatcher.programs(self._names.text(code))
            if len(self._programs) < self._names.most:
                self._programs[tag] = known
        return known

    def _message(self, data: bytes, start: int, end: int, words: list[int]) -> tuple[int, Log]:
        for word in words:
            log: Log = []
            template = self._machine.match(data, start, end, word, log)
            if template >= 0:
                return template, log
        return ops.UNPARSED, []

    def _store(self, template: int, captures: Log, data: bytes, arena: list[int]) -> None:
        slots = self._slot_of.get(template)
        if slots is None:
            slots = self._slot_of[template] = self._catalogue.slot_of[template].tolist()
        start = len(arena)
        arena += [ops.NULL] * self._widths[template]
        for number, value, second in captures:
            slot = start + slots[number]
            how = self._captures[number]
            if how == ops.INTERNED:
                value = self._names.intern(_cut(data, value))
            elif how == ops.WIDE:
                arena[slot + 1] = second
            arena[slot] = value

    def _rows(
        self, buffer: NDArray[np.uint8], consumed: int, rows: list[tuple[int, ...]], arena: list[int]
    ) -> Rows:
        table = np.array(rows, np.int64).reshape(len(rows), 13).T
        return Rows(
            catalogue=self._catalogue,
            names=self._names,
            buffer=buffer,
            consumed=consumed,
            line_start=table[0].copy(),
            line_end=table[1].copy(),
            template=table[2].astype(np.int32),
            start=table[3].copy(),
            arena=np.array(arena, np.int64),
            stamp=table[4].copy(),
            stamp_kind=table[5].astype(np.int8),
            host=table[6].astype(np.int32),
            service=table[7].astype(np.int32),
            pid=table[8].copy(),
            repeat_count=table[9].copy(),
            message_start=table[10].copy(),
            message_end=table[11].copy(),
            not_utf8=table[12].astype(np.int8),
        )


def _cut(data: bytes, value: int) -> bytes:
    start = value >> ops.SPAN_SHIFT
    return data[start : start + (value & ops.SPAN_LENGTH)]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
