"""Content of a message: its end, its lines, and attempts to smuggle a second message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.relay.smtp.content import Content


def received(data: bytes, limit: int = 10_000) -> tuple[bytes, bytes] | None:
    """What is kept of a DATA, and what follows its end; None when it has none."""
    content, buffer = Content(limit), bytearray(data)
    return (content.lines(dotted=True), bytes(buffer)) if content.dotted(buffer) else None


@pytest.mark.parametrize(
    ("data", "kept", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..a\r\n...\r\n.\r\n", b".a\r\n..\r\n", b""),
        (b"a\nb\r\n.\r\n", b"a\r\nb\r\n", b""),
        (b"a\rb\r\n.\r\n", b"a b\r\n", b""),
    ],
)
def test_the_end_and_the_dots(data: bytes, kept: bytes, rest: bytes) -> None:
    assert received(data) == (kept, rest)


SMUGGLED = b"MAIL FROM:<evil@sender.example>\r\n"


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r\n.\n", b"\r.\r\n", b"\n.\r", b"\r\n\x00.\r\n"]
)
def test_only_the_standard_end_is_one(end: bytes) -> None:
    """A near miss is neither an end here, nor passed on so that another server could take it for one."""
    found = received(b"a" + end + SMUGGLED + b"\r\n.\r\n")
    assert found is not None
    kept, rest = found
    assert rest == b""
    assert SMUGGLED.strip() in kept
    lines = kept.split(b"\r\n")
    assert b"." not in lines
    assert not any(b"\n" in line or b"\r" in line for line in lines)


def test_without_its_end_nothing_is_there() -> None:
    assert received(b"a\r\n.\r") is None


@given(
    st.lists(st.sampled_from([b"a", b".", b"\r", b"\n", b"\r\n", b"..", b"\r\n."]), max_size=30).map(
        b"".join
    ),
    st.lists(st.integers(1, 5), max_size=40),
)
def test_it_does_not_matter_how_it_was_cut(data: bytes, cuts: list[int]) -> None:
    data += b"\r\n.\r\nQUIT\r\n"
    whole = received(data)
    content, buffer, position = Content(10_000), bytearray(), 0
    for length in [*cuts, len(data)]:
        buffer += data[position : position + length]
        position += length
        if content.dotted(buffer):
            break
    assert (content.lines(dotted=True), bytes(buffer) + data[position:]) == whole


@given(st.lists(st.sampled_from([b"a", b".", b"\r", b"\n", b"\0"]), max_size=40).map(b"".join))
def test_lines_are_sound(data: bytes) -> None:
    """Whatever came, what is kept has no bare CR or LF, and ends its last line."""
    found = received(data + b"\r\n.\r\n")
    assert found is not None
    kept = found[0].replace(b"\r\n", b"")
    assert b"\r" not in kept
    assert b"\n" not in kept
    assert found[0] == b"" or found[0].endswith(b"\r\n")


def test_what_is_too_large_is_not_kept() -> None:
    content, buffer = Content(100), bytearray()
    for _ in range(1000):
        buffer += b"x" * 100 + b"\r\n"
        assert not content.dotted(buffer)
        assert len(content._raw) < 300
    buffer += b".\r\nQUIT\r\n"
    assert content.dotted(buffer)
    assert content.too_large
    assert bytes(buffer) == b"QUIT\r\n"


def test_chunks_have_no_dots() -> None:
    content = Content(1000)
    content.chunk(b".a\r\n..b\r")
    content.chunk(b"\n.\r\n")
    assert content.lines(dotted=False) == b".a\r\n..b\r\n.\r\n"
