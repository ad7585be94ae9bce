"""The joins as a stage: fed events of several sources, it hands back what is finished; closed, it hands back
the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from logscope import engine
from logscope.correlate.layout import *
from logscope.correlate.step import finish, release, run_timers, step
from logscope.correlate.still_open import evict, list_begun, list_open
from logscope.correlate.tables import *
from logscope.engine import kernel

STEP, ADVANCE, FINISH, RELEASE, EVICT = range(5)
ENOUGH = 1 << 13
"""Sessions, messages and deliveries after which a step ends, so that what is finished does not pile up."""
_WORDS_AN_EVENT = 256  # more than one event can ever take

_TEXT_COLUMNS = (  # kind of row, column
    (SCREEN, P_HELO),
    *((SMTPD, c) for c in (S_NAME, S_HELO, S_SASL_USER, S_COMMANDS)),
    *((MESSAGE, c) for c in (M_QUEUE_ID, M_MESSAGE_ID, M_SENDER, M_NEXT_QUEUE_ID)),
    *((REJECT, c) for c in (J_TEXT, J_SENDER, J_RECIPIENT)),
    *((DELIVERY, c) for c in (Y_QUEUE_ID, Y_RECIPIENT, Y_ORIGINAL, Y_RELAY, Y_REPLY, Y_TLS)),
)


class Joiner:
    """The memory of the joins and the three moves on it.

    After each `step` and after `finish` the caller reads what is finished (`output.Finished`) and calls
    `release`.

    Args:
        machine_code: run the compiled steps; plain Python otherwise (the same functions).
        events, deliveries: whether the caller wants them; what is not wanted costs nothing.
        text: whose text the caller wants, `TEXT_OF_SESSIONS` and others as bits.
        late: lines may come late: what is handed out incomplete is kept for a while, see `late`.
    """

    def __init__(
        self,
        *,
        machine_code: bool,
        events: bool = True,
        deliveries: bool = True,
        text: int = ALL_TEXT,
        late: bool = False,
    ) -> None:
        self._machine_code = machine_code
        memory = _new_memory(1 << (19 if machine_code else 12))
        memory[KEEPS_LATE] = late
        memory[WANT_EVENTS], memory[WANT_DELIVERIES], memory[WANT_TEXT] = events, deliveries, text
        self._memory: Any = (
            memory if machine_code else memory.tolist()
        )  # a list is what plain Python is quick with
        self.heap = np.empty(0, np.uint8)
        columns = np.full((KINDS, 8), -1, np.int64)
        for kind, column in _TEXT_COLUMNS:
            columns[kind, np.argmin(columns[kind])] = column
        self._text_columns = columns

    @property
    def finished_anything(self) -> bool:
        """Whether the last step finished a session or a message, or saw a delivery."""
        memory = self._memory
        return bool(memory[SESSIONS_COUNT] or memory[MESSAGES_COUNT] or memory[DELIVERIES_COUNT])

    def skews(self) -> dict[tuple[int, int], tuple[float, int]]:
        """{(balancer host, mail host): (seconds the mail host is ahead, samples)}."""
        start = int(self._memory[SKEW])
        rows = np.array(self._memory[start : start + SKEW_HOSTS * SKEW_HOSTS * SKEW_WIDTH], np.int64)
        rows = rows.reshape(-1, SKEW_WIDTH)
        return {
            divmod(pair, SKEW_HOSTS): (int(rows[pair, SKEW_MEDIAN]) / 1e9, int(rows[pair, SKEW_COUNT]))
            for pair in np.flatnonzero(rows[:, SKEW_COUNT]).tolist()
        }

    def memory(self) -> Memory:
        """The memory as an array; a copy in plain Python, where it is a list."""
        return self._memory if self._machine_code else np.array(self._memory[: self._memory[TOP]], np.int64)

    def _run(self, function: Any) -> Any:
        return engine.compiled(function) if self._machine_code else function

    def step(self, events: Matrix, pool: Bytes, cursor: Vector, limit: Vector, live: Vector) -> int:
        """Take events in merged order; returns the source that has none left, -1 when all are taken, -2 for
        "release what is finished and call again".
        """
        self._reserve()
        rows: Any = events if self._machine_code else _Lists(events)
        return int(self._run(move)(STEP, self._memory, self.heap, rows, pool, cursor, limit, live, ENOUGH))

    def hasten(self, hasty: bool) -> None:
        """Say whether a hop of which nobody has heard is not waited for."""
        self._memory[HASTY] = int(hasty)

    @property
    def now(self) -> int:
        """The time up to which everything has been decided; NULL at the beginning."""
        return int(self._memory[NOW])

    def is_due(self, until: int) -> bool:
        """Whether a deadline falls before a moment, or at it."""
        first = (int(self._memory[TIMERS_FIRST + 2 * kind]) for kind in range(TIMER_KINDS))
        return any(timer >= 0 and self._memory[timer + T_AT] <= until for timer in first)

    def advance(self, until: int) -> None:
        """Decide what falls due up to a moment before which no more lines are expected."""
        self._reserve()
        self._move(ADVANCE, until)

    def use_machine_code(self) -> None:
        """Go on in machine code."""
        self._machine_code = True
        self._memory = np.array(self._memory, np.int64)

    def finish(self) -> None:
        """No more input: decide what can be decided, hand out all the rest."""
        self._reserve()
        self._move(FINISH)

    def evict(self) -> None:
        """Hand out as it is the older half of what is open."""
        self._reserve()
        times = self._listed(list_begun, ())
        if len(times):
            self._move(EVICT, int(np.partition(times, len(times) // 2)[len(times) // 2]))

    def still_open(self, before: int) -> Matrix:
        """Sessions that go on, or have mail in the queue, since before a moment: rows of postscreen (first)
        and smtpd, -1 where there is none.
        """
        return self._listed(list_open, (before,), 2)

    def _listed(self, run: Any, arguments: tuple[int, ...], height: int = 0) -> Vector:
        """What a kernel lists, with as much room as it needs."""
        found = np.empty((height, 0) if height else 0, np.int64)
        count = int(self._run(run)(self._memory, *arguments, found))
        if count == 0:
            return found
        found = np.empty((height, count) if height else count, np.int64)
        self._run(run)(self._memory, *arguments, found)
        return found

    @property
    def taken(self) -> int:
        """Bytes that rows and their texts have taken so far, those given back included."""
        return 8 * int(self._memory[TOP] - self._memory[BOTTOM]) + int(self._memory[HEAP_TOP])

    def kept(self) -> int:
        """Bytes of rows and texts that are in use."""
        words = int(self._run(words_in_use)(self._memory))
        return 8 * words + int(self._run(text_in_use)(self._memory, self._text_columns))

    def release(self) -> None:
        """Forget what was handed out."""
        self._move(RELEASE)

    def _move(self, what: int, until: int = 0) -> None:
        nothing = np.empty(0, np.int64)
        events, pool = np.empty((0, E_WIDTH), np.int64), np.empty(0, np.uint8)
        self._run(move)(what, self._memory, self.heap, events, pool, nothing, nothing, nothing, until)

    def _reserve(self) -> None:
        """Make room for the next event, and for as much as there is already: what the deadlines need that it
        brings due.
        """
        memory = self._memory
        top, bottom = int(memory[TOP]), int(memory[BOTTOM])
        needed = 2 * top - bottom + _WORDS_AN_EVENT
        if needed > len(memory):
            self._memory = memory = self._extended(needed + needed // 2)
        memory[ROOM] = (len(memory) + bottom - _WORDS_AN_EVENT) // 2
        if memory[HEAP_TOP] + LONGEST_LINE > len(self.heap):
            live = int(self._run(text_in_use)(memory, self._text_columns))
            heap = np.empty(2 * (live + LONGEST_LINE), np.uint8)
            memory[HEAP_TOP] = self._run(move_text)(memory, self._text_columns, self.heap, heap)
            self.heap = heap
        memory[HEAP_ROOM] = len(self.heap) - LONGEST_LINE

    def _extended(self, size: int) -> Any:
        """The memory, with room for so many words."""
        if not self._machine_code:
            return self._memory + [0] * (size - len(self._memory))
        memory = np.empty(size, np.int64)
        memory[: self._memory[TOP]] = self._memory[: self._memory[TOP]]
        return memory


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
    number: int,
) -> int:
    """All that happens to the memory, as one: the parts share most of their code, compiled once this way."""
    if what == STEP:
        return step(m, heap, events, pool, cursor, limit, live, number)
    if what == ADVANCE:
        run_timers(m, number)
    elif what == FINISH:
        finish(m)
    elif what == EVICT:
        evict(m, number)
    else:
        release(m)
    return 0


class _Lists:
    """Events for plain Python: each row becomes a list when it is read, because lists are many times quicker
    to index.
    """

    def __init__(self, events: Matrix) -> None:
        self._events = events

    def __getitem__(self, index: Any) -> Any:
        return self._events[index].tolist()


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


def _new_memory(heads: int) -> Memory:
    tables = (KEY_HEADS, ADDRESS_HEADS, PID_HEADS, CLUSTER_HEADS, QUEUE_HEADS)
    skew = HEADER + len(tables) * heads
    servers = skew + SKEW_HOSTS * SKEW_HOSTS * SKEW_WIDTH
    talks = servers + SERVER_WIDTH * SERVER_PLACES
    ticks = talks + TALKS_WIDTH
    groups = ticks + SKEW_HOSTS * TICKS_WIDTH
    moments = groups + GROUP_PLACES * GROUP_WIDTH
    bottom = moments + HOST_PLACES
    memory = np.zeros(bottom + 1024, np.int64)
    memory[:skew] = -1
    memory[NOW] = NULL
    memory[TOP] = memory[BOTTOM] = bottom
    memory[HEADS_MASK] = heads - 1
    for number, table in enumerate(tables):
        memory[table] = HEADER + number * heads
    memory[SKEW], memory[SERVERS], memory[TALKS], memory[TICKS] = skew, servers, talks, ticks
    memory[GROUPS] = groups
    memory[servers:talks] = -1  # no server has this name
    memory[MOMENTS] = moments
    for counter in (
        MOMENT,
        HEAP_TOP,
        FINISHING,
        LINKED,
        REACHED,
        UNTOLD,
        SESSIONS_COUNT,
        MESSAGES_COUNT,
        DELIVERIES_COUNT,
        KEEPS_LATE,
        SHELVED_COUNT,
        HASTY,
        VISITED,
    ):
        memory[counter] = 0
    return memory
