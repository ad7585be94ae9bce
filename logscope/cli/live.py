"""A live run: its parts, made as somebody wished for, and what it ends with."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from logscope.cli.last_words import Counted, crowds, losses, summary
from logscope.cli.loop import Loop, Shows, Stop, Together

if TYPE_CHECKING:
    from logscope.cli.alerts import Alerts, Receivers
    from logscope.cli.keep import Keeper
    from logscope.cli.metrics import Metrics
    from logscope.cli.run import Run
    from logscope.cli.top import Top
    from logscope.cli.watch import Watch
    from logscope.detect.anomalies.live import LiveFinder
    from logscope.errors import ExitCode, LogscopeError
    from logscope.sources.following import Following
    from logscope.sources.listen import Access, Endpoint
    from logscope.where import Condition

_WARM_UP = 1 << 18
"""Bytes before the end of a file that are read to know what is open; what they tell of is not shown."""


@dataclass(frozen=True)
class Wishes:
    """What a live run was asked for.

    Attributes:
        files: names as on the command line; None for the usual places, unless there are endpoints.
        endpoints, access: where syslog is received.
        from_start: files begin with what they have already.
        follow: wait for more.
        grace: see `live.Live`.
        open_after: nanoseconds that a session is open before it is shown; None if it is not.
        events: lines are shown, not sessions.
        state: directory where the run is kept, so that the next one goes on; None for none.
        top: show it all on one screen.
        watch: the masking verdict is shown as it changes, not sessions; fail_on: see `masking.exit_status`.
        metrics: where they are served; metrics_file: where they are written; None for nowhere.
        alerts: who is told of what should be looked at; None for nobody.
        alert_where: of which sessions they are told; None for none.
        anomalies: judges what is unusual, which is told; None for nobody.
    """

    files: Sequence[str] | None
    endpoints: Sequence[Endpoint]
    access: Access
    from_start: bool
    follow: bool
    grace: int
    events: bool
    open_after: int | None = None
    state: Path | None = None
    top: bool = False
    watch: bool = False
    fail_on: Sequence[str] = ()
    metrics: tuple[str, int] | None = None
    metrics_file: Path | None = None
    alerts: Receivers | None = None
    alert_where: str | None = None
    anomalies: LiveFinder | None = None


def run_live(run: Run, wishes: Wishes) -> ExitCode:
    """Follow until the end and show what happens.

    Raises:
        LogscopeError: nothing can be read, or the output cannot be written.
    """
    from logscope.cli.view import View
    from logscope.correlate.tables import ALL_TEXT
    from logscope.live import Live
    from logscope.sources.following import Following
    from logscope.sources.reading import condition_of, prepare

    started_at = time.monotonic()
    names = run.named(wishes.files) if wishes.files or not wishes.endpoints else []
    with ExitStack() as stack:
        keeper = stack.enter_context(_keeper(run, wishes)) if wishes.state else None
        resumes = keeper is not None and keeper.resumes
        if resumes and wishes.from_start:
            run.note(
                f"--from-start: {wishes.state} keeps a run, and this one goes on where it stopped "
                "(to begin anew, name another --state)"
            )
        warm_up = wishes.follow and not wishes.from_start and not resumes
        following = Following(
            names,
            from_end=_WARM_UP if warm_up else None,
            resume=keeper.positions if keeper else None,
            cursors=keeper.cursors if keeper else None,
            follow=wishes.follow,
        )
        stack.enter_context(closing(following))
        stop = stack.enter_context(Stop().listening())
        _listen(run, wishes, following)
        if following.over and following.problems:
            raise following.problems[0]
        ready = prepare(run.settings)
        for note in ready.notes:
            run.note(note)
        table, of = ("events", ready.catalogue) if wishes.events else ("sessions", None)
        condition = condition_of(run.settings, table, of)
        view: Shows
        watch: Watch | None = None
        tell, complain = run.note, run.complain
        if wishes.top:
            view = stack.enter_context(_top(run, following, stop, condition))
            tell, complain = view.remark, partial(_complain_on, view, run)
        elif wishes.watch:
            view = watch = _watch(run, stack.enter_context(_output(run, keeper)))
        else:
            view = View(
                run.target,
                stack.enter_context(_output(run, keeper)),
                run.canvas,
                ready.catalogue,
                events=wishes.events,
                condition=condition,
                continues=keeper is not None and keeper.continues,
            )
        shown = Together([view])
        if wishes.metrics or wishes.metrics_file:
            shown.views.append(stack.enter_context(_metrics(run, wishes, following)))
        alerts = None
        if wishes.alerts:
            alerts = stack.enter_context(_alerts(run, wishes.alerts, wishes.alert_where, tell))
            shown.views.append(alerts)
        if wishes.anomalies:
            from logscope.cli.unusual import Unusual

            shown.views.append(Unusual(wishes.anomalies, tell, alerts))
        wanted = f"{wishes.events} {shown.wants_evidence} {shown.wants_signals}"
        kept = keeper.live(ready, wanted) if keeper else None
        live = kept or Live(
            ready.catalogue,
            ready.options,
            grace=wishes.grace,
            events=shown.wants_evidence,
            deliveries=wishes.anomalies is not None,
            text=0 if wishes.events else ALL_TEXT,
            lines=wishes.events,
            signals=shown.wants_signals,
        )
        loop = Loop(
            live, following, shown, tell=tell, complain=complain, keeper=keeper, open_after=wishes.open_after
        )
        stack.enter_context(closing(loop))
        loop.reread = partial(_reread, run, keeper, wanted, loop)
        if keeper:
            shown.since = keeper.since
            for note in keeper.notes:
                run.note(note)
        before = Counted(live) if kept else None
        if kept:
            loop.go_on()
        elif warm_up:
            loop.warm_up(stop)
        gc.freeze()  # what is loaded by now stays: the collector need not look through it again and again
        if loop.run(stop, follow=wishes.follow) and keeper:
            loop.pause()
        else:
            loop.finish()
        told = Counted(live) if before is None else Counted(live).without(before)
        shown_rows = view.shown if isinstance(view, View) and not wishes.events else None
        last_words = [summary(told, started_at, shown_rows), *losses(following), *crowds(live)]
    for words in last_words:
        run.note(words)
    if watch is not None:
        from logscope.detect.masking import exit_status

        return run.exit_code(exit_status(watch.document, wishes.fail_on))
    return run.exit_code()


def _reread(run: Run, keeper: Keeper | None, wanted: str, loop: Loop) -> None:
    """Read the configuration anew and go on with it; one that makes no sense is told, and changes nothing."""
    from logscope.errors import LogscopeError
    from logscope.sources.reading import prepare

    before = run.settings
    try:
        run.reread()
        ready = prepare(run.settings)
    except LogscopeError as error:
        run.settings = before
        loop.tell(f"the configuration stays as it was: {error}")
        return
    for note in ready.notes:
        loop.tell(note)
    loop.reconfigure(ready)
    if keeper is not None:
        keeper.rekey(ready, wanted)
    loop.tell("the configuration was read anew")


def _watch(run: Run, stream: IO[bytes]) -> Watch:
    from logscope.cli.watch import Watch
    from logscope.detect.masking import Judge

    return Watch(Judge(run.settings.site), stream, as_json=run.target.output == "jsonl")


@contextmanager
def _metrics(run: Run, wishes: Wishes, following: Following) -> Iterator[Metrics]:
    from logscope.cli.metrics import Metrics

    with closing(Metrics(following, wishes.metrics, wishes.metrics_file)) as metrics:
        if wishes.metrics:
            host = wishes.metrics[0]
            run.note(f"metrics at http://{f'[{host}]' if ':' in host else host}:{metrics.port}/metrics")
        yield metrics


@contextmanager
def _alerts(
    run: Run, receivers: Receivers, where: str | None, tell: Callable[[str], None]
) -> Iterator[Alerts]:
    from logscope.cli.alerts import Alerts, Post
    from logscope.detect.masking import Judge
    from logscope.sources.reading import condition_of

    wanted = replace(run.settings, where=where, now=datetime.now(UTC))
    condition = condition_of(wanted, "sessions") if where else None
    judge = Judge(run.settings.site)
    with closing(Alerts(Post(receivers), condition, tell, judge)) as alerts:
        yield alerts


@contextmanager
def _top(run: Run, following: Following, stop: Stop, condition: Condition | None) -> Iterator[Top]:
    from logscope.cli.top import Top, terminal
    from logscope.sources.reading import condition_of

    def asked(text: str) -> Condition | None:
        wanted = replace(run.settings, where=text or None, now=datetime.now(UTC))
        return condition_of(wanted, "sessions")

    with terminal() as screen:
        where = run.settings.where or ""
        yield Top(screen, following, stop, condition, where, asked, colour=run.target.colour)


def _complain_on(view: Top, run: Run, problem: LogscopeError) -> None:
    """Tell of an input that cannot be read, where a whole screen is shown."""
    run.problems.append(problem)
    view.remark(problem)


@contextmanager
def _keeper(run: Run, wishes: Wishes) -> Iterator[Keeper]:
    from logscope.cli.keep import Keeper

    assert wishes.state is not None
    with closing(Keeper(wishes.state, run.target)) as keeper:
        yield keeper


@contextmanager
def _output(run: Run, keeper: Keeper | None) -> Iterator[IO[bytes]]:
    """What the view writes to."""
    from logscope.cli.streams import opened_live

    if keeper is not None and run.target.path is not None:
        yield keeper.stream(None)
    else:
        with opened_live(run.target) as stream:
            yield keeper.stream(stream) if keeper is not None else stream


def _listen(run: Run, wishes: Wishes, following: Following) -> None:
    if not wishes.endpoints:
        return
    from logscope.sources.listen import listen

    following.listen(listen(wishes.endpoints, wishes.access))
    run.note("listening on " + ", ".join(one.name for one in following.received))
