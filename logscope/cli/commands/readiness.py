"""`logscope readiness FILES`: which lines of logging configuration would make more joins exact."""

from __future__ import annotations

from logscope.cli import options
from logscope.cli.options import LOGS, PERIOD, WRITTEN, with_run
from logscope.cli.run import Run
from logscope.errors import ExitCode, UsageError


@with_run(*PERIOD, *LOGS, *WRITTEN)
def readiness(
    run: Run,
    files: options.Files = None,
) -> int:
    """What to change in the logging of HAProxy, Postfix and rsyslog, each with the lines to add and its gain.

    The gain is measured on these logs. Exit code 1 when a setting is missing that would gain something.
    """
    from logscope.readiness import TABLES, Measured, advice
    from logscope.report.readiness import readiness_report
    from logscope.sources import open_inputs
    from logscope.sources.reading import read_events

    if "-" in (files or ()):
        hint = "Save it to a file first."
        raise UsageError("readiness reads its input twice, so it cannot be standard input", hint=hint)
    named = run.named(files)
    found = Measured()
    run.tables(named, TABLES, found.sessions, tell=False, signals=False)
    with open_inputs(named) as opened:
        _, batches, _ = read_events(opened.sources, run.settings)
        for batch in batches:
            found.events(batch)
    given = list(advice(found, run.settings.site))
    run.write(readiness_report(found, given))
    gains = any(one.missing and one.gain for one in given)
    return run.exit_code(ExitCode.FINDING if gains else ExitCode.FINE)
