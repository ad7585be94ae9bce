"""Tables of a TOML file that know where they stand, and the kinds of values that a relay's file has.

A table is taken apart key by key; what is wrong is said with file, line and column.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, TypeVar, cast

from logscope.errors import LogscopeError, Place, SettingsError, did_you_mean
from logscope.relay.addresses import Network
from logscope.relay.header import Endpoint

T = TypeVar("T")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "": 1.0}


@dataclass(frozen=True)
class Source:
    """A file and its text."""

    name: str
    text: str

    def place(self, path: tuple[str | int, ...], key: str) -> Place:
        """The line of a key in the table at a path, or of the table that it is."""
        inside = not path
        seen: dict[str, int] = {}
        wanted = ".".join(str(part) for part in path if isinstance(part, str))
        numbers = [part for part in path if isinstance(part, int)]
        for number, line in enumerate(self.text.splitlines(), 1):
            header = re.match(r"\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}", line)
            if header:
                name = header[1].replace(" ", "").replace('"', "")
                if line.lstrip().startswith("[["):
                    seen[name] = seen.get(name, -1) + 1
                    for other in [entry for entry in seen if entry.startswith(f"{name}.")]:
                        del seen[other]
                parts = name.split(".")
                indices = [
                    seen[".".join(parts[: i + 1])]
                    for i in range(len(parts))
                    if ".".join(parts[: i + 1]) in seen
                ]
                inside = name == wanted and indices == numbers
                is_asked_for = inside and not key
                if key and f"{name}.".startswith(f"{wanted}.{key}.".lstrip(".")):
                    is_asked_for = indices[: len(numbers)] == numbers  # a table of its own
                if is_asked_for:
                    return Place(self.name, number, header.start(1) + 1, line, len(header[1]))
            elif inside:
                match = re.match(rf"\s*(['\"]?{re.escape(key)}['\"]?)\s*[=.]", line)
                if match:
                    return Place(self.name, number, match.start(1) + 1, line, len(match[1]))
        # An inline table stands in the line of its own key.
        last = next((part for part in reversed(path) if isinstance(part, str)), "")
        return self.place(path[: path.index(last)], last) if last else Place(self.name)


@dataclass
class Table:
    """A table of the file, from which each key is taken once; what is left over is unknown."""

    values: dict[str, Any]
    source: Source
    path: tuple[str | int, ...]

    def fail(self, key: str, message: str, hint: str | None = None) -> SettingsError:
        return SettingsError(message, place=self.source.place(self.path, key), hint=hint)

    def __post_init__(self) -> None:
        self.values = dict(self.values)
        self._known: list[str] = []
        self._missing: list[str] = []

    def take(self, key: str, convert: Callable[[Any], T], default: T | None = None) -> T:
        """The value of a key, checked. Without a default it must be there: `finish` complains, as another
        key may be this one misspelt."""
        self._known.append(key)
        if key not in self.values:
            if default is None:
                self._missing.append(key)
            return cast(T, default)
        value = self.values.pop(key)
        try:
            return convert(value)
        except LogscopeError as error:
            raise self.fail(key, f"{key}: {error.message}", error.hint) from None
        except (ValueError, TypeError, KeyError) as error:
            raise self.fail(key, f"{key}: {error}") from None

    def table(self, key: str) -> Table:
        """An inner table, empty when it is not there."""
        self._known.append(key)
        value = self.values.pop(key, {})
        if not isinstance(value, dict):
            raise self.fail(key, f"{key} is no table", f"Write [{'.'.join([*self._names(), key])}].")
        return Table(value, self.source, (*self.path, key))

    def tables(self, key: str) -> list[Table]:
        """A list of inner tables."""
        self._known.append(key)
        value = self.values.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            hint = f"Write [[{'.'.join([*self._names(), key])}]]."
            raise self.fail(key, f"{key} is no list of tables", hint)
        return [Table(entry, self.source, (*self.path, key, number)) for number, entry in enumerate(value)]

    def _names(self) -> list[str]:
        return [part for part in self.path if isinstance(part, str)]

    def finish(self) -> None:
        """Complain of keys that nobody asked for, and of those that are missing."""
        for key in self.values:
            hint = did_you_mean(key, self._known) or "Known here: " + ", ".join(sorted(self._known)) + "."
            raise self.fail(key, f"unknown setting {key!r}", hint)
        for key in self._missing:
            raise self.fail("", f"{key} is missing")


# --- values -----------------------------------------------------------------------------------------------


def text_value(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    if any(ord(character) < 32 for character in value):
        raise ValueError(f"{value!r} has control characters")
    return value


def word(value: Any) -> str:
    """A name as it may stand in a log line."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", text_value(value)):
        raise ValueError(f"{value!r} is no name: letters, digits and -_.: only")
    return str(value)


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no number from 0")
    return value


def score(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value


def seconds(value: Any) -> float:
    """A duration: a number of seconds, or text such as `500ms`, `5s`, `1m`, `2h`, `5d`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no duration; write 5s, 500ms, 1m, 2h or 5d")
    return float(match[1]) * _UNITS[match[2]]


def endpoint(value: Any) -> Endpoint:
    """`127.0.0.1:2525` or `[::1]:2525`. A name is no address: what is bound or trusted is said exactly."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\]:(\d{1,5})|([0-9.]+):(\d{1,5})", text_value(value))
    if match is None:
        raise ValueError(f"{value!r} is no address with a port; write 127.0.0.1:2525 or [::1]:2525")
    address, port = match[1] or match[3], int(match[2] or match[4])
    if port > 65535:
        raise ValueError(f"{port} is no port")
    return Endpoint(str(ip_network(address).network_address), port)


def networks(value: Any) -> tuple[Network, ...]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list):
        raise TypeError(f"{value!r} is no list of networks")
    return tuple(ip_network(text_value(entry), strict=False) for entry in entries)


def texts(value: Any) -> tuple[str, ...]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list):
        raise TypeError(f"{value!r} is no list of texts")
    return tuple(text_value(entry) for entry in entries)


def one_of(kind: Callable[[str], T], *known: str) -> Callable[[Any], T]:
    """A value out of a few words."""

    def convert(value: Any) -> T:
        if value not in known:
            hint = did_you_mean(str(value), known) or "Known: " + ", ".join(known) + "."
            raise SettingsError(f"unknown value {value!r}", hint=hint)
        return kind(value)

    return convert


def enum_of(kind: Any) -> Callable[[Any], Any]:
    return one_of(kind, *(str(member) for member in kind))
