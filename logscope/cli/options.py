"""The options that commands share, each spelled once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

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


def said(**flags: Any) -> dict[str, Any]:
    """What the command line said: options that were given, by the key of the settings."""
    return {name: value for name, value in flags.items() if value not in (None, [], False)}
