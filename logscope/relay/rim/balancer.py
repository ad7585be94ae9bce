"""A balancer on real sockets: accepts, chooses a server, connects, copies both ways, and logs how it went."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from logscope.errors import OutputError
from logscope.relay.balance.servers import Admin, Backend, Server, Waiting
from logscope.relay.balance.session import End, Phase, Session
from logscope.relay.balance.settings import (
    BalancerSettings,
    FrontendSettings,
    MarkedDown,
    SendProxy,
    ServerSettings,
)
from logscope.relay.front import trusted
from logscope.relay.header import Endpoint, Header, HeaderError, Tlv, decode, encode_v1, encode_v2
from logscope.relay.rim.checks import Checker
from logscope.relay.rim.journal import Journal
from logscope.relay.rim.witness import Witness

BUFFER = 64 * 1024
"""Bytes of one direction that may wait for a slow reader; then no more are read from the other side."""
EARLY_BUFFER = 16 * 1024
"""Bytes of a client that are taken before its server is reached (`tune.bufsize`)."""
TURN_AROUND_S = 1.0
"""Before the same server is tried again (section 4.2, `retries`: "a turn-around timer of 1 second")."""

_NOT_STOCK = (
    "handshake_ms", "upload_plus", "bytes_to_server", "accepted_at_utc", "accepted_ms", "request_counter",
)  # fmt: skip
"""Values that the stock format has no place for."""


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
        self.unique = self.total = self.logged = 0
        self._checkers = [
            Checker(self, backend, server) for backend in self.backends.values() for server in backend.servers
        ]

    @property
    def connections(self) -> int:
        return sum(frontend.connections for frontend in self.frontends)

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen and begin to check servers.

        Raises:
            OutputError: an address cannot be bound.
        """
        for frontend in self.frontends:
            frontend.listen()
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
        self.journal.balancer_line(self.settings.host, self.pid, self.journal.message(kind, values), kind)

    def log_session(self, frontend: Frontend, values: dict[str, Any], ends: dict[str, Any]) -> int:
        """The line of a session, in the frontend's format. Returns its number in the log."""
        log_format = frontend.settings.log_format
        self.logged += 1
        kind = "haproxy.tcp_session"
        if log_format:
            process = {"process_id": self.pid, "log_counter": self.logged}
            text = self.journal.formatted(log_format, values | ends | process)
        else:
            for name in _NOT_STOCK:
                values.pop(name, None)
            text = self.journal.message(kind, values)
        return self.journal.balancer_line(self.settings.host, self.pid, text, kind)


class Frontend:
    """Accepts connections, as many as there is room for; the others wait in the kernel."""

    def __init__(self, balancer: Balancer, settings: FrontendSettings) -> None:
        self.balancer, self.settings = balancer, settings
        self.backend = balancer.backends[settings.backend]
        self.connections = self.total = 0
        self._sockets: list[socket.socket] = []
        self._paused = False
        self._closed = False

    def listen(self) -> None:
        """Bind and accept."""
        for bind in self.settings.bind:
            try:
                self._sockets.append(_listening(bind))
            except OSError as error:
                raise OutputError(f"cannot listen on {bind}: {error.strerror}") from None
        self._watch()

    def addresses(self) -> list[Endpoint]:
        """Where it listens, ports chosen by the system included."""
        return [Endpoint(*entry.getsockname()[:2]) for entry in self._sockets]

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        for number, entry in enumerate(self._sockets, 1):
            loop.add_reader(entry.fileno(), self._accept, entry, number)

    def _unwatch(self) -> None:
        loop = asyncio.get_running_loop()
        for entry in self._sockets:
            loop.remove_reader(entry.fileno())

    def _accept(self, listening: socket.socket, number: int) -> None:
        for _ in range(64):
            if self._is_full():
                self._paused = True
                self._unwatch()
                return
            try:
                accepted, _ = listening.accept()
            except OSError:
                return  # nobody is there, or the process is out of descriptors
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.total += 1
            side = ClientSide(self, number, self.balancer.clock.now())
            self.balancer.sessions.add(side)
            side.begin(accepted)

    def _is_full(self) -> bool:
        balancer = self.balancer
        own = self.settings.max_connections
        return (0 < own <= self.connections) or (
            0 < balancer.settings.max_connections <= balancer.connections
        )

    def resume(self) -> None:
        """Accept again if there is room."""
        if self._paused and not self._closed and not self._is_full():
            self._paused = False
            self._watch()

    def close(self) -> None:
        """Stop listening."""
        if not self._closed:
            self._closed = True
            self._unwatch()
            for entry in self._sockets:
                entry.close()


class ClientSide(asyncio.Protocol):
    """A client's connection, and with it the whole session."""

    def __init__(self, frontend: Frontend, listener: int, accepted_at: float) -> None:
        self.frontend, self.balancer, self.backend = frontend, frontend.balancer, frontend.backend
        self.server: Server | None = None
        self.session: Session | None = None
        self._listener, self._accepted_at = listener, accepted_at
        self._transport: asyncio.Transport | None = None
        self._early = bytearray()
        self._other: ServerSide | None = None
        self._waiting: Waiting | None = None
        self._connecting: socket.socket | None = None
        self._header_pending = bool(frontend.settings.trusted_proxies)
        self._input_ended = self._output_ended = False
        self._ended = False
        self._logged = False
        self._line: int | None = None
        self._in_backend = False
        self._active_at = accepted_at
        self._timer: asyncio.TimerHandle | None = None
        self._phase_timer: asyncio.TimerHandle | None = None

    def begin(self, accepted: socket.socket) -> None:
        """Take over an accepted socket."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(lambda: self, accepted))
        task.add_done_callback(self._begun)

    def _begun(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._finish()

    # --- the client ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=BUFFER)
        peer = transport.get_extra_info("peername")
        if not peer:
            transport.abort()
            return
        client, public = Endpoint(*peer[:2]), Endpoint(*transport.get_extra_info("sockname")[:2])
        settings = self.frontend.settings
        self.balancer.total += 1
        self.session = Session(
            settings.name, settings.backend, client, public, self._accepted_at, self.balancer.total
        )
        self._watch_silence()
        if not self._header_pending:
            self._after_header()
        elif not trusted(client.address, settings.trusted_proxies):
            self._refuse_header("Received something which does not look like a PROXY protocol header")

    def data_received(self, data: bytes) -> None:
        self._active_at = self.balancer.clock.now()
        assert self.session is not None
        if self._other is not None and self._other.ready:
            self.session.bytes_to_server += len(data)
            self._other.send(data)
            return
        self._early += data
        if self._header_pending:
            self._read_header()
            return
        if self.session.phase is Phase.REQUEST and self.frontend.settings.reject_early:
            self._reject()
            return
        if len(self._early) >= EARLY_BUFFER and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._input_ended = True
        if self._output_ended:
            self.end(End.NORMAL)
        elif self._other is not None and self._other.ready:
            self._other.end_output()
        elif self._is_inspected():
            # Nothing more can come, so the rules are gone through for the last time, and they accept.
            self._choose()
        elif not self._early and self.session is not None and self.session.phase is not Phase.DATA:
            # Nothing is to be sent to a server, so none is looked for any longer.
            self.end(End.CLIENT)
        return not self._ended

    def _is_inspected(self) -> bool:
        in_request = self.session is not None and self.session.phase is Phase.REQUEST
        return in_request and not self._header_pending

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._ended:
            return
        if self.session is not None and error is not None:
            self.session.broke_off()
        self.end(End.CLIENT if error is not None else End.NORMAL)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.pause()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.resume()

    def to_client(self, data: bytes) -> None:
        """The server has sent something."""
        self._active_at = self.balancer.clock.now()
        assert self.session is not None
        self.session.bytes_to_client += len(data)
        if self._transport is not None:
            self._transport.write(data)

    def server_ended(self, error: Exception | None) -> None:
        """The server has closed, or broken, its connection."""
        if self._ended:
            return
        self.end(End.NORMAL if error is None else End.SERVER)

    def server_sends_no_more(self) -> None:
        """The server has closed its side: pass that on, and wait for the client's."""
        self._output_ended = True
        if self._input_ended or self._transport is None:
            self.end(End.NORMAL)
        elif self._transport.can_write_eof():
            self._transport.write_eof()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- before a server is chosen ------------------------------------------------------------------------

    def _read_header(self) -> None:
        try:
            found = decode(bytes(self._early))
        except HeaderError:
            self._refuse_header("Received something which does not look like a PROXY protocol header")
            return
        if found is None:
            return
        header, length = found
        del self._early[:length]
        self._header_pending = False
        assert self.session is not None
        if header.source is not None and header.destination is not None:
            self.session.client, self.session.public = header.source, header.destination
        self._after_header()

    def _refuse_header(self, problem: str) -> None:
        assert self.session is not None
        self.balancer.log(
            "haproxy.connection_error",
            client_address=self.session.client.address,
            client_port=self.session.client.port,
            accepted_at=self.balancer.journal.date(self._accepted_at),
            frontend=self.frontend.settings.name,
            listener=str(self._listener),
            error=problem,
        )
        self._logged = True
        self.end(End.CLIENT)

    def _after_header(self) -> None:
        settings = self.frontend.settings
        assert self.session is not None
        denied = settings.deny and self._is_denied(self.session.client.address)
        if denied or (settings.reject_early and self._early):
            self._reject()
        elif settings.inspect_delay_s:
            self._after(settings.inspect_delay_s, self._choose)
        else:
            self._choose()

    def _is_denied(self, address: str) -> bool:
        parsed = ip_address(address)
        return any(
            network.version == parsed.version and parsed in network for network in self.frontend.settings.deny
        )

    def _reject(self) -> None:
        """`tcp-request content reject`."""
        self.end(End.PROXY)

    def _after(self, delay_s: float, then: Callable[[], None]) -> None:
        self._stop_phase_timer()
        self._phase_timer = asyncio.get_running_loop().call_later(delay_s, then)

    def _stop_phase_timer(self) -> None:
        if self._phase_timer is not None:
            self._phase_timer.cancel()
            self._phase_timer = None

    # --- choosing and connecting --------------------------------------------------------------------------

    def _choose(self) -> None:
        assert self.session is not None
        self._stop_phase_timer()
        self.session.phase = Phase.QUEUE
        self.session.queued_at = self.balancer.clock.now()
        if not self._in_backend:
            self._in_backend = True
            self.backend.connections += 1
            self.backend.total += 1
        if not self.backend.candidates:
            self.session.phase = Phase.CONNECT
            self.session.queued_at = None
            self.end(End.SERVER)
            return
        server = None if self.backend.queue else self.backend.choose(self.session.client.address)
        if server is not None:
            self._assigned(server)
            return
        self.session.backend_queue = len(self.backend.queue)
        self._waiting = Waiting(self.session.client.address, self._assigned)
        self.backend.queue.append(self._waiting)
        self._after(self.backend.settings.queue_timeout_s, self._queue_timeout)

    def _queue_timeout(self) -> None:
        self.end(End.SERVER_TIMEOUT)

    def _assigned(self, server: Server) -> None:
        """A server was found."""
        assert self.session is not None
        self._waiting = None
        self._stop_phase_timer()
        self.server = server
        server.connections += 1
        server.total += 1
        self.session.server = server.settings.name
        self.session.phase = Phase.CONNECT
        if self.session.assigned_at is None:
            self.session.assigned_at = self.balancer.clock.now()
        self._connect(server.settings)

    def _connect(self, settings: ServerSettings) -> None:
        """Begin to connect. To a server nearby the connection is there at once, and counts at once."""
        assert self.session is not None
        self.session.connecting_at = self.balancer.clock.now()
        try:
            self._connecting = _connecting(settings)
        except OSError:
            self._after(0, lambda: self._connect_failed(timed_out=False))
            return
        if _is_writable(self._connecting):
            self._reached()
            return
        loop = asyncio.get_running_loop()
        loop.add_writer(self._connecting.fileno(), self._reached)
        self._after(self.backend.settings.connect_timeout_s, self._connect_timeout)

    def _connect_timeout(self) -> None:
        self._stop_connecting()
        self._connect_failed(timed_out=True)

    def _stop_connecting(self) -> None:
        if self._connecting is not None:
            asyncio.get_running_loop().remove_writer(self._connecting.fileno())
            self._connecting.close()
            self._connecting = None

    def _reached(self) -> None:
        """The attempt to connect has come to its end, good or bad."""
        sock, session = self._connecting, self.session
        assert sock is not None
        assert session is not None
        loop = asyncio.get_running_loop()
        loop.remove_writer(sock.fileno())
        self._stop_phase_timer()
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._stop_connecting()
            self._after(0, lambda: self._connect_failed(timed_out=False))
            return
        self._connecting = None
        session.connected_at = self._active_at = self.balancer.clock.now()
        session.phase = Phase.DATA
        session.source = Endpoint(*sock.getsockname()[:2])
        session.server_end = Endpoint(*sock.getpeername()[:2])
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        side = ServerSide(self)
        task = loop.create_task(loop.create_connection(lambda: side, sock=sock))
        task.add_done_callback(self._taken_over)

    def _taken_over(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.end(End.SERVER)

    def connected(self, side: ServerSide) -> None:
        """The server can be talked to: send the header, then what the client has said meanwhile."""
        session, server = self.session, self.server
        assert session is not None
        assert server is not None
        if self._ended:
            side.abort()
            return
        self._other = side
        self._watch_silence()
        header = self.header(server.settings)
        if header:
            side.send(header)
        if self._early:
            session.bytes_to_server += len(self._early)
            side.send(bytes(self._early))
            self._early.clear()
        if self._input_ended:
            side.end_output()
        self.resume()
        if self.frontend.settings.log_as_soon:
            self._log(as_soon=True)

    def header(self, settings: ServerSettings) -> bytes:
        """The PROXY header that a server is sent for this session."""
        assert self.session is not None
        if settings.send_proxy is SendProxy.NONE:
            return b""
        header = Header(self.session.client, self.session.public)
        if settings.send_proxy is SendProxy.V1:
            return encode_v1(header)
        tlvs: tuple[tuple[int, bytes], ...] = ()
        if settings.unique_id:
            self.balancer.unique += 1
            tlvs = ((int(Tlv.UNIQUE_ID), f"{self.balancer.pid:x}-{self.balancer.unique:x}".encode()),)
        return encode_v2(Header(header.source, header.destination, tlvs=tlvs), settings.checksum)

    def _connect_failed(self, timed_out: bool) -> None:
        """Try again, elsewhere the last time if that is wished, as often as is allowed."""
        session, server, settings = self.session, self.server, self.backend.settings
        assert session is not None
        assert server is not None
        if self._ended:
            return
        if session.retries >= settings.retries:
            self.end(End.SERVER_TIMEOUT if timed_out else End.SERVER)
            return
        session.retries += 1
        self._release_server()
        if settings.redispatch and session.retries == settings.retries:
            other = self.backend.choose(session.client.address, avoid=server)
            if other is not None:
                session.redispatched = other is not server
                self._assigned(other)
                return
        delay = 0.0 if timed_out else min(TURN_AROUND_S, settings.connect_timeout_s)
        self._after(delay, lambda: self._assigned(server))

    # --- silence ------------------------------------------------------------------------------------------

    def _watch_silence(self) -> None:
        """One timer for the client's and the server's timeout: what either end says or is told resets it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._patience(), self._silence)

    def _patience(self) -> float:
        """Seconds until the client, or the server, has been silent for too long."""
        limit = self.frontend.settings.client_timeout_s
        if self._other is not None:
            limit = min(limit, self.backend.settings.server_timeout_s)
        return max(0.0, self._active_at + limit - self.balancer.clock.now())

    def _silence(self) -> None:
        left = self._patience()
        if left > 0.0005:
            self._timer = asyncio.get_running_loop().call_later(left, self._silence)
            return
        client_s, server_s = self.frontend.settings.client_timeout_s, self.backend.settings.server_timeout_s
        is_server = self._other is not None and server_s < client_s
        self.end(End.SERVER_TIMEOUT if is_server else End.CLIENT_TIMEOUT)

    # --- the end ------------------------------------------------------------------------------------------

    def kill(self, end: End) -> None:
        """Somebody else ends the session: an administrator, or a server that is down."""
        self.end(end)

    def end(self, end: End) -> None:
        """End the session, and log it."""
        if self._ended:
            return
        self._ended = True
        session = self.session
        if session is not None:
            if session.phase is Phase.QUEUE:
                session.left_queue_at = self.balancer.clock.now()
            session.end(end)
        if self._waiting is not None and self._waiting in self.backend.queue:
            self.backend.queue.remove(self._waiting)
        for timer in (self._timer, self._phase_timer):
            if timer is not None:
                timer.cancel()
        self._stop_connecting()
        if self._other is not None:
            self._other.close(hard=end not in (End.NORMAL,))
        if self._transport is not None:
            self._transport.close()
        self._finish()

    def _finish(self) -> None:
        """Give back what the session held, then log: the counts are those without it, but for its own."""
        self._ended = True
        self._release_server()
        if self._in_backend:
            self._in_backend = False
            self.backend.connections -= 1
        if self.session is not None and not self._logged:
            self._log(as_soon=False)
        if self.session is not None and self.balancer.witness is not None:
            self.balancer.witness.balanced(self.session, self._line)
        self.balancer.sessions.discard(self)
        self.frontend.connections -= 1
        self.balancer.room_changed()
        self.balancer.dequeue(self.backend)

    def _release_server(self) -> None:
        if self.server is not None:
            self.server.connections -= 1
            self.server = None

    def _log(self, as_soon: bool) -> None:
        session, settings = self.session, self.frontend.settings
        assert session is not None
        self._logged = True
        if settings.log_nothing and not session.bytes_to_server and not self._early:
            self._line = None
            return
        journal = self.balancer.journal
        values = session.values(self.balancer.clock.now(), as_soon)
        server = next(
            (entry for entry in self.backend.servers if entry.settings.name == session.server), None
        )
        values |= {
            "accepted_at": journal.date(session.accepted_at),
            "accepted_at_utc": journal.utc_date(session.accepted_at),
            "accepted_ms": f"{int(session.accepted_at * 1000) % 1000:03}",
            "process_connections": self.balancer.connections,
            "frontend_connections": self.frontend.connections,
            "backend_connections": self.backend.connections,
            "server_connections": server.connections if server else 0,
        }
        self._line = self.balancer.log_session(self.frontend, values, session.ends())


class ServerSide(asyncio.Protocol):
    """The balancer's own connection to a server."""

    def __init__(self, client: ClientSide) -> None:
        self.ready = False
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=BUFFER)
        self.ready = True
        self._client.connected(self)

    def data_received(self, data: bytes) -> None:
        self._client.to_client(data)

    def eof_received(self) -> bool:
        self._client.server_sends_no_more()
        return not self._closed

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self._closed:
            self._client.server_ended(error)

    def pause_writing(self) -> None:
        self._client.pause()

    def resume_writing(self) -> None:
        self._client.resume()

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def end_output(self) -> None:
        """The client sends no more."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, hard: bool) -> None:
        """Close; after a failure at once, since nobody reads what is still to be sent."""
        self._closed = True
        if self._transport is not None:
            if hard:
                self._transport.abort()
            else:
                self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.close(hard=True)


def _connecting(settings: ServerSettings) -> socket.socket:
    """A socket that is being connected to a server."""
    address = settings.address
    found = socket.socket(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setblocking(False)
        if settings.source:
            found.bind((settings.source, 0))
        code = found.connect_ex((address.address, address.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except OSError:
        found.close()
        raise
    return found


def _is_writable(sock: socket.socket) -> bool:
    """Whether an attempt to connect has come to its end."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(0))


def _listening(bind: Endpoint) -> socket.socket:
    """A listening socket; an IPv6 one takes IPv6 alone."""
    found = socket.socket(socket.AF_INET6 if bind.is_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bind.is_ipv6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind((bind.address, bind.port))
        found.listen(1024)
        found.setblocking(False)
    except OSError:
        found.close()
        raise
    return found
