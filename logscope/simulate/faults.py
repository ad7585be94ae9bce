"""What can go wrong, by name, and the label that says when it did.

A fault has a kind, a beginning, a length, a size whose meaning is the kind's own (see `KINDS`), and where
it fits a server, a balancer, a service or a destination. Hard negatives are kinds too: they look unusual
and are in order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

from logscope.errors import UsageError


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        size: what the size means.
        usual: the size where none is said.
        scope: what it strikes: fleet, balancer, server, client, network, destination, user or service.
        negative: it looks like a fault and is in order.
    """

    meaning: str
    size: str
    usual: float
    scope: str = "fleet"
    negative: bool = False


KINDS: dict[str, Kind] = {
    "surge": Kind("more of all sessions", "factor of the rate", 2.0),
    "drop": Kind("fewer of all sessions", "share that is missing", 0.5),
    "silence": Kind("no session at all", "share that is missing", 1.0),
    "ramp": Kind("the rate grows evenly", "factor at the end", 3.0),
    "heavy_client": Kind("a new client sends much", "sessions a minute", 20.0, "client"),
    "heavy_network": Kind("a new network sends much", "sessions a minute", 40.0, "network"),
    "rejects": Kind("sessions are refused by a rule", "share", 0.2),
    "aborts": Kind("clients leave in mid-session", "share", 0.2),
    "auth_guessing": Kind("one address tries passwords", "sessions a minute", 4.0, "client"),
    "auth_guessing_distributed": Kind("many addresses try passwords", "addresses", 200.0),
    "pregreet_wave": Kind("bots that talk too early", "sessions a minute", 60.0),
    "dnsbl_surge": Kind("clients on the blocklists", "sessions a minute", 60.0),
    "dnsbl_down": Kind("the blocklists do not answer", "share", 1.0),
    "slow_queue": Kind("sessions wait in the balancer's queue", "milliseconds, mean", 500.0),
    "slow_connect": Kind("connecting to the servers takes longer", "factor", 4.0, "server"),
    "slow_screen": Kind("postscreen takes longer", "factor", 2.0, "server"),
    "slow_session": Kind("the dialogue takes longer", "factor", 3.0, "server"),
    "slow_delivery_before_queue": Kind("mail takes longer to come in", "factor", 4.0),
    "slow_delivery_in_queue": Kind("the queue manager is slow", "factor", 50.0),
    "slow_delivery_connect": Kind("connecting to the next hop takes longer", "factor", 10.0),
    "slow_delivery_transmit": Kind("handing over takes longer", "factor", 10.0),
    "server_rejects": Kind("a server refuses what its peers take", "share", 0.1, "server"),
    "server_down": Kind("a server is down and gets nobody", "share", 1.0, "server"),
    "server_cut": Kind("a server cuts sessions", "share", 0.2, "server"),
    "imbalance": Kind("a server gets more than its peers", "factor", 3.0, "server"),
    "flapping": Kind("a server goes down and up", "times an hour", 12.0, "server"),
    "no_server": Kind("no server is left", "share", 1.0),
    "deferrals": Kind("a destination takes no mail for now", "share", 0.9, "destination"),
    "bounces": Kind("mail is returned", "share", 0.3),
    "backscatter": Kind("bounces of mail that nobody here sent", "sessions a minute", 40.0),
    "slow_client": Kind("a client holds connections open", "connections", 50.0, "client"),
    "user_enumeration": Kind("a client tries out recipients", "sessions a minute", 20.0, "client"),
    "port_scan": Kind("a client connects and leaves", "sessions a minute", 60.0, "client"),
    "account_takeover": Kind("a user sends much, to many", "sessions a minute", 10.0, "user"),
    "large_messages": Kind("messages are larger", "factor", 10.0),
    "mta_log_loss": Kind("a server's lines are lost", "share", 0.3, "server"),
    "balancer_log_loss": Kind("the balancer's lines are lost", "share", 0.3, "balancer"),
    "log_gap": Kind("a server logs nothing", "share", 1.0, "server"),
    "bypass": Kind("clients go past the balancer", "sessions a minute", 10.0, "server"),
    "clock_step": Kind("a server's clock is wrong", "seconds", 5.0, "server"),
    "clock_drift": Kind("a server's clock runs away", "seconds an hour", 10.0, "server"),
    "masked": Kind("the balancer hides its clients", "share", 1.0, "server"),
    "header_missing": Kind("the server expects a PROXY header that does not come", "share", 1.0, "server"),
    "header_unexpected": Kind("a PROXY header comes that nobody expects", "share", 1.0, "server"),
    "newsletter": Kind("a known sender sends to all its readers", "sessions a minute", 30.0, "client", True),
    "monitor": Kind("a new monitor connects and quits", "sessions a minute", 6.0, "client", True),
    "deployment": Kind("the servers go down one after the other", "seconds each", 120.0, "fleet", True),
    "rotation_gap": Kind("a server's lines are missing for a moment", "share", 1.0, "server", True),
}

DESTINATIONS = 40
"""Next hops of the users' mail; the first few get most of it."""
SCOPES = ("server", "balancer", "service", "destination")
_HEADERS = {"masked", "header_missing", "header_unexpected"}
_STRIKE_ONE = {
    "server": {kind for kind, known in KINDS.items() if known.scope == "server"}
    | _HEADERS
    | {"slow_queue", "dnsbl_down", "rotation_gap"},
    "balancer": {"balancer_log_loss"},
    "service": _HEADERS
    | {"heavy_client", "heavy_network", "user_enumeration", "port_scan", "backscatter", "newsletter"}
    | {"auth_guessing", "auth_guessing_distributed", "pregreet_wave", "dnsbl_surge", "slow_client", "bypass"},
    "destination": {"deferrals"},
}
"""Kinds that can strike one server, one balancer, one service, one destination."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        kind: one of `KINDS`.
        start_s: seconds after the simulation's start.
        duration_s: how long; None to the end.
        size: in the kind's own measure; None for the usual one.
        server, balancer, destination: number of the one it strikes; None for all (a destination: the
            busiest).
        service: `smtp` or `submission`; None for both.
    """

    kind: str
    start_s: float
    duration_s: float | None = None
    size: float | None = None
    server: int | None = None
    balancer: int | None = None
    service: str | None = None
    destination: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown fault {self.kind!r}; known: {', '.join(KINDS)}")
        if self.size is not None and not (isfinite(self.size) and abs(self.size) <= 1e9):
            raise UsageError(f"{self.kind}: {self.size} is no size")
        usual = KINDS[self.kind]
        if usual.size.startswith("share") and not 0 <= self.magnitude <= 1:
            raise UsageError(f"{self.kind}: the size is a share from 0 to 1, not {self.magnitude:g}")
        if self.magnitude < 0 and not self.kind.startswith("clock"):
            raise UsageError(f"{self.kind}: the size is not below 0")
        if not isfinite(self.start_s) or (self.duration_s is not None and not 0 < self.duration_s < 1e10):
            raise UsageError(f"{self.kind}: it begins at some time and lasts for more than nothing")
        if self.service not in (None, "smtp", "submission"):
            raise UsageError(f"{self.kind}: unknown service {self.service!r}; known: smtp, submission")

    @property
    def magnitude(self) -> float:
        """The size, the usual one where none was said."""
        return KINDS[self.kind].usual if self.size is None else self.size

    def end_s(self, until_s: float) -> float:
        """When it is over, at most `until_s`."""
        return until_s if self.duration_s is None else min(self.start_s + self.duration_s, until_s)


_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)")


def seconds(text: str) -> float:
    """The seconds that `90`, `15m`, `2h`, `3d12h` stand for.

    Raises:
        UsageError: it is none of these.
    """
    parts = _LENGTH.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{text!r} is no length of time", hint="Write it like 90s, 15m, 2h or 3d12h.")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_fault(text: str, servers: tuple[str, ...] = (), balancers: tuple[str, ...] = ()) -> Fault:
    """The fault that `KIND@START[+LENGTH][:name=value,…]` describes, such as `masked@2d+6h:server=mx-b`.

    Args:
        text: as on the command line; the names are size, server, balancer, service, destination.
        servers, balancers: the names that hosts are known by.

    Raises:
        UsageError: it cannot be read, or names what is not there.
    """
    head, _, tail = text.partition(":")
    kind, at, when = head.partition("@")
    hint = "Write it like surge@2d+15m:size=3 or masked@36h:server=mx-b."
    if not at:
        raise UsageError(f"fault {text!r} says not when", hint=hint)
    start, plus, length = when.partition("+")
    values: dict[str, str] = {}
    for part in filter(None, tail.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name not in ("size", *SCOPES):
            raise UsageError(
                f"fault {text!r}: {part!r} is none of size=, server=, balancer=, service=, destination=",
                hint=hint,
            )
        values[name] = value
    for name in set(SCOPES) & values.keys():
        if kind in KINDS and kind not in _STRIKE_ONE[name]:
            raise UsageError(f"fault {text!r}: {kind} strikes no single {name}", hint=f"Leave {name}= out.")
    return Fault(
        kind,
        seconds(start),
        seconds(length) if plus else None,
        _number(text, values.get("size")),
        _place(text, "server", values.get("server"), servers),
        _place(text, "balancer", values.get("balancer"), balancers),
        values.get("service"),
        None if "destination" not in values else _destination(text, values["destination"]),
    )


def _destination(text: str, value: str) -> int:
    if not (value.isdecimal() and int(value) < DESTINATIONS):
        raise UsageError(
            f"fault {text!r}: there is no destination {value!r}; there are 0 to {DESTINATIONS - 1}"
        )
    return int(value)


def _number(text: str, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except ValueError as error:
        raise UsageError(f"fault {text!r}: {value!r} is no number") from error


def _place(text: str, what: str, name: str | None, names: tuple[str, ...]) -> int | None:
    if name is None:
        return None
    if name not in names:
        raise UsageError(f"fault {text!r}: there is no {what} {name!r}; there are {', '.join(names)}")
    return names.index(name)
