"""Signs that are not explained yet, and the causes found so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import sqrt

from logscope.detect.anomalies.contributors import BUCKET_S
from logscope.detect.anomalies.explain import Cause, machine, together
from logscope.detect.anomalies.ledger import Ledger
from logscope.detect.anomalies.panels import FLEET, Scope
from logscope.detect.anomalies.signs import Sign, Signs

_A_MAILING = 0.1
_ONE_CLIENT = 0.5
Explains = Callable[[Cause, Sign], bool]
LEAST_EVENTS = 10


class Sorter:
    """Holds what the steps of `causes` share: the signs that are left, and what was made of the others.

    Args:
        signs: what was found.
        allowed: addresses and networks whose doings are nobody's concern.
    """

    def __init__(self, signs: Signs, allowed: Callable[[str], bool]) -> None:
        self.signs, self.allowed = signs, allowed
        self.left: list[Sign] = []
        self.found: list[Cause] = []
        self.ordinary: list[Cause] = []

    def take(self, cause: Cause, explains: Explains, ordinary: str = "") -> None:
        """Make it a cause, with the signs that it explains."""
        cause.ordinary = ordinary
        own = [
            sign
            for sign in self.left
            if sign is cause.sign or (together(cause, sign) and explains(cause, sign))
        ]
        cause.signs = own
        taken = {id(sign) for sign in own}
        self.left = [sign for sign in self.left if id(sign) not in taken]
        (self.ordinary if ordinary else self.found).append(cause)

    def drop(self, sign: Sign) -> None:
        self.left = [one for one in self.left if one is not sign]

    def of(self, detector: str, *families: str, up: bool | None = True) -> list[Sign]:
        """Signs of a detector that are left, the earliest first."""
        found = [
            sign
            for sign in self.left
            if sign.detector == detector
            and (not families or sign.what[0] in families)
            and (up is None or sign.up == up)
        ]
        return sorted(found, key=lambda sign: (sign.since, sign.detected))

    def cause(self, kind: str, sign: Sign, scope: Scope | None = None) -> Cause:
        cause = Cause(
            kind, scope or sign.scope, sign.since, sign.detected, sign.until, sign.observed, sign.expected,
            sign.trials, sign,
        )  # fmt: skip
        cause.who, cause.clients = self.behind(sign)
        return cause

    def until(self, sign: Sign) -> float:
        return self.signs.now_s if sign.until is None else sign.until

    def behind(self, sign: Sign) -> tuple[Counter[str], int]:
        """The busiest clients behind a sign, above what they did before, and how many there are at most."""
        codes = {code for _, code in sign.alarm.series.counts}
        clients = self.signs.gathered.clients
        until = self.until(sign)
        now = clients.top(codes, sign.since, until)
        length = max(until - sign.since, BUCKET_S)
        earlier = clients.top(codes, sign.since - 4 * length, sign.since - BUCKET_S)
        for name in earlier:
            now[name] -= round(earlier[name] / 4)
        return Counter({name: count for name, count in now.items() if count > 0}), clients.crowd(
            codes, sign.since, until
        )[1]

    def counts_too(self, sign: Sign, least: float = 0.75) -> bool:
        """Whether the number itself changed, not only its share of the rest.

        Args:
            least: of what is usual, below which a fall is one.
        """
        for name in ("rate", "delivery rate"):
            panel = self.signs.panels.get(name)
            if panel is None or panel.ledger is not sign.panel.ledger:
                continue
            for at, series in enumerate(panel.series):
                if series.what == sign.what and series.scope == sign.scope:
                    tick = panel.ledger.tick_s
                    observed, expected = panel.expected(
                        at, int(sign.since) // tick, int(self.until(sign)) // tick
                    )
                    if sign.up:
                        return observed >= 1.3 * expected + 4
                    return observed <= least * expected and expected - observed >= 3 * sqrt(expected)
        return True

    def one_client(self, sign: Sign, cause: Cause) -> str | None:
        """The client that is behind most of it, if one is."""
        if not cause.who:
            return None
        name, count = cause.who.most_common(1)[0]
        return name if count >= _ONE_CLIENT * max(sign.excess, 1.0) else None

    def mostly_at(self, sign: Sign) -> Scope:
        """The server at which nearly all of what is above the usual happens, else the fleet."""
        ledger, series = sign.panel.ledger, sign.alarm.series
        first, after = int(sign.since) // ledger.tick_s, int(self.until(sign)) // ledger.tick_s
        usual = sign.expected / max(sign.trials, 1.0)
        above: dict[str, float] = {}
        size: dict[str, float] = {}
        place: dict[str, tuple[float, Scope]] = {}
        whole = self.signs.site.places[FLEET]
        for server in [one for cluster in self.signs.site.clusters for one in cluster if len(cluster) > 1]:
            name = machine(server)
            if ledger is self.signs.gathered.mail and name in above:
                continue  # mail names its host, not the backend through which it came
            routes = self._routes_of(server, ledger)
            own = float(ledger.series([p for p in series.counts if p[0] in routes], first, after).sum())
            tried = float(ledger.series([p for p in series.trials if p[0] in routes], first, after).sum())
            above[name] = above.get(name, 0.0) + own - usual * tried
            size[name] = size.get(name, 0.0) + tried
            place[name] = max(
                place.get(name, (0.0, server)), (own - usual * tried, server), key=lambda e: e[0]
            )
        if len(above) < 2 or not whole:
            return FLEET
        worst = max(above, key=lambda name: above[name])
        rest = sum(above.values()) - above[worst]
        others = sum(size.values()) - size[worst]
        noise = sqrt(max(usual * others, 1.0))
        if above[worst] < max(LEAST_EVENTS, 0.6 * sign.excess) or rest > max(0.3 * above[worst], noise):
            return FLEET
        return place[worst][1]

    def _routes_of(self, server: Scope, ledger: Ledger) -> set[int]:
        """Where a server's sessions, or its messages and deliveries, are counted."""
        site = self.signs.site
        if ledger is not self.signs.gathered.mail:
            return set(site.places[server])
        hosts = {host for host, own in site.hosts.items() if machine(own) == machine(server)}
        return {n for n, (host,) in enumerate(ledger.routes.keys) if host in hosts}

    def is_new(self, name: str, at_s: float) -> bool:
        """Whether a client or network was first seen within the two hours before a time."""
        hour = self.signs.gathered.newcomers.get(name)
        return hour is not None and 0 <= at_s - hour * 3600 + 300 <= 2 * 3600

    def mailing(self, sign: Sign) -> str:
        """Why a shift of sizes or delays may be one sender's doing: it brings a good part of all sessions,
        and more than before.
        """
        code = int(self.signs.gathered.sessions.code_numbers("sessions", ["all"])[0])
        clients, until = self.signs.gathered.clients, self.until(sign)
        length = max(until - sign.since, BUCKET_S)
        now = clients.top([code], sign.since, until)
        if not now:
            return ""
        earlier = clients.top([code], sign.since - 4 * length, sign.since - BUCKET_S)
        name, count = max(now.items(), key=lambda entry: entry[1] - earlier[entry[0]] / 4)
        more = count - earlier[name] / 4
        if more < _A_MAILING * clients.crowd([code], sign.since, until)[0]:
            return ""
        return f"{name} brought {count:,} sessions meanwhile, as with a mailing"
