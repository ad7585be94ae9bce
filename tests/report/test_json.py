"""Both ways of writing JSON give the same bytes, and `json.loads` reads back what the columns hold."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logscope.arrow import SparseBatch
from logscope.report import json_rows
from logscope.report.json_columns import ColumnWriter
from logscope.report.json_rows import JsonRows, Writer
from logscope.report.json_values import ValueWriter, rfc3339
from logscope.report.text import is_hostile
from tests.report.fabricated import batch_of, many_sessions, session

ITEMS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])))
LONGS = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), -10, -1, 0, 9, 10, 99])
)
MOMENTS = st.one_of(st.none(), st.integers(-(2**62), 2**63 - 1))
STRUCT = pa.struct([("source", pa.string()), ("line_number", pa.int32())])
MAPPING = pa.map_(pa.string(), pa.list_(pa.int64()))

COLUMNS = {
    "text": (pa.string(), ITEMS),
    "large": (pa.large_string(), ITEMS),
    "word": (pa.dictionary(pa.int32(), pa.string()), ITEMS),
    "bytes": (pa.binary(), st.one_of(st.none(), st.binary(max_size=30))),
    "long": (pa.int64(), LONGS),
    "short": (pa.uint16(), st.one_of(st.none(), st.integers(0, 65535))),
    "flag": (pa.bool_(), st.one_of(st.none(), st.booleans())),
    "number": (pa.float64(), st.one_of(st.none(), st.floats())),
    "exact": (
        pa.decimal128(18, 6),
        st.one_of(st.none(), st.decimals(-(10**9), 10**9, places=6, allow_nan=False)),
    ),
    "at": (pa.timestamp("ns", "UTC"), MOMENTS),
    "at_s": (pa.timestamp("s", "Europe/Berlin"), st.one_of(st.none(), st.integers(-(10**9), 9 * 10**9))),
    "list": (pa.list_(pa.string()), st.one_of(st.none(), st.lists(ITEMS, max_size=3))),
    "structs": (
        pa.list_(STRUCT),
        st.one_of(
            st.none(),
            st.lists(
                st.one_of(
                    st.none(),
                    st.fixed_dictionaries(
                        {"source": ITEMS, "line_number": st.one_of(st.none(), st.integers(0, 9))}
                    ),
                ),
                max_size=3,
            ),
        ),
    ),
    "map": (
        MAPPING,
        st.one_of(
            st.none(),
            st.lists(
                st.tuples(st.text('ab"\\\n', max_size=4), st.lists(st.integers(0, 99), max_size=2)),
                max_size=3,
            ),
        ),
    ),
    "nothing": (pa.null(), st.none()),
    "known": (pa.string(), st.text(max_size=40)),
    "struct": (
        pa.struct([("a", STRUCT), ("b", pa.list_(pa.list_(pa.int64())))]),
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {
                    "a": st.one_of(
                        st.none(), st.fixed_dictionaries({"source": ITEMS, "line_number": st.none()})
                    ),
                    "b": st.one_of(
                        st.none(),
                        st.lists(st.one_of(st.none(), st.lists(st.integers(0, 99), max_size=2)), max_size=2),
                    ),
                }
            ),
        ),
    ),
}
ROWS = st.lists(st.fixed_dictionaries({name: values for name, (_, values) in COLUMNS.items()}), max_size=6)


def made(rows: list[dict[str, object]]) -> pa.RecordBatch:
    arrays = [pa.array([row[name] for row in rows], kind) for name, (kind, _) in COLUMNS.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(COLUMNS))


def written(writer: Writer, batch: pa.RecordBatch) -> bytes:
    return b"".join(map(bytes, writer.blocks(batch)))


@settings(max_examples=150, deadline=None)
@given(ROWS, st.integers(0, 3), st.booleans())
def test_compiled_columns_and_plain_values_give_the_same_bytes(
    rows: list[dict[str, object]], skip: int, sparse: bool
) -> None:
    batch = made(rows).slice(min(skip, len(rows)))
    names = frozenset({"text", "long", "at"}) if sparse else None
    plain = written(ValueWriter(b"\n", names), batch)
    assert written(ColumnWriter(b"\n", names), batch) == plain
    assert plain.count(b"\n") == batch.num_rows


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(1, 40))
def test_rows_that_do_not_fit_in_a_block_begin_the_next(rows: list[dict[str, object]], room: int) -> None:
    batch = made(rows)
    writer = ColumnWriter(b",\n")
    writer._out = np.empty(64 * room, np.uint8)
    blocks = list(map(bytes, writer.blocks(batch)))
    assert b"".join(blocks) == written(ValueWriter(b",\n"), batch)
    assert all(block.endswith(b"},\n") for block in blocks)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_rows_with_few_columns_are_written_as_if_they_had_all(rows: list[dict[str, object]]) -> None:
    names = ("long", "text", "at")
    batch = made(rows).select([*names, *(name for name in COLUMNS if name not in names)])
    plain = written(ValueWriter(b"\n", frozenset(names)), batch)
    for writer in (ValueWriter(b"\n", frozenset(names)), ColumnWriter(b"\n", frozenset(names))):
        assert b"".join(map(bytes, writer.sparse_blocks(SparseBatch.of(batch)))) == plain


@settings(max_examples=100, deadline=None)
@given(ROWS, st.data())
def test_any_column_may_be_dictionary_coded(rows: list[dict[str, object]], data: st.DataObject) -> None:
    words = made(rows).drop_columns(["word", "nothing"])
    codes = pa.array(
        data.draw(st.lists(st.one_of(st.none(), st.integers(0, len(rows) - 1)) if rows else st.none())),
        pa.int32(),
    )
    coded = [pa.DictionaryArray.from_arrays(codes, column) for column in words.columns]
    batch = pa.RecordBatch.from_arrays(coded, names=words.schema.names)
    plain = pa.RecordBatch.from_arrays([c.take(codes) for c in words.columns], names=words.schema.names)
    expected = written(ValueWriter(b"\n"), plain)
    assert written(ValueWriter(b"\n"), batch) == expected
    assert written(ColumnWriter(b"\n"), batch) == expected


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_what_is_written_reads_back(rows: list[dict[str, object]]) -> None:
    text = written(ValueWriter(b"\n"), made(rows)).decode()
    assert not is_hostile(text.replace("\n", ""))
    got = [json.loads(line, parse_float=Decimal) for line in text.split("\n")[:-1]]
    for name in ("text", "large", "word", "long", "short", "flag", "list", "structs"):
        assert [row[name] for row in got] == [row[name] for row in rows]
    assert [row["exact"] for row in got] == [row["exact"] for row in rows]
    assert [row["map"] for row in got] == [None if row["map"] is None else dict(row["map"]) for row in rows]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0, "1970-01-01T00:00:00+00:00"),
        (1_785_060_000_250_000_000, "2026-07-26T10:00:00.250+00:00"),
        (1_785_060_000_250_001_000, "2026-07-26T10:00:00.250001+00:00"),
        (1_785_060_000_250_001_002, "2026-07-26T10:00:00.250001002+00:00"),
        (1_709_164_799_999_000_000, "2024-02-28T23:59:59.999+00:00"),
        (1_709_164_800_000_000_000, "2024-02-29T00:00:00+00:00"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00+00:00"),
        (-1, "1969-12-31T23:59:59.999999999+00:00"),
        (-2_208_988_800_000_000_000, "1900-01-01T00:00:00+00:00"),
    ],
)
def test_times_have_an_offset_and_the_digits_they_need(moment: int, text: str) -> None:
    assert rfc3339(moment) == text
    batch = pa.record_batch({"at": pa.array([moment], pa.timestamp("ns", "UTC"))})
    for writer in (ValueWriter(b""), ColumnWriter(b"")):
        assert json.loads(written(writer, batch)) == {"at": text}


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x90x", b"\xc0\xaf", b"\xf5", b"a\xe9b"]
)
def test_bytes_that_are_no_utf8_are_replaced(data: bytes) -> None:
    """Also when Arrow was told that they were text."""
    offsets = pa.py_buffer(memoryview(pa.array([0, len(data)], pa.int32()).buffers()[1]))
    text = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)])
    batch = pa.RecordBatch.from_arrays([text], names=["t"])
    for writer in (ValueWriter(b""), ColumnWriter(b"")):
        assert json.loads(written(writer, batch).decode()) == {"t": data.decode("utf-8", "replace")}


def test_names_of_a_column_may_be_anything() -> None:
    batch = pa.record_batch({'a"b': pa.array([1])})
    assert written(ColumnWriter(b""), batch) == rb'{"a\"b":1}'


def test_columns_that_are_not_always_there_are_left_out_where_null() -> None:
    batch = pa.record_batch(
        {"kind": pa.array(["a", None]), "size": pa.array([3, None]), "helo": pa.array([None, None])}
    )
    expected = b'{"kind":"a","size":3}\n{"kind":null}\n'
    for writer in (ValueWriter(b"\n", frozenset({"kind"})), ColumnWriter(b"\n", frozenset({"kind"}))):
        assert written(writer, batch) == expected


def test_texts_of_a_nested_column_keep_nulls_null() -> None:
    array = pa.array([["a"], None, []], pa.list_(pa.string()))
    for writer in (ValueWriter(b""), ColumnWriter(b"")):
        assert writer.texts(array).to_pylist() == ['["a"]', None, "[]"]


def test_a_session_is_one_object_with_nested_arrays() -> None:
    batch = batch_of("sessions", [session(outcome="rejected")])
    row = json.loads(written(ValueWriter(b"\n"), batch))
    assert row["accepted_at"] == "2026-07-26T10:00:00+00:00"
    assert row["events"][1] == {"source": "mail.log", "line_number": 40}
    assert row["commands"]["rcpt"] == [1, 1]
    assert row["dnsbl_rank"] is None
    assert row["screen_tests"] == []


def test_few_rows_do_not_wait_for_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "few_rows", lambda: 10)
    rows = JsonRows()
    small, large = many_sessions(5, clients=3), many_sessions(20, clients=3)
    first = b"".join(map(bytes, rows.blocks(small)))
    assert isinstance(rows._writer, ValueWriter)
    second = b"".join(map(bytes, rows.blocks(large)))
    assert isinstance(rows._writer, ColumnWriter)
    assert first == written(ValueWriter(b"\n"), small)
    assert second == written(ValueWriter(b"\n"), large)
