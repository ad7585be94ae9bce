"""Who belongs to whom, one to one: alignment in order, cheapest assignment, and how sure each pair is.

Nothing here knows what is matched. Rows and columns are numbers; costs are in nats (minus the logarithm of a
likelihood), so that a difference of costs is a logarithm of odds. Each row has a short list of columns that
it may get (`columns[row, slot]`, -1 where the list ends) with their costs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.arrays import decimal_table, decimal_tables, decimals, integers
from logscope.correlate.tables import Matrix, Vector
from logscope.engine import kernel

Costs = NDArray[np.float64]
Numbers = NDArray[np.float64]

IMPOSSIBLE = 1e6
FAR_AWAY = 1e18


@kernel
def align(first: Vector, cost: Costs, count: int, skip_row: float, skip_column: float) -> Vector:
    """Match rows to columns so that both keep their order, at the least cost (Needleman and Wunsch 1970); -1
    for rows left out.

    Row `r` may get the columns `first[r] … first[r] + width - 1` of `count`; `cost[r, t]` is that of column
    `first[r] + t`. `first` never falls.
    """
    rows = cost.shape[0]
    width = cost.shape[1]
    # total[r, t]: rows before r and columns before first[r - 1] + t are done
    total = np.empty((rows + 1, width + 1))
    for t in range(width + 1):
        total[0, t] = skip_column * t
    for r in range(1, rows + 1):
        shift = first[r - 1] - (first[r - 2] if r > 1 else first[0])
        for t in range(width + 1):
            # the row above, at the same column; beyond its end the columns between are skipped
            above = t + shift
            if above <= width:
                best = total[r - 1, above] + skip_row
            else:
                best = total[r - 1, width] + skip_column * (above - width) + skip_row
            if t > 0:
                best = min(best, total[r, t - 1] + skip_column)
                diagonal = above - 1
                if diagonal <= width:
                    pair = total[r - 1, diagonal]
                else:
                    pair = total[r - 1, width] + skip_column * (diagonal - width)
                best = min(best, pair + cost[r - 1, t - 1])
            total[r, t] = best
    partner = np.empty(rows, np.int64)
    r = rows
    t = width
    while r > 0:
        shift = first[r - 1] - (first[r - 2] if r > 1 else first[0])
        diagonal = t - 1 + shift
        if t > 0:
            if diagonal <= width:
                pair = total[r - 1, diagonal]
            else:
                pair = total[r - 1, width] + skip_column * (diagonal - width)
            if total[r, t] == pair + cost[r - 1, t - 1]:
                partner[r - 1] = first[r - 1] + t - 1
                r -= 1
                t = min(diagonal, width)
                continue
            if total[r, t] == total[r, t - 1] + skip_column:
                t -= 1
                continue
        partner[r - 1] = -1
        r -= 1
        t = min(t + shift, width)
    return partner


@kernel
def alignment_shares(cost: Costs, skip_row: Numbers, skip_column: Numbers) -> Costs:
    """How likely each row has each column, over all matchings that keep the order of both (forward and
    backward sums; Rabiner 1989).

    In each gap rows are left out before columns, so that every matching is counted once.
    """
    rows = cost.shape[0]
    columns = cost.shape[1]
    # logarithms of sums over what comes before (r, c), when the last move was not, or was, to skip a column
    before = decimal_tables(2, rows + 1, columns + 1, -np.inf)
    before[0, 0, 0] = 0.0
    for r in range(rows + 1):
        for c in range(columns + 1):
            total = before[0, r, c]
            if r > 0:
                total = log_sum(total, before[0, r - 1, c] - skip_row[r - 1])
            if r > 0 and c > 0:
                pair = log_sum(before[0, r - 1, c - 1], before[1, r - 1, c - 1])
                total = log_sum(total, pair - cost[r - 1, c - 1])
            before[0, r, c] = total
            if c > 0:
                before[1, r, c] = log_sum(before[0, r, c - 1], before[1, r, c - 1]) - skip_column[c - 1]
    after = decimal_tables(2, rows + 1, columns + 1, -np.inf)
    for r in range(rows, -1, -1):
        for c in range(columns, -1, -1):
            total = 0.0 if r == rows and c == columns else -np.inf
            if r < rows and c < columns:
                total = log_sum(total, after[0, r + 1, c + 1] - cost[r, c])
            if c < columns:
                total = log_sum(total, after[1, r, c + 1] - skip_column[c])
            after[1, r, c] = total
            if r < rows:
                total = log_sum(total, after[0, r + 1, c] - skip_row[r])
            after[0, r, c] = total
    share = np.empty((rows, columns))
    for r in range(rows):
        for c in range(columns):
            reached = log_sum(before[0, r, c], before[1, r, c])
            share[r, c] = math.exp(reached - cost[r, c] + after[0, r + 1, c + 1] - after[0, 0, 0])
    return share


@kernel
def log_sum(one: float, other: float) -> float:
    """log(exp(one) + exp(other)); either may be minus infinity."""
    if one < other:
        one, other = other, one
    if other == -math.inf:
        return one
    return one + math.log1p(math.exp(other - one))


@kernel
def assign(columns: Matrix, cost: Costs, count: int, alone: Numbers, u: Numbers, v: Numbers) -> Vector:
    """The cheapest one-to-one assignment of rows to `count` columns: each row's column, -1 where it stays
    alone at its own cost for that.

    Shortest augmenting paths (Jonker and Volgenant 1987) over the lists. `u` and `v` (one number for each
    row, for each column and spare) are filled with the dual prices: cost - u - v of a pair is never negative,
    and whoever takes that pair against the best assignment loses at least so much.
    """
    rows = columns.shape[0]
    lengths = lengths_of(columns)
    width = count + rows  # each row has a spare column of its own
    match = integers(width, -1)
    chosen = integers(rows, -1)
    distance = decimals(width, FAR_AWAY)
    way = integers(width, 0)
    done = integers(width, 0)
    seen = integers(width, 0)
    for r in range(rows):
        u[r] = 0.0
    for i in range(width):
        v[i] = 0.0
    for row in range(rows):
        touched = 0
        current = row
        base = 0.0
        while True:
            for t in range(lengths[current] + 1):
                if t < lengths[current]:
                    column = columns[current, t]
                    price = cost[current, t]
                else:
                    column = count + current
                    price = alone[current]
                if done[column]:
                    continue
                length = base + price - u[current] - v[column]
                if length < distance[column]:
                    if distance[column] == FAR_AWAY:
                        seen[touched] = column
                        touched += 1
                    distance[column] = length
                    way[column] = current
            nearest = -1
            base = FAR_AWAY
            for k in range(touched):
                column = seen[k]
                if done[column] == 0 and distance[column] < base:
                    base = distance[column]
                    nearest = column
            done[nearest] = 1
            if match[nearest] < 0:
                break
            current = match[nearest]
        u[row] += base
        for k in range(touched):
            column = seen[k]
            if done[column] and column != nearest:
                change = base - distance[column]
                u[match[column]] += change
                v[column] -= change
            distance[column] = FAR_AWAY
            done[column] = 0
        column = nearest
        while True:
            r = way[column]
            before = chosen[r]
            chosen[r] = column
            match[column] = r
            if r == row:
                break
            column = before
    for r in range(rows):
        if chosen[r] >= count:
            chosen[r] = -1
    return chosen


@kernel
def lengths_of(columns: Matrix) -> Vector:
    """How many columns each row's list has."""
    lengths = np.empty(columns.shape[0], np.int64)
    for r in range(columns.shape[0]):
        length = 0
        while length < columns.shape[1] and columns[r, length] >= 0:
            length += 1
        lengths[r] = length
    return lengths


@kernel
def slot_of(columns: Matrix, row: int, column: int) -> int:
    for t in range(columns.shape[1]):
        if columns[row, t] == column:
            return t
        if columns[row, t] < 0:
            break
    return -1


@kernel
def shares(columns: Matrix, cost: Costs, count: int, alone: Numbers, chosen: Vector, sweeps: int) -> Costs:
    """How much of the likelihood of all one-to-one assignments has each row with each of its columns.

    Swaps and moves are tried at random from the given assignment on, with the same random numbers each time
    (heat bath; Metropolis and others 1953). What is added up is not who has whom but how likely that is given
    all the others, which needs fewer sweeps.
    """
    rows = columns.shape[0]
    slots = columns.shape[1]
    share = decimal_table(rows, slots, 0.0)
    tries = decimals(rows, 0.0)
    owner = integers(count, -1)
    mine = np.empty(rows, np.int64)  # slots, not columns
    lists = lengths_of(columns)
    for r in range(rows):
        mine[r] = -1
        if chosen[r] >= 0:
            owner[chosen[r]] = r
            mine[r] = slot_of(columns, r, chosen[r])
    dice = 12345
    for _ in range(sweeps):
        for r in range(rows):
            if lists[r] == 0 or (lists[r] == 1 and mine[r] == 0):
                continue
            dice = (dice * 1103515245 + 12345) & 0x7FFFFFFF
            t = (dice >> 8) % lists[r]
            have = mine[r]
            tries[r] += 1.0
            if t == have:
                share[r, t] += 1.0
                continue
            column = columns[r, t]
            worse = cost[r, t] - (cost[r, have] if have >= 0 else alone[r])
            rival = owner[column]
            swapped = -1
            if rival >= 0:
                worse -= cost[rival, mine[rival]]
                if have >= 0:
                    swapped = slot_of(columns, rival, columns[r, have])
                    worse += cost[rival, swapped] if swapped >= 0 else IMPOSSIBLE
                else:
                    worse += alone[rival]
            likely = 1.0 / (1.0 + math.exp(min(worse, 700.0)))
            share[r, t] += likely
            if have >= 0:
                share[r, have] += 1.0 - likely
            dice = (dice * 1103515245 + 12345) & 0x7FFFFFFF
            if dice < likely * 0x7FFFFFFF:
                if have >= 0:
                    owner[columns[r, have]] = rival
                if rival >= 0:
                    mine[rival] = swapped
                owner[column] = r
                mine[r] = t
    for r in range(rows):
        for t in range(slots):
            if tries[r] > 0.0:
                share[r, t] /= tries[r]
            elif t == mine[r]:
                share[r, t] = 1.0
    return share


@kernel
def swap_odds(columns: Matrix, cost: Costs, count: int, alone: Numbers, chosen: Vector) -> Numbers:
    """For each row, how likely all swaps with one other row, and moves to a free column, are against what was
    chosen.
    """
    rows = columns.shape[0]
    owner = integers(count, -1)
    for r in range(rows):
        if chosen[r] >= 0:
            owner[chosen[r]] = r
    odds = decimals(rows, 0.0)
    for r in range(rows):
        if chosen[r] < 0:
            continue
        own = cost[r, slot_of(columns, r, chosen[r])]
        for t in range(columns.shape[1]):
            column = columns[r, t]
            if column < 0:
                break
            if column == chosen[r]:
                continue
            worse = cost[r, t] - own
            rival = owner[column]
            likely = math.exp(-max(worse, 0.0))
            if rival >= 0:
                swapped = slot_of(columns, rival, chosen[r])
                back = min(cost[rival, swapped], alone[rival]) if swapped >= 0 else alone[rival]
                worse += back - cost[rival, slot_of(columns, rival, column)]
                likely = math.exp(-max(worse, 0.0))
                # the same odds are the rival's, who may not have this column in its own list
                if slot_of(columns, rival, chosen[r]) < 0:
                    odds[rival] += likely
            odds[r] += likely
    return odds


@kernel
def in_order(values: Numbers) -> None:
    """Sort in place (Shell 1959): quick to compile and quick enough."""
    count = values.shape[0]
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            value = values[i]
            j = i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value
        gap //= 3


@kernel
def order_of(keys: Vector) -> Vector:
    """The indices of some keys in the order of the keys, of equal ones in their own."""
    count = keys.shape[0]
    order = np.empty(count, np.int64)
    for i in range(count):
        order[i] = i
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            index = order[i]
            j = i
            while j >= gap and (
                keys[order[j - gap]] > keys[index]
                or (keys[order[j - gap]] == keys[index] and order[j - gap] > index)
            ):
                order[j] = order[j - gap]
                j -= gap
            order[j] = index
        gap //= 3
    return order


@kernel
def running_median(values: Numbers, half: int) -> Numbers:
    """The median of each value and up to `half` neighbours on both sides."""
    count = values.shape[0]
    result = np.empty(count)
    window = np.empty(2 * half + 1)
    size = 0
    for i in range(-half, count):
        if i + half < count:
            value = values[i + half]
            k = size
            while k > 0 and window[k - 1] > value:
                window[k] = window[k - 1]
                k -= 1
            window[k] = value
            size += 1
        if i < 0:
            continue
        result[i] = window[size // 2] if size % 2 else 0.5 * (window[size // 2 - 1] + window[size // 2])
        if i - half >= 0:
            value = values[i - half]
            k = 0
            while window[k] != value:
                k += 1
            size -= 1
            while k < size:
                window[k] = window[k + 1]
                k += 1
    return result


@kernel
def spread(values: Numbers) -> float:
    """The median of the values' sizes; it hardly notices outliers."""
    count = values.shape[0]
    if count == 0:
        return 0.0
    sizes = np.empty(count)
    for i in range(count):
        sizes[i] = abs(values[i])
    in_order(sizes)
    return float(sizes[count // 2])
