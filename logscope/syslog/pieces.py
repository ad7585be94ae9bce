"""Long lines of containers, which their engines write in pieces, put together again.

- Docker's json-file driver cuts what has no line feed within 16 KiB; all but the last piece lack the line
  feed at the end of `log` (moby, daemon/logger: copier.go and jsonfilelog.go).
- Kubernetes' own files (CRI) mark a piece with `P` and the last one, as any whole line, with `F`; CRI-O cuts
  wherever a read ended, so short lines as well (kubernetes, "CRI container log format"). Fluent Bit keeps the
  mark as `logtag`.

The whole line takes the place of its first piece, and a remark that of each other one, so lines keep their
numbers. Pieces of standard output and of standard error, or of several containers, do not mix. A piece that
is not gone on with is a line of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final

DOCKERS_LENGTH: Final = 1 << 14
APART: Final = 64
"""Lines of others that may stand between two pieces of a line."""

_CRI: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\S+ )(stdout|stderr) ([FP]) ")
_MARKS: Final = (b" stdout P ", b" stderr P ")
_TEXT_KEYS: Final = frozenset({"log", "time", "logtag", "_p", "date", "@timestamp", "timestamp"})
_REMARK: Final = b"(goes on with the line that began before)"


@dataclass
class _Open:
    """A line of which the end has not come: the places of its pieces, and their texts."""

    places: list[int] = field(default_factory=list)
    texts: list[bytes | str] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True)
class _Piece:
    """One line of the input, as far as it may belong to others.

    Attributes:
        origin: which stream of which container it is of.
        text: what it says.
        goes_on: whether its line goes on.
        head: what stands before the text, or the record that it is in.
    """

    origin: Hashable
    text: bytes | str
    goes_on: bool
    head: bytes | dict[str, Any]

    def whole(self, texts: list[Any]) -> bytes:
        """The line that some texts make, with what stands before the first of them."""
        if isinstance(self.head, bytes):
            return self.head + b"".join(texts)
        record = self.head | {"log": "".join(texts)}
        return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogateescape")

    def remark(self) -> bytes:
        """What stands in the place of a piece that has been taken from there: a line of another program."""
        if isinstance(self.head, bytes):
            return self.head + b"container: " + _REMARK
        return b"<14>1 - - container - - - " + _REMARK


def may_hold_marked(data: bytes) -> bool:
    """Whether there may be pieces that are marked as such."""
    return any(mark in data for mark in _MARKS)


def joined(data: bytes, most: int, *, final: bool) -> bytes:
    """Put the pieces in some input together.

    Args:
        data: whole lines.
        most: bytes that a line may have; one that is longer stays in pieces.
        final: whether nothing comes behind it.

    Returns:
        a line for each line of the input, from its beginning up to the first whose end has not come yet.
    """
    marked = may_hold_marked(data)
    lines = _lines(data)
    open_ones: dict[Hashable, tuple[_Piece, _Open]] = {}
    spans: list[tuple[int, int]] = []  # of lines that were put together: the first piece, and the last
    for place, line in enumerate(lines):
        found = _piece(line, marked=marked, looked_for=bool(open_ones))
        if found is None:
            continue
        first, rest = open_ones.pop(found.origin, (found, _Open()))
        if rest.places and place - rest.places[-1] - 1 > APART:
            first, rest = found, _Open()
        rest.places.append(place)
        rest.texts.append(found.text)
        rest.size += len(line)
        if rest.size > most:
            continue
        if found.goes_on:
            open_ones[found.origin] = first, rest
        elif len(rest.places) > 1:
            spans.append((rest.places[0], place))
            lines[rest.places[0]] = first.whole(rest.texts) + b"\n"
            for other in rest.places[1:]:
                lines[other] = found.remark() + b"\n"
    waiting = [rest.places[0] for _, rest in open_ones.values() if len(lines) - rest.places[-1] - 1 <= APART]
    if final or not waiting:
        return b"".join(lines) if spans else data
    end = min(waiting)
    for first_place, last_place in sorted(spans, reverse=True):
        if first_place < end <= last_place:
            end = first_place
    return b"".join(lines[:end])


def _lines(data: bytes) -> list[bytes]:
    """Lines, which end at line feeds alone."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + parts[-1:] * bool(parts[-1])


def _piece(line: bytes, *, marked: bool, looked_for: bool) -> _Piece | None:
    """What a line may be a piece of.

    Args:
        marked: whether there are marks in the input.
        looked_for: whether the rest of a line is waited for.
    """
    if line[:1] == b"{":
        return _recorded(line) if looked_for or len(line) > DOCKERS_LENGTH or b'"logtag"' in line else None
    found = _CRI.match(line) if marked else None
    if found is None:
        return None
    head = found[1] + found[2] + b" F "
    return _Piece(found[2], line[found.end() :].rstrip(b"\r\n"), found[3] == b"P", head)


def _recorded(line: bytes) -> _Piece | None:
    try:
        record = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or "stream" not in record or not isinstance(record.get("log"), str):
        return None
    text = record["log"]
    if "logtag" in record:
        goes_on = record["logtag"] == "P"
    else:
        goes_on = not text.endswith("\n") and len(text.encode("utf-8", "replace")) >= DOCKERS_LENGTH
    origin = repr(sorted((key, value) for key, value in record.items() if key not in _TEXT_KEYS))
    return _Piece(origin, text, goes_on, record | ({"logtag": "F"} if "logtag" in record else {}))
