"""What somebody asks for: an address or network, or a text that names a session, message or mail address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any


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

    def is_of_session(self, row: Mapping[str, Any]) -> bool:
        """Whether a session is meant: its client, its id, an id of its queue, or an address it tried."""
        if self.network is not None:
            return self._holds(row["client_address"])
        rejects = row["rejects"] or ()
        return (
            row["session_id"] == self.text
            or self.text in (row["queue_ids"] or ())
            or self._is_mail(address for one in rejects for address in (one["sender"], one["recipient"]))
        )

    def is_of_message(self, row: Mapping[str, Any]) -> bool:
        """Whether a message is meant: its queue id, Message-ID or sender."""
        ids = (row["queue_id"], row["message_id"])
        return self.network is None and (self.text in ids or self._is_mail([row["sender"]]))

    def is_of_delivery(self, row: Mapping[str, Any]) -> bool:
        """Whether a recipient is meant, before or after aliases."""
        return self.network is None and self._is_mail([row["recipient"], row["original_recipient"]])

    def _holds(self, address: str | None) -> bool:
        if address is None or self.network is None:
            return False
        found = ip_address(address)
        return found.version == self.network.version and found in self.network

    def _is_mail(self, addresses: Iterable[str | None]) -> bool:
        # Domains do not mind capitals, and no site in use minds those of a local part (RFC 5321, 2.4).
        wanted = self.text.casefold()
        return any(address and address.casefold() == wanted for address in addresses)
