"""By what clock a server's sessions and visits fit, and whether they are its own: starts and ends of both,
taken in order, against any wrong clock.
"""

from __future__ import annotations

import numpy as np

from logscope.correlate.arrays import decimal_table, decimals
from logscope.correlate.layout import *
from logscope.correlate.links import (
    END_COARSE,
    END_FINE,
    START_COARSE,
    START_FINE,
)
from logscope.correlate.matching import IMPOSSIBLE, Numbers, align, in_order
from logscope.correlate.odds import rarity
from logscope.correlate.pair_costs import (
    habits_of,
    is_another,
    note_rows,
    row_coarse,
    row_end,
    row_host,
    row_start,
)
from logscope.correlate.short_lists import WINDOW
from logscope.correlate.skew import sample_skew, skew_known, skew_of
from logscope.correlate.tables import *
from logscope.engine import kernel

FEWEST = 6  # visits before they are given up, and that must have a partner
# Nats by which they must fit better than by chance, than by any wrong clock, and than any other server's.
EVIDENCE = 16.0
ANY_SKEW = 8.0  # more where the skew is not known
NO_SKEW = 4.0  # clocks mostly agree
MATCHED = 0.6  # of them
CLEARLY, CLEARLY_SKEWED = 1.2, 1.5  # times what each fits by a wrong clock
LONGEST_SKEW = 90 * SECOND
SAME_CLOCK = SECOND // 10  # what a hand-over takes, too, where stamps tell it
BINS = 361  # of half a second, or parts of a second
CLOCKS = 4  # of the likeliest skews are tried
ADJUSTMENTS = 3
NEAR_BY = 3 * SECOND
WRONG_CLOCKS = (7.3, -7.3, 13.1, -13.1, 29.7, -29.7, 53.9, -53.9)  # seconds
SAME_LENGTH_FINE, SAME_LENGTH_COARSE = SECOND // 4, 6 * SECOND // 5


@kernel
def likeliest_skew(m: Memory, left: Vector, visits: Vector, what: int) -> int:
    """Nanoseconds by which the server's clock is ahead, as starts of sessions of equal length tell."""
    host = row_host(m, visits[0], what)
    balancer_host = m[left[0] + B_HOST]
    known = skew_of(m, balancer_host, host)
    if skew_known(m, balancer_host, host):
        return known
    best = known
    assumed = fitness(m, left, visits, what, known)
    highest = assumed
    votes = votes_for(m, left, visits, what, -LONGEST_SKEW, SECOND // 2)
    for _ in range(CLOCKS):
        at = highest_pair(votes)
        votes[at] = 0.0
        votes[at + 1] = 0.0
        skew = at * (SECOND // 2) - LONGEST_SKEW
        if row_coarse(m, visits[0], what):
            skew += SECOND // 2
        else:
            fine = votes_for(m, left, visits, what, skew, SECOND // BINS)
            skew += (highest_pair(fine) + 1) * (SECOND // BINS)
        for _ in range(ADJUSTMENTS):
            fits = fitness(m, left, visits, what, skew)
            # by chance, one of many clocks fits a little better than the right one
            same = not row_coarse(m, visits[0], what) and abs(skew - known) <= SAME_CLOCK
            clearly = same or fits > CLEARLY * assumed
            if clearly and fits > highest:
                highest = fits
                best = skew
            skew = usual_skew(m, left, visits, what, skew)
    return int(best)


@kernel
def usual_skew(m: Memory, left: Vector, visits: Vector, what: int, skew: int) -> int:
    """The median that the pairs have which another skew makes."""
    pairs = aligned(m, left, visits, what, skew)
    late = np.empty(visits.shape[0])
    count = 0
    for j in range(visits.shape[0]):
        if pairs[j] >= 0:
            late[count] = row_start(m, visits[j], what) - m[left[pairs[j]] + B_START]
            count += 1
    if count == 0:
        return skew
    in_order(late[:count])
    return int(late[count // 2]) + (SECOND // 2 if row_coarse(m, visits[0], what) else 0)


@kernel
def votes_for(m: Memory, left: Vector, visits: Vector, what: int, lowest: int, step: int) -> Numbers:
    """How many pairs of sessions of equal length have each skew, in steps from the lowest on."""
    votes = decimals(BINS, 0.0)
    for j in range(visits.shape[0]):
        row = visits[j]
        length = row_end(m, row, what) - row_start(m, row, what)
        same = SAME_LENGTH_COARSE if row_coarse(m, row, what) else SAME_LENGTH_FINE
        for i in range(left.shape[0]):
            b = left[i]
            at = (row_start(m, row, what) - m[b + B_START] - lowest) // step
            if (
                0 <= at < BINS
                and not is_another(m, b, row, what)
                and abs(length - (m[b + B_END] - m[b + B_START])) <= same
            ):
                votes[at] += 1.0
    return votes


@kernel
def highest_pair(votes: Numbers) -> int:
    """The first of the two neighbours that have most votes together."""
    best = 0
    for i in range(votes.shape[0] - 1):
        if votes[i] + votes[i + 1] > votes[best] + votes[best + 1]:
            best = i
    return best


@kernel
def is_theirs(m: Memory, left: Vector, visits: Vector, what: int, skew: int) -> bool:
    """Whether most visits have a partner, and fit much better than by chance and than by any wrong clock."""
    pairs = aligned(m, left, visits, what, skew)
    matched = 0
    for j in range(visits.shape[0]):
        matched += pairs[j] >= 0
    within = covered(m, left, visits, what, skew)
    if matched < FEWEST or matched < MATCHED * within:
        return False
    fits = fitness(m, left, visits, what, skew)
    balancer_host = m[left[0] + B_HOST]
    host = row_host(m, visits[0], what)
    clearly = CLEARLY
    if skew != skew_of(m, balancer_host, host):  # the best of many clocks always fits somehow
        clearly = CLEARLY_SKEWED
    if not skew_known(m, balancer_host, host):
        fits -= ANY_SKEW + (NO_SKEW if abs(skew) > SECOND else 0.0)
    wrong = 0.0
    for clock in WRONG_CLOCKS:
        other = skew + int(clock * SECOND)
        if covered(m, left, visits, what, other) >= FEWEST:
            wrong_fits = fitness(m, left, visits, what, other)
            wrong = max(wrong, wrong_fits / covered(m, left, visits, what, other))
    return fits > EVIDENCE + clearly * wrong * within


@kernel
def covered(m: Memory, left: Vector, visits: Vector, what: int, skew: int) -> int:
    """How many visits are between the first and the last balancer session, by a given clock."""
    first = m[left[0] + B_START] - SECOND
    last = m[left[left.shape[0] - 1] + B_START] + SECOND
    count = 0
    for j in range(visits.shape[0]):
        count += first <= row_start(m, visits[j], what) - skew <= last
    return int(count)


@kernel
def clock_cost(m: Memory, b: int, row: int, what: int, skew: int) -> float:
    """Of a pair by a given clock, in nats against two that happen to meet."""
    if is_another(m, b, row, what):
        return IMPOSSIBLE
    coarse = row_coarse(m, row, what)
    cost = rarity(
        off(row_start(m, row, what) - m[b + B_START] - skew, coarse),
        START_COARSE if coarse else START_FINE,
        coarse,
    )
    ended = row_end(m, row, what)
    if ended != NULL and m[b + B_ASAP] == 0:
        cost += rarity(off(ended - m[b + B_END] - skew, coarse), END_COARSE if coarse else END_FINE, coarse)
    return cost


@kernel
def off(late: int, coarse: int) -> float:
    """Seconds off, none within a coarse stamp."""
    if coarse and late < 0:
        late = min(late + SECOND, 0)
    return abs(late) / SECOND


@kernel
def aligned(m: Memory, left: Vector, visits: Vector, what: int, skew: int) -> Vector:
    """The partner of each visit by a given clock when all are taken in order; -1 for none."""
    rows = visits.shape[0]
    count = left.shape[0]
    first = np.empty(rows, np.int64)
    width = 1
    begin = 0
    middle = 0
    end = 0
    late = SECOND // 2 if row_coarse(m, visits[0], what) else 0
    for j in range(rows):
        started = row_start(m, visits[j], what) + late - skew
        while begin < count and m[left[begin] + B_START] < started - NEAR_BY:
            begin += 1
        while middle < count and m[left[middle] + B_START] < started:
            middle += 1
        while end < count and m[left[end] + B_START] <= started + NEAR_BY:
            end += 1
        first[j] = middle
        width = max(width, end - begin)
    width = min(width, WINDOW, count)
    cost = decimal_table(rows, width, IMPOSSIBLE)
    for j in range(rows):
        first[j] = min(max(first[j] - width // 2, 0), count - width)
        for t in range(width):
            cost[j, t] = clock_cost(m, left[first[j] + t], visits[j], what, skew)
    return align(first, cost, count, 0.0, 0.0)


@kernel
def fitness(m: Memory, left: Vector, visits: Vector, what: int, skew: int) -> float:
    """How much likelier the visits are the balancer's sessions than others, by a given clock and by the
    habits that they would show, in nats.
    """
    pairs = aligned(m, left, visits, what, skew)
    total = 0.0
    for j in range(visits.shape[0]):
        if pairs[j] >= 0:
            total -= clock_cost(m, left[pairs[j]], visits[j], what, skew)
            note_rows(m, left[pairs[j]], visits[j], what, 1)
    for j in range(visits.shape[0]):
        if pairs[j] >= 0:
            total -= habits_of(m, left[pairs[j]], visits[j], what, 1)
    for j in range(visits.shape[0]):
        if pairs[j] >= 0:
            note_rows(m, left[pairs[j]], visits[j], what, -1)
    return total


@kernel
def teach(m: Memory, left: Vector, visits: Vector, what: int, skew: int) -> None:
    """Learn the skew, where it is not known, and the habits from all sessions taken in order."""
    host = row_host(m, visits[0], what)
    balancer_host = m[left[0] + B_HOST]
    known = skew_known(m, balancer_host, host)
    pairs = aligned(m, left, visits, what, skew)
    for j in range(visits.shape[0]):
        if pairs[j] < 0:
            continue
        b = left[pairs[j]]
        row = visits[j]
        note_rows(m, b, row, what, 1)
        if not known:
            sample_skew(m, balancer_host, host, skew, 0, 0)
