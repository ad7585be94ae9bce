"""Join 2, and 3 without ports: smtpd sessions with the hop before them, one to one among the sessions of one
address.

Sessions of one host and client address that might belong together stand in a cluster. A cluster closes to
newcomers when as many smtpd as postscreen sessions are in it: who comes later cannot belong to those. With
one of each the link is exact. Otherwise the cluster waits until its smtpd sessions have ended (the balancer's
lines come then too) and is solved as an assignment: start against verdict, end against the balancer's end.
"""

from __future__ import annotations

import math

import numpy as np

from logscope.correlate.layout import *
from logscope.correlate.links import (
    SOON,
    address_chain,
    finish_screen,
    gap,
    habit_cost,
    join_screen,
    link_visit,
    note_host,
    note_pair,
    sample_skew,
    skew_known,
    skew_of,
    usual_host,
)
from logscope.correlate.matching import (
    IMPOSSIBLE,
    Costs,
    Numbers,
    align,
    assign,
    order_of,
    running_median,
    shares,
    slot_of,
    spread,
    swap_odds,
)
from logscope.correlate.tables import *
from logscope.engine import kernel

# a session that the balancer saw end this long before cannot be the one that starts now
SECONDS_OVER = 5 * SECOND
DUE = 8 * SECOND  # after smtpd's end, the balancer's line is there
MOST = 1024  # smtpd sessions looked at together
MARGIN = 64  # of so many, the last are decided with those that follow
WINDOW = 192  # sessions of the other hop that are candidates for one
SHORT_LIST = 24  # and the likeliest of them
ENOUGH = 12  # sessions from which the habits of the host can be learnt
ROUNDS = 2
NEIGHBOURS = 8  # on either side, whose hand-over took about as long
SWEEPS = 200
TEMPER = 1.0
HOPELESS = 16.0  # nats
# other lines of the host between a hand-over and smtpd's connect that are no surprise on a busy host
LINES_BETWEEN = 100.0
START_ORDER = 4.0  # how much a place away from the order of starts weighs
LOOSE_ORDER = 1.5  # and among many, of which the habits are learnt afterwards
FINE_START = 0.02  # seconds that are little between a verdict and smtpd's connect
FINE_END = 0.1  # and between the two ends of a session
STILL_RUNS = 12.0  # cost of an smtpd session that still runs although the balancer saw the end
OTHER_HOST = 12.0  # cost of a server's name that was another host's so far
SKIPPED = 12.0  # cost of leaving one side out of an alignment
UNMATCHED = 30.0  # cost of leaving one alone, in nats
NO_DOUBT = 100  # parts of a million
EXACT_ODDS = 1e-5  # all other assignments together must be less likely than this
LEAST_FINE = 0.0005  # seconds, and places, that neighbours always differ by
LEAST_COARSE = 0.3
LEAST_PLACES = 0.7
NEVER = 1e15


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
    m[c + C_SOLVED_AT] = m[NOW]
    m[c + C_LEFT_OVER] = 0
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
    if c >= 0 and (m[c + C_S_COUNT] > 0 and m[c + C_S_COUNT] >= m[c + C_P_COUNT]):
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
def put_last(m: Memory, p: int) -> None:
    """Sessions stand in the order in which they can have been handed over, so a verdict puts one behind all
    others.
    """
    c = m[p + P_CLUSTER]
    if c < 0 or m[c + C_P_LAST] == p:
        return
    previous = m[p + P_CPREV]
    following = m[p + P_CNEXT]
    if previous < 0:
        m[c + C_P_FIRST] = following
    else:
        m[previous + P_CNEXT] = following
    m[following + P_CPREV] = previous
    m[p + P_CPREV] = m[c + C_P_LAST]
    m[p + P_CNEXT] = -1
    m[m[c + C_P_LAST] + P_CNEXT] = p
    m[c + C_P_LAST] = p


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
    doubt = max(m[p + P_DOUBT], m[s + S_DOUBT])
    if doubt <= NO_DOUBT:
        link_smtpd(m, p, s, L_ORDER, SURE_EXACT, 1_000_000)
    else:
        link_found(m, p, s, True, False, 1.0)


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


# --- what a pair costs --------------------------------------------------------------------------------------


@kernel
def surprise(difference: float, scale: float) -> float:
    """Cost of a difference in nats: small ones by their size, large ones (a busy server, a lingering client)
    gently.
    """
    ratio = abs(difference) / scale
    return 2.0 * math.log1p(ratio)


@kernel
def screen_cost(m: Memory, p: int, s: int, now: int) -> float:
    """How badly an smtpd session fits behind a postscreen session of the same address, in nats, before
    anything else is known.

    A session is handed over at its verdict, or without one right after CONNECT while another session of its
    address is still being tested. With whole seconds, the lines in between say more than the stamps.
    """
    started = m[s + S_STARTED]
    coarse = m[s + S_COARSE]
    silent = m[p + P_VERDICT_AT] == NULL
    late = started - (m[p + P_CONNECTED] if silent else m[p + P_VERDICT_AT])
    lines = m[s + S_MOMENT] - m[p + P_MOMENT]
    if late < (-SECOND if coarse else -SECOND // 20) or lines < 0:
        return IMPOSSIBLE
    if coarse:
        cost = surprise(float(late), 2.0 * SECOND) + surprise(float(lines), LINES_BETWEEN)
    else:
        cost = surprise(float(late), FINE_START * SECOND)
    if silent:
        cost += 1.0
    b = m[p + P_B]
    if b >= 0 and m[b + B_ASAP] == 0:
        cost += end_cost(m, b, m[p + P_HOST], s, now) + habit_cost(m, b, s, 0)
    else:
        cost += no_end_cost(m, p, s)
    return cost


@kernel
def no_end_cost(m: Memory, p: int, s: int) -> float:
    """The balancer's end of this session is not known, although smtpd's is."""
    if m[s + S_ENDED] == NULL:
        return 0.0
    return 6.0 if m[p + P_NO_BALANCER] == 0 else 2.0


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
        return STILL_RUNS if end + SECONDS_OVER < now else 0.0
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
    usual = usual_host(m, b)
    if usual >= 0 and usual != host:
        cost += OTHER_HOST
    if m[b + B_ASAP] == 0:
        cost += end_cost(m, b, host, s, now) + habit_cost(m, b, s, 0)
    return cost


# --- solving a cluster --------------------------------------------------------------------------------------


@kernel
def solve(m: Memory, c: int, all_due: bool) -> None:
    """Link what can be linked of a cluster: sessions that ended some seconds ago (so that the balancer's line
    is there).

    Unless `all_due`, only those whose partner's end is known too: what still runs is no rival for it. A very
    large cluster is decided piece by piece, those that still run included, so that it cannot grow without
    bound.
    """
    if m[c + C_P_COUNT] == 1 and m[c + C_S_COUNT] == 1:
        link_only(m, c)
        return
    if m[c + C_P_COUNT] == 0 or m[c + C_S_COUNT] == 0:
        return
    rights = min(m[c + C_S_COUNT], MOST)
    right = np.empty(rights, np.int64)
    s = m[c + C_S_FIRST]
    for j in range(rights):
        right[j] = s
        s = m[s + S_CNEXT]
    left = np.empty(min(m[c + C_P_COUNT], 2 * MOST), np.int64)
    lefts = 0
    p = m[c + C_P_FIRST]
    while p >= 0 and lefts < left.shape[0] and m[p + P_MOMENT] < m[right[rights - 1] + S_MOMENT]:
        left[lefts] = p
        lefts += 1
        p = m[p + P_CNEXT]
    if lefts == 0:
        return
    for i in range(lefts):  # the balancer's end of a session says which smtpd was its own
        join_screen(m, left[i], SOON)
    settled = rights
    if m[c + C_S_COUNT] > MOST:
        settled = rights - MARGIN
    m[c + C_SOLVED_AT] = m[NOW]
    link_best(m, left[:lefts], right, True, settled, all_due)
    if m[c + C_STATE] == OPEN:
        m[c + C_LEFT_OVER] = m[c + C_S_COUNT]


@kernel
def solve_all(m: Memory, c: int) -> None:
    """At the end of the input: piece by piece until nothing more is linked."""
    count = -1
    while m[c + C_STATE] == OPEN and m[c + C_P_COUNT] > 0 and m[c + C_S_COUNT] not in (0, count):
        count = m[c + C_S_COUNT]
        solve(m, c, True)


@kernel
def link_best(m: Memory, left: Vector, right: Vector, screens: bool, settled: int, all_due: bool) -> None:
    """Match smtpd sessions (`right`, in order of start) with postscreen's or the balancer's (`left`,
    likewise), and link them.
    """
    rows = right.shape[0]
    count = left.shape[0]
    columns = np.full((rows, SHORT_LIST), -1, np.int64)
    cost = np.full((rows, SHORT_LIST), IMPOSSIBLE)
    u = np.zeros(rows)
    v = np.zeros(count + rows)
    chosen = match(m, left, right, screens, columns, cost, u, v)
    odds = swap_odds(columns, cost, count, UNMATCHED, chosen)
    for j in range(rows):  # what no good assignment uses is no candidate
        for t in range(SHORT_LIST):
            i = columns[j, t]
            if i >= 0 and i != chosen[j] and cost[j, t] - u[j] - v[i] > HOPELESS:
                columns[j, t] = -1
        pack(columns, cost, j)
        for t in range(SHORT_LIST):
            cost[j, t] /= TEMPER
    share = shares(columns, cost, count, UNMATCHED, chosen, SWEEPS)
    fit = np.empty(rows)
    for j in range(rows):
        fit[j] = 0.0
        if chosen[j] >= 0:
            fit[j] = TEMPER * cost[j, slot_of(columns, j, chosen[j])]
        for t in range(SHORT_LIST):
            cost[j, t] = -share[j, t]
    best = assign(columns, cost, count, 0.0, u, v)  # who most often belongs together
    forced = settled < rows
    linked = np.zeros(rows, np.int64)
    taken = np.zeros(count, np.int64)
    for j in range(settled):
        i = best[j]
        if i < 0:
            continue
        s = right[j]
        if not (forced or m[FINISHING] or (m[s + S_ENDED] != NULL and m[NOW] - m[s + S_ENDED] >= DUE)):
            continue
        if screens and not (all_due or forced or m[FINISHING]):
            b = m[left[i] + P_B]
            if b < 0 or m[b + B_ASAP] == 1:
                continue
        probability = -cost[j, slot_of(columns, j, i)]
        linked[j] = 1
        taken[i] = 1
        sure = i == chosen[j] and odds[j] <= EXACT_ODDS and probability > 0.9999 and fit[j] < 15.0
        link_found(m, left[i], s, screens, sure, probability)
    for j in range(rows):  # what one link takes from others is a doubt about theirs
        for t in range(SHORT_LIST):
            i = columns[j, t]
            if i < 0 or linked[j] == taken[i]:
                continue
            if taken[i]:
                m[right[j] + S_DOUBT] += int(1_000_000 * share[j, t])
            elif screens:
                m[left[i] + P_DOUBT] += int(1_000_000 * share[j, t])
            else:
                m[left[i] + B_DOUBT] += int(1_000_000 * share[j, t])


@kernel
def match(
    m: Memory,
    left: Vector,
    right: Vector,
    screens: bool,
    columns: Matrix,
    cost: Costs,
    u: Numbers,
    v: Numbers,
) -> Vector:
    """The cheapest assignment; the lists of candidates, their costs and the prices are filled in."""
    shorten(m, left, right, screens, columns, cost)
    chosen = assign(columns, cost, left.shape[0], UNMATCHED, u, v)
    if right.shape[0] >= ENOUGH:
        for _ in range(ROUNDS):
            refine(m, left, right, screens, columns, cost, chosen)
            chosen = assign(columns, cost, left.shape[0], UNMATCHED, u, v)
    return chosen


@kernel
def link_found(m: Memory, left: int, s: int, screens: bool, sure: bool, probability: float) -> None:
    doubt = max(m[left + P_DOUBT] if screens else m[left + B_DOUBT], m[s + S_DOUBT])
    sure = sure and doubt <= NO_DOUBT
    probability *= 1.0 - min(doubt, 1_000_000) / 1_000_000
    method = L_ORDER if sure and screens else L_TIMING
    confidence = SURE_EXACT if sure else (SURE_PROBABLE if probability > 0.5 else SURE_AMBIGUOUS)
    parts = 1_000_000 if sure else min(int(1_000_000 * probability), 999_999)
    if screens:
        link_smtpd(m, left, s, method, confidence, parts)
        return
    leave_smtpd(m, s)
    if sure:
        sample_skew(m, m[left + B_HOST], m[s + S_HOST], m[s + S_STARTED], m[s + S_COARSE], m[left + B_START])
    link_visit(m, left, K_SMTPD_PEER, s, method, confidence, parts)


@kernel
def pack(columns: Matrix, cost: Costs, row: int) -> None:
    """Close the holes of a list."""
    kept = 0
    for t in range(columns.shape[1]):
        if columns[row, t] >= 0:
            columns[row, kept] = columns[row, t]
            cost[row, kept] = cost[row, t]
            kept += 1
    for t in range(kept, columns.shape[1]):
        columns[row, t] = -1
        cost[row, t] = IMPOSSIBLE


@kernel
def shorten(m: Memory, left: Vector, right: Vector, screens: bool, columns: Matrix, cost: Costs) -> None:
    """Fill each row's list with its likeliest columns.

    Sessions of one address mostly start in one order at both hops, however close together. An alignment tells
    the places, so that one session without a partner does not shift all others.
    """
    rows = right.shape[0]
    count = left.shape[0]
    width = min(WINDOW, count)
    order = START_ORDER if rows < ENOUGH else LOOSE_ORDER
    first = np.zeros(rows, np.int64)
    plain = np.empty((rows, width))
    last = 0
    for j in range(rows):
        while last < count and before(m, left[last], right[j], screens):
            last += 1
        first[j] = max(last - width, 0)
        for t in range(width):
            if screens:
                plain[j, t] = screen_cost(m, left[first[j] + t], right[j], m[NOW])
            else:
                plain[j, t] = balancer_cost(m, left[first[j] + t], right[j], m[NOW])
    place = align(first, plain, count, SKIPPED, SKIPPED)
    expected = -1
    for j in range(rows):
        expected = place[j] if place[j] >= 0 else expected + 1
        for t in range(width):
            if plain[j, t] >= IMPOSSIBLE:
                continue
            i = first[j] + t
            price = plain[j, t] + order * math.log1p((i - expected) ** 2 / 2.0)
            k = SHORT_LIST
            while k > 0 and cost[j, k - 1] > price:
                k -= 1
            if k == SHORT_LIST:
                continue
            for other in range(SHORT_LIST - 1, k, -1):
                columns[j, other] = columns[j, other - 1]
                cost[j, other] = cost[j, other - 1]
            columns[j, k] = i
            cost[j, k] = price


@kernel
def before(m: Memory, left: int, s: int, screens: bool) -> bool:
    """Whether a session can have reached the hop before smtpd by the time smtpd's began."""
    if screens:
        return bool(m[left + P_MOMENT] < m[s + S_MOMENT])
    start = m[left + B_START] + skew_of(m, m[left + B_HOST], m[s + S_HOST])
    known = skew_known(m, m[left + B_HOST], m[s + S_HOST])
    return bool(start <= m[s + S_STARTED] + (2 * SECOND if known else 60 * SECOND))


@kernel
def end_of(m: Memory, left: int, s: int, screens: bool) -> int:
    """When the balancer saw the session end, by the clock of smtpd's host; NULL where it did not say."""
    b = m[left + P_B] if screens else left
    if b < 0 or m[b + B_ASAP] == 1:
        return NULL
    return int(m[b + B_END] + skew_of(m, m[b + B_HOST], m[s + S_HOST]))


@kernel
def handed_at(m: Memory, left: int, s: int, screens: bool) -> int:
    if not screens:
        return int(m[left + B_START] + skew_of(m, m[left + B_HOST], m[s + S_HOST]))
    return int(m[left + P_CONNECTED] if m[left + P_VERDICT_AT] == NULL else m[left + P_VERDICT_AT])


@kernel
def refine(
    m: Memory, left: Vector, right: Vector, screens: bool, columns: Matrix, cost: Costs, chosen: Vector
) -> None:
    """Price the lists anew by what the present assignment teaches.

    How long a hand-over takes, how far the two ends are apart and by how many places the orders differ
    changes slowly, with the load: what counts is the difference from the neighbours, in units of how much
    neighbours differ.
    """
    rows = right.shape[0]
    count = left.shape[0]
    rights = np.empty((4, rows))  # start (seconds since the first), its place, end, its place
    lefts = np.empty((4, count))
    by_end = tell_rights(m, right, rights)
    tell_lefts(m, left, right[0], screens, lefts)
    by_start = np.arange(rows)
    usual = np.empty((4, rows))
    scale = np.empty(4)
    for j in range(rows):
        i = chosen[j]
        for k in range(4):
            known = i >= 0 and rights[k, j] != NEVER and lefts[k, i] != NEVER
            usual[k, j] = rights[k, j] - lefts[k, i] if known else NEVER
        if i >= 0:
            note_pair(m, b_of(m, left[i], screens), right[j], 1)
    for k in range(4):
        least = LEAST_PLACES
        if k % 2 == 0:
            least = LEAST_COARSE if m[right[0] + S_COARSE] else LEAST_FINE
        scale[k] = 2.0 * max(smooth(usual[k], by_start if k < 2 else by_end), least)
    for j in range(rows):
        for t in range(SHORT_LIST):
            i = columns[j, t]
            if i < 0:
                continue
            price = spike((rights[0, j] - lefts[0, i] - usual[0, j]) / scale[0])
            price += 1.5 * spike((rights[1, j] - lefts[1, i] - usual[1, j]) / scale[1])
            if rights[2, j] != NEVER and lefts[2, i] != NEVER:
                price += 1.2 * spike((rights[2, j] - lefts[2, i] - usual[2, j]) / scale[2])
                price += spike((rights[3, j] - lefts[3, i] - usual[3, j]) / scale[3])
                price += habit_cost(m, b_of(m, left[i], screens), right[j], 1 if chosen[j] == i else 0)
            elif lefts[2, i] != NEVER:
                price += STILL_RUNS if end_of(m, left[i], right[j], screens) + SECONDS_OVER < m[NOW] else 0.0
            elif screens:
                price += no_end_cost(m, left[i], right[j])
            cost[j, t] = price
    for j in range(rows):
        if chosen[j] >= 0:
            note_pair(m, b_of(m, left[chosen[j]], screens), right[j], -1)


@kernel
def tell_rights(m: Memory, right: Vector, facts: Numbers) -> Vector:
    """Fill in what is known of smtpd's sessions; returns those that ended, in the order of their ends."""
    origin = m[right[0] + S_STARTED]
    one_host = True
    for j in range(right.shape[0]):
        one_host = one_host and m[right[j] + S_HOST] == m[right[0] + S_HOST]
    ends = np.empty(right.shape[0], np.int64)
    for j in range(right.shape[0]):
        s = right[j]
        facts[0, j] = (m[s + S_STARTED] - origin) / SECOND
        facts[1, j] = j
        facts[2, j] = NEVER
        ends[j] = NULL
        if m[s + S_ENDED] != NULL:
            facts[2, j] = (m[s + S_ENDED] - origin) / SECOND
            ends[j] = m[s + S_END_MOMENT] if one_host else m[s + S_ENDED]
    return places(ends, facts[3])


@kernel
def tell_lefts(m: Memory, left: Vector, s: int, screens: bool, facts: Numbers) -> None:
    """The same of the other side, by the clock of the host of smtpd session `s`."""
    origin = m[s + S_STARTED]
    ends = np.empty(left.shape[0], np.int64)
    for i in range(left.shape[0]):
        facts[0, i] = (handed_at(m, left[i], s, screens) - origin) / SECOND
        facts[1, i] = i
        ends[i] = end_of(m, left[i], s, screens)
        facts[2, i] = NEVER if ends[i] == NULL else (ends[i] - origin) / SECOND
    places(ends, facts[3])


@kernel
def spike(x: float) -> float:
    """Cost of a difference whose distribution has a narrow middle and long tails."""
    return math.log1p(x * x)


@kernel
def b_of(m: Memory, left: int, screens: bool) -> int:
    return int(m[left + P_B] if screens else left)


@kernel
def places(keys: Vector, place: Numbers) -> Vector:
    """Fill in the place of each key among those that are not NULL; returns their indices in order."""
    order = order_of(keys)
    first = 0
    while first < order.shape[0] and keys[order[first]] == NULL:
        place[order[first]] = NEVER
        first += 1
    for k in range(first, order.shape[0]):
        place[order[k]] = k - first
    return order[first:]


@kernel
def smooth(values: Numbers, order: Vector) -> float:
    """Replace each value by the median of its neighbours in an order; returns how much the values were off
    it, typically.

    Rows without a value (NEVER) get their neighbours'.
    """
    known = np.empty(order.shape[0])
    count = 0
    for k in range(order.shape[0]):
        if values[order[k]] != NEVER:
            known[count] = values[order[k]]
            count += 1
    middle = running_median(known[:count], NEIGHBOURS)
    at = 0
    usual = middle[0] if count > 0 else 0.0
    for k in range(order.shape[0]):
        j = order[k]
        if values[j] != NEVER:
            usual = middle[at]
            known[at] -= usual
            at += 1
        values[j] = usual
    for j in range(values.shape[0]):
        if values[j] == NEVER:
            values[j] = usual
    return 1.4826 * spread(known[:count])


@kernel
def join_address(m: Memory, s: int) -> None:
    """Join 3 without ports: the balancer's sessions of smtpd's client address, with all smtpd sessions that
    rival for them. Where it is not known yet which server is which host, that is found out first.
    """
    if not join_hosts(m, s, True):
        join_hosts(m, s, False)


@kernel
def join_hosts(m: Memory, s: int, learn: bool) -> bool:
    """Link what can be linked; False where hosts of servers were learnt instead."""
    hi = m[s + S_HI]
    lo = m[s + S_LO]
    host = m[s + S_HOST]
    c = m[s + S_CLUSTER]
    left = np.empty(2 * MOST, np.int64)
    lefts = 0
    known = True
    b = m[address_chain(m, hi, lo)]
    while b >= 0 and lefts < left.shape[0]:
        if m[b + B_HI] == hi and m[b + B_LO] == lo and m[b + B_P] < 0 and m[b + B_S] < 0:
            usual = usual_host(m, b)
            if usual < 0 or usual == host:
                known = known and usual == host
                left[lefts] = b
                insert(m, left, lefts, B_START)
                lefts += 1
        b = m[b + B_NEXT]
    if lefts == 0:
        return True
    right = np.empty(MOST, np.int64)
    right[0] = s
    rights = 1
    settled = 1
    if c >= 0:
        m[c + C_SOLVED_AT] = m[NOW]
        rights = 0
        for other_host in range(SKEW_HOSTS):
            if known and other_host != host:
                continue
            other_c = c if other_host == host else find_cluster(m, other_host, hi, lo)
            other = m[other_c + C_S_FIRST] if other_c >= 0 else -1
            while other >= 0 and rights < MOST:
                right[rights] = other
                if not known:
                    insert(m, right, rights, S_STARTED)
                rights += 1
                other = m[other + S_CNEXT]
        settled = rights - MARGIN if rights == MOST else rights
    if learn and not known and learn_hosts(m, left[:lefts], right[:rights]):
        return False
    link_best(m, left[:lefts], right[:rights], False, settled, True)
    if c >= 0 and m[c + C_STATE] == OPEN:
        m[c + C_LEFT_OVER] = m[c + C_S_COUNT]
    return True


@kernel
def learn_hosts(m: Memory, left: Vector, right: Vector) -> bool:
    """Note which server is which host where the sessions of one fit those of the other much better than all
    other pairs of them do; whether that was news.
    """
    news = False
    for host in range(SKEW_HOSTS):
        some_right = np.empty(right.shape[0], np.int64)
        rights = 0
        for j in range(right.shape[0]):
            if m[right[j] + S_HOST] == host:
                some_right[rights] = right[j]
                rights += 1
        if rights < 8:
            continue
        best = -1
        lowest = IMPOSSIBLE
        second = IMPOSSIBLE
        for i in range(left.shape[0]):
            server = m[left[i] + B_SERVER]
            some_left = np.empty(left.shape[0], np.int64)
            lefts = 0
            repeated = False
            for k in range(left.shape[0]):
                if m[left[k] + B_SERVER] == server:
                    repeated = repeated or k < i
                    some_left[lefts] = left[k]
                    lefts += 1
            if repeated:
                continue
            price = price_of_all(m, some_left[:lefts], some_right[:rights])
            if price < lowest:
                second = lowest
                lowest = price
                best = left[i]
            elif price < second:
                second = price
        if best >= 0 and usual_host(m, best) < 0 and second < IMPOSSIBLE and second - lowest > 1.0 * rights:
            note_host(m, best, host)
            news = True
    return news


@kernel
def price_of_all(m: Memory, left: Vector, right: Vector) -> float:
    """What the best assignment costs altogether."""
    rows = right.shape[0]
    columns = np.full((rows, SHORT_LIST), -1, np.int64)
    cost = np.full((rows, SHORT_LIST), IMPOSSIBLE)
    chosen = match(m, left, right, False, columns, cost, np.zeros(rows), np.zeros(left.shape[0] + rows))
    total = 0.0
    for j in range(rows):
        total += cost[j, slot_of(columns, j, chosen[j])] if chosen[j] >= 0 else UNMATCHED
    return float(total + UNMATCHED * max(left.shape[0] - rows, 0))


@kernel
def insert(m: Memory, rows: Vector, at: int, column: int) -> None:
    """Move the row at the end of a list to its place by a column."""
    row = rows[at]
    while at > 0 and m[rows[at - 1] + column] > m[row + column]:
        rows[at] = rows[at - 1]
        at -= 1
    rows[at] = row


@kernel
def is_time(m: Memory, c: int) -> bool:
    """Whether to solve a cluster again: a large one not for each of its sessions."""
    count = m[c + C_S_COUNT]
    if count <= 16 or count >= m[c + C_LEFT_OVER] + MOST // 4:
        return True
    return bool(m[NOW] - m[c + C_SOLVED_AT] >= min(8 * SECOND, count * SECOND // 256))
