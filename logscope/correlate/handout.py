"""What is finished leaves the memory of the joins: its facts are copied into columns, its rows serve again.

This is done for some tens of sessions at a time, while their rows are still in the processor's cache, and so
the memory stays as small as what is open. Texts stay in the heap: what was copied has to be used before the
heap is moved.
"""

from __future__ import annotations

import numpy as np

from logscope.correlate.early import is_as_shown, note_shown, shown_with
from logscope.correlate.late import release_session
from logscope.correlate.layout import *
from logscope.correlate.tables import *
from logscope.engine import kernel

# Facts of a finished session, hop by hop; NULL where it has no such hop.
OF_BALANCER = (
    B_HI, B_LO, B_PORT, B_HOST, B_PID, B_STAMP, B_FRONTEND, B_BACKEND, B_SERVER, B_ACCEPTED, B_QUEUE,
    B_CONNECT, B_DURATION, B_ASAP, B_BYTES_CLIENT, B_BYTES_SERVER, B_RETRIES, B_TERMINATION, B_START, B_END,
)  # fmt: skip
OF_INNERMOST = (
    B_METHOD,
    B_CONFIDENCE,
    B_PROBABILITY,
    B_AMBIGUOUS,
    B_SHOWN,
)
OF_SCREEN = (
    P_HI, P_LO, P_PORT, P_HOST, P_PID, P_STAMP, P_SERVICE, P_DEST_HI, P_DEST_LO, P_DEST_PORT, P_CONNECTED,
    P_ENDED, P_VERDICT, P_HANGUP, P_TESTS, P_RANK, P_HEADER, P_REJECTED, P_HELO, P_METHOD, P_CONFIDENCE,
    P_PROBABILITY, P_EXPIRED, P_AMBIGUOUS, P_SHOWN,
)  # fmt: skip
OF_SMTPD = (
    S_HI, S_LO, S_PORT, S_HOST, S_PID, S_STAMP, S_SERVICE, S_STARTED, S_ENDED, S_NAME, S_HELO, S_TLS_PROTOCOL,
    S_TLS_CIPHER, S_SASL_METHOD, S_SASL_USER, S_COMMANDS, S_COMMANDS_OK, S_COMMANDS_ALL, S_LOST, S_HEADER,
    S_REJECTED, S_MESSAGE_COUNT, S_SASL_FAILURES, S_AMBIGUOUS, S_SHOWN,
)  # fmt: skip
AT_INNERMOST = len(OF_BALANCER)
AT_SCREEN = AT_INNERMOST + len(OF_INNERMOST)
AT_SMTPD = AT_SCREEN + len(OF_SCREEN)
AT_HOPS = AT_SMTPD + len(OF_SMTPD)  # three: whether it has each hop
AT_STATUSES = AT_HOPS + 3  # how many messages of each final status
FINAL_STATUSES = (
    "unknown", "sent", "partly_sent", "deferred", "bounced", "expired", "discarded", "held", "rejected",
    "open",
)  # fmt: skip
F_UNKNOWN, F_SENT, F_PARTLY, F_DEFERRED, F_BOUNCED, F_EXPIRED, F_DISCARDED, F_HELD, F_REJECTED, F_OPEN = (
    range(10)
)
AT_RECIPIENTS = AT_STATUSES + len(FINAL_STATUSES)
SESSION_FACTS = AT_RECIPIENTS + 1

# Of each message, refusal and line of evidence: the number of its session among those copied, -1 for none;
# then its facts.
OF_MESSAGE = (
    M_HOST, M_QUEUE_ID, M_QUEUED, M_MESSAGE_ID, M_SENDER, M_SIZE, M_RECIPIENTS, M_REMOVED, M_NEXT_QUEUE_ID,
)  # fmt: skip
MESSAGE_STATUS = 1 + len(OF_MESSAGE)
MESSAGE_FACTS = MESSAGE_STATUS + 1
OF_REJECT = (J_STAGE, J_CODE, J_DSN, J_TEXT, J_SENDER, J_RECIPIENT)
REJECT_FACTS = 1 + len(OF_REJECT)
EVENT_FACTS = 3  # session, source, line
# Of each balancer behind another, the session and the outermost first.
OF_INNER = (B_HOST, B_CHAIN_METHOD, B_CHAIN_CONFIDENCE, B_CHAIN_PROBABILITY)
INNER_FACTS = 1 + len(OF_INNER)

OUTERMOST = 3  # place of the outermost balancer's session among those of the hops
BLOCK = 8  # sessions copied together: a row's words lie side by side, and so do a column's


Room = tuple[Matrix, Matrix, Matrix, Matrix, Matrix, Matrix]
"""Where to copy to: for sessions, with a row for each fact and a column for each session; for messages,
refusals, lines of evidence, balancers behind others and deliveries, with a row for each. How much of it is in
use is counted from `TAKEN_SESSIONS` on.
"""


@kernel
def collect(m: Memory, room: Room) -> None:
    """Copy what is finished, as far as there is room, and give its rows back."""
    sessions, messages, rejects, events, inners, deliveries = room
    hops = np.empty((4, BLOCK), np.int64)
    while m[SESSIONS_FIRST] >= 0:
        if is_as_before(m, m[SESSIONS_FIRST]):
            release_first(m)
            continue
        first = m[TAKEN_SESSIONS]
        count = 0
        row = m[SESSIONS_FIRST]
        while row >= 0 and count < BLOCK and first + count < sessions.shape[1]:
            b = m[row + Z_BALANCER]
            p = m[row + Z_SCREEN]
            s = m[row + Z_SMTPD]
            if is_as_before(m, row):
                break
            if not copy_lists(m, b, p, s, first + count, messages, rejects, events, inners):
                break
            note_hops(m, hops, count, b, p, s)
            count += 1
            row = m[row + LINK]
        if count == 0:
            break
        copy_facts(m, hops, count, sessions, first)
        for _ in range(count):
            release_first(m)
        m[TAKEN_SESSIONS] += count
    if m[SESSIONS_FIRST] < 0:
        m[SESSIONS_LAST] = -1
    collect_messages(m, messages)
    collect_deliveries(m, deliveries)


@kernel
def is_as_before(m: Memory, z: int) -> bool:
    """Whether a session was handed out before: alone, and kept for a late line that did not come; or early,
    and nothing came.
    """
    if m[KEEPS_LATE] == 0:
        return False
    if m[z + Z_EARLY] != NULL:
        return False
    b = m[z + Z_BALANCER]
    p = m[z + Z_SCREEN]
    s = m[z + Z_SMTPD]
    if shown_with(m, p, s) != NULL:
        return is_as_shown(m, b, p, s)
    if b >= 0 and (p >= 0 or s >= 0):
        return False
    return bool(
        (b >= 0 and m[b + B_SHOWN] == SHOWN_ALONE)
        or (p >= 0 and m[p + P_SHOWN] == SHOWN_ALONE)
        or (s >= 0 and m[s + S_SHOWN] == SHOWN_ALONE)
    )


@kernel
def release_first(m: Memory) -> None:
    row = m[SESSIONS_FIRST]
    m[SESSIONS_FIRST] = m[row + LINK]
    m[SESSIONS_COUNT] -= 1
    if m[row + Z_EARLY] != NULL:
        note_shown(m, row)
        give_back(m, row)
    else:
        release_session(m, row)


@kernel
def copy_open(m: Memory, rows: Matrix, room: Room) -> bool:
    """Copy sessions that go on, by their rows of postscreen and smtpd; whether there was room."""
    sessions, messages, rejects, events, inners, _ = room
    hops = np.empty((4, BLOCK), np.int64)
    for first in range(0, rows.shape[1], BLOCK):
        count = min(BLOCK, rows.shape[1] - first)
        for i in range(count):
            p = rows[0, first + i]
            s = rows[1, first + i]
            b = m[p + P_B] if p >= 0 else -1
            if b < 0 and s >= 0:
                b = m[s + S_B]
            if not copy_lists(m, b, p, s, first + i, messages, rejects, events, inners):
                return False
            note_hops(m, hops, i, b, p, s)
        copy_facts(m, hops, count, sessions, first)
    m[TAKEN_SESSIONS] = rows.shape[1]
    return True


@kernel
def note_hops(m: Memory, hops: Matrix, at: int, b: int, p: int, s: int) -> None:
    hops[0, at] = b
    hops[1, at] = p
    hops[2, at] = s
    hops[OUTERMOST, at] = outermost(m, b)


@kernel
def collect_messages(m: Memory, messages: Matrix) -> None:
    """The same of the messages that no session brought."""
    while m[MESSAGES_FIRST] >= 0:
        q = m[MESSAGES_FIRST]
        if not copy_message(m, q, -1, messages):
            return
        m[MESSAGES_FIRST] = m[q + LINK]
        give_back_list(m, m[q + M_EVENTS])
        give_back(m, q)
        m[MESSAGES_COUNT] -= 1
    m[MESSAGES_LAST] = -1


@kernel
def collect_deliveries(m: Memory, deliveries: Matrix) -> None:
    while m[DELIVERIES_FIRST] >= 0:
        y = m[DELIVERIES_FIRST]
        at = m[TAKEN_DELIVERIES]
        if at >= deliveries.shape[0]:
            return
        for column in range(Y_WIDTH):
            deliveries[at, column] = m[y + column]
        m[TAKEN_DELIVERIES] = at + 1
        m[DELIVERIES_FIRST] = m[y + LINK]
        give_back(m, y)
        m[DELIVERIES_COUNT] -= 1
    m[DELIVERIES_LAST] = -1


# --- sessions -----------------------------------------------------------------------------------------------


@kernel
def copy_facts(m: Memory, hops: Matrix, count: int, sessions: Matrix, first: int) -> None:
    for k in range(AT_INNERMOST):
        for i in range(count):
            row = hops[OUTERMOST, i]
            sessions[k, first + i] = m[row + OF_BALANCER[k]] if row >= 0 else NULL
    for k in range(AT_SCREEN - AT_INNERMOST):
        for i in range(count):
            row = hops[0, i]
            sessions[AT_INNERMOST + k, first + i] = m[row + OF_INNERMOST[k]] if row >= 0 else NULL
    for k in range(AT_SMTPD - AT_SCREEN):
        for i in range(count):
            row = hops[1, i]
            sessions[AT_SCREEN + k, first + i] = m[row + OF_SCREEN[k]] if row >= 0 else NULL
    for k in range(AT_HOPS - AT_SMTPD):
        for i in range(count):
            row = hops[2, i]
            sessions[AT_SMTPD + k, first + i] = m[row + OF_SMTPD[k]] if row >= 0 else NULL
    for hop in range(3):
        for i in range(count):
            sessions[AT_HOPS + hop, first + i] = hops[hop, i] >= 0
    for k in range(AT_STATUSES, SESSION_FACTS):
        for i in range(count):
            sessions[k, first + i] = 0
    for i in range(count):
        q = m[hops[2, i] + S_MESSAGES] if hops[2, i] >= 0 else -1
        while q >= 0:
            sessions[AT_STATUSES + final_status(m, q), first + i] += 1
            sessions[AT_RECIPIENTS, first + i] += max(m[q + M_RECIPIENTS], 0)
            q = m[q + M_S_NEXT]


@kernel
def outermost(m: Memory, b: int) -> int:
    while b >= 0 and m[b + B_OUTER] >= 0:
        b = m[b + B_OUTER]
    return b


@kernel
def copy_lists(
    m: Memory, b: int, p: int, s: int, session: int,
    messages: Matrix, rejects: Matrix, events: Matrix, inners: Matrix,
) -> bool:  # fmt: skip
    """Copy a session's messages, refusals and lines of evidence, as far as they are wanted; False, and
    nothing is copied, where there is no room.
    """
    before = m[TAKEN_MESSAGES]
    rejects_before = m[TAKEN_REJECTS]
    events_before = m[TAKEN_EVENTS]
    inners_before = m[TAKEN_INNERS]
    fits = copy_balancers(m, b, session, events, inners)
    fits = fits and copy_server(m, p, s, session, messages, rejects, events)
    if not fits:
        m[TAKEN_MESSAGES] = before
        m[TAKEN_REJECTS] = rejects_before
        m[TAKEN_EVENTS] = events_before
        m[TAKEN_INNERS] = inners_before
    return fits


@kernel
def copy_balancers(m: Memory, b: int, session: int, events: Matrix, inners: Matrix) -> bool:
    """The lines of all balancers, and what links those behind others, from the outermost on."""
    at = outermost(m, b)
    while at >= 0:
        if m[WANT_EVENTS] and not copy_event(m, session, m[at + B_SRC], m[at + B_LINE], events):
            return False
        if m[at + B_OUTER] >= 0:
            place = m[TAKEN_INNERS]
            if place >= inners.shape[0]:
                return False
            inners[place, 0] = session
            for k in range(INNER_FACTS - 1):
                inners[place, 1 + k] = m[at + OF_INNER[k]]
            m[TAKEN_INNERS] = place + 1
        at = m[at + B_INNER]
    return True


@kernel
def copy_server(
    m: Memory, p: int, s: int, session: int, messages: Matrix, rejects: Matrix, events: Matrix
) -> bool:
    """What the mail server's two hops have."""
    if p >= 0 and not (
        copy_events(m, m[p + P_EVENTS], session, events)
        and copy_rejects(m, m[p + P_REJECTS], session, rejects)
    ):
        return False
    if s < 0:
        return True
    if not (
        copy_events(m, m[s + S_EVENTS], session, events)
        and copy_rejects(m, m[s + S_REJECTS], session, rejects)
    ):
        return False
    q = m[s + S_MESSAGES]
    while q >= 0:
        if not (copy_message(m, q, session, messages) and copy_events(m, m[q + M_EVENTS], session, events)):
            return False
        q = m[q + M_S_NEXT]
    return True


@kernel
def copy_message(m: Memory, q: int, session: int, messages: Matrix) -> bool:
    if m[WANT_TEXT] & TEXT_OF_MESSAGES == 0:
        return True
    at = m[TAKEN_MESSAGES]
    if at >= messages.shape[0]:
        return False
    messages[at, 0] = session
    for k in range(MESSAGE_STATUS - 1):
        messages[at, 1 + k] = m[q + OF_MESSAGE[k]]
    messages[at, MESSAGE_STATUS] = final_status(m, q)
    m[TAKEN_MESSAGES] = at + 1
    return True


@kernel
def copy_rejects(m: Memory, node: int, session: int, rejects: Matrix) -> bool:
    while node >= 0:
        at = m[TAKEN_REJECTS]
        if at >= rejects.shape[0]:
            return False
        rejects[at, 0] = session
        for k in range(REJECT_FACTS - 1):
            rejects[at, 1 + k] = m[node + OF_REJECT[k]]
        m[TAKEN_REJECTS] = at + 1
        node = m[node + LINK]
    return True


@kernel
def copy_events(m: Memory, node: int, session: int, events: Matrix) -> bool:
    while node >= 0:
        if not copy_event(m, session, m[node + N_SOURCE], m[node + N_LINE], events):
            return False
        node = m[node + LINK]
    return True


@kernel
def copy_event(m: Memory, session: int, source: int, line: int, events: Matrix) -> bool:
    at = m[TAKEN_EVENTS]
    if at >= events.shape[0]:
        return False
    events[at, 0] = session
    events[at, 1] = source
    events[at, 2] = line
    m[TAKEN_EVENTS] = at + 1
    return True


@kernel
def final_status(m: Memory, q: int) -> int:
    if m[q + M_REJECTED] > 0 and m[q + M_SIZE] == NULL:
        return F_REJECTED
    if m[q + M_REMOVED] != NULL:
        if m[q + M_BOUNCED] + m[q + M_EXPIRED] > 0:
            if m[q + M_SENT] > 0:
                return F_PARTLY
            return F_EXPIRED if m[q + M_EXPIRED] > 0 else F_BOUNCED
        if m[q + M_SENT] > 0:
            return F_SENT
        return F_DISCARDED if m[q + M_DISCARDED] > 0 else F_UNKNOWN if m[q + M_SIZE] == NULL else F_SENT
    if m[q + M_DISCARDED] > 0:
        return F_DISCARDED
    if m[q + M_HELD] > 0:
        return F_HELD
    if m[q + M_DEFERRED] > 0:
        return F_PARTLY if m[q + M_SENT] > 0 else F_DEFERRED
    if m[q + M_SIZE] != NULL or m[q + M_SENT] + m[q + M_BOUNCED] > 0:
        return F_OPEN
    return F_REJECTED if m[q + M_REJECTED] > 0 else F_UNKNOWN
