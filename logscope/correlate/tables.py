"""Rows handed out and taken back, lists, chains, deadlines and kept text: the few moves all joins are
made of.

All rows live in one memory of int64 words, `m`, that begins with counters and the heads of lists and
chains. A row is known by where it begins and never moves, so `m[p + P_HOST]` is the host of postscreen
session `p`. One array to hand around keeps the compiler quick, and plain Python runs the same functions
over a list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import *
from logscope.engine import kernel

Memory = NDArray[np.int64]
Matrix = NDArray[np.int64]
Vector = NDArray[np.int64]
Bytes = NDArray[np.uint8]

# --- kinds of rows ------------------------------------------------------------------------------------------
(BALANCER, SCREEN, SMTPD, CLUSTER, MESSAGE, KEY, NODE, REJECT, DELIVERY, TIMER, FINISHED, KINDS) = range(12)
WIDTHS = (B_WIDTH, P_WIDTH, S_WIDTH, C_WIDTH, M_WIDTH, X_WIDTH, N_WIDTH, J_WIDTH, Y_WIDTH, T_WIDTH, Z_WIDTH)
LINK = 3  # column through which free rows, and rows of the lists below, are linked

# --- the first words of the memory --------------------------------------------------------------------------
(
    NOW,
    # events of the current event's host so far: the order that its log has, whoever else's lines are between
    MOMENT,
    MOMENTS,  # where those counts begin, one for each host
    TOP,  # first word that no row has used yet
    ROOM,  # up to here the next event is sure to find room for its rows
    HEAP_ROOM,  # and up to here for its text
    BOTTOM,  # first word of the first row
    HEADS_MASK,  # of how many heads each table makes use
    HEADS_ROOM,  # and how many it has room for
    KEY_HEADS,  # where each table of chain heads begins
    ADDRESS_HEADS,
    PID_HEADS,
    CLUSTER_HEADS,
    QUEUE_HEADS,
    SKEW,  # where the skew estimates begin
    SERVERS,  # where the hosts of servers begin
    LINKED,  # balancer sessions that were linked of late, and how many of them were behind another balancer
    CHAINED,
    GROUPS,  # where the groups of visits with one address begin
    REACHED,  # whether any balancer session reached a server
    TICKS,  # where the times between a queue file and the balancer's end begin
    TALKS,  # where the byte counts of sessions that talked alike begin
    HEAP_TOP,
    WANT_EVENTS,
    WANT_DELIVERIES,
    WANT_TEXT,  # of what: bits; without that of messages, no message is handed out by itself
    FINISHING,  # no more input: sessions without an end are decided too
    UNTOLD,  # lines that name a session nobody knows
    SESSIONS_FIRST,  # handed out and not yet released
    SESSIONS_LAST,
    SESSIONS_COUNT,
    MESSAGES_FIRST,  # finished messages that no session brought
    MESSAGES_LAST,
    MESSAGES_COUNT,
    DELIVERIES_FIRST,
    DELIVERIES_LAST,
    DELIVERIES_COUNT,
    KEEPS_LATE,  # whether what was handed out incomplete is kept for late lines
    SHELVED_COUNT,  # how much is
    HASTY,  # whether a hop of which nobody has heard is not waited for
    VISITED,  # whether a mail server saw any session
    EAGER,  # whether what may be complete is looked at, see `early`
    EARLY_FIRST,  # what is to be looked at
    EARLY_LAST,
    # of what is finished, how much has been copied: see `handout`
    TAKEN_SESSIONS,
    TAKEN_MESSAGES,
    TAKEN_REJECTS,
    TAKEN_EVENTS,
    TAKEN_INNERS,
    TAKEN_DELIVERIES,
    LABELS,  # where hashes of mail hosts' short names begin; 0 for hosts that logged no session yet
    FREE_FIRST,  # one list of free rows for each kind
) = range(52)
# Of two that fall due together the first goes first.
(
    TIMER_MESSAGE,
    TIMER_SMTPD,
    TIMER_SCREENED,  # some seconds after postscreen ended a session
    TIMER_BALANCED,  # and after the balancer's line
    TIMER_SCREEN,
    TIMER_BALANCER,
    TIMER_SHELF,  # what was kept for late lines is forgotten
    TIMER_KINDS,
) = range(8)
TIMERS_FIRST = FREE_FIRST + KINDS  # first and last deadline of each kind of timer
HEADER = TIMERS_FIRST + 2 * TIMER_KINDS


SKEW_SAMPLES = 63
SKEW_HOSTS = 32  # hosts beyond this share no estimate; their sessions are joined all the same
SKEW_COUNT, SKEW_MEDIAN, SKEW_FIRST = 0, 1, 2
SKEW_WIDTH = SKEW_FIRST + SKEW_SAMPLES
SERVER_PLACES = 1024
(
    SERVER_NAME,
    SERVER_HOST,  # the mail host where its sessions turn up
    SERVER_LINKS,  # sessions seen there lately
    SERVER_STRAYS,  # and elsewhere
    SERVER_LINKED,  # sessions seen anywhere, and how many of them were behind another balancer
    SERVER_BEHIND,
    SERVER_SEEN,  # sessions that the balancer sent to it, but for those of the last two periods
    SERVER_PERIOD,  # number of the present period, its sessions so far, and those of the one before
    SERVER_PRESENT,
    SERVER_BEFORE,
    SERVER_GROUP,  # the group of visits that its sessions are among, where addresses are hidden
    SERVER_FIRST,  # its sessions that nobody at a mail server is known for
    SERVER_LAST,
    SERVER_COUNT,
    SERVER_LOOKED,  # its sessions for which another balancer's line was looked for, and how many had one
    SERVER_PAIRED,
    SERVER_LEAN,  # how much more often they seemed to be the outer ones of these
    SERVER_LABEL,  # hash of its short name
    SERVER_WIDTH,
) = range(19)
GROUP_PLACES = 256
GROUP_TRIES = 4
(
    GROUP_TAKEN,
    GROUP_HOST,
    GROUP_HI,
    GROUP_LO,
    GROUP_SERVICE,
    GROUP_WHAT,  # which hop they are seen at first
    GROUP_SEEN,  # visits, less those of others that wanted its place
    GROUP_KNOWN,  # 1: its sessions come through a balancer that is known
    GROUP_FIRST,  # visits that no balancer session is known for
    GROUP_LAST,
    GROUP_COUNT,
    GROUP_LOOK_AT,  # count of visits from which on to look again whose they are
    GROUP_SEARCHED_AT,  # when that was last done, how long to wait then, and when visits were last matched
    GROUP_PATIENCE,
    GROUP_SOLVED_AT,
    GROUP_LEFT_OVER,
    GROUP_SAME_AS,  # the group of another address of the same balancer that it was united with; 0 for none
    GROUP_WIDTH,
) = range(18)
MOST_WATCHED = 2048  # sessions without a partner kept for each server, and each group of visits
TALK_PLACES = 4096
TALKS_WIDTH = 1 + 3 * TALK_PLACES  # counts: all, by bytes, by counters, by both
MOST_TALKS = 1 << 16
TICK_LEVELS = 3  # each with an eighth as many parts of a second as the one before
TICK_PLACES = 256
TICKS_WIDTH = (
    1 + TICK_PLACES + TICK_PLACES // 8 + TICK_PLACES // 64
)  # counts: all, and by parts of each level
MOST_TICKS = 512
HOST_PLACES = 256

WAIT = 300 * SECOND  # for the other hop's line, by merged time
WAIT_END = 8 * SECOND  # after smtpd's end, for the balancer's line of the same moment


TEXT_OF_SESSIONS, TEXT_OF_REJECTS, TEXT_OF_MESSAGES, TEXT_OF_DELIVERIES = 1, 2, 4, 8
TEXT_OF_NAMES, TEXT_OF_COMMANDS = 16, 32  # of the sessions' client names and disconnect counters
ALL_TEXT = 63


# --- hashing ------------------------------------------------------------------------------------------------
# Products stay below 2**62, so that plain Python and machine code agree and nothing overflows.


@kernel
def mix(h: int, x: int) -> int:
    h = (h ^ x ^ (x >> 32)) & 0x7FFFFFFF
    h = (h * 0x45D9F3B) & 0x3FFFFFFFFFFFFFF
    return (h ^ (h >> 25)) & 0x7FFFFFFF


@kernel
def hash_bytes(data: Bytes, start: int, length: int) -> int:
    """62 bits of hash in two lanes: two queue ids of one host and day share it by chance once in millions of
    days.
    """
    one = 0x1234567
    two = 0x2A5F3C1
    for i in range(start, start + length):
        byte = int(data[i])
        one = ((one ^ byte) * 0x01000193) & 0x7FFFFFFF
        two = ((two + byte) * 0x0019660D + 0x3C6EF35F) & 0x7FFFFFFF
        two ^= two >> 13
    return (one << 31) | two


# --- text kept beyond its batch -----------------------------------------------------------------------------


@kernel
def copy(source: Bytes, start: int, target: Bytes, at: int, length: int) -> None:
    """Copy some bytes. (Numba's `a[…] = b[…]` takes longer to compile than all of this module.)"""
    for i in range(length):
        target[at + i] = source[start + i]


@kernel
def keep(m: Memory, heap: Bytes, pool: Bytes, span: int, whose: int) -> int:
    """Copy a span of the byte pool to the heap; NULL stays NULL, and so is text that nobody wants."""
    if span == NULL or m[WANT_TEXT] & whose == 0:
        return NULL
    start = span >> 24
    length = span & 0xFFFFFF
    top = m[HEAP_TOP]
    copy(pool, start, heap, top, length)
    m[HEAP_TOP] = top + length
    return int((top << 24) | length)


# --- rows ---------------------------------------------------------------------------------------------------


@kernel
def take(m: Memory, kind: int, width: int) -> int:
    """A new row, all NULL but its head; there always is room: the caller of the step extends the memory
    beforehand.
    """
    row = m[FREE_FIRST + kind]
    if row >= 0:
        m[FREE_FIRST + kind] = m[row + LINK]
        serial = m[row + 1] + 1
    else:
        row = m[TOP]
        m[TOP] = row + width
        serial = 1
    for i in range(row + 3, row + width):
        m[i] = NULL
    m[row] = OPEN
    m[row + 1] = serial
    m[row + 2] = kind
    return int(row)


@kernel
def width_of(kind: int) -> int:
    return WIDTHS[kind]


@kernel
def give_back(m: Memory, row: int) -> None:
    m[row] = FREE
    free = FREE_FIRST + m[row + 2]
    m[row + LINK] = m[free]
    m[free] = row


@kernel
def append(m: Memory, first: int, row: int) -> None:
    """Put a row at the end of the list whose first and last row stand in words `first` and `first + 1`."""
    m[row + LINK] = -1
    if m[first] < 0:
        m[first] = row
    else:
        m[m[first + 1] + LINK] = row
    m[first + 1] = row


@kernel
def give_back_list(m: Memory, row: int) -> None:
    while row >= 0:
        after = m[row + LINK]
        give_back(m, row)
        row = after


@kernel
def push_event(m: Memory, first: int, e: Vector) -> None:
    """Append the event's line to a list of evidence."""
    if m[WANT_EVENTS] == 0:
        return
    node = take(m, NODE, N_WIDTH)
    m[node + N_SOURCE] = e[E_SOURCE]
    m[node + N_LINE] = e[E_LINE]
    append(m, first, node)


@kernel
def push_reject(m: Memory, heap: Bytes, pool: Bytes, first: int, e: Vector) -> None:
    """Append a refusal to the list at `first`; its count is the word behind the list."""
    m[first + 2] += 1
    if m[WANT_TEXT] & TEXT_OF_REJECTS == 0:
        return
    node = take(m, REJECT, J_WIDTH)
    m[node + J_ACTION] = e[E_N0]
    m[node + J_STAGE] = e[E_N1]
    m[node + J_CODE] = e[E_N2]
    m[node + J_DSN] = e[E_T2]
    m[node + J_TEXT] = keep(m, heap, pool, e[E_T3], TEXT_OF_REJECTS)
    m[node + J_SENDER] = keep(m, heap, pool, e[E_T4], TEXT_OF_REJECTS)
    m[node + J_RECIPIENT] = keep(m, heap, pool, e[E_T5], TEXT_OF_REJECTS)
    append(m, first, node)


# --- deadlines: each list is in the order in which they fall due, because its delay is always the same ------


@kernel
def push_timer(m: Memory, which: int, delay: int, row: int) -> None:
    timer = take(m, TIMER, T_WIDTH)
    m[timer + T_AT] = m[NOW] + delay
    m[timer + T_INDEX] = row
    m[timer + T_OF] = m[row + 1]
    append(m, TIMERS_FIRST + 2 * which, timer)


@kernel
def look_early(m: Memory, row: int) -> None:
    """See to it that `early` looks at the session of a row, whose lines may all be there now."""
    if m[EAGER] != 1:
        return
    timer = take(m, TIMER, T_WIDTH)
    m[timer + T_INDEX] = row
    m[timer + T_OF] = m[row + 1]
    append(m, EARLY_FIRST, timer)


# --- chains of rows with equal hash -------------------------------------------------------------------------


@kernel
def chain(m: Memory, heads: int, hashed: int) -> int:
    """The word that holds the first row of a chain."""
    return int(m[heads] + (hashed & m[HEADS_MASK]))


@kernel
def widen(m: Memory, places: int) -> None:
    """Use more of the room for chains' heads: few sessions should not be spread over more memory than the
    processor's cache has. Rows of a chain keep their order.
    """
    old = m[HEADS_MASK] + 1
    m[HEADS_MASK] = places - 1
    for table in (KEY_HEADS, ADDRESS_HEADS, PID_HEADS, CLUSTER_HEADS, QUEUE_HEADS):
        for head in range(m[table] + old, m[table] + places):
            m[head] = -1
        column = chain_column(table)
        for head in range(m[table], m[table] + old):
            row = m[head]
            m[head] = -1
            turned = -1
            while row >= 0:
                after = m[row + column]
                m[row + column] = turned
                turned = row
                row = after
            while turned >= 0:
                after = m[turned + column]
                enchain(m, home_of(m, table, turned), column, turned)
                turned = after


@kernel
def chain_column(table: int) -> int:
    if table == KEY_HEADS:
        return X_NEXT
    if table == ADDRESS_HEADS:
        return B_NEXT
    if table == PID_HEADS:
        return S_NEXT
    return C_NEXT if table == CLUSTER_HEADS else M_NEXT


@kernel
def home_of(m: Memory, table: int, row: int) -> int:
    """The word that holds the first row of the chain that a row belongs to."""
    if table == KEY_HEADS:
        return key_chain(m, m[row + X_HI], m[row + X_LO], m[row + X_PORT])
    if table == ADDRESS_HEADS:
        return address_chain(m, m[row + B_HI], m[row + B_LO])
    if table == PID_HEADS:
        return pid_chain(m, m[row + S_HOST], m[row + S_PID])
    if table == CLUSTER_HEADS:
        return cluster_chain(m, m[row + C_HOST], m[row + C_HI], m[row + C_LO])
    return queue_chain(m, m[row + M_HOST], m[row + M_QUEUE])


@kernel
def enchain(m: Memory, head: int, column: int, row: int) -> None:
    m[row + column] = m[head]
    m[head] = row


@kernel
def unchain(m: Memory, head: int, column: int, row: int) -> None:
    """Take a row out of a chain; a row that is not in it is left alone."""
    before = -1
    at = m[head]
    while at >= 0 and at != row:
        before = at
        at = m[at + column]
    if at < 0:
        return
    if before < 0:
        m[head] = m[row + column]
    else:
        m[before + column] = m[row + column]
    m[row + column] = -1


@kernel
def pid_chain(m: Memory, host: int, pid: int) -> int:
    return chain(m, PID_HEADS, mix(mix(11, host), pid))


@kernel
def address_chain(m: Memory, hi: int, lo: int) -> int:
    return chain(m, ADDRESS_HEADS, mix(mix(7, hi), lo))


@kernel
def cluster_chain(m: Memory, host: int, hi: int, lo: int) -> int:
    return chain(m, CLUSTER_HEADS, mix(mix(mix(3, host), hi), lo))


@kernel
def queue_chain(m: Memory, host: int, queue: int) -> int:
    return chain(m, QUEUE_HEADS, mix(mix(17, host), queue))


@kernel
def key_chain(m: Memory, hi: int, lo: int, port: int) -> int:
    return chain(m, KEY_HEADS, mix(mix(mix(0, hi), lo), port))


@kernel
def has_key(m: Memory, node: int, hi: int, lo: int, port: int) -> bool:
    """Whether one of a chain of keys is this one."""
    return bool(m[node + X_HI] == hi and m[node + X_LO] == lo and m[node + X_PORT] == port)


@kernel
def add_key(m: Memory, hi: int, lo: int, port: int, side: int, index: int) -> int:
    node = take(m, KEY, X_WIDTH)
    m[node + X_HI] = hi
    m[node + X_LO] = lo
    m[node + X_PORT] = port
    m[node + X_SIDE] = side
    m[node + X_INDEX] = index
    enchain(m, key_chain(m, hi, lo, port), X_NEXT, node)
    return node


@kernel
def drop_key(m: Memory, node: int) -> None:
    if node < 0:
        return
    unchain(m, key_chain(m, m[node + X_HI], m[node + X_LO], m[node + X_PORT]), X_NEXT, node)
    give_back(m, node)
