"""A report is data. Renderers turn it into text, JSON, CSV or Parquet; nobody else knows how it looks.

For people a report is sections of notes, facts, tables and series. For machines it is a document (nested
plain values, in which an Arrow table stands for an array of objects) and, where it is one table at heart,
that table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from logscope.report.tones import Tone


@dataclass(frozen=True)
class Cell:
    """A text and what it means. May hold text from a log; renderers make it harmless."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Column:
    """A column of a table for people.

    Args:
        title: its heading.
        right: align at the right, as numbers are.
        grow: takes what width is left, and is cut when there is none.
        keep: how important it is; the lowest are left out first on a narrow terminal.
    """

    title: str
    right: bool = False
    grow: bool = False
    keep: int = 5


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Args:
        columns: headings.
        rows: a cell for each column.
        note: a remark below.
        empty: what stands in its place where there are no rows.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    empty: str = ""


@dataclass(frozen=True)
class Bars:
    """Counts with names, drawn as parts of a whole.

    Args:
        rows: name, count, tone.
        whole: what the shares are of.
    """

    rows: tuple[tuple[str, int, Tone], ...]
    whole: int


@dataclass(frozen=True)
class Facts:
    """Names and values, one a line."""

    pairs: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True)
class Note:
    """A sentence somebody should read, and what to do about it."""

    text: str
    tone: Tone = "plain"
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """Counts in equal steps of time, drawn as a line.

    Args:
        title: what is counted.
        start: of the first step, ns since 1970.
        step: length of a step in ns.
        counts: one for each step.
    """

    title: str
    start: int
    step: int
    counts: tuple[int, ...]


Item: TypeAlias = Table | Bars | Facts | Note | Series


@dataclass(frozen=True)
class Section:
    """Some items under a title, which may be empty."""

    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Report:
    """A report.

    Args:
        name: a word for files and options.
        title: for people.
        sections: for people.
        document: for `-o json`.
        table: for the other formats; None where the report is no table.
    """

    name: str
    title: str
    sections: tuple[Section, ...]
    document: Mapping[str, Any]
    table: pa.Table | None = None
