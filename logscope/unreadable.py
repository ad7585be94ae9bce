"""Why a file cannot be read, or is no TOML: in plain words, and where."""

from __future__ import annotations

import re

from logscope.errors import Place

_VALUE = 'A value is text in quotes, a number, true, false, or a list: ["a", "b"].'
_CUT = "The file ends in the middle of this: give the value, and close each bracket and quotation mark."


def reason(error: OSError | UnicodeDecodeError) -> str:
    """What the system says, without its number and without the file's name, which stands before it anyway.

    >>> reason(FileNotFoundError(2, "No such file or directory", "relay.toml"))
    'No such file or directory'
    >>> reason(UnicodeDecodeError("utf-8", b"a\\n\\xff", 2, 3, "invalid start byte"))
    'line 2 is no UTF-8 text (byte 0xff)'
    """
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return f"line {line} is no UTF-8 text (byte 0x{error.object[error.start]:02x})"
    return error.strerror or str(error)


def toml_mistake(file: str, text: str, error: ValueError) -> tuple[str, Place, str | None]:
    """What is wrong with a text that is no TOML, where, and the next step.

    tomllib (Python 3.11) says the place in its message only: `(at line 2, column 5)`, or
    `(at end of document)` for the text's end, which is shown as the end of the last line that says something.
    """
    message = str(error).split(" (at ")[0]
    lines = text.splitlines()
    at = re.search(r"\(at line (\d+), column (\d+)\)$", str(error))
    if at is None:
        number = max((number for number, line in enumerate(lines, 1) if line.strip()), default=1)
        line = lines[number - 1].rstrip() if lines else ""
        return message, Place(file, number, len(line) + 1, line), _CUT
    number = int(at[1])
    shown = lines[number - 1] if number <= len(lines) else ""
    hint = _VALUE if message == "Invalid value" else None
    return message, Place(file, number, int(at[2]), shown), hint
