"""Servers and whole sites that no longer answer, and clocks that moved."""

from __future__ import annotations

from logscope.detect.anomalies.explain import (
    Cause,
    apart,
    comings,
    failing_explains,
    gone_explains,
    meet,
    outage_explains,
    same_clock,
    silence_explains,
    silent_since,
)
from logscope.detect.anomalies.panels import FLEET
from logscope.detect.anomalies.shifts import points_above
from logscope.detect.anomalies.sorting import LEAST_EVENTS, Sorter

_RESTART_S = 200.0
_FLAPS = 3
_LAST_S = 60.0


def silences(sorter: Sorter) -> None:
    for sign in sorted(sorter.of("volume", up=False), key=lambda one: (one.scope != FLEET, one.since)):
        if sign not in sorter.left:
            continue
        since = sign.since if sign.observed <= 0.12 * sign.expected else silent_since(sign)
        if since is None:
            continue
        cause = sorter.cause("silence", sign)
        cause.since = since
        length = sorter.until(sign) - sign.since
        if sign.until is None and length <= _LAST_S:
            sorter.drop(sign)  # the log ends there, and who comes late makes a silence of it
            continue
        gap = length < 110 and sign.until is not None
        sorter.take(
            cause,
            silence_explains,
            "a gap of less than two minutes, as log rotation makes" if gap else "",
        )


def no_server(sorter: Sorter) -> None:
    for sign in sorter.of("share", "outcome", "termination_state"):
        if sign not in sorter.left or sign.what != ("outcome", "no_server"):
            continue
        if sign.observed < LEAST_EVENTS or sign.observed < 0.3 * sign.trials:
            continue
        sorter.take(sorter.cause("no_server", sign, FLEET), outage_explains)


def gone_servers(sorter: Sorter) -> None:
    """Servers that got next to nothing while their peers worked."""
    down = sorter.of("part", up=False)
    times = {id(sign): max(sign.episodes, comings(sign)) for sign in down}
    gone = [one for one in down if one.observed <= 0.35 * one.expected or times[id(one)] >= _FLAPS]
    short = [
        sign
        for sign in gone
        if sign.episodes == 1 and sign.until is not None and sign.until - sign.since <= 420
    ]
    for sign in gone:
        if sign not in sorter.left:
            continue
        length = sorter.until(sign) - sign.since
        episodes = times[id(sign)]
        rolling = {
            other.scope
            for other in short
            if other.scope != sign.scope and abs(other.since - sign.since) <= 5400 and apart(other, sign)
        }
        cause = sorter.cause("flapping" if episodes >= _FLAPS else "server_silent", sign)
        ordinary = ""
        if episodes < _FLAPS and sign in short and rolling:
            ordinary = "the servers were away one after the other, as in a deployment"
        elif episodes < _FLAPS and sign.until is not None and length <= _RESTART_S:
            ordinary = "away for less than four minutes, as in a restart"
        if not ordinary:
            cause.detected = max(cause.detected, cause.since + 120)
        sorter.take(cause, gone_explains, ordinary)


def failing_servers(sorter: Sorter) -> None:
    """Servers of whose sessions many fail at once, whatever their logs lack or hide then."""
    for sign in sorter.of("server", "outcome"):
        if sign in sorter.left and sign.what[1] == "server_error" and points_above(sorter, sign) >= 0.3:
            sorter.take(sorter.cause("server_worse", sign), failing_explains)
    for sign in sorter.of("share", "outcome"):
        if sign not in sorter.left or sign.what[1] != "server_error" or sign.observed < LEAST_EVENTS:
            continue
        where = sorter.mostly_at(sign)
        if where != FLEET and any(
            meet(one, sign) for one in [*sorter.of("hops", "hops", "masked"), *sorter.of("server", "hops")]
        ):
            sorter.take(sorter.cause("server_worse", sign, where), failing_explains)


def clocks(sorter: Sorter) -> None:
    for change in sorter.signs.clocks:
        kind = "clock_drift" if change.drift else "clock_step"
        cause = Cause(
            kind, change.scope, change.since, change.detected, change.until, change.after_s,
            change.before_s, change.samples, clock=change,
        )  # fmt: skip
        if not any(same_clock(one, cause) for one in sorter.found):
            sorter.take(
                cause, lambda _cause, sign: sign.what[0] == "hops" or sign.what == ("outcome", "unknown")
            )
