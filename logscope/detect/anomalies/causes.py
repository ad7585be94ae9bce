"""Which signs have one cause: one finding for a failing server, not one for each thing that its failure
changed.

Causes are tried from the most to the least specific. The first that fits some signs takes them, and with them
every other sign that it explains and that begins while it lasts. What nothing explains is a finding of its
own. What turns out to be in order (a known sender's newsletter, a restart, a monitor) is kept apart with the
reason why it is no finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np

from logscope.detect.anomalies.actors import Burst
from logscope.detect.anomalies.contributors import BUCKET_S
from logscope.detect.anomalies.explain import (
    Cause,
    apart,
    attack_explains,
    blocklist_explains,
    burst_explains,
    comings,
    crowds,
    failing_explains,
    gone_explains,
    grows,
    heavy_explains,
    hop_explains,
    latency_explains,
    machine,
    mail_explains,
    meet,
    outage_explains,
    overlap,
    same_clock,
    share_explains,
    silence_explains,
    silent_since,
    stem,
    together,
    volume_explains,
    worse_explains,
)
from logscope.detect.anomalies.panels import FLEET, Scope
from logscope.detect.anomalies.signs import Sign, Signs

_RESTART_S = 200.0
_EDGE_S = 9000
_MODERATE, _SLOW_MODERATE, _SLOW_S = (0.6, 1.4), (0.5, 2.0), 1800.0
"""Fewer or more sessions than these times the usual are worth a finding; if it took long to be sure, more."""
_LONG_AGO_S = (6 * 3600, 3600)
_A_MAILING = 0.1
_LEAST_DAYS, _SLOW_SHIFT_S = 1.9, 7200.0
_SHARES = ("share", "latency", "delivery_latency", "size", "delivery", "destination")
_ENOUGH_BEFORE = 200
_ONE_CLIENT = 0.5
_LEAST_EVENTS = 10
_FLAPS = 3
_LATENCY_KINDS = {
    "queue_ms": "queue_latency",
    "connect_ms": "connect_latency",
    "duration_ms": "session_latency",
    "screen_ms": "screen_latency",
}


Explains = Callable[["Cause", Sign], bool]


def _at_weekends_edge(sign: Sign) -> bool:
    """Whether the rate is that of the other kind of day, whose beginning or end is only some hours away."""
    season, tick = sign.alarm.series.season, sign.panel.ledger.tick_s
    until = max(min(sign.end, sign.since + 21_600.0), sign.since + tick)
    seconds = np.arange(sign.since, until, tick) + tick / 2
    usual = float(season.at(seconds).sum())
    for shift in (-_EDGE_S, _EDGE_S):
        other = float(season.at(seconds, shift).sum()) / max(usual, 1e-9) * sign.expected
        if abs(other / max(sign.expected, 1e-9) - 1) > 0.2 and 0.6 * other < sign.observed < 1.6 * other:
            return True
    return False


def _screen_is_slow(signs: list[Sign]) -> bool:
    """Whether postscreen is what makes sessions long: nearly all of those that it ends are, of the others
    only those that are new to it.
    """

    def share(family: str) -> float:
        return max((one.observed / max(one.trials, 1) for one in signs if one.what[0] == family), default=0.0)

    return share("screen_ms") >= 0.85 and share("duration_ms") < 0.75


def _latency_order(sign: Sign) -> tuple[bool, bool, float]:
    """The whole site first; and what slows all sessions slows those that postscreen ends, too."""
    return sign.scope != FLEET, sign.what[0] == "screen_ms", sign.since


class Causes:
    """Sorts signs by cause.

    Args:
        signs: what was found.
        allowed: addresses and networks whose doings are nobody's concern.
    """

    def __init__(self, signs: Signs, allowed: Callable[[str], bool] = lambda _: False) -> None:
        self._all = signs
        self._allowed = allowed
        self._left: list[Sign] = []
        self.found: list[Cause] = []
        self.ordinary: list[Cause] = []

    def sort(self) -> list[Cause]:
        """All causes, the earliest first."""
        self._left = [
            sign
            for sign in self._all.signs
            if sign.detector != "rate"
            and not (sign.detector in _SHARES and (self._is_return(sign) or self._may_be_the_day(sign)))
        ]
        for step in (
            self._silences, self._no_server, self._clocks, self._gone_servers, self._failing_servers,
            self._masking, self._hops,
            self._actors, self._newcomers, self._auth_outage, self._blocklists_silent, self._attacks,
            self._worse_servers, self._mail, self._latencies, self._reasons, self._terminations,
            self._outcomes, self._volumes, self._parts,
        ):  # fmt: skip
            step()
        self.found.sort(key=lambda cause: (cause.since, cause.kind, cause.scope.name))
        return self.found

    # --- helpers --------------------------------------------------------------------------------------------

    def _take(self, cause: Cause, explains: Explains, ordinary: str = "") -> None:
        """Make it a cause, with the signs that it explains."""
        cause.ordinary = ordinary
        own = [
            sign
            for sign in self._left
            if sign is cause.sign or (together(cause, sign) and explains(cause, sign))
        ]
        cause.signs = own
        taken = {id(sign) for sign in own}
        self._left = [sign for sign in self._left if id(sign) not in taken]
        (self.ordinary if ordinary else self.found).append(cause)

    def _drop(self, sign: Sign) -> None:
        self._left = [one for one in self._left if one is not sign]

    def _of(self, detector: str, *families: str, up: bool | None = True) -> list[Sign]:
        """Signs of a detector that are left, the earliest first."""
        found = [
            sign
            for sign in self._left
            if sign.detector == detector
            and (not families or sign.what[0] in families)
            and (up is None or sign.up == up)
        ]
        return sorted(found, key=lambda sign: (sign.since, sign.detected))

    def _cause(self, kind: str, sign: Sign, scope: Scope | None = None) -> Cause:
        cause = Cause(
            kind, scope or sign.scope, sign.since, sign.detected, sign.until, sign.observed, sign.expected,
            sign.trials, sign,
        )  # fmt: skip
        cause.who, cause.clients = self._behind(sign)
        return cause

    def _until(self, sign: Sign) -> float:
        return self._all.now_s if sign.until is None else sign.until

    def _behind(self, sign: Sign) -> tuple[Counter[str], int]:
        """The busiest clients behind a sign, above what they did before, and how many there are at most."""
        codes = {code for _, code in sign.alarm.series.counts}
        clients = self._all.gathered.clients
        until = self._until(sign)
        now = clients.top(codes, sign.since, until)
        length = max(until - sign.since, BUCKET_S)
        earlier = clients.top(codes, sign.since - 4 * length, sign.since - BUCKET_S)
        for name in earlier:
            now[name] -= round(earlier[name] / 4)
        return Counter({name: count for name, count in now.items() if count > 0}), clients.crowd(
            codes, sign.since, until
        )[1]

    def _counts_too(self, sign: Sign) -> bool:
        """Whether the number itself changed, not only its share of the rest."""
        for name in ("rate", "delivery rate"):
            panel = self._all.panels.get(name)
            if panel is None or panel.ledger is not sign.panel.ledger:
                continue
            for at, series in enumerate(panel.series):
                if series.what == sign.what and series.scope == sign.scope:
                    tick = panel.ledger.tick_s
                    observed, expected = panel.expected(
                        at, int(sign.since) // tick, int(self._until(sign)) // tick
                    )
                    return observed >= 1.3 * expected + 4 if sign.up else observed <= 0.75 * expected
        return True

    def _one_client(self, sign: Sign, cause: Cause) -> str | None:
        """The client that is behind most of it, if one is."""
        if not cause.who:
            return None
        name, count = cause.who.most_common(1)[0]
        return name if count >= _ONE_CLIENT * max(sign.excess, 1.0) else None

    # --- outages --------------------------------------------------------------------------------------------

    def _silences(self) -> None:
        for sign in sorted(self._of("volume", up=False), key=lambda one: (one.scope != FLEET, one.since)):
            if sign not in self._left:
                continue
            since = sign.since if sign.observed <= 0.12 * sign.expected else silent_since(sign)
            if since is None:
                continue
            cause = self._cause("silence", sign)
            cause.since = since
            length = self._until(sign) - sign.since
            gap = length < 110 and sign.until is not None
            self._take(
                cause,
                silence_explains,
                "a gap of less than two minutes, as log rotation makes" if gap else "",
            )

    def _no_server(self) -> None:
        for sign in self._of("share", "outcome", "termination_state"):
            if sign not in self._left or sign.what != ("outcome", "no_server"):
                continue
            if sign.observed < _LEAST_EVENTS or sign.observed < 0.3 * sign.trials:
                continue
            self._take(self._cause("no_server", sign, FLEET), outage_explains)

    def _gone_servers(self) -> None:
        """Servers that got next to nothing while their peers worked."""
        down = self._of("part", up=False)
        times = {id(sign): max(sign.episodes, comings(sign)) for sign in down}
        gone = [one for one in down if one.observed <= 0.35 * one.expected or times[id(one)] >= _FLAPS]
        short = [
            sign
            for sign in gone
            if sign.episodes == 1 and sign.until is not None and sign.until - sign.since <= 420
        ]
        for sign in gone:
            if sign not in self._left:
                continue
            length = self._until(sign) - sign.since
            episodes = times[id(sign)]
            rolling = {
                other.scope
                for other in short
                if other.scope != sign.scope and abs(other.since - sign.since) <= 5400 and apart(other, sign)
            }
            cause = self._cause("flapping" if episodes >= _FLAPS else "server_silent", sign)
            ordinary = ""
            if episodes < _FLAPS and sign in short and rolling:
                ordinary = "the servers were away one after the other, as in a deployment"
            elif episodes < _FLAPS and sign.until is not None and length <= _RESTART_S:
                ordinary = "away for less than four minutes, as in a restart"
            if not ordinary:
                cause.detected = max(cause.detected, cause.since + 120)
            self._take(cause, gone_explains, ordinary)

    def _failing_servers(self) -> None:
        """Servers of whose sessions many fail at once, whatever their logs lack or hide then."""
        for sign in self._of("server", "outcome"):
            if sign in self._left and sign.what[1] == "server_error" and self._points_above(sign) >= 0.3:
                self._take(self._cause("server_worse", sign), failing_explains)
        for sign in self._of("share", "outcome"):
            if sign not in self._left or sign.what[1] != "server_error" or sign.observed < _LEAST_EVENTS:
                continue
            where = self._mostly_at(sign)
            if where != FLEET and any(
                meet(one, sign) for one in [*self._of("hops", "hops", "masked"), *self._of("server", "hops")]
            ):
                self._take(self._cause("server_worse", sign, where), failing_explains)

    def _clocks(self) -> None:
        for change in self._all.clocks:
            kind = "clock_drift" if change.drift else "clock_step"
            cause = Cause(
                kind, change.scope, change.since, change.detected, change.until, change.after_s,
                change.before_s, change.samples, clock=change,
            )  # fmt: skip
            if not any(same_clock(one, cause) for one in self.found):
                self._take(
                    cause, lambda _cause, sign: sign.what[0] == "hops" or sign.what == ("outcome", "unknown")
                )

    # --- hops -----------------------------------------------------------------------------------------------

    def _hops(self) -> None:
        self._hops_of("balancer_only")
        self._hops_of("mta_only")

    def _hops_of(self, value: str) -> None:
        at_server = [sign for sign in self._of("server", "hops") if sign.what[1] == value]
        for sign in [one for one in self._of("hops", "hops") if one.what[1] == value]:
            if sign not in self._left:
                continue
            mine = [one for one in at_server if one in self._left and meet(one, sign)]
            mine = [one for one in mine if one.excess >= 0.5 * sign.excess]
            where = mine[0].scope if len(mine) == 1 else self._mostly_at(sign)
            self._one_hop(sign, value, where)
        for sign in at_server:
            if sign in self._left and sign.observed >= _LEAST_EVENTS:
                self._one_hop(sign, value, sign.scope)

    def _one_hop(self, sign: Sign, value: str, where: Scope) -> None:
        if value == "mta_only":
            kind = "bypass" if where.type == "server" else "balancer_log_loss"
            if where.type != "server" and not self._balancer_fell(sign):
                kind = "bypass"
        else:
            kind = "mta_log_loss"
            if where.type == "server" and self._share_lost(where, sign) > 0.85:
                kind = "log_gap"
        cause = self._cause(kind, sign, where)
        short = sign.until is not None and sign.until - sign.since < 240
        self._take(
            cause,
            hop_explains,
            "lines are missing for less than four minutes, as log rotation makes" if short else "",
        )

    def _mostly_at(self, sign: Sign) -> Scope:
        """The server at which nearly all of what is above the usual happens, else the fleet."""
        ledger, series = sign.panel.ledger, sign.alarm.series
        first, after = int(sign.since) // ledger.tick_s, int(self._until(sign)) // ledger.tick_s
        usual = sign.expected / max(sign.trials, 1.0)
        above: dict[str, float] = {}
        size: dict[str, float] = {}
        place: dict[str, tuple[float, Scope]] = {}
        whole = self._all.site.places[FLEET]
        for server in [one for cluster in self._all.site.clusters for one in cluster if len(cluster) > 1]:
            routes = set(self._all.site.places[server])
            own = float(ledger.series([p for p in series.counts if p[0] in routes], first, after).sum())
            tried = float(ledger.series([p for p in series.trials if p[0] in routes], first, after).sum())
            name = machine(server)
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
        if above[worst] < max(_LEAST_EVENTS, 0.6 * sign.excess) or rest > max(0.3 * above[worst], noise):
            return FLEET
        return place[worst][1]

    def _share_lost(self, where: Scope, sign: Sign) -> float:
        """What share of a server's sessions have no side at the mail server."""
        ledger = self._all.gathered.sessions
        codes = {key: number for number, key in enumerate(ledger.codes.keys)}
        first, after = int(sign.since) // ledger.tick_s, int(self._until(sign)) // ledger.tick_s
        if sign.until is not None and after - first > 4:
            first, after = first + 1, after - 1
        routes = self._all.site.places.get(where, [])

        def count(key: tuple[str, str]) -> int:
            number = codes.get(key)
            pairs = [] if number is None else [(route, number) for route in routes]
            return int(ledger.series(pairs, first, after).sum())

        lost = count(("hops", "balancer_only"))
        return lost / max(1, lost + count(("hops", "joined")))

    def _balancer_fell(self, sign: Sign) -> bool:
        """Whether the balancer's own sessions got fewer meanwhile: then its lines are missing."""
        ledger = self._all.gathered.sessions
        codes = {key: number for number, key in enumerate(ledger.codes.keys)}
        length = max(1, int(self._until(sign) - sign.since) // ledger.tick_s)
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

    def _masking(self) -> None:
        for sign in [*self._of("hops", "masked"), *self._of("server", "masked")]:
            if sign not in self._left or sign.what[1] != "masked":
                continue
            servers = [
                one
                for one in self._of("server", "masked")
                if meet(one, sign) and one.excess >= 0.5 * sign.excess
            ]
            where = servers[0].scope if len(servers) == 1 else sign.scope
            self._take(self._cause("masking", sign, where), hop_explains)

    # --- who ------------------------------------------------------------------------------------------------

    def _actors(self) -> None:
        for kind in (
            "auth_guessing",
            "user_enumeration",
            "account_takeover",
            "connection_hoarding",
            "connection_scan",
        ):
            bursts = [one for one in self._all.gathered.actors[kind].take() if not self._allowed(one.actor)]
            for crowd in crowds(bursts):
                self._one_crowd(kind, crowd)

    def _one_crowd(self, kind: str, bursts: list[Burst]) -> None:
        """Bursts of one kind at one time: one actor, or several that act alike."""
        first = bursts[0]
        over = all(one.over for one in bursts)
        who: Counter[str] = Counter()
        for one in bursts:
            who[one.actor] += one.count
        name = {"account_takeover": "user"}.get(kind, "client")
        scope = Scope(name, first.actor) if len(who) == 1 else Scope(name, f"{len(who)} {name}s")
        cause = Cause(
            kind, scope, first.since, first.detected, max(one.until for one in bursts) if over else None,
            sum(who.values()), first.usual, burst=first, who=who, clients=len(who),
        )  # fmt: skip
        if kind == "auth_guessing" and len(who) >= 8:
            cause.kind, cause.scope = "auth_guessing_distributed", FLEET
        self._take(cause, burst_explains)

    def _newcomers(self) -> None:
        """Clients and networks that were never seen before and at once bring much."""
        for cause in self._heavy("client"):
            self._judge_heavy(cause)
        for cause in self._heavy("network"):
            inside = [one for one in self.found if one.kind == "heavy_client" and overlap(one, cause)]
            if not inside:
                self._judge_heavy(cause)

    def _judge_heavy(self, cause: Cause) -> None:
        bursts = [one for one in self.found if one.burst is not None and overlap(one, cause)]
        name = cause.scope.name
        if any(one.kind == "account_takeover" for one in bursts):
            return  # that is where the taken account is used from
        if self._allowed(name) or any(
            who == name or who.startswith(stem(name)) for one in bursts for who in one.who
        ):
            return
        self._take(cause, heavy_explains, cause.ordinary)

    def _heavy(self, kind: str) -> Iterator[Cause]:
        signs = self._all
        table = signs.gathered.clients if kind == "client" else signs.gathered.networks
        code = signs.gathered.sessions.code_numbers("sessions", ["all"])[0]
        warm = max(signs.first_s + 3600, signs.judged_s)
        runs: dict[str, Cause] = {}
        recent: dict[str, int] = {}
        done: list[Cause] = []
        for bucket in table.buckets(int(code)):
            here = table.in_bucket(int(code), bucket)
            total = table.total.get((int(code), bucket), 0)
            before_total = table.total.get((int(code), bucket - 1), 0)
            begin = float(bucket * BUCKET_S)
            if begin < warm:
                recent = dict(here)
                continue
            for name, count in here.items():
                if name in runs and begin <= runs[name].end + 2 * BUCKET_S:
                    if count >= 8:
                        runs[name].until = begin + BUCKET_S
                        runs[name].observed += count
                    continue
                if not self._is_new(name, begin):
                    continue
                both = count + recent.get(name, 0)
                if both < 60 or both < 0.06 * (total + before_total):
                    continue
                if (
                    kind == "network"
                    and max(
                        (
                            n
                            for client, n in signs.gathered.clients.in_bucket(int(code), bucket).items()
                            if client.startswith(stem(name))
                        ),
                        default=0,
                    )
                    > 0.7 * count
                ):
                    continue  # that is a client, not a network
                since = begin - (BUCKET_S if recent.get(name, 0) > 0.3 * count else 0)
                cause = Cause(
                    f"heavy_{kind}", Scope(kind, name), since, min(begin + BUCKET_S, signs.now_s), begin +
                    BUCKET_S, both, 0.0, who=Counter({name: both}),
                )  # fmt: skip
                runs[name] = cause
                done.append(cause)
            recent = dict(here)
        for cause in done:
            cause.ordinary = self._why_ordinary(cause)
            if cause.end >= signs.now_s - BUCKET_S:
                cause.until = None
            yield cause

    def _is_new(self, name: str, at_s: float) -> bool:
        """Whether a client or network was first seen within the two hours before a time."""
        hour = self._all.gathered.newcomers.get(name)
        return hour is not None and 0 <= at_s - hour * 3600 + 300 <= 2 * 3600

    def _why_ordinary(self, cause: Cause) -> str:
        """A monitor connects and quits, at a steady and modest rate."""
        length = max(cause.end - cause.since, 60.0)
        rate = cause.observed / length * 60
        quits = self._counted("outcome", "no_mail", cause)
        if quits >= 0.9 * cause.observed and rate <= 15:
            return "it connects and quits at a steady rate, as a monitor does"
        return ""

    def _counted(self, family: str, value: str, cause: Cause) -> int:
        """How often something happened to a cause's client."""
        code = self._all.gathered.sessions.code_numbers(family, [value])[0]
        top = self._all.gathered.clients.top([int(code)], cause.since, min(cause.end, self._all.now_s))
        beginning = stem(cause.scope.name)
        return sum(count for name, count in top.items() if name.startswith(beginning))

    # --- attacks --------------------------------------------------------------------------------------------

    def _auth_outage(self) -> None:
        """Nobody gets in any more: that is the password service, not an attack."""
        ledger = self._all.gathered.sessions
        granted = [n for n, key in enumerate(ledger.codes.keys) if key == ("auth", "granted")]
        for sign in [*self._of("attack", "auth"), *self._of("share", "auth")]:
            if sign not in self._left or not granted:
                continue
            pairs = [(route, granted[0]) for route in range(len(ledger.routes))]
            first, after = int(sign.since) // ledger.tick_s + 1, int(self._until(sign)) // ledger.tick_s
            length = max(1, after - first)
            now = ledger.series(pairs, first, first + length).sum() / length
            before = ledger.series(pairs, first - 35, first - 5).sum() / 30
            if before * length >= 5 and now < 0.25 * before:
                self._take(self._cause("auth_outage", sign, FLEET), attack_explains)

    def _blocklists_silent(self) -> None:
        for sign in [*self._of("share", "test", "refused", up=False)]:
            if sign not in self._left or sign.what[1] not in ("dnsbl", "listed"):
                continue
            if sign.observed <= 0.3 * sign.expected and self._counts_too(sign):
                self._take(self._cause("dnsbl_down", sign), blocklist_explains)

    def _attacks(self) -> None:
        kinds = {
            ("auth", "refused"): "auth_guessing_distributed",
            ("test", "pregreet"): "pregreet_wave",
            ("test", "dnsbl"): "dnsbl_surge",
            ("refused", "listed"): "dnsbl_surge",
            ("mail", "null_sender"): "backscatter",
            ("refused", "null_sender"): "backscatter",
            ("refused", "unknown_user"): "user_enumeration",
        }
        order = list(kinds)
        for sign in sorted(
            self._of("attack"),
            key=lambda one: (order.index(one.what) if one.what in kinds else 99, one.since),
        ):
            if sign not in self._left or sign.what not in kinds:
                continue
            if self._part_of_volume(sign):
                continue
            cause = self._cause(kinds[sign.what], sign, FLEET)
            if sign.excess < _LEAST_EVENTS:
                self._drop(sign)
                continue
            one = self._one_client(sign, cause)
            if one is not None:
                self._drop(sign)  # one client alone is judged by what one client may do
                continue
            if cause.kind == "user_enumeration":
                cause.detail = "many clients"
            self._take(cause, attack_explains)

    def _part_of_volume(self, sign: Sign) -> bool:
        """Whether it grew only as everything grew."""
        for other in self._of("volume"):
            if other.scope == FLEET and meet(other, sign):
                along = sign.expected * other.ratio
                return sign.excess < 0.6 * other.excess and sign.observed < 1.6 * along + 4 * sqrt(along)
        return False

    # --- shares ---------------------------------------------------------------------------------------------

    def _worse_servers(self) -> None:
        """One server does worse than its peers; the most telling sign names it."""
        order = {"reason": 0, "termination_state": 1, "outcome": 2}
        for sign in sorted(self._of("server"), key=lambda one: (order.get(one.what[0], 9), one.since)):
            if sign not in self._left or sign.what[0] not in order:
                continue
            if sign.observed < _LEAST_EVENTS or self._points_above(sign) < 0.02:
                self._drop(sign)
                continue
            cause = self._cause("server_worse", sign)
            self._take(cause, worse_explains)

    def _points_above(self, sign: Sign) -> float:
        """By how much the share of this is larger at the server than at its peers."""
        ledger, series = sign.panel.ledger, sign.alarm.series
        first, after = int(sign.since) // ledger.tick_s, int(self._until(sign)) // ledger.tick_s
        own, own_all = (
            ledger.series(series.counts, first, after).sum(),
            ledger.series(series.parts, first, after).sum(),
        )
        whole, whole_all = (
            ledger.series(series.trials, first, after).sum(),
            ledger.series(series.wholes, first, after).sum(),
        )
        rest = (whole - own) / max(1, whole_all - own_all)
        return float(own / max(1, own_all) - rest)

    def _latencies(self) -> None:
        for sign in sorted(self._of("latency"), key=_latency_order):
            if sign not in self._left:
                continue
            if sign.what[0] == "duration_ms" and sign.scope == FLEET:
                near = [one for one in self._of("latency") if one.scope == FLEET and meet(one, sign)]
                screens = [one for one in near if one.what[0] == "screen_ms"]
                if screens and _screen_is_slow(near):
                    self._take(self._cause("screen_latency", screens[0]), latency_explains)
                    continue
            if sign.scope == FLEET:
                where = self._mostly_at(sign)
            else:
                peers = {
                    machine(one.scope) for one in self._of("latency", sign.what[0]) if meet(one, sign)
                } - {machine(sign.scope)}
                where = FLEET if len(peers) >= 2 else sign.scope
            ordinary = self._mailing(sign) if sign.what[0] == "duration_ms" and where == FLEET else ""
            self._take(self._cause(_LATENCY_KINDS[sign.what[0]], sign, where), latency_explains, ordinary)
        for sign in self._of("delivery_latency"):
            if sign in self._left:
                self._take(
                    self._cause("delivery_latency", sign),
                    lambda _, other: other.detector == "delivery_latency",
                    self._mailing(sign),
                )
        for sign in self._of("size"):
            if sign in self._left:
                self._take(
                    self._cause("message_size", sign),
                    lambda _cause, other: other.detector == "size" or other.what[0].endswith("_ms"),
                    self._mailing(sign),
                )

    def _telling(self, sign: Sign) -> bool:
        """Whether a share's change is worth a finding by itself."""
        if sign.observed < _LEAST_EVENTS or not self._counts_too(sign) or sign.trials <= 0:
            return False
        points = sign.excess / sign.trials
        if points < 0.015:
            return False
        cause = self._cause("", sign)
        return self._one_client(sign, cause) is None

    def _shifted(self, kind: str, sign: Sign) -> None:
        """A share of the whole site's sessions: of one server alone, if it is behind it."""
        where = self._mostly_at(sign)
        if where == FLEET:
            self._take(self._cause(kind, sign), share_explains)
        else:
            self._take(self._cause("server_worse", sign, where), worse_explains)

    def _reasons(self) -> None:
        for sign in self._of("share", "reason"):
            if sign in self._left and self._telling(sign):
                self._shifted("reject_shift", sign)

    def _terminations(self) -> None:
        for sign in self._of("share", "termination_state"):
            if sign in self._left and self._telling(sign):
                self._shifted("termination_shift", sign)

    def _outcomes(self) -> None:
        for sign in self._of("share", "outcome", "screen", "test", "refused", "auth"):
            if sign in self._left and self._telling(sign):
                self._shifted("outcome_shift", sign)

    def _mail(self) -> None:
        for sign in self._of("destination"):
            if sign in self._left and sign.excess >= _LEAST_EVENTS and sign.excess >= 0.1 * sign.trials:
                where = sign.scope
                others = {one.scope for one in self._of("destination") if meet(one, sign)}
                self._take(
                    self._cause("deferrals", sign, FLEET if len(others) >= 5 else where), mail_explains
                )
        for sign in self._of("delivery"):
            if sign in self._left and sign.observed >= _LEAST_EVENTS and self._counts_too(sign):
                kind = "deferrals" if sign.what[1] == "deferred" else "bounces"
                self._take(self._cause(kind, sign), mail_explains)

    # --- volume ---------------------------------------------------------------------------------------------

    def _volumes(self) -> None:
        for sign in sorted(self._of("volume", up=None), key=lambda one: (one.scope != FLEET, one.since)):
            if sign not in self._left:
                continue
            slow = sign.detected - sign.since > _SLOW_S and not grows(sign)
            least, most = _SLOW_MODERATE if slow else _MODERATE
            if least * sign.expected < sign.observed < most * sign.expected:
                self._drop(sign)  # sites are as restless as that, for an hour
                continue
            if self._is_return(sign) or _at_weekends_edge(sign):
                self._drop(sign)
                continue
            cause = self._cause("drop" if not sign.up else "ramp" if grows(sign) else "surge", sign)
            ordinary = ""
            if sign.up:
                ordinary = self._newsletter(sign, cause)
                if not ordinary and sign.excess < _LEAST_EVENTS:
                    self._drop(sign)
                    continue
            self._take(cause, volume_explains, ordinary)

    def _is_return(self, sign: Sign) -> bool:
        """Whether it only came back, as the season goes, to what it was some hours ago: the level of the last
        minutes may have followed something that passed.
        """
        series, ledger = sign.alarm.series, sign.panel.ledger
        tick = ledger.tick_s
        first, after = int(sign.since) // tick, max(int(self._until(sign)), int(sign.since) + tick) // tick
        begin, end = first - _LONG_AGO_S[0] // tick, first - _LONG_AGO_S[1] // tick

        def usual(low: int, high: int) -> float:
            return float(series.season.at((np.arange(low, high, dtype=np.float64) + 0.5) * tick).mean())

        if begin < ledger.span()[0]:
            if series.trials or not self._all.of_other_days:
                return False
            ratio = sign.observed / max(usual(first, after) * tick * (after - first), 1.0)
            return 0.7 < ratio < 1.3
        before = float(ledger.series(series.counts, begin, end).sum())

        change = usual(first, after) / max(usual(begin, end), 1e-9)
        if not series.trials:
            if not series.season.days.std():
                return False
            ratio = sign.observed / max(before / (end - begin) * (after - first) * change, 1.0)
            return ratio < 1.3 if sign.up else ratio > 0.7
        tried = float(ledger.series(series.trials, begin, end).sum())
        if tried < _ENOUGH_BEFORE:
            return False
        now, due = sign.observed / max(sign.trials, 1.0), sign.expected / max(sign.trials, 1.0)
        once = before / tried * min(max(change, 0.5), 2.0)
        return abs(now - once) < 0.4 * abs(now - due)

    def _may_be_the_day(self, sign: Sign) -> bool:
        """Whether it took hours to be sure, where days are not known yet: evening and night differ."""
        return self._all.baseline.days < _LEAST_DAYS and sign.detected - sign.since > _SLOW_SHIFT_S

    def _mailing(self, sign: Sign) -> str:
        """Why a shift of sizes or delays may be one sender's doing: it brings a good part of all sessions,
        and more than before.
        """
        code = int(self._all.gathered.sessions.code_numbers("sessions", ["all"])[0])
        clients, until = self._all.gathered.clients, self._until(sign)
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

    def _newsletter(self, sign: Sign, cause: Cause) -> str:
        """Whether a few well-known senders bring what is above the ordinary, and get it delivered."""
        known = [(name, n) for name, n in cause.who.most_common(5) if not self._is_new(name, sign.since)]
        amount = sum(n for _, n in known)
        if amount < 0.6 * sign.excess:
            return ""
        names = [name for name, _ in known]
        bad = 0
        for family, value in (
            ("outcome", "rejected"),
            ("outcome", "screened"),
            ("outcome", "aborted"),
            ("outcome", "timeout"),
        ):
            code = self._all.gathered.sessions.code_numbers(family, [value])[0]
            top = self._all.gathered.clients.top([int(code)], sign.since, self._until(sign))
            bad += sum(top[name] for name in names)
        if bad > 0.3 * amount:
            return ""
        return f"{amount:.0f} sessions of {', '.join(names)}, known before and not refused: bulk mail"

    def _parts(self) -> None:
        for sign in self._of("part"):
            if sign in self._left and sign.excess >= 20 and self._until(sign) - sign.since >= 300:
                self._take(self._cause("imbalance", sign), lambda _cause, other: other.detector == "part")
