"""Recycled memory that chunks of input are read into.

Chunks are read, not mapped: a mapped file counts as the process's memory and faults when somebody truncates
it. A few large buffers, used again and again, keep the peak the same however much is read.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue

import numpy as np
import numpy.typing as npt

Buffer = npt.NDArray[np.uint8]

CHUNK_SIZE = 8 << 20
PADDING = 64
"""Bytes behind the input that a scanner may look at, so that it need not ask at each byte whether the end is
near.
"""


def new_buffer(size: int = CHUNK_SIZE) -> Buffer:
    """An array for `size` bytes of input, with `PADDING` zero bytes behind."""
    buffer = np.empty(size + PADDING, dtype=np.uint8)
    buffer[size:] = 0
    return buffer


def grown(buffer: Buffer) -> Buffer:
    """A buffer of twice the size with the same content, for a line longer than a chunk."""
    larger = new_buffer(2 * (len(buffer) - PADDING))
    larger[: len(buffer)] = buffer
    return larger


class BufferPool:
    """Hands out buffers and takes them back. Any thread may do either."""

    def __init__(self, size: int = CHUNK_SIZE) -> None:
        self.size = size
        self._idle: SimpleQueue[Buffer] = SimpleQueue()

    def take(self) -> Buffer:
        """An idle buffer, or a new one. Its content is left from earlier use, its padding zero."""
        try:
            return self._idle.get_nowait()
        except Empty:
            return new_buffer(self.size)

    def give(self, buffer: Buffer) -> None:
        """Take a buffer back. One that has grown is let go, so a long line costs memory once."""
        if len(buffer) == self.size + PADDING:
            self._idle.put(buffer)
