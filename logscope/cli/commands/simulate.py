"""`logscope simulate`: the logs of a site in simulated time, at any size, with what really was."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from logscope.cli.options import with_run
from logscope.cli.run import Run
from logscope.errors import ExitCode, OutputError, UsageError

if TYPE_CHECKING:
    from logscope.simulate.journal import Style
    from logscope.simulate.simulation import Simulation
    from logscope.simulate.site import Host, Options

_SITE = "The site"
_TRAFFIC = "Its traffic"
_FAULTS = "What goes wrong"
_LOGS = "Its logs"

_PILOT = 1500
"""Sessions that are drawn to learn how long one takes."""


@with_run("quiet")
def simulate(
    run: Run,
    directory: Annotated[
        str | None, typer.Argument(metavar="DIRECTORY", help="Where files are written.", show_default=False)
    ] = None,
    sessions: Annotated[
        int,
        typer.Option("--sessions", "-n", metavar="N", rich_help_panel=_TRAFFIC, help="How many there are."),
    ] = 10_000,
    duration: Annotated[
        str | None,
        typer.Option(
            "--duration",
            "-d",
            metavar="LENGTH",
            rich_help_panel=_TRAFFIC,
            help="How long they take, such as 6h; a week unless told otherwise.",
        ),
    ] = None,
    concurrency: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            rich_help_panel=_TRAFFIC,
            help="Instead of a length: how many are open at once on average.",
        ),
    ] = None,
    begin: Annotated[
        str, typer.Option("--start", metavar="TIME", rich_help_panel=_TRAFFIC, help="When they begin.")
    ] = "2026-11-23",
    seed: Annotated[
        int, typer.Option(min=0, rich_help_panel=_TRAFFIC, help="The same seed gives the same bytes.")
    ] = 1,
    clients: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", rich_help_panel=_TRAFFIC, help="How many addresses they come from."),
    ] = None,
    one_address: Annotated[
        bool,
        typer.Option(
            "--one-address", rich_help_panel=_TRAFFIC, help="All of them come from a single address."
        ),
    ] = False,
    overlap: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=_TRAFFIC,
            help="Of sessions whose client has or had another one just then.",
        ),
    ] = 0.1,
    rhythm: Annotated[
        float,
        typer.Option(metavar="0..1", rich_help_panel=_TRAFFIC, help="Full swing of day and week, or less."),
    ] = 1.0,
    unrest: Annotated[
        float,
        typer.Option(
            metavar="SHARE", rich_help_panel=_TRAFFIC, help="How far the rate wanders beyond chance."
        ),
    ] = 0.0,
    growth: Annotated[
        float, typer.Option(metavar="SHARE", rich_help_panel=_TRAFFIC, help="Of the rate, from week to week.")
    ] = 0.0,
    zone: Annotated[
        str, typer.Option(metavar="ZONE", rich_help_panel=_TRAFFIC, help="Where the users live.")
    ] = "UTC",
    servers: Annotated[
        int, typer.Option(min=1, max=64, rich_help_panel=_SITE, help="Mail servers: mx-a, mx-b, …")
    ] = 3,
    balancers: Annotated[
        int, typer.Option(min=1, max=16, rich_help_panel=_SITE, help="Balancers side by side: edge1, …")
    ] = 1,
    inner: Annotated[
        int,
        typer.Option(
            max=16, min=0, rich_help_panel=_SITE, help="Balancers of a second row behind those: inner1, …"
        ),
    ] = 0,
    header: Annotated[
        str,
        typer.Option(
            metavar="v1|v2|none", rich_help_panel=_SITE, help="PROXY header; none: clients are masked."
        ),
    ] = "v1",
    no_screen: Annotated[
        bool, typer.Option("--no-screen", rich_help_panel=_SITE, help="smtpd without postscreen.")
    ] = False,
    skew: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST=SECONDS", rich_help_panel=_SITE, help="What a server's clock is ahead."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            "-f",
            metavar="KIND@START[+LENGTH][:NAME=VALUE,…]",
            rich_help_panel=_FAULTS,
            help="Such as surge@2d+15m:size=3 or masked@36h:server=mx-b.",
        ),
    ] = None,
    list_faults: Annotated[
        bool, typer.Option("--list-faults", rich_help_panel=_FAULTS, help="What can go wrong, and exit.")
    ] = False,
    lose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST=SHARE", rich_help_panel=_FAULTS, help="How many lines of a host are lost."
        ),
    ] = None,
    stamps: Annotated[
        str, typer.Option(metavar="bsd|rfc3339|rfc5424", rich_help_panel=_LOGS, help="Before each line.")
    ] = "bsd",
    whole_seconds: Annotated[
        bool,
        typer.Option(
            "--whole-seconds", rich_help_panel=_LOGS, help="No microseconds in rfc3339 and rfc5424."
        ),
    ] = False,
    smtpd_ports: Annotated[
        bool, typer.Option("--smtpd-ports", rich_help_panel=_LOGS, help="smtpd_client_port_logging = yes.")
    ] = False,
    backend_port: Annotated[
        bool, typer.Option("--backend-port", rich_help_panel=_LOGS, help="HAProxy's lines end in %bi:%bp.")
    ] = False,
    tz: Annotated[
        str, typer.Option(metavar="ZONE", rich_help_panel=_LOGS, help="Zone of the hosts' clocks.")
    ] = "UTC",
    rotate: Annotated[
        str | None,
        typer.Option(metavar="LENGTH", rich_help_panel=_LOGS, help="Begin new files so often, such as 1d."),
    ] = None,
    per_host: Annotated[
        bool, typer.Option("--per-host", rich_help_panel=_LOGS, help="A file for each host.")
    ] = False,
    truth: Annotated[
        str | None,
        typer.Option(
            metavar="jsonl|parquet|none",
            rich_help_panel=_LOGS,
            help="Form of what really was, beside the logs; jsonl.",
        ),
    ] = None,
    tables: Annotated[
        str | None,
        typer.Option(
            metavar="parquet|arrow|jsonl",
            rich_help_panel=_LOGS,
            help="Instead of logs the tables of sessions, messages and deliveries.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=_LOGS, help="Even where DIRECTORY has files.")
    ] = False,
) -> int:
    """The logs of a site in simulated time: as many sessions as wanted, and what really was.

    DIRECTORY gets haproxy.log and mail.log as the daemons of the site would have written them, and beside
    them truth.jsonl: of each session who it was, what it set out to do, and where its lines are.
    """
    if list_faults:
        return _list_faults()
    if directory is None:
        raise UsageError("where to? Name a directory", hint="As in: logscope simulate DIRECTORY")
    from logscope.simulate.faults import parse_fault
    from logscope.simulate.faults import seconds as length
    from logscope.simulate.journal import Style
    from logscope.simulate.simulation import Simulation
    from logscope.simulate.site import Options
    from logscope.simulate.site import balancers as so_many_balancers
    from logscope.simulate.site import servers as so_many_servers

    hosts = _skewed(so_many_servers(servers), skew or [])
    edges = so_many_balancers(balancers)
    chosen = Options(
        sessions=sessions,
        start=_moment(begin),
        duration_s=length(duration) if duration else 7 * 86400.0,
        seed=seed,
        balancers=edges,
        inner=so_many_balancers(inner, inner=True),
        servers=hosts,
        clients=clients,
        one_address=one_address,
        overlap=overlap,
        rhythm=rhythm,
        unrest=unrest,
        growth=growth,
        zone=zone,
        screen=not no_screen,
        smtpd_ports=smtpd_ports,
        backend_port=backend_port,
        header=header,
        faults=tuple(
            parse_fault(text, tuple(host.name for host in hosts), tuple(host.name for host in edges))
            for text in fault or []
        ),
    )
    if concurrency is not None:
        chosen = _as_long_as_it_takes(chosen, concurrency, duration)
    for one in chosen.faults:
        if one.start_s >= chosen.duration_s:
            raise UsageError(
                f"{one.kind} begins {one.start_s:g} s after the start, when all is over",
                hint="Let it begin sooner, or say --duration.",
            )
    style = Style(
        stamps=stamps,
        microseconds=False if whole_seconds else None,
        zone=tz,
        per_host=per_host,
        lose=tuple(_pairs("--lose", lose or [])),
    )
    form = _form_of_truth(truth, tables)
    rotate_s = length(rotate) if rotate else None
    place = Path(directory)
    _check_place(place, overwrite)
    return _write(run, Simulation(chosen), style, place, form, rotate_s, tables)


# --- options ------------------------------------------------------------------------------------------------


def _list_faults() -> int:
    from logscope.simulate.faults import KINDS

    widest = max(len(name) for name in KINDS)
    for name, kind in KINDS.items():
        note = "; unusual, but in order" if kind.negative else ""
        print(f"{name:<{widest}}  {kind.meaning}")
        print(f"{'':<{widest}}  size: {kind.size}, {kind.usual:g}{note}")
    return ExitCode.FINE


def _form_of_truth(truth: str | None, tables: str | None) -> str | None:
    from logscope.simulate.output import TABLE_FORMS, TRUTHS

    if truth not in (None, "none", *TRUTHS):
        raise UsageError(f"--truth {truth}: unknown form", hint=f"Use one of {', '.join(TRUTHS)}, none.")
    if tables not in (None, *TABLE_FORMS):
        raise UsageError(f"--tables {tables}: unknown form", hint=f"Use one of {', '.join(TABLE_FORMS)}.")
    if truth and tables:
        raise UsageError("--tables has the truth in its columns", hint="Leave --truth out.")
    return None if tables or truth == "none" else truth or TRUTHS[0]


def _check_place(directory: Path, overwrite: bool) -> None:
    """Nothing may be lost: real logs have the names that the files get."""
    try:
        in_use = not overwrite and any(directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{directory}: nothing can be written there: {error.strerror}") from error
    if in_use:
        raise UsageError(
            f"{directory} has files already", hint="Name a new directory, or replace them with --overwrite."
        )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--start {text!r} is no date", hint="Write it like 2026-11-23 or 2026-11-23T09:00+01:00."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _pairs(option: str, texts: list[str]) -> list[tuple[str, float]]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            if not equals:
                raise ValueError
            pairs.append((name, float(value)))
        except ValueError:
            raise UsageError(f"{option} {text!r} is no HOST=NUMBER") from None
    return pairs


def _skewed(hosts: tuple[Host, ...], texts: list[str]) -> tuple[Host, ...]:
    skews = dict(_pairs("--skew", texts))
    unknown = skews.keys() - {host.name for host in hosts}
    if unknown:
        names = ", ".join(host.name for host in hosts)
        raise UsageError(f"--skew: there is no server {min(unknown)!r}; there are {names}")
    return tuple(replace(host, skew_s=skews.get(host.name, 0.0)) for host in hosts)


def _as_long_as_it_takes(chosen: Options, concurrency: float, duration: str | None) -> Options:
    """So long that this many sessions are open at once on average, as a few of them tell."""
    if duration is not None:
        raise UsageError("--duration and --concurrency both say how long", hint="Give one of them.")
    if not concurrency > 0:
        raise UsageError(f"--concurrency {concurrency:g}: more than none has to be open")
    from logscope.simulate.layout import S_DURATION
    from logscope.simulate.simulation import Simulation

    hour = replace(chosen, sessions=_PILOT, duration_s=3600.0, faults=())
    blocks = Simulation(hour, machine_code=False).blocks()
    mean_s = float(next(blocks).sessions[S_DURATION].mean()) / 1000.0
    return replace(chosen, duration_s=max(chosen.sessions * mean_s / concurrency, 1.0))


# --- the work -----------------------------------------------------------------------------------------------


def _write(
    run: Run,
    simulation: Simulation,
    style: Style,
    directory: Path,
    truth: str | None,
    rotate_s: float | None,
    tables: str | None,
) -> int:
    from logscope.cli.progress import counting
    from logscope.grammar import catalogue
    from logscope.simulate.output import write_logs, write_tables

    if simulation.machine_code and not _is_compiled():
        run.note_compiling()
    started = time.monotonic()
    done = [0]

    def report(count: int) -> None:
        done[0] = count

    try:
        with counting("simulating", simulation.sessions, lambda: done[0], wanted=not run.settings.quiet):
            if tables:
                summary = write_tables(simulation, directory, tables, report=report)
            else:
                summary = write_logs(
                    simulation,
                    style,
                    catalogue.load(),
                    directory,
                    truth=truth,
                    rotate_s=rotate_s,
                    report=report,
                )
    except KeyboardInterrupt:
        run.note(f"{directory} is not whole: {done[0]:,} of {simulation.sessions:,} sessions were made")
        raise
    elapsed_s = time.monotonic() - started
    what = ", ".join(f"{name} ({count:,})" for name, count in summary.counts.items())
    run.note(
        f"{simulation.sessions:,} sessions in {directory}: {what}; "
        f"{summary.size / 1e6:,.1f} MB in {elapsed_s:,.1f} s"
    )
    return run.exit_code()


def _is_compiled() -> bool:
    """Whether nobody has to wait for the compiler."""
    from logscope import engine
    from logscope.simulate import model

    return engine.is_cached(model.fill)
