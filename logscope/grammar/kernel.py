"""The machine of `ops` as one kernel that scans a chunk of bytes into rows.

It knows no log format: lines, an envelope program, and for each service name the programs to try, all of it data. The
plain-Python twin is `interpret`; both read the same table and must give the same rows.

Nothing grows inside: before each line the kernel makes sure that whatever the line may need is there, else it returns and
says what is short, and is called again to go on with that same line.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from logscope.engine import lean_kernel as kernel
from logscope.grammar import ops

# What the kernel returns.
DONE = 0
NEED_ROWS = 1
NEED_ARENA = 2
NEED_NAMES = 3
NEED_SERVICE = 4
"""The programs of a service name (its code is in control[SERVICE_CODE]) are not known yet."""

# Words of `control`: where the scan stands, and what stays the same.
POSITION = 0
LIMIT = 1
FINAL = 2
ROWS = 3
ARENA_USED = 4
NAMES_COUNT = 5
NAMES_USED = 6
SERVICE_CODE = 7
ENVELOPE_START = 8
STAMP = 9
HOST = 10
SERVICE = 11
PID = 12
REPEAT_COUNT = 13
MESSAGE = 14
WIDEST = 15
CONTROL_WORDS = 16

# Rows of the column matrices.
LINE_START = 0
LINE_END = 1
START = 2
STAMP_NS = 3
PID_NUMBER = 4
REPEATS = 5
MESSAGE_START = 6
MESSAGE_END = 7
WIDE_COLUMNS = 8

TEMPLATE = 0
HOST_NAME = 1
SERVICE_NAME = 2
NARROW_COLUMNS = 3

STAMP_KIND = 0
NOT_UTF8 = 1
SMALL_COLUMNS = 2

# Columns of `starts`, one row for each name code after row 0, which is for lines without a service.
KNOWN = 0
WHOSE = 1
FIRST_START = 2
START_COLUMNS = 6

NAMES_A_LINE = ops.MAX_CAPTURES
"""No line adds more names than this."""

_NULL = ops.NULL
_LF = 10
_CR = 13
_BLANK = 32
_TAB = 9
_QUOTE = 34
_BACKSLASH = 92
_BRACKET = 91
_AT = 64

_END = ops.END
_FAIL = ops.FAIL
_LITERAL = ops.LITERAL
_BYTE = ops.BYTE
_SWITCH = ops.SWITCH
_TEST = ops.TEST
_CHOICE = ops.CHOICE
_COMMIT = ops.COMMIT
_REST = ops.REST
_UNTIL = ops.UNTIL
_BOUNDED = ops.BOUNDED
_FLAG = ops.FLAG
_ENUM = ops.ENUM
_IP = ops.IP
_TIME = ops.TIME
_INT = ops.INT
_UINT = ops.UINT
_PORT = ops.PORT
_HEX = ops.HEX
_DECIMAL = ops.DECIMAL
_CODE = ops.CODE
_DSN = ops.DSN
_QUEUE_ID = ops.QUEUE_ID
_COUNTERS = ops.COUNTERS
_RETRY = ops.RETRY
_AGAIN = ops.AGAIN
_OPEN = ops.OPEN
_CLOSE = ops.CLOSE

_NO_SPACE = ops.NO_SPACE
_NO_BRACKET = ops.NO_BRACKET
_NOT_EMPTY = ops.NOT_EMPTY
_QUOTED = ops.QUOTED
_MAILBOX = ops.MAILBOX
_LAST = ops.LAST
_STOP_BEGINS = ops.STOP_BEGINS
_FORBIDDEN = ops.FORBIDDEN
_STOPS_HEAD = ops.STOPS_HEAD
_RESTRICTED = ops.NO_SPACE | ops.NO_BRACKET
_SPECIAL = ops.QUOTED | ops.MAILBOX | ops.LAST

_MAX_DIGITS = ops.MAX_DIGITS
_MAX_STACK = ops.MAX_STACK
_MAX_CAPTURES = ops.MAX_CAPTURES

_BSD = ops.BSD
_RFC3339 = ops.RFC3339
_HAPROXY = ops.HAPROXY
_CLF = ops.CLF
_YEARLESS = ops.YEARLESS
_ZONED = ops.ZONED
_MILLISECONDS = ops.MILLISECONDS
_MICROSECONDS = ops.MICROSECONDS
_SECOND = 1_000_000_000
_MONTHS = np.frombuffer(b"JanFebMarAprMayJunJulAugSepOctNovDec", np.uint8).copy()
_MONTH_AT = np.zeros(32, np.int64)
for _index in range(12):
    _MONTH_AT[int(_MONTHS[3 * _index + 1]) + int(_MONTHS[3 * _index + 2]) & 31] = _index + 1
_MONTH_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)

_WIDE = ops.WIDE
_INTERNED = ops.INTERNED
_SPAN_LENGTH = ops.SPAN_LENGTH
_FOREIGN = ops.FOREIGN
_UNPARSED = ops.UNPARSED

# Character classes, as bits.
_DIGIT = 1
_HEXDIGIT = 2
_ALPHA = 4
_AF = 8
_ADDRESS = 16
_COUNTER = 32


def _character_classes() -> Any:
    classes = np.zeros(256, np.uint8)
    for symbol in range(256):
        text = chr(symbol) if symbol < 128 else ""
        digit, alpha = text.isdecimal(), text.isalpha()
        hexdigit = bool(text) and text in "0123456789abcdefABCDEF"
        classes[symbol] = (
            _DIGIT * digit
            | _HEXDIGIT * hexdigit
            | _ALPHA * alpha
            | _AF * (bool(text) and text in "ABCDEF")
            | _ADDRESS * (hexdigit or symbol in b":.")
            | _COUNTER * (digit or alpha or symbol in b"_-")
        )
    return classes


_CLASSES = _character_classes()

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)
_THREE = np.uint64(3)
STACK_BASE = 3 * (ops.MAX_CAPTURES + 2)
WORK_WORDS = STACK_BASE + 3 * (ops.MAX_STACK + 4)
_STACK_START = np.uint64(STACK_BASE)
_ONES = np.uint64(0x0101010101010101)
_LINE_FEEDS = np.uint64(0x0A0A0A0A0A0A0A0A)
_HIGH_BITS = np.uint64(0x8080808080808080)


@kernel
def _at(array, index):  # type: ignore[no-untyped-def]
    """array[index] as a signed number. An unsigned index spares the test whether it counts from the end."""
    return np.int64(array[np.uint64(index)])


# --- time stamps --------------------------------------------------------------------------------------------------


@kernel
def _two_digits(buffer, position, end):  # type: ignore[no-untyped-def]
    """The number in two digits, or -1."""
    if position + 2 > end:
        return -1
    tens = _at(buffer, position) - 48
    units = _at(buffer, position + 1) - 48
    if tens < 0 or tens > 9 or units < 0 or units > 9:
        return -1
    return tens * 10 + units


@kernel
def _year(buffer, position, end):  # type: ignore[no-untyped-def]
    """A year from 1900 to 2199 in four digits, or -1."""
    century = _two_digits(buffer, position, end)
    year = _two_digits(buffer, position + 2, end)
    if century < 19 or century > 21 or year < 0:
        return -1
    return century * 100 + year


@kernel
def _month(buffer, position, end):  # type: ignore[no-untyped-def]
    """1 to 12 for an English month of three letters, or -1."""
    if position + 3 > end:
        return -1
    # The second and third letters of the twelve names differ in their sum's lowest five bits.
    second = _at(buffer, position + 1)
    third = _at(buffer, position + 2)
    month = np.int64(_MONTH_AT[(second + third) & 31])
    if month == 0 or second != _MONTHS[3 * month - 2] or third != _MONTHS[3 * month - 1]:
        return -1
    return month if _at(buffer, position) == _MONTHS[3 * month - 3] else -1


@kernel
def _days(year, month, day):  # type: ignore[no-untyped-def]
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
def _clock(buffer, position, end):  # type: ignore[no-untyped-def]
    """Seconds of `hh:mm:ss`, or -1."""
    if position + 8 > end or _at(buffer, position + 2) != 58 or _at(buffer, position + 5) != 58:
        return -1
    hours = _two_digits(buffer, position, end)
    minutes = _two_digits(buffer, position + 3, end)
    seconds = _two_digits(buffer, position + 6, end)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59 or seconds < 0 or seconds > 60:
        return -1
    return hours * 3600 + minutes * 60 + seconds


@kernel
def _fraction(buffer, position, end):  # type: ignore[no-untyped-def]
    """Position after `.ddd`, nanoseconds, resolution bits; nothing is taken when no digit follows the point."""
    if position + 1 >= end or _at(buffer, position) != 46:
        return position, 0, 0
    at = position + 1
    value = 0
    weight = 100_000_000
    while at < end and 48 <= _at(buffer, at) <= 57:
        value += (_at(buffer, at) - 48) * weight
        weight //= 10
        at += 1
    digits = at - position - 1
    if digits == 0:
        return position, 0, 0
    return at, value, (_MICROSECONDS if digits > 3 else _MILLISECONDS)


@kernel
def _offset(buffer, position, end, colon):  # type: ignore[no-untyped-def]
    """Position after `+hh:mm` (`+hhmm`) and seconds east of UTC; position -1 when it is none."""
    if position + 5 > end or (_at(buffer, position) != 43 and _at(buffer, position) != 45):
        return -1, 0
    at = position + 3
    if colon and _at(buffer, at) == 58:
        at += 1
    hours = _two_digits(buffer, position + 1, end)
    minutes = _two_digits(buffer, at, end)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return -1, 0
    seconds = hours * 3600 + minutes * 60
    return at + 2, (-seconds if _at(buffer, position) == 45 else seconds)


@kernel
def _time_bsd(buffer, position, end):  # type: ignore[no-untyped-def]
    month = _month(buffer, position, end)
    at = position + 4
    if month < 0 or at >= end or _at(buffer, at - 1) != _BLANK:
        return -1, 0, 0
    if _at(buffer, at) == _BLANK:
        at += 1
    day = 0
    first = at
    while at < end and at < first + 2 and 48 <= _at(buffer, at) <= 57:
        day = day * 10 + _at(buffer, at) - 48
        at += 1
    if at == first or at >= end or _at(buffer, at) != _BLANK:
        return -1, 0, 0
    at += 1
    year = 2000
    kind = _YEARLESS
    if at + 5 <= end and _at(buffer, at + 4) == _BLANK:
        year = _year(buffer, at, end)
        kind = 0
        at += 5
        if year < 0:
            return -1, 0, 0
    days = _days(year, month, day)
    seconds = _clock(buffer, at, end)
    if days < -(1 << 30) or seconds < 0:
        return -1, 0, 0
    at, nanoseconds, resolution = _fraction(buffer, at + 8, end)
    return at, (days * 86400 + seconds) * _SECOND + nanoseconds, kind | resolution


@kernel
def _time_rfc3339(buffer, position, end):  # type: ignore[no-untyped-def]
    if position + 19 > end or _at(buffer, position + 4) != 45 or _at(buffer, position + 7) != 45:
        return -1, 0, 0
    if _at(buffer, position + 10) != 84 and _at(buffer, position + 10) != _BLANK:
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
    at, nanoseconds, kind = _fraction(buffer, position + 19, end)
    if at < end and _at(buffer, at) == 90:
        at += 1
        kind |= _ZONED
    else:
        after, east = _offset(buffer, at, end, True)
        if after >= 0:
            at = after
            seconds -= east
            kind |= _ZONED
    return at, (days * 86400 + seconds) * _SECOND + nanoseconds, kind


@kernel
def _time_slashed(buffer, position, end, clf):  # type: ignore[no-untyped-def]
    """`22/Nov/2026:09:18:54`, then `.965` or ` +0000`."""
    if position + 20 > end or _at(buffer, position + 2) != 47 or _at(buffer, position + 6) != 47:
        return -1, 0, 0
    if _at(buffer, position + 11) != 58:
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
        if position + 21 > end or _at(buffer, position + 20) != _BLANK:
            return -1, 0, 0
        at, east = _offset(buffer, position + 21, end, False)
        return at, (days * 86400 + seconds - east) * _SECOND, _ZONED
    at, nanoseconds, kind = _fraction(buffer, position + 20, end)
    if kind == 0:
        return -1, 0, 0
    return at, (days * 86400 + seconds) * _SECOND + nanoseconds, kind


@kernel
def _time_epoch(buffer, position, end):  # type: ignore[no-untyped-def]
    at = position
    seconds = 0
    while at < end and at <= position + 10 and 48 <= _at(buffer, at) <= 57:
        seconds = seconds * 10 + _at(buffer, at) - 48
        at += 1
    if at == position or at > position + 10:
        return -1, 0, 0
    at, nanoseconds, kind = _fraction(buffer, at, end)
    return at, seconds * _SECOND + nanoseconds, kind | _ZONED


@kernel
def _time(buffer, position, end, form):  # type: ignore[no-untyped-def]
    """Position after a stamp (-1 when it is none), nanoseconds since 1970, kind bits."""
    if form == _BSD:
        return _time_bsd(buffer, position, end)
    if form == _RFC3339:
        return _time_rfc3339(buffer, position, end)
    if form == _HAPROXY:
        return _time_slashed(buffer, position, end, False)
    if form == _CLF:
        return _time_slashed(buffer, position, end, True)
    return _time_epoch(buffer, position, end)


# --- addresses ----------------------------------------------------------------------------------------------------


@kernel
def _ipv4(buffer, position, end):  # type: ignore[no-untyped-def]
    """Four decimal numbers without leading zeros, which must fill the range; -1 when it is no address."""
    value = 0
    parts = 0
    at = position
    while True:
        number = 0
        first = at
        while at < end and _at(_CLASSES, _at(buffer, at)) & _DIGIT:
            number = number * 10 + _at(buffer, at) - 48
            at += 1
            if number > 255:
                return -1
        if at == first or (_at(buffer, first) == 48 and at > first + 1):
            return -1
        value = value << 8 | number
        parts += 1
        if parts == 4:
            return value if at == end else -1
        if at >= end or _at(buffer, at) != 46:
            return -1
        at += 1


@kernel
def _ipv6(buffer, position, end):  # type: ignore[no-untyped-def]
    """An IPv6 address that fills the range: whether it is one, high and low half (RFC 4291 section 2.2)."""
    high = 0
    low = 0
    groups = 0
    gap = -1
    at = position
    if at + 1 < end and _at(buffer, at) == 58:
        if _at(buffer, at + 1) != 58:
            return False, 0, 0
        gap = 0
        at += 2
    while at < end:
        if groups == 8:
            return False, 0, 0
        number = 0
        first = at
        while at < end and _at(_CLASSES, _at(buffer, at)) & _HEXDIGIT:
            symbol = _at(buffer, at)
            number = number << 4 | (symbol - 48 if symbol <= 57 else (symbol | 32) - 87)
            at += 1
            if at - first > 4:
                return False, 0, 0
        if at < end and _at(buffer, at) == 46:
            number = _ipv4(buffer, first, end)
            if number < 0 or groups > 6:
                return False, 0, 0
            high = high << 32 | (low >> 32 & 0xFFFFFFFF)
            low = low << 32 | number
            groups += 2
            at = end
            break
        if at == first:
            return False, 0, 0
        high = high << 16 | (low >> 48 & 0xFFFF)
        low = low << 16 | number
        groups += 1
        if at == end:
            break
        if _at(buffer, at) != 58:
            return False, 0, 0
        at += 1
        if at == end:
            return False, 0, 0
        if _at(buffer, at) == 58:
            if gap >= 0:
                return False, 0, 0
            gap = groups
            at += 1
    if gap < 0:
        return groups == 8, high, low
    if groups > 7:
        return False, 0, 0
    # Groups after the gap stay at the right end; those before it move up by the missing ones.
    after = groups - gap
    shift = (8 - groups) * 16
    tail = after * 16
    return True, *_spread(high, low, tail, shift)


@kernel
def _spread(high, low, tail, shift):  # type: ignore[no-untyped-def]
    """Keep the lowest `tail` bits of a 128-bit number and move the others up by `shift`; 0 < tail + shift <= 128."""
    kept_high = 0
    kept_low = 0
    if tail >= 64:
        kept_low = low
        kept_high = high & ((1 << (tail - 64)) - 1)
        high = high & ~((1 << (tail - 64)) - 1)
        low = 0
    elif tail > 0:
        kept_low = low & ((1 << tail) - 1)
        low = low & ~((1 << tail) - 1)
    while shift > 0:
        high = high << 16 | (low >> 48 & 0xFFFF)
        low = low << 16
        shift -= 16
    return high | kept_high, low | kept_low


@kernel
def _address(buffer, position, end):  # type: ignore[no-untyped-def]
    """An address of either family that fills the range: whether it is one, high and low half."""
    at = position
    while at < end and _at(buffer, at) != 58:
        at += 1
    if at < end:
        return _ipv6(buffer, position, end)
    number = _ipv4(buffer, position, end)
    return number >= 0, 0, 0xFFFF_0000_0000 | number


@kernel
def _ip(buffer, position, end, colon):  # type: ignore[no-untyped-def]
    """Position after an address (-1 when it is none), high and low half."""
    at = position
    last_colon = -1
    while at < end and _at(_CLASSES, _at(buffer, at)) & _ADDRESS:
        if _at(buffer, at) == 58:
            last_colon = at
        at += 1
    if at == position:
        return -1, 0, 0
    if colon != 1:
        good, high, low = _address(buffer, position, at)
        if good:
            return at, high, low
    if colon != 0 and last_colon > position:
        good, high, low = _address(buffer, position, last_colon)
        if good:
            return last_colon, high, low
    return -1, 0, 0


# --- numbers and words that know their own end --------------------------------------------------------------------


@kernel
def _digits(buffer, position, end):  # type: ignore[no-untyped-def]
    """Position after a run of digits and its value (which means nothing past MAX_DIGITS digits)."""
    at = position
    value = 0
    while at < end and 48 <= _at(buffer, at) <= 57:
        if at - position < _MAX_DIGITS:
            value = value * 10 + _at(buffer, at) - 48
        at += 1
    return at, value


@kernel
def _number(buffer, position, end, opcode):  # type: ignore[no-untyped-def]
    """INT, UINT, PORT, CODE: position after it or -1, and its value."""
    negative = opcode == _INT and position < end and _at(buffer, position) == 45
    first = position + 1 if negative else position
    at, value = _digits(buffer, first, end)
    count = at - first
    if count == 0 or count > _MAX_DIGITS:
        return -1, 0
    if (opcode == _PORT and value > 65535) or (opcode == _CODE and count != 3):
        return -1, 0
    return at, (-value if negative else value)


@kernel
def _hexadecimal(buffer, position, end):  # type: ignore[no-untyped-def]
    at = position
    value = 0
    while at < end and _at(_CLASSES, _at(buffer, at)) & _HEXDIGIT:
        symbol = _at(buffer, at)
        if at - position < 15:
            value = value << 4 | (symbol - 48 if symbol <= 57 else (symbol | 32) - 87)
        at += 1
    if at == position or at > position + 15:
        return -1, 0
    return at, value


@kernel
def _decimal(buffer, position, end):  # type: ignore[no-untyped-def]
    """Position after it or -1, and millionths."""
    at, whole = _digits(buffer, position, end)
    if at == position or at > position + 12:
        return -1, 0
    value = whole * 1_000_000
    if at + 1 < end and _at(buffer, at) == 46 and 48 <= _at(buffer, at + 1) <= 57:
        first = at + 1
        weight = 100_000
        at = first
        while at < end and 48 <= _at(buffer, at) <= 57:
            value += (_at(buffer, at) - 48) * weight
            weight //= 10
            at += 1
        if at > first + 6 or (at + 1 < end and _at(buffer, at) == 46 and 48 <= _at(buffer, at + 1) <= 57):
            return -1, 0
    return at, value


@kernel
def _dsn(buffer, position, end):  # type: ignore[no-untyped-def]
    """Position after `d.ddd.ddd` or -1, and class * 1_000_000 + subject * 1000 + detail."""
    if position + 5 > end or _at(buffer, position + 1) != 46:
        return -1, 0
    if not _at(_CLASSES, _at(buffer, position)) & _DIGIT:
        return -1, 0
    dot, subject = _digits(buffer, position + 2, end)
    if dot == position + 2 or dot > position + 5 or dot >= end or _at(buffer, dot) != 46:
        return -1, 0
    at, detail = _digits(buffer, dot + 1, end)
    if at == dot + 1 or at > dot + 4:
        return -1, 0
    return at, (_at(buffer, position) - 48) * 1_000_000 + subject * 1000 + detail


@kernel
def _queue_id(buffer, position, end):  # type: ignore[no-untyped-def]
    """Position after five or more letters and digits, with a digit among them or all of A-F; or -1."""
    at = position
    digit = False
    all_af = True
    while at < end:
        kind = _at(_CLASSES, _at(buffer, at))
        if kind & _DIGIT:
            digit = True
        elif kind & _ALPHA:
            all_af = all_af and kind & _AF != 0
        else:
            break
        at += 1
    return at if at >= position + 5 and (digit or all_af) else -1


@kernel
def _counters(buffer, position, end):  # type: ignore[no-untyped-def]
    """Position after all ` name=n` and ` name=n/m` up to ` commands=`."""
    done = position
    while True:
        at = done
        if at >= end or _at(buffer, at) != _BLANK:
            return done
        at += 1
        name = at
        while at < end and _at(_CLASSES, _at(buffer, at)) & _COUNTER:
            at += 1
        if at == name or at >= end or _at(buffer, at) != 61 or _is_commands(buffer, name, at):
            return done
        number = at + 1
        at, _ = _digits(buffer, number, end)
        if at == number:
            return done
        if at < end and _at(buffer, at) == 47:
            number = at + 1
            at, _ = _digits(buffer, number, end)
            if at == number or (at < end and _at(buffer, at) == 47):
                return done
        done = at


@kernel
def _is_commands(buffer, start, end):  # type: ignore[no-untyped-def]
    """Whether the range holds the word that ends Postfix's counters."""
    if end - start != 8:
        return False
    for index in range(8):
        if _at(buffer, start + index) != _COMMANDS[index]:
            return False
    return True


_COMMANDS = np.frombuffer(b"commands", np.uint8).copy()


# --- bounded text -------------------------------------------------------------------------------------------------


@kernel
def _is_stop(buffer, position, end, code, text, stops):  # type: ignore[no-untyped-def]
    """Whether a stop begins here. `stops` is a word of `code`, see `ops`."""
    if position >= end:
        return _at(code, stops + 1) == 1
    if _at(text, _at(code, stops + 2) + _at(buffer, position)) & _STOP_BEGINS == 0:
        return False
    for index in range(_at(code, stops)):
        entry = stops + _STOPS_HEAD + 3 * index
        offset = _at(code, entry)
        length = _at(code, entry + 1)
        if position + length > end or (_at(code, entry + 2) and position + length != end):
            continue
        same = 1
        while same < length and _at(buffer, position + same) == _at(text, offset + same):
            same += 1
        if same >= length and _at(buffer, position) == _at(text, offset):
            return True
    return False


@kernel
def _is_forbidden(symbol, flags):  # type: ignore[no-untyped-def]
    if flags & _NO_SPACE and (symbol == _BLANK or symbol == _TAB):
        return True
    return flags & _NO_BRACKET != 0 and symbol == _BRACKET


@kernel
def _rest(buffer, position, end, flags):  # type: ignore[no-untyped-def]
    """End of a field that goes to the end of the line, or -1."""
    if flags & _NOT_EMPTY and position == end:
        return np.int64(-1)
    if flags & _RESTRICTED:
        for at in range(position, end):
            if _is_forbidden(_at(buffer, at), flags):
                return -1
    return end


@kernel
def _bounded(buffer, position, end, code, text, stops, flags):  # type: ignore[no-untyped-def]
    """Position where a bounded field ends, or -1."""
    if flags & _SPECIAL == 0:
        after = _bounded_plain(buffer, position, end, code, text, stops)
    elif flags & _LAST:
        after = _bounded_last(buffer, position, end, code, text, stops, flags)
    elif flags & _MAILBOX:
        after = _bounded_mailbox(buffer, position, end, code, text, stops, flags)
    else:
        after = _bounded_quoted(buffer, position, end, code, text, stops, flags)
    return after if after > position or flags & _NOT_EMPTY == 0 else np.int64(-1)


@kernel
def _bounded_plain(buffer, position, end, code, text, stops):  # type: ignore[no-untyped-def]
    """Position of the first place where a stop begins, or -1."""
    table = _at(code, stops + 2)
    at = position
    while True:
        kind = np.int64(0)
        while at < end:
            kind = _at(text, table + _at(buffer, at))
            if kind:
                break
            at += 1
        if at >= end:
            return at if _at(code, stops + 1) == 1 and at == end else np.int64(-1)
        if kind & _STOP_BEGINS and _is_stop(buffer, at, end, code, text, stops):
            return at
        if kind & _FORBIDDEN:
            return np.int64(-1)
        at += 1


@kernel
def _bounded_last(buffer, position, end, code, text, stops, flags):  # type: ignore[no-untyped-def]
    at = position
    while at < end and not _is_forbidden(_at(buffer, at), flags):
        at += 1
    while at >= position:
        if _is_stop(buffer, at, end, code, text, stops):
            return at
        at -= 1
    return -1


@kernel
def _closing_quote(buffer, position, end):  # type: ignore[no-untyped-def]
    """Position after the string that opens at `position`, or -1 when it is never closed."""
    at = position + 1
    while at < end:
        if _at(buffer, at) == _BACKSLASH:
            at += 1
        elif _at(buffer, at) == _QUOTE:
            return at + 1
        at += 1
    return -1


@kernel
def _bounded_quoted(buffer, position, end, code, text, stops, flags):  # type: ignore[no-untyped-def]
    closed = True
    at = position
    while not _is_stop(buffer, at, end, code, text, stops):
        if at >= end or _is_forbidden(_at(buffer, at), flags):
            return -1
        after = -1
        if closed and _at(buffer, at) == _QUOTE:
            after = _closing_quote(buffer, at, end)
            closed = after >= 0
        at = after if after >= 0 else at + 1
    return at


@kernel
def _bounded_mailbox(buffer, position, end, code, text, stops, flags):  # type: ignore[no-untyped-def]
    at = position
    if at < end and _at(buffer, at) == _QUOTE and not _is_stop(buffer, at, end, code, text, stops):
        after = _closing_quote(buffer, at, end)
        if after >= 0:
            local = after < end and _at(buffer, after) == _AT
            if local or _is_stop(buffer, after, end, code, text, stops):
                at = after
    return _bounded_plain(buffer, at, end, code, text, stops)


# --- the machine --------------------------------------------------------------------------------------------------


@kernel
def _same(buffer, position, text, offset, length):  # type: ignore[no-untyped-def]
    for index in range(length):
        if _at(buffer, position + index) != _at(text, offset + index):
            return False
    return True


@kernel
def _match(buffer, position, end, start, code, text, work):  # type: ignore[no-untyped-def]
    """Match a range from the word `start`: the template's id or -1, and how many captures there are.

    work: int64, first the captures (field and two values each), from STACK_BASE on the stack (word, position, number of captures
    each). Both lie in one array, and the arrays are few, because each of them is seven words at every call.

    One long chain of comparisons with `opcode`: the compiler makes a jump table of it. What runs for nearly every line is written
    out here, the rest is in functions.
    """
    word = np.int64(start)
    height = np.uint64(0)
    depth = _STACK_START
    while True:
        opcode = _at(code, word)
        after = np.int64(-1)
        first = np.int64(0)
        second = np.int64(0)
        if opcode == _LITERAL:
            length = _at(code, word + 3)
            if position + length <= end and _same(buffer, position, text, _at(code, word + 2), length):
                position += length
                word = _at(code, word + 1)
                continue
        elif opcode == _SWITCH:
            symbol = _at(buffer, position) if position < end else np.int64(256)
            word = _at(code, word + 1 + symbol)
            if word >= 0:
                continue
        elif opcode == _BYTE:
            if position < end and _at(buffer, position) == _at(code, word + 2):
                position += 1
                word = _at(code, word + 1)
                continue
        elif opcode == _TEST:
            here = position < end and _at(buffer, position) == _at(code, word + 2)
            word = _at(code, word + 1) if here else _at(code, word + 3)
            continue
        elif opcode == _CHOICE:
            work[depth] = _at(code, word + 2)
            work[depth + _ONE] = position
            work[depth + _TWO] = np.int64(height)
            depth += _THREE
            word = _at(code, word + 1)
            continue
        elif opcode == _COMMIT:
            depth -= _THREE
            word = _at(code, word + 1)
            continue
        elif opcode == _END:
            if position == end:
                return _at(code, word + 1), np.int64(height) // 3
        elif opcode == _UNTIL:
            symbol = _at(code, word + 4)
            at = position
            while at < end and _at(buffer, at) != symbol:
                at += 1
            if at < end and (at > position or _at(code, word + 3) & _NOT_EMPTY == 0):
                after = at
                first = position << 32 | (after - position)
        elif opcode == _BOUNDED:
            flags = _at(code, word + 3)
            stops = _at(code, word + 4)
            if flags & _SPECIAL:
                after = _bounded(buffer, position, end, code, text, stops, flags)
            else:
                table = _at(code, stops + 2)
                at = position
                while True:
                    kind = np.int64(0)
                    while at < end:
                        kind = _at(text, table + _at(buffer, at))
                        if kind:
                            break
                        at += 1
                    if at >= end:
                        if _at(code, stops + 1) == 1:
                            after = end
                        break
                    if kind & _STOP_BEGINS and _is_stop(buffer, at, end, code, text, stops):
                        after = at
                        break
                    if kind & _FORBIDDEN:
                        break
                    at += 1
                if flags & _NOT_EMPTY and after == position:
                    after = np.int64(-1)
            first = position << 32 | (after - position)
        elif opcode == _UINT:
            at = position
            while at < end:
                digit = _at(buffer, at) - 48
                if digit < 0 or digit > 9:
                    break
                first = first * 10 + digit
                at += 1
            if position < at <= position + _MAX_DIGITS:
                after = at
        elif opcode == _IP:
            after, first, second = _ip(buffer, position, end, _at(code, word + 3))
        elif opcode == _QUEUE_ID:
            after = _queue_id(buffer, position, end)
            first = position << 32 | (after - position)
        elif opcode == _REST:
            after = _rest(buffer, position, end, _at(code, word + 3))
            first = position << 32 | (after - position)
        elif opcode == _TIME:
            after, first, second = _time(buffer, position, end, _at(code, word + 3))
        elif opcode == _INT or opcode == _PORT or opcode == _CODE:
            after, first = _number(buffer, position, end, opcode)
        elif opcode == _FLAG:
            length = _at(code, word + 4)
            after = position
            if position + length <= end and _same(buffer, position, text, _at(code, word + 3), length):
                after = position + length
                first = np.int64(1)
        elif opcode == _ENUM:
            after, first = _enum(buffer, position, end, code, text, word)
        elif opcode == _DECIMAL:
            after, first = _decimal(buffer, position, end)
        elif opcode == _DSN:
            after, first = _dsn(buffer, position, end)
        elif opcode == _COUNTERS:
            after = _counters(buffer, position, end)
            first = position << 32 | (after - position)
        elif opcode == _HEX:
            after, first = _hexadecimal(buffer, position, end)
        elif opcode == _OPEN:
            after = position
            first = position << 32
        elif opcode == _CLOSE:
            opened = height - _THREE
            while work[opened] != _at(code, word + 2):
                opened -= _THREE
            begin = work[opened + _ONE] >> 32
            work[opened + _ONE] = begin << 32 | (position - begin)
            word = _at(code, word + 1)
            continue
        elif opcode == _RETRY:
            after = _bounded(buffer, position, end, code, text, _at(code, word + 4), _at(code, word + 3))
            first = position << 32 | (after - position)
        elif opcode == _AGAIN:
            height -= _THREE
            begin = work[height + _ONE] >> 32
            if position <= end:
                after = _bounded(buffer, position, end, code, text, _at(code, word + 4), _at(code, word + 3))
            first = begin << 32 | (after - begin)
        if after >= 0:
            work[height] = _at(code, word + 2)
            work[height + _ONE] = first
            work[height + _TWO] = second
            height += _THREE
            if opcode >= _RETRY and opcode <= _AGAIN:
                work[depth] = word if opcode == _AGAIN else word + 5
                work[depth + _ONE] = after + 1
                work[depth + _TWO] = np.int64(height)
                depth += _THREE
            position = after
            word = _at(code, word + 1)
            continue
        if depth == _STACK_START:
            return np.int64(-1), np.int64(0)
        depth -= _THREE
        word = work[depth]
        position = work[depth + _ONE]
        height = np.uint64(work[depth + _TWO])


@kernel
def _enum(buffer, position, end, code, text, word):  # type: ignore[no-untyped-def]
    """Position after the first word of an ENUM that is here (-1 when none is), and its number."""
    for index in range(_at(code, word + 3)):
        entry = word + 4 + 3 * index
        length = _at(code, entry + 1)
        if position + length <= end and _same(buffer, position, text, _at(code, entry), length):
            return position + length, _at(code, entry + 2)
    return np.int64(-1), np.int64(0)


# --- names --------------------------------------------------------------------------------------------------------


@kernel
def _hash(data, start, end):  # type: ignore[no-untyped-def]
    """A number of 31 bits from some bytes; two bytes a step, as each step waits for the one before."""
    value = 0x2545_F491
    at = start
    while at + 1 < end:
        value = ((value ^ (_at(data, at) | _at(data, at + 1) << 8)) * 0x5BD1_E995) & 0x7FFF_FFFF
        value ^= value >> 13
        at += 2
    if at < end:
        value = ((value ^ _at(data, at)) * 0x5BD1_E995) & 0x7FFF_FFFF
    return value ^ value >> 15


@kernel
def intern_name(buffer, start, end, table, offsets, data, control):  # type: ignore[no-untyped-def]
    """The code of _at(buffer, start:end) in the dictionary; there must be room for a new one.

    table: int32, a power of two long, code + 1 or 0; offsets: int64, name i is data[offsets[i]:offsets[i + 1]].
    """
    size = len(table)
    place = _hash(buffer, start, end) & (size - 1)
    length = end - start
    while True:
        entry = _at(table, place)
        if entry == 0:
            break
        begin = _at(offsets, entry - 1)
        if _at(offsets, entry) - begin == length:
            same = 0
            while same < length and _at(data, begin + same) == _at(buffer, start + same):
                same += 1
            if same == length:
                return np.int64(entry) - 1
        place = (place + 1) & (size - 1)
    number = control[NAMES_COUNT]
    begin = control[NAMES_USED]
    for index in range(length):
        data[begin + index] = _at(buffer, start + index)
    offsets[number] = begin
    offsets[number + 1] = begin + length
    table[place] = number + 1
    control[NAMES_COUNT] = number + 1
    control[NAMES_USED] = begin + length
    return np.int64(number)


@kernel
def rebuild_names(table, offsets, data, count):  # type: ignore[no-untyped-def]
    """Enter all names into an empty table."""
    size = len(table)
    for number in range(count):
        place = _hash(data, offsets[number], offsets[number + 1]) & (size - 1)
        while table[place] != 0:
            place = (place + 1) & (size - 1)
        table[place] = number + 1


# --- lines --------------------------------------------------------------------------------------------------------


@kernel
def _is_utf8(buffer, start, end):  # type: ignore[no-untyped-def]
    """Whether a range is well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF)."""
    at = start
    while at < end:
        lead = _at(buffer, at)
        at += 1
        if lead < 0x80:
            continue
        if lead < 0xC2 or lead > 0xF4:
            return False
        more = 1 if lead < 0xE0 else (2 if lead < 0xF0 else 3)
        if at + more > end:
            return False
        second = _at(buffer, at)
        low = 0xA0 if lead == 0xE0 else (0x90 if lead == 0xF0 else 0x80)
        high = 0x9F if lead == 0xED else (0x8F if lead == 0xF4 else 0xBF)
        if second < low or second > high:
            return False
        for index in range(1, more):
            if _at(buffer, at + index) & 0xC0 != 0x80:
                return False
        at += more
    return True


@kernel
def _line_end(buffer, words, position, limit):  # type: ignore[no-untyped-def]
    """Position of the next line feed (or `limit`), and whether a byte above 127 is before it.

    words: the same bytes, eight at a time; bytes past its end are looked at one by one.
    """
    at = position
    seen = 0
    while at < limit and at & 7:
        if _at(buffer, at) == _LF:
            return at, seen >= 128
        seen |= _at(buffer, at)
        at += 1
    index = at >> 3
    last = min(limit >> 3, len(words))
    high = _ZERO
    while index < last:
        word = words[np.uint64(index)]
        # A byte of `zeros` is zero where the word has a line feed; the subtraction borrows into its highest bit.
        zeros = word ^ _LINE_FEEDS
        if (zeros - _ONES) & ~zeros & _HIGH_BITS != _ZERO:
            break
        high |= word
        index += 1
    at = max(at, index << 3)
    while at < limit and _at(buffer, at) != _LF:
        seen |= _at(buffer, at)
        at += 1
    return at, seen >= 128 or high & _HIGH_BITS != _ZERO


@kernel
def scan(  # type: ignore[no-untyped-def]
    buffer, words, code, text, slot_of, widths, captures, control, wide, narrow, small, arena, table, offsets, names, starts, work
):
    """Scan lines from control[POSITION] on into rows; see the module for what is returned when there is no room."""
    limit = control[LIMIT]
    position = control[POSITION]
    capacity = wide.shape[1]
    while position < limit:
        line_end, high = _line_end(buffer, words, position, limit)
        if line_end == limit and control[FINAL] == 0:
            break
        row = control[ROWS]
        if row >= capacity:
            return NEED_ROWS
        if control[ARENA_USED] + control[WIDEST] > len(arena):
            return NEED_ARENA
        many = control[NAMES_COUNT] + NAMES_A_LINE
        if many >= len(offsets) - 1 or 2 * many >= len(table):
            return NEED_NAMES
        if control[NAMES_USED] + 2 * (line_end - position) > len(names):
            return NEED_NAMES
        end = line_end
        while end > position and (_at(buffer, end - 1) == _CR or _at(buffer, end - 1) == _BLANK or _at(buffer, end - 1) == _TAB):
            end -= 1

        stamp = _NULL
        stamp_kind = 0
        host = np.int64(-1)
        service = np.int64(-1)
        pid = _NULL
        repeats = np.int64(1)
        message = position
        message_end = end
        template, count = _match(buffer, position, end, control[ENVELOPE_START], code, text, work)
        if template >= 0:
            for index in range(count):
                field = _at(work, 3 * index)
                value = _at(work, 3 * index + 1)
                if field == control[MESSAGE]:
                    message = value >> 32
                    message_end = message + (value & _SPAN_LENGTH)
                elif field == control[STAMP]:
                    stamp = value
                    stamp_kind = _at(work, 3 * index + 2)
                elif field == control[HOST]:
                    begin = value >> 32
                    host = intern_name(
                        buffer, begin, begin + (value & _SPAN_LENGTH), table, offsets, names, control
                    )
                elif field == control[SERVICE]:
                    begin = value >> 32
                    service = intern_name(
                        buffer, begin, begin + (value & _SPAN_LENGTH), table, offsets, names, control
                    )
                elif field == control[PID]:
                    pid = value
                elif field == control[REPEAT_COUNT]:
                    repeats = value
        if service + 1 >= len(starts) or starts[service + 1, KNOWN] == 0:
            control[SERVICE_CODE] = service
            return NEED_SERVICE

        template = np.int64(-1)
        attempt = FIRST_START
        while template < 0 and attempt < START_COLUMNS and starts[service + 1, attempt] >= 0:
            template, count = _match(
                buffer, message, message_end, np.int64(starts[service + 1, attempt]), code, text, work
            )
            attempt += 1

        used = control[ARENA_USED]
        if template >= 0:
            for index in range(_at(widths, template)):
                arena[np.uint64(used + index)] = _NULL
            for index in range(count):
                field = _at(work, 3 * index)
                value = _at(work, 3 * index + 1)
                slot = used + np.int64(slot_of[np.uint64(template), np.uint64(field)])
                how = _at(captures, field)
                if how == _INTERNED:
                    begin = value >> 32
                    value = intern_name(
                        buffer, begin, begin + (value & _SPAN_LENGTH), table, offsets, names, control
                    )
                elif how == _WIDE:
                    arena[np.uint64(slot + 1)] = _at(work, 3 * index + 2)
                arena[np.uint64(slot)] = value
            control[ARENA_USED] = used + _at(widths, template)
        elif starts[service + 1, WHOSE] == 0:
            template = np.int64(_FOREIGN)

        at_row = np.uint64(row)
        wide[LINE_START, at_row] = position
        wide[LINE_END, at_row] = line_end
        wide[START, at_row] = used
        wide[STAMP_NS, at_row] = stamp
        wide[PID_NUMBER, at_row] = pid
        wide[REPEATS, at_row] = repeats
        wide[MESSAGE_START, at_row] = message
        wide[MESSAGE_END, at_row] = message_end
        narrow[TEMPLATE, at_row] = template
        narrow[HOST_NAME, at_row] = host
        narrow[SERVICE_NAME, at_row] = service
        small[STAMP_KIND, at_row] = stamp_kind
        small[NOT_UTF8, at_row] = 1 if high and not _is_utf8(buffer, position, end) else 0
        control[ROWS] = row + 1
        position = line_end + 1 if line_end < limit else limit
        control[POSITION] = position
    return DONE
