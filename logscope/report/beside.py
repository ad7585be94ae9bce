"""Tables are written by a thread of their own, while the next rows are being read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from logscope.report.writers import SparseWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from logscope.arrow import SparseBatch
    from logscope.report.writers import TableWriter

_WAITING = 2
"""Batches that are kept while others are written; whoever has more waits, so memory stays bounded."""


class Beside:
    """Hands a writer its rows in a thread. What goes wrong there is raised here, with the next rows."""

    def __init__(self, writer: TableWriter) -> None:
        self._writer = writer
        self._thread = ThreadPoolExecutor(1)
        self._due: deque[Future[None]] = deque()

    def write(self, batch: pa.RecordBatch) -> None:
        """Have some rows written. They must not change any more."""
        self._submit(self._writer.write, batch)

    def write_sparse(self, batch: SparseBatch) -> None:
        """Have some rows written, of which each has few of the columns."""
        if isinstance(self._writer, SparseWriter):
            self._submit(self._writer.write_sparse, batch)
        else:
            self._submit(self._writer.write, batch.dense())

    def close(self) -> None:
        """Wait for all that is due, and end the table."""
        while self._due:
            self._due.popleft().result()
        self._writer.close()

    def stop(self) -> None:
        """Let nothing more begin, and wait for what has begun."""
        self._thread.shutdown(cancel_futures=True)

    def _submit(self, write: Callable[..., None], batch: object) -> None:
        while len(self._due) >= _WAITING:
            self._due.popleft().result()
        self._due.append(self._thread.submit(write, batch))


@contextmanager
def written_beside(writer: TableWriter) -> Iterator[Beside]:
    """A writer that a thread hands its rows. It is closed at the end, unless something goes wrong."""
    beside = Beside(writer)
    try:
        yield beside
        beside.close()
    finally:
        beside.stop()
