"""A balancer on real sockets: accepts, chooses a server, connects, copies both ways, and logs how it went."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any

from logscope.relay.balance.servers import Admin, Backend, Server
from logscope.relay.balance.session import End, Session
from logscope.relay.balance.settings import BalancerSettings, FrontendSettings, MarkedDown
from logscope.relay.header import Endpoint
from logscope.relay.rim.checks import Checker
from logscope.relay.rim.exchange import ClientSide
from logscope.relay.rim.journal import Journal
from logscope.relay.rim.watch import Watch
from logscope.relay.rim.wire import Doors, Listener
from logscope.relay.rim.witness import Witness


class Balancer:
    """One balancer process."""

    def __init__(
        self, settings: BalancerSettings, journal: Journal, pid: int = 3026, witness: Witness | None = None
    ) -> None:
        self.witness = witness
        self.settings, self.journal, self.clock, self.pid = settings, journal, journal.clock, pid
        self.backends = {entry.name: Backend(entry) for entry in settings.backends}
        self.frontends = [Frontend(self, entry) for entry in settings.frontends]
        self.sessions: set[ClientSide] = set()
        self.connections = self.unique = self.total = self.logged = 0
        self._say = journal.balancer(settings.host, pid)
        self._checkers = [
            Checker(self, backend, server) for backend in self.backends.values() for server in backend.servers
        ]

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self, watch: Watch, doors: Doors) -> None:
        """Accept connections and begin to check servers."""
        for frontend in self.frontends:
            frontend.listen(watch, doors)
        for checker in self._checkers:
            checker.start()

    def stop_listening(self) -> None:
        """Take no more connections; those that are there may go on."""
        for frontend in self.frontends:
            frontend.close()

    async def stop(self) -> None:
        """End everything."""
        for checker in self._checkers:
            await checker.stop()
        for session in list(self.sessions):
            session.kill(End.KILLED)
        await asyncio.sleep(0)
        for frontend in self.frontends:
            self.log(
                "haproxy.proxy_state",
                proxy=frontend.settings.name,
                proxy_state="stopped",
                frontend_total=frontend.total,
                backend_total=0,
            )
        for name, backend in self.backends.items():
            self.log(
                "haproxy.proxy_state",
                proxy=name,
                proxy_state="stopped",
                frontend_total=0,
                backend_total=backend.total,
            )

    def room_changed(self) -> None:
        """A session has ended: whoever waited to be accepted may be."""
        for frontend in self.frontends:
            frontend.resume()

    # --- servers ------------------------------------------------------------------------------------------

    def mark(self, backend: Backend, server: Server, up: bool, cause: dict[str, Any]) -> None:
        """A server has changed its state by its checks: say so, and draw the consequences."""
        counts = backend.counts_online() if up else backend.counts_left(server)
        self.log(
            "haproxy.server_state",
            server_state="UP" if up else "DOWN",
            **backend.server_values(server),
            **cause,
            **counts,
        )
        if up:
            self.dequeue(backend)
            return
        if not backend.candidates:
            self.log(
                "haproxy.backend_state",
                proxy_type="backend",
                backend=backend.settings.name,
                backend_state="has no server available!",
            )
        if server.settings.on_marked_down is MarkedDown.SHUTDOWN:
            self.shut_sessions(server, End.SERVER_DOWN)

    def shut_sessions(self, server: Server, end: End) -> None:
        """End every session of a server."""
        for session in list(self.sessions):
            if session.server is server:
                session.kill(end)

    def administer(self, backend: Backend, server: Server, wanted: Admin) -> None:
        """Put a server into maintenance, drain it, or make it ready again."""
        before, server.admin = server.admin, wanted
        values = backend.server_values(server)
        if before is wanted:
            return
        if wanted is Admin.READY:
            state = "UP" if server.up else "DOWN"
            change = "leaving forced maintenance" if before is Admin.MAINTENANCE else "leaving forced drain"
            extra = {"admin_state": "READY"} if before is Admin.MAINTENANCE else {}
            self.log("haproxy.server_state", server_state=state, admin_change=change, **extra, **values)
            self.dequeue(backend)
            return
        draining = wanted is Admin.DRAIN
        self.log(
            "haproxy.server_state",
            server_state="enters drain state" if draining else "is going DOWN for maintenance",
            **values,
            **backend.counts_left(server),
        )

    def dequeue(self, backend: Backend) -> None:
        """Give servers that have room to those that wait."""
        while (found := backend.next_waiting()) is not None:
            waiting, server = found
            waiting.resume(server)

    # --- lines --------------------------------------------------------------------------------------------

    def log(self, kind: str, **values: Any) -> None:
        """A line that is not about a session."""
        self._say(kind, self.journal.text(kind), values)

    def log_session(self, frontend: Frontend, session: Session, server: Server | None, as_soon: bool) -> int:
        """The line of a session, in the frontend's format. Returns its number in the log."""
        journal = self.journal
        self.logged += 1
        now = self.clock.now()
        values = session.values(now, as_soon)
        values["accepted_at"] = journal.date(session.accepted_at)
        values["process_connections"] = self.connections
        values["frontend_connections"] = frontend.connections
        values["backend_connections"] = frontend.backend.connections
        values["server_connections"] = server.connections if server else 0
        log_format = frontend.settings.log_format
        if log_format:
            values |= session.further_values(as_soon)
            values["accepted_at_utc"] = journal.utc_date(session.accepted_at)
            values["process_id"], values["log_counter"] = self.pid, self.logged
            text = journal.formatted(log_format)
        else:
            text = journal.text("haproxy.tcp_session")
        return self._say("haproxy.tcp_session", text, values)


class Frontend:
    """Accepts connections, as many as there is room for; the others wait in the kernel."""

    def __init__(self, balancer: Balancer, settings: FrontendSettings) -> None:
        self.balancer, self.settings = balancer, settings
        self.backend = balancer.backends[settings.backend]
        self.connections = self.total = 0
        self._listeners: list[Listener] = []

    def listen(self, watch: Watch, doors: Doors) -> None:
        """Accept connections."""
        for number, bind in enumerate(self.settings.bind, 1):
            accepted = partial(self._accept, watch, number)
            self._listeners.append(Listener(watch, doors.take(bind), accepted, self._is_full))

    def addresses(self) -> list[Endpoint]:
        """Where it listens, ports chosen by the system included."""
        return [listener.address for listener in self._listeners]

    def _accept(
        self, watch: Watch, number: int, sock: socket.socket, peer: Endpoint, public: Endpoint
    ) -> None:
        self.connections += 1
        self.total += 1
        self.balancer.total += 1
        self.balancer.connections += 1
        side = ClientSide(self, number, self.balancer.total)
        self.balancer.sessions.add(side)
        side.begin(watch, sock, peer, public)

    def _is_full(self) -> bool:
        balancer = self.balancer
        own = self.settings.max_connections
        return (0 < own <= self.connections) or (
            0 < balancer.settings.max_connections <= balancer.connections
        )

    def resume(self) -> None:
        """Accept again, if there is room."""
        if not self._is_full():
            for listener in self._listeners:
                listener.resume()

    def close(self) -> None:
        """Stop listening."""
        for listener in self._listeners:
            listener.close()
