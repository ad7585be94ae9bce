"""The `events` table: one row for each input line, as Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logscope.arrow import TIMES, Sparse, SparseBatch, as_arrow, as_texts, texts_of
from logscope.correlate.text import COUNTER_MAP, address_texts, coded_counters, coded_dsns
from logscope.grammar import gather, ops
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.fields import Kind
from logscope.grammar.model import ENVELOPE, FieldInfo
from logscope.grammar.rows import FOREIGN, NULL, UNPARSED, Names, Rows
from logscope.pipeline import (
    SMALL_CHUNK,
    Chunk,
    Counts,
    Feed,
    Input,
    Options,
    Scanned,
    clocks,
    input_buffer,
    wants_machine_code,
)
from logscope.postfix.secrets import redacted, redacted_line
from logscope.schema import EVENTS
from logscope.syslog import envelopes
from logscope.syslog.structured import STRUCTURED_DATA, says_nothing, structured_data

_Longs = NDArray[np.int64]
CHUNK = 1 << 22
"""Bytes: a batch has some hundred columns, each of which costs something by itself; the joins' smaller chunks
take half as long again.
"""
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
    "structured_data": STRUCTURED_DATA,
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
) -> Iterator[SparseBatch]:
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
    for source, clock in zip(
        sources, clocks(sources, catalogue, options, now, machine_code=machine_code), strict=True
    ):
        feed = Feed(
            source,
            catalogue,
            clock,
            [input_buffer(CHUNK), input_buffer(CHUNK)] if machine_code else [input_buffer(SMALL_CHUNK)],
            machine_code=machine_code,
            envelope=options.envelope,
            signals=False,
        )
        for chunk in _chunks_ahead(feed) if machine_code else _chunks(feed):
            if chunk.rows.count:
                yield table.batch(chunk, source.name, machine_code=machine_code)
            if progress:
                progress(read + source.position)
        read += source.position
        if counts is not None:
            counts.merge(feed.counts)


def _chunks(feed: Feed) -> Iterator[Chunk]:
    while not feed.ended:
        yield feed.next_chunk()


def _chunks_ahead(feed: Feed) -> Iterator[Chunk]:
    """The chunks of a source with two buffers: one is scanned while that before it is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(_scanned, feed)
        while not feed.ended:
            scanned = coming.result()
            if scanned.holds_records:
                feed.rewind(scanned)
            chunk = feed.take(scanned)
            if not feed.ended:
                coming = thread.submit(_scanned, feed)
            yield chunk


def _scanned(feed: Feed) -> Scanned:
    return feed.scan(feed.cut())


class _Known:
    """The names of a scanner as Arrow has them.

    Attributes:
        texts: by code.
    """

    def __init__(self) -> None:
        self.texts = as_texts([])
        self._program_of = {-1: -1}
        self._programs: dict[str, int] = {}

    def learn(self, names: Names) -> None:
        """Bring them up to date."""
        if len(self.texts) != len(names):
            self.texts = texts_of(names.offsets[: len(names) + 1], names.data) or as_texts(names.texts())

    def programs(self, services: NDArray[np.int32]) -> tuple[pa.Array, NDArray[np.int64]]:
        """Words and codes of what stands behind the last slash of a service's name."""
        present = np.flatnonzero(np.bincount(services + 1)) - 1
        for code in present.tolist():
            if code not in self._program_of:
                program = self.texts[code].as_py().rpartition("/")[2]
                self._program_of[code] = self._programs.setdefault(program, len(self._programs))
        translated = np.full(int(present[-1]) + 2, -1, np.int64)  # one more for -1, no service
        translated[present] = [self._program_of[code] for code in present.tolist()]
        return as_texts(list(self._programs)), translated[services]


class EventTable:
    """Makes the table out of scanned chunks, batch after batch."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._fields = message_fields(catalogue)
        self._fields += [info for info in catalogue.fields if info.name == "reason"]
        # Two more for rows of no template, whose numbers are negative: -2 is FOREIGN, -1 is UNPARSED.
        self._kinds = as_texts([*catalogue.kinds, "foreign", "unparsed"])
        self._kind_of = np.append(catalogue.kind_of, len(catalogue.kinds) + np.arange(2)).astype(np.int64)
        self._structured = np.array(
            [*(template.structured for template in catalogue.templates), False, False]
        )
        self._enum_texts = as_texts(catalogue.enum_texts)
        self._resolutions = as_texts(_RESOLUTIONS)
        self._known: WeakKeyDictionary[Names, _Known] = WeakKeyDictionary()
        self._plans: dict[bytes, tuple[list[FieldInfo], gather.Plan]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what is learnt anew of the next chunk."""
        return vars(self) | {"_known": None, "_plans": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _known=WeakKeyDictionary())

    def batch(self, chunk: Chunk, source: str, *, machine_code: bool) -> SparseBatch:
        """The rows of a chunk, with the columns of all lines and those fields that occur in it."""
        rows = chunk.rows
        known = self._known.setdefault(rows.names, _Known())
        known.learn(rows.names)
        count = rows.count
        words = partial(_words, machine_code=machine_code)
        columns: dict[str, Sparse] = {
            "source": words(as_texts([source]), np.zeros(count, np.int64)),
            "line_number": Sparse(None, as_arrow(np.arange(chunk.first_line, chunk.first_line + count))),
            "logged_at": _known(chunk.logged_at, TIMES),
            "resolution": words(self._resolutions, _resolution(rows)),
            "host": words(known.texts, rows.host),
            "service": words(known.texts, rows.service),
            "program": words(*known.programs(rows.service)),
            "pid": _known(rows.pid.copy(), pa.int64()),  # the scanner will write over its own
            "kind": words(self._kinds, self._kind_of[rows.template]),
            "structured": Sparse(None, as_arrow(self._structured[rows.template])),
            "repeat_count": Sparse(None, as_arrow(rows.repeat_count.copy())),
        }
        numbers, data = structured_data(rows)
        if len(numbers):
            columns["structured_data"] = Sparse(None if len(numbers) == count else numbers, data)
        for info, (numbers, first, second) in self._present(rows, machine_code=machine_code):
            if info.name == "accepted_at":  # whose zone may have to be found out
                columns[info.name] = _known(chunk.accepted_at, TIMES)
            elif len(numbers):
                values = self._column(rows, info, numbers, first, second, machine_code=machine_code)
                columns[info.name] = Sparse(None if len(numbers) == count else numbers, values)
        reason = columns.pop("reason", None)  # comes behind the fields, see `schema`
        for name in _QUOTED:
            if name in columns:
                columns[name] = _without_secrets(columns[name], [columns.get(after) for after in _SAID_AFTER])
        ununderstood = np.flatnonzero(rows.template < 0)
        if len(ununderstood):
            why = _reasons(rows)
            reason = why if reason is None else _merged(reason, why)
            starts, ends = rows.line_start[ununderstood], rows.line_end[ununderstood]
            raw = rows.texts(starts << ops.SPAN_SHIFT | ends - starts, ununderstood)
            if _names_login(raw):
                raw = _replaced(raw, redacted_line)
            columns |= {"reason": reason, "raw": Sparse(ununderstood, raw)}
        elif reason is not None:
            columns["reason"] = reason
        return SparseBatch(count, columns)

    def _present(
        self, rows: Rows, *, machine_code: bool
    ) -> Iterator[tuple[FieldInfo, tuple[_Longs, _Longs, _Longs]]]:
        """The fields that occur, each with the rows that have it, and their first and second slot."""
        occurring = np.any(rows.catalogue.slot_of[rows.templates] >= 0, axis=0)
        key = occurring.tobytes()
        if key not in self._plans:
            wanted = [info for info in self._fields if occurring[info.id]]
            self._plans = {key: (wanted, gather.plan(rows.catalogue, [info.id for info in wanted]))}
        fields, plan = self._plans[key]
        if machine_code:
            yield from zip(fields, gather.values(rows, plan), strict=True)
        else:
            yield from ((info, rows.present(info.id)) for info in fields)

    def _column(
        self,
        rows: Rows,
        info: FieldInfo,
        numbers: _Longs,
        first: _Longs,
        second: _Longs,
        *,
        machine_code: bool,
    ) -> pa.Array:
        """The values of the rows that have a field."""
        kind = Kind(info.kind)
        if kind is Kind.ADDRESS:
            return address_texts(first, second, machine_code=machine_code)
        if kind is Kind.INTEGER:
            return as_arrow(first)
        if kind is Kind.DECIMAL:
            return as_arrow(first / 1e6)
        if kind is Kind.FLAG:
            return as_arrow(first == 1)
        if kind is Kind.TIME:
            return as_arrow(first, kind=TIMES)
        if kind is Kind.DSN:
            return coded_dsns(first)
        if kind is Kind.NAME or kind is Kind.ENUM:
            texts = self._known[rows.names].texts if kind is Kind.NAME else self._enum_texts
            return _words(texts, first, machine_code=machine_code).values
        texts = rows.texts(first, numbers, machine_code=machine_code)
        return coded_counters(texts) if kind is Kind.COUNTERS else texts


def _known(values: _Longs, kind: pa.DataType) -> Sparse:
    """The values that are not NULL."""
    rows = np.flatnonzero(values != NULL)
    if len(rows) == len(values):
        return Sparse(None, as_arrow(values, kind=kind))
    return Sparse(rows, as_arrow(values[rows], kind=kind))


def _words(words: pa.Array, codes: NDArray[np.integer[Any]], *, machine_code: bool) -> Sparse:
    """The word of each code, where it is not negative."""
    known = np.flatnonzero(codes >= 0)
    rows = None if len(known) == len(codes) else known
    wide = (codes if rows is None else codes[known]).astype(np.int64, copy=False)
    if machine_code:
        return Sparse(rows, gather.as_words(words, wide))
    used, places = np.unique(wide, return_inverse=True)
    coded = as_arrow(places.reshape(-1).astype(np.int32))
    return Sparse(rows, pa.DictionaryArray.from_arrays(coded, words.take(as_arrow(used))))


def _without_secrets(quoted: Sparse, said_after: Sequence[Sparse | None]) -> Sparse:
    """What clients said, without what they log in with."""
    if not any(map(_names_login, [quoted.values, *(column.values for column in said_after if column)])):
        return quoted
    texts = quoted.values.to_pylist()
    rows = range(len(texts)) if quoted.rows is None else quoted.rows.tolist()
    after = [{} if column is None else _by_row(column) for column in said_after]
    without = [
        redacted(text, next(filter(None, (words.get(row) for words in after)), None))
        for row, text in zip(rows, texts, strict=True)
    ]
    return quoted if without == texts else Sparse(quoted.rows, as_texts(without))


def _merged(one: Sparse, other: Sparse) -> Sparse:
    """Texts of two columns that no row has both of."""
    parts = [part for part in (one, other) if len(part.values)]
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([part.rows for part in parts if part.rows is not None])
    texts = pa.concat_arrays([part.values.cast(pa.string()) for part in parts])
    return Sparse(np.sort(rows), texts.take(as_arrow(np.argsort(rows))))


def _by_row(column: Sparse) -> dict[int, str]:
    rows = range(len(column.values)) if column.rows is None else column.rows.tolist()
    return dict(zip(rows, column.values.to_pylist(), strict=True))


def _names_login(texts: pa.Array) -> bool:
    """Whether one of the texts may have to do with a login."""
    words = texts.dictionary if pa.types.is_dictionary(texts.type) else texts
    return bool(pc.any(pc.match_substring(words, "auth", ignore_case=True)).as_py())


def _replaced(texts: pa.Array, replace: Callable[[str], str]) -> pa.Array:
    return as_texts([None if text is None else replace(text) for text in texts.to_pylist()])


def _reasons(rows: Rows) -> Sparse:
    words = (
        envelopes.NOT_RECOGNISED,
        "no template of its program matches",
        "of another program",
        "it has no message",
    )
    bare = (rows.service < 0) & (rows.stamp == NULL)
    silent = ~bare & says_nothing(rows)
    reason = np.where(rows.template == FOREIGN, 2, np.where(bare, 0, np.where(silent, 3, 1)))
    localised = [
        row
        for row in np.flatnonzero(bare & (rows.template == UNPARSED)).tolist()
        if envelopes.why_unread(_beginning(rows, row)) == envelopes.FOREIGN_MONTH
    ]
    reason[localised] = len(words)
    texts = as_texts([*words, envelopes.FOREIGN_MONTH])
    return _words(texts, np.where(rows.template >= 0, -1, reason), machine_code=False)


def _beginning(rows: Rows, row: int) -> bytes:
    start = int(rows.line_start[row])
    return rows.slice(start, min(start + _STAMP_BYTES, int(rows.line_end[row])))


def _resolution(rows: Rows) -> NDArray[np.int64]:
    fine = np.where(
        rows.stamp_kind & ops.MICROSECONDS != 0, 2, np.where(rows.stamp_kind & ops.MILLISECONDS != 0, 1, 0)
    )
    return np.where(rows.stamp == NULL, -1, fine)
