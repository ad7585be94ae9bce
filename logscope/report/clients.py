"""The report of clients: who, how much, what became of it.

Health checks of the balancer (`outcome = probe`) are no clients; they are counted in the totals only.
Sessions whose client is not known (masked and not recovered) are one row with a null client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logscope.arrow import as_arrow, as_texts, together
from logscope.beside import Beside
from logscope.errors import UsageError, did_you_mean
from logscope.report.groups import FAR, Groups, Longs, Part, distinct, listed, percentiles
from logscope.report.model import Cell, Column, Facts, Report, Section, Table
from logscope.report.tones import OUTCOME_TONES
from logscope.report.wording import moment, number, period, plural, share, size, span
from logscope.schema import OUTCOMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_MS = 2**31 - 1
_LATEST_NUMBER = 10**17  # nanoseconds since 1970 are more, counts and bytes less
_SETS = {"sasl_usernames": "sasl_username", "helos": "helo", "servers": "server"}
_RECOVERED_FROM = ["backend_port", "timing", "header_text"]
COUNTED = tuple(outcome for outcome in OUTCOMES if outcome != "probe")
"""Outcomes with a column of their own in the table of clients."""

READS = (
    "client_address",
    "client_known_from",
    "masked",
    "accepted_at",
    "mta_connected_at",
    "ended_at",
    "outcome",
    "message_count",
    "recipient_count",
    "bytes_to_client",
    "bytes_to_server",
    "reject_count",
    "screen_tests",
    "dnsbl_rank",
    "sasl_username",
    "helo",
    "server",
    "duration_ms",
)
"""Columns of the sessions that are looked at; others need not be made."""

_SHOWN = 30
SORTS = (
    "sessions", "messages", "recipients", "rejects", *COUNTED, "bytes_to_client", "bytes_to_server",
    "duration_ms_p50", "duration_ms_p95", "dnsbl_rank_max", "first_seen", "last_seen", "masked_sessions",
    "client",
)  # fmt: skip
"""Columns that clients may be sorted by: the largest first, but for their addresses."""


def sort_of(word: str) -> str:
    """The column of `SORTS` that is meant: its name, or what the table calls it.

    Raises:
        UsageError: none is.
    """
    called = {title: name for name, title in _SHOWN_AS.items()} | {"took": "duration_ms_p95"}
    name = called.get(word, word)
    if name not in SORTS:
        hint = did_you_mean(word, (*SORTS, *called)) or f"Columns are {', '.join(SORTS)}."
        raise UsageError(f"no column to sort by: {word!r}", hint=hint)
    return name


_AT_ONCE = 1 << 16
"""Sessions counted at once: each batch costs as much as its distinct clients, so large ones cost less."""


class ClientTable:
    """Gathers sessions, batch after batch, into one row for each client. Of many, those that wait are counted
    in a thread of their own: now and then that takes a third of a second, for which nobody should wait.
    """

    def __init__(self) -> None:
        self._groups = Groups()
        self._waiting: list[pa.RecordBatch] = []
        self._beside: Beside | None = None
        self.sessions = 0
        self.probes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take some sessions with at least the columns `READS`."""
        self.sessions += batch.num_rows
        probes = pc.equal(batch.column("outcome"), "probe")
        count = pc.sum(probes).as_py() or 0
        if count:
            self.probes += count
            batch = batch.filter(pc.invert(pc.fill_null(probes, False)))
        self._waiting.append(batch.select(READS))
        if sum(waiting.num_rows for waiting in self._waiting) >= _AT_ONCE:
            self._beside = self._beside or Beside()
            self._beside.do(self._count_and_tidy, self._waiting)
            self._waiting = []

    def _settle(self) -> None:
        """Count all that waits."""
        if self._beside is not None:
            self._beside.finish()
        self._count(self._waiting)

    def _count_and_tidy(self, batches: list[pa.RecordBatch]) -> None:
        self._groups.tidy()
        self._count(batches)

    def _count(self, batches: list[pa.RecordBatch]) -> None:
        for batch in together(batches):
            self._groups.add(_part(batch))

    def table(self, sort: str = "sessions") -> pa.Table:
        """The clients. Columns are those of the design's `clients`, times in UTC.

        Args:
            sort: one of `SORTS`: the clients with the most of it come first.
        """
        self._settle()
        part = self._groups.total()
        return _empty() if part is None else _sorted(_table(part), sort)

    def totals(self) -> dict[str, Any]:
        """Sums over all clients, and the sessions that are left out of them."""
        self._settle()
        part = self._groups.total()
        totals: dict[str, Any] = {"clients": 0, "sessions": self.sessions, "probes": self.probes}
        if part is None:
            return totals
        totals["clients"] = len(part.keys) - part.keys.null_count
        for name, values in part.sums.items():
            if name != "sessions":
                totals[name] = int(values.sum())
        return totals


def clients_report(
    clients: ClientTable, quality: dict[str, int], *, sort: str = "sessions", limit: int | None = None
) -> Report:
    """The report for people and machines.

    Args:
        clients: filled with all sessions.
        quality: the counts that close (lines, sessions by how they were joined).
        sort: see `ClientTable.table`.
        limit: of the rows; None for `_SHOWN` of them for people, and all in the other formats.
    """
    table = clients.table(sort)
    totals = clients.totals()
    shown = _in_nanoseconds(table.slice(0, limit or _SHOWN)).to_pylist()
    rows = tuple(_row(row) for row in shown)
    note = ""
    if table.num_rows > len(rows):
        more = plural(table.num_rows - len(rows), "more client")
        note = f"{more}; --limit N shows more, -o jsonl, json, csv or parquet has them all."
    facts = _facts(table, totals)
    if limit:
        table = table.slice(0, limit)
    columns: tuple[Column, ...] = _COLUMNS
    if sort not in _SHOWN_AS:
        columns = (*columns, Column(sort.replace("_", " "), right=True, keep=9))
        rows = tuple((*cells, Cell(_told(row[sort]))) for cells, row in zip(rows, shown, strict=True))
    sections = (Section("", (facts, Table(columns, rows, note=note, empty="No sessions of clients."))),)
    document = {"clients": table, "totals": totals, "quality": quality}
    return Report("clients", "Clients", sections, document, table)


_COLUMNS = (
    Column("client", keep=10),
    Column("sessions", right=True, keep=9),
    Column("delivered", right=True, keep=8),
    Column("rejected", right=True, keep=7),
    Column("screened", right=True, keep=6),
    Column("other", right=True, keep=5),
    Column("mails", right=True, keep=4),
    Column("to client", right=True, keep=1),
    Column("took p50", right=True, keep=2),
    Column("took p95", right=True, keep=2),
    Column("last seen (UTC)", keep=3),
    Column("failed tests", keep=0),
)
_SHOWN_AS = {
    "client": "client",
    "sessions": "sessions",
    "rejected": "rejected",
    "screened": "screened",
    "messages": "mails",
    "bytes_to_client": "to client",
    "duration_ms_p50": "took p50",
    "duration_ms_p95": "took p95",
    "last_seen": "last seen",
}
"""What the table calls the columns that it always has."""
_DELIVERED = ("delivered", "partly_delivered", "accepted")


def _row(row: dict[str, Any]) -> tuple[Cell, ...]:
    delivered = sum(row[name] for name in _DELIVERED)
    other = row["sessions"] - delivered - row["rejected"] - row["screened"]
    known = row["client"] is not None
    return (
        Cell(row["client"], "strong") if known else Cell("(not known)", "warn"),
        Cell(number(row["sessions"])),
        _count(delivered, "delivered"),
        _count(row["rejected"], "rejected"),
        _count(row["screened"], "screened"),
        _count(other, "unknown"),
        Cell(number(row["messages"])),
        Cell(size(row["bytes_to_client"])),
        Cell(span(row["duration_ms_p50"])),
        Cell(span(row["duration_ms_p95"])),
        Cell(moment(row["last_seen"]), "quiet"),
        Cell(", ".join(row["screen_tests"]), "warn"),
    )


def _told(value: int | None) -> str:
    """A number or, of times, when that was."""
    return "–" if value is None else moment(value) if value > _LATEST_NUMBER else number(value)


def _count(count: int, outcome: str) -> Cell:
    return Cell(number(count), OUTCOME_TONES[outcome]) if count else Cell("·", "quiet")


def _facts(table: pa.Table, totals: dict[str, Any]) -> Facts:
    first, last = pc.min(table["first_seen"]).value, pc.max(table["last_seen"]).value
    pairs = [
        ("Period", Cell(period(first, last))),
        ("Clients", Cell(number(totals["clients"]))),
        ("Sessions", Cell(number(totals["sessions"] - totals["probes"]))),
    ]
    if totals["probes"]:
        pairs.append(("Health checks", Cell(f"{number(totals['probes'])}, not counted below", "quiet")))
    masked = totals.get("masked_sessions", 0)
    if masked:
        recovered = share(totals["recovered_sessions"], masked)
        pairs.append(("Masked", Cell(f"{plural(masked, 'session')}, client recovered in {recovered}", "bad")))
    return Facts(tuple(pairs))


def _in_nanoseconds(table: pa.Table) -> pa.Table:
    """The times as plain numbers; Arrow would import pandas to give them as objects."""
    for position, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            table = table.set_column(position, column.name, table.column(position).cast(pa.int64()))
    return table


# --- columns
# ----------------------------------------------------------------------------------------------------------


def _part(batch: pa.RecordBatch) -> Part:
    keys = _encoded(batch.column("client_address"))
    codes = keys.indices.to_numpy().astype(np.int64)
    count = len(keys.dictionary)
    part = Part(keys.dictionary)
    seen = pc.coalesce(
        batch.column("accepted_at"), batch.column("mta_connected_at"), batch.column("ended_at")
    )
    last = pc.coalesce(
        batch.column("ended_at"), batch.column("accepted_at"), batch.column("mta_connected_at")
    )
    part.sums = _sums(batch, codes, count)
    part.least = {"first_seen": _extreme(np.minimum, seen.cast(pa.int64()), codes, count, FAR)}
    part.greatest = {
        "last_seen": _extreme(np.maximum, last.cast(pa.int64()), codes, count, -FAR),
        "dnsbl_rank_max": _extreme(
            np.maximum, batch.column("dnsbl_rank").cast(pa.int64()), codes, count, -FAR
        ),
    }
    part.sets = {name: _pairs(codes, batch.column(column)) for name, column in _SETS.items()}
    part.sets["screen_tests"] = _list_pairs(codes, batch.column("screen_tests"))
    durations = batch.column("duration_ms")
    known = durations.is_valid().to_numpy(zero_copy_only=False)
    spans = np.clip(pc.fill_null(durations, 0).to_numpy(), 0, _LONGEST_MS)
    part.samples = {"duration_ms": [((codes << 32) | spans)[known]]}
    return part


def _sums(batch: pa.RecordBatch, codes: Longs, count: int) -> dict[str, Longs]:
    outcomes = _encoded(batch.column("outcome"))
    words = outcomes.dictionary.to_pylist()
    table = np.bincount(codes * len(words) + outcomes.indices.to_numpy(), minlength=count * len(words))
    by_outcome = table.reshape(count, len(words))
    sums = {"sessions": by_outcome.sum(axis=1)}
    for outcome in COUNTED:
        sums[outcome] = (
            by_outcome[:, words.index(outcome)] if outcome in words else np.zeros(count, dtype=np.int64)
        )
    if None in words:
        sums["unknown"] = sums["unknown"] + by_outcome[:, words.index(None)]
    masked = pc.fill_null(batch.column("masked"), False)
    recovered = pc.and_(
        masked, pc.is_in(_plain_text(batch.column("client_known_from")), as_texts(_RECOVERED_FROM))
    )
    sums["messages"] = _sum(batch.column("message_count"), codes, count)
    sums["recipients"] = _sum(batch.column("recipient_count"), codes, count)
    for name in ("bytes_to_client", "bytes_to_server"):
        sums[name] = _sum(batch.column(name), codes, count)
    sums["rejects"] = _sum(batch.column("reject_count"), codes, count)
    sums["masked_sessions"] = _sum(masked.cast(pa.int64()), codes, count)
    sums["recovered_sessions"] = _sum(recovered.cast(pa.int64()), codes, count)
    return sums


def _sum(values: pa.Array, codes: Longs, count: int) -> Longs:
    """Sums for each key; exact up to 2**53, since a sum of bytes does not get there."""
    if values.null_count == len(values):
        return np.zeros(count, dtype=np.int64)
    weights = pc.fill_null(values.cast(pa.int64()), 0).to_numpy()
    return np.bincount(codes, weights=weights, minlength=count).astype(np.int64)


def _extreme(choose: np.ufunc, values: pa.Array, codes: Longs, count: int, start: int) -> Longs:
    best = np.full(count, start, dtype=np.int64)
    if values.null_count < len(values):
        choose.at(best, codes, pc.fill_null(values, start).to_numpy())
    return best


def _pairs(codes: Longs, column: pa.Array) -> tuple[Longs, pa.Array]:
    if column.null_count == len(column):
        return np.empty(0, dtype=np.int64), as_texts([])
    encoded = _plain_text(column).dictionary_encode()
    known = encoded.indices.is_valid().to_numpy(zero_copy_only=False)
    values = pc.fill_null(encoded.indices, 0).to_numpy().astype(np.int64)
    return distinct(((codes << 32) | values)[known]), encoded.dictionary


def _list_pairs(codes: Longs, column: pa.Array) -> tuple[Longs, pa.Array]:
    parents: NDArray[np.int64] = pc.list_parent_indices(column).to_numpy().astype(np.int64)
    return _pairs(codes[parents], pc.list_flatten(column))


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    """Dictionary codes in which null has a code too."""
    return _plain_text(column).dictionary_encode(null_encoding="encode")


def _plain_text(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


_TIME = pa.timestamp("ns", "UTC")


def _table(part: Part) -> pa.Table:
    count = len(part.keys)
    median, high = percentiles(part.samples["duration_ms"], count, (0.5, 0.95))
    sets = {name: listed(*pairs, count) for name, pairs in part.sets.items()}
    columns: dict[str, pa.Array] = {
        "client": part.keys,
        "sessions": as_arrow(part.sums["sessions"]),
        "first_seen": _known(part.least["first_seen"], FAR).cast(_TIME),
        "last_seen": _known(part.greatest["last_seen"], -FAR).cast(_TIME),
    }
    for name in (*COUNTED, "messages", "recipients", "bytes_to_client", "bytes_to_server", "rejects"):
        columns[name] = as_arrow(part.sums[name])
    columns["screen_tests"] = sets["screen_tests"]
    columns["dnsbl_rank_max"] = _known(part.greatest["dnsbl_rank_max"], -FAR)
    for name in ("sasl_usernames", "helos", "servers"):
        columns[name] = sets[name]
    columns["duration_ms_p50"] = median
    columns["duration_ms_p95"] = high
    for name in ("masked_sessions", "recovered_sessions"):
        columns[name] = as_arrow(part.sums[name])
    return pa.table(columns)


def _sorted(table: pa.Table, by: str) -> pa.Table:
    """Ties are in the order of sessions, then of the address: the same logs always give the same report."""
    keys = {by: "descending", "sessions": "descending", "client": "ascending"}
    if by == "client":
        keys = {"client": "ascending"}
    return table.take(pc.sort_indices(table.select(list(keys)), list(keys.items())))


def _known(values: Longs, nothing: int) -> pa.Array:
    return as_arrow(values, values == nothing)


def _empty() -> pa.Table:
    nothing = Part(as_texts([]))
    empty = np.empty(0, dtype=np.int64)
    names = ("messages", "recipients", "bytes_to_client", "bytes_to_server", "rejects")
    nothing.sums = dict.fromkeys(
        ("sessions", *COUNTED, *names, "masked_sessions", "recovered_sessions"), empty
    )
    nothing.least = {"first_seen": empty}
    nothing.greatest = {"last_seen": empty, "dnsbl_rank_max": empty}
    nothing.sets = dict.fromkeys((*_SETS, "screen_tests"), (empty, as_texts([])))
    nothing.samples = {"duration_ms": []}
    return _table(nothing)
