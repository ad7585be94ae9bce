"""What somebody asks for: an address or network, or a text that names a session, message or mail address."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Key:
    """A key.

    Attributes:
        text: as it was given, without angle brackets.
        network: what it is as an address or network, else None.
    """

    text: str
    network: IPv4Network | IPv6Network | None

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read a key.

        >>> Key.parse("203.0.113.9").network
        IPv4Network('203.0.113.9/32')
        >>> Key.parse("<a@example.net>").text
        'a@example.net'
        """
        text = text.strip()
        if text.startswith("<") and text.endswith(">"):
            text = text[1:-1]
        try:
            network = ip_network(text.strip("[]"), strict=False)
        except ValueError:
            return cls(text, None)
        return cls(text, network)

    def sessions(self, batch: pa.RecordBatch) -> Any:
        """Which sessions are meant: by their client, their id, or an address of a recipient or sender that
        was refused there.
        """
        if self.network is not None:
            clients = batch.column("client_address")
            inside = [one for one in pc.unique(clients).to_pylist() if self._holds(one)]
            return pc.is_in(clients, pa.array(inside, pa.string()))
        refused = [self._is_refused(row) for row in batch.column("rejects").to_pylist()]
        return pc.or_(_equal(batch, "session_id", self.text), pa.array(refused, pa.bool_()))

    def messages(self, batch: pa.RecordBatch) -> Any:
        """Which messages are meant: by their queue id, Message-ID or sender."""
        ids = pc.or_(_equal(batch, "queue_id", self.text), _equal(batch, "message_id", self.text))
        return pc.or_(ids, self._mail(batch, "sender"))

    def deliveries(self, batch: pa.RecordBatch) -> Any:
        """Which deliveries are meant: by their recipient, before or after aliases."""
        return pc.or_(self._mail(batch, "recipient"), self._mail(batch, "original_recipient"))

    def _holds(self, address: str | None) -> bool:
        if address is None or self.network is None:
            return False
        found = ip_address(address)
        return found.version == self.network.version and found in self.network

    def _is_refused(self, rejects: list[dict[str, Any]] | None) -> bool:
        wanted = self.text.lower()
        return any(
            (one[name] or "").lower() == wanted for one in rejects or () for name in ("sender", "recipient")
        )

    def _mail(self, batch: pa.RecordBatch, column: str) -> Any:
        # Domains do not mind capitals, and no site in use minds those of a local part (RFC 5321, 2.4).
        lower = pc.utf8_lower(batch.column(column))
        return pc.fill_null(pc.equal(lower, self.text.lower()), False)


def _equal(batch: pa.RecordBatch, column: str, text: str) -> Any:
    return pc.fill_null(pc.equal(batch.column(column), text), False)
