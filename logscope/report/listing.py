"""A table for people to read: one line a row, the few columns that matter, aligned, never wrapped.

Rows are written as they come, so widths are settled by the first few hundred; of what is followed live, where
rows cannot wait for others, by what is usual, and they grow. On a narrow terminal the least important columns
are left out; what still does not fit is cut with `…`. Where nobody looks at the width (files, pipes) nothing
is cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any

from logscope.report.text import cells, cut, visible
from logscope.report.tones import OUTCOME_TONES, Tone, painted
from logscope.report.wording import moment, number, size, span

if TYPE_CHECKING:
    import pyarrow as pa

    from logscope.report.writers import Canvas

_GAP = "  "
_WIDEST = 40
_SAMPLE = 500

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """One column of a listing.

    Args:
        title: its heading.
        text: what a row shows.
        keep: how important it is; the lowest are left out first on a narrow terminal.
        needs: columns of the table that `text` looks at.
        right: align at the right, as numbers are.
        tone: the colour of a row's cell.
        usual: cells that it usually takes, where rows do not wait for others; of the last column, as many as
            are of use, since it has what the others leave.
    """

    title: str
    text: Callable[[Row], str]
    keep: int
    needs: tuple[str, ...]
    right: bool = False
    tone: Callable[[Row], Tone] = lambda _row: "plain"
    usual: int = 0


def _plain(title: str, name: str, keep: int, *, right: bool = False, usual: int = 0) -> Field:
    def text(row: Row) -> str:
        value = row[name]
        return "–" if value is None else str(value)

    return Field(title, text, keep, (name,), right, usual=usual)


def _shown(title: str, name: str, wording: Callable[[Any], str], keep: int) -> Field:
    return Field(title, lambda row: wording(row[name]), keep, (name,), right=True)


def _time(title: str, *names: str, keep: int = 9) -> Field:
    """The first of several times that is known."""

    def text(row: Row) -> str:
        return moment(next((row[name] for name in names if row[name] is not None), None))

    return Field(title, text, keep, names, tone=lambda _row: "quiet")


def _client(row: Row) -> str:
    if row["client_address"] is not None:
        return str(row["client_address"])
    return "(masked)" if row["masked"] else "–"


def _destination(row: Row) -> str:
    return str(row["server"] or row["mta_host"] or "–")


def _relay(row: Row) -> str:
    return str(row["relay_host"] or row["relay_address"] or "–")


def _where(row: Row) -> str:
    return f"{PurePath(row['source']).name}:{row['line_number']}"


def _fields(row: Row) -> str:
    if row["raw"] is not None:  # a line that was not understood
        return f"{row['reason']}: {row['raw']}"
    return " ".join(f"{name}={_word(value)}" for name, value in json.loads(row["fields"] or "{}").items())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _status_tone(name: str, good: str) -> Callable[[Row], Tone]:
    def tone(row: Row) -> Tone:
        if row[name] == good:
            return "good"
        return "bad" if row[name] in ("bounced", "expired", "undeliverable") else "warn"

    return tone


def _kind_tone(row: Row) -> Tone:
    return {"unparsed": "warn", "foreign": "quiet"}.get(row["kind"], "plain")  # type: ignore[return-value]


LISTINGS: dict[str, tuple[Field, ...]] = {
    "sessions": (
        _time("time (UTC)", "accepted_at", "mta_connected_at", "ended_at", keep=8),
        Field("client", _client, 9, ("client_address", "masked")),
        Field("server", _destination, 7, ("server", "mta_host")),
        _plain("screen", "screen", 4),
        Field(
            "outcome",
            lambda row: row["outcome"] or "unknown",
            10,
            ("outcome",),
            tone=lambda row: OUTCOME_TONES.get(row["outcome"], "plain"),
        ),
        _shown("mails", "message_count", number, 3),
        _shown("took", "duration_ms", span, 5),
        _shown("to client", "bytes_to_client", size, 2),
        _plain("end", "termination_state", 1),
        _plain("joined", "join_confidence", 6),
        _plain("helo", "helo", 0),
    ),
    "messages": (
        _time("queued (UTC)", "queued_at"),
        _plain("host", "mta_host", 5),
        _plain("queue id", "queue_id", 8),
        Field(
            "status",
            lambda row: row["final_status"] or "unknown",
            7,
            ("final_status",),
            tone=_status_tone("final_status", "sent"),
        ),
        _shown("size", "size", size, 3),
        _shown("rcpts", "recipient_count", number, 4),
        _plain("from", "sender", 6),
        _plain("message-id", "message_id", 1),
    ),
    "deliveries": (
        _time("logged (UTC)", "logged_at"),
        _plain("host", "mta_host", 3),
        _plain("queue id", "queue_id", 5),
        Field(
            "status",
            lambda row: row["status"] or "unknown",
            8,
            ("status",),
            tone=_status_tone("status", "sent"),
        ),
        _plain("dsn", "dsn", 6),
        _shown("delay", "delay_s", lambda value: span(None if value is None else value * 1000), 4),
        _plain("to", "recipient", 7),
        Field("relay", _relay, 2, ("relay_host", "relay_address")),
        _plain("reply", "reply", 1),
    ),
    "events": (
        Field("line", _where, 5, ("source", "line_number"), tone=lambda _row: "quiet", usual=14),
        _time("time (UTC)", "logged_at", keep=7),
        _plain("host", "host", 4, usual=8),
        _plain("pid", "pid", 1, right=True, usual=6),
        Field("kind", lambda row: row["kind"] or "–", 9, ("kind",), tone=_kind_tone, usual=22),
        Field("fields", _fields, 8, ("fields", "reason", "raw"), usual=24),
    ),
}
LISTINGS["live_sessions"] = LISTINGS["sessions"]
"""What each table shows of itself; all of it is in the other formats."""


class ListingWriter:
    """Writes a table as aligned text.

    Args:
        table: its name in `LISTINGS`.
        stream: written to, not closed.
        canvas: width and colours.
        live: rows are written at once, and nobody knows when the last has come.
        continues: the heading has been written before.
        period: words for the period that rows are wanted of, said where there are none.
    """

    def __init__(
        self,
        table: str,
        stream: IO[bytes],
        canvas: Canvas,
        *,
        live: bool = False,
        continues: bool = False,
        period: str = "",
    ) -> None:
        self._fields = LISTINGS[table]
        self._stream = stream
        self._canvas = canvas
        self._live = live
        self._headed = continues
        self._widths: list[int] = []
        self._waiting: list[pa.RecordBatch] = []
        self._empty = f"No {table} {period}".rstrip() + ".\n"

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows. Unless live, the first wait until there are enough to settle the widths."""
        self._waiting.append(batch)
        if self._live or self._widths or sum(waiting.num_rows for waiting in self._waiting) >= _SAMPLE:
            self._flush()

    def close(self) -> None:
        """Write what waits, or that there was no row."""
        self._flush()
        if not self._widths:
            self._stream.write(self._empty.encode())

    def _flush(self) -> None:
        import pyarrow as pa

        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        table = pa.Table.from_batches(waiting).combine_chunks()
        for batch in table.to_batches(max_chunksize=_SAMPLE):
            self._write(batch)

    def _write(self, batch: pa.RecordBatch) -> None:
        rows = _rows(batch, self._fields)
        texts = [[visible(field.text(row)) for field in self._fields] for row in rows]
        if not self._widths:
            self._settle(texts)
        elif self._live:
            self._grow(texts)
        lines = [
            self._line(text, [field.tone(row) for field in self._fields])
            for text, row in zip(texts, rows, strict=True)
        ]
        self._stream.write("".join(lines).encode("utf-8", "replace"))

    def _settle(self, texts: list[list[str]]) -> None:
        """Choose columns and widths, and write the heading."""
        titles = [field.title for field in self._fields]
        natural = self._natural(titles, *texts)
        chosen = _chosen(natural, [field.keep for field in self._fields], self._canvas.width)
        shown = [position for position in range(len(natural)) if position in chosen]
        self._fields = tuple(self._fields[position] for position in shown)
        self._widths = [chosen[position] for position in shown]
        for row in texts:
            row[:] = [row[position] for position in shown]
        if self._live:
            self._grow(texts)
        if not self._headed:
            heading = self._line([titles[position] for position in shown], ["strong"] * len(shown))
            self._stream.write(heading.encode())

    def _natural(self, *rows: list[str]) -> list[int]:
        """The width that each column would have; a live one not less than is usual, the last just that."""
        natural = [max(map(_cells, column)) for column in zip(*rows, strict=True)]
        if self._live:
            usual = [field.usual for field in self._fields]
            natural = [*map(max, natural[:-1], usual), usual[-1] or natural[-1]]
        return natural

    def _grow(self, texts: list[list[str]]) -> None:
        """Make columns wider for what they are to hold, on a terminal as long as the last has enough left."""
        width, last = self._canvas.width, len(self._widths) - 1
        for position in range(last):
            wanted = max(_cells(row[position]) for row in texts) - self._widths[position]
            if width is not None:
                spare = width - _total(self._widths[:-1]) - len(_GAP) - self._fields[last].usual
                wanted = min(wanted, spare, _WIDEST - self._widths[position])
            self._widths[position] += max(wanted, 0)
        if width is not None and last:
            self._widths[last] = max(1, width - _total(self._widths[:-1]) - len(_GAP))

    def _line(self, texts: list[str], tones: list[Tone]) -> str:
        parts = []
        last = len(texts) - 1
        for position, (text, tone, field) in enumerate(zip(texts, tones, self._fields, strict=True)):
            width = self._widths[position]
            text = cut(text, width) if self._canvas.width is not None else text
            padding = " " * (width - _cells(text))
            aligned = padding + text if field.right else text + (padding if position < last else "")
            parts.append(painted(aligned, tone, self._canvas.colour))
        return _GAP.join(parts) + "\n"


def _chosen(natural: list[int], keep: list[int], width: int | None) -> dict[int, int]:
    """The columns that are shown and their widths."""
    if width is None:
        return dict(enumerate(natural))
    widths = {position: min(size, _WIDEST) for position, size in enumerate(natural)}
    order = sorted(widths, key=lambda position: keep[position])
    while order and _total(widths.values()) > width and len(widths) > 1:
        least = order.pop(0)
        excess = _total(widths.values()) - width
        if widths[least] - excess >= 12:  # cut a little rather than leave it out
            widths[least] -= excess
        else:
            del widths[least]
    last = max(widths)
    widths[last] = max(1, min(natural[last], widths[last] + width - _total(widths.values())))
    return widths


def _total(widths: Collection[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _cells(text: str) -> int:
    return len(text) if text.isascii() else sum(map(cells, text))


def _rows(batch: pa.RecordBatch, fields: tuple[Field, ...]) -> list[Row]:
    """Rows as mappings with the columns that are looked at; times as nanoseconds."""
    import pyarrow as pa

    names = sorted({name for field in fields for name in field.needs})
    columns = {}
    for name in names:
        column = batch.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
        columns[name] = column.to_pylist()
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
