"""A mail server on real sockets: listeners, the screen, the SMTP server, and the way of accepted mail to
its queue."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from logscope.errors import OutputError
from logscope.relay.front import HeaderReader, Identified, NoHeader, trusted
from logscope.relay.header import Endpoint
from logscope.relay.machine import Close, Log, StartTls
from logscope.relay.queue.message import Message, QueueIds
from logscope.relay.rim.certificates import server_context
from logscope.relay.rim.connection import Connection
from logscope.relay.rim.delivery import Postman
from logscope.relay.rim.disk import Disk, RealDisk
from logscope.relay.rim.journal import Daemons, Journal
from logscope.relay.rim.keeper import Keeper
from logscope.relay.rim.passwords import Users
from logscope.relay.rim.resolver import SystemResolver, Zone
from logscope.relay.rim.spool import Spool
from logscope.relay.rim.watch import Watch
from logscope.relay.rim.wire import Doors, Listener, Wire
from logscope.relay.rim.witness import Served, Witness
from logscope.relay.screen.session import HandOver, LookUp, Screen, answer
from logscope.relay.screen.settings import Memory
from logscope.relay.settings import ListenerSettings, ServerSettings
from logscope.relay.smtp.clients import ClientCounts
from logscope.relay.smtp.server import Smtpd, Store, Verify
from logscope.relay.smtp.site import Client

_TLS_TIMEOUT_S = 30.0


class MailServer:
    """One mail server.

    Args:
        settings: what it is told.
        directory: of relative names.
        journal: its log.
        disk: where its spool is.
        witness: is told which lines belong to which connection.
    """

    def __init__(
        self,
        settings: ServerSettings,
        directory: Path,
        journal: Journal,
        disk: Disk | None = None,
        witness: Witness | None = None,
    ) -> None:
        self.witness = witness
        self.settings, self.journal, self.clock = settings, journal, journal.clock
        self.daemons = Daemons(journal, settings.host)
        self._master = self.daemons.bound("master", self.daemons.alone("master"))
        self.memory = Memory()
        self.counts = ClientCounts(settings.site.limits.window_s)
        self.queue_ids = QueueIds(int(self.clock.now()) & 0xFFFFFF | 0x200000)
        self.connections: set[MtaConnection] = set()
        self.tls = self._context(directory)
        self.users = Users(directory / settings.users) if settings.users else None
        self.resolver = Zone(settings.dns_zone) if settings.dns_zone else SystemResolver()
        disk = disk or RealDisk()
        self.spool = Spool(directory / settings.spool, disk)
        self.keeper = Keeper(self.spool, f"spool-{settings.host}")
        self.postman = Postman(
            settings, self.spool, self.keeper, disk, directory, self.daemons, self.clock, self.queue_ids
        )
        self._hashers = ThreadPoolExecutor(2, f"auth-{settings.host}")
        self._listeners: list[Listener] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self.stopping = False

    def _context(self, directory: Path) -> ssl.SSLContext | None:
        if not self.settings.certificate:
            return None
        hostname = self.settings.site.hostname
        return server_context(self.settings.certificate, self.settings.key, hostname, directory)

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self, watch: Watch, doors: Doors) -> None:
        """Deliver what is left in the queue, and accept connections.

        Raises:
            OutputError: the spool cannot be read; then nothing was begun.
        """
        try:
            recovered = self.spool.recover()
        except OSError as error:
            raise OutputError(
                f"the spool of {self.settings.host} cannot be used: {error.strerror or error}"
            ) from None
        self.keeper.start()
        for listener in self.settings.listeners:
            accepted = partial(self._accept, watch, listener)
            self._listeners.append(Listener(watch, doors.take(listener.bind), accepted))
        self._master("master.started", postfix_version="3.7.11", configuration_directory="/etc/postfix")
        self.postman.start(recovered, watch)

    def _accept(
        self, watch: Watch, listener: ListenerSettings, sock: socket.socket, peer: Endpoint, own: Endpoint
    ) -> None:
        connection = MtaConnection(watch, self, listener)
        self.connections.add(connection)
        connection.begin(sock, peer, own)

    def addresses(self) -> list[Endpoint]:
        """Where it listens, ports chosen by the system included."""
        return [listener.address for listener in self._listeners]

    def stop_listening(self) -> None:
        """Take no more connections; send away clients that are between messages."""
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.shut_down()

    async def stop(self) -> None:
        """End what is still open, and store what was begun."""
        for connection in list(self.connections):
            connection.cut()
        await self.keeper.idle()
        await self.postman.stop()
        for task in list(self._tasks):
            task.cancel()
        await self.keeper.idle()
        self.keeper.stop()
        self.spool.close()
        self._hashers.shutdown()
        self._master("master.stopped", signal=15)

    def spawn(self, work: Any) -> None:
        """Run a coroutine beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- storing ------------------------------------------------------------------------------------------

    def store(self, message: Message, connection: MtaConnection) -> None:
        """Make a message durable; then it may be delivered, and its sender is told."""

        def stored(error: OSError | None) -> None:
            connection.stored(message, error)
            if error is None:
                self.postman.accept(message)

        self.keeper.store(message, stored)

    def look_up(self, request: LookUp) -> None:
        """Ask the lists about an address."""
        for domain in request.domains:
            self.spawn(self._look_up(request.address, domain))

    async def _look_up(self, address: str, domain: str) -> None:
        pid = self.daemons.hire("dnsblog")
        try:
            answers = await self.resolver.answers(address, domain)
            log = self.daemons.bound("dnsblog", pid)
            for found in answers:
                log("dnsblog.listed", client_address=address, list_domain=domain, list_result=found)
        finally:
            self.daemons.dismiss("dnsblog", pid)
        answer(self.memory, address, domain, answers, self.clock.now())
        for connection in list(self.connections):
            connection.serve()

    def verify(self, request: Verify, connection: MtaConnection) -> None:
        """Check a password, which is slow on purpose, beside everything else."""
        self.spawn(self._verify(request, connection))

    async def _verify(self, request: Verify, connection: MtaConnection) -> None:
        assert self.users is not None, "AUTH is offered only where there are users"
        name, password = request.credentials.username, request.credentials.password
        loop = asyncio.get_running_loop()
        correct = await loop.run_in_executor(self._hashers, self.users.check, name, password)
        connection.verified(request, correct)


class MtaConnection(Connection):
    """A client of a mail server: first its PROXY header, then the screen, then the SMTP server."""

    def __init__(self, watch: Watch, server: MailServer, listener: ListenerSettings) -> None:
        super().__init__(watch, server.clock)
        self.server, self.listener = server, listener
        self._peer: Endpoint
        self._own: Endpoint
        self._client: Client | None = None
        self._served: Served | None = None
        self._worker: int | None = None

    def begin(self, sock: socket.socket, peer: Endpoint, own: Endpoint) -> None:
        """Take over an accepted connection."""
        self._peer, self._own = peer, own
        self.wire = Wire(self.watch, sock, self)
        if self.server.witness is not None:
            self._served = Served(self.server.settings.host, peer)
        if not self.listener.trusted_proxies:
            # smtpd looks, before it greets, whether the client has spoken already.
            early = b"" if self.listener.screen else self.wire.arrived()
            self._identified(peer, self._own, early)
        elif trusted(peer.address, self.listener.trusted_proxies):
            reader = HeaderReader(self.listener.header_timeout_s)
            self.machine = reader
            reader.start(self.clock.now())
            self.serve()
        else:
            self._no_header(NoHeader(f"untrusted peer [{peer.address}]:{peer.port}"))

    def gone(self) -> None:
        self.server.connections.discard(self)
        if self.server.witness is not None and self._served is not None:
            self.server.witness.served(self._peer, self._served)

    def on_request(self, request: Any) -> None:
        server = self.server
        match request:
            case Close():
                self._dismiss()
                self.close()
            case Store():
                server.store(request.message, self)
            case HandOver():
                self._begin_smtp(request.data, screened=True)
            case LookUp():
                server.look_up(request)
            case Verify():
                server.verify(request, self)
            case StartTls():
                server.spawn(self._tls())
            case Identified(header, rest):
                source, destination = header.source or self._peer, header.destination or self._own
                self._identified(source, destination, rest)
            case NoHeader():
                self._no_header(request)

    # --- from one machine to the next ---------------------------------------------------------------------

    def _identified(self, client: Endpoint, destination: Endpoint, rest: bytes) -> None:
        name = self.server.settings.names.get(client.address, "unknown")
        if name == "unknown" and (client.address == "::1" or client.address.startswith("127.")):
            name = "localhost"
        self._client = Client(name, client, destination)
        if self._served is not None:
            self._served.client = client
        if not self.listener.screen:
            self._begin_smtp(rest, screened=False)
            return
        log = self._bound("postscreen", self.server.daemons.alone("postscreen"))
        screen = Screen(self.server.settings.screen, client, destination, log, self.server.memory)
        self.machine = screen
        screen.start(self.clock.now(), rest)
        self.serve()

    def _begin_smtp(self, data: bytes, screened: bool) -> None:
        smtpd = self._smtpd()
        self.machine = smtpd
        smtpd.start(self.clock.now(), data, screened)
        if self.is_lost:
            smtpd.closed(self.clock.now())
        self.serve()

    def _smtpd(self) -> Smtpd:
        assert self._client is not None
        server = self.server
        self._worker = server.daemons.hire("smtpd")
        log = self._bound("smtpd", self._worker)
        return Smtpd(server.settings.site, self._client, log, server.counts, server.queue_ids.new)

    def _bound(self, program: str, pid: int) -> Log:
        # A client that postscreen hands over comes to a service of another name.
        listens = program == ("postscreen" if self.listener.screen else "smtpd")
        name = self.listener.syslog_name if listens else "postfix"
        log = self.server.daemons.bound(program, pid, name)
        served = self._served
        if served is None:
            return log

        def noted(kind: str, **values: Any) -> None:
            served.note(kind, log(kind, **values), values)

        return noted

    def _no_header(self, problem: NoHeader) -> None:
        """Say what Postfix says, and end: the client is not known, so nothing else can be done with it."""
        shown = {"client_text": problem.text} if problem.text is not None else {}
        if self.listener.screen:
            log = self._bound("postscreen", self.server.daemons.alone("postscreen"))
            log("postscreen.haproxy_error", reason=problem.reason or "time limit exceeded", **shown)
            if self.wire is not None:
                self.wire.send(b"421 4.3.2 No system resources\r\n")
            self.close()
            return
        self._client = Client("unknown", self._peer, self._own)
        smtpd = self._smtpd()
        log = self._bound("smtpd", self._worker or 0)
        log("smtpd.haproxy_error", reason=problem.reason or "timeout error", **shown)
        self.machine = smtpd
        smtpd.no_header(self.clock.now())
        self.serve()

    # --- answers ------------------------------------------------------------------------------------------

    def stored(self, message: Message, error: OSError | None) -> None:
        """A message is safe, or could not be made so."""
        if isinstance(self.machine, Smtpd):
            if error is None:
                self.machine.stored(message, self.clock.now())
            else:
                log = self._bound("smtpd", self._worker or 0)
                text = f"{message.queue_id}: write queue file: {error.strerror or error}"
                log("smtpd.message", severity="warning", message_text=text)
                self.machine.not_stored(error.errno in (errno.ENOSPC, errno.EDQUOT), self.clock.now())
            self.serve()

    def verified(self, request: Verify, correct: bool) -> None:
        """A password was checked."""
        if isinstance(self.machine, Smtpd):
            self.machine.verified(request.credentials, correct, self.clock.now())
            self.serve()

    async def _tls(self) -> None:
        machine = self.machine
        if not isinstance(machine, Smtpd | Screen) or self.server.tls is None or self.is_lost:
            return
        try:
            found = await self.start_tls(self.server.tls, _TLS_TIMEOUT_S)
        except (OSError, ssl.SSLError) as error:
            machine.tls_failed("" if isinstance(error, ssl.SSLError) else "lost connection", self.clock.now())
        else:
            name, protocol, bits = found.cipher() or ("unknown", "unknown", 0)
            machine.tls_started(found.version() or protocol, name, bits, bits, self.clock.now())
        self.serve()
        if self.wire is None:
            self.lost(None)

    # --- the end ------------------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """The server is told to end."""
        if isinstance(self.machine, Smtpd | Screen):
            self.machine.stopping(self.clock.now())
            self.serve()
        elif self.machine is not None:
            self.cut()

    def cut(self) -> None:
        """End now, as if the client had gone; a message that is being stored is stored all the same."""
        machine = self.machine
        if machine is not None:
            machine.closed(self.clock.now())
            self.serve()
        if self.wire is not None:
            self.wire.close()

    def _dismiss(self) -> None:
        if self._worker is not None:
            self.server.daemons.dismiss("smtpd", self._worker)
            self._worker = None
