"""JSON text of Arrow columns, value by value in plain Python.

What a value looks like is settled here: times are RFC 3339 in UTC with offset
(`2026-07-26T10:00:00.250+00:00`), with 0, 3, 6 or 9 digits behind the second, as many as it needs; decimals
are numbers without superfluous zeros, and what is no number in JSON (NaN, infinity) is null; maps are
objects; absent values are null; bytes that are no UTF-8 become U+FFFD; characters that act on a terminal are
written as escapes.

Small outputs are written this way. Large ones by `json_columns`, to the same bytes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from logscope.report.text import json_safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from logscope.arrow import SparseBatch

_BLOCK = 4096
"""Rows written at once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ValueWriter:
    """Writes rows as JSON objects; see `json_columns.ColumnWriter`, which does the same faster for many."""

    def __init__(self, separator: bytes, always: frozenset[str] | None = None) -> None:
        self._separator = separator
        self._always = always

    def blocks(self, batch: pa.RecordBatch) -> Iterator[bytes]:
        """The rows of a batch, each followed by the separator, in blocks."""
        for start in range(0, batch.num_rows, _BLOCK):
            yield self._rows(batch.slice(start, _BLOCK))

    def sparse_blocks(self, batch: SparseBatch) -> Iterator[bytes]:
        """The same of rows of which each has few of the columns."""
        return self.blocks(batch.dense())

    def _rows(self, batch: pa.RecordBatch) -> bytes:
        members = [
            _named(name, fragments(column), keep_null=self._always is None or name in self._always)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        rows = zip(*members, strict=True) if members else iter([()] * batch.num_rows)
        objects = ["{" + ",".join(filter(None, row)) + "}" for row in rows]
        return b"".join(text.encode() + self._separator for text in objects)

    def texts(self, array: pa.Array) -> pa.Array:
        """The JSON text of each value as a column of strings; null where the value is null."""
        known = array.is_valid().to_pylist()
        texts = [text if valid else None for text, valid in zip(fragments(array), known, strict=True)]
        return pa.array(texts, pa.large_string())


def fragments(array: pa.Array) -> list[str]:
    """The JSON text of each value of a column."""
    kind, is_a = array.type, pa.types
    if is_a.is_dictionary(kind):
        words = fragments(array.dictionary)
        return ["null" if code is None else words[code] for code in array.indices.to_pylist()]
    if is_a.is_list(kind) or is_a.is_large_list(kind):
        return _lists(array)
    if is_a.is_map(kind):
        return _maps(array)
    if is_a.is_struct(kind):
        return _structs(array)
    if is_a.is_floating(kind) or is_a.is_decimal(kind):
        return ["null" if text is None else text for text in as_json_numbers(array).to_pylist()]
    if is_a.is_timestamp(kind):
        values = as_nanoseconds(array).cast(pa.int64()).to_pylist()
        return ["null" if value is None else f'"{rfc3339(value)}"' for value in values]
    if is_a.is_boolean(kind) or is_a.is_integer(kind) or is_a.is_null(kind):
        return [json.dumps(value) for value in array.to_pylist()]
    return [_string(value) for value in as_bytes(array).to_pylist()]


def rfc3339(moment: int) -> str:
    """A time in UTC with its offset.

    Args:
        moment: nanoseconds since 1970.

    >>> rfc3339(1_500_000_000)
    '1970-01-01T00:00:01.500+00:00'
    """
    seconds, fraction = divmod(moment, 1_000_000_000)
    stamp = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    if not fraction:
        return f"{stamp}+00:00"
    digits = f"{fraction:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{stamp}.{digits}+00:00"


def as_nanoseconds(array: pa.Array) -> pa.Array:
    """A column of times in nanoseconds; Arrow keeps them in UTC whatever zone they show."""
    return array.cast(pa.timestamp("ns", array.type.tz))


def as_json_numbers(array: pa.Array) -> pa.Array:
    """A column of decimals or floats as JSON numbers in their shortest form; null where it is none."""
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type)).cast(pa.large_string())
    text = array.cast(pa.string())
    return pc.replace_substring_regex(text, pattern=r"(\.\d*[1-9])0+$|\.0+$", replacement=r"\1")


def _named(name: str, texts: list[str], *, keep_null: bool = True) -> list[str]:
    written = json.dumps(name) + ":"
    return [written + text if keep_null or text != "null" else "" for text in texts]


def _string(value: bytes | None) -> str:
    if value is None:
        return "null"
    return json_safe(json.dumps(value.decode("utf-8", "replace"), ensure_ascii=False))


def as_bytes(array: pa.Array) -> pa.Array:
    """A column of text, bytes, or of anything Arrow can spell, as bytes with 64-bit offsets."""
    kind, is_a = array.type, pa.types
    if (
        is_a.is_string(kind)
        or is_a.is_binary(kind)
        or is_a.is_large_string(kind)
        or is_a.is_large_binary(kind)
    ):
        return array.cast(pa.large_binary())
    return array.cast(pa.large_string()).cast(pa.large_binary())


def _bounds(array: pa.Array) -> list[int]:
    bounds: list[int] = array.offsets.to_pylist()
    return bounds


def _lists(array: pa.Array) -> list[str]:
    bounds = _bounds(array)
    items = fragments(array.values.slice(bounds[0], bounds[-1] - bounds[0]))
    return _joined(array, bounds, items, "[]")


def _maps(array: pa.Array) -> list[str]:
    bounds = _bounds(array)
    keys = fragments(array.keys.slice(bounds[0], bounds[-1] - bounds[0]))
    values = fragments(array.items.slice(bounds[0], bounds[-1] - bounds[0]))
    pairs = [f"{key}:{value}" for key, value in zip(keys, values, strict=True)]
    return _joined(array, bounds, pairs, "{}")


def _structs(array: pa.Array) -> list[str]:
    children = zip(array.type, array.flatten(), strict=True)
    members = [_named(field.name, fragments(child)) for field, child in children]
    objects = ["{" + ",".join(row) + "}" for row in zip(*members, strict=True)]
    return _or_null(array, objects or ["{}"] * len(array))


def _joined(array: pa.Array, bounds: list[int], items: list[str], brackets: str) -> list[str]:
    first = bounds[0]
    texts = [
        brackets[0] + ",".join(items[start - first : stop - first]) + brackets[1]
        for start, stop in pairwise(bounds)
    ]
    return _or_null(array, texts)


def _or_null(array: pa.Array, texts: list[Any]) -> list[str]:
    if array.null_count == 0:
        return texts
    return [
        text if valid else "null" for text, valid in zip(texts, array.is_valid().to_pylist(), strict=True)
    ]
