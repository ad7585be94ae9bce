"""Live: what a session was is shown as soon as all its lines are there, before it is decided.

Whether a balancer's line and a visit are one session is decided some seconds after their ends, because a line
of another host may come that fits better (`WAIT_END`); mail that left the queue waits some seconds for lines
that the log daemon swapped. Mostly nothing comes. So a session is shown at once where everything is there
that one of its kind has, its links are exact, and that would be sure even though a line of the same moment
may still be missing. Nothing is decided by that: what the joins do, and learn, is the same as from files.
When it is decided, nothing is handed out if it is what was shown; else that is amended.

Not shown early is what lacks a hop, what shares its client or port with others, what is joined by time alone,
and where a balancer may stand before this one, whose line comes last.
"""

from __future__ import annotations

import math

from logscope.correlate.closing import CHANGED, is_alone
from logscope.correlate.layout import *
from logscope.correlate.links import (
    SELDOM,
    UNSEEN_OPEN,
    count_key,
    is_running,
    link_visit,
    method_of,
    times_cost,
    visit_host,
)
from logscope.correlate.matching import IMPOSSIBLE
from logscope.correlate.odds import EXACT
from logscope.correlate.servers import host_cost_at, linked_share_at, server_name, server_place
from logscope.correlate.tables import *
from logscope.engine import kernel

NOBODY = -1  # instead of a balancer session: it has none
OWN, LENT = 1, 2  # how a balancer's session came by its link; a lent one is only there to be copied
ENOUGH_LINKED = 8  # links of a server, else of all, before they tell whether balancers stand behind others
SELDOM_BEHIND = 64  # one of so many may

# --- what was shown before ----------------------------------------------------------------------------------


@kernel
def shown_with(m: Memory, p: int, s: int) -> int:
    """The balancer session that a visit was shown with early; NULL if it was not, see also `NOBODY` and
    `CHANGED`.
    """
    if p >= 0:
        return int(m[p + P_EARLY])
    return int(m[s + S_EARLY]) if s >= 0 else NULL


@kernel
def is_as_shown(m: Memory, b: int, p: int, s: int) -> bool:
    """Whether a session that was shown early turned out to be just that."""
    early = shown_with(m, p, s)
    if early == CHANGED:
        return False
    if b < 0:
        return early == NOBODY
    visit = p if p >= 0 else s
    return bool(early == b and m[b + B_EARLY] == visit and m[b + B_CONFIDENCE] == SURE_EXACT)


@kernel
def note_shown(m: Memory, z: int) -> None:
    """A session has been copied to be shown early: from now on the rest is as if it had not been."""
    b = m[z + Z_BALANCER]
    p = m[z + Z_SCREEN]
    s = m[z + Z_SMTPD]
    whole = SHOWN_ALONE if b < 0 else SHOWN_WHOLE
    if p >= 0:
        m[p + P_SHOWN] = whole
    else:
        m[s + S_SHOWN] = whole
    if b < 0:
        return
    m[b + B_SHOWN] = NULL  # if it was shown alone, that has been amended
    if m[z + Z_EARLY] == LENT:
        m[b + B_METHOD] = L_NONE
        m[b + B_CONFIDENCE] = SURE_NONE
        m[b + B_PROBABILITY] = 0


@kernel
def decide_shown(m: Memory, p: int, s: int) -> None:
    """Link a visit that has to go to the balancer session that it was shown with."""
    b = shown_with(m, p, s)
    own = m[p + P_KEY] if p >= 0 else m[s + S_KEY]
    if b < 0 or own < 0:
        return
    b_node = lone_balancer(m, own)
    if b_node >= 0 and m[b_node + X_INDEX] == b:
        side = m[own + X_SIDE]
        method = method_of(m[b_node + X_SIDE], side)
        link_visit(m, b, side, p if p >= 0 else s, method, SURE_EXACT, 1_000_000)


# --- what may be shown --------------------------------------------------------------------------------------


@kernel
def show_early(m: Memory) -> None:
    """Hand out to be shown what is complete, of all that was to be looked at."""
    timer = m[EARLY_FIRST]
    m[EARLY_FIRST] = -1
    while timer >= 0:
        after = m[timer + T_NEXT]
        row = m[timer + T_INDEX]
        if m[row + 1] == m[timer + T_OF] and m[row] == OPEN:
            look_at(m, row)
        give_back(m, timer)
        timer = after


@kernel
def look_at(m: Memory, row: int) -> None:
    kind = m[row + 2]
    if kind == BALANCER:
        look_at_balancer(m, row)
    elif kind == SCREEN:
        look_at_visit(m, row, m[row + P_S])
    elif kind == SMTPD:
        look_at_visit(m, m[row + S_P], row)
    elif kind == MESSAGE and m[row + M_S] >= 0:
        s = m[row + M_S]
        look_at_visit(m, m[s + S_P], s)


@kernel
def look_at_balancer(m: Memory, b: int) -> None:
    """The visit that has one of its keys, if it is only one."""
    for key in (m[b + B_KEY], m[b + B_KEY2]):
        if key < 0:
            continue
        node = visit_node(m, m[key + X_HI], m[key + X_LO], m[key + X_PORT])
        if node < 0:
            continue
        v = m[node + X_INDEX]
        if m[node + X_SIDE] == K_SCREEN_PEER:
            look_at_visit(m, v, m[v + P_S])
        elif m[node + X_SIDE] == K_SMTPD_PEER:
            look_at_visit(m, -1, v)


@kernel
def visit_node(m: Memory, hi: int, lo: int, port: int) -> int:
    """The one visit with a key; -1 for none or several."""
    found = -1
    node = m[key_chain(m, hi, lo, port)]
    while node >= 0:
        side = m[node + X_SIDE]
        if K_BALANCER_BACKEND < side <= K_SMTPD_HEADER and has_key(m, node, hi, lo, port):
            if found >= 0:
                return -1
            found = node
        node = m[node + X_NEXT]
    return found


@kernel
def look_at_visit(m: Memory, p: int, s: int) -> None:
    visit = p if p >= 0 else s
    if m[visit] != OPEN or shown_with(m, p, s) != NULL or not is_complete(m, p, s):
        return
    b = m[p + P_B] if p >= 0 else m[s + S_B]
    if b >= 0:
        if m[b + B_CONFIDENCE] == SURE_EXACT:
            hand_out_early(m, b, p, s, OWN)
        return
    if (m[p + P_NO_BALANCER] if p >= 0 else m[s + S_NO_BALANCER]) == 1:
        hand_out_early(m, NOBODY, p, s, OWN)
        return
    own = m[p + P_KEY] if p >= 0 else m[s + S_KEY]
    header = m[p + P_KEY2] if p >= 0 else m[s + S_KEY2]
    if header >= 0:
        return
    if own >= 0:
        b_node = lone_balancer(m, own)
        if b_node >= 0 and is_sure(m, b_node, own):
            hand_out_early(m, lend_link(m, b_node, own), p, s, LENT)
            return
        if b_node >= 0:
            return
    if is_alone(m) and (own < 0 or count_key(m, m[own + X_HI], m[own + X_LO], m[own + X_PORT], 1) == 0):
        hand_out_early(m, NOBODY, p, s, OWN)


@kernel
def is_complete(m: Memory, p: int, s: int) -> bool:
    """Whether a session is over at the mail server, and all its lines there can be."""
    if s < 0:
        return bool(m[p + P_ENDED] != NULL)
    if m[s + S_ENDED] == NULL:
        return False
    if p >= 0 and m[p + P_CONFIDENCE] != SURE_EXACT:
        return False
    c = m[s + S_CLUSTER]
    if p < 0 and c >= 0 and m[c + C_P_COUNT] > 0:
        return False  # one of several visits led to it
    q = m[s + S_MESSAGES]
    while q >= 0:
        if m[q + M_STATE] == OPEN and not (is_delivered(m, q) or is_unqueued(m, q)):
            return False
        q = m[q + M_S_NEXT]
    return True


@kernel
def is_delivered(m: Memory, q: int) -> bool:
    """Whether a message left the queue, and what became of each recipient has been told."""
    told = m[q + M_SENT] + m[q + M_BOUNCED] + m[q + M_EXPIRED]
    return bool(m[q + M_REMOVED] != NULL and m[q + M_RECIPIENTS] != NULL and told >= m[q + M_RECIPIENTS])


@kernel
def is_unqueued(m: Memory, q: int) -> bool:
    """Whether mail did not reach the queue, asked when the session that began it is over: cleanup tells the
    message-id, if only `<>`, before smtpd answers the end of the data.
    """
    if m[q + M_SIZE] != NULL or m[q + M_REMOVED] != NULL:
        return False
    if m[q + M_REJECTED] > 0:
        return True
    told = m[WANT_TEXT] & TEXT_OF_MESSAGES != 0
    return bool(told and m[q + M_MESSAGE_ID] == NULL and m[q + M_HELD] + m[q + M_DISCARDED] == 0)


# --- whose it is --------------------------------------------------------------------------------------------


@kernel
def lone_balancer(m: Memory, own: int) -> int:
    """The one balancer session with a visit's key, where the visit is the only one too; else -1."""
    hi = m[own + X_HI]
    lo = m[own + X_LO]
    port = m[own + X_PORT]
    if count_key(m, hi, lo, port, 1) != 1 or count_key(m, hi, lo, port, 0) != 1:
        return -1
    node = m[key_chain(m, hi, lo, port)]
    while not (m[node + X_SIDE] <= K_BALANCER_BACKEND and has_key(m, node, hi, lo, port)):
        node = m[node + X_NEXT]
    return int(node)


@kernel
def is_sure(m: Memory, b_node: int, v_node: int) -> bool:
    """As `links.join_pair` decides it, and as if the balancer's line might still come; nothing is changed."""
    b = m[b_node + X_INDEX]
    at = server_place(m, b)
    side = m[v_node + X_SIDE]
    if m[at + SERVER_NAME] != server_name(m, b) or is_running(m, side, m[v_node + X_INDEX]):
        return False
    if may_be_behind(m, b, at):
        return False
    cost = times_cost(m, b_node, v_node)
    if cost >= IMPOSSIBLE:
        return False
    cost += host_cost_at(m, at, visit_host(m, side, m[v_node + X_INDEX]))
    alone = UNSEEN_OPEN + SELDOM - math.log(1.0 - linked_share_at(m, at))
    return 1.0 / (1.0 + math.exp(min(cost - alone, 50.0))) >= EXACT


@kernel
def may_be_behind(m: Memory, b: int, at: int) -> bool:
    """Whether another balancer may have a line of this session, or have one soon."""
    for key in (m[b + B_KEY], m[b + B_KEY2]):
        if key >= 0 and count_key(m, m[key + X_HI], m[key + X_LO], m[key + X_PORT], 1) > 1:
            return True
    if m[b + B_OUTER] >= 0:
        return bool(m[b + B_CHAIN_CONFIDENCE] != SURE_EXACT)
    linked = m[at + SERVER_LINKED]
    behind = m[at + SERVER_BEHIND]
    if linked < ENOUGH_LINKED:
        linked = m[LINKED]
        behind = m[CHAINED]
    return bool(linked < ENOUGH_LINKED or behind * SELDOM_BEHIND > linked)


@kernel
def lend_link(m: Memory, b_node: int, v_node: int) -> int:
    """Say in a balancer's session how it is linked, until it has been copied."""
    b = m[b_node + X_INDEX]
    m[b + B_METHOD] = method_of(m[b_node + X_SIDE], m[v_node + X_SIDE])
    m[b + B_CONFIDENCE] = SURE_EXACT
    m[b + B_PROBABILITY] = 1_000_000
    return int(b)


@kernel
def hand_out_early(m: Memory, b: int, p: int, s: int, link: int) -> None:
    row = take(m, FINISHED, Z_WIDTH)
    m[row + Z_BALANCER] = b
    m[row + Z_SCREEN] = p
    m[row + Z_SMTPD] = s
    m[row + Z_EARLY] = link
    append(m, SESSIONS_FIRST, row)
    m[SESSIONS_COUNT] += 1
    visit = p if p >= 0 else s
    m[visit + (P_EARLY if p >= 0 else S_EARLY)] = b
    if b >= 0:
        m[b + B_EARLY] = visit
