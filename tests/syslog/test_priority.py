"""Priorities: facility and severity in one number."""

from __future__ import annotations

import pytest

from logscope.syslog.priority import LOCAL0, MAIL, priority


@pytest.mark.parametrize(
    ("facility", "severity", "number"),
    [
        (MAIL, "info", 22),
        (MAIL, "warning", 20),
        (MAIL, "panic", 18),
        (LOCAL0, "info", 134),
        (LOCAL0, "emerg", 128),
    ],
)
def test_numbers_are_those_of_the_rfc(facility: int, severity: str, number: int) -> None:
    assert priority(facility, severity) == number
