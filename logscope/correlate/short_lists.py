"""For each session of a hop the few of the hop before that it may belong to, by times, order and habits.

Sessions of one address mostly start in one order at both hops, however close together. An alignment of both
lists tells the places, so that one session without a partner does not shift all others; then each row is
given what is likeliest by its costs and by how far it is out of order.

Where there are many, the alignment looks at the nearest in time only, as long as that explains most rows;
from there each row looks on until the starts alone are hopeless beside the best that it has.
"""

from __future__ import annotations

import math

import numpy as np

from logscope.correlate.habits import BALANCER_HABITS, VISIT_HABITS, tell_balancer, tell_visit, told_odds
from logscope.correlate.layout import *
from logscope.correlate.matching import IMPOSSIBLE, Costs, Numbers, align
from logscope.correlate.pair_costs import (
    BALANCER_SCREEN,
    END_LATE,
    FARTHEST,
    FARTHEST_UNKNOWN,
    FINE_END,
    FINE_START,
    LOOSE,
    OWN_ADDRESS,
    SCREEN_SMTPD,
    SECONDS_OVER,
    STILL_RUNS,
    b_of,
    before,
    handed_at,
    is_another,
    pair_cost,
    row_coarse,
    row_end,
    row_host,
    row_smtpd,
    row_start,
    within_second,
)
from logscope.correlate.servers import elsewhere_cost
from logscope.correlate.skew import skew_known, skew_of
from logscope.correlate.tables import *
from logscope.engine import kernel

WINDOW = 192  # sessions of the other hop that are candidates for one
NARROW = 32  # the nearest of them
SLACK = 16  # sessions beyond those that may still wait for their own
SHORT_LIST = 24  # and the likeliest of them
ENOUGH = 12  # sessions from which the habits of the host can be learnt
START_ORDER = 4.0  # how much a place away from the order of starts weighs
LOOSE_ORDER = 1.5  # and among many, of which the habits are learnt afterwards
SKIPPED = 12.0  # cost of leaving one side out of an alignment
ORDERLY = 4.0  # nats that a pair costs at most which an alignment explains
MOSTLY = 0.7  # of the rows must be explained by the nearest
# Nats beyond a row's best: by starts alone, those farther away are looked at no more; with order included, a
# column is no candidate; by times alone, habits are no longer asked.
BEYOND = 3.0
WORST = 9.0
UNLIKELY = 6.0
FINENESS = 16  # entries of the table of surprises for each unit
SURPRISES = 2048
# Entries of that table for each nanosecond.
PER_FINE_START, PER_FINE_END, PER_LOOSE = (FINENESS / (one * SECOND) for one in (FINE_START, FINE_END, LOOSE))

START, END, CLOCK_KNOWN, TIMES = range(4)  # what is looked up once of each column


@kernel
def shorten(m: Memory, left: Vector, right: Vector, what: int, columns: Matrix, cost: Costs) -> None:
    """Fill each row's list with its likeliest columns, and what they cost; both come empty."""
    if what == SCREEN_SMTPD or right.shape[0] < ENOUGH or not is_one_host(m, right, what):
        shorten_few(m, left, right, what, columns, cost)
    else:
        shorten_many(m, left, right, what, columns, cost)


@kernel
def is_one_host(m: Memory, right: Vector, what: int) -> bool:
    same = True
    for j in range(1, right.shape[0]):
        same = same and row_host(m, right[j], what) == row_host(m, right[0], what)
    return same


@kernel
def offer(columns: Matrix, cost: Costs, row: int, column: int, price: float) -> None:
    """Put a column into a row's list at its place by its price, unless the list is full of better ones."""
    k = columns.shape[1]
    if price >= cost[row, k - 1]:  # at first all are IMPOSSIBLE there
        return
    k -= 1
    while k > 0 and cost[row, k - 1] > price:
        columns[row, k] = columns[row, k - 1]
        cost[row, k] = cost[row, k - 1]
        k -= 1
    columns[row, k] = column
    cost[row, k] = price


@kernel
def prices_of_places(count: int, weight: float) -> Numbers:
    """What it costs to be so many places out of order."""
    prices = np.empty(count)
    for k in range(count):
        prices[k] = weight * math.log1p(k**2 / 2.0)
    return prices


# --- each pair by all that is known of it -------------------------------------------------------------------


@kernel
def shorten_few(m: Memory, left: Vector, right: Vector, what: int, columns: Matrix, cost: Costs) -> None:
    rows = right.shape[0]
    count = left.shape[0]
    last = np.empty(rows, np.int64)
    width = candidates(m, left, right, what, last)
    first = np.empty(rows, np.int64)
    plain = np.empty((rows, width))
    for j in range(rows):
        first[j] = max(last[j] - width, 0)
        for t in range(width):
            plain[j, t] = pair_cost(m, left[first[j] + t], right[j], what)
    place = align(first, plain, count, SKIPPED, SKIPPED)
    out_of_order = prices_of_places(count + rows + 1, START_ORDER if rows < ENOUGH else LOOSE_ORDER)
    expected = -1
    for j in range(rows):
        expected = place[j] if place[j] >= 0 else expected + 1
        for t in range(width):
            i = first[j] + t
            offer(columns, cost, j, i, plain[j, t] + out_of_order[abs(i - expected)])


@kernel
def candidates(m: Memory, left: Vector, right: Vector, what: int, last: Vector) -> int:
    """Fill in, for each row, the column after the last that can be its partner; returns how many before that
    can be, for the row that has most. Where they are too many, those nearest in time are taken.
    """
    count = left.shape[0]
    width = 0
    first = 0
    middle = 0
    end = 0
    for j in range(right.shape[0]):
        while end < count and before(m, left[end], right[j], what):
            end += 1
        last[j] = end
        if what == SCREEN_SMTPD:  # sessions are handed over in order, and mostly none are lost
            width = max(width, end - j + SLACK)
            continue
        while first < end and pair_cost(m, left[first], right[j], what) >= IMPOSSIBLE:
            first += 1
        width = max(width, end - first)
        host = row_host(m, right[j], what)
        moment = row_start(m, right[j], what) + (SECOND // 2 if row_coarse(m, right[j], what) else 0)
        while middle < end and handed_at(m, left[middle], host, what) <= moment:
            middle += 1
        last[j] = min(end, middle + WINDOW // 2)
    return int(max(min(width, WINDOW, count), 1))


# --- many pairs of one host ---------------------------------------------------------------------------------


@kernel
def shorten_many(m: Memory, left: Vector, right: Vector, what: int, columns: Matrix, cost: Costs) -> None:
    """As `balancer_cost`, but what a column says is looked up once, surprises are read from a table, and
    habits are asked only of pairs whose times are not hopeless beside the row's best; the others' count as
    neutral.
    """
    rows = right.shape[0]
    count = left.shape[0]
    times = np.empty((count, TIMES), np.int64)
    elsewhere = np.empty(count)
    tell_times(m, left, row_host(m, right[0], what), times, elsewhere)
    table = np.empty(SURPRISES)
    for k in range(SURPRISES):
        table[k] = 2.0 * math.log1p(k / FINENESS)
    of_left = np.empty((BALANCER_HABITS, count), np.int64)
    of_right = np.empty((VISIT_HABITS, rows), np.int64)
    tell_habits(m, left, right, what, of_left, of_right)
    first = np.empty(rows, np.int64)
    least = np.empty(rows)  # by times alone
    plain = np.empty((1, 1))
    place = first
    for window in (NARROW, WINDOW):
        width = nearest(m, times, right, what, window, first)
        plain = np.empty((rows, width))
        for j in range(rows):
            least[j] = IMPOSSIBLE
            for t in range(width):
                plain[j, t] = price_of_times(m, left, right[j], what, times, elsewhere, table, first[j] + t)
                least[j] = min(least[j], plain[j, t])
            for t in range(width):
                if plain[j, t] <= least[j] + UNLIKELY and times[first[j] + t, END] != NULL:
                    plain[j, t] -= math.log(told_odds(m, of_left, first[j] + t, of_right, j, 0))
        place = align(first, plain, count, SKIPPED, SKIPPED)
        if width < window or is_orderly(first, plain, place):
            break
    width = plain.shape[1]
    out_of_order = prices_of_places(count + rows + 1, LOOSE_ORDER)
    expected = -1
    for j in range(rows):
        expected = place[j] if place[j] >= 0 else expected + 1
        best = IMPOSSIBLE
        for t in range(width):
            plain[j, t] += out_of_order[abs(first[j] + t - expected)]
            best = min(best, plain[j, t])
        for t in range(width):
            if plain[j, t] <= best + WORST:
                offer(columns, cost, j, first[j] + t, plain[j, t])
        for step in (-1, 1):
            i = first[j] - 1 if step < 0 else first[j] + width
            for _ in range((WINDOW - width) // 2):
                if i < 0 or i >= count:
                    break
                started = row_start(m, right[j], what)
                coarse = row_coarse(m, right[j], what)
                if price_of_start(times, i, started, coarse, table) > least[j] + BEYOND:
                    break
                price = price_of_times(m, left, right[j], what, times, elsewhere, table, i)
                if price <= least[j] + UNLIKELY and times[i, END] != NULL:
                    price -= math.log(told_odds(m, of_left, i, of_right, j, 0))
                price += out_of_order[abs(i - expected)]
                if price <= best + WORST:
                    offer(columns, cost, j, i, price)
                i += step


@kernel
def tell_times(m: Memory, left: Vector, host: int, times: Matrix, elsewhere: Numbers) -> None:
    """Write down when each column began and ended by the clock of a host, whether that is known, and what it
    costs that the column's server is another host.
    """
    for i in range(left.shape[0]):
        b = left[i]
        skew = skew_of(m, m[b + B_HOST], host)
        times[i, START] = m[b + B_START] + skew
        times[i, END] = NULL if m[b + B_ASAP] == 1 else m[b + B_END] + skew
        times[i, CLOCK_KNOWN] = skew_known(m, m[b + B_HOST], host)
        elsewhere[i] = elsewhere_cost(m, b, host)


@kernel
def tell_habits(m: Memory, left: Vector, right: Vector, what: int, of_left: Matrix, of_right: Matrix) -> None:
    """Write down what habits ask of each column and each row."""
    for i in range(left.shape[0]):
        tell_balancer(m, b_of(m, left[i], what), of_left, i)
    for j in range(right.shape[0]):
        p = right[j] if what == BALANCER_SCREEN else -1
        tell_visit(m, p, row_smtpd(m, right[j], what), of_right, j)


@kernel
def nearest(m: Memory, times: Matrix, right: Vector, what: int, window: int, first: Vector) -> int:
    """Fill in each row's first column; returns how many from there on are nearest to it, at most `window`."""
    count = times.shape[0]
    width = 0
    begin = 0
    middle = 0
    end = 0
    for j in range(right.shape[0]):
        started = row_start(m, right[j], what)
        moment = started + (SECOND // 2 if row_coarse(m, right[j], what) else 0)
        while end < count and times[end, START] <= started + (
            2 * SECOND if times[end, CLOCK_KNOWN] else FARTHEST_UNKNOWN
        ):
            end += 1
        while begin < end and started - times[begin, START] > (
            FARTHEST if times[begin, CLOCK_KNOWN] else FARTHEST_UNKNOWN
        ):
            begin += 1
        while middle < end and times[middle, START] <= moment:
            middle += 1
        width = max(width, end - begin)
        first[j] = min(end, middle + window // 2)
    width = max(min(width, window, count), 1)
    for j in range(right.shape[0]):
        first[j] = max(first[j] - width, 0)
    return int(width)


@kernel
def is_orderly(first: Vector, plain: Costs, place: Vector) -> bool:
    """Whether an alignment explains most rows: whoever is late by more than the width does not look so."""
    explained = 0
    for j in range(place.shape[0]):
        explained += place[j] >= 0 and plain[j, place[j] - first[j]] <= ORDERLY
    return bool(explained >= MOSTLY * place.shape[0])


@kernel
def price_of_start(times: Matrix, i: int, started: int, coarse: int, table: Numbers) -> float:
    late = abs(within_second(started - times[i, START], coarse))
    known = times[i, CLOCK_KNOWN]
    if late > (FARTHEST if known else FARTHEST_UNKNOWN):
        return IMPOSSIBLE
    entry = int(late * (PER_FINE_START if known and not coarse else PER_LOOSE))
    return float(table[min(entry, SURPRISES - 1)])


@kernel
def price_of_times(
    m: Memory, left: Vector, row: int, what: int, times: Matrix, elsewhere: Numbers, table: Numbers, i: int
) -> float:
    coarse = row_coarse(m, row, what)
    own = m[row + (P_WATCHED if what == BALANCER_SCREEN else S_WATCHED)] == OWN_ADDRESS
    price = price_of_start(times, i, row_start(m, row, what), coarse, table)
    if price >= IMPOSSIBLE or (own and is_another(m, left[i], row, what)):
        return IMPOSSIBLE
    price += elsewhere[i]
    end = times[i, END]
    if end == NULL:
        return float(price)
    ended = row_end(m, row, what)
    if ended == NULL:
        still_runs = what != BALANCER_SCREEN and end + SECONDS_OVER < m[NOW]
        return float(price + (STILL_RUNS if still_runs else 0.0))
    known = times[i, CLOCK_KNOWN]
    late = within_second(ended - end, coarse)
    if late > SECONDS_OVER and known:
        return float(price + END_LATE)
    entry = int(abs(late) * (PER_FINE_END if known and not coarse else PER_LOOSE))
    return float(price + table[min(entry, SURPRISES - 1)])
