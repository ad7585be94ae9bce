"""Arrow columns laid out as `json_kernels` reads them, and the program that writes a row of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logscope import engine
from logscope.report import json_kernels as kernels
from logscope.report.json_values import as_bytes, as_json_numbers, as_nanoseconds
from logscope.report.text import HOSTILE_RANGES
from logscope.wide_copy import SPARE, for_kernels

if TYPE_CHECKING:
    from collections.abc import Callable

    from logscope.arrow import Sparse

_Bytes = NDArray[np.uint8]
_Longs = NDArray[np.int64]
_Number = TypeVar("_Number", bound=np.generic)

_RANGES = np.array([bounds for bounds in HOSTILE_RANGES if bounds[1] > 0x7F], dtype=np.int64)
_LIST, _MAP = ord("["), ord("{")
_SMALL = 1 << 14
_NOWHERE = -1
_NOTHING, _NONE = np.empty(0, np.uint8), np.empty(0, np.int64)


@dataclass(frozen=True)
class Table:
    """Rows that can be written.

    Attributes:
        count: how many.
        is_object: a row is an object, and each column a member.
        others: what the kernel reads, see `json_kernels.write_rows`.
    """

    count: int
    is_object: bool
    program: _Longs
    numbers: _Longs
    valid: _Bytes
    data: _Bytes
    always: int
    firsts: _Longs
    some: _Longs
    stack: _Longs

    def write(
        self, row: int, out: _Bytes, ends: _Longs | None = None, ending: bytes = b""
    ) -> tuple[int, int, _Bytes]:
        """Write rows from one on, as many as there is room for, at least one.

        Args:
            ends: filled with the place behind each row.
            ending: stands behind each row.

        Returns:
            the next row; how much is written; where: `out`, or a larger one.
        """
        write = engine.compiled(kernels.write_rows)
        ends = np.empty(self.count, np.int64) if ends is None else ends
        behind = np.frombuffer(ending.ljust(len(ending) + SPARE), np.uint8).copy()
        while True:
            following, filled = write(
                self.program, self.numbers, self.valid, self.data, _RANGES, self.always, self.firsts,
                self.some, int(self.is_object), behind, len(ending), self.stack, row, out, ends,
            )  # fmt: skip
            if following > row:
                return following, filled, out
            out = np.empty(2 * len(out), np.uint8)

    def written(self) -> tuple[_Bytes, _Longs]:
        """All rows, one behind the other, and where each begins, and the end of the last."""
        offsets = np.zeros(self.count + 1, np.int64)
        out, ends = np.empty(_SMALL, np.uint8), offsets[1:]
        pieces: list[_Bytes] = []
        row = total = 0
        while row < self.count:
            following, filled, out = self.write(row, out, ends)
            pieces.append(out[:filled].copy())
            ends[row:following] += total
            row, total = following, total + filled
            if following < self.count:
                out = np.empty(2 * len(out), np.uint8)
        return np.concatenate(pieces) if pieces else np.empty(0, np.uint8), offsets


Written = dict[tuple[bytes, bytes], tuple[pa.Array, _Bytes, _Longs]]
"""By what stands in front of a column's values, and in place of none: the words of its last batch, and what
`Table.written` made of them. From batch to batch most columns have the same words.
"""


class Layout:
    """Takes in columns; see `table`.

    Args:
        written: kept from layout to layout.
    """

    def __init__(self, written: Written | None = None) -> None:
        for_kernels()
        self._written: Written = {} if written is None else written
        self._program: list[list[int]] = []
        self._numbers, self._valid, self._data = _Pool(np.int64), _Pool(np.uint8), _Pool(np.uint8)
        self._texts: dict[bytes, int] = {}
        self._depth = self._deepest = 0
        self._is_object = False
        self._always: int | None = None
        self._sparse: list[tuple[_Longs | None, int, int]] = []

    def member(self, name: str, column: pa.Array, *, always: bool) -> None:
        """Add a column of objects.

        Args:
            always: each row has it; else it is left out where it is null.
        """
        self._is_object = True
        prefix = b"," + member_name(name)
        self.add(column, prefix, prefix + b"null" if always else b"")

    def sparse_member(self, name: str, column: Sparse) -> None:
        """Add a column of objects that few have. No other kind may follow."""
        if self._always is None:
            self._always = len(self._program)
        first = len(self._program)
        self.member(name, column.values, always=False)
        self._sparse.append((column.rows, first, len(self._program)))

    def table(self, count: int) -> Table:
        """The columns as rows, of which there are so many."""
        firsts = np.zeros(count + 1, np.int64)
        some = np.empty((0, 3), np.int64)
        if self._sparse:
            rows = [np.arange(count) if rows is None else rows for rows, _, _ in self._sparse]
            starts = np.cumsum([0, *map(len, rows)])
            operations = np.array([span for _, *span in self._sparse], np.int64)
            some = np.empty((int(starts[-1]), 3), np.int64)
            engine.compiled(kernels.by_row)(np.concatenate(rows), starts, operations, firsts, some)
        return Table(
            count,
            self._is_object,
            np.array(self._program, np.int64).reshape(-1, kernels.OPERATION_WIDTH),
            self._numbers.joined(0),
            self._valid.joined(0),
            self._data.joined(SPARE),
            len(self._program) if self._always is None else self._always,
            firsts,
            some,
            np.empty((self._deepest, kernels.LIST_WIDTH), np.int64),
        )

    def add(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        """Add a column of values.

        Args:
            prefix: stands in front of each.
            absent: stands there where a value is null.
        """
        if array.null_count < len(array):
            self._adder(array.type)(array, prefix, absent)
        elif absent:
            self._operation(kernels.CONSTANT, prefix=absent)

    def _adder(self, kind: pa.DataType) -> Callable[[pa.Array, bytes, bytes], None]:
        is_a = pa.types
        if is_a.is_dictionary(kind):
            return self._dictionary
        if is_a.is_boolean(kind):
            return self._booleans
        if is_a.is_integer(kind):
            return self._integers
        if is_a.is_timestamp(kind):
            return self._moments
        if is_a.is_list(kind) or is_a.is_large_list(kind):
            return self._lists
        if is_a.is_map(kind):
            return self._maps
        if is_a.is_struct(kind):
            return self._structs
        if is_a.is_floating(kind) or is_a.is_decimal(kind):
            return self._decimals
        return self._strings

    def _operation(
        self,
        kind: int,
        array: pa.Array | None = None,
        prefix: bytes = b"",
        absent: bytes = b"",
        numbers: _Longs | None = None,
        bracket: int = 0,
    ) -> int:
        """Add an operation; returns its number.

        Args:
            array: says where values are null.
        """
        valid = _NOWHERE
        if array is not None and array.null_count:
            valid = self._valid.add(array.is_valid().to_numpy(zero_copy_only=False).view(np.uint8))
        at = _NOWHERE if numbers is None else self._numbers.add(numbers)
        self._program.append([kind, self._text(prefix), self._text(absent), at, valid, _NOWHERE, bracket])
        return len(self._program) - 1

    def _goes_on(self, operation: int, at: int | None = None) -> None:
        """Say where an operation goes on, if it does not with the next one: at the end so far."""
        self._program[operation][kernels.TARGET] = len(self._program) if at is None else at

    def _text(self, text: bytes) -> int:
        """The span of a fixed text."""
        if text not in self._texts:
            start = self._data.add(np.frombuffer(text, np.uint8))
            self._texts[text] = start << kernels.SPAN_SHIFT | len(text)
        return self._texts[text]

    def _words(self, spans: _Longs) -> None:
        self._operation(kernels.WORD, numbers=spans)

    def _dictionary(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        """Each distinct value is written once."""
        words, data, offsets = self._written.get((prefix, absent), (None, _NOTHING, _NONE))
        if words is None or not words.equals(array.dictionary):
            words = array.dictionary
            layout = Layout(self._written)
            layout.add(words, prefix, absent)
            data, offsets = layout.table(len(words)).written()
            self._written[prefix, absent] = words, data, offsets
        start = self._data.add(data)
        spans = np.append((start + offsets[:-1]) << kernels.SPAN_SHIFT | np.diff(offsets), self._text(absent))
        codes = array.indices
        if codes.null_count:
            wide = codes if codes.type.bit_width > 16 else codes.cast(pa.int32())
            codes = pc.fill_null(wide, pa.scalar(len(words), wide.type))
        self._words(spans.take(codes.to_numpy()))

    def _booleans(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        spans = [self._text(text) for text in (prefix + b"false", prefix + b"true", absent)]
        codes = pc.fill_null(array.cast(pa.int8()), 2).to_numpy()
        self._words(np.array(spans, np.int64)[codes])

    def _integers(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        wide = array if pa.types.is_int64(array.type) else array.cast(pa.int64(), safe=False)
        self._operation(kernels.INTEGER, array, prefix, absent, _longs(wide))

    def _moments(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        self._operation(kernels.MOMENT, array, prefix, absent, _longs(as_nanoseconds(array)))

    def _strings(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        self._operation(kernels.TEXT, array, prefix, absent, self._places(array))

    def _decimals(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        texts = as_json_numbers(array)
        self._operation(kernels.LITERAL, texts, prefix, absent, self._places(texts))

    def _places(self, texts: pa.Array) -> _Longs:
        """Where texts begin in the data, and the end of the last."""
        is_short = pa.types.is_string(texts.type)
        texts = texts if is_short else as_bytes(texts)
        _, offset_buffer, data_buffer = texts.buffers()
        offsets: NDArray[Any] = np.frombuffer(offset_buffer, np.int32 if is_short else np.int64)
        offsets = offsets[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
        first, last = int(offsets[0]), int(offsets[-1])
        if data_buffer is None or first == last:
            return np.zeros(len(offsets), np.int64)
        start = self._data.add(np.frombuffer(data_buffer, np.uint8)[first:last])
        return offsets + (start - first)

    def _lists(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        self._nested(array, prefix, absent, _LIST, {b",": array.values})

    def _maps(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        self._nested(array, prefix, absent, _MAP, {b",": array.keys, b":": array.items})

    def _nested(
        self, array: pa.Array, prefix: bytes, absent: bytes, bracket: int, parts: dict[bytes, pa.Array]
    ) -> None:
        """Lists and maps: of each item some parts, with what stands in front of them."""
        offsets = array.offsets.cast(pa.int64()).to_numpy()
        first, last = int(offsets[0]), int(offsets[-1])
        opened = self._operation(kernels.OPEN, array, prefix, absent, offsets - first, bracket)
        self._depth += 1
        self._deepest = max(self._deepest, self._depth)
        for front, items in parts.items():
            self.add(items.slice(first, last - first), front, front + b"null")
        self._depth -= 1
        closed = self._operation(kernels.CLOSE, bracket=bracket)
        self._goes_on(closed, opened + 1)
        self._goes_on(opened)

    def _structs(self, array: pa.Array, prefix: bytes, absent: bytes) -> None:
        guard = self._operation(kernels.UNLESS_NULL, array, b"", absent) if array.null_count else None
        front = prefix + b"{"
        for field, child in zip(array.type, array.flatten(), strict=True):
            name = front + member_name(field.name)
            self.add(child, name, name + b"null")
            front = b","
        self._operation(kernels.CONSTANT, prefix=b"}" if front == b"," else front + b"}")
        if guard is not None:
            self._goes_on(guard)


class _Pool(Generic[_Number]):
    """Arrays that become one."""

    def __init__(self, kind: type[_Number]) -> None:
        self._kind = kind
        self._arrays: list[NDArray[_Number]] = []
        self._length = 0

    def add(self, array: NDArray[_Number]) -> int:
        """Add an array; returns where it will begin."""
        start = self._length
        self._arrays.append(array)
        self._length += len(array)
        return start

    def joined(self, spare: int) -> NDArray[_Number]:
        """All of them, with room behind them; writable, or the kernel would be compiled twice."""
        return np.concatenate([*self._arrays, np.zeros(spare, self._kind)])


def member_name(name: str) -> bytes:
    """A member's name as written in front of its value."""
    return json.dumps(name).encode() + b":"


def _longs(array: pa.Array) -> _Longs:
    """The 64-bit values of a column, whatever stands where it is null."""
    return np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array)]
