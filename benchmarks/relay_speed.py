"""How many SMTP sessions the relay handles on one core, beside aiosmtpd's own server.

    python benchmarks/relay_speed.py                    2,000 sessions a round, three rounds
    python benchmarks/relay_speed.py --sessions 200     does it run?

It needs aiosmtpd: `pip install -e '.[bench]'`.

The relay is all of it in one process: its balancer takes the connection and sends a PROXY header, its screen
lets the client pass, its SMTP server keeps the message safe on disk before the 250, and it logs everything.
aiosmtpd has no balancer before it, and throws the message away. The clients are a process of their own and
the same for both; each session brings one message. What counts is the server's time on the processor, as the
kernel tells it, so that other work on the machine matters little.
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
allow = ["127.0.0.1"]
[[mta.listener]]
bind = "127.0.0.1:PORT1"
proxy_from = ["127.0.0.1"]
"""
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


async def session(port: int) -> None:
    """One session with one message; every reply must be a good one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
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


async def sessions(port: int, count: int) -> None:
    """So many sessions, a few at a time."""
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            await session(port)

    await asyncio.gather(*(one_after_the_other() for _ in range(OPEN)))


# --- the servers --------------------------------------------------------------------------------------------


def processor_s(pid: int) -> float:
    """Seconds that a process has had of a processor, in its own code and in the kernel (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(command: list[str], port: int, count: int) -> float:
    """Sessions for each second of processor that a server spends on them."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        asyncio.run(sessions(port, 2 * OPEN))
        before = processor_s(server.pid)
        asyncio.run(sessions(port, count))
        return count / (processor_s(server.pid) - before)
    finally:
        server.kill()
        server.wait()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit("the server does not listen")


def relay(directory: Path, count: int) -> float:
    first, second = ports(2)
    text = RELAY.replace("PORT0", str(first)).replace("PORT1", str(second))
    (directory / "relay.toml").write_text(text)
    command = [sys.executable, "-m", "logscope", "relay", "--config", str(directory / "relay.toml")]
    return measure(command, first, count)


def aiosmtpd(_directory: Path, count: int) -> float:
    (port,) = ports(1)
    return measure([sys.executable, "-c", AIOSMTPD, str(port)], port, count)


def main() -> None:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[float]] = {"relay": [], "aiosmtpd": []}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(given.rounds):
            for server in (relay, aiosmtpd):
                found[server.__name__].append(server(Path(name), given.sessions))
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    for name, rate in medians.items():
        print(f"{name:<10}{rate:8,.0f} sessions for each second of processor")
    print(f"the relay handles {medians['relay'] / medians['aiosmtpd']:.2f} times as many")


if __name__ == "__main__":
    main()
