"""The `events` table: one row for each input line, as Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logscope.arrow import TIMES, as_arrow, as_texts
from logscope.correlate.text import COUNTER_MAP, address_texts, code_texts, counter_maps, dsn_texts
from logscope.grammar import ops
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.fields import Kind
from logscope.grammar.model import ENVELOPE, FieldInfo
from logscope.grammar.rows import FOREIGN, NULL, UNPARSED, Names, Rows
from logscope.pipeline import Chunk, Counts, Feed, Input, Options, chunk_buffers, clocks, wants_machine_code
from logscope.postfix.secrets import redacted, redacted_line
from logscope.schema import EVENTS
from logscope.syslog import envelopes

_STAMP_BYTES = 64

_TYPES = {
    Kind.INTEGER: pa.int64(),
    Kind.DECIMAL: pa.float64(),
    Kind.FLAG: pa.bool_(),
    Kind.TIME: TIMES,
    Kind.COUNTERS: COUNTER_MAP,
}
_RESOLUTIONS = ("s", "ms", "us")
_QUOTED = ("client_text", "old_client_text", "replacement_text")
"""Fields that quote what a client said; `_SAID_AFTER`: fields with the command that it was said after."""
_SAID_AFTER = ("stage", "client_command")
_HEAD = {
    "source": pa.string(),
    "line_number": pa.int64(),
    "logged_at": TIMES,
    "resolution": pa.string(),
    "host": pa.string(),
    "service": pa.string(),
    "program": pa.string(),
    "pid": pa.int64(),
    "kind": pa.string(),
    "structured": pa.bool_(),
    "repeat_count": pa.int64(),
}
_TAIL = {"reason": pa.string(), "raw": pa.string()}


def schema(catalogue: Catalogue) -> pa.Schema:
    """All columns that the table can have: those of every line, then one for each field of the grammars."""
    fields = {info.name: _TYPES.get(Kind(info.kind), pa.string()) for info in message_fields(catalogue)}
    return pa.schema(list((_HEAD | fields | _TAIL).items()))


def column_types(catalogue: Catalogue) -> dict[str, str]:
    """The same columns with their types as `logscope.schema` spells them."""
    head = {column.name: column.type for column in EVENTS if column.name in _HEAD}
    spelled = {
        Kind.INTEGER: "int", Kind.DECIMAL: "float", Kind.FLAG: "bool", Kind.TIME: "time",
        Kind.COUNTERS: "map", Kind.ADDRESS: "address",
    }  # fmt: skip
    fields = {info.name: spelled.get(Kind(info.kind), "text") for info in message_fields(catalogue)}
    return head | fields | dict.fromkeys(_TAIL, "text")


def message_fields(catalogue: Catalogue) -> list[FieldInfo]:
    """The fields of messages; those of envelopes have columns of their own."""
    names = {
        name
        for template in catalogue.templates
        if ENVELOPE not in template.programs
        for name in template.types
    }
    return [info for info in catalogue.fields if info.name in names and info.name not in _HEAD | _TAIL]


def events(
    sources: Sequence[Input],
    catalogue: Catalogue,
    options: Options | None = None,
    *,
    counts: Counts | None = None,
    progress: Callable[[int], None] | None = None,
    now: int = 0,
) -> Iterator[pa.RecordBatch]:
    """Every line of every source, in the order given.

    A batch has the columns of all lines and those fields that occur in it, in the order of `schema`.

    Args:
        counts: filled as lines are read.
        progress: told the bytes consumed after each batch.
        now: the current time in nanoseconds, used only where nothing else says which year it is.
    """
    options = options or Options()
    machine_code = wants_machine_code(sources, options.machine_code)
    read = 0
    table = EventTable(catalogue)
    for source, clock in zip(sources, clocks(sources, catalogue, options, now), strict=True):
        feed = Feed(
            source,
            catalogue,
            clock,
            chunk_buffers(1, machine_code),
            machine_code=machine_code,
            envelope=options.envelope,
        )
        while not feed.ended:
            chunk = feed.next_chunk()
            if chunk.rows.count:
                yield table.batch(chunk, source.name, machine_code=machine_code)
            if progress:
                progress(read + source.position)
        read += source.position
        if counts is not None:
            counts.merge(feed.counts)


class EventTable:
    """Makes the table out of scanned chunks, batch after batch."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._fields = message_fields(catalogue)
        # Two more for rows of no template, whose numbers are negative: -2 is FOREIGN, -1 is UNPARSED.
        self._kinds = as_texts([*catalogue.kinds, "foreign", "unparsed"])
        self._kind_of = np.append(catalogue.kind_of, len(catalogue.kinds) + np.arange(2)).astype(np.int64)
        self._structured = np.array(
            [*(template.structured for template in catalogue.templates), False, False]
        )
        self._enum_texts = as_texts(catalogue.enum_texts)
        self._names: tuple[Names | None, int] = None, 0
        self._texts = self._programs = as_texts([])

    def batch(self, chunk: Chunk, source: str, *, machine_code: bool) -> pa.RecordBatch:
        """The rows of a chunk, with the columns of all lines and those fields that occur in it."""
        rows, catalogue = chunk.rows, chunk.rows.catalogue
        self._learn(rows.names)
        count = rows.count
        columns: dict[str, pa.Array] = {
            "source": code_texts([source], np.zeros(count, np.int64)),
            "line_number": as_arrow(np.arange(chunk.first_line, chunk.first_line + count)),
            "logged_at": _times(chunk.logged_at),
            "resolution": code_texts(_RESOLUTIONS, _resolution(rows)),
            "host": code_texts(self._texts, rows.host),
            "service": code_texts(self._texts, rows.service),
            "program": code_texts(self._programs, rows.service),
            "pid": _integers(rows.pid.copy()),  # the scanner will write over its own
            "kind": code_texts(self._kinds, self._kind_of[rows.template]),
            "structured": as_arrow(self._structured[rows.template]),
            "repeat_count": as_arrow(rows.repeat_count.copy()),
        }
        occurring = np.any(catalogue.slot_of[rows.templates] >= 0, axis=0)
        for info in self._fields:
            if occurring[info.id]:
                array = self._column(chunk, info, machine_code=machine_code)
                if array.null_count < count:
                    columns[info.name] = array
        for name in _QUOTED:
            if name in columns:
                columns[name] = _without_secrets(columns[name], [columns.get(after) for after in _SAID_AFTER])
        ununderstood = rows.template < 0
        if ununderstood.any():
            columns["reason"] = _reasons(rows)
            lines = rows.line_start << ops.SPAN_SHIFT | rows.line_end - rows.line_start
            raw = rows.spans(np.where(ununderstood, lines, NULL))
            columns["raw"] = _replaced(raw, redacted_line) if pc.any(_names_login(raw)).as_py() else raw
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def _learn(self, names: Names) -> None:
        """Bring the names up to date; most chunks bring no new ones."""
        if self._names != (names, len(names)):
            texts = names.texts()
            self._names = names, len(names)
            self._texts = as_texts(texts)
            self._programs = as_texts([text.rpartition("/")[2] for text in texts])

    def _column(self, chunk: Chunk, info: FieldInfo, *, machine_code: bool) -> pa.Array:
        rows, kind = chunk.rows, Kind(info.kind)
        if kind is Kind.ADDRESS:
            return address_texts(*rows.addresses(info.id), machine_code=machine_code)
        values = rows.integers(info.id)
        if kind is Kind.INTEGER:
            return _integers(values)
        if kind is Kind.DECIMAL:
            return as_arrow(values / 1e6, values == NULL)
        if kind is Kind.FLAG:
            return as_arrow(values == 1, values == NULL)
        if kind is Kind.TIME:
            return _times(chunk.accepted_at if info.name == "accepted_at" else values)
        if kind is Kind.DSN:
            return dsn_texts(values)
        if kind is Kind.NAME:
            return code_texts(self._texts, values)
        if kind is Kind.ENUM:
            return code_texts(self._enum_texts, values)
        texts = rows.spans(values)
        return counter_maps(texts) if kind is Kind.COUNTERS else texts


def _without_secrets(quoted: pa.Array, said_after: Sequence[pa.Array | None]) -> pa.Array:
    """What clients said, without what they log in with."""
    texts = quoted.to_pylist()
    for row in np.flatnonzero(quoted.is_valid().to_numpy(zero_copy_only=False)).tolist():
        stages = (None if after is None else after[row].as_py() for after in said_after)
        texts[row] = redacted(texts[row], next(filter(None, stages), None))
    return as_texts(texts)


def _names_login(texts: pa.Array) -> pa.Array:
    return pc.match_substring(texts, "auth", ignore_case=True)


def _replaced(texts: pa.Array, replace: Callable[[str], str]) -> pa.Array:
    return as_texts([None if text is None else replace(text) for text in texts.to_pylist()])


def _reasons(rows: Rows) -> pa.Array:
    words = (envelopes.NOT_RECOGNISED, "no template of its program matches", "of another program")
    bare = (rows.service < 0) & (rows.stamp == NULL)
    reason = np.where(rows.template == FOREIGN, 2, np.where(bare, 0, 1))
    localised = [
        row
        for row in np.flatnonzero(bare & (rows.template == UNPARSED)).tolist()
        if envelopes.why_unread(_beginning(rows, row)) == envelopes.FOREIGN_MONTH
    ]
    reason[localised] = len(words)
    return code_texts((*words, envelopes.FOREIGN_MONTH), np.where(rows.template >= 0, -1, reason))


def _beginning(rows: Rows, row: int) -> bytes:
    start = int(rows.line_start[row])
    return rows.slice(start, min(start + _STAMP_BYTES, int(rows.line_end[row])))


def _resolution(rows: Rows) -> NDArray[np.int64]:
    fine = np.where(
        rows.stamp_kind & ops.MICROSECONDS != 0, 2, np.where(rows.stamp_kind & ops.MILLISECONDS != 0, 1, 0)
    )
    return np.where(rows.stamp == NULL, -1, fine)


def _integers(values: NDArray[np.int64]) -> pa.Array:
    return as_arrow(values, values == NULL)


def _times(values: NDArray[np.int64]) -> pa.Array:
    return as_arrow(values, values == NULL, TIMES)
