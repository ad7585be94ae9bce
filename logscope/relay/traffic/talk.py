"""A client's side of SMTP, step by step, over any line; what it meets is noted in a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol


class LineEndedError(Exception):
    """The other side has closed or reset the connection, or said nothing for too long."""


class Line(Protocol):
    """A connection, and the time."""

    async def receive(self) -> bytes:
        """The next line with its line feed; LineEndedError when there is none."""

    async def send(self, data: bytes) -> None:
        """Send bytes; LineEndedError when that is no longer possible."""

    async def pause(self, seconds: float) -> None:
        """Let time pass."""

    async def start_tls(self) -> str:
        """Go on under TLS: its version; LineEndedError when the handshake fails."""

    async def close(self, reset: bool = False) -> None:
        """Close the connection, or break it off."""


@dataclass
class Talk:
    """One connection's dialogue and its record.

    Attributes:
        id: of the connection, unique in a run.
        helo, sender: what the client says it is.
        recipients: of those that exist.
        rng: for everything that is left to chance.
        record: what is written down; see `samples/README.md` for the fields.
    """

    id: str
    line: Line
    helo: str
    sender: str
    recipients: tuple[str, ...]
    rng: Random
    record: dict[str, Any] = field(default_factory=dict)
    last: str = ""

    def __post_init__(self) -> None:
        self.record |= {"smtp_replies": [], "messages": [], "bytes_in": 0, "bytes_out": 0}

    # --- the line -----------------------------------------------------------------------------------------

    async def reply(self) -> str:
        """The last line of the next reply. A teaser of postscreen's is the beginning of a reply."""
        first = ""
        while True:
            try:
                data = await self.line.receive()
            except LineEndedError as error:
                self._closed_by(str(error))
                raise
            self.record["bytes_in"] += len(data)
            text = data.decode("utf-8", "replace").rstrip("\r\n")
            first = first or text
            if text[3:4] != "-":
                break
        self._note_reply(first, text)
        return text

    def _note_reply(self, first: str, text: str) -> None:
        record = self.record
        if text.startswith("220 ") and "greeting_host" not in record:
            record["greeting_host"] = text[4:].split(" ")[0]
            if first != text:
                record["teaser"] = first
        if text.startswith("421"):
            record["got_421"] = True
        record["smtp_replies"].append(text)
        self.last = text

    async def send(self, data: bytes) -> None:
        try:
            await self.line.send(data)
        except LineEndedError as error:
            self._closed_by(str(error))
            raise
        self.record["bytes_out"] += len(data)

    async def say(self, text: str) -> str:
        """Send a line; the reply to it."""
        await self.send(text.encode() + b"\r\n")
        return await self.reply()

    async def pause(self, least: float, most: float) -> None:
        await self.line.pause(self.rng.uniform(least, most))

    async def leave(self, reset: bool = False) -> None:
        """Close, or break off."""
        self._closed_by("client (RST)" if reset else "client (FIN)")
        await self.line.close(reset)

    async def wait_for_the_end(self) -> None:
        """Read until the server closes."""
        while True:
            await self.reply()

    def _closed_by(self, who: str) -> None:
        self.record.setdefault("closed_by", who)

    # --- steps --------------------------------------------------------------------------------------------

    async def greeting(self) -> None:
        if not (await self.reply()).startswith("220"):
            raise LineEndedError("peer (refused)")

    async def hello(self) -> None:
        await self.greeting()
        await self.say(f"EHLO {self.helo}")

    async def start_tls(self) -> bool:
        """Go on under TLS, if the server does."""
        if not (await self.say("STARTTLS")).startswith("220"):
            return False
        try:
            self.record["tls"] = await self.line.start_tls()
        except LineEndedError as error:
            self._closed_by(str(error))
            raise
        await self.say(f"EHLO {self.helo}")
        return True

    async def mail(self, *recipients: str, sender: str | None = None) -> dict[str, Any]:
        """MAIL and RCPT; the record of the message."""
        sender = self.sender if sender is None else sender
        message: dict[str, Any] = {"from": sender, "to": [], "rejected_to": []}
        self.record["messages"].append(message)
        accepted = (await self.say(f"MAIL FROM:<{sender}>")).startswith("250")
        for recipient in recipients if accepted else ():
            reply = await self.say(f"RCPT TO:<{recipient}>")
            message["to" if reply.startswith("250") else "rejected_to"].append(recipient)
        return message

    async def data(self, message: dict[str, Any], subject: str = "hello") -> None:
        """DATA and the content."""
        if (await self.say("DATA")).startswith("354"):
            await self.content(message, subject)

    async def content(self, message: dict[str, Any], subject: str = "hello") -> None:
        """The content, and what becomes of the message."""
        await self.send(self.text(message, subject) + b".\r\n")
        message["reply"] = reply = await self.reply()
        if "queued as " in reply:
            message["queue_id"] = reply.rsplit(" ", 1)[1]

    def text(self, message: dict[str, Any], subject: str) -> bytes:
        number = len(self.record["messages"])
        message["message_id"] = f"{self.id}.{number}.{self.rng.getrandbits(32):08x}@mail.example"
        body = "The quick brown fox writes to many lazy dogs, again.\r\n" * self.rng.randint(1, 60)
        return (
            f"From: <{message['from']}>\r\nSubject: {subject}\r\n"
            f"Message-ID: <{message['message_id']}>\r\n\r\n{body}"
        ).encode()

    async def deliver(self, *recipients: str, subject: str = "hello") -> None:
        """A whole message, to somebody who exists unless told otherwise."""
        message = await self.mail(*(recipients or (self.rng.choice(self.recipients),)))
        if message["to"]:
            await self.data(message, subject)

    async def quit(self) -> None:
        await self.say("QUIT")
        try:
            await self.wait_for_the_end()
        except LineEndedError:
            pass

    # --- afterwards ---------------------------------------------------------------------------------------

    def summed_up(self) -> dict[str, Any]:
        """The record, with what follows from it, and without what is empty."""
        record, messages = self.record, self.record["messages"]
        record["queue_ids"] = [message["queue_id"] for message in messages if message.get("queue_id")]
        record["message_ids"] = [message["message_id"] for message in messages if message.get("queue_id")]
        errors = [reply for reply in record["smtp_replies"] if reply[:1] in ("4", "5")]
        record["observed"] = (
            f"queued:{len(record['queue_ids'])}"
            if record["queue_ids"]
            else f"first-error:{errors[0][:9].strip()}"
            if errors
            else "no-mail"
        )
        return {name: value for name, value in record.items() if value not in ("", [], False, None)}
