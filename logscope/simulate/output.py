"""Writes what a simulation makes: log files with the truth beside them, or tables.

Blocks are drawn one after the other, because each depends on those before it. What is made of a block
depends on nothing else, so that worker threads make the next ones while the last ones are written, in order.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope.errors import OutputError, UsageError
from logscope.grammar.catalogue import Catalogue
from logscope.report.writers import JsonLinesWriter, TableWriter
from logscope.simulate.journal import NOTHING, Journal, Piece, Renderer, Run, Style
from logscope.simulate.layout import *
from logscope.simulate.plan import labels
from logscope.simulate.shapes import SESSION_SHIFT, TAG_BITS
from logscope.simulate.simulation import BLOCK, Block, Simulation
from logscope.simulate.tables import ENCODED, PLAIN, TABLES, WORDS, Tables, nothing

ROW_GROUP = 1 << 17
"""Rows of a group in Parquet, at least: each group has a header for each column."""
Report = Callable[[int], None]
"""Told how many sessions are done."""
_T = TypeVar("_T")

THREADS = 2
TRUTHS = ("jsonl", "parquet")
ENCODINGS = {"parquet": WORDS, "arrow": ENCODED, "jsonl": PLAIN}
"""Forms of tables. In Parquet each piece of a file would have its own copy of all clients."""
TABLE_FORMS = tuple(ENCODINGS)
LINE_COLUMNS = ("balancer_line", "postscreen_line", "smtpd_line")
"""Columns of the truth: the number of the session's line in its file, from 1; null where there is none."""


@dataclass
class Summary:
    """What was written: rows or lines by the name of the file, and bytes in all."""

    counts: dict[str, int] = field(default_factory=dict)
    size: int = 0


def write_logs(
    simulation: Simulation,
    style: Style,
    catalogue: Catalogue,
    directory: Path,
    *,
    truth: str | None = None,
    rotate_s: float | None = None,
    report: Report = lambda _done: None,
    threads: int = THREADS,
) -> Summary:
    """Write the log files of a site into a directory, which is made.

    Args:
        truth: `jsonl` or `parquet`: also write what really was, `truth.…` with a row for each session, in the
            order of arrival, and `truth-messages.…`; and `labels.json` with the faults.
        rotate_s: begin new files so often; the older ones have the date at which they were put away in
            their names, as logrotate's `dateext` gives it.

    Raises:
        OutputError: a file cannot be written.
    """
    renderer = Renderer(simulation, style, catalogue)
    journal = Journal(simulation, style)
    no_lines = [NOTHING for _ in journal.files]
    journal.add(renderer.notices(), simulation.options.start_ns)
    summary = Summary()
    with _explained(directory), ExitStack() as stack:
        directory.mkdir(parents=True, exist_ok=True)
        files = stack.enter_context(_Files(directory, journal.files, rotate_s, simulation))
        told = _Truth(simulation, directory, truth, stack) if truth else None
        done = 0

        def write(runs: list[Run], until: int | None) -> None:
            for turn in files.turns_before(until):
                _written(journal.add(runs, turn), files, told)
                runs = no_lines
                files.turn(turn)
            _written(journal.add(runs, until), files, told)
            if told:
                told.settle(until)

        for block, runs in _ahead(simulation.blocks(), renderer.render, threads):
            if told:
                told.add(block)
            write(runs, int(block.sessions[S_AT, -1]))
            done += block.sessions.shape[1]
            report(done)
        write(no_lines, None)
        if told:
            told.close()
            summary.counts.update(told.counts)
        _write_labels(simulation, directory, enabled=bool(truth))
        summary.counts.update(files.counts)
        summary.size = files.size
    return summary


def write_tables(
    simulation: Simulation,
    directory: Path,
    form: str,
    *,
    report: Report = lambda _done: None,
    threads: int = THREADS,
) -> Summary:
    """Write the session, message and delivery tables into a directory, which is made, and `labels.json`.

    Args:
        form: one of `TABLE_FORMS`.

    Raises:
        OutputError: a file cannot be written.
    """
    summary = Summary({f"{name}.{form}": 0 for name in TABLES})
    encoding = ENCODINGS[form]
    with _explained(directory), ExitStack() as stack:
        directory.mkdir(parents=True, exist_ok=True)
        empty = Tables(simulation, nothing(), encoding)
        writers: dict[str, TableWriter] = {}
        for name in TABLES:
            stream = stack.enter_context((directory / f"{name}.{form}").open("wb"))
            writers[name] = _table_writer(form, stream, empty.table(name).schema)
        done = 0

        def write(name: str, found: Future[dict[str, pa.RecordBatch]]) -> int:
            batch = found.result()[name]
            writers[name].write(batch)
            return len(batch)

        def made(block: Block) -> dict[str, pa.RecordBatch]:
            found = Tables(simulation, block, encoding)
            return {name: found.table(name) for name in TABLES}

        for count, rows in _tables_written(simulation.blocks(), made, write, threads):
            for name, number in rows.items():
                summary.counts[f"{name}.{form}"] += number
            done += count
            report(done)
        for writer in writers.values():
            writer.close()
        _write_labels(simulation, directory, enabled=True)
    summary.size = sum((directory / f"{name}.{form}").stat().st_size for name in TABLES)
    return summary


def _tables_written(
    blocks: Iterator[Block],
    make: Callable[[Block], dict[str, pa.RecordBatch]],
    write: Callable[[str, Future[dict[str, pa.RecordBatch]]], int],
    threads: int,
) -> Iterator[tuple[int, dict[str, int]]]:
    """Make tables of blocks and write them, each table in a thread of its own, in order, while the next
    blocks are drawn. Gives of each block how many sessions it has, and how many rows of each table it gave.
    """
    waiting: deque[tuple[int, dict[str, Future[int]]]] = deque()

    def first() -> tuple[int, dict[str, int]]:
        count, written = waiting.popleft()
        return count, {name: future.result() for name, future in written.items()}

    with ExitStack() as stack:
        makers = stack.enter_context(ThreadPoolExecutor(max(threads, 1)))
        writing = {name: stack.enter_context(ThreadPoolExecutor(1)) for name in TABLES}
        try:
            for block in blocks:
                batches = makers.submit(make, block)
                written = {name: thread.submit(write, name, batches) for name, thread in writing.items()}
                waiting.append((block.sessions.shape[1], written))
                if len(waiting) > threads + 1:
                    yield first()
            while waiting:
                yield first()
        finally:
            for _, written in waiting:
                for future in written.values():
                    future.cancel()


# --- threads ------------------------------------------------------------------------------------------------


def _ahead(blocks: Iterator[Block], make: Callable[[Block], _T], threads: int) -> Iterator[tuple[Block, _T]]:
    """What is made of each block, in order, while later ones are being made."""
    waiting: deque[tuple[Block, Future[_T]]] = deque()
    with ThreadPoolExecutor(max(threads, 1)) as workers:
        try:
            for block in blocks:
                waiting.append((block, workers.submit(make, block)))
                if len(waiting) > threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


# --- files --------------------------------------------------------------------------------------------------


class _explained:  # noqa: N801 (a context manager that reads like a function)
    """Makes an error of the operating system one that the user is told."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            name = error.filename or self._directory
            raise OutputError(f"{name}: cannot be written: {error.strerror or error}") from error


class _Files:
    """The log files, and their turns."""

    def __init__(
        self, directory: Path, names: list[str], rotate_s: float | None, simulation: Simulation
    ) -> None:
        if rotate_s is not None and not rotate_s >= 60:
            raise UsageError("log files are rotated every minute at most")
        self._directory = directory
        self._names = names
        self._period = None if rotate_s is None else round(rotate_s * 1e9)
        start = simulation.options.start_ns
        self._next = 0 if self._period is None else (start // self._period + 1) * self._period
        self._open: list[IO[bytes]] = []
        self.counts = dict.fromkeys(names, 0)
        self.size = 0

    def __enter__(self) -> _Files:
        for name in self._names:
            self._open.append((self._directory / name).open("wb", buffering=0))
        return self

    def __exit__(self, *_error: object) -> None:
        for file in self._open:
            file.close()

    def write(self, number: int, piece: Piece) -> None:
        """Write lines of one file."""
        view = memoryview(piece.data)
        while view:
            view = view[self._open[number].write(view) or 0 :]
        self.counts[self._names[number]] += len(piece.tags)
        self.size += len(piece.data)

    def turns_before(self, moment: int | None) -> Iterable[int]:
        """When the files are rotated next before this moment."""
        if self._period is None or moment is None:
            return ()
        return range(self._next, moment, self._period)

    def turn(self, moment: int) -> None:
        """Put the files away and begin new ones."""
        assert self._period is not None
        day = datetime.fromtimestamp(moment // 1_000_000_000, UTC)
        date = f"{day:%Y%m%d}" if self._period % (86_400 * 10**9) == 0 else f"{day:%Y%m%d-%H%M}"
        for number, name in enumerate(self._names):
            self._open[number].close()
            (self._directory / name).rename(self._directory / f"{name}-{date}")
            self._open[number] = (self._directory / name).open("wb", buffering=0)
        self._next += self._period


def _written(pieces: list[Piece], files: _Files, told: _Truth | None) -> None:
    for number, piece in enumerate(pieces):
        files.write(number, piece)
        if told:
            told.see(piece)


def _write_labels(simulation: Simulation, directory: Path, *, enabled: bool) -> None:
    if not enabled:
        return
    rows = []
    for row in labels(simulation.options):
        moments = {name: _iso(row[name]) for name in ("start", "end")}
        rows.append({**row, **moments})
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    (directory / "labels.json").write_text(text + "\n", encoding="utf-8")


def _iso(nanoseconds: object) -> str:
    assert isinstance(nanoseconds, int)
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // 1000)
    return moment.isoformat(timespec="milliseconds")


class _ArrowWriter:
    """Arrow's own file format, uncompressed: the quickest to write and to read."""

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        self._file = pa.ipc.new_file(stream, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._file.write_batch(batch)

    def close(self) -> None:
        self._file.close()


class _ParquetWriter:
    """Parquet as it is quickest written: words by dictionaries that are there already, numbers by their
    differences, other text lightly compressed.
    """

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type)]
        texts = [name for name, kind in leaves if pa.types.is_string(kind)]
        self._file = pq.ParquetWriter(
            stream,
            schema,
            compression={name: "lz4" if name in texts else "none" for name, _ in leaves},
            use_dictionary=[name for name, kind in leaves if pa.types.is_dictionary(kind) or _is_small(name)],
            column_encoding={
                name: "DELTA_BINARY_PACKED"
                for name, kind in leaves
                if (pa.types.is_integer(kind) or pa.types.is_timestamp(kind)) and not _is_small(name)
            },
            write_statistics=False,
        )
        self._waiting: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        if sum(map(len, self._waiting)) >= ROW_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        if self._waiting:
            self._file.write_table(pa.Table.from_batches(self._waiting), ROW_GROUP + BLOCK)
        self._waiting = []

    def close(self) -> None:
        self._write_group()
        self._file.close()


def _leaves(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """The columns that Parquet makes of a column, by their names there."""
    if pa.types.is_map(kind):
        yield from _leaves(f"{name}.key_value.key", kind.key_type)
        yield from _leaves(f"{name}.key_value.value", kind.item_type)
    elif pa.types.is_list(kind):
        yield from _leaves(f"{name}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type)
    else:
        yield name, kind


def _is_small(name: str) -> bool:
    """Whether a column of numbers has so few values that a dictionary of them is the quickest."""
    return name in _FEW_VALUES


_FEW_VALUES = ("links.list.element.probability", "commands.key_value.value.list.element", "relay_port")


def _table_writer(form: str, stream: IO[bytes], schema: pa.Schema) -> TableWriter:
    if form == "jsonl":
        return JsonLinesWriter(stream)
    return _ArrowWriter(stream, schema) if form == "arrow" else _ParquetWriter(stream, schema)


# --- the truth ----------------------------------------------------------------------------------------------


class _Truth:
    """Rows of the truth, kept back until all lines of their sessions have been written and have numbers."""

    def __init__(self, simulation: Simulation, directory: Path, form: str, stack: ExitStack) -> None:
        if form not in TRUTHS:
            raise UsageError(f"the truth is written as {' or '.join(TRUTHS)}, not as {form!r}")
        self._simulation = simulation
        self._waiting: deque[tuple[pa.RecordBatch, int, int]] = deque()
        self._numbers: deque[NDArray[np.int64]] = deque()
        self._first = 0
        self.counts: dict[str, int] = {}
        self._writers: dict[str, TableWriter] = {}
        empty = Tables(simulation, nothing())
        schemas = {
            f"truth.{form}": _with_lines(empty.truth(), np.empty((0, 3), np.int64)).schema,
            f"truth-messages.{form}": empty.table("messages").schema,
        }
        for name, schema in schemas.items():
            stream = stack.enter_context((directory / name).open("wb"))
            self._writers[name] = _table_writer(form, stream, schema)
            self.counts[name] = 0
        self._names = tuple(schemas)

    def add(self, block: Block) -> None:
        """Take the sessions of the next block."""
        found = Tables(self._simulation, block)
        batch = found.truth()
        self._waiting.append((batch, _last_line_at(block), block.sessions.shape[1]))
        self._numbers.append(np.full((block.sessions.shape[1], 3), -1, np.int64))
        self._write(self._names[1], found.table("messages"))

    def see(self, piece: Piece) -> None:
        """Take the numbers of lines that have been written."""
        which = piece.tags & (1 << TAG_BITS) - 1
        places = np.flatnonzero(which)
        sessions = (piece.tags[places] >> SESSION_SHIFT) - self._first
        numbers = piece.first + places
        start = 0
        for table in self._numbers:
            mine = (sessions >= start) & (sessions < start + len(table))
            table[sessions[mine] - start, which[places][mine] - 1] = numbers[mine]
            start += len(table)

    def settle(self, until: int | None) -> None:
        """Write the blocks whose lines were all logged before a moment (ns): they have been written."""
        while self._waiting and (until is None or self._waiting[0][1] < until):
            self._put_first()

    def _put_first(self) -> None:
        batch, _, count = self._waiting.popleft()
        self._write(self._names[0], _with_lines(batch, self._numbers.popleft()))
        self._first += count

    def _write(self, name: str, batch: pa.RecordBatch) -> None:
        self._writers[name].write(batch)
        self.counts[name] += batch.num_rows

    def close(self) -> None:
        """Complete the files."""
        for writer in self._writers.values():
            writer.close()


def _last_line_at(block: Block) -> int:
    """When the last of the lines that the truth names is logged, ns."""
    s = block.sessions
    ends = s[S_AT] + s[S_DURATION] * MILLISECOND
    return int(max(ends.max(), s[S_CONNECTED].max(), s[S_SMTPD_AT].max()))


def _with_lines(batch: pa.RecordBatch, numbers: NDArray[np.int64]) -> pa.RecordBatch:
    columns: list[Any] = [pa.array(numbers[:, n], mask=numbers[:, n] < 0) for n in range(len(LINE_COLUMNS))]
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], names=[*batch.schema.names, *LINE_COLUMNS])
