"""One input: a file, compressed or not, a pipe, or standard input.

A source gives bytes and remembers what was wrong. It raises only when it cannot be opened; damage met later
ends the input early, with `problem` saying so, and what was read before it stands.
"""

from __future__ import annotations

import os
import re
import stat
from datetime import date
from pathlib import Path
from typing import BinaryIO, Self

from logscope.errors import InputError
from logscope.sources.buffers import PADDING, Buffer
from logscope.sources.compression import MAGIC_LENGTH, DamagedError, Decompressed, detect

HEAD_SIZE = 1 << 16
"""Bytes looked at before reading in earnest: what kind of file it is, and the first stamps."""

_ROTATION_DATE = re.compile(r"[-.](\d{4})-?(\d\d)-?(\d\d)(?:\d{2})?(?=\.|$)")


class Source:
    """Bytes of one input.

    Args:
        name: the name the user gave it, as the `source` column shows it; `-` is standard input.
        file: open for reading bytes, unbuffered best; closed by `close`.
        path: where it is in the file system, if it is there.

    Attributes:
        problem: why the input ended early, else None.
        position: bytes of the file consumed so far, compressed ones for a compressed file; for progress bars.
        size: bytes of the file, None when nobody knows (pipes).
        modified_at: its modification time in nanoseconds since 1970, None for pipes. A weak hint: a copy has
            another.
        rotated_on: the date in a rotated file's name (`mail.log-20260731.gz`), else None.
        compression: `gzip`, `bzip2`, `xz`, `zstd` or None. Told by the first bytes.
        head: the first bytes of the decoded input, up to 64 KiB; reading is not affected.
        follows: False: the end of a file is the end of this input.
    """

    follows = False

    def __init__(self, name: str, file: BinaryIO, path: Path | None = None) -> None:
        self.name = name
        self.path = path
        self.problem: InputError | None = None
        self.position = 0
        self.size: int | None = None
        self.modified_at: int | None = None
        self.identity: tuple[int, int] | None = None
        self.rotated_on = rotation_date(path.name) if path else None
        self._file = file
        self._raw_head = b""
        self._note_status()
        self._raw_head = self._read_raw(HEAD_SIZE)
        while 0 < len(self._raw_head) < MAGIC_LENGTH and (more := self._read_raw(HEAD_SIZE)):
            self._raw_head += more
        found = detect(self._raw_head)
        self.compression = found.name if found else None
        self._decoded = Decompressed(found, self._next_raw) if found else None
        self._pending = b""
        self.head = self._pending = self._read_head()

    def _note_status(self) -> None:
        try:
            status = os.fstat(self._file.fileno())
        except OSError:  # not a file of the operating system (io.BytesIO has no descriptor)
            return
        self.identity = (status.st_dev, status.st_ino)
        if stat.S_ISREG(status.st_mode):
            self.size = status.st_size
            self.modified_at = status.st_mtime_ns

    @property
    def is_file(self) -> bool:
        """Whether it can be opened again and read from its beginning."""
        return self.path is not None and self.size is not None

    def read_into(self, buffer: Buffer, at: int) -> int:
        """Read the next bytes into `buffer[at:]`, leaving its padding alone.

        Returns:
            how many bytes were read: at least one, or 0 at the end (then look at `problem`). A file fills the
            buffer; a pipe gives what has arrived.

        Raises:
            ValueError: there is no room behind `at`.
        """
        room = len(buffer) - PADDING - at
        if room <= 0:
            raise ValueError("no room in the buffer")
        view = memoryview(buffer)[at : at + room]  # type: ignore[arg-type]
        filled = self._take_pending(view)
        while filled < room and (self.is_file or not filled):
            count = self._fill(view[filled:])
            if not count:
                break
            filled += count
        return filled

    def close(self) -> None:
        """Close the file. Standard input is closed too; nobody else reads it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Source({self.name!r})"

    def _take_pending(self, view: memoryview) -> int:
        count = min(len(view), len(self._pending))
        view[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def _fill(self, view: memoryview) -> int:
        if self._decoded is not None:
            self._pending = self._read_decoded(len(view))
            return self._take_pending(view)
        try:
            count: int = self._file.readinto(view) or 0  # type: ignore[attr-defined]
        except OSError as error:
            self._stop(f"reading failed: {_reason(error)}")
            return 0
        self.position += count
        return count

    def _read_head(self) -> bytes:
        if self._decoded is None:
            return self._raw_head
        head = b""
        while len(head) < HEAD_SIZE and (more := self._read_decoded(HEAD_SIZE - len(head))):
            head += more
            if not self.is_file:
                break
        return head

    def _read_decoded(self, limit: int) -> bytes:
        assert self._decoded is not None
        if self.problem:
            return b""
        try:
            return self._decoded.read(limit)
        except DamagedError as damage:
            self._stop(str(damage))
            return b""

    def _next_raw(self, size: int) -> bytes:
        head, self._raw_head = self._raw_head, b""
        return head or self._read_raw(size)

    def _read_raw(self, size: int) -> bytes:
        try:
            data = self._file.read(size) or b""
        except OSError as error:
            self._stop(f"reading failed: {_reason(error)}")
            return b""
        self.position += len(data)
        return data

    def _stop(self, what: str) -> None:
        if self.problem is None:
            self.problem = InputError(f"{self.name}: {what}", hint="What could be read of it was read.")


def rotation_date(file_name: str) -> date | None:
    """The date logrotate's `dateext` put into a file's name.

    >>> rotation_date("mail.log-20260731.gz")
    datetime.date(2026, 7, 31)
    """
    for match in _ROTATION_DATE.finditer(file_name):
        year, month, day = (int(part) for part in match.groups())
        try:
            return date(year, month, day)
        except ValueError:
            continue
    return None


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
