"""TCP connections and listening sockets in the event loop, without a transport in between.

A session of the relay is three connections, and a transport of asyncio's costs a task, a future and some
callbacks for each: with them a session took half as long again. Here `Watch` only says when a socket can be
read or written. What is sent is gathered until everybody who was told in this turn has come to his end, and
then sent by one after the other, and who is to be closed is closed then: that makes a session 7 % cheaper, as
the kernel's code and this one take turns less often. Under TLS a connection is one of asyncio's (`TlsWire`),
with the same methods.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Protocol

from logscope.errors import ListenError
from logscope.relay.header import Endpoint
from logscope.relay.rim.watch import BROKEN, NO_MORE, READ, WRITE, Watch

PIECE = 64 * 1024
"""Bytes that are read at once; and bytes that may wait to be sent before `stuck` is said."""
LINGER_S = 30.0
"""After it was closed, a connection whose other side does not take what was sent is dropped."""
_AT_ONCE = 64
_PAUSE_S = 1.0
_SETTING = "--listen, or bind in the file of --config"
"""Before connections are accepted again when the process has no more descriptors."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_LINGER = struct.pack("ii", 1, 0)


class End(Protocol):
    """Whose connection it is."""

    def received(self, data: bytes) -> None:
        """Bytes have arrived."""

    def ended(self) -> None:
        """The other side sends no more."""

    def lost(self, error: OSError | None) -> None:
        """The connection is no more: said once, whoever closed it."""

    def stuck(self) -> None:
        """The other side does not take what is sent."""

    def flowing(self) -> None:
        """It does again."""


class Nobody:
    """Whose connection it is when it is no more, so that nothing holds on to its former end."""

    def received(self, data: bytes) -> None: ...

    def ended(self) -> None: ...

    def lost(self, error: OSError | None) -> None: ...

    def stuck(self) -> None: ...

    def flowing(self) -> None: ...


_NOBODY = Nobody()


class Wire:
    """A connected socket. It is read from the beginning on."""

    __slots__ = (
        "_closing", "_end", "_ending", "_fd", "_is_stuck", "_received", "_recv", "_resets",
        "_said_all", "_send", "_sock", "_unsent", "_wanted", "_watch",
    )  # fmt: skip

    def __init__(self, watch: Watch, sock: socket.socket, end: End) -> None:
        self._watch, self._sock = watch, sock
        self._end = end
        self._recv, self._send, self._received = sock.recv, sock.send, end.received
        self._fd = sock.fileno()
        self._unsent = bytearray()
        self._ending = self._closing = self._resets = self._is_stuck = self._said_all = False
        self._wanted = 0
        self._want(READ)

    @property
    def is_open(self) -> bool:
        """Whether it can still be sent to."""
        return self._fd >= 0 and not self._closing

    def _want(self, wanted: int) -> None:
        """Be told when the socket is ready for this; a socket that is ready for nothing is not watched."""
        former, self._wanted = self._wanted, wanted
        if not former:
            if wanted:
                self._watch.begin(self._fd, wanted, self._ready)
        elif not wanted:
            self._watch.end(self._fd)
        elif wanted != former:
            self._watch.change(self._fd, wanted)

    def _ready(self, ready: int) -> None:
        if self._wanted & READ and not self._closing and ready & (READ | BROKEN):
            self._readable(ready & (NO_MORE | BROKEN) == NO_MORE)
        if self._wanted & WRITE and ready & (WRITE | BROKEN):
            self._writable()

    # --- reading ------------------------------------------------------------------------------------------

    def _readable(self, no_more: bool) -> None:
        try:
            data = self._recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._received(data)
            if not no_more:
                return
            # Who had closed its side, and has sent less than was asked for, has sent that as the last.
            no_more = no_more and len(data) < PIECE and bool(self._wanted & READ)
        if no_more or not data:
            self._said_all = True
            self._end.ended()
            if not self._closing:
                self.pause()

    def arrived(self) -> bytes:
        """What is there already; nothing, too, when there is no more to come or the connection is broken."""
        try:
            return self._sock.recv(PIECE)
        except OSError:
            return b""

    def pause(self) -> None:
        """Read no more for now."""
        self._want(self._wanted & ~READ)

    def resume(self) -> None:
        """Read again."""
        if self.is_open and not self._said_all:
            self._want(self._wanted | READ)

    # --- writing ------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray) -> None:
        """Send bytes at the end of this turn as far as they go, and the rest when there is room."""
        if self._fd < 0 or self._closing:
            return
        if not self._unsent:
            self._watch.outgoing(self)
        self._unsent += data
        if self._wanted & WRITE:
            self._check_flow()

    def flush(self) -> None:
        """Do what was put off in this turn: send what was gathered, then end or close."""
        if self._fd < 0 or self._wanted & WRITE:
            return
        unsent = self._unsent
        if unsent:
            try:
                sent = self._send(unsent)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                unsent.clear()
                self._watch.soon(self._lose, error)
                return
            if sent < len(unsent):
                del unsent[:sent]
                self._wait_for_room()
                return
            unsent.clear()
        if self._closing:
            self._close()
        elif self._ending:
            self._shut()

    def _wait_for_room(self) -> None:
        if self._closing:
            self._want(WRITE)
            self._watch.loop.call_later(LINGER_S, self._lose, None)
        else:
            self._want(self._wanted | WRITE)
            self._check_flow()

    def _check_flow(self) -> None:
        if len(self._unsent) > PIECE and not self._is_stuck:
            self._is_stuck = True
            self._end.stuck()

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        del self._unsent[:sent]
        if self._unsent:
            return
        self._want(self._wanted & ~WRITE)
        if self._closing:
            self._lose(None)
            return
        if self._ending:
            self._shut()
        if self._is_stuck:
            self._is_stuck = False
            self._end.flowing()

    def finish(self) -> None:
        """Send no more, and say so to the other side when the rest has gone."""
        if self.is_open and not self._ending:
            self._ending = True
            self._put_off()

    def _put_off(self) -> None:
        if not self._unsent:
            self._watch.outgoing(self)

    def _shut(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is no more; reading says so

    # --- the end ------------------------------------------------------------------------------------------

    def close(self, reset: bool = False) -> None:
        """Close when the rest has gone.

        Args:
            reset: tell the other side, if nothing is left to be sent, that what it said was not read.
        """
        if not self.is_open:
            return
        self._closing, self._resets = True, reset
        if self._wanted & WRITE:
            self._wait_for_room()
        else:
            self._put_off()

    def _close(self) -> None:
        if self._resets:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._release()
        self._watch.soon(self._say_lost, None)

    def drop(self) -> None:
        """Close at once; what could not be sent is forgotten."""
        if self._fd >= 0:
            self.flush()
            self._closing = True
            self._release()
            self._watch.soon(self._say_lost, None)

    def detach(self) -> socket.socket:
        """Give the socket away.

        Raises:
            ConnectionResetError: not everything was sent, or it is closed.
        """
        self.flush()
        if not self.is_open or self._unsent:
            raise ConnectionResetError(errno.ECONNRESET, "lost connection")
        self.pause()
        self._fd = -1
        return self._sock

    def _lose(self, error: OSError | None) -> None:
        if self._fd >= 0:
            self._release()
            self._say_lost(error)

    def _say_lost(self, error: OSError | None) -> None:
        # A session whose parts still held on to each other would be left to the garbage collector, which
        # took a twenty-fifth of all time.
        end, self._end, self._received = self._end, _NOBODY, _NOBODY.received
        end.lost(error)

    def _release(self) -> None:
        if self._wanted:
            self._wanted = 0
            self._watch.forget(self._fd)
        self._unsent.clear()
        self._fd = -1
        self._sock.close()


class TlsWire(asyncio.Protocol):
    """A connection under TLS."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def accepted(
        cls, sock: socket.socket, end: End, context: ssl.SSLContext, timeout_s: float
    ) -> TlsWire:
        """Let the other side, which begins, make the connection secret.

        Raises:
            OSError, ssl.SSLError: the handshake failed.
        """
        wire = cls(end)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: wire, sock, ssl=context, ssl_handshake_timeout=timeout_s)
        return wire

    @property
    def details(self) -> ssl.SSLObject:
        """What was agreed on."""
        assert self._transport is not None
        found = self._transport.get_extra_info("ssl_object")
        assert isinstance(found, ssl.SSLObject)
        return found

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=PIECE)

    def data_received(self, data: bytes) -> None:
        self._end.received(data)

    def eof_received(self) -> None:
        self._end.ended()

    def connection_lost(self, error: Exception | None) -> None:
        self._end.lost(error if isinstance(error, OSError) else None)

    def pause_writing(self) -> None:
        self._end.stuck()

    def resume_writing(self) -> None:
        self._end.flowing()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes | bytearray) -> None:
        if self._transport is not None:
            self._transport.write(bytes(data))

    def pause(self) -> None:
        if self._transport is not None and self.is_open:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and self.is_open:
            self._transport.resume_reading()

    def close(self, reset: bool = False) -> None:  # noqa: ARG002 - TLS has an end of its own
        if self._transport is not None and self.is_open:
            asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)
            self._transport.close()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Doors:
    """The sockets of all listeners. They are there before anything else is begun, so that a relay that
    cannot listen everywhere leaves nothing behind.

    Args:
        binds: where; the same may be there twice if the system chooses the port.

    Raises:
        ListenError: an address cannot be bound; then none is.
    """

    def __init__(self, binds: Iterable[Endpoint]) -> None:
        self._sockets: list[tuple[Endpoint, socket.socket]] = []
        try:
            for bind in binds:
                self._sockets.append((bind, _listening(bind)))
        except BaseException:
            self.close()
            raise

    def take(self, bind: Endpoint) -> socket.socket:
        """The socket that was made for an address. Whoever takes it closes it."""
        for number, (made_for, found) in enumerate(self._sockets):
            if made_for == bind:
                del self._sockets[number]
                return found
        raise KeyError(bind)

    def close(self) -> None:
        """Close what nobody has taken."""
        while self._sockets:
            self._sockets.pop()[1].close()


class Listener:
    """A listening socket. Those who connect wait in the kernel as long as there is no room for them.

    Args:
        listening: the socket.
        accepted: is handed each connection, the address of its other end, and that of its own.
        is_full: whether no more are to be accepted for now; `resume` is called when that changes.
    """

    def __init__(
        self,
        watch: Watch,
        listening: socket.socket,
        accepted: Callable[[socket.socket, Endpoint, Endpoint], None],
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._watch, self._accepted, self._is_full = watch, accepted, is_full
        self._socket = listening
        self.address = Endpoint(*self._socket.getsockname()[:2])
        self._takes_all = ip_address(self.address.address).is_unspecified
        self._watches = self._is_closed = False
        self.resume()

    def resume(self) -> None:
        """Accept again."""
        if not self._watches and not self._is_closed:
            self._watches = True
            self._watch.begin(self._socket.fileno(), READ, self._readable)

    def _pause(self) -> None:
        if self._watches:
            self._watches = False
            self._watch.end(self._socket.fileno())

    def close(self) -> None:
        """Listen no more."""
        if not self._is_closed:
            self._pause()
            self._is_closed = True
            self._socket.close()

    def _readable(self, _ready: int) -> None:
        for _ in range(_AT_ONCE):
            if self._is_full():
                self._pause()
                return
            try:
                sock, peer = self._socket.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause()
                    self._watch.loop.call_later(_PAUSE_S, self.resume)
                return
            sock.setblocking(False)
            own = Endpoint(*sock.getsockname()[:2]) if self._takes_all else self.address
            self._accepted(sock, Endpoint(peer[0], peer[1]), own)


def _listening(bind: Endpoint) -> socket.socket:
    """A listening socket; an IPv6 one takes IPv6 alone."""
    try:
        found = tcp_socket(bind)
    except OSError as error:  # a kernel without IPv6
        raise ListenError(str(bind), error, _SETTING, bind.port) from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bind.is_ipv6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind((bind.address, bind.port))
        found.listen(1024)
    except OSError as error:
        found.close()
        raise ListenError(str(bind), error, _SETTING, bind.port) from None
    return found


def tcp_socket(address: Endpoint) -> socket.socket:
    """A socket for connections with an address; what it accepts inherits that nothing is held back."""
    found = socket.socket(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    found.setblocking(False)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def connecting(address: Endpoint, source: str = "") -> socket.socket:
    """A socket that is being connected.

    Raises:
        OSError: it cannot even begin.
    """
    found = tcp_socket(address)
    try:
        if source:
            found.bind((source, 0))
        code = found.connect_ex((address.address, address.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except OSError:
        found.close()
        raise
    return found


def is_connected(sock: socket.socket) -> bool:
    """Whether an attempt to connect has succeeded already, as it does within a machine."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
