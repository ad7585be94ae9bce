"""A message as it waits in the queue."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient and how far its delivery has come.

    Attributes:
        address: where the mail goes.
        notify: what DSN the sender asked for (RFC 3461 section 4.1): `NEVER` or of `SUCCESS FAILURE DELAY`.
        original: the recipient as the sender first knew it (ORCPT), type and address.
    """

    address: str
    notify: tuple[str, ...] = ()
    original: str = ""

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2].lower()


@dataclass(frozen=True, slots=True)
class Message:
    """An accepted message.

    Attributes:
        queue_id: unique among the messages of one server.
        sender: envelope sender; empty for a bounce.
        recipients: those still to be delivered.
        content: headers and body, lines ending in CR LF.
        arrived_at: seconds since 1970.
        queued_at: when it came into the queue: the end of its DATA.
        attempts: deliveries tried.
        next_attempt_at: when it is due, seconds since 1970.
        smtputf8, eight_bit: what its transport must be able to carry.
        envelope_id, returned: DSN parameters ENVID and RET.
        bounces: whether its sender may be told of a failure: a mailbox of our own, or a login.
    """

    queue_id: str
    sender: str
    recipients: tuple[Recipient, ...]
    content: bytes
    arrived_at: float
    queued_at: float
    attempts: int = 0
    next_attempt_at: float = 0.0
    smtputf8: bool = False
    eight_bit: bool = False
    envelope_id: str = ""
    returned: str = ""
    bounces: bool = False

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.content)


_ENVELOPE = 1
"""Version of the form below."""


def pack(message: Message) -> bytes:
    """A message as its queue file: one line of JSON, then the content, which is never parsed."""
    envelope: dict[str, Any] = {"form": _ENVELOPE}
    for name in message.__slots__:
        if name != "content":
            envelope[name] = getattr(message, name)
    envelope["recipients"] = [
        {name: getattr(recipient, name) for name in recipient.__slots__} for recipient in message.recipients
    ]
    envelope["size"] = message.size
    return json.dumps(envelope, ensure_ascii=True).encode("ascii") + b"\n" + message.content


class DamagedError(ValueError):
    """A queue file that is not whole."""


def unpack(data: bytes) -> Message:
    """The inverse of `pack`.

    Raises:
        DamagedError: the file is cut or is none of ours.
    """
    line, newline, content = data.partition(b"\n")
    try:
        envelope = json.loads(line)
        form, size = envelope.pop("form"), envelope.pop("size")
        recipients = tuple(
            replace(Recipient(**entry), notify=tuple(entry["notify"])) for entry in envelope.pop("recipients")
        )
        message = Message(recipients=recipients, content=content, **envelope)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"no envelope: {error}") from None
    if form != _ENVELOPE or not newline or len(content) != size:
        raise DamagedError(f"{len(content)} of {size} bytes")
    return message


@dataclass
class QueueIds:
    """Makes queue ids in Postfix's short form: five digits of microseconds, then a number of the file.

    Args:
        next_number: where a real queue has the inode; any start will do.
    """

    next_number: int
    taken: set[str] = field(default_factory=set)

    def new(self, now: float) -> str:
        """An id that no message of the queue has."""
        while True:
            self.next_number += 1
            found = f"{int(now * 1_000_000) % 1_000_000:05X}{self.next_number:X}"
            if found not in self.taken:
                return found
