"""The PROXY header in front of a connection, as Postfix reads it (`*_upstream_proxy_protocol = haproxy`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from logscope.relay.addresses import Network, is_in
from logscope.relay.escape import escaped
from logscope.relay.header import Header, HeaderError, decode

SHOWN = 512
"""Bytes of a wrong header that are logged."""


class Identified(NamedTuple):
    """A header was read; `rest` came behind it."""

    header: Header
    rest: bytes


@dataclass(frozen=True, slots=True)
class NoHeader:
    """There is no header, or a wrong one.

    Attributes:
        reason: in Postfix's words; empty when it did not come in time.
        text: what came instead, escaped; None when nothing is to be shown.
    """

    reason: str
    text: str | None = None


class HeaderReader:
    """Reads the header of one connection.

    Unlike Postfix it waits for the rest of a header that comes in pieces, as TCP may deliver it.
    """

    def __init__(self, timeout_s: float) -> None:
        self.out = bytearray()
        self.requests: list[Any] = []
        self.deadline: float | None = None
        self._timeout_s = timeout_s
        self._buffer = bytearray()

    @property
    def unread(self) -> bool:
        """Whether there is input: it was looked at, but as long as it is no header it is for nobody."""
        return bool(self._buffer)

    def start(self, now: float) -> None:
        """The connection is there."""
        self.deadline = now + self._timeout_s

    def receive(self, data: bytes, _now: float) -> None:
        """Bytes have arrived."""
        self._buffer += data
        if self.requests:
            return
        try:
            found = decode(bytes(self._buffer))
        except HeaderError as error:
            self._fail(error.reason)
            return
        if found is None:
            return
        header, length = found
        if header.source is None and not header.is_local:
            # An unknown client would step around every rule that goes by addresses.
            is_v1 = self._buffer.startswith(b"P")
            self._fail("bad or missing protocol type" if is_v1 else "unsupported network protocol")
            return
        self.deadline = None
        self.requests.append(Identified(header, bytes(self._buffer[length:])))

    def closed(self, _now: float) -> None:
        """The peer has gone."""
        if not self.requests:
            if self._buffer:
                self._fail("short protocol header")
            else:
                self.requests.append(NoHeader("EOF"))

    def wake(self, _now: float) -> None:
        """The time is up."""
        if not self.requests:
            self.requests.append(NoHeader(""))

    def _fail(self, reason: str) -> None:
        self.requests.append(NoHeader(reason, escaped(bytes(self._buffer[:SHOWN]))))


def trusted(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether a peer's header is believed."""
    return is_in(address, networks)
