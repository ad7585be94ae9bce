"""A relay on real sockets for a test: its ports, a client to talk to it, and what its logs say afterwards."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logscope.relay import config
from logscope.relay.header import Endpoint, Header, encode_v1
from logscope.relay.queue.message import Message
from logscope.relay.rim.disk import RealDisk
from logscope.relay.rim.run import Relay
from logscope.relay.rim.spool import Spool
from logscope.relay.rim.witness import Witness

PUBLIC = Endpoint("203.0.113.25", 25)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for entry in sockets:
        entry.bind(("127.0.0.1", 0))
    ports = [entry.getsockname()[1] for entry in sockets]
    for entry in sockets:
        entry.close()
    return ports


def free_row(count: int) -> int:
    """The first of some ports in a row that nobody listens on, below those that clients are given."""
    for first in random.sample(range(20_000, 32_000, count), 100):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for port, entry in enumerate(sockets, first):
                entry.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for entry in sockets:
                entry.close()
    raise AssertionError("no free ports")


def with_ports(text: str) -> tuple[str, list[int]]:
    """A configuration whose `PORT0`, `PORT1`, … are free ports."""
    ports = free_ports(10)
    for number, port in enumerate(ports):
        text = text.replace(f"PORT{number}", str(port))
    return text, ports


def run(
    directory: Path,
    text: str,
    play: Callable[[Relay, list[int]], Awaitable[None]],
    witness: Witness | None = None,
) -> None:
    """Run a relay while something is played on it. Every test ends within a minute."""

    async def both() -> None:
        filled, ports = with_ports(text)
        settings = config.parse(filled, "test", directory)
        async with asyncio.timeout(60), Relay(settings, witness) as relay:
            await play(relay, ports)

    asyncio.run(both())


@dataclass
class Caller:
    """A client that says who it is in a PROXY header, as one behind an outer proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    replies: list[str] = field(default_factory=list)

    @classmethod
    async def call(cls, port: int, client: Endpoint | None = None) -> Caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if client is not None:
            writer.write(encode_v1(Header(client, PUBLIC)))
        return cls(reader, writer)

    async def reply(self) -> str:
        """The last line of the next reply; empty when the server has closed."""
        while True:
            line = (await self.reader.readline()).decode("utf-8", "replace").rstrip("\r\n")
            if line[3:4] != "-":
                self.replies.append(line)
                return line

    async def say(self, *lines: str) -> str:
        for line in lines:
            self.writer.write(line.encode() + b"\r\n")
            reply = await self.reply()
        return reply

    async def message(self, recipient: str = "alice@example.com", helo: str = "client.example") -> str:
        """Greet, send a message, and leave; the answer to the message."""
        await self.reply()
        await self.say(f"EHLO {helo}", "MAIL FROM:<carol@sender.example>", f"RCPT TO:<{recipient}>", "DATA")
        answer = await self.say(f"Message-ID: <{helo}@sender.example>\r\nSubject: x\r\n\r\n.. dots\r\n.")
        await self.say("QUIT")
        await self.close()
        return answer

    def reset(self) -> None:
        """Break the connection off."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for something that will be so in a moment."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"still not: {what}")


def lines(directory: Path, name: str = "mail.log") -> list[str]:
    """The messages of a log, without envelopes."""
    text = (directory / name).read_text("utf-8")
    return [line.split("]: ", 1)[1] for line in text.splitlines()]


def mails(directory: Path, host: str = "mx-a") -> list[bytes]:
    """What is in the mailboxes of a server."""
    return [path.read_bytes() for path in sorted((directory / "mail" / host).glob("*/*/new/*"))]


def queued(directory: Path, host: str = "mx-a") -> tuple[Message, ...]:
    """What is in the queue of a server, also of one that runs."""
    return Spool(directory / "spool" / host, RealDisk()).recover().messages
