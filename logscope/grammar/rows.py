"""Scanned lines as columns, and their values at the surface."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from logscope.grammar import ops
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.fields import Kind, dsn_text, read_counters, text_of
from logscope.grammar.machine.base import SPARE
from logscope.grammar.surface import address, span
from logscope.grammar.times import iso

if TYPE_CHECKING:
    import pyarrow as pa

NULL = ops.NULL
UNPARSED = ops.UNPARSED
FOREIGN = ops.FOREIGN


class Names:
    """The dictionary of dictionary-coded text of one scanner. Codes stay valid as it grows.

    Args:
        most, room: how many names there may be, and of how many bytes together; what is more is called
            `OTHER`. As many as there are if not given.

    Attributes:
        refused: how often a name had no room.
    """

    OTHER = b"(other)"

    def __init__(self, most: int | None = None, room: int = 8 << 20) -> None:
        self.most, self.room = (2**62, 2**62) if most is None else (most, room)
        self.refused = 0
        self.table: NDArray[np.int32] = np.zeros(2048, np.int32)
        self.offsets: NDArray[np.int64] = np.zeros(1024, np.int64)
        self.data: NDArray[np.uint8] = np.zeros(1 << 16, np.uint8)
        self.count = 0
        self._texts: list[str] = []
        self._codes: dict[bytes, int] = {}
        self._seen = 0
        if most is not None:
            self.intern(self.OTHER)  # whose code is 0

    def __len__(self) -> int:
        return self.count

    def raw(self, code: int) -> bytes:
        """The bytes of a code."""
        return self.data[self.offsets[code] : self.offsets[code + 1]].tobytes()

    def text(self, code: int) -> str:
        """The text of a code."""
        while len(self._texts) <= code:
            self._texts.append(text_of(self.raw(len(self._texts))))
        return self._texts[code]

    def texts(self) -> list[str]:
        """The texts of all codes so far, in order."""
        if self.count:
            self.text(self.count - 1)
        return self._texts[: self.count]

    def code(self, text: str) -> int:
        """The code of a text, -1 when no line had it yet."""
        return self._index().get(text.encode("utf-8", "surrogateescape"), -1)

    def intern(self, data: bytes) -> int:
        """The code of some bytes, a new one if need be (the interpreter's way in)."""
        code = self._index().get(data)
        if code is None:
            if self.count >= self.most or int(self.offsets[self.count]) + len(data) > self.room:
                self.refused += 1
                return 0
            self.reserve(1, len(data))
            end = int(self.offsets[self.count]) + len(data)
            self.data[self.offsets[self.count] : end] = np.frombuffer(data, np.uint8)
            self.offsets[self.count + 1] = end
            code = self._codes[data] = self.count
            self.count += 1
            self._seen = self.count
        return code

    def translate(self, other: Names) -> NDArray[np.int64]:
        """The codes here of all names of another dictionary: int64[len(other)]."""
        return np.array([self.intern(other.raw(code)) for code in range(len(other))], np.int64)

    def _index(self) -> dict[bytes, int]:
        while self._seen < self.count:
            self._codes[self.raw(self._seen)] = self._seen
            self._seen += 1
        return self._codes

    def reserve(self, names: int, size: int) -> bool:
        """Make room for more names and bytes. True when the hash table has to be filled anew."""
        used = int(self.offsets[self.count])
        if used + size + SPARE > len(self.data):
            self.data = _grown(self.data, used, used + size + SPARE)
        if self.count + names >= len(self.offsets) - 1:
            self.offsets = _grown(self.offsets, self.count + 1, self.count + names + 2)
        wanted = 2 * (self.count + names)
        if wanted < len(self.table):
            return False
        self.table = np.zeros(max(2 * len(self.table), 1 << wanted.bit_length()), np.int32)
        return True


def _grown(array: NDArray[Any], used: int, least: int) -> NDArray[Any]:
    larger = np.zeros(max(2 * len(array), least), array.dtype)
    larger[:used] = array[:used]
    return larger


@dataclass
class Rows:
    """One scanned chunk, one entry a line. Arrays belong to the scanner and are overwritten by its next scan.

    Attributes:
        buffer: the bytes of the chunk; spans are offsets into it.
        consumed: position after the last line read.
        line_start, line_end: span of the raw line without its line feed.
        template: int32, id in the catalogue, UNPARSED or FOREIGN.
        start: first slot of the row in the arena.
        arena: slots; NULL where the line lacks the field.
        stamp: ns as written, as if UTC; within the year 2000 when the stamp has none; NULL without an
            envelope.
        stamp_kind: int8 bits YEARLESS, ZONED, MILLISECONDS, MICROSECONDS of `ops`.
        host, service: int32, codes in `names`, -1 none.
        pid: NULL none.
        repeat_count: how often the line stands for itself.
        message_start, message_end: span of the text after the envelope.
        not_utf8: int8, 1 when the line is not well-formed UTF-8.
    """

    catalogue: Catalogue
    names: Names
    buffer: NDArray[np.uint8]
    consumed: int
    line_start: NDArray[np.int64]
    line_end: NDArray[np.int64]
    template: NDArray[np.int32]
    start: NDArray[np.int64]
    arena: NDArray[np.int64]
    stamp: NDArray[np.int64]
    stamp_kind: NDArray[np.int8]
    host: NDArray[np.int32]
    service: NDArray[np.int32]
    pid: NDArray[np.int64]
    repeat_count: NDArray[np.int64]
    message_start: NDArray[np.int64]
    message_end: NDArray[np.int64]
    not_utf8: NDArray[np.int8]

    @property
    def count(self) -> int:
        """Number of lines."""
        return len(self.template)

    def __len__(self) -> int:
        return self.count

    # --- columns ---------------------------------------------------------------------------------

    @cached_property
    def templates(self) -> NDArray[np.intp]:
        """The templates that occur, in order."""
        occurring = np.flatnonzero(np.bincount(self.template - FOREIGN)) + FOREIGN
        return occurring[occurring >= 0]

    @cached_property
    def _rows_of(self) -> dict[int, NDArray[np.intp]]:
        """The rows of each template that occurs."""
        narrow = self.template.astype(np.int16 if len(self.catalogue) < 1 << 15 else np.int32)
        order = np.argsort(narrow, kind="stable")
        ends = np.searchsorted(narrow[order], self.templates, side="right")
        starts = np.searchsorted(narrow[order], self.templates, side="left")
        return {
            template: order[start:end]
            for template, start, end in zip(
                self.templates.tolist(), starts.tolist(), ends.tolist(), strict=True
            )
        }

    def _places(self, field_id: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Rows that have a field, and where in the arena it is."""
        if field_id < 0 or not len(self.templates):
            return np.empty(0, np.intp), np.empty(0, np.int64)
        slots = self.catalogue.slot_of[self.templates, field_id]
        owners = np.flatnonzero(slots >= 0)
        rows = [self._rows_of[int(self.templates[owner])] for owner in owners.tolist()]
        places = [
            self.start[some] + int(slots[owner]) for some, owner in zip(rows, owners.tolist(), strict=True)
        ]
        return np.concatenate([np.empty(0, np.intp), *rows]), np.concatenate([np.empty(0, np.int64), *places])

    def has(self, field_id: int) -> bool:
        """Whether the template of any row has a field."""
        return field_id >= 0 and bool((self.catalogue.slot_of[self.templates, field_id] >= 0).any())

    def integers(self, field_id: int) -> NDArray[np.int64]:
        """int64[count]: the first slot of a field, NULL where a row lacks it."""
        values = np.full(self.count, NULL, np.int64)
        rows, places = self._places(field_id)
        values[rows] = self.arena[places]
        return values

    def addresses(self, field_id: int) -> NDArray[np.int64]:
        """int64[2, count]: high and low half of an address, NULL and NULL where a row lacks it."""
        values = np.full((2, self.count), NULL, np.int64)
        rows, places = self._places(field_id)
        values[0, rows], values[1, rows] = self.arena[places], self.arena[places + 1]
        return values

    def kind_codes(self) -> NDArray[np.int32]:
        """int32[count]: index into the catalogue's kinds; UNPARSED and FOREIGN as they are."""
        if not len(self.catalogue):
            return self.template
        return np.where(
            self.template >= 0, self.catalogue.kind_of[np.maximum(self.template, 0)], self.template
        ).astype(np.int32)

    def text(self, field_id: int) -> pa.Array:
        """A field as an Arrow string array, whatever its kind; null where a row lacks it."""
        kind = Kind(self.catalogue.fields[field_id].kind)
        if kind is Kind.TEXT or kind is Kind.COUNTERS:
            return self.spans(self.integers(field_id))
        from logscope.arrow import as_texts

        return as_texts([None if value is None else str(value) for value in self._values(field_id)])

    def messages(self) -> pa.Array:
        """The text after the envelope of each row, as an Arrow string array."""
        return self.spans(self.message_start << ops.SPAN_SHIFT | self.message_end - self.message_start)

    def lines(self) -> pa.Array:
        """Each raw line as an Arrow string array."""
        return self.spans(self.line_start << ops.SPAN_SHIFT | self.line_end - self.line_start)

    def present(self, field_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The rows that have a field, ascending, and their slots (only addresses have two)."""
        rows, places = self._places(field_id)
        order = np.argsort(rows, kind="stable")
        rows, places = rows[order], places[order]
        has = self.arena[places] != NULL
        rows, places = rows[has], places[has]
        seconds = self.arena[np.minimum(places + 1, len(self.arena) - 1)]
        return rows.astype(np.int64), self.arena[places], seconds

    def spans(self, values: NDArray[np.int64]) -> pa.Array:
        """One span for each row as an Arrow string array; NULL is null. The spans must be in the order of the
        buffer, out of which the text is copied.
        """
        from logscope.arrow import as_arrow

        present = values != NULL
        texts = self.texts(values[present], np.flatnonzero(present))
        return texts.take(as_arrow(np.cumsum(present) - 1, ~present))

    def texts(
        self, spans: NDArray[np.int64], rows: NDArray[np.int64] | None, *, machine_code: bool = False
    ) -> pa.Array:
        """Some spans as an Arrow string array. They must be in the order of the buffer, out of which the text
        is copied.

        Args:
            rows: which rows they are of; None for all.
        """
        import pyarrow as pa

        from logscope.arrow import as_texts

        starts, lengths = spans >> ops.SPAN_SHIFT, spans & ops.SPAN_LENGTH
        not_utf8 = self.not_utf8 if rows is None else self.not_utf8[rows]
        if (not_utf8.astype(bool) & (lengths > 0)).any():
            return as_texts([text_of(self.slice(*span(value))) for value in spans.tolist()])
        if machine_code:
            from logscope.grammar import gather

            return gather.as_texts(self.buffer, spans)
        # The buffer as texts and what is between them.
        bounds = np.stack([starts, starts + lengths], axis=1).reshape(-1)
        pieces = pa.LargeStringArray.from_buffers(
            max(len(bounds) - 1, 0), pa.py_buffer(bounds), pa.py_buffer(self.buffer)
        )
        return pieces[::2].cast(pa.string())

    def column(self, name: str) -> list[Any]:
        """Surface values of a field, one for each row, None where a row lacks it."""
        field_id = self.catalogue.field_id(name)
        return [None] * self.count if field_id < 0 else list(self._values(field_id))

    def _values(self, field_id: int) -> Iterator[Any]:
        kind = Kind(self.catalogue.fields[field_id].kind)
        seconds = self.addresses(field_id)[1].tolist() if kind is Kind.ADDRESS else [0] * self.count
        for first, second in zip(self.integers(field_id).tolist(), seconds, strict=True):
            yield None if first == NULL and second in (0, NULL) else self.surface(kind, first, second)

    # --- one row ---------------------------------------------------------------------------------

    def surface(self, kind: Kind, first: int, second: int = 0) -> Any:
        """The surface value of arena values."""
        if kind is Kind.INTEGER:
            return first
        if kind is Kind.TEXT or kind is Kind.COUNTERS:
            data = self.slice(*span(first))
            return text_of(data) if kind is Kind.TEXT else read_counters(data)
        if kind is Kind.NAME:
            return self.names.text(first)
        if kind is Kind.ENUM:
            return self.catalogue.enum_texts[first]
        if kind is Kind.ADDRESS:
            return address(first, second)
        if kind is Kind.DECIMAL:
            return first / 1e6
        if kind is Kind.FLAG:
            return bool(first)
        return iso(first) if kind is Kind.TIME else dsn_text(first)

    def slice(self, start: int, end: int) -> bytes:
        """Bytes of the buffer."""
        return self.buffer[start:end].tobytes()

    def line(self, row: int) -> str:
        """The raw line of a row."""
        return text_of(self.slice(int(self.line_start[row]), int(self.line_end[row])))

    def message(self, row: int) -> str:
        """The text after the envelope."""
        return text_of(self.slice(int(self.message_start[row]), int(self.message_end[row])))

    def kind(self, row: int) -> str:
        """The template's kind, `unparsed` or `foreign`."""
        template = int(self.template[row])
        if template >= 0:
            return self.catalogue.templates[template].kind
        return "foreign" if template == FOREIGN else "unparsed"

    def values(self, row: int, wanted: Container[str] | None = None) -> dict[str, Any]:
        """{field: surface value} of one row, in the order of the template; fields it lacks are left out.

        Args:
            wanted: the only fields that are looked at; all by default.
        """
        template = int(self.template[row])
        if template < 0:
            return {}
        catalogue, start = self.catalogue, int(self.start[row])
        values = {}
        for name in catalogue.templates[template].types:
            if wanted is not None and name not in wanted:
                continue
            number = catalogue.field_id(name)
            slot = start + int(catalogue.slot_of[template, number])
            kind = Kind(catalogue.fields[number].kind)
            first = int(self.arena[slot])
            second = int(self.arena[slot + 1]) if kind is Kind.ADDRESS else 0
            if first != NULL or second not in (0, NULL):
                values[name] = self.surface(kind, first, second)
        return values

    def copy(self) -> Rows:
        """Rows that outlive the scanner's next scan; the buffer is copied too."""
        kept = {each.name: getattr(self, each.name) for each in fields(self)}
        copied = {name: value.copy() for name, value in kept.items() if isinstance(value, np.ndarray)}
        return Rows(**(kept | copied))
