"""Addresses as text and as numbers: those of clients come back, connection after connection."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network


@lru_cache(maxsize=4096)
def parsed(address: str) -> IPv4Address | IPv6Address:
    """An address; one that IPv6 maps from IPv4 is the IPv4 address.

    Raises:
        ValueError: it is none.
    """
    found = ip_address(address)
    return getattr(found, "ipv4_mapped", None) or found


def is_in(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address is in one of some networks."""
    if not networks:
        return False
    found = parsed(address)
    return any(network.version == found.version and found in network for network in networks)
