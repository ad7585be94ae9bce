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

    def names(self, directory: Path) -> list[str]:
        self._directories.add(directory)
        return sorted(path.name for path in self._names if path.parent == directory)

    def mails(self) -> list[bytes]:
        """What is in mailboxes."""
        return [self.read(path) for path in sorted(self._names) if path.parent.name == "new"]

    def power_cut(self) -> Iterator[MemoryDisk]:
        """Every disk that may be found afterwards: each name that was not synced is old or new."""
        paths = sorted(self._durable_names.keys() | self._names.keys())
        unsure = [path for path in paths if self._durable_names.get(path) != self._names.get(path)]
        for choice in product((False, True), repeat=len(unsure)):
            found = MemoryDisk()
            found._next = self._next
            found._names = dict(self._durable_names)
            for path, is_new in zip(unsure, choice, strict=True):
                inode = self._names.get(path)
                if is_new and inode is not None:
                    found._names[path] = inode
                elif is_new:
                    found._names.pop(path, None)
            found._durable_names = dict(found._names)
            for inode in found._names.values():
                # A file whose content was not synced has any part of it; the worst is nothing.
                content = self._durable_contents.get(inode, b"")
                found._contents[inode] = found._durable_contents[inode] = content
            yield found
