"""Texts of a block's pool as columns of Arrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope.correlate.layout import NULL
from logscope.engine import kernel
from logscope.simulate.texts import LENGTH, SPAN, Ints, Pool, Runner
from logscope.wide_copy import SPARE, copy16


def to_arrow(pool: Pool, spans: Ints, there: NDArray[np.bool_] | None, run: Runner) -> pa.Array:
    """string[n] of spans, null where there is none; `run` gives a kernel, compiled or not.

    Texts that stand together in the pool stay there; others are copied.
    """
    absent = spans == NULL if there is None else (spans == NULL) | ~there
    offsets = np.zeros(len(spans) + 1, np.int32)
    first = run(stand_together)(spans, absent, offsets)
    if first < 0:
        np.cumsum(np.where(absent, 0, spans & LENGTH), out=offsets[1:])
        length = int(offsets[-1])
        room = np.empty(length + SPARE, np.uint8)
        run(gather)(pool, spans, offsets, room)
        data = room[:length]
    else:
        data = pool[first : first + int(offsets[-1])]
    mask = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
    return pa.StringArray.from_buffers(len(spans), pa.py_buffer(offsets), pa.py_buffer(data), mask)


@kernel
def stand_together(spans: Ints, absent: NDArray[np.bool_], offsets: NDArray[np.int32]) -> int:
    """Find where each text begins behind the first one, if they stand one behind the other in the pool, with
    small gaps only before those that follow an absent one. Returns where the first one is, or -1.
    """
    first = -1
    end = 0
    gaps = 0
    for i in range(spans.shape[0]):
        if not absent[i]:
            start = spans[i] >> SPAN
            if first < 0:
                first = start
                end = start
            if start != end:
                if start < end or not absent[i - 1]:
                    return -1
                gaps += start - end
                offsets[i] = start - first  # the absent one before it has what is in between
            end = start + (spans[i] & LENGTH)
        offsets[i + 1] = end - max(first, 0)
    return -1 if 2 * gaps > end - first else max(first, 0)


@kernel
def gather(pool: Pool, spans: Ints, offsets: NDArray[np.int32], out: Pool) -> None:
    """Copy each span to its place; what is behind it is overwritten by the next. Those of no length are left
    out.
    """
    for i in range(spans.shape[0]):
        at = offsets[i]
        length = offsets[i + 1] - at
        if length > 0:
            start = spans[i] >> SPAN
            for k in range(0, length, SPARE):
                copy16(pool, start + k, out, at + k)
