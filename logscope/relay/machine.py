"""What all dialogues have in common: bytes in, bytes and requests out, and a time to be woken at.

A machine never waits. Whoever drives it calls `receive`, `closed` and `wake`, then sends `out`, serves the
requests and arranges for `wake` at `deadline`. The answer to a request comes through a method of the
machine; until then it keeps what arrives and does not look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Log: TypeAlias = Callable[..., object]
"""Called with the kind of a line (`smtpd.connect`) and the values of its fields."""


class Machine(Protocol):
    """One side of a connection.

    Attributes:
        out: bytes to be sent.
        requests: what is wanted from the outside, in order.
        deadline: when `wake` is to be called; None for never.
        unread: whether there is input that a process would not have read.
    """

    out: bytearray
    requests: list[Any]
    deadline: float | None

    @property
    def unread(self) -> bool:
        """See above."""

    def receive(self, data: bytes, now: float) -> None:
        """Bytes have arrived."""

    def closed(self, now: float) -> None:
        """The other side has closed or reset the connection."""

    def wake(self, now: float) -> None:
        """The deadline has passed."""


@dataclass(frozen=True, slots=True)
class Close:
    """Send what is to be sent and close the connection."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """Send what is to be sent, then begin TLS as server."""
