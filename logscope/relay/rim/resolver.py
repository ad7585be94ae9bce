"""Answers for DNS lists: from the configuration, or from the system's resolver."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address

from logscope.relay.addresses import Network

TIMEOUT_S = 10.0


def query_name(address: str, domain: str) -> str:
    """The name that asks a list about an address (RFC 5782 section 2).

    >>> query_name("203.0.113.7", "zen.dnsbl.example")
    '7.113.0.203.zen.dnsbl.example'
    """
    parsed = ip_address(address)
    parts = list(parsed.exploded.replace(":", "")) if isinstance(parsed, IPv6Address) else address.split(".")
    return ".".join([*reversed(parts), domain])


class Zone:
    """Answers from the configuration.

    Args:
        entries: list → network → what it answers.
    """

    def __init__(self, entries: Mapping[str, Mapping[Network, str]]) -> None:
        self._entries = entries

    async def answers(self, address: str, domain: str) -> list[str]:
        """What the list says of an address; nothing when it is not listed."""
        parsed = ip_address(address)
        networks = self._entries.get(domain, {})
        return [
            answer
            for network, answer in networks.items()
            if network.version == parsed.version and parsed in network
        ]


class SystemResolver:
    """The resolver of this machine."""

    async def answers(self, address: str, domain: str) -> list[str]:
        """What the list says of an address; nothing when it is not listed, or does not answer in time."""
        lookup = asyncio.get_running_loop().getaddrinfo(
            query_name(address, domain), None, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
        try:
            found = await asyncio.wait_for(lookup, TIMEOUT_S)
        except (OSError, TimeoutError, UnicodeError):
            return []
        return sorted({str(entry[4][0]) for entry in found})
