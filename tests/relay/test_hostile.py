"""The whole relay and clients that mean no good, or are slow, or many."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from logscope.relay.header import SIGNATURE, Endpoint, Header, encode_v1, encode_v2
from logscope.relay.rim.run import Relay
from logscope.relay.rim.sinks import SocketSink
from logscope.relay.rim.wire import PIECE

from .running import Caller, free_ports, lines, mails, queued, run, until

CLIENT, PUBLIC = Endpoint("192.0.2.10", 41522), Endpoint("203.0.113.25", 25)
SERVER = """\
drain = "1s"
[[mta]]
host = "mx-a"
error_sleep = 0
[mta.domains]
"example.com" = ["alice"]
[mta.screen]
greet_wait = "50ms"
[[mta.listener]]
bind = "127.0.0.1:PORT0"
proxy_from = ["127.0.0.1"]
proxy_timeout = "300ms"
screen = false
[[mta.listener]]
bind = "127.0.0.1:PORT1"
proxy_from = ["127.0.0.1"]
proxy_timeout = "300ms"
[[mta.listener]]
bind = "127.0.0.1:PORT2"
proxy_from = ["192.0.2.1", "2001:db8::/32"]
screen = false
"""


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What is said until the end, which may be a reset."""
    said = b""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            said += data
    return said


# --- PROXY headers ------------------------------------------------------------------------------------------

GOOD = [
    encode_v1(Header(CLIENT, PUBLIC)),
    encode_v2(Header(CLIENT, PUBLIC), checksum=True),
    encode_v2(Header(CLIENT, PUBLIC, tlvs=((0xEE, b"x" * 3000),))),
]


def test_a_header_may_come_byte_by_byte(tmp_path: Path) -> None:
    async def play(_relay: Relay, ports: list[int]) -> None:
        for header in GOOD:
            reader, writer = await connected(ports[0])
            for byte in header[:200]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(header[200:])
            assert (await reader.readline()).startswith(b"220 mx-a")
            writer.close()

    run(tmp_path, SERVER, play)
    assert sum(line == "connect from unknown[192.0.2.10]" for line in lines(tmp_path)) == len(GOOD)


WRONG = {
    b"EHLO client.example\r\n": "unrecognized protocol header",
    b"PROXY TCP4 127.0.0.1 127.0.0.1 65536 25\r\n": "bad or missing client port",
    b"PROXY TCP4 127.0.0.1\x00 127.0.0.1 1 25\r\n": "bad or missing client address",
    b"PROXY UNKNOWN\r\n": "bad or missing protocol type",
    b"PROXY TCP4 " + b"1" * 200: "missing protocol header terminator",
    SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 64: "overlong version 2 protocol header",
    encode_v2(Header(CLIENT, PUBLIC), checksum=True)[:-1] + b"\0": "wrong checksum in proxy header",
}


@pytest.mark.parametrize("screen", [False, True])
def test_a_header_that_is_wrong_makes_no_session(tmp_path: Path, screen: bool) -> None:
    async def play(_relay: Relay, ports: list[int]) -> None:
        for header in WRONG:
            reader, writer = await connected(ports[screen])
            writer.write(header)
            assert (await everything(reader)).startswith(b"421 ")
            writer.close()

    run(tmp_path, SERVER, play)
    log = lines(tmp_path)
    for reason in WRONG.values():
        assert any(reason in line for line in log), reason
    assert not any("192.0.2.10" in line for line in log)


def test_who_holds_back_the_header_is_sent_away(tmp_path: Path) -> None:
    """A byte now and then does not make the time longer."""

    async def play(_relay: Relay, ports: list[int]) -> None:
        for port in ports[:2]:
            reader, writer = await connected(port)

            async def drip(writer: asyncio.StreamWriter = writer) -> None:
                with suppress(ConnectionError):
                    for byte in GOOD[0] * 100:
                        writer.write(bytes([byte]))
                        await asyncio.sleep(0.05)

            dripping = asyncio.ensure_future(drip())
            # Who writes in the very moment of the reset does not come to read what was said before it.
            assert (await everything(reader))[:4] in (b"421 ", b"")
            dripping.cancel()
            writer.close()

    run(tmp_path, SERVER, play)
    log = lines(tmp_path)
    assert sum("time limit exceeded" in line for line in log) == 1  # postscreen
    assert sum("timeout error" in line for line in log) == 1  # smtpd


def test_who_stops_within_the_header_is_told_so(tmp_path: Path) -> None:
    async def play(_relay: Relay, ports: list[int]) -> None:
        for port in ports[:2]:
            reader, writer = await connected(port)
            writer.write(GOOD[0][:1])
            assert (await everything(reader)).startswith(b"421 ")
            writer.close()

    run(tmp_path, SERVER, play)


def test_a_header_of_a_peer_that_is_not_trusted_counts_for_nothing(tmp_path: Path) -> None:
    async def play(_relay: Relay, ports: list[int]) -> None:
        reader, writer = await connected(ports[2])
        writer.write(GOOD[0] + b"EHLO spoofed.example\r\n")
        assert (await everything(reader)).startswith(b"421 4.3.0 mx-a Server local error\r\n")
        writer.close()

    run(tmp_path, SERVER, play)
    log = lines(tmp_path)
    assert any("untrusted peer [127.0.0.1]" in line for line in log)
    assert not any("192.0.2.10" in line for line in log)


def test_a_header_that_smtpd_does_not_expect_is_input_that_came_too_early(tmp_path: Path) -> None:
    """As Postfix says it: the header is there before the server has spoken."""

    async def play(_relay: Relay, ports: list[int]) -> None:
        reader, writer = await connected(ports[0])
        await reader.readline()
        writer.write(b"QUIT\r\n")
        await everything(reader)
        writer.close()

    run(tmp_path, balanced().replace('proxy_from = ["127.0.0.1"]\n', ""), play)
    early = (
        "improper command pipelining after CONNECT from localhost[127.0.0.1]: PROXY TCP4 127.0.0.1 127.0.0.1 "
    )
    assert any(line.startswith(early) for line in lines(tmp_path))


# --- slow, half, many ---------------------------------------------------------------------------------------

BALANCED = """\
drain = "1s"
[[balancer]]
maxconn = 3000
[[balancer.frontend]]
name = "ft_smtp"
bind = "127.0.0.1:PORT0"
backend = "bk_postfix"
maxconn = MAXCONN
[[balancer.backend]]
name = "bk_postfix"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:PORT1"
SEND_PROXY
"""
BEHIND = """\
[[mta]]
host = "mx-a"
error_sleep = 0
client_limits = { connection_count = LIMIT }
[mta.domains]
"example.com" = { deliver = "discard" }
[[mta.listener]]
bind = "127.0.0.1:PORT1"
proxy_from = ["127.0.0.1"]
screen = false
"""


def balanced(maxconn: int = 3000, limit: int = 0) -> str:
    text = BALANCED.replace("MAXCONN", str(maxconn)).replace("SEND_PROXY", 'send_proxy = "v1"')
    return text + BEHIND.replace("LIMIT", str(limit))


ENVELOPE = b"MAIL FROM:<carol@sender.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n"
CONTENT = b"Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"


async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Up to the content of a message."""
    writer.write(b"EHLO client.example\r\n")
    while not (await reader.readline()).startswith(b"250 "):
        pass
    writer.write(ENVELOPE)
    while not (await reader.readline()).startswith(b"354"):
        pass


def test_a_client_that_has_said_all_still_gets_its_replies(tmp_path: Path) -> None:
    """Half-closed after everything was sent in one go."""

    async def play(_relay: Relay, ports: list[int]) -> None:
        reader, writer = await connected(ports[0])
        await reader.readline()
        await begin(reader, writer)
        writer.write(CONTENT)
        writer.write_eof()
        said = (await everything(reader)).splitlines()
        assert said[0].startswith(b"250 2.0.0 Ok: queued as ")
        assert said[1] == b"221 2.0.0 Bye"
        writer.close()

    run(tmp_path, balanced(), play)
    [line] = [line for line in lines(tmp_path, "haproxy.log") if "bk_postfix/mx-a" in line]
    assert " -- " in line


@pytest.mark.parametrize("uploads", [False, True])
def test_who_does_not_read_stops_who_writes(tmp_path: Path, uploads: bool) -> None:
    """Sixty megabytes to somebody who reads nothing at first: they wait at their source."""
    total = 60_000_000
    sent = 0
    read = asyncio.Event()

    async def writes(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < total:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000
        writer.write_eof()

    async def reads(reader: asyncio.StreamReader) -> int:
        await read.wait()
        size = 0
        while data := await reader.read(1 << 20):
            size += len(data)
        return size

    async def play(relay: Relay, ports: list[int]) -> None:
        received: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if uploads:
                received.set_result(await reads(reader))
            else:
                await writes(writer)
            writer.close()

        listening = await asyncio.start_server(server, "127.0.0.1", ports[1], limit=1 << 16)
        reader, writer = await connected(ports[0])
        writing = asyncio.ensure_future(writes(writer)) if uploads else None
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < total
        (session,) = relay.balancers[0].sessions
        assert session._other is not None
        for wire in (session._wire, session._other.wire):
            assert len(wire._unsent) <= 2 * PIECE
        read.set()
        assert (await received if uploads else await reads(reader)) == total
        if writing is not None:
            await writing
        writer.close()
        listening.close()

    text = BALANCED.replace("MAXCONN", "100").replace("SEND_PROXY", "")
    run(tmp_path, text, play)
    [line] = [line for line in lines(tmp_path, "haproxy.log") if "bk_postfix/mx-a" in line]
    assert f" {0 if uploads else total} -- " in line


def test_more_than_a_client_may_have_at_once(tmp_path: Path) -> None:
    async def play(_relay: Relay, ports: list[int]) -> None:
        clients = [await connected(ports[0]) for _ in range(30)]
        greetings = [await reader.readline() for reader, _ in clients]
        assert sum(greeting.startswith(b"220 ") for greeting in greetings) == 10
        assert sum(greeting.startswith(b"421 4.7.0 ") for greeting in greetings) == 20
        for _, writer in clients:
            writer.close()

    run(tmp_path, balanced(limit=10), play)
    assert any("Connection concurrency limit exceeded: 11 from" in line for line in lines(tmp_path))


def test_more_than_a_frontend_takes_wait_for_their_turn(tmp_path: Path) -> None:
    async def play(relay: Relay, ports: list[int]) -> None:
        most = 0

        async def deliver(number: int) -> None:
            nonlocal most
            reader, writer = await connected(ports[0])
            await reader.readline()
            most = max(most, relay.balancers[0].connections)
            await begin(reader, writer)
            writer.write(CONTENT)
            assert b"queued as" in await everything(reader)
            writer.close()

        await asyncio.gather(*(deliver(number) for number in range(40)))
        assert most <= 5

    run(tmp_path, balanced(maxconn=5), play)


@pytest.mark.slow
def test_thousands_at_once(tmp_path: Path) -> None:
    """Two thousand sessions, all of them open before the first one goes on."""
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 5 * count:
        pytest.skip(f"no more than {hard} descriptors")

    async def play(relay: Relay, ports: list[int]) -> None:
        clients = []
        for _ in range(count // 100):
            clients += await asyncio.gather(*(connected(ports[0]) for _ in range(100)))
        for reader, _ in clients:
            assert (await reader.readline()).startswith(b"220 ")
        assert len(relay.balancers[0].sessions) == count

        async def deliver(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await begin(reader, writer)
            writer.write(CONTENT)
            assert b"queued as" in await everything(reader)
            writer.close()

        await asyncio.gather(*(deliver(*client) for client in clients))
        await until(lambda: not relay.servers[0].postman, "all mail is delivered")

    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        run(tmp_path, balanced(), play)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sum(" -- " in line for line in lines(tmp_path, "haproxy.log")) == count
    assert sum(line.endswith(": removed") for line in lines(tmp_path)) == count


# --- the log, and the end -----------------------------------------------------------------------------------


def test_a_log_host_that_hangs_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_back = Event()

    def hang(_self: Any, _lines: list[bytes]) -> None:
        is_back.wait(30)

    monkeypatch.setattr(SocketSink, "write", hang)

    async def play(_relay: Relay, ports: list[int]) -> None:
        for number in range(3):
            caller = await Caller.call(ports[0], Endpoint("192.0.2.10", 40_000 + number))
            assert "queued as" in await caller.message()
        assert not is_back.is_set()
        is_back.set()

    run(tmp_path, SERVER + '[log]\nmail = "tcp:127.0.0.1:9"\n', play)


def test_told_to_end_it_lets_messages_come_to_their_end(tmp_path: Path) -> None:
    """SIGTERM: nobody new comes in, who is between messages is sent away, who sends one may finish."""
    (port,) = free_ports(1)
    config = f"""\
drain = "20s"
[[mta]]
host = "mx-a"
[mta.domains]
"example.com" = ["alice"]
[[mta.listener]]
bind = "127.0.0.1:{port}"
screen = false
"""
    (tmp_path / "relay.toml").write_text(config)
    command = [sys.executable, "-m", "logscope", "relay", "--config", str(tmp_path / "relay.toml")]

    async def play(process: subprocess.Popen[bytes]) -> None:
        async def call() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            for _ in range(600):
                with suppress(OSError):
                    return await connected(port)
                await asyncio.sleep(0.05)
            raise AssertionError("it does not listen")

        busy, busy_writer = await call()
        idle, idle_writer = await call()
        assert (await idle.readline()).startswith(b"220 ")
        await begin(busy, busy_writer)
        process.send_signal(signal.SIGTERM)
        assert (await everything(idle)).startswith(b"421 4.3.2 mx-a Service shutting down")
        with pytest.raises(OSError, match="Connect"):
            await connected(port)
        busy_writer.write(CONTENT)
        assert (await everything(busy)).startswith(b"250 2.0.0 Ok: queued as ")
        busy_writer.close()
        idle_writer.close()

    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(play(process))
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert len(queued(tmp_path)) + len(mails(tmp_path)) == 1


def test_a_reset_in_the_middle_is_no_trouble(tmp_path: Path) -> None:
    async def play(relay: Relay, ports: list[int]) -> None:
        for text in (b"", b"EHLO client.example\r\n", b"EHLO c.example\r\n" + ENVELOPE + b"Subject: half"):
            _, writer = await connected(ports[0])
            writer.write(text)
            await writer.drain()
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        await until(lambda: not relay.balancers[0].sessions and not relay.servers[0].connections, "all gone")

    run(tmp_path, balanced(), play)
    assert relayed_states(tmp_path) == {"CD"}


def relayed_states(directory: Path) -> set[str]:
    """Termination states in the balancer's log."""
    found = [line.split(" ") for line in lines(directory, "haproxy.log") if "bk_postfix/mx-a" in line]
    return {words[6] for words in found}
