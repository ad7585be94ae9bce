"""Writes lines from rows: the operations of the scanner's table, each read the other way.

A program here is straight: which alternatives a line takes is settled before (`grammar.columns`), so there
are literals and fields only. A field's value stands in the arena as the scanner would have put it there; its
text, if it is text, is a span of the pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope.engine import kernel
from logscope.grammar import ops
from logscope.grammar.machine.base import Bytes, Number, Numbers, Words, at_index

END = ops.END
LITERAL = ops.LITERAL
BYTE = ops.BYTE
FLAG = ops.FLAG
ENUM = ops.ENUM
IP = ops.IP
TIME = ops.TIME
INT = ops.INT
UINT = ops.UINT
PORT = ops.PORT
HEX = ops.HEX
DECIMAL = ops.DECIMAL
CODE = ops.CODE
DSN = ops.DSN
SPAN_SHIFT = ops.SPAN_SHIFT
SPAN_LENGTH = ops.SPAN_LENGTH
BSD, RFC3339, HAPROXY, CLF = ops.BSD, ops.RFC3339, ops.HAPROXY, ops.CLF

LONGEST_FIELD = 64
"""No field takes more bytes than this, except text."""

SECOND = 1_000_000_000
MONTHS = np.frombuffer(b"JanFebMarAprMayJunJulAugSepOctNovDec", np.uint8)


@kernel
def put_number(out: Bytes, at: Number, value: Number) -> Number:
    """Decimal digits, a minus before a negative number; returns the position after it."""
    if value < 0:
        out[at] = 45
        at += 1
        value = -value
    if value < 10:
        out[at] = 48 + value
        return at + 1
    end = at + 1
    rest = value
    while rest >= 10:
        rest //= 10
        end += 1
    place = end
    while value >= 10:
        place -= 1
        out[place] = 48 + value % 10
        value //= 10
    out[at] = 48 + value
    return end


@kernel
def put_digits(out: Bytes, at: Number, value: Number, count: Number) -> Number:
    """So many digits, with leading noughts."""
    place = at + count
    while place > at:
        place -= 1
        out[place] = 48 + value % 10
        value //= 10
    return at + count


@kernel
def put_hexadecimal(out: Bytes, at: Number, value: Number) -> Number:
    digits = 1
    while digits < 16 and value >> (4 * digits):
        digits += 1
    for place in range(digits):
        digit = (value >> (4 * (digits - 1 - place))) & 15
        out[at + place] = 48 + digit if digit < 10 else 87 + digit
    return at + digits


@kernel
def put_bytes(out: Bytes, at: Number, source: Bytes, start: Number, length: Number) -> Number:
    for place in range(length):
        out[at + place] = source[start + place]
    return at + length


@kernel
def put_decimal(out: Bytes, at: Number, millionths: Number) -> Number:
    """The shortest text of a number of millionths."""
    at = put_number(out, at, millionths // 1_000_000)
    rest = millionths % 1_000_000
    if rest == 0:
        return at
    out[at] = 46
    count = 6
    while rest % 10 == 0:
        rest //= 10
        count -= 1
    return put_digits(out, at + 1, rest, count)


@kernel
def put_address(out: Bytes, at: Number, hi: Number, lo: Number) -> Number:
    """Canonical text (RFC 5952); IPv4-mapped addresses as IPv4."""
    if hi == 0 and (lo >> 32) == 0xFFFF:
        for place in range(4):
            if place:
                out[at] = 46
                at += 1
            at = put_number(out, at, (lo >> (24 - 8 * place)) & 255)
        return at
    # The longest run of zero groups, at least two, the first of equals, becomes `::`.
    best = -1
    most = 1
    run = 0
    for group in range(8):
        if address_group(hi, lo, group) == 0:
            run += 1
            if run > most:
                most = run
                best = group - run + 1
        else:
            run = 0
    group = 0
    while group < 8:
        if group == best:
            out[at] = 58
            out[at + 1] = 58
            at += 2
            group += most
            continue
        if group and (best < 0 or group != best + most):
            out[at] = 58
            at += 1
        at = put_hexadecimal(out, at, address_group(hi, lo, group))
        group += 1
    return at


@kernel
def address_group(hi: Number, lo: Number, group: Number) -> Number:
    half = hi if group < 4 else lo
    return (half >> (48 - 16 * (group & 3))) & 0xFFFF


@kernel
def put_dsn(out: Bytes, at: Number, value: Number) -> Number:
    at = put_number(out, at, value // 1_000_000)
    out[at] = 46
    at = put_number(out, at + 1, value // 1000 % 1000)
    out[at] = 46
    return put_number(out, at + 1, value % 1000)


@kernel
def put_fraction(out: Bytes, at: Number, rest: Number) -> Number:
    """Three, six or nine digits of a second, as few as do; none for a whole second."""
    if rest == 0:
        return at
    out[at] = 46
    if rest % 1_000_000 == 0:
        return put_digits(out, at + 1, rest // 1_000_000, 3)
    if rest % 1000 == 0:
        return put_digits(out, at + 1, rest // 1000, 6)
    return put_digits(out, at + 1, rest, 9)


@kernel
def put_clock(out: Bytes, at: Number, second: Number) -> Number:
    """`09:18:57` of a second of the day."""
    at = put_digits(out, at, second // 3600, 2)
    out[at] = 58
    at = put_digits(out, at + 1, second // 60 % 60, 2)
    out[at] = 58
    return put_digits(out, at + 1, second % 60, 2)


@kernel
def put_month(out: Bytes, at: Number, month: Number) -> Number:
    return put_bytes(out, at, MONTHS, 3 * (month - 1), 3)


@kernel
def put_time(out: Bytes, at: Number, form: Number, nanoseconds: Number, exact: Number) -> Number:
    """A stamp as `times.write_time` writes it.

    Args:
        exact: 1: `bsd` as it is in the year 2000 of stamps that have no year, whatever their year is.
    """
    seconds = nanoseconds // SECOND
    rest = nanoseconds - seconds * SECOND
    day = seconds // 86_400
    second = seconds - day * 86_400
    # Days to a date, counted in 400-year cycles that begin on 1 March (Hinnant, "chrono-Compatible Low-Level
    # Date Algorithms").
    z = day + 719_468
    era = z // 146_097
    doe = z - era * 146_097
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    date = doy - (153 * mp + 2) // 5 + 1
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (1 if month <= 2 else 0)
    if form == BSD:
        at = put_month(out, at, month)
        out[at] = 32
        at += 1
        if date < 10:
            out[at] = 32
            out[at + 1] = 48 + date
        else:
            put_digits(out, at, date, 2)
        out[at + 2] = 32
        at += 3
        if year != 2000 and exact == 0:
            at = put_number(out, at, year)
            out[at] = 32
            at += 1
        return put_fraction(out, put_clock(out, at, second), rest)
    if form == RFC3339:
        at = put_number(out, at, year)
        out[at] = 45
        at = put_digits(out, at + 1, month, 2)
        out[at] = 45
        at = put_digits(out, at + 1, date, 2)
        out[at] = 84
        at = put_fraction(out, put_clock(out, at + 1, second), rest)
        out[at] = 43
        at = put_digits(out, at + 1, 0, 2)
        out[at] = 58
        return put_digits(out, at + 1, 0, 2)
    if form in (HAPROXY, CLF):
        at = put_digits(out, at, date, 2)
        out[at] = 47
        at = put_month(out, at + 1, month)
        out[at] = 47
        at = put_number(out, at + 1, year)
        out[at] = 58
        at = put_clock(out, at + 1, second)
        if form == HAPROXY:
            if rest:
                return put_fraction(out, at, rest)
            out[at] = 46
            return put_digits(out, at + 1, 0, 3)
        out[at] = 32
        out[at + 1] = 43
        return put_digits(out, at + 2, 0, 4)
    return put_fraction(out, put_number(out, at, seconds), rest)


@kernel
def write_rows(
    code: Words,
    text: Bytes,
    starts: Numbers,
    shapes: NDArray[Any],
    rows: Numbers,
    arena: Numbers,
    pool: Bytes,
    first: Number,
    count: Number,
    yearless: Number,
    ending: Number,
    out: Bytes,
    ends: Numbers,
) -> Number:
    """Write the rows from `first` on, one after the other; returns how many rows are done then, which is
    `count` unless `out` was full, or -1 minus the number of a row whose enum value is no word of its field.

    Args:
        starts: where the program of each shape begins in `code`.
        shapes, rows: of each row its shape, and where its values begin in the arena.
        yearless: 1: `bsd` stamps have no year.
        ending: what ends each line, -1 for nothing.
        ends: filled with the position after each row's text.
    """
    at = 0 if first == 0 else ends[first - 1]
    room = out.shape[0] - LONGEST_FIELD
    i = first
    while i < count:
        word = starts[shapes[i]]
        base = rows[i]
        full = False
        while True:
            opcode = at_index(code, word)
            if opcode == END:
                break
            if at > room:
                full = True
                break
            if opcode == LITERAL:
                length = at_index(code, word + 3)
                if at + length > room:
                    full = True
                    break
                at = put_bytes(out, at, text, at_index(code, word + 2), length)
            elif opcode == BYTE:
                out[at] = at_index(code, word + 2)
                at += 1
            else:
                value = arena[base + at_index(code, word + 2)]
                if opcode in (UINT, INT, PORT):
                    at = put_number(out, at, value)
                elif opcode == IP:
                    at = put_address(out, at, value, arena[base + at_index(code, word + 2) + 1])
                elif opcode == TIME:
                    at = put_time(out, at, at_index(code, word + 3), value, yearless)
                elif opcode == DECIMAL:
                    at = put_decimal(out, at, value)
                elif opcode == DSN:
                    at = put_dsn(out, at, value)
                elif opcode == CODE:
                    at = put_digits(out, at, value, 3)
                elif opcode == HEX:
                    at = put_hexadecimal(out, at, value)
                elif opcode == FLAG:
                    if value:
                        length = at_index(code, word + 4)
                        at = put_bytes(out, at, text, at_index(code, word + 3), length)
                elif opcode == ENUM:
                    choice = word + 4
                    last = choice + 3 * at_index(code, word + 3)
                    while choice < last and at_index(code, choice + 2) != value:
                        choice += 3
                    if choice == last:
                        return -1 - i
                    length = at_index(code, choice + 1)
                    if at + length > room:
                        full = True
                        break
                    at = put_bytes(out, at, text, at_index(code, choice), length)
                else:
                    length = value & SPAN_LENGTH
                    if at + length > room:
                        full = True
                        break
                    at = put_bytes(out, at, pool, value >> SPAN_SHIFT, length)
            word = at_index(code, word + 1)
        if full:
            break
        if ending >= 0:
            out[at] = ending
            at += 1
        ends[i] = at
        i += 1
    return i
