"""The structured data of RFC 5424 (section 6.3) as columns.

    [origin software="haproxy" note="a\\] b"][meta sequenceId="7"]
        → {id: origin, name: software, value: haproxy}, {origin, note, a] b}, {meta, sequenceId, 7}

The scanner steps over them; they are read here, out of the lines that have any. An element that does not
follow the RFC (HAProxy prints what `log-format-sd` says) is read as far as it can be told apart.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope.grammar.fields import text_of
from logscope.grammar.rows import NULL, Rows

STRUCTURED_DATA: Final = pa.list_(
    pa.struct([("id", pa.string()), ("name", pa.string()), ("value", pa.string())])
)

_OPENING, _CLOSING, _DASH, _LESS, _ZERO, _NINE = b"[]-<09"
_HEAD: Final = re.compile(
    rb"(?:\d{4}-\S+ (?:std(?:out|err) [FP] )?)?"  # of a container
    rb"(?:<\d{1,3}>)?1 (?:\S+ ){5}"
)
_LAST_OF_MARK: Final = b"\xef\xbb\xbf"[2]  # of UTF-8, before a message
_WORD: Final = rb'[^\s"\]=\[]+'
_PARAMETER: Final = re.compile(
    rb"\s*(?P<name>" + _WORD + rb')=(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<plain>[^\s"\]]*))', re.DOTALL
)
_ELEMENT: Final = re.compile(rb"\[(?P<id>" + _WORD + rb")?")
_ESCAPED: Final = re.compile(rb'\\(["\\\]])')


def structured_data(rows: Rows) -> tuple[NDArray[np.int64], pa.Array]:
    """The rows that have structured data, and theirs."""
    numbers = _candidates(rows)
    found = [_of_line(rows, row) for row in numbers.tolist()]
    has = [place for place, one in enumerate(found) if one]
    return numbers[has], pa.array([found[place] for place in has], STRUCTURED_DATA)


def says_nothing(rows: Rows) -> NDArray[np.bool_]:
    """Which rows have an envelope and no message behind it; structured data are taken for one."""
    length = rows.message_end - rows.message_start
    first = rows.buffer[np.minimum(rows.message_start, len(rows.buffer) - 1)]
    silent = np.asarray((length == 0) | ((length == 1) & (first == _DASH)), np.bool_)
    for row in np.flatnonzero((first == _OPENING) & (rows.template < 0)).tolist():
        start = int(rows.line_start[row])
        head = _HEAD.match(rows.slice(start, int(rows.message_end[row])))
        silent[row] = head is not None and head.end() == rows.message_start[row] - start
    return silent


def _candidates(rows: Rows) -> NDArray[np.int64]:
    """Rows of which the first byte, and those around the beginning of the message, look like it."""
    if not rows.count:
        return np.empty(0, np.int64)
    first = rows.buffer[rows.line_start]
    start = rows.message_start
    length = start - rows.line_start
    before = start - 2 - 3 * ((length > 5) & (rows.buffer[start - 1] == _LAST_OF_MARK))
    behind = (length > 2) & (rows.buffer[before] == _CLOSING)
    alone = rows.buffer[np.minimum(start, len(rows.buffer) - 1)] == _OPENING
    likely = (rows.stamp != NULL) | (rows.service >= 0)
    begins = (first == _LESS) | ((first >= _ZERO) & (first <= _NINE))
    return np.flatnonzero(likely & begins & (behind | alone)).astype(np.int64)


def _of_line(rows: Rows, row: int) -> list[dict[str, Any]]:
    start, message = int(rows.line_start[row]), int(rows.message_start[row])
    end = int(rows.line_end[row])
    line = rows.slice(start, end)
    head = _HEAD.match(line)
    if head is None:
        return []
    # The message begins behind the structured data; or it is the structured data, when there is no other.
    at = head.end()
    return elements(line[at : message - start] if message - start > at else line[at:])


def elements(data: bytes) -> list[dict[str, Any]]:
    r"""The parameters of all elements.

    >>> elements(rb'[a y="\"\]"][b]')
    [{'id': 'a', 'name': 'y', 'value': '"]'}, {'id': 'b', 'name': None, 'value': None}]
    """
    found: list[dict[str, Any]] = []
    at = 0
    while element := _ELEMENT.match(data, at):
        name = text_of(element["id"] or b"")
        at = element.end()
        before = len(found)
        while parameter := _PARAMETER.match(data, at):
            at = parameter.end()
            value = parameter["plain"] if parameter["quoted"] is None else _plain(parameter["quoted"])
            found.append({"id": name, "name": text_of(parameter["name"]), "value": text_of(value)})
        if len(found) == before:
            found.append({"id": name, "name": None, "value": None})
        close = data.find(b"]", at)
        if close < 0:
            break
        at = close + 1
    return found


def _plain(quoted: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", quoted)
