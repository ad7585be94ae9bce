"""Parquet files are read back by Arrow as what was written, whatever columns are null where."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logscope.arrow import Sparse, SparseBatch, plain
from logscope.report import thrift, writers
from logscope.report.parquet_groups import GroupedFile

SCHEMA = pa.schema(
    {
        "number": pa.int64(),
        "time": pa.timestamp("ns", tz="UTC"),
        "share": pa.float64(),
        "flag": pa.bool_(),
        "text": pa.string(),
        "word": pa.string(),
        "list": pa.list_(pa.int64()),
        "counters": pa.map_(pa.string(), pa.list_(pa.int64())),
        "small": pa.int32(),
    }
)
LONGS = st.integers(-(1 << 63), (1 << 63) - 1)
VALUES = {
    "number": LONGS,
    "time": LONGS,
    "share": st.floats(allow_nan=False),
    "flag": st.booleans(),
    "text": st.text(st.characters(exclude_categories=["Cs"])),
    "word": st.sampled_from(["", "a", "ä", "postscreen", "x" * 100]),
    "list": st.lists(LONGS, max_size=3),
    "counters": st.lists(st.tuples(st.text("ab", min_size=1), st.lists(LONGS, max_size=2)), max_size=2),
    "small": st.integers(-5, 5),
}


CODED = ("text", "word", "list", "counters")


def _coded(column: pa.Array) -> pa.DictionaryArray:
    """The same column with its values in a dictionary; Arrow itself codes no lists."""
    known = np.array(column.is_valid())
    places = pa.array(np.cumsum(known) - 1, pa.int32(), mask=~known)
    return pa.DictionaryArray.from_arrays(places, column.drop_null())


@st.composite
def tables(draw: st.DrawFn) -> list[pa.RecordBatch]:
    """Batches with some of the columns; some of text and lists are dictionary-coded."""
    batches = []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(1, 40))
        columns = {}
        for name in SCHEMA.names:
            if draw(st.booleans()):
                values = draw(
                    st.lists(st.none() | VALUES[name], min_size=count, max_size=count)
                    if draw(st.booleans())
                    else st.lists(VALUES[name], min_size=count, max_size=count)
                )
                column = pa.array(values, SCHEMA.field(name).type)
                is_coded = name in CODED and draw(st.booleans())
                columns[name] = _coded(column) if is_coded else column
        columns.setdefault("small", pa.nulls(count, pa.int32()))
        batches.append(pa.record_batch(columns))
    return batches


def whole(batches: list[pa.RecordBatch]) -> pa.Table:
    tables = [
        pa.table(
            {name: plain(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        )
        for batch in batches
    ]
    return pa.concat_tables(
        [SCHEMA.empty_table(), *tables],
        promote_options="default",
    ).select(SCHEMA.names)


@settings(deadline=None, max_examples=60)
@given(tables(), st.integers(1, 50))
def test_what_is_written_is_read_back(batches: list[pa.RecordBatch], group: int) -> None:
    stream = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "ROW_GROUP", group)
        writer = writers.ParquetWriter(stream, SCHEMA)
        for batch in batches:
            writer.write(batch)
        writer.close()
    stream.seek(0)
    file = pq.ParquetFile(stream)
    assert file.schema_arrow.equals(SCHEMA)
    assert file.read().equals(whole(batches))
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert all(size == group for size in sizes[:-1])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.none() | VALUES["word"], min_size=1, max_size=300), st.integers(1, 5))
def test_words_may_be_coded(words: list[str | None], parts: int) -> None:
    stream = io.BytesIO()
    file = GroupedFile(stream, SCHEMA)
    cuts = [len(words) * part // parts for part in range(parts + 1)]
    batches = []
    for start, stop in pairwise(cuts):
        column = Sparse.of(pa.array(words[start:stop], pa.string()))
        coded = Sparse(column.rows, column.values.dictionary_encode())
        batches.append(SparseBatch(stop - start, {"word": coded}))
        assert coded.dense(stop - start).to_pylist() == words[start:stop]
    file.write(batches)
    file.close()
    stream.seek(0)
    read = pq.ParquetFile(stream)
    assert read.read()["word"].to_pylist() == words
    statistics = read.metadata.row_group(0).column(SCHEMA.names.index("word")).statistics
    assert statistics.null_count == words.count(None)
    known = [word.encode() for word in words if word is not None]
    if statistics.has_min_max:
        assert (statistics.min.encode(), statistics.max.encode()) == (min(known), max(known))


def test_row_groups_can_be_skipped_by_time() -> None:
    stream = io.BytesIO()
    file = GroupedFile(stream, SCHEMA)
    times = pa.array([3, 1, 2], SCHEMA.field("time").type)
    file.write([SparseBatch(4, {"time": Sparse(np.array([0, 2, 3]), times)})])
    file.close()
    statistics = pq.ParquetFile(stream).metadata.row_group(0).column(1).statistics
    assert (statistics.min.value, statistics.max.value, statistics.null_count) == (1, 3, 1)


def test_a_file_without_rows_has_its_columns() -> None:
    stream = io.BytesIO()
    writers.ParquetWriter(stream, SCHEMA).close()
    assert pq.read_table(stream).equals(SCHEMA.empty_table())


def test_footers_are_written_as_they_were_read() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1.5, None], "b": [["x"], []], "c": [True, False]}), sink)
    data = sink.getvalue().to_pybytes()
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    fields, end = thrift.read(footer)
    assert end == len(footer)
    assert thrift.write(fields) == footer
