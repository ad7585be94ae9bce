"""The dictionary of dictionary-coded text: open addressing in arrays that grow outside."""

from __future__ import annotations

import numpy as np

from logscope.engine import kernel
from logscope.grammar.machine.base import Bytes, Number, Numbers, Words, at_index, first_bytes, same_text
from logscope.grammar.machine.layout import NAMES_COUNT, NAMES_MOST, NAMES_REFUSED, NAMES_ROOM, NAMES_USED

_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)


@kernel
def _hash(data: Bytes, start: Number, end: Number) -> Number:
    """A number of 31 bits from some bytes."""
    value = np.uint64(end - start)
    at = start
    while at < end:
        value = (value ^ first_bytes(data, at, min(8, end - at))) * _ODD
        value ^= value >> np.uint64(32)
        at += 8
    return np.int64(value & np.uint64(0x7FFF_FFFF))


@kernel
def intern_name(
    buffer: Bytes, start: Number, end: Number, table: Words, offsets: Numbers, data: Bytes, control: Numbers
) -> Number:
    """The code of at_index(buffer, start:end) in the dictionary; there must be room for a new one. Where
    there are as many names as there may be, it is that of the first, which stands for all others.

    table: int32, a power of two long, code + 1 or 0; offsets: int64, name i is data[offsets[i]:offsets[i +
    1]].
    """
    size = len(table)
    place = _hash(buffer, start, end) & (size - 1)
    length = end - start
    while True:
        entry = at_index(table, place)
        if entry == 0:
            break
        begin = at_index(offsets, entry - 1)
        if at_index(offsets, entry) - begin == length and same_text(buffer, start, data, begin, length):
            return np.int64(entry) - 1
        place = (place + 1) & (size - 1)
    number = control[NAMES_COUNT]
    begin = control[NAMES_USED]
    if number >= control[NAMES_MOST] or begin + length > control[NAMES_ROOM]:
        control[NAMES_REFUSED] += 1
        return np.int64(0)
    for index in range(length):
        data[begin + index] = at_index(buffer, start + index)
    offsets[number] = begin
    offsets[number + 1] = begin + length
    table[place] = number + 1
    control[NAMES_COUNT] = number + 1
    control[NAMES_USED] = begin + length
    return np.int64(number)


@kernel
def rebuild_names(table: Words, offsets: Numbers, data: Bytes, count: Number) -> Number:
    """Enter all names into an empty table."""
    size = len(table)
    for number in range(count):
        place = _hash(data, offsets[number], offsets[number + 1]) & (size - 1)
        while table[place] != 0:
            place = (place + 1) & (size - 1)
        table[place] = number + 1
