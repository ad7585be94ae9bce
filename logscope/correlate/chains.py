"""Join 8: balancer with balancer, where one stands behind the other.

The inner one's line has the outer one's client, where the outer one sends a PROXY header, else the outer
one's own address and port (`%bi:%bp`), which then has to be logged. Both lines are written when the session
ends, so they are looked for some seconds later, and before a mail server's session is given to either. Two
lines with one key are one session's where the inner one begins when the outer one has connected, lasts as
long, and as many bytes went to the client; how often the outer one's server has had such pairs before counts
too, because a scanner may use one port for two frontends at once.

Where both have the client's own address and port, the outer one is the one that lasts longer: it was accepted
before, and waits for the other one's end. Milliseconds often do not tell; then what the two were in other
sessions does. A session is known by its innermost balancer session, which the mail server's belongs to, and
told by its outermost.
"""

from __future__ import annotations

import math

import numpy as np

from logscope.correlate.arrays import decimal_table, integers
from logscope.correlate.closing import SURE_ENOUGH, settle_balancer
from logscope.correlate.layout import *
from logscope.correlate.matching import IMPOSSIBLE, Costs
from logscope.correlate.odds import EXACT, FAR, LAST, rarity
from logscope.correlate.servers import note_host, server_at
from logscope.correlate.skew import sample_skew, skew_doubt, skew_of
from logscope.correlate.tables import *
from logscope.engine import kernel

MOST_CHAINED = 16  # balancer sessions of one key that are looked at
ACCEPTED = 0.02  # seconds that the inner one's accept and the outer one's connect usually differ by
LASTED = 0.05  # and their lengths
LASTED_ODD = 8.0  # at most
SAME_BYTES, OTHER_BYTES = -2.0, 3.0
LOOKED_KEPT = 4096
NO_CHAIN = 0.005  # pairs that a server is thought to have had before any was seen
PAIRS_ENOUGH = 4  # pairs of a server, most of its sessions, before they teach the clocks
LONGER_MS = 1.5  # nats for each millisecond by which the inner one lasts longer,
LONGER_MOST = 3.0  # but a busy machine may be late
LEANS = 0.35  # nats for each session in which a place seemed to be the outer, or the inner one
MOST_LEANS = 16
ACCEPTED_AFTER = 4.0  # where an outer one of the same host is accepted after the inner one


@kernel
def join_chains(m: Memory, hi: int, lo: int, port: int, patience: int) -> bool:
    """Link the balancer sessions of a key that are one session's; whether some may be that are not linked."""
    nodes = np.empty(MOST_CHAINED, np.int64)
    count = 0
    node = m[key_chain(m, hi, lo, port)]
    while node >= 0 and count < MOST_CHAINED:
        if has_key(m, node, hi, lo, port) and m[node + X_SIDE] <= K_BALANCER_BACKEND:
            nodes[count] = node
            count += 1
        node = m[node + X_NEXT]
    if count < 2:
        return False
    share = decimal_table(count, count, 0.0)  # how likely two are one session
    price = decimal_table(count, count, IMPOSSIBLE)  # of one as the outer one of another
    for x in range(count):
        for y in range(count):
            price[x, y] = pair_price(m, nodes[x], nodes[y])
    for x in range(count):
        for y in range(count):
            share[x, y] = share_of(m, nodes[:count], price, x, y)
    outer = integers(count, -1)
    undecided = False
    for y in range(count):
        x = next_outer(m, nodes[:count], share, price, y)
        if x < 0:
            continue
        probability = share[x, y] * direction_share(m, nodes[x], nodes[y])
        if probability >= EXACT or (patience == LAST and share[x, y] > 0.5):
            outer[y] = x
            link_chain(m, nodes[x], nodes[y], probability)
        else:
            undecided = True
    outers = np.empty(count, np.int64)  # sessions, because their keys' rows are given back
    for y in range(count):
        outers[y] = m[nodes[outer[y]] + X_INDEX] if outer[y] >= 0 else -1
    for y in range(count):
        if outers[y] >= 0:
            settle_balancer(m, outers[y])
    return undecided


@kernel
def may_be_chained(m: Memory, b: int, patience: int) -> bool:
    """Whether a balancer session may have an outer one to which it is not linked yet; it is where that is
    decided.
    """
    own = m[b + B_KEY]
    if own < 0:
        return False
    node = m[key_chain(m, m[own + X_HI], m[own + X_LO], m[own + X_PORT])]
    while node >= 0:
        other = node != own and m[node + X_SIDE] <= K_BALANCER_BACKEND
        if other and has_key(m, node, m[own + X_HI], m[own + X_LO], m[own + X_PORT]):
            return join_chains(m, m[own + X_HI], m[own + X_LO], m[own + X_PORT], patience)
        node = m[node + X_NEXT]
    return False


@kernel
def share_of(m: Memory, nodes: Vector, price: Costs, x: int, y: int) -> float:
    """How likely `x` and `y` are one session, against either being none's or a session of the other's
    rivals: those of the same frontend, of which only one can be.
    """
    best = min(price[x, y], price[y, x])
    if best >= IMPOSSIBLE:
        return 0.0
    odds = math.exp(min(best, 50.0))
    for z in range(nodes.shape[0]):
        if z in (x, y):
            continue
        if is_same_place(m, nodes[z], nodes[x]):
            odds += math.exp(min(best - min(price[z, y], price[y, z]), 50.0))
        if is_same_place(m, nodes[z], nodes[y]):
            odds += math.exp(min(best - min(price[z, x], price[x, z]), 50.0))
    return 1.0 / (1.0 + odds)


@kernel
def next_outer(m: Memory, nodes: Vector, share: Costs, price: Costs, y: int) -> int:
    """The place in the list of the one just before `y` in its session, -1 if there is none."""
    best = -1
    if m[m[nodes[y] + X_INDEX] + B_OUTER] >= 0 or m[nodes[y] + X_SIDE] != K_BALANCER_CLIENT:
        return best
    for x in range(nodes.shape[0]):
        if share[x, y] <= 0.5 or price[x, y] >= IMPOSSIBLE or not goes_before(m, nodes, x, y):
            continue
        if m[m[nodes[x] + X_INDEX] + B_INNER] >= 0:
            continue
        if best < 0 or goes_before(m, nodes, best, x):
            best = x
    return best


@kernel
def goes_before(m: Memory, nodes: Vector, x: int, y: int) -> bool:
    """Whether `x` is rather the outer one; of two that nothing tells apart, the one accepted first, or logged
    first.
    """
    share = direction_share(m, nodes[x], nodes[y])
    if share != 0.5:
        return share > 0.5
    a = m[nodes[x] + X_INDEX]
    b = m[nodes[y] + X_INDEX]
    if m[a + B_ACCEPTED] != m[b + B_ACCEPTED]:
        return bool(m[a + B_ACCEPTED] < m[b + B_ACCEPTED])
    return bool(x > y)  # chains of nodes have the latest first


@kernel
def is_same_place(m: Memory, one: int, other: int) -> bool:
    a = m[one + X_INDEX]
    b = m[other + X_INDEX]
    return bool(m[a + B_HOST] == m[b + B_HOST] and m[a + B_FRONTEND] == m[b + B_FRONTEND])


# --- what a pair costs --------------------------------------------------------------------------------------


@kernel
def pair_price(m: Memory, outer_node: int, inner_node: int) -> float:
    """Of two as a session's outer and inner one, in nats, against two that only share the key."""
    if outer_node == inner_node or m[inner_node + X_SIDE] != K_BALANCER_CLIENT:
        return IMPOSSIBLE
    if is_same_place(m, outer_node, inner_node):
        return IMPOSSIBLE
    outer = m[outer_node + X_INDEX]
    inner = m[inner_node + X_INDEX]
    outer_host = m[outer + B_HOST]
    inner_host = m[inner + B_HOST]
    late = abs(m[inner + B_ACCEPTED] - m[outer + B_START] - chain_skew(m, outer_host, inner_host))
    if m[inner + B_ACCEPTED] == NULL or m[outer + B_ACCEPTED] == NULL or late > FAR:
        return IMPOSSIBLE
    price = rarity(late / SECOND, ACCEPTED, 0)
    doubt = 0.0 if outer_host == inner_host else skew_doubt(m, outer_host, inner_host)
    if doubt > 0.0:  # clocks mostly agree
        price = min(price, rarity(late / SECOND, doubt + ACCEPTED, 0)) + math.log(2.0)
    if m[outer_node + X_SIDE] == K_BALANCER_CLIENT:  # one's own port is no coincidence
        price += prior_price(m, outer) + prior_price(m, inner)
    if m[outer + B_ASAP] == 1 or m[inner + B_ASAP] == 1:
        return price
    return price + length_price(m, outer, inner) + bytes_price(m, outer, inner)


@kernel
def chain_skew(m: Memory, outer_host: int, inner_host: int) -> int:
    return 0 if outer_host == inner_host else skew_of(m, outer_host, inner_host)


@kernel
def length_price(m: Memory, outer: int, inner: int) -> float:
    """Equal lengths say the more the longer they are: many sessions are over at once."""
    length = (m[outer + B_END] - m[outer + B_START]) / SECOND
    differ = abs(length - (m[inner + B_END] - m[inner + B_ACCEPTED]) / SECOND)
    usual = 2.0 * max(length, 0.0) + 4.0 * LASTED
    return min(math.log(2.0 * LASTED / usual) + 2.0 * math.log1p(differ / LASTED), LASTED_ODD)


@kernel
def bytes_price(m: Memory, outer: int, inner: int) -> float:
    told = m[outer + B_BYTES_CLIENT]
    if told == NULL or m[inner + B_BYTES_CLIENT] == NULL:
        return 0.0
    if told == m[inner + B_BYTES_CLIENT]:
        return SAME_BYTES if told > 0 else 0.0
    return OTHER_BYTES


@kernel
def prior_price(m: Memory, b: int) -> float:
    """That a session of this server has a line at another balancer too, as those before it had."""
    at = server_at(m, b)
    before = max(m[at + SERVER_PAIRED] - 1, 0)
    return -math.log((before + NO_CHAIN) / max(m[at + SERVER_LOOKED], 1))


@kernel
def direction_share(m: Memory, outer_node: int, inner_node: int) -> float:
    """How likely it is that of two that are one session's the one is the outer one."""
    if m[outer_node + X_SIDE] == K_BALANCER_BACKEND:
        return 1.0
    if m[inner_node + X_SIDE] == K_BALANCER_BACKEND:
        return 0.0
    outer = m[outer_node + X_INDEX]
    inner = m[inner_node + X_INDEX]
    price = direction_price(m, outer, inner) - direction_price(m, inner, outer)
    return 1.0 / (1.0 + math.exp(min(price, 50.0)))


@kernel
def direction_price(m: Memory, outer: int, inner: int) -> float:
    leans = m[server_at(m, inner) + SERVER_LEAN] - m[server_at(m, outer) + SERVER_LEAN]
    price = float(LEANS * leans)
    if m[outer + B_ASAP] == 0 and m[inner + B_ASAP] == 0:
        longer = m[inner + B_DURATION] - m[outer + B_DURATION]
        price += min(LONGER_MS * max(longer, 0), LONGER_MOST)
    if m[outer + B_HOST] == m[inner + B_HOST] and m[inner + B_ACCEPTED] < m[outer + B_ACCEPTED]:
        price += ACCEPTED_AFTER
    return price


# --- links --------------------------------------------------------------------------------------------------


@kernel
def look_for_chain(m: Memory, b: int) -> None:
    """Note, once for each session, how often its server's have a line at another balancer too."""
    if m[b + B_LOOKED]:
        return
    m[b + B_LOOKED] = 1
    at = server_at(m, b)
    m[at + SERVER_LOOKED] += 1
    if m[at + SERVER_LOOKED] >= LOOKED_KEPT:
        m[at + SERVER_LOOKED] >>= 1
        m[at + SERVER_PAIRED] >>= 1
    found = note_partners(m, b, m[b + B_KEY])
    found += note_partners(m, b, m[b + B_KEY2])
    if found > 0:
        m[at + SERVER_PAIRED] += 1


@kernel
def seems_outer(m: Memory, b: int, inner: int) -> bool:
    """Whether the times of these two alone say so."""
    if m[b + B_HOST] == m[inner + B_HOST] and m[b + B_ACCEPTED] != m[inner + B_ACCEPTED]:
        return bool(m[b + B_ACCEPTED] < m[inner + B_ACCEPTED])
    logged_at_end = m[b + B_ASAP] == 0 and m[inner + B_ASAP] == 0
    return bool(logged_at_end and m[b + B_DURATION] > m[inner + B_DURATION])


@kernel
def note_partners(m: Memory, b: int, own: int) -> int:
    """How many other balancer sessions with a key may be this one's; what they teach of the clocks,
    and of who is the outer one, is noted.
    """
    if own < 0:
        return 0
    count = 0
    inner = -1
    node = m[key_chain(m, m[own + X_HI], m[own + X_LO], m[own + X_PORT])]
    while node >= 0:
        same_key = has_key(m, node, m[own + X_HI], m[own + X_LO], m[own + X_PORT])
        if same_key and m[node + X_SIDE] <= K_BALANCER_BACKEND and pair_price(m, own, node) < IMPOSSIBLE:
            count += 1
            inner = m[node + X_INDEX]
            if m[own + X_SIDE] == K_BALANCER_CLIENT and seems_outer(m, b, inner):
                lean(m, b, 1)
                lean(m, inner, -1)
        node = m[node + X_NEXT]
    if count == 1:
        note_clock(m, b, inner)
    return count


@kernel
def lean(m: Memory, b: int, by: int) -> None:
    at = server_at(m, b) + SERVER_LEAN
    m[at] = min(max(m[at] + by, -MOST_LEANS), MOST_LEANS)


@kernel
def note_clock(m: Memory, b: int, inner: int) -> None:
    """Sample the skew of two balancers while it is not known, once most sessions of a server have a pair."""
    at = server_at(m, b)
    paired = m[at + SERVER_PAIRED]
    host = m[inner + B_HOST]
    unknown = host != m[b + B_HOST] and skew_doubt(m, m[b + B_HOST], host) > 0.0
    if unknown and paired >= PAIRS_ENOUGH and 2 * paired > m[at + SERVER_LOOKED]:
        sample_skew(m, m[b + B_HOST], host, m[inner + B_ACCEPTED], 0, m[b + B_START])


@kernel
def link_chain(m: Memory, outer_node: int, inner_node: int, probability: float) -> None:
    outer = m[outer_node + X_INDEX]
    inner = m[inner_node + X_INDEX]
    sure = probability >= EXACT
    backend = m[outer_node + X_SIDE] == K_BALANCER_BACKEND
    m[outer + B_INNER] = inner
    m[inner + B_OUTER] = outer
    m[inner + B_CHAIN_METHOD] = L_BACKEND_PORT if backend else L_ADDRESS_PORT
    m[inner + B_CHAIN_CONFIDENCE] = SURE_EXACT if sure else SURE_PROBABLE
    m[inner + B_CHAIN_PROBABILITY] = 1_000_000 if sure else int(1_000_000 * probability)
    if m[inner + B_CHAIN_PROBABILITY] < SURE_ENOUGH:
        return
    note_host(m, outer, m[inner + B_HOST])
    if m[outer + B_HOST] != m[inner + B_HOST]:
        sample_skew(m, m[outer + B_HOST], m[inner + B_HOST], m[inner + B_ACCEPTED], 0, m[outer + B_START])
