"""`logscope sessions`: the joined tables, row by row."""

from __future__ import annotations

from typing import Annotated

import typer

from logscope.cli import options
from logscope.cli.options import LOGS, PERIOD, WRITTEN, with_run
from logscope.cli.run import Run
from logscope.errors import UsageError


@with_run(*PERIOD, "where", *LOGS, *WRITTEN)
def sessions(
    run: Run,
    files: options.Files = None,
    messages: Annotated[
        bool, typer.Option("--messages", help="Messages, one row for each queue id life.")
    ] = False,
    deliveries: Annotated[
        bool, typer.Option("--deliveries", help="Deliveries, one row for each recipient and attempt.")
    ] = False,
) -> int:
    """Every session with what each hop knows of it and how surely the hops belong together."""
    if messages and deliveries:
        raise UsageError("--messages and --deliveries are two tables", hint="Run the command once for each.")
    table = "messages" if messages else "deliveries" if deliveries else "sessions"
    from logscope.report.beside import written_beside
    from logscope.report.wording import bounds
    from logscope.report.writers import table_writer

    period = bounds(run.settings.since, run.settings.until)
    shown = run.target.output
    with (
        run.output() as stream,
        written_beside(table_writer(shown, table, stream, run.canvas, period=period)) as writer,
    ):
        run.tables(
            files,
            {table: ()},
            lambda _table, batch: writer.write(batch),
            coded=shown != "table",
            signals=False,
        )
    return run.exit_code()
