"""The ways a table is written, batch after batch: one class for each format, one list of them.

A writer owns neither the stream nor the terminal; it is closed when the last batch has been written, and only
then is what it wrote complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from logscope.report.json_rows import JsonRows

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa


@dataclass(frozen=True)
class Canvas:
    """What is known of the place where text is shown.

    Args:
        width: columns of the terminal; None where lines may have any length (files, pipes).
        colour: whether colours are wanted.
    """

    width: int | None = None
    colour: bool = False


class TableWriter(Protocol):
    """Writes one table."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""

    def close(self) -> None:
        """Write what is due at the end. The stream stays open."""


class JsonLinesWriter:
    """One JSON object a line; nested values stay nested."""

    def __init__(self, stream: IO[bytes], inline: frozenset[str]) -> None:
        self._stream = stream
        self._rows = JsonRows(b"\n", inline)

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        for block in self._rows.blocks(batch):
            self._stream.write(block)

    def close(self) -> None:
        """Nothing is due."""


class JsonArrayWriter:
    """One JSON array of objects."""

    _SEPARATOR = b",\n"

    def __init__(self, stream: IO[bytes], inline: frozenset[str]) -> None:
        self._stream = stream
        self._rows = JsonRows(self._SEPARATOR, inline)
        self._due = b"[\n"

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows. The last one's separator waits until another row follows."""
        for block in self._rows.blocks(batch):
            self._stream.write(self._due)
            self._stream.write(block[: -len(self._SEPARATOR)])
            self._due = self._SEPARATOR

    def close(self) -> None:
        """Close the array."""
        self._stream.write(b"\n]\n" if self._due == self._SEPARATOR else b"[]\n")


class ParquetWriter:
    """Apache Parquet, compressed with zstd; nested values stay nested, text stays as it was logged."""

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        self._stream = stream
        self._schema = schema
        self._file: pa.parquet.ParquetWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        self._opened(batch.schema).write_batch(batch)

    def close(self) -> None:
        """Write the footer, without which nobody can read the file."""
        self._opened(self._schema).close()

    def _opened(self, schema: pa.Schema) -> pa.parquet.ParquetWriter:
        import pyarrow.parquet as pq

        if self._file is None:
            self._file = pq.ParquetWriter(self._stream, schema, compression="zstd")
        return self._file


def _listing(table: str, stream: IO[bytes], canvas: Canvas) -> TableWriter:
    from logscope.report.listing import ListingWriter

    return ListingWriter(table, stream, canvas)


def _csv(table: str, stream: IO[bytes], _canvas: Canvas) -> TableWriter:
    from logscope.report.csv_table import CsvWriter

    return CsvWriter(stream, _names(table))


def _jsonl(table: str, stream: IO[bytes], _canvas: Canvas) -> TableWriter:
    return JsonLinesWriter(stream, INLINE.get(table, frozenset()))


def _json(table: str, stream: IO[bytes], _canvas: Canvas) -> TableWriter:
    return JsonArrayWriter(stream, INLINE.get(table, frozenset()))


def _parquet(table: str, stream: IO[bytes], _canvas: Canvas) -> TableWriter:
    from logscope.report.arrow_schema import arrow_schema

    return ParquetWriter(stream, arrow_schema(table))


WRITERS: dict[str, Callable[[str, IO[bytes], Canvas], TableWriter]] = {
    "table": _listing,
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
}

INLINE = {"events": frozenset({"fields"})}
"""Columns of a table whose members stand in the JSON object itself: the typed fields of an event."""

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "table",
}
"""The format that a file's suffix asks for."""


def table_writer(output: str, table: str, stream: IO[bytes], canvas: Canvas) -> TableWriter:
    """A writer for one of `logscope.schema`'s tables.

    Args:
        output: one of `WRITERS`.
        table: its name: sessions, messages, deliveries or events.
        stream: written to, not closed.
        canvas: for the format `table`.
    """
    return WRITERS[output](table, stream, canvas)


def _names(table: str) -> list[str]:
    from logscope.schema import TABLES

    return [column.name for column in TABLES[table]]
