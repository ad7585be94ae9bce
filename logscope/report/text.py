r"""Text from logs made harmless for the place it is shown.

A client chooses its HELO name, its envelope addresses and what it says too early, so every text of a log may
be written to deceive the person who reads it: escape sequences that rewrite the terminal, control characters
that end a line, directional marks that reverse an address, spreadsheet formulas. Outputs show such
characters, they do not act on them:

- terminal and CSV: a visible escape (`\x1b`, `\u202e`);
- JSON: a JSON escape (`\u001b`, `\u202e`), so that nothing is lost;
- Parquet: untouched, since nobody looks at its bytes.
"""

from __future__ import annotations

import re
import unicodedata

HOSTILE_RANGES = (
    (0x00, 0x1F),  # C0 controls
    (0x7F, 0x9F),  # DEL and C1 controls: 0x9b starts an escape sequence on its own
    (0xAD, 0xAD),  # soft hyphen
    (0x61C, 0x61C),  # Arabic letter mark
    (0x180E, 0x180E),  # Mongolian vowel separator
    (0x200B, 0x200F),  # zero width, left-to-right and right-to-left marks
    (0x2028, 0x202E),  # line and paragraph separators, directional embeddings and overrides
    (0x2060, 0x206F),  # word joiner, directional isolates, deprecated format characters
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xFFF9, 0xFFFB),  # interlinear annotation
    (0xE0000, 0xE007F),  # tags: invisible ASCII
)
"""Code points that are shown, never sent. Unicode calls most of them Cc, Cf, Zl or Zp; UAX #9 has the
directional ones.
"""

_HOSTILE = re.compile(
    "["
    + "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in HOSTILE_RANGES)
    + "\ud800-\udfff]"
)
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def is_hostile(text: str) -> bool:
    """Whether the text holds a character that must not be sent as it is."""
    return _HOSTILE.search(text) is not None


def visible(text: str) -> str:
    r"""The text with every hostile character as a visible escape.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return _HOSTILE.sub(_visible_escape, text)


def json_safe(document: str) -> str:
    """A JSON document with hostile characters inside its strings as JSON escapes; line breaks between tokens
    stay.
    """
    return _HOSTILE.sub(_json_escape, document)


def csv_safe(text: str) -> str:
    """A CSV cell that no spreadsheet takes for a formula.

    A leading `=`, `+`, `-`, `@`, tab or carriage return gets an apostrophe in front (OWASP, "CSV Injection").
    Dashes alone are no formula; they are HAProxy's ordinary termination state. For text columns only: numbers
    stay numbers.
    """
    return visible("'" + text if text.startswith(_FORMULA) and text.strip("-") else text)


def cut(text: str, width: int) -> str:
    """The text in at most `width` terminal cells, with `…` where it was cut.

    >>> cut("mail.example.com", 8)
    'mail.ex…'
    """
    if len(text) <= width and text.isascii():
        return text
    used = 0
    for position, character in enumerate(text):
        used += cells(character)
        if used > width - (position < len(text) - 1):
            return text[:position] + "…"
    return text


def cells(character: str) -> int:
    """Terminal cells of a character: 2 for wide ones, 0 for combining ones."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _visible_escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\n":
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
