"""Time stamps, see `times` for the formats and the plain-Python twin."""

from __future__ import annotations

import numpy as np

from logscope.engine import kernel
from logscope.grammar.machine.base import BLANK, Bytes, Number, at_index
from logscope.grammar.machine.numbers import POWERS_OF_TEN, read_digits
from logscope.grammar.ops import BSD, CLF, HAPROXY, MICROSECONDS, MILLISECONDS, RFC3339, YEARLESS, ZONED

_SECOND = 1_000_000_000
_MONTHS = np.frombuffer(b"JanFebMarAprMayJunJulAugSepOctNovDec", np.uint8).copy()
_MONTH_AT = np.zeros(32, np.int64)
for _index in range(12):
    _MONTH_AT[int(_MONTHS[3 * _index + 1]) + int(_MONTHS[3 * _index + 2]) & 31] = _index + 1
_MONTH_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)


@kernel
def _two_digits(buffer: Bytes, position: Number, end: Number) -> Number:
    """The number in two digits, or -1."""
    if position + 2 > end:
        return -1
    tens = at_index(buffer, position) - 48
    units = at_index(buffer, position + 1) - 48
    if tens < 0 or tens > 9 or units < 0 or units > 9:
        return -1
    return tens * 10 + units


@kernel
def _year(buffer: Bytes, position: Number, end: Number) -> Number:
    """A year from 1900 to 2199 in four digits, or -1."""
    century = _two_digits(buffer, position, end)
    year = _two_digits(buffer, position + 2, end)
    if century < 19 or century > 21 or year < 0:
        return -1
    return century * 100 + year


@kernel
def _month(buffer: Bytes, position: Number, end: Number) -> Number:
    """1 to 12 for an English month of three letters, or -1."""
    if position + 3 > end:
        return -1
    # The second and third letters of the twelve names differ in their sum's lowest five bits.
    second = at_index(buffer, position + 1)
    third = at_index(buffer, position + 2)
    month = np.int64(_MONTH_AT[(second + third) & 31])
    if month == 0 or second != _MONTHS[3 * month - 2] or third != _MONTHS[3 * month - 1]:
        return -1
    return month if at_index(buffer, position) == _MONTHS[3 * month - 3] else -1


@kernel
def _days(year: Number, month: Number, day: Number) -> Number:
    """Days since 1970 of a date from 1900 on, or -1 << 40 when there is no such day."""
    if month < 1 or month > 12 or day < 1:
        return -(1 << 40)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = _MONTH_DAYS[month - 1]
    if month == 2 and leap:
        last = 29
    if day > last:
        return -(1 << 40)
    # Count years from March, so that the leap day is the last of its year.
    years = year - 1 if month <= 2 else year
    months = month + 9 if month <= 2 else month - 3
    return years * 365 + years // 4 - years // 100 + years // 400 + (months * 153 + 2) // 5 + day - 1 - 719468


@kernel
def _clock(buffer: Bytes, position: Number, end: Number) -> Number:
    """Seconds of `hh:mm:ss`, or -1."""
    if position + 8 > end or at_index(buffer, position + 2) != 58 or at_index(buffer, position + 5) != 58:
        return -1
    hours = _two_digits(buffer, position, end)
    minutes = _two_digits(buffer, position + 3, end)
    seconds = _two_digits(buffer, position + 6, end)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59 or seconds < 0 or seconds > 60:
        return -1
    return hours * 3600 + minutes * 60 + seconds


@kernel
def _fraction(buffer: Bytes, position: Number, end: Number, comma: bool) -> Number:
    """Position after `.ddd` (`,ddd`), nanoseconds, resolution bits; nothing is taken when no digit follows
    the point.
    """
    if position + 1 >= end:
        return position, 0, 0
    point = at_index(buffer, position)
    if point != 46 and not (comma and point == 44):
        return position, 0, 0
    at, value = read_digits(buffer, position + 1, end)
    digits = at - position - 1
    if digits == 0:
        return position, 0, 0
    if digits > 9:
        _, value = read_digits(buffer, position + 1, position + 10)
        digits = 9
    value *= POWERS_OF_TEN[9 - digits]
    return at, value, (MICROSECONDS if digits > 3 else MILLISECONDS)


@kernel
def _offset(buffer: Bytes, position: Number, end: Number, colon: bool) -> Number:
    """Position after `+hh:mm` (`+hhmm`) and seconds east of UTC; position -1 when it is none."""
    if position + 5 > end or (at_index(buffer, position) != 43 and at_index(buffer, position) != 45):
        return -1, 0
    at = position + 3
    if colon and at_index(buffer, at) == 58:
        at += 1
    hours = _two_digits(buffer, position + 1, end)
    minutes = _two_digits(buffer, at, end)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return -1, 0
    seconds = hours * 3600 + minutes * 60
    return at + 2, (-seconds if at_index(buffer, position) == 45 else seconds)


@kernel
def _time_bsd(buffer: Bytes, position: Number, end: Number) -> Number:
    month = _month(buffer, position, end)
    at = position + 4
    if month < 0 or at >= end or at_index(buffer, at - 1) != BLANK:
        return -1, 0, 0
    if at_index(buffer, at) == BLANK:
        at += 1
    day = 0
    first = at
    while at < end and at < first + 2 and 48 <= at_index(buffer, at) <= 57:
        day = day * 10 + at_index(buffer, at) - 48
        at += 1
    if at == first or at >= end or at_index(buffer, at) != BLANK:
        return -1, 0, 0
    at += 1
    year = 2000
    kind = YEARLESS
    if at + 5 <= end and at_index(buffer, at + 4) == BLANK:
        year = _year(buffer, at, end)
        kind = 0
        at += 5
        if year < 0:
            return -1, 0, 0
    days = _days(year, month, day)
    seconds = _clock(buffer, at, end)
    if days < -(1 << 30) or seconds < 0:
        return -1, 0, 0
    at, nanoseconds, resolution = _fraction(buffer, at + 8, end, True)
    if kind == YEARLESS and at + 5 <= end and at_index(buffer, at) == BLANK:
        behind = _year(buffer, at + 1, end)
        if behind >= 0 and (at + 5 == end or at_index(buffer, at + 5) == BLANK):
            days = _days(behind, month, day)
            if days < -(1 << 30):
                return -1, 0, 0
            return at + 5, (days * 86400 + seconds) * _SECOND + nanoseconds, resolution
    return at, (days * 86400 + seconds) * _SECOND + nanoseconds, kind | resolution


@kernel
def _time_rfc3339(buffer: Bytes, position: Number, end: Number) -> Number:
    if position + 19 > end or at_index(buffer, position + 4) != 45 or at_index(buffer, position + 7) != 45:
        return -1, 0, 0
    if at_index(buffer, position + 10) != 84 and at_index(buffer, position + 10) != BLANK:
        return -1, 0, 0
    year = _year(buffer, position, end)
    month = _two_digits(buffer, position + 5, end)
    day = _two_digits(buffer, position + 8, end)
    seconds = _clock(buffer, position + 11, end)
    if year < 0 or seconds < 0:
        return -1, 0, 0
    days = _days(year, month, day)
    if days < -(1 << 30):
        return -1, 0, 0
    at, nanoseconds, kind = _fraction(buffer, position + 19, end, True)
    if at < end and at_index(buffer, at) == 90:
        at += 1
        kind |= ZONED
    else:
        after, east = _offset(buffer, at, end, True)
        if after >= 0:
            at = after
            seconds -= east
            kind |= ZONED
    return at, (days * 86400 + seconds) * _SECOND + nanoseconds, kind


@kernel
def _time_slashed(buffer: Bytes, position: Number, end: Number, clf: bool) -> Number:
    """`22/Nov/2026:09:18:54`, then `.965` or ` +0000`."""
    if position + 20 > end or at_index(buffer, position + 2) != 47 or at_index(buffer, position + 6) != 47:
        return -1, 0, 0
    if at_index(buffer, position + 11) != 58:
        return -1, 0, 0
    day = _two_digits(buffer, position, end)
    month = _month(buffer, position + 3, end)
    year = _year(buffer, position + 7, end)
    seconds = _clock(buffer, position + 12, end)
    if day < 0 or month < 0 or year < 0 or seconds < 0:
        return -1, 0, 0
    days = _days(year, month, day)
    if days < -(1 << 30):
        return -1, 0, 0
    if clf:
        if position + 21 > end or at_index(buffer, position + 20) != BLANK:
            return -1, 0, 0
        at, east = _offset(buffer, position + 21, end, False)
        return at, (days * 86400 + seconds - east) * _SECOND, ZONED
    at, nanoseconds, kind = _fraction(buffer, position + 20, end, False)
    if kind == 0:
        return -1, 0, 0
    return at, (days * 86400 + seconds) * _SECOND + nanoseconds, kind


@kernel
def _time_epoch(buffer: Bytes, position: Number, end: Number) -> Number:
    at = position
    seconds = 0
    while at < end and at <= position + 10 and 48 <= at_index(buffer, at) <= 57:
        seconds = seconds * 10 + at_index(buffer, at) - 48
        at += 1
    if at == position or at > position + 10:
        return -1, 0, 0
    at, nanoseconds, kind = _fraction(buffer, at, end, False)
    return at, seconds * _SECOND + nanoseconds, kind | ZONED


@kernel
def read_stamp(buffer: Bytes, position: Number, end: Number, form: Number) -> Number:
    """Position after a stamp (-1 when it is none), nanoseconds since 1970, kind bits."""
    if form == BSD:
        return _time_bsd(buffer, position, end)
    if form == RFC3339:
        return _time_rfc3339(buffer, position, end)
    if form == HAPROXY:
        return _time_slashed(buffer, position, end, False)
    if form == CLF:
        return _time_slashed(buffer, position, end, True)
    return _time_epoch(buffer, position, end)
