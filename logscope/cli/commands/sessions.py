"""`logscope sessions`: the joined tables, row by row."""

from __future__ import annotations

from typing import Annotated

import typer

from logscope.cli import options
from logscope.cli.run import start
from logscope.errors import UsageError


def sessions(
    files: options.Files = None,
    messages: Annotated[
        bool, typer.Option("--messages", help="Messages, one row for each queue id life.")
    ] = False,
    deliveries: Annotated[
        bool, typer.Option("--deliveries", help="Deliveries, one row for each recipient and attempt.")
    ] = False,
    since: options.Since = None,
    until: options.Until = None,
    where: options.Where = None,
    tz: options.Zone = None,
    year: options.Year = None,
    grammar: options.Grammar = None,
    haproxy_cfg: options.HaproxyCfg = None,
    log_format: options.LogFormat = None,
    postfix_config: options.PostfixConfig = None,
    output: options.Output = None,
    to: options.To = None,
    color: options.Color = None,
    quiet: options.Quiet = None,
) -> int:
    """Every session with what each hop knows of it and how surely the hops belong together."""
    run = start(
        options.said(
            since=since, until=until, where=where, tz=tz, year=year, grammar=grammar, haproxy_cfg=haproxy_cfg,
            log_format=log_format,
            postfix_config=postfix_config, output=output, color=color, quiet=quiet,
        ),
        to,
        "table",
    )  # fmt: skip
    if messages and deliveries:
        raise UsageError("--messages and --deliveries are two tables", hint="Run the command once for each.")
    table = "messages" if messages else "deliveries" if deliveries else "sessions"
    from logscope.report.beside import written_beside
    from logscope.report.writers import table_writer

    shown = run.target.output
    with (
        run.output() as stream,
        written_beside(table_writer(shown, table, stream, run.canvas)) as writer,
    ):
        run.tables(files, {table: ()}, lambda _table, batch: writer.write(batch), coded=shown != "table")
    return run.exit_code()
