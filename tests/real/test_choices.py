"""Which server the next session goes to: HAProxy decides, and so does the relay's balancer. Both must agree.

HAProxy runs on the loopback; clients come one after the other from addresses of 127.0.0.0/8, some stay and
some leave, and the servers are sockets of this module.
"""

from __future__ import annotations

import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from shutil import which

import pytest

from logscope.relay.balance.servers import Backend, Server
from logscope.relay.balance.settings import BackendSettings, Balance, ServerSettings
from logscope.relay.header import Endpoint

from ..relay.running import free_ports

HAPROXY = which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed (Debian package haproxy)"),
]

_LIMIT_S = 30.0


class Pair:
    """A client's connection, the server that HAProxy gave it, and the connection there."""

    def __init__(self, client: socket.socket, number: int, there: socket.socket) -> None:
        self.client, self.number, self.there = client, number, there

    def close(self) -> None:
        """Both ends leave, and HAProxy has noticed when its own end is closed as well."""
        self.there.shutdown(socket.SHUT_WR)
        self.client.settimeout(_LIMIT_S)
        assert self.client.recv(1) == b""
        self.client.shutdown(socket.SHUT_WR)
        self.client.close()
        self.there.settimeout(_LIMIT_S)
        assert self.there.recv(1) == b""
        self.there.close()


@contextmanager
def haproxy(
    directory: Path, balance: Balance, weights: list[int]
) -> Iterator[tuple[int, list[socket.socket]]]:
    """HAProxy in front of listening sockets."""
    (port,) = free_ports(1)
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in weights]
    listed = "".join(
        f"    server s{number} 127.0.0.1:{entry.getsockname()[1]} weight {weight}\n"
        for number, (entry, weight) in enumerate(zip(servers, weights, strict=True))
    )
    (directory / "haproxy.cfg").write_text(
        "global\n    nbthread 1\n"
        "defaults\n    mode tcp\n    timeout connect 30s\n    timeout client 60s\n    timeout server 60s\n"
        f"listen it\n    bind 127.0.0.1:{port}\n    balance {balance}\n{listed}"
    )
    process = subprocess.Popen([str(HAPROXY), "-db", "-f", str(directory / "haproxy.cfg")])
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    ready, _, _ = select.select(servers, [], [], _LIMIT_S)
                    Pair(probe.dup(), 0, ready[0].accept()[0]).close()
                    break
            time.sleep(0.05)
        yield port, servers
    finally:
        process.terminate()
        process.wait()
        for entry in servers:
            entry.close()


def connect(port: int, servers: list[socket.socket], source: str) -> Pair:
    client = socket.create_connection(("127.0.0.1", port), _LIMIT_S, (source, 0))
    ready, _, _ = select.select(servers, [], [], _LIMIT_S)
    return Pair(client, servers.index(ready[0]), ready[0].accept()[0])


@pytest.mark.parametrize("weights", [[1, 1, 1], [3, 1], [3, 1, 2], [2, 5, 7, 1]])
@pytest.mark.parametrize("balance", list(Balance))
def test_the_same_server_is_chosen(tmp_path: Path, balance: Balance, weights: list[int]) -> None:
    settings = [
        ServerSettings(f"s{number}", Endpoint("127.0.0.1", 1), weight=weight)
        for number, weight in enumerate(weights)
    ]
    ours = Backend(BackendSettings("it", tuple(settings), balance=balance))
    chance = Random(7)
    there: list[int] = []
    here: list[int] = []
    open_: list[tuple[Pair, Server]] = []
    with haproxy(tmp_path, balance, weights) as (port, servers):
        first = ours.choose("127.0.0.1")  # the probe that saw it listen
        assert first is not None
        ours.take(first)
        ours.give_back(first)
        for _ in range(60):
            if open_ and chance.random() < 0.4:
                pair, server = open_.pop(chance.randrange(len(open_)))
                pair.close()
                ours.give_back(server)
                continue
            source = f"127.0.{chance.randrange(4)}.{chance.randrange(1, 255)}"
            pair = connect(port, servers, source)
            chosen = ours.choose(source)
            assert chosen is not None
            ours.take(chosen)
            open_.append((pair, chosen))
            there.append(pair.number)
            here.append(ours.servers.index(chosen))
        for pair, _ in open_:
            pair.close()
    assert here == there
