"""Where the chunks of all sources lie: their bytes in one pool, their events in one table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import E_WIDTH
from logscope.pipeline.feed import PADDING

_BYTES_AN_EVENT = 32  # no line that the joins read is shorter


class Segments:
    """Some places for each source, used in turn.

    Args:
        size: bytes of a chunk.
        places: for each source.
    """

    def __init__(self, sources: int, size: int, places: int) -> None:
        self.places = places
        self._width = size + PADDING
        self._rows = size // _BYTES_AN_EVENT
        self.pool = np.zeros(sources * places * self._width, np.uint8)
        self.events = np.empty((sources * places * self._rows, E_WIDTH), np.int64)

    def buffers(self, source: int) -> list[NDArray[np.uint8]]:
        """The bytes of a source's places."""
        first = source * self.places
        return [
            self.pool[at * self._width : (at + 1) * self._width] for at in range(first, first + self.places)
        ]

    def place(self, source: int, place: int) -> tuple[int, int]:
        """Offset of the bytes in the pool, and of the first event."""
        slot = source * self.places + place
        return slot * self._width, slot * self._rows

    @property
    def all(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Events and bytes of all places."""
        return self.events, self.pool
