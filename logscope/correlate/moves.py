"""The moves on the memory of the joins, and what is done to all of its rows.

These are what is compiled; the code around them (`join`) is apart, so that it can change without that.
"""

from __future__ import annotations

from logscope.correlate.early import show_early
from logscope.correlate.handout import Room, collect
from logscope.correlate.layout import *
from logscope.correlate.step import finish, run_timers, step
from logscope.correlate.still_open import evict
from logscope.correlate.tables import *
from logscope.engine import kernel

STEP, ADVANCE, FINISH, COLLECT, WIDEN, EVICT, SHOW_EARLY = range(7)


@kernel
def move(
    what: int,
    m: Memory,
    heap: Bytes,
    events: Matrix,
    pool: Bytes,
    cursor: Vector,
    limit: Vector,
    live: Vector,
    room: Room,
    number: int,
) -> int:
    """All that happens to the memory, as one: the parts share most of their code, compiled once this way."""
    if what == STEP:
        return step(m, heap, events, pool, cursor, limit, live, room)
    if what == ADVANCE:
        run_timers(m, number)
    elif what == FINISH:
        finish(m)
    elif what == WIDEN:
        widen(m, number)
    elif what == EVICT:
        evict(m, number)
    elif what == SHOW_EARLY:
        show_early(m)
    else:
        collect(m, room)
    return 0


@kernel
def words_in_use(m: Memory) -> int:
    total = 0
    row = m[BOTTOM]
    while row < m[TOP]:
        width = width_of(m[row + 2])
        if m[row] != FREE:
            total += width
        row += width
    return total


@kernel
def text_in_use(m: Memory, columns: Matrix) -> int:
    total = 0
    row = m[BOTTOM]
    while row < m[TOP]:
        kind = m[row + 2]
        for i in range(columns.shape[1]):
            column = columns[kind, i]
            if column >= 0 and m[row] != FREE and m[row + column] != NULL:
                total += m[row + column] & 0xFFFFFF
        row += width_of(kind)
    return total


@kernel
def move_text(m: Memory, columns: Matrix, old: Bytes, new: Bytes) -> int:
    """Copy the texts that are still in use to a new heap; returns its top."""
    top = 0
    row = m[BOTTOM]
    while row < m[TOP]:
        kind = m[row + 2]
        for i in range(columns.shape[1]):
            column = columns[kind, i]
            if column >= 0 and m[row] != FREE and m[row + column] != NULL:
                start = m[row + column] >> 24
                length = m[row + column] & 0xFFFFFF
                copy(old, start, new, top, length)
                m[row + column] = (top << 24) | length
                top += length
        row += width_of(kind)
    return top
