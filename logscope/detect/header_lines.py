"""Lines that tell of a PROXY header and belong to no session.

A mail server that waits for a header in vain logs `haproxy read: …` without an address (postscreen(8),
postscreen_upstream_proxy_timeout in postconf(5)), so no join can place the line; only how many there were,
where and when counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from logscope.detect.sample import Sample

REFUSED, TOLD, DIED = 1, 2, 3
"""What a line says: a header was missing or bad; a header came that was taken for mail; smtpd died of a
header that names no client, as 3.7 was seen to do of version 2 LOCAL."""

WAITED, SPOKE, NO_ADDRESS, LEFT = "waited", "spoke", "no_address", "left"
"""Why a header was no good: none came in time; the client's own words came; a header came that names no
client; the connection ended before one came."""
_REASONS = {
    "time limit exceeded": WAITED,  # postscreen
    "timeout error": WAITED,  # smtpd
    "unrecognized protocol header": SPOKE,
    "unsupported network protocol": NO_ADDRESS,  # version 2, AF_UNSPEC or a socket
    "EOF": LEFT,
    "unexpected EOF": LEFT,
    "lost connection": LEFT,
    "Connection reset by peer": LEFT,
}
_UNKNOWN = "UNKNOWN"
"""Protocol of a version 1 header without addresses. Postfix 3.7 was seen to refuse it: `bad or missing
protocol type: PROXY UNKNOWN`."""

MOST_REPEATS = 1000
MOST_EXAMPLES = 3


def reason_of(values: Mapping[str, Any]) -> str | None:
    """Of a line's values, one of the reasons; None for others."""
    if values.get("proxy_protocol") == _UNKNOWN or f"PROXY {_UNKNOWN}" in str(values.get("client_text")):
        return NO_ADDRESS
    return _REASONS.get(str(values.get("reason")))


@dataclass(frozen=True)
class Example:
    """A line, and where it stands."""

    source: str
    line_number: int
    text: str


@dataclass
class HeaderLines:
    """The lines of one meaning that one listener of one host wrote.

    Attributes:
        meaning: REFUSED or TOLD.
        count: lines, each as often as it says that it was repeated.
        kinds: how many lines of each kind; a session has one of a kind, and may have several kinds.
        reasons: how many lines gave which, of those that were looked at.
        first_at, last_at: ns since 1970; None without stamps.
        sample: when they were logged, each a session without length; of repeated lines that syslog told of as
            one the moments are spread over the time since the one before.
    """

    meaning: int
    mta_host: str | None
    service: str | None
    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str | None] = field(default_factory=Counter)
    first_at: int | None = None
    last_at: int | None = None
    sample: Sample = field(default_factory=Sample)
    examples: list[Example] = field(default_factory=list)

    @property
    def sessions(self) -> int:
        """Of how many sessions the lines are, as far as they tell."""
        return max(self.kinds.values(), default=0)

    def mostly(self, reason: str) -> bool:
        """Whether at least half of its lines have this reason."""
        return 0 < self.reasons.total() <= 2 * self.reasons[reason]

    def add(self, at: int | None, repeats: int, example: Example, kind: str = "") -> None:
        """Count one line."""
        self.count += repeats
        self.kinds[kind] += repeats
        if at is not None:
            before = at if self.last_at is None else min(self.last_at, at)
            moments = np.linspace(before, at, min(repeats, MOST_REPEATS) + 1)[1:].astype(np.int64)
            self.sample.add(np.stack([moments, moments], axis=1))
            self.first_at = at if self.first_at is None else min(self.first_at, at)
            self.last_at = at if self.last_at is None else max(self.last_at, at)
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(example)

    def join(self, other: HeaderLines) -> None:
        """Count what was gathered from another source."""
        self.count += other.count
        self.kinds += other.kinds
        self.reasons += other.reasons
        self.first_at = min((at for at in (self.first_at, other.first_at) if at is not None), default=None)
        self.last_at = max((at for at in (self.last_at, other.last_at) if at is not None), default=None)
        self.sample.join(other.sample)
        self.examples = (self.examples + other.examples)[:MOST_EXAMPLES]


def line_count(lines: Iterable[HeaderLines]) -> int:
    """How many lines there are of all of these."""
    return sum(one.count for one in lines)


def nameless(lines: Iterable[HeaderLines]) -> bool:
    """Whether headers come, but without an address."""
    return any(one.mostly(NO_ADDRESS) for one in lines)
