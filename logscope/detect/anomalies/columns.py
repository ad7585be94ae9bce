"""Arrow columns as numpy arrays: codes for texts, numbers with a mark for null, lists as pairs of row and
value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Longs = NDArray[np.int64]
Bools = NDArray[np.bool_]

NULL = -(2**63)


class Coded(NamedTuple):
    """A text column: a code for each row, -1 for null, and the texts."""

    codes: Longs
    texts: list[str]


class Columns:
    """A batch of a table; columns that it lacks are null throughout."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.count = batch.num_rows
        self._batch = batch
        self._names = set(batch.schema.names)
        self._coded: dict[str, Coded] = {}

    def has(self, name: str) -> bool:
        """Whether the column is there and anywhere known."""
        return name in self._names and self._batch.column(name).null_count < self.count

    def raw(self, name: str) -> pa.Array:
        """The column itself."""
        return self._batch.column(name)

    def integers(self, name: str) -> Longs:
        """Whole numbers and times in ns, `NULL` where unknown."""
        if not self.has(name):
            return np.full(self.count, NULL)
        column = self._batch.column(name)
        if pa.types.is_timestamp(column.type) and column.type.unit != "ns":
            column = column.cast(pa.timestamp("ns", tz=column.type.tz))
        return np.asarray(pc.fill_null(column.cast(pa.int64()), NULL))

    def decimals(self, name: str) -> NDArray[np.float64]:
        """Numbers, NaN where unknown."""
        if not self.has(name):
            return np.full(self.count, np.nan)
        return np.asarray(pc.fill_null(self._batch.column(name).cast(pa.float64()), np.nan))

    def flags(self, name: str) -> tuple[Bools, Bools]:
        """Where a bool column is true, and where it is false."""
        if not self.has(name):
            nowhere = np.zeros(self.count, np.bool_)
            return nowhere, nowhere
        column = self._batch.column(name)
        return np.asarray(pc.fill_null(column, False)), ~np.asarray(pc.fill_null(column, True))

    def coded(self, name: str) -> Coded:
        """Texts as codes."""
        if name not in self._coded:
            self._coded[name] = self._encode(name)
        return self._coded[name]

    def _encode(self, name: str) -> Coded:
        if not self.has(name):
            return Coded(np.full(self.count, -1), [])
        return encoded(self._batch.column(name))

    def text_lists(self, name: str) -> tuple[Longs, Coded]:
        """A list of texts as the row of each item, and the items."""
        if not self.has(name):
            return np.empty(0, np.int64), Coded(np.empty(0, np.int64), [])
        column = self._batch.column(name)
        return np.asarray(pc.list_parent_indices(column)).astype(np.int64), encoded(pc.list_flatten(column))


def encoded(column: pa.Array) -> Coded:
    """A text column as codes and texts, each text once and in the order in which they come."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
        return Coded(_indices(column), column.dictionary.to_pylist())
    words = column.dictionary.dictionary_encode()  # of those that came coded some may be twice, or nowhere
    unique, number = words.dictionary, _indices(words)
    codes = _indices(column)
    codes = np.where(codes >= 0, number[np.maximum(codes, 0)], -1) if len(number) else codes
    firsts = first_places(codes, len(unique))
    order = np.argsort(firsts, kind="stable")[np.count_nonzero(firsts < 0) :]
    renumbered = np.full(len(unique) + 1, -1)
    renumbered[order] = np.arange(len(order))
    return Coded(renumbered[codes], unique.take(long_array(order)).to_pylist())


def numbered(texts: Iterable[str | None]) -> Coded:
    """The same of texts of Python; `pyarrow.array` would import pandas to look at them."""
    numbers: dict[str | None, int] = {None: -1}
    codes = [numbers.setdefault(text, len(numbers) - 1) for text in texts]
    return Coded(np.array(codes, np.int64), list(numbers)[1:])  # type: ignore[arg-type]


def _indices(column: pa.DictionaryArray) -> Longs:
    """The codes of a coded column, -1 for null."""
    return np.asarray(pc.fill_null(column.indices, -1)).astype(np.int64)


def first_places(codes: Longs, size: int) -> Longs:
    """Where each code from 0 to below `size` comes first; -1: nowhere."""
    firsts = np.full(size + 1, -1)
    firsts[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # the last that is written is the first place
    return firsts[:-1]


def counted(keys: Longs) -> tuple[Longs, Longs]:
    """The distinct keys and how often each occurs, in no order; a hash table is quicker than sorting."""
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    found = long_array(keys).value_counts()
    return np.asarray(found.field("values")), np.asarray(found.field("counts"))


_FEW = 1 << 16


def numbers_of(keys: Longs) -> tuple[Longs, Longs]:
    """The distinct keys, ascending, and the number of each key among them."""
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    least = int(keys.min())
    size = int(keys.max()) - least + 1
    if size > 2 * len(keys) + _FEW:
        present, numbers = np.unique(keys, return_inverse=True)
        return present, numbers
    there = np.zeros(size, np.bool_)
    there[keys - least] = True
    return np.flatnonzero(there) + least, (np.cumsum(there) - 1)[keys - least]


def firsts_of(keys: Longs) -> tuple[Longs, Longs]:
    """The distinct keys, ascending, and where each comes first."""
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    least = int(keys.min())
    size = int(keys.max()) - least + 1
    if size > 2 * len(keys) + _FEW:
        present, firsts = np.unique(keys, return_index=True)
        return present, firsts
    firsts = first_places(keys - least, size)
    present = np.flatnonzero(firsts >= 0)
    return present + least, firsts[present]


def long_array(values: Longs) -> pa.Array:
    """Numbers for Arrow: `pyarrow.array` would import pandas to look at what it was given."""
    values = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def auth_tries(columns: Columns) -> tuple[Longs, Longs]:
    """Refused and granted AUTH commands of each session, from smtpd's counters at disconnect."""
    refused, granted = np.zeros(columns.count, np.int64), np.zeros(columns.count, np.int64)
    if not columns.has("commands"):
        return refused, granted
    column = columns.raw("commands")
    if not pa.types.is_map(column.type):
        return refused, granted
    rows, keys, values = _map_items(column)
    here = np.nonzero(np.asarray(pc.fill_null(pc.equal(keys, "auth"), False)))[0]
    if len(here):
        pairs = values.take(long_array(here))
        both = np.asarray(pc.fill_null(pc.list_flatten(pairs).cast(pa.int64()), 0))
        if len(both) == 2 * len(here):
            granted[rows[here]] = both[0::2]
            refused[rows[here]] = np.maximum(both[1::2] - both[0::2], 0)
    return refused, granted


def _map_items(column: pa.MapArray) -> tuple[Longs, pa.Array, pa.Array]:
    """Row, key and value of each entry."""
    offsets = np.asarray(column.offsets).astype(np.int64)
    lengths = np.diff(offsets)
    known = np.asarray(column.is_valid())
    rows = np.repeat(np.arange(len(lengths)), np.where(known, lengths, 0))
    first, last = int(offsets[0]), int(offsets[-1])
    keys, values = column.keys, column.items
    if len(keys) != last - first:  # whether a slice's children are sliced depends on the release of pyarrow
        keys, values = keys.slice(first, last - first), values.slice(first, last - first)
    if not known.all() and len(rows) != len(keys):
        kept = np.repeat(known, lengths)
        at = long_array(np.nonzero(kept)[0])
        keys, values = keys.take(at), values.take(at)
    return rows, keys, values


def parts(column: pa.Array, name: str) -> Any:
    """A field of a column of structs; null where the struct is, or has no such field."""
    if column.type.get_field_index(name) < 0:
        return pa.nulls(len(column), pa.string())
    return pc.struct_field(column, name)
