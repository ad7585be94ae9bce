"""Writes a report in the form somebody asked for."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from logscope.errors import UsageError
from logscope.report.csv_table import CsvWriter
from logscope.report.json_rows import JsonRows
from logscope.report.text import json_safe
from logscope.report.writers import Canvas, JsonLinesWriter, ParquetWriter, TableWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from logscope.report.model import Report

_SEPARATOR = b",\n"


def write_report(report: Report, output: str, stream: IO[bytes], canvas: Canvas) -> None:
    """Write a report.

    Args:
        report: what to write.
        output: `table` for people, `json` for the whole document, `jsonl`, `csv` or `parquet` for its table.
        stream: written to, not closed.
        canvas: for `table`.

    Raises:
        UsageError: the report is no table, so it has no rows to write.
    """
    if output == "table":
        from logscope.report.terminal import drawn  # loads rich

        stream.write(drawn(report, canvas).encode("utf-8", "replace"))
    elif output == "json":
        write_document(report.document, stream)
    else:
        _write_rows(report, output, stream)


def write_document(document: Mapping[str, Any], stream: IO[bytes]) -> None:
    """Write nested values as one JSON object; an Arrow table is an array of objects."""
    stream.write(b"{")
    separator = b"\n"
    for name, value in document.items():
        stream.write(separator + json.dumps(name).encode() + b": ")
        if isinstance(value, pa.Table):
            _write_array(value, stream)
        else:
            stream.write(json_safe(json.dumps(value, ensure_ascii=False)).encode("utf-8", "replace"))
        separator = _SEPARATOR
    stream.write(b"\n}\n")


def _write_array(table: pa.Table, stream: IO[bytes]) -> None:
    rows = JsonRows(_SEPARATOR)
    due = b"[\n"
    for batch in table.to_batches():
        for block in rows.blocks(batch):
            stream.write(due)
            stream.write(block[: -len(_SEPARATOR)])
            due = _SEPARATOR
    stream.write(b"\n]" if due == _SEPARATOR else b"[]")


def _write_rows(report: Report, output: str, stream: IO[bytes]) -> None:
    if report.table is None:
        raise UsageError(f"the report {report.name!r} is not one table", hint="Use -o json or -o table.")
    writer: TableWriter
    if output == "csv":
        writer = CsvWriter(stream, report.table.schema.names)
    elif output == "parquet":
        writer = ParquetWriter(stream, report.table.schema)
    else:
        writer = JsonLinesWriter(stream)
    for batch in report.table.to_batches():
        writer.write(batch)
    writer.close()
