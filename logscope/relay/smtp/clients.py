"""What is counted for each client address: connections at once, and connections, mails and recipients in a
while.

The counts of Postfix's anvil(8), with its defaults: a window of 60 seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClientLimits:
    """Limits for one client address; 0 for none. Names and defaults as `smtpd_client_*` in postconf(5)."""

    connection_count: int = 50
    connection_rate: int = 0
    message_rate: int = 0
    recipient_rate: int = 0
    auth_rate: int = 0
    window_s: float = 60.0


@dataclass
class ClientCounts:
    """Counts of all clients of one server."""

    window_s: float = 60.0
    connected: Counter[str] = field(default_factory=Counter)
    _events: Counter[tuple[str, str]] = field(default_factory=Counter)
    _window_began: float = 0.0

    def connect(self, address: str, now: float) -> tuple[int, int]:
        """A client has connected: how many connections it has now, and how many it made in this window."""
        self.connected[address] += 1
        return self.connected[address], self.count("connection", address, now)

    def disconnect(self, address: str) -> None:
        """A client has gone."""
        self.connected[address] -= 1
        if self.connected[address] <= 0:
            del self.connected[address]

    def count(self, event: str, address: str, now: float) -> int:
        """Count an event of a client: how many there were in this window."""
        if now - self._window_began >= self.window_s:
            self._events.clear()
            self._window_began = now
        self._events[event, address] += 1
        return self._events[event, address]
