"""Which sessions of one hop belong to which of the next, when nothing but times, order and habits tells.

Both sides are lists of sessions among which the partners are: rows are those of the later hop (`right`),
columns those of the one before (`left`), both in the order in which they began. A pair costs what it is less
likely than the likeliest, in nats; the cheapest assignment, and how likely each pair is among all
assignments, are `matching`'s.
"""

from __future__ import annotations

import math

import numpy as np

from logscope.correlate.arrays import decimal_table, decimals
from logscope.correlate.habits import (
    BALANCER_HABITS,
    VISIT_HABITS,
    habit_cost,
    note_pair,
    tell_balancer,
    tell_visit,
    told_odds,
)
from logscope.correlate.layout import *
from logscope.correlate.links import gap
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
from logscope.correlate.servers import elsewhere_cost
from logscope.correlate.skew import skew_known, skew_of
from logscope.correlate.tables import *
from logscope.engine import kernel

# Columns and rows of what is paired.
SCREEN_SMTPD, BALANCER_SMTPD, BALANCER_SCREEN = range(3)

# a session that the balancer saw end this long before cannot be the one that starts now
SECONDS_OVER = 5 * SECOND
WINDOW = 192  # sessions of the other hop that are candidates for one
SLACK = 16  # of them, beyond those that may still wait for their own
SHORT_LIST = 24  # and the likeliest of them
ENOUGH = 12  # sessions from which the habits of the host can be learnt
ROUNDS = 2
NEIGHBOURS = 8  # on either side, whose hand-over took about as long
SWEEPS = 100
HOPELESS = 9.0  # nats
# other lines of the host between a hand-over and smtpd's connect that are no surprise on a busy host
LINES_BETWEEN = 100.0
START_ORDER = 4.0  # how much a place away from the order of starts weighs
LOOSE_ORDER = 1.5  # and among many, of which the habits are learnt afterwards
FINE_START = 0.02  # seconds that are little between a verdict and smtpd's connect
FINE_END = 0.1  # and between the two ends of a session
END_LATE = 20.0  # cost of a session that goes on at the server after the balancer closed it
STILL_RUNS = 12.0  # cost of an smtpd session that still runs although the balancer saw the end
SKIPPED = 12.0  # cost of leaving one side out of an alignment
UNMATCHED = 30.0  # cost of leaving one alone, in nats
LEAST_FINE = 0.0005  # seconds, and places, that neighbours always differ by
LEAST_COARSE = 0.3
LEAST_PLACES = 0.7
NEVER = 1e15
OWN_ADDRESS = 2  # in P_WATCHED and S_WATCHED: the mail server saw the client's address, but not its port
UNLIKELY = 6.0  # nats by which times must be worse than another pair's for habits to be no longer asked
FINENESS = 16  # entries of the table of surprises for each unit
SURPRISES = 2048


# --- one session of the later hop ---------------------------------------------------------------------------


@kernel
def row_host(m: Memory, row: int, what: int) -> int:
    return int(m[row + P_HOST] if what == BALANCER_SCREEN else m[row + S_HOST])


@kernel
def row_start(m: Memory, row: int, what: int) -> int:
    return int(m[row + P_CONNECTED] if what == BALANCER_SCREEN else m[row + S_STARTED])


@kernel
def row_coarse(m: Memory, row: int, what: int) -> int:
    return int(m[row + P_COARSE] if what == BALANCER_SCREEN else m[row + S_COARSE])


@kernel
def row_smtpd(m: Memory, row: int, what: int) -> int:
    """The smtpd session that it is, or leads to; -1 where that is not known."""
    return int(m[row + P_S] if what == BALANCER_SCREEN else row)


@kernel
def row_end(m: Memory, row: int, what: int) -> int:
    s = row_smtpd(m, row, what)
    return int(m[row + P_ENDED] if s < 0 else m[s + S_ENDED])


@kernel
def row_end_moment(m: Memory, row: int, what: int) -> int:
    s = row_smtpd(m, row, what)
    return int(m[row + P_END_MOMENT] if s < 0 else m[s + S_END_MOMENT])


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
        cost += end_cost(m, b, s, BALANCER_SMTPD, now) + habit_cost(m, b, -1, s, 0)
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
def end_cost(m: Memory, b: int, row: int, what: int, now: int) -> float:
    """The server's end against accept + Tt: both ends of one connection close together."""
    host = row_host(m, row, what)
    balancer_host = m[b + B_HOST]
    end = m[b + B_END] + skew_of(m, balancer_host, host)
    known = skew_known(m, balancer_host, host)
    coarse = row_coarse(m, row, what)
    scale = SECOND / 2 if coarse or not known else FINE_END * SECOND
    ended = row_end(m, row, what)
    if ended == NULL:
        return STILL_RUNS if end + SECONDS_OVER < now and what != BALANCER_SCREEN else 0.0
    late = within_second(ended - end, coarse)
    if late > SECONDS_OVER and known:  # the server cannot go on long after the balancer closed
        return END_LATE
    return surprise(late, scale)


@kernel
def is_another(m: Memory, b: int, row: int, what: int) -> bool:
    """Whether the mail server saw the client's own address, and it is not that of the balancer's session."""
    if what == BALANCER_SCREEN:
        own = m[row + P_WATCHED] == OWN_ADDRESS
        return bool(own and (m[row + P_HI] != m[b + B_HI] or m[row + P_LO] != m[b + B_LO]))
    own = m[row + S_WATCHED] == OWN_ADDRESS
    return bool(own and (m[row + S_HI] != m[b + B_HI] or m[row + S_LO] != m[b + B_LO]))


@kernel
def balancer_cost(m: Memory, b: int, row: int, what: int, now: int) -> float:
    if is_another(m, b, row, what):
        return IMPOSSIBLE
    host = row_host(m, row, what)
    start = gap(m, b, host, row_start(m, row, what), row_coarse(m, row, what))
    known = skew_known(m, m[b + B_HOST], host)
    if abs(start) > (10 * SECOND if known else 60 * SECOND):
        return IMPOSSIBLE
    scale = SECOND / 50 if known and not row_coarse(m, row, what) else SECOND / 2
    cost = surprise(start, scale)
    cost += elsewhere_cost(m, b, host)
    if m[b + B_ASAP] == 0:
        cost += end_cost(m, b, row, what, now) + habits_of(m, b, row, what, 0)
    return cost


# --- all pairs together -----------------------------------------------------------------------------------


@kernel
def weigh(
    m: Memory,
    left: Vector,
    right: Vector,
    what: int,
    alone: Numbers,
    columns: Matrix,
    share: Costs,
    odds: Numbers,
    fit: Numbers,
    best: Vector,
) -> None:
    """Fill in each row's candidates, how likely each of them is, who most often is together, and for the
    exact links how likely any swap is, and what the pair costs.

    `alone` is what it costs a row to have no partner.
    """
    rows = right.shape[0]
    count = left.shape[0]
    cost = decimal_table(rows, SHORT_LIST, IMPOSSIBLE)
    u = decimals(rows, 0.0)
    v = decimals(count + rows, 0.0)
    chosen = match(m, left, right, what, alone, columns, cost, u, v)
    swaps = swap_odds(columns, cost, count, alone, chosen)
    for j in range(rows):  # what no good assignment uses is no candidate
        for t in range(SHORT_LIST):
            i = columns[j, t]
            if i >= 0 and i != chosen[j] and cost[j, t] - u[j] - v[i] > HOPELESS:
                columns[j, t] = -1
        pack(columns, cost, j)
    together = shares(columns, cost, count, alone, chosen, SWEEPS)
    for j in range(rows):
        odds[j] = swaps[j]
        fit[j] = cost[j, slot_of(columns, j, chosen[j])] if chosen[j] >= 0 else IMPOSSIBLE
        for t in range(SHORT_LIST):
            share[j, t] = together[j, t]
            cost[j, t] = -share[j, t]
    most = assign(columns, cost, count, decimals(rows, 0.0), u, v)
    for j in range(rows):
        best[j] = most[j]
        if best[j] != chosen[j]:
            fit[j] = IMPOSSIBLE


@kernel
def match(
    m: Memory,
    left: Vector,
    right: Vector,
    what: int,
    alone: Numbers,
    columns: Matrix,
    cost: Costs,
    u: Numbers,
    v: Numbers,
) -> Vector:
    """The cheapest assignment; the lists of candidates, their costs and the prices are filled in."""
    shorten(m, left, right, what, columns, cost)
    chosen = assign(columns, cost, left.shape[0], alone, u, v)
    if right.shape[0] >= ENOUGH:
        for _ in range(ROUNDS):
            refine(m, left, right, what, columns, cost, chosen)
            chosen = assign(columns, cost, left.shape[0], alone, u, v)
    return chosen


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
def shorten(m: Memory, left: Vector, right: Vector, what: int, columns: Matrix, cost: Costs) -> None:
    """Fill each row's list with its likeliest columns.

    Sessions of one address mostly start in one order at both hops, however close together. An alignment tells
    the places, so that one session without a partner does not shift all others.
    """
    rows = right.shape[0]
    count = left.shape[0]
    order = START_ORDER if rows < ENOUGH else LOOSE_ORDER
    last = np.empty(rows, np.int64)
    width = candidates(m, left, right, what, last)
    first = np.empty(rows, np.int64)
    plain = np.empty((rows, width))
    for j in range(rows):
        first[j] = max(last[j] - width, 0)
    if what == SCREEN_SMTPD or rows < ENOUGH or not is_one_host(m, right, what):
        for j in range(rows):
            for t in range(width):
                plain[j, t] = pair_cost(m, left[first[j] + t], right[j], what)
    else:
        price_by_time(m, left, right, what, first, plain)
    place = align(first, plain, count, SKIPPED, SKIPPED)
    out_of_order = np.empty(count + rows + 1)
    for k in range(count + rows + 1):
        out_of_order[k] = order * math.log1p(k**2 / 2.0)
    expected = -1
    for j in range(rows):
        expected = place[j] if place[j] >= 0 else expected + 1
        for t in range(width):
            if plain[j, t] >= cost[j, SHORT_LIST - 1]:  # at first all are IMPOSSIBLE there
                continue
            i = first[j] + t
            price = plain[j, t] + out_of_order[abs(i - expected)]
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
def is_one_host(m: Memory, right: Vector, what: int) -> bool:
    same = True
    for j in range(1, right.shape[0]):
        same = same and row_host(m, right[j], what) == row_host(m, right[0], what)
    return same


@kernel
def price_by_time(m: Memory, left: Vector, right: Vector, what: int, first: Vector, cost: Costs) -> None:
    """As `balancer_cost`, for pairs of many rows of one host: what a column says is looked up once, surprises
    are read from a table, and habits are asked only of pairs whose times are not hopeless beside the row's
    best; the others' count as neutral.
    """
    rows = right.shape[0]
    width = cost.shape[1]
    host = row_host(m, right[0], what)
    now = m[NOW]
    start = np.empty(left.shape[0], np.int64)
    end = np.empty(left.shape[0], np.int64)
    known = np.empty(left.shape[0], np.int64)
    farthest = np.empty(left.shape[0], np.int64)
    elsewhere = np.empty(left.shape[0])
    for i in range(left.shape[0]):
        b = left[i]
        skew = skew_of(m, m[b + B_HOST], host)
        start[i] = m[b + B_START] + skew
        end[i] = NULL if m[b + B_ASAP] == 1 else m[b + B_END] + skew
        known[i] = skew_known(m, m[b + B_HOST], host)
        farthest[i] = (10 if known[i] else 60) * SECOND
        elsewhere[i] = elsewhere_cost(m, b, host)
    table = np.empty(SURPRISES)
    for k in range(SURPRISES):
        table[k] = 2.0 * math.log1p(k / FINENESS)
    fine_start = FINENESS / (0.02 * SECOND)  # entries of the table for each nanosecond
    fine_end = FINENESS / (FINE_END * SECOND)
    loose = FINENESS / (0.5 * SECOND)
    of_left = np.empty((BALANCER_HABITS, left.shape[0]), np.int64)
    of_right = np.empty((VISIT_HABITS, rows), np.int64)
    tell_habits(m, left, right, what, of_left, of_right)
    for j in range(rows):
        row = right[j]
        coarse = row_coarse(m, row, what)
        started = row_start(m, row, what)
        ended = row_end(m, row, what)
        own = m[row + (P_WATCHED if what == BALANCER_SCREEN else S_WATCHED)] == OWN_ADDRESS
        least = IMPOSSIBLE
        for t in range(width):
            i = first[j] + t
            late = abs(within_second(started - start[i], coarse))
            if late > farthest[i] or (own and is_another(m, left[i], row, what)):
                cost[j, t] = IMPOSSIBLE
                continue
            fine = known[i] and not coarse
            price = elsewhere[i] + table[min(int(late * (fine_start if fine else loose)), SURPRISES - 1)]
            if end[i] != NULL and ended != NULL:
                late = within_second(ended - end[i], coarse)
                if late > SECONDS_OVER and known[i]:
                    price += END_LATE
                else:
                    price += table[min(int(abs(late) * (fine_end if fine else loose)), SURPRISES - 1)]
            elif end[i] != NULL and what != BALANCER_SCREEN and end[i] + SECONDS_OVER < now:
                price += STILL_RUNS
            cost[j, t] = price
            least = min(least, price)
        for t in range(width):
            if cost[j, t] <= least + UNLIKELY and end[first[j] + t] != NULL:
                cost[j, t] -= math.log(told_odds(m, of_left, first[j] + t, of_right, j, 0))


@kernel
def tell_habits(m: Memory, left: Vector, right: Vector, what: int, of_left: Matrix, of_right: Matrix) -> None:
    """Write down what habits ask of each column and each row."""
    for i in range(left.shape[0]):
        tell_balancer(m, b_of(m, left[i], what), of_left, i)
    for j in range(right.shape[0]):
        p = right[j] if what == BALANCER_SCREEN else -1
        tell_visit(m, p, row_smtpd(m, right[j], what), of_right, j)


@kernel
def within_second(late: int, coarse: int) -> int:
    """How late, nothing where a stamp of whole seconds may hide it."""
    if coarse and late < 0:
        return int(min(late + SECOND, 0))
    return int(late)


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


@kernel
def pair_cost(m: Memory, left: int, row: int, what: int) -> float:
    """What a pair costs before anything else is known."""
    if what == SCREEN_SMTPD:
        return screen_cost(m, left, row, m[NOW])
    return balancer_cost(m, left, row, what, m[NOW])


@kernel
def before(m: Memory, left: int, row: int, what: int) -> bool:
    """Whether a session can have reached the hop before by the time the later hop's began."""
    if what == SCREEN_SMTPD:
        return bool(m[left + P_MOMENT] < m[row + S_MOMENT])
    host = row_host(m, row, what)
    start = m[left + B_START] + skew_of(m, m[left + B_HOST], host)
    known = skew_known(m, m[left + B_HOST], host)
    return bool(start <= row_start(m, row, what) + (2 * SECOND if known else 60 * SECOND))


@kernel
def end_of(m: Memory, left: int, host: int, what: int) -> int:
    """When the balancer saw the session end, by the clock of a mail host; NULL where it did not say."""
    b = b_of(m, left, what)
    if b < 0 or m[b + B_ASAP] == 1:
        return NULL
    return int(m[b + B_END] + skew_of(m, m[b + B_HOST], host))


@kernel
def handed_at(m: Memory, left: int, host: int, what: int) -> int:
    if what != SCREEN_SMTPD:
        return int(m[left + B_START] + skew_of(m, m[left + B_HOST], host))
    return int(m[left + P_CONNECTED] if m[left + P_VERDICT_AT] == NULL else m[left + P_VERDICT_AT])


@kernel
def note_rows(m: Memory, left: int, row: int, what: int, times: int) -> None:
    p = row if what == BALANCER_SCREEN else -1
    note_pair(m, b_of(m, left, what), p, row_smtpd(m, row, what), times)


@kernel
def habits_of(m: Memory, left: int, row: int, what: int, own: int) -> float:
    p = row if what == BALANCER_SCREEN else -1
    return habit_cost(m, b_of(m, left, what), p, row_smtpd(m, row, what), own)


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
                continue
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
def b_of(m: Memory, left: int, what: int) -> int:
    return int(m[left + P_B] if what == SCREEN_SMTPD else left)


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
