"""Findings for people: what is wrong, since when, how sure that is, who is behind it, and what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from logscope.arrow import as_arrow
from logscope.report.arrow_schema import arrow_type
from logscope.report.model import Cell, Column, Facts, Item, Note, Report, Section, Series, Table
from logscope.report.text import visible
from logscope.report.wording import moment, number, period, plural, span
from logscope.schema import FINDINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from logscope.detect.anomalies import Finding
    from logscope.detect.anomalies import Report as Found
    from logscope.report.tones import Tone

_TONES: dict[str, Tone] = {"critical": "bad", "warning": "warn", "info": "plain"}
_COLUMNS = (
    Column("", keep=10),
    Column("finding", keep=9),
    Column("where", grow=True, keep=8),
    Column("since (UTC)", keep=7),
    Column("lasted", right=True, keep=5),
    Column("observed", right=True, keep=4),
    Column("ordinary", right=True, keep=4),
)
_SHOWN_SESSIONS = 3
_LEAST_HISTORY_DAYS = 2.0


def anomalies_report(found: Found, notes: Sequence[str] = (), standing: Sequence[Note] = ()) -> Report:
    """The report.

    Args:
        found: what the detectors say.
        notes: remarks about the input.
        standing: what is wrong besides, for people: masking may be as old as the logs, and is no change then.
    """
    document = {**found.document(), "notes": list(notes)}
    items: list[Item] = [*standing, _headline(found, besides=bool(standing))]
    if found.span is not None:
        items.append(Facts(tuple(_facts(found))))
    if found.findings:
        items.append(Table(_COLUMNS, tuple(_row(one) for one in found.findings)))
    sections = [Section("", tuple(items))]
    sections += [_detail(one) for one in found.findings]
    if found.ordinary:
        lines = tuple(
            f"{_when(one)} {one.scope}: {one.kind.replace('_', ' ')}. {reason[0].upper()}{reason[1:]}."
            for one, reason in found.ordinary[:12]
        )
        more = len(found.ordinary) - len(lines)
        rest = (f"… and {more} more.",) if more > 0 else ()
        sections.append(
            Section("Looked at, and in order", (Note("Unusual, but no finding:", "quiet", lines + rest),))
        )
    return Report("anomalies", "Anomalies", tuple(sections), document, findings_table(found.findings))


def findings_table(findings: Sequence[Finding]) -> pa.Table:
    """The `findings` table."""
    columns: dict[str, pa.Array] = {}
    for column in FINDINGS:
        values: list[Any] = [getattr(one, column.name) for one in findings]
        if column.name == "evidence":
            values = [json.dumps(value, ensure_ascii=False) for value in values]
        if column.type == "time":
            columns[column.name] = _times(values)
        else:
            columns[column.name] = pa.array(values, arrow_type(column.type))
    return pa.table(columns)


def _times(values: Sequence[int | None]) -> pa.Array:
    import numpy as np

    known = as_arrow(
        np.array([0 if value is None else value for value in values], np.int64),
        np.array([value is None for value in values], np.bool_),
    )
    return known.cast(pa.timestamp("ns", tz="UTC"))


def _headline(found: Found, *, besides: bool) -> Note:
    if found.span is None:
        return Note("No session with a time in it: nothing could be judged.", "warn")
    if not found.findings:
        return Note("Nothing else is unusual." if besides else "Nothing unusual.", "good")
    grave = sum(one.severity == "critical" for one in found.findings)
    text = plural(len(found.findings), "finding")
    if grave:
        text += f", {grave} of them critical"
    return Note(text + ".", "bad" if grave else "warn")


def _facts(found: Found) -> list[tuple[str, Cell]]:
    assert found.span is not None
    words = {
        "sessions": ("session", "sessions"),
        "messages": ("message", "messages"),
        "deliveries": ("delivery", "deliveries"),
    }
    looked = ", ".join(plural(count, *words[name]) for name, count in found.rows.items() if count)
    pairs = [("Period", Cell(period(*found.span))), ("Looked at", Cell(looked))]
    if found.baseline.days < _LEAST_HISTORY_DAYS:
        text = "the minutes before: too little time to know the shape of a day (two days, or --baseline)"
        pairs.append(("Compared with", Cell(text, "quiet")))
    else:
        pairs.append(
            ("Compared with", Cell(f"the usual day, learnt from {found.baseline.days:.1f} days", "quiet"))
        )
    return pairs


def _row(one: Finding) -> tuple[Cell, ...]:
    tone = _TONES[one.severity]
    return (
        Cell({"critical": "✗", "warning": "!", "info": "·"}[one.severity], tone),
        Cell(one.kind.replace("_", " "), tone),
        Cell(one.scope, "strong"),
        Cell(moment(one.since)[:16], "quiet"),
        Cell(_lasted(one)),
        Cell(_amount(one.measure, one.observed)),
        Cell(_ordinary(one), "quiet"),
    )


def _lasted(one: Finding) -> str:
    return "goes on" if one.until is None else span((one.until - one.since) / 1e6)


def _amount(measure: str, value: float) -> str:
    if measure.startswith("share"):
        return f"{100 * value:.2g} %" if value < 0.0995 else f"{100 * value:.0f} %"
    if measure.startswith("ms"):
        return span(value)
    if measure == "seconds ahead":
        return f"{value:+.1f} s"
    short = f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"
    return f"{short}/min" if measure.endswith("a minute") else short


def _ordinary(one: Finding) -> str:
    low, high = one.expected_low, one.expected_high
    if high <= 0:
        return "none"
    if low <= 0:
        return f"≤ {_amount(one.measure, high)}"
    return f"{_amount(one.measure, low)} – {_amount(one.measure, high)}"


def _when(one: Finding) -> str:
    return moment(one.since)[:16]


def _detail(one: Finding) -> Section:
    """All about one finding."""
    tone = _TONES[one.severity]
    since, until = moment(one.since)[:16], "and goes on"
    if one.until is not None:
        end = moment(one.until)[:16]
        until = f"until {end[11:] if end[:10] == since[:10] else end}"
    items: list[Item] = [Note(one.explanation, tone)]
    plot = _plot(one)
    if plot is not None:
        items.append(plot)
    items.append(Facts(tuple(_details(one))))
    items.append(Note("What to do:", "strong", tuple(f"{n}. {step}" for n, step in enumerate(one.remedy, 1))))
    title = f"{one.kind.replace('_', ' ')} · {one.scope} · {since} {until} UTC"
    return Section(visible(title), tuple(items))


def _details(one: Finding) -> list[tuple[str, Cell]]:
    evidence = one.evidence
    pairs = [("Known after", Cell(span(max(0, one.detected_at - one.since) / 1e6)))]
    who = evidence.get("contributors") or []
    if who:
        names = ", ".join(f"{entry['name']} ({number(entry['count'])})" for entry in who[:4])
        pairs.append(("Most by", Cell(names)))
    tried = evidence.get("details") or []
    if tried:
        pairs.append(
            (
                "Accounts",
                Cell(", ".join(f"{entry['name']} ({number(entry['count'])})" for entry in tried[:4])),
            )
        )
    signs = evidence.get("signs") or []
    if len(signs) > 1:
        told = list(dict.fromkeys(f"{entry['what']} ({entry['scope']})" for entry in signs))
        more = f" and {len(told) - 4} more" if len(told) > 4 else ""
        pairs.append(("Seen in", Cell(", ".join(told[:4]) + more, "quiet")))
    shown = (evidence.get("sessions") or [])[:_SHOWN_SESSIONS]
    pairs += [("For example", Cell(_session(entry), "quiet")) for entry in shown]
    pairs.append(("Wrong if", Cell(one.doubt, "quiet")))
    pairs.append(("Id", Cell(one.finding_id, "quiet")))
    return pairs


def _session(entry: dict[str, Any]) -> str:
    words = [
        str(entry[name]) for name in ("session_id", "client_address", "server", "outcome") if entry.get(name)
    ]
    lines = entry.get("events") or []
    if lines:
        words.append(f"{lines[0]['source']}:{lines[0]['line_number']}")
    return " ".join(words)


def _plot(one: Finding) -> Series | None:
    series = one.evidence.get("series")
    if not series or not any(series["observed"]):
        return None
    from datetime import datetime

    start = int(datetime.fromisoformat(series["start"]).timestamp()) * 1_000_000_000
    return Series(
        series["what"],
        start,
        series["step_s"] * 1_000_000_000,
        tuple(round(count) for count in series["observed"]),
    )
