"""JSON text out of Arrow columns, without a Python object for each value.

This way a million sessions are written in a second or two. The work is done by `json_kernels`, compiled, over
what `json_layout` makes of the columns. Small outputs do not wait for a compiler: `json_values` does the
same, value by value in Python, and tests hold the two to the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from logscope.report.json_layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from logscope.arrow import SparseBatch
    from logscope.report.json_layout import Table, Written

_BLOCK = 1 << 19
"""Bytes written at once: few enough to stay in the processor's cache."""


class ColumnWriter:
    """Writes rows as JSON objects.

    Args:
        separator: written behind each object.
        always: names of the columns that each row has; others are left out where null. None for all.
    """

    def __init__(self, separator: bytes, always: frozenset[str] | None = None) -> None:
        self._separator = separator
        self._always = always
        self._out = np.empty(_BLOCK, np.uint8)
        self._written: Written = {}

    def blocks(self, batch: pa.RecordBatch) -> Iterator[memoryview]:
        """The rows of a batch, each followed by the separator, in blocks. A block is valid until the next is
        asked for.
        """
        layout = Layout(self._written)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            layout.member(name, column, always=self._has_always(name))
        return self._blocks(layout.table(batch.num_rows))

    def sparse_blocks(self, batch: SparseBatch) -> Iterator[memoryview]:
        """The same of rows of which each has few of the columns; those that all have come first."""
        layout = Layout(self._written)
        columns = batch.columns.items()
        for name, column in columns:
            if self._has_always(name):
                layout.member(name, column.dense(batch.num_rows), always=True)
        for name, column in columns:
            if not self._has_always(name):
                layout.sparse_member(name, column)
        return self._blocks(layout.table(batch.num_rows))

    def texts(self, array: pa.Array) -> pa.Array:
        """The JSON text of each value as a column of strings; null where the value is null."""
        layout = Layout()
        layout.add(array, b"", b"")
        data, offsets = layout.table(len(array)).written()
        buffers = [array.is_valid().buffers()[1], pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.large_string(), len(array), buffers)

    def _has_always(self, name: str) -> bool:
        return self._always is None or name in self._always

    def _blocks(self, table: Table) -> Iterator[memoryview]:
        row = 0
        while row < table.count:
            row, filled, self._out = table.write(row, self._out, ending=self._separator)
            yield self._out[:filled].data
