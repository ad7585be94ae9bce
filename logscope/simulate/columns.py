"""Texts of a block's pool, and its numbers, as columns of Arrow.

What is null is found out in the pass that looks at the values anyway, and told in bits, as Arrow wants it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope.correlate.layout import NULL
from logscope.engine import kernel
from logscope.simulate.texts import LENGTH, SPAN, Ints, Pool, Runner
from logscope.wide_copy import SPARE, copy16

Bits = NDArray[np.uint8]
_EVERYWHERE = np.empty(0, np.bool_)


def to_arrow(pool: Pool, spans: Ints, there: NDArray[np.bool_] | None, run: Runner) -> pa.Array:
    """string[n] of spans, null where there is none; `run` gives a kernel, compiled or not.

    Texts that stand together in the pool stay there; others are copied.
    """
    count = len(spans)
    offsets = np.zeros(count + 1, np.int32)
    validity = np.zeros(count + 7 >> 3, np.uint8)
    first, length, absent = run(look_at)(spans, _EVERYWHERE if there is None else there, offsets, validity)
    if first < 0:
        room = np.empty(length + SPARE, np.uint8)
        run(gather)(pool, spans, validity, offsets, room)
        data = room[:length]
    else:
        data = pool[first : first + int(offsets[-1])]
    mask = pa.py_buffer(validity) if absent else None
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data), mask)


def numbers(values: Ints, kind: pa.DataType | None, run: Runner) -> pa.Array:
    """A column of numbers, null where there is none. They are not copied.

    Args:
        kind: what they mean; whole numbers unless told otherwise.
    """
    validity = np.zeros(len(values) + 7 >> 3, np.uint8)
    absent = run(mark_present)(values, validity)
    mask = pa.py_buffer(validity) if absent else None
    return pa.Array.from_buffers(kind or pa.int64(), len(values), [mask, pa.py_buffer(values)])


@kernel
def look_at(
    spans: Ints, there: NDArray[np.bool_], offsets: NDArray[np.int32], validity: Bits
) -> tuple[int, int, int]:
    """Mark the texts that are there, and find where each begins behind the first one, if they stand one
    behind the other in the pool, with small gaps only before those that follow an absent one.

    Returns:
        Where the first one is, or -1 when they do not stand together; length of all; how many are absent.
    """
    first = -1
    end = 0
    gaps = 0
    length = 0
    absent = 0
    together = True
    after_absent = False
    for i in range(spans.shape[0]):
        span = spans[i]
        if span == NULL or (there.shape[0] > 0 and not there[i]):
            absent += 1
            after_absent = True
        else:
            validity[i >> 3] |= 1 << (i & 7)
            start = span >> SPAN
            size = span & LENGTH
            length += size
            if first < 0:
                first = start
                end = start
            if start != end:
                together = together and start > end and after_absent
                gaps += start - end
                offsets[i] = start - first  # the absent one before it has what is in between
            end = start + size
            after_absent = False
        offsets[i + 1] = end - max(first, 0)
    if not together or 2 * gaps > end - first:
        first = -1
    elif first < 0:
        first = 0
    return first, length, absent


@kernel
def mark_present(values: Ints, validity: Bits) -> int:
    """Set the bits of those that are not null; returns how many are."""
    present = 0
    for i in range(values.shape[0]):
        bit = int(values[i] != NULL)
        validity[i >> 3] |= bit << (i & 7)
        present += bit
    return int(values.shape[0] - present)


@kernel
def gather(pool: Pool, spans: Ints, validity: Bits, offsets: NDArray[np.int32], out: Pool) -> None:
    """Copy each span that is there behind the one before. What is copied too far the next one overwrites."""
    at = 0
    for i in range(spans.shape[0]):
        offsets[i] = at
        if validity[i >> 3] >> (i & 7) & 1:
            start = spans[i] >> SPAN
            length = spans[i] & LENGTH
            for k in range(0, length, SPARE):
                copy16(pool, start + k, out, at + k)
            at += length
    offsets[spans.shape[0]] = at


@kernel
def put_sixteen_digits(numbers: Ints, out: NDArray[np.uint8]) -> None:
    """Each number as sixteen digits, one after the other; those below 0 as noughts."""
    for i in range(numbers.shape[0]):
        value = max(numbers[i], 0)
        at = 16 * i + 16
        for _ in range(16):
            at -= 1
            out[at] = 48 + value % 10
            value //= 10
