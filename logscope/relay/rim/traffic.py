"""Drives clients through a relay, and writes down what each one did and met."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from pathlib import Path
from random import Random
from typing import IO, Any

from logscope.relay.front import trusted
from logscope.relay.header import Endpoint, Header, encode_v1
from logscope.relay.rim.run import Relay
from logscope.relay.traffic.behaviours import BEHAVIOURS, perform
from logscope.relay.traffic.plan import Person, Profile, Target, people
from logscope.relay.traffic.talk import LineEndedError, Talk

REPLY_TIMEOUT_S = 20.0
SESSION_TIMEOUT_S = 60.0
AT_ONCE = 500
_SETTLE_S = 0.5
_NO_LINGER = struct.pack("ii", 1, 0)


class SocketLine:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._closed = False

    async def receive(self) -> bytes:
        try:
            data = await asyncio.wait_for(self._reader.readline(), REPLY_TIMEOUT_S)
        except TimeoutError:
            raise LineEndedError("client (gave up waiting)") from None
        except (OSError, ValueError):
            raise LineEndedError("peer (RST)") from None
        if not data.endswith(b"\n"):
            raise LineEndedError("peer (EOF)")
        return data

    async def send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            raise LineEndedError("peer (RST)") from None

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def start_tls(self) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            await asyncio.wait_for(self._writer.start_tls(context), REPLY_TIMEOUT_S)
        except (OSError, TimeoutError):
            raise LineEndedError("client (TLS failed)") from None
        version: str = self._writer.get_extra_info("ssl_object").version()
        return version

    async def close(self, reset: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        if reset:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._writer.transport.abort()
            return
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), 3)
        except (OSError, TimeoutError):
            pass


class Traffic:
    """Clients of one run, and their record.

    Args:
        relay: where they connect; it must have a witness.
        profile: what they do.
        seed: the same seed gives the same people.
        seconds: how long they come.
        truth: file for the record, one JSON object for each connection.
    """

    def __init__(self, relay: Relay, profile: Profile, seed: int, seconds: float, truth: Path) -> None:
        self.started = self.ended = self.messages = 0
        self._relay, self._profile, self._seed, self._seconds = relay, profile, seed, seconds
        self._targets = targets(relay)
        self._truth: IO[str] = truth.open("w", encoding="utf-8")
        self._unsettled: list[tuple[Person, dict[str, Any]]] = []
        self._directory = truth.parent

    async def run(self) -> None:
        """Let everybody come and go."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for person in people(self._profile, self._targets, self._seed, self._seconds):
                await asyncio.sleep(max(0.0, began + person.at_s - loop.time()))
                await room.acquire()
                group.create_task(self._come(person, room))
                self._write_settled(final=False)
        await asyncio.sleep(_SETTLE_S)

    async def _come(self, person: Person, room: asyncio.Semaphore) -> None:
        self.started += 1
        try:
            record = await self._converse(person)
        finally:
            room.release()
            self.ended += 1
        self.messages += len(record.get("queue_ids", ()))
        self._unsettled.append((person, record))

    async def _converse(self, person: Person) -> dict[str, Any]:
        clock = self._relay.clock
        record: dict[str, Any] = {
            "id": person.id,
            "client_ip": person.client.address,
            "client_port": person.client.port,
            "server_ip": person.public.address,
            "server_port": person.public.port,
            "start": clock.now(),
            "behaviour": person.behaviour,
            "expected_outcome": BEHAVIOURS[person.behaviour].expected,
            "helo": person.helo,
        }
        try:
            line = await self._connect(person, record)
        except OSError as error:
            return record | {"end": clock.now(), "connect_error": error.strerror or str(error)}
        recipients = tuple(f"user{number}@example.com" for number in range(1, 61))
        talk = Talk(person.id, line, person.helo, person.sender, recipients, Random(person.seed), record)
        try:
            await asyncio.wait_for(perform(person.behaviour, talk), SESSION_TIMEOUT_S)
        except TimeoutError:
            record.setdefault("closed_by", "client (gave up)")
            await line.close(reset=True)
        record["end"] = clock.now()
        return talk.summed_up()

    async def _connect(self, person: Person, record: dict[str, Any]) -> SocketLine:
        """Connect; where no header is taken, the address is one of this machine's own."""
        target = person.target
        reader, writer = await asyncio.open_connection(target.address.address, target.address.port)
        if target.header:
            writer.write(encode_v1(Header(person.client, person.public)))
        else:
            own, there = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
            record |= {"client_ip": own[0], "client_port": own[1]}
            record |= {"server_ip": there[0], "server_port": there[1]}
        return SocketLine(reader, writer)

    # --- the record ---------------------------------------------------------------------------------------

    def _write_settled(self, final: bool) -> None:
        """Write the records of connections that have ended everywhere; in the end, all."""
        witness = self._relay.witness
        assert witness is not None
        kept = []
        for person, record in self._unsettled:
            client = Endpoint(record["client_ip"], record["client_port"])
            seen = witness.of_client(client, bool(self._relay.balancers))
            if seen is None and not final:
                kept.append((person, record))
                continue
            print(json.dumps(record | (seen or {"lines": {}})), file=self._truth)
        self._unsettled = kept

    def finish(self) -> None:
        """The relay has ended: write what is left, and what was configured."""
        self._write_settled(final=True)
        self._truth.close()
        run = {"scenario": self._profile.what, "seed": self._seed, "masking": expectations(self._relay)}
        text = json.dumps(run, indent=1) + "\n"
        (self._directory / "run.json").write_text(text, encoding="utf-8")


def targets(relay: Relay) -> list[Target]:
    """Where clients can connect: the balancers' frontends, or the servers where there is none."""
    found = []
    for balancer in relay.balancers:
        for frontend in balancer.frontends:
            address = frontend.addresses()[0]
            header = trusted(address.address, frontend.settings.trusted_proxies)
            found.append(Target(frontend.settings.name, address, header))
    for server in relay.servers if not found else ():
        for listener, address in zip(server.settings.listeners, server.addresses(), strict=True):
            header = trusted(address.address, listener.trusted_proxies)
            found.append(Target(server.settings.host, address, header))
    return found


def expectations(relay: Relay) -> list[dict[str, str]]:
    """What a verdict on masking has to say of each server."""
    listeners = {
        listener.bind: bool(listener.trusted_proxies)
        for server in relay.servers
        for listener in server.settings.listeners
    }
    return [
        {
            "backend": backend.settings.name,
            "server": server.settings.name,
            "expected": _verdict(
                server.settings.send_proxy != "none", listeners.get(server.settings.address)
            ),
        }
        for balancer in relay.balancers
        for backend in balancer.backends.values()
        for server in backend.servers
    ]


def _verdict(sent: bool, expected: bool | None) -> str:
    if expected is None:
        return "unknown"
    return {
        (True, True): "passed",
        (False, False): "masked",
        (True, False): "unexpected_header",
        (False, True): "missing_header",
    }[sent, expected]
