"""What would make more joins exact, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from logscope.report.model import Cell, Column, Item, Note, Report, Section, Table
from logscope.report.wording import number, share

if TYPE_CHECKING:
    from logscope.readiness import Advice, Measured


def readiness_report(found: Measured, advice: Sequence[Advice]) -> Report:
    """The settings in a table, then the lines to add, those that gain most first."""
    ordered = sorted(advice, key=lambda one: (not one.missing, -one.gain))
    exact = found.count() - found.count(weak=True)
    said = f"{number(exact)} of {number(found.count())} links between hops are exact"
    said += f" ({share(exact, found.count())})." if found.count() else "."
    columns = (
        Column("setting", keep=10),
        Column("", keep=9),
        Column("gain", right=True, keep=8),
        Column("of", right=True, keep=7),
        Column("what", grow=True, keep=6),
    )
    table = Table(columns, tuple(map(_cells, ordered)))
    notes: list[Item] = [_note(one) for one in ordered if one.missing]
    sections = (
        Section("", (Note(said, "plain"), table)),
        Section("To add", tuple(notes)) if notes else Section("", (Note("Nothing is to be added.", "good"),)),
    )
    rows = [_row(one) for one in ordered]
    document = {"links": found.count(), "exact": exact, "settings": rows}
    return Report("readiness", "Readiness", sections, document, pa.Table.from_pylist(rows))


def _cells(one: Advice) -> tuple[Cell, ...]:
    state = Cell("missing", "warn") if one.missing else Cell("fine", "good")
    gain = Cell(f"+{number(one.gain)}", "strong") if one.missing and one.gain else Cell("–", "quiet")
    return Cell(one.setting), state, gain, Cell(number(one.of)), Cell(one.what, "quiet")


def _note(one: Advice) -> Note:
    steps = (f"{one.where}:", *(f"    {line.strip()}" if line[:1] != " " else line for line in one.lines))
    more = (one.note,) if one.note else ()
    return Note(f"{one.setting}: {one.missing}.", "warn" if one.gain else "plain", (*steps, *more))


def _row(one: Advice) -> dict[str, Any]:
    return {
        "setting": one.setting,
        "missing": bool(one.missing),
        "observed": one.missing or None,
        "gain": one.gain if one.missing else 0,
        "of": one.of,
        "what": one.what,
        "lines": list(one.lines),
        "where": one.where,
        "note": one.note,
    }
