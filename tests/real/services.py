"""What a mail site has around its mail servers, in one process: log host, DNS, AUTH back end, next hop.

Run inside the services' namespace: `python -m tests.real.services DIRECTORY`. Every syslog message is
written to `DIRECTORY/raw.log` as `<nanoseconds> <host> <text>`, stamped by the kernel when it arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import ipaddress
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from .network import SERVERS, SERVICES

SO_TIMESTAMPNS = 35  # Linux: the kernel's time of arrival comes with each datagram


# ---------------------------------------------------------------------------- log host


class LogHost:
    """Reads datagrams of one socket and appends them to the raw file."""

    def __init__(self, listening: socket.socket, host: str, out: TextIO) -> None:
        self._socket, self._host, self._out = listening, host, out
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        with contextlib.suppress(OSError):  # SO_RCVBUFFORCE needs root; the default also works
            listening.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)

    def drain(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(16384, 512)
            except BlockingIOError:
                return
            self._out.write(f"{_arrival(ancillary)} {self._host} {_one_line(data)}\n")


def _arrival(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("=qq", data[:16])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()


def _one_line(data: bytes) -> str:
    return data.rstrip(b"\0\n\r ").decode("utf-8", "surrogateescape").replace("\n", "#012")


def log_sockets(directory: Path) -> list[tuple[str, socket.socket]]:
    sockets = []
    for host in SERVERS:
        local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        local.bind(str(directory / host / "log"))
        (directory / host / "log").chmod(0o666)
        sockets.append((host, local))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((SERVICES, 514))
    return [*sockets, ("edge1", udp)]


# ---------------------------------------------------------------------------- DNS

A, PTR, MX, TXT, AAAA = 1, 12, 15, 16, 28
LISTED = ipaddress.ip_network("198.51.100.192/27")  # on both block lists
LISTED_ONCE = ipaddress.ip_network("198.51.100.224/28")  # on one
WELCOME = ipaddress.ip_network("192.0.2.192/28")  # on the list of good senders
LISTS = {
    "zen.dnsbl.example": ((LISTED, "127.0.0.3"),),
    "bl.list.example": ((LISTED, "127.0.0.2"), (LISTED_ONCE, "127.0.0.2")),
    "wl.list.example": ((WELCOME, "127.0.0.10"),),
}


def answers(name: str, kind: int) -> list[tuple[int, bytes]] | None:
    """Records of `name`, or None when there is no such name."""
    name = name.lower().rstrip(".")
    if name.endswith((".in-addr.arpa", ".ip6.arpa")):
        return _reverse(name, kind)
    for zone, entries in LISTS.items():
        if name.endswith("." + zone):
            return _listed(name[: -len(zone) - 1], entries, kind)
    if name.split(".")[-2:-1] == ["invalid"] or not name.endswith(("example", ".com", ".net", ".org")):
        return None
    if kind == MX:
        return [(MX, struct.pack("!H", 10) + _wire_name("mail." + name))]
    if kind == A:
        return [(A, _forward(name))]
    return []


def _forward(name: str) -> bytes:
    """Names of client machines lead back to their address; every other name to the next hop."""
    label = name.split(".", maxsplit=1)[0]
    for prefix, network in (("mx", "192.0.2."), ("host", "198.51.100.")):
        number = label.removeprefix(prefix)
        if label.startswith(prefix) and number.isdigit() and int(number) < 256:
            return socket.inet_aton(network + number)
    return socket.inet_aton(SERVICES)


def _reverse(name: str, kind: int) -> list[tuple[int, bytes]] | None:
    """Even addresses of the first client network have a name, 198.51.100.0-63 one that does not lead back."""
    parts = name.split(".")
    if kind != PTR or len(parts) != 6:
        return None
    last, network = int(parts[0]), ".".join(reversed(parts[1:4]))
    if network == "192.0.2" and last % 2 == 0:
        return [(PTR, _wire_name(f"mx{last}.mail.example"))]
    if network == "198.51.100" and last < 64:
        return [(PTR, _wire_name(f"dyn-{last}.pool.example"))]
    return None


def _listed(
    query: str, entries: tuple[tuple[ipaddress.IPv4Network, str], ...], kind: int
) -> list[tuple[int, bytes]] | None:
    parts = query.split(".")
    if len(parts) != 4:
        return None
    address = ipaddress.ip_address(".".join(reversed(parts)))
    found = [(A, socket.inet_aton(result)) for network, result in entries if address in network]
    if not found:
        return None
    return found if kind == A else []


def _wire_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def dns_reply(query: bytes) -> bytes:
    """A reply of RFC 1035 to a query with one question."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
    question = query[12 : at + 5]
    found = answers(".".join(labels), kind)
    code = 3 if found is None else 0
    records = b"".join(
        struct.pack("!HHHIH", 0xC00C, type_, 1, 60, len(data)) + data for type_, data in found or []
    )
    return query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(found or []), 0, 0) + question + records


#: While a file of this name is in the lab's directory, nobody answers for the lists.
LISTS_SILENT = "lists.silent"


class Dns(asyncio.DatagramProtocol):
    def __init__(self, silent: Path) -> None:
        self._silent = silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        listed = b"\4list\7example\0" in data or b"\5dnsbl\7example\0" in data
        if listed and self._silent.exists():
            return
        self._transport.sendto(dns_reply(data), addr)  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------- AUTH (Dovecot's protocol)

PASSWORDS = {"alice@example.com": "right", "bob@example.com": "right"}


async def auth(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Server side of Dovecot's authentication protocol 1.1, as `smtpd_sasl_type = dovecot` speaks it."""
    writer.write(
        b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\n"
        b"SPID\t1\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n"
    )
    logins: dict[bytes, list[str]] = {}
    async for line in reader:
        word, *fields = line.rstrip(b"\n").split(b"\t")
        if word == b"AUTH":
            reply = _begin(fields, logins)
        elif word == b"CONT":
            reply = _continue(fields, logins)
        else:
            continue
        writer.write(reply + b"\n")
        await writer.drain()
    writer.close()


def _begin(fields: list[bytes], logins: dict[bytes, list[str]]) -> bytes:
    number, mechanism = fields[:2]
    response = next((field[5:] for field in fields if field.startswith(b"resp=")), None)
    if mechanism == b"LOGIN":
        logins[number] = []
        return b"CONT\t%s\t%s" % (number, base64.b64encode(b"Username:"))
    if response is None:
        return b"CONT\t%s\t" % number
    return _verdict(number, _plain(response))


def _continue(fields: list[bytes], logins: dict[bytes, list[str]]) -> bytes:
    number, response = fields[0], fields[1]
    if number not in logins:
        return _verdict(number, _plain(response))
    logins[number].append(_decoded(response))
    if len(logins[number]) == 1:
        return b"CONT\t%s\t%s" % (number, base64.b64encode(b"Password:"))
    user, password = logins.pop(number)
    return _verdict(number, (user, password))


def _plain(response: bytes) -> tuple[str, str]:
    user, password = [*_decoded(response).split("\0"), "", "", ""][1:3]
    return user, password


def _decoded(response: bytes) -> str:
    with contextlib.suppress(ValueError):
        return base64.b64decode(response).decode("utf-8", "replace")
    return ""


def _verdict(number: bytes, login: tuple[str, str]) -> bytes:
    user, password = login
    if PASSWORDS.get(user) == password:
        return b"OK\t%s\tuser=%s" % (number, user.encode())
    return b"FAIL\t%s\tuser=%s" % (number, user.encode())


# ---------------------------------------------------------------------------- next hop


async def next_hop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An SMTP server that accepts, defers (defer.*) or refuses (bounce.*) by the recipient's domain."""
    writer.write(b"220 next.example.net ESMTP\r\n")
    async for line in reader:
        verb = line[:4].upper()
        if verb == b"EHLO":
            writer.write(b"250-next.example.net\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
        elif verb == b"RCPT" and b"@defer." in line:
            writer.write(b"451 4.7.1 Please try again later\r\n")
        elif verb == b"RCPT" and b"@bounce." in line:
            writer.write(b"550 5.1.1 No such user here (they left)\r\n")
        elif verb == b"DATA":
            writer.write(b"354 Go ahead\r\n")
            await writer.drain()
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 2.0.0 Ok: queued as 4NEXThop%04X\r\n" % (id(line) & 0xFFFF))
        elif verb == b"QUIT":
            writer.write(b"221 2.0.0 Bye\r\n")
            break
        else:
            writer.write(b"250 2.1.0 Ok\r\n")
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


def _quietly(handler: Callable) -> Callable:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)

    return handle


async def serve(directory: Path) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with (directory / "raw.log").open("a", encoding="utf-8", errors="surrogateescape") as out:
        hosts = []
        for name, listening in log_sockets(directory):
            hosts.append(LogHost(listening, name, out))
            loop.add_reader(listening, hosts[-1].drain)
        await loop.create_datagram_endpoint(lambda: Dns(directory / LISTS_SILENT), (SERVICES, 53))
        await asyncio.start_server(_quietly(auth), SERVICES, 12345, backlog=512)
        await asyncio.start_server(_quietly(next_hop), SERVICES, 2525, backlog=512, limit=1 << 24)
        (directory / "services.ready").touch()
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
            out.flush()
        for host in hosts:
            host.drain()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    asyncio.run(serve(parser.parse_args().directory))
