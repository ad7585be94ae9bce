"""The joins as a stage: fed events of several sources, it hands back what is finished; closed, it hands back
the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.correlate.handout import (
    EVENT_FACTS,
    INNER_FACTS,
    MESSAGE_FACTS,
    REJECT_FACTS,
    SESSION_FACTS,
    Room,
    copy_open,
)
from logscope.correlate.layout import *
from logscope.correlate.moves import (
    ADVANCE,
    COLLECT,
    EVICT,
    FINISH,
    SHOW_EARLY,
    STEP,
    WIDEN,
    move,
    move_text,
    text_in_use,
    words_in_use,
)
from logscope.correlate.still_open import list_begun, list_open
from logscope.correlate.tables import *

ENOUGH = 1 << 14
"""Sessions that are handed out at once, at most."""
_HEADS, _MOST_HEADS = 1 << 11, 1 << 17  # of chains, in each table; each a power of four times the other
_WORDS_A_HEAD = 128  # of rows, free ones included; a session has about as many
_WORDS_AN_EVENT = 256  # more than one event can ever take
_LINES_A_SESSION = 16  # of evidence; where that is not enough, fewer sessions are handed out at once

_TEXT_COLUMNS = (  # kind of row, column
    (SCREEN, P_HELO),
    *((SMTPD, c) for c in (S_NAME, S_HELO, S_SASL_USER, S_COMMANDS)),
    *((MESSAGE, c) for c in (M_QUEUE_ID, M_MESSAGE_ID, M_SENDER, M_NEXT_QUEUE_ID)),
    *((REJECT, c) for c in (J_TEXT, J_SENDER, J_RECIPIENT)),
    *((DELIVERY, c) for c in (Y_QUEUE_ID, Y_RECIPIENT, Y_ORIGINAL, Y_RELAY, Y_REPLY, Y_TLS)),
)


@dataclass(frozen=True)
class Taken:
    """What is finished: facts as `handout` lists them. All of it is valid until the joiner's next move after
    the next one was taken.

    Attributes:
        sessions: int64[facts, sessions].
        messages, rejects, events, inners, deliveries: int64[things, facts], as far as they are wanted.
        heap: of the texts.
    """

    sessions: Matrix
    messages: Matrix
    rejects: Matrix
    events: Matrix
    inners: Matrix
    deliveries: Matrix
    heap: Bytes

    def only(self, wanted: NDArray[np.bool_]) -> Taken:
        """Some of the sessions, with what belongs to them."""
        places = np.cumsum(wanted) - 1

        def of_those(rows: Matrix) -> Matrix:
            rows = rows[wanted[rows[:, 0]]]
            rows[:, 0] = places[rows[:, 0]]
            return rows

        messages, rejects, events, inners = map(
            of_those, (self.messages, self.rejects, self.events, self.inners)
        )
        sessions = np.ascontiguousarray(self.sessions[:, wanted])
        return Taken(sessions, messages, rejects, events, inners, self.deliveries, self.heap)


class Joiner:
    """The memory of the joins and the moves on it.

    When `step` returns -2, and after `advance` and `finish`, the caller takes all that is finished (`take`,
    until it has nothing more).

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
        memory = _new_memory(_MOST_HEADS if machine_code else _MOST_HEADS >> 2)
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
        self._room, self._other_room = _no_room(), _no_room()  # one may be read while the other is filled

    def take(self) -> Taken | None:
        """Some of what is finished; None when nothing is left."""
        memory = self._memory
        while True:
            self._move(COLLECT)
            if any(self._counts()):
                taken = self._taken(self._room)
                self._room, self._other_room = self._other_room, self._room
                return taken
            if not (memory[SESSIONS_COUNT] or memory[MESSAGES_COUNT] or memory[DELIVERIES_COUNT]):
                return None
            self._room = self._room_for(ENOUGH, self._room)

    def _taken(self, room: Room) -> Taken:
        """What has been copied, of which nothing is counted from now on."""
        counts = self._counts(clear=True)
        sessions, *others = room
        messages, rejects, events, inners, deliveries = (
            rows[:count] for rows, count in zip(others, counts[1:], strict=True)
        )
        return Taken(sessions[:, : counts[0]], messages, rejects, events, inners, deliveries, self.heap)

    def _counts(self, *, clear: bool = False) -> list[int]:
        """How much has been copied to each part of the room."""
        places = range(TAKEN_SESSIONS, TAKEN_SESSIONS + len(self._room))
        counts = [int(self._memory[place]) for place in places]
        for place in places if clear else ():
            self._memory[place] = 0
        return counts

    def _room_for(self, count: int, before: Room) -> Room:
        """Room for so many sessions; more than before, where one session needs all of it."""
        memory, (sessions, messages, rejects, events, inners, deliveries) = self._memory, before
        wanted = memory[WANT_TEXT]

        def more(rows: Matrix, wanted: int, least: int, facts: int) -> Matrix:
            return np.empty((max(2 * len(rows), least) if wanted else 0, facts), np.int64)

        return (
            sessions if sessions.shape[1] else np.empty((SESSION_FACTS, count), np.int64),
            more(messages, wanted & TEXT_OF_MESSAGES, 2 * count, MESSAGE_FACTS),
            more(rejects, wanted & TEXT_OF_REJECTS, 2 * count, REJECT_FACTS),
            more(events, memory[WANT_EVENTS], _LINES_A_SESSION * count, EVENT_FACTS),
            more(inners, 1, 2 * count, INNER_FACTS),
            more(deliveries, memory[WANT_DELIVERIES], 2 * count, Y_WIDTH),
        )

    def without_room(self) -> dict[str, Any]:
        """The attributes when everything finished has been taken; room is made anew."""
        return vars(self) | {"_room": _no_room(), "_other_room": _no_room()}

    def skews(self) -> dict[tuple[int, int], tuple[float, int]]:
        """{(balancer host, mail host): (seconds the mail host is ahead, samples)}."""
        start = int(self._memory[SKEW])
        rows = np.array(self._memory[start : start + SKEW_HOSTS * SKEW_HOSTS * SKEW_WIDTH], np.int64)
        rows = rows.reshape(-1, SKEW_WIDTH)
        return {
            divmod(pair, SKEW_HOSTS): (int(rows[pair, SKEW_MEDIAN]) / 1e9, int(rows[pair, SKEW_COUNT]))
            for pair in np.flatnonzero(rows[:, SKEW_COUNT]).tolist()
        }

    def _run(self, function: Any) -> Any:
        return engine.compiled(function) if self._machine_code else function

    def step(self, events: Matrix, pool: Bytes, cursor: Vector, limit: Vector, live: Vector) -> int:
        """Take events in merged order; returns the source that has none left, -1 when all are taken, -2 for
        "take what is finished and call again".
        """
        if self._memory[HEAP_TOP] + LONGEST_LINE > len(self.heap):
            if self._memory[TAKEN_SESSIONS] or self._memory[TAKEN_MESSAGES] or self._memory[TAKEN_DELIVERIES]:
                return -2
            self._move_text()
        self._reserve()
        rows: Any = events if self._machine_code else _Lists(events)
        return int(
            self._run(move)(STEP, self._memory, self.heap, rows, pool, cursor, limit, live, self._room, 0)
        )

    def hasten(self, hasty: bool) -> None:
        """Say whether a hop of which nobody has heard is not waited for."""
        self._memory[HASTY] = int(hasty)

    def be_eager(self, eager: bool) -> None:
        """Say whether what is complete is to be shown before it is decided, see `show_early`."""
        self._memory[EAGER] = int(eager)

    def show_early(self) -> bool:
        """Hand out what is complete by the events so far; whether there was something to look at."""
        if self._memory[EARLY_FIRST] < 0:
            return False
        self._reserve()
        self._move(SHOW_EARLY)
        return True

    @property
    def now(self) -> int:
        """The time up to which everything has been decided; NULL at the beginning."""
        return int(self._memory[NOW])

    @property
    def first_deadline(self) -> int | None:
        """When the first deadline falls due; None without any."""
        memory, earliest = self._memory, None
        for place in range(TIMERS_FIRST, TIMERS_FIRST + 2 * TIMER_KINDS, 2):
            timer = memory[place]
            if timer >= 0 and (earliest is None or memory[timer + T_AT] < earliest):
                earliest = int(memory[timer + T_AT])
        return earliest

    def is_due(self, until: int) -> bool:
        """Whether a deadline falls before a moment, or at it."""
        first = self.first_deadline
        return first is not None and first <= until

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

    def still_open(self, before: int) -> Taken:
        """Sessions that go on, or have mail in the queue, since before a moment."""
        memory, rows = self._memory, self._listed(list_open, (before,), 2)
        room = self._room_for(rows.shape[1], _no_room())
        while not self._run(copy_open)(memory, rows, room):
            self._counts(clear=True)
            room = self._room_for(rows.shape[1], room)
        return self._taken(room)

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

    def _move(self, what: int, number: int = 0) -> None:
        nothing = np.empty(0, np.int64)
        events, pool = np.empty((0, E_WIDTH), np.int64), np.empty(0, np.uint8)
        self._run(move)(
            what, self._memory, self.heap, events, pool, nothing, nothing, nothing, self._room, number
        )

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
        places = int(memory[HEADS_MASK]) + 1
        if top - bottom > _WORDS_A_HEAD * places and places < memory[HEADS_ROOM]:
            self._move(WIDEN, 4 * places)

    def _move_text(self) -> None:
        """Make room for the text of the next event: what is in use moves to a new heap."""
        memory = self._memory
        live = int(self._run(text_in_use)(memory, self._text_columns))
        heap = np.empty(2 * live + 4 * LONGEST_LINE, np.uint8)
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


class _Lists:
    """Events for plain Python: each row becomes a list when it is read, because lists are many times quicker
    to index.
    """

    def __init__(self, events: Matrix) -> None:
        self._events = events

    def __getitem__(self, index: Any) -> Any:
        return self._events[index].tolist()


def _no_room() -> Room:
    empty = np.empty((0, 0), np.int64)
    return empty, empty, empty, empty, empty, empty


def _new_memory(most_heads: int) -> Memory:
    tables = (KEY_HEADS, ADDRESS_HEADS, PID_HEADS, CLUSTER_HEADS, QUEUE_HEADS)
    skew = HEADER + len(tables) * most_heads
    servers = skew + SKEW_HOSTS * SKEW_HOSTS * SKEW_WIDTH
    talks = servers + SERVER_WIDTH * SERVER_PLACES
    ticks = talks + TALKS_WIDTH
    groups = ticks + SKEW_HOSTS * TICKS_WIDTH
    moments = groups + GROUP_PLACES * GROUP_WIDTH
    labels = moments + HOST_PLACES
    bottom = labels + SKEW_HOSTS
    memory = np.zeros(bottom + 1024, np.int64)
    memory[:skew] = -1
    memory[NOW] = NULL
    memory[TOP] = memory[BOTTOM] = bottom
    memory[HEADS_MASK], memory[HEADS_ROOM] = _HEADS - 1, most_heads
    for number, table in enumerate(tables):
        memory[table] = HEADER + number * most_heads
    memory[SKEW], memory[SERVERS], memory[TALKS], memory[TICKS] = skew, servers, talks, ticks
    memory[GROUPS] = groups
    memory[servers:talks] = -1  # no server has this name
    memory[MOMENTS], memory[LABELS] = moments, labels
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
        EAGER,
        CHAINED,
        TAKEN_SESSIONS,
        TAKEN_MESSAGES,
        TAKEN_REJECTS,
        TAKEN_EVENTS,
        TAKEN_INNERS,
        TAKEN_DELIVERIES,
    ):
        memory[counter] = 0
    return memory
