"""Standard input, named pipes and what child processes write: bytes that come when they come."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from logscope.errors import InputError
from logscope.sources.buffers import PADDING, Buffer


class Piped:
    """A descriptor that is read as bytes arrive; an input of `live.Live`.

    Args:
        name: what it is called in the `source` column.
        descriptor: open for reading; closed by `close`.
        ends: whether the end of the data is the end of the input.
    """

    compression: str | None = None
    size: int | None = None
    modified_at: int | None = None
    head = b""
    lines_before: int | None = None

    def __init__(self, name: str, descriptor: int, *, ends: bool = True) -> None:
        self.name = name
        self.descriptor = descriptor
        self.follows = True
        self.position = 0
        self.problem: InputError | None = None
        self.notes: list[str] = []
        self._ends = ends

    def ready(self) -> bool:
        """Whether there is something to read, if it is only the end."""
        if not self.follows:
            return False
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def read_into(self, buffer: Buffer, at: int) -> int:
        """Read what has arrived; 0 when that is nothing."""
        if not self.ready():
            return 0
        try:
            count = os.readv(self.descriptor, [memoryview(buffer)[at : len(buffer) - PADDING]])  # type: ignore[arg-type]
        except BlockingIOError:
            return 0
        except OSError as error:
            self.problem = InputError(f"{self.name}: reading failed: {error.strerror}")
            count = 0
        self.position += count
        if count == 0 and (self._ends or self.problem):
            self.follows = False
        return count

    def look(self, now: int) -> None:
        """Nothing becomes of a pipe."""

    def stop(self) -> None:
        """What has not been read by now is not read any more."""
        self.follows = False

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def standard_input() -> Piped:
    """What `-` stands for.

    Raises:
        InputError: there is none.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("-: there is no standard input")
    return Piped("-", os.dup(sys.stdin.fileno()))


def named_pipe(path: Path, name: str) -> Piped:
    """A FIFO, such as a log daemon writes to; it stays open while writers come and go."""
    try:
        return Piped(name, os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), ends=False)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None
