"""A disk in memory that forgets, fails and fills up, as real ones do.

What was written lasts over a power cut only when it was synced: the content of a file, and, apart from it,
the names in its directory. What was not synced may last or may not; `power_cut` tries each possibility.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path


class PowerCutError(Exception):
    """The machine has stopped at this operation."""


class MemoryDisk:
    """Args:
    fails_at: the number of the operation that fails, from 0.
    how: an errno for that operation, or None for the end of everything.
    """

    def __init__(self, fails_at: int | None = None, how: int | None = None) -> None:
        self.operations = 0
        self._fails_at, self._how = fails_at, how
        self._contents: dict[int, bytes] = {}
        self._durable_contents: dict[int, bytes] = {}
        self._names: dict[Path, int] = {}
        self._durable_names: dict[Path, int] = {}
        self._directories: set[Path] = set()
        self._next = 0

    def _step(self) -> None:
        number, self.operations = self.operations, self.operations + 1
        if number == self._fails_at:
            if self._how is None:
                raise PowerCutError
            raise OSError(self._how, os.strerror(self._how))

    def create(self, path: Path, data: bytes) -> None:
        self._step()
        if path in self._names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._next += 1
        inode = self._next
        self._names[path] = inode
        self._contents[inode] = data[: len(data) // 2]  # as far as it got
        try:
            self._step()
            self._contents[inode] = data
            self._step()
            self._durable_contents[inode] = data
        except OSError:
            del self._names[path]
            raise

    def begin(self, path: Path) -> MemoryTail:
        self._step()
        self._next += 1
        self._names[path] = self._next
        self._contents[self._next] = b""
        return MemoryTail(self, self._next)

    def rename(self, path: Path, target: Path) -> None:
        self._step()
        self._names[target] = self._names.pop(path)

    def sync(self, directory: Path) -> None:
        self._step()
        for names in (self._durable_names, self._names):
            for path in [path for path in names if path.parent == directory]:
                if path in self._names:
                    self._durable_names[path] = self._names[path]
                else:
                    del self._durable_names[path]

    def remove(self, path: Path) -> None:
        self._step()
        self._names.pop(path, None)

    def read(self, path: Path) -> bytes:
        return self._contents[self._names[path]]

    def read_part(self, path: Path, offset: int, length: int) -> bytes:
        return self.read(path)[offset : offset + length]

    def names(self, directory: Path) -> list[str]:
        self._directories.add(directory)
        return self.listed(directory)

    def listed(self, directory: Path) -> list[str]:
        return sorted(path.name for path in self._names if path.parent == directory)

    def mails(self) -> list[bytes]:
        """What is in mailboxes."""
        return [self.read(path) for path in sorted(self._names) if path.parent.name == "new"]

    def power_cut(self) -> Iterator[MemoryDisk]:
        """Every disk that may be found afterwards.

        Each name that was not synced is old or new. A file whose content was not synced has any part of it:
        what was synced, half of the rest, or all.
        """
        paths = sorted(self._durable_names.keys() | self._names.keys())
        unsure = [path for path in paths if self._durable_names.get(path) != self._names.get(path)]
        for choice in product((False, True), repeat=len(unsure)):
            names = dict(self._durable_names)
            for path, is_new in zip(unsure, choice, strict=True):
                inode = self._names.get(path)
                if is_new and inode is not None:
                    names[path] = inode
                elif is_new:
                    names.pop(path, None)
            for contents in self._possible(sorted(set(names.values()))):
                found = MemoryDisk()
                found._next = self._next
                found._names, found._durable_names = dict(names), dict(names)
                found._contents, found._durable_contents = dict(contents), dict(contents)
                yield found

    def _possible(self, inodes: list[int]) -> Iterator[dict[int, bytes]]:
        """What may be in these files."""
        possible = []
        for inode in inodes:
            synced, written = self._durable_contents.get(inode, b""), self._contents[inode]
            half = written[: (len(synced) + len(written)) // 2]
            possible.append(list(dict.fromkeys((synced, half, written))))
        for contents in product(*possible):
            yield dict(zip(inodes, contents, strict=True))


class MemoryTail:
    """The end of a file that grows, on such a disk."""

    def __init__(self, disk: MemoryDisk, inode: int) -> None:
        self._disk, self._inode = disk, inode

    def append(self, data: bytes) -> None:
        before = self._disk._contents[self._inode]
        self._disk._step()
        self._disk._contents[self._inode] = before + data[: len(data) // 2]  # as far as it got
        self._disk._step()
        self._disk._contents[self._inode] = before + data

    def sync(self) -> None:
        self._disk._step()
        self._disk._durable_contents[self._inode] = self._disk._contents[self._inode]

    def truncate(self, size: int) -> None:
        self._disk._step()
        self._disk._contents[self._inode] = self._disk._contents[self._inode][:size]

    def close(self) -> None:
        """Nothing is kept open."""
