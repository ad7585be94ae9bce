"""The few colours there are, each with a meaning, and how they reach a terminal.

good: as it should be · bad: somebody must act · warn: worth a look · quiet: context · strong: what to read
    first.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Tone: TypeAlias = Literal["plain", "good", "bad", "warn", "quiet", "strong"]

STYLES: dict[Tone, str] = {
    "plain": "",
    "good": "green",
    "bad": "red",
    "warn": "yellow",
    "quiet": "bright_black",
    "strong": "bold",
}
"""Names of rich's styles: the sixteen colours that every terminal's own palette makes readable."""

_CODES: dict[Tone, str] = {"good": "32", "bad": "31", "warn": "33", "quiet": "90", "strong": "1"}

OUTCOME_TONES: dict[str, Tone] = {
    "delivered": "good",
    "accepted": "good",
    "partly_delivered": "warn",
    "deferred": "warn",
    "bounced": "bad",
    "rejected": "warn",
    "screened": "warn",
    "no_mail": "quiet",
    "aborted": "warn",
    "timeout": "warn",
    "server_error": "bad",
    "no_server": "bad",
    "probe": "quiet",
    "open": "quiet",
    "unknown": "quiet",
}


def painted(text: str, tone: Tone, colour: bool) -> str:
    """The text in the tone's colour, for listings too long for rich."""
    code = _CODES.get(tone)
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code and text.strip() else text
