"""`logscope report`: tables of who, how much, and what became of it."""

from __future__ import annotations

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
) -> int:
    """Sessions, outcomes, mails, bytes and durations of each client, most sessions first."""
    from logscope.report.clients import READS, ClientTable, clients_report

    gathered = ClientTable()
    result = run.tables(files, {"sessions": READS}, lambda _table, batch: gathered.add(batch))
    run.write(clients_report(gathered, result.quality))
    return run.exit_code()
