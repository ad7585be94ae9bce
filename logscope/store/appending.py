"""A file that output is appended to, each piece once.

Before a piece is written, it is kept elsewhere with the mark of the place where it belongs (`state`). A run
that was killed while it wrote is followed by one that finds the place and writes what is missing. Nothing
that stands in the file is ever taken back, so that others can read along, and the file may be rotated.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logscope.errors import OutputError

_TAIL = 4096


@dataclass(frozen=True)
class Mark:
    """A place in a file: its end, when the mark was made.

    Attributes:
        device, inode: of the file.
        length: bytes before the place.
        tail: digest of the last of them, by which a copy of the file is known.
    """

    device: int
    inode: int
    length: int
    tail: str

    @classmethod
    def of(cls, said: dict[str, Any] | None) -> Mark | None:
        return None if said is None else cls(**said)


class Appending:
    """A file that is appended to.

    Raises:
        OutputError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._opened()

    @property
    def is_empty(self) -> bool:
        return os.fstat(self._descriptor).st_size == 0

    def mark(self) -> Mark:
        """The end of the file that is at the path now, everything before it safe on disk."""
        if _identity(self._path) != self._identity():  # rotated
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = self._opened()
        os.fsync(self._descriptor)
        status = os.fstat(self._descriptor)
        return Mark(status.st_dev, status.st_ino, status.st_size, _tail(self._descriptor, status.st_size))

    def append(self, data: bytes) -> None:
        """Write a piece at the end.

        Raises:
            OutputError: not all of it could be written.
        """
        _write(self._descriptor, data, self._path)

    def complete(self, mark: Mark, pending: bytes) -> bool:
        """Write what is missing of a piece that belongs to a place; whether the place was found."""
        if not pending:
            return True
        for path in [self._path, *_rotated(self._path)]:
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
                try:
                    if self._completed(descriptor, path, mark, pending):
                        return True
                finally:
                    os.close(descriptor)
        self.append(pending)
        return False

    def _completed(self, descriptor: int, path: Path, mark: Mark, pending: bytes) -> bool:
        """Whether the place is in this file; then the piece is, too."""
        status = os.fstat(descriptor)
        if status.st_size < mark.length or _tail(descriptor, mark.length) != mark.tail:
            return False
        is_it = (status.st_dev, status.st_ino) == (mark.device, mark.inode)
        if mark.length == 0 and not is_it:
            return False  # any file has this place
        found = os.pread(descriptor, len(pending), mark.length)
        if not pending.startswith(found):
            return False
        if is_it:
            _write(descriptor, pending[len(found) :], path)
        else:  # a copy, to which nobody adds
            self.append(pending[len(found) :])
        return True

    def close(self) -> None:
        os.close(self._descriptor)

    def _opened(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error.strerror}") from None

    def _identity(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_dev, status.st_ino


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _rotated(path: Path) -> list[Path]:
    """What may have been the file, the latest first."""
    found = [one for one in path.parent.glob("*") if one.name.startswith(path.name) and one != path]
    return sorted(found, key=lambda one: one.stat().st_mtime_ns, reverse=True)


def _tail(descriptor: int, length: int) -> str:
    start = max(length - _TAIL, 0)
    return hashlib.blake2b(os.pread(descriptor, length - start, start), digest_size=12).hexdigest()


def _write(descriptor: int, data: bytes, path: Path) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
