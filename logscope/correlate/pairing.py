"""Which sessions of one hop belong to which of the next, when nothing but times, order and habits tells.

Both sides are lists of sessions among which the partners are: rows are those of the later hop (`right`),
columns those of the one before (`left`), both in the order in which they began. A pair costs what it is less
likely than the likeliest, in nats; the cheapest assignment, and how likely each pair is among all
assignments, are `matching`'s.
"""

from __future__ import annotations

import math

import numpy as np

from logscope.correlate.arrays import decimal_table, decimals, integers
from logscope.correlate.habits import BALANCER_HABITS, VISIT_HABITS, told_odds
from logscope.correlate.layout import *
from logscope.correlate.matching import (
    IMPOSSIBLE,
    Costs,
    Numbers,
    assign,
    order_of,
    running_median,
    shares,
    slot_of,
    spread,
    swap_odds,
)
from logscope.correlate.pair_costs import (
    BALANCER_SCREEN,
    SCREEN_SMTPD,
    SECONDS_OVER,
    STILL_RUNS,
    b_of,
    end_of,
    handed_at,
    no_end_cost,
    note_rows,
    row_coarse,
    row_end,
    row_end_moment,
    row_host,
    row_start,
)
from logscope.correlate.short_lists import ENOUGH, SHORT_LIST, shorten, tell_habits
from logscope.correlate.skew import skew_known
from logscope.correlate.tables import *
from logscope.engine import kernel

ROUNDS = 2
NEIGHBOURS = 8  # on either side, whose hand-over took about as long
SWEEPS = 100
HOPELESS = 9.0  # nats
HOPELESS_YET = 12.0  # the same while costs are not the last
LEAST_FINE = 0.0005  # seconds, and places, that neighbours always differ by
LEAST_COARSE = 0.3
LEAST_PLACES = 0.7
MOST_APART = 0.6  # seconds between hand-overs of neighbours, by fine stamps of known clocks
NEVER = 1e15


# --- all pairs together -----------------------------------------------------------------------------------


@kernel
def weigh(
    m: Memory,
    left: Vector,
    right: Vector,
    what: int,
    alone: Numbers,
    certain: float,
    columns: Matrix,
    share: Costs,
    odds: Numbers,
    fit: Numbers,
    best: Vector,
) -> None:
    """Fill in each row's candidates, how likely each of them is, who most often is together, and for the
    exact links how likely any swap is, and what the pair costs.

    `alone` is what it costs a row to have no partner. Rows whose swaps are together no likelier than
    `certain` are not tried with others.
    """
    rows = right.shape[0]
    count = left.shape[0]
    cost = decimal_table(rows, SHORT_LIST, IMPOSSIBLE)
    u = decimals(rows, 0.0)
    v = decimals(count + rows, 0.0)
    chosen = match(m, left, right, what, alone, certain, columns, cost, u, v)
    swaps = swap_odds(columns, cost, count, alone, chosen)
    drop_hopeless(columns, cost, chosen, u, v, HOPELESS)
    settle_certain(columns, cost, chosen, swaps, certain, count)
    together = shares(columns, cost, count, alone, chosen, SWEEPS)
    for j in range(rows):
        odds[j] = swaps[j]
        fit[j] = cost[j, slot_of(columns, j, chosen[j])] if chosen[j] >= 0 else IMPOSSIBLE
        for t in range(SHORT_LIST):
            share[j, t] = together[j, t]
            if columns[j, t] == chosen[j] and swaps[j] <= certain:
                share[j, t] = 1.0 / (1.0 + swaps[j])
            cost[j, t] = -share[j, t]
    most = assign(columns, cost, count, decimals(rows, 0.0), u, v)
    for j in range(rows):
        best[j] = most[j]
        if best[j] != chosen[j]:
            fit[j] = IMPOSSIBLE


@kernel
def settle_certain(
    columns: Matrix, cost: Costs, chosen: Vector, swaps: Numbers, certain: float, count: int
) -> None:
    """Leave those whose pair is as good as decided no other column, and nobody else theirs: it takes long to
    try what never happens.
    """
    settled = integers(count, -1)
    for j in range(chosen.shape[0]):
        if chosen[j] >= 0 and swaps[j] <= certain:
            settled[chosen[j]] = j
    for j in range(chosen.shape[0]):
        own = chosen[j] >= 0 and settled[chosen[j]] == j
        for t in range(columns.shape[1]):
            i = columns[j, t]
            if i >= 0 and i != chosen[j] and (own or settled[i] >= 0):
                columns[j, t] = -1
        pack(columns, cost, j)


@kernel
def match(
    m: Memory,
    left: Vector,
    right: Vector,
    what: int,
    alone: Numbers,
    certain: float,
    columns: Matrix,
    cost: Costs,
    u: Numbers,
    v: Numbers,
) -> Vector:
    """The cheapest assignment; the lists of candidates, their costs and the prices are filled in."""
    shorten(m, left, right, what, columns, cost)
    chosen = assign(columns, cost, left.shape[0], alone, u, v)
    if right.shape[0] >= ENOUGH and tell_the_same(m, left, right, what, chosen):
        for _ in range(ROUNDS):
            if certain > 0.0:  # who wants to be sure asks of all
                drop_hopeless(columns, cost, chosen, u, v, HOPELESS_YET)
            refine(m, left, right, what, columns, cost, chosen)
            chosen = assign(columns, cost, left.shape[0], alone, u, v)
    return chosen


@kernel
def tell_the_same(m: Memory, left: Vector, right: Vector, what: int, chosen: Vector) -> bool:
    """Whether pairs can teach what is usual. Those that differ from their neighbours by more than any load
    makes them cannot: they are what is left of sessions whose partners are not among these.
    """
    host = row_host(m, right[0], what)
    late = np.empty(right.shape[0])
    for j in range(right.shape[0]):
        late[j] = NEVER
        i = chosen[j]
        if i >= 0:
            if row_coarse(m, right[j], what) or not skew_known(m, m[b_of(m, left[i], what) + B_HOST], host):
                return True
            late[j] = (row_start(m, right[j], what) - handed_at(m, left[i], host, what)) / SECOND
    return bool(smooth(late, np.arange(right.shape[0])) <= MOST_APART)


@kernel
def drop_hopeless(columns: Matrix, cost: Costs, chosen: Vector, u: Numbers, v: Numbers, most: float) -> None:
    """What no good assignment uses is no candidate: none that is worse than the best by `most` nats."""
    for j in range(chosen.shape[0]):
        for t in range(columns.shape[1]):
            i = columns[j, t]
            if i < 0:
                break
            if i != chosen[j] and cost[j, t] - u[j] - v[i] > most:
                columns[j, t] = -1
        pack(columns, cost, j)


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
def refine(
    m: Memory, left: Vector, right: Vector, what: int, columns: Matrix, cost: Costs, chosen: Vector
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
    origin = row_start(m, right[0], what)
    by_end = tell_rights(m, right, what, origin, rights)
    tell_lefts(m, left, row_host(m, right[0], what), what, origin, lefts)
    by_start = np.arange(rows)
    usual = np.empty((4, rows))
    scale = np.empty(4)
    for j in range(rows):
        i = chosen[j]
        for k in range(4):
            known = i >= 0 and rights[k, j] != NEVER and lefts[k, i] != NEVER
            usual[k, j] = rights[k, j] - lefts[k, i] if known else NEVER
        if i >= 0:
            note_rows(m, left[i], right[j], what, 1)
    for k in range(4):
        least = LEAST_PLACES
        if k % 2 == 0:
            least = LEAST_COARSE if row_coarse(m, right[0], what) else LEAST_FINE
        scale[k] = 2.0 * max(smooth(usual[k], by_start if k < 2 else by_end), least)
    of_left = np.empty((BALANCER_HABITS, count), np.int64)
    of_right = np.empty((VISIT_HABITS, rows), np.int64)
    tell_habits(m, left, right, what, of_left, of_right)
    for j in range(rows):
        for t in range(SHORT_LIST):
            i = columns[j, t]
            if i < 0:
                break
            # spikes are multiplied before their logarithm is taken, which is what takes long
            start = spike((rights[0, j] - lefts[0, i] - usual[0, j]) / scale[0])
            place = spike((rights[1, j] - lefts[1, i] - usual[1, j]) / scale[1])
            unlikely = start * place * math.sqrt(place)
            if rights[2, j] != NEVER and lefts[2, i] != NEVER:
                end = spike((rights[2, j] - lefts[2, i] - usual[2, j]) / scale[2])
                unlikely *= spike((rights[3, j] - lefts[3, i] - usual[3, j]) / scale[3])
                unlikely /= told_odds(m, of_left, i, of_right, j, 1 if chosen[j] == i else 0)
                cost[j, t] = math.log(unlikely) + 1.2 * math.log(end)
                continue
            price = math.log(unlikely)
            if lefts[2, i] != NEVER and what != BALANCER_SCREEN:
                over = end_of(m, left[i], row_host(m, right[j], what), what) + SECONDS_OVER < m[NOW]
                price += STILL_RUNS if over else 0.0
            elif what == SCREEN_SMTPD:
                price += no_end_cost(m, left[i], right[j])
            cost[j, t] = price
    for j in range(rows):
        if chosen[j] >= 0:
            note_rows(m, left[chosen[j]], right[j], what, -1)


@kernel
def tell_rights(m: Memory, right: Vector, what: int, origin: int, facts: Numbers) -> Vector:
    """Fill in what is known of the rows; returns those that ended, in the order of their ends."""
    host = row_host(m, right[0], what)
    one_host = True
    for j in range(right.shape[0]):
        one_host = one_host and row_host(m, right[j], what) == host
    ends = np.empty(right.shape[0], np.int64)
    for j in range(right.shape[0]):
        facts[0, j] = (row_start(m, right[j], what) - origin) / SECOND
        facts[1, j] = j
        facts[2, j] = NEVER
        ended = row_end(m, right[j], what)
        ends[j] = NULL
        if ended != NULL:
            facts[2, j] = (ended - origin) / SECOND
            ends[j] = row_end_moment(m, right[j], what) if one_host else ended
    return places(ends, facts[3])


@kernel
def tell_lefts(m: Memory, left: Vector, host: int, what: int, origin: int, facts: Numbers) -> None:
    """The same of the columns, by the clock of the rows' host."""
    ends = np.empty(left.shape[0], np.int64)
    for i in range(left.shape[0]):
        facts[0, i] = (handed_at(m, left[i], host, what) - origin) / SECOND
        facts[1, i] = i
        ends[i] = end_of(m, left[i], host, what)
        facts[2, i] = NEVER if ends[i] == NULL else (ends[i] - origin) / SECOND
    places(ends, facts[3])


@kernel
def spike(x: float) -> float:
    """How unlikely a difference is whose distribution has a narrow middle and long tails."""
    return 1.0 + x * x


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
