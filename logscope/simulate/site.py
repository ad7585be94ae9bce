"""The site that is simulated: balancers, servers, how they log, and how long for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from logscope.errors import UsageError
from logscope.simulate.faults import Fault

PUBLIC_ADDRESS = "203.0.113.25"
PUBLIC_ADDRESS_6 = "2001:db8::25"
SERVICES = ("smtp", "submission")
FRONTENDS = ("ft_smtp", "ft_submission")
BACKENDS = ("bk_postfix", "bk_submission")
STREAMS = ("mail", "bots", "users", "monitor")
"""Who comes on an ordinary day."""


@dataclass(frozen=True)
class Host:
    """A machine that logs.

    Attributes:
        skew_s: seconds that its clock is ahead.
    """

    name: str
    address: str
    skew_s: float = 0.0


def servers(count: int) -> tuple[Host, ...]:
    """So many mail servers: mx-a, mx-b, …"""
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [letters[n % 26] + (str(n // 26) if n >= 26 else "") for n in range(count)]
    return tuple(Host(f"mx-{name}", f"172.20.5.{21 + n}") for n, name in enumerate(names))


def balancers(count: int, *, inner: bool = False) -> tuple[Host, ...]:
    """So many balancers: edge1, edge2, …; inner1, inner2, … for the second row."""
    name, first = ("inner", 128) if inner else ("edge", 4)
    return tuple(Host(f"{name}{n + 1}", f"172.20.5.{first + n}") for n in range(count))


def known_zone(name: str) -> None:
    """Check the name of a time zone.

    Raises:
        UsageError: there is none of this name.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"unknown zone {name!r}", hint="Write it like Europe/Berlin or UTC.") from error


@dataclass(frozen=True)
class Options:
    """What to simulate. The same options give the same sessions, whatever is made of them.

    Attributes:
        sessions: how many, before faults take some away or add others.
        start: of the first minute; UTC where it has no zone.
        duration_s: how long.
        seed: another one gives another week of the same site.
        balancers: side by side; each client is faithful to one.
        inner: a second row behind those, each session goes through one of each.
        shares: of the sessions, by stream: `mail` from other mail servers, `bots`, `users` who log in,
            a `monitor` that connects and quits.
        clients: how many addresses there are to come from; None: as many as fit the number of sessions.
        one_address: all sessions come from a single client.
        overlap: share of sessions that begin while their client has another one open or has just closed it.
        rhythm: 1 for the full swing of day and week, 0 for none.
        unrest: how far the rate wanders from its rhythm, hour by hour, beyond chance; 0.1 is 10 %.
        growth: of the rate from one week to the next; 0.05 is 5 %.
        zone: where the users live: the rhythm follows its clock, summer time included.
        holidays: days that are like a Sunday.
        talk: factor of the time that clients take, for sessions that overlap more.
        connect_ms: median of HAProxy's Tc.
        screen: whether postscreen stands before smtpd.
        smtpd_ports: whether smtpd logs the client's port (`smtpd_client_port_logging`).
        backend_port: whether the balancers' lines end in `%bi:%bp`.
        header: what the balancers send and the servers expect: `v1`, `v2`, or `none`, then all is masked.
        faults: what goes wrong, see `faults`.
    """

    sessions: int
    start: datetime = datetime(2026, 11, 23, tzinfo=UTC)
    duration_s: float = 7 * 86400.0
    seed: int = 1
    balancers: tuple[Host, ...] = field(default_factory=lambda: balancers(1))
    inner: tuple[Host, ...] = ()
    servers: tuple[Host, ...] = field(default_factory=lambda: servers(3))
    shares: tuple[float, ...] = (0.6, 0.29, 0.1, 0.01)
    clients: int | None = None
    one_address: bool = False
    overlap: float = 0.1
    rhythm: float = 1.0
    unrest: float = 0.0
    growth: float = 0.0
    zone: str = "UTC"
    holidays: tuple[date, ...] = ()
    talk: float = 1.0
    connect_ms: float = 1.5
    screen: bool = True
    smtpd_ports: bool = False
    backend_port: bool = False
    header: str = "v1"
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if self.sessions < 0:
            raise UsageError(f"{self.sessions} sessions cannot be simulated")
        if not 0 < self.duration_s <= 3660 * 86400:
            raise UsageError("a simulation lasts more than nothing and at most ten years")
        if not 1 <= len(self.servers) <= 64 or not 1 <= len(self.balancers) <= 16 or len(self.inner) > 16:
            raise UsageError("a site has 1 to 64 servers, 1 to 16 balancers, and at most 16 behind those")
        if len(self.shares) != len(STREAMS) or min(self.shares) < 0 or not 0 < sum(self.shares) < 1e9:
            raise UsageError(f"shares are {len(STREAMS)} numbers of at least 0: {', '.join(STREAMS)}")
        if self.header not in ("v1", "v2", "none"):
            raise UsageError(f"unknown header {self.header!r}; known: v1, v2, none")
        for name in ("overlap", "rhythm"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a share from 0 to 1")
        if not 0 <= self.unrest <= 2 or not -0.9 <= self.growth <= 10 or not 0 < self.talk <= 1000:
            raise UsageError("unrest is 0 to 2, growth -0.9 to 10, talk above 0 and at most 1000")
        if not all(isfinite(host.skew_s) and abs(host.skew_s) <= 86400 for host in self.servers):
            raise UsageError("a clock is wrong by at most a day")
        names = [host.name for host in (*self.servers, *self.balancers, *self.inner)]
        if len(set(names)) < len(names):
            raise UsageError("two hosts of a site have one name: " + ", ".join(names))
        if not 1971 <= self.start.year <= 2200:
            raise UsageError(f"a simulation begins between 1971 and 2200, not in {self.start.year}")
        known_zone(self.zone)

    @property
    def start_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        start = self.start if self.start.tzinfo else self.start.replace(tzinfo=UTC)
        return (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000

    @property
    def end_ns(self) -> int:
        """When nobody comes any more."""
        return self.start_ns + round(self.duration_s * 1e9)

    @property
    def population(self) -> int:
        """How many clients of the ordinary streams there are."""
        if self.one_address:
            return 1
        wanted = self.clients if self.clients is not None else min(self.sessions // 4, 1 << 16)
        return max(min(wanted, 1 << 22), 40)
