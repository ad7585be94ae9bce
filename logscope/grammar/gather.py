"""Fields out of scanned rows, and as Arrow columns, in machine code: of each field the rows that have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope import engine
from logscope.arrow import as_arrow
from logscope.engine import kernel
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.ops import NULL, SPAN_LENGTH, SPAN_SHIFT
from logscope.wide_copy import SPARE, copy16, for_kernels

if TYPE_CHECKING:
    from logscope.grammar.rows import Rows

Longs = NDArray[np.int64]


class Plan(NamedTuple):
    """Which slots of the rows of each template belong to which fields.

    Attributes:
        first: int64[templates + 1], where a template's entries begin.
        slots, fields: of each entry: slot of the row, and which of the fields wanted.
        has: bool[templates, fields].
    """

    first: Longs
    slots: Longs
    fields: Longs
    has: NDArray[np.bool_]


def plan(catalogue: Catalogue, fields: Sequence[int]) -> Plan:
    """How to gather some fields of all templates."""
    slot_of = catalogue.slot_of[:, list(fields)].astype(np.int64)
    templates, numbers = np.nonzero(slot_of >= 0)
    first = np.searchsorted(templates, np.arange(len(slot_of) + 1)).astype(np.int64)
    return Plan(first, slot_of[templates, numbers], numbers.astype(np.int64), slot_of >= 0)


def values(rows: Rows, wanted: Plan) -> Iterator[tuple[Longs, Longs, Longs]]:
    """Of each field the rows that have it, and their first and second slot (which only addresses have)."""
    lines = np.bincount(rows.template[rows.template >= 0], minlength=len(wanted.has))
    starts = np.concatenate(([0], np.cumsum(lines @ wanted.has)))
    numbers, firsts, seconds = (np.empty(int(starts[-1]), np.int64) for _ in range(3))
    ends = starts[:-1].copy()
    engine.compiled(collect_slots)(
        rows.template, rows.start, rows.arena, wanted.first, wanted.slots, wanted.fields,
        ends, numbers, firsts, seconds,
    )  # fmt: skip
    for start, end in zip(starts.tolist(), ends.tolist(), strict=False):
        yield numbers[start:end], firsts[start:end], seconds[start:end]


def as_words(words: pa.Array, codes: Longs) -> pa.DictionaryArray:
    """A dictionary-coded column with those of the words that occur."""
    places = np.full(len(words), -1, np.int32)
    indices, used = np.empty(len(codes), np.int32), np.empty(min(len(words), len(codes)), np.int32)
    count = engine.compiled(recode)(codes, places, used, indices)
    return pa.DictionaryArray.from_arrays(as_arrow(indices), words.take(as_arrow(used[:count])), safe=False)


def as_texts(buffer: NDArray[np.uint8], spans: Longs) -> pa.Array:
    """A column of the text of some spans, all of it UTF-8."""
    for_kernels()
    offsets = np.zeros(len(spans) + 1, np.int32)
    np.cumsum(spans & SPAN_LENGTH, out=offsets[1:])
    text = np.empty(int(offsets[-1]) + SPARE, np.uint8)
    engine.compiled(copy_spans)(buffer, spans, offsets, text)
    return pa.StringArray.from_buffers(len(spans), pa.py_buffer(offsets), pa.py_buffer(text))


@kernel
def collect_slots(
    template: NDArray[np.int32],
    start: Longs,
    arena: Longs,
    first: Longs,
    slots: Longs,
    fields: Longs,
    ends: Longs,
    numbers: Longs,
    firsts: Longs,
    seconds: Longs,
) -> None:
    """Append what each row has of each field behind `ends`, which moves along."""
    for row in range(template.shape[0]):
        of = template[row]
        if of < 0:
            continue
        for entry in range(first[of], first[of + 1]):
            slot = start[row] + slots[entry]
            if arena[slot] != NULL:
                at = ends[fields[entry]]
                numbers[at] = row
                firsts[at] = arena[slot]
                seconds[at] = arena[slot + 1] if slot + 1 < arena.shape[0] else 0
                ends[fields[entry]] = at + 1


@kernel
def recode(
    codes: Longs, places: NDArray[np.int32], used: NDArray[np.int32], indices: NDArray[np.int32]
) -> int:
    """Number the codes that occur anew, from 0; returns how many there are."""
    count = 0
    for row in range(codes.shape[0]):
        code = codes[row]
        if places[code] < 0:
            places[code] = count
            used[count] = code
            count += 1
        indices[row] = places[code]
    return count


@kernel
def copy_spans(
    data: NDArray[np.uint8], spans: Longs, offsets: NDArray[np.int32], out: NDArray[np.uint8]
) -> None:
    """Copy each span to its place; what is behind it is overwritten by the next."""
    last = data.shape[0] - SPARE
    for row in range(spans.shape[0]):
        start = spans[row] >> SPAN_SHIFT
        at = offsets[row]
        length = offsets[row + 1] - at
        if start + length <= last:
            for position in range(0, length, SPARE):
                copy16(data, start + position, out, at + position)
        else:
            for position in range(length):
                out[at + position] = data[start + position]
