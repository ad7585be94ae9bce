"""Memory that is used again once nobody looks at it any more.

A block of sessions and all that is made of it are some forty megabytes. Asking the system for them anew each
time costs as much as drawing the sessions does: it clears what it gives, in pages of two megabytes where it
can, also where only the beginning of each is wanted.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)

_SPARE = 1.25
"""The next block is a little larger."""


class Memory:
    """Hands out arrays. May be used by several threads at once.

    An array, and all that looks at it or at a part of it, holds a reference to its memory; so long as there
    is one, nobody else gets it.
    """

    def __init__(self) -> None:
        self._kept: list[NDArray[np.uint8]] = []  # by length
        self._lock = Lock()

    def empty(self, shape: tuple[int, ...], kind: type[_T]) -> NDArray[_T]:
        """An array whose values are whatever was there."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
        with self._lock:
            part: NDArray[Any] = self._room(size)[:size]
        return part.view(kind).reshape(shape)

    def _room(self, size: int) -> NDArray[np.uint8]:
        """The least of the unused pieces that do; where there is none, the largest unused one is replaced."""
        least = bisect_left(self._kept, size, key=len)
        for place in range(least, len(self._kept)):
            if _references(self._kept, place) <= _UNUSED:
                return self._kept[place]
        for place in reversed(range(least)):
            if _references(self._kept, place) <= _UNUSED:
                del self._kept[place]
                break
        found = np.empty(int(size * _SPARE) + 64, np.uint8)
        insort(self._kept, found, key=len)
        return found


def _references(pieces: list[NDArray[np.uint8]], place: int) -> int:
    return sys.getrefcount(pieces[place])


_UNUSED = _references([np.empty(1, np.uint8)], 0)
"""How many references there are to what is only in a list; releases of Python count in different ways."""
