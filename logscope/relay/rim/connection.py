"""Drives a machine over a connection: bytes in, bytes out, one timer."""

from __future__ import annotations

import math
import ssl
from typing import Any

from logscope.relay.machine import Machine
from logscope.relay.rim.alarms import Alarm
from logscope.relay.rim.clock import Clock
from logscope.relay.rim.watch import Watch
from logscope.relay.rim.wire import TlsWire, Wire


class Connection:
    """One connection with one machine at a time.

    A subclass gives it its wire and its machine, and serves the machine's requests.
    """

    def __init__(self, watch: Watch, clock: Clock) -> None:
        self.watch, self.clock = watch, clock
        self.machine: Machine | None = None
        self.wire: Wire | TlsWire | None = None
        self.is_lost = False
        self._timer: Alarm | None = None
        self._rings_at = math.inf

    # --- the wire -----------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        if self.machine is not None:
            self.machine.receive(data, self.clock.now())
            self.serve()

    def ended(self) -> None:
        if self.machine is not None:
            self.machine.closed(self.clock.now())
            self.serve()

    def lost(self, _error: OSError | None) -> None:
        self.is_lost = True
        self._cancel()
        self.ended()
        self.gone()

    def stuck(self) -> None:
        """A client must take its replies before it may say more."""
        if self.wire is not None:
            self.wire.pause()

    def flowing(self) -> None:
        if self.wire is not None:
            self.wire.resume()

    # --- for subclasses -----------------------------------------------------------------------------------

    def gone(self) -> None:
        """The connection is no more."""

    def on_request(self, request: Any) -> None:
        """The machine wants something."""

    def serve(self) -> None:
        """Do what the machine wants, after it was told something."""
        machine = self.machine
        while machine is not None:
            if machine.out:
                if self.wire is not None:
                    self.wire.send(machine.out)
                machine.out.clear()
            if not machine.requests:
                if not self.is_lost:
                    self._arm(machine.deadline)
                break
            self.on_request(machine.requests.pop(0))
            machine = self.machine

    def close(self) -> None:
        """Close after what was sent has gone out.

        When a process exits with unread input the kernel resets its connection, and the client learns that
        the rest was for nobody. Here the input was taken from the kernel, so the reset is asked for.
        """
        unread = self.machine is not None and self.machine.unread
        self.machine = None
        self._cancel()
        if self.wire is not None:
            self.wire.close(reset=unread)

    async def start_tls(self, context: ssl.SSLContext, timeout_s: float) -> ssl.SSLObject:
        """Go on under TLS.

        Raises:
            OSError, ssl.SSLError: the handshake failed; the connection is lost.
        """
        assert isinstance(self.wire, Wire)
        try:
            sock = self.wire.detach()
            self.wire = None
            self.wire = secret = await TlsWire.accepted(sock, self, context, timeout_s)
        except OSError:  # ssl.SSLError is one
            self.is_lost = True
            raise
        return secret.details

    # --- the timer ----------------------------------------------------------------------------------------

    def _arm(self, deadline: float | None) -> None:
        """One timer, set anew only when it would come too late: most deadlines only ever move away."""
        if deadline is None or deadline >= self._rings_at:
            return
        self._cancel()
        self._rings_at = deadline
        self._timer = self.watch.alarms.after(deadline - self.clock.now(), self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
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
            self._timer, self._rings_at = None, math.inf
