"""One mail transaction: from MAIL to the end of the content."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from logscope.relay.queue.message import Message, Recipient
from logscope.relay.smtp.content import Content
from logscope.relay.smtp.parameters import MailParameters
from logscope.relay.smtp.site import Client, Site
from logscope.relay.smtp.words import Address, address

_NO_PARAMETERS = MailParameters()


@dataclass
class Transaction:
    """What is known of the message so far.

    Attributes:
        queue_id: given when the first recipient is accepted.
        content: from DATA or the first BDAT on.
        chunk: bytes of the current BDAT; `chunk_left` of them are still to come.
        error: the reply to this and further chunks, once one has failed.
        overshoot: recipients beyond the limit.
    """

    sender: Address | None = None
    parameters: MailParameters = _NO_PARAMETERS
    arrived_at: float = 0.0
    recipients: list[Recipient] = field(default_factory=list)
    queue_id: str = ""
    content: Content | None = None
    chunk: int = 0
    chunk_left: int = 0
    last_chunk: bool = False
    error: str = ""
    overshoot: int = 0
    id_is_logged: bool = False

    @property
    def only_recipient(self) -> Address | None:
        """The recipient when there is just one: only then is it named in the message and in the log."""
        return address(self.recipients[0].address) if len(self.recipients) == 1 else None

    def message(self, site: Site, client: Client, session: Session, body: bytes, now: float) -> Message:
        """The message as it goes into the queue."""
        assert self.sender is not None
        return Message(
            queue_id=self.queue_id,
            sender=str(self.sender),
            recipients=tuple(self.recipients),
            content=self._received(site, client, session, now) + body,
            arrived_at=self.arrived_at,
            queued_at=now,
            next_attempt_at=now,
            smtputf8=self.parameters.smtputf8,
            eight_bit=self.parameters.eight_bit,
            envelope_id=self.parameters.envelope_id,
            returned=self.parameters.returned,
            bounces=bool(session.username) or site.rules.is_local(self.sender),
        )

    def _received(self, site: Site, client: Client, session: Session, now: float) -> bytes:
        """The trace header (RFC 5321 section 4.4)."""
        protocol = "UTF8SMTP" if self.parameters.smtputf8 else session.protocol
        if session.protocol == "ESMTP":
            protocol += "S" * bool(session.tls) + "A" * bool(session.username)
        address_ = f"IPv6:{client.address}" if ":" in client.address else client.address
        only = self.only_recipient
        target = f"\r\n\tfor <{only.external}>; " if only else ";\r\n\t"
        return (
            f"Received: from {session.helo or 'unknown'} ({client.name} [{address_}])\r\n"
            f"\tby {site.hostname} (logscope relay) with {protocol} id {self.queue_id}"
            f"{target}{_date(int(now))}\r\n"
        ).encode()


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


@dataclass
class Session:
    """What a client has said of itself, and proven."""

    helo: str = ""
    protocol: str = "SMTP"
    tls: str = ""
    method: str = ""
    username: str = ""


def message_id(head: bytes) -> str:
    """The Message-ID in a message's header, without its brackets; empty when there is none."""
    head += b"\r\n"
    start = 0
    while start < len(head):
        end = head.find(b"\r\n", start)
        line = head[start:end]
        if line[:11].lower() == b"message-id:":
            following = head[end + 2 : head.find(b"\r\n", end + 2)]
            value = line[11:].strip() or following.strip()  # a folded header
            found = value.decode("utf-8", "replace").partition(">")[0].removeprefix("<").strip()
            return "".join(character if character.isprintable() else "?" for character in found)
        start = end + 2
    return ""
