"""Priorities of syslog messages: facility and severity in one number (RFC 5424, section 6.2.1)."""

from __future__ import annotations

MAIL, LOCAL0 = 2, 16
"""Facilities of Postfix and, by custom, of HAProxy."""

_SEVERITIES = {
    "emerg": 0, "alert": 1, "panic": 2, "fatal": 2, "err": 3, "error": 3, "warning": 4, "notice": 5,
}  # fmt: skip
_INFO = 6


def priority(facility: int, severity: str) -> int:
    """Of a message of this severity, as grammars name it; Postfix sends `panic` and `fatal` as critical."""
    return 8 * facility + _SEVERITIES.get(severity, _INFO)
