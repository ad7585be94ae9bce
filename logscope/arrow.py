"""NumPy arrays and lists of words as Arrow columns.

`pyarrow.array` would do, but it imports pandas to find out whether it was given something of pandas', which
takes half a second; and these do not copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TIMES = pa.timestamp("ns", tz="UTC")


def as_arrow(
    values: NDArray[Any], nulls: NDArray[np.bool_] | None = None, kind: pa.DataType | None = None
) -> pa.Array:
    """A column of numbers or of truth values.

    Args:
        values: integers, floats or booleans.
        nulls: where the value is null, if anywhere.
        kind: what the numbers mean, such as `TIMES`; it must be as wide as they are.
    """
    data = (
        np.packbits(values, bitorder="little") if values.dtype == np.bool_ else np.ascontiguousarray(values)
    )
    validity = None
    if nulls is not None and nulls.any():
        validity = pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    kind = kind or pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])


def as_lists(offsets: NDArray[np.integer[Any]], items: pa.Array) -> pa.Array:
    """A list column over some items.

    Args:
        offsets: where each list begins, and the end of the last.
        items: all lists' items, one behind the other.
    """
    bounds = np.ascontiguousarray(offsets, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.list_(items.type), len(offsets) - 1, [None, pa.py_buffer(bounds)], children=[items]
    )


def as_texts(words: Sequence[str | None]) -> pa.Array:
    """A column of text."""
    encoded = [b"" if word is None else word.encode() for word in words]
    bounds = np.fromiter(accumulate(map(len, encoded), initial=0), np.int32, len(words) + 1)
    validity = None
    if None in words:
        known = np.fromiter((word is not None for word in words), np.bool_, len(words))
        validity = pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.StringArray.from_buffers(
        len(words), pa.py_buffer(bounds), pa.py_buffer(b"".join(encoded)), validity
    )


def texts_of(offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> pa.Array | None:
    """A column of text that lies in an array, one behind the other; None where it is not all ASCII."""
    used = data[: offsets[-1]]
    if len(used) and used.max() > 127:
        return None
    places = pa.py_buffer(offsets.astype(np.int32))
    return pa.StringArray.from_buffers(len(offsets) - 1, places, pa.py_buffer(used.tobytes()))


def together(waiting: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Batches that were put aside as one, or as few as hold their text. They are taken out of the list, so
    that they are in memory once while the result is looked at.
    """
    if not waiting:
        return []
    table = pa.Table.from_batches(waiting)
    waiting.clear()
    return list(table.combine_chunks().to_batches())


def plain(array: pa.Array) -> pa.Array:
    """The same column with nothing dictionary-coded in it."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary.take(array.indices))
    if pa.types.is_list(kind) and not array.null_count:
        return pa.ListArray.from_arrays(array.offsets, plain(array.values))
    if pa.types.is_struct(kind) and not array.null_count:
        return pa.StructArray.from_arrays(list(map(plain, array.flatten())), [field.name for field in kind])
    return array


@dataclass(frozen=True)
class Sparse:
    """A column that few rows may have.

    Args:
        rows: ascending numbers of those that have a value; None for all of them.
        values: theirs, without nulls; maybe dictionary-coded.
    """

    rows: NDArray[np.int64] | None
    values: pa.Array

    @classmethod
    def of(cls, array: pa.Array) -> Sparse:
        """An ordinary column as such a one."""
        if array.null_count == 0:
            return cls(None, array)
        rows = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
        if not pa.types.is_dictionary(array.type):
            return cls(rows, array.drop_null())
        # Arrow drops no nulls of a column whose dictionary holds lists.
        return cls(rows, pa.DictionaryArray.from_arrays(array.indices.drop_null(), array.dictionary))

    @property
    def kind(self) -> pa.DataType:
        """The type of the values, dictionary-coded or not."""
        kind = self.values.type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    def slice(self, start: int, stop: int) -> Sparse:
        """The part between two rows."""
        if self.rows is None:
            return Sparse(None, self.values.slice(start, stop - start))
        first, last = np.searchsorted(self.rows, (start, stop)).tolist()
        return Sparse(self.rows[first:last] - start, self.values.slice(first, last - first))

    def dense(self, count: int) -> pa.Array:
        """An ordinary column of so many rows, not coded."""
        values = self.values
        if pa.types.is_dictionary(values.type):
            codes, values = values.indices.to_numpy(), values.dictionary
        elif self.rows is None:
            return values
        else:
            codes = np.arange(len(values), dtype=np.int32)
        if self.rows is None:
            return values.take(as_arrow(codes))
        places, absent = np.zeros(count, np.int32), np.ones(count, np.bool_)
        places[self.rows], absent[self.rows] = codes, False
        return values.take(as_arrow(places, absent))


@dataclass(frozen=True)
class SparseBatch:
    """Some rows of a table with hundreds of columns, of which each row has a few."""

    num_rows: int
    columns: Mapping[str, Sparse]

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> SparseBatch:
        """An ordinary batch as such a one."""
        columns = zip(batch.schema.names, map(Sparse.of, batch.columns), strict=True)
        return cls(batch.num_rows, dict(columns))

    def slice(self, start: int, stop: int) -> SparseBatch:
        """The part between two rows."""
        return SparseBatch(
            stop - start, {name: column.slice(start, stop) for name, column in self.columns.items()}
        )

    def dense(self) -> pa.RecordBatch:
        """The rows as an ordinary batch."""
        arrays = [column.dense(self.num_rows) for column in self.columns.values()]
        return pa.RecordBatch.from_arrays(arrays, names=list(self.columns))
