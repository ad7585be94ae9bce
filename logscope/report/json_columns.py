"""JSON text out of Arrow columns, without a Python object for each value.

This way a million sessions are written in a second or two. The work is done by `json_kernels`, compiled; this
module prepares their arrays. Small outputs do not wait for a compiler: `json_values` does the same, value by
value in Python, and tests hold the two to the same bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

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

_Bytes = NDArray[np.uint8]
_Longs = NDArray[np.int64]

_RANGES = np.array([bounds for bounds in HOSTILE_RANGES if bounds[1] > 0x7F], dtype=np.int64)

# Room a value takes at worst, in bytes.
_PER_BYTE = 6
_QUOTES = 2
_NUMBER = 20
_MOMENT = 40
_NULL = 4


class ColumnWriter:
    """Writes rows as JSON objects.

    Args:
        separator: written behind each object.
        always: names of the columns that each row has; others are left out where null. None for all.
    """

    def __init__(self, separator: bytes, always: frozenset[str] | None = None) -> None:
        for_kernels()
        self._separator = separator
        self._always = always
        self._scratch = np.empty(1 << 22, dtype=np.uint8)
        self._out = np.empty(1 << 22, dtype=np.uint8)
        self._at = 0

    def rows(self, batch: pa.RecordBatch) -> memoryview:
        """The rows of a batch, each followed by the separator. Valid until the next call."""
        self._at = 0
        names = [member_name(name) for name in batch.schema.names]
        modes = _modes(batch.schema.names, self._always)
        begins, ends = self._children(batch.columns, batch.num_rows)
        widths = int((ends - begins).sum())
        fixed = (sum(map(len, names)) + len(names) + 2 + len(self._separator)) * batch.num_rows
        if len(self._out) < widths + fixed + SPARE:
            self._out = np.empty(widths + fixed + SPARE, dtype=np.uint8)
        stop = self._objects(
            names,
            modes,
            _all_valid(batch.num_rows),
            (begins, ends),
            self._separator,
            self._out,
            0,
            _spans(batch.num_rows),
        )
        return self._out[:stop].data

    def texts(self, array: pa.Array) -> pa.Array:
        """The JSON text of each value as a column of strings; null where the value is null."""
        self._at = 0
        begins, ends = _spans(len(array))
        self._column(array, begins, ends)
        widths = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, ends - begins)
        offsets = np.zeros(len(array) + 1, dtype=np.int64)
        np.cumsum(widths, out=offsets[1:])
        data = np.empty(int(offsets[-1]) + SPARE, dtype=np.uint8)
        gather = engine.compiled(kernels.gather)
        gather(self._scratch, begins, widths, data, offsets)
        validity = array.is_valid()
        buffers = [validity.buffers()[1], pa.py_buffer(offsets), pa.py_buffer(data[: offsets[-1]])]
        return pa.Array.from_buffers(pa.large_string(), len(array), buffers)

    # --- fragments
    # ---------------------------------------------------------------------------------------------------

    def _children(self, columns: list[pa.Array], count: int) -> tuple[_Longs, _Longs]:
        begins = np.empty((len(columns), count), dtype=np.int64)
        ends = np.empty((len(columns), count), dtype=np.int64)
        for position, column in enumerate(columns):
            self._column(column, begins[position], ends[position])
        return begins, ends

    def _column(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        """Write the fragments of a column to the scratch buffer."""
        if array.null_count == len(array):
            begins[:], ends[:] = self._constant(b"null")
            return
        write = self._writer(array.type)
        write(array, begins, ends)

    def _writer(self, kind: pa.DataType) -> Callable[[pa.Array, _Longs, _Longs], None]:
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
            return self._literals
        return self._strings

    def _reserve(self, room: int) -> None:
        if len(self._scratch) < self._at + room + SPARE:
            larger = np.empty(2 * (self._at + room) + SPARE, dtype=np.uint8)
            larger[: self._at] = self._scratch[: self._at]
            self._scratch = larger

    def _constant(self, text: bytes) -> tuple[int, int]:
        self._reserve(len(text))
        start = self._at
        self._at += len(text)
        self._scratch[start : self._at] = np.frombuffer(text, dtype=np.uint8)
        return start, self._at

    def _integers(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        self._reserve(_NUMBER * len(array))
        write = engine.compiled(kernels.integers)
        self._at = write(_longs(array), _validity(array), self._scratch, self._at, begins, ends)

    def _moments(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        self._reserve(_MOMENT * len(array))
        write = engine.compiled(kernels.moments)
        self._at = write(
            _longs(as_nanoseconds(array)), _validity(array), self._scratch, self._at, begins, ends
        )

    def _booleans(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        spans = np.array([self._constant(text) for text in (b"false", b"true", b"null")], dtype=np.int64)
        codes = pc.fill_null(array.cast(pa.int8()), 2).to_numpy()
        begins[:], ends[:] = spans[codes, 0], spans[codes, 1]

    def _dictionary(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        """Each distinct value is written once."""
        words = array.dictionary
        word_begins, word_ends = _spans(len(words) + 1)
        self._column(words, word_begins[:-1], word_ends[:-1])
        word_begins[-1], word_ends[-1] = self._constant(b"null")
        codes = pc.fill_null(array.indices.cast(pa.int64()), len(words)).to_numpy()
        begins[:], ends[:] = word_begins[codes], word_ends[codes]

    def _strings(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        data, offsets = _text(array)
        self._reserve(_PER_BYTE * int(offsets[-1] - offsets[0]) + (_NULL + _QUOTES) * len(array))
        write = engine.compiled(kernels.strings)
        self._at = write(data, offsets, _validity(array), _RANGES, self._scratch, self._at, begins, ends)

    def _literals(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        array = as_json_numbers(array)
        data, offsets = _text(array)
        self._reserve(int(offsets[-1] - offsets[0]) + _NULL * len(array))
        write = engine.compiled(kernels.literals)
        self._at = write(data, offsets, _validity(array), self._scratch, self._at, begins, ends)

    def _lists(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        offsets, items = _items(array, array.values)
        item_begins, item_ends = _spans(len(items))
        self._column(items, item_begins, item_ends)
        self._reserve(int((item_ends - item_begins).sum()) + len(items) + (_NULL + 2) * len(array))
        write = engine.compiled(kernels.lists)
        self._at = write(
            offsets, _validity(array), item_begins, item_ends, self._scratch, self._at, begins, ends
        )

    def _maps(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        offsets, keys = _items(array, array.keys)
        _, values = _items(array, array.items)
        item_begins, item_ends = self._children([keys, values], len(keys))
        self._reserve(int((item_ends - item_begins).sum()) + 2 * len(keys) + (_NULL + 2) * len(array))
        write = engine.compiled(kernels.maps)
        self._at = write(
            offsets, _validity(array), item_begins, item_ends, self._scratch, self._at, begins, ends
        )

    def _structs(self, array: pa.Array, begins: _Longs, ends: _Longs) -> None:
        names = [member_name(field.name) for field in array.type]
        children = self._children(array.flatten(), len(array))
        widths = int((children[1] - children[0]).sum())
        self._reserve(widths + (sum(map(len, names)) + len(names) + 2 + _NULL) * len(array))
        modes = _modes([field.name for field in array.type], None)
        self._at = self._objects(
            names, modes, _validity(array), children, b"", self._scratch, self._at, (begins, ends)
        )

    def _objects(
        self,
        names: list[bytes],
        modes: _Bytes,
        valid: _Bytes,
        children: tuple[_Longs, _Longs],
        separator: bytes,
        out: _Bytes,
        at: int,
        spans: tuple[_Longs, _Longs],
    ) -> int:
        written = _spared(np.frombuffer(b"".join(names), dtype=np.uint8))
        offsets = np.cumsum([0, *map(len, names)], dtype=np.int64)
        write = engine.compiled(kernels.objects)
        stop: int = write(
            written,
            offsets,
            modes,
            valid,
            self._scratch,
            *children,
            _spared(np.frombuffer(separator, dtype=np.uint8)),
            len(separator),
            out,
            at,
            *spans,
        )
        return stop


def member_name(name: str) -> bytes:
    """A member's name as written in front of its value."""
    return json.dumps(name).encode() + b":"


def _modes(names: list[str], always: frozenset[str] | None) -> _Bytes:
    wanted = [kernels.ALWAYS if always is None or name in always else kernels.UNLESS_NULL for name in names]
    return np.array(wanted, dtype=np.uint8)


def _spans(count: int) -> tuple[_Longs, _Longs]:
    return np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)


def _spared(data: _Bytes) -> _Bytes:
    """A writable copy with room to read beyond its end."""
    copy = np.empty(len(data) + SPARE, dtype=np.uint8)
    copy[: len(data)] = data
    copy[len(data) :] = 0
    return copy


def _all_valid(count: int) -> _Bytes:
    return np.ones(count, dtype=np.uint8)


def _validity(array: pa.Array) -> _Bytes:
    if array.null_count == 0:
        return _all_valid(len(array))
    valid: _Bytes = array.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8)
    return valid


def _longs(array: pa.Array) -> _Longs:
    """The 64-bit values of a column, whatever stands where it is null. Writable, or the kernel is compiled
    twice.
    """
    array = array if pa.types.is_timestamp(array.type) else array.cast(pa.int64(), safe=False)
    values = np.frombuffer(array.buffers()[1], dtype=np.int64)
    return values[array.offset : array.offset + len(array)].copy()


def _text(array: pa.Array) -> tuple[_Bytes, _Longs]:
    """Bytes and offsets of a column of text."""
    array = as_bytes(array)
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    if data_buffer is None:
        return np.zeros(SPARE, dtype=np.uint8), offsets - first
    return _spared(np.frombuffer(data_buffer, dtype=np.uint8)[first:last]), offsets - first


def _items(array: pa.Array, items: pa.Array) -> tuple[_Longs, pa.Array]:
    """Offsets from 0 and the items of a sliced list or map column."""
    offsets = array.offsets.cast(pa.int64()).to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    return offsets - first, items.slice(first, last - first)
