"""Which series a site has: its places, what happens there, and what is usual of each.

One table, `watched`, says what is watched how; a detector that needs no more than a count of something is a
row in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from logscope.detect.anomalies.facts import MS_CLASSES, ROUTE, SIZE_CLASSES
from logscope.detect.anomalies.ledger import SHORT_TICK_S, Ledger
from logscope.detect.anomalies.panels import FLEET, Panel, Rules, Scope, Series
from logscope.detect.anomalies.rules import Sensitivity, latency_rules, share_rules
from logscope.detect.anomalies.seasons import Season, day_begins, flat, rate_season, share_season

Floats = NDArray[np.float64]

_BALANCER, _FRONTEND, _BACKEND, _SERVER, _HOST, _SERVICE = range(len(ROUTE))
_MOST_PLACES = 32
_LEAST_COUNT, _LEAST_TIMED = 8, 50
_UNSEASONED = 1.7
_HALF, _FEW = 0.5, 0.08
"""Shares of the values above the edges that latencies are measured against."""
_LEAST_DELAY = next(at for at, edge in enumerate(MS_CLASSES) if int(edge) >= 10)
"""Postfix tells delays to the hundredth of a second (delay_logging_resolution_limit)."""
_OCTAVE = 3
"""Classes between more edges of a short log: a good part of it may be slow, and its slow values be no few."""
_OWN_DAYS = 5000
"""Sessions of a place from which on the beginning of its own days can be told."""
_MOST_CODES = 40
_BALANCED = 0.1
"""Part of a service's sessions that come through a balancer, from which on it stands behind that."""
_PRIOR, _PRIOR_TICKS = 20.0, 60
"""What a season learnt from the same counts is worth, in counts; one of other days, in ticks of its own."""
_SHARE_PRIOR, _SHARE_PRIOR_KNOWN = 50.0, 300.0
"""The same for shares, in trials."""

ORDINARY = {
    ("outcome", "delivered"), ("outcome", "accepted"), ("outcome", "no_mail"), ("outcome", "unknown"),
    ("outcome", "open"), ("outcome", "probe"), ("termination_state", "--"), ("hops", "joined"),
    ("masked", "seen"), ("auth", "granted"), ("screen", "pass_new"), ("screen", "pass_old"),
    ("screen", "allowlisted"), ("screen", "handed_off"), ("screen", "none"), ("screen", "unknown"),
}  # fmt: skip
"""More of these is no trouble by itself."""

ATTACKS = (
    ("auth", "refused"), ("test", "pregreet"), ("test", "dnsbl"), ("refused", "listed"),
    ("refused", "null_sender"), ("refused", "unknown_user"), ("mail", "null_sender"),
)  # fmt: skip
"""Counted as rates: so many in a minute is news, whatever else goes on."""

LATENCIES = ("queue_ms", "connect_ms", "duration_ms", "screen_ms")
PEER_LATENCIES = ("connect_ms", "duration_ms")
DELIVERY_LATENCIES = ("before_queue_ms", "in_queue_ms", "connect_ms", "transmit_ms")


@dataclass
class Site:
    """The places of a site, with the routes that belong to each.

    Attributes:
        places: by scope.
        clusters: servers that take each other's sessions, by backend.
        hosts: server of each mail host, where sessions joined both.
    """

    places: dict[Scope, list[int]] = field(default_factory=dict)
    clusters: list[list[Scope]] = field(default_factory=list)
    hosts: dict[str, Scope] = field(default_factory=dict)


def site_of(ledger: Ledger, first: int, after: int) -> Site:
    """The places that a ledger of sessions names."""
    routes = ledger.routes.keys

    def count(family: str, value: str) -> list[int]:
        code = int(ledger.code_numbers(family, [value])[0])
        return [int(ledger.series([(route, code)], first, after).sum()) for route in range(len(routes))]

    size = count("sessions", "all")
    hosts, balanced = _hosts(routes, size), _balanced(routes, size, count("masked", "masked"))
    site = Site({FLEET: list(range(len(routes)))}, hosts=hosts)
    found: dict[Scope, list[int]] = defaultdict(list)
    clusters: dict[str, set[Scope]] = defaultdict(set)
    for number, route in enumerate(routes):
        server = _server(route, hosts)
        if server:
            found[server].append(number)
            clusters[server.name.rpartition("/")[0]].add(server)
        if route[_BALANCER]:
            found[Scope("balancer", str(route[_BALANCER]))].append(number)
        listener = route[_FRONTEND]
        if not (listener or route[_BALANCER] or route[_SERVICE] in balanced):
            listener = route[_SERVICE]
        if listener:
            found[Scope("listener", str(listener))].append(number)
    by_type: dict[str, list[Scope]] = defaultdict(list)
    for scope, numbers in sorted(found.items(), key=lambda entry: -sum(size[n] for n in entry[1])):
        by_type[scope.type].append(scope)
        if scope.type == "server" or len(by_type[scope.type]) <= _MOST_PLACES:
            site.places[scope] = numbers
    for kind in ("balancer", "listener"):
        if len(by_type[kind]) == 1:
            del site.places[by_type[kind][0]]  # says the same as the fleet
    weight = {scope: sum(size[n] for n in numbers) for scope, numbers in found.items()}
    for name in sorted(clusters):
        servers = sorted(clusters[name], key=lambda one: (-weight[one], one.name))[:_MOST_PLACES]
        site.clusters.append(sorted(servers, key=lambda one: one.name))
    kept = {scope for servers in site.clusters for scope in servers}
    for scope in [one for one in site.places if one.type == "server" and one not in kept]:
        del site.places[scope]
    return site


def _hosts(routes: list[tuple[str | None, ...]], size: list[int]) -> dict[str, Scope]:
    """The server that a mail host is, by the routes that name both."""
    votes: dict[str, dict[Scope, int]] = defaultdict(lambda: defaultdict(int))
    for route, count in zip(routes, size, strict=True):
        if route[_SERVER] and route[_HOST]:
            votes[str(route[_HOST])][Scope("server", f"{route[_BACKEND] or ''}/{route[_SERVER]}")] += count
    return {host: max(found, key=lambda scope: found[scope]) for host, found in votes.items()}


def _balanced(routes: list[tuple[str | None, ...]], size: list[int], masked: list[int]) -> set[str]:
    """Services that are called through a balancer, which may hide the clients. What comes there without a
    balancer's side was not joined, or passed it by: a part of the service whose numbers say nothing by
    themselves.
    """
    whole: Counter[str] = Counter()
    through: Counter[str] = Counter()
    for route, count, hidden in zip(routes, size, masked, strict=True):
        if route[_SERVICE]:
            whole[str(route[_SERVICE])] += count
            through[str(route[_SERVICE])] += count if route[_BALANCER] else hidden
    return {name for name, count in through.items() if count > _BALANCED * whole[name]}


def _server(route: tuple[str | None, ...], hosts: dict[str, Scope]) -> Scope | None:
    if route[_SERVER]:
        return Scope("server", f"{route[_BACKEND] or ''}/{route[_SERVER]}")
    if route[_HOST]:
        return hosts.get(str(route[_HOST])) or Scope("server", f"/{route[_HOST]}")
    return None


class Survey:
    """Finds the series of a ledger of sessions and learns their seasons.

    Args:
        ledger: counts of sessions.
        first, after: the ticks to learn from.
        seasons: known from before, by key of the series.
        edges: of latencies, known from before.
        site: the places; those of sessions if not given.
        known: the seasons are of other days, so that what the counts begin with may be unusual.
    """

    def __init__(
        self,
        ledger: Ledger,
        first: int,
        after: int,
        seasons: dict[str, Season] | None = None,
        edges: dict[str, list[int]] | None = None,
        site: Site | None = None,
        known: bool = False,
    ) -> None:
        self.ledger, self.first, self.after = ledger, first, after
        self.site = site or site_of(ledger, first, after)
        self._known = known
        self.seasons = {} if seasons is None else seasons
        self.edges = {} if edges is None else edges
        self._by_code: dict[int, set[int]] = defaultdict(set)
        for route, code in ledger.pairs():
            self._by_code[code].add(route)
        self._totals: dict[tuple[tuple[int, int], ...], Floats] = {}
        self._begin_s: int | None = None

    # --- pairs and totals -----------------------------------------------------------------------------------

    def pairs(self, scope: Scope, codes: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """The series of some codes at a place."""
        routes = self.site.places[scope]
        return tuple((route, code) for code in codes for route in routes if route in self._by_code[code])

    def counts(self, pairs: tuple[tuple[int, int], ...]) -> Floats:
        """Their counts together, over what there is to learn from."""
        if pairs not in self._totals:
            self._totals[pairs] = self.ledger.series(pairs, self.first, self.after).astype(np.float64)
        return self._totals[pairs]

    def codes(self, family: str) -> dict[str, int]:
        """The family's values that occurred, with their codes."""
        return {
            str(value): number
            for number, (name, value) in enumerate(self.ledger.codes.keys)
            if name == family
        }

    def all_of(self, scope: Scope, family: str = "sessions") -> tuple[tuple[int, int], ...]:
        return self.pairs(scope, self.codes(family).values())

    # --- seasons --------------------------------------------------------------------------------------------

    def rate_season(self, key: str, pairs: tuple[tuple[int, int], ...]) -> Season:
        """The season of a rate; a series with few counts has the fleet's shape."""
        if key not in self.seasons:
            counts, tick_s = self.counts(pairs), self.ledger.tick_s
            begins = self._day_begins()
            if key.startswith("volume/") and counts.sum() >= _OWN_DAYS:
                begins = day_begins(counts, self.first, tick_s)  # those who send live elsewhere than the bots
            self.seasons[key] = rate_season(counts, self.first, tick_s, begins)
        return self.seasons[key]

    def _day_begins(self) -> int:
        if self._begin_s is None:
            whole = [
                (route, code)
                for route, code in self.ledger.pairs()
                if self.ledger.codes.keys[code] in (("sessions", "all"), ("deliveries", "all"))
            ]
            counts = self.ledger.series(whole, self.first, self.after).astype(np.float64)
            self._begin_s = day_begins(counts, self.first, self.ledger.tick_s)
        return self._begin_s

    def share_season(
        self, key: str, pairs: tuple[tuple[int, int], ...], trials: tuple[tuple[int, int], ...]
    ) -> Season:
        if key not in self.seasons:
            self.seasons[key] = share_season(
                self.counts(pairs), self.counts(trials), self.first, self.ledger.tick_s, self._day_begins()
            )
        return self.seasons[key]

    # --- what is watched ------------------------------------------------------------------------------------

    def volumes(self) -> Iterator[Series]:
        """Sessions of the fleet, of each balancer and of each listener."""
        for scope in self.site.places:
            if scope.type == "server":
                continue
            pairs = self.all_of(scope)
            if self.counts(pairs).sum() >= _LEAST_COUNT:
                yield self._rate("volume", scope, ("sessions", "all"), pairs)

    def drifts(self, volumes: Iterable[Series]) -> Iterator[Series]:
        """The same, where the shape of the day is known."""
        for one in volumes:
            if one.season.days.std() > 0:
                yield replace(one, detector="drift")

    def _rate(
        self,
        detector: str,
        scope: Scope,
        what: tuple[str, str],
        pairs: tuple[tuple[int, int], ...],
        unit: str = "sessions",
    ) -> Series:
        draft = Series(detector, scope, what, pairs, flat(0.0), unit=unit)
        season = self.rate_season(draft.key, pairs)
        shaped = season.days.std() > 0
        prior = _PRIOR if shaped else 1.0
        if self._known and shaped:
            prior = max(prior, _PRIOR_TICKS * self.ledger.tick_s * float(season.days.mean()))
        return Series(detector, scope, what, pairs, season, unit=unit, prior=prior)

    def attacks(self, unit: str = "sessions") -> Iterator[Series]:
        """What attackers do, counted as rates over the whole site."""
        for family, value in ATTACKS:
            code = self.codes(family).get(value)
            if code is not None and (pairs := self.pairs(FLEET, [code])):
                yield self._rate("attack", FLEET, (family, value), pairs, unit)

    def troubles(
        self, families: Iterable[str], scope: Scope = FLEET
    ) -> Iterator[tuple[tuple[str, str], tuple[tuple[int, int], ...]]]:
        """Codes of some families that may mean trouble, the most frequent first."""
        found = []
        for family in families:
            for value, code in self.codes(family).items():
                if (family, value) in ORDINARY or value == "other":
                    continue
                pairs = self.pairs(scope, [code])
                count = self.counts(pairs).sum() if pairs else 0
                if count >= _LEAST_COUNT:
                    found.append((count, (family, value), pairs))
        found.sort(key=lambda entry: -entry[0])
        for _, what, pairs in found[:_MOST_CODES]:
            yield what, pairs

    def shares(self) -> Iterator[Series]:
        """What share of the sessions ends in trouble, over the whole site."""
        trials = self.all_of(FLEET)
        for what, pairs in self.troubles(
            ("outcome", "termination_state", "dialogue", "screen", "test", "reason", "refused", "auth")
        ):
            yield self._share("share", FLEET, what, pairs, trials)

    def hops(self) -> Iterator[Series]:
        """Sessions of which one side is missing."""
        trials = self.all_of(FLEET)
        for what, pairs in self.troubles(("hops",)):
            yield self._share("hops", FLEET, what, pairs, trials, floor=0.001)

    def masked(self) -> Iterator[Series]:
        """Sessions whose client is hidden."""
        trials = self.all_of(FLEET)
        for what, pairs in self.troubles(("masked",)):
            yield self._share("hops", FLEET, what, pairs, trials, floor=0.001)

    def _share(
        self,
        detector: str,
        scope: Scope,
        what: tuple[str, str],
        pairs: tuple[tuple[int, int], ...],
        trials: tuple[tuple[int, int], ...],
        floor: float = 0.003,
        unit: str = "sessions",
    ) -> Series:
        draft = Series(detector, scope, what, pairs, flat(0.0))
        season = self.share_season(draft.key, pairs, trials)
        prior = _SHARE_PRIOR_KNOWN if self._known else _SHARE_PRIOR
        return Series(detector, scope, what, pairs, season, trials, prior=prior, floor=floor, unit=unit)

    def rates_of(self, shares: Iterable[Series]) -> Iterator[Series]:
        """The same codes as rates: a share that rises because something else got less is no trouble."""
        for one in shares:
            yield self._rate("rate", one.scope, one.what, one.counts, one.unit)

    def servers(self) -> Iterator[Series]:
        """Each server's part of the trouble, against its part of the sessions."""
        families = ("outcome", "termination_state", "dialogue", "reason", "hops", "masked")
        for servers in self.site.clusters:
            if len(servers) < 2:
                continue
            whole = tuple(pair for server in servers for pair in self.all_of(server))
            for what, _ in list(self.troubles(families)):
                code = self.codes(what[0])[what[1]]
                trials = tuple(pair for server in servers for pair in self.pairs(server, [code]))
                if not trials or self.counts(trials).sum() < _LEAST_COUNT:
                    continue
                for server in servers:
                    pairs = self.pairs(server, [code])
                    if pairs:
                        yield Series(
                            "server", server, what, pairs, flat(1 / len(servers)), trials,
                            self.all_of(server), whole, prior=60.0, floor=0.01,
                        )  # fmt: skip

    def parts(self) -> Iterator[Series]:
        """Each server's part of its backend's sessions."""
        for servers in self.site.clusters:
            if len(servers) < 2:
                continue
            whole = tuple(pair for server in servers for pair in self.all_of(server))
            for server in servers:
                own = self.all_of(server)
                yield self._share("part", server, ("sessions", "all"), own, whole, floor=0.005)

    def latencies(self) -> Iterator[Series]:
        """Sessions that took longer than half of them usually do, and longer than nearly all."""
        for family in LATENCIES:
            codes = self.codes(family)
            if not codes:
                continue
            for scope in [
                FLEET,
                *(one for cluster in self.site.clusters for one in cluster if len(cluster) > 1),
            ]:
                yield from self._above("latency", scope, family, MS_CLASSES, codes)

    def latency_peers(self) -> Iterator[Series]:
        """Each server's part of the sessions that take long, against its part of all: where everything is
        slow now and then, one server that is slower than its peers shows all the same.
        """
        for servers in self.site.clusters:
            for family in PEER_LATENCIES if len(servers) > 1 else ():
                codes = self.codes(family)
                by_class = [codes.get(one) for one in MS_CLASSES]
                whole = tuple(pair for server in servers for pair in self.pairs(server, codes.values()))
                if not whole or self.counts(whole).sum() < _LEAST_TIMED:
                    continue
                for server in servers:
                    for edge in self._edges("latency", server, family, by_class):
                        slow = [code for code in by_class[edge:] if code is not None]
                        yield Series(
                            "latency_peer", server, (family, MS_CLASSES[edge]), self.pairs(server, slow),
                            flat(1 / len(servers)),
                            tuple(pair for one in servers for pair in self.pairs(one, slow)),
                            self.pairs(server, codes.values()), whole, prior=60.0, floor=0.01,
                        )  # fmt: skip

    def _above(
        self,
        detector: str,
        scope: Scope,
        family: str,
        classes: tuple[str, ...],
        codes: dict[str, int],
        unit: str = "sessions",
    ) -> Iterator[Series]:
        every = self.pairs(scope, codes.values())
        if not every or self.counts(every).sum() < _LEAST_TIMED:
            return
        by_class = [codes.get(one) for one in classes]
        for edge in self._edges(detector, scope, family, by_class):
            above = self.pairs(scope, [code for code in by_class[edge:] if code is not None])
            what = (family, classes[edge])
            yield self._share(detector, scope, what, above, every, unit=unit)

    def _edges(self, detector: str, scope: Scope, family: str, by_class: list[int | None]) -> list[int]:
        """The edges above which a little less than half, and a few, of the values are."""
        key = "/".join((detector, scope.type, scope.name, family))
        if key not in self.edges:
            sizes = np.array(
                [0.0 if code is None else self.counts(self.pairs(scope, [code])).sum() for code in by_class]
            )
            above = 1 - np.concatenate(([0.0], np.cumsum(sizes)))[:-1] / max(sizes.sum(), 1.0)
            least = _LEAST_DELAY if detector == "delivery_latency" else 1
            middle = next((at for at in range(least, len(above)) if above[at] <= _HALF), least)
            high = next((at for at in range(middle, len(above)) if above[at] <= _FEW), middle)
            short = self.ledger.tick_s == SHORT_TICK_S
            between = range(middle, high, _OCTAVE) if short else (middle,)
            self.edges[key] = sorted({*between, high})
        return self.edges[key]

    # --- mail -----------------------------------------------------------------------------------------------

    def delivery_shares(self) -> Iterator[Series]:
        """What becomes of deliveries, over all destinations."""
        trials = self.all_of(FLEET, "deliveries")
        for what, pairs in self.troubles(("status",)):
            if what[1] != "sent":
                yield self._share("delivery", FLEET, what, pairs, trials, unit="deliveries")

    def delivery_latencies(self) -> Iterator[Series]:
        """Deliveries that took longer than usual, by the part of the way."""
        for family in DELIVERY_LATENCIES:
            yield from self._above(
                "delivery_latency", FLEET, family, MS_CLASSES, self.codes(family), "deliveries"
            )

    def sizes(self) -> Iterator[Series]:
        """Messages larger than usual."""
        yield from self._above("size", FLEET, "size", SIZE_CLASSES, self.codes("size"), "messages")

    def destinations(self) -> Iterator[Series]:
        """What share of each destination's mail is deferred."""
        codes = self.codes("destination")
        if "deferred" not in codes:
            return
        for scope in self.site.places:
            pairs = self.pairs(scope, [codes["deferred"]])
            trials = self.pairs(scope, [codes["all"]])
            if pairs and self.counts(pairs).sum() >= _LEAST_COUNT:
                yield self._share(
                    "destination", scope, ("status", "deferred"), pairs, trials, unit="deliveries"
                )

    def queues(self) -> Iterator[Series]:
        """How many recipients begin to wait for each destination."""
        code = self.codes("destination").get("waiting")
        if code is None:
            return
        for scope in self.site.places:
            pairs = self.pairs(scope, [code])
            if pairs and self.counts(pairs).sum() >= _LEAST_COUNT:
                yield self._rate("queue", scope, ("destination", "waiting"), pairs, "waiting recipients")


def mail_site(ledger: Ledger) -> Site:
    """One place: all mail servers together."""
    return Site({FLEET: list(range(len(ledger.routes)))})


def destination_site(ledger: Ledger, most: int = 64) -> Site:
    """The destinations with the most deferred mail."""
    late = next((n for n, key in enumerate(ledger.codes.keys) if key == ("destination", "deferred")), None)
    size = dict.fromkeys(range(len(ledger.routes)), 0)
    first, after = ledger.span()
    for route, code in ledger.pairs():
        if code == late:
            size[route] = int(ledger.series([(route, code)], first, after).sum())
    busiest = sorted(size, key=lambda route: (-size[route], route))[:most]
    names = {route: ledger.routes.keys[route][0] for route in busiest}
    return Site({Scope("destination", str(name)): [route] for route, name in names.items() if name})


def panel(
    ledger: Ledger,
    series: Iterable[Series],
    rules: Callable[[int, Sensitivity], Rules],
    sensitivity: Sensitivity,
    scales: dict[str, list[float]],
    seasoned: bool,
) -> Panel:
    """A panel of some series; the more there are, the surer each must be.

    Args:
        seasoned: whether what is known of them tells night from day.
    """
    found = list(series)
    how = rules(len(found), sensitivity)
    if rules in (share_rules, latency_rules) and not seasoned:
        # what is bots' at night and people's by day looks like a shift to who does not know the day
        how = replace(how, threshold=_UNSEASONED * how.threshold)
    return Panel(ledger, found, how, scales)
