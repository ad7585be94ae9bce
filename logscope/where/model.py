"""What `--where` comes to: words with their places, and formulas over columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Word:
    """A name or value as it was written.

    Attributes:
        text: without quotes.
        start, end: where it stands, in characters from 0.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Comparison:
    """A test of a column, as it was written.

    Attributes:
        name: of the column.
        operator: `=`, `<`, `<=`, `>`, `>=`, `in`, `contains`, `matches`, `null`; `true` for a column alone.
        values: what it is compared with.
    """

    name: Word
    operator: str
    values: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Both:
    """True if all parts are."""

    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Either:
    """True if one of the parts is."""

    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Opposite:
    """True if its part is not."""

    part: Any


@dataclass(frozen=True)
class Test:
    """A test of a column, as it is made.

    Attributes:
        column: of the table.
        member: of the structs in its lists, or command in its map; None for the values themselves.
        operator: see `Comparison`; `network` where an address is to be in one.
        operand: what it is compared with, as the column holds it.
    """

    column: str
    member: str | None
    operator: str
    operand: Any = None


Tree: TypeAlias = "Both | Either | Opposite | Comparison"
Formula: TypeAlias = "Both | Either | Opposite | Test"
