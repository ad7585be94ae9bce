"""Log records that are no lines of syslog, turned into such lines: JSON and the journal's export format.

    decoded(b'{"MESSAGE":"removed","SYSLOG_IDENTIFIER":"postfix/qmgr",…}\\n', room)
        → b'<14>1 2026-11-22T09:20:30Z mx-a postfix/qmgr 9 - - removed\\n'

A record becomes one line of RFC 5424, which can say that a host, a program or a time is not known; a message
that has an envelope of its own keeps that one. What cannot be decoded stays as it is, so no input is lost and
each line of the input is one line again (in the export format: each record is). Line breaks inside a message
become blanks: nobody can forge a line with them.

Known records, and any other object that has a message under one of the usual names:

- `journalctl -o json` and `-o export` (systemd "Journal Export Formats");
- Docker's json-file driver: `log`, `stream`, `time` (pieces of long lines are put together by `pieces`);
- vector, Fluent Bit, Filebeat, Loki, rsyslog and syslog-ng: `message` or the like, with stamp, host and
  program beside it or one level below.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

Record = Mapping[str, Any]

_MESSAGE: Final = (
    "MESSAGE",
    "message",
    "msg",
    "log",
    "line",
    "text",
    "full_message",
    "short_message",
    "body",
    "event",
)
_STAMP: Final = (
    "_SOURCE_REALTIME_TIMESTAMP",
    "__REALTIME_TIMESTAMP",
    "@timestamp",
    "timestamp",
    "time",
    "ts",
    "timereported",
    "timegenerated",
    "isodate",
    "ISODATE",
    "DATE",
    "datetime",
    "date",
    "eventTime",
)
_HOST: Final = (
    "_HOSTNAME",
    "hostname",
    "HOSTNAME",
    "host",
    "HOST",
    "logsource",
    "fromhost",
    "FROMHOST",
    "source_host",
)
_SERVICE: Final = (
    "SYSLOG_IDENTIFIER",
    "appname",
    "app_name",
    "app-name",
    "syslog_identifier",
    "programname",
    "PROGRAM",
    "program",
    "ident",
    "identifier",
    "syslogtag",
    "tag",
    "process",
    "service",
    "application",
    "app",
)
_PID: Final = ("SYSLOG_PID", "_PID", "procid", "proc_id", "pid", "PID", "syslog_pid", "processid")
_INSIDE: Final = (
    "syslog",
    "process",
    "host",
    "labels",
    "fields",
    "attributes",
    "kubernetes",
    "log",
    "stream",
)
"""Objects inside a record where what is missing at its top is looked for."""
_OWN_NAME: Final = {"process": "name", "service": "name", "host": "name", "hostname": "name"}
"""Under these keys an object with a name may stand for its name (Elastic Common Schema)."""

_EXPORT_STARTS: Final = (b"__CURSOR=", b"__REALTIME_TIMESTAMP=")
_EXPORT_KEY: Final = re.compile(rb"[A-Z0-9_]+")
_LARGEST_FIELD: Final = 1 << 26
_NESTED: Final = 3  # objects in the text of objects

_PRI: Final = re.compile(rb"<\d{1,3}>")
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
_CLOCK: Final = rb"\d\d:\d\d:\d\d"
_BSD: Final = re.compile(
    rb"((" + _MONTHS.replace(b" ", b"|") + rb") {1,2}(\d{1,2}) )(" + _CLOCK + rb")(?:\.\d+)?"
)
_OWN_YEAR: Final = re.compile(
    rb"(?:1 )?\d{4}-\d\d-\d\d[T ]" + _CLOCK + rb"|[A-Z][a-z]{2} {1,2}\d{1,2} \d{4} " + _CLOCK
)
_TAG: Final = re.compile(rb"([\w./-]+)\[(\d{1,10})\]: ")
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,18}))?\s?(Z|UTC|[+-]\d\d:?\d\d)?"
)
_NUMBER: Final = re.compile(r"(\d{9,19})(?:\.(\d+))?")
_BLANKS: Final = re.compile(rb"[\s\0]+")
_BREAKS: Final = re.compile(rb"[\r\n]+")


def has_record(line: bytes) -> bool:
    """Whether a line, or its first 32 bytes, may begin a record."""
    return line[:1] == b"{" or line.startswith(_EXPORT_STARTS)


def decoded(data: bytes, room: int, *, final: bool = True, inner: bool = True) -> tuple[bytes, int]:
    """Turn the records of some input into lines; other lines stay.

    Args:
        data: begins at a line; a line or record whose end is not there is left for later unless `final`.
        room: bytes that the result may have; the first line is handed out even if it is longer.
        inner: whether a message may have an envelope of its own.

    Returns:
        the lines, and how many bytes of `data` they are.
    """
    lines = bytearray()
    position = 0
    while position < len(data):
        line, end = _next(data, position, final, inner)
        if end < 0 or (lines and len(lines) + len(line) + 1 > room):
            break
        lines += line
        lines += b"\n"
        position = end
    return bytes(lines), position


def decoded_line(line: bytes) -> bytes:
    """One record as a line; anything else as it is."""
    return decoded(line, 0)[0].rstrip(b"\n") if has_record(line) else line


def _next(data: bytes, position: int, final: bool, inner: bool) -> tuple[bytes, int]:
    """The next line and where the one after it begins; -1 where the end is not there yet."""
    if data.startswith(_EXPORT_STARTS, position):
        record, end = _journal_record(data, position, final)
        return (_line(record, inner) or b"", end) if end >= 0 else (b"", -1)
    feed = data.find(b"\n", position)
    if feed < 0 and not final:
        return b"", -1
    end = feed + 1 if feed >= 0 else len(data)
    line = data[position : feed if feed >= 0 else end]
    if line[:1] == b"{":
        line = _from_json(line, inner) or line
    return line, end


# --- records --------------------------------------------------------------------------------------------


def _from_json(line: bytes, inner: bool, outside: Record | None = None, depth: int = 0) -> bytes | None:
    try:
        record = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    return _line({**(outside or {}), **record}, inner, depth)


def _journal_record(data: bytes, position: int, final: bool) -> tuple[Record, int]:
    """Fields of a record in the export format, and where the next begins; -1 where it is not all there.

    A field is `NAME=text`, or its name alone with 64 bits of length (lowest byte first) and that many bytes
    behind; an empty line ends the record, and so does whatever is no field.
    """
    fields: dict[str, Any] = {}
    at = position
    while True:
        feed = data.find(b"\n", at)
        if feed < 0:
            return (fields, len(data)) if final else (fields, -1)
        line = data[at:feed]
        name, equals, value = line.partition(b"=")
        if not line:
            return fields, feed + 1
        if not _EXPORT_KEY.fullmatch(name):
            return fields, at
        if equals:
            fields.setdefault(name.decode(), value)
            at = feed + 1
            continue
        size = int.from_bytes(data[feed + 1 : feed + 9], "little")
        end = feed + 9 + size
        if size > _LARGEST_FIELD or (final and end >= len(data)):
            return fields, feed + 1  # no length: whatever follows is read as lines
        if end >= len(data):
            return fields, -1
        fields.setdefault(name.decode(), data[feed + 9 : end])
        at = end + 1


def _line(record: Record, inner: bool, depth: int = 0) -> bytes | None:
    """The line that a record stands for; None when it has no message."""
    message = _message(record)
    if message is None:
        return None
    if inner and message[:1] == b"{" and depth < _NESTED:
        outside = {key: value for key, value in record.items() if key not in _MESSAGE}
        nested = _from_json(message, inner, outside, depth + 1)
        if nested is not None:
            return nested
    stamp = _stamp(record)
    own = _own_envelope(message, stamp, whole=_is_container(record)) if inner else None
    return own if own is not None else _assembled(record, stamp, message)


def _is_container(record: Record) -> bool:
    """Whether a container's engine wrote it; its time is that of the output, with year and zone."""
    return isinstance(record.get("log"), str | bytes) and "stream" in record


def _own_envelope(message: bytes, stamp: str | None, *, whole: bool) -> bytes | None:
    """A message that begins with a time of its own, with the year, or all of the time, of the record's."""
    body = _PRI.sub(b"", message, count=1) if message[:1] == b"<" else message
    if _OWN_YEAR.match(body):
        return message
    found = _BSD.match(body)
    if found is None:
        return None
    if stamp is None:
        return message
    if whole:
        return stamp.encode() + body[found.end() :]
    year = _year(_MONTHS.split().index(found[2]) + 1, int(found[3]), stamp)
    return found[1] + year.encode() + b" " + body[found.start(4) :]


def _year(month: int, day: int, stamp: str) -> str:
    """The year of a day of which the record tells the time it was passed on: the same, or the one before."""
    year, month_then, day_then = (int(part) for part in stamp[:10].split("-"))
    is_later = (month, day) > (month_then, day_then + 2)  # two days for zones and clocks
    return f"{year - 1 if is_later else year}"


def _assembled(record: Record, stamp: str | None, message: bytes) -> bytes:
    host, service, pid = _text(record, _HOST), _text(record, _SERVICE), _text(record, _PID)
    tag = _TAG.match(message)
    if tag and not service:
        service, pid, message = tag[1], tag[2], message[tag.end() :]
    if service:
        name, bracket, number = service.rstrip(b": ").rstrip(b"]").partition(b"[")
        service, pid = name, number if bracket and not pid else pid
    if pid and not pid.isdigit():
        pid = b""
    words = [_word(word) for word in ((stamp or "").encode(), host, service, pid)]
    return b"<14>1 " + b" ".join(words) + b" - - " + message


# --- values ---------------------------------------------------------------------------------------------


def _word(text: bytes) -> bytes:
    return _BLANKS.sub(b"_", text.strip())[:255] or b"-"


def _message(record: Record) -> bytes | None:
    for key in _MESSAGE:
        value = record.get(key)
        value = _first(value)
        if isinstance(value, dict):
            value = value.get("stringValue") or value.get("original")
        if isinstance(value, str | bytes):
            text = value if isinstance(value, bytes) else _bytes(value)
            return _BREAKS.sub(b" ", text.strip(b"\r\n"))
    return None


def _first(value: Any) -> Any:
    """journalctl writes what is no UTF-8 as numbers, and a list of all values of a field that has several."""
    if isinstance(value, list) and value:
        if all(isinstance(byte, int) and not isinstance(byte, bool) and 0 <= byte < 256 for byte in value):
            return bytes(value)
        if isinstance(value[0], str | list):
            return _first(value[0])
    return value


def _bytes(text: str) -> bytes:
    """The bytes a text was decoded from; half a surrogate pair that JSON spelt out becomes a `?`."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _places(record: Record) -> Iterator[Record]:
    yield record
    for key in _INSIDE:
        inside = record.get(key)
        if isinstance(inside, dict):
            yield inside
            if isinstance(inside.get("syslog"), dict):
                yield inside["syslog"]


def _text(record: Record, keys: tuple[str, ...]) -> bytes:
    for place in _places(record):
        for key in keys:
            value = _first(place.get(key))
            if isinstance(value, dict) and key in _OWN_NAME:
                value = value.get(_OWN_NAME[key])
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            if isinstance(value, str | bytes) and value:
                return value if isinstance(value, bytes) else _bytes(value)
    return b""


def _stamp(record: Record) -> str | None:
    """The record's time as RFC 3339; the first of its names that can be read counts."""
    for place in _places(record):
        for key in _STAMP:
            value = _first(place.get(key))
            if isinstance(value, bytes):
                value = value.decode("ascii", "replace")
            if isinstance(value, float):
                value = f"{value:.6f}"
            if isinstance(value, int | str) and not isinstance(value, bool):
                found = _moment(str(value).strip())
                if found:
                    return found
    return None


def _moment(text: str) -> str | None:
    date = _RFC3339.fullmatch(text)
    if date:
        fraction = f".{date[3]}" if date[3] else ""
        zone = "Z" if date[4] == "UTC" else date[4] or ""
        return f"{date[1]}T{date[2]}{fraction}{zone}"
    number = _NUMBER.fullmatch(text)
    if number is None:
        return None
    whole = number[1]
    unit = {13: 3, 16: 6, 19: 9}.get(len(whole), 0)  # digits of a fraction: s, ms, µs or ns since 1970
    if len(whole) - unit > 10:
        return None
    seconds, fraction = (whole[:-unit], whole[-unit:]) if unit else (whole, (number[2] or "")[:9])
    at = datetime.fromtimestamp(int(seconds), UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}" + (f".{fraction}" if fraction else "") + "Z"
