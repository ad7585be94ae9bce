"""Lines that nobody understood, grouped by what is left of them without their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from logscope.grammar.suggest import shape
from logscope.report.model import Cell, Column, Report, Section, Table
from logscope.report.wording import number, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_SHAPES = 10_000
"""Groups that are kept; lines of further shapes are one group."""

_OTHERS = "(further shapes)"


@dataclass(slots=True)
class _Group:
    count: int
    reason: str
    source: str
    line_number: int
    example: str


class Shapes:
    """Groups lines as they come."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the lines of a batch of events that were not understood."""
        if "raw" not in batch.schema.names:
            return
        wanted = ("source", "line_number", "service", "kind", "reason", "raw")
        for row in batch.select(wanted).to_pylist():
            if row["kind"] == "unparsed" and row["raw"].strip():
                self._add(row)

    def _add(self, row: dict[str, str]) -> None:
        service = row["service"] or ""
        key = (service.rpartition("/")[2], shape(_message(row["raw"], service)))
        if key not in self._groups and len(self._groups) >= MOST_SHAPES:
            key = ("", _OTHERS)
        group = self._groups.get(key)
        if group is None:
            self._groups[key] = _Group(1, row["reason"], row["source"], int(row["line_number"]), row["raw"])
        else:
            group.count += 1

    def report(self) -> Report:
        """The groups, the largest first."""
        found = sorted(self._groups.items(), key=lambda item: (-item[1].count, item[0]))
        rows = [
            {
                "lines": group.count,
                "program": program or None,
                "shape": shape_,
                "reason": group.reason,
                "source": group.source,
                "line_number": group.line_number,
                "example": group.example,
            }
            for (program, shape_), group in found
        ]
        columns = (
            Column("lines", right=True, keep=10),
            Column("program", keep=8),
            Column("shape", grow=True, keep=9),
        )
        cells = tuple(
            (Cell(number(group.count)), Cell(program, "strong"), Cell(shape_))
            for (program, shape_), group in found
        )
        total = sum(group.count for _, group in found)
        note = f"{plural(total, 'line')} of {plural(len(found), 'shape')}."
        note += " -o json has an example of each; logscope explain --suggest 'LINE' drafts a template for it."
        table = Table(columns, cells, note=note if found else "", empty="Every line was understood.")
        return Report("unparsed", "Not understood", (Section("", (table,)),), {"shapes": rows}, _table(rows))


def _table(rows: Iterable[Mapping[str, object]]) -> pa.Table:
    texts = ("program", "shape", "reason", "source", "example")
    schema = pa.schema(
        [
            ("lines", pa.int64()),
            *((name, pa.string()) for name in texts[:4]),
            ("line_number", pa.int64()),
            ("example", pa.string()),
        ]
    )
    return pa.Table.from_pylist(list(map(dict, rows)), schema=schema)


def _message(line: str, service: str) -> str:
    """A line without its envelope, as far as its tag shows where that ends."""
    start = line.find(service) if service else -1
    end = line.find(": ", start) if start >= 0 else -1
    return line[end + 2 :] if end >= 0 else line
