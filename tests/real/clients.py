"""Scripted SMTP clients. Run in the clients' namespace: `python -m tests.real.clients PLAN.json TRUTH.jsonl`.

Every connection is one JSON line in the file: what the client meant to do, where it came from, what it met.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import random
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .configuration import PUBLIC_ADDRESSES
from .model import Scenario, Service
from .scenarios import scenario

REPLY_LIMIT_S = 25.0
SESSION_LIMIT_S = 90.0


class EndedError(Exception):
    """The server closed the connection, reset it, or said nothing for too long."""


@dataclass
class Person:
    """What one connection is to do, decided beforehand."""

    id: str
    service: Service
    address: str
    behaviour: str
    helo: str
    sender: str
    rng: random.Random
    port: int = 0
    retry_of: str = ""
    reuses_port_of: str = ""


@dataclass
class Dialogue:
    """One connection and the record of it."""

    person: Person
    record: dict[str, Any]
    last: str = ""
    _reader: asyncio.StreamReader = field(init=False)
    _writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        family = socket.AF_INET6 if ":" in self.person.address else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind((self.person.address, self.person.port))
        destination = PUBLIC_ADDRESSES[6 if family == socket.AF_INET6 else 4], self.person.service.port
        self.record |= {
            "client_port": connection.getsockname()[1],
            "server_ip": destination[0],
            "server_port": destination[1],
            "start": time.time(),
        }
        self.person.port = self.record["client_port"]
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(connection, destination), 20)
        except (OSError, TimeoutError) as error:
            connection.close()
            self.record["connect_error"] = str(error) or "timed out"
            raise EndedError("connect") from error
        self._reader, self._writer = await asyncio.open_connection(sock=connection)

    async def reply(self) -> str:
        """The next complete reply's last line. A postscreen teaser is the start of a multi-line 220."""
        first = ""
        while True:
            line = await self._line()
            first = first or line
            if line[3:4] != "-":
                break
        if line.startswith("220 ") and not self.record.get("greeting_host"):
            self.record["greeting_host"] = line[4:].split(" ")[0]
            if first != line:
                self.record["teaser"] = first
        self.record["smtp_replies"].append(line)
        if line.startswith("421"):
            self.record["got_421"] = True
        self.last = line
        return line

    async def _line(self) -> str:
        try:
            data = await asyncio.wait_for(self._reader.readline(), REPLY_LIMIT_S)
        except TimeoutError:
            self._closed_by("client (gave up waiting)")
            raise EndedError("timeout") from None
        except (OSError, ValueError) as error:
            self._closed_by("peer (RST)")
            raise EndedError("reset") from error
        self.record["bytes_in"] += len(data)
        if not data.endswith(b"\n"):
            self._closed_by("peer (EOF)")
            raise EndedError("end of file")
        return data.decode("latin-1").rstrip("\r\n")

    async def send(self, text: str | bytes) -> None:
        data = text.encode("utf-8") if isinstance(text, str) else text
        assert self._writer is not None
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            self._closed_by("peer (RST)")
            raise EndedError("reset") from error
        self.record["bytes_out"] += len(data)

    async def command(self, text: str) -> str:
        await self.send(text + "\r\n")
        return await self.reply()

    async def pause(self, least: float, most: float) -> None:
        await asyncio.sleep(self.person.rng.uniform(least, most))

    async def start_tls(self) -> None:
        assert self._writer is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            await asyncio.wait_for(self._writer.start_tls(context), 20)
        except (OSError, TimeoutError) as error:
            self._closed_by("client (TLS failed)")
            raise EndedError("tls") from error
        self.record["tls"] = self._writer.get_extra_info("ssl_object").version()

    def reset(self) -> None:
        """Closes with RST: SO_LINGER of zero seconds."""
        assert self._writer is not None
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._closed_by("client (RST)")
        self._writer.transport.abort()

    async def close(self, by: str = "client (FIN)") -> None:
        if self._writer is None:
            return
        self._closed_by(by)
        self._writer.close()
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), 3)

    async def wait_for_the_end(self) -> None:
        """Reads until the server closes."""
        while True:
            await self.reply()

    async def wait_for_the_end_or(self, limit_s: float) -> None:
        """Reads until the server closes, or leaves after `limit_s` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait_for_the_end(), limit_s)
        await self.close()

    def _closed_by(self, who: str) -> None:
        self.record.setdefault("closed_by", who)
        self.record.setdefault("end", time.time())

    # ------------------------------------------------------------- steps of SMTP

    async def greeting(self) -> None:
        if not (await self.reply()).startswith("220"):
            raise EndedError("refused")

    async def ehlo(self) -> str:
        return await self.command(f"EHLO {self.person.helo}")

    async def hello(self) -> None:
        await self.greeting()
        await self.ehlo()

    async def mail(self, sender: str | None = None) -> dict[str, Any]:
        sender = self.person.sender if sender is None else sender
        message: dict[str, Any] = {"from": sender, "to": [], "rejected_to": []}
        self.record["messages"].append(message)
        await self.command(f"MAIL FROM:<{sender}>")
        return message

    async def rcpt(self, message: dict[str, Any], recipient: str) -> str:
        reply = await self.command(f"RCPT TO:<{recipient}>")
        message["to" if reply.startswith("250") else "rejected_to"].append(recipient)
        return reply

    async def data(self, message: dict[str, Any], subject: str = "hello") -> None:
        if (await self.command("DATA")).startswith("354"):
            await self.body(message, subject)

    async def body(self, message: dict[str, Any], subject: str = "hello") -> None:
        await self.send(self.text(message, subject) + ".\r\n")
        message["reply"] = reply = await self.reply()
        if "queued as " in reply:
            message["queue_id"] = reply.rsplit(" ", 1)[1]

    def text(self, message: dict[str, Any], subject: str) -> str:
        number = len(self.record["messages"])
        unique = f"{self.person.id}.{number}.{self.person.rng.getrandbits(32):08x}"
        message["message_id"] = f"{unique}@mail.example"
        line = "The quick brown fox writes to many lazy dogs, again.\r\n"
        return (
            f"From: <{message['from']}>\r\nSubject: {subject}\r\n"
            f"Message-ID: <{message['message_id']}>\r\nDate: Tue, 10 Nov 2026 10:00:00 +0000\r\n\r\n"
            + line
            * self.person.rng.randint(1, 60)
        )

    async def message(self, *recipients: str, subject: str = "hello") -> None:
        message = await self.mail()
        for recipient in recipients or (good(self.person.rng),):
            await self.rcpt(message, recipient)
        if message["to"]:
            await self.data(message, subject)

    async def quit(self) -> None:
        await self.command("QUIT")
        with contextlib.suppress(EndedError):
            await self.wait_for_the_end()


def good(rng: random.Random) -> str:
    return rng.choice(
        (
            f"user{rng.randint(1, 60)}@example.com",
            f"box{rng.randint(1, 60)}@example.org",
            f"anyone{rng.randint(1, 99)}@example.net",
        )
    )


# ---------------------------------------------------------------------------- behaviours

Behaviour = Callable[[Dialogue], Awaitable[None]]
BEHAVIOURS: dict[str, tuple[str, Behaviour]] = {}


def behaviour(expected: str) -> Callable[[Behaviour], Behaviour]:
    def keep(function: Behaviour) -> Behaviour:
        BEHAVIOURS[function.__name__] = (expected, function)
        return function

    return keep


@behaviour("delivered")
async def clean(d: Dialogue) -> None:
    await d.hello()
    await d.message()
    await d.quit()


@behaviour("delivered")
async def slow(d: Dialogue) -> None:
    await d.greeting()
    await d.pause(0.2, 2)
    await d.ehlo()
    await d.pause(0.2, 3)
    await d.message()
    await d.pause(0.1, 2)
    await d.quit()


@behaviour("delivered")
async def starttls(d: Dialogue) -> None:
    await d.hello()
    if (await d.command("STARTTLS")).startswith("220"):
        await d.start_tls()
        await d.ehlo()
        await d.message()
    await d.quit()


@behaviour("delivered")
async def multi_msg(d: Dialogue) -> None:
    await d.hello()
    for _ in range(d.person.rng.randint(2, 5)):
        await d.message()
    await d.quit()


@behaviour("delivered")
async def multi_rcpt(d: Dialogue) -> None:
    rng = d.person.rng
    await d.hello()
    await d.message(good(rng), good(rng), f"nobody-{d.person.id}@example.com", "someone@defer.example.net")
    await d.quit()


@behaviour("delivered")
async def pipelining(d: Dialogue) -> None:
    """Pipelining as allowed: a group of commands after EHLO."""
    await d.hello()
    recipient = good(d.person.rng)
    message: dict[str, Any] = {"from": d.person.sender, "to": [], "rejected_to": []}
    d.record["messages"].append(message)
    await d.send(f"MAIL FROM:<{d.person.sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n")
    replies = [await d.reply() for _ in range(3)]
    message["to" if replies[1].startswith("250") else "rejected_to"].append(recipient)
    if replies[2].startswith("354"):
        await d.body(message)
    await d.quit()


@behaviour("bounced")
async def bounce(d: Dialogue) -> None:
    await d.hello()
    await d.message("gone@bounce.example.net")
    await d.quit()


@behaviour("rejected-550-unknown-recipient")
async def unknown_rcpt(d: Dialogue) -> None:
    await d.hello()
    await d.message(f"nobody-{d.person.id}@example.com")
    await d.quit()


@behaviour("rejected-554-relay-denied")
async def relay_denied(d: Dialogue) -> None:
    await d.hello()
    await d.message(f"victim-{d.person.id}@elsewhere.example")
    await d.quit()


@behaviour("rejected-450-unknown-sender-domain")
async def unknown_sender(d: Dialogue) -> None:
    await d.hello()
    message = await d.mail(f"{d.person.id}@nowhere.invalid.example")
    if d.last.startswith("250"):
        await d.rcpt(message, good(d.person.rng))
    await d.quit()


@behaviour("rejected-504-helo")
async def bad_helo(d: Dialogue) -> None:
    await d.greeting()
    await d.command(f"EHLO {d.person.id}")
    await d.message()
    await d.quit()


@behaviour("rejected-550-content")
async def content_reject(d: Dialogue) -> None:
    await d.hello()
    await d.message(subject="forbidden fruit")
    await d.quit()


@behaviour("auth-failed-535")
async def auth_fail(d: Dialogue) -> None:
    await d.hello()
    user = f"alice@example.com\0wrong-{d.person.id}"
    await d.command("AUTH PLAIN " + base64.b64encode(f"\0{user}".encode()).decode())
    if d.person.rng.random() < 0.5:
        await d.message(f"victim-{d.person.id}@elsewhere.example")
    await d.quit()


@behaviour("delivered")
async def submit(d: Dialogue) -> None:
    await d.hello()
    if (await d.command("STARTTLS")).startswith("220"):
        await d.start_tls()
        await d.ehlo()
    await d.command("AUTH PLAIN " + base64.b64encode(b"\0alice@example.com\0right").decode())
    await d.message(f"friend-{d.person.id}@elsewhere.example")
    await d.quit()


@behaviour("pregreet")
async def pregreet(d: Dialogue) -> None:
    await d.pause(0, 0.6)
    await d.send(f"EHLO {d.person.helo}\r\n")
    await d.pause(0, 2)
    with contextlib.suppress(EndedError):
        await d.reply()
        await d.reply()
        await d.message()
    await d.close()


@behaviour("early-pipelining")
async def early_pipelining(d: Dialogue) -> None:
    """Sends the whole session as soon as the server has spoken."""
    await d.greeting()
    await d.send(
        f"HELO {d.person.helo}\r\nMAIL FROM:<{d.person.sender}>\r\nRCPT TO:<{good(d.person.rng)}>\r\nDATA\r\n"
    )
    await d.wait_for_the_end_or(8)


def _drop(stage: str, with_reset: bool) -> None:
    async def drop(d: Dialogue) -> None:
        if stage == "before_greeting":
            await d.pause(0, 1.5)
        if stage != "before_greeting":
            await d.greeting()
        if stage in ("after_ehlo", "after_rcpt", "in_data"):
            await d.ehlo()
        if stage in ("after_rcpt", "in_data"):
            message = await d.mail()
            await d.rcpt(message, good(d.person.rng))
        if stage == "in_data" and (await d.command("DATA")).startswith("354"):
            await d.send(d.text(message, "half a message")[:400])
            await d.pause(0, 0.3)
        if with_reset:
            d.reset()
        else:
            await d.close()

    name = ("rst_" if with_reset else "drop_") + stage
    how = "reset" if with_reset else "closed"
    BEHAVIOURS[name] = (f"client-{how}-{stage.replace('_', '-')}", drop)


for _stage in ("before_greeting", "after_greeting", "after_ehlo", "after_rcpt", "in_data"):
    _drop(_stage, False)
    _drop(_stage, True)


@behaviour("timeout")
async def idle_after_ehlo(d: Dialogue) -> None:
    await d.hello()
    await d.wait_for_the_end()


@behaviour("timeout")
async def idle_at_once(d: Dialogue) -> None:
    await d.wait_for_the_end()


@behaviour("no-mail")
async def quit_close(d: Dialogue) -> None:
    await d.hello()
    await d.quit()


@behaviour("no-mail")
async def probe(d: Dialogue) -> None:
    """Connects and leaves at once, as a port scan does."""
    await d.close()


@behaviour("too-many-errors")
async def rubbish(d: Dialogue) -> None:
    await d.greeting()
    for number in range(25):
        await d.command(f"XYZZY{number} {d.person.id}")
        if d.record.get("got_421"):
            break
    await d.wait_for_the_end_or(2)


@behaviour("non-smtp")
async def http(d: Dialogue) -> None:
    await d.greeting()
    await d.send(f"GET /{d.person.id} HTTP/1.1\r\nHost: {d.person.helo}\r\n\r\n")
    await d.wait_for_the_end_or(5)


@behaviour("delivered")
async def bare_newline(d: Dialogue) -> None:
    """Ends a line with LF alone, which is no end of a line (RFC 5321 section 2.3.8)."""
    await d.greeting()
    await d.send(f"EHLO {d.person.helo}\n")
    await d.reply()
    await d.message(good(d.person.rng))
    await d.quit()


@behaviour("tls-failed")
async def tls_abandoned(d: Dialogue) -> None:
    """Asks for TLS and then says something that is no TLS at all."""
    await d.hello()
    if (await d.command("STARTTLS")).startswith("220"):
        await d.send("this is not a client hello\r\n" * 4)
    await d.wait_for_the_end_or(5)


BEHAVIOURS["reuse_port"] = ("delivered", clean)


# ---------------------------------------------------------------------------- plan and conduct


def plan(wanted: Scenario, seed: int) -> list[Person]:
    """Who comes, in order. The same scenario, sizes and seed give the same people."""
    rng = random.Random(seed)
    addresses = _addresses(wanted, rng)
    people = []
    for number in range(wanted.sessions):
        address = rng.choice(addresses)
        service = _service(wanted, address, rng)
        name = rng.choices(list(service.mix), list(service.mix.values()))[0]
        id_ = f"c{number:05d}"
        helo = f"{rng.choice(('mx', 'host', 'mail'))}-{id_}.mail.example"
        sender = f"{rng.choice(('news', 'alice', 'billing'))}-{id_}@mail.example"
        people.append(Person(id_, service, address, name, helo, sender, random.Random(rng.getrandbits(32))))
    return people


def _service(wanted: Scenario, address: str, rng: random.Random) -> Service:
    """One that clients of this address can use."""
    family = 6 if ":" in address else 4
    open_to = [one for one in wanted.services if one.family in (0, family)]
    return rng.choices(open_to, [one.share for one in open_to])[0]


def _addresses(wanted: Scenario, rng: random.Random) -> list[str]:
    size = wanted.address_pool
    networks = ("192.0.2.{}", "198.51.100.{}")
    # The upper addresses are on block and permit lists (services.LISTS, configuration.TABLES); a handful
    # of addresses should not happen to be special.
    highest = 254 if size > 10 else 190
    pool = [rng.choice(networks).format(rng.randint(1, highest)) for _ in range(size)]
    for number in range(round(size * wanted.ipv6_share)):
        pool[number] = f"2001:db8:c:{rng.randrange(1, 9)}::{rng.randrange(1, 0xFFFF):x}"
    return pool


def _blank(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "client_ip": person.address,
        "behaviour": person.behaviour,
        "expected_outcome": BEHAVIOURS[person.behaviour][0],
        "service": person.service.name,
        "helo": person.helo,
        "smtp_replies": [],
        "messages": [],
        "bytes_in": 0,
        "bytes_out": 0,
        "retry_of": person.retry_of,
        "reuses_port_of": person.reuses_port_of,
    }


async def converse(person: Person) -> dict[str, Any]:
    """One connection from start to end; the record says how it went."""
    d = Dialogue(person, _blank(person))
    try:
        async with asyncio.timeout(SESSION_LIMIT_S):
            await d.open()
            await BEHAVIOURS[person.behaviour][1](d)
    except EndedError:
        pass
    except TimeoutError:
        d.record.setdefault("closed_by", "client (gave up)")
    await d.close()
    d.record.setdefault("end", time.time())
    return _summed_up(d.record)


def _summed_up(record: dict[str, Any]) -> dict[str, Any]:
    messages = record["messages"]
    record |= {
        "queue_ids": [m["queue_id"] for m in messages if m.get("queue_id")],
        "message_ids": [m["message_id"] for m in messages if m.get("queue_id")],
        "envelope_from": messages[0]["from"] if messages else "",
        "envelope_to": sorted({recipient for m in messages for recipient in m["to"]}),
    }
    errors = [reply for reply in record["smtp_replies"] if reply[:1] in "45"]
    record["observed"] = (
        f"queued:{len(record['queue_ids'])}"
        if record["queue_ids"]
        else f"first-error:{errors[0][:9].strip()}"
        if errors
        else "no-mail"
    )
    return {key: value for key, value in record.items() if value not in ("", [], False, None)}


async def conduct(wanted: Scenario, seed: int, write: Callable[[dict[str, Any]], None]) -> None:
    """Lets everybody talk, at most `concurrency` at a time."""
    waiting = iter(plan(wanted, seed))
    pauses = random.Random(seed + 1)

    async def slot(number: int) -> None:
        await asyncio.sleep(pauses.uniform(0, 4.0 if wanted.burst else 1.0))
        for person in waiting:
            await _with_sequels(person, write)
            await asyncio.sleep(pauses.expovariate(1 / wanted.gap_s))

    await asyncio.gather(*(slot(number) for number in range(min(wanted.concurrency, wanted.sessions))))


async def _with_sequels(person: Person, write: Callable[[dict[str, Any]], None]) -> None:
    """A connection, and what follows from it: a retry after 450, or the same port again at once."""
    record = await converse(person)
    write(record)
    if person.behaviour == "reuse_port" and "client_port" in record:
        for number in range(1, person.rng.randint(1, 3) + 1):
            again = _again(person, f"{person.id}-{number}", person.port, reuses_port_of=person.id)
            write(await converse(again))
    elif any("4.3.2" in reply for reply in record.get("smtp_replies", ())) and not record.get("got_421"):
        await asyncio.sleep(person.rng.uniform(0.2, 2))
        write(await converse(_again(person, f"{person.id}-r", 0, retry_of=person.id)))


def _again(person: Person, id_: str, port: int, **why: str) -> Person:
    return Person(
        id_,
        person.service,
        person.address,
        person.behaviour,
        person.helo.replace(person.id, id_),
        person.sender.replace(person.id, id_),
        person.rng,
        port,
        **why,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("truth", type=Path)
    arguments = parser.parse_args()
    given = json.loads(arguments.plan.read_text())
    wanted = scenario(given["scenario"], **given["sizes"])
    with arguments.truth.open("w", encoding="utf-8") as out:
        asyncio.run(
            conduct(wanted, given["seed"], lambda record: print(json.dumps(record), file=out, flush=True))
        )


if __name__ == "__main__":
    main()
