"""Join 2, and 3 without ports: smtpd sessions with the hop before them, one to one among the sessions of
one address.

Sessions of one host and client address that might belong together stand in a cluster. A cluster closes to
newcomers when as many smtpd as postscreen sessions are in it: who comes later cannot belong to those.
With one of each the link is exact. Otherwise the cluster waits until its smtpd sessions have ended (the
balancer's lines come then too) and is solved as an assignment: start against verdict, end against the
balancer's end.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import *
from logscope.correlate.links import (
    IMPOSSIBLE,
    SOON,
    address_chain,
    finish_screen,
    gap,
    join_key,
    link_visit,
    skew_known,
    skew_of,
    talk_difference,
)
from logscope.correlate.tables import *
from logscope.engine import kernel

# a session that the balancer saw end this long before cannot be the one that starts now
SECONDS_OVER = 5 * SECOND
MOST = 384  # sessions solved together
LINES_BETWEEN = 3.0  # typical count of other lines between a verdict and smtpd's connect
START_ORDER = 3.0  # nats for each place away from the order of starts
END_ORDER = 1.5  # and of ends
MOST_OUT_OF_ORDER = 6.0
FINE_START = 0.02  # seconds that are little between a verdict and smtpd's connect
FINE_END = 0.1  # and between the two ends of a session
SKIPPED = 12.0  # cost of leaving one side out of an alignment
BYTES_APART = 4.0
UNMATCHED = 30.0  # cost of leaving one alone, in nats
EXACT_ODDS = 1e-5  # all other assignments together must be less likely than this


@kernel
def cluster_chain(m: Memory, host: int, hi: int, lo: int) -> int:
    return chain(m, CLUSTER_HEADS, mix(mix(mix(3, host), hi), lo))


@kernel
def find_cluster(m: Memory, host: int, hi: int, lo: int) -> int:
    c = m[cluster_chain(m, host, hi, lo)]
    while c >= 0:
        if m[c + C_HOST] == host and m[c + C_HI] == hi and m[c + C_LO] == lo:
            return int(c)
        c = m[c + C_NEXT]
    return -1


@kernel
def new_cluster(m: Memory, host: int, hi: int, lo: int) -> int:
    c = take(m, CLUSTER, C_WIDTH)
    enchain(m, cluster_chain(m, host, hi, lo), C_NEXT, c)
    m[c + C_CURRENT] = 1
    m[c + C_HOST] = host
    m[c + C_HI] = hi
    m[c + C_LO] = lo
    for column in (C_P_FIRST, C_P_LAST, C_S_FIRST, C_S_LAST):
        m[c + column] = -1
    m[c + C_P_COUNT] = 0
    m[c + C_S_COUNT] = 0
    return c


@kernel
def close_cluster(m: Memory, c: int) -> None:
    """Nobody new joins; an empty one is given back."""
    if m[c + C_CURRENT] == 1:
        unchain(m, cluster_chain(m, m[c + C_HOST], m[c + C_HI], m[c + C_LO]), C_NEXT, c)
        m[c + C_CURRENT] = 0
    if m[c + C_P_COUNT] == 0 and m[c + C_S_COUNT] == 0:
        give_back(m, c)


@kernel
def enter_screen(m: Memory, p: int) -> None:
    """A new postscreen session joins its address's cluster, or opens the next one where the current one is
    complete.
    """
    c = find_cluster(m, m[p + P_HOST], m[p + P_HI], m[p + P_LO])
    if c >= 0 and (
        (m[c + C_S_COUNT] > 0 and m[c + C_S_COUNT] >= m[c + C_P_COUNT]) or m[c + C_P_COUNT] >= MOST
    ):
        close_cluster(m, c)
        c = -1
    if c < 0:
        c = new_cluster(m, m[p + P_HOST], m[p + P_HI], m[p + P_LO])
    m[p + P_CLUSTER] = c
    last = m[c + C_P_LAST]
    m[p + P_CPREV] = last
    m[p + P_CNEXT] = -1
    if last < 0:
        m[c + C_P_FIRST] = p
    else:
        m[last + P_CNEXT] = p
    m[c + C_P_LAST] = p
    m[c + C_P_COUNT] += 1


@kernel
def enter_smtpd(m: Memory, s: int) -> None:
    """A new smtpd session without a port: linked at once where only one session can lead to it, else it waits
    in the cluster.
    """
    c = find_cluster(m, m[s + S_HOST], m[s + S_HI], m[s + S_LO])
    if c < 0:
        c = new_cluster(m, m[s + S_HOST], m[s + S_HI], m[s + S_LO])
    m[s + S_CLUSTER] = c
    last = m[c + C_S_LAST]
    m[s + S_CPREV] = last
    m[s + S_CNEXT] = -1
    if last < 0:
        m[c + C_S_FIRST] = s
    else:
        m[last + S_CNEXT] = s
    m[c + C_S_LAST] = s
    m[c + C_S_COUNT] += 1
    if m[c + C_P_COUNT] > 0:
        link_only(m, c)


@kernel
def leave_screen(m: Memory, p: int) -> None:
    """A postscreen session that ended there, has its smtpd or waits no longer: what remains may now be
    decided.
    """
    c = m[p + P_CLUSTER]
    if c < 0:
        return
    before = m[p + P_CPREV]
    after = m[p + P_CNEXT]
    if before < 0:
        m[c + C_P_FIRST] = after
    else:
        m[before + P_CNEXT] = after
    if after < 0:
        m[c + C_P_LAST] = before
    else:
        m[after + P_CPREV] = before
    m[c + C_P_COUNT] -= 1
    m[p + P_CLUSTER] = -1
    if m[c + C_P_COUNT] == 0 and m[c + C_S_COUNT] == 0:
        close_cluster(m, c)


@kernel
def leave_smtpd(m: Memory, s: int) -> None:
    c = m[s + S_CLUSTER]
    if c < 0:
        return
    before = m[s + S_CPREV]
    after = m[s + S_CNEXT]
    if before < 0:
        m[c + C_S_FIRST] = after
    else:
        m[before + S_CNEXT] = after
    if after < 0:
        m[c + C_S_LAST] = before
    else:
        m[after + S_CPREV] = before
    m[c + C_S_COUNT] -= 1
    m[s + S_CLUSTER] = -1
    if m[c + C_P_COUNT] == 0 and m[c + C_S_COUNT] == 0:
        close_cluster(m, c)


@kernel
def link_only(m: Memory, c: int) -> None:
    """One postscreen and one smtpd session in the cluster belong together, unless time forbids it."""
    if m[c + C_P_COUNT] != 1 or m[c + C_S_COUNT] != 1:
        return
    p = m[c + C_P_FIRST]
    s = m[c + C_S_FIRST]
    if m[s + S_STARTED] + SECOND < m[p + P_CONNECTED]:
        return
    if is_over(m, p, m[s + S_STARTED]):
        m[p + P_EXPIRED] = 1  # its own smtpd was never seen
        leave_screen(m, p)
        finish_screen(m, p)
        return
    link_smtpd(m, p, s, L_ORDER, SURE_EXACT, 1_000_000)


@kernel
def is_over(m: Memory, p: int, moment: int) -> bool:
    """Whether the balancer saw this session end well before."""
    b = m[p + P_B]
    if b < 0 or m[b + B_ASAP] == 1:
        return False
    end = m[b + B_END] + skew_of(m, m[b + B_HOST], m[p + P_HOST])
    return bool(end + SECONDS_OVER < moment)


@kernel
def link_smtpd(m: Memory, p: int, s: int, method: int, confidence: int, probability: int) -> None:
    leave_screen(m, p)
    leave_smtpd(m, s)
    m[p + P_S] = s
    m[p + P_METHOD] = method
    m[p + P_CONFIDENCE] = confidence
    m[p + P_PROBABILITY] = probability
    m[s + S_P] = p
    finish_screen(m, p)


# --- the assignment -----------------------------------------------------------------------------------------


@kernel
def surprise(difference: float, scale: float) -> float:
    """Cost of a difference in nats: small ones by their size, large ones (a busy server, a lingering client)
    gently.
    """
    ratio = abs(difference) / scale
    return 2.0 * math.log1p(ratio)


@kernel
def screen_cost(m: Memory, p: int, s: int, now: int) -> float:
    """How badly an smtpd session fits behind a postscreen session of the same address, in nats.

    A session is handed over at its verdict, or without one right after CONNECT while another session of
    its address is still being tested. With whole seconds, the lines in between say more than the stamps.
    """
    started = m[s + S_STARTED]
    coarse = m[s + S_COARSE]
    silent = m[p + P_VERDICT_AT] == NULL
    late = started - (m[p + P_CONNECTED] if silent else m[p + P_VERDICT_AT])
    lines = m[s + S_MOMENT] - m[p + P_MOMENT]
    if late < (-SECOND if coarse else -SECOND // 20) or (coarse and lines < 0):
        return IMPOSSIBLE
    if coarse:
        cost = surprise(float(late), 2.0 * SECOND) + surprise(float(lines), LINES_BETWEEN)
    else:
        cost = surprise(float(late), FINE_START * SECOND)
    if silent:
        cost += 1.0
    b = m[p + P_B]
    if b >= 0 and m[b + B_ASAP] == 0:
        cost += end_cost(m, b, m[p + P_HOST], s, now) + surprise(float(talk_difference(m, b, s)), BYTES_APART)
    elif m[s + S_ENDED] != NULL:
        cost += 6.0 if m[p + P_NO_BALANCER] == 0 else 2.0
    return cost


@kernel
def end_cost(m: Memory, b: int, host: int, s: int, now: int) -> float:
    """smtpd's disconnect against accept + Tt: both ends of one connection close together."""
    balancer_host = m[b + B_HOST]
    end = m[b + B_END] + skew_of(m, balancer_host, host)
    known = skew_known(m, balancer_host, host)
    coarse = m[s + S_COARSE]
    scale = SECOND / 2 if coarse or not known else FINE_END * SECOND
    ended = m[s + S_ENDED]
    if ended == NULL:
        return 12.0 if end + SECONDS_OVER < now else 0.0
    late = ended - end
    if coarse:
        late = 0 if -SECOND < late <= 0 else (late + SECOND if late < 0 else late)
    if late > SECONDS_OVER and known:  # the server cannot go on long after the balancer closed
        return 20.0
    return surprise(late, scale)


@kernel
def balancer_cost(m: Memory, b: int, s: int, now: int) -> float:
    host = m[s + S_HOST]
    start = gap(m, b, host, m[s + S_STARTED], m[s + S_COARSE])
    known = skew_known(m, m[b + B_HOST], host)
    if abs(start) > (10 * SECOND if known else 60 * SECOND):
        return IMPOSSIBLE
    scale = SECOND / 50 if known and not m[s + S_COARSE] else SECOND / 2
    cost = surprise(start, scale)
    if m[b + B_ASAP] == 0:
        cost += end_cost(m, b, host, s, now)
    return cost


@kernel
def solve(m: Memory, c: int) -> None:
    """Assign the smtpd sessions of a cluster, then hand back those that ended without a partner."""
    if m[c + C_P_COUNT] == 1 and m[c + C_S_COUNT] == 1:
        link_only(m, c)
        return
    if m[c + C_P_COUNT] > 0:
        solve_screens(m, c)


@kernel
def solve_screens(m: Memory, c: int) -> None:
    lefts = min(m[c + C_P_COUNT], MOST)
    rights = min(m[c + C_S_COUNT], MOST)
    left = np.empty(lefts, np.int64)
    right = np.empty(rights, np.int64)
    p = m[c + C_P_FIRST]
    for i in range(lefts):
        left[i] = p
        p = m[p + P_CNEXT]
    for i in range(lefts):  # the balancer's end of a session says which smtpd was its own
        if m[left[i] + P_KEY] >= 0:
            join_key(m, m[left[i] + P_HI], m[left[i] + P_LO], m[left[i] + P_PORT], SOON)
    s = m[c + C_S_FIRST]
    for j in range(rights):
        right[j] = s
        s = m[s + S_CNEXT]
    cost = np.empty((rights, lefts))
    for j in range(rights):
        for i in range(lefts):
            cost[j, i] = screen_cost(m, left[i], right[j], m[NOW])
    add_order(m, left, right, cost)
    chosen = assign(cost)
    odds = rival_odds(cost, chosen)
    for j in range(rights):
        if chosen[j] < 0 or (m[right[j] + S_ENDED] == NULL and m[FINISHING] == 0):
            continue
        p = left[chosen[j]]
        if odds[j] <= EXACT_ODDS:
            link_smtpd(m, p, right[j], L_ORDER, SURE_EXACT, 1_000_000)
        elif odds[j] < 1.0:
            link_smtpd(m, p, right[j], L_TIMING, SURE_PROBABLE, int(1_000_000 / (1.0 + odds[j])))
        else:
            m[right[j] + S_AMBIGUOUS] = 1
            m[p + P_AMBIGUOUS] = 1


@kernel
def add_order(m: Memory, left: Vector, right: Vector, cost: NDArray[np.float64]) -> None:
    """Sessions of one address mostly start, and end, in one order at both hops, however close together.

    Both orders are aligned by themselves first, so that one session without a partner does not shift all
    others.
    """
    rows = right.shape[0]
    columns = left.shape[0]
    started = np.empty(rows, np.int64)
    ended = np.empty(rows, np.int64)
    handed = np.empty(columns, np.int64)
    closed = np.empty(columns, np.int64)
    for j in range(rows):
        started[j] = m[right[j] + S_MOMENT]
        ended[j] = m[right[j] + S_END_MOMENT]
    for i in range(columns):
        handed[i] = m[left[i] + P_MOMENT]
        b = m[left[i] + P_B]
        closed[i] = m[b + B_END] if b >= 0 and m[b + B_ASAP] == 0 else NULL
    plain = cost.copy()
    add_alignment(started, handed, plain, cost, START_ORDER)
    add_alignment(ended, closed, plain, cost, END_ORDER)


@kernel
def add_alignment(
    row_moments: Vector,
    column_moments: Vector,
    plain: NDArray[np.float64],
    cost: NDArray[np.float64],
    weight: float,
) -> None:
    """Add what it costs to be away from the place that the two orders, aligned, give to each row."""
    row_order = in_order(row_moments)
    column_order = in_order(column_moments)
    rows = row_order.shape[0]
    columns = column_order.shape[0]
    total = np.zeros((rows + 1, columns + 1))
    for j in range(rows + 1):
        for i in range(columns + 1):
            if i == 0 or j == 0:
                total[j, i] = SKIPPED * (i + j)
            else:
                pair = total[j - 1, i - 1] + plain[row_order[j - 1], column_order[i - 1]]
                total[j, i] = min(pair, min(total[j - 1, i], total[j, i - 1]) + SKIPPED)
    j = rows
    i = columns
    while j > 0:
        if i > 0 and total[j, i] == total[j - 1, i - 1] + plain[row_order[j - 1], column_order[i - 1]]:
            j -= 1
            i -= 1
            for k in range(columns):
                at = column_order[k]
                if cost[row_order[j], at] < IMPOSSIBLE:
                    cost[row_order[j], at] += min(weight * abs(k - i), MOST_OUT_OF_ORDER)
        elif i > 0 and total[j, i] == total[j, i - 1] + SKIPPED:
            i -= 1
        else:
            j -= 1


@kernel
def in_order(moments: Vector) -> Vector:
    """Indices of those that have a moment, earliest first."""
    order = np.argsort(moments, kind="mergesort")
    first = 0
    while first < order.shape[0] and moments[order[first]] == NULL:
        first += 1
    return order[first:]


@kernel
def join_address(m: Memory, s: int) -> None:
    """Join 3 without ports: the balancer's sessions of smtpd's client address, solved with all smtpd sessions
    that rival for them.
    """
    hi = m[s + S_HI]
    lo = m[s + S_LO]
    left = np.empty(MOST, np.int64)
    lefts = 0
    b = m[address_chain(m, hi, lo)]
    while b >= 0 and lefts < MOST:
        if m[b + B_HI] == hi and m[b + B_LO] == lo and m[b + B_P] < 0 and m[b + B_S] < 0:
            left[lefts] = b
            lefts += 1
        b = m[b + B_NEXT]
    if lefts == 0:
        return
    right = np.empty(MOST, np.int64)
    rights = 0
    c = m[s + S_CLUSTER]
    if c < 0:
        right[0] = s
        rights = 1
    else:
        other = m[c + C_S_FIRST]
        while other >= 0 and rights < MOST:
            right[rights] = other
            rights += 1
            other = m[other + S_CNEXT]
    cost = np.empty((rights, lefts))
    for j in range(rights):
        for i in range(lefts):
            cost[j, i] = balancer_cost(m, left[i], right[j], m[NOW])
    chosen = assign(cost)
    odds = rival_odds(cost, chosen)
    for j in range(rights):
        if chosen[j] < 0 or m[right[j] + S_ENDED] == NULL:
            continue
        leave = right[j] == s or odds[j] <= EXACT_ODDS
        if not leave:
            continue
        if odds[j] <= EXACT_ODDS:
            leave_smtpd(m, right[j])
            link_visit(m, left[chosen[j]], K_SMTPD_PEER, right[j], L_TIMING, SURE_EXACT, 1_000_000)
        elif odds[j] < 1.0:
            leave_smtpd(m, right[j])
            link_visit(
                m,
                left[chosen[j]],
                K_SMTPD_PEER,
                right[j],
                L_TIMING,
                SURE_PROBABLE,
                int(1_000_000 / (1.0 + odds[j])),
            )
        else:
            m[right[j] + S_AMBIGUOUS] = 1


@kernel
def rival_odds(cost: NDArray[np.float64], chosen: Vector) -> NDArray[np.float64]:
    """For each row, how likely all swaps with one other row, and moves to a free column, are against what was
    chosen.
    """
    rows = cost.shape[0]
    columns = cost.shape[1]
    taken_by = np.empty(columns, np.int64)
    for i in range(columns):
        taken_by[i] = -1
    for j in range(rows):
        if chosen[j] >= 0:
            taken_by[chosen[j]] = j
    odds = np.zeros(rows)
    for j in range(rows):
        mine = chosen[j]
        if mine < 0:
            continue
        for i in range(columns):
            if i == mine or cost[j, i] >= IMPOSSIBLE:
                continue
            worse = cost[j, i] - cost[j, mine]
            rival = taken_by[i]
            if rival >= 0:
                worse += min(cost[rival, mine], UNMATCHED) - cost[rival, i]
            odds[j] += math.exp(-max(worse, 0.0))
    return odds


@kernel
def assign(cost: NDArray[np.float64]) -> Vector:
    """The cheapest one-to-one assignment of rows to columns; -1 where a row stays alone.

    Shortest augmenting paths (Jonker and Volgenant 1987). Each row has a spare column of its own, at the
    cost of staying alone.
    """
    rows = cost.shape[0]
    columns = cost.shape[1]
    width = columns + rows + 1
    u = np.zeros(rows + 1)
    v = np.zeros(width)
    match = np.zeros(width, np.int64)  # row of each column; rows and columns are counted from 1
    way = np.zeros(width, np.int64)
    shortest = np.zeros(width)
    used = np.zeros(width, np.int64)
    for row in range(1, rows + 1):
        match[0] = row
        column = 0
        for i in range(width):
            shortest[i] = 1e18
            used[i] = 0
        while True:
            used[column] = 1
            current = match[column]
            following = 0
            delta = 1e18
            for i in range(1, width):
                if used[i]:
                    continue
                if i <= columns:
                    price = cost[current - 1, i - 1]
                elif i == columns + current:
                    price = UNMATCHED
                else:
                    price = IMPOSSIBLE
                reduced = price - u[current] - v[i]
                if reduced < shortest[i]:
                    shortest[i] = reduced
                    way[i] = column
                if shortest[i] < delta:
                    delta = shortest[i]
                    following = i
            for i in range(width):
                if used[i]:
                    u[match[i]] += delta
                    v[i] -= delta
                else:
                    shortest[i] -= delta
            column = following
            if match[column] == 0:
                break
        while column != 0:
            before = way[column]
            match[column] = match[before]
            column = before
    chosen = np.empty(rows, np.int64)
    for j in range(rows):
        chosen[j] = -1
    for i in range(1, columns + 1):
        if match[i] > 0 and cost[match[i] - 1, i - 1] < IMPOSSIBLE:
            chosen[match[i] - 1] = i - 1
    return chosen
