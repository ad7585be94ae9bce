"""Join 2, and 3 without ports: smtpd sessions with the hop before them, one to one among the sessions of one
address.

Sessions of one host and client address that might belong together stand in a cluster. A cluster closes to
newcomers when as many smtpd as postscreen sessions are in it: who comes later cannot belong to those. With
one of each the link is exact. Otherwise the cluster waits until its smtpd sessions have ended (the balancer's
lines come then too) and is solved as an assignment: start against verdict, end against the balancer's end.
"""

from __future__ import annotations

import numpy as np

from logscope.correlate.arrays import decimal_table, decimals, integer_table, integers
from logscope.correlate.closing import finish_screen, settle_screen
from logscope.correlate.hidden import find_hidden, watch_visit
from logscope.correlate.layout import *
from logscope.correlate.links import join_screen, link_visit
from logscope.correlate.matching import IMPOSSIBLE, slot_of
from logscope.correlate.odds import SOON
from logscope.correlate.pair_costs import BALANCER_SCREEN, BALANCER_SMTPD, SCREEN_SMTPD, SECONDS_OVER
from logscope.correlate.pairing import match, weigh
from logscope.correlate.servers import firm_host, note_host, usual_host
from logscope.correlate.short_lists import SHORT_LIST
from logscope.correlate.skew import sample_skew, skew_of
from logscope.correlate.tables import *
from logscope.engine import kernel

DUE = 8 * SECOND  # after smtpd's end, the balancer's line is there
MOST = 1024  # smtpd sessions looked at together
MARGIN = 64  # of so many, the last are decided with those that follow
NO_DOUBT = 100  # parts of a million
EXACT_ODDS = 1e-5  # all other assignments together must be less likely than this
EXACT_SHARE = 0.9999
EXACT_FIT = 15.0  # nats that the pair may cost
UNMATCHED = 30.0  # cost of leaving one alone, in nats


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
    if m[s + S_B] >= 0 and m[p + P_B] < 0:
        hand_balancer_over(m, p, s)
    elif m[s + S_KEY2] >= 0 and m[p + P_KEY2] < 0 and m[p + P_B] < 0:
        hand_header_over(m, p, s)
    finish_screen(m, p)


@kernel
def hand_balancer_over(m: Memory, p: int, s: int) -> None:
    """The header that smtpd was sent named the balancer's session before it was known whose smtpd it is."""
    b = m[s + S_B]
    m[s + S_B] = -1
    m[b + B_S] = -1
    m[b + B_P] = p
    m[p + P_B] = b
    settle_screen(m, p)


@kernel
def hand_header_over(m: Memory, p: int, s: int) -> None:
    """A header that smtpd was sent came with the connection that postscreen had taken."""
    drop_key(m, m[s + S_KEY2])
    m[s + S_KEY2] = -1
    m[p + P_HEADER] = m[s + S_HEADER]
    m[p + P_HEADER_HI] = m[s + S_HEADER_HI]
    m[p + P_HEADER_LO] = m[s + S_HEADER_LO]
    m[p + P_HEADER_PORT] = m[s + S_HEADER_PORT]
    m[p + P_KEY2] = add_key(
        m, m[p + P_HEADER_HI], m[p + P_HEADER_LO], m[p + P_HEADER_PORT], K_SCREEN_HEADER, p
    )


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
        if m[left[i] + P_B] < 0 and m[left[i] + P_STATE] == OPEN:
            watch_visit(m, left[i], BALANCER_SCREEN)
    find_hidden(m, left[0], BALANCER_SCREEN, False)
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
    columns = integer_table(rows, SHORT_LIST, -1)
    share = np.empty((rows, SHORT_LIST))
    odds = np.empty(rows)
    fit = np.empty(rows)
    best = np.empty(rows, np.int64)
    what = SCREEN_SMTPD if screens else BALANCER_SMTPD
    weigh(m, left, right, what, decimals(rows, UNMATCHED), 0.0, columns, share, odds, fit, best)
    forced = settled < rows
    linked = integers(rows, 0)
    taken = integers(count, 0)
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
        probability = share[j, slot_of(columns, j, i)]
        linked[j] = 1
        taken[i] = 1
        sure = odds[j] <= EXACT_ODDS and probability > EXACT_SHARE and fit[j] < EXACT_FIT
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
def link_found(m: Memory, left: int, s: int, screens: bool, sure: bool, probability: float) -> None:
    doubt = max(m[left + P_DOUBT] if screens else m[left + B_DOUBT], m[s + S_DOUBT])
    sure = sure and doubt <= NO_DOUBT
    if screens and m[left + P_B] >= 0:  # whose end was used may itself be only probable
        sure = sure and m[m[left + P_B] + B_CONFIDENCE] == SURE_EXACT
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
            only = firm_host(m, b)
            if only < 0 or only == host:
                known = known and only == host
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
    columns = integer_table(rows, SHORT_LIST, -1)
    cost = decimal_table(rows, SHORT_LIST, IMPOSSIBLE)
    v = decimals(left.shape[0] + rows, 0.0)
    alone = decimals(rows, UNMATCHED)
    chosen = match(m, left, right, BALANCER_SMTPD, alone, 0.0, columns, cost, decimals(rows, 0.0), v)
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
