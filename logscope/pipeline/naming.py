"""Which names mean the same host.

A host calls itself by its short or full name, or a log host writes its address; HAProxy calls servers as
its configuration does. Configurations say more: the names and addresses of a mail server, and which one a
`server` line reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Naming:
    """What configurations say of names.

    Attributes:
        hosts: one name for each host, by all names and addresses it has, in small letters.
        servers: the host that a server of HAProxy is, by the server's name.
    """

    hosts: Mapping[bytes, bytes] = field(default_factory=dict)
    servers: Mapping[bytes, bytes] = field(default_factory=dict)

    def host(self, name: bytes) -> bytes:
        """One name for a host.

        >>> Naming().host(b"MX-A.example.com"), Naming().host(b"192.0.2.11")
        (b'mx-a', b'192.0.2.11')
        """
        name = name.lower()
        short = _short(name)
        return _short(self.hosts.get(name) or self.hosts.get(short) or short)

    def host_of_server(self, name: bytes) -> bytes:
        """The name of the host that a server is: by configuration, or else the one that it is called as."""
        return self.host(self.servers.get(name, name))


NOTHING_SAID = Naming()


def _short(name: bytes) -> bytes:
    """The first label of a host's name; an address as it is."""
    first = name.split(b".", 1)[0]
    return name if first.isdigit() else first
