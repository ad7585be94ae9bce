"""The columns that a condition can name, and how people call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from logscope.errors import did_you_mean
from logscope.schema import CLIENT_KNOWN_FROM, HOPS, OUTCOMES

SUFFIXES = ("_address", "_ms", "_s", "_at", "_count")
"""What may be left out at the end of a name. A unit that was left out stands with the value."""

HEADINGS: Mapping[str, str] = {
    "mails": "message_count",
    "took": "duration_ms",
    "end": "termination_state",
    "joined": "join_confidence",
    "host": "mta_host",
    "status": "final_status",
    "rcpts": "recipient_count",
    "from": "sender",
    "to": "recipient",
}
"""What listings call a column, where its own name would be too long; of tables that have no such column."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "outcome": OUTCOMES,
    "client_known_from": CLIENT_KNOWN_FROM,
    "hops": HOPS,
    "join_confidence": ("exact", "probable", "ambiguous", "none"),
}
"""The values that there can be, of columns that have few."""

_LIST = "list of "
_COMMAND = "command"


@dataclass(frozen=True)
class Found:
    """A column that was named.

    Attributes:
        column: of the table.
        member: see `model.Test`.
        type: of its values, as `schema` spells it; those of a list.
        unit: `ms` or `s` if that was left out, so that the value has to say it.
        several: whether it is a list.
    """

    column: str
    member: str | None
    type: str
    unit: str | None
    several: bool


class Columns:
    """The columns of a table.

    Args:
        types: of each, as `schema` spells them.
        choices: values that there can be, besides `CHOICES`.
    """

    def __init__(
        self, types: Mapping[str, str], choices: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self._types = types
        self._choices = {**CHOICES, **(choices or {})}

    def find(self, name: str) -> Found | tuple[str, str]:
        """The column of a name; or what is wrong with it, and a hint."""
        first, _, member = name.lower().partition(".")
        candidates = [first] if first in self._types else self._with_suffix(first) or self._headed(first)
        if not candidates:
            hint = did_you_mean(first, self._short_names())
            return f"there is no column {first!r}", hint or "Columns: " + ", ".join(self._types) + "."
        if len(candidates) > 1:
            return f"{first!r} may be any of " + ", ".join(candidates), f"Write {candidates[0]}."
        column = candidates[0]
        unit = column.rpartition("_")[2] if column != first else None
        return self._member(column, member, unit if unit in ("ms", "s") else None)

    def choices(self, found: Found) -> tuple[str, ...]:
        """The values that there can be; empty for any."""
        return () if found.member else self._choices.get(found.column, ())

    def _with_suffix(self, name: str) -> list[str]:
        return [name + suffix for suffix in SUFFIXES if name + suffix in self._types]

    def _headed(self, name: str) -> list[str]:
        return [HEADINGS[name]] if HEADINGS.get(name) in self._types else []

    def _short_names(self) -> list[str]:
        short = [name.removesuffix(suffix) for name in self._types for suffix in SUFFIXES]
        return [*self._types, *(name for name in dict.fromkeys(short) if name not in self._types)]

    def _member(self, column: str, member: str, unit: str | None) -> Found | tuple[str, str]:
        spelled = self._types[column]
        several = spelled.startswith(_LIST)
        spelled = spelled.removeprefix(_LIST)
        if spelled == "map":
            if member:
                return Found(column, member, "int", None, several=False)
            return f"{column} has a number for each {_COMMAND}", f"Name one: {column}.rcpt > 100."
        members = dict(part.split(": ") for part in spelled.strip("{}").split(", ")) if "{" in spelled else {}
        if not members and not member:
            return Found(column, None, spelled, unit, several)
        if member in members:
            return Found(column, member, members[member], None, several)
        if not members:
            return f"{column} has no parts, so no {member!r}", f"Write {column} alone."
        names = ", ".join(f"{column}.{one}" for one in members)
        return f"{column} has several parts" + (
            f", and no {member!r}" if member else ""
        ), f"Name one: {names}."
