"""Tables are written by a thread of their own, while the next rows are being read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from logscope.beside import Beside
from logscope.report.writers import SparseWriter

if TYPE_CHECKING:
    import pyarrow as pa

    from logscope.arrow import SparseBatch
    from logscope.report.writers import TableWriter

_WAITING = 2
"""Batches that are kept while others are written."""


class WriterBeside:
    """Hands a writer its rows in a thread. What goes wrong there is raised here, with the next rows."""

    def __init__(self, writer: TableWriter, beside: Beside) -> None:
        self._writer, self._beside = writer, beside

    def write(self, batch: pa.RecordBatch) -> None:
        """Have some rows written. They must not change any more."""
        self._beside.do(self._writer.write, batch)

    def write_sparse(self, batch: SparseBatch) -> None:
        """Have some rows written, of which each has few of the columns."""
        if isinstance(self._writer, SparseWriter):
            self._beside.do(self._writer.write_sparse, batch)
        else:
            self._beside.do(self._writer.write, batch.dense())


@contextmanager
def written_beside(writer: TableWriter) -> Iterator[WriterBeside]:
    """A writer that a thread hands its rows. It is closed at the end, unless something goes wrong."""
    with Beside(_WAITING) as beside:
        yield WriterBeside(writer, beside)
        beside.finish()
        writer.close()
