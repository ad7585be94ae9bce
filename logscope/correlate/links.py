"""Joins 1, 3, 5 and 7: balancer sessions with what the mail server saw, by an address and port known to both.

A key is an address with a port. The balancer's session is known by its client (`%ci:%cp`) and, where the log format has
it, by its own back-end side (`%bi:%bp`); the server's by the peer it logged and by the client that an unexpected PROXY header named.
Ports are reused, so among equal keys time decides, with the skew between the two hosts' clocks taken off.
"""

from __future__ import annotations

import numpy as np

from logscope.correlate.layout import *
from logscope.correlate.tables import *
from logscope.engine import kernel

NEAR_UNKNOWN = 10 * SECOND  # while the skew of two hosts is not known
NEAR_KNOWN = 2 * SECOND
FAR = 60 * SECOND  # a balancer may wait this long for a busy server; beyond it, another session used the port
CLEAR = 5 * SECOND  # by how much the second best candidate must be worse for the best to be taken at once
SKEW_ENOUGH = 8  # samples before a skew counts as known
MOST_RIVALS = 64


@kernel
def skew_pair(balancer_host: int, mta_host: int) -> int:
    if balancer_host < 0 or mta_host < 0 or balancer_host >= SKEW_HOSTS or mta_host >= SKEW_HOSTS:
        return -1
    return balancer_host * SKEW_HOSTS + mta_host


@kernel
def skew_of(m: Memory, balancer_host: int, mta_host: int) -> int:
    """Nanoseconds by which the server's clock is ahead of the balancer's; 0 while nobody knows."""
    pair = skew_pair(balancer_host, mta_host)
    if pair < 0:
        return 0
    return m[m[SKEW] + pair * SKEW_WIDTH + SKEW_MEDIAN]


@kernel
def skew_known(m: Memory, balancer_host: int, mta_host: int) -> bool:
    pair = skew_pair(balancer_host, mta_host)
    return pair >= 0 and m[m[SKEW] + pair * SKEW_WIDTH + SKEW_COUNT] >= SKEW_ENOUGH


@kernel
def sample_skew(m: Memory, balancer_host: int, mta_host: int, seen: int, coarse: int, expected: int) -> None:
    """Remember one difference between the clocks, from a link that needed no time to be decided."""
    pair = skew_pair(balancer_host, mta_host)
    if pair < 0:
        return
    difference = seen - expected
    if coarse:  # the stamp lost half a second on average
        difference += SECOND // 2
    at = m[SKEW] + pair * SKEW_WIDTH
    count = m[at + SKEW_COUNT]
    m[at + SKEW_FIRST + count % SKEW_SAMPLES] = difference
    m[at + SKEW_COUNT] = count + 1
    if count < SKEW_SAMPLES or count % 16 == 0:
        kept = min(count + 1, SKEW_SAMPLES)
        m[at + SKEW_MEDIAN] = np.sort(m[at + SKEW_FIRST : at + SKEW_FIRST + kept])[kept // 2]


@kernel
def gap(m: Memory, b: int, mta_host: int, seen: int, coarse: int) -> int:
    """How long after (or, negative, before) the balancer's connect the server saw the session; 0 within the stamp's resolution."""
    late = seen - m[b + B_START] - skew_of(m, m[b + B_HOST], mta_host)
    if coarse:
        if late <= 0 and late > -SECOND:
            return 0
        if late < 0:
            return late + SECOND
    return late


@kernel
def visit_gap(m: Memory, b: int, side: int, i: int) -> int:
    if side == K_SCREEN_PEER or side == K_SCREEN_HEADER:
        return gap(m, b, m[i + P_HOST], m[i + P_CONNECTED], m[i + P_COARSE])
    return gap(m, b, m[i + S_HOST], m[i + S_STARTED], m[i + S_COARSE])


@kernel
def visit_host(m: Memory, side: int, i: int) -> int:
    if side == K_SCREEN_PEER or side == K_SCREEN_HEADER:
        return m[i + P_HOST]
    return m[i + S_HOST]


@kernel
def fits(balancer_side: int, visit_side: int) -> bool:
    """Which keys may meet: the balancer's own port only ever meets a logged peer."""
    if balancer_side == K_BALANCER_CLIENT:
        return True
    return visit_side == K_SCREEN_PEER or visit_side == K_SMTPD_PEER


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
def address_chain(m: Memory, hi: int, lo: int) -> int:
    return chain(m, ADDRESS_HEADS, mix(mix(7, hi), lo))


@kernel
def link_visit(m: Memory, b: int, side: int, i: int, method: int, confidence: int, probability: int) -> None:
    settle_balancer(m, b)
    m[b + B_METHOD] = method
    m[b + B_CONFIDENCE] = confidence
    m[b + B_PROBABILITY] = probability
    if side == K_SCREEN_PEER or side == K_SCREEN_HEADER:
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
    if visit_side == K_SCREEN_HEADER or visit_side == K_SMTPD_HEADER:
        return L_HEADER_TEXT
    return L_ADDRESS_PORT


@kernel
def join_key(m: Memory, hi: int, lo: int, port: int, final: bool) -> None:
    """Link those seen with this address and port whose partner is decided.

    At once where one balancer session and one visit have the key and are near in time, or where all others are far;
    with `final` (one of them has waited long enough) the nearest pairs are taken, as far as `FAR`.
    """
    balancers = 0
    visits = 0
    b_node = -1
    v_node = -1
    node = m[key_chain(m, hi, lo, port)]
    while node >= 0:
        if m[node + X_HI] == hi and m[node + X_LO] == lo and m[node + X_PORT] == port:
            if m[node + X_SIDE] <= K_BALANCER_BACKEND:
                balancers += 1
                b_node = node
            else:
                visits += 1
                v_node = node
        node = m[node + X_NEXT]
    if balancers == 0 or visits == 0:
        return
    if balancers == 1 and visits == 1:
        join_pair(m, b_node, v_node, final)
    else:
        join_many(m, hi, lo, port, final)


@kernel
def join_pair(m: Memory, b_node: int, v_node: int, final: bool) -> None:
    b_side = m[b_node + X_SIDE]
    v_side = m[v_node + X_SIDE]
    if not fits(b_side, v_side):
        return
    b = m[b_node + X_INDEX]
    v = m[v_node + X_INDEX]
    host = visit_host(m, v_side, v)
    balancer_host = m[b + B_HOST]
    near = NEAR_KNOWN if skew_known(m, balancer_host, host) else NEAR_UNKNOWN
    distance = abs(visit_gap(m, b, v_side, v))
    if distance <= (FAR if final else near):
        if v_side <= K_SCREEN_HEADER:
            sample_skew(m, balancer_host, host, m[v + P_CONNECTED], m[v + P_COARSE], m[b + B_START])
        else:
            sample_skew(m, balancer_host, host, m[v + S_STARTED], m[v + S_COARSE], m[b + B_START])
        link_visit(m, b, v_side, v, method_of(b_side, v_side), SURE_EXACT, 1_000_000)


@kernel
def join_many(m: Memory, hi: int, lo: int, port: int, final: bool) -> None:
    """Several sessions used one port: the nearest pair first, as long as one stands out or no more can come."""
    b_nodes = np.empty(MOST_RIVALS, np.int64)
    v_nodes = np.empty(MOST_RIVALS, np.int64)
    balancers = 0
    visits = 0
    node = m[key_chain(m, hi, lo, port)]
    while node >= 0:
        if m[node + X_HI] == hi and m[node + X_LO] == lo and m[node + X_PORT] == port:
            if m[node + X_SIDE] <= K_BALANCER_BACKEND:
                if balancers < MOST_RIVALS:
                    b_nodes[balancers] = node
                    balancers += 1
            elif visits < MOST_RIVALS:
                v_nodes[visits] = node
                visits += 1
        node = m[node + X_NEXT]
    while True:
        best = FAR + 1
        best_b = -1
        best_v = -1
        for i in range(balancers):
            for j in range(visits):
                if b_nodes[i] < 0 or v_nodes[j] < 0 or not fits(m[b_nodes[i] + X_SIDE], m[v_nodes[j] + X_SIDE]):
                    continue
                distance = abs(
                    visit_gap(m, m[b_nodes[i] + X_INDEX], m[v_nodes[j] + X_SIDE], m[v_nodes[j] + X_INDEX])
                )
                if distance < best:
                    best = distance
                    best_b = i
                    best_v = j
        if best_b < 0:
            return
        b_side = m[b_nodes[best_b] + X_SIDE]
        v_side = m[v_nodes[best_v] + X_SIDE]
        b = m[b_nodes[best_b] + X_INDEX]
        v = m[v_nodes[best_v] + X_INDEX]
        second = 3600 * SECOND
        for i in range(balancers):
            if i != best_b and b_nodes[i] >= 0 and fits(m[b_nodes[i] + X_SIDE], v_side):
                second = min(second, abs(visit_gap(m, m[b_nodes[i] + X_INDEX], v_side, v)))
        for j in range(visits):
            if j != best_v and v_nodes[j] >= 0 and fits(b_side, m[v_nodes[j] + X_SIDE]):
                second = min(second, abs(visit_gap(m, b, m[v_nodes[j] + X_SIDE], m[v_nodes[j] + X_INDEX])))
        known = skew_known(m, m[b + B_HOST], visit_host(m, v_side, v))
        near = NEAR_KNOWN if known else NEAR_UNKNOWN
        stands_out = best <= near and second - best >= CLEAR
        if not final and not stands_out:
            return
        if stands_out or (known and second - best >= SECOND):
            confidence, probability = SURE_EXACT, 1_000_000
        elif second - best >= SECOND // 10:
            confidence, probability = SURE_PROBABLE, 900_000
        else:
            confidence, probability = SURE_PROBABLE, 500_000
        b_nodes[best_b] = -1
        v_nodes[best_v] = -1
        link_visit(m, b, v_side, v, method_of(b_side, v_side), confidence, probability)


# --- sessions that are over -------------------------------------------------------------------------------------------


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
        m[m[s + S_B] + B_STATE] = CLOSED
    add_closed(m, m[s + S_B], -1, s)


@kernel
def add_closed(m: Memory, b: int, p: int, s: int) -> None:
    row = take(m, FINISHED, Z_WIDTH)
    m[row + Z_BALANCER] = b
    m[row + Z_SCREEN] = p
    m[row + Z_SMTPD] = s
    append(m, SESSIONS_FIRST, row)
    m[SESSIONS_COUNT] += 1
