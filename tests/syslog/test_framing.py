"""Messages off the wire: any framing, any cut of the stream, nothing that could forge a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.syslog.framing import LONGEST, Frames, as_line

MESSAGES = st.lists(
    st.binary(min_size=1, max_size=40).filter(lambda one: b"\n" not in one and not one[:1].isdigit()),
    max_size=8,
)


def cut_into(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(MESSAGES, st.lists(st.booleans(), min_size=8, max_size=8), st.lists(st.integers(0, 20), max_size=20))
def test_every_framing_and_every_cut(messages: list[bytes], counted: list[bool], sizes: list[int]) -> None:
    stream = b"".join(
        b"%d %s" % (len(message), message) if count else message + b"\n"
        for message, count in zip(messages, counted, strict=False)
    )
    frames = Frames()
    found = [message for piece in cut_into(stream, sizes) for message in frames.feed(piece)]
    assert found + list(frames.close()) == messages
    assert frames.cut == 0


def test_a_line_may_begin_with_a_digit() -> None:
    """A stamp of RFC 3339 is no count."""
    frames = Frames()
    assert list(frames.feed(b"2026-11-22T08:41:56Z mx-a x: y\n5 abcde")) == [
        b"2026-11-22T08:41:56Z mx-a x: y",
        b"abcde",
    ]


def test_the_end_of_a_stream_ends_a_message() -> None:
    frames = Frames()
    assert list(frames.feed(b"one\ntw")) == [b"one"]
    assert list(frames.close()) == [b"tw"]


@pytest.mark.parametrize("begin", [b"", b"999999 "])
def test_endless_messages_are_cut(begin: bytes) -> None:
    """A peer that never ends its message costs bounded memory, and what follows is read."""
    frames = Frames()
    found = list(frames.feed(begin))
    for _ in range(20):
        found += frames.feed(b"x" * (LONGEST // 8))
        assert sum(map(len, found)) <= LONGEST
    found += frames.feed(b"x" * (999_999 - 20 * (LONGEST // 8)) if begin else b"\n")
    assert found == [b"x" * LONGEST]
    assert frames.cut == 1
    assert list(frames.feed(b"next\n")) == [b"next"]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"<134>Nov 22 08:41:56 haproxy[9]: x\n", b"<134>Nov 22 08:41:56 edge1 haproxy[9]: x"),
        (b"<134>Nov  2 08:41:56 haproxy: x\0", b"<134>Nov  2 08:41:56 edge1 haproxy: x"),
        (b"Nov 22 08:41:56 postfix/smtpd[9]: x", b"Nov 22 08:41:56 edge1 postfix/smtpd[9]: x"),
        (b"<22>Nov 22 08:41:56 mx-a postfix/smtpd[9]: x", b"<22>Nov 22 08:41:56 mx-a postfix/smtpd[9]: x"),
        (
            b"<22>1 2026-11-22T08:41:56Z mx-a haproxy 9 - - x: y",
            b"<22>1 2026-11-22T08:41:56Z mx-a haproxy 9 - - x: y",
        ),
        (
            b"<22>Nov 22 08:41:56 mx-a x[1]: a\r\nNov 22 b\nc\0d",
            b"<22>Nov 22 08:41:56 mx-a x[1]: a#012Nov 22 b#012c#000d",
        ),
        (b"", b""),
        (b"<134>", b"<134>"),
        (b"<134>Nov 22 08:41:56 ", b"<134>Nov 22 08:41:56"),
    ],
)
def test_a_message_is_one_line(message: bytes, line: bytes) -> None:
    assert as_line(message, b"edge1") == line


@given(st.binary(max_size=200), st.sampled_from([b"", b"edge1", b"2001:db8::1"]))
def test_no_message_makes_two_lines(message: bytes, host: bytes) -> None:
    assert b"\n" not in as_line(message, host)
    assert b"\0" not in as_line(message, host)
