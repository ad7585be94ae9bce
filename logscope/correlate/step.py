"""The step: events of all sources in merged order in, finished sessions and messages out; and the deadlines
in between.
"""

from __future__ import annotations

from logscope.correlate.chains import look_for_chain
from logscope.correlate.closing import (
    add_closed,
    finish_screen,
    finish_smtpd,
    is_alone,
    settle_balancer,
    settle_screen,
    settle_smtpd,
)
from logscope.correlate.clusters import (
    is_time,
    join_address,
    leave_screen,
    leave_smtpd,
    solve,
    solve_all,
)
from logscope.correlate.handout import Room, collect
from logscope.correlate.hidden import find_hidden, find_visit, watch_balancer, watch_visit
from logscope.correlate.hops import (
    drop_stub,
    on_balancer,
    on_dnsblog,
    on_screen,
    on_screen_connect,
    on_smtpd,
    on_smtpd_connect,
)
from logscope.correlate.late import drop_shelved
from logscope.correlate.layout import *
from logscope.correlate.links import join_balancer, join_key, join_screen
from logscope.correlate.messages import end_message, on_queue
from logscope.correlate.odds import LAST, SOON
from logscope.correlate.pair_costs import BALANCER_SCREEN, BALANCER_SMTPD
from logscope.correlate.tables import *
from logscope.engine import kernel

FOREVER = 2**62
NO_SMTPD = 600 * SECOND  # handed over, and no smtpd line for so long: its lines are lost
LONGEST = 6 * 3600 * SECOND  # a session without any end is given up
AT_ONCE = 64  # finished sessions, messages and deliveries that are copied together
WAIT_RIVALS = 60 * SECOND  # for the ends of the other sessions of a cluster


@kernel
def step(
    m: Memory,
    heap: Bytes,
    events: Matrix,
    pool: Bytes,
    cursor: Vector,
    limit: Vector,
    live: Vector,
    room: Room,
) -> int:
    """Take events in merged order until a live source has none left; returns that source.

    Returns -1 when all are taken and no source is live, -2 when there are more, but no room for another one,
    or for what is finished.

    `cursor` and `limit` are each source's first unread row of `events` and the row after its last; `live`
    is 1 for a source that can bring more; `room` is for what is finished.
    """
    sources = cursor.shape[0]
    while True:
        first = -1
        for source in range(sources):
            if cursor[source] >= limit[source]:
                if live[source]:
                    return source
                continue
            if first < 0 or events[cursor[source], E_ORDER] < events[cursor[first], E_ORDER]:
                first = source
        if first < 0:
            return -1
        # The earliest row of the others: up to there this source's rows need no comparison. Of equal ones the
        # source with the lower number goes first.
        second = FOREVER
        for source in range(sources):
            if source != first and cursor[source] < limit[source]:
                order = events[cursor[source], E_ORDER]
                second = min(second, order if source > first else order - 1)
        at = cursor[first]
        while at < limit[first] and (at == cursor[first] or events[at, E_ORDER] <= second):
            if is_full(m, room):
                cursor[first] = at
                return -2
            take_event(m, heap, pool, events[at])
            at += 1
        cursor[first] = at


@kernel
def is_full(m: Memory, room: Room) -> bool:
    """Whether the memory has to grow, or the caller to take what is finished, before the next event."""
    if m[SESSIONS_COUNT] + m[MESSAGES_COUNT] + m[DELIVERIES_COUNT] >= AT_ONCE:
        collect(m, room)
        if m[SESSIONS_COUNT] + m[MESSAGES_COUNT] + m[DELIVERIES_COUNT] > 0:
            return True
    return bool(m[TOP] > m[ROOM] or m[HEAP_TOP] > m[HEAP_ROOM])


@kernel
def take_event(m: Memory, heap: Bytes, pool: Bytes, e: Vector) -> None:
    if e[E_ORDER] > m[NOW]:
        run_timers(m, e[E_ORDER])
        m[NOW] = e[E_ORDER]
    count = m[MOMENTS] + (e[E_HOST] & (HOST_PLACES - 1))
    m[count] += 1
    m[MOMENT] = m[count]
    role = e[E_ROLE]
    if role == R_NONE:
        return
    if role == R_BALANCER:
        on_balancer(m, heap, pool, e)
    elif role == R_SCREEN_CONNECT:
        on_screen_connect(m, heap, pool, e)
    elif role <= R_SCREEN_OTHER:
        on_screen(m, heap, pool, e, role)
    elif role == R_DNSBLOG:
        on_dnsblog(m, heap, pool, e)
    elif role == R_SMTPD_CONNECT:
        on_smtpd_connect(m, heap, pool, e)
    elif role <= R_SMTPD_OTHER:
        on_smtpd(m, heap, pool, e, role)
    else:
        on_queue(m, heap, pool, e, role)


# --- deadlines ----------------------------------------------------------------------------------------------


@kernel
def run_timers(m: Memory, until: int) -> None:
    """Fire what falls due up to a moment, earliest first."""
    while True:
        kind = -1
        earliest = until
        for which in range(TIMER_KINDS):
            timer = m[TIMERS_FIRST + 2 * which]
            if timer >= 0 and (m[timer + T_AT] < earliest or (kind < 0 and m[timer + T_AT] == earliest)):
                kind = which
                earliest = m[timer + T_AT]
        if kind < 0:
            return
        m[NOW] = max(m[NOW], earliest)
        timer = m[TIMERS_FIRST + 2 * kind]
        m[TIMERS_FIRST + 2 * kind] = m[timer + T_NEXT]
        row = m[timer + T_INDEX]
        alive = m[row + 1] == m[timer + T_OF] and m[row] == OPEN
        give_back(m, timer)
        if not alive:
            continue
        if kind == TIMER_MESSAGE:
            fire_message(m, row)
        elif kind == TIMER_SMTPD:
            fire_smtpd(m, row)
        elif kind == TIMER_SCREEN:
            fire_screen(m, row)
        elif kind == TIMER_SCREENED:
            find_balancer(m, row, SOON)
            if m[row + P_STATE] == OPEN and m[row + P_B] < 0 and m[KEEPS_LATE] and m[REACHED] == 0:
                give_up_or_wait(m, row)
        elif kind == TIMER_BALANCED:
            look_for_chain(m, row)
            join_balancer(m, row, SOON)
            watch_balancer(m, row)
            if m[KEEPS_LATE] and m[VISITED] == 0:
                if m[HASTY]:
                    fire_balancer(m, row)
                else:
                    push_timer(m, TIMER_BALANCED, WAIT_END, row)
        elif kind == TIMER_SHELF:
            drop_shelved(m, row)
        else:
            fire_balancer(m, row)


@kernel
def give_up_or_wait(m: Memory, p: int) -> None:
    """A postscreen session, live, while nobody has heard of a balancer."""
    if is_alone(m):
        m[p + P_NO_BALANCER] = 1
        settle_screen(m, p)
        finish_screen(m, p)
    else:
        push_timer(m, TIMER_SCREENED, WAIT_END, p)


@kernel
def fire_message(m: Memory, q: int) -> None:
    end_message(m, q)
    s = m[q + M_S]
    if s >= 0:
        finish_smtpd(m, s)


@kernel
def fire_smtpd(m: Memory, s: int) -> None:
    """Some seconds after an smtpd session's end: the balancer's line is there, so what can be decided is
    decided.
    """
    if m[s + S_ENDED] == NULL:
        return
    waited = m[NOW] - m[s + S_ENDED]
    settle_unqueued(m, s)
    c = m[s + S_CLUSTER]
    if c >= 0 and m[s + S_P] < 0 and m[c + C_P_COUNT] > 0:
        quiet = waited >= WAIT_RIVALS or not running(m, c)
        in_time = is_time(m, c)
        if in_time:
            solve(m, c, quiet)
        if m[s + S_P] < 0 and not (quiet and in_time):
            push_timer(m, TIMER_SMTPD, WAIT_END, s)
            return
    if m[s + S_P] >= 0:
        p = m[s + S_P]
        find_balancer(m, p, SOON)
        if m[p + P_STATE] == OPEN:
            push_timer(m, TIMER_SCREEN, WAIT, p)
            if m[p + P_B] < 0 and is_alone(m):
                m[p + P_NO_BALANCER] = 1
                settle_screen(m, p)
            finish_screen(m, p)
        return
    if m[s + S_B] < 0 and m[s + S_HI] != NULL:
        patience = LAST if waited >= WAIT else SOON
        if m[s + S_KEY] >= 0:
            join_key(m, m[s + S_HI], m[s + S_LO], m[s + S_PORT], patience)
        if m[s + S_B] < 0 and m[s + S_KEY2] >= 0:
            join_key(m, m[s + S_HEADER_HI], m[s + S_HEADER_LO], m[s + S_HEADER_PORT], patience)
        without_port = m[s + S_B] < 0 and m[s + S_PORT] == NULL
        if without_port and (m[s + S_CLUSTER] < 0 or is_time(m, m[s + S_CLUSTER])):
            join_address(m, s)
        if m[s + S_B] < 0 and m[s + S_STATE] == OPEN:
            watch_visit(m, s, BALANCER_SMTPD)
            find_hidden(m, s, BALANCER_SMTPD, patience == LAST)
    if m[s + S_STATE] != OPEN:
        return
    if m[s + S_B] < 0 and waited < WAIT and m[s + S_HI] != NULL and not is_alone(m):
        push_timer(m, TIMER_SMTPD, WAIT_END, s)
        return
    if m[s + S_B] < 0:
        m[s + S_NO_BALANCER] = 1
        settle_smtpd(m, s)
    leave_smtpd(m, s)
    finish_smtpd(m, s)


@kernel
def find_balancer(m: Memory, p: int, patience: int) -> None:
    """Look for a postscreen session's balancer session, by its port or, where that tells nothing, by time."""
    join_screen(m, p, patience)
    if m[p + P_STATE] == OPEN and m[p + P_B] < 0:
        watch_visit(m, p, BALANCER_SCREEN)
        find_hidden(m, p, BALANCER_SCREEN, patience == LAST)


@kernel
def settle_unqueued(m: Memory, s: int) -> None:
    """Mail that was begun and never reached the queue (refused, or the client left) has no `removed` to wait
    for.
    """
    q = m[s + S_MESSAGES]
    while q >= 0:
        queued = (
            m[q + M_SIZE] != NULL
            or m[q + M_SENT] + m[q + M_DEFERRED] + m[q + M_BOUNCED] + m[q + M_EXPIRED] > 0
        )
        if m[q + M_STATE] == OPEN and not queued and m[NOW] - m[q + M_LAST] >= WAIT_END:
            end_message(m, q)
        q = m[q + M_S_NEXT]


@kernel
def running(m: Memory, c: int) -> bool:
    s = m[c + C_S_FIRST]
    while s >= 0:
        if m[s + S_ENDED] == NULL:
            return True
        s = m[s + S_CNEXT]
    return False


@kernel
def fire_screen(m: Memory, p: int) -> None:
    s = m[p + P_S]
    ended = m[p + P_ENDED] if s < 0 else m[s + S_ENDED]
    if m[p + P_B] < 0 and ended != NULL and m[NOW] - ended >= WAIT:
        find_balancer(m, p, LAST)
        if m[p + P_STATE] != OPEN:
            return
        if m[p + P_B] < 0:
            m[p + P_NO_BALANCER] = 1
            settle_screen(m, p)
    elif s < 0 and ended == NULL:
        c = m[p + P_CLUSTER]
        waits = c >= 0 and m[c + C_S_COUNT] > 0
        silent = m[NOW] - (m[p + P_CONNECTED] if m[p + P_VERDICT_AT] == NULL else m[p + P_VERDICT_AT])
        b = m[p + P_B]
        over = b >= 0 and m[b + B_ASAP] == 0
        if not waits and (
            (over and silent >= WAIT)
            or (silent >= NO_SMTPD and m[p + P_VERDICT_AT] != NULL)
            or silent >= LONGEST
        ):
            give_up_screen(m, p)
        else:
            push_timer(m, TIMER_SCREEN, WAIT, p)
            return
    finish_screen(m, p)


@kernel
def give_up_screen(m: Memory, p: int) -> None:
    """No smtpd line came for it, or no end."""
    m[p + P_EXPIRED] = 1
    leave_screen(m, p)
    find_balancer(m, p, LAST)
    if m[p + P_B] < 0:
        m[p + P_NO_BALANCER] = 1
        settle_screen(m, p)


@kernel
def fire_balancer(m: Memory, b: int) -> None:
    if not is_lone(m, b):
        return
    join_balancer(m, b, LAST)
    if is_lone(m, b):
        find_visit(m, b)
    if is_lone(m, b):
        settle_balancer(m, b)
        m[b + B_EXPIRED] = 1
        m[b + B_STATE] = CLOSED
        add_closed(m, b, -1, -1)


@kernel
def is_lone(m: Memory, b: int) -> bool:
    """Whether neither a mail server's session is known for a balancer's, nor one of a balancer behind it."""
    return bool(m[b + B_P] < 0 and m[b + B_S] < 0 and m[b + B_INNER] < 0)


# --- the end ------------------------------------------------------------------------------------------------


@kernel
def finish(m: Memory) -> None:
    """The input is over: everything is decided as if enough time had passed, and what is still open is handed
    out so.
    """
    for _ in range(4):  # what a deadline puts off falls due in a later round
        run_timers(m, m[NOW] + WAIT + WAIT_END + SECOND)
    m[FINISHING] = 1
    for kind in (CLUSTER, SMTPD, MESSAGE, SCREEN, SMTPD, BALANCER):
        row = m[BOTTOM]
        end = m[TOP]
        while row < end:
            if m[row + 2] == kind and m[row] == OPEN:
                close_row(m, row, kind)
            row += width_of(m[row + 2])


@kernel
def close_row(m: Memory, row: int, kind: int) -> None:
    if kind == CLUSTER:
        solve_all(m, row)
    elif kind == SMTPD:
        close_smtpd(m, row)
    elif kind == MESSAGE:
        end_message(m, row)
    elif kind == SCREEN:
        hand_out_screen(m, row)
    elif m[row + B_INNER] < 0:  # else the innermost speaks for it
        settle_balancer(m, row)
        m[row + B_STATE] = CLOSED
        add_closed(m, row, -1, -1)


@kernel
def close_smtpd(m: Memory, s: int) -> None:
    """Called twice for each: before the messages are closed, to look for its balancer session; after, to hand
    it out.
    """
    if m[s + S_STARTED] == NULL:
        drop_stub(m, s)
        return
    leave_smtpd(m, s)
    if m[s + S_P] >= 0:
        return
    if m[s + S_B] < 0 and m[s + S_NO_BALANCER] == 0:
        if m[s + S_KEY] >= 0:
            join_key(m, m[s + S_HI], m[s + S_LO], m[s + S_PORT], LAST)
        if m[s + S_B] < 0:
            m[s + S_NO_BALANCER] = 1
            settle_smtpd(m, s)
        if m[s + S_OPEN_MESSAGES] > 0 or m[s + S_STATE] != OPEN:
            return
    m[s + S_STATE] = CLOSED
    if m[s + S_B] >= 0:
        m[m[s + S_B] + B_STATE] = CLOSED
    add_closed(m, m[s + S_B], -1, s)


@kernel
def hand_out_screen(m: Memory, p: int) -> None:
    leave_screen(m, p)
    settle_screen(m, p)
    m[p + P_STATE] = CLOSED
    s = m[p + P_S]
    b = m[p + P_B]
    if s >= 0:
        m[s + S_STATE] = CLOSED
    if b >= 0:
        m[b + B_STATE] = CLOSED
    add_closed(m, b, p, s)
