"""JSON text out of columns: the loop.

A *program* says how a row is written, operation by operation (`json_columns` makes it of the columns' types);
the kernel runs it for each row and writes each byte once. Values are found by the number of the row, inside
of a list by the number of the item.

Text must not act on the reader's terminal: what `text.HOSTILE_RANGES` lists is written as `\\uXXXX`. Bytes
that are no UTF-8 become U+FFFD, one for each maximal subpart (Unicode 3.9, as Python's decoder does).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from logscope.engine import kernel
from logscope.wide_copy import SPARE, copy16, copy_plain16

Bytes: TypeAlias = NDArray[np.uint8]
Longs: TypeAlias = NDArray[np.int64]
Matrix: TypeAlias = NDArray[np.int64]

NS_PER_SECOND = 1_000_000_000
SECONDS_PER_DAY = 86_400
NO_DAY = -(1 << 62)
PAIRS = np.frombuffer(b"".join(b"%02d" % number for number in range(100)), np.uint8)
DAY_LENGTH, ZONE_LENGTH = 12, 7  # "2026-11-20T and +00:00"
ZONE = np.frombuffer(b'+00:00"'.ljust(SPARE), np.uint8)

CONSTANT, WORD, INTEGER, MOMENT, TEXT, LITERAL, OPEN, CLOSE, UNLESS_NULL = range(9)
"""Operations: a fixed text; one of several texts; a number; a time; text to be quoted; text that is JSON
already; the begin and the end of a list or map; what is behind it stands there unless it is null.
"""
KIND, PREFIX, ABSENT, AT, VALID, TARGET, BRACKET = range(7)
"""Of each operation: what it does; the texts that stand in front of a value, and in its place where it is
null; where its values begin among the numbers, and their validity; where it goes on (behind the list or
struct that is null or empty; at the list's first item); the bracket that opens the list.
"""
OPERATION_WIDTH = 7

SPAN_SHIFT = 31
SPAN_LENGTH = (1 << SPAN_SHIFT) - 1
"""Texts are spans of the data: `start << SPAN_SHIFT | length`."""

NUMBER_ROOM = 48
"""No number, time, bracket or null takes more bytes."""
PER_BYTE = 6
"""Bytes that one byte of text takes at worst."""

LIST_WIDTH = 4
OUTER, ITEM, LAST, BEGIN = range(LIST_WIDTH)
"""Of each list that is being written: the number outside of it; the item, the last one; where it begins."""


@kernel
def put_digits(out: Bytes, at: int, value: int) -> int:
    """Decimal digits of a number that is not negative."""
    width = 1
    probe = value
    while probe >= 10:
        probe //= 10
        width += 1
    position = at + width
    for _ in range(width):
        position -= 1
        out[position] = 48 + value % 10
        value //= 10
    return at + width


@kernel
def put_number(out: Bytes, at: int, value: int) -> int:
    """Decimal digits with a sign. The last digit goes apart, because the smallest int64 has no positive
    counterpart.
    """
    if value >= 0:
        return put_digits(out, at, value)
    out[at] = 45
    at += 1
    last = (10 - value % 10) % 10
    rest = (value + last) // -10
    if rest > 0:
        at = put_digits(out, at, rest)
    out[at] = 48 + last
    return at + 1


@kernel
def put_fixed(out: Bytes, at: int, value: int, width: int) -> int:
    """Decimal digits, padded with zeros to a width."""
    position = at + width
    for _ in range(width):
        position -= 1
        out[position] = 48 + value % 10
        value //= 10
    return at + width


@kernel
def put_hex4(out: Bytes, at: int, code: int) -> int:
    r"""`\uXXXX` of one UTF-16 unit."""
    out[at] = 92
    out[at + 1] = 117
    for position in range(4):
        digit = (code >> (12 - 4 * position)) & 15
        out[at + 2 + position] = 48 + digit if digit < 10 else 87 + digit
    return at + 6


@kernel
def put_escape(out: Bytes, at: int, code: int) -> int:
    """A code point as JSON escape: two units (a surrogate pair) beyond U+FFFF (RFC 8259, section 7)."""
    if code < 0x10000:
        return put_hex4(out, at, code)
    code -= 0x10000
    return put_hex4(out, put_hex4(out, at, 0xD800 + (code >> 10)), 0xDC00 + (code & 0x3FF))


@kernel
def put_ascii_escape(out: Bytes, at: int, code: int) -> int:
    """Quote, backslash or control character, in the short form where JSON has one."""
    short = 0
    if code == 34 or code == 92:
        short = code
    elif code == 8:
        short = 98
    elif code == 9:
        short = 116
    elif code == 10:
        short = 110
    elif code == 12:
        short = 102
    elif code == 13:
        short = 114
    if short == 0:
        return put_hex4(out, at, code)
    out[at] = 92
    out[at + 1] = short
    return at + 2


@kernel
def sequence_length(data: Bytes, at: int, stop: int) -> int:
    """Bytes of the UTF-8 sequence at `at`; of an ill-formed one, minus the length of its maximal subpart."""
    lead = data[at]
    low, high = 0x80, 0xBF
    if 0xC2 <= lead <= 0xDF:
        length = 2
    elif 0xE0 <= lead <= 0xEF:
        length = 3
        if lead == 0xE0:
            low = 0xA0
        elif lead == 0xED:
            high = 0x9F
    elif 0xF0 <= lead <= 0xF4:
        length = 4
        if lead == 0xF0:
            low = 0x90
        elif lead == 0xF4:
            high = 0x8F
    else:
        return -1
    for position in range(1, length):
        if at + position >= stop or data[at + position] < low or data[at + position] > high:
            return -position
        low, high = 0x80, 0xBF
    return length


@kernel
def decoded(data: Bytes, at: int, length: int) -> int:
    """The code point of a well-formed sequence of two to four bytes."""
    code = int(data[at]) & (0x7F >> length)
    for position in range(1, length):
        code = (code << 6) | (int(data[at + position]) & 0x3F)
    return code


@kernel
def in_ranges(code: int, ranges: Matrix) -> bool:
    """Whether a code point is in one of the sorted ranges."""
    for row in range(ranges.shape[0]):
        if code <= ranges[row, 1]:
            return bool(code >= ranges[row, 0])
    return False


@kernel
def put_wide(data: Bytes, at: int, stop: int, ranges: Matrix, out: Bytes, target: int) -> tuple[int, int]:
    """Write the non-ASCII character at `at`; return the place behind it in the data and in the output."""
    length = sequence_length(data, at, stop)
    if length < 0:  # U+FFFD
        out[target] = 0xEF
        out[target + 1] = 0xBF
        out[target + 2] = 0xBD
        return at - length, target + 3
    code = decoded(data, at, length)
    if in_ranges(code, ranges):
        return at + length, put_escape(out, target, code)
    for position in range(length):
        out[target + position] = data[at + position]
    return at + length, target + length


@kernel
def put_special(data: Bytes, at: int, stop: int, ranges: Matrix, out: Bytes, target: int) -> tuple[int, int]:
    """Write one character that is not plain; return the place behind it in the data and in the output."""
    if data[at] >= 128:
        return put_wide(data, at, stop, ranges, out, target)
    return at + 1, put_ascii_escape(out, target, data[at])


@kernel
def put_two(out: Bytes, at: int, value: int) -> int:
    """Two digits."""
    out[at] = PAIRS[2 * value]
    out[at + 1] = PAIRS[2 * value + 1]
    return at + 2


@kernel
def put_moment(out: Bytes, at: int, moment: int, before: int, day_before: int) -> tuple[int, int]:
    """A quoted UTC time, RFC 3339 with offset, with as many digits behind the second as it needs (0, 3, 6 or
    9); returns the place behind it, and its day.

    Args:
        before: where the last one stands in `out`: most are of one day, and the day takes longest.
        day_before: its day.
    """
    seconds = moment // NS_PER_SECOND
    fraction = moment - seconds * NS_PER_SECOND
    day = seconds // SECONDS_PER_DAY
    second = seconds - day * SECONDS_PER_DAY
    if day == day_before:
        copy16(out, before, out, at)
        at += DAY_LENGTH
    else:
        at = put_day(out, at, day)
    hour = second // 3600
    second -= 3600 * hour
    minute = second // 60
    at = put_two(out, at, hour)
    out[at] = 58
    at = put_two(out, at + 1, minute)
    out[at] = 58
    at = put_two(out, at + 1, second - 60 * minute)
    if fraction > 0:
        out[at] = 46
        at += 1
        if fraction % 1_000_000 == 0:
            at = put_fixed(out, at, fraction // 1_000_000, 3)
        elif fraction % 1000 == 0:
            at = put_fixed(out, at, fraction // 1000, 6)
        else:
            at = put_fixed(out, at, fraction, 9)
    copy16(ZONE, 0, out, at)
    return at + ZONE_LENGTH, day


@kernel
def put_day(out: Bytes, at: int, day: int) -> int:
    """The quoted time up to its `T`.

    The calendar is reckoned from 1 March of year 0, so that leap days end years; 146097 days are 400 years.
    """
    day += 719_468
    era = day // 146_097
    day_of_era = day - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day_of_month = day_of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    out[at] = 34
    at = put_fixed(out, at + 1, year, 4)
    out[at] = 45
    at = put_two(out, at + 1, month)
    out[at] = 45
    at = put_two(out, at + 1, day_of_month)
    out[at] = 84
    return at + 1


@kernel
def write_rows(
    program: Matrix,
    numbers: Longs,
    valid: Bytes,
    data: Bytes,
    ranges: Matrix,
    always: int,
    firsts: Longs,
    some: Matrix,
    braces: int,
    ending: Bytes,
    ending_length: int,
    stack: Matrix,
    row: int,
    out: Bytes,
    ends: Longs,
) -> tuple[int, int]:
    """Write rows until there are none left or `out` is full; returns which row comes next, and how much of
    `out` is written.

    Args:
        program: operations. Each row has the first `always` of them.
        numbers, valid, data: what operations refer to; spans are of `data`.
        ranges: code points that are written as escapes.
        firsts, some: of each row its further operations, those from `firsts[row]` on: for which number, from
            which operation to which.
        braces: 1: a row is an object, of which each member begins with a comma.
        ending, ending_length: what stands behind each row.
        stack: room for the lists that are being written.
        ends: filled with the place behind each row in `out`.
    """
    at = 0
    moment_at = 0
    day = NO_DAY
    room = out.shape[0] - SPARE - ending_length
    while row < ends.shape[0]:
        begin = at
        if at + NUMBER_ROOM > room:
            return row, begin
        entry = firsts[row]
        depth = 0
        index = row
        step = 0
        stop = always
        while True:
            if step == stop:
                if entry == firsts[row + 1]:
                    break
                index = some[entry, 0]
                step = some[entry, 1]
                stop = some[entry, 2]
                entry += 1
                continue
            kind = program[step, KIND]
            present = True
            if program[step, VALID] >= 0:
                present = valid[program[step, VALID] + index] != 0
            span = program[step, PREFIX]
            if kind == WORD:
                span = numbers[program[step, AT] + index]
            elif not present:
                span = program[step, ABSENT]
            start = span >> SPAN_SHIFT
            length = span & SPAN_LENGTH
            if at + length + NUMBER_ROOM > room:
                return row, begin
            for ahead in range(0, length, SPARE):
                copy16(data, start + ahead, out, at + ahead)
            at += length
            step += 1
            if kind <= WORD:
                continue
            if kind == INTEGER:
                if present:
                    at = put_number(out, at, numbers[program[step - 1, AT] + index])
            elif kind == MOMENT:
                if present:
                    moment = numbers[program[step - 1, AT] + index]
                    behind, day = put_moment(out, at, moment, moment_at, day)
                    moment_at = at
                    at = behind
            elif kind == TEXT:
                if present:
                    position = numbers[program[step - 1, AT] + index]
                    text_stop = numbers[program[step - 1, AT] + index + 1]
                    if at + PER_BYTE * (text_stop - position) + NUMBER_ROOM > room:
                        return row, begin
                    out[at] = 34
                    at += 1
                    while position < text_stop:
                        plain = min(copy_plain16(data, position, out, at), text_stop - position)
                        position += plain
                        at += plain
                        if plain < SPARE and position < text_stop:
                            position, at = put_special(data, position, text_stop, ranges, out, at)
                    out[at] = 34
                    at += 1
            elif kind == LITERAL:
                if present:
                    start = numbers[program[step - 1, AT] + index]
                    length = numbers[program[step - 1, AT] + index + 1] - start
                    if at + length + NUMBER_ROOM > room:
                        return row, begin
                    for ahead in range(0, length, SPARE):
                        copy16(data, start + ahead, out, at + ahead)
                    at += length
            elif kind == OPEN:
                if not present:
                    step = program[step - 1, TARGET]
                    continue
                item = numbers[program[step - 1, AT] + index]
                last = numbers[program[step - 1, AT] + index + 1]
                bracket = program[step - 1, BRACKET]
                if item == last:
                    out[at] = bracket
                    out[at + 1] = bracket + 2
                    at += 2
                    step = program[step - 1, TARGET]
                    continue
                stack[depth, OUTER] = index
                stack[depth, ITEM] = item
                stack[depth, LAST] = last
                stack[depth, BEGIN] = at
                depth += 1
                index = item
            elif kind == CLOSE:
                item = stack[depth - 1, ITEM] + 1
                if item < stack[depth - 1, LAST]:
                    stack[depth - 1, ITEM] = item
                    index = item
                    step = program[step - 1, TARGET]
                    continue
                depth -= 1
                index = stack[depth, OUTER]
                bracket = program[step - 1, BRACKET]
                out[stack[depth, BEGIN]] = bracket  # over the first item's comma
                out[at] = bracket + 2
                at += 1
            elif not present:  # UNLESS_NULL
                step = program[step - 1, TARGET]
        if braces:
            if at == begin:
                at += 1
            out[begin] = 123  # over the first member's comma
            out[at] = 125
            at += 1
        for ahead in range(0, ending_length, SPARE):
            copy16(ending, ahead, out, at + ahead)
        at += ending_length
        ends[row] = at
        row += 1
    return row, at


@kernel
def by_row(rows: Longs, starts: Longs, operations: Matrix, firsts: Longs, some: Matrix) -> None:
    """Sort the values of columns that few rows have by row: which of a column's values, written how.

    Args:
        rows: those that have a value, column after column.
        starts: where each column begins among them, and the end of the last.
        operations: of each column the first operation, and the one behind its last.
        firsts: filled with where each row's values begin, and the end of the last; all 0 before.
        some: filled with what `write_rows` wants.
    """
    count = firsts.shape[0] - 1
    for value in range(rows.shape[0]):
        firsts[rows[value]] += 1
    total = 0
    for row in range(count):
        total += firsts[row]
        firsts[row] = total  # the end of its values for now, from which they are put in backwards
    firsts[count] = total
    for backwards in range(operations.shape[0]):
        column = operations.shape[0] - 1 - backwards
        for value in range(starts[column], starts[column + 1]):
            firsts[rows[value]] -= 1
            place = firsts[rows[value]]
            some[place, 0] = value - starts[column]
            some[place, 1] = operations[column, 0]
            some[place, 2] = operations[column, 1]
