"""Writes lines by the million from columns: the scanner's table, read the other way.

A *shape* is a template together with the fields that its lines have. Fields that are the same in each line
are written once, when the shape is made; which alternatives the text takes follows from which fields there
are. What is left is a straight program of the scanner's own operations over the fields that vary, whose
values stand in a row of numbers just as the scanner would have found them:

- numbers, ports, flags, decimals (millionths), times (nanoseconds) and status codes: one slot;
- addresses: two slots, 128 bits;
- enums: one slot, the code of the word (`ColumnWriter.enum_code`);
- all text: one slot, a span of the pool, `start << 32 | length`.

    writer = ColumnWriter(catalogue)
    connect = writer.shape("postscreen.connect", {"client_address": COLUMN, "client_port": COLUMN, …})
    connect.slots                       # {"client_address": 0, "client_port": 2, …}
    writer.write(shapes, rows, arena, pool)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.grammar import language, ops
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.compile import Assembler
from logscope.grammar.errors import RenderError, TemplateError
from logscope.grammar.fields import SLOTS, TYPES, Kind, Value, address_number, dsn_number, field_type
from logscope.grammar.machine.write import LONGEST_FIELD, write_rows
from logscope.grammar.prepare import Part, Slot, Stop, Text
from logscope.grammar.syntax import Choice, Field, Group, Literal, Node, Sequence, expand, fields
from logscope.grammar.times import from_iso


class COLUMN:
    """Stands for the value of a field that is another one in each row."""


_SIGNED: Final = 1 << 63
_WRAP: Final = 1 << 64


@dataclass(frozen=True)
class Pattern:
    """A piece of template text that stands for a text field."""

    text: str


@dataclass(frozen=True)
class Shape:
    """A template with the fields that its lines have.

    Attributes:
        number: what rows are marked with.
        slots: field to the slot of the row where its value begins.
        kinds: field to what its value is.
        width: slots of a row.
    """

    number: int
    slots: Mapping[str, int]
    kinds: Mapping[str, Kind]
    width: int


class ColumnWriter:
    """Makes shapes and writes rows of them.

    Args:
        catalogue: of all templates.
        machine_code: run the compiled kernel; else plain Python, with the same result.
    """

    def __init__(self, catalogue: Catalogue, *, machine_code: bool = False) -> None:
        self._catalogue = catalogue
        self._enum_codes: dict[str, int] = {}
        self._assembler = Assembler(lambda word: self._enum_codes.setdefault(word, len(self._enum_codes)))
        self._starts: list[int] = []
        self._tables: tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]] | None = None
        self._write = engine.compiled(write_rows) if machine_code else write_rows

    def enum_code(self, word: str) -> int:
        """The value that stands for a word of an enum."""
        return self._enum_codes.setdefault(word, len(self._enum_codes))

    def shape(
        self, kind: str, values: Mapping[str, Any], envelope: tuple[str, Mapping[str, Any]] | None = None
    ) -> Shape:
        """The shape of lines of a kind.

        Args:
            kind: of the template; the first one that these fields fit is taken.
            values: of each field of the line its value, COLUMN where it is another one in each row, or for
                a text field a piece of template text with fields of its own, `Pattern("mx{number:uint}")`.
            envelope: kind and fields of what stands before the message; none: the message alone.

        Raises:
            RenderError: no template of this kind has such fields.
        """
        body = self._resolved(kind, values)
        if envelope is not None:
            body = self._resolved(envelope[0], {**envelope[1], "message": body})
        return self.pattern(body)

    def pattern(self, body: Sequence) -> Shape:
        """The shape of a text that has no alternatives."""
        slots: dict[str, int] = {}
        kinds: dict[str, Kind] = {}
        width = 0
        for field in fields(body):
            if field.name in slots:
                raise RenderError(f"{field.name} stands twice in one line")
            slots[field.name] = width
            kinds[field.name] = field_type(field).kind
            width += SLOTS[kinds[field.name]]
        number = len(self._starts)
        parts = tuple(_part(node, slots) for node in body)
        self._starts.append(self._assembler.program([(number, parts)]))
        self._tables = None
        return Shape(number, slots, kinds, width)

    def _resolved(self, kind: str, values: Mapping[str, Any]) -> Sequence:
        problem = f"no template of kind {kind}"
        for template in self._catalogue.templates:
            if template.kind == kind:
                try:
                    return resolve(self._catalogue.details[template.id].sequence, values)
                except RenderError as error:
                    problem = f"{kind}: {error.message}"
        raise RenderError(problem)

    def write(
        self,
        shapes: NDArray[Any],
        rows: NDArray[np.int64],
        arena: NDArray[np.int64],
        pool: NDArray[np.uint8],
        out: NDArray[np.uint8] | None = None,
        *,
        yearless: bool = True,
        ending: bytes = b"\n",
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The text of all rows, and the position in it after each of them.

        Args:
            shapes, rows: of each row its shape's number, and where its slots begin in the arena.
            arena, pool: the slots, and the bytes that spans point into.
            out: memory to write into, which is replaced by a larger one where it does not do.
            yearless: `bsd` stamps have no year, whatever year they are of.
            ending: one byte after each line, or none.
        """
        if self._tables is None:
            self._tables = (*self._assembler.tables(), np.array(self._starts, np.int64))
        code, text, starts = self._tables
        ends = np.empty(len(rows), np.int64)
        if out is None:
            out = np.empty(256 * len(rows) + 2 * LONGEST_FIELD, np.uint8)
        done = 0
        after = ending[0] if ending else -1
        while True:
            done = int(
                self._write(
                    code,
                    text,
                    starts,
                    shapes,
                    rows,
                    arena,
                    pool,
                    done,
                    len(rows),
                    int(yearless),
                    after,
                    out,
                    ends,
                )
            )
            if done == len(rows):
                return out, ends
            if done < 0:
                raise RenderError(f"row {-1 - done}: a value is none of its field's words")
            larger = np.empty(2 * len(out), np.uint8)
            used = int(ends[done - 1]) if done else 0
            larger[:used] = out[:used]
            out = larger


# --- choosing alternatives ----------------------------------------------------------------------------------


def resolve(sequence: Sequence, values: Mapping[str, Any]) -> Sequence:
    """A template without its alternatives: literal text and the fields that are COLUMN.

    The alternatives are those that `render` takes: of several the one that uses most of the values.

    Raises:
        RenderError: a value is missing, cannot be written, or has no place in the template.
    """
    used: set[str] = set()
    _check_enums(sequence, values)
    nodes = _sequence(sequence, values, used)
    if nodes is None:
        missing = sorted({field.name for field in fields(sequence)} - values.keys())
        raise RenderError(f"no value for one of {', '.join(missing)}")
    unused = {name for name, value in values.items() if value is not False} - used
    if unused:
        raise RenderError(
            f"the template has no place for {', '.join(sorted(unused))} beside the other values"
        )
    return expand(tuple(nodes), {})  # joins neighbouring literals


def _check_enums(sequence: Sequence, values: Mapping[str, Any]) -> None:
    """Where alternatives have an enum with other words each, its value is needed to choose between them."""
    words: dict[str, tuple[str, ...]] = {}
    for field in fields(sequence):
        varies = field.type == "enum" and values.get(field.name) is COLUMN
        if varies and words.setdefault(field.name, field.arguments) != field.arguments:
            raise RenderError(f"{field.name} decides which text the line has: give its value")


def _sequence(sequence: Sequence, values: Mapping[str, Any], used: set[str]) -> list[Node] | None:
    nodes: list[Node] = []
    for node in sequence:
        part = _node(node, values, used)
        if part is None:
            return None
        nodes += part
    return nodes


def _node(node: Node, values: Mapping[str, Any], used: set[str]) -> list[Node] | None:
    if isinstance(node, Literal):
        return [node]
    if isinstance(node, Group):
        used.add(node.name)
        return _sequence(node.body, values, used)
    if isinstance(node, Choice):
        return _choice(node, values, used)
    assert isinstance(node, Field), "macros are expanded before"
    value = values.get(node.name, False if node.type == "flag" else None)
    if value is None:
        return None
    used.add(node.name)
    if value is COLUMN:
        return [node]
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Pattern):
        return list(language.parse(value.text))
    try:
        text = field_type(node).write(value, node.arguments)
    except (ValueError, OverflowError, TypeError) as error:
        raise RenderError(f"{node.name}: {error}") from None
    return [Literal(text)] if text else []


def _choice(choice: Choice, values: Mapping[str, Any], used: set[str]) -> list[Node] | None:
    best: tuple[int, list[Node], set[str]] | None = None
    refused: RenderError | None = None
    for alternative in choice.alternatives:
        names: set[str] = set()
        try:
            nodes = _sequence(alternative, values, names)
        except RenderError as error:
            refused = error
            continue
        weight = 2 * len(names & values.keys()) + (not alternative)
        if nodes is not None and (best is None or weight > best[0]):
            best = (weight, nodes, names)
    if best is None:
        if refused is not None:
            raise refused
        return None
    used |= best[2]
    return best[1]


_TO_THE_END = (Stop(b"", True),)


def _part(node: Node, slots: Mapping[str, int]) -> Part:
    """A piece of the program. Where text ends is known from its span, so it needs no stops."""
    if isinstance(node, Literal):
        return Text(node.text)
    if not isinstance(node, Field):
        raise TemplateError("a text to write has neither alternatives nor groups")
    found = field_type(node)
    stops = _TO_THE_END if found.bounded else ()
    return Slot(slots[node.name], node.name, node.type, found.op, node.arguments, 0, stops)


# --- rows from values, for small numbers of them ------------------------------------------------------------


def row_of(shape: Shape, values: Mapping[str, Value], pool: bytearray, writer: ColumnWriter) -> list[int]:
    """The slots of one row with these surface values; text goes to the end of the pool."""
    row = [0] * shape.width
    for name, slot in shape.slots.items():
        row[slot : slot + SLOTS[shape.kinds[name]]] = _slots(shape.kinds[name], values[name], pool, writer)
    return row


def _slots(kind: Kind, value: Value, pool: bytearray, writer: ColumnWriter) -> list[int]:
    if kind is Kind.ADDRESS:
        number = address_number(str(value).encode())
        return [_signed(number >> 64), _signed(number & (_WRAP - 1))]
    if kind is Kind.DECIMAL:
        return [round(value * 1_000_000)]
    if kind is Kind.TIME:
        return [from_iso(value)]
    if kind is Kind.DSN:
        return [dsn_number(value.encode())]
    if kind is Kind.ENUM:
        return [writer.enum_code(value)]
    if kind in (Kind.INTEGER, Kind.FLAG):
        return [int(value)]
    data = _written(kind, value)
    pool += data
    return [(len(pool) - len(data)) << ops.SPAN_SHIFT | len(data)]


def _written(kind: Kind, value: Value) -> bytes:
    return TYPES["counters" if kind is Kind.COUNTERS else "text"].write(value, ())


def _signed(half: int) -> int:
    return half - _WRAP if half >= _SIGNED else half
