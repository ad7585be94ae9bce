"""The clients recovered while they were masked, for people and for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from logscope.detect.recovered import METHODS
from logscope.report.model import Cell, Column, Item, Note, Report, Section, Table
from logscope.report.wording import number

SHOWN = 30
_TIME = pa.timestamp("ns", "UTC")
_SCHEMA = pa.schema(
    [
        ("client", pa.string()),
        ("sessions", pa.int64()),
        ("known_from", pa.list_(pa.string())),
        ("probability", pa.float64()),
        ("expected_sessions", pa.float64()),
        ("first_seen", _TIME),
        ("last_seen", _TIME),
        ("frontends", pa.list_(pa.string())),
        ("mta_hosts", pa.list_(pa.string())),
        ("at_once", pa.int64()),
        ("a_minute", pa.int64()),
        ("against_it", pa.list_(pa.string())),
    ]
)
_WORDS = {
    "backend_port": "balancer's port",
    "header_text": "header text",
    "timing": "begin and end",
}
_COLUMNS = (
    Column("client", keep=10),
    Column("sessions", right=True, keep=9),
    Column("known from", keep=8),
    Column("surely", right=True, keep=7),
    Column("first (UTC)", keep=6),
    Column("last (UTC)", keep=4),
    Column("at", keep=2),
)
_HOW = (
    "For exact answers let HAProxy log the address and port that it connects from: `%bi:%bp` behind the "
    "other "
    "fields of the log-format."
)


def recovered_report(
    clients: Sequence[Mapping[str, Any]], masked: int, unmasking: Sequence[Mapping[str, Any]]
) -> Report:
    """The report.

    Args:
        clients: as `detect.recovered.rows` has them, those with most sessions first.
        masked: sessions in which the mail server saw the balancer.
        unmasking: as `detect.recovered.unmasking` has it.
    """
    table = pa.Table.from_pylist(list(clients), _SCHEMA)
    recovered = sum(one["sessions"] for one in clients)
    totals = {
        "masked_sessions": masked,
        "recovered_sessions": recovered,
        "expected_right": round(sum(one["expected_sessions"] for one in clients), 2),
        "clients": len(clients),
    }
    items: list[Item] = [_summary(totals)]
    if clients:
        note = f"{number(len(clients) - SHOWN)} more; -o csv has all." if len(clients) > SHOWN else ""
        items.append(Table(_COLUMNS, tuple(_row(one) for one in clients[:SHOWN]), note))
    sections = [Section("", tuple(items))]
    if unmasking:
        met = tuple(_met(one) for one in unmasking)
        sections.append(Section("Once the mail servers see these clients", met))
    document = {"recovered": table, "totals": totals, "unmasking": list(unmasking)}
    return Report("recovered", "Recovered clients", tuple(sections), document, table)


def _summary(totals: Mapping[str, Any]) -> Note:
    masked, recovered = totals["masked_sessions"], totals["recovered_sessions"]
    if not masked:
        return Note("No session is known to have been masked: there is nobody to recover.", "good")
    told = f"{number(recovered)} of {number(masked)} masked sessions have their clients back"
    doubt = recovered - totals["expected_right"]
    if recovered and doubt >= 0.5:
        told += f"; about {number(round(doubt))} of these are expected to be wrong"
    steps = (_HOW,) if recovered < masked or doubt >= 0.5 else ()
    return Note(told + ".", "good" if recovered == masked else "warn", steps)


def _met(one: Mapping[str, Any]) -> Note:
    if one["kind"] == "not_known":
        return Note(one["text"], "plain")
    more = "" if one["count"] <= len(one["clients"]) else f" and {one['count'] - len(one['clients'])} more"
    return Note(one["text"], "warn", (", ".join(one["clients"]) + more,))


def _row(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    known = [_WORDS[method] for method in METHODS if method in one["known_from"]]
    return (
        Cell(one["client"], "strong"),
        Cell(number(one["sessions"])),
        Cell(", ".join(known)),
        Cell(f"{int(100 * one['probability'])} %", "plain" if one["probability"] == 1 else "warn"),
        Cell(_time(one["first_seen"]), "quiet"),
        Cell(_time(one["last_seen"]), "quiet"),
        Cell(", ".join(one["mta_hosts"]), "quiet"),
    )


def _time(ns: int | None) -> str:
    return "–" if ns is None else f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}"
