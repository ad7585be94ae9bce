"""Conditions mean what is written, row by row; what makes no sense is said with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.errors import UsageError
from logscope.report.arrow_schema import arrow_type
from logscope.settings import parse_moment
from logscope.where import Columns, Condition, condition

TYPES = {
    "client_address": "address",
    "client_port": "int",
    "duration_ms": "int",
    "delay_s": "float",
    "accepted_at": "time",
    "ended_at": "time",
    "masked": "bool",
    "outcome": "text",
    "server": "text",
    "screen_tests": "list of text",
    "rejects": "list of {code: int, text: text}",
    "commands": "map",
    "message_count": "int",
}
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = 1_000_000_000
ROWS: list[dict[str, Any]] = [
    {
        "client_address": "203.0.113.9", "client_port": 41282, "duration_ms": 5200, "delay_s": 1.5,
        "accepted_at": 10 * SECOND, "masked": True, "outcome": "rejected", "server": "mx-a",
        "screen_tests": ["pregreet", "dnsbl"], "rejects": [{"code": 554, "text": "Blocked by spam list"}],
        "commands": [("rcpt", [1, 3]), ("mail", [1, 1])], "message_count": 0,
    },
    {
        "client_address": "2001:db8::25", "client_port": 25, "duration_ms": 300, "delay_s": 0.1,
        "accepted_at": 20 * SECOND, "masked": False, "outcome": "delivered", "server": "MX-b",
        "screen_tests": [], "rejects": [], "commands": [("rcpt", [2, 2])], "message_count": 12000,
    },
    {"outcome": "open"},
]  # fmt: skip


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{name: row.get(name) for name in TYPES} for row in rows],
        schema=pa.schema([(name, arrow_type(spelled)) for name, spelled in TYPES.items()]),
    )


def asked(text: str) -> Condition:
    return condition(text, Columns(TYPES), lambda said: parse_moment(said, NOW, UTC))


def wanted(text: str, rows: list[dict[str, Any]] = ROWS) -> list[int]:
    """Numbers of the rows of which a text holds."""
    numbered = batch(rows).append_column("number", pa.array(range(len(rows))))
    return [int(number) for number in asked(text).select(numbered).column("number").to_pylist()]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("client in 203.0.113.0/24 and outcome = rejected and duration > 5s", [0]),
        ("client in (203.0.113.0/24, 2001:db8::/32)", [0, 1]),
        ("client in 2001:db8::25", [1]),
        ("client = ::ffff:203.0.113.9", [0]),
        ("client_address = 2001:DB8:0::25", [1]),
        ("client in 0.0.0.0/0", [0]),
        ("client not in ::/0", [0, 2]),
        ("duration >= 300ms", [0, 1]),
        ("duration_ms <= 300", [1]),
        ("duration < 0.31s", [1]),
        ("delay > 0.2s", [0]),
        ("delay_s = 0.1", [1]),
        ("accepted > @15", [1]),
        ("accepted <= 1970-01-01T00:00:10", [0]),
        ("accepted < '1970-01-01 00:00:20'", [0]),
        ("accepted is null", [2]),
        ("masked", [0]),
        ("not masked", [1, 2]),
        ("masked = false", [1]),
        ("server = mx-a", [0]),
        ("server != mx-a", [1, 2]),
        ("server == 'mx-a'", [0]),
        ("server contains mx", [0, 1]),
        ("server matches '^mx-'", [0]),
        ("server matches (?i)^mx-", []),
        ("outcome in (rejected, open) and not server is null", [0]),
        ("outcome = rejected or outcome = open and masked", [0]),
        ("(outcome = rejected or outcome = open) and server is not null", [0]),
        ("not not masked", [0]),
        ("not (masked or outcome = open)", [1]),
        ("screen_tests = dnsbl", [0]),
        ("screen_tests != dnsbl", [1, 2]),
        ("screen_tests is null", [1, 2]),
        ("rejects.code = 554", [0]),
        ("rejects.code < 500", []),
        ('rejects.text contains "SPAM list"', [0]),
        ("rejects.text is null", [1, 2]),
        ("commands.rcpt > 2", [0]),
        ("commands.mail = 0", [1]),
        ("commands.mail is null", [2]),
        ("message > 10k", [1]),
        ("message_count = 12000 OR client_port IN (25, 26)", [1]),
        ("mails > 10k or took > 5s", [0, 1]),  # as listings head them
    ],
)
def test_what_holds(text: str, rows: list[int]) -> None:
    if "(?i)" in text:
        with pytest.raises(UsageError):  # brackets need quotes
            asked(text)
    else:
        assert wanted(text) == rows


@pytest.mark.parametrize(
    ("text", "column", "message", "hint"),
    [
        ("outcme = rejected", 1, "no column 'outcme'", "'outcome'"),
        ("masked and outcome = rejectd", 22, "none of the values", "'rejected'"),
        ("duration > 5", 12, "5 of what", "5s"),
        ("duration > 5x", 12, "no length of time", "200ms"),
        ("client_port = x", 15, "no number", "100"),
        ("client in 203.0.113.9/24", 11, "inside a network", "203.0.113.0/24"),
        ("client = 203.0.113.0/24", 10, "is in a network", "client_address in"),
        ("client = mx", 10, "no address", "203.0.113.9"),
        ("client > 203.0.113.9", 1, "no `>`", "=, in"),
        ("client", 1, "neither true nor false", "is not null"),
        ("rejects = 554", 1, "several parts", "rejects.code"),
        ("rejects.cod = 554", 1, "no 'cod'", "rejects.code"),
        ("server.name = x", 1, "has no parts", "server alone"),
        ("commands > 3", 1, "for each command", "commands.rcpt"),
        ("accepted > soon", 12, "no time", "yesterday"),
        ("masked = maybe", 10, "none of the values", "true"),
        ("server matches 'a('", 16, "no regular expression", ""),
        ("server = ", 9, "a value", "Write"),
        ("", 1, "a column", "Write"),
        ("not", 4, "a column", "Write"),
        ("server = a b", 12, "`and`, `or`", "Write"),
        ("server = and", 10, "a value", "Write"),
        ("(masked", 8, "`)`", "Write"),
        ("server is empty", 11, "`null`", "Write"),
        ("server not = a", 12, "`in`, `contains`", "Write"),
        ("server = 'a", 10, "a value", "Write"),
        ("client in (203.0.113.9 25)", 24, "`)`", "Write"),
    ],
)
def test_what_makes_no_sense(text: str, column: int, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        asked(text)
    assert error.value.place is not None
    assert error.value.place.column == column
    assert message in error.value.message
    assert hint in (error.value.hint or "")


@pytest.mark.parametrize("text", ["(" * 5000 + "masked" + ")" * 5000, "x" * 20_000, "not " * 2000 + "masked"])
def test_long_ones_end(text: str) -> None:
    """No traceback, however deep."""
    with suppress(UsageError):
        assert wanted(text) == [0]


def test_several_names_are_told() -> None:
    with pytest.raises(UsageError, match="client_address, client_at"):
        condition("client = 1", Columns({"client_address": "address", "client_at": "time"}), int)


def test_a_column_that_a_batch_lacks_is_unknown() -> None:
    rows = pa.record_batch({"kind": pa.array(["a", "b"])})
    columns = Columns({"kind": "text", "helo": "text"})
    assert condition("helo is null and kind = a", columns, int).select(rows).num_rows == 1
    assert condition("helo = x", columns, int).select(rows).num_rows == 0
    assert condition("helo != x", columns, int).select(rows).num_rows == 2


def test_parts_of_a_batch() -> None:
    """Lists of a part of a batch begin in the middle of their values."""
    rows = batch([*ROWS, *ROWS]).slice(2)
    assert asked("screen_tests = dnsbl").select(rows).num_rows == 1
    assert asked("rejects.code = 554").select(rows).num_rows == 1
    assert asked("commands.rcpt = 3").select(rows).num_rows == 1


# --- any formula, against Python row by row -----------------------------------------------------------------

ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.130", "198.51.100.7", "2001:db8::1", "2001:db8:1::1"])
NETWORKS = st.sampled_from(["192.0.2.0/25", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/48", "198.51.100.7/32"])
WORDS = st.sampled_from(["a", "ab", "b.c", "B"])
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "client_address": ADDRESSES,
        "duration_ms": st.integers(-5, 5000),
        "masked": st.booleans(),
        "server": WORDS,
        "screen_tests": st.lists(WORDS, max_size=3),
        "rejects": st.lists(
            st.fixed_dictionaries({"code": st.integers(450, 452) | st.none(), "text": WORDS}), max_size=3
        ),
    },
)


def whether(name: str, test: Callable[[Any], bool]) -> Callable[[Mapping[str, Any]], bool]:
    """Of one row: whether a value is known and something is true of it."""
    return lambda row: row.get(name) is not None and test(row[name])


def leaves() -> st.SearchStrategy[tuple[str, Any]]:
    """Comparisons, each with what it means for one row."""
    number = st.integers(0, 5000)
    return st.one_of(
        NETWORKS.map(
            lambda one: (
                f"client in {one}",
                whether("client_address", lambda v: ip_address(v) in ip_network(one)),
            )
        ),
        number.map(lambda one: (f"duration > {one}ms", whether("duration_ms", lambda v: v > one))),
        number.map(lambda one: (f"duration_ms <= {one}", whether("duration_ms", lambda v: v <= one))),
        st.just(("masked", whether("masked", bool))),
        WORDS.map(lambda one: (f"server = {one}", whether("server", lambda v: v == one))),
        WORDS.map(lambda one: (f"server != {one}", lambda row: row.get("server") != one)),
        WORDS.map(
            lambda one: (f"server contains {one}", whether("server", lambda v: one.lower() in v.lower()))
        ),
        WORDS.map(
            lambda one: (
                f"server matches '^{re.escape(one)}'",
                whether("server", lambda v: v.startswith(one)),
            )
        ),
        st.just(("server is null", lambda row: row.get("server") is None)),
        WORDS.map(lambda one: (f"screen_tests = {one}", whether("screen_tests", lambda v: one in v))),
        st.just(("screen_tests is not null", whether("screen_tests", bool))),
        st.just(
            (
                "rejects.code in (450, 452)",
                whether("rejects", lambda v: any(one["code"] in (450, 452) for one in v)),
            )
        ),
    )


def joined(inner: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    def both(parts: list[tuple[str, Any]]) -> tuple[str, Any]:
        return " and ".join(f"({text})" for text, _ in parts), lambda row: all(test(row) for _, test in parts)

    def either(parts: list[tuple[str, Any]]) -> tuple[str, Any]:
        return " or ".join(f"({text})" for text, _ in parts), lambda row: any(test(row) for _, test in parts)

    some = st.lists(inner, min_size=2, max_size=3)
    negated = inner.map(lambda part: (f"not ({part[0]})", lambda row: not part[1](row)))
    return some.map(both) | some.map(either) | negated


@given(st.recursive(leaves(), joined, max_leaves=6), st.lists(RECORDS, max_size=6))
def test_any_formula(formula: tuple[str, Any], rows: list[dict[str, Any]]) -> None:
    text, test = formula
    assert wanted(text, rows) == [number for number, row in enumerate(rows) if test(row)]
