"""More or fewer sessions than usual, of the whole site or of a server."""

from __future__ import annotations

from logscope.detect.anomalies.explain import Cause, grows, volume_explains
from logscope.detect.anomalies.panels import FLEET
from logscope.detect.anomalies.returns import as_of_another_day, at_weekends_edge, is_return
from logscope.detect.anomalies.signs import Sign
from logscope.detect.anomalies.sorting import LEAST_EVENTS, Sorter

_MODERATE, _SLOW_MODERATE, _SLOW_S = (0.6, 1.4), (0.5, 2.0), 1800.0
"""Fewer or more sessions than these times the usual are worth a finding; if it took long to be sure, more."""


def volumes(sorter: Sorter) -> None:
    for sign in sorted(sorter.of("volume", up=None), key=lambda one: (one.scope != FLEET, one.since)):
        if sign not in sorter.left:
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
            ordinary = _newsletter(sorter, sign, cause)
            if not ordinary and sign.excess < LEAST_EVENTS:
                sorter.drop(sign)
                continue
        sorter.take(cause, volume_explains, ordinary)


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
