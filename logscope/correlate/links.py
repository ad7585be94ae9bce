"""Joins 1, 3, 5 and 7: balancer sessions with what the mail server saw, by an address and port known to both.

A key is an address with a port. The balancer's session is known by its client (`%ci:%cp`) and, where the
log format has it, by its own back-end side (`%bi:%bp`); the server's by the peer it logged and by the
client that an unexpected PROXY header named. Ports are reused, so among equal keys time decides, with the
skew between the two hosts' clocks taken off.
"""

from __future__ import annotations

import math

import numpy as np

from logscope.correlate.chains import may_be_chained
from logscope.correlate.closing import (
    SURE_ENOUGH,
    finish_screen,
    finish_smtpd,
    settle_balancer,
    settle_screen,
    settle_smtpd,
)
from logscope.correlate.layout import *
from logscope.correlate.matching import IMPOSSIBLE, alignment_shares
from logscope.correlate.odds import EXACT, FAR, LAST, SOON, rarity
from logscope.correlate.servers import alone_cost, firm_host, host_cost, note_host
from logscope.correlate.skew import SKEW_UNKNOWN, sample_skew, skew_doubt, skew_of
from logscope.correlate.tables import *
from logscope.engine import kernel

MOST_RIVALS = 64

# What a pair of sessions costs, in nats: minus the logarithm of how likely they are one session, against two
# that happen to have the same address and port within `FAR` of each other.
START_FINE, START_COARSE = 0.05, 0.3  # seconds that starts usually differ by
END_FINE, END_COARSE = 0.1, 0.3
END_ODD = 8.0  # at most, because a client may linger, and a server may be slow to notice that it left
OUTLIVED_ODD = 12.0  # that a server still has to do with a client that left
UNSEEN_OPEN = 0.7  # that the balancer's line of a session is not there yet, which is only written at its end
UNSEEN_SOON = 3.0  # the same some seconds after the end
UNSEEN = 4.6  # that it never comes
SELDOM = 6.9  # that a port is used again within `FAR`, where only one session of either side is known
OUTLIVED = SECOND // 10  # by which a server may say more of a session that its balancer saw end


@kernel
def gap(m: Memory, b: int, mta_host: int, seen: int, coarse: int) -> int:
    """How long after (or, negative, before) the balancer's connect the server saw the session; 0 within the
    stamp's resolution.
    """
    late = seen - m[b + B_START] - skew_of(m, m[b + B_HOST], mta_host)
    if coarse:
        if late <= 0 and late > -SECOND:
            return 0
        if late < 0:
            return int(late + SECOND)
    return int(late)


@kernel
def is_screen(side: int) -> bool:
    return side in (K_SCREEN_PEER, K_SCREEN_HEADER)


@kernel
def visit_gap(m: Memory, b: int, side: int, i: int) -> int:
    coarse = m[i + P_COARSE] if is_screen(side) else m[i + S_COARSE]
    return gap(m, b, visit_host(m, side, i), visit_start(m, side, i), coarse)


@kernel
def visit_host(m: Memory, side: int, i: int) -> int:
    return int(m[i + P_HOST] if is_screen(side) else m[i + S_HOST])


@kernel
def node_host(m: Memory, node: int) -> int:
    return visit_host(m, m[node + X_SIDE], m[node + X_INDEX])


@kernel
def visit_start(m: Memory, side: int, i: int) -> int:
    return int(m[i + P_CONNECTED] if is_screen(side) else m[i + S_STARTED])


@kernel
def is_running(m: Memory, side: int, i: int) -> bool:
    """Whether the server's session is still going on, as far as its lines tell; one that postscreen handed
    over to an smtpd that is not known may be over.
    """
    if not is_screen(side):
        return bool(m[i + S_ENDED] == NULL)
    if m[i + P_S] >= 0:
        return bool(m[m[i + P_S] + S_ENDED] == NULL)
    c = m[i + P_CLUSTER]
    handed_over = m[i + P_VERDICT_AT] != NULL or (c >= 0 and m[c + C_S_COUNT] > 0)
    return bool(m[i + P_ENDED] == NULL and not handed_over)


@kernel
def visit_end(m: Memory, side: int, i: int) -> int:
    """When the server's session ended, with smtpd where postscreen surely handed it over; NULL if unknown."""
    if not is_screen(side):
        return int(m[i + S_ENDED])
    s = m[i + P_S]
    if s >= 0:
        return int(m[s + S_ENDED]) if m[i + P_CONFIDENCE] == SURE_EXACT else NULL
    return int(m[i + P_ENDED])


@kernel
def fits(balancer_side: int, visit_side: int) -> bool:
    """Which keys may meet: the balancer's own port only ever meets a logged peer."""
    if balancer_side == K_BALANCER_CLIENT:
        return True
    return visit_side in (K_SCREEN_PEER, K_SMTPD_PEER)


@kernel
def link_visit(m: Memory, b: int, side: int, i: int, method: int, confidence: int, probability: int) -> None:
    settle_balancer(m, b)
    m[b + B_METHOD] = method
    m[b + B_CONFIDENCE] = confidence
    m[b + B_PROBABILITY] = probability
    if probability >= SURE_ENOUGH:
        note_host(m, b, visit_host(m, side, i))
    if is_screen(side):
        m[b + B_P] = i
        m[i + P_B] = b
        settle_screen(m, i)
        finish_screen(m, i)
    else:
        m[b + B_S] = i
        m[i + S_B] = b
        settle_smtpd(m, i)
        finish_smtpd(m, i)


@kernel
def method_of(balancer_side: int, visit_side: int) -> int:
    if balancer_side == K_BALANCER_BACKEND:
        return L_BACKEND_PORT
    if visit_side in (K_SCREEN_HEADER, K_SMTPD_HEADER):
        return L_HEADER_TEXT
    return L_ADDRESS_PORT


@kernel
def join_key(m: Memory, hi: int, lo: int, port: int, patience: int) -> None:
    """Link those seen with this address and port whose partner is decided.

    SOON, some seconds after the end of a session, when the lines of both logs should be there: what is
    certain. LAST, when one of them has waited long enough: also what is only probable. Never at once: a line
    that comes within the same second may be of a session that fits better.
    """
    if is_open_chain(m, hi, lo, port, patience) and patience == SOON:
        return  # which of them the mail server's session belongs to is open
    balancers = count_key(m, hi, lo, port, 1)
    visits = count_key(m, hi, lo, port, 0)
    if balancers == 0 or visits == 0:
        return
    if balancers > 1 or visits > 1:
        join_many(m, hi, lo, port, patience)
        return
    b_node = -1
    v_node = -1
    node = m[key_chain(m, hi, lo, port)]
    while node >= 0:
        if has_key(m, node, hi, lo, port):
            if m[node + X_SIDE] <= K_BALANCER_BACKEND:
                b_node = node
            elif m[node + X_SIDE] <= K_SMTPD_HEADER:  # others are on the shelf, see `late`
                v_node = node
        node = m[node + X_NEXT]
    join_pair(m, b_node, v_node, patience)


@kernel
def is_open_chain(m: Memory, hi: int, lo: int, port: int, patience: int) -> bool:
    """Whether a balancer session of this key may belong to another that is not linked to it yet."""
    changed = True
    while changed:
        changed = False
        node = m[key_chain(m, hi, lo, port)]
        while node >= 0 and not changed:
            if has_key(m, node, hi, lo, port) and m[node + X_SIDE] <= K_BALANCER_BACKEND:
                b = m[node + X_INDEX]
                inner = m[b + B_INNER]
                if may_be_chained(m, b, patience):
                    return True
                changed = m[b + B_INNER] != inner  # it has left the index, perhaps with others of its chain
            if not changed:
                node = m[node + X_NEXT]
    return False


@kernel
def count_key(m: Memory, hi: int, lo: int, port: int, of_balancer: int) -> int:
    """How many were seen with this address and port at the balancers, or at the mail servers; but for those
    on the shelf, see `late`.
    """
    count = 0
    node = m[key_chain(m, hi, lo, port)]
    while node >= 0:
        side = m[node + X_SIDE]
        there = 1 if side <= K_BALANCER_BACKEND else 0
        if side <= K_SMTPD_HEADER and there == of_balancer and has_key(m, node, hi, lo, port):
            count += 1
        node = m[node + X_NEXT]
    return count


@kernel
def join_screen(m: Memory, p: int, patience: int) -> None:
    """Look for a postscreen session's balancer session, by its peer and by the header that it was sent."""
    if m[p + P_STATE] == OPEN and m[p + P_B] < 0 and m[p + P_KEY] >= 0:
        join_key(m, m[p + P_HI], m[p + P_LO], m[p + P_PORT], patience)
    if m[p + P_STATE] == OPEN and m[p + P_B] < 0 and m[p + P_KEY2] >= 0:
        join_key(m, m[p + P_HEADER_HI], m[p + P_HEADER_LO], m[p + P_HEADER_PORT], patience)


@kernel
def join_balancer(m: Memory, b: int, patience: int) -> None:
    """Look for a balancer session's visit, by its client and by the balancer's own port."""
    if m[b + B_STATE] == OPEN and m[b + B_P] < 0 and m[b + B_S] < 0 and m[b + B_KEY] >= 0:
        join_key(m, m[b + B_HI], m[b + B_LO], m[b + B_PORT], patience)
    if m[b + B_STATE] == OPEN and m[b + B_P] < 0 and m[b + B_S] < 0 and m[b + B_KEY2] >= 0:
        join_key(m, m[b + B_SOURCE_HI], m[b + B_SOURCE_LO], m[b + B_SOURCE_PORT], patience)


@kernel
def join_pair(m: Memory, b_node: int, v_node: int, patience: int) -> None:
    """The only two of a key: another session that used the port is not known, but may not be logged, or not
    yet.
    """
    side = m[v_node + X_SIDE]
    b = m[b_node + X_INDEX]
    v = m[v_node + X_INDEX]
    if patience == SOON and is_running(m, side, v):
        return
    cost = key_cost(m, b_node, v_node)
    if cost >= IMPOSSIBLE:
        return
    alone = alone_cost(m, b) + unseen_cost(m, side, v, patience) + SELDOM
    odds = math.exp(min(cost - alone, 50.0))
    if 1.0 / (1.0 + odds) >= EXACT:
        take_sure(m, b_node, v_node)
    elif patience == LAST:
        take_pair(m, b_node, v_node, 1.0 / (1.0 + odds))


@kernel
def take_sure(m: Memory, b_node: int, v_node: int) -> None:
    """Link two that are alone with their key. That needed no choice by time, so it teaches the skew."""
    side = m[v_node + X_SIDE]
    b = m[b_node + X_INDEX]
    v = m[v_node + X_INDEX]
    coarse = m[v + P_COARSE] if is_screen(side) else m[v + S_COARSE]
    sample_skew(m, m[b + B_HOST], visit_host(m, side, v), visit_start(m, side, v), coarse, m[b + B_START])
    take_pair(m, b_node, v_node, 1.0)


@kernel
def take_pair(m: Memory, b_node: int, v_node: int, probability: float) -> None:
    """Link two with the confidence that their probability allows; nothing is linked where it is a guess."""
    if probability <= 0.5:
        return
    side = m[v_node + X_SIDE]
    method = method_of(m[b_node + X_SIDE], side)
    sure = probability >= EXACT
    confidence = SURE_EXACT if sure else SURE_PROBABLE
    parts = 1_000_000 if sure else int(1_000_000 * probability)
    link_visit(m, m[b_node + X_INDEX], side, m[v_node + X_INDEX], method, confidence, parts)


@kernel
def join_many(m: Memory, hi: int, lo: int, port: int, patience: int) -> None:
    """Several sessions used one port.

    Whoever came first to the balancer came first to the server: both sides are put in order of time and
    aligned, and each pair is as likely as all alignments that have it. Each host is aligned for itself:
    stamps of whole seconds do not say which of two hosts was first. A balancer session of a server that
    may be any host takes part in each alignment, and where there are several it is only linked at the last.
    """
    balancers = np.empty(MOST_RIVALS, np.int64)
    visits = np.empty(MOST_RIVALS, np.int64)
    rows = 0
    columns = 0
    node = m[key_chain(m, hi, lo, port)]
    while node >= 0:
        if has_key(m, node, hi, lo, port):
            if m[node + X_SIDE] <= K_BALANCER_BACKEND:
                if rows < MOST_RIVALS:
                    insert_balancer(m, balancers, rows, node)
                    rows += 1
            elif columns < MOST_RIVALS and m[node + X_SIDE] <= K_SMTPD_HEADER:
                insert_visit(m, visits, columns, node)
                columns += 1
        node = m[node + X_NEXT]
    several = False
    for j in range(1, columns):
        several = several or node_host(m, visits[j]) != node_host(m, visits[0])
    here_balancers = np.empty(rows, np.int64)
    here_visits = np.empty(columns, np.int64)
    while columns > 0:
        host = node_host(m, visits[0])
        here = 0
        kept = 0
        for j in range(columns):
            if node_host(m, visits[j]) == host:
                here_visits[here] = visits[j]
                here += 1
            else:
                visits[kept] = visits[j]
                kept += 1
        columns = kept
        here_rows = 0
        for i in range(rows):
            b = m[balancers[i] + X_INDEX]
            unlinked = m[b + B_P] < 0 and m[b + B_S] < 0
            if unlinked and firm_host(m, b) in (-1, host):
                here_balancers[here_rows] = balancers[i]
                here_rows += 1
        take_aligned(m, here_balancers[:here_rows], here_visits[:here], patience, several)


@kernel
def take_aligned(m: Memory, balancers: Vector, visits: Vector, patience: int, several: bool) -> None:
    rows = balancers.shape[0]
    columns = visits.shape[0]
    if rows == 0 or columns == 0:
        return
    cost = np.empty((rows, columns))
    alone = np.empty(rows)
    unseen = np.empty(columns)
    for j in range(columns):
        unseen[j] = unseen_cost(m, m[visits[j] + X_SIDE], m[visits[j] + X_INDEX], patience)
    for i in range(rows):
        alone[i] = alone_cost(m, m[balancers[i] + X_INDEX])
        for j in range(columns):
            cost[i, j] = key_cost(m, balancers[i], visits[j])
    share = alignment_shares(cost, alone, unseen)
    for i in range(rows):
        anywhere = several and firm_host(m, m[balancers[i] + X_INDEX]) < 0
        for j in range(columns):
            if share[i, j] <= 0.5:
                continue
            waits = (
                anywhere
                or share[i, j] < EXACT
                or is_running(m, m[visits[j] + X_SIDE], m[visits[j] + X_INDEX])
            )
            if patience == LAST or not waits:
                take_pair(m, balancers[i], visits[j], min(share[i, j], 0.99) if anywhere else share[i, j])


@kernel
def insert_balancer(m: Memory, nodes: Vector, count: int, node: int) -> None:
    moment = m[m[node + X_INDEX] + B_START]
    at = count
    while at > 0 and m[m[nodes[at - 1] + X_INDEX] + B_START] >= moment:
        nodes[at] = nodes[at - 1]
        at -= 1
    nodes[at] = node


@kernel
def insert_visit(m: Memory, nodes: Vector, count: int, node: int) -> None:
    """Chains hold the latest first, so that of two with equal stamps the one met later stood earlier in the
    log.
    """
    moment = visit_start(m, m[node + X_SIDE], m[node + X_INDEX])
    at = count
    while at > 0 and visit_start(m, m[nodes[at - 1] + X_SIDE], m[nodes[at - 1] + X_INDEX]) >= moment:
        nodes[at] = nodes[at - 1]
        at -= 1
    nodes[at] = node


# --- what a pair costs --------------------------------------------------------------------------------------


@kernel
def key_cost(m: Memory, b_node: int, v_node: int) -> float:
    """Of a balancer session and a visit with one key, in nats; IMPOSSIBLE where the keys may not meet."""
    cost = times_cost(m, b_node, v_node)
    if cost >= IMPOSSIBLE:
        return cost
    return cost + host_cost(m, m[b_node + X_INDEX], node_host(m, v_node))


@kernel
def times_cost(m: Memory, b_node: int, v_node: int) -> float:
    """The part of it that is not about where the server's sessions turn up."""
    side = m[v_node + X_SIDE]
    if not fits(m[b_node + X_SIDE], side):
        return IMPOSSIBLE
    b = m[b_node + X_INDEX]
    v = m[v_node + X_INDEX]
    late = visit_gap(m, b, side, v)
    if abs(late) > FAR:
        return IMPOSSIBLE
    host = visit_host(m, side, v)
    coarse = m[v + P_COARSE] if is_screen(side) else m[v + S_COARSE]
    doubt = skew_doubt(m, m[b + B_HOST], host)
    cost = rarity(abs(late) / SECOND, doubt + (START_COARSE if coarse else START_FINE), coarse)
    return cost + visit_end_cost(m, b, side, v, coarse, doubt)


@kernel
def visit_end_cost(m: Memory, b: int, side: int, v: int, coarse: int, doubt: float) -> float:
    """Both ends of one connection close together; 0 where one of them is not known."""
    if m[b + B_ASAP] == 1 or doubt >= SKEW_UNKNOWN:
        return 0.0
    ended = visit_end(m, side, v)
    if ended == NULL:
        return OUTLIVED_ODD if outlives(m, b, side, v) else 0.0
    late = ended - m[b + B_END] - skew_of(m, m[b + B_HOST], visit_host(m, side, v))
    if coarse:
        late = 0 if -SECOND < late <= 0 else (late + SECOND if late < 0 else late)
    scale = doubt + (END_COARSE if coarse else END_FINE)
    cost = rarity(abs(late) / SECOND, scale, coarse)
    if late > 0:
        cost += 2.0 * math.log1p(late / SECOND / scale)  # servers are late less often than clients linger
    return min(cost, END_ODD)


@kernel
def unseen_cost(m: Memory, side: int, v: int, patience: int) -> float:
    """That the balancer's session of this visit is not among those read so far."""
    if visit_end(m, side, v) == NULL:
        return UNSEEN_OPEN
    return UNSEEN if patience == LAST else UNSEEN_SOON


@kernel
def outlives(m: Memory, b: int, side: int, v: int) -> bool:
    """Whether the server had more to say of its session after the balancer saw this one end."""
    if m[b + B_ASAP] == 1:
        return False
    said = visit_end(m, side, v)
    if said == NULL:
        said = visit_start(m, side, v)
        if is_screen(side) and m[v + P_VERDICT_AT] != NULL:
            said = max(said, m[v + P_VERDICT_AT])
    balancer_host = m[b + B_HOST]
    host = visit_host(m, side, v)
    end = m[b + B_END] + skew_of(m, balancer_host, host)
    return bool(said > end + OUTLIVED + int(skew_doubt(m, balancer_host, host) * SECOND))
