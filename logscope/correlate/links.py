"""Joins 1, 3, 5 and 7: balancer sessions with what the mail server saw, by an address and port known to both.

A key is an address with a port. The balancer's session is known by its client (`%ci:%cp`) and, where the
log format has it, by its own back-end side (`%bi:%bp`); the server's by the peer it logged and by the
client that an unexpected PROXY header named. Ports are reused, so among equal keys time decides, with the
skew between the two hosts' clocks taken off.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import *
from logscope.correlate.tables import *
from logscope.engine import kernel

NEAR_UNKNOWN = 10 * SECOND  # while the skew of two hosts is not known
NEAR_KNOWN = 2 * SECOND
FAR = 60 * SECOND  # a balancer may wait this long for a busy server; beyond it, another session used the port
CLEAR = 5 * SECOND  # by how much the second best candidate must be worse for the best to be taken at once
SKEW_ENOUGH = 8  # samples before a skew counts as known
MOST_RIVALS = 64
AT_ONCE, SOON, LAST = range(3)  # how long the sessions of a key have waited
IMPOSSIBLE = 1e6
ALONE = 40.0  # seconds that a match may be apart before leaving both sides alone is cheaper
OTHER_HOST = 60.0  # seconds that the wrong host weighs
SURELY = 1.0  # seconds by which other matches must be worse
UNSURE = 0.1
SURE_ENOUGH = 900_000  # parts of a million: such a link teaches how sessions talk


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
    return int(m[m[SKEW] + pair * SKEW_WIDTH + SKEW_MEDIAN])


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
def visit_gap(m: Memory, b: int, side: int, i: int) -> int:
    if side in (K_SCREEN_PEER, K_SCREEN_HEADER):
        return gap(m, b, m[i + P_HOST], m[i + P_CONNECTED], m[i + P_COARSE])
    return gap(m, b, m[i + S_HOST], m[i + S_STARTED], m[i + S_COARSE])


@kernel
def visit_host(m: Memory, side: int, i: int) -> int:
    if side in (K_SCREEN_PEER, K_SCREEN_HEADER):
        return int(m[i + P_HOST])
    return int(m[i + S_HOST])


@kernel
def fits(balancer_side: int, visit_side: int) -> bool:
    """Which keys may meet: the balancer's own port only ever meets a logged peer."""
    if balancer_side == K_BALANCER_CLIENT:
        return True
    return visit_side in (K_SCREEN_PEER, K_SMTPD_PEER)


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
    if side in (K_SCREEN_PEER, K_SCREEN_HEADER):
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

    AT_ONCE where one balancer session and one visit have the key and are near in time, or where all
    others are far; SOON when the sessions of both logs should be there; LAST when one of them has waited
    long enough, as far as `FAR`.
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
        join_pair(m, b_node, v_node, patience)
    else:
        join_many(m, hi, lo, port, patience)


@kernel
def join_pair(m: Memory, b_node: int, v_node: int, patience: int) -> None:
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
    usual = usual_host(m, b)
    if usual >= 0 and usual != host and patience != LAST:
        return
    if distance <= (FAR if patience == LAST else near):
        note_host(m, b, host)
        if v_side <= K_SCREEN_HEADER:
            sample_skew(m, balancer_host, host, m[v + P_CONNECTED], m[v + P_COARSE], m[b + B_START])
        else:
            sample_skew(m, balancer_host, host, m[v + S_STARTED], m[v + S_COARSE], m[b + B_START])
        link_visit(m, b, v_side, v, method_of(b_side, v_side), SURE_EXACT, 1_000_000)


@kernel
def join_many(m: Memory, hi: int, lo: int, port: int, patience: int) -> None:
    """Several sessions used one port.

    At once, the nearest pair is taken as long as it stands out from all others. Later, both sides are put
    in order of time and aligned at the least cost: whoever came first to the balancer came first to the
    server. Each host is aligned for itself where it is known which host a server is: stamps of whole
    seconds do not say which of two hosts was first.
    """
    balancers = np.empty(MOST_RIVALS, np.int64)
    visits = np.empty(MOST_RIVALS, np.int64)
    here_balancers = np.empty(MOST_RIVALS, np.int64)
    here_visits = np.empty(MOST_RIVALS, np.int64)
    rows = 0
    columns = 0
    told_apart = True
    node = m[key_chain(m, hi, lo, port)]
    while node >= 0:
        if m[node + X_HI] == hi and m[node + X_LO] == lo and m[node + X_PORT] == port:
            if m[node + X_SIDE] <= K_BALANCER_BACKEND:
                if rows < MOST_RIVALS:
                    insert_balancer(m, balancers, rows, node)
                    rows += 1
                    told_apart = told_apart and usual_host(m, m[node + X_INDEX]) >= 0
            elif columns < MOST_RIVALS:
                insert_visit(m, visits, columns, node)
                columns += 1
        node = m[node + X_NEXT]
    if patience == AT_ONCE:
        take_outstanding(m, balancers[:rows], visits[:columns])
    elif not told_apart:
        take_aligned(m, balancers[:rows], visits[:columns], patience)
    else:
        while columns > 0:
            host = visit_host(m, m[visits[0] + X_SIDE], m[visits[0] + X_INDEX])
            here_rows = 0
            for i in range(rows):
                if usual_host(m, m[balancers[i] + X_INDEX]) == host:
                    here_balancers[here_rows] = balancers[i]
                    here_rows += 1
            here = 0
            kept = 0
            for j in range(columns):
                if visit_host(m, m[visits[j] + X_SIDE], m[visits[j] + X_INDEX]) == host:
                    here_visits[here] = visits[j]
                    here += 1
                else:
                    visits[kept] = visits[j]
                    kept += 1
            columns = kept
            take_aligned(m, here_balancers[:here_rows], here_visits[:here], patience)


@kernel
def key_costs(m: Memory, balancers: Vector, visits: Vector) -> NDArray[np.float64]:
    cost = np.empty((len(balancers), len(visits)))
    for i in range(len(balancers)):
        for j in range(len(visits)):
            cost[i, j] = key_cost(m, balancers[i], visits[j])
    return cost


@kernel
def insert_balancer(m: Memory, nodes: Vector, count: int, node: int) -> None:
    moment = m[m[node + X_INDEX] + B_START]
    at = count
    while at > 0 and m[m[nodes[at - 1] + X_INDEX] + B_START] >= moment:
        nodes[at] = nodes[at - 1]
        at -= 1
    nodes[at] = node


@kernel
def visit_moment(m: Memory, node: int) -> int:
    if m[node + X_SIDE] <= K_SCREEN_HEADER:
        return int(m[m[node + X_INDEX] + P_CONNECTED])
    return int(m[m[node + X_INDEX] + S_STARTED])


@kernel
def insert_visit(m: Memory, nodes: Vector, count: int, node: int) -> None:
    """Chains hold the latest first, so that of two with equal stamps the one met later stood earlier in the
    log.
    """
    moment = visit_moment(m, node)
    at = count
    while at > 0 and visit_moment(m, nodes[at - 1]) >= moment:
        nodes[at] = nodes[at - 1]
        at -= 1
    nodes[at] = node


@kernel
def key_cost(m: Memory, b_node: int, v_node: int) -> float:
    """Seconds apart; more where the server's name was always another host's; IMPOSSIBLE where the keys may
    not meet.
    """
    side = m[v_node + X_SIDE]
    if not fits(m[b_node + X_SIDE], side):
        return IMPOSSIBLE
    b = m[b_node + X_INDEX]
    v = m[v_node + X_INDEX]
    seconds = abs(visit_gap(m, b, side, v)) / SECOND
    if seconds > FAR / SECOND:
        return IMPOSSIBLE
    usual = usual_host(m, b)
    if usual >= 0 and usual != visit_host(m, side, v):
        seconds += OTHER_HOST
    return seconds


@kernel
def take_pair(m: Memory, b_node: int, v_node: int, confidence: int, probability: int) -> None:
    side = m[v_node + X_SIDE]
    method = method_of(m[b_node + X_SIDE], side)
    link_visit(m, m[b_node + X_INDEX], side, m[v_node + X_INDEX], method, confidence, probability)


@kernel
def take_outstanding(m: Memory, balancers: Vector, visits: Vector) -> None:
    cost = key_costs(m, balancers, visits)
    best_i = -1
    best_j = -1
    best = IMPOSSIBLE
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            if cost[i, j] < best:
                best = cost[i, j]
                best_i = i
                best_j = j
    if best_i < 0 or best > NEAR_KNOWN / SECOND:
        return
    second = IMPOSSIBLE
    for i in range(cost.shape[0]):
        if i != best_i:
            second = min(second, cost[i, best_j])
    for j in range(cost.shape[1]):
        if j != best_j:
            second = min(second, cost[best_i, j])
    if second - best >= CLEAR / SECOND:
        take_pair(m, balancers[best_i], visits[best_j], SURE_EXACT, 1_000_000)


@kernel
def take_aligned(m: Memory, balancers: Vector, visits: Vector, patience: int) -> None:
    """Alignment of two sequences (Needleman and Wunsch 1970): match at its cost, or leave one of either side
    alone.
    """
    cost = key_costs(m, balancers, visits)
    rows = cost.shape[0]
    columns = cost.shape[1]
    total = np.zeros((rows + 1, columns + 1))
    for i in range(rows + 1):
        for j in range(columns + 1):
            if i == 0 or j == 0:
                total[i, j] = ALONE * (i + j)
            else:
                total[i, j] = min(
                    total[i - 1, j - 1] + cost[i - 1, j - 1], min(total[i - 1, j], total[i, j - 1]) + ALONE
                )
    partner = np.empty(rows, np.int64)
    i = rows
    j = columns
    alone = 0
    while i > 0 or j > 0:
        if i > 0 and j > 0 and total[i, j] == total[i - 1, j - 1] + cost[i - 1, j - 1]:
            i -= 1
            j -= 1
            partner[i] = j
        elif i > 0 and total[i, j] == total[i - 1, j] + ALONE:
            i -= 1
            partner[i] = -1
            alone += 1
        else:
            j -= 1
            alone += 1
    for i in range(rows):
        j = partner[i]
        if j < 0 or cost[i, j] >= OTHER_HOST or (patience == SOON and cost[i, j] > NEAR_KNOWN / SECOND):
            continue
        second = IMPOSSIBLE
        for other in range(rows):
            if other != i and (alone or other < i):
                second = min(second, cost[other, j])
        for other in range(columns):
            if other != j and (alone or other < j):
                second = min(second, cost[i, other])
        if alone == 0 or second - cost[i, j] >= SURELY:
            take_pair(m, balancers[i], visits[j], SURE_EXACT, 1_000_000)
        elif patience == LAST:
            odds = math.exp(min(cost[i, j] - second, 0.0) / UNSURE)
            take_pair(m, balancers[i], visits[j], SURE_PROBABLE, int(1_000_000 / (1.0 + odds)))


# --- which host a server is ---------------------------------------------------------------------------------


@kernel
def note_host(m: Memory, b: int, host: int) -> None:
    """Remember where the sessions of a server turn up: learnt from links that needed no guess."""
    server = m[b + B_SERVER]
    if server >= 0:
        at = m[SERVERS] + 2 * (server & (SERVER_PLACES - 1))
        m[at] = server
        m[at + 1] = host


@kernel
def usual_host(m: Memory, b: int) -> int:
    server = m[b + B_SERVER]
    at = m[SERVERS] + 2 * (server & (SERVER_PLACES - 1))
    if server >= 0 and m[at] == server:
        return int(m[at + 1])
    return -1


# --- how many bytes a dialogue has --------------------------------------------------------------------------


@kernel
def note_talk(m: Memory, b: int, s: int, times: int) -> None:
    """Count (or, with -1, uncount) that a session with these disconnect counters brought its client so many
    bytes.
    """
    signature = m[s + S_SIGNATURE]
    if b < 0 or signature == NULL or m[b + B_ASAP] == 1:
        return
    talks = m[TALKS]
    told = mix(17, m[b + B_BYTES_CLIENT])
    m[talks] += times
    m[talks + 1 + (told & (TALK_PLACES - 1))] += times
    m[talks + 1 + TALK_PLACES + (signature & (TALK_PLACES - 1))] += times
    m[talks + 1 + 2 * TALK_PLACES + (mix(told, signature) & (TALK_PLACES - 1))] += times
    if m[talks] >= MOST_TALKS:  # the past counts less and less
        for i in range(talks, talks + TALKS_WIDTH):
            m[i] >>= 1


@kernel
def talk_cost(m: Memory, b: int, s: int, own: int) -> float:
    """How much less often than by chance these bytes and these counters came together, in nats.

    `own` is 1 where the pair itself has been counted: it must not speak for itself.
    """
    signature = m[s + S_SIGNATURE]
    if b < 0 or signature == NULL or m[b + B_ASAP] == 1:
        return 0.0
    talks = m[TALKS]
    told = mix(17, m[b + B_BYTES_CLIENT])
    left = max(m[talks + 1 + (told & (TALK_PLACES - 1))] - own, 0)
    right = max(m[talks + 1 + TALK_PLACES + (signature & (TALK_PLACES - 1))] - own, 0)
    both = max(m[talks + 1 + 2 * TALK_PLACES + (mix(told, signature) & (TALK_PLACES - 1))] - own, 0)
    ratio = (both + 0.05) * (max(m[talks], 0) + 1) / ((left + 0.3) * (right + 0.3))
    return -min(max(math.log(ratio), -5.0), 5.0)


# --- sessions that are over ---------------------------------------------------------------------------------


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
            note_talk(m, m[p + P_B], s, 1)
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
            note_talk(m, m[s + S_B], s, 1)
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
