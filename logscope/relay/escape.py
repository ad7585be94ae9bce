"""C escapes, as Postfix shows what a client sent (escape(3) of its utility library)."""

from __future__ import annotations

_NAMED = {7: "\\a", 8: "\\b", 12: "\\f", 10: "\\n", 13: "\\r", 9: "\\t", 11: "\\v", 92: "\\\\"}
_SHOWN = [_NAMED.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in range(256)]


def escaped(data: bytes, limit: int | None = None) -> str:
    """The bytes as text, cut after `limit` characters of the escaped text."""
    return "".join(map(_SHOWN.__getitem__, data))[:limit]


def printable(data: bytes, replacement: str = "?") -> str:
    """The bytes as text with everything that is not printable ASCII replaced."""
    return "".join(chr(byte) if 32 <= byte < 127 else replacement for byte in data)
