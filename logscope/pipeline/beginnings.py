"""What the first lines of all sources tell: which year it is, and which source comes first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from logscope.grammar import ops
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.rows import NULL, Rows
from logscope.grammar.scan import Scanner
from logscope.pipeline.options import Input, Options
from logscope.syslog import records
from logscope.syslog.clock import Clock
from logscope.syslog.years import Reference, best_reference

_HEAD = 1 << 14


def heads(sources: Sequence[Input], catalogue: Catalogue, *, machine_code: bool = False) -> list[Rows]:
    """The first lines of each source."""
    scanned = []
    for source in sources:
        head = source.head[:_HEAD]
        cut = head.rfind(b"\n") + 1
        lines, _ = records.decoded(head[:cut] or head, 2 * _HEAD)
        scanned.append(Scanner(catalogue, compiled=machine_code).scan_bytes(lines))
    return scanned


def references(
    sources: Sequence[Input],
    scanned: Sequence[Rows],
    catalogue: Catalogue,
    year: int | None,
    now: int,
    dates: list[int] | None = None,
) -> list[Reference]:
    """What each source's years are counted from: whatever in any of them has a year, else what the file's
    name or `--year` says.

    Args:
        dates: times with a year that are known from elsewhere; those found here are added.
    """
    dates = [] if dates is None else dates
    accepted = [rows.integers(catalogue.field_id("accepted_at")) for rows in scanned]
    stamped = [np.where(rows.stamp_kind & ops.YEARLESS == 0, rows.stamp, NULL) for rows in scanned]
    dates += [int(date) for column in (*accepted, *stamped) for date in column[column != NULL][:1]]
    return [
        best_reference(
            now=now,
            accepted=min(dates, default=None),
            name=source.name,
            year=year,
            modified=source.modified_at,
        )
        for source in sources
    ]


def clocks(
    sources: Sequence[Input], catalogue: Catalogue, options: Options, now: int, *, machine_code: bool = False
) -> list[Clock]:
    """One clock for each source, with what the heads of all of them tell about the year."""
    known = references(
        sources, heads(sources, catalogue, machine_code=machine_code), catalogue, options.year, now
    )
    return [Clock(reference, options.zones) for reference in known]


def in_time_order(sources: Sequence[Input], scanned: Sequence[Rows]) -> list[int]:
    """Sources by their first stamp, then by content: never by name or by the order given."""

    def key(index: int) -> tuple[int, bytes]:
        stamps = scanned[index].stamp
        present = stamps[stamps != NULL]
        return (int(present[0]) if len(present) else 0, sources[index].head[:1024])

    return sorted(range(len(sources)), key=key)
