"""Sessions that were handed out without one of their hops, kept for a while: a late line may name it.

Live, a log may arrive minutes after the others: a forwarder was down, a disk was full. The sessions that
waited for its lines have been handed out by then, each side on its own. They stay on a shelf, under the
addresses and ports that would join them. A line with one of these, and a time that may be theirs, takes them
down again: they wait and are joined as always, and what is handed out then amends what was. Where nothing
fits they go back.

From files nothing is kept: they are read in the order of their times, so nothing is late.
"""

from __future__ import annotations

from logscope.correlate.layout import *
from logscope.correlate.odds import FAR
from logscope.correlate.tables import *
from logscope.engine import kernel

SHELVED = 16  # added to the side of a key: what it names is on the shelf
KEPT_FOR = 3600 * SECOND
MOST_SHELVED = 4096
NEAR = 2 * FAR  # starts that are farther apart are not of one session


# --- onto the shelf -----------------------------------------------------------------------------------------


@kernel
def may_be_amended(m: Memory, b: int, p: int, s: int) -> bool:
    """Whether a hop is missing that a later line may name, by an address and a port."""
    if m[KEEPS_LATE] == 0 or m[FINISHING]:
        return False
    if gone(m, b, B_SHOWN) or gone(m, p, P_SHOWN) or gone(m, s, S_SHOWN):
        return False
    if b >= 0:
        alone = p < 0 and s < 0 and m[b + B_CONNECT] != -1
        return bool(alone and (m[b + B_PORT] != NULL or m[b + B_SOURCE_PORT] != NULL))
    return bool(m[p + P_PORT] != NULL if p >= 0 else m[s + S_PORT] != NULL)


@kernel
def gone(m: Memory, row: int, column: int) -> bool:
    return bool(row >= 0 and m[row + column] == EVICTED)


@kernel
def clear_shelf(m: Memory) -> None:
    timer = m[TIMERS_FIRST + 2 * TIMER_SHELF]
    while timer >= 0:
        after = m[timer + T_NEXT]
        z = m[timer + T_INDEX]
        if m[z + 1] == m[timer + T_OF] and m[z] == OPEN:
            drop_shelved(m, z)
        give_back(m, timer)
        timer = after
    m[TIMERS_FIRST + 2 * TIMER_SHELF] = -1
    m[TIMERS_FIRST + 2 * TIMER_SHELF + 1] = -1


@kernel
def shelve(m: Memory, z: int) -> None:
    """Keep what was handed out; what has been kept longest makes room."""
    while m[SHELVED_COUNT] >= MOST_SHELVED and m[TIMERS_FIRST + 2 * TIMER_SHELF] >= 0:
        timer = m[TIMERS_FIRST + 2 * TIMER_SHELF]
        m[TIMERS_FIRST + 2 * TIMER_SHELF] = m[timer + T_NEXT]
        oldest = m[timer + T_INDEX]
        alive = m[oldest + 1] == m[timer + T_OF] and m[oldest] == OPEN
        give_back(m, timer)
        if alive:
            drop_shelved(m, oldest)
    b = m[z + Z_BALANCER]
    p = m[z + Z_SCREEN]
    s = m[z + Z_SMTPD]
    if b >= 0:
        m[b + B_SHOWN] = SHOWN_ALONE
        if m[b + B_PORT] != NULL:
            m[b + B_KEY] = add_key(m, m[b + B_HI], m[b + B_LO], m[b + B_PORT], K_BALANCER_CLIENT + SHELVED, z)
        if m[b + B_SOURCE_HI] != NULL and m[b + B_SOURCE_PORT] != NULL:
            side = K_BALANCER_BACKEND + SHELVED
            m[b + B_KEY2] = add_key(m, m[b + B_SOURCE_HI], m[b + B_SOURCE_LO], m[b + B_SOURCE_PORT], side, z)
    elif p >= 0:
        m[p + P_SHOWN] = SHOWN_ALONE
        m[p + P_KEY] = add_key(m, m[p + P_HI], m[p + P_LO], m[p + P_PORT], K_SCREEN_PEER + SHELVED, z)
    else:
        m[s + S_SHOWN] = SHOWN_ALONE
        m[s + S_KEY] = add_key(m, m[s + S_HI], m[s + S_LO], m[s + S_PORT], K_SMTPD_PEER + SHELVED, z)
    if s >= 0 and m[s + S_ENDED] == NULL:
        unchain(m, pid_chain(m, m[s + S_HOST], m[s + S_PID]), S_NEXT, s)
    m[SHELVED_COUNT] += 1
    push_timer(m, TIMER_SHELF, KEPT_FOR, z)


@kernel
def drop_keys(m: Memory, b: int, p: int, s: int) -> None:
    if b >= 0:
        drop_key(m, m[b + B_KEY])
        drop_key(m, m[b + B_KEY2])
        m[b + B_KEY] = -1
        m[b + B_KEY2] = -1
    elif p >= 0:
        drop_key(m, m[p + P_KEY])
        m[p + P_KEY] = -1
    else:
        drop_key(m, m[s + S_KEY])
        m[s + S_KEY] = -1


@kernel
def drop_shelved(m: Memory, z: int) -> None:
    """Nobody came for it."""
    b = m[z + Z_BALANCER]
    p = m[z + Z_SCREEN]
    s = m[z + Z_SMTPD]
    drop_keys(m, b, p, s)
    give_back_parts(m, b, p, s)
    give_back(m, z)
    m[SHELVED_COUNT] -= 1


# --- down again ---------------------------------------------------------------------------------------------


@kernel
def start_of(m: Memory, z: int) -> int:
    if m[z + Z_BALANCER] >= 0:
        return int(m[m[z + Z_BALANCER] + B_START])
    if m[z + Z_SCREEN] >= 0:
        return int(m[m[z + Z_SCREEN] + P_CONNECTED])
    return int(m[m[z + Z_SMTPD] + S_STARTED])


@kernel
def take_down(m: Memory, hi: int, lo: int, port: int, moment: int, balancers: bool) -> None:
    """Let those wait again that have this address and port and began about then: the balancer's, or the mail
    server's.
    """
    if m[SHELVED_COUNT] == 0:
        return
    node = m[key_chain(m, hi, lo, port)]
    while node >= 0:
        side = m[node + X_SIDE] - SHELVED
        is_it = side >= 0 and m[node + X_HI] == hi and m[node + X_LO] == lo and m[node + X_PORT] == port
        if is_it and (side <= K_BALANCER_BACKEND) == balancers:
            z = m[node + X_INDEX]
            if abs(start_of(m, z) - moment) <= NEAR:
                wait_again(m, z)
                node = m[key_chain(m, hi, lo, port)]  # the chain is another one now
                continue
        node = m[node + X_NEXT]


@kernel
def wait_again(m: Memory, z: int) -> None:
    """Deadlines that were set before are not theirs any more, so each gets another serial number."""
    b = m[z + Z_BALANCER]
    p = m[z + Z_SCREEN]
    s = m[z + Z_SMTPD]
    drop_keys(m, b, p, s)
    if b >= 0:
        reopen(m, b)
        m[b + B_EXPIRED] = 0
        if m[b + B_PORT] != NULL:
            m[b + B_KEY] = add_key(m, m[b + B_HI], m[b + B_LO], m[b + B_PORT], K_BALANCER_CLIENT, b)
        if m[b + B_SOURCE_HI] != NULL and m[b + B_SOURCE_PORT] != NULL:
            at = K_BALANCER_BACKEND
            m[b + B_KEY2] = add_key(m, m[b + B_SOURCE_HI], m[b + B_SOURCE_LO], m[b + B_SOURCE_PORT], at, b)
        if m[b + B_HI] != NULL:
            enchain(m, address_chain(m, m[b + B_HI], m[b + B_LO]), B_NEXT, b)
        push_timer(m, TIMER_BALANCED, WAIT_END, b)
        push_timer(m, TIMER_BALANCER, WAIT, b)
    elif p >= 0:
        reopen(m, p)
        m[p + P_NO_BALANCER] = 0
        m[p + P_KEY] = add_key(m, m[p + P_HI], m[p + P_LO], m[p + P_PORT], K_SCREEN_PEER, p)
        push_timer(m, TIMER_SCREENED, WAIT_END, p)
        push_timer(m, TIMER_SCREEN, WAIT, p)
        if s >= 0:
            reopen(m, s)
    else:
        reopen(m, s)
        m[s + S_NO_BALANCER] = 0
        m[s + S_KEY] = add_key(m, m[s + S_HI], m[s + S_LO], m[s + S_PORT], K_SMTPD_PEER, s)
        push_timer(m, TIMER_SMTPD, WAIT_END, s)
    give_back(m, z)
    m[SHELVED_COUNT] -= 1


@kernel
def reopen(m: Memory, row: int) -> None:
    m[row] = OPEN
    m[row + 1] += 1


# --- away ---------------------------------------------------------------------------------------------------


@kernel
def release_session(m: Memory, z: int) -> None:
    """Give back what was handed out, or keep it for a late line."""
    b = m[z + Z_BALANCER]
    p = m[z + Z_SCREEN]
    s = m[z + Z_SMTPD]
    if may_be_amended(m, b, p, s):
        shelve(m, z)
    else:
        give_back_parts(m, b, p, s)
        give_back(m, z)


@kernel
def give_back_parts(m: Memory, b: int, p: int, s: int) -> None:
    while b >= 0:
        outer = m[b + B_OUTER]
        give_back(m, b)
        b = outer
    if p >= 0:
        give_back_list(m, m[p + P_EVENTS])
        give_back_list(m, m[p + P_REJECTS])
        give_back(m, p)
    if s >= 0:
        give_back_smtpd(m, s)


@kernel
def give_back_smtpd(m: Memory, s: int) -> None:
    if m[s + S_ENDED] == NULL:
        unchain(m, pid_chain(m, m[s + S_HOST], m[s + S_PID]), S_NEXT, s)
    give_back_list(m, m[s + S_EVENTS])
    give_back_list(m, m[s + S_REJECTS])
    q = m[s + S_MESSAGES]
    while q >= 0:
        after = m[q + M_S_NEXT]
        give_back_list(m, m[q + M_EVENTS])
        give_back(m, q)
        q = after
    give_back(m, s)
