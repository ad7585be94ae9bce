"""Sessions that have not ended: which they are, and the end of those that there is no room for."""

from __future__ import annotations

from logscope.correlate.closing import add_closed, settle_balancer, settle_screen, settle_smtpd
from logscope.correlate.clusters import leave_screen, leave_smtpd
from logscope.correlate.early import decide_shown
from logscope.correlate.hops import drop_stub
from logscope.correlate.late import clear_shelf
from logscope.correlate.layout import *
from logscope.correlate.messages import end_message
from logscope.correlate.tables import *
from logscope.engine import kernel


@kernel
def list_open(m: Memory, before: int, rows: Matrix) -> int:
    """Sessions at a mail server that began before a moment and still go on, or have mail in the queue since
    before it: their postscreen and smtpd rows, -1 where there is none. Returns how many there are, of which
    `rows` has as many as it has room for.
    """
    count = 0
    row = m[BOTTOM]
    while row < m[TOP]:
        kind = m[row + 2]
        p = -1
        s = -1
        if m[row] == OPEN and kind == SMTPD and goes_on(m, row, before):
            s = row
            p = m[row + S_P]
        elif m[row] == OPEN and kind == SCREEN and m[row + P_S] < 0 and m[row + P_ENDED] == NULL:
            c = m[row + P_CLUSTER]
            handed_over = c >= 0 and m[c + C_S_COUNT] > 0
            if m[row + P_CONNECTED] <= before and not handed_over:
                p = row
        if p >= 0 or s >= 0:
            if count < rows.shape[1]:
                rows[0, count] = p
                rows[1, count] = s
            count += 1
        row += width_of(kind)
    return count


@kernel
def goes_on(m: Memory, s: int, before: int) -> bool:
    if m[s + S_STARTED] == NULL:
        return False
    if m[s + S_ENDED] == NULL:
        return bool(m[s + S_STARTED] <= before)
    return bool(m[s + S_OPEN_MESSAGES] > 0 and m[s + S_ENDED] <= before)


@kernel
def begun(m: Memory, row: int, kind: int) -> int:
    """When what is open began; NULL where it is not, or goes with another."""
    if m[row] != OPEN:
        return NULL
    if kind == SCREEN:
        return int(m[row + P_CONNECTED])
    if kind == SMTPD and m[row + S_P] < 0:
        return int(m[row + S_STAMP] if m[row + S_STARTED] == NULL else m[row + S_STARTED])
    if kind == BALANCER and m[row + B_P] < 0 and m[row + B_S] < 0 and m[row + B_INNER] < 0:
        return int(m[row + B_LOGGED])
    if kind == MESSAGE and m[row + M_S] < 0:
        return int(m[row + M_LAST])
    return NULL


@kernel
def list_begun(m: Memory, times: Vector) -> int:
    """When all began that `evict` would end; returns how many they are."""
    count = 0
    row = m[BOTTOM]
    while row < m[TOP]:
        moment = begun(m, row, m[row + 2])
        if moment != NULL:
            if count < times.shape[0]:
                times[count] = moment
            count += 1
        row += width_of(m[row + 2])
    return count


@kernel
def evict(m: Memory, until: int) -> None:
    """Hand out as it is what began up to a moment, and keep nothing for late lines any more."""
    clear_shelf(m)
    for kind in (SCREEN, SMTPD, BALANCER, MESSAGE):
        row = m[BOTTOM]
        end = m[TOP]
        while row < end:
            if m[row + 2] == kind:
                moment = begun(m, row, kind)
                if moment != NULL and moment <= until:
                    evict_row(m, row, kind)
            row += width_of(m[row + 2])


@kernel
def evict_row(m: Memory, row: int, kind: int) -> None:
    if kind == SCREEN:
        decide_shown(m, row, -1)
    elif kind == SMTPD:
        decide_shown(m, -1, row)
    if m[row] != OPEN:
        return
    if kind == SCREEN:
        leave_screen(m, row)
        settle_screen(m, row)
        m[row + P_STATE] = CLOSED
        m[row + P_EXPIRED] = 1
        m[row + P_SHOWN] = EVICTED
        s = m[row + P_S]
        b = m[row + P_B]
        if s >= 0:
            end_messages(m, s)
            m[s + S_STATE] = CLOSED
        if b >= 0:
            m[b + B_STATE] = CLOSED
        add_closed(m, b, row, s)
    elif kind == SMTPD:
        leave_smtpd(m, row)
        if m[row + S_STARTED] == NULL:
            drop_stub(m, row)
            return
        settle_smtpd(m, row)
        end_messages(m, row)
        m[row + S_STATE] = CLOSED
        m[row + S_SHOWN] = EVICTED
        b = m[row + S_B]
        if b >= 0:
            m[b + B_STATE] = CLOSED
        add_closed(m, b, -1, row)
    elif kind == BALANCER:
        settle_balancer(m, row)
        m[row + B_STATE] = CLOSED
        m[row + B_SHOWN] = EVICTED
        add_closed(m, row, -1, -1)
    else:
        end_message(m, row)


@kernel
def end_messages(m: Memory, s: int) -> None:
    q = m[s + S_MESSAGES]
    while q >= 0:
        end_message(m, q)
        q = m[q + M_S_NEXT]
