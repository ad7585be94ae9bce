"""Hypothesis strategies: values of each field type, lines, and ways to cut and spoil them.

`tame` values stay clear of what a template could mistake for its own text; `hostile` ones are what a client
could send.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from logscope.grammar.fields import TYPES, Kind
from logscope.grammar.model import Template

_LETTERS = "kqvwyz"

tame_words = st.text(_LETTERS, min_size=2, max_size=12).map(lambda text: f"k7{text}")
tame_texts = st.lists(tame_words, min_size=1, max_size=4).map(" ".join)

hostile_texts = st.one_of(
    st.text(st.characters(blacklist_characters="\n", blacklist_categories=["Cs"]), max_size=30),
    st.text("[]()<>{}:,;=\"'\\/ \t#|-+.%\r\0\x7f", max_size=20),
    st.sampled_from(
        [
            "",
            '"',
            '"a> b"@x',
            ")",
            "(",
            "a) b",
            "]: ",
            "; from=<",
            "> to=<x@y>",
            "é",
            "\\",
            '"\\',
            "]]:25",
            " ",
            "[",
            "unknown[",
        ]
    ),
)
hostile_lines = st.one_of(
    hostile_texts.map(str.encode),
    st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")),
)

_ipv6 = st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None).map(str)
addresses = st.one_of(st.ip_addresses(v=4).map(str), _ipv6)
queue_ids = st.one_of(
    st.from_regex(r"\A[0-9A-F]{4,12}[0-9]\Z"),
    st.from_regex(r"\A4[B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z0-9]{9,14}\Z"),
)
decimals = st.integers(0, 10**11).map(lambda micro: micro / 1e6)
counters = st.dictionaries(
    st.sampled_from(["ehlo", "helo", "starttls", "auth", "mail", "rcpt", "data", "bdat", "quit", "unknown"]),
    st.one_of(st.integers(0, 99), st.tuples(st.integers(0, 9), st.integers(0, 9)).map(list)),
    max_size=5,
)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001 (stamps have no zone)

_NUMBERS = {
    "int": st.integers(-(10**9), 10**12),
    "uint": st.integers(0, 10**18 - 1),
    "port": st.integers(0, 65535),
    "hex": st.integers(0, 1 << 60 - 1),
    "code": st.integers(100, 599),
}


def value_of(type_name: str, arguments: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Tame surface values of a field type."""
    kind = TYPES[type_name].kind
    if kind is Kind.INTEGER:
        return _NUMBERS[type_name]
    if kind is Kind.ENUM:
        return st.sampled_from(arguments)
    if kind is Kind.TIME:
        return moments.map(lambda moment: _stamp(moment, arguments[0]))
    if type_name == "queue_id":
        return queue_ids
    if kind is Kind.DSN:
        return st.tuples(st.sampled_from("245"), st.integers(0, 999), st.integers(0, 999)).map(
            lambda parts: ".".join(map(str, parts))
        )
    simple = {
        Kind.DECIMAL: decimals,
        Kind.FLAG: st.booleans(),
        Kind.ADDRESS: addresses,
        Kind.COUNTERS: counters,
    }
    if kind in simple:
        return simple[kind]
    return tame_words if type_name in ("word", "name", "host", "mail") else tame_texts


def _stamp(moment: datetime, form: str) -> str:
    if form == "bsd":
        moment = moment.replace(year=2000, microsecond=0)
    if form in ("clf", "bsd"):
        moment = moment.replace(microsecond=0)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000).isoformat(
        timespec="milliseconds" if moment.microsecond >= 1000 else "seconds"
    )


def values_like(
    template: Template, sample: Mapping[str, Any], stops: Mapping[str, set[str]]
) -> st.SearchStrategy[dict[str, Any]]:
    """New values for the fields that a sample has; which parts are there stays as it is.

    `stops` are the texts that end each bounded field: no value may hold one.
    """
    return st.fixed_dictionaries(
        {name: _like(template, name, value, stops.get(name, set())) for name, value in sample.items()}
    )


def _like(template: Template, name: str, value: Any, stops: set[str]) -> st.SearchStrategy[Any]:
    type_name, arguments = template.types[name]
    kind = TYPES[type_name].kind
    if type_name == "group" or value == "" or kind in (Kind.ENUM, Kind.FLAG):
        return st.just(value)
    if kind is Kind.ADDRESS:
        return st.ip_addresses(v=4).map(str) if "." in value else _ipv6
    if " " in stops and isinstance(value, str):
        return tame_words
    return value_of(type_name, arguments)


def hostile_like(template: Template, sample: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The same with hostile text."""
    return st.fixed_dictionaries(
        {
            name: hostile_texts
            if isinstance(value, str) and template.types[name][0] in _TEXTS
            else _like(template, name, value, set())
            for name, value in sample.items()
        }
    )


_TEXTS = ("text", "nametext", "mail", "escaped", "hexbytes", "message", "word", "name", "host")


@st.composite
def spoiled(draw: st.DrawFn, line: bytes) -> bytes:
    """A line cut, or with a byte changed, doubled or left out, or with something hostile put into it."""
    at = draw(st.integers(0, len(line)))
    how = draw(st.integers(0, 4))
    if how == 0:
        return line[:at]
    if how == 1:
        return line[at:]
    if how == 2:
        return line[:at] + line[at + 1 :]
    middle = draw(hostile_lines) if how == 3 else line[at : at + 1] * 2
    return line[:at] + middle + line[at + (how == 4) :]


@st.composite
def chunkings(draw: st.DrawFn, size: int) -> list[int]:
    """Sizes of the pieces an input arrives in."""
    sizes = []
    while sum(sizes) < size:
        sizes.append(draw(st.one_of(st.integers(1, 7), st.integers(1, max(1, size)))))
    return sizes
