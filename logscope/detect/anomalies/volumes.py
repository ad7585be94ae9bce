"""More or fewer sessions than usual, of the whole site or of a server."""

from __future__ import annotations

import numpy as np

from logscope.detect.anomalies.explain import Cause, grows, volume_explains
from logscope.detect.anomalies.panels import FLEET
from logscope.detect.anomalies.returns import as_of_another_day, at_weekends_edge, is_return
from logscope.detect.anomalies.signs import Sign
from logscope.detect.anomalies.sorting import LEAST_EVENTS, Sorter

_GROWN, _BEYOND, _LOOK_S = 1.5, 1.3, 21_600.0
_A_MINUTE = 15
_MODERATE, _SLOW_MODERATE, _SLOW_S = (0.6, 1.4), (0.5, 2.0), 1800.0
"""Fewer or more sessions than these times the usual are worth a finding; if it took long to be sure, more."""


def volumes(sorter: Sorter) -> None:
    signs = [*sorter.of("volume", up=None), *sorter.of("drift")]
    for sign in sorted(signs, key=lambda one: (one.scope != FLEET, one.since)):
        if sign not in sorter.left:
            continue
        if sign.detector == "drift" and not (
            grows(sign) and sign.ratio >= _GROWN and _is_beyond_season(sign)
        ):
            sorter.drop(sign)
            continue
        slow = sign.detected - sign.since > _SLOW_S and not grows(sign)
        least, most = _SLOW_MODERATE if slow else _MODERATE
        if least * sign.expected < sign.observed < most * sign.expected:
            sorter.drop(sign)  # sites are as restless as that, for an hour
            continue
        if is_return(sorter, sign) or at_weekends_edge(sign):
            sorter.drop(sign)
            continue
        cause = sorter.cause("drop" if not sign.up else "ramp" if grows(sign) else "surge", sign)
        ordinary = as_of_another_day(sign)
        if sign.up and not ordinary:
            ordinary = _newsletter(sorter, sign, cause) or _monitor(sorter, sign, cause)
            if not ordinary and sign.excess < LEAST_EVENTS:
                sorter.drop(sign)
                continue
        sorter.take(cause, volume_explains, ordinary)


def _is_beyond_season(sign: Sign) -> bool:
    """Whether more comes than on the other days at this time: a long memory takes the end of a quiet day for
    growth.
    """
    tick = sign.panel.ledger.tick_s
    last = min(max(sign.detected, min(sign.end, sign.since + _LOOK_S)), sign.since + _LOOK_S)
    seconds = np.arange(sign.since, max(last, sign.since + tick), tick) + tick / 2
    observed, _ = sign.panel.plotted(
        sign.alarm, int(sign.since) // tick, int(sign.since) // tick + len(seconds)
    )
    return sum(observed) >= _BEYOND * tick * float(sign.alarm.series.season.at(seconds).sum())


def _monitor(sorter: Sorter, sign: Sign, cause: Cause) -> str:
    """Whether one new client that connects and quits is all there is."""
    name = sorter.one_client(sign, cause)
    if name is None or not sorter.is_new(name, sign.since):
        return ""
    code = sorter.signs.gathered.sessions.code_numbers("outcome", ["no_mail"])[0]
    quits = sorter.signs.gathered.clients.top([int(code)], sign.since, sorter.until(sign))[name]
    steady = cause.who[name] <= _A_MINUTE * max(sorter.until(sign) - sign.since, 60.0) / 60
    if quits < 0.9 * cause.who[name] or not steady:
        return ""
    return f"{name} connects and quits at a steady rate, as a monitor does"


def _newsletter(sorter: Sorter, sign: Sign, cause: Cause) -> str:
    """Whether a few well-known senders bring what is above the ordinary, and get it delivered."""
    known = [(name, n) for name, n in cause.who.most_common(5) if not sorter.is_new(name, sign.since)]
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
        code = sorter.signs.gathered.sessions.code_numbers(family, [value])[0]
        top = sorter.signs.gathered.clients.top([int(code)], sign.since, sorter.until(sign))
        bad += sum(top[name] for name in names)
    if bad > 0.3 * amount:
        return ""
    return f"{amount:.0f} sessions of {', '.join(names)}, known before and not refused: bulk mail"


def parts(sorter: Sorter) -> None:
    for sign in sorter.of("part"):
        if sign in sorter.left and sign.excess >= 20 and sorter.until(sign) - sign.since >= 300:
            sorter.take(sorter.cause("imbalance", sign), lambda _cause, other: other.detector == "part")
