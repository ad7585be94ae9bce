"""The SMTP client that hands a message to a next hop, without sockets: smtp(8) in small.

One message, one connection. The end of the dialogue is a list of outcomes, one for each recipient.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from logscope.relay.machine import Close
from logscope.relay.queue.message import Message, Recipient
from logscope.relay.smtp.words import address

LONGEST_REPLY = 8192
"""Bytes of a reply; a next hop that sends more is given up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the next hop said about one recipient.

    Attributes:
        dsn: enhanced status code; `2.…` when it took the mail, `4.…` to try again.
        reply: what it said, or what went wrong.
    """

    recipient: Recipient
    dsn: str
    reply: str

    @property
    def is_sent(self) -> bool:
        return self.dsn.startswith("2")


class _Step(Enum):
    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BODY = auto()
    QUIT = auto()


_NAMES = {
    _Step.EHLO: "EHLO command",
    _Step.HELO: "HELO command",
    _Step.MAIL: "MAIL FROM command",
    _Step.RCPT: "RCPT TO command",
    _Step.DATA: "DATA command",
    _Step.BODY: "end of DATA command",
}

_DOING = {
    _Step.GREETING: "receiving the initial server greeting",
    _Step.EHLO: "performing the EHLO handshake",
    _Step.HELO: "performing the HELO handshake",
    _Step.MAIL: "sending MAIL FROM",
    _Step.RCPT: "sending RCPT TO",
    _Step.DATA: "sending DATA command",
    _Step.BODY: "sending end of data -- message may be sent more than once",
}


class SmtpClient:
    """A delivery over one connection.

    Args:
        message: what is sent.
        hostname: our own, for EHLO.
        peer: the next hop as it is named in outcomes, `name[address]`.
        timeout_s: how long a reply may take.
    """

    def __init__(self, message: Message, hostname: str, peer: str, timeout_s: float = 300.0) -> None:
        self.out = bytearray()
        self.requests: list[Any] = []
        self.deadline: float | None = None
        self.ended = False
        self.outcomes: list[Outcome] = []
        self._message, self._hostname, self._peer, self._timeout_s = message, hostname, peer, timeout_s
        self._buffer = bytearray()
        self._reply: list[str] = []
        self._step = _Step.GREETING
        self._keywords: set[str] = set()
        self._at = 0
        self._taken: list[Recipient] = []

    @property
    def unread(self) -> bool:
        """Never: what a next hop says after all was said is no concern of its own."""
        return False

    def start(self, now: float) -> None:
        """The connection is there; the next hop speaks first."""
        self.deadline = now + self._timeout_s

    def receive(self, data: bytes, now: float) -> None:
        """Bytes have arrived."""
        self._buffer += data
        while not self.ended:
            end = self._buffer.find(b"\n")
            if end < 0:
                break
            line = bytes(self._buffer[:end]).removesuffix(b"\r").decode("utf-8", "replace")
            del self._buffer[: end + 1]
            self._reply.append(line)
            if line[3:4] != "-" or not _is_code(line[:3]):
                reply, self._reply = self._reply, []
                self.deadline = now + self._timeout_s
                self._on_reply(reply)
        if len(self._buffer) + sum(map(len, self._reply)) > LONGEST_REPLY and not self.ended:
            self._give_up("4.4.0", f"host {self._peer} sends a reply without end")

    def closed(self, _now: float) -> None:
        """The next hop has gone."""
        if not self.ended:
            self._give_up("4.4.2", f"lost connection with {self._peer} while {self._doing}")

    def wake(self, _now: float) -> None:
        """It has not answered in time."""
        if not self.ended:
            self._give_up("4.4.2", f"conversation with {self._peer} timed out while {self._doing}")

    @property
    def _doing(self) -> str:
        return _DOING.get(self._step, "sending QUIT")

    # --- replies ------------------------------------------------------------------------------------------

    def _on_reply(self, lines: list[str]) -> None:
        code = lines[-1][:3]
        if not _is_code(code):
            self._give_up("4.5.0", f"host {self._peer} said what is no reply: {' '.join(lines)[:100]}")
            return
        accepted = code[0] == ("3" if self._step is _Step.DATA else "2")
        match self._step:
            case _Step.GREETING | _Step.HELO | _Step.MAIL | _Step.DATA if not accepted:
                self._refused(lines)
            case _Step.GREETING:
                self._send(_Step.EHLO, f"EHLO {self._hostname}")
            case _Step.EHLO if not accepted:
                self._send(_Step.HELO, f"HELO {self._hostname}")
            case _Step.EHLO | _Step.HELO:
                if self._step is _Step.EHLO:
                    self._keywords = {line[4:].split(" ")[0].upper() for line in lines[1:]}
                self._mail()
            case _Step.MAIL:
                self._next_recipient()
            case _Step.RCPT:
                self._after_recipient(lines, accepted)
            case _Step.DATA:
                self._step = _Step.BODY
                self.out += _stuffed(self._message.content) + b".\r\n"
            case _Step.BODY:
                self._after_body(lines)
            case _Step.QUIT:
                self._end()

    def _mail(self) -> None:
        message = self._message
        if message.smtputf8 and "SMTPUTF8" not in self._keywords:
            text = f"message requires SMTPUTF8, which host {self._peer} does not offer"
            self._give_up("5.6.7", text)
            return
        sender = address(message.sender)
        parameters = [f"SIZE={message.size}"] if "SIZE" in self._keywords else []
        if "8BITMIME" in self._keywords and (message.eight_bit or not message.content.isascii()):
            parameters.append("BODY=8BITMIME")
        if message.smtputf8:
            parameters.append("SMTPUTF8")
        path = sender.external if sender else ""
        self._send(_Step.MAIL, " ".join([f"MAIL FROM:<{path}>", *parameters]))

    def _next_recipient(self) -> None:
        recipients = self._message.recipients
        if self._at < len(recipients):
            to = address(recipients[self._at].address)
            notify = recipients[self._at].notify
            dsn = f" NOTIFY={','.join(notify)}" if notify and "DSN" in self._keywords else ""
            self._send(_Step.RCPT, f"RCPT TO:<{to.external if to else recipients[self._at].address}>{dsn}")
        elif self._taken:
            self._send(_Step.DATA, "DATA")
        else:
            self._quit()

    def _after_recipient(self, lines: list[str], accepted: bool) -> None:
        recipient = self._message.recipients[self._at]
        self._at += 1
        if accepted:
            self._taken.append(recipient)
        else:
            self.outcomes.append(self._outcome(recipient, lines))
        self._next_recipient()

    def _after_body(self, lines: list[str]) -> None:
        for recipient in self._taken:
            self.outcomes.append(self._outcome(recipient, lines))
        self._taken = []
        self._quit()

    def _refused(self, lines: list[str]) -> None:
        for recipient in self._open_recipients():
            self.outcomes.append(self._outcome(recipient, lines))
        self._taken = []
        self._at = len(self._message.recipients)
        self._quit()

    def _open_recipients(self) -> list[Recipient]:
        """Those nothing final was said about."""
        return [*self._taken, *self._message.recipients[self._at :]]

    def _outcome(self, recipient: Recipient, lines: list[str]) -> Outcome:
        text = " ".join([lines[0], *(line[4:] for line in lines[1:])])
        code = lines[-1][0]
        status = text.split(" ")[1] if " " in text else ""
        dsn = status if _is_dsn(status) and status[0] == code else f"{code if code in '245' else '5'}.0.0"
        if code == "2" and self._step is _Step.BODY:
            return Outcome(recipient, dsn, text)
        if self._step is _Step.GREETING:
            return Outcome(recipient, _as_error(dsn), f"host {self._peer} refused to talk to me: {text}")
        said = f"host {self._peer} said: {text} (in reply to {_NAMES[self._step]})"
        return Outcome(recipient, _as_error(dsn), said)

    def _give_up(self, dsn: str, text: str) -> None:
        for recipient in self._open_recipients():
            self.outcomes.append(Outcome(recipient, dsn, text))
        self._taken = []
        self._at = len(self._message.recipients)
        self._end()

    def _send(self, step: _Step, command: str) -> None:
        self._step = step
        self.out += command.encode("utf-8", "surrogateescape") + b"\r\n"

    def _quit(self) -> None:
        self._send(_Step.QUIT, "QUIT")
        self._end()  # its answer changes nothing

    def _end(self) -> None:
        self.ended = True
        self.deadline = None
        self.requests.append(Close())


def _stuffed(content: bytes) -> bytes:
    """A dot in front of each line that begins with one (RFC 5321 section 4.5.2)."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _is_code(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit() and "200" <= text < "600"


def _is_dsn(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 3 and all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts)


def _as_error(dsn: str) -> str:
    """A status that is no success: what is not in the words of RFC 3463 is tried again."""
    return dsn if dsn[0] in "45" else f"4{dsn[1:]}"
