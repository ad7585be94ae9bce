"""Sees which log lines belong to which connection, for the truth that joins are scored on.

A client's connection is known by its address and port, the balancer's own by the port it has towards the
server. Nothing is inferred from times: the relay wrote the lines itself.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from logscope.relay.balance.session import Session
from logscope.relay.header import Endpoint

_MOST = 10_000
"""Connections that are remembered until somebody asks."""


@dataclass
class Served:
    """A connection as a mail server had it: its lines by hop, and the queue ids it was given."""

    host: str
    client: Endpoint
    lines: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    queue_ids: list[str] = field(default_factory=list)

    def note(self, kind: str, line: int, values: dict[str, Any]) -> None:
        """A line was written for this connection."""
        hop = {"postscreen": "screen", "smtpd": "smtpd"}.get(kind.partition(".")[0])
        if hop:
            self.lines[hop].append(line)
        if kind == "smtpd.client":
            self.queue_ids.append(values["queue_id"])


@dataclass
class Witness:
    """What was seen of connections that have ended."""

    _balanced: dict[Endpoint, list[tuple[Session, int | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _served: dict[Endpoint, list[Served]] = field(default_factory=lambda: defaultdict(list))

    def balanced(self, session: Session, line: int | None) -> None:
        """A balancer's session has ended; `line` is the number of its line, if it has one."""
        self._balanced[session.client].append((session, line))

    def served(self, peer: Endpoint, served: Served) -> None:
        """A mail server's connection has ended."""
        self._served[peer].append(served)
        if len(self._served) > _MOST:
            del self._served[next(iter(self._served))]  # nobody has asked: a health check

    def of_client(self, client: Endpoint, through_balancer: bool) -> dict[str, Any] | None:
        """What belongs to a client's connection; None when it has not ended everywhere.

        Each call takes what it hands out, so that a port that is used again begins anew.
        """
        if not through_balancer:
            served = self._take(client)
            return None if served is None else _of_server(served)
        seen = self._balanced.get(client)
        if not seen:
            return None
        session, line = seen[0]
        found: dict[str, Any] = {}
        if session.source is not None:
            served = self._take(session.source)
            if served is None:
                return None
            found = _of_server(served)
        self._balanced[client].pop(0)
        if not self._balanced[client]:
            del self._balanced[client]
        lines = found.pop("lines", {})
        if line is not None:
            lines = {"balancer": [line], **lines}
        return {
            "frontend": session.frontend,
            "backend": session.backend,
            "accepted_at": session.accepted_at,
            "termination_state": session.state,
            **({"lb_conns": [_connection(session)]} if session.source else {}),
            **found,
            "lines": lines,
        }

    def _take(self, peer: Endpoint) -> Served | None:
        seen = self._served.get(peer)
        if not seen:
            return None
        served = seen.pop(0)
        if not seen:
            del self._served[peer]
        return served


def _of_server(served: Served) -> dict[str, Any]:
    return {
        "mta_host": served.host,
        "seen_as": str(served.client),
        "logged_queue_ids": served.queue_ids,
        "lines": {hop: served.lines[hop] for hop in ("screen", "smtpd") if served.lines.get(hop)},
    }


def _connection(session: Session) -> dict[str, str]:
    return {"src": str(session.source), "dst": str(session.server_end)}
