"""What a run is told: one frozen value, out of configuration files, the environment and the command line.

Later ones win: `$XDG_CONFIG_HOME/logscope/config.toml`, then `logscope.toml` in the working directory, then
`LOGSCOPE_*` variables, then flags. Nothing here looks at the clock or the environment on its own; the rim
passes both.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logscope.errors import Place, SettingsError, UsageError, did_you_mean
from logscope.syslog.envelopes import NAMES as ENVELOPES
from logscope.syslog.zone_names import zone as zone_named
from logscope.unreadable import reason, toml_mistake

if TYPE_CHECKING:
    from logscope.site import Site

PROJECT_FILE = "logscope.toml"
OUTPUTS = ("table", "jsonl", "json", "csv", "parquet")
COLORS = ("auto", "always", "never")
DEFAULT_ZONE = ""
"""The name under which `zones` keeps the zone of hosts that are not named."""


@dataclass(frozen=True)
class Settings:
    """Everything a run is told.

    Attributes:
        since: only what happened at or after this time, ns since 1970 (UTC); None for all.
        until: only what happened before this time, likewise.
        undated: one of both was told without a date, and is today's.
        where: only rows of which this holds, in the language of `logscope.where`; None for all.
        now: the time of the run, which times in `where` are reckoned from; None if that says nothing.
        zones: pairs of host and IANA zone, for stamps without one; the host "" stands for all others. UTC if
            not named.
        year: of stamps without one; None to find it out.
        grammars: grammar files or directories of them, besides the installed ones.
        haproxy_cfg: haproxy.cfg files to learn formats, listeners and servers from; `HOST=FILE` names the
            host.
        log_formats: HAProxy's log-format strings, besides those of the files.
        postfix_config: directories with main.cf and master.cf, one of the files, or `MAIN+MASTER`, likewise.
        envelope: what stands before each message, one of `syslog.envelopes.NAMES`; empty to find it out line
            by line.
        output: one of `OUTPUTS`; None for what the command does by itself.
        color: one of `COLORS`.
        quiet: no progress and no notes, errors only.
    """

    since: int | None = None
    until: int | None = None
    undated: bool = False
    where: str | None = None
    now: datetime | None = None
    zones: tuple[tuple[str, str], ...] = ()
    year: int | None = None
    grammars: tuple[str, ...] = ()
    haproxy_cfg: tuple[str, ...] = ()
    log_formats: tuple[str, ...] = ()
    postfix_config: tuple[str, ...] = ()
    envelope: str = ""
    output: str | None = None
    color: str = "auto"
    quiet: bool = False

    def zone_of(self, host: str) -> str:
        """The zone of a host's stamps.

        >>> Settings(zones=(("", "Europe/Berlin"), ("mx-b", "UTC"))).zone_of("mx-a")
        'Europe/Berlin'
        """
        zones = dict(self.zones)
        return zones.get(host, zones.get(DEFAULT_ZONE, "UTC"))

    def moment(self, text: str) -> int:
        """What a time means that this run was told, as nanoseconds since 1970.

        Raises:
            UsageError: it is none.
        """
        zone = zone_named(self.zone_of(DEFAULT_ZONE))
        return parse_moment(text, self.now or datetime(1970, 1, 1, tzinfo=UTC), zone)

    @cached_property
    def site(self) -> Site:
        """What the configurations named here say, read when first asked for; see `logscope.site`.

        Raises:
            SettingsError: one cannot be read, or its daemon would refuse it; with file, line and column.
        """
        if not (self.haproxy_cfg or self.postfix_config):
            from logscope.site import Site

            return Site()
        from logscope.site.learn import learn  # loads the parsers

        return learn(self.haproxy_cfg, self.postfix_config)


KEYS: dict[str, str] = {
    "tz": "zone of stamps without one: a name, or a table of host = name with default = name",
    "year": "year of stamps without one",
    "grammar": "grammar files or directories",
    "haproxy_cfg": "haproxy.cfg files, each also as HOST=FILE",
    "log_format": "HAProxy's log-format strings",
    "postfix_config": "directories with main.cf and master.cf, each also as HOST=DIR",
    "envelope": "what stands before each message: " + ", ".join(ENVELOPES),
    "output": "output format: " + ", ".join(OUTPUTS),
    "color": "colours: " + ", ".join(COLORS),
    "quiet": "true for errors only",
}
"""Keys of the configuration files; in the environment they are `LOGSCOPE_TZ` and so on."""

_CHOICES: dict[str, Collection[str]] = {"output": OUTPUTS, "color": COLORS, "envelope": ENVELOPES}
_FIELD_OF = {"tz": "zones", "grammar": "grammars", "log_format": "log_formats"}
_PATHS = ("grammar", "haproxy_cfg", "postfix_config")
_SEVERAL = (*_PATHS, "log_format")


def load(flags: Mapping[str, Any], environ: Mapping[str, str], directory: Path, now: datetime) -> Settings:
    """The settings of a run.

    Args:
        flags: what the command line said, by key; besides `KEYS`, `since`, `until` and `where` as text. None
            is not said.
        environ: the environment.
        directory: where `logscope.toml` is looked for.
        now: what `2h` and `yesterday` are reckoned from.

    Raises:
        SettingsError: a file or variable makes no sense; says where.
        UsageError: a flag makes no sense.
    """
    settings = Settings()
    user, project = user_file(environ), directory / PROJECT_FILE
    if user is not None and user.is_file():
        settings = replace(settings, **read_file(user))
    if project.is_file():
        settings = replace(settings, **read_file(project, PROJECT_FILE))
    settings = replace(settings, **from_environment(environ))
    settings = replace(settings, **_checked(flags, _flag_error))
    if flags.get("where") is not None:
        settings = replace(settings, where=flags["where"], now=now)
    zone = zone_named(settings.zone_of(DEFAULT_ZONE))
    if flags.get("since") is not None:
        settings = replace(settings, since=parse_moment(flags["since"], now, zone))
    if flags.get("until") is not None:
        settings = replace(settings, until=parse_moment(flags["until"], now, zone))
    told = (flags.get("since") or "", flags.get("until") or "")
    settings = replace(settings, undated=any(_CLOCK.match(text.strip()) for text in told))
    if settings.since is not None and settings.until is not None and settings.since >= settings.until:
        raise UsageError("--since is not before --until, so nothing would be left")
    return settings


def user_file(environ: Mapping[str, str]) -> Path | None:
    """The user's own configuration file, which may not exist; None where there is no home."""
    if environ.get("XDG_CONFIG_HOME"):
        return Path(environ["XDG_CONFIG_HOME"]) / "logscope" / "config.toml"
    return Path(environ["HOME"]) / ".config" / "logscope" / "config.toml" if environ.get("HOME") else None


def read_file(path: Path, name: str | None = None) -> dict[str, Any]:
    """Fields of `Settings` that a configuration file names. Paths in it are relative to it.

    Args:
        path: the file.
        name: what errors call it; the path if not given.

    Raises:
        SettingsError: with line and column.
    """
    name = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot be read: {reason(error)}", place=Place(name)) from None
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, place, hint = toml_mistake(name, text, error)
        raise SettingsError(message, place=place, hint=hint) from None

    def fail(key: str, message: str, hint: str | None) -> SettingsError:
        return SettingsError(message, place=_place_of(name, text, key), hint=hint)

    for key in _SEVERAL:
        if isinstance(found.get(key), str):
            found[key] = [found[key]]
        if key in _PATHS and isinstance(found.get(key), list):
            found[key] = [
                _relative_to(path.parent, entry) if isinstance(entry, str) else entry for entry in found[key]
            ]
    return _checked(found, fail)


def _relative_to(directory: Path, entry: str) -> str:
    """A file named in a configuration file, with the `HOST=` before it and the `+MASTER` behind it."""
    host, named, paths = entry.rpartition("=")
    return host + named + "+".join(str(directory / part) for part in paths.split("+"))


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Fields of `Settings` that `LOGSCOPE_*` variables name; several values are separated by colons."""
    found: dict[str, Any] = {}
    for key in KEYS:
        value = environ.get(f"LOGSCOPE_{key.upper()}")
        if value is None or value == "":
            continue
        if key in _PATHS:
            found[key] = value.split(":")
        elif key in _SEVERAL:
            found[key] = [value]
        elif key == "tz":
            found[key] = value.split(",")
        elif key == "year":
            found[key] = int(value) if value.isdigit() else value
        elif key == "quiet":
            found[key] = {"1": True, "true": True, "0": False, "false": False}.get(value.lower(), value)
        else:
            found[key] = value

    def fail(key: str, message: str, hint: str | None) -> SettingsError:
        return SettingsError(message, place=Place(f"LOGSCOPE_{key.upper()}"), hint=hint)

    return _checked(found, fail)


# --- checking
# ---------------------------------------------------------------------------------------------------------


def _flag_error(key: str, message: str, hint: str | None) -> UsageError:
    return UsageError(f"--{key.replace('_', '-')}: {message}", hint=hint)


def _checked(found: Mapping[str, Any], fail: Any) -> dict[str, Any]:
    """The values as fields of `Settings`.

    Args:
        fail: makes the error out of a key, a message and a hint.
    """
    checked: dict[str, Any] = {}
    for key, value in found.items():
        if value is None or key in ("since", "until", "where"):
            continue
        if key not in KEYS:
            raise fail(
                key, f"unknown setting {key!r}", did_you_mean(key, KEYS) or "Known: " + ", ".join(KEYS) + "."
            )
        problem = _problem(key, value)
        if problem:
            raise fail(key, *problem)
        checked[_FIELD_OF.get(key, key)] = _converted(key, value)
    assert set(checked) <= {field.name for field in fields(Settings)}
    return checked


def _problem(key: str, value: Any) -> tuple[str, str | None] | None:
    """What is wrong with a value, and a hint; None when nothing is."""
    if key in _CHOICES:
        known = _CHOICES[key]
        if value not in known:
            return f"unknown {key} {value!r}", did_you_mean(str(value), known) or "Known: " + ", ".join(
                known
            ) + "."
    elif key == "year":
        if not isinstance(value, int) or isinstance(value, bool) or not 1970 <= value <= 9999:
            return f"{value!r} is no year", "Give four digits, such as 2026."
    elif key == "quiet":
        if not isinstance(value, bool):
            return f"{value!r} is neither true nor false", None
    elif key == "tz":
        return _zone_problem(value)
    elif not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
        return f"{value!r} is no file name nor a list of them", None
    return None


def _zone_problem(value: Any) -> tuple[str, str | None] | None:
    try:
        zones = _zones(value)
    except (TypeError, ValueError, AttributeError):
        return f"{value!r} names no zone", 'Give "Europe/Berlin", "HOST=ZONE", or a table of hosts.'
    for _, zone in zones:
        try:
            zone_named(zone)
        except UsageError as error:
            return str(error), error.hint
    return None


def _converted(key: str, value: Any) -> Any:
    if key == "tz":
        return _zones(value)
    return tuple(value) if key in _SEVERAL else value


def _zones(value: Any) -> tuple[tuple[str, str], ...]:
    """Zones out of a name, a list of `ZONE` and `HOST=ZONE`, or a table with an entry `default`."""
    if isinstance(value, Mapping):
        pairs = ((DEFAULT_ZONE if host == "default" else host, zone) for host, zone in value.items())
    else:
        entries: Iterable[str] = [value] if isinstance(value, str) else value
        pairs = ((host.strip(), zone.strip()) for host, _, zone in (_split_zone(entry) for entry in entries))
    return tuple(pairs)


def _split_zone(entry: str) -> tuple[str, str, str]:
    host, sign, zone = entry.rpartition("=")
    return host, sign, zone


def _place_of(file: str, text: str, key: str) -> Place:
    """Where a key stands in the file: the first line that starts with it."""
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(rf"\s*\[?\s*(['\"]?{re.escape(key)}['\"]?)", line)
        if match:
            return Place(file, number, match.start(1) + 1, line, len(match[1]))
    return Place(file)


# --- times
# ------------------------------------------------------------------------------------------------------------

_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"-?(\d+)\s*(s|sec|m|min|h|d|w)(?:\s+ago)?$")
_CLOCK = re.compile(r"\d{1,2}:\d\d(?::\d\d)?$")


_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d|w)$")


def parse_span(text: str, option: str) -> int:
    """A length of time such as `200ms`, `5s`, `10min`, in nanoseconds.

    Args:
        option: names the option in the error.

    Raises:
        UsageError: it is none.
    """
    match = _SPAN.match(text.strip())
    if match is None:
        raise UsageError(f"{option}: {text!r} is no length of time", hint="Write 200ms, 5s, 10min or 2h.")
    return int(float(match[1]) * (1_000_000 if match[2] == "ms" else _UNITS[match[2]] * 1_000_000_000))


def parse_moment(text: str, now: datetime, zone: tzinfo) -> int:
    """A point in time as people write it.

    Args:
        text: `2026-07-26`, `2026-07-26 10:00`, with or without offset; `10:00` (today); `2h` (ago), `30min`,
            `3d`; `now`, `today`, `yesterday`; `@1785060000`.
        now: the present, with a zone.
        zone: of times that name none.

    Returns:
        nanoseconds since 1970.

    Raises:
        UsageError: it is none of these.
    """
    text = text.strip()
    local = now.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    ago = _AGO.match(text)
    if text == "now":
        return _nanoseconds(local)
    if text in ("today", "yesterday"):
        return _nanoseconds(midnight if text == "today" else midnight - timedelta(days=1))
    if ago:
        return _nanoseconds(now - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]]))
    try:
        if text.startswith("@"):
            return int(float(text[1:]) * 1_000_000_000)
        if _CLOCK.match(text):
            text = (
                f"{midnight:%Y-%m-%d}T{text:0>5}"
                if text.count(":") == 1
                else f"{midnight:%Y-%m-%d}T{text:0>8}"
            )
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no time",
            hint="Write 2026-07-26, '2026-07-26 10:00', 10:00, 2h, 3d, today or yesterday.",
        ) from None
    return _nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=zone))


def _nanoseconds(moment: datetime) -> int:
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000
