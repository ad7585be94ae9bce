"""Writing from columns: what `render` writes, for every template, in plain Python and in machine code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.columns import COLUMN, ColumnWriter, Pattern, resolve, row_of
from logscope.grammar.errors import RenderError
from logscope.grammar.fields import address_text
from logscope.grammar.render import render
from logscope.grammar.syntax import fields
from logscope.grammar.times import from_iso, write_time


def enums(sequence: Any) -> set[str]:
    """Enum fields that alternatives have with other words each."""
    words: dict[str, set[Any]] = {}
    for field in fields(sequence):
        if field.type == "enum":
            words.setdefault(field.name, set()).add(field.arguments)
    return {name for name, found in words.items() if len(found) > 1}


def written(writer: ColumnWriter, rows: list[tuple[Any, dict[str, Any]]], **options: Any) -> list[bytes]:
    """The lines of shapes with these values."""
    pool = bytearray(b" ")
    arena: list[int] = [0]
    starts = []
    for shape, values in rows:
        starts.append(len(arena))
        arena += row_of(shape, values, pool, writer)
    numbers = np.array([shape.number for shape, _ in rows], np.int32)
    data = np.frombuffer(bytes(pool), np.uint8).copy()
    out, ends = writer.write(numbers, np.array(starts), np.array(arena), data, ending=b"", **options)
    text = out.tobytes()
    return [text[start:end] for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("machine_code", [False, True])
def test_every_sample_is_written_as_it_is_rendered(catalogue: Catalogue, machine_code: bool) -> None:
    writer = ColumnWriter(catalogue, machine_code=machine_code)
    rows, wanted = [], []
    for template in catalogue.templates:
        detail = catalogue.details[template.id]
        constant = enums(detail.sequence)
        for sample in detail.samples:
            values = {name: value for name, value in sample.values.items() if value is not False}
            given_values = {name: value if name in constant else COLUMN for name, value in values.items()}
            rows.append((writer.pattern(resolve(detail.sequence, given_values)), values))
            wanted.append(render(detail.sequence, sample.values))
    assert len(wanted) > 2000
    assert written(writer, rows, yearless=False) == wanted


def pattern(catalogue: Catalogue, text: str) -> tuple[ColumnWriter, Any]:
    from logscope.grammar import language

    writer = ColumnWriter(catalogue)
    return writer, writer.pattern(language.parse(text))


@given(high=st.integers(0, 2**64 - 1), low=st.integers(0, 2**64 - 1), zeros=st.integers(0, 255))
def test_addresses_are_written_in_canonical_form(
    catalogue: Catalogue, high: int, low: int, zeros: int
) -> None:
    writer, shape = pattern(catalogue, "{address:ip}")
    number = high << 64 | low
    for group in range(8):
        if zeros >> group & 1:
            number &= ~(0xFFFF << 16 * group)
    text = address_text(number)
    assert written(writer, [(shape, {"address": text})]) == [text.encode()]


@given(st.integers(-2_208_988_800, 4_102_444_799), st.sampled_from([0, 7_000_000, 123_456_000, 1]))
def test_times_are_written_like_those_of_render(catalogue: Catalogue, second: int, rest: int) -> None:
    forms = ("bsd", "rfc3339", "haproxy", "clf", "epoch")
    writer, shape = pattern(catalogue, "|".join(f"{{{form}:time({form})}}" for form in forms))
    nanoseconds = max(second, 0 if rest else second) * 1_000_000_000 + rest
    arena = np.full(5, nanoseconds)
    out, ends = writer.write(
        np.array([shape.number]), np.array([0]), arena, np.zeros(1, np.uint8), yearless=False, ending=b""
    )
    wanted = b"|".join(write_time(form, nanoseconds) for form in forms)
    assert out[: ends[0]].tobytes() == wanted


def test_a_stamp_without_its_year(catalogue: Catalogue) -> None:
    writer, shape = pattern(catalogue, "{stamp:time(bsd)} ")
    values = {"stamp": "2026-02-03T04:05:06"}
    assert written(writer, [(shape, values)]) == [b"Feb  3 04:05:06 "]
    assert written(writer, [(shape, values)], yearless=False) == [b"Feb  3 2026 04:05:06 "]


@given(st.integers(0, 10**12 - 1))
def test_decimals_are_written_shortest(catalogue: Catalogue, micro: int) -> None:
    writer, shape = pattern(catalogue, "{delay_s:decimal}")
    out, ends = writer.write(
        np.array([shape.number]), np.array([0]), np.array([micro]), np.zeros(1, np.uint8), ending=b""
    )
    whole, rest = divmod(micro, 1_000_000)
    text = f"{whole}.{rest:06}".rstrip("0").rstrip(".") if rest else str(whole)
    assert out[: ends[0]].tobytes() == text.encode()


def test_a_line_with_its_envelope_and_composed_text(catalogue: Catalogue) -> None:
    writer = ColumnWriter(catalogue)
    envelope = {"stamp": COLUMN, "host": "mx-a", "service": "postfix/smtpd", "pid": COLUMN}
    shape = writer.shape(
        "smtpd.connect",
        {"client_name": Pattern("mx{number:uint}.mail.example"), "client_address": COLUMN},
        ("envelope.bsd", envelope),
    )
    values = {"stamp": "2026-11-22T09:18:57", "pid": 8950, "number": 7, "client_address": "192.0.2.7"}
    assert written(writer, [(shape, values)]) == [
        b"Nov 22 09:18:57 mx-a postfix/smtpd[8950]: connect from mx7.mail.example[192.0.2.7]"
    ]


def test_memory_grows_as_it_must(catalogue: Catalogue) -> None:
    writer, shape = pattern(catalogue, "{reply:text}-{size:uint}")
    values = [{"reply": "x" * length, "size": length} for length in (0, 1, 100, 5000, 3)]
    rows = [(shape, each) for each in values]
    small = np.empty(70, np.uint8)
    assert written(writer, rows, out=small) == [
        b"%s-%d" % (each["reply"].encode(), each["size"]) for each in values
    ]


def test_what_cannot_be_written_is_refused(catalogue: Catalogue) -> None:
    writer = ColumnWriter(catalogue)
    with pytest.raises(RenderError, match="no template of kind"):
        writer.shape("smtpd.cup_of_tea", {})
    with pytest.raises(RenderError, match=r"no value for one of .*client_port"):
        writer.shape("postscreen.disconnect", {"client_address": COLUMN})
    with pytest.raises(RenderError, match="no place for size"):
        writer.shape("postscreen.disconnect", {"client_address": COLUMN, "client_port": COLUMN, "size": 5})
    with pytest.raises(RenderError, match="client_port"):
        writer.shape("postscreen.disconnect", {"client_address": COLUMN, "client_port": 70_000})
    writer, shape = pattern(catalogue, "{status:enum(sent|deferred)}")
    with pytest.raises(RenderError, match="none of its field's words"):
        written(writer, [(shape, {"status": "bounced"})])


def test_leap_days_and_turns_of_centuries(catalogue: Catalogue) -> None:
    writer, shape = pattern(catalogue, "{stamp:time(rfc3339)}")
    for stamp in (
        "1999-12-31T23:59:59",
        "2000-02-29T00:00:00",
        "2028-02-29T12:00:00.5",
        "2100-03-01T00:00:00",
    ):
        assert written(writer, [(shape, {"stamp": stamp})]) == [write_time("rfc3339", from_iso(stamp))]
