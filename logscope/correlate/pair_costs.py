"""What it costs to take a session of one hop for one of the next, in nats, before anything else is known."""

from __future__ import annotations

import math

from logscope.correlate.habits import habit_cost, note_pair
from logscope.correlate.layout import *
from logscope.correlate.links import gap
from logscope.correlate.matching import IMPOSSIBLE
from logscope.correlate.servers import elsewhere_cost
from logscope.correlate.skew import skew_known, skew_of
from logscope.correlate.tables import *
from logscope.engine import kernel

# Columns and rows of what is paired.
SCREEN_SMTPD, BALANCER_SMTPD, BALANCER_SCREEN = range(3)

# a session that the balancer saw end this long before cannot be the one that starts now
SECONDS_OVER = 5 * SECOND
# other lines of the host between a hand-over and smtpd's connect that are no surprise on a busy host
LINES_BETWEEN = 100.0
FINE_START = 0.02  # seconds that are little between a verdict and smtpd's connect
FINE_END = 0.1  # and between the two ends of a session
LOOSE = 0.5  # the same where stamps have whole seconds, or the clocks are not known
FARTHEST = 10 * SECOND  # between the two starts of a session
FARTHEST_UNKNOWN = 60 * SECOND  # where the clocks may differ
END_LATE = 20.0  # cost of a session that goes on at the server after the balancer closed it
STILL_RUNS = 12.0  # cost of an smtpd session that still runs although the balancer saw the end
OWN_ADDRESS = 2  # in P_WATCHED and S_WATCHED: the mail server saw the client's address, but not its port


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


# --- and one of the hop before ---------------------------------------------------------------------------


@kernel
def b_of(m: Memory, left: int, what: int) -> int:
    return int(m[left + P_B] if what == SCREEN_SMTPD else left)


@kernel
def handed_at(m: Memory, left: int, host: int, what: int) -> int:
    if what != SCREEN_SMTPD:
        return int(m[left + B_START] + skew_of(m, m[left + B_HOST], host))
    return int(m[left + P_CONNECTED] if m[left + P_VERDICT_AT] == NULL else m[left + P_VERDICT_AT])


@kernel
def end_of(m: Memory, left: int, host: int, what: int) -> int:
    """When the balancer saw the session end, by the clock of a mail host; NULL where it did not say."""
    b = b_of(m, left, what)
    if b < 0 or m[b + B_ASAP] == 1:
        return NULL
    return int(m[b + B_END] + skew_of(m, m[b + B_HOST], host))


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
def is_another(m: Memory, b: int, row: int, what: int) -> bool:
    """Whether the mail server saw the client's own address, and it is not that of the balancer's session."""
    if what == BALANCER_SCREEN:
        own = m[row + P_WATCHED] == OWN_ADDRESS
        return bool(own and (m[row + P_HI] != m[b + B_HI] or m[row + P_LO] != m[b + B_LO]))
    own = m[row + S_WATCHED] == OWN_ADDRESS
    return bool(own and (m[row + S_HI] != m[b + B_HI] or m[row + S_LO] != m[b + B_LO]))


# --- what a pair costs --------------------------------------------------------------------------------------


@kernel
def pair_cost(m: Memory, left: int, row: int, what: int) -> float:
    """What a pair costs before anything else is known."""
    if what == SCREEN_SMTPD:
        return screen_cost(m, left, row, m[NOW])
    return balancer_cost(m, left, row, what, m[NOW])


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
def balancer_cost(m: Memory, b: int, row: int, what: int, now: int) -> float:
    if is_another(m, b, row, what):
        return IMPOSSIBLE
    host = row_host(m, row, what)
    start = gap(m, b, host, row_start(m, row, what), row_coarse(m, row, what))
    known = skew_known(m, m[b + B_HOST], host)
    if abs(start) > (FARTHEST if known else FARTHEST_UNKNOWN):
        return IMPOSSIBLE
    scale = (FINE_START if known and not row_coarse(m, row, what) else LOOSE) * SECOND
    cost = surprise(start, scale)
    cost += elsewhere_cost(m, b, host)
    if m[b + B_ASAP] == 0:
        cost += end_cost(m, b, row, what, now) + habits_of(m, b, row, what, 0)
    return cost


@kernel
def end_cost(m: Memory, b: int, row: int, what: int, now: int) -> float:
    """The server's end against accept + Tt: both ends of one connection close together."""
    host = row_host(m, row, what)
    balancer_host = m[b + B_HOST]
    end = m[b + B_END] + skew_of(m, balancer_host, host)
    known = skew_known(m, balancer_host, host)
    coarse = row_coarse(m, row, what)
    scale = (LOOSE if coarse or not known else FINE_END) * SECOND
    ended = row_end(m, row, what)
    if ended == NULL:
        return STILL_RUNS if end + SECONDS_OVER < now and what != BALANCER_SCREEN else 0.0
    late = within_second(ended - end, coarse)
    if late > SECONDS_OVER and known:  # the server cannot go on long after the balancer closed
        return END_LATE
    return surprise(late, scale)


@kernel
def surprise(difference: float, scale: float) -> float:
    """Cost of a difference in nats: small ones by their size, large ones (a busy server, a lingering client)
    gently.
    """
    ratio = abs(difference) / scale
    return 2.0 * math.log1p(ratio)


@kernel
def within_second(late: int, coarse: int) -> int:
    """How late, nothing where a stamp of whole seconds may hide it."""
    if coarse and late < 0:
        return int(min(late + SECOND, 0))
    return int(late)


@kernel
def note_rows(m: Memory, left: int, row: int, what: int, times: int) -> None:
    p = row if what == BALANCER_SCREEN else -1
    note_pair(m, b_of(m, left, what), p, row_smtpd(m, row, what), times)


@kernel
def habits_of(m: Memory, left: int, row: int, what: int, own: int) -> float:
    p = row if what == BALANCER_SCREEN else -1
    return habit_cost(m, b_of(m, left, what), p, row_smtpd(m, row, what), own)
