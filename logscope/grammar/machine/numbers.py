"""Numbers, status codes, queue ids and counters: fields that know their own end."""

from __future__ import annotations

import numpy as np

from logscope.engine import kernel
from logscope.grammar.machine.base import (
    AF,
    ALPHA,
    BLANK,
    CLASSES,
    COUNTER,
    DIGIT,
    HEXDIGIT,
    Bytes,
    Number,
    at_index,
    bit_count,
    word_at,
)
from logscope.grammar.ops import CODE, INT, MAX_DIGITS, PORT

POWERS_OF_TEN = 10 ** np.arange(10, dtype=np.int64)
_NO_BITS = np.uint64(0)
_ONE = np.uint64(1)
_NOUGHTS = np.uint64(0x3030_3030_3030_3030)
_LOW_BITS = np.uint64(0x7F7F_7F7F_7F7F_7F7F)
_HIGH_BITS = np.uint64(0x8080_8080_8080_8080)
_ABOVE_NINE = np.uint64(0x7676_7676_7676_7676)  # makes the highest bit of a byte of ten or more
_TEN_AND_ONE = np.uint64(10 << 8 | 1)
_BYTES = np.uint64(0x00FF_00FF_00FF_00FF)
_HUNDRED_AND_ONE = np.uint64(100 << 16 | 1)
_HALVES = np.uint64(0x0000_FFFF_0000_FFFF)
_MYRIAD_AND_ONE = np.uint64(10_000 << 32 | 1)


@kernel
def read_digits(buffer: Bytes, position: Number, end: Number) -> Number:
    """Position after a run of digits and its value (which means nothing past MAX_DIGITS digits).

    Up to seven digits are read as one word, without a loop whose length nobody can foresee.
    """
    word = word_at(buffer, position) ^ _NOUGHTS
    others = ((word & _LOW_BITS) + _ABOVE_NINE | word) & _HIGH_BITS
    if others != _NO_BITS:
        count = min(bit_count(~others & (others - _ONE)) >> 3, end - position)
        if count <= 0:
            return position, 0
        # The first digit is in the lowest byte; with noughts before it the number is eight digits long.
        # Then neighbours are put together: digits to pairs, pairs to fours, fours to all.
        word = (word << np.uint64(64 - 8 * count)) * _TEN_AND_ONE >> np.uint64(8)
        word = (word & _BYTES) * _HUNDRED_AND_ONE >> np.uint64(16)
        word = (word & _HALVES) * _MYRIAD_AND_ONE >> np.uint64(32)
        return position + count, np.int64(word)
    at = position
    value = 0
    while at < end and 48 <= at_index(buffer, at) <= 57:
        if at - position < MAX_DIGITS:
            value = value * 10 + at_index(buffer, at) - 48
        at += 1
    return at, value


@kernel
def read_number(buffer: Bytes, position: Number, end: Number, opcode: Number) -> Number:
    """INT, UINT, PORT, CODE: position after it or -1, and its value."""
    negative = opcode == INT and position < end and at_index(buffer, position) == 45
    first = position + 1 if negative else position
    at, value = read_digits(buffer, first, end)
    count = at - first
    if count == 0 or count > MAX_DIGITS:
        return -1, 0
    if (opcode == PORT and value > 65535) or (opcode == CODE and count != 3):
        return -1, 0
    return at, (-value if negative else value)


@kernel
def read_hexadecimal(buffer: Bytes, position: Number, end: Number) -> Number:
    at = position
    value = 0
    while at < end and at_index(CLASSES, at_index(buffer, at)) & HEXDIGIT:
        symbol = at_index(buffer, at)
        if at - position < 15:
            value = value << 4 | (symbol - 48 if symbol <= 57 else (symbol | 32) - 87)
        at += 1
    if at == position or at > position + 15:
        return -1, 0
    return at, value


@kernel
def read_decimal(buffer: Bytes, position: Number, end: Number) -> Number:
    """Position after it or -1, and millionths."""
    at, whole = read_digits(buffer, position, end)
    if at == position or at > position + 12:
        return -1, 0
    value = whole * 1_000_000
    if at + 1 < end and at_index(buffer, at) == 46 and 48 <= at_index(buffer, at + 1) <= 57:
        first = at + 1
        at, fraction = read_digits(buffer, first, end)
        if at > first + 6:
            return -1, 0
        value += fraction * POWERS_OF_TEN[6 - (at - first)]
        if at + 1 < end and at_index(buffer, at) == 46 and 48 <= at_index(buffer, at + 1) <= 57:
            return -1, 0
    return at, value


@kernel
def read_dsn(buffer: Bytes, position: Number, end: Number) -> Number:
    """Position after `d.ddd.ddd` or -1, and class * 1_000_000 + subject * 1000 + detail."""
    if position + 5 > end or at_index(buffer, position + 1) != 46:
        return -1, 0
    if not at_index(CLASSES, at_index(buffer, position)) & DIGIT:
        return -1, 0
    dot, subject = read_digits(buffer, position + 2, end)
    if dot == position + 2 or dot > position + 5 or dot >= end or at_index(buffer, dot) != 46:
        return -1, 0
    at, detail = read_digits(buffer, dot + 1, end)
    if at == dot + 1 or at > dot + 4:
        return -1, 0
    return at, (at_index(buffer, position) - 48) * 1_000_000 + subject * 1000 + detail


@kernel
def read_queue_id(buffer: Bytes, position: Number, end: Number) -> Number:
    """Position after five or more letters and digits, with a digit among them or all of A-F; or -1."""
    at = position
    digit = False
    all_af = True
    while at < end:
        kind = at_index(CLASSES, at_index(buffer, at))
        if kind & DIGIT:
            digit = True
        elif kind & ALPHA:
            all_af = all_af and kind & AF != 0
        else:
            break
        at += 1
    return at if at >= position + 5 and (digit or all_af) else -1


@kernel
def read_counters(buffer: Bytes, position: Number, end: Number) -> Number:
    """Position after all ` name=n` and ` name=n/m` up to ` commands=`."""
    done = position
    while True:
        at = done
        if at >= end or at_index(buffer, at) != BLANK:
            return done
        at += 1
        name = at
        while at < end and at_index(CLASSES, at_index(buffer, at)) & COUNTER:
            at += 1
        if at == name or at >= end or at_index(buffer, at) != 61 or _is_commands(buffer, name, at):
            return done
        number = at + 1
        at, _ = read_digits(buffer, number, end)
        if at == number:
            return done
        if at < end and at_index(buffer, at) == 47:
            number = at + 1
            at, _ = read_digits(buffer, number, end)
            if at == number or (at < end and at_index(buffer, at) == 47):
                return done
        done = at


@kernel
def _is_commands(buffer: Bytes, start: Number, end: Number) -> Number:
    """Whether the range holds the word that ends Postfix's counters."""
    if end - start != 8:
        return False
    same = 0
    while same < 8 and at_index(buffer, start + same) == _COMMANDS[same]:
        same += 1
    return same == 8


_COMMANDS = np.frombuffer(b"commands", np.uint8).copy()
