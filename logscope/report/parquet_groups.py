"""Parquet files with hundreds of columns, of which most rows have a few.

Arrow writes nulls one by one: 3 ns each, so that the 600 columns that the lines of a log do not have take
several times as long as the others, and these are mostly null too. So columns are written here: flat ones by
`parquet_pages`; nested ones by Arrow, as a file of their own of which what lies between head and footer goes
into the real file. Of each type one column of nulls is written, and copied for all columns that are null
throughout. The footer starts from the one that Arrow writes for an empty table.

https://parquet.apache.org/docs/file-format/ has the layout; the numbers below are those of its
`parquet.thrift`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from logscope.arrow import Sparse, SparseBatch, plain
from logscope.report import parquet_pages, thrift
from logscope.report.parquet_pages import (
    COMPRESSED_SIZE,
    COMPRESSION,
    DATA_OFFSET,
    DICTIONARY_OFFSET,
    INDEX_OFFSET,
    PATH,
    SIZE,
)
from logscope.report.thrift import Fields, Items, Written

_MAGIC = b"PAR1"
# FileMetaData, RowGroup, ColumnChunk
_ROWS, _GROUPS = 3, 4
_CHUNKS, _GROUP_BYTES, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_COMPRESSED, _ORDINAL = 1, 2, 3, 5, 6, 7
_CHUNK_OFFSET, _CHUNK_METADATA = 2, 3
_LATER = 1 << 62
"""An offset that is replaced."""


class _Nulls(NamedTuple):
    """A leaf column of nulls: its pages, its description before and after the offset of the pages, and the
    size of the pages when they are not compressed.
    """

    pages: bytes
    before: bytes
    after: bytes
    size: int


class GroupedFile:
    """A Parquet file, written row group by row group.

    Args:
        stream: written to, not closed.
        schema: of the file.
    """

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        self._stream, self._schema = stream, schema
        self._footer, _ = _parts(schema.empty_table())
        self._groups: list[Written] = []
        self._rows = 0
        self._nulls: dict[int, dict[pa.DataType, list[parquet_pages.Chunk]]] = {}
        self._null_columns: dict[tuple[int, str], list[_Nulls]] = {}
        stream.write(_MAGIC)
        self._at = len(_MAGIC)

    def write(self, batches: Sequence[SparseBatch]) -> None:
        """Write a row group.

        Args:
            batches: its rows, with columns of the schema; those they lack are null. Text may be
                dictionary-coded.
        """
        count = sum(batch.num_rows for batch in batches)
        chunks: list[Any] = []
        pages: list[bytes | memoryview] = []
        start = at = self._at
        size = 0
        present = {name for batch in batches for name in batch.columns}
        for field in self._schema:
            for written in _written(field, batches, count) if field.name in present else ():
                chunks.append(_placed(written.described, at))
                pages.append(written.pages)
                at += len(written.pages)
                size += written.described[SIZE][1]
            for nulls in self._null_column(field, count) if field.name not in present else ():
                offset = bytearray()
                thrift.write_number(offset, at)
                chunks.append(Written(nulls.before + offset + nulls.after))
                pages.append(nulls.pages)
                at += len(nulls.pages)
                size += nulls.size
        self._put(b"".join(pages))
        group: Fields = {
            _CHUNKS: (thrift.LIST, Items(thrift.STRUCT, chunks)),
            _GROUP_BYTES: (thrift.I64, size),
            _GROUP_ROWS: (thrift.I64, count),
            _GROUP_OFFSET: (thrift.I64, start),
            _GROUP_COMPRESSED: (thrift.I64, self._at - start),
        }
        if len(self._groups) < 1 << 15:
            group[_ORDINAL] = thrift.I16, len(self._groups)
        self._groups.append(Written(thrift.write(group)))
        self._rows += count

    def close(self) -> None:
        """Write the footer, without which nobody can read the file."""
        self._footer[_ROWS] = thrift.I64, self._rows
        self._footer[_GROUPS] = thrift.LIST, Items(thrift.STRUCT, self._groups)
        footer = thrift.write(self._footer)
        self._put(footer + len(footer).to_bytes(4, "little") + _MAGIC)

    def _put(self, data: bytes | memoryview) -> None:
        self._stream.write(data)
        self._at += len(data)

    def _null_column(self, field: pa.Field, count: int) -> list[_Nulls]:
        """The leaves of a column that is null in a row group of so many rows."""
        key = count, field.name
        if key not in self._null_columns:
            if count not in self._nulls:  # all row groups but the last have the same size
                self._nulls, self._null_columns = {count: {}}, {}
            of_type = self._nulls[count]
            if field.type not in of_type:
                of_type[field.type] = _null_leaves(field.type, count)
            self._null_columns[key] = [_named(leaf, field.name) for leaf in of_type[field.type]]
        return self._null_columns[key]


def _written(field: pa.Field, batches: Sequence[SparseBatch], count: int) -> list[parquet_pages.Chunk]:
    """A column's leaves."""
    column = _joined(field, batches, count)
    if parquet_pages.can_write(column.kind):
        return [parquet_pages.chunk(field.name, column, count)]
    return _leaves(pa.table({field.name: column.dense(count)}))


def _joined(field: pa.Field, batches: Sequence[SparseBatch], count: int) -> Sparse:
    """A column of all batches, which have so many rows."""
    rows: list[tuple[int, int, NDArray[np.int64] | None]] = []
    values: list[pa.Array] = []
    start = 0
    for batch in batches:
        column = batch.columns.get(field.name)
        if column is not None:
            rows.append((start, batch.num_rows, column.rows))
            written = column.values if parquet_pages.can_write(field.type) else plain(column.values)
            values.append(written if field.type in (column.kind, written.type) else written.cast(field.type))
        start += batch.num_rows
    coded = [pa.types.is_dictionary(part.type) for part in values]
    if len(values) > 1 and any(coded):
        alike = values if all(coded) else [plain(part) for part in values]
        values = pa.chunked_array(alike).unify_dictionaries().chunks
    joined = pa.concat_arrays(values)
    if len(joined) == count:
        return Sparse(None, joined)
    numbers = [first + (np.arange(length) if some is None else some) for first, length, some in rows]
    return Sparse(np.concatenate(numbers), joined)


def _parts(table: pa.Table) -> tuple[Fields, memoryview]:
    """Footer and row groups of a file with this table."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression=COMPRESSION) as file:
        if table.num_rows:
            file.write_table(table, table.num_rows)
    data = memoryview(sink.getvalue())
    length = int.from_bytes(data[-8:-4], "little")
    footer, _ = thrift.read(bytes(data[-8 - length : -8]))
    return footer, data[len(_MAGIC) : -8 - length]


def _leaves(table: pa.Table) -> list[parquet_pages.Chunk]:
    """The leaf columns of a table, as Arrow writes them."""
    footer, body = _parts(table)
    leaves = []
    for chunk in footer[_GROUPS][1].values[0][_CHUNKS][1].values:
        described = chunk[_CHUNK_METADATA][1]
        start = min(
            described[number][1] for number in (DATA_OFFSET, DICTIONARY_OFFSET) if number in described
        )
        for number in (DATA_OFFSET, DICTIONARY_OFFSET, INDEX_OFFSET):
            if number in described:
                described[number] = thrift.I64, described[number][1] - start
        begin = start - len(_MAGIC)
        leaves.append(
            parquet_pages.Chunk(described, bytes(body[begin : begin + described[COMPRESSED_SIZE][1]]))
        )
    return leaves


def _placed(described: Fields, at: int) -> Fields:
    """A chunk's entry in the footer, when its pages begin at this place of the file."""
    moved = {
        number: (thrift.I64, described[number][1] + at)
        for number in (DATA_OFFSET, DICTIONARY_OFFSET, INDEX_OFFSET)
        if number in described
    }
    # The offset outside of the description is of a copy of it, which nobody writes any more.
    return {_CHUNK_OFFSET: (thrift.I64, 0), _CHUNK_METADATA: (thrift.STRUCT, described | moved)}


def _null_leaves(kind: pa.DataType, count: int) -> list[parquet_pages.Chunk]:
    """The leaves of a column of nulls."""
    if parquet_pages.can_write(kind):
        return [parquet_pages.chunk("", Sparse(np.empty(0, np.int64), pa.nulls(0, kind)), count)]
    return _leaves(pa.table({"": pa.nulls(count, kind)}))


def _named(leaf: parquet_pages.Chunk, name: str) -> _Nulls:
    """A leaf of nulls as one of the column of that name."""
    described = dict(leaf.described)
    path = [name.encode(), *described[PATH][1].values[1:]]
    described[PATH] = thrift.LIST, Items(thrift.BINARY, path)
    described.pop(DICTIONARY_OFFSET, None)
    mark = bytearray()
    thrift.write_number(mark, _LATER)
    before, after = thrift.write(_placed(described, _LATER - described[DATA_OFFSET][1])).split(mark)
    return _Nulls(leaf.pages, before, after, described[SIZE][1])
