"""Join 4: the lines of one queue id on one host are one message, from its first line to `removed`."""

from __future__ import annotations

from logscope.correlate.closing import say_changed
from logscope.correlate.layout import *
from logscope.correlate.tables import *
from logscope.engine import kernel

SETTLE = 5 * SECOND  # after `removed`, for lines that the log daemon swapped
STALE = 30 * SECOND  # a `client=` line this long after the last line of an equal id begins another message


@kernel
def find_message(m: Memory, host: int, queue: int) -> int:
    q = m[queue_chain(m, host, queue)]
    while q >= 0:
        if m[q + M_QUEUE] == queue and m[q + M_HOST] == host:
            return int(q)
        q = m[q + M_NEXT]
    return -1


@kernel
def message_of(m: Memory, heap: Bytes, pool: Bytes, e: Vector, begins: bool) -> int:
    """The message of the event's queue id; a line that can only be a message's first begins a new one."""
    q = find_message(m, e[E_HOST], e[E_QUEUE])
    if q >= 0 and begins:
        used = m[q + M_REMOVED] != NULL or m[q + M_S] >= 0
        if used or m[NOW] - m[q + M_LAST] > STALE:
            end_message(m, q)
            q = -1
    if q < 0:
        q = take(m, MESSAGE, M_WIDTH)
        for column in (M_NEXT, M_S, M_S_NEXT, M_EVENTS, M_EVENTS_LAST):
            m[q + column] = -1
        for column in (M_SENT, M_DEFERRED, M_BOUNCED, M_EXPIRED, M_REJECTED, M_HELD, M_DISCARDED):
            m[q + column] = 0
        m[q + M_HOST] = e[E_HOST]
        m[q + M_QUEUE] = e[E_QUEUE]
        m[q + M_QUEUED] = e[E_TIME]
        m[q + M_QUEUE_ID] = keep(m, heap, pool, e[E_T0], TEXT_OF_MESSAGES)
        enchain(m, queue_chain(m, e[E_HOST], e[E_QUEUE]), M_NEXT, q)
    m[q + M_LAST] = m[NOW]
    return q


@kernel
def on_queue(m: Memory, heap: Bytes, pool: Bytes, e: Vector, role: int) -> None:
    """Any line with a queue id that is not smtpd's."""
    q = message_of(m, heap, pool, e, False)
    push_event(m, q + M_EVENTS, e)
    if m[KEEPS_LATE] and m[q + M_S] >= 0:
        say_changed(m, -1, m[q + M_S])
    if role == R_MESSAGE_ID:
        m[q + M_MESSAGE_ID] = keep(m, heap, pool, e[E_T1], TEXT_OF_MESSAGES)
    elif role == R_QUEUE_ACTIVE:
        m[q + M_SENDER] = keep(m, heap, pool, e[E_T1], TEXT_OF_MESSAGES)
        m[q + M_SIZE] = e[E_N0]
        m[q + M_RECIPIENTS] = e[E_N1]
    elif role == R_QUEUE_REMOVED:
        m[q + M_REMOVED] = e[E_TIME]
        push_timer(m, TIMER_MESSAGE, SETTLE, q)
        look_early(m, q)
    elif role == R_DELIVERY:
        status = e[E_N0]
        if status == D_SENT:
            m[q + M_SENT] += 1
        elif status == D_DEFERRED:
            m[q + M_DEFERRED] += 1
        elif status == D_BOUNCED:
            m[q + M_BOUNCED] += 1
        elif status == D_EXPIRED:
            m[q + M_EXPIRED] += 1
        if e[E_T5] != NULL:
            m[q + M_NEXT_QUEUE_ID] = keep(m, heap, pool, e[E_T5], TEXT_OF_MESSAGES)
        if m[WANT_DELIVERIES]:
            add_delivery(m, heap, pool, q, e)
    elif e[E_N0] == 1:
        m[q + M_REJECTED] += 1
    elif e[E_N0] == 2:
        m[q + M_HELD] += 1
    elif e[E_N0] == 3:
        m[q + M_DISCARDED] += 1
    elif e[E_N0] == 4:
        m[q + M_EXPIRED] += 1


@kernel
def add_delivery(m: Memory, heap: Bytes, pool: Bytes, q: int, e: Vector) -> None:
    y = take(m, DELIVERY, Y_WIDTH)
    m[y + Y_HOST] = e[E_HOST]
    m[y + Y_QUEUED] = m[q + M_QUEUED]
    m[y + Y_QUEUE_ID] = m[q + M_QUEUE_ID]
    m[y + Y_LOGGED] = e[E_TIME]
    m[y + Y_RELAY_HI] = e[E_HI]
    m[y + Y_RELAY_LO] = e[E_LO]
    m[y + Y_RELAY_PORT] = e[E_PORT]
    m[y + Y_STATUS] = e[E_N0]
    m[y + Y_DELAY] = e[E_N1]
    m[y + Y_DELAY_A] = e[E_N2]
    m[y + Y_DELAY_B] = e[E_N3]
    m[y + Y_DELAY_C] = e[E_N4]
    m[y + Y_DELAY_D] = e[E_N5]
    m[y + Y_RECIPIENT] = keep(m, heap, pool, e[E_T1], TEXT_OF_DELIVERIES)
    m[y + Y_ORIGINAL] = keep(m, heap, pool, e[E_T2], TEXT_OF_DELIVERIES)
    m[y + Y_RELAY] = keep(m, heap, pool, e[E_T3], TEXT_OF_DELIVERIES)
    m[y + Y_REPLY] = keep(m, heap, pool, e[E_T4], TEXT_OF_DELIVERIES)
    m[y + Y_DSN] = e[E_HI2]
    m[y + Y_TLS] = keep(m, heap, pool, e[E_LO2], TEXT_OF_DELIVERIES)
    m[y + Y_SOURCE] = e[E_SOURCE]
    m[y + Y_LINE] = e[E_LINE]
    append(m, DELIVERIES_FIRST, y)
    m[DELIVERIES_COUNT] += 1


@kernel
def end_message(m: Memory, q: int) -> None:
    """Nothing more comes for this message; its row stays until its session has been handed out."""
    if m[q + M_STATE] != OPEN:
        return
    unchain(m, queue_chain(m, m[q + M_HOST], m[q + M_QUEUE]), M_NEXT, q)
    m[q + M_STATE] = CLOSED
    s = m[q + M_S]
    if s >= 0:
        m[s + S_OPEN_MESSAGES] -= 1
    else:
        append(m, MESSAGES_FIRST, q)
        m[MESSAGES_COUNT] += 1
