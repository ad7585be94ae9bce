"""`logscope tail`: sessions as they happen."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from logscope.cli import options
from logscope.cli.run import start
from logscope.errors import UsageError
from logscope.settings import parse_span

_WARM_UP = 1 << 18
"""Bytes before the end of a file that are read to know what is open; what they tell of is not shown."""
_FORMATS = ("table", "jsonl", "csv")
_HOW = "How it is followed"


def tail(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES...",
            help="Logs that are being written, in any mix: files (which may appear later), patterns, "
            "directories, named pipes, `-` for standard input. Without any, the usual places are looked at.",
            show_default=False,
        ),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Lines instead of sessions, of all inputs in order of time.")
    ] = False,
    from_start: Annotated[
        bool,
        typer.Option(
            "--from-start",
            rich_help_panel=_HOW,
            help="Begin with what the files already have, not at their ends.",
        ),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--no-follow", rich_help_panel=_HOW, help="Wait for more; else stop where the files end."
        ),
    ] = True,
    grace: Annotated[
        str | None,
        typer.Option(
            "--grace",
            metavar="SPAN",
            rich_help_panel=_HOW,
            help="How late a line may come and still be put in its place: 200ms (unless told otherwise), 5s.",
        ),
    ] = None,
    tz: options.Zone = None,
    year: options.Year = None,
    grammar: options.Grammar = None,
    haproxy_cfg: options.HaproxyCfg = None,
    postfix_config: options.PostfixConfig = None,
    envelope: options.Envelope = None,
    output: options.Output = None,
    to: options.To = None,
    color: options.Color = None,
    quiet: options.Quiet = None,
) -> int:
    """Sessions as they happen, one line each: when, who, on which way, what became of it, why.

    Ctrl-C ends it with a summary. Files are followed through rotation.
    """
    started_at = time.monotonic()
    run = start(
        options.said(
            tz=tz, year=year, grammar=grammar, haproxy_cfg=haproxy_cfg, postfix_config=postfix_config,
            envelope=envelope, output=output, color=color, quiet=quiet,
        ),
        to,
        "table",
    )  # fmt: skip
    if run.target.output not in _FORMATS:
        raise UsageError(
            f"{run.target.output} is complete only at its end, which following does not have",
            hint="Use -o " + ", ".join(_FORMATS) + ".",
        )
    from logscope.cli.live import Loop, Stop, summary
    from logscope.cli.streams import opened_live
    from logscope.cli.view import View
    from logscope.live import GRACE, Live
    from logscope.sources.following import Following
    from logscope.sources.reading import prepare

    ready = prepare(run.settings)
    for note in ready.notes:
        run.note(note)
    warm_up = follow and not from_start
    with opened_live(run.target) as stream, Stop().listening() as stop:
        following = Following(run.named(files), from_end=_WARM_UP if warm_up else None)
        try:
            view = View(run.target, stream, run.canvas, ready.catalogue, events=events)
            live = Live(
                ready.catalogue,
                ready.options,
                grace=GRACE if grace is None else parse_span(grace, "--grace"),
                events=view.wants_evidence,
                text=not events,
                lines=events,
            )
            if following.over:
                raise following.problems[0]
            loop = Loop(live, following, view, tell=run.note, complain=run.complain)
            if warm_up:
                loop.warm_up(stop)
            loop.run(stop, follow=follow)
            loop.finish()
        finally:
            following.close()
    run.note(summary(live, started_at))
    return run.exit_code()
