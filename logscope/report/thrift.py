"""The compact protocol of Apache Thrift, in which the footer of a Parquet file is written.

Values are read without knowing what they mean, and written back to the same bytes: a structure is a dict from
the numbers of its fields to their types and values, a list has its items' type.
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

Fields: TypeAlias = "dict[int, tuple[int, Any]]"
"""A structure: field number to type and value."""


class Items(NamedTuple):
    """A list: the type of its items, and these."""

    kind: int
    values: list[Any]


class Written(bytes):
    """A structure that is written already."""


def read(data: bytes, at: int = 0) -> tuple[Fields, int]:
    """The structure at a place, and the place behind it."""
    fields: Fields = {}
    number = 0
    while head := data[at]:
        at += 1
        kind, step = head & 15, head >> 4
        if step:
            number += step
        else:
            number, at = _number(data, at)
        value, at = (kind == TRUE, at) if kind in (TRUE, FALSE) else _value(data, at, kind)
        fields[number] = kind, value
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (I16, I32, I64):
        return _number(data, at)
    if kind == STRUCT:
        return read(data, at)
    if kind == LIST:
        return _items(data, at)
    if kind == BINARY:
        length, at = _varint(data, at)
        return data[at : at + length], at + length
    if kind == DOUBLE:
        return data[at : at + 8], at + 8
    if kind in (TRUE, FALSE, BYTE):  # as an item, where a truth value is a byte
        return data[at], at + 1
    raise ValueError(f"Parquet has no values of Thrift's type {kind}")


def _items(data: bytes, at: int) -> tuple[Items, int]:
    kind, count = data[at] & 15, data[at] >> 4
    at += 1
    if count == 15:
        count, at = _varint(data, at)
    values = []
    for _ in range(count):
        value, at = _value(data, at, kind)
        values.append(value)
    return Items(kind, values), at


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def write(fields: Fields) -> bytes:
    """A structure's bytes."""
    out = bytearray()
    _write_fields(out, fields)
    return bytes(out)


def _write_fields(out: bytearray, fields: Fields) -> None:
    before = 0
    for number in sorted(fields):
        kind, value = fields[number]
        if kind in (TRUE, FALSE):
            kind = TRUE if value else FALSE
        if 0 < number - before < 16:
            out.append((number - before) << 4 | kind)
        else:
            out.append(kind)
            write_number(out, number)
        if kind not in (TRUE, FALSE):
            _write_value(out, kind, value)
        before = number
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in (I16, I32, I64):
        write_number(out, value)
    elif kind == STRUCT and isinstance(value, Written):
        out += value
    elif kind == STRUCT:
        _write_fields(out, value)
    elif kind == LIST:
        count = len(value.values)
        out.append(min(count, 15) << 4 | value.kind)
        if count >= 15:
            write_varint(out, count)
        for item in value.values:
            _write_value(out, value.kind, item)
    elif kind == BINARY:
        write_varint(out, len(value))
        out += value
    elif kind == DOUBLE:
        out += value
    else:
        out.append(value)


def write_number(out: bytearray, value: int) -> None:
    """Write a signed number."""
    write_varint(out, value << 1 if value >= 0 else ~(value << 1))


def write_varint(out: bytearray, value: int) -> None:
    """Write a number that is not negative."""
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
