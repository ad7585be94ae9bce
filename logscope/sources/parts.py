"""The single files behind a followed path: living ones and compressed ones, each read from some place on."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from logscope.errors import InputError
from logscope.sources.buffers import PADDING, Buffer, new_buffer
from logscope.sources.compression import detect
from logscope.sources.source import Source

_HEAD = 1024
_BLOCK = 1 << 20

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True)
class Print:
    """What tells a file from others that had its path or its inode: how its content begins."""

    length: int
    digest: str

    @classmethod
    def of(cls, head: bytes) -> Print:
        return cls(len(head), blake2b(head, digest_size=12).hexdigest())

    def fits(self, head: bytes) -> bool:
        """Whether a file that begins so may be the one; with nothing to compare, no file is."""
        return 0 < self.length <= len(head) and Print.of(head[: self.length]) == self


@dataclass(frozen=True)
class Position:
    """How far a file has been read.

    Attributes:
        identity: device and inode; another one once it has been compressed.
        offset: bytes read; decompressed ones.
        lines: how many lines they are.
        head: how it begins.
        modified_at: when it was last written, ns since 1970.
    """

    identity: Identity
    offset: int
    lines: int
    head: Print
    modified_at: int


class Part(Protocol):
    """One file that a followed path stands for, or stood for."""

    lines: int

    def position(self) -> Position: ...

    def read_into(self, buffer: Buffer, at: int) -> int: ...

    def close(self) -> None: ...


class Plain:
    """A file that can be read at any place."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(self.descriptor)
            raise InputError(f"{path}: is no file that could be followed")
        self.identity: Identity = (status.st_dev, status.st_ino)
        self.offset = 0
        self.lines = 0
        self.over = False  # nothing more is written: a last line without its line feed is one
        self._head = Print.of(os.pread(self.descriptor, _HEAD, 0))

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def modified_at(self) -> int:
        return os.fstat(self.descriptor).st_mtime_ns

    def is_same(self) -> bool:
        """Whether the file still is what has been read so far, with more behind it perhaps."""
        head = os.pread(self.descriptor, self._head.length, 0)
        return self.size() >= self.offset and Print.of(head) == self._head

    def position(self) -> Position:
        return Position(self.identity, self.offset, self.lines, self._head, self.modified_at())

    def skip_hole(self) -> None:
        """A writer that does not append leaves a hole of NULs where its file was cut."""
        with suppress(OSError):
            self.offset = os.lseek(self.descriptor, 0, os.SEEK_DATA)

    def skip_to(self, offset: int) -> None:
        """Go on behind the last whole line before an offset; the lines are counted."""
        end = 0
        while self.offset < offset:
            block = os.pread(self.descriptor, min(_BLOCK, offset - self.offset), self.offset)
            if not block:
                break
            newest = block.rfind(b"\n")
            end = self.offset + newest + 1 if newest >= 0 else end
            self.lines += block.count(b"\n")
            self.offset += len(block)
        self.offset = end

    def read_into(self, buffer: Buffer, at: int) -> int:
        """Read whole lines; of one that fills the buffer, a part."""
        room = len(buffer) - PADDING - at
        view = memoryview(buffer)[at : at + room]  # type: ignore[arg-type]
        count = os.preadv(self.descriptor, [view], self.offset)
        if self._head.length < _HEAD and count:
            self._head = Print.of(os.pread(self.descriptor, _HEAD, 0))
        whole = buffer[at : at + count].tobytes().rfind(b"\n") + 1
        if whole == 0 and (count == room or self.over):
            whole = count
        self.offset += whole
        self.lines += _line_feeds(buffer, at, whole)
        return whole

    def close(self) -> None:
        os.close(self.descriptor)


class Packed:
    """A rotated file that has been compressed: read once, from some place to its end."""

    def __init__(self, path: Path, offset: int) -> None:
        self._source = Source(str(path), path.open("rb", buffering=0), path)
        self._head = Print.of(self._source.head[:_HEAD])
        self._offset = 0
        self.lines = 0
        while self._offset < offset:
            buffer = new_buffer(min(_BLOCK, offset - self._offset))
            if not self.read_into(buffer, 0):
                break

    def position(self) -> Position:
        identity = self._source.identity or (0, 0)
        return Position(identity, self._offset, self.lines, self._head, self._source.modified_at or 0)

    def read_into(self, buffer: Buffer, at: int) -> int:
        count = self._source.read_into(buffer, at)
        self._offset += count
        self.lines += _line_feeds(buffer, at, count)
        return count

    def close(self) -> None:
        self._source.close()


def _line_feeds(buffer: Buffer, at: int, count: int) -> int:
    return int((buffer[at : at + count] == 10).sum())


def head_of(path: Path) -> bytes:
    """How a file begins, decompressed."""
    try:
        with Source(str(path), path.open("rb", buffering=0), path) as source:
            return source.head[:_HEAD]
    except OSError:
        return b""


def opened(path: Path, offset: int) -> Part | None:
    try:
        with path.open("rb") as file:
            packed = detect(file.read(16)) is not None
        if packed:
            return Packed(path, offset)
        part = Plain(path)
        part.offset = offset
        return part
    except (OSError, InputError):
        return None
