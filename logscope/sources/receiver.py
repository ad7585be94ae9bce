"""The receiver of syslog messages: a process of its own, so that nothing the joins do can make it late.

`listen` starts it with sockets that are open already, and for each a pipe that takes lines. It reads the
sockets as fast as they fill, keeps what the pipe does not take yet (bounded; of datagrams, what is more is
dropped and counted; connections are not read meanwhile), and reports counts. It ends when its parent does, or
asks it to.

Its configuration is one JSON object, the first line that comes from the parent.
"""

from __future__ import annotations

import ipaddress
import json
import os
import selectors
import signal
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, TypeAlias

from logscope.syslog.framing import LONGEST, Frames, as_line

KEPT = 256 << 20
"""Bytes of lines kept for a parent that is busy."""
_READ = 1 << 16
_AT_ONCE = 256
"""Datagrams, or blocks of a connection, read before others have their turn."""
_LAST_TURNS = 512
"""Turns that a socket of datagrams has at the end: more than the kernel keeps of them, so that none is left
behind, and yet an end where somebody never stops sending.
"""
_CONNECTIONS = 1000
_HANDSHAKE_S = 10.0
_REPORT_S = 0.5

Networks: TypeAlias = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


@dataclass
class Counts:
    """What one socket has had so far.

    Attributes:
        messages: received and passed on.
        refused: datagrams and connections of senders that are not allowed.
        dropped: datagrams that came while the parent was too far behind.
        lost: datagrams that the kernel dropped because nobody fetched them in time.
        cut: messages that were too long.
        failed: connections that failed, in the TLS handshake for instance.
        connections: open now.
    """

    messages: int = 0
    refused: int = 0
    dropped: int = 0
    lost: int = 0
    cut: int = 0
    failed: int = 0
    connections: int = 0


class Outlet:
    """The pipe that lines of one socket go into, and what waits for room in it."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self.waiting = 0

    @property
    def is_full(self) -> bool:
        return self.waiting >= KEPT

    def put(self, lines: list[bytes]) -> None:
        """Pass lines on."""
        data = b"\n".join(lines) + b"\n"
        self._waiting.append(data)
        self.waiting += len(data)
        self.flush()

    def flush(self) -> None:
        """Write as much as there is room for.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        while self._waiting:
            try:
                written = os.write(self.descriptor, self._waiting[0])
            except BlockingIOError:
                return
            self.waiting -= written
            if written < len(self._waiting[0]):
                self._waiting[0] = self._waiting[0][written:]
            else:
                self._waiting.popleft()


class Senders:
    """Who may send, and what a sender is called where its messages name no host."""

    def __init__(self, allowed: Iterable[str], local: str) -> None:
        self._allowed: Networks = tuple(ipaddress.ip_network(one) for one in allowed)
        self._local = local.encode()
        self._known: dict[str, bytes | None] = {}

    def name_of(self, address: str) -> bytes | None:
        """The name of a sender; None if it may not send."""
        if address not in self._known:
            if len(self._known) > 10_000:  # somebody plays with addresses
                self._known.clear()
            self._known[address] = self._judged(address)
        return self._known[address]

    def _judged(self, text: str) -> bytes | None:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = address.ipv4_mapped if address.version == 6 else None
        address = mapped or address
        if not any(address.version == one.version and address in one for one in self._allowed):
            return None
        return self._local if address.is_loopback else str(address).encode()


class Datagrams:
    """A socket of datagrams, UDP or in the file system."""

    def __init__(self, listening: socket.socket, outlet: Outlet, senders: Senders, local: str) -> None:
        self.socket, self.outlet, self.counts = listening, outlet, Counts()
        self._senders, self._local = senders, local.encode()
        self._unix = listening.family == socket.AF_UNIX
        listening.setblocking(False)
        self._inode = os.fstat(listening.fileno()).st_ino

    def read(self) -> bool:
        """Fetch what has come; False when nothing is left."""
        lines: list[bytes] = []
        more = True
        receive, name_of, counts = self.socket.recvfrom, self._senders.name_of, self.counts
        for _ in range(_AT_ONCE):
            try:
                data, sender = receive(LONGEST + 1)
            except BlockingIOError:
                more = False
                break
            except OSError:  # what ICMP told of an earlier datagram
                continue
            host = self._local if self._unix else name_of(sender[0])
            if len(data) > LONGEST:  # over UDP none is; through the file system they may be
                counts.cut += host is not None
                data = data[:LONGEST]
            if host is None:
                counts.refused += 1
            elif line := as_line(data, host):
                lines.append(line)
        if lines and self.outlet.is_full:
            counts.dropped += len(lines)
        elif lines:
            counts.messages += len(lines)
            self.outlet.put(lines)
        return more

    def note_losses(self) -> None:
        """Ask the kernel how many datagrams it dropped (the last column of /proc/net/udp)."""
        if self._unix:
            return  # senders wait instead
        table = "udp" if self.socket.family == socket.AF_INET else "udp6"
        with suppress(OSError, ValueError), open(f"/proc/self/net/{table}", encoding="ascii") as file:  # noqa: PTH123
            for line in file:
                words = line.split()
                if len(words) >= 13 and words[9] == str(self._inode):
                    self.counts.lost = int(words[12])

    def close(self) -> None:
        self.socket.close()


class Connections:
    """A socket that accepts connections."""

    def __init__(
        self, listening: socket.socket, outlet: Outlet, senders: Senders, context: ssl.SSLContext | None
    ) -> None:
        self.socket, self.outlet, self.counts = listening, outlet, Counts()
        self.senders, self.context = senders, context
        listening.setblocking(False)

    def accept(self) -> Connection | None:
        """The next connection, if its sender may have one."""
        try:
            accepted, sender = self.socket.accept()
        except OSError:
            return None
        host = self.senders.name_of(sender[0])
        if host is None or self.counts.connections >= _CONNECTIONS:
            self.counts.refused += 1
            accepted.close()
            return None
        accepted.setblocking(False)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.counts.connections += 1
        return Connection(self, accepted, host)

    def note_losses(self) -> None:
        """Connections lose nothing."""

    def close(self) -> None:
        self.socket.close()


class Connection:
    """One sender's stream of messages."""

    def __init__(self, parent: Connections, accepted: socket.socket, host: bytes) -> None:
        self.parent, self._host = parent, host
        self._frames = Frames()
        self.socket: socket.socket = accepted
        self._greeted = parent.context is None
        self.until = time.monotonic() + _HANDSHAKE_S
        if parent.context is not None:
            self.socket = parent.context.wrap_socket(
                accepted, server_side=True, do_handshake_on_connect=False
            )

    @property
    def is_late(self) -> bool:
        """Whether it connected and never began to speak TLS."""
        return not self._greeted and time.monotonic() > self.until

    @property
    def _has_decrypted(self) -> bool:
        """Whether there is something that no event will tell of."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def read(self) -> bool:
        """Fetch what has come; False when the connection is over."""
        lines: list[bytes] = []
        open_still = True
        for turn in count():
            if turn >= _AT_ONCE and not self._has_decrypted:
                break
            try:
                if not self._greeted:
                    self.socket.do_handshake()  # type: ignore[attr-defined]
                    self._greeted = True
                data = self.socket.recv(_READ)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError:  # reset, or no TLS
                self.parent.counts.failed += 1
                open_still = False
                break
            found = self._frames.feed(data) if data else self._frames.close()
            lines += [line for message in found if (line := as_line(message, self._host))]
            if not data:
                open_still = False
                break
        self.parent.counts.cut += self._frames.cut
        self._frames.cut = 0
        if lines:
            self.parent.counts.messages += len(lines)
            self.parent.outlet.put(lines)
        return open_still

    def close(self) -> None:
        self.parent.counts.connections -= 1
        self.socket.close()


class Receiver:
    """Serves all sockets until it is told to stop.

    Args:
        control: a socket to the parent: reports go out, the end of its side asks for the end.
        endpoints: open sockets with their outlets.
    """

    def __init__(self, control: socket.socket, endpoints: list[Datagrams | Connections]) -> None:
        self._control = control
        self._endpoints = endpoints
        self._connections: set[Connection] = set()
        self._selector = selectors.DefaultSelector()
        self._reported_at = 0.0
        self._stopping = False

    def run(self) -> None:
        """Go on until the parent wants no more, then pass on what has come."""
        self._control.setblocking(False)
        self._selector.register(self._control, selectors.EVENT_READ, self)
        for endpoint in self._endpoints:
            self._selector.register(endpoint.socket, selectors.EVENT_READ, endpoint)
        while not self._stopping:
            self._serve()
            self._report()
        self._read_rest()
        self._report(at_once=True)
        for endpoint in self._endpoints:
            os.set_blocking(endpoint.outlet.descriptor, True)
            endpoint.outlet.flush()

    def _read_rest(self) -> None:
        """What the kernel has accepted for us, so that its senders count on it."""
        for endpoint in self._endpoints:
            if isinstance(endpoint, Datagrams):
                for _ in range(_LAST_TURNS):
                    if not endpoint.read():
                        break
            else:
                while (connection := endpoint.accept()) is not None:
                    self._connections.add(connection)
        for connection in list(self._connections):
            connection.read()

    def _serve(self) -> None:
        busy = any(endpoint.outlet.waiting for endpoint in self._endpoints)
        for endpoint in self._endpoints:
            endpoint.outlet.flush()
        if any(endpoint.outlet.is_full for endpoint in self._endpoints):
            time.sleep(0.002)  # connections that are not read now are ready all the same
        for key, _ in self._selector.select(0.002 if busy else _REPORT_S):
            served = key.data
            if served is self:
                self._stopping = not self._control.recv(1)
            elif isinstance(served, Datagrams):
                served.read()
            elif isinstance(served, Connections):
                self._accept(served)
            elif not served.parent.outlet.is_full and not served.read():
                self._drop(served)

    def _accept(self, endpoint: Connections) -> None:
        connection = endpoint.accept()
        if connection is not None:
            self._connections.add(connection)
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    def _drop(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        self._connections.discard(connection)
        connection.close()

    def _report(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if not at_once and now - self._reported_at < _REPORT_S:
            return
        self._reported_at = now
        for late in [one for one in self._connections if one.is_late]:
            late.parent.counts.failed += 1
            self._drop(late)
        for endpoint in self._endpoints:
            endpoint.note_losses()
        report = json.dumps([asdict(endpoint.counts) for endpoint in self._endpoints])
        with suppress(BlockingIOError):  # the parent has older ones to read
            self._control.send(report.encode() + b"\n")


def endpoint_of(configuration: dict[str, Any], local: str) -> Datagrams | Connections:
    """What the parent describes as one endpoint."""
    listening = socket.socket(fileno=configuration["socket"])
    outlet = Outlet(configuration["pipe"])
    senders = Senders(configuration["allow"], local)
    if listening.type == socket.SOCK_DGRAM:
        return Datagrams(listening, outlet, senders, local)
    context = None
    if configuration["certificate"]:
        context = tls_context(configuration["certificate"], configuration["key"], configuration["authority"])
    return Connections(listening, outlet, senders, context)


def tls_context(certificate: str, key: str | None, authority: str | None) -> ssl.SSLContext:
    """How TLS is spoken; with an authority, senders must have a certificate that it signed.

    Raises:
        OSError: a file cannot be read, or holds no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if authority:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def main(control_descriptor: int) -> None:
    """Read the configuration from the parent and serve."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # service managers send them to all processes
        signal.signal(one, signal.SIG_IGN)  # the parent ends it
    control = socket.socket(fileno=control_descriptor)
    configuration = json.loads(control.makefile("r", encoding="utf-8").readline())
    local = configuration["local"]
    endpoints = [endpoint_of(one, local) for one in configuration["endpoints"]]
    with suppress(BrokenPipeError, ConnectionError):
        Receiver(control, endpoints).run()
