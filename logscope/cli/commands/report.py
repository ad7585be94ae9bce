"""`logscope report`: tables of who, how much, and what became of it."""

from __future__ import annotations

from typing import Annotated

import typer

from logscope.cli import options
from logscope.cli.options import LOGS, PERIOD, WRITTEN, with_run
from logscope.cli.run import Run

app = typer.Typer(help="Who, how much, and what became of it.", no_args_is_help=True)


@app.command()
@with_run(*PERIOD, "where", *LOGS, *WRITTEN)
def clients(
    run: Run,
    files: options.Files = None,
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            help="Which clients come first: those with the most messages, rejects, rejected, "
            "duration_ms_p95, last_seen, ….",
        ),
    ] = "sessions",
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="The first N clients only; people are shown 30."),
    ] = None,
) -> int:
    """Sessions, outcomes, mails, bytes and durations of each client, most sessions first."""
    from logscope.report.clients import READS, ClientTable, clients_report, sort_of

    by = sort_of(sort)
    gathered = ClientTable()
    result = run.tables(files, {"sessions": READS}, lambda _table, batch: gathered.add(batch), signals=False)
    run.write(clients_report(gathered, result.quality, sort=by, limit=limit))
    return run.exit_code()
