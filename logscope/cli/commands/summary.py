"""`logscope FILES`: one screen for the person on call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from logscope.cli import options
from logscope.cli.run import start

if TYPE_CHECKING:
    import pyarrow as pa


def summary(
    files: options.Files = None,
    since: options.Since = None,
    until: options.Until = None,
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
    """One screen: is mail flowing, what is broken, servers, refusals, deferrals, data quality.

    `logscope FILES` is short for it.
    """
    run = start(
        options.said(
            since=since, until=until, tz=tz, year=year, grammar=grammar, haproxy_cfg=haproxy_cfg,
            log_format=log_format,
            postfix_config=postfix_config, output=output, color=color, quiet=quiet,
        ),
        to,
        "table",
    )  # fmt: skip
    from logscope.detect import masking
    from logscope.report import clients
    from logscope.report import summary as screen

    gathered, judge = screen.Summary(), masking.Judge()

    def take(table: str, batch: pa.RecordBatch) -> None:
        if table == "deliveries":
            gathered.add_deliveries(batch)
        else:
            gathered.add_sessions(batch)
            judge.add(batch)

    columns = sorted({*clients.READS, *screen.READS, *masking.READS})
    result = run.tables(
        files, {"sessions": columns, "deliveries": ()}, take, tell=run.target.output != "table"
    )
    run.write(screen.summary_report(gathered, result.quality, judge.document(result.signals), result.notes))
    return run.exit_code()
