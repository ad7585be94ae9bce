"""JSON text out of columns: the loops.

Each kernel turns one column into *fragments*: the JSON text of every value, one behind the other in `out`,
from `begins[i]` to `ends[i]`. A parent (list, map, struct, row) copies its children's fragments. Values that
repeat (booleans, dictionary codes, nulls) are written once, and only their `begins` and `ends` are repeated,
so a row kernel is one pass over small pieces. Room in `out` is the caller's business, see `json_columns`.

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

ALWAYS, UNLESS_NULL = 0, 1
"""How a member is written: always, or only where it is not null."""


@kernel
def put_null(out: Bytes, at: int) -> int:
    out[at] = 110
    out[at + 1] = 117
    out[at + 2] = 108
    out[at + 3] = 108
    return at + 4


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
def put_copy(data: Bytes, start: int, stop: int, out: Bytes, at: int) -> int:
    """Copy bytes; up to `SPARE` bytes behind them are overwritten too."""
    position = start
    while position < stop:
        copy16(data, position, out, at + position - start)
        position += SPARE
    return at + stop - start


@kernel
def put_moment(out: Bytes, at: int, moment: int) -> int:
    """A quoted UTC time, RFC 3339 with offset, with as many digits behind the second as it needs (0, 3, 6 or
    9).

    The calendar is reckoned from 1 March of year 0, so that leap days end years; 146097 days are 400 years.
    """
    seconds = moment // NS_PER_SECOND
    fraction = moment - seconds * NS_PER_SECOND
    day = seconds // SECONDS_PER_DAY
    second = seconds - day * SECONDS_PER_DAY
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
    at = put_fixed(out, at + 1, month, 2)
    out[at] = 45
    at = put_fixed(out, at + 1, day_of_month, 2)
    out[at] = 84
    at = put_fixed(out, at + 1, second // 3600, 2)
    out[at] = 58
    at = put_fixed(out, at + 1, second // 60 % 60, 2)
    out[at] = 58
    at = put_fixed(out, at + 1, second % 60, 2)
    if fraction > 0:
        out[at] = 46
        at += 1
        if fraction % 1_000_000 == 0:
            at = put_fixed(out, at, fraction // 1_000_000, 3)
        elif fraction % 1000 == 0:
            at = put_fixed(out, at, fraction // 1000, 6)
        else:
            at = put_fixed(out, at, fraction, 9)
    out[at] = 43
    at = put_fixed(out, at + 1, 0, 2)
    out[at] = 58
    at = put_fixed(out, at + 1, 0, 2)
    out[at] = 34
    return at + 1


# --- columns: (what the column holds), valid, out, at, begins, ends -> new at
# -----------------------------------------


@kernel
def integers(values: Longs, valid: Bytes, out: Bytes, at: int, begins: Longs, ends: Longs) -> int:
    for row in range(len(begins)):
        begins[row] = at
        at = put_number(out, at, values[row]) if valid[row] else put_null(out, at)
        ends[row] = at
    return at


@kernel
def moments(values: Longs, valid: Bytes, out: Bytes, at: int, begins: Longs, ends: Longs) -> int:
    for row in range(len(begins)):
        begins[row] = at
        at = put_moment(out, at, values[row]) if valid[row] else put_null(out, at)
        ends[row] = at
    return at


@kernel
def strings(
    data: Bytes,
    offsets: Longs,
    valid: Bytes,
    ranges: Matrix,
    out: Bytes,
    at: int,
    begins: Longs,
    ends: Longs,
) -> int:
    """Quoted text. The loop is spelled out, because calls that pass arrays cost more than most texts."""
    for row in range(len(begins)):
        begins[row] = at
        if not valid[row]:
            at = put_null(out, at)
            ends[row] = at
            continue
        out[at] = 34
        at += 1
        position = offsets[row]
        stop = offsets[row + 1]
        while position < stop:
            plain = min(copy_plain16(data, position, out, at), stop - position)
            position += plain
            at += plain
            if plain < SPARE and position < stop:
                position, at = put_special(data, position, stop, ranges, out, at)
        out[at] = 34
        at += 1
        ends[row] = at
    return at


@kernel
def literals(
    data: Bytes, offsets: Longs, valid: Bytes, out: Bytes, at: int, begins: Longs, ends: Longs
) -> int:
    """Text that is JSON already, such as a decimal number."""
    for row in range(len(begins)):
        begins[row] = at
        if valid[row]:
            at = put_copy(data, offsets[row], offsets[row + 1], out, at)
        else:
            at = put_null(out, at)
        ends[row] = at
    return at


@kernel
def lists(
    offsets: Longs,
    valid: Bytes,
    item_begins: Longs,
    item_ends: Longs,
    out: Bytes,
    at: int,
    begins: Longs,
    ends: Longs,
) -> int:
    for row in range(len(begins)):
        begins[row] = at
        if valid[row]:
            out[at] = 91
            at += 1
            for item in range(offsets[row], offsets[row + 1]):
                if item > offsets[row]:
                    out[at] = 44
                    at += 1
                at = put_copy(out, item_begins[item], item_ends[item], out, at)
            out[at] = 93
            at += 1
        else:
            at = put_null(out, at)
        ends[row] = at
    return at


@kernel
def maps(
    offsets: Longs,
    valid: Bytes,
    item_begins: Matrix,
    item_ends: Matrix,
    out: Bytes,
    at: int,
    begins: Longs,
    ends: Longs,
) -> int:
    """Objects whose names are data: row 0 of the items' fragments holds the names, row 1 the values."""
    for row in range(len(begins)):
        begins[row] = at
        if valid[row]:
            out[at] = 123
            at += 1
            for item in range(offsets[row], offsets[row + 1]):
                if item > offsets[row]:
                    out[at] = 44
                    at += 1
                at = put_copy(out, item_begins[0, item], item_ends[0, item], out, at)
                out[at] = 58
                at = put_copy(out, item_begins[1, item], item_ends[1, item], out, at + 1)
            out[at] = 125
            at += 1
        else:
            at = put_null(out, at)
        ends[row] = at
    return at


@kernel
def objects(
    names: Bytes,
    name_offsets: Longs,
    modes: Bytes,
    valid: Bytes,
    values: Bytes,
    value_begins: Matrix,
    value_ends: Matrix,
    separator: Bytes,
    separator_length: int,
    out: Bytes,
    at: int,
    begins: Longs,
    ends: Longs,
) -> int:
    """Objects of named members (structs, whole rows), each followed by the separator.

    `names` holds `"name":` of each member, one behind the other. Copies are spelled out as in `strings`.
    """
    for row in range(len(begins)):
        begins[row] = at
        if not valid[row]:
            at = put_null(out, at)
            ends[row] = at
            continue
        out[at] = 123
        at += 1
        first = at
        for member in range(len(modes)):
            start = value_begins[member, row]
            stop = value_ends[member, row]
            if modes[member] == UNLESS_NULL and stop - start == 4 and values[start] == 110:  # null
                continue
            if at > first:
                out[at] = 44
                at += 1
            position = name_offsets[member]
            name_stop = name_offsets[member + 1]
            for step in range(0, name_stop - position, SPARE):
                copy16(names, position + step, out, at + step)
            at += name_stop - position
            for step in range(0, stop - start, SPARE):
                copy16(values, start + step, out, at + step)
            at += stop - start
        out[at] = 125
        at += 1
        ends[row] = at
        at = put_copy(separator, 0, separator_length, out, at)
    return at


@kernel
def gather(data: Bytes, begins: Longs, widths: Longs, out: Bytes, offsets: Longs) -> None:
    """Put fragments side by side."""
    for row in range(len(begins)):
        put_copy(data, begins[row], begins[row] + widths[row], out, offsets[row])
