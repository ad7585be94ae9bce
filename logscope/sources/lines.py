"""Single lines of logs by their number, for showing evidence."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from logscope.errors import InputError
from logscope.postfix.secrets import redacted_line
from logscope.sources.buffers import new_buffer
from logscope.sources.source import Source

_CHUNK = 1 << 20
_LONGEST = 2000


def lines_of(path: Path, numbers: Collection[int]) -> dict[int, str]:
    """The lines with these numbers, counted from 1; of a very long one the beginning, and what a client said
    to log in left out.

    Numbers beyond the end are left out. Reading stops at the last one asked for.

    Raises:
        InputError: the file cannot be opened any more.
    """
    wanted = sorted(number for number in set(numbers) if number > 0)
    found: dict[int, str] = {}
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    buffer = new_buffer(_CHUNK)
    first, rest = 1, b""  # the number of the line that `rest` is the beginning of
    with Source(str(path), file, path) as source:
        while wanted and (count := source.read_into(buffer, 0)):
            data = buffer[:count].tobytes()
            lines = data.count(b"\n")
            if wanted[0] > first + lines:  # not in this chunk, so there is no need to split it
                rest = data[data.rfind(b"\n") + 1 :] if lines else (rest + data)[:_LONGEST]
                first += lines
                continue
            parts = (rest + data).split(b"\n")
            while wanted and wanted[0] < first + lines:
                found[wanted[0]] = _shown(parts[wanted[0] - first])
                wanted.pop(0)
            first, rest = first + lines, parts[-1][:_LONGEST]
    if wanted and wanted[0] == first and rest:  # the last line, without its line feed
        found[first] = _shown(rest)
    return found


def _shown(line: bytes) -> str:
    return redacted_line(line[:_LONGEST].rstrip(b"\r").decode("utf-8", "replace"))
