"""`logscope report`: tables of who, how much, and what became of it."""

from __future__ import annotations

import typer

from logscope.cli import options
from logscope.cli.run import start

app = typer.Typer(help="Who, how much, and what became of it.", no_args_is_help=True)


@app.command()
def clients(
    files: options.Files = None,
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
    """Sessions, outcomes, mails, bytes and durations of each client, most sessions first."""
    run = start(
        options.said(
            since=since, until=until, where=where, tz=tz, year=year, grammar=grammar, haproxy_cfg=haproxy_cfg,
            log_format=log_format,
            postfix_config=postfix_config, output=output, color=color, quiet=quiet,
        ),
        to,
        "table",
    )  # fmt: skip
    from logscope.report.clients import READS, ClientTable, clients_report

    gathered = ClientTable()
    result = run.tables(files, {"sessions": READS}, lambda _table, batch: gathered.add(batch))
    run.write(clients_report(gathered, result.quality))
    return run.exit_code()
