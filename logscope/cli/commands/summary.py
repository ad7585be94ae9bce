"""`logscope FILES`: one screen for the person on call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from logscope.cli import options
from logscope.cli.options import LOGS, PERIOD, WRITTEN, with_run
from logscope.cli.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


@with_run(*PERIOD, *LOGS, *WRITTEN)
def summary(
    run: Run,
    files: options.Files = None,
) -> int:
    """One screen: is mail flowing, what is broken, servers, refusals, deferrals, data quality.

    `logscope FILES` is short for it.
    """
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
    if run.target.output == "table" and result.counts.lines_read and not result.counts.parsed:
        return run.exit_code()  # that nothing was understood has been told; a screen of zeros says no more
    run.write(screen.summary_report(gathered, result.quality, judge.document(result.signals), result.notes))
    return run.exit_code()
