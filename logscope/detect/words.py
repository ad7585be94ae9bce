"""What the masking verdict says, in words, and what its documents are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from logscope.detect.header_lines import NO_ADDRESS, HeaderLines
from logscope.detect.signals import Change
from logscope.detect.tally import Place
from logscope.detect.timeline import State

MASKED, UNEXPECTED, MISSING = "masked", "unexpected_header", "missing_header"
UPSTREAM = "masked_upstream"

Document = dict[str, Any]

COUNTS = (
    "balancer_sessions", "mta_sessions", "joined", "passed", "masked", "header_unexpected", "header_missing",
    "header_errors", "balancer_only", "mta_only", "health_checks", "past_the_balancer",
)  # fmt: skip
"""Numbers of the evidence."""


NAMELESS_TOO = (
    " It names no client (`PROXY UNKNOWN`), so a listener that expects one would refuse it: that has to be "
    "mended at the same time."
)
GATEWAY_AMONG = (
    "The gateway is {gateway}, a private address under which many different clients come: these are masked "
    "before they reach the balancer."
)
CAUSES = {
    "passed": "The mail server logs the clients' own addresses.",
    "same_addresses": (
        "The mail server names the clients' own addresses ({share:.0%} of them appear in both logs), though "
        "their sessions could not be joined: the clocks may be far apart."
    ),
    "same_addresses_there": (
        "The mail server names the clients' own addresses: {share:.0%} of those that it names are in the "
        "balancer's log, too. Most sessions that the balancer sent there are not in its log at all."
    ),
    MASKED: (
        "The mail server logs {peer} where the clients' addresses should be: the balancer sends no PROXY "
        "header, and the listener expects none."
    ),
    UNEXPECTED: (
        "The balancer sends a PROXY header that the listener does not expect: it takes it for the client's "
        "first command, and refuses or drops mail."
    ),
    MISSING: (
        "The listener expects a PROXY header that the balancer does not send: it refuses every session after "
        "waiting for it ({lines} lines `haproxy read: …`)."
    ),
    NO_ADDRESS: (
        "The balancer sends a PROXY header that names no client (`PROXY UNKNOWN`, or version 2 without an "
        "address): the listener refuses every session ({lines} lines `haproxy read: …`)."
    ),
    "masked_upstream": (
        "Balancer and mail server agree, but on {gateway}, a private address under which many different "
        "clients come: they are masked before they reach the balancer."
    ),
}
PLAIN = {
    "passed": "came with the client's address",
    MASKED: "came with the balancer's",
    UNEXPECTED: "had a PROXY header that was not expected",
    MISSING: "were refused for want of a PROXY header",
    UPSTREAM: "came from a gateway before the balancer",
}


def state_document(state: State) -> Document:
    """One of a target's states."""
    return {
        "verdict": state.kind,
        "since": moment(state.first),
        "until": moment(state.last),
        "sessions": state.sessions,
        "shares": {kind: round(count / state.sessions, 4) for kind, count in state.counts.items()},
    }


def change_document(change: Change | None, since: int | None) -> Document | None:
    """What was done shortly before, and how long before, in seconds."""
    if change is None or since is None:
        return None
    before_s = max(0, round((since - change.at) / 10**9))
    return {"at": moment(change.at), "host": change.host, "what": change.what, "seconds_before": before_s}


def places(found: Iterable[Place]) -> list[Document]:
    """Where lines stand, for the document."""
    return [{"source": place.source, "line_number": place.line_number} for place in found]


def texts(lines: Iterable[HeaderLines]) -> list[Document]:
    """Example lines about headers, for the document."""
    return [
        {"source": example.source, "line_number": example.line_number, "text": example.text}
        for one in lines
        for example in one.examples
    ]


def moment(ns: int | None) -> str | None:
    """RFC 3339 in UTC, with milliseconds."""
    if ns is None:
        return None
    seconds, rest = divmod(ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 10**6:03d}Z"


NOTHING_ELSE: Document = {
    "examples": [], "ongoing": False, "states": [], "began_after": None, "peers": [], "consequences": [],
    "signs": [], "nameless_header": False, "destinations": [],
}  # fmt: skip


def unknown(cause: str, evidence: Mapping[str, Any] | None = None, **known: Any) -> Document:
    """A target that cannot be judged."""
    names = ("frontend", "backend", "server", "mta_host", "service", "family")
    return {
        **dict.fromkeys(names),
        "verdict": "unknown",
        "cause": cause,
        "confidence": None,
        "share_masked": None,
        "since": None,
        "until": None,
        "evidence": dict.fromkeys(COUNTS, 0) | NOTHING_ELSE | dict(evidence or {}),
        "remedy": [],
        **known,
    }
