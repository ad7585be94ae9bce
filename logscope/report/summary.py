"""The one screen for the person on call: is mail flowing, what is broken, where, and can the figures be
trusted.

What needs a person comes first (the masking verdict, servers that fail sessions), figures after it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logscope.report.clients import ClientTable
from logscope.report.json_values import rfc3339
from logscope.report.masking import headline
from logscope.report.model import Bars, Cell, Column, Facts, Item, Note, Report, Section, Series, Table
from logscope.report.quality import counted_twice, quality_notes
from logscope.report.tones import OUTCOME_TONES, Tone
from logscope.report.wording import number, period, plural
from logscope.schema import OUTCOMES

_Name = TypeVar("_Name")

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MINUTE = 60_000_000_000
_MOST_MINUTES = 100_000
_STEPS = 288
_ROWS = 5

ARRIVED = ("delivered", "partly_delivered", "accepted", "deferred", "bounced")
"""Outcomes of sessions that brought mail."""

FAILED = ("no_server", "server_error")
"""Outcomes that somebody at the site must look into."""

READS = (
    "server",
    "mta_host",
    "outcome",
    "accepted_at",
    "mta_connected_at",
    "ended_at",
    "rejects",
    "screen_tests",
)
"""Columns of the sessions looked at here; `clients.READS` come on top."""

_TIMES = ("accepted_at", "mta_connected_at", "ended_at")


@dataclass
class Summary:
    """Gathers sessions and deliveries for the screen, in memory that their number does not matter to."""

    clients: ClientTable = field(default_factory=ClientTable)
    outcomes: Counter[str] = field(default_factory=Counter)
    servers: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejects: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    reject_text: dict[tuple[str, str, str], str] = field(default_factory=dict)
    tests: Counter[str] = field(default_factory=Counter)
    minutes: Counter[int] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    deferrals: Counter[str] = field(default_factory=Counter)
    deferral_reply: dict[str, str] = field(default_factory=dict)
    first: int | None = None
    last: int | None = None

    def add_sessions(self, batch: pa.RecordBatch) -> None:
        """Take some sessions."""
        self.clients.add(batch)
        where = pc.coalesce(_text(batch, "server"), _text(batch, "mta_host"), pa.scalar("(no server)"))
        outcome = pc.fill_null(_text(batch, "outcome"), "unknown")
        for (server, what), count, _ in _counted([where, outcome]):
            self.servers[server, what] += count
            self.outcomes[what] += count
        self._add_times(batch)
        self._add_rejects(pc.list_flatten(batch.column("rejects")))
        for (test,), count, _ in _counted([pc.list_flatten(batch.column("screen_tests"))]):
            self.tests[test] += count

    def add_deliveries(self, batch: pa.RecordBatch) -> None:
        """Take some deliveries."""
        status = pc.fill_null(_text(batch, "status"), "unknown")
        for (what,), count, _ in _counted([status]):
            self.statuses[what] += count
        late = batch.filter(pc.equal(status, "deferred"))
        if not late.num_rows:
            return
        domain = pc.replace_substring_regex(_text(late, "recipient"), pattern="^.*@", replacement="")
        for (name,), count, row in _counted([pc.fill_null(domain, "–")]):
            self.deferrals[name] += count
            self.deferral_reply.setdefault(name, late.column("reply")[row].as_py() or "")
        _forget_rare(self.deferrals, self.deferral_reply)

    def _add_times(self, batch: pa.RecordBatch) -> None:
        seen = pc.coalesce(*(batch.column(name) for name in _TIMES)).cast(pa.int64()).drop_null()
        if not len(seen):
            return
        first, last = (
            pc.min(seen).as_py(),
            pc.max(pc.coalesce(*(batch.column(n) for n in reversed(_TIMES)))).value,
        )
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)
        minutes, counts = np.unique(seen.to_numpy() // _MINUTE, return_counts=True)
        for minute, count in zip(minutes.tolist(), counts.tolist(), strict=True):
            if len(self.minutes) < _MOST_MINUTES or minute in self.minutes:
                self.minutes[minute] += count

    def _add_rejects(self, rejects: pa.Array) -> None:
        if not len(rejects):
            return
        members = dict(zip([member.name for member in rejects.type], rejects.flatten(), strict=True))
        keys = [pc.fill_null(members[name].cast(pa.string()), "–") for name in ("stage", "code", "dsn")]
        for (stage, code, dsn), count, row in _counted(keys):
            self.rejects[stage, code, dsn] += count
            self.reject_text.setdefault((stage, code, dsn), members["text"][row].as_py() or "")


def _text(batch: pa.RecordBatch, name: str) -> pa.Array:
    column = batch.column(name)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _counted(columns: list[pa.Array]) -> list[tuple[tuple[Any, ...], int, int]]:
    """Each combination of values, how often it occurs, and a row where it does.

    By dictionary codes: Arrow's own grouping takes a tenth of a second to load.
    """
    if not len(columns[0]):
        return []
    encoded = [column.dictionary_encode(null_encoding="encode") for column in columns]
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in encoded:
        codes = codes * len(column.dictionary) + column.indices.to_numpy()
    _, rows, counts = np.unique(codes, return_index=True, return_counts=True)
    return [
        (tuple(column[row].as_py() for column in columns), count, row)
        for row, count in zip(rows.tolist(), counts.tolist(), strict=True)
    ]


def _forget_rare(counts: Counter[str], texts: dict[str, str]) -> None:
    """Keep destinations few: a spammer's forged addresses name domains without end."""
    if len(counts) <= _MOST_MINUTES:
        return
    for name, _ in counts.most_common()[_MOST_MINUTES // 2 :]:
        del counts[name]
        texts.pop(name, None)


# --- the screen
# -------------------------------------------------------------------------------------------------------


def summary_report(
    summary: Summary,
    quality: Mapping[str, int],
    masking: Mapping[str, Any] | None,
    notes: Sequence[str] = (),
) -> Report:
    """The screen.

    Args:
        summary: filled with all sessions and deliveries.
        quality: the counts that close (lines, sessions by how they were joined).
        masking: the masking document; None where it was not judged.
        notes: what the pipeline has to say about the input.
    """
    counts_more = sum(summary.outcomes.values()) < quality.get("sessions", 0)
    twice = 0 if counts_more else counted_twice(quality)
    sections = [Section("", (_facts(summary, twice), *_verdicts(summary, masking)))]
    if summary.outcomes:
        sections.append(Section("Sessions", _sessions(summary)))
        sections.append(Section("Servers", (_servers(summary),)))
    if summary.rejects or summary.tests:
        sections.append(Section("Refused", _refused(summary)))
    if summary.deferrals:
        sections.append(Section("Deferred", (_deferred(summary),)))
    sections.append(Section("Data", quality_notes(quality, notes, counts_more=counts_more)))
    return Report("summary", "Summary", tuple(sections), _document(summary, quality, masking))


def _facts(summary: Summary, twice: int) -> Facts:
    served = sum(count for outcome, count in summary.outcomes.items() if outcome != "probe")
    totals = summary.clients.totals()
    what = f"{plural(served, 'session')} of {plural(totals['clients'], 'client')}"
    if twice:
        what += f", up to {number(twice)} of them counted twice (see Data)"
    return Facts(
        (("Period", Cell(period(summary.first, summary.last), "strong")), ("Seen", Cell(what, "strong")))
    )


def _verdicts(summary: Summary, masking: Mapping[str, Any] | None) -> tuple[Item, ...]:
    notes: list[Note] = []
    if masking is not None:
        notes += headline(masking)
    notes.append(_flow(summary))
    for outcome, words in (
        ("no_server", "no server could be reached"),
        ("server_error", "the server failed them"),
    ):
        servers = [(server, count) for (server, what), count in summary.servers.items() if what == outcome]
        if servers:
            named = ", ".join(
                f"{server} {number(count)}" for server, count in sorted(servers, key=lambda s: -s[1])
            )
            total = sum(count for _, count in servers)
            where = f" ({named})" if outcome == "server_error" else ""
            notes.append(Note(f"{plural(total, 'session')} lost: {words}{where}.", "bad"))
    return tuple(
        sorted(
            notes, key=lambda note: ("bad", "warn").index(note.tone) if note.tone in ("bad", "warn") else 2
        )
    )


def _flow(summary: Summary) -> Note:
    arrived = sum(summary.outcomes[outcome] for outcome in ARRIVED)
    sent, late, lost = (summary.statuses[status] for status in ("sent", "deferred", "bounced"))
    if not arrived:
        return Note("No session brought mail.", "warn")
    brought = f"{plural(arrived, 'session')} brought mail"
    if not sent + late + lost:
        return Note(f"Mail is accepted: {brought}; no delivery is logged.", "good")
    attempts = f"deliveries: {number(sent)} sent, {number(late)} deferred, {number(lost)} bounced"
    if sent == 0 or late + lost > sent:
        return Note(f"Mail arrives but mostly does not get on: {brought}; {attempts}.", "bad")
    return Note(f"Mail is flowing: {brought}; {attempts}.", "good")


def _sessions(summary: Summary) -> tuple[Item, ...]:
    whole = sum(summary.outcomes.values())
    order = [outcome for outcome in (*OUTCOMES[1:], "unknown") if summary.outcomes[outcome]]
    order.sort(key=lambda outcome: -summary.outcomes[outcome])
    bars = Bars(tuple((_words(o), summary.outcomes[o], OUTCOME_TONES[o]) for o in order), whole)
    series = _series(summary)
    return (bars, series) if series else (bars,)


def _series(summary: Summary) -> Series | None:
    """Sessions in at most `_STEPS` steps of whole minutes; None for less than ten minutes of log."""
    if not summary.minutes:
        return None
    first, last = min(summary.minutes), max(summary.minutes)
    if last - first < 9:
        return None
    step = -(-(last - first + 1) // _STEPS)
    counts = [0] * ((last - first) // step + 1)
    for minute, count in summary.minutes.items():
        counts[(minute - first) // step] += count
    return Series("sessions", first * _MINUTE, step * _MINUTE, tuple(counts))


_SERVER_COLUMNS = (
    Column("server", grow=True, keep=10),
    Column("sessions", right=True, keep=9),
    Column("with mail", right=True, keep=8),
    Column("refused", right=True, keep=7),
    Column("failed", right=True, keep=8),
    Column("other", right=True, keep=3),
    Column("checks", right=True, keep=2),
)


def _servers(summary: Summary) -> Table:
    rows = []
    for server in sorted({name for name, _ in summary.servers}):
        of = {outcome: summary.servers[server, outcome] for outcome in OUTCOMES}
        checks = of["probe"]
        total = sum(of.values()) - checks
        arrived = sum(of[outcome] for outcome in ARRIVED)
        refused = of["rejected"] + of["screened"]
        failed = sum(of[outcome] for outcome in FAILED)
        numbers: list[tuple[int, Tone]] = [
            (total, "plain"),
            (arrived, "good"),
            (refused, "warn"),
            (failed, "bad"),
            (total - arrived - refused - failed, "quiet"),
            (checks, "quiet"),
        ]
        rows.append((Cell(server, "strong"), *(_count(count, tone) for count, tone in numbers)))
    return Table(_SERVER_COLUMNS, tuple(rows))


def _refused(summary: Summary) -> tuple[Item, ...]:
    items: list[Item] = []
    if summary.rejects:
        columns = (
            Column("count", right=True, keep=10),
            Column("stage", keep=6),
            Column("code", keep=9),
            Column("dsn", keep=5),
            Column("for example", grow=True, keep=8),
        )
        rows = tuple(
            (
                Cell(number(count)),
                Cell(stage),
                Cell(code, "warn"),
                Cell(dsn),
                Cell(summary.reject_text[stage, code, dsn], "quiet"),
            )
            for (stage, code, dsn), count in _most(summary.rejects)[:_ROWS]
        )
        items.append(Table(columns, rows, note=_more(len(summary.rejects), "reason")))
    if summary.tests:
        said = ", ".join(f"{test} {number(count)}" for test, count in _most(summary.tests))
        items.append(Facts((("Postscreen tests failed", Cell(said)),)))
    return tuple(items)


def _deferred(summary: Summary) -> Table:
    columns = (
        Column("count", right=True, keep=10),
        Column("destination", grow=True, keep=9),
        Column("last reply", grow=True, keep=5),
    )
    rows = tuple(
        (Cell(number(count)), Cell(domain), Cell(summary.deferral_reply[domain], "quiet"))
        for domain, count in _most(summary.deferrals)[:_ROWS]
    )
    return Table(columns, rows, note=_more(len(summary.deferrals), "destination"))


def _more(total: int, what: str) -> str:
    return f"and {plural(total - _ROWS, f'more {what}')}" if total > _ROWS else ""


def _count(count: int, tone: Tone) -> Cell:
    return Cell(number(count), tone) if count else Cell("·", "quiet")


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _document(
    summary: Summary, quality: Mapping[str, int], masking: Mapping[str, Any] | None
) -> dict[str, Any]:
    servers: dict[str, dict[str, int]] = {}
    for (server, outcome), count in sorted(summary.servers.items()):
        servers.setdefault(server, {})[outcome] = count
    rejects = [
        {
            "stage": stage,
            "code": code,
            "dsn": dsn,
            "count": count,
            "example": summary.reject_text[stage, code, dsn],
        }
        for (stage, code, dsn), count in _most(summary.rejects)
    ]
    deferrals = [
        {"destination": domain, "count": count, "example": summary.deferral_reply[domain]}
        for domain, count in _most(summary.deferrals)
    ]
    return {
        "first_seen": None if summary.first is None else rfc3339(summary.first),
        "last_seen": None if summary.last is None else rfc3339(summary.last),
        "totals": summary.clients.totals(),
        "outcomes": dict(sorted(summary.outcomes.items())),
        "servers": servers,
        "rejects": rejects,
        "screen_tests": dict(sorted(summary.tests.items())),
        "deliveries": dict(sorted(summary.statuses.items())),
        "deferrals": deferrals,
        "masking": None
        if masking is None
        else {"verdict": masking["verdict"], "targets": masking["targets"]},
        "quality": dict(quality),
    }


def _most(counts: Counter[_Name]) -> list[tuple[_Name, int]]:
    """The names with their counts, the highest first; among equals by name, so that it is always the same."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0])))
