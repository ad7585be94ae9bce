"""What may be called a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from logscope.errors import UsageError
from logscope.syslog.zone_names import offset_name, zone


@pytest.mark.parametrize(
    ("name", "minutes"),
    [("+02:00", 120), ("-0330", -210), ("UTC+2", 120), ("gmt-11", -660), ("UTC", 0), ("Asia/Kathmandu", 345)],
)
def test_names_and_offsets(name: str, minutes: int) -> None:
    assert zone(name).utcoffset(datetime(2026, 11, 22, tzinfo=UTC).replace(tzinfo=None)) == timedelta(
        minutes=minutes
    )


@pytest.mark.parametrize("ahead_s", [0, 7200, -12_600, 50_400])
def test_an_offsets_name_is_read_back(ahead_s: int) -> None:
    assert zone(offset_name(ahead_s)).utcoffset(None) == timedelta(seconds=ahead_s)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "Did you mean 'Europe/Berlin'?"),
        ("/etc/passwd", "IANA"),
        ("+15:00", "offset such as"),
        ("", "IANA"),
    ],
)
def test_what_is_no_zone_is_refused(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        zone(name)
    assert f"unknown time zone {name!r}" in caught.value.message
    assert hint in (caught.value.hint or "")
