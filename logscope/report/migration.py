"""How much of the traffic is visible in time, for people and for machines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from logscope.report.model import Cell, Column, Item, Note, Report, Section, Table
from logscope.report.wording import number, share

_COLUMNS = (
    Column("from (UTC)", keep=10),
    Column("target", keep=9),
    Column("visible", right=True, keep=8),
    Column("sessions", right=True, keep=7),
    Column("", keep=3),
    Column("host", keep=2),
)
_SCHEMA = pa.schema(
    [
        ("from", pa.timestamp("ns", "UTC")),
        ("frontend", pa.string()),
        ("backend", pa.string()),
        ("server", pa.string()),
        ("family", pa.string()),
        ("mta_host", pa.string()),
        ("sessions", pa.int64()),
        ("visible", pa.int64()),
        ("share_visible", pa.float64()),
    ]
)
_BAR = 20
SHOWN = 120


def migration_report(document: Mapping[str, Any]) -> Report:
    """The report.

    Args:
        document: as `detect.masking.Judge.migration` has it.
    """
    found = [_row(one) for one in document["migration"]]
    sessions, seen = (sum(row[name] for row in found) for name in ("sessions", "visible"))
    table = pa.Table.from_pylist(found, _SCHEMA)
    if not found:
        items: list[Item] = [
            Note("No session of a target could be judged: nothing can be said in time.", "warn")
        ]
    else:
        text = (
            f"In {share(seen, sessions)} of {number(sessions)} sessions the mail servers saw their clients."
        )
        left = len(found) - SHOWN
        note = f"{number(left)} earlier rows; -o csv has all." if left > 0 else ""
        items = [
            Note(text, "good" if seen == sessions else "bad" if not seen else "warn"),
            Table(_COLUMNS, tuple(_cells(row) for row in found[-SHOWN:]), note),
        ]
    shown = {"step_s": document["step_s"], "migration": table}
    return Report("migration", "Visible traffic in time", (Section("", tuple(items)),), shown, table)


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    names = ("frontend", "backend", "server", "family", "mta_host", "sessions", "visible")
    part = round(one["visible"] / one["sessions"], 4)
    return {"from": one["at"], **{name: one[name] for name in names}, "share_visible": part}


def _cells(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    part = row["share_visible"]
    full = round(_BAR * part)
    where = f"{row['frontend']} → {row['backend']}/{row['server']} {row['family'] or ''}".rstrip()
    return (
        Cell(f"{datetime.fromtimestamp(row['from'] // 10**9, UTC):%Y-%m-%d %H:%M}", "quiet"),
        Cell(where, "strong"),
        Cell(share(row["visible"], row["sessions"]), "good" if part == 1 else "bad" if not part else "warn"),
        Cell(number(row["sessions"])),
        Cell("█" * full + "░" * (_BAR - full), "quiet"),
        Cell(row["mta_host"] or "–", "quiet"),
    )
