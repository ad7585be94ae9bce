"""Every byte that can be read is read, and what was wrong is said."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import zstandard

from logscope.sources import PADDING, BufferPool, Source, grown, new_buffer
from logscope.sources.source import rotation_date

LINES = b"".join(b"Jul 26 10:00:%02d mx-a postfix/qmgr[7]: line %d\n" % (i % 60, i) for i in range(30_000))

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": lambda data: bz2.compress(data, 1),  # blocks of 100 kB
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def read_all(source: Source, size: int = 1 << 16) -> bytes:
    buffer = new_buffer(size)
    parts = []
    with source:
        while count := source.read_into(buffer, 0):
            parts.append(buffer[:count].tobytes())
    return b"".join(parts)


def opened(path: Path) -> Source:
    return Source(str(path), path.open("rb", buffering=0), path)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("size", [1000, 1 << 16, 1 << 21])
def test_compressed_files_are_known_by_their_bytes_and_read_whole(
    tmp_path: Path, name: str, size: int
) -> None:
    """The suffix is misleading on purpose."""
    path = tmp_path / "mail.log.txt"
    path.write_bytes(COMPRESSORS[name](LINES))
    source = opened(path)
    assert source.compression == name
    assert source.head == LINES[: len(source.head)]
    assert read_all(source, size) == LINES
    assert source.problem is None
    assert source.position == source.size == path.stat().st_size


@pytest.mark.parametrize("name", COMPRESSORS)
def test_files_of_several_members_are_read_to_the_end(tmp_path: Path, name: str) -> None:
    """As `cat a.gz b.gz` makes, with the zeros that some devices pad with."""
    compress = COMPRESSORS[name]
    path = tmp_path / "mail.log.1"
    path.write_bytes(compress(LINES) + compress(b"") + compress(b"last line\n") + b"\0" * 512)
    source = opened(path)
    assert read_all(source) == LINES + b"last line\n"
    assert source.problem is None


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_cut_off_files_give_their_beginning_and_say_so(tmp_path: Path, name: str, part: float) -> None:
    noise = np.random.default_rng(2).integers(97, 122, 600_000, dtype=np.uint8).tobytes()
    whole = COMPRESSORS[name](noise)
    path = tmp_path / "mail.log.2.gz"
    path.write_bytes(whole[: int(len(whole) * part)])
    source = opened(path)
    got = read_all(source)
    assert noise.startswith(got)
    assert len(got) > (len(noise) * part) - 300_000  # whole blocks
    assert source.problem is not None
    assert "cut off" in str(source.problem)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_damaged_files_say_so(tmp_path: Path, name: str) -> None:
    whole = bytearray(COMPRESSORS[name](LINES))
    middle = len(whole) // 2
    whole[middle : middle + 40] = bytes(byte ^ 0x5A for byte in whole[middle : middle + 40])
    path = tmp_path / "mail.log.2.gz"
    path.write_bytes(bytes(whole))
    source = opened(path)
    read_all(source)
    assert source.problem is not None
    assert "damaged" in str(source.problem) or "cut off" in str(source.problem)
    assert str(path) in str(source.problem)


def test_other_bytes_behind_compressed_data_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    path.write_bytes(gzip.compress(LINES) + b"plain text appended by mistake\n")
    source = opened(path)
    assert read_all(source) == LINES
    assert "something else follows the gzip data" in str(source.problem)


@pytest.mark.parametrize("text", [b"x", b"one line without newline", LINES, LINES[:-1]])
def test_plain_files_are_read_byte_for_byte(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(text)
    source = opened(path)
    assert source.head == text[: 1 << 16]
    assert read_all(source) == text


def test_reading_goes_behind_what_is_kept_and_spares_the_padding(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(LINES)
    buffer = new_buffer(1000)
    buffer[:10] = 7
    source = opened(path)
    assert source.read_into(buffer, 10) == 990
    assert buffer[:10].tolist() == [7] * 10
    assert buffer[10:1000].tobytes() == LINES[:990]
    assert buffer[1000:].tolist() == [0] * PADDING
    with pytest.raises(ValueError, match="no room"):
        source.read_into(buffer, 1000)
    source.close()


def test_pipes_give_what_has_arrived() -> None:
    """A program that writes slowly is read as it writes."""
    readable, writable = os.pipe()
    os.write(writable, b"first\n")
    source = Source("-", os.fdopen(readable, "rb", buffering=0))
    buffer = new_buffer(1 << 16)
    assert source.read_into(buffer, 0) == 6
    os.write(writable, b"second\n")
    assert source.read_into(buffer, 0) == 7
    assert buffer[:7].tobytes() == b"second\n"
    os.close(writable)
    assert source.read_into(buffer, 0) == 0
    assert source.size is None
    source.close()


def test_compressed_pipes_are_read() -> None:
    readable, writable = os.pipe()

    def write() -> None:
        with os.fdopen(writable, "wb") as file:
            file.write(gzip.compress(LINES))

    thread = threading.Thread(target=write)
    thread.start()
    assert read_all(Source("-", os.fdopen(readable, "rb", buffering=0))) == LINES
    thread.join()


def test_a_tiny_piece_at_first_does_not_hide_the_compression() -> None:
    """Pipes may deliver the first byte alone."""

    class Dribble(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            return super().read(1)

    source = Source("-", Dribble(gzip.compress(b"hello\n")))
    assert source.compression == "gzip"
    assert read_all(source) == b"hello\n"


def test_a_failing_disk_ends_the_input_with_a_problem() -> None:
    class Failing(io.BytesIO):
        def readinto(self, _buffer: object) -> int:
            raise OSError(5, "Input/output error")

    source = Source("mail.log", Failing(b"x" * 10))
    assert read_all(source) == b"x" * 10
    assert "Input/output error" in str(source.problem)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mail.log-20260731.gz", date(2026, 7, 31)),
        ("mail.log-2026073104", date(2026, 7, 31)),
        ("mail.log.2026-07-31.xz", date(2026, 7, 31)),
        ("mail.log.1", None),
        ("mail.log-20261399", None),
        ("mail-12345678901234.log", None),
    ],
)
def test_rotation_dates_are_read_from_names(name: str, expected: date | None) -> None:
    assert rotation_date(name) == expected


def test_buffers_are_used_again_unless_they_grew() -> None:
    pool = BufferPool(100)
    first = pool.take()
    first[:3] = [1, 2, 3]
    larger = grown(first)
    assert larger[:3].tolist() == [1, 2, 3]
    assert len(larger) == 200 + PADDING
    pool.give(larger)
    pool.give(first)
    assert pool.take() is first
    assert len(pool.take()) == 100 + PADDING
