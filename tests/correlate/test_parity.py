"""The same lines, delivered otherwise, give the same sessions."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logscope import pipeline
from logscope.grammar import catalogue
from logscope.pipeline import Options
from logscope.pipeline.numbering import Dictionary, Hosts
from logscope.schema import SESSIONS
from logscope.sources.source import Source

SAMPLES = Path(__file__).parents[2] / "samples"
CAPTURES = ("proxy-v1", "masked", "partial-mask")
COLUMNS = [column.name for column in SESSIONS if column.name != "events"]
GRAMMARS = catalogue.load()

Files = dict[str, bytes]


def capture(name: str) -> Files:
    return {file: (SAMPLES / name / file).read_bytes() for file in ("haproxy.log", "mail.log")}


def sessions(files: Files, *, machine_code: bool = False) -> list[dict[str, Any]]:
    """The sessions in an order of their own, without what names the files."""
    batches: list[pa.RecordBatch] = []
    sources = [Source(name, io.BytesIO(data)) for name, data in files.items()]
    pipeline.run(
        sources,
        GRAMMARS,
        Options(machine_code=machine_code, year=2026),
        {"sessions": COLUMNS},
        lambda _table, batch: batches.append(batch),
    )
    rows = [row for batch in batches for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: row["session_id"])


def other_order(files: Files) -> Files:
    return dict(reversed(files.items()))


def renamed(files: Files) -> Files:
    return {f"z{9 - number}": data for number, data in enumerate(files.values())}


def merged(files: Files) -> Files:
    lines = [line for data in files.values() for line in data.splitlines(keepends=True)]
    return {"all.log": b"".join(sorted(lines, key=lambda line: line[:15]))}


def by_host(files: Files) -> Files:
    split: Files = {}
    for data in files.values():
        for line in data.splitlines(keepends=True):
            host = line.split()[3].decode()
            split[host] = split.get(host, b"") + line
    return split


def crlf(files: Files) -> Files:
    return {name: data.replace(b"\n", b"\r\n") for name, data in files.items()}


def rotated(files: Files) -> Files:
    pieces: Files = {}
    for name, data in files.items():
        lines = data.splitlines(keepends=True)
        third = len(lines) // 3
        pieces[f"{name}.2.gz"] = gzip.compress(b"".join(lines[:third]))
        pieces[name] = b"".join(lines[2 * third :])
        pieces[f"{name}.1.xz"] = lzma.compress(b"".join(lines[third : 2 * third]))
    return pieces


def compressed(files: Files) -> Files:
    return {name: bz2.compress(data) for name, data in files.items()}


def without_last_line_feed(files: Files) -> Files:
    return {name: data.rstrip(b"\n") for name, data in files.items()}


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize(
    "deliver", [other_order, renamed, merged, by_host, crlf, rotated, compressed, without_last_line_feed]
)
def test_delivery_does_not_matter(name: str, deliver: Callable[[Files], Files]) -> None:
    """Order, names, merging, splitting, rotation and compression of the files change nothing."""
    files = capture(name)
    assert sessions(deliver(files)) == sessions(files)


def test_new_years_eve() -> None:
    """Moved so that the year turns in the middle, the sessions are those of any other day."""
    files = capture("proxy-v1")

    def moved(data: bytes) -> bytes:
        # 09:18 to 09:20 on 22 November becomes 23:59 to 00:01 at the turn of the year
        def stamp(match: re.Match[bytes]) -> bytes:
            minute = int(match[1])
            return {18: b"Dec 31 23:58:", 19: b"Dec 31 23:59:", 20: b"Jan  1 00:00:"}[minute]

        def accepted(match: re.Match[bytes]) -> bytes:
            return {18: b"31/Dec/2026:23:58:", 19: b"31/Dec/2026:23:59:", 20: b"01/Jan/2027:00:00:"}[
                int(match[1])
            ]

        data = re.sub(rb"(?m)^Nov 22 09:(\d\d):", stamp, data)
        return re.sub(rb"22/Nov/2026:09:(\d\d):", accepted, data)

    def shape(rows: list[dict[str, Any]]) -> list[Any]:
        timeless = ("session_id", "accepted_at", "mta_connected_at", "ended_at")
        return sorted(repr({key: value for key, value in row.items() if key not in timeless}) for row in rows)

    there = sessions({name: moved(data) for name, data in files.items()})
    assert shape(there) == shape(sessions(files))
    assert {row["accepted_at"].year for row in there} == {2026, 2027}


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_chunks_do_not_matter(data: st.DataObject) -> None:
    """Wherever the bytes are cut on their way in, the sessions are the same."""

    class Trickle(io.RawIOBase):
        """Hands out a few bytes at a time, as many as the test draws."""

        def __init__(self, content: bytes, sizes: list[int]) -> None:
            self._content, self._sizes, self._at, self._turn = content, sizes, 0, 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            size = min(len(buffer), self._sizes[self._turn % len(self._sizes)])
            self._turn += 1
            piece = self._content[self._at : self._at + size]
            self._at += len(piece)
            buffer[: len(piece)] = piece
            return len(piece)

    files = capture("partial-mask")
    expected = sessions(files)
    batches: list[pa.RecordBatch] = []
    sources = []
    for name, content in files.items():
        sizes = data.draw(st.lists(st.integers(1, 5000), min_size=1, max_size=6), label=name)
        sizes.append(4000)
        sources.append(Source(name, io.BufferedReader(Trickle(content, sizes), 1)))
    pipeline.run(
        sources,
        GRAMMARS,
        Options(machine_code=False, year=2026),
        {"sessions": COLUMNS},
        lambda _table, batch: batches.append(batch),
    )
    rows = sorted((row for batch in batches for row in batch.to_pylist()), key=lambda row: row["session_id"])
    assert rows == expected


@pytest.mark.parametrize("name", CAPTURES)
def test_machine_code_agrees(name: str) -> None:
    """The compiled steps and plain Python give the same sessions."""
    files = capture(name)
    assert sessions(files, machine_code=True) == sessions(files)


@pytest.mark.parametrize("name", CAPTURES)
def test_counts_close(name: str) -> None:
    """Lines and sessions add up."""
    sources = [Source(file, io.BytesIO(data)) for file, data in capture(name).items()]
    counted: list[int] = []
    result = pipeline.run(
        sources,
        GRAMMARS,
        Options(machine_code=False, year=2026),
        {"sessions": ["session_id"]},
        lambda _table, batch: counted.append(batch.num_rows),
    )
    quality = result.quality
    assert quality["lines_read"] == quality["parsed"] + quality["foreign"] + quality["unparsed"]
    assert quality["sessions"] == sum(quality[name] for name in pipeline.JOIN_CLASSES) == sum(counted)


@pytest.mark.parametrize("name", CAPTURES[1:])
def test_numbers_that_names_happen_to_get_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are numbered as they come, and another file that comes first has others."""
    expected = sessions(capture(name), machine_code=True)
    begin = Dictionary.__init__

    def with_others_first(self: Dictionary) -> None:
        begin(self)
        for number in range(17):
            self._names.intern(b"another %d" % number)

    def number_others_first(self: Hosts) -> None:
        self._numbers = {code: code for code in range(5)}

    monkeypatch.setattr(Dictionary, "__init__", with_others_first)
    monkeypatch.setattr(Hosts, "__init__", number_others_first)
    assert sessions(capture(name), machine_code=True) == expected
