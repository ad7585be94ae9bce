"""What a balancer knows of one session, and the line it makes of that.

The termination state has two letters (configuration manual, section 8.5): who or what ended the session,
and in which phase it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from logscope.relay.header import Endpoint


class Phase(StrEnum):
    """How far a session has come; the value is the second letter."""

    REQUEST = "R"
    QUEUE = "Q"
    CONNECT = "C"
    DATA = "D"


class End(StrEnum):
    """Who or what ended a session; the value is the first letter."""

    NORMAL = "-"
    CLIENT = "C"
    SERVER = "S"
    CLIENT_TIMEOUT = "c"
    SERVER_TIMEOUT = "s"
    PROXY = "P"
    RESOURCE = "R"
    SERVER_DOWN = "D"
    KILLED = "K"


@dataclass(slots=True)
class Session:
    """One client connection as the balancer sees it. Times are seconds since 1970.

    Attributes:
        number: of the process's sessions, in order.
        client: as in the log: the PROXY header's client, when one was accepted.
        public: where the client connected.
        source, server_end: the balancer's own connection, once there is one.
        server: name of the chosen server, empty for none.
        assigned_at: when a server was found.
        connecting_at, connected_at: of the last attempt.
    """

    frontend: str
    backend: str
    client: Endpoint
    public: Endpoint
    accepted_at: float
    number: int = 0
    phase: Phase = Phase.REQUEST
    server: str = ""
    queued_at: float | None = None
    assigned_at: float | None = None
    left_queue_at: float | None = None
    connecting_at: float | None = None
    connected_at: float | None = None
    source: Endpoint | None = None
    server_end: Endpoint | None = None
    retries: int = 0
    redispatched: bool = False
    bytes_to_client: int = 0
    bytes_to_server: int = 0
    backend_queue: int = 0
    state: str = ""

    def end(self, end: End) -> bool:
        """Note how the session ends, if nothing was noted before. Returns whether it was the first."""
        if self.state:
            return False
        quiet = end is End.NORMAL or (end in (End.KILLED, End.SERVER_DOWN) and self.phase is Phase.DATA)
        phase = "-" if quiet else str(self.phase)
        # A client that resets its connection before the server is reached is seen as one that breaks off
        # the exchange (`CD`); only one that closes it properly counts as leaving the queue or the connect.
        self.state = f"{end}{phase}"
        return True

    def broke_off(self) -> None:
        """The client reset its connection, in whatever phase."""
        if not self.state:
            self.state = "CR" if self.phase is Phase.REQUEST else "CD"

    def values(self, now: float, as_soon: bool = False) -> dict[str, Any]:
        """The fields of the session's line in HAProxy's own format, apart from its date and counts.

        Args:
            as_soon: the line is written before the end, so totals are minimums (`option logasap`).
        """
        return {
            "client_address": self.client.address,
            "client_port": self.client.port,
            "frontend": self.frontend,
            "frontend_tls": False,
            "backend": self.frontend if self.state == "PR" else self.backend,
            "server": self.server or "<NOSRV>",
            "queue_ms": self._queue_ms(),
            "connect_ms": _ms(self.connecting_at, self.connected_at),
            "total_plus": as_soon,
            "duration_ms": round((now - self.accepted_at) * 1000),
            "bytes_plus": as_soon,
            "bytes_to_client": self.bytes_to_client,
            "termination_state": self.state or "--",
            "retries_plus": self.redispatched,
            "retries": self.retries,
            "server_queue": 0,
            "backend_queue": self.backend_queue,
        }

    def further_values(self, as_soon: bool = False) -> dict[str, Any]:
        """What a format of one's own may name beside the fields of `option tcplog`."""
        return {
            "upload_plus": as_soon,
            "bytes_to_server": self.bytes_to_server,
            "handshake_ms": 0,
            "request_counter": self.number,
            "accepted_ms": f"{int(self.accepted_at * 1000) % 1000:03}",
            **self.ends(),
        }

    def _queue_ms(self) -> int:
        """Tw: until a server was found; until the end of the wait when none was."""
        return _ms(self.accepted_at, self.assigned_at or self.left_queue_at)

    def ends(self) -> dict[str, Any]:
        """The addresses of both connections, as far as they are there."""
        found: dict[str, Any] = {
            "frontend_address": self.public.address,
            "frontend_port": self.public.port,
        }
        if self.source is not None and self.server_end is not None:
            found |= {
                "source_address": self.source.address,
                "source_port": self.source.port,
                "server_address": self.server_end.address,
                "server_port": self.server_end.port,
            }
        return found


def _ms(start: float | None, end: float | None) -> int:
    return -1 if start is None or end is None else max(0, round((end - start) * 1000))
