"""The ways a table is written, batch after batch: one class for each format, one list of them.

A writer owns neither the stream nor the terminal; it is closed when the last batch has been written, and only
then is what it wrote complete.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol, runtime_checkable

from logscope.report.json_rows import JsonRows
from logscope.schema import EVENTS, SESSIONS, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from logscope.arrow import SparseBatch


@dataclass(frozen=True)
class Canvas:
    """What is known of the place where text is shown.

    Args:
        width: columns of the terminal; None where lines may have any length (files, pipes).
        colour: whether colours are wanted.
        page: columns for what is drawn, where there is no terminal; None for as many as it takes.
    """

    width: int | None = None
    colour: bool = False
    page: int | None = None


class TableWriter(Protocol):
    """Writes one table."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""

    def close(self) -> None:
        """Write what is due at the end. The stream stays open."""


@runtime_checkable
class SparseWriter(TableWriter, Protocol):
    """Does not need the columns that rows do not have."""

    def write_sparse(self, batch: SparseBatch) -> None:
        """Write some rows, of which each has few of the columns."""


class JsonLinesWriter:
    """One JSON object a line; nested values stay nested.

    Args:
        always: names of the columns that each row has; others are left out where null. None for all.
    """

    def __init__(self, stream: IO[bytes], always: frozenset[str] | None = None) -> None:
        self._stream = stream
        self._rows = JsonRows(b"\n", always)

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        for block in self._rows.blocks(batch):
            self._stream.write(block)

    def write_sparse(self, batch: SparseBatch) -> None:
        """Write some rows, of which each has few of the columns."""
        for block in self._rows.sparse_blocks(batch):
            self._stream.write(block)

    def close(self) -> None:
        """Nothing is due."""


class JsonArrayWriter:
    """One JSON array of objects."""

    _SEPARATOR = b",\n"

    def __init__(self, stream: IO[bytes], always: frozenset[str] | None = None) -> None:
        self._stream = stream
        self._rows = JsonRows(self._SEPARATOR, always)
        self._due = b"[\n"

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        self._write(self._rows.blocks(batch))

    def write_sparse(self, batch: SparseBatch) -> None:
        """Write some rows, of which each has few of the columns."""
        self._write(self._rows.sparse_blocks(batch))

    def _write(self, blocks: Iterator[bytes | memoryview]) -> None:
        """Write blocks of rows. The last row's separator waits until another follows."""
        for block in blocks:
            self._stream.write(self._due)
            self._stream.write(block[: -len(self._SEPARATOR)])
            self._due = self._SEPARATOR

    def close(self) -> None:
        """Close the array."""
        self._stream.write(b"\n]\n" if self._due == self._SEPARATOR else b"[]\n")


class ParquetWriter:
    """Apache Parquet, compressed with zstd; nested values stay nested, text stays as it was logged.

    Args:
        schema: of the file; columns that a batch lacks are null. Text may come dictionary-coded.
    """

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        from logscope.report.parquet_groups import GroupedFile

        self._schema = schema
        self._file = GroupedFile(stream, schema)
        self._waiting: list[SparseBatch] = []
        self._rows = 0
        self._thread = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        from logscope.arrow import SparseBatch

        self.write_sparse(SparseBatch.of(batch))

    def write_sparse(self, batch: SparseBatch) -> None:
        """Write some rows, of which each has few of the columns."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        while self._rows >= ROW_GROUP:
            self._hand_over(ROW_GROUP)

    def close(self) -> None:
        """Write the rest and the footer, without which nobody can read the file."""
        if self._rows:
            self._hand_over(self._rows)
        if self._written:
            self._written.result()
        self._thread.shutdown()
        self._file.close()

    def _hand_over(self, count: int) -> None:
        """Have so many rows written in the background, once what was handed over before is written."""
        if self._written:
            self._written.result()
        batches: list[SparseBatch] = []
        missing = count
        while missing:
            first = self._waiting.pop(0)
            if first.num_rows > missing:
                self._waiting.insert(0, first.slice(missing, first.num_rows))
                first = first.slice(0, missing)
            batches.append(first)
            missing -= first.num_rows
        self._rows -= count
        self._written = self._thread.submit(self._file.write, batches)


ROW_GROUP = 1 << 18
"""Rows: few enough to be held while they are written, so many that the footer stays small."""


class Folding:
    """Hands events on with their typed fields in one column, as JSON text, to a writer that wants the same
    columns always.
    """

    def __init__(self, writer: TableWriter) -> None:
        self._writer = writer
        self._rows = JsonRows(b"\n", frozenset())

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        import pyarrow as pa

        common = _names("events")
        fields = batch.select([name for name in batch.schema.names if name not in common])
        written = b"".join(map(bytes, self._rows.blocks(fields))).decode()
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns["fields"] = pa.array(written.split("\n")[:-1], pa.string())
        nothing = pa.nulls(batch.num_rows, pa.string())
        self._writer.write(pa.record_batch({name: columns.get(name, nothing) for name in common}))

    def close(self) -> None:
        """Close the writer."""
        self._writer.close()


def _listing(wanted: Wanted) -> TableWriter:
    from logscope.report.listing import ListingWriter

    writer = ListingWriter(
        wanted.table,
        wanted.stream,
        wanted.canvas,
        live=wanted.live,
        continues=wanted.continues,
        period=wanted.period,
    )
    return _folded(wanted, writer)


def _csv(wanted: Wanted) -> TableWriter:
    from logscope.report.csv_table import CsvWriter

    return _folded(wanted, CsvWriter(wanted.stream, _names(wanted.table), continues=wanted.continues))


def _jsonl(wanted: Wanted) -> TableWriter:
    return JsonLinesWriter(wanted.stream, _always(wanted))


def _json(wanted: Wanted) -> TableWriter:
    return JsonArrayWriter(wanted.stream, _always(wanted))


def _parquet(wanted: Wanted) -> TableWriter:
    from logscope.report.arrow_schema import arrow_schema

    return ParquetWriter(wanted.stream, wanted.schema or arrow_schema(wanted.table))


@dataclass(frozen=True)
class Wanted:
    """What is to be written where.

    Args:
        table: its name: sessions, messages, deliveries or events.
        stream: written to, not closed.
        canvas: for the format `table`.
        schema: all columns that the table can have, where batches do not have them all (events).
        continues: what stands above the rows has been written.
        live: rows have to be seen as they come, and the writer is not closed.
        period: words for the period that rows are wanted of; see `wording.bounds`.
    """

    table: str
    stream: IO[bytes]
    canvas: Canvas
    schema: pa.Schema | None = None
    continues: bool = False
    live: bool = False
    period: str = ""


WRITERS: dict[str, Callable[[Wanted], TableWriter]] = {
    "table": _listing,
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
}

EVENT_COLUMNS = frozenset(column.name for column in EVENTS) - {"structured_data", "fields", "reason", "raw"}
"""Columns that each event has. Structured data and the typed fields of its kind come on top, or why it has no
kind, and the line.
"""
ALWAYS = {"events": EVENT_COLUMNS, "live_sessions": frozenset(column.name for column in SESSIONS)}
"""Columns that each row of a table has in JSON, where others are left out if they are null."""


def table_writer(
    output: str,
    table: str,
    stream: IO[bytes],
    canvas: Canvas,
    schema: pa.Schema | None = None,
    *,
    continues: bool = False,
    live: bool = False,
    period: str = "",
) -> TableWriter:
    """A writer for one of `logscope.schema`'s tables.

    Args:
        output: one of `WRITERS`.
        table, stream, canvas, schema, continues, live, period: see `Wanted`.
    """
    return WRITERS[output](Wanted(table, stream, canvas, schema, continues, live, period))


def _folded(wanted: Wanted, writer: TableWriter) -> TableWriter:
    return Folding(writer) if wanted.table == "events" else writer


def _always(wanted: Wanted) -> frozenset[str] | None:
    return ALWAYS.get(wanted.table)


def _names(table: str) -> list[str]:
    return [column.name for column in TABLES[table]]
