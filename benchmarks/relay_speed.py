"""How many SMTP sessions the relay handles on one core, beside aiosmtpd's own server.

    python benchmarks/relay_speed.py                    2,000 sessions a round, three rounds
    python benchmarks/relay_speed.py --sessions 200     does it run?
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


def processor_s(pid: int) -> float:
    """Seconds that a process has had of a processor, in its own code and in the kernel (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(command: list[str], port: int, count: int, header: bytes = b"") -> float:
    """Sessions for each second of processor that a server spends on them."""
    core = {min(os.sched_getaffinity(0))}
    server = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    try:
        wait_for(port, server)
        asyncio.run(sessions(port, 2 * OPEN, header))
        before = processor_s(server.pid)
        asyncio.run(sessions(port, count, header))
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


def relay(directory: Path, count: int, through_balancer: bool = True) -> float:
    first, second = ports(2)
    text = RELAY.replace("PORT0", str(first)).replace("PORT1", str(second))
    (directory / "relay.toml").write_text(text)
    command = [sys.executable, "-m", "logscope", "relay", "--config", str(directory / "relay.toml")]
    return measure(command, first, count) if through_balancer else measure(command, second, count, HEADER)


def aiosmtpd(count: int, loop: str) -> float:
    (port,) = ports(1)
    return measure([sys.executable, "-c", loop + AIOSMTPD, str(port)], port, count)


def main() -> None:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--uvloop", action="store_true")
    given = parser.parse_args()
    loop = UVLOOP if given.uvloop else ""
    found: dict[str, list[float]] = {"relay": [], "server": [], "aiosmtpd": []}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(given.rounds):
            found["relay"].append(relay(Path(name), given.sessions))
            found["server"].append(relay(Path(name), given.sessions, through_balancer=False))
            found["aiosmtpd"].append(aiosmtpd(given.sessions, loop))
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    for name, rate in medians.items():
        times = f"{rate / medians['aiosmtpd']:.2f} times aiosmtpd's"
        print(f"{name:<10}{rate:8,.0f} sessions for each second of processor, {times}")


if __name__ == "__main__":
    main()
