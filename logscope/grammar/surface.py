"""Arena values as surface values: what samples, reports and users see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from logscope.grammar import ops
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.fields import Kind, address_text, dsn_text, read_counters, text_of
from logscope.grammar.interpret import Log
from logscope.grammar.times import iso

_64_BITS = (1 << 64) - 1


def span(value: int) -> tuple[int, int]:
    """Start and end of a text value."""
    start = value >> ops.SPAN_SHIFT
    return start, start + (value & ops.SPAN_LENGTH)


def address(high: int, low: int) -> str:
    """Canonical text of an address kept in two signed words."""
    return address_text((high & _64_BITS) << 64 | low & _64_BITS)


def value(kind: Kind, first: int, second: int, data: bytes, enum_texts: Sequence[str]) -> Any:
    """One surface value; `data` is what spans point into."""
    if kind is Kind.INTEGER:
        return first
    if kind in (Kind.TEXT, Kind.NAME, Kind.COUNTERS):
        start, end = span(first)
        return read_counters(data[start:end]) if kind is Kind.COUNTERS else text_of(data[start:end])
    if kind is Kind.ENUM:
        return enum_texts[first]
    return address(first, second) if kind is Kind.ADDRESS else _SIMPLE[kind](first)


_SIMPLE: dict[Kind, Callable[[int], Any]] = {
    Kind.DECIMAL: lambda micro: micro / 1e6,
    Kind.FLAG: bool,
    Kind.TIME: iso,
    Kind.DSN: dsn_text,
}


def captured(catalogue: Catalogue, log: Log, data: bytes) -> dict[str, Any]:
    """The captures of one match as {field: surface value}."""
    fields = catalogue.fields
    return {
        fields[number].name: value(Kind(fields[number].kind), first, second, data, catalogue.enum_texts)
        for number, first, second in log
    }
