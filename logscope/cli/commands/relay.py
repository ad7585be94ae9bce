"""`logscope relay`: a balancer and mail servers on real sockets, logging as HAProxy and Postfix do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from logscope.errors import ExitCode, OutputError, UsageError
from logscope.relay.layout import HOSTS, Layout, to_toml
from logscope.relay.traffic.plan import PROFILES

if TYPE_CHECKING:
    from logscope.relay.rim.run import Relay
    from logscope.relay.rim.traffic import Traffic
    from logscope.relay.settings import RelaySettings
    from logscope.relay.traffic.plan import Profile

app = typer.Typer(no_args_is_help=False)

_LAYOUT = "What runs (without --config)"
_LOGS = "Logs (without --config)"


@app.callback(invoke_without_command=True)
def relay(
    context: typer.Context,
    file: Annotated[
        str | None,
        typer.Option("--config", "-c", metavar="FILE", help="The relay, as TOML; `relay init` writes one."),
    ] = None,
    directory: Annotated[
        str,
        typer.Option("--directory", "-d", metavar="DIR", help="Where logs, queue and mailboxes are kept."),
    ] = "relay",
    seconds: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="End after this time.")
    ] = None,
    traffic: Annotated[
        str | None,
        typer.Option(
            "--traffic",
            metavar="PROFILE",
            help="Send clients through it and note in truth.jsonl what each did: "
            + ", ".join(PROFILES)
            + ".",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same clients.")] = 1,
    listen: Annotated[
        str,
        typer.Option(metavar="ADDRESS:PORT", rich_help_panel=_LAYOUT, help="Where clients connect."),
    ] = "127.0.0.1:2525",
    servers: Annotated[
        int,
        typer.Option(min=1, max=len(HOSTS), rich_help_panel=_LAYOUT, help="How many mail servers."),
    ] = 2,
    send_proxy: Annotated[
        str,
        typer.Option(metavar="v1|v2|none", rich_help_panel=_LAYOUT, help="The header that servers are sent."),
    ] = "v1",
    masked: Annotated[
        bool,
        typer.Option(
            "--masked", rich_help_panel=_LAYOUT, help="Listen on the next port too, without any header."
        ),
    ] = False,
    no_screen: Annotated[
        bool,
        typer.Option("--no-screen", rich_help_panel=_LAYOUT, help="No postscreen in front of smtpd."),
    ] = False,
    greet_wait: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", rich_help_panel=_LAYOUT, help="How long the screen has new clients wait."
        ),
    ] = 6.0,
    domain: Annotated[
        str, typer.Option(rich_help_panel=_LAYOUT, help="The domain that mail is taken for.")
    ] = "example.com",
    balancer_log: Annotated[
        str,
        typer.Option(
            metavar="TARGET", rich_help_panel=_LOGS, help="FILE, -, udp:HOST:PORT, tcp:HOST:PORT, unix:PATH."
        ),
    ] = "haproxy.log",
    mail_log: Annotated[
        str, typer.Option(metavar="TARGET", rich_help_panel=_LOGS, help="The same for the mail servers.")
    ] = "mail.log",
    form: Annotated[
        str,
        typer.Option(
            "--envelope",
            metavar="bsd|rfc3339|rfc5424",
            rich_help_panel=_LOGS,
            help="What precedes each line.",
        ),
    ] = "bsd",
    log_format: Annotated[
        str, typer.Option(metavar="FORMAT", rich_help_panel=_LOGS, help="The balancer's log-format.")
    ] = "",
    port_logging: Annotated[
        bool, typer.Option("--port-logging", rich_help_panel=_LOGS, help="smtpd logs the clients' ports.")
    ] = False,
) -> int | None:
    """A small balancer with mail servers behind it, on real sockets and with real logs.

    \b
    logscope relay                       a balancer on 127.0.0.1:2525, two servers, logs in relay/
    logscope relay --masked              clients of 127.0.0.1:2526 reach the servers without their address
    logscope relay init DIR              the same as a file, with configurations for the real daemons
    logscope relay --config DIR/relay.toml
    logscope relay --masked --traffic everyday --for 30

    It listens on the loopback unless told otherwise, and takes mail for its own domains only. Ctrl-C, or
    SIGTERM, lets open sessions come to their end; SIGHUP opens the logs anew.
    """
    from logscope.relay import config
    from logscope.relay.toml_table import endpoint

    layout = Layout(
        listen=_checked("--listen", endpoint, listen),
        servers=servers,
        send_proxy=_word("--send-proxy", send_proxy, ("v1", "v2", "none")),
        masked=masked,
        screen=not no_screen,
        domain=domain,
        form=_word("--envelope", form, config.FORMS),
        balancer_log=balancer_log,
        mail_log=mail_log,
        log_format=log_format,
        greet_wait_s=greet_wait,
        port_logging=port_logging,
        tls=traffic is not None and _has_cryptography(),
        trusted=(_address(listen),) if traffic is not None else (),
    )
    if not file and layout.listen.port + layout.ports_behind > 65535:
        hint = f"Choose a port up to {65535 - layout.ports_behind}: the servers' follow it."
        raise UsageError(f"--listen {listen}: no ports are left for the servers", hint=hint)
    if context.invoked_subcommand is not None:
        context.obj = layout
        return None
    settings = config.read(Path(file)) if file else config.parse(to_toml(layout), "flags", Path(directory))
    if traffic is not None:
        profile = PROFILES[_word("--traffic", traffic, tuple(PROFILES))]
        return _run_with_traffic(settings, profile, seed, seconds or profile.seconds)
    return _run(settings, seconds)


@app.command()
def init(
    context: typer.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A directory that is new, or empty.")],
) -> int:
    """Write the relay as files: relay.toml, and in real/ the same for HAProxy and Postfix.

    \b
    logscope relay init DIR
    logscope relay --masked --servers 3 init DIR     what the options describe

    real/run.sh starts and stops the real daemons, as root.
    """
    from logscope.relay.real import configurations

    layout: Layout = context.obj
    place = Path(directory)
    try:
        if place.exists() and any(place.iterdir()):
            raise UsageError(f"{place} has files already", hint="Name a new directory.")
        real = place.resolve() / "real"
        files = {place / "relay.toml": to_toml(layout)}
        files |= {real / name: text for name, text in configurations(layout, str(real)).items()}
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or place}: cannot be written: {error.strerror}") from error
    print(f"logscope relay --config {place}/relay.toml")
    print(f"sh {place}/real/run.sh start    # HAProxy and Postfix, as root, at the same ports")
    return ExitCode.FINE


def _run(settings: RelaySettings, seconds: float | None) -> int:
    import asyncio

    from logscope.relay.rim.run import run, serve

    async def until(_relay: Relay) -> None:
        await asyncio.sleep(seconds or 0)

    run(serve(settings, _announce, until if seconds is not None else None))
    return ExitCode.FINE


def _run_with_traffic(settings: RelaySettings, profile: Profile, seed: int, seconds: float) -> int:
    import asyncio

    from logscope.relay.rim.run import run, serve
    from logscope.relay.rim.traffic import Traffic
    from logscope.relay.rim.witness import Witness

    made: list[Traffic] = []

    async def until(relay: Relay) -> None:
        found = Traffic(relay, profile, seed, seconds, settings.directory / "truth.jsonl")
        made.append(found)
        showing = asyncio.ensure_future(_show(relay, found))
        try:
            await found.run()
        finally:
            showing.cancel()

    try:
        run(serve(settings, _announce, until, Witness()))
    finally:
        for found in made:
            found.finish()
            print(
                f"\r{found.started} connections, {found.messages} messages; what each did: "
                f"{settings.directory}/truth.jsonl",
                file=sys.stderr,
            )
    return ExitCode.FINE


async def _show(relay: Relay, traffic: Traffic) -> None:
    """What is going on, again and again, where somebody looks."""
    import asyncio

    while sys.stderr.isatty():
        line = f"{traffic.started} connections, {traffic.started - traffic.ended} open; {relay.counts()}"
        print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)
        await asyncio.sleep(0.5)


def _announce(running: Relay) -> None:
    """Say where it listens and where it logs."""
    print(running.summary(), file=sys.stderr, flush=True)


def _has_cryptography() -> bool:
    """Whether a certificate can be made."""
    return importlib.util.find_spec("cryptography") is not None


def _address(listen: str) -> str:
    return listen.rpartition(":")[0].strip("[]")


def _word(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise UsageError(f"{option}: unknown value {value!r}", hint="Known: " + ", ".join(known) + ".")
    return value


def _checked(option: str, convert: Any, value: str) -> Any:
    try:
        return convert(value)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{option}: {error}") from None
