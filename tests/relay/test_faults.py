"""Mail that was acknowledged is never lost: the whole relay, killed, without power, on a full disk.

The client is the witness: it notes for which messages it was told 250. Each of them has to be in the queue
or in the mailbox afterwards.
"""

from __future__ import annotations

import asyncio
import errno
import os
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Thread

import pytest

from logscope.relay import config
from logscope.relay.rim.disk import RealDisk, RealTail, Tail
from logscope.relay.rim.run import Relay
from logscope.relay.rim.spool import Spool

from .disk import MemoryDisk, PowerCutError
from .running import Caller, free_ports, lines, mails, queued, until, with_ports

SERVER = """\
drain = "1s"
[[mta]]
host = "mx-a"
minimal_backoff = "200ms"
[mta.domains]
"example.com" = ["alice"]
[[mta.listener]]
bind = "127.0.0.1:PORT0"
screen = false
"""


# --- no power -----------------------------------------------------------------------------------------------


class CutDisk(MemoryDisk):
    """Everything ends at one operation, for every thread."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__(fails_at)
        self.is_dead = False
        self._lock = Lock()

    def _step(self) -> None:
        with self._lock:
            if self.is_dead:
                raise PowerCutError
            try:
                super()._step()
            except PowerCutError:
                self.is_dead = True
                raise


async def send(port: int, number: int) -> str:
    caller = await Caller.call(port)
    try:
        return await caller.message(helo=f"client{number}.example")
    finally:
        caller.writer.close()


async def play(disk: CutDisk, directory: Path) -> list[int]:
    """Send two messages while the disk lasts; returns those that were acknowledged."""
    text, ports = with_ports(SERVER)
    relay = Relay(config.parse(text, "test", directory), disk=disk)
    await relay.__aenter__()
    acknowledged = []
    for number in range(2):
        sending = asyncio.ensure_future(send(ports[0], number))
        while not sending.done() and not disk.is_dead:
            await asyncio.sleep(0.002)
        await asyncio.wait([sending], timeout=0.05 if disk.is_dead else 10)
        if sending.done() and sending.result().startswith("250"):
            acknowledged.append(number)
    if not disk.is_dead:
        await until(lambda: disk.is_dead or len(disk.mails()) == 2, "two mails")
        with suppress(PowerCutError):  # it may come as late as in the tidying up at the end
            await relay.__aexit__()
    else:
        (server,) = relay.servers
        server.stop_listening()
        for connection in list(server.connections):
            connection.cut()
        sending.cancel()
        await asyncio.sleep(0.01)
        relay.journal.close()
    return acknowledged


def operations(directory: Path) -> int:
    disk = CutDisk()
    assert asyncio.run(play(disk, directory)) == [0, 1]
    return disk.operations


def test_the_power_is_cut_at_every_step_of_the_relay(tmp_path: Path) -> None:
    """Whatever of the writes that were not synced survives."""
    told = []
    for step in range(operations(tmp_path) + 1):
        disk = CutDisk(fails_at=step)
        acknowledged = asyncio.run(play(disk, tmp_path))
        told.append(len(acknowledged))
        for world in disk.power_cut():
            queue = Spool(tmp_path / "spool/mx-a", world).recover()
            found = b"".join([*world.mails(), *(message.content for message in queue.messages)])
            assert queue.damaged == ()
            for number in acknowledged:
                assert b"<client%d.example@sender.example>" % number in found
    assert (told[0], told[-1]) == (0, 2)
    assert 1 in told


# --- a full disk --------------------------------------------------------------------------------------------


class FullTail(RealTail):
    """The end of a file on it: what comes last is written in part."""

    def __init__(self, disk: FullDisk, path: Path) -> None:
        super().__init__(path)
        self._disk, self._path = disk, path

    def append(self, data: bytes) -> None:
        if self._disk.refuses(self._path):
            super().append(data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(data)


class FullDisk(RealDisk):
    """One that is full for some time, below one directory."""

    def __init__(self, where: str) -> None:
        self.where, self.is_full = where, False
        self.refused = 0

    def refuses(self, path: Path) -> bool:
        """Whether there is no room for this file now."""
        refuses = self.is_full and self.where in path.parts
        self.refused += refuses
        return refuses

    def begin(self, path: Path) -> Tail:
        return FullTail(self, path)

    def create(self, path: Path, data: bytes) -> None:
        if self.refuses(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().create(path, data)


def on_disk(disk: FullDisk, directory: Path) -> list[str]:
    """Send a message while the disk is full and another one when it is not; the answers."""
    text, ports = with_ports(SERVER)
    answers = []

    async def talk() -> None:
        async with asyncio.timeout(30), Relay(config.parse(text, "test", directory), disk=disk) as relay:
            disk.is_full = True
            answers.append(await send(ports[0], 0))
            await until(lambda: disk.refused > 0, "a write that fails")
            disk.is_full = False
            answers.append(await send(ports[0], 1))
            accepted = sum(answer.startswith("250") for answer in answers)
            await until(lambda: len(mails(directory)) == accepted, "all mail that was accepted")
            await until(lambda: len(relay.servers[0].postman) == 0, "an empty queue")

    asyncio.run(talk())
    return answers


def test_a_message_that_has_no_room_is_refused_for_now(tmp_path: Path) -> None:
    first, second = on_disk(FullDisk("spool"), tmp_path)
    assert first == "452 4.3.1 Insufficient system storage"
    assert second.startswith("250 ")
    assert [b"<client1.example@" in mail for mail in mails(tmp_path)] == [True]
    assert any(line.endswith("write queue file: No space left on device") for line in lines(tmp_path))
    assert list((tmp_path / "spool").glob("*/*/*")) == []


def test_a_mailbox_that_has_no_room_gets_its_mail_later(tmp_path: Path) -> None:
    first, second = on_disk(FullDisk("mail"), tmp_path)
    assert first.startswith("250 ")
    assert second.startswith("250 ")
    assert sum(b"<client0.example@" in mail for mail in mails(tmp_path)) == 1
    assert any("status=deferred (maildir delivery failed: No space" in line for line in lines(tmp_path))
    assert list((tmp_path / "spool").glob("*/*/*")) == []


# --- kill -9 ------------------------------------------------------------------------------------------------


@contextmanager
def relay_process(directory: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "logscope", "relay", "--config", str(directory / "relay.toml")],
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


class Senders:
    """Threads that send message after message, and note those that were acknowledged."""

    def __init__(self, port: int, name: str) -> None:
        self.acknowledged: list[str] = []
        self._port, self._name = port, name
        self._threads = [Thread(target=self._send, args=(number,)) for number in range(6)]

    def run(self, process: subprocess.Popen[bytes], until_count: int) -> list[str]:
        """Send until so many are acknowledged, then kill the relay in the middle of the others."""
        for thread in self._threads:
            thread.start()
        for _ in range(3000):
            if len(self.acknowledged) >= until_count:
                break
            time.sleep(0.005)
        process.kill()
        for thread in self._threads:
            thread.join()
        return self.acknowledged

    def _send(self, thread: int) -> None:
        try:
            with smtplib.SMTP("127.0.0.1", self._port, f"client{thread}.example", 30) as client:
                for number in range(1000):
                    name = f"{self._name}.{thread}.{number}@sender.example"
                    text = f"Message-ID: <{name}>\r\nSubject: x\r\n\r\nx\r\n"
                    client.sendmail("carol@sender.example", "alice@example.com", text)
                    self.acknowledged.append(name)
        except (OSError, smtplib.SMTPException):
            pass  # it was killed


@pytest.mark.slow
def test_it_is_killed_and_killed_again(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (tmp_path / "relay.toml").write_text(SERVER.replace("PORT0", str(port)))
    acknowledged: list[str] = []
    for number, until_count in enumerate((1, 40, 90)):
        with relay_process(tmp_path, port) as process:
            told = Senders(port, f"run{number}").run(process, until_count)
            assert len(told) >= until_count
            acknowledged += told

    def arrived() -> set[str]:
        return {mail.split(b"Message-ID: <")[1].split(b">")[0].decode() for mail in mails(tmp_path)}

    with relay_process(tmp_path, port):
        for _ in range(400):
            if not queued(tmp_path):
                break
            time.sleep(0.05)
    assert set(acknowledged) - arrived() == set()
    assert queued(tmp_path) == ()
