"""One session of a balancer: a client's connection, the way to a server, and what goes to and fro."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from logscope.relay.addresses import is_in
from logscope.relay.balance.servers import Server, Waiting
from logscope.relay.balance.session import End, Phase, Session
from logscope.relay.balance.settings import SendProxy, ServerSettings
from logscope.relay.front import trusted
from logscope.relay.header import Endpoint, Header, HeaderError, Tlv, decode, encode_v1, encode_v2, is_begun
from logscope.relay.rim.alarms import Alarm
from logscope.relay.rim.watch import Watch
from logscope.relay.rim.wire import Wire, connecting, is_connected

if TYPE_CHECKING:
    from logscope.relay.rim.balancer import Frontend

EARLY_BUFFER = 16 * 1024
"""Bytes of a client that are taken before its server is reached (`tune.bufsize`)."""
TURN_AROUND_S = 1.0
"""Before the same server is tried again (section 4.2, `retries`: "a turn-around timer of 1 second")."""

# What HAProxy 2.6 logs in the place of a session whose PROXY header is not there, or wrong.
_NO_HEADER = "Received something which does not look like a PROXY protocol header"
_WRONG_HEADER = "Received an invalid PROXY protocol header"
_CUT_HEADER = "Truncated PROXY protocol header received"
_WAITING = " while waiting for PROXY protocol header"


class ClientSide:
    """A client's connection, and with it the whole session."""

    def __init__(self, frontend: Frontend, listener: int, number: int) -> None:
        self.frontend, self.balancer, self.backend = frontend, frontend.balancer, frontend.backend
        self.clock = frontend.balancer.clock
        self.server: Server | None = None
        self._served_by: Server | None = None
        self.session: Session
        self._listener, self._number = listener, number
        self._watch: Watch
        self._loop: asyncio.AbstractEventLoop
        self._wire: Wire
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
        self._active_at = 0.0
        self._timer: Alarm | None = None
        self._phase_timer: Alarm | None = None

    def begin(self, watch: Watch, sock: socket.socket, client: Endpoint, public: Endpoint) -> None:
        """Take over an accepted connection."""
        self._watch, self._loop = watch, watch.loop
        settings = self.frontend.settings
        self._active_at = monotonic()
        now = self.clock.now()
        self.session = Session(settings.name, settings.backend, client, public, now, self._number)
        self._wire = Wire(watch, sock, self)
        self._timer = watch.alarms.after(self._patience(), self._silence)
        if not self._header_pending:
            self._after_header()
        elif not trusted(client.address, settings.trusted_proxies):
            self._refuse_header(_NO_HEADER)

    # --- the client ---------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        self._active_at = monotonic()
        if self._other is not None:
            self.session.bytes_to_server += len(data)
            self._other.wire.send(data)
            return
        self._early += data
        if self._header_pending:
            self._read_header()
        elif self.session.phase is Phase.REQUEST and self.frontend.settings.reject_early:
            self._reject()
        elif len(self._early) >= EARLY_BUFFER:
            self._wire.pause()

    def ended(self) -> None:
        self._input_ended = True
        if self._output_ended:
            self.end(End.NORMAL)
        elif self._other is not None:
            self._other.wire.finish()
        elif self._header_pending:
            self._refuse_header(_CUT_HEADER if self._early else "Connection closed" + _WAITING)
        elif self.session.phase is Phase.REQUEST:
            # Nothing more can come, so the rules are gone through for the last time, and they accept.
            self._choose()
        elif not self._early and self.session.phase is not Phase.DATA:
            # Nothing is to be sent to a server, so none is looked for any longer.
            self.end(End.CLIENT)

    def lost(self, error: OSError | None) -> None:
        if self._ended:
            return
        if self._header_pending:
            self._refuse_header("Connection error" + _WAITING)
            return
        if error is not None:
            self.session.broke_off()
        self.end(End.CLIENT if error is not None else End.NORMAL)

    def stuck(self) -> None:
        if self._other is not None:
            self._other.wire.pause()

    def flowing(self) -> None:
        if self._other is not None:
            self._other.wire.resume()

    # --- the server ---------------------------------------------------------------------------------------

    def to_client(self, data: bytes) -> None:
        """The server has sent something."""
        self._active_at = monotonic()
        self.session.bytes_to_client += len(data)
        self._wire.send(data)

    def server_sends_no_more(self) -> None:
        """The server has closed its side: pass that on, and wait for the client's."""
        self._output_ended = True
        if self._input_ended:
            self.end(End.NORMAL)
        else:
            self._wire.finish()

    def server_lost(self, error: OSError | None) -> None:
        """The server has broken its connection."""
        if not self._ended:
            self.end(End.NORMAL if error is None else End.SERVER)

    def pause(self) -> None:
        """The server does not take what the client sends."""
        self._wire.pause()

    def resume(self) -> None:
        """It does again."""
        self._wire.resume()

    # --- before a server is chosen ------------------------------------------------------------------------

    def _read_header(self) -> None:
        try:
            found = decode(bytes(self._early))
        except HeaderError:
            self._refuse_header(_WRONG_HEADER if is_begun(self._early) else _NO_HEADER)
            return
        if found is None:
            return
        header, length = found
        del self._early[:length]
        self._header_pending = False
        if header.source is not None and header.destination is not None:
            self.session.client, self.session.public = header.source, header.destination
        self._after_header()

    def _refuse_header(self, problem: str) -> None:
        self.balancer.log(
            "haproxy.connection_error",
            client_address=self.session.client.address,
            client_port=self.session.client.port,
            accepted_at=self.balancer.journal.date(self.session.accepted_at),
            frontend=self.frontend.settings.name,
            listener=str(self._listener),
            error=problem,
        )
        self._logged = True
        self.end(End.CLIENT)

    def _after_header(self) -> None:
        settings = self.frontend.settings
        denied = is_in(self.session.client.address, settings.deny)
        if denied or (settings.reject_early and self._early):
            self._reject()
        elif settings.inspect_delay_s:
            self._after(settings.inspect_delay_s, self._choose)
        else:
            self._choose()

    def _reject(self) -> None:
        """`tcp-request content reject`."""
        self.end(End.PROXY)

    def _after(self, delay_s: float, then: Callable[[], None]) -> None:
        self._stop_phase_timer()
        self._phase_timer = self._watch.alarms.after(delay_s, then)

    def _stop_phase_timer(self) -> None:
        if self._phase_timer is not None:
            self._phase_timer.cancel()
            self._phase_timer = None

    # --- choosing and connecting --------------------------------------------------------------------------

    def _choose(self) -> None:
        self._stop_phase_timer()
        self.session.phase = Phase.QUEUE
        self.session.queued_at = self.clock.now()
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
        self._waiting = None
        self._stop_phase_timer()
        self.server = server
        self.backend.take(server)
        self.session.server = server.settings.name
        self.session.phase = Phase.CONNECT
        if self.session.assigned_at is None:
            self.session.assigned_at = self.clock.now()
        self._connect(server.settings)

    def _connect(self, settings: ServerSettings) -> None:
        """Begin to connect. To a server nearby the connection is there at once, and counts at once."""
        self.session.connecting_at = self.clock.now()
        try:
            self._connecting = sock = connecting(settings.address, settings.source)
        except OSError:
            self._after(0, lambda: self._connect_failed(timed_out=False))
            return
        if is_connected(sock):
            self._connected(sock)
            return
        self._loop.add_writer(sock.fileno(), self._tried)
        self._after(self.backend.settings.connect_timeout_s, self._connect_timeout)

    def _connect_timeout(self) -> None:
        self._stop_connecting()
        self._connect_failed(timed_out=True)

    def _stop_connecting(self) -> None:
        if self._connecting is not None:
            self._loop.remove_writer(self._connecting.fileno())
            self._connecting.close()
            self._connecting = None

    def _tried(self) -> None:
        """The attempt to connect has come to its end, good or bad."""
        sock = self._connecting
        assert sock is not None
        self._stop_phase_timer()
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._stop_connecting()
            self._after(0, lambda: self._connect_failed(timed_out=False))
            return
        self._loop.remove_writer(sock.fileno())
        self._connected(sock)

    def _connected(self, sock: socket.socket) -> None:
        """The server can be talked to: send the header, then what the client has said meanwhile."""
        session, server = self.session, self.server
        assert server is not None
        self._connecting = None
        self._active_at = monotonic()
        session.connected_at = self.clock.now()
        session.phase = Phase.DATA
        session.source = Endpoint(*sock.getsockname()[:2])
        session.server_end = server.settings.address
        self._other = other = ServerSide(self._watch, sock, self)
        if self.backend.settings.server_timeout_s < self.frontend.settings.client_timeout_s:
            self._watch_silence()
        header = self.header(server.settings)
        if header:
            other.wire.send(header)
        if self._early:
            session.bytes_to_server += len(self._early)
            other.wire.send(self._early)
            self._early.clear()
            self._wire.resume()
        if self._input_ended:
            other.wire.finish()
        if self.frontend.settings.log_as_soon:
            self._log(as_soon=True)

    def header(self, settings: ServerSettings) -> bytes:
        """The PROXY header that a server is sent for this session."""
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
        """Try again, elsewhere if that is wished, as often as is allowed."""
        session, server, settings = self.session, self.server, self.backend.settings
        assert server is not None
        if self._ended:
            return
        if session.retries >= settings.retries:
            self.end(End.SERVER_TIMEOUT if timed_out else End.SERVER)
            return
        session.retries += 1
        self._release_server()
        if self.backend.may_redispatch(session.retries):
            other = self.backend.choose(session.client.address, avoid=server)
            if other is not None and other is not server:
                session.redispatched = True
                session.assigned_at = None  # the wait for a server counts up to the one that was reached
                self._assigned(other)
                return
        delay = 0.0 if timed_out else min(TURN_AROUND_S, settings.connect_timeout_s)
        self._after(delay, lambda: self._assigned(server))

    # --- silence ------------------------------------------------------------------------------------------

    def _watch_silence(self) -> None:
        """One timer for the client's and the server's timeout: what either end says or is told resets it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._watch.alarms.after(self._patience(), self._silence)

    def _patience(self) -> float:
        """Seconds until the client, or the server, has been silent for too long."""
        limit = self.frontend.settings.client_timeout_s
        if self._other is not None:
            limit = min(limit, self.backend.settings.server_timeout_s)
        return max(0.0, self._active_at + limit - monotonic())

    def _silence(self) -> None:
        left = self._patience()
        if left > 0.0005:
            self._timer = self._watch.alarms.after(left, self._silence)
            return
        if self._header_pending:
            self._refuse_header("Timeout" + _WAITING)
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
        if session.phase is Phase.QUEUE:
            session.left_queue_at = self.clock.now()
        session.end(end)
        if self._waiting is not None and self._waiting in self.backend.queue:
            self.backend.queue.remove(self._waiting)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_phase_timer()
        self._stop_connecting()
        if self._other is not None:
            if end is End.NORMAL:
                self._other.wire.close()
            else:
                self._other.wire.drop()  # nobody reads what is still to be sent
            self._other = None
        self._wire.close()
        self._finish()

    def _finish(self) -> None:
        """Give back what the session held, then log: the counts are those without it, but for its own."""
        self._release_server()
        if self._in_backend:
            self._in_backend = False
            self.backend.connections -= 1
        if not self._logged:
            self._log(as_soon=False)
        balancer = self.balancer
        if balancer.witness is not None:
            balancer.witness.balanced(self.session, self._line)
        balancer.sessions.discard(self)
        self.frontend.connections -= 1
        balancer.connections -= 1
        balancer.room_changed()
        if self.backend.queue:
            balancer.dequeue(self.backend)

    def _release_server(self) -> None:
        if self.server is not None:
            self.backend.give_back(self.server)
            self._served_by, self.server = self.server, None

    def _log(self, as_soon: bool) -> None:
        session = self.session
        self._logged = True
        if self.frontend.settings.log_nothing and not session.bytes_to_server and not self._early:
            return
        server = self.server or self._served_by
        self._line = self.balancer.log_session(self.frontend, session, server, as_soon)


class ServerSide:
    """The balancer's own connection to a server."""

    __slots__ = ("_client", "wire")

    def __init__(self, watch: Watch, sock: socket.socket, client: ClientSide) -> None:
        self._client = client
        self.wire = Wire(watch, sock, self)

    def received(self, data: bytes) -> None:
        self._client.to_client(data)

    def ended(self) -> None:
        self._client.server_sends_no_more()

    def lost(self, error: OSError | None) -> None:
        self._client.server_lost(error)

    def stuck(self) -> None:
        self._client.pause()

    def flowing(self) -> None:
        self._client.resume()
