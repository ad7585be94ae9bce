"""The options that commands share, each spelled once, and the run that they make."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from logscope.cli.run import start
from logscope.syslog.envelopes import NAMES as ENVELOPES

_INPUT = "What is read"
_TIME = "Time"
_OUTPUT = "Output"

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILES...",
        help="Logs in any mix and order: plain or gz, bz2, xz, zst; patterns; `-` for standard input. "
        "Without any, the usual places are looked at.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        "-S",
        metavar="TIME",
        rich_help_panel=_TIME,
        help="Only from then on: 2026-07-26, 10:00, 2h, yesterday.",
    ),
]
Until = Annotated[
    str | None, typer.Option("--until", "-U", metavar="TIME", rich_help_panel=_TIME, help="Only before then.")
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        rich_help_panel=_INPUT,
        help="Only rows of which this holds: "
        "'client in 203.0.113.0/24 and outcome = rejected and duration > 5s'.",
    ),
]
Zone = Annotated[
    list[str] | None,
    typer.Option(
        "--tz",
        metavar="[HOST=]ZONE",
        rich_help_panel=_TIME,
        help="Zone of stamps that have none, such as Europe/Berlin or +02:00, for all hosts or one.",
    ),
]
Year = Annotated[
    int | None,
    typer.Option("--year", metavar="YYYY", rich_help_panel=_TIME, help="Year of stamps that have none."),
]
Grammar = Annotated[
    list[str] | None,
    typer.Option(
        "--grammar",
        metavar="FILE",
        rich_help_panel=_INPUT,
        help="A grammar of your own, or a directory of them.",
    ),
]
HaproxyCfg = Annotated[
    list[str] | None,
    typer.Option(
        "--haproxy-cfg",
        metavar="[HOST=]FILE",
        rich_help_panel=_INPUT,
        help="Learn log formats, listeners and servers from a haproxy.cfg.",
    ),
]
LogFormat = Annotated[
    list[str] | None,
    typer.Option(
        "--log-format",
        metavar="FORMAT",
        rich_help_panel=_INPUT,
        help="A log-format of HAProxy, as HAProxy has it once the quotes of haproxy.cfg are undone.",
    ),
]
PostfixConfig = Annotated[
    list[str] | None,
    typer.Option(
        "--postfix-config",
        metavar="[HOST=]DIR",
        rich_help_panel=_INPUT,
        help="Learn listeners, networks and domains from a directory with main.cf and master.cf.",
    ),
]
Envelope = Annotated[
    str | None,
    typer.Option(
        "--envelope",
        metavar="NAME",
        rich_help_panel=_INPUT,
        help="What stands before each message, instead of finding out: " + ", ".join(ENVELOPES) + ".",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FORMAT",
        rich_help_panel=_OUTPUT,
        help="table, jsonl, json, csv or parquet.",
    ),
]
DocumentOutput = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FORMAT",
        rich_help_panel=_OUTPUT,
        help="table or json; lists in any format.",
    ),
]
"""Of a report that is more than one table."""
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="FILE",
        rich_help_panel=_OUTPUT,
        help="Write to a file; its suffix chooses the format.",
    ),
]
Color = Annotated[
    str | None,
    typer.Option("--color", metavar="WHEN", rich_help_panel=_OUTPUT, help="auto, always or never."),
]
Quiet = Annotated[
    bool | None,
    typer.Option("--quiet", "-q", rich_help_panel=_OUTPUT, help="No progress and no notes; errors only."),
]


SHARED: dict[str, Any] = {
    "since": Since,
    "until": Until,
    "where": Where,
    "tz": Zone,
    "year": Year,
    "grammar": Grammar,
    "haproxy_cfg": HaproxyCfg,
    "log_format": LogFormat,
    "postfix_config": PostfixConfig,
    "envelope": Envelope,
    "output": Output,
    "to": To,
    "color": Color,
    "quiet": Quiet,
}
"""All of them by the key of the settings."""

PERIOD = ("since", "until")
LOGS = ("tz", "year", "grammar", "haproxy_cfg", "log_format", "postfix_config")
"""How logs are read."""
WRITTEN = ("output", "to", "color", "quiet")
"""How the result is written."""


def with_run(*names: str, **others: Any) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command shared options, behind its own, and call it with the run they make, a `Run`, first.

    Args:
        names: of the options, keys of `SHARED`.
        others: options to have in place of those of that name.
    """
    wanted = {name: others.get(name, SHARED[name]) for name in names}

    def added(command: Callable[..., int]) -> Callable[..., int]:
        def run_command(**given: Any) -> int:
            said = {name: given.pop(name) for name in wanted}
            to = said.pop("to", None)
            return command(start(stated(said), to, "table"), **given)

        kinds = get_type_hints(command, include_extras=True)
        _, *own = inspect.signature(command).parameters.values()
        shared = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in wanted]
        typed = [one.replace(annotation={**kinds, **wanted}[one.name]) for one in (*own, *shared)]
        run_command.__name__, run_command.__doc__ = command.__name__, command.__doc__
        run_command.__annotations__ = {one.name: one.annotation for one in typed} | {"return": int}
        vars(run_command)["__signature__"] = inspect.Signature(typed, return_annotation=int)
        return run_command

    return added


def stated(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, by the key of the settings."""
    return {name: value for name, value in options.items() if value not in (None, [], False)}
