"""Chunks are scanned ahead and side by side, and what comes of them is as if one came after the other."""

from __future__ import annotations

import importlib
import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logscope import pipeline
from logscope.grammar import catalogue
from logscope.pipeline import Feed, Options, ahead, clocks, feed
from logscope.sources.source import Source

run_module = importlib.import_module("logscope.pipeline.run")

SAMPLES = Path(__file__).parent.parent / "samples"
GRAMMARS = catalogue.load()
OPTIONS = Options(machine_code=False, year=2026)
ROOM = 1 << 14


def sample(name: str) -> bytes:
    return (SAMPLES / "proxy-v1" / name).read_bytes()


def as_records(data: bytes) -> bytes:
    return b"".join(
        json.dumps({"log": line.decode(), "stream": "stdout"}).encode() + b"\n" for line in data.splitlines()
    )


def some_records(data: bytes) -> bytes:
    """Lines, then records, then lines: which of them a chunk holds is seen only when it is scanned."""
    lines = data.splitlines(keepends=True)
    third = len(lines) // 3
    return (
        b"".join(lines[:third])
        + as_records(b"".join(lines[third : 2 * third]))
        + b"".join(lines[2 * third :])
    )


def with_long_lines(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    for at, length in ((300, 5 * ROOM), (100, ROOM + 1), (50, ROOM), (49, ROOM - 1), (1, 2 * ROOM)):
        lines.insert(at, b"x" * length + b"\n")
    return b"".join(lines)


def sessions(files: dict[str, bytes], *, machine_code: bool) -> tuple[list[dict[str, Any]], dict[str, int]]:
    rows: list[dict[str, Any]] = []
    result = pipeline.run(
        [Source(name, io.BytesIO(data)) for name, data in files.items()],
        GRAMMARS,
        Options(machine_code=machine_code, year=2026),
        {
            "sessions": [
                "session_id",
                "client_address",
                "outcome",
                "queue_ids",
                "events",
                "mta_host",
                "server",
            ]
        },
        lambda _table, batch: rows.extend(batch.to_pylist()),
    )
    return rows, result.quality


CHANGES = [bytes, as_records, some_records, with_long_lines, lambda data: data[:-1]]


@pytest.mark.parametrize("change", CHANGES)
def test_chunks_side_by_side_give_what_one_chunk_gives(
    change: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only a scan tells where the next chunk begins, and where lines are longer than a chunk."""
    files = {name: change(sample(name)) for name in ("haproxy.log", "mail.log")}
    expected = sessions(files, machine_code=False)
    monkeypatch.setattr(feed, "CHUNK", ROOM)
    monkeypatch.setattr(feed, "SMALL_CHUNK", ROOM)
    assert sessions(files, machine_code=False) == expected
    assert sessions(files, machine_code=True) == expected


class Shuffled(ThreadPoolExecutor):
    """Does what it is asked for in another order: every other thing has to wait for a later one."""

    def __init__(self, _threads: int) -> None:
        super().__init__(8)
        self._turn = 0
        self._waiting: threading.Event | None = None

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._turn += 1
        before, mine = self._waiting, threading.Event()
        self._waiting = mine

        def late() -> Any:
            mine.wait(0.01)
            return function(*args, **kwargs)

        if before is not None:
            before.set()
        return super().submit(late) if self._turn % 2 else super().submit(function, *args, **kwargs)


def test_names_have_the_same_numbers_whatever_threads_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and hosts are numbered in an order that the input alone decides."""
    numbers: list[tuple[list[str], list[str]]] = []
    texts = pipeline.Extractor.texts

    def noted(self: pipeline.Extractor) -> tuple[list[str], list[str]]:
        found = texts(self)
        numbers.append(found)
        return found

    monkeypatch.setattr(pipeline.Extractor, "texts", noted)
    monkeypatch.setattr(feed, "CHUNK", ROOM)
    files = {name: sample(name) for name in ("haproxy.log", "mail.log")}
    usual = sessions(files, machine_code=True)
    last = numbers[-1]
    monkeypatch.setattr(run_module, "ThreadPoolExecutor", Shuffled)
    assert sessions(files, machine_code=True) == usual
    assert numbers[-1] == last


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"a\n", b"\n", b"x" * 700 + b"\n", b"y" * 1500 + b"\n", b"z" * 3000 + b"\n"]),
        max_size=30,
    )
)
def test_every_line_is_counted_once(lines: list[bytes]) -> None:
    """However long lines are beside the buffer; those that do not fit in it count as not understood."""
    data = b"".join(lines)
    source = Source("log", io.BytesIO(data))
    [clock] = clocks([source], GRAMMARS, OPTIONS, 0)
    reading = Feed(source, GRAMMARS, clock, [feed.input_buffer(1024)] * 1, machine_code=False)
    while not reading.ended:
        reading.next_chunk()
    assert reading.counts.lines_read == len(lines) == reading.lines


def test_what_is_asked_of_a_pool_that_does_it_at_once_may_fail() -> None:
    """The error is that of whoever asks for the result."""
    with pytest.raises(ZeroDivisionError):
        ahead.AtOnce().submit(lambda: 1 // 0).result()


def test_a_sink_that_fails_ends_the_run() -> None:
    """With its own error, also where it is called in another thread."""

    def fail(_table: str, _batch: Any) -> None:
        raise BrokenPipeError

    for machine_code in (False, True):
        source = Source("haproxy.log", io.BytesIO(sample("haproxy.log")))
        with pytest.raises(BrokenPipeError):
            pipeline.run(
                [source], GRAMMARS, Options(machine_code=machine_code), {"sessions": ["session_id"]}, fail
            )
