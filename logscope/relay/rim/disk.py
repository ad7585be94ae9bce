"""The few things a spool does to a disk, so that tests can stand in for one that fails or forgets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol


class Tail(Protocol):
    """The end of a file that grows. Everything raises OSError."""

    def append(self, data: bytes) -> None:
        """Put bytes behind the others. After an error any part of them may be there."""

    def sync(self) -> None:
        """Have them on the disk before coming back."""

    def truncate(self, size: int) -> None:
        """Keep so many bytes."""

    def close(self) -> None:
        """No more is to come."""


class Disk(Protocol):
    """What spools and mailboxes need. Everything raises OSError."""

    def begin(self, path: Path) -> Tail:
        """Make a new file that is to grow."""

    def create(self, path: Path, data: bytes) -> None:
        """Make a new file with this content, and have it on the disk before coming back."""

    def rename(self, path: Path, target: Path) -> None:
        """Give a file another name, replacing what had it."""

    def sync(self, directory: Path) -> None:
        """Have the names in a directory on the disk before coming back."""

    def remove(self, path: Path) -> None:
        """Take a file away, if it is there."""

    def read(self, path: Path) -> bytes:
        """The content of a file."""

    def read_part(self, path: Path, offset: int, length: int) -> bytes:
        """Some of it."""

    def names(self, directory: Path) -> list[str]:
        """The files of a directory, which is made when it is not there."""

    def listed(self, directory: Path) -> list[str]:
        """The files of a directory; none when it is not there."""


class RealTail:
    """The end of a file of this machine."""

    def __init__(self, path: Path) -> None:
        self._descriptor = _new(path)

    def append(self, data: bytes) -> None:
        _write(self._descriptor, data)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)  # the new length is of what that brings to the disk

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)

    def close(self) -> None:
        os.close(self._descriptor)


class RealDisk:
    """The disk of this machine."""

    def begin(self, path: Path) -> Tail:
        return RealTail(path)

    def create(self, path: Path, data: bytes) -> None:
        descriptor = _new(path)
        try:
            _write(descriptor, data)
            os.fsync(descriptor)
        except BaseException:
            os.unlink(path)  # noqa: PTH108 - beside its counterpart above
            raise
        finally:
            os.close(descriptor)

    def rename(self, path: Path, target: Path) -> None:
        os.rename(path, target)  # noqa: PTH104 - here and below: half the time that pathlib takes

    def sync(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        try:
            os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            pass

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def read_part(self, path: Path, offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def names(self, directory: Path) -> list[str]:
        self._make(directory)
        return self.listed(directory)

    def listed(self, directory: Path) -> list[str]:
        if not directory.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False))

    def _make(self, directory: Path) -> None:
        """Make a directory, and have its own name on the disk too."""
        if not directory.is_dir():
            self._make(directory.parent)
            directory.mkdir(mode=0o700, exist_ok=True)
            self.sync(directory.parent)


def _new(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
