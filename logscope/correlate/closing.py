"""Sessions that have their partner leave the indexes; those that are over, and to which nothing can still
come, are handed out.
"""

from __future__ import annotations

from logscope.correlate.habits import note_habits
from logscope.correlate.layout import *
from logscope.correlate.tables import *
from logscope.engine import kernel

CHANGED = -2  # instead of whom it was shown with: a line came since then
SURE_ENOUGH = 900_000  # parts of a million: such a link teaches how sessions talk, and where servers are


@kernel
def settle_balancer(m: Memory, b: int) -> None:
    """A balancer session that has its partner, or waits no longer, leaves every index."""
    drop_key(m, m[b + B_KEY])
    drop_key(m, m[b + B_KEY2])
    m[b + B_KEY] = -1
    m[b + B_KEY2] = -1
    unchain(m, address_chain(m, m[b + B_HI], m[b + B_LO]), B_NEXT, b)


@kernel
def settle_screen(m: Memory, p: int) -> None:
    drop_key(m, m[p + P_KEY])
    drop_key(m, m[p + P_KEY2])
    m[p + P_KEY] = -1
    m[p + P_KEY2] = -1


@kernel
def settle_smtpd(m: Memory, s: int) -> None:
    drop_key(m, m[s + S_KEY])
    drop_key(m, m[s + S_KEY2])
    m[s + S_KEY] = -1
    m[s + S_KEY2] = -1


@kernel
def finish_screen(m: Memory, p: int) -> None:
    """Hand a postscreen session out once nothing that belongs to it can still come."""
    if m[p + P_STATE] != OPEN:
        return
    if m[p + P_B] < 0 and m[p + P_NO_BALANCER] == 0:
        return
    s = m[p + P_S]
    if s >= 0:
        if m[s + S_ENDED] == NULL or m[s + S_OPEN_MESSAGES] > 0:
            return
        m[s + S_STATE] = CLOSED
        if m[p + P_PROBABILITY] >= SURE_ENOUGH:
            note_habits(m, m[p + P_B], p, s)
    elif m[p + P_ENDED] == NULL and m[p + P_EXPIRED] == 0:
        return
    m[p + P_STATE] = CLOSED
    if m[p + P_B] >= 0:
        m[m[p + P_B] + B_STATE] = CLOSED
    add_closed(m, m[p + P_B], p, s)


@kernel
def finish_smtpd(m: Memory, s: int) -> None:
    """The same for an smtpd session that no postscreen session leads to."""
    if m[s + S_STATE] != OPEN:
        return
    if m[s + S_P] >= 0:
        finish_screen(m, m[s + S_P])
        return
    if m[s + S_CLUSTER] >= 0 or m[s + S_ENDED] == NULL or m[s + S_OPEN_MESSAGES] > 0:
        return
    if m[s + S_B] < 0 and m[s + S_NO_BALANCER] == 0:
        return
    m[s + S_STATE] = CLOSED
    if m[s + S_B] >= 0:
        if m[m[s + S_B] + B_PROBABILITY] >= SURE_ENOUGH:
            note_habits(m, m[s + S_B], -1, s)
        m[m[s + S_B] + B_STATE] = CLOSED
    add_closed(m, m[s + S_B], -1, s)


@kernel
def is_alone(m: Memory) -> bool:
    """Whether nobody has heard of a balancer for so long that its lines are not waited for. Should they come
    after all, `late` joins them.
    """
    return bool(m[HASTY] and m[REACHED] == 0)


@kernel
def say_changed(m: Memory, p: int, s: int) -> None:
    """A line came: what was shown early of its session is not all of it. One of the two hops is -1."""
    if p < 0:
        p = m[s + S_P]
    if p >= 0:
        if m[p + P_EARLY] != NULL:
            m[p + P_EARLY] = CHANGED
    elif m[s + S_EARLY] != NULL:
        m[s + S_EARLY] = CHANGED


@kernel
def add_closed(m: Memory, b: int, p: int, s: int) -> None:
    """Hand out what was seen at some hops; `b` is the innermost balancer's session."""
    outer = m[b + B_OUTER] if b >= 0 else -1
    while outer >= 0:
        m[outer + B_STATE] = CLOSED
        outer = m[outer + B_OUTER]
    row = take(m, FINISHED, Z_WIDTH)
    m[row + Z_BALANCER] = b
    m[row + Z_SCREEN] = p
    m[row + Z_SMTPD] = s
    append(m, SESSIONS_FIRST, row)
    m[SESSIONS_COUNT] += 1
