"""`logscope anomalies`: what is unusual, since when, why it is believed, and what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from logscope.cli import options
from logscope.cli.options import LOGS, PERIOD, WRITTEN, with_run
from logscope.cli.run import Run
from logscope.errors import ExitCode, InputError, OutputError, Place, SettingsError, UsageError
from logscope.settings import parse_moment

if TYPE_CHECKING:
    import pyarrow as pa

    from logscope.detect.anomalies import Baseline, Finder, Options
    from logscope.report.model import Note

_JUDGING = "How it is judged"
_LEVELS = {"low": 0.6, "normal": 1.0, "high": 1.6}

Sensitivity = Annotated[
    str | None,
    typer.Option(
        "--sensitivity",
        metavar="LEVEL",
        rich_help_panel=_JUDGING,
        help="low, normal, high, or a number: 2 believes on half the evidence.",
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="ADDRESS",
        rich_help_panel=_JUDGING,
        help="An address or network that may do what it likes, such as a monitoring host.",
    ),
]
Maintenance = Annotated[
    list[str] | None,
    typer.Option(
        "--maintenance",
        metavar="FROM/TO",
        rich_help_panel=_JUDGING,
        help="Nothing that begins in this time is reported: '2026-07-26 22:00/2026-07-26 23:30'.",
    ),
]
UseBaseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        rich_help_panel=_JUDGING,
        help="What is usual, as stored by --save-baseline; else it is learnt from these logs.",
    ),
]
SaveBaseline = Annotated[
    str | None,
    typer.Option(
        "--save-baseline",
        metavar="FILE",
        rich_help_panel=_JUDGING,
        help="Store what these logs show to be usual.",
    ),
]


@with_run(*PERIOD, *LOGS, *WRITTEN)
def anomalies(
    run: Run,
    files: options.Files = None,
    sensitivity: Sensitivity = None,
    allow: Allow = None,
    maintenance: Maintenance = None,
    baseline: UseBaseline = None,
    save_baseline: SaveBaseline = None,
) -> int:
    """What is unusual in the logs: surges, silence, failing servers, attacks, slowness, missing lines.

    Each finding says what was observed and what would be ordinary, since when, who is behind it, what would
    make it wrong, and what to do. Tables stored with `logscope sessions -o parquet` are read as well as logs.

    Exit codes: 0 nothing unusual; 1 findings; 2 unusable input.
    """
    judging = judging_options(sensitivity, allow or (), maintenance or ())
    usual = None if baseline is None else read_baseline(Path(baseline))
    from logscope.detect import masking
    from logscope.detect.anomalies import READS, Finder
    from logscope.report.anomalies import anomalies_report
    from logscope.report.masking import headline

    finder, judge = Finder(judging, usual), masking.Judge()

    def take(table: str, batch: pa.RecordBatch) -> None:
        finder.add(table, batch)
        if table == "sessions":
            judge.add(batch)

    tables = [Path(name) for name in files or () if name.endswith(".parquet")]
    logs = [name for name in files or () if not name.endswith(".parquet")]
    notes: list[str] = []
    standing: list[Note] = []
    if tables:
        read_parquet(run, tables, finder)
    if logs or not tables:
        sessions = sorted({*READS["sessions"], *masking.READS})
        wanted = {**READS, "sessions": sessions}
        result = run.tables(logs or None, wanted, take, tell=run.target.output != "table")
        notes = result.notes
        standing = [note for note in headline(judge.document(result.signals)) if note.tone == "bad"]
    report = finder.report()
    if save_baseline is not None:
        write_baseline(Path(save_baseline), report.baseline)
    run.write(anomalies_report(report, notes, standing))
    return run.exit_code(ExitCode.FINDING if report.findings else ExitCode.FINE)


def judging_options(
    sensitivity: str | None,
    allow: Sequence[str],
    maintenance: Sequence[str],
    *,
    allow_option: str = "--allow",
) -> Options:
    """What the options say about how to judge.

    Raises:
        UsageError: one of them makes no sense.
    """
    from logscope.detect.anomalies import Options, allowance

    try:
        allowance(allow)
    except ValueError as error:
        raise UsageError(
            f"{allow_option}: {error}", hint="Give an address, or a network such as 192.0.2.0/24."
        ) from None
    return Options(_level(sensitivity), tuple(allow), tuple(_window(one) for one in maintenance))


def _level(text: str | None) -> float:
    if text is None:
        return 1.0
    if text in _LEVELS:
        return _LEVELS[text]
    try:
        level = float(text)
    except ValueError:
        level = 0.0
    if not 0.1 <= level <= 10:
        raise UsageError(
            f"--sensitivity: {text!r} is no level", hint="Give low, normal, high, or a number from 0.1 to 10."
        )
    return level


def _window(text: str) -> tuple[int, int]:
    begin, slash, end = text.partition("/")
    if not slash:
        raise UsageError(f"--maintenance: {text!r} has no end", hint="Write FROM/TO, such as 22:00/23:30.")
    now = datetime.now(UTC)
    first, last = parse_moment(begin, now, UTC), parse_moment(end, now, UTC)
    if last <= first:
        raise UsageError(f"--maintenance: {text!r} ends before it begins")
    return first, last


def read_baseline(path: Path) -> Baseline:
    """A stored baseline.

    Raises:
        SettingsError: it cannot be read, or is none.
    """
    from logscope.detect.anomalies.baseline import from_document

    hint = "Make one with --save-baseline."
    try:
        return from_document(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", place=Place(str(path)), hint=hint) from None
    except json.JSONDecodeError as error:
        raise SettingsError(error.msg, place=Place(str(path), error.lineno, error.colno), hint=hint) from None
    except ValueError as error:
        raise SettingsError(str(error), place=Place(str(path)), hint=hint) from None


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Store a baseline; a file that is there is replaced at once or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(baseline.document()) + "\n", "utf-8")
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror}", place=Place(str(path))) from None


# --- stored tables ------------------------------------------------------------------------------------------

_MARKS = {"sessions": "outcome", "messages": "recipient_count", "deliveries": "delay_s"}
_AHEAD_NS = 60 * 1_000_000_000


def read_parquet(run: Run, paths: Sequence[Path], finder: Finder) -> None:
    """Read tables in the order of time, sessions a little ahead of their messages.

    Raises:
        InputError: one cannot be read, or is none of the tables.
    """
    from logscope.detect.anomalies import READS
    from logscope.sources.reading import in_period

    streams = [(table, _batches(path, table, READS[table])) for path in paths for table in (_table_of(path),)]
    waiting: list[tuple[int, int, str, Any]] = []
    for number, (table, stream) in enumerate(streams):
        _next(waiting, number, table, stream)
    while waiting:
        waiting.sort(key=lambda entry: entry[:2])
        _, number, table, batch = waiting.pop(0)
        finder.add(table, in_period(table, batch, run.settings))
        _next(waiting, number, table, streams[number][1])


def _next(
    waiting: list[tuple[int, int, str, Any]], number: int, table: str, stream: Iterator[pa.RecordBatch]
) -> None:
    batch = next(stream, None)
    if batch is not None:
        ahead = -_AHEAD_NS if table == "sessions" else 0
        waiting.append((_first_time(table, batch) + ahead, number, table, batch))


def _first_time(table: str, batch: pa.RecordBatch) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in {
        "sessions": ("accepted_at", "mta_connected_at"),
        "messages": ("queued_at",),
        "deliveries": ("logged_at",),
    }[table]:
        if name in batch.schema.names:
            first = pc.min(batch.column(name).cast(pa.timestamp("ns", "UTC")).cast(pa.int64())).as_py()
            if first is not None:
                return int(first)
    return 0


def _table_of(path: Path) -> str:
    import pyarrow.parquet as pq

    try:
        names = set(pq.read_schema(path).names)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {_why(error)}", place=Place(str(path))) from None
    for table, mark in _MARKS.items():
        if mark in names:
            return table
    raise InputError(
        "is no table of sessions, messages or deliveries",
        place=Place(str(path)),
        hint="Make one with: logscope sessions -o parquet",
    )


def _batches(path: Path, table: str, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        present = set(file.schema_arrow.names)
        yield from file.iter_batches(batch_size=1 << 16, columns=[name for name in wanted if name in present])
    except (OSError, ValueError) as error:
        raise InputError(f"{table} cannot be read: {_why(error)}", place=Place(str(path))) from None


def _why(error: OSError | ValueError) -> str:
    """What the system says of a file, or the library of its content."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).splitlines()[0]
