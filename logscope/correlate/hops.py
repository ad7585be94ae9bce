"""What one line does: the balancer's, postscreen's and smtpd's lines open, fill and end their sessions."""

from __future__ import annotations

from logscope.correlate.closing import add_closed, finish_screen, say_changed
from logscope.correlate.clusters import (
    enter_screen,
    enter_smtpd,
    find_cluster,
    leave_screen,
    link_only,
    link_smtpd,
    put_last,
)
from logscope.correlate.hidden import expect_hidden, watch_balancer
from logscope.correlate.late import take_down
from logscope.correlate.layout import *
from logscope.correlate.messages import message_of
from logscope.correlate.servers import note_label, see_server
from logscope.correlate.tables import *
from logscope.engine import kernel
from logscope.postfix.queue_ids import UNKNOWN, microseconds

STUB_FOR = 60 * SECOND  # a warning before `connect from` belongs to the connect that follows this soon


# --- balancer -----------------------------------------------------------------------------------------------


@kernel
def on_balancer(m: Memory, heap: Bytes, pool: Bytes, e: Vector) -> None:
    b = take(m, BALANCER, B_WIDTH)
    m[b + B_NEXT] = -1
    m[b + B_KEY] = -1
    m[b + B_KEY2] = -1
    m[b + B_P] = -1
    m[b + B_S] = -1
    m[b + B_OUTER] = -1
    m[b + B_INNER] = -1
    m[b + B_METHOD] = L_NONE
    m[b + B_CONFIDENCE] = SURE_NONE
    m[b + B_PROBABILITY] = 0
    m[b + B_EXPIRED] = 0
    m[b + B_DOUBT] = 0
    m[b + B_AMBIGUOUS] = 0
    m[b + B_WATCHED] = 0
    m[b + B_LOOKED] = 0
    m[b + B_HI] = e[E_HI]
    m[b + B_LO] = e[E_LO]
    m[b + B_PORT] = e[E_PORT]
    m[b + B_SOURCE_HI] = e[E_HI2]
    m[b + B_SOURCE_LO] = e[E_LO2]
    m[b + B_SOURCE_PORT] = e[E_PORT2]
    m[b + B_HOST] = e[E_HOST]
    m[b + B_PID] = e[E_PID]
    m[b + B_STAMP] = e[E_STAMP]
    m[b + B_ACCEPTED] = e[E_N0]
    m[b + B_QUEUE] = e[E_N1]
    m[b + B_CONNECT] = e[E_N2]
    m[b + B_DURATION] = e[E_N3]
    m[b + B_ASAP] = 1 if e[E_N4] == 1 else 0
    m[b + B_BYTES_CLIENT] = e[E_N5]
    m[b + B_BYTES_SERVER] = e[E_N6]
    m[b + B_RETRIES] = e[E_N7]
    m[b + B_FRONTEND] = e[E_N8]
    m[b + B_BACKEND] = e[E_N9]
    m[b + B_SERVER] = e[E_N10]
    m[b + B_TERMINATION] = e[E_N11]
    m[b + B_LOGGED] = e[E_TIME]
    m[b + B_SRC] = e[E_SOURCE]
    m[b + B_LINE] = e[E_LINE]
    accepted = e[E_N0] if e[E_N0] != NULL else e[E_TIME]
    start = accepted
    if e[E_N1] > 0:
        start += e[E_N1] * 1_000_000
    if e[E_N2] > 0:
        start += e[E_N2] * 1_000_000
    m[b + B_START] = start
    m[b + B_END] = accepted + e[E_N3] * 1_000_000 if e[E_N3] != NULL else e[E_TIME]
    if e[E_N2] == -1 and e[E_N1] == -1:  # no server was reached: nobody else can have seen it
        m[b + B_EXPIRED] = 1
        m[b + B_STATE] = CLOSED
        add_closed(m, b, -1, -1)
        return
    push_timer(m, TIMER_BALANCER, WAIT, b)
    see_server(m, b, e[E_QUEUE])
    if expect_hidden(m, b):
        watch_balancer(m, b)
    push_timer(m, TIMER_BALANCED, WAIT_END, b)
    look_early(m, b)
    if e[E_HI2] != NULL and e[E_PORT2] != NULL:
        take_down(m, e[E_HI2], e[E_LO2], e[E_PORT2], start, False)
        m[b + B_KEY2] = add_key(m, e[E_HI2], e[E_LO2], e[E_PORT2], K_BALANCER_BACKEND, b)
    if e[E_HI] == NULL:
        return
    enchain(m, address_chain(m, e[E_HI], e[E_LO]), B_NEXT, b)
    if e[E_PORT] != NULL:
        take_down(m, e[E_HI], e[E_LO], e[E_PORT], start, False)
        m[b + B_KEY] = add_key(m, e[E_HI], e[E_LO], e[E_PORT], K_BALANCER_CLIENT, b)


# --- postscreen ---------------------------------------------------------------------------------------------


@kernel
def on_screen_connect(m: Memory, heap: Bytes, pool: Bytes, e: Vector) -> None:
    p = take(m, SCREEN, P_WIDTH)
    for column in (
        P_KEY,
        P_KEY2,
        P_CLUSTER,
        P_CNEXT,
        P_CPREV,
        P_B,
        P_S,
        P_EVENTS,
        P_EVENTS_LAST,
        P_REJECTS,
        P_REJECTS_LAST,
    ):
        m[p + column] = -1
    for column in (
        P_HANGUP,
        P_TESTS,
        P_HEADER,
        P_METHOD,
        P_CONFIDENCE,
        P_PROBABILITY,
        P_REJECTED,
        P_NO_BALANCER,
        P_EXPIRED,
        P_DOUBT,
        P_AMBIGUOUS,
        P_WATCHED,
    ):
        m[p + column] = 0
    m[p + P_VERDICT] = V_UNKNOWN
    m[p + P_HI] = e[E_HI]
    m[p + P_LO] = e[E_LO]
    m[p + P_PORT] = e[E_PORT]
    m[p + P_DEST_HI] = e[E_HI2]
    m[p + P_DEST_LO] = e[E_LO2]
    m[p + P_DEST_PORT] = e[E_PORT2]
    m[p + P_HOST] = e[E_HOST]
    m[p + P_SERVICE] = e[E_SERVICE]
    m[p + P_PID] = e[E_PID]
    m[p + P_STAMP] = e[E_STAMP]
    m[p + P_CONNECTED] = e[E_TIME]
    m[p + P_MOMENT] = m[MOMENT]
    m[p + P_ARRIVED] = m[MOMENT]
    m[p + P_COARSE] = e[E_COARSE]
    push_event(m, p + P_EVENTS, e)
    m[VISITED] = 1
    if e[E_ROLE] == R_SCREEN_CONNECT:
        note_label(m, e[E_HOST], e[E_QUEUE])
    take_down(m, e[E_HI], e[E_LO], e[E_PORT], e[E_TIME], True)
    m[p + P_KEY] = add_key(m, e[E_HI], e[E_LO], e[E_PORT], K_SCREEN_PEER, p)
    enter_screen(m, p)
    push_timer(m, TIMER_SCREEN, WAIT, p)


@kernel
def screen_of(m: Memory, e: Vector) -> int:
    """The open postscreen session of the event's host, address and port; the latest where a port was used
    twice.
    """
    best = -1
    node = m[key_chain(m, e[E_HI], e[E_LO], e[E_PORT])]
    while node >= 0:  # not yet joined to a balancer session
        if (
            m[node + X_SIDE] == K_SCREEN_PEER
            and m[node + X_HI] == e[E_HI]
            and m[node + X_LO] == e[E_LO]
            and m[node + X_PORT] == e[E_PORT]
        ):
            p = m[node + X_INDEX]
            if m[p + P_HOST] == e[E_HOST] and (best < 0 or m[p + P_CONNECTED] > m[best + P_CONNECTED]):
                best = p
        node = m[node + X_NEXT]
    c = find_cluster(m, e[E_HOST], e[E_HI], e[E_LO])
    p = m[c + C_P_LAST] if c >= 0 else -1
    while p >= 0:  # joined already, but still before smtpd
        if m[p + P_PORT] == e[E_PORT]:
            if best < 0 or m[p + P_CONNECTED] >= m[best + P_CONNECTED]:
                best = p
            break
        p = m[p + P_CPREV]
    return best


@kernel
def on_screen(m: Memory, heap: Bytes, pool: Bytes, e: Vector, role: int) -> None:
    """Any line of postscreen (or tlsproxy) that names a client's address and port."""
    p = screen_of(m, e)
    if p < 0:
        if role == R_SCREEN_OTHER:
            m[UNTOLD] += 1
            return
        on_screen_connect(m, heap, pool, e)  # the log began in mid-session: this line is the first of it
        p = screen_of(m, e)
        if p < 0:
            return
        for column in (P_DEST_HI, P_DEST_LO, P_DEST_PORT):
            m[p + column] = NULL
    else:
        push_event(m, p + P_EVENTS, e)
        say_changed(m, p, -1)
    if role == R_SCREEN_VERDICT:
        m[p + P_VERDICT] = e[E_N0]
        if e[E_N0] != V_DENYLISTED:
            m[p + P_VERDICT_AT] = e[E_TIME]
            m[p + P_MOMENT] = m[MOMENT]
            put_last(m, p)
    elif role == R_SCREEN_TEST:
        if e[E_N0] >= 0:
            m[p + P_TESTS] |= 1 << e[E_N0]
        if e[E_N1] > 0:
            header_seen(m, p, e)
    elif role == R_SCREEN_RANK:
        m[p + P_RANK] = e[E_N0]
        m[p + P_TESTS] |= 1 << TEST_DNSBL
    elif role == R_SCREEN_HANGUP:
        m[p + P_HANGUP] = 1
    elif role == R_SCREEN_REJECT:
        push_reject(m, heap, pool, p + P_REJECTS, e)
        if e[E_T1] != NULL:
            m[p + P_HELO] = keep(m, heap, pool, e[E_T1], TEXT_OF_SESSIONS)
        if e[E_N3] != NULL:
            m[p + P_TESTS] |= 1 << e[E_N3]
    elif role == R_SCREEN_DISCONNECT:
        m[p + P_ENDED] = e[E_TIME]
        m[p + P_END_MOMENT] = m[MOMENT]
        c = m[p + P_CLUSTER]
        leave_screen(m, p)
        if c >= 0 and m[c + C_STATE] == OPEN:
            link_only(m, c)
        push_timer(m, TIMER_SCREEN, WAIT, p)
        if m[p + P_B] < 0:
            push_timer(m, TIMER_SCREENED, WAIT_END, p)
        look_early(m, p)
        finish_screen(m, p)


@kernel
def header_seen(m: Memory, p: int, e: Vector) -> None:
    """The client talked PROXY: if a balancer session has the address that the text names, the two are one
    (join 7).
    """
    m[p + P_HEADER] = e[E_N1]
    if e[E_HI2] == NULL or e[E_PORT2] == NULL or m[p + P_KEY2] >= 0 or m[p + P_B] >= 0:
        return
    m[p + P_HEADER_HI] = e[E_HI2]
    m[p + P_HEADER_LO] = e[E_LO2]
    m[p + P_HEADER_PORT] = e[E_PORT2]
    m[p + P_KEY2] = add_key(m, e[E_HI2], e[E_LO2], e[E_PORT2], K_SCREEN_HEADER, p)


@kernel
def on_dnsblog(m: Memory, heap: Bytes, pool: Bytes, e: Vector) -> None:
    """dnsblog names the address alone: the line is evidence for the address's latest session that still waits
    for its verdict.
    """
    c = find_cluster(m, e[E_HOST], e[E_HI], e[E_LO])
    p = m[c + C_P_LAST] if c >= 0 else -1
    while p >= 0 and m[p + P_VERDICT_AT] != NULL:
        p = m[p + P_CPREV]
    if p >= 0:
        push_event(m, p + P_EVENTS, e)
    else:
        m[UNTOLD] += 1


# --- smtpd --------------------------------------------------------------------------------------------------


@kernel
def smtpd_of(m: Memory, host: int, pid: int) -> int:
    s = m[pid_chain(m, host, pid)]
    while s >= 0:
        if m[s + S_HOST] == host and m[s + S_PID] == pid:
            return int(s)
        s = m[s + S_NEXT]
    return -1


@kernel
def new_smtpd(m: Memory, e: Vector) -> int:
    s = take(m, SMTPD, S_WIDTH)
    for column in (
        S_NEXT, S_KEY, S_KEY2, S_CLUSTER, S_CNEXT, S_CPREV, S_P, S_B,
        S_EVENTS, S_EVENTS_LAST, S_REJECTS, S_REJECTS_LAST, S_MESSAGES, S_MESSAGES_LAST,
    ):  # fmt: skip
        m[s + column] = -1
    for column in (
        S_LOST, S_HEADER, S_REJECTED, S_MESSAGE_COUNT, S_OPEN_MESSAGES, S_SENT, S_DEFERRED, S_BOUNCED,
        S_SASL_FAILURES, S_NO_BALANCER, S_DOUBT, S_AMBIGUOUS, S_WATCHED, S_IMPLIED,
    ):  # fmt: skip
        m[s + column] = 0
    m[s + S_HOST] = e[E_HOST]
    m[s + S_PID] = e[E_PID]
    m[s + S_SERVICE] = e[E_SERVICE]
    enchain(m, pid_chain(m, e[E_HOST], e[E_PID]), S_NEXT, s)
    return s


@kernel
def start_smtpd(m: Memory, heap: Bytes, pool: Bytes, s: int, e: Vector) -> None:
    m[s + S_STARTED] = e[E_TIME]
    m[s + S_MOMENT] = m[MOMENT]
    m[s + S_STAMP] = e[E_STAMP]
    m[s + S_COARSE] = e[E_COARSE]
    m[s + S_HI] = e[E_HI]
    m[s + S_LO] = e[E_LO]
    m[s + S_PORT] = e[E_PORT]
    m[s + S_NAME] = NULL
    if e[E_ROLE] == R_SMTPD_CONNECT:
        m[s + S_NAME] = keep(m, heap, pool, e[E_T0], TEXT_OF_NAMES)
        note_label(m, e[E_HOST], e[E_QUEUE])
    push_event(m, s + S_EVENTS, e)
    m[VISITED] = 1
    if e[E_HI] == NULL:  # connect from unknown[unknown]
        return
    if e[E_PORT] != NULL:
        p = screen_of(m, e)
        if p >= 0 and m[p + P_S] < 0:
            link_smtpd(m, p, s, L_ADDRESS_PORT, SURE_EXACT, 1_000_000)
            return
        take_down(m, e[E_HI], e[E_LO], e[E_PORT], e[E_TIME], True)
        m[s + S_KEY] = add_key(m, e[E_HI], e[E_LO], e[E_PORT], K_SMTPD_PEER, s)
    else:
        enter_smtpd(m, s)


@kernel
def end_smtpd(m: Memory, s: int, moment: int) -> None:
    """The session is over; its process is free for the next."""
    m[s + S_ENDED] = moment
    m[s + S_END_MOMENT] = m[MOMENT]
    unchain(m, pid_chain(m, m[s + S_HOST], m[s + S_PID]), S_NEXT, s)
    push_timer(m, TIMER_SMTPD, WAIT_END, s)
    look_early(m, s)


@kernel
def drop_stub(m: Memory, s: int) -> None:
    unchain(m, pid_chain(m, m[s + S_HOST], m[s + S_PID]), S_NEXT, s)
    give_back_list(m, m[s + S_EVENTS])
    give_back(m, s)


@kernel
def on_smtpd_connect(m: Memory, heap: Bytes, pool: Bytes, e: Vector) -> None:
    s = smtpd_of(m, e[E_HOST], e[E_PID])
    if s >= 0 and m[s + S_STARTED] != NULL:  # its disconnect line was lost
        m[s + S_LOST] = 4
        end_smtpd(m, s, m[NOW])
        s = -1
    if s >= 0 and e[E_TIME] - m[s + S_STAMP] > STUB_FOR:
        drop_stub(m, s)
        s = -1
    if s < 0:
        s = new_smtpd(m, e)
    start_smtpd(m, heap, pool, s, e)


@kernel
def on_smtpd(m: Memory, heap: Bytes, pool: Bytes, e: Vector, role: int) -> None:
    """Any other line of smtpd: it belongs to the session that its host and process id are in."""
    s = smtpd_of(m, e[E_HOST], e[E_PID])
    if s < 0:
        s = new_smtpd(m, e)
        if role == R_SMTPD_OTHER:  # a warning before `connect from`: kept for the session that follows
            m[s + S_STAMP] = e[E_TIME]
        else:  # the log began in mid-session
            m[s + S_IMPLIED] = 1
            start_smtpd(m, heap, pool, s, e)
            note_smtpd(m, heap, pool, s, e, role)
            return
    elif role != R_SMTPD_OTHER and m[s + S_STARTED] == NULL:
        m[s + S_IMPLIED] = 1
        start_smtpd(m, heap, pool, s, e)
        note_smtpd(m, heap, pool, s, e, role)
        return
    push_event(m, s + S_EVENTS, e)
    note_smtpd(m, heap, pool, s, e, role)


@kernel
def note_smtpd(m: Memory, heap: Bytes, pool: Bytes, s: int, e: Vector, role: int) -> None:
    if role == R_SMTPD_DISCONNECT:
        m[s + S_COMMANDS] = keep(m, heap, pool, e[E_T0], TEXT_OF_COMMANDS)
        m[s + S_SIGNATURE] = e[E_QUEUE]
        m[s + S_COMMANDS_OK] = e[E_N0]
        m[s + S_COMMANDS_ALL] = e[E_N1]
        end_smtpd(m, s, e[E_TIME])
    elif role == R_SMTPD_CLIENT:
        q = message_of(m, heap, pool, e, True)
        m[q + M_LAST] = m[NOW]
        adopt(m, q, s)
        part = microseconds(pool, e[E_T0] >> 24, e[E_T0] & 0xFFFFFF)
        if part != UNKNOWN:
            m[s + S_QUEUED_US] = part
        if e[E_T4] != NULL:
            m[s + S_SASL_METHOD] = e[E_N4]
            m[s + S_SASL_USER] = keep(m, heap, pool, e[E_T4], TEXT_OF_SESSIONS)
    elif role == R_SMTPD_DECISION:
        if e[E_N0] == 0:  # a refusal; the other actions let the command pass
            push_reject(m, heap, pool, s + S_REJECTS, e)
        if e[E_T1] != NULL and m[s + S_HELO] == NULL:
            m[s + S_HELO] = keep(m, heap, pool, e[E_T1], TEXT_OF_SESSIONS)
    elif role == R_SMTPD_LOST:
        m[s + S_LOST] = e[E_N0]
    elif role == R_SMTPD_TLS:
        m[s + S_TLS_PROTOCOL] = e[E_N2]
        m[s + S_TLS_CIPHER] = e[E_N3]
    elif role == R_SMTPD_SASL:
        m[s + S_SASL_FAILURES] += 1
        if e[E_T4] != NULL and m[s + S_SASL_USER] == NULL:
            m[s + S_SASL_METHOD] = e[E_N4]
            m[s + S_SASL_USER] = keep(m, heap, pool, e[E_T4], TEXT_OF_SESSIONS)
    elif e[E_N1] > 0:
        m[s + S_HEADER] = e[E_N1]
        if m[s + S_P] >= 0:  # postscreen let the header through: it is that of the session it began
            header_seen(m, m[s + S_P], e)
        elif e[E_HI2] != NULL and e[E_PORT2] != NULL and m[s + S_KEY2] < 0 and m[s + S_B] < 0:
            m[s + S_HEADER_HI] = e[E_HI2]
            m[s + S_HEADER_LO] = e[E_LO2]
            m[s + S_HEADER_PORT] = e[E_PORT2]
            m[s + S_KEY2] = add_key(m, e[E_HI2], e[E_LO2], e[E_PORT2], K_SMTPD_HEADER, s)


@kernel
def adopt(m: Memory, q: int, s: int) -> None:
    """Make a message one of the session that brought it."""
    if m[q + M_S] >= 0:
        return
    m[q + M_S] = s
    m[q + M_S_NEXT] = -1
    if m[s + S_MESSAGES] < 0:
        m[s + S_MESSAGES] = q
    else:
        m[m[s + S_MESSAGES_LAST] + M_S_NEXT] = q
    m[s + S_MESSAGES_LAST] = q
    m[s + S_MESSAGE_COUNT] += 1
    if m[q + M_STATE] == OPEN:
        m[s + S_OPEN_MESSAGES] += 1
