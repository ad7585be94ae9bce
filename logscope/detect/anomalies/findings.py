"""Findings: what a cause means for the person on call, in numbers and in sentences."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np

from logscope.detect.anomalies.explain import Cause
from logscope.detect.anomalies.facts import MS_CLASSES, SIZE_CLASSES
from logscope.detect.anomalies.kinds import KINDS
from logscope.detect.anomalies.panels import FLEET
from logscope.detect.anomalies.sent import LEAST_FACTOR
from logscope.detect.anomalies.signs import Sign, Signs

NS = 1_000_000_000
_PLOT_BEFORE_S, _PLOT_AFTER_S = 3600.0, 1800.0
_MOST_POINTS = 360
_TELLING = 1.25
"""By what a median must have moved to say more than the share of what is slow."""
_STEP_MS, _DELAY_STEP_MS = 1, 10
"""HAProxy tells whole milliseconds, Postfix delays to the hundredth of a second
(delay_logging_resolution_limit).
"""
_SURE = 2.6
"""Standard deviations of the interval that is called expected: 99 of 100."""

_PARTS = {
    "queue_ms": "in the balancer's queue",
    "connect_ms": "connecting to the server",
    "duration_ms": "from accept to end",
    "screen_ms": "until postscreen ends them",
    "before_queue_ms": "before the queue manager",
    "in_queue_ms": "in the queue manager",
    "transmit_ms": "handing over",
}
_SHARES = {
    "reject_shift", "outcome_shift", "termination_shift", "server_worse", "mta_log_loss", "log_gap",
    "balancer_log_loss", "bypass", "masking", "no_server", "dnsbl_down", "deferrals", "bounces",
}  # fmt: skip
_PARTS_OF_BACKEND = {"server_silent", "imbalance", "flapping"}
_LATENCIES = {
    "queue_latency", "connect_latency", "session_latency", "screen_latency", "delivery_latency",
    "message_size",
}  # fmt: skip
_DOINGS = {
    "auth_guessing": ("refused passwords", 5),
    "auth_guessing_distributed": ("refused passwords", 5),
    "user_enumeration": ("unknown recipients", 10),
    "connection_scan": ("sessions broken off", 10),
    "connection_hoarding": ("minutes of connection", 10),
    "account_takeover": ("recipients", 10),
    "port_scan": ("listeners tried for the first time", 10),
}


@dataclass
class Finding:
    """A finding, as `logscope.schema.FINDINGS` describes it. Times are ns since 1970."""

    finding_id: str
    kind: str
    severity: str
    scope: str
    since: int
    until: int | None
    detected_at: int
    measure: str
    observed: float
    expected: float
    expected_low: float
    expected_high: float
    explanation: str
    doubt: str
    remedy: list[str]
    evidence: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The finding as plain values; times as RFC 3339 in UTC."""
        values = dict(vars(self))
        for name in ("since", "until", "detected_at"):
            values[name] = None if values[name] is None else _moment(values[name])
        for name in ("observed", "expected", "expected_low", "expected_high"):
            values[name] = float(f"{values[name]:.6g}")
        return values


def findings(causes: Sequence[Cause], signs: Signs) -> list[Finding]:
    """The findings of some causes, the gravest first, then by time."""
    order = {"critical": 0, "warning": 1, "info": 2}
    found = [finding(cause, signs) for cause in causes]
    return sorted(found, key=lambda one: (order[one.severity], one.since, one.finding_id))


def finding(cause: Cause, signs: Signs) -> Finding:
    """One finding."""
    kind = KINDS[cause.kind]
    measure, observed, expected, low, high = _numbers(cause, signs)
    scope = cause.scope.type if cause.scope == FLEET else f"{cause.scope.type} {cause.scope.name.lstrip('/')}"
    identity = f"{cause.kind}|{scope}|{int(cause.since) // 60}"
    return Finding(
        hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:12],
        cause.kind,
        _severity(cause, kind.severity, observed, expected),
        scope,
        int(cause.since * NS),
        None if cause.until is None else int(cause.until * NS),
        int(cause.detected * NS),
        measure,
        observed,
        expected,
        low,
        high,
        _explanation(cause, measure, observed, low, high),
        kind.doubt,
        [step.replace("{name}", cause.scope.name.lstrip("/") or "the server") for step in kind.steps],
        _evidence(cause, signs),
    )


def _severity(cause: Cause, usual: str, observed: float, expected: float) -> str:
    if cause.kind == "drop" and observed < 0.3 * expected:
        return "critical"
    if cause.kind == "server_worse" and observed - expected > 0.5:
        return "critical"
    return usual


# --- numbers ------------------------------------------------------------------------------------------------


def _numbers(cause: Cause, signs: Signs) -> tuple[str, float, float, float, float]:
    """Measure, observed, expected, and the interval that would be ordinary."""
    if cause.clock is not None:
        return "seconds ahead", cause.observed, cause.expected, cause.expected - 1, cause.expected + 1
    if cause.burst is not None and cause.burst.what:
        usual = cause.burst.usual
        return cause.burst.what, float(cause.burst.peak), usual, 0.0, usual * LEAST_FACTOR
    if cause.burst is not None:
        what, minutes = _DOINGS[cause.kind]
        peak = float(max(one for one in (cause.burst.peak, 0)))
        return f"{what} in {minutes} minutes", peak, 0.0, 0.0, float(cause.burst.usual)
    if cause.sign is None:
        length = max((signs.now_s if cause.until is None else cause.until) - cause.since, 60.0) / 60
        return "sessions a minute", cause.observed / length, 0.0, 0.0, 0.0
    sign = cause.sign
    if cause.kind in _LATENCIES:
        return _median_numbers(sign, signs)
    if cause.kind in _SHARES:
        return _share_numbers(sign)
    if cause.kind in _PARTS_OF_BACKEND:
        return _share_of(sign, "share of the backend's sessions")
    return _rate_numbers(sign, signs)


def _rate_numbers(sign: Sign, signs: Signs) -> tuple[str, float, float, float, float]:
    minutes = max(((signs.now_s if sign.until is None else sign.until) - sign.since) / 60, 1e-9)
    spread = _SURE * sqrt(max(sign.expected, 1.0) * max(sign.alarm.scale, 1.0))
    low, high = max(0.0, sign.expected - spread), sign.expected + spread
    unit = sign.alarm.series.unit
    return f"{unit} a minute", sign.observed / minutes, sign.expected / minutes, low / minutes, high / minutes


def _share_numbers(sign: Sign) -> tuple[str, float, float, float, float]:
    if not sign.alarm.series.parts:
        return _share_of(sign, f"share of {sign.alarm.series.unit}")
    # how often it happens at this server, against how often at its peers
    ledger, series = sign.panel.ledger, sign.alarm.series
    first = int(sign.since) // ledger.tick_s
    after = max(first + 1, int(sign.until) // ledger.tick_s if sign.until is not None else ledger.span()[1])
    own, own_all = (int(ledger.series(pairs, first, after).sum()) for pairs in (series.counts, series.parts))
    whole, whole_all = (
        int(ledger.series(pairs, first, after).sum()) for pairs in (series.trials, series.wholes)
    )
    usual = (whole - own) / max(1, whole_all - own_all)
    spread = _SURE * sqrt(max(usual * (1 - usual), 1e-4) / max(1, own_all) * max(sign.alarm.scale, 1.0))
    return (
        "share of the server's sessions",
        own / max(1, own_all),
        usual,
        max(0.0, usual - spread),
        min(1.0, usual + spread),
    )


def _share_of(sign: Sign, measure: str) -> tuple[str, float, float, float, float]:
    trials = max(sign.trials, 1.0)
    usual = sign.expected / trials
    spread = _SURE * sqrt(max(usual * (1 - usual), 1e-6) / trials * max(sign.alarm.scale, 1.0))
    return measure, sign.observed / trials, usual, max(0.0, usual - spread), min(1.0, usual + spread)


def _median_numbers(sign: Sign, signs: Signs) -> tuple[str, float, float, float, float]:
    """Median now, against that of the two hours before; the share that the test found changed, where only the
    slowest did, or nothing is known from before.
    """
    family, edge = sign.what
    size = family == "size"
    classes = SIZE_CLASSES if size else MS_CLASSES
    ledger = sign.panel.ledger
    codes = {str(value): n for n, (name, value) in enumerate(ledger.codes.keys) if name == family}
    series = sign.alarm.series
    routes = sorted({route for route, _ in series.trials})
    own = sorted({route for route, _ in series.parts}) or routes
    first = int(sign.since) // ledger.tick_s
    after = int(signs.now_s if sign.until is None else sign.until) // ledger.tick_s

    def counts(routes: list[int], begin: int, end: int) -> Any:
        return np.array(
            [
                ledger.series([(route, codes[one]) for route in routes], begin, end).sum()
                if one in codes
                else 0
                for one in classes
            ],
            np.float64,
        )

    now = counts(own, first, max(after, first + 1))
    if series.parts:  # against its peers, at the same time
        peers = sorted({route for route, _ in series.wholes} - set(own))
        before = counts(peers, first, max(after, first + 1))
    else:
        before = counts(routes, first - 7200 // ledger.tick_s, first)
    # how far a median of so many is from the true one, as a share of all values
    spread = _SURE * 0.5 * sqrt(max(sign.alarm.scale, 1.0) / max(now.sum(), 1.0))
    low, usual, high = _quantiles(before, classes, (max(0.5 - spread, 0.0), 0.5, min(0.5 + spread, 1.0)))
    (observed,) = _quantiles(now, classes, (0.5,))
    too_fine = observed < (_DELAY_STEP_MS if sign.detector == "delivery_latency" else _STEP_MS)
    hardly_moved = sign.up and observed < _TELLING * usual
    if too_fine or hardly_moved or not before.sum() or not (observed > high if sign.up else observed < low):
        if series.parts:
            return _share_numbers(sign)
        than = f"of {_bytes(float(edge))}" if size else f"that take {float(edge):,.0f} ms"
        return _share_of(sign, f"share of {sign.alarm.series.unit} {than} and more")
    return ("bytes, median" if size else "ms, median"), observed, usual, low, high


def _quantiles(counts: Any, classes: Sequence[str], parts: Sequence[float]) -> list[float]:
    """The values below which these parts are, linear within a class."""
    edges = np.array([float(one) for one in classes] + [float(classes[-1]) * 1.3])
    total = counts.sum()
    if not total:
        return [0.0 for _ in parts]
    summed = np.concatenate(([0.0], np.cumsum(counts))) / total
    return [float(np.interp(part, summed, edges)) for part in parts]


def _bytes(count: float) -> str:
    return f"{count / 1024:,.0f} KiB" if count >= 1024 else f"{count:,.0f} bytes"


# --- words --------------------------------------------------------------------------------------------------


def _explanation(cause: Cause, measure: str, observed: float, low: float, high: float) -> str:
    """A sentence: what, how much, against what is ordinary, and who is behind it."""
    title = KINDS[cause.kind].title
    text = f"{title[0].upper()}{title[1:]}{_subject(cause)}: {_amounts(cause, measure, observed, low, high)}."
    if (
        cause.kind
        in (
            "surge",
            "reject_shift",
            "outcome_shift",
            "termination_shift",
            "server_worse",
            "auth_guessing_distributed",
            "user_enumeration",
        )
        and cause.who
    ):
        text += " " + _who(cause)
    if cause.detail:
        text += f" {cause.detail}"
    if cause.sign is not None and cause.sign.episodes > 1:
        text += f" It came and went {cause.sign.episodes} times."
    return text


def _subject(cause: Cause) -> str:
    sign = cause.sign
    if cause.scope != FLEET:
        where = f" ({cause.scope.type} {cause.scope.name.lstrip('/')})"
    else:
        where = ""
    if sign is None or cause.kind in _PARTS_OF_BACKEND:
        return where
    family, value = sign.what
    if cause.kind in ("reject_shift", "termination_shift", "outcome_shift", "server_worse"):
        word = {
            "reason": "",
            "termination_state": "state ",
            "outcome": "outcome ",
            "screen": "postscreen: ",
            "test": "failed test ",
        }.get(family, "")
        if family == "hops":
            return f"{where}, without a word of the mail server"
        if family == "dialogue":
            return f"{where}, broken off in the dialogue"
        return f"{where}, {word}{value.replace('_', ' ') if family == 'outcome' else value}"
    if cause.kind == "session_latency" and family == "before_queue_ms":
        return f"{where}, and with them their messages' way into the queue"
    if cause.kind == "log_gap":
        return f"{where}, sessions lack its side"
    if cause.kind in _LATENCIES - {"message_size", "queue_latency", "connect_latency"}:
        return f"{where}, {_PARTS.get(family, family)}"
    return where


def _amounts(cause: Cause, measure: str, observed: float, low: float, high: float) -> str:
    if measure.startswith("share"):
        whole = measure.removeprefix("share of ")
        if cause.scope.type == "server" and cause.sign is not None and cause.sign.scope == FLEET:
            whole = f"all {whole}"  # counted over the site: the server's own would be taken for meant
        return f"{_percent(observed)} of {whole}, where {_percent(low)} to {_percent(high)} would be ordinary"
    if measure == "seconds ahead":
        return f"{observed:+.1f} s against the balancer's, where it was {cause.expected:+.1f} s"
    if cause.burst is not None and cause.burst.what:
        return (
            f"{_number(observed)} {measure} in {cause.burst.count:,} messages, where "
            f"{_number(cause.expected)} are its own and less than {_number(high)} would be ordinary"
        )
    if cause.burst is not None:
        total = f", {cause.observed:,.0f} in all" if cause.observed > observed else ""
        crowd = f" by one of {cause.clients}" if cause.clients > 1 else ""
        most = _number(high)
        return f"{_number(observed)} {measure}{crowd}{total}, where chance gives nobody more than {most}"
    if cause.sign is None:
        return f"{_number(observed)} {measure} ({cause.observed:,.0f} in all), and none before"
    return f"{_number(observed)} {measure}, where {_number(low)} to {_number(high)} would be ordinary"


def _who(cause: Cause) -> str:
    name, count = cause.who.most_common(1)[0]
    excess = max(cause.sign.excess, 1.0) if cause.sign is not None else float(sum(cause.who.values()))
    if cause.clients > 1 and count < 0.3 * excess:
        return f"About {cause.clients:,} clients; the busiest, {name}, has {count:,.0f}."
    return f"The busiest client is {name} with {count:,.0f}."


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %" if part < 0.0995 else f"{100 * part:.0f} %"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def _moment(nanoseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(nanoseconds // NS, UTC).isoformat()


# --- evidence -----------------------------------------------------------------------------------------------


def _evidence(cause: Cause, signs: Signs) -> dict[str, Any]:
    found: dict[str, Any] = {
        "contributors": [{"name": name, "count": int(count)} for name, count in cause.who.most_common(5)],
        "clients": int(cause.clients),
        "signs": [_told(sign) for sign in cause.signs[:12]],
        "series": _series(cause, signs),
        "sessions": _sessions(cause, signs),
    }
    if cause.burst is not None and cause.burst.details:
        found["details"] = [
            {"name": name, "count": count} for name, count in cause.burst.details.most_common(5)
        ]
    return found


def _told(sign: Sign) -> dict[str, Any]:
    where = sign.scope.type if sign.scope == FLEET else f"{sign.scope.type} {sign.scope.name.lstrip('/')}"
    return {
        "scope": where,
        "what": f"{sign.what[0]}={sign.what[1]}",
        "observed": round(sign.observed, 1),
        "expected": round(sign.expected, 1),
        "of": round(sign.trials, 1),
        "evidence": round(sign.alarm.strength * sign.panel.rules.threshold, 1),
    }


def _series(cause: Cause, signs: Signs) -> dict[str, Any] | None:
    """What was counted around the finding, for a plot."""
    if cause.sign is None:
        return None
    sign = cause.sign
    tick = sign.panel.ledger.tick_s
    low, high = sign.panel.ledger.span()
    first = max(low, int(cause.since - _PLOT_BEFORE_S) // tick)
    after = min(high, int(min(cause.end, signs.now_s) + _PLOT_AFTER_S) // tick)
    after = min(after, first + _MOST_POINTS)
    if after <= first:
        return None
    observed, expected = sign.panel.plotted(sign.alarm, first, after)
    return {
        "what": f"{sign.what[0]}={sign.what[1]}",
        "start": _moment(first * tick * NS),
        "step_s": tick,
        "observed": [round(one, 2) for one in observed],
        "expected": [round(one, 2) for one in expected],
    }


def _sessions(cause: Cause, signs: Signs) -> list[dict[str, Any]]:
    """Some of the sessions that it is about, with their lines where they are known."""
    gathered = signs.gathered
    if cause.burst is not None and not cause.burst.what:
        return gathered.examples_of(cause.burst.kind, list(cause.who))
    if cause.sign is None or cause.sign.panel.ledger is not gathered.sessions:
        return []
    return gathered.examples(cause.sign.alarm.series.counts, cause.since, min(cause.end, signs.now_s))
