"""`logscope trace KEY FILES`: one client, message or address through all hops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from logscope.cli import options
from logscope.cli.options import LOGS, PERIOD, WRITTEN, with_run
from logscope.cli.run import Run
from logscope.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from logscope.trace import Moment, Story


@with_run(*PERIOD, *LOGS, *WRITTEN)
def trace(
    run: Run,
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="A client's address or network, queue id, Message-ID, sender, recipient or session id.",
        ),
    ],
    files: options.Files = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Show the N latest stories at most.")
    ] = 20,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Write a sequence diagram in Mermaid's language.")
    ] = False,
) -> int:
    """What one client, message or mail address went through, hop by hop, with the time between.

    Messages are followed through content filters and to the next hop by the id that its reply names.
    Exit code 1 when nothing is found.
    """
    from logscope.report import trace as report
    from logscope.trace import TABLES, Key, Stories

    if "-" in (files or ()):
        raise UsageError(
            "trace reads its input twice, so it cannot be standard input", hint="Save it to a file first."
        )
    stories = Stories(Key.parse(key))
    named = run.named(files)
    run.tables(named, TABLES, stories.add, tell=False, signals=False)
    told = stories.told()
    shown = told[-limit:]
    moments = _moments(run, named, shown)
    if mermaid:
        with run.output() as stream:
            stream.write(report.mermaid(shown, moments).encode("utf-8", "replace"))
    else:
        run.write(report.trace_report(key, shown, moments))
    run.note(report.summary(told) + (f"; the last {limit} of {len(told)} shown" if len(told) > limit else ""))
    return run.exit_code(ExitCode.FINE if told else ExitCode.FINDING)


def _moments(run: Run, files: Sequence[str], stories: list[Story]) -> list[Moment]:
    """The lines of the stories, from a second reading."""
    from logscope.sources import open_inputs
    from logscope.sources.reading import read_events
    from logscope.trace import Timeline

    if not stories:
        return []
    timeline = Timeline(stories)
    with open_inputs(files) as found:
        _, batches, _ = read_events(found.sources, run.settings)
        for batch in batches:
            timeline.add(batch)
    return timeline.moments()
