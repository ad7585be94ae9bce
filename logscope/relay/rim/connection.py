"""Drives a machine over a socket: bytes in, bytes out, one timer."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import Any

from logscope.relay.machine import Machine
from logscope.relay.rim.clock import Clock

NO_LINGER = struct.pack("ii", 1, 0)
PIECE = 64 * 1024
"""Bytes that may wait to be sent before no more are read: a client must take its replies."""


class Connection(asyncio.Protocol):
    """One connection with one machine at a time.

    A subclass gives it its machine and serves the machine's requests.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.machine: Machine | None = None
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self._timer: asyncio.TimerHandle | None = None
        self._switching = False

    # --- asyncio ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if not self._switching:
            transport.set_write_buffer_limits(high=PIECE)
            self.opened()

    def data_received(self, data: bytes) -> None:
        if self.machine is not None:
            self.machine.receive(data, self.clock.now())
            self.serve()

    def eof_received(self) -> bool:
        if self.machine is not None:
            self.machine.closed(self.clock.now())
            self.serve()
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True
        self._cancel()
        if self.machine is not None:
            self.machine.closed(self.clock.now())
            self.serve()
        self.gone()

    def pause_writing(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    # --- for subclasses -----------------------------------------------------------------------------------

    def opened(self) -> None:
        """The connection is there."""

    def gone(self) -> None:
        """The connection is no more."""

    def on_request(self, request: Any) -> None:
        """The machine wants something."""

    def serve(self) -> None:
        """Do what the machine wants, after it was told something."""
        machine = self.machine
        while machine is not None:
            self._send(machine)
            if not machine.requests:
                break
            self.on_request(machine.requests.pop(0))
            machine = self.machine
        if machine is not None and not self.lost:
            self._arm(machine.deadline)

    def _send(self, machine: Machine) -> None:
        if machine.out:
            if self.transport is not None and not self.lost:
                self.transport.write(bytes(machine.out))
            machine.out.clear()

    def close(self) -> None:
        """Close after what was sent has gone out.

        When a process exits with unread input the kernel resets its connection, and the client learns that
        the rest was for nobody. Here the input was taken from the kernel, so the reset is asked for.
        """
        unread = self.machine is not None and self.machine.unread
        self.machine = None
        self._cancel()
        if self.transport is None:
            return
        if unread and not self.transport.get_write_buffer_size():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.close()

    async def start_tls(self, context: ssl.SSLContext, timeout_s: float) -> ssl.SSLObject:
        """Go on under TLS.

        Raises:
            OSError, ssl.SSLError: the handshake failed.
        """
        assert self.transport is not None
        self._switching = True
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self.transport, self, context, server_side=True, ssl_handshake_timeout=timeout_s
            )
        finally:
            self._switching = False
        if transport is None:
            raise ConnectionResetError("lost connection")
        self.transport = transport
        found = transport.get_extra_info("ssl_object")
        assert isinstance(found, ssl.SSLObject)
        return found

    # --- the timer ----------------------------------------------------------------------------------------

    def _arm(self, deadline: float | None) -> None:
        """One timer, set anew only when it would come too late: most deadlines only ever move away."""
        if deadline is None:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + deadline - self.clock.now()
        if self._timer is None or self._timer.when() > at:
            self._cancel()
            self._timer = loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        machine = self.machine
        if machine is None or machine.deadline is None:
            return
        now = self.clock.now()
        if machine.deadline <= now + 0.0005:
            machine.wake(now)
            self.serve()
        else:
            self._arm(machine.deadline)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
