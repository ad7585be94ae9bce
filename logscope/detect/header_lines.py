"""Lines that tell of a PROXY header and belong to no session.

A mail server that waits for a header in vain logs `haproxy read: …` without an address (postscreen(8),
postscreen_upstream_proxy_timeout in postconf(5)), so no join can place the line; only how many there were,
where and when counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from logscope.detect.sample import Sample

REFUSED, TOLD = 1, 2
"""What a line says: a header was missing or bad; a header came that was taken for mail."""

MOST_REPEATS = 1000
MOST_EXAMPLES = 3


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
        first_at, last_at: ns since 1970; None without stamps.
        sample: when they were logged, each a session without length; of repeated lines that syslog told of as
            one the moments are spread over the time since the one before.
    """

    meaning: int
    mta_host: str | None
    service: str | None
    count: int = 0
    first_at: int | None = None
    last_at: int | None = None
    sample: Sample = field(default_factory=Sample)
    examples: list[Example] = field(default_factory=list)

    def add(self, at: int | None, repeats: int, example: Example) -> None:
        """Count one line."""
        self.count += repeats
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
        self.first_at = min((at for at in (self.first_at, other.first_at) if at is not None), default=None)
        self.last_at = max((at for at in (self.last_at, other.last_at) if at is not None), default=None)
        self.sample.join(other.sample)
        self.examples = (self.examples + other.examples)[:MOST_EXAMPLES]
