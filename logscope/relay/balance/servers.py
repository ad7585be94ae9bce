"""Servers as a backend sees them: which one is next, who waits, and what a change of state is logged as."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from math import gcd
from typing import Any

from logscope.relay.balance.settings import BackendSettings, Balance, ServerSettings


class Admin(StrEnum):
    """What an administrator wants of a server."""

    READY = "ready"
    DRAIN = "drain"
    MAINTENANCE = "maint"


@dataclass
class Server:
    """One server, now.

    Attributes:
        connections: sessions that it has, or that are being connected to it.
        up: what its checks say.
        health: checks in a row: from 0 (down) to rise + fall - 1 (up, and well).
        total: sessions it was ever given.
        moved: when, in order, its number of sessions last changed.
        due, carried: in which turn it comes next, and what its weight has left over; None before its first.
    """

    settings: ServerSettings
    up: bool = True
    admin: Admin = Admin.READY
    connections: int = 0
    health: int = 0
    total: int = 0
    moved: int = 0
    due: int | None = None
    carried: int = 0

    def __post_init__(self) -> None:
        # A server starts up, and the first check that fails takes it down.
        self.health = self.settings.rise

    @property
    def usable(self) -> bool:
        """Whether new sessions may go to it."""
        return self.up and self.admin is Admin.READY and self.settings.weight > 0

    @property
    def full(self) -> bool:
        limit = self.settings.max_connections
        return bool(limit) and self.connections >= limit

    def checked(self, passed: bool) -> bool | None:
        """A check has ended: the new state, or None when nothing changed."""
        highest = self.settings.rise + self.settings.fall - 1
        if passed:
            self.health = min(highest, self.health + 1)
            if not self.up and self.health >= self.settings.rise:
                self.up, self.health = True, highest
                return True
        elif self.up:
            self.health -= 1
            if self.health < self.settings.rise:
                self.up, self.health, self.due = False, 0, None
                return False
        else:
            self.health = 0
        return None


@dataclass(eq=False)
class Waiting:
    """A session that waits for a server; `resume` is called with the one it gets."""

    client: str
    resume: Callable[[Server], None]


@dataclass
class Backend:
    """The servers of a backend and the queue in front of them."""

    settings: BackendSettings
    servers: list[Server] = field(default_factory=list)
    connections: int = 0
    total: int = 0
    queue: deque[Waiting] = field(default_factory=deque)
    _moves: int = 0
    _turn: int = 0

    def __post_init__(self) -> None:
        self.servers = [Server(entry) for entry in self.settings.servers]

    @property
    def candidates(self) -> list[Server]:
        """Servers that new sessions may go to: backup servers only when there is no other, and then one."""
        active = [server for server in self.servers if server.usable and not server.settings.backup]
        return active or [server for server in self.servers if server.usable][:1]

    def choose(self, client: str, avoid: Server | None = None) -> Server | None:
        """The server for a client's next session; None when all are down or full.

        Args:
            client: the client's address.
            avoid: a server that was just tried, if there is another.
        """
        candidates = self.candidates
        if self.settings.balance is Balance.SOURCE and candidates:
            server = _by_source(candidates, client)  # whichever was tried before
            return None if server.full else server
        others = [server for server in candidates if server is not avoid]
        free = [server for server in others or candidates if not server.full]
        if not free:
            return None
        if self.settings.balance is Balance.LEAST_CONN:
            return min(free, key=_load)
        return self._in_turn(free)

    def take(self, server: Server) -> None:
        """A session goes to a server."""
        server.connections += 1
        server.total += 1
        self._moved(server)

    def give_back(self, server: Server) -> None:
        """It has left it."""
        server.connections -= 1
        self._moved(server)

    def _moved(self, server: Server) -> None:
        self._moves += 1
        server.moved = self._moves

    def may_redispatch(self, retries: int) -> bool:
        """Whether a session may now go to another server (`option redispatch`).

        That is for the last retry; but where servers take turns anyway, and there are several, HAProxy does
        it at the first (tried with 2.6).
        """
        takes_turns = self.settings.balance is Balance.ROUND_ROBIN and len(self.candidates) > 1
        return self.settings.redispatch and (retries == self.settings.retries or takes_turns)

    def _in_turn(self, servers: list[Server]) -> Server:
        """Weighted round robin as HAProxy does it, to the server.

        The turns are numbered. Each server has the turn in which it is due next, and moves on by as many as
        its share of the weights is small; what does not divide is carried over. Who has not had its first
        turn fills the gaps, the heaviest first.
        """
        now, self._turn = self._turn, self._turn + 1
        due = [server for server in servers if server.due is not None and server.due <= now]
        new = [server for server in servers if server.due is None]
        if due or not new:
            chosen = min(
                due or servers, key=lambda server: (server.due, server.carried - server.settings.weight)
            )
        else:
            chosen = max(new, key=lambda server: server.settings.weight)
        weight = chosen.settings.weight
        steps, rest = divmod(sum(server.settings.weight for server in servers), weight)
        carry, chosen.carried = divmod(chosen.carried + rest, weight)
        chosen.due = (now if chosen.due is None else chosen.due) + steps + carry
        return chosen

    def next_waiting(self) -> tuple[Waiting, Server] | None:
        """The first in the queue and a server that has room for it, if both are there."""
        while self.queue:
            server = self.choose(self.queue[0].client)
            if server is None:
                return None
            return self.queue.popleft(), server
        return None

    # --- what is logged of a change -----------------------------------------------------------------------

    def server_values(self, server: Server) -> dict[str, Any]:
        """The fields that name a server."""
        return {
            "backend": self.settings.name,
            "server": server.settings.name,
            "backup": server.settings.backup,
        }

    def counts_left(self, server: Server) -> dict[str, Any]:
        """Behind `is DOWN`: who is left, and what becomes of this server's sessions."""
        return {
            **self._counts(),
            "server_sessions": server.connections,
            "requeued_sessions": 0,
            "queued_sessions": len(self.queue),
        }

    def counts_online(self) -> dict[str, Any]:
        """Behind `is UP`: who is there now."""
        return {**self._counts(), "requeued_sessions": 0, "queued_sessions": len(self.queue)}

    def _counts(self) -> dict[str, Any]:
        usable = [server for server in self.servers if server.usable]
        active = sum(not server.settings.backup for server in usable)
        return {
            "active_servers": active,
            "backup_servers": len(usable) - active,
            "running_on_backup": not active and bool(usable),
        }


def _turn_of(server: Server) -> tuple[int, int]:
    """When a server is due; of those that are at the same time the heavier one."""
    return server.due or 0, server.carried - server.settings.weight


def _by_source(servers: list[Server], client: str) -> Server:
    """The same client comes to the same server as long as the set of servers stays.

    As in HAProxy (`balance source`, `hash-type map-based`): the words of the address, one XOR the other,
    point into a list in which every server stands as often as its weight says.
    """
    packed = ip_address(client).packed
    number = 0
    for at in range(0, len(packed), 4):
        number ^= int.from_bytes(packed[at : at + 4], "big")
    slots = _slots(tuple(server.settings.weight for server in servers))
    return servers[slots[number % len(slots)]]


@lru_cache(maxsize=64)
def _slots(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Servers by their places, spread as evenly as their weights allow."""
    share = gcd(*weights)
    earned = [0] * len(weights)
    total = sum(weights) // share
    found = []
    for _ in range(total):
        earned = [have + weight // share for have, weight in zip(earned, weights, strict=True)]
        whole = [(have + total) // total for have in earned]
        chosen = whole.index(max(whole))
        earned[chosen] -= total
        found.append(chosen)
    return tuple(found)


def _load(server: Server) -> tuple[float, int]:
    """What `balance leastconn` compares: the sessions that a server would have for its weight, none being
    less than that; and among equals, which has been so for the longest time.
    """
    busy = (server.connections + 1) / server.settings.weight if server.connections else 0.0
    return busy, server.moved
