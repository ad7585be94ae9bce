"""Joins 1, 3, 5 and 7: balancer sessions with what the mail server saw, by an address and port known to both.

A key is an address with a port. The balancer's session is known by its client (`%ci:%cp`) and, where the
log format has it, by its own back-end side (`%bi:%bp`); the server's by the peer it logged and by the
client that an unexpected PROXY header named. Ports are reused, so among equal keys time decides, with the
skew between the two hosts' clocks taken off.
"""

from __future__ import annotations

import math

import numpy as np

from logscope.correlate.layout import *
from logscope.correlate.matching import IMPOSSIBLE, alignment_shares, in_order
from logscope.correlate.tables import *
from logscope.engine import kernel

FAR = 60 * SECOND  # a balancer may wait this long for a busy server; beyond it, another session used the port
SKEW_ENOUGH = 8  # samples before a skew counts as known
MOST_RIVALS = 64
SOON, LAST = range(2)  # how long the sessions of a key have waited
EXACT = 0.9995  # so likely must a pair be, against all others that are possible
SURE_ENOUGH = 900_000  # parts of a million: such a link teaches how sessions talk, and where servers are

# What a pair of sessions costs, in nats: minus the logarithm of how likely they are one session, against two
# that happen to have the same address and port within `FAR` of each other.
BACKGROUND = 2.0 * FAR / SECOND  # seconds within which two that happen to meet are anywhere
START_FINE, START_COARSE = 0.05, 0.3  # seconds that starts usually differ by
END_FINE, END_COARSE = 0.1, 0.3
SKEW_UNKNOWN, SKEW_GUESSED = 20.0, 4.0  # seconds to add without any sample, and to share among the first
END_ODD = 8.0  # at most, because a client may linger, and a server may be slow to notice that it left
OUTLIVED_ODD = 12.0  # that a server still has to do with a client that left
UNSEEN_OPEN = 0.7  # that the balancer's line of a session is not there yet, which is only written at its end
UNSEEN_SOON = 3.0  # the same some seconds after the end
UNSEEN = 4.6  # that it never comes
SELDOM = 6.9  # that a port is used again within `FAR`, where only one session of either side is known
OUTLIVED = SECOND // 10  # by which a server may say more of a session that its balancer saw end
RARELY = 0.1  # sessions of a server are nearly all seen at its host, or nearly none
LINKS_KEPT = 256
SEEN_KEPT = 4096
TICKS_UNKNOWN = 8.0  # sessions that it takes to believe in a habit
PERIOD = 16 * SECOND  # sessions that ended in the present one may still be linked


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
def skew_doubt(m: Memory, balancer_host: int, mta_host: int) -> float:
    """Seconds by which the skew may be wrong while there are few samples."""
    pair = skew_pair(balancer_host, mta_host)
    count = m[m[SKEW] + pair * SKEW_WIDTH + SKEW_COUNT] if pair >= 0 else 0
    if count <= 0:
        return SKEW_UNKNOWN
    return 0.0 if count >= SKEW_ENOUGH else SKEW_GUESSED / count


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
        samples = np.empty(kept, np.int64)
        for i in range(kept):
            samples[i] = m[at + SKEW_FIRST + i]
        in_order(samples)
        m[at + SKEW_MEDIAN] = samples[kept // 2]


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
            elif m[node + X_SIDE] <= K_SMTPD_HEADER:  # others are on the shelf, see `late`
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
        if m[node + X_HI] == hi and m[node + X_LO] == lo and m[node + X_PORT] == port:
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
            if unlinked and (usual_host(m, b) < 0 or usual_host(m, b) == host):
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
        anywhere = several and usual_host(m, m[balancers[i] + X_INDEX]) < 0
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
    return cost + visit_end_cost(m, b, side, v, coarse, doubt) + host_cost(m, b, host)


@kernel
def rarity(seconds: float, scale: float, coarse: int) -> float:
    """Of a difference that is mostly below `scale`, against one that may be anything."""
    return math.log((2.0 * scale + (1.0 if coarse else 0.0)) / BACKGROUND) + 2.0 * math.log1p(seconds / scale)


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


# --- which host a server is ---------------------------------------------------------------------------------


@kernel
def server_at(m: Memory, b: int) -> int:
    """The words of a balancer session's server, brought up to the present; a server met for the first time
    takes its place over.
    """
    backend = max(m[b + B_BACKEND], -1)
    server = max(m[b + B_SERVER], -1)
    host = m[b + B_HOST] + 1
    at = m[SERVERS] + SERVER_WIDTH * (mix(mix(mix(19, backend), server), host) & (SERVER_PLACES - 1))
    name = host << 48 | (backend + 1) << 24 | (server + 1)
    if m[at + SERVER_NAME] != name:
        if m[at + SERVER_NAME] >= 0:
            give_back_list(m, m[at + SERVER_FIRST])
        m[at + SERVER_NAME] = name
        m[at + SERVER_HOST] = -1
        for i in range(SERVER_HOST + 1, SERVER_WIDTH):
            m[at + i] = 0
        for column in (SERVER_GROUP, SERVER_FIRST, SERVER_LAST):
            m[at + column] = -1
    period = m[NOW] // PERIOD
    if m[at + SERVER_PERIOD] != period:
        m[at + SERVER_SEEN] += m[at + SERVER_BEFORE]
        m[at + SERVER_BEFORE] = m[at + SERVER_PRESENT]
        if m[at + SERVER_PERIOD] + 1 != period:
            m[at + SERVER_SEEN] += m[at + SERVER_BEFORE]
            m[at + SERVER_BEFORE] = 0
        m[at + SERVER_PRESENT] = 0
        m[at + SERVER_PERIOD] = period
        if m[at + SERVER_SEEN] >= SEEN_KEPT:
            m[at + SERVER_SEEN] >>= 1
            m[at + SERVER_LINKED] >>= 1
    return int(at)


@kernel
def see_server(m: Memory, b: int) -> None:
    """Count a session that reached a server, once it is known that sessions can be linked at all."""
    m[REACHED] = 1
    if m[LINKED]:
        m[server_at(m, b) + SERVER_PRESENT] += 1


@kernel
def note_host(m: Memory, b: int, host: int) -> None:
    """Remember where the sessions of a server turn up; that it moved is believed after some sessions."""
    m[LINKED] = 1
    at = server_at(m, b)
    m[at + SERVER_LINKED] += 1
    if m[b + B_SERVER] < 0:
        return
    if m[at + SERVER_HOST] == host:
        m[at + SERVER_LINKS] = min(m[at + SERVER_LINKS] + 1, LINKS_KEPT)
        return
    m[at + SERVER_LINKS] >>= 1
    m[at + SERVER_STRAYS] = min(m[at + SERVER_STRAYS] + 1, LINKS_KEPT)
    if m[at + SERVER_LINKS] == 0:
        m[at + SERVER_HOST] = host
        m[at + SERVER_LINKS] = 1


@kernel
def usual_host(m: Memory, b: int) -> int:
    return int(m[server_at(m, b) + SERVER_HOST])


@kernel
def linked_share(m: Memory, b: int) -> float:
    """How often a session of this server is linked with any that a mail server saw: hardly ever where
    addresses are masked, or a host's log is not there.
    """
    at = server_at(m, b)
    linked = m[at + SERVER_LINKED]
    return float((linked + RARELY) / (max(m[at + SERVER_SEEN], linked) + 2 * RARELY))


@kernel
def host_cost(m: Memory, b: int, host: int) -> float:
    """That a session of this server is seen, and at this host."""
    at = server_at(m, b)
    links = m[at + SERVER_LINKS]
    strays = m[at + SERVER_STRAYS]
    here = 0.5
    if m[at + SERVER_HOST] >= 0:
        here = ((links if m[at + SERVER_HOST] == host else strays) + 0.5) / (links + strays + 1)
    return -math.log(linked_share(m, b) * here)


@kernel
def alone_cost(m: Memory, b: int) -> float:
    """That a session of this server is seen nowhere."""
    return -math.log(1.0 - linked_share(m, b))


# --- what is usual between the balancer's end and the server's session --------------------------------------


@kernel
def signature_of(m: Memory, p: int, s: int) -> int:
    """What the server's lines say of how it was talked to: smtpd's counters, or how postscreen ended it."""
    if s >= 0:
        return int(m[s + S_SIGNATURE])
    if m[p + P_ENDED] == NULL:
        return NULL
    ended = mix(mix(mix(23, m[p + P_TESTS]), m[p + P_HANGUP]), min(m[p + P_REJECTED], 3))
    return mix(ended, m[p + P_HOST])


@kernel
def note_habits(m: Memory, b: int, p: int, s: int) -> None:
    """Learn from a link that is as good as sure. The past counts less and less."""
    host = m[s + S_HOST] if s >= 0 else m[p + P_HOST]
    note_pair(m, b, p, s, 1)
    if m[m[TALKS]] >= MOST_TALKS:
        halve(m, m[TALKS], TALKS_WIDTH)
    ticks = ticks_of(m, host)
    if ticks >= 0 and m[ticks] >= MOST_TICKS:
        halve(m, ticks, TICKS_WIDTH)


@kernel
def halve(m: Memory, first: int, count: int) -> None:
    for i in range(first, first + count):
        m[i] >>= 1


@kernel
def note_pair(m: Memory, b: int, p: int, s: int, times: int) -> None:
    """Count (or, with -1, uncount) how many bytes a session with these disconnect counters brought its
    client, and how long after its last queue file it ended.

    Either of `p` and `s`, the server's two hops, may be -1.
    """
    if b < 0 or m[b + B_ASAP] == 1:
        return
    phase = tick_phase(m, b, s)
    if phase >= 0:
        at = ticks_of(m, m[s + S_HOST])
        m[at] += times
        at += 1
        for level in range(TICK_LEVELS):
            m[at + (phase >> 3 * level)] += times
            at += TICK_PLACES >> 3 * level
    signature = signature_of(m, p, s)
    if signature == NULL:
        return
    talks = m[TALKS]
    told = mix(17, m[b + B_BYTES_CLIENT])
    m[talks] += times
    m[talks + 1 + (told & (TALK_PLACES - 1))] += times
    m[talks + 1 + TALK_PLACES + (signature & (TALK_PLACES - 1))] += times
    m[talks + 1 + 2 * TALK_PLACES + (mix(told, signature) & (TALK_PLACES - 1))] += times


@kernel
def ticks_of(m: Memory, host: int) -> int:
    if host < 0 or host >= SKEW_HOSTS:
        return -1
    return int(m[TICKS] + host * TICKS_WIDTH)


@kernel
def tick_phase(m: Memory, b: int, s: int) -> int:
    """The part of a second from smtpd's last queue file to the balancer's end; -1 if one is not known.

    Queue ids say when within the second a file was made, by the clock of the mail server, whatever the
    resolution of its stamps, whoever wrote them.
    """
    if s < 0 or m[s + S_QUEUED_US] == NULL or ticks_of(m, m[s + S_HOST]) < 0:
        return -1
    return int((m[b + B_END] // 1000 - m[s + S_QUEUED_US]) % 1_000_000 * TICK_PLACES // 1_000_000)


@kernel
def habit_cost(m: Memory, b: int, p: int, s: int, own: int) -> float:
    """How much less often than by chance these bytes and these counters, and this end and this queue file,
    come together, in nats.

    `own` is 1 where the pair itself has been counted: it must not speak for itself.
    """
    if b < 0 or m[b + B_ASAP] == 1:
        return 0.0
    return talk_cost(m, b, signature_of(m, p, s), own) + tick_cost(m, b, s, own)


@kernel
def tick_cost(m: Memory, b: int, s: int, own: int) -> float:
    """Habits may be narrow (a program that quits at once) or wide (a busy server), so narrow and wide parts
    of a second have a say, and none of them all of it.
    """
    phase = tick_phase(m, b, s)
    if phase < 0:
        return 0.0
    at = ticks_of(m, m[s + S_HOST])
    known = max(m[at] - own, 0)
    at += 1
    density = 1.0
    for level in range(TICK_LEVELS):
        places = TICK_PLACES >> 3 * level
        here = max(m[at + (phase >> 3 * level)] - own, 0)
        density += here * places / (known + TICKS_UNKNOWN)
        at += places
    return -math.log(density / (1.0 + TICK_LEVELS * known / (known + TICKS_UNKNOWN)))


@kernel
def talk_cost(m: Memory, b: int, signature: int, own: int) -> float:
    if signature == NULL:
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
def add_closed(m: Memory, b: int, p: int, s: int) -> None:
    row = take(m, FINISHED, Z_WIDTH)
    m[row + Z_BALANCER] = b
    m[row + Z_SCREEN] = p
    m[row + Z_SMTPD] = s
    append(m, SESSIONS_FIRST, row)
    m[SESSIONS_COUNT] += 1
