"""Every way in which a TCP session ends, at HAProxy and at the relay's balancer: both have to log the same.

Each way has a frontend of its own, at both; clients and servers are those of this module. Times are left
out, but whether a phase was reached is compared.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from logscope.cli.main import main
from logscope.relay import config
from logscope.relay.balance.session import End
from logscope.relay.header import SIGNATURE, Endpoint, Header, encode_v2
from logscope.relay.rim.run import Relay

from ..relay.running import free_ports

HAPROXY = which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed (Debian package haproxy)"),
]
NO_LINGER = struct.pack("ii", 1, 0)
SHORT_S, PATIENT_S = 0.8, 30.0


class Client:
    """One connection to a frontend."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        kill: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.reader, self.writer = reader, writer
        self._kill = kill

    async def kill(self) -> None:
        """Have an administrator end the session."""
        assert self._kill is not None
        await self._kill()

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self) -> bytes:
        return await self.reader.readline()

    async def wait_for_end(self) -> None:
        with suppress(OSError):
            while await self.reader.read(1000):
                pass

    def finish(self) -> None:
        """Say that nothing more is coming."""
        self.writer.write_eof()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.writer.transport.abort()


async def talks(client: Client) -> None:
    await client.hear()
    await client.say(b"QUIT\r\n")
    await client.wait_for_end()


async def resets(client: Client) -> None:
    await client.hear()
    client.reset()


async def asks_for_a_reset(client: Client) -> None:
    await client.hear()
    await client.say(b"RESET\r\n")
    await client.wait_for_end()


async def is_silent(client: Client) -> None:
    await client.hear()
    await client.wait_for_end()


async def asks_for_silence(client: Client) -> None:
    await client.hear()
    await client.say(b"SLEEP\r\n")
    await client.wait_for_end()


async def asks_for_death(client: Client) -> None:
    await client.hear()
    await client.say(b"DIE\r\n")
    await client.wait_for_end()


async def waits(client: Client) -> None:
    await client.wait_for_end()


async def leaves_soon(client: Client) -> None:
    await asyncio.sleep(0.3)
    client.writer.close()


async def finishes_soon(client: Client) -> None:
    await client.say(b"QUIT\r\n")
    client.finish()
    await client.wait_for_end()


async def resets_soon(client: Client) -> None:
    await asyncio.sleep(0.3)
    client.reset()


async def leaves_at_once(client: Client) -> None:
    await client.hear()


async def is_killed(client: Client) -> None:
    await client.hear()
    await client.kill()
    await client.wait_for_end()


def says_first(data: bytes) -> Callable[[Client], Awaitable[None]]:
    async def play(client: Client) -> None:
        await client.say(data)
        if data.startswith((b"PROXY TCP", b"PROXY UNKNOWN", SIGNATURE)):
            await talks(client)
        else:
            await client.wait_for_end()

    return play


async def speaks_early(client: Client) -> None:
    await client.say(b"EHLO early.example\r\n")
    await client.wait_for_end()


@dataclass
class Way:
    """How a session ends.

    Attributes:
        play: what the client does.
        target: which server it meets: `mail`, `closed` (nobody listens), `full` (never answers), `mortal`
            (stops to listen when both clients have told it to).
        frontend, backend, server: settings of the relay; for HAProxy they are translated.
        occupied: another client holds the only connection that the server may have.
        spare: there is a second server, which listens.
    """

    play: Callable[[Client], Awaitable[None]]
    target: str = "mail"
    frontend: dict[str, Any] = field(default_factory=dict)
    backend: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    occupied: bool = False
    spare: bool = False


async def cut_header(client: Client) -> None:
    await client.say(b"PROXY TCP4 192.0.2.10 ")
    await leaves_soon(client)


PROXIED = {"accept_proxy_from": ["127.0.0.0/8"]}
HEADER = Header(Endpoint("192.0.2.10", 41522), Endpoint("203.0.113.25", 25))
V2 = encode_v2(HEADER)
FULL = {"timeout_connect": SHORT_S, "retries": 0}
SLOW = {"timeout_connect": PATIENT_S, "retries": 0}
ONE = {"maxconn": 1}
DOWN = {"check": "tcp", "inter": 1, "fall": 1}
WAYS = {
    "normal": Way(talks),
    "client_resets": Way(resets),
    "client_finishes": Way(finishes_soon),
    "server_resets": Way(asks_for_a_reset),
    "client_timeout": Way(is_silent, frontend={"timeout_client": SHORT_S}),
    "server_timeout": Way(asks_for_silence, backend={"timeout_server": SHORT_S}),
    "refused": Way(waits, "closed", backend={"retries": 0}),
    "refused_again": Way(waits, "closed", backend={"retries": 1}),
    "connect_timeout": Way(waits, "full", backend=FULL),
    "leaves_while_connecting": Way(leaves_soon, "full", backend=SLOW),
    "resets_while_connecting": Way(resets_soon, "full", backend=SLOW),
    "queue_timeout": Way(waits, server=ONE, backend={"timeout_queue": SHORT_S}, occupied=True),
    "leaves_queue": Way(leaves_soon, server=ONE, backend={"timeout_queue": PATIENT_S}, occupied=True),
    "resets_in_queue": Way(resets_soon, server=ONE, backend={"timeout_queue": PATIENT_S}, occupied=True),
    "denied": Way(waits, frontend={"deny": ["127.0.0.0/8"]}),
    "too_early": Way(speaks_early, frontend={"inspect_delay": SHORT_S, "reject_early": True}),
    "resets_while_inspected": Way(resets_soon, frontend={"inspect_delay": PATIENT_S}),
    "leaves_while_inspected": Way(leaves_soon, frontend={"inspect_delay": PATIENT_S}),
    "no_server": Way(waits, "closed", server=DOWN),
    "redispatched": Way(talks, "closed", backend={"retries": 1, "redispatch": True}, spare=True),
    "redispatched_late": Way(talks, "closed", backend={"retries": 2, "redispatch": True}, spare=True),
    "redispatched_in_vain": Way(waits, "closed", backend={"retries": 1, "redispatch": True}),
    "redispatched_when_slow": Way(
        talks, "full", backend=FULL | {"retries": 1, "redispatch": True}, spare=True
    ),
    "killed": Way(is_killed),
    "logged_as_soon": Way(talks, frontend={"logasap": True}),
    "logged_with_something": Way(talks, frontend={"dontlognull": True}),
    "not_logged": Way(leaves_at_once, frontend={"dontlognull": True}),
    "header_v1": Way(says_first(b"PROXY TCP4 192.0.2.10 203.0.113.25 41522 25\r\n"), frontend=PROXIED),
    "header_v1_6": Way(says_first(b"PROXY TCP6 2001:db8::10 2001:db8::25 41522 25\r\n"), frontend=PROXIED),
    "header_v1_unknown": Way(says_first(b"PROXY UNKNOWN\r\n"), frontend=PROXIED),
    "header_v2": Way(says_first(V2), frontend=PROXIED),
    "header_v2_checked": Way(says_first(encode_v2(HEADER, checksum=True)), frontend=PROXIED),
    "header_v2_local": Way(says_first(encode_v2(Header(is_local=True))), frontend=PROXIED),
    "header_malformed": Way(says_first(b"EHLO client.example\r\n"), frontend=PROXIED),
    "header_wrong": Way(says_first(b"PROXY TCP4 nobody nowhere 1 2\r\n  "), frontend=PROXIED),
    "header_cut": Way(cut_header, frontend=PROXIED),
    "header_missing": Way(leaves_soon, frontend=PROXIED),
    "header_reset": Way(resets_soon, frontend=PROXIED),
    "header_late": Way(waits, frontend=PROXIED | {"timeout_client": SHORT_S}),
    "server_goes_down": Way(asks_for_death, "mortal", server=DOWN | {"on_marked_down": "shutdown-sessions"}),
}


# --- configurations -----------------------------------------------------------------------------------------


def relay_toml(ports: dict[str, int], targets: dict[str, int]) -> str:
    lines = ["[log]", "format = 'bsd'", "[[balancer]]"]
    for name, way in WAYS.items():
        lines += ["[[balancer.frontend]]", f"name = 'ft_{name}'", f"backend = 'bk_{name}'"]
        lines += [f"bind = '127.0.0.1:{ports[name]}'", *_toml(way.frontend)]
    for name, way in WAYS.items():
        lines += ["[[balancer.backend]]", f"name = 'bk_{name}'", *_toml(way.backend)]
        lines += ["[[balancer.backend.server]]", "name = 'mx'"]
        lines += [f"address = '127.0.0.1:{targets[way.target]}'", *_toml(way.server)]
        if way.spare:
            lines += ["[[balancer.backend.server]]", "name = 'spare'"]
            lines += [f"address = '127.0.0.1:{targets['mail']}'"]
    return "\n".join(lines) + "\n"


def _toml(settings: dict[str, Any]) -> list[str]:
    timed = ("timeout", "inspect_delay", "inter")
    return [
        f"{name} = {json.dumps(f'{round(value * 1000)}ms' if name.startswith(timed) else value)}"
        for name, value in settings.items()
    ]


HAPROXY_WORDS = {
    "check": "check",
    "inter": "inter {}s",
    "fall": "fall {}",
    "maxconn": "maxconn {}",
    "on_marked_down": "on-marked-down {}",
}


def haproxy_cfg(ports: dict[str, int], targets: dict[str, int], admin: Path) -> str:
    lines = ["global", "    log stdout format rfc3164 local0", "    log-send-hostname edge1"]
    lines += [f"    stats socket {admin} level admin"]
    lines += ["defaults", "    log global", "    mode tcp", "    option tcplog", "    timeout connect 5s"]
    lines += ["    timeout client 60s", "    timeout server 60s", "    timeout queue 5s"]
    for name, way in WAYS.items():
        lines += [f"frontend ft_{name}", f"    bind 127.0.0.1:{ports[name]}"]
        if "accept_proxy_from" in way.frontend:
            lines[-1] += " accept-proxy"
        lines += _frontend(way.frontend)
        lines += [f"    default_backend bk_{name}", f"backend bk_{name}", *_backend(way.backend)]
        words = [HAPROXY_WORDS[option].format(value) for option, value in way.server.items()]
        lines.append(" ".join([f"    server mx 127.0.0.1:{targets[way.target]}", *words]))
        if way.spare:
            lines.append(f"    server spare 127.0.0.1:{targets['mail']}")
    return "\n".join(lines) + "\n"


def _frontend(settings: dict[str, Any]) -> Iterator[str]:
    if "timeout_client" in settings:
        yield f"    timeout client {round(settings['timeout_client'] * 1000)}ms"
    for option in ("logasap", "dontlognull"):
        if option in settings:
            yield f"    option {option}"
    for network in settings.get("deny", ()):
        yield f"    tcp-request content reject if {{ src {network} }}"
    if "inspect_delay" in settings:
        yield f"    tcp-request inspect-delay {round(settings['inspect_delay'] * 1000)}ms"
        action = "reject" if settings.get("reject_early") else "accept"
        yield f"    tcp-request content {action} if {{ req.len gt 0 }}"
        yield "    tcp-request content accept if WAIT_END"


def _backend(settings: dict[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if name == "retries":
            yield f"    retries {value}"
        elif name == "redispatch":
            yield "    option redispatch"
        else:
            yield f"    {name.replace('_', ' ')} {round(value * 1000)}ms"


# --- servers and clients ------------------------------------------------------------------------------------


async def mail_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greets, and does what it is told."""
    writer.write(b"220 mx.example\r\n")
    with suppress(OSError):
        word = (await reader.readline()).strip()
        if word == b"RESET":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            writer.transport.abort()
        elif word == b"QUIT":
            writer.write(b"221 Bye\r\n")
        elif word:
            await reader.read()
    writer.close()


class Mortal:
    """A server that listens until it has been told twice not to; its sessions go on."""

    def __init__(self) -> None:
        self.server: asyncio.Server | None = None
        self._told = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mortal.example\r\n")
        with suppress(OSError):
            word = await reader.readline()
            self._told += word == b"DIE\r\n"
            if self._told == 2 and self.server is not None:
                self.server.close()
            await reader.read()
        writer.close()


@contextmanager
def full_listener() -> Iterator[int]:
    """A port that listens and whose queue of connections is full, so that nobody is answered any more."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        port = listening.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
        for filler in fillers:
            filler.close()


async def go(way: Way, port: int, kill: Callable[[], Awaitable[None]]) -> None:
    holder = None
    if way.occupied:
        holder = Client(*await asyncio.open_connection("127.0.0.1", port))
        await holder.hear()
    client = Client(*await asyncio.open_connection("127.0.0.1", port), kill)
    try:
        await asyncio.wait_for(way.play(client), 15)
    except TimeoutError:
        raise AssertionError(f"{way} does not end at port {port}") from None
    except ConnectionError:
        pass  # it was reset, which the log tells
    await asyncio.sleep(0.3)
    client.writer.close()
    if holder is not None:
        await talks_on(holder)
        holder.writer.close()


async def talks_on(holder: Client) -> None:
    await holder.say(b"QUIT\r\n")
    await holder.wait_for_end()


def kill_at_haproxy(admin: Path, name: str) -> Callable[[], Awaitable[None]]:
    async def kill() -> None:
        reader, writer = await asyncio.open_unix_connection(str(admin))
        writer.write(f"shutdown sessions server bk_{name}/mx\n".encode())
        await reader.read()
        writer.close()

    return kill


def kill_at_relay(relay: Relay, name: str) -> Callable[[], Awaitable[None]]:
    async def kill() -> None:
        (balancer,) = relay.balancers
        balancer.shut_sessions(balancer.backends[f"bk_{name}"].servers[0], End.KILLED)

    return kill


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def play_all(directory: Path) -> None:
    """All clients at both balancers, at the same time."""
    names = list(WAYS)
    taken = free_ports(2 * len(names) + 1)
    real, ours = dict(zip(names, taken, strict=False)), dict(zip(names, taken[len(names) :], strict=False))
    server = await asyncio.start_server(mail_server, "127.0.0.1", 0)
    mortal = Mortal()
    mortal.server = await asyncio.start_server(mortal.serve, "127.0.0.1", 0)
    with full_listener() as full, (directory / "real.log").open("wb") as log:
        targets = {"closed": taken[-1], "full": full}
        targets |= {"mail": port_of(server), "mortal": port_of(mortal.server)}
        (directory / "haproxy.cfg").write_text(haproxy_cfg(real, targets, directory / "admin"))
        assert HAPROXY is not None
        command = [HAPROXY, "-db", "-f", str(directory / "haproxy.cfg")]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL)
        try:
            settings = config.parse(relay_toml(ours, targets), "test", directory)
            async with Relay(settings) as relay:
                await asyncio.sleep(2.5)  # the checks have to find out
                await asyncio.gather(
                    *(
                        go(way, real[name], kill_at_haproxy(directory / "admin", name))
                        for name, way in WAYS.items()
                    ),
                    *(go(way, ours[name], kill_at_relay(relay, name)) for name, way in WAYS.items()),
                )
        finally:
            process.terminate()
            process.wait(10)
    server.close()


PASSING = frozenset({
    "source", "line_number", "logged_at", "resolution", "host", "service", "program", "pid", "repeat_count",
    "raw", "check_duration_ms", "check_info", "severity",
})  # fmt: skip
"""What differs from run to run."""


def sessions(log: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, list[tuple[Any, ...]]]:
    """What was logged at each frontend, holders of a server's only connection included."""
    assert main(["parse", "-q", "-o", "jsonl", str(log)]) == 0
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in WAYS}
    for line in capfd.readouterr().out.splitlines():
        event = json.loads(line)
        if event["kind"] == "haproxy.tcp_session":
            reached = (event["queue_ms"] >= 0, event["connect_ms"] >= 0)
            entry = (event["termination_state"], event["backend"], event["server"], *reached)
            counts = ("bytes_to_client", "bytes_plus", "total_plus", "retries", "retries_plus")
            values = (event["client_address"], *(event[name] for name in counts))
            found[event["frontend"][3:]].append((*entry, *values))
        elif event["kind"] in ("haproxy.server_state", "haproxy.backend_state"):
            told = sorted((name, value) for name, value in event.items() if name not in PASSING)
            found[event["backend"][3:]].append(("state", *told))
        elif event["kind"] == "haproxy.connection_error":
            found[event["frontend"][3:]].append((event["client_address"], event["error"]))
    return found


def test_both_log_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asyncio.run(play_all(tmp_path))
    real, ours = sessions(tmp_path / "real.log", capfd), sessions(tmp_path / "haproxy.log", capfd)
    assert {name: found for name, found in ours.items() if found != real[name]} == {
        name: found for name, found in real.items() if found != ours[name]
    }
    states = {entry[0] for entries in real.values() for entry in entries}
    assert states >= {"--", "CD", "SD", "cD", "sD", "SC", "sC", "CC", "CQ", "sQ", "PR", "D-", "K-"}
