"""Shares and latencies that changed: attacks of many, one server worse than its peers, slow parts, mail
that is not delivered."""

from __future__ import annotations

from collections import Counter
from functools import partial
from math import sqrt

from logscope.detect.anomalies.explain import (
    Cause,
    attack_explains,
    blocklist_explains,
    grows,
    latency_explains,
    machine,
    mail_explains,
    meet,
    share_explains,
    worse_explains,
)
from logscope.detect.anomalies.panels import FLEET, Scope
from logscope.detect.anomalies.signs import Sign
from logscope.detect.anomalies.sorting import LEAST_EVENTS, Sorter

_NEARLY_NONE, _SURELY = 0.4, 4.0
_HANDFUL = 6
_MUCH_SLOWER = 0.2
"""By how much more of a server's sessions must take long than of its peers', where that is all that shows."""
_MUCH_WAITS = 30
_LATENCY_KINDS = {
    "queue_ms": "queue_latency",
    "connect_ms": "connect_latency",
    "duration_ms": "session_latency",
    "screen_ms": "screen_latency",
}


def _screen_is_slow(signs: list[Sign]) -> bool:
    """Whether postscreen is what makes sessions long: nearly all of those that it ends are, of the others
    only those that are new to it.
    """

    def share(family: str) -> float:
        return max((one.observed / max(one.trials, 1) for one in signs if one.what[0] == family), default=0.0)

    return share("screen_ms") >= 0.85 and share("duration_ms") < 0.75


def _latency_order(sorter: Sorter, sign: Sign) -> tuple[bool, bool, bool, float]:
    """The whole site first, but for what one server alone does to it: a site that is a little slower would
    explain that, too. And what slows all sessions slows those that postscreen ends.
    """
    if sign.scope != FLEET:
        return True, True, sign.what[0] == "screen_ms", sign.since
    where = sorter.mostly_at(sign)
    one_alone = where != FLEET and bool(_beside_peers(sorter, sign, where))
    return False, not one_alone, sign.what[0] == "screen_ms", sign.since


def auth_outage(sorter: Sorter) -> None:
    """Nobody gets in any more: that is the password service, not an attack."""
    ledger = sorter.signs.gathered.sessions
    granted = [n for n, key in enumerate(ledger.codes.keys) if key == ("auth", "granted")]
    for sign in [*sorter.of("attack", "auth"), *sorter.of("share", "auth")]:
        if sign not in sorter.left or not granted:
            continue
        pairs = [(route, granted[0]) for route in range(len(ledger.routes))]
        first, after = int(sign.since) // ledger.tick_s + 1, int(sorter.until(sign)) // ledger.tick_s
        length = max(1, after - first)
        now = ledger.series(pairs, first, first + length).sum() / length
        before = ledger.series(pairs, first - 35, first - 5).sum() / 30
        if before * length >= 5 and now < 0.25 * before:
            sorter.take(sorter.cause("auth_outage", sign, FLEET), attack_explains)


def blocklists_silent(sorter: Sorter) -> None:
    for sign in [*sorter.of("share", "test", "refused", up=False)]:
        if sign not in sorter.left or sign.what[1] not in ("dnsbl", "listed"):
            continue
        if sign.observed <= 0.3 * sign.expected and sorter.counts_too(sign, _NEARLY_NONE):
            sorter.take(sorter.cause("dnsbl_down", sign), blocklist_explains)


def attacks(sorter: Sorter) -> None:
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
        sorter.of("attack"),
        key=lambda one: (order.index(one.what) if one.what in kinds else 99, one.since),
    ):
        if sign not in sorter.left or sign.what not in kinds:
            continue
        if _part_of_volume(sorter, sign):
            continue
        cause = sorter.cause(kinds[sign.what], sign, FLEET)
        if sign.excess < LEAST_EVENTS:
            sorter.drop(sign)
            continue
        one = sorter.one_client(sign, cause)
        if one is not None:
            sorter.drop(sign)  # one client alone is judged by what one client may do
            continue
        sorter.take(cause, attack_explains)


def _part_of_volume(sorter: Sorter, sign: Sign) -> bool:
    """Whether it grew only as everything grew."""
    growing = [one for one in sorter.of("drift") if grows(one)]
    for other in [*sorter.of("volume"), *growing]:
        if other.scope == FLEET and meet(other, sign):
            along = sign.expected * other.ratio
            return sign.excess < 0.6 * other.excess and sign.observed < 1.6 * along + 4 * sqrt(along)
    return False


def worse_servers(sorter: Sorter) -> None:
    """One server does worse than its peers; the most telling sign names it."""
    order = {"reason": 0, "termination_state": 1, "dialogue": 2, "outcome": 3}
    for sign in sorted(sorter.of("server"), key=lambda one: (order.get(one.what[0], 9), one.since)):
        if sign not in sorter.left or sign.what[0] not in order:
            continue
        if sign.observed < LEAST_EVENTS or points_above(sorter, sign) < 0.02:
            sorter.drop(sign)
            continue
        cause = sorter.cause("server_worse", sign)
        sorter.take(cause, worse_explains)
        # what shows over the whole site, and at this server, names it as soon as that is known
        cause.detected = min(one.detected for one in cause.signs if one.what == sign.what)


def points_above(sorter: Sorter, sign: Sign) -> float:
    """By how much the share of this is larger at the server than at its peers."""
    ledger, series = sign.panel.ledger, sign.alarm.series
    first, after = int(sign.since) // ledger.tick_s, int(sorter.until(sign)) // ledger.tick_s
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


def _queues(sorter: Sorter) -> None:
    """Destinations whose queue grows, though no larger a share of their mail is deferred: more comes."""
    grown = [sign for sign in sorter.of("queue") if sign.excess >= _MUCH_WAITS]
    for sign in grown:
        if sign not in sorter.left:
            continue
        others = {one.scope for one in grown if meet(one, sign)}
        cause = sorter.cause("queue_growth", sign, FLEET if len(others) >= 5 else sign.scope)
        cause.who, cause.clients = Counter(), 0  # their addresses are not clients
        sorter.take(cause, mail_explains, sorter.mailing(sign))


def latencies(sorter: Sorter) -> None:
    for sign in sorted(sorter.of("latency"), key=partial(_latency_order, sorter)):
        if sign not in sorter.left:
            continue
        if sign.what[0] == "duration_ms" and sign.scope == FLEET:
            near = [one for one in sorter.of("latency") if one.scope == FLEET and meet(one, sign)]
            screens = [one for one in near if one.what[0] == "screen_ms"]
            if screens and _screen_is_slow(near):
                sorter.take(sorter.cause("screen_latency", screens[0]), latency_explains)
                continue
        if sign.scope == FLEET:
            where = sorter.mostly_at(sign)
        else:
            peers = {machine(one.scope) for one in sorter.of("latency", sign.what[0]) if meet(one, sign)} - {
                machine(sign.scope)
            }
            where = FLEET if len(peers) >= 2 else sign.scope
        ordinary = sorter.mailing(sign) if sign.what[0] == "duration_ms" and where == FLEET else ""
        cause = sorter.cause(_LATENCY_KINDS[sign.what[0]], sign, where)
        peers_too = _beside_peers(sorter, sign, where)
        cause.since = max(cause.since, *(one.since for one in peers_too), 0.0)
        sorter.take(cause, partial(_slowness_explains, sorter), ordinary)
    for sign in sorter.of("latency_peer"):
        if sign in sorter.left and _is_slower(sorter, sign):
            sorter.take(sorter.cause(_LATENCY_KINDS[sign.what[0]], sign), latency_explains)
    for sign in sorter.of("delivery_latency"):
        if sign not in sorter.left:
            continue
        kind = "session_latency" if _sessions_last_longer(sorter, sign) else "delivery_latency"
        sorter.take(
            sorter.cause(kind, sign, sorter.mostly_at(sign)),
            lambda _, other: other.detector == "delivery_latency",
            sorter.mailing(sign),
        )
    for sign in sorter.of("size"):
        if sign in sorter.left:
            sorter.take(
                sorter.cause("message_size", sign),
                lambda _cause, other: other.detector == "size" or other.what[0].endswith("_ms"),
                sorter.mailing(sign),
            )


def _slowness_explains(sorter: Sorter, cause: Cause, sign: Sign) -> bool:
    """Of another phase of the whole site's sessions a slow server explains what happens there alone."""
    if cause.scope != FLEET and sign.scope == FLEET and cause.sign is not None:
        another = sign.detector == "latency" and sign.what[0] != cause.sign.what[0]
        if another and machine(sorter.mostly_at(sign)) != machine(cause.scope):
            return False
    return latency_explains(cause, sign)


def _is_slower(sorter: Sorter, sign: Sign) -> bool:
    return sign.excess >= LEAST_EVENTS and points_above(sorter, sign) >= _MUCH_SLOWER


def _beside_peers(sorter: Sorter, sign: Sign, where: Scope) -> list[Sign]:
    """What says the same of a server beside its peers: since when that is so is surer, for the whole site may
    have been slow before.
    """
    return [
        one
        for one in sorter.of("latency_peer", sign.what[0])
        if machine(one.scope) == machine(where) and meet(one, sign) and _is_slower(sorter, one)
    ][:1]


def _sessions_last_longer(sorter: Sorter, sign: Sign) -> bool:
    """Whether sessions with mail last longer while their messages wait before the queue: it is the dialogue
    that takes long then, and what waits is part of it.
    """
    if sign.what[0] != "before_queue_ms":
        return False
    panel = sorter.signs.panels["latency"]
    tick = panel.ledger.tick_s
    for at, series in enumerate(panel.series):
        if series.scope == FLEET and series.what[0] == "duration_ms":
            seen, due = panel.expected(at, int(sign.since) // tick, int(sorter.until(sign)) // tick)
            if seen - due >= _SURELY * sqrt(max(due, 1.0) * max(float(panel.scales[:, at].max()), 1.0)):
                return True
    return False


def _telling(sorter: Sorter, sign: Sign) -> bool:
    """Whether a share's change is worth a finding by itself."""
    if sign.observed < LEAST_EVENTS or not sorter.counts_too(sign) or sign.trials <= 0:
        return False
    points = sign.excess / sign.trials
    if points < 0.015:
        return False
    cause = sorter.cause("", sign)
    return sorter.one_client(sign, cause) is None


def _shifted(sorter: Sorter, kind: str, sign: Sign) -> None:
    """A share of the whole site's sessions: of one server alone, if it is behind it."""
    where = sorter.mostly_at(sign)
    if where == FLEET:
        sorter.take(sorter.cause(kind, sign), share_explains)
    else:
        sorter.take(sorter.cause("server_worse", sign, where), worse_explains)


def reasons(sorter: Sorter) -> None:
    for sign in sorter.of("share", "reason"):
        if sign in sorter.left and _telling(sorter, sign):
            _shifted(sorter, "reject_shift", sign)


def terminations(sorter: Sorter) -> None:
    for sign in sorter.of("share", "termination_state"):
        if sign in sorter.left and _telling(sorter, sign):
            _shifted(sorter, "termination_shift", sign)


def outcomes(sorter: Sorter) -> None:
    for sign in sorter.of("share", "dialogue", "outcome", "screen", "test", "refused", "auth"):
        if sign in sorter.left and _telling(sorter, sign):
            _shifted(sorter, "outcome_shift", sign)


def mail(sorter: Sorter) -> None:
    for sign in sorter.of("destination"):
        enough = sign.excess >= (_HANDFUL if sign.excess >= 0.5 * sign.trials else LEAST_EVENTS)
        if sign in sorter.left and enough and sign.excess >= 0.1 * sign.trials:
            where = sign.scope
            others = {one.scope for one in sorter.of("destination") if meet(one, sign)}
            sorter.take(sorter.cause("deferrals", sign, FLEET if len(others) >= 5 else where), mail_explains)
    _queues(sorter)
    for sign in sorter.of("delivery"):
        if sign in sorter.left and sign.observed >= LEAST_EVENTS and sorter.counts_too(sign):
            kind = "deferrals" if sign.what[1] == "deferred" else "bounces"
            sorter.take(sorter.cause(kind, sign), mail_explains)
