"""Rows as JSON, by the way that is done soonest: value by value for few, compiled columns for many."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Protocol

from logscope import engine
from logscope.report.json_values import ValueWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from logscope.arrow import SparseBatch

_FEW = 1_000
_FEW_UNCOMPILED = 30_000
"""Rows from which machine code is worth its start: loading it takes a tenth of a second, compiling it six
seconds.
"""


class Writer(Protocol):
    """What `ValueWriter` and `ColumnWriter` have in common."""

    def blocks(self, batch: pa.RecordBatch) -> Iterator[bytes | memoryview]:
        """The rows of a batch, each followed by the separator, in blocks."""

    def sparse_blocks(self, batch: SparseBatch) -> Iterator[bytes | memoryview]:
        """The same of rows of which each has few of the columns."""

    def texts(self, array: pa.Array) -> pa.Array:
        """The JSON text of each value; null where the value is null."""


class JsonRows:
    """Writes record batches as JSON objects, one for each row.

    Args:
        separator: written behind each object.
        always: names of the columns that each row has; others are left out where null. None for all.
    """

    def __init__(self, separator: bytes = b"\n", always: frozenset[str] | None = None) -> None:
        self._separator = separator
        self._always = always
        self._writer: Writer = ValueWriter(separator, always)
        self._seen = 0

    def blocks(self, batch: pa.RecordBatch) -> Iterator[bytes | memoryview]:
        """The text of a batch's rows, in blocks. A block is valid until the next is asked for."""
        return self._writer_for(batch.num_rows).blocks(batch)

    def sparse_blocks(self, batch: SparseBatch) -> Iterator[bytes | memoryview]:
        """The same of rows of which each has few of the columns; those that all have come first."""
        return self._writer_for(batch.num_rows).sparse_blocks(batch)

    def texts(self, array: pa.Array) -> pa.Array:
        """The JSON text of each value of a column, null where the value is null."""
        return self._writer_for(len(array)).texts(array)

    def _writer_for(self, more: int) -> Writer:
        """The writer for this many values more; once compiled, always compiled."""
        self._seen += more
        if isinstance(self._writer, ValueWriter) and self._seen > few_rows():
            from logscope.report.json_columns import ColumnWriter  # loads Numba

            self._writer = ColumnWriter(self._separator, self._always)
        return self._writer


def few_rows() -> int:
    """How many rows are written without machine code."""
    return _FEW if _is_compiled() else _FEW_UNCOMPILED


@cache
def _is_compiled() -> bool:
    from logscope.report import json_kernels

    return engine.is_cached(json_kernels.write_rows)
