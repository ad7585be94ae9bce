"""`logscope parse`: every line with its kind and typed fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from logscope.cli import options
from logscope.cli.options import LOGS, PERIOD, WRITTEN, with_run
from logscope.cli.run import Run
from logscope.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from logscope.arrow import SparseBatch


@with_run(*PERIOD, "where", *LOGS, "envelope", *WRITTEN)
def parse(
    run: Run,
    files: options.Files = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Only lines of this kind: postscreen.connect, postscreen, unparsed.",
        ),
    ] = None,
    unparsed: Annotated[
        bool,
        typer.Option(
            "--unparsed", help="Only the lines that nothing understood, grouped by shape, with counts."
        ),
    ] = False,
) -> int:
    """Each input line, in input order, with its kind and typed fields; lines nothing understood included."""
    from logscope.cli.progress import progress
    from logscope.report.wording import number
    from logscope.sources.reading import prepare, read_sparse_events

    if kind:
        _check_kind(kind, prepare(run.settings).catalogue.kinds)
    with run.inputs(files) as sources:
        schema, sparse, counts = read_sparse_events(sources, run.settings)
        with progress(sources, wanted=not run.settings.quiet and not run.on_terminal):
            if unparsed:
                _write_shapes(run, (_of_kind(batch.dense(), kind) for batch in sparse))
            else:
                _write_rows(run, schema, sparse, kind)
        run.complain_of(sources)
    for remark in counts.remarks:
        run.note(remark)
    became = ("parsed", "foreign", "unparsed")
    said = ", ".join(f"{number(getattr(counts, name))} {name}" for name in became)
    run.note(f"{number(counts.lines_read)} lines: {said}")
    return run.exit_code()


def _write_rows(run: Run, schema: pa.Schema, batches: Iterable[SparseBatch], kind: str | None) -> None:
    """Write rows of which each has few of the hundreds of columns, without those that it has not."""
    from logscope.report.beside import written_beside
    from logscope.report.wording import bounds
    from logscope.report.writers import table_writer

    shown, period = run.target.output, bounds(run.settings.since, run.settings.until)
    with (
        run.output() as stream,
        written_beside(table_writer(shown, "events", stream, run.canvas, schema, period=period)) as writer,
    ):
        for batch in batches:
            if kind:
                writer.write(_of_kind(batch.dense(), kind))
            else:
                writer.write_sparse(batch)


def _write_shapes(run: Run, batches: Iterable[pa.RecordBatch]) -> None:
    from logscope.report.shapes import Shapes

    shapes = Shapes()
    for batch in batches:
        shapes.add(batch)
    run.write(shapes.report())


def _check_kind(kind: str, kinds: Sequence[str]) -> None:
    """See whether there is such a kind, or a program with kinds.

    Raises:
        UsageError: there is none.
    """
    known = {"unparsed", "foreign", *kinds, *(each.partition(".")[0] for each in kinds)}
    if kind not in known:
        raise UsageError(
            f"--kind: there is no kind {kind!r}",
            hint=did_you_mean(kind, sorted(known)) or "`logscope grammar list` names the programs.",
        )


def _of_kind(batch: pa.RecordBatch, kind: str | None) -> pa.RecordBatch:
    """The rows of a kind, or of all kinds of a program; all rows without one."""
    if not kind:
        return batch
    import pyarrow.compute as pc

    kinds = batch.column("kind")
    return batch.filter(pc.or_(pc.equal(kinds, kind), pc.starts_with(kinds, kind + ".")))
