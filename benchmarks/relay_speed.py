"""How many SMTP sessions the relay handles on one core, beside aiosmtpd's own server.

    python benchmarks/relay_speed.py                    40 rounds of 100 sessions
    python benchmarks/relay_speed.py --rounds 2         does it run?
    python benchmarks/relay_speed.py --uvloop           aiosmtpd in the loop that suits it best

It needs aiosmtpd (and uvloop): `pip install -e '.[bench]'`.

What is compared, with the same client, the same seven exchanges and one message in each session:

    relay       all of it in one process: its balancer takes the connection and sends a PROXY header to its
                mail server, whose screen lets the client pass; the message is written to the spool and
                synced, and only then comes the 250; it is delivered (to nowhere) and removed; ten lines are
                logged. Every byte goes through the kernel twice, over three sockets.
    server      the same without the balancer: the client sends the PROXY header itself
    aiosmtpd    parses the dialogue, throws the message away, and logs nothing

What counts is the server's time on the processor, its threads' included, as the kernel tells it; a server is
kept on one core, so that it cannot do two things at once. Time that the disk takes is not in it: while one
message is synced others are talked about, and those that come meanwhile are synced together. What the kernel
does to write and sync is in it.

A machine's speed changes from one moment to the next. So all servers are there all the time, each has some
sessions in turn, and what is told is the median of the rounds: of the rates, and of their ratio to
aiosmtpd's in the same round.

The relay reads its sockets itself, in asyncio's loop with a selector of its own; a loop written in C would do
little for it, and does much for aiosmtpd: `--uvloop` gives that the better one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

OPEN = 20
"""Sessions at once."""
COMMANDS = (
    b"EHLO client.example\r\n",
    b"MAIL FROM:<carol@sender.example>\r\n",
    b"RCPT TO:<alice@example.com>\r\n",
    b"DATA\r\n",
    b"Message-ID: <1@sender.example>\r\nSubject: x\r\n\r\n" + 20 * (b"x" * 60 + b"\r\n") + b".\r\n",
    b"QUIT\r\n",
)
RELAY = """\
[[balancer]]
[[balancer.frontend]]
name = "ft_smtp"
bind = "127.0.0.1:PORT0"
backend = "bk_postfix"
[[balancer.backend]]
name = "bk_postfix"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:PORT1"
send_proxy = "v1"
[[mta]]
host = "mx-a"
client_limits = { connection_count = 0 }
[mta.domains]
"example.com" = { deliver = "discard" }
[mta.screen]
allow = ["127.0.0.1", "192.0.2.0/24"]
[[mta.listener]]
bind = "127.0.0.1:PORT1"
proxy_from = ["127.0.0.1"]
"""
HEADER = b"PROXY TCP4 192.0.2.10 203.0.113.25 41522 25\r\n"
UVLOOP = "import uvloop; uvloop.install()\n"
AIOSMTPD = """\
import asyncio, sys
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP

async def main():
    loop = asyncio.get_running_loop()
    made = lambda: SMTP(Sink(), hostname="mx-a", loop=loop)
    server = await loop.create_server(made, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""


def ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [entry.getsockname()[1] for entry in sockets]
    for entry in sockets:
        entry.close()
    return found


# --- the clients --------------------------------------------------------------------------------------------


async def session(port: int, header: bytes = b"") -> None:
    """One session with one message; every reply must be a good one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(header)
    await reply(reader)
    for command in COMMANDS:
        writer.write(command)
        await reply(reader)
    writer.close()
    await writer.wait_closed()


async def reply(reader: asyncio.StreamReader) -> None:
    while (line := await reader.readline())[3:4] == b"-":
        pass
    if line[:1] not in (b"2", b"3"):
        raise SystemExit(f"the server said {line!r}")


async def sessions(port: int, count: int, header: bytes = b"") -> None:
    """So many sessions, a few at a time."""
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            await session(port, header)

    await asyncio.gather(*(one_after_the_other() for _ in range(OPEN)))


# --- the servers --------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A server that runs, and where it is talked to."""

    process: subprocess.Popen[bytes]
    port: int
    header: bytes = b""

    def processor_s(self) -> float:
        """Seconds that its threads have had of a processor, in their own code and in the kernel."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((entry / "schedstat").read_text().split()[0]) for entry in threads) / 1e9

    def rate(self, count: int) -> float:
        """Sessions for each second of processor that it spends on so many."""
        before = self.processor_s()
        asyncio.run(sessions(self.port, count, self.header))
        return count / (self.processor_s() - before)


@contextmanager
def running(command: list[str], port: int, header: bytes = b"") -> Iterator[Server]:
    """A server on one core, which has seen some sessions already."""
    core = {min(os.sched_getaffinity(0))}
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    try:
        wait_for(port, process)
        asyncio.run(sessions(port, 5 * OPEN, header))
        yield Server(process, port, header)
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit("the server does not listen")


def relay(directory: Path) -> tuple[list[str], int, int]:
    """How a relay is started, the port of its balancer and that of its mail server."""
    directory.mkdir()
    first, second = ports(2)
    text = RELAY.replace("PORT0", str(first)).replace("PORT1", str(second))
    (directory / "relay.toml").write_text(text)
    command = [sys.executable, "-m", "logscope", "relay", "--config", str(directory / "relay.toml")]
    return command, first, second


def aiosmtpd(loop: str) -> tuple[list[str], int]:
    """The same for aiosmtpd."""
    (port,) = ports(1)
    return [sys.executable, "-c", loop + AIOSMTPD, str(port)], port


def main() -> None:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--sessions", type=int, default=100, help="of each server in a round")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--uvloop", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        whole, port, _ = relay(Path(name, "whole"))
        alone, _, behind = relay(Path(name, "alone"))
        other, theirs = aiosmtpd(UVLOOP if given.uvloop else "")
        servers = {
            "relay": stack.enter_context(running(whole, port)),
            "server": stack.enter_context(running(alone, behind, HEADER)),
            "aiosmtpd": stack.enter_context(running(other, theirs)),
        }
        rounds = [
            {name: server.rate(given.sessions) for name, server in servers.items()}
            for _ in range(given.rounds)
        ]
    for name in servers:
        rate = statistics.median(found[name] for found in rounds)
        ratio = statistics.median(found[name] / found["aiosmtpd"] for found in rounds)
        print(f"{name:<10}{rate:8,.0f} sessions for each second of processor, {ratio:.2f} times aiosmtpd's")


if __name__ == "__main__":
    main()
