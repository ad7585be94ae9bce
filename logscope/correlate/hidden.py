"""Join 6: visits with the balancer's address and no port that the balancer logged, by time, order and habits.

Visits that no balancer session explains are grouped by what the mail server knows of them: its host, the
address, and the listener. Balancer sessions that nobody saw are kept for each server. A group is a
server's when the starts and ends of both, in order, agree far better than they do by any wrong clock, and
these and the habits (sessions that talked alike brought their clients as many bytes) agree far better than
with any other server; that also tells the skew of clocks that no other session has shown. From then on each
visit is given the balancer session that it most often has among all one-to-one assignments, as `probable`
with that share; where the share is small nothing is assigned, and both are `ambiguous`. It is never `exact`.

Join 1 of a transparent balancer (`source … usesrc clientip`) is the same with one more condition: the mail
server saw the client's address, but a port that the balancer chose. Such visits are one group for each
listener, and only sessions of the same address are partners.
"""

from __future__ import annotations

import numpy as np

from logscope.correlate.arrays import integer_table
from logscope.correlate.closing import SURE_ENOUGH
from logscope.correlate.fitting import EVIDENCE, FEWEST, fitness, is_theirs, likeliest_skew, teach
from logscope.correlate.layout import *
from logscope.correlate.links import (
    link_visit,
)
from logscope.correlate.matching import slot_of
from logscope.correlate.pair_costs import (
    BALANCER_SCREEN,
    BALANCER_SMTPD,
    OWN_ADDRESS,
    row_coarse,
    row_end,
    row_host,
    row_start,
)
from logscope.correlate.pairing import weigh
from logscope.correlate.servers import linked_share, server_at, usual_host
from logscope.correlate.short_lists import SHORT_LIST
from logscope.correlate.skew import sample_skew
from logscope.correlate.tables import *
from logscope.engine import kernel

HEADER_MISSING = 3  # in S_HEADER
MOST = 1024  # visits looked at together
LINES_DUE = 4 * SECOND  # after which the lines of either log are there
PAUSE = 30 * SECOND  # between two looks at a group, because many visits together tell more than few
MANY_NEW = 256  # visits that are looked at without a pause
SUREST = 0.998  # so many were right of those that seemed certain, on captures of real daemons
SURE = 0.9  # how likely a pair must be to be taken while more may come
LIKELY = 0.9  # and at last: with less, 0.96 were right where a server had 15 sessions at once
LAST_AFTER = 60 * SECOND
CERTAIN = 1e-3  # of what else could be so; less is not asked, for no more than SUREST is said
ALONE = 12.0  # nats that a pair may cost before both are better left alone
ALONE_OPEN = 6.0  # the same where the visit may still be running

SAME_CLIENT = 60 * SECOND  # between two logs' begins of a session whose clocks may differ
WRONG_HOST = 30.0  # nats that a server costs which is known to be another host
ENOUGH = 128  # visits from which on their balancer is looked for
LOOKED_AT = 128  # of them, the latest
GROWTH = 1.3  # they are looked at again when so many more are there


# --- who waits for a partner --------------------------------------------------------------------------------


@kernel
def group_at(m: Memory, host: int, hi: int, lo: int, service: int, what: int, new: bool) -> int:
    """The words of a group, -1 where it has none. Of groups that want one place, the frequent one stays."""
    start = mix(mix(mix(mix(29, host), hi), lo), service)
    weakest = -1
    for i in range(GROUP_TRIES):
        at = m[GROUPS] + GROUP_WIDTH * ((start + i) & (GROUP_PLACES - 1))
        if m[at + GROUP_TAKEN] == 0:
            weakest = at
            break
        if (
            m[at + GROUP_HOST] == host
            and m[at + GROUP_HI] == hi
            and m[at + GROUP_LO] == lo
            and m[at + GROUP_SERVICE] == service
        ):
            return int(m[at + GROUP_SAME_AS] if m[at + GROUP_SAME_AS] else at)
        if m[at + GROUP_KNOWN] == 0 and (weakest < 0 or m[at + GROUP_SEEN] < m[weakest + GROUP_SEEN]):
            weakest = at
    if not new or weakest < 0:
        return -1
    if m[weakest + GROUP_TAKEN] == 1:
        m[weakest + GROUP_SEEN] -= 1
        if m[weakest + GROUP_SEEN] > 0:
            return -1
        give_back_list(m, m[weakest + GROUP_FIRST])
    for i in range(GROUP_WIDTH):
        m[weakest + i] = 0
    m[weakest + GROUP_TAKEN] = 1
    m[weakest + GROUP_HOST] = host
    m[weakest + GROUP_HI] = hi
    m[weakest + GROUP_LO] = lo
    m[weakest + GROUP_SERVICE] = service
    m[weakest + GROUP_WHAT] = what
    m[weakest + GROUP_FIRST] = -1
    m[weakest + GROUP_LAST] = -1
    m[weakest + GROUP_LOOK_AT] = ENOUGH
    m[weakest + GROUP_SEARCHED_AT] = m[NOW] - LAST_AFTER
    m[weakest + GROUP_PATIENCE] = LAST_AFTER
    m[weakest + GROUP_SOLVED_AT] = m[NOW] - PAUSE
    return int(weakest)


@kernel
def group_of(m: Memory, row: int, what: int, new: bool) -> int:
    if what == BALANCER_SCREEN:
        own = m[row + P_WATCHED] == OWN_ADDRESS
        hi = NULL if own else m[row + P_HI]
        return group_at(m, m[row + P_HOST], hi, 0 if own else m[row + P_LO], m[row + P_SERVICE], what, new)
    own = m[row + S_WATCHED] == OWN_ADDRESS
    hi = NULL if own else m[row + S_HI]
    return group_at(m, m[row + S_HOST], hi, 0 if own else m[row + S_LO], m[row + S_SERVICE], what, new)


@kernel
def watch(m: Memory, first: int, row: int) -> None:
    """Append a session to the list at word `first`, whose count is the second word behind; the oldest is
    forgotten where there are too many.
    """
    node = take(m, NODE, N_WIDTH)
    m[node + N_SOURCE] = row
    m[node + N_LINE] = m[row + 1]
    append(m, first, node)
    m[first + 2] += 1
    if m[first + 2] > MOST_WATCHED:
        oldest = m[first]
        m[first] = m[oldest + LINK]
        give_back(m, oldest)
        m[first + 2] -= 1


@kernel
def watch_visit(m: Memory, row: int, what: int) -> None:
    """No balancer session is known for this visit: it waits in its group.

    One that waited in vain for a header began when the wait was over (`smtpd_upstream_proxy_timeout`), and
    tells nothing.
    """
    if m[REACHED] == 0 or (what == BALANCER_SMTPD and m[row + S_HEADER] == HEADER_MISSING):
        return
    watched = P_WATCHED if what == BALANCER_SCREEN else S_WATCHED
    if m[row + watched] == OWN_ADDRESS or m[row + (P_HI if what == BALANCER_SCREEN else S_HI)] == NULL:
        return
    state = OWN_ADDRESS if is_passed_on(m, row, what) else 1
    if m[row + watched] == state:
        return
    m[row + watched] = state
    g = group_of(m, row, what, True)
    if g >= 0:
        m[g + GROUP_SEEN] += 1
        watch(m, g + GROUP_FIRST, row)


@kernel
def is_passed_on(m: Memory, row: int, what: int) -> bool:
    """Whether a balancer session of the same client waits for its visit, too: only the port is another."""
    screen = what == BALANCER_SCREEN
    hi = m[row + (P_HI if screen else S_HI)]
    lo = m[row + (P_LO if screen else S_LO)]
    if m[row + (P_PORT if screen else S_PORT)] == NULL:
        return False  # joined by address and time with all others of its address
    b = m[address_chain(m, hi, lo)]
    while b >= 0:
        same = m[b + B_HI] == hi and m[b + B_LO] == lo and m[b + B_PORT] != NULL
        if same and waits(m, b) and abs(m[b + B_START] - row_start(m, row, what)) <= SAME_CLIENT:
            return True
        b = m[b + B_NEXT]
    return False


@kernel
def expect_hidden(m: Memory, b: int) -> bool:
    """Whether sessions of this one's server are seen with a hidden address, or not seen at all so far."""
    return bool(m[server_at(m, b) + SERVER_GROUP] >= 0 or linked_share(m, b) < 0.6)


@kernel
def watch_balancer(m: Memory, b: int) -> None:
    if m[b + B_WATCHED] == 0 and m[b + B_STATE] == OPEN and m[b + B_P] < 0 and m[b + B_S] < 0:
        m[b + B_WATCHED] = 1
        watch(m, server_at(m, b) + SERVER_FIRST, b)


@kernel
def waits(m: Memory, row: int) -> bool:
    """Whether a session is still without its partner."""
    if m[row + 2] == BALANCER:
        return bool(m[row + B_P] < 0 and m[row + B_S] < 0 and m[row + B_INNER] < 0)
    if m[row + 2] == SCREEN:
        return bool(m[row + P_B] < 0 and m[row + P_NO_BALANCER] == 0)
    return bool(m[row + S_B] < 0 and m[row + S_P] < 0 and m[row + S_NO_BALANCER] == 0)


@kernel
def gather(m: Memory, first: int, rows: Vector, count: int, column: int) -> int:
    """Add those of a list that still wait to `rows`, in the order of a column; the others leave the list.
    Returns how many rows there are.
    """
    node = m[first]
    m[first] = -1
    m[first + 1] = -1
    m[first + 2] = 0
    keys = np.empty(rows.shape[0], np.int64)
    for i in range(count):
        keys[i] = m[rows[i] + column]
    while node >= 0:
        after = m[node + LINK]
        row = m[node + N_SOURCE]
        if m[row] == OPEN and m[row + 1] == m[node + N_LINE] and waits(m, row):
            append(m, first, node)
            m[first + 2] += 1
            if count < rows.shape[0]:
                key = m[row + column]
                at = count
                while at > 0 and keys[at - 1] > key:
                    rows[at] = rows[at - 1]
                    keys[at] = keys[at - 1]
                    at -= 1
                rows[at] = row
                keys[at] = key
                count += 1
        else:
            give_back(m, node)
        node = after
    return count


# --- matching -----------------------------------------------------------------------------------------------


@kernel
def find_hidden(m: Memory, row: int, what: int, last: bool) -> None:
    """Look for the balancer sessions of a visit's group, unless that was done a short while ago.

    `last` is true when the visit is given up otherwise.
    """
    if m[REACHED]:
        g = group_of(m, row, what, False)
        if g >= 0:
            look_at(m, g, last)


@kernel
def find_visit(m: Memory, b: int) -> None:
    """The same from the other side, before a balancer session is given up."""
    if m[b + B_WATCHED] == 0:
        return
    g = m[server_at(m, b) + SERVER_GROUP]
    if g >= 0:
        look_at(m, g, True)
        return
    for i in range(GROUP_PLACES):
        g = m[GROUPS] + GROUP_WIDTH * i
        if m[g + GROUP_TAKEN] and m[g + GROUP_SAME_AS] == 0:
            look_at(m, g, True)


@kernel
def look_at(m: Memory, g: int, last: bool) -> None:
    """Find out whose visits these are, and link those that are likely."""
    count = m[g + GROUP_COUNT]
    again = last and count >= FEWEST and m[NOW] - m[g + GROUP_SEARCHED_AT] >= m[g + GROUP_PATIENCE]
    if count >= m[g + GROUP_LOOK_AT] or again:
        m[g + GROUP_LOOK_AT] = int(count * GROWTH) + 1
        m[g + GROUP_SEARCHED_AT] = m[NOW]
        m[g + GROUP_PATIENCE] *= 2
        find_server(m, g)
        if m[g + GROUP_SAME_AS]:
            g = m[g + GROUP_SAME_AS]
            count = m[g + GROUP_COUNT]
    new = count - m[g + GROUP_LEFT_OVER]
    if m[g + GROUP_KNOWN] and (m[NOW] - m[g + GROUP_SOLVED_AT] >= PAUSE or new >= MANY_NEW):
        m[g + GROUP_SOLVED_AT] = m[NOW]
        solve_group(m, g)
        m[g + GROUP_LEFT_OVER] = m[g + GROUP_COUNT]


@kernel
def solve_group(m: Memory, g: int) -> None:
    right = np.empty(MOST, np.int64)
    rows = gather_visits(m, g, right)
    left = np.empty(2 * MOST, np.int64)
    count = 0
    for i in range(SERVER_PLACES):
        server = m[SERVERS] + SERVER_WIDTH * i
        if m[server + SERVER_NAME] >= 0 and m[server + SERVER_GROUP] == g:
            count = gather(m, server + SERVER_FIRST, left, count, B_START)
    if rows > 0 and count > 0:
        link_likely(m, left[:count], right[:rows], m[g + GROUP_WHAT])


@kernel
def gather_visits(m: Memory, g: int, rows: Vector) -> int:
    """Fill in the waiting visits of a group, in order; returns how many."""
    order = P_ARRIVED if m[g + GROUP_WHAT] == BALANCER_SCREEN else S_MOMENT
    return gather(m, g + GROUP_FIRST, rows, 0, order)


@kernel
def link_likely(m: Memory, left: Vector, right: Vector, what: int) -> None:
    rows = right.shape[0]
    columns = integer_table(rows, SHORT_LIST, -1)
    share = np.empty((rows, SHORT_LIST))
    odds = np.empty(rows)
    fit = np.empty(rows)
    best = np.empty(rows, np.int64)
    alone = np.empty(rows)
    for j in range(rows):
        alone[j] = ALONE_OPEN if row_end(m, right[j], what) == NULL else ALONE
    weigh(m, left, right, what, alone, CERTAIN, columns, share, odds, fit, best)
    for j in range(rows):
        row = right[j]
        i = best[j]
        ended = row_end(m, row, what)
        late = m[FINISHING] == 1 or (ended != NULL and m[NOW] - ended >= LAST_AFTER)
        probability = share[j, slot_of(columns, j, i)] if i >= 0 else 0.0
        due = i >= 0 and m[NOW] - m[left[i] + B_LOGGED] >= LINES_DUE
        if due and probability >= (LIKELY if late else SURE):
            parts = int(1_000_000 * min(probability, SUREST))
            side = K_SCREEN_PEER if what == BALANCER_SCREEN else K_SMTPD_PEER
            if parts >= SURE_ENOUGH:
                coarse = row_coarse(m, row, what)
                start = row_start(m, row, what)
                sample_skew(
                    m, m[left[i] + B_HOST], row_host(m, row, what), start, coarse, m[left[i] + B_START]
                )
            link_visit(m, left[i], side, row, L_TIMING, SURE_PROBABLE, parts)
            continue
        total = 0.0
        for t in range(SHORT_LIST):
            if columns[j, t] >= 0:
                total += share[j, t]
                if share[j, t] > 0.1:
                    m[left[columns[j, t]] + B_AMBIGUOUS] = 1
        if total > 0.5:
            m[row + (P_AMBIGUOUS if what == BALANCER_SCREEN else S_AMBIGUOUS)] = 1


# --- whose visits they are ----------------------------------------------------------------------------------


@kernel
def find_server(m: Memory, g: int) -> None:
    """Look which server's sessions the visits of a group are."""
    what = m[g + GROUP_WHAT]
    right = np.empty(MOST_WATCHED + 1, np.int64)
    rows = gather_visits(m, g, right)
    ended = 0
    for j in range(rows):  # the others' lengths are not known
        if row_end(m, right[j], what) != NULL:
            right[ended] = right[j]
            ended += 1
    if ended < FEWEST:
        return
    visits = right[max(ended - LOOKED_AT, 0) : ended]
    left = np.empty(2 * MOST, np.int64)
    best_server = -1
    best_skew = 0
    best = 0.0
    second = 0.0
    for i in range(SERVER_PLACES):
        server = m[SERVERS] + SERVER_WIDTH * i
        if m[server + SERVER_NAME] < 0 or m[server + SERVER_COUNT] < FEWEST:
            continue
        if m[server + SERVER_GROUP] >= 0 and not is_one_listener(m, m[server + SERVER_GROUP], g):
            continue
        count = others_of(m, server, g, left)
        if count < FEWEST:
            continue
        skew = likeliest_skew(m, left[:count], visits, what)
        total = fitness(m, left[:count], visits, what, skew)
        if usual_host(m, left[0]) not in (-1, m[g + GROUP_HOST]):
            total -= WRONG_HOST
        if total > best:
            second = best
            best = total
            best_server = server
            best_skew = skew
        else:
            second = max(second, total)
    if best - second < EVIDENCE or m[best_server + SERVER_GROUP] == g:
        return
    count = others_of(m, best_server, g, left)
    if is_theirs(m, left[:count], visits, what, best_skew):
        if m[g + GROUP_KNOWN] == 0:
            m[g + GROUP_KNOWN] = 1
            look_again(m, g)
        teach(m, left[:count], visits, what, best_skew)
        if m[best_server + SERVER_GROUP] >= 0:
            unite(m, g, m[best_server + SERVER_GROUP])
        else:
            m[best_server + SERVER_GROUP] = g


@kernel
def look_again(m: Memory, g: int) -> None:
    """Have the other groups of a host looked at without waiting: once these visits are linked, fewer sessions
    are left that others might be, and the clock is known.
    """
    for i in range(GROUP_PLACES):
        other = m[GROUPS] + GROUP_WIDTH * i
        if (
            m[other + GROUP_TAKEN]
            and m[other + GROUP_KNOWN] == 0
            and m[other + GROUP_HOST] == m[g + GROUP_HOST]
        ):
            m[other + GROUP_SEARCHED_AT] = m[NOW] - m[other + GROUP_PATIENCE]


@kernel
def is_one_listener(m: Memory, g: int, other: int) -> bool:
    """Whether the visits of two groups differ in the balancer's address alone."""
    same = m[g + GROUP_HOST] == m[other + GROUP_HOST] and m[g + GROUP_SERVICE] == m[other + GROUP_SERVICE]
    return bool(same and m[g + GROUP_WHAT] == m[other + GROUP_WHAT])


@kernel
def unite(m: Memory, g: int, known: int) -> None:
    """Make a group part of another: the balancer of a server has several addresses, as those of both
    families. What waits of either is matched together, because a session can have only one of these visits.
    """
    m[g + GROUP_SAME_AS] = known
    node = m[g + GROUP_FIRST]
    while node >= 0:
        after = m[node + LINK]
        append(m, known + GROUP_FIRST, node)
        node = after
    m[known + GROUP_COUNT] += m[g + GROUP_COUNT]
    m[g + GROUP_FIRST] = -1
    m[g + GROUP_LAST] = -1
    m[g + GROUP_COUNT] = 0
    for i in range(SERVER_PLACES):
        server = m[SERVERS] + SERVER_WIDTH * i
        if m[server + SERVER_NAME] >= 0 and m[server + SERVER_GROUP] == g:
            m[server + SERVER_GROUP] = known
    for i in range(GROUP_PLACES):
        other = m[GROUPS] + GROUP_WIDTH * i
        if m[other + GROUP_TAKEN] and m[other + GROUP_SAME_AS] == g:
            m[other + GROUP_SAME_AS] = known
    m[known + GROUP_SOLVED_AT] = m[NOW] - PAUSE


@kernel
def others_of(m: Memory, server: int, g: int, left: Vector) -> int:
    """A server's waiting sessions, but for those whose client has the group's address itself."""
    count = gather(m, server + SERVER_FIRST, left, 0, B_START)
    kept = 0
    for i in range(count):
        if m[left[i] + B_HI] != m[g + GROUP_HI] or m[left[i] + B_LO] != m[g + GROUP_LO]:
            left[kept] = left[i]
            kept += 1
    return kept
