"""Heaps of numbers, the least first, in columns of which somebody else keeps the count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from logscope.engine import kernel

Vector = NDArray[np.int64]


@kernel
def push(heap: Vector, count: int, key: int) -> None:
    """Add a key to a heap that has room."""
    at = count
    while at > 0:
        above = (at - 1) >> 1
        if heap[above] <= key:
            break
        heap[at] = heap[above]
        at = above
    heap[at] = key


@kernel
def pop(heap: Vector, count: int) -> int:
    """Take the least key from a heap that is not empty."""
    least = heap[0]
    key = heap[count - 1]
    last = count - 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= last:
            break
        if child + 1 < last and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key
    return int(least)
