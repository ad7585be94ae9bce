"""Sessions that lack a side, or come another way: lost lines, a bypass, hidden clients."""

from __future__ import annotations

from logscope.detect.anomalies.explain import failing_explains, hop_explains, meet
from logscope.detect.anomalies.panels import Scope
from logscope.detect.anomalies.signs import Sign
from logscope.detect.anomalies.sorting import LEAST_EVENTS, Sorter

_ONE_LINE = (
    "The server ended them after a line or none, and logged no client: does it wait for a PROXY header that "
    "does not come?"
)


def turned_away(sorter: Sorter) -> None:
    """Sessions that no mail server logged because it ended them at once."""
    signs = [*sorter.of("server", "hops"), *sorter.of("hops", "hops")]
    for sign in signs:
        if sign not in sorter.left or sign.what[1] != "balancer_only" or sign.observed < LEAST_EVENTS:
            continue
        where = sign.scope if sign.detector == "server" else sorter.mostly_at(sign)
        if _were_turned_away(sorter, sign, where):
            cause = sorter.cause("server_worse" if where.type == "server" else "outcome_shift", sign, where)
            cause.detail = _ONE_LINE
            sorter.take(cause, failing_explains)


def hops(sorter: Sorter) -> None:
    _hops_of(sorter, "balancer_only")
    _hops_of(sorter, "mta_only")


def _hops_of(sorter: Sorter, value: str) -> None:
    at_server = [sign for sign in sorter.of("server", "hops") if sign.what[1] == value]
    for sign in [one for one in sorter.of("hops", "hops") if one.what[1] == value]:
        if sign not in sorter.left:
            continue
        mine = [one for one in at_server if one in sorter.left and meet(one, sign)]
        mine = [one for one in mine if one.excess >= 0.5 * sign.excess]
        where = mine[0].scope if len(mine) == 1 else sorter.mostly_at(sign)
        _one_hop(sorter, sign, value, where)
    for sign in at_server:
        if sign in sorter.left and sign.observed >= LEAST_EVENTS:
            _one_hop(sorter, sign, value, sign.scope)


def _one_hop(sorter: Sorter, sign: Sign, value: str, where: Scope) -> None:
    if value == "mta_only":
        kind = "bypass" if where.type == "server" else "balancer_log_loss"
        if where.type != "server" and not _balancer_fell(sorter, sign):
            kind = "bypass"
    else:
        kind = "mta_log_loss"
        if where.type == "server" and _share_lost(sorter, where, sign) > 0.85:
            kind = "log_gap"
    cause = sorter.cause(kind, sign, where)
    short = sign.until is not None and sign.until - sign.since < 240
    sorter.take(
        cause,
        hop_explains,
        "lines are missing for less than four minutes, as log rotation makes" if short else "",
    )


def _were_turned_away(sorter: Sorter, sign: Sign, where: Scope) -> bool:
    """Whether most of the sessions without the mail server's side were ended by it, with a line or none:
    then they are not missing in its log.
    """
    ledger = sorter.signs.gathered.sessions
    first, after = int(sign.since) // ledger.tick_s, int(sorter.until(sign)) // ledger.tick_s
    routes = sorter.signs.site.places[where]

    def count(family: str, value: str) -> int:
        code = int(ledger.code_numbers(family, [value])[0])
        return int(ledger.series([(route, code) for route in routes], first, max(after, first + 1)).sum())

    return count("ended", "one_reply") > 0.5 * count("hops", "balancer_only")


def _share_lost(sorter: Sorter, where: Scope, sign: Sign) -> float:
    """What share of a server's sessions have no side at the mail server."""
    ledger = sorter.signs.gathered.sessions
    codes = {key: number for number, key in enumerate(ledger.codes.keys)}
    first, after = int(sign.since) // ledger.tick_s, int(sorter.until(sign)) // ledger.tick_s
    if sign.until is not None and after - first > 4:
        first, after = first + 1, after - 1
    routes = sorter.signs.site.places.get(where, [])

    def count(key: tuple[str, str]) -> int:
        number = codes.get(key)
        pairs = [] if number is None else [(route, number) for route in routes]
        return int(ledger.series(pairs, first, after).sum())

    lost = count(("hops", "balancer_only"))
    return lost / max(1, lost + count(("hops", "joined")))


def _balancer_fell(sorter: Sorter, sign: Sign) -> bool:
    """Whether the balancer's own sessions got fewer meanwhile: then its lines are missing."""
    ledger = sorter.signs.gathered.sessions
    codes = {key: number for number, key in enumerate(ledger.codes.keys)}
    length = max(1, int(sorter.until(sign) - sign.since) // ledger.tick_s)
    first = int(sign.since) // ledger.tick_s
    routes = range(len(ledger.routes))
    pairs = [
        (route, codes[key])
        for key in (("hops", "joined"), ("hops", "balancer_only"))
        if key in codes
        for route in routes
    ]
    back = max(length, 30)
    before = ledger.series(pairs, first - back - 5, first - 5).sum() / back
    now = ledger.series(pairs, first, first + length).sum() / length
    return bool(now < before - 0.5 * sign.excess / length)


def masking(sorter: Sorter) -> None:
    for sign in [*sorter.of("hops", "masked"), *sorter.of("server", "masked")]:
        if sign not in sorter.left or sign.what[1] != "masked":
            continue
        where = sign.scope if sign.scope.type == "server" else sorter.mostly_at(sign)
        sorter.take(sorter.cause("masking", sign, where), hop_explains)
