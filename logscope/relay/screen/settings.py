"""What a screen is told, and what it remembers of its clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from logscope.relay.addresses import Network, is_in


class ScreenTest(StrEnum):
    """The tests, in the order in which a client meets them."""

    PREGREET = "pregreet"
    DNSBL = "dnsbl"
    PIPELINING = "pipelining"
    NON_SMTP = "non_smtp_command"
    BARE_NEWLINE = "bare_newline"


EARLY = frozenset({ScreenTest.PREGREET, ScreenTest.DNSBL})
"""Made before the client may speak; the others talk to it, so that it must come again to deliver."""
DEEP = frozenset(ScreenTest) - EARLY


_LIFETIMES = {ScreenTest.PREGREET: 86_400.0, ScreenTest.DNSBL: 3600.0}
"""Seconds for which a passed test holds, where it is not the month of the deep tests."""


class Action(StrEnum):
    """What a failed test leads to: nothing, a refusal of every recipient, or the end of the connection."""

    IGNORE = "ignore"
    ENFORCE = "enforce"
    DROP = "drop"


@dataclass(frozen=True)
class DnsList:
    """A blocklist, or with a negative weight an allowlist: `domain=pattern*weight` of
    `postscreen_dnsbl_sites`.

    Attributes:
        results: answers that count, such as `127.0.0.2`; all when empty.
    """

    domain: str
    weight: int = 1
    results: frozenset[str] = frozenset()

    def score(self, answers: list[str]) -> int:
        """What a client is given for these answers: the weight, once."""
        listed = any(not self.results or answer in self.results for answer in answers)
        return self.weight if listed else 0


@dataclass(frozen=True)
class ScreenSettings:
    """How a screen works. Names and defaults follow `postscreen_*` in postconf(5).

    Attributes:
        tests: those that are made.
        actions: what each leads to; `ignore` when not named.
        greet_wait_s: how long a client must be silent.
        teaser: the first line of a greeting whose second comes after that time; none when empty.
        allow, deny: networks that are let through, and refused, without a test; the first match counts.
        time_to_live_s: how long a passed test need not be repeated.
        client_limit: connections of one address at once.
        screening_limit: clients in tests at once.
        command_limit, command_time_limit_s, line_limit: of the dialogue with a client that is not let
            through.
    """

    hostname: str
    tests: frozenset[ScreenTest] = EARLY
    actions: dict[ScreenTest, Action] = field(default_factory=dict)
    deny_action: Action = Action.ENFORCE
    greet_wait_s: float = 6.0
    teaser: str | None = None
    dns_lists: tuple[DnsList, ...] = ()
    dnsbl_threshold: int = 1
    dnsbl_allow_threshold: int = 0
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    time_to_live_s: dict[ScreenTest, float] = field(default_factory=dict)
    client_limit: int = 50
    screening_limit: int = 100
    command_limit: int = 20
    command_time_limit_s: float = 300.0
    line_limit: int = 2048
    message_limit: int = 10_240_000
    tls: bool = False

    @property
    def banner(self) -> str:
        return f"{self.hostname} ESMTP Postfix"

    @property
    def teaser_line(self) -> str:
        """The first half of the greeting, empty for none."""
        text = self.banner if self.teaser is None else self.teaser
        return f"220-{text}\r\n" if text else ""

    @property
    def wanted(self) -> frozenset[ScreenTest]:
        """The tests that can be made: looking up lists needs lists."""
        return self.tests if self.dns_lists else self.tests - {ScreenTest.DNSBL}

    def action(self, test: ScreenTest) -> Action:
        return self.actions.get(test, Action.IGNORE)

    def lifetime(self, test: ScreenTest) -> float:
        return self.time_to_live_s.get(test, _LIFETIMES.get(test, 30 * 86_400.0))

    def listed(self, address: str) -> bool | None:
        """True for allowed, False for denied, None for neither."""
        for networks, verdict in ((self.allow, True), (self.deny, False)):
            if is_in(address, networks):
                return verdict
        return None


@dataclass
class ClientRecord:
    """What connections of one address share while there is one.

    Attributes:
        expires: when each passed test must be repeated.
        told_new: a `PASS NEW` was logged; further sessions of this time are `PASS OLD`.
    """

    connections: int = 0
    expires: dict[ScreenTest, float] = field(default_factory=dict)
    told_new: bool = False


@dataclass
class DnsLookup:
    """The lookups for one address, shared by its connections."""

    pending: set[str]
    answers: dict[str, list[str]] = field(default_factory=dict)
    waiting: list[Callable[[float], None]] = field(default_factory=list)
    users: int = 0


@dataclass
class Memory:
    """What one screen remembers of all its clients.

    Attributes:
        passed: the temporary allowlist: address → when its tests must be repeated.
        clients: those that are connected.
        screening: how many are in tests.
        lookups: DNS lookups that somebody waits for, or has yet to read.
    """

    passed: dict[str, dict[ScreenTest, float]] = field(default_factory=dict)
    clients: dict[str, ClientRecord] = field(default_factory=dict)
    screening: int = 0
    lookups: dict[str, DnsLookup] = field(default_factory=dict)
    limit: int = 100_000

    def remember(self, address: str, expires: dict[ScreenTest, float], now: float) -> None:
        """Keep what a client has passed; when there are too many, those whose tests are stale go first."""
        if len(self.passed) >= self.limit:
            self.passed = {
                key: kept for key, kept in self.passed.items() if max(kept.values(), default=0) > now
            }
            while len(self.passed) >= self.limit:
                del self.passed[next(iter(self.passed))]
        self.passed[address] = dict(expires)
