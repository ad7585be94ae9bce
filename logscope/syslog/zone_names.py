"""What a user may call a time zone."""

from __future__ import annotations

import re
from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from logscope.errors import UsageError, did_you_mean

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?([0-5]\d))?", re.IGNORECASE)
_MOST = timedelta(hours=14)


def zone(name: str) -> tzinfo:
    """The zone of an IANA name such as Europe/Berlin, or of an offset such as +02:00, -0500 or UTC+2.

    Raises:
        UsageError: there is none such here.
    """
    if match := _OFFSET.fullmatch(name):
        ahead = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        if ahead <= _MOST:
            return timezone(ahead if match[1] == "+" else -ahead)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(name, available_timezones())
        hint = hint or "Give an IANA name such as UTC or Europe/Berlin, or an offset such as +02:00."
        raise UsageError(f"unknown time zone {name!r}", hint=hint) from None


def offset_name(ahead_s: int) -> str:
    """An offset from UTC as `zone` reads it.

    >>> offset_name(-5400)
    '-01:30'
    """
    hours, minutes = divmod(abs(ahead_s) // 60, 60)
    return f"{'-' if ahead_s < 0 else '+'}{hours:02d}:{minutes:02d}"
