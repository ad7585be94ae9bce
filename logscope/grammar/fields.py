"""The types a field can have, one entry for each: how it is read, what it is worth at the surface, how it
is written.

At the surface an address is canonical text, a time is ISO 8601 text, seconds are a float, counters are a
mapping whose `n/m` entries are lists `[n, m]`, and text is a string (bytes that are not UTF-8 appear as
backslash escapes).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache, lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeAlias

from logscope.grammar import ops, times
from logscope.grammar.errors import TemplateError
from logscope.grammar.syntax import Field

Value: TypeAlias = Any
"""A surface value: int, float, bool, str, or a mapping."""

Arguments: TypeAlias = tuple[str, ...]


class Kind(StrEnum):
    """How a value is kept in the arena. A field name has one kind everywhere."""

    INTEGER = "integer"
    DECIMAL = "decimal"  # millionths
    FLAG = "flag"
    ENUM = "enum"  # index into the catalogue's enum texts
    ADDRESS = "address"  # two slots: 128 bits, IPv4 as ::ffff:a.b.c.d
    TEXT = "text"  # span: start << 32 | length
    COUNTERS = "counters"  # span
    NAME = "name"  # code in the scanner's names
    TIME = "time"  # nanoseconds
    DSN = "dsn"  # class * 1_000_000 + subject * 1000 + detail


SLOTS = {kind: 2 if kind is Kind.ADDRESS else 1 for kind in Kind}

ALL_BYTES = (1 << 256) - 1
AT_END = 1 << ops.END_OF_LINE
ANYTHING = ALL_BYTES | AT_END


def mask(symbols: bytes) -> int:
    """A set of bytes as bits."""
    bits = 0
    for symbol in symbols:
        bits |= 1 << symbol
    return bits


_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_ALNUM = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORD_BYTES = ALL_BYTES & ~mask(b" \t")


@dataclass(frozen=True)
class FieldType:
    """One type.

    Attributes:
        kind: what is kept.
        op: the instruction that reads it; for a type that ends where the following literal begins, BOUNDED.
        flags: of a bounded type.
        first: bytes it can begin with, as a bit set.
        pattern: its text as a regular expression, for types that know their own end.
        read: bytes to surface value; ValueError when they are not one.
        write: surface value to bytes; ValueError when it cannot be written.
        arguments: words allowed between the parentheses; None when any are.
        rank: how particular it is; templates with the more particular field are tried first.
    """

    kind: Kind
    op: int
    read: Callable[[bytes, Arguments], Value]
    write: Callable[[Value, Arguments], bytes]
    first: Callable[[Arguments], int]
    pattern: Callable[[Arguments], str]
    flags: int = 0
    arguments: frozenset[str] | None = frozenset()
    rank: int = 2

    @property
    def bounded(self) -> bool:
        """Whether it ends where the following literal begins."""
        return self.op == ops.BOUNDED


def field_type(field: Field) -> FieldType:
    """The type of a field.

    Raises:
        TemplateError: no such type, or arguments it does not take.
    """
    found = TYPES.get(field.type)
    if found is None:
        raise TemplateError(
            f"unknown field type {field.type}; known: {', '.join(sorted(TYPES))}", column=field.column
        )
    if found.arguments is not None and not found.arguments.issuperset(field.arguments):
        allowed = ", ".join(sorted(found.arguments)) or "none"
        raise TemplateError(
            f"{field.type} does not take {field.arguments}; it takes: {allowed}", column=field.column
        )
    if found.arguments is None and not all(field.arguments or [""]):
        raise TemplateError(f"{field.type} needs arguments, as in {field.type}(a|b)", column=field.column)
    if found.op in (ops.FLAG, ops.TIME) and len(field.arguments) != 1:
        raise TemplateError(f"{field.type} takes one argument", column=field.column)
    if found.op == ops.TIME and field.arguments[0] not in times.FORMATS:
        raise TemplateError(f"unknown time format; known: {', '.join(times.FORMATS)}", column=field.column)
    return found


class Written(dict[Value, bytes]):
    """The values of a field by what is written for them: those that come back are only looked up.

    Addresses, names and numbers take some work to check, and come back line after line.
    """

    def __init__(self, write: Callable[[Value, Arguments], bytes], arguments: Arguments) -> None:
        super().__init__()
        self._write, self._arguments = write, arguments

    def __missing__(self, value: Value) -> bytes:
        written = self._write(value, self._arguments)
        if len(self) >= _MOST_WRITTEN:
            self.clear()
        self[value] = written
        return written


class WrittenAnew:
    """The same for a field whose values do not come back."""

    def __init__(self, write: Callable[[Value, Arguments], bytes], arguments: Arguments) -> None:
        self._write, self._arguments = write, arguments

    def __getitem__(self, value: Value) -> bytes:
        return self._write(value, self._arguments)


_MOST_WRITTEN = 1024


@cache
def written(found: FieldType, arguments: Arguments) -> Written | WrittenAnew:
    """How the fields of a type are written by somebody who writes many lines."""
    checked = found.flags & ops.NO_SPACE or found.op == ops.QUEUE_ID
    is_text = found.kind in (Kind.TEXT, Kind.COUNTERS, Kind.TIME)
    return (WrittenAnew if is_text and not checked else Written)(found.write, arguments)


def bounded_flags(field: Field) -> int:
    """Flags of a bounded field, its arguments included."""
    flags = field_type(field).flags
    if "last" in field.arguments:
        flags |= ops.LAST
    if "retry" in field.arguments:
        flags |= ops.RETRIED
    if "quoted" in field.arguments:
        flags |= ops.QUOTED
    return flags


def text_of(data: bytes) -> str:
    """Bytes as text; what is not UTF-8 appears as backslash escapes."""
    return data.decode("utf-8", "backslashreplace")


# --- reading and writing -------------------------------------------------------------------------


def _read_integer(data: bytes, _arguments: Arguments) -> int:
    return int(data)


def _write_integer(value: Value, _arguments: Arguments) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    if abs(value) >= 10**ops.MAX_DIGITS:
        raise ValueError(f"{value} has more than {ops.MAX_DIGITS} digits")
    return b"%d" % value


def _write_unsigned(value: Value, arguments: Arguments) -> bytes:
    text = _write_integer(value, arguments)
    if value < 0:
        raise ValueError(f"{value} is negative")
    return text


def _read_port(data: bytes, _arguments: Arguments) -> int:
    if int(data) > 65535:
        raise ValueError("a port is at most 65535")
    return int(data)


def _write_port(value: Value, arguments: Arguments) -> bytes:
    return b"%d" % _read_port(_write_unsigned(value, arguments), arguments)


def _read_hex(data: bytes, _arguments: Arguments) -> int:
    return int(data, 16)


def _write_hex(value: Value, _arguments: Arguments) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 60:
        raise ValueError(f"{value!r} is not a whole number of at most 15 hexadecimal digits")
    return b"%x" % value


def _write_code(value: Value, arguments: Arguments) -> bytes:
    text = _write_unsigned(value, arguments)
    if len(text) > 3:
        raise ValueError(f"{value} is not a three-digit code")
    return text.rjust(3, b"0")


def _read_decimal(data: bytes, _arguments: Arguments) -> float:
    whole, _, fraction = data.partition(b".")
    return (int(whole) * 1_000_000 + int(fraction.ljust(6, b"0"))) / 1e6


def _write_decimal(value: Value, _arguments: Arguments) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise ValueError(f"{value!r} is not a number of at least 0 and less than 10**12")
    whole, millionths = divmod(round(value * 1_000_000), 1_000_000)
    fraction = f"{millionths:06}".rstrip("0")
    return f"{whole}.{fraction}".encode() if fraction else b"%d" % whole


def _read_flag(data: bytes, _arguments: Arguments) -> bool:
    return bool(data)


def _write_flag(value: Value, arguments: Arguments) -> bytes:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false")
    return arguments[0].encode() if value else b""


def _write_enum(value: Value, arguments: Arguments) -> bytes:
    if value not in arguments:
        raise ValueError(f"{value!r} is none of {', '.join(arguments)}")
    return str(value).encode()


def _read_address(data: bytes, _arguments: Arguments) -> str:
    return address_text(address_number(data))


def _write_address(value: Value, _arguments: Arguments) -> bytes:
    return address_text(address_number(str(value).encode())).encode()


def _read_text(data: bytes, _arguments: Arguments) -> str:
    return text_of(data)


def _write_text(value: Value, _arguments: Arguments) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    data = value.encode("utf-8", "surrogateescape")
    if b"\n" in data:
        raise ValueError(f"{value!r} has a line feed, which no log line can hold")
    return data


def _write_word(value: Value, arguments: Arguments) -> bytes:
    data = _write_text(value, arguments)
    if not data or b" " in data or b"\t" in data:
        raise ValueError(f"{value!r} is not a word: it is empty or has blanks")
    return data


def _write_host(value: Value, arguments: Arguments) -> bytes:
    data = _write_word(value, arguments)
    if b"[" in data:
        raise ValueError(f"{value!r} is not a host name: it has a bracket")
    return data


def _write_queue_id(value: Value, arguments: Arguments) -> bytes:
    data = _write_word(value, arguments)
    if not re.fullmatch(_QUEUE_ID.encode(), data):
        raise ValueError(
            f"{value!r} is not a queue id: five or more letters and digits, a digit among them or all A-F"
        )
    return data


def read_counters(data: bytes, _arguments: Arguments = ()) -> dict[str, Any]:
    """` ehlo=1 rcpt=0/1` as `{"ehlo": 1, "rcpt": [0, 1]}`: accepted, and of how many when some were not."""
    counters: dict[str, Any] = {}
    for entry in data.split():
        name, _, count = entry.partition(b"=")
        accepted, slash, total = count.partition(b"/")
        counters[name.decode()] = [int(accepted), int(total)] if slash else int(accepted)
    return counters


def _write_counters(value: Value, _arguments: Arguments) -> bytes:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is not a mapping of counters")
    parts = []
    for name, count in value.items():
        if not _names_a_counter(name):
            raise ValueError(f"{name!r} cannot name a counter")
        parts.append(
            f" {name}={count[0]}/{count[1]}" if isinstance(count, list | tuple) else f" {name}={count}"
        )
    return "".join(parts).encode()


@lru_cache(maxsize=256)
def _names_a_counter(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9_-]+", name)) and name != "commands"


def dsn_text(number: int) -> str:
    """An enhanced status code (RFC 3463) from its arena value."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def dsn_number(data: bytes) -> int:
    """The arena value of an enhanced status code."""
    status, subject, detail = data.split(b".")
    return int(status) * 1_000_000 + int(subject) * 1000 + int(detail)


def _read_dsn(data: bytes, _arguments: Arguments) -> str:
    return dsn_text(dsn_number(data))


def _write_dsn(value: Value, _arguments: Arguments) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(_DSN, value):
        raise ValueError(f"{value!r} is not a status code such as 5.7.1")
    return value.encode()


def _read_time(data: bytes, arguments: Arguments) -> str:
    read = times.read_time(times.FORMATS[arguments[0]], data, 0, len(data))
    if read is None or read[0] != len(data):
        raise ValueError("not a date")
    return times.iso(read[1])


def _write_time(value: Value, arguments: Arguments) -> bytes:
    if not isinstance(value, str | datetime):
        raise ValueError(f"{value!r} is not a date and time")
    return times.write_time(arguments[0], times.from_iso(value))


def address_number(data: bytes) -> int:
    """An address as 128 bits; IPv4 is ::ffff:a.b.c.d. ValueError when it is none."""
    text = data.decode("ascii")
    if "%" in text:
        raise ValueError("an address with a zone")
    address = ip_address(text)
    return int(address) if isinstance(address, IPv6Address) else 0xFFFF_0000_0000 | int(address)


def address_text(number: int) -> str:
    """Canonical text of 128 bits (RFC 5952); IPv4-mapped addresses are written as IPv4."""
    if number >> 32 == 0xFFFF:
        return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    return str(IPv6Address(number))


# --- the table -----------------------------------------------------------------------------------

_QUEUE_ID = r"(?=[0-9A-Za-z]*[0-9]|[A-F]+(?![0-9A-Za-z]))[0-9A-Za-z]{5,}"
_DSN = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9])"
_COUNTER = r"(?: (?!commands=)[A-Za-z0-9_-]+=[0-9]+(?:/[0-9]+)?(?![0-9/]))"


def _constant(bits: int) -> Callable[[Arguments], int]:
    return lambda _arguments: bits


def _pattern(text: str) -> Callable[[Arguments], str]:
    return lambda _arguments: text


def _any_of(arguments: Arguments) -> str:
    return "|".join(re.escape(word.encode().decode("latin-1")) for word in longest_first(arguments))


def longest_first(arguments: Arguments) -> list[str]:
    """Words so ordered that none is hidden by one it begins with."""
    return sorted(arguments, key=lambda word: -len(word))


def _bounded(
    kind: Kind, write: Callable[[Value, Arguments], bytes], flags: int, *arguments: str
) -> FieldType:
    first = ANYTHING
    if flags & ops.NO_SPACE:
        first = _WORD_BYTES & ~mask(b"[") if flags & ops.NO_BRACKET else _WORD_BYTES
    allowed = frozenset({"last", *arguments})
    rank = 4 if flags & ops.NO_SPACE else 5
    return FieldType(
        kind, ops.BOUNDED, _read_text, write, _constant(first), _pattern(""), flags, allowed, rank
    )


def _number(
    op: int, pattern: str, write: Callable[[Value, Arguments], bytes], first: bytes = _DIGITS
) -> FieldType:
    read = {ops.PORT: _read_port, ops.HEX: _read_hex}.get(op, _read_integer)
    return FieldType(Kind.INTEGER, op, read, write, _constant(mask(first)), _pattern(pattern))


TYPES: dict[str, FieldType] = {
    "int": _number(ops.INT, r"-?[0-9]{1,18}(?![0-9])", _write_integer, _DIGITS + b"-"),
    "uint": _number(ops.UINT, r"[0-9]{1,18}(?![0-9])", _write_unsigned),
    "port": _number(ops.PORT, r"[0-9]{1,18}(?![0-9])", _write_port),
    "hex": _number(ops.HEX, r"[0-9A-Fa-f]{1,15}(?![0-9A-Fa-f])", _write_hex, _HEX),
    "code": _number(ops.CODE, r"[0-9]{3}(?![0-9])", _write_code),
    "decimal": FieldType(
        Kind.DECIMAL,
        ops.DECIMAL,
        _read_decimal,
        _write_decimal,
        _constant(mask(_DIGITS)),
        _pattern(r"[0-9]{1,12}(?![0-9])(?:\.[0-9]{1,6}(?![0-9]))?(?!\.[0-9])"),
    ),
    "flag": FieldType(
        Kind.FLAG,
        ops.FLAG,
        _read_flag,
        _write_flag,
        lambda arguments: mask(arguments[0].encode()[:1]),
        lambda arguments: f"(?:{_any_of(arguments)})?",
        arguments=None,
        rank=1,
    ),
    "enum": FieldType(
        Kind.ENUM,
        ops.ENUM,
        _read_text,
        _write_enum,
        lambda arguments: mask(b"".join(word.encode()[:1] for word in arguments)),
        lambda arguments: f"(?:{_any_of(arguments)})",
        arguments=None,
        rank=1,
    ),
    "ip": FieldType(
        Kind.ADDRESS,
        ops.IP,
        _read_address,
        _write_address,
        _constant(mask(_HEX + b":")),
        _pattern(r"[0-9A-Fa-f:.]+"),
    ),
    "time": FieldType(
        Kind.TIME,
        ops.TIME,
        _read_time,
        _write_time,
        lambda arguments: mask(b"JFMASOND") if arguments[0] == "bsd" else mask(_DIGITS),
        lambda arguments: f"(?:{times.PATTERNS[arguments[0]]})",
        arguments=None,
    ),
    "dsn": FieldType(Kind.DSN, ops.DSN, _read_dsn, _write_dsn, _constant(mask(_DIGITS)), _pattern(_DSN)),
    "queue_id": FieldType(
        Kind.TEXT,
        ops.QUEUE_ID,
        _read_text,
        _write_queue_id,
        _constant(mask(_ALNUM)),
        _pattern(_QUEUE_ID),
        rank=3,
    ),
    "counters": FieldType(
        Kind.COUNTERS,
        ops.COUNTERS,
        read_counters,
        _write_counters,
        _constant(mask(b" ")),
        _pattern(f"{_COUNTER}*"),
    ),
    "word": _bounded(Kind.TEXT, _write_word, ops.NO_SPACE | ops.NOT_EMPTY),
    "name": _bounded(Kind.NAME, _write_word, ops.NO_SPACE | ops.NOT_EMPTY),
    "host": _bounded(Kind.TEXT, _write_host, ops.NO_SPACE | ops.NO_BRACKET | ops.NOT_EMPTY),
    "text": _bounded(Kind.TEXT, _write_text, 0, "quoted", "retry"),
    "nametext": _bounded(Kind.NAME, _write_text, 0, "quoted"),
    "mail": _bounded(Kind.TEXT, _write_text, ops.MAILBOX),
    "escaped": _bounded(Kind.TEXT, _write_text, 0, "quoted", "retry"),
    "hexbytes": _bounded(Kind.TEXT, _write_text, 0, "quoted"),
    "group": FieldType(
        Kind.TEXT,
        ops.OPEN,
        _read_text,
        _write_text,
        _constant(0),
        _pattern(""),
        arguments=frozenset(),
        rank=2,
    ),
    "message": _bounded(Kind.TEXT, _write_text, 0),
}
NULLABLE = frozenset({ops.FLAG, ops.COUNTERS, ops.OPEN, ops.CLOSE})
"""Instructions that match nothing at all if need be; bounded text is the other case."""
