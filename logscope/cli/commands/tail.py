"""`logscope tail`: sessions as they happen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from logscope.cli.commands.anomalies import Maintenance, Sensitivity
from logscope.cli.options import LOGS, WRITTEN, with_run
from logscope.cli.run import Run
from logscope.errors import UsageError
from logscope.settings import parse_span

if TYPE_CHECKING:
    from logscope.detect.anomalies.live import LiveFinder

_FORMATS = ("table", "jsonl", "csv")
_HOW = "How it is followed"
_WATCHED = "How it is watched"
_SYSLOG = "Syslog"
_JUDGING = "How it is judged"


@with_run("where", *LOGS, "envelope", *WRITTEN)
def tail(
    run: Run,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES...",
            help="Logs that are being written, in any mix: files (which may appear later), patterns, "
            "directories, named pipes, `-` for standard input, `journal:` for the systemd journal or "
            "`journal:UNIT,…` for a part of it. Without any, the usual places are looked at.",
            show_default=False,
        ),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Lines instead of sessions, of all inputs in order of time.")
    ] = False,
    top: Annotated[
        bool,
        typer.Option(
            "--top", help="One screen with all there is: rates, outcomes, servers, clients, inputs."
        ),
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
            help="How late a line may come and still be put in its place: 150ms (unless told otherwise), 5s.",
        ),
    ] = None,
    open_after: Annotated[
        str | None,
        typer.Option(
            "--open-after",
            metavar="SPAN",
            rich_help_panel=_HOW,
            help="Show sessions that have been open, or had mail in the queue, for so long, and again after "
            "twice as long; or `never`. Unless told otherwise 1min for people, never in -o jsonl and csv. "
            "What follows says in `amends` which rows it takes the place of.",
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="DIR",
            rich_help_panel=_HOW,
            help="Keep there what is read and what is open, and go on where the last run stopped, however it "
            "did. With --to nothing is lost and nothing comes twice.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="[ADDRESS:]PORT",
            rich_help_panel=_WATCHED,
            help="Serve metrics for Prometheus; to this machine, unless an address is given.",
        ),
    ] = None,
    metrics_file: Annotated[
        str | None,
        typer.Option(
            "--metrics-file",
            metavar="FILE.prom",
            rich_help_panel=_WATCHED,
            help="Write them every 15 seconds, for the node exporter's textfile collector.",
        ),
    ] = None,
    alert_exec: Annotated[
        list[str] | None,
        typer.Option(
            "--alert-exec",
            metavar="COMMAND",
            rich_help_panel=_WATCHED,
            help="Run it when something should be looked at; it gets a JSON object on its standard input.",
        ),
    ] = None,
    alert_webhook: Annotated[
        list[str] | None,
        typer.Option(
            "--alert-webhook", metavar="URL", rich_help_panel=_WATCHED, help="Post the same object there."
        ),
    ] = None,
    alert_where: Annotated[
        str | None,
        typer.Option(
            "--alert-where",
            metavar="CONDITION",
            rich_help_panel=_WATCHED,
            help="Alert of sessions too, of which this holds (as --where), each client once in ten minutes.",
        ),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "--listen",
            metavar="PLACE",
            rich_help_panel=_SYSLOG,
            help="Receive syslog: udp://ADDRESS:PORT, tcp://…, tls://…, unix:///PATH (datagrams), or a port "
            "alone for UDP and TCP of this machine.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="NETWORK",
            rich_help_panel=_SYSLOG,
            help="Who may send, besides this machine if nobody is named; `any` for everybody.",
        ),
    ] = None,
    tls_cert: Annotated[
        str | None,
        typer.Option(
            "--tls-cert", metavar="FILE", rich_help_panel=_SYSLOG, help="Certificate for tls://, PEM."
        ),
    ] = None,
    tls_key: Annotated[
        str | None,
        typer.Option(
            "--tls-key", metavar="FILE", rich_help_panel=_SYSLOG, help="Its key, if not in the same file."
        ),
    ] = None,
    tls_ca: Annotated[
        str | None,
        typer.Option(
            "--tls-ca",
            metavar="FILE",
            rich_help_panel=_SYSLOG,
            help="Senders need a certificate that this one signed.",
        ),
    ] = None,
    anomalies: Annotated[
        bool,
        typer.Option(
            "--anomalies",
            rich_help_panel=_WATCHED,
            help="Tell on standard error, and to whom alerts go, what is unusual as soon as it is known.",
        ),
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            rich_help_panel=_WATCHED,
            help="What is usual, as stored by `logscope anomalies --save-baseline`; else it is learnt.",
        ),
    ] = None,
    sensitivity: Sensitivity = None,
    maintenance: Maintenance = None,
    allow_client: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-client",
            metavar="ADDRESS",
            rich_help_panel=_JUDGING,
            help="An address or network that may do what it likes, such as a monitoring host.",
        ),
    ] = None,
) -> int:
    """Sessions as they happen, one line each: when, who, on which way, what became of it, why.

    Ctrl-C ends it with a summary. Files are followed through rotation.
    """
    if run.target.output not in _FORMATS:
        raise UsageError(
            f"{run.target.output} is complete only at its end, which following does not have",
            hint="Use -o " + ", ".join(_FORMATS) + ".",
        )
    if top and (events or state or run.target.path or "output" in run.flags):
        raise UsageError(
            "--top shows a screen, so --events, --state, --to and -o have no place",
            hint="Start a second run for them.",
        )
    if listen and not follow:
        raise UsageError("--listen waits for what comes, and --no-follow does not wait")
    from logscope.cli.alerts import Receivers
    from logscope.cli.live import Wishes, run_live
    from logscope.cli.metrics import parse_address
    from logscope.live import GRACE
    from logscope.sources.listen import Access, parse_endpoint, parse_networks, refuse_places

    refuse_places(files or ())
    receivers = Receivers(tuple(alert_exec or ()), tuple(alert_webhook or ()))
    if alert_where and not (alert_exec or alert_webhook):
        raise UsageError("--alert-where alerts nobody", hint="Add --alert-exec or --alert-webhook.")
    if (baseline or sensitivity or maintenance or allow_client) and not anomalies:
        raise UsageError(
            "--baseline, --sensitivity, --maintenance and --allow-client say how what is unusual is judged, "
            "which nobody asks for",
            hint="Add --anomalies.",
        )
    if anomalies and (events or state):
        raise UsageError(
            "--anomalies looks at sessions, and its memory is not kept: --events and --state have no place",
            hint="Start a second run for them.",
        )
    wishes = Wishes(
        files=files,
        endpoints=[endpoint for place in listen or () for endpoint in parse_endpoint(place)],
        access=Access(parse_networks(allow or ()), tls_cert, tls_key, tls_ca),
        from_start=from_start,
        follow=follow,
        grace=GRACE if grace is None else parse_span(grace, "--grace"),
        open_after=_open_after(open_after, shown=run.target.output == "table" and not events),
        events=events,
        state=Path(state) if state else None,
        top=top,
        alerts=receivers if alert_exec or alert_webhook else None,
        alert_where=alert_where,
        anomalies=_finder(baseline, sensitivity, maintenance, allow_client) if anomalies else None,
        metrics=parse_address(metrics) if metrics else None,
        metrics_file=Path(metrics_file) if metrics_file else None,
    )
    return run_live(run, wishes)


def _open_after(said: str | None, *, shown: bool) -> int | None:
    """When an open session is shown, in nanoseconds; None for never."""
    from logscope.live import FIRST_TOLD

    if said is None:
        return FIRST_TOLD if shown else None
    return None if said == "never" else parse_span(said, "--open-after")


def _finder(
    baseline: str | None,
    sensitivity: str | None,
    maintenance: list[str] | None,
    allowed: list[str] | None,
) -> LiveFinder:
    from logscope.cli.commands.anomalies import judging_options, read_baseline
    from logscope.detect.anomalies.live import LiveFinder

    judging = judging_options(sensitivity, allowed or (), maintenance or (), allow_option="--allow-client")
    return LiveFinder(judging, None if baseline is None else read_baseline(Path(baseline)))
