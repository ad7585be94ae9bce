"""How numbers, times and spans are written for people."""

from __future__ import annotations

from datetime import UTC, datetime

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def number(value: int | float | None) -> str:
    """A count, with thousands separated.

    >>> number(1234567)
    '1,234,567'
    """
    return "–" if value is None else f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """A share in per cent; a part that is not nothing never shows as `0 %`, nor almost everything as `100 %`.

    >>> share(1, 3000), share(2999, 3000), share(1, 4)
    ('<1 %', '>99 %', '25 %')
    """
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "<1 %"
    if 99 < percent < 100:
        return ">99 %"
    return f"{percent:.0f} %"


def size(count: int | float | None) -> str:
    """A number of bytes, powers of 1000.

    >>> size(999), size(1_500_000)
    ('999 B', '1.5 MB')
    """
    if count is None:
        return "–"
    value = float(count)
    for unit in _BYTE_UNITS:
        if value < 999.5 or unit == _BYTE_UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 99.5 or unit == "B" else f"{value:.1f} {unit}"


def span(milliseconds: int | float | None) -> str:
    """A length of time with two figures of meaning.

    >>> span(40), span(2235), span(95_000), span(7_500_000), span(200_000_000)
    ('40 ms', '2.2 s', '1 min 35 s', '2 h 5 min', '2 d 7 h')
    """
    if milliseconds is None:
        return "–"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, length, smaller, part in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def moment(nanoseconds: int | None) -> str:
    """A time in UTC, to the second.

    >>> moment(1_785_060_000_000_000_000)
    '2026-07-26 10:00:00'
    """
    return "–" if nanoseconds is None else f"{_utc(nanoseconds):%Y-%m-%d %H:%M:%S}"


def period(first: int | None, last: int | None) -> str:
    """From one time to another, in UTC, without saying a date twice, and how long that is.

    >>> period(1_785_060_000_000_000_000, 1_785_069_000_000_000_000)
    '2026-07-26 10:00 – 12:30 UTC (2 h 30 min)'
    """
    if first is None or last is None:
        return "no time known"
    start, end = _utc(first), _utc(last)
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
    return f"{start:%Y-%m-%d %H:%M} – {until} UTC ({span((last - first) / 1_000_000)})"


def bounds(since: int | None, until: int | None) -> str:
    """What a period that was asked for is called; its times may be missing.

    >>> bounds(1_785_060_000_000_000_000, None)
    'since 2026-07-26 10:00:00 UTC'
    """
    if since is None and until is None:
        return ""
    if since is None or until is None:
        return f"before {moment(until)} UTC" if since is None else f"since {moment(since)} UTC"
    return f"between {moment(since)} and {moment(until)} UTC"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "session"), plural(2, "session")
    ('1 session', '2 sessions')
    """
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def _utc(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
