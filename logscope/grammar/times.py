"""Dates as the logs write them, to and from nanoseconds.

A stamp without a zone counts as if it were UTC, one without a year as if it were of the year 2000 (a leap
year, so that 29 February exists). Formats:

    bsd      `Nov  2 09:18:57`, RFC 3164; also `Nov 2`, `Nov 02`, a year before or behind the time, a fraction
             after it
    rfc3339  `2026-11-22T09:18:49.324931+00:00`; a blank for the T, a comma before the fraction (ISO 8601),
             `Z`, `+0000` and no offset are read too
    haproxy  `22/Nov/2026:09:18:54.965`, `%t` of a log-format (HAProxy's manual, "Custom log format")
    clf      `22/Nov/2026:09:18:54 +0000`, `%T` of a log-format, common log format
    epoch    `1795339134` or `1795339134.965`, seconds since 1970
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from logscope.grammar import ops

FORMATS = {"bsd": ops.BSD, "rfc3339": ops.RFC3339, "haproxy": ops.HAPROXY, "clf": ops.CLF, "epoch": ops.EPOCH}

SECOND = 1_000_000_000
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = {name.encode(): number for number, name in enumerate(_MONTHS, 1)}
_EPOCH = date(1970, 1, 1).toordinal()
_START = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)

_CLOCK = r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)"
_FRACTION = r"(?:\.(\d+))?"
_ISO_FRACTION = r"(?:[.,](\d+))?"
_YEAR = r"(?:19|20|21)\d\d"
_NAMES = "|".join(_MONTHS)
_DATE = rf"(\d\d)/({_NAMES})/({_YEAR}):"
PATTERNS = {
    "bsd": (
        rf"({_NAMES}) {{1,2}}(\d{{1,2}}) (?:({_YEAR}) )?{_CLOCK}{_ISO_FRACTION}"
        rf"(?(3)|(?: ({_YEAR})(?= |\Z))?)"
    ),
    "rfc3339": (
        rf"({_YEAR})-(\d\d)-(\d\d)[T ]{_CLOCK}{_ISO_FRACTION}"
        r"(?:(Z)|([+-])([01]\d|2[0-3]):?([0-5]\d))?"
    ),
    "haproxy": rf"{_DATE}{_CLOCK}\.(\d+)",
    "clf": rf"{_DATE}{_CLOCK} ([+-])([01]\d|2[0-3])([0-5]\d)",
    "epoch": rf"(\d{{1,10}})(?!\d){_FRACTION}",
}
"""Text of each format as a regular expression; it does not know how long a month is."""

_COMPILED = {FORMATS[name]: re.compile(pattern.encode(), re.ASCII) for name, pattern in PATTERNS.items()}


def read_time(form: int, data: bytes, position: int, end: int) -> tuple[int, int, int] | None:
    """Read a stamp: the position after it, nanoseconds since 1970, kind bits (YEARLESS, ZONED,
    resolution).
    """
    match = _COMPILED[form].match(data, position, end)
    if match is None:
        return None
    read = _READERS[form](match)
    return None if read is None else (match.end(), *read)


def _days(year: int, month: int, day: int) -> int | None:
    try:
        return date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None


def _moment(
    days: int | None, clock: tuple[bytes, ...], fraction: bytes | None, kind: int
) -> tuple[int, int] | None:
    if days is None:
        return None
    seconds = days * 86_400 + int(clock[0]) * 3600 + int(clock[1]) * 60 + int(clock[2])
    if not fraction:
        return seconds * SECOND, kind
    nanoseconds = int(fraction[:9].ljust(9, b"0"))
    return seconds * SECOND + nanoseconds, kind | (
        ops.MICROSECONDS if len(fraction) > 3 else ops.MILLISECONDS
    )


def _read_bsd(match: re.Match[bytes]) -> tuple[int, int] | None:
    month, day, before, hour, minute, second, fraction, behind = match.groups()
    year = before or behind
    days = _days(int(year) if year else 2000, _MONTH[month], int(day))
    return _moment(days, (hour, minute, second), fraction, 0 if year else ops.YEARLESS)


def _read_rfc3339(match: re.Match[bytes]) -> tuple[int, int] | None:
    year, month, day, hour, minute, second, fraction, utc, sign, hours, minutes = match.groups()
    read = _moment(_days(int(year), int(month), int(day)), (hour, minute, second), fraction, 0)
    if read is None or not (utc or sign):
        return read
    return read[0] - _offset(sign, hours, minutes), read[1] | ops.ZONED


def _read_haproxy(match: re.Match[bytes]) -> tuple[int, int] | None:
    day, month, year, hour, minute, second, fraction = match.groups()
    return _moment(_days(int(year), _MONTH[month], int(day)), (hour, minute, second), fraction, 0)


def _read_clf(match: re.Match[bytes]) -> tuple[int, int] | None:
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    read = _moment(_days(int(year), _MONTH[month], int(day)), (hour, minute, second), None, ops.ZONED)
    return None if read is None else (read[0] - _offset(sign, hours, minutes), read[1])


def _read_epoch(match: re.Match[bytes]) -> tuple[int, int] | None:
    seconds, fraction = match.groups()
    return _moment(0, (b"0", b"0", seconds), fraction, ops.ZONED)


def _offset(sign: bytes | None, hours: bytes | None, minutes: bytes | None) -> int:
    if sign is None:
        return 0
    seconds = (int(hours or 0) * 3600 + int(minutes or 0) * 60) * SECOND
    return -seconds if sign == b"-" else seconds


_READERS = {
    ops.BSD: _read_bsd,
    ops.RFC3339: _read_rfc3339,
    ops.HAPROXY: _read_haproxy,
    ops.CLF: _read_clf,
    ops.EPOCH: _read_epoch,
}


def iso(nanoseconds: int) -> str:
    """ISO 8601 without a zone, with no, three, six or nine digits of a second: `2026-11-22T09:18:54.965`."""
    seconds, rest = divmod(nanoseconds, SECOND)
    stamp = _START + timedelta(seconds=seconds)
    return stamp.isoformat() + _fraction(rest)


def from_iso(value: str | datetime) -> int:
    """Nanoseconds of ISO 8601 text or of a datetime; a zone is applied, no zone counts as UTC.

    Raises:
        ValueError: the text is not a date and time.
    """
    if isinstance(value, str):
        found = _ISO.match(value)
        if found is None:
            raise ValueError(f"{value!r} is not a date and time such as 2026-11-22T09:18:54.965")
        rest = int((found[2] or "").ljust(9, "0"))
        return _seconds_of_iso(found[1] + found[3]) * SECOND + rest
    return _whole_seconds(value.replace(microsecond=0)) * SECOND + value.microsecond * 1000


_ISO = re.compile(r"(.*?\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(.*)$")


@lru_cache(maxsize=64)
def _seconds_of_iso(text: str) -> int:
    """The same of a text: many lines have their second in common."""
    return _whole_seconds(datetime.fromisoformat(text))


def _whole_seconds(value: datetime) -> int:
    """Seconds since 1970 of a datetime without a fraction."""
    return int((value.replace(tzinfo=UTC) if value.tzinfo is None else value).timestamp())


def write_time(name: str, nanoseconds: int) -> bytes:
    """A stamp in one of the formats. Year 2000 stands for no year in `bsd`; zones are written as UTC."""
    seconds, rest = divmod(nanoseconds, SECOND)
    before, after = _around_fraction(name, seconds)
    if name == "clf":
        rest = 0  # it has no place for a fraction
    fraction = ".000" if name == "haproxy" and not rest else _fraction(rest)
    return (before + fraction + after).encode()


@lru_cache(maxsize=64)
def _around_fraction(name: str, seconds: int) -> tuple[str, str]:
    """What stands before and behind the fraction of a second: many lines have it in common."""
    stamp = _START + timedelta(seconds=seconds)
    month = _MONTHS[stamp.month - 1]
    clock = f"{stamp:%H:%M:%S}"
    if name == "bsd":
        year = "" if stamp.year == 2000 else f"{stamp.year} "
        return f"{month} {stamp.day:2} {year}{clock}", ""
    if name == "rfc3339":
        return f"{stamp.year}-{stamp:%m-%d}T{clock}", "+00:00"
    if name == "epoch":
        return str(seconds), ""
    day = f"{stamp.day:02}/{month}/{stamp.year}:{clock}"
    return (day, "") if name == "haproxy" else (day, " +0000")


def _fraction(nanoseconds: int) -> str:
    if not nanoseconds:
        return ""
    digits = f"{nanoseconds:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return "." + digits
