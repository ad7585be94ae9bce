"""The frame of an SMTP session: lines in, replies out, errors and commands counted, and its end."""

from __future__ import annotations

from typing import Any

from logscope.relay.escape import escaped
from logscope.relay.machine import Close, Log
from logscope.relay.smtp.clients import ClientCounts
from logscope.relay.smtp.site import Client, Site
from logscope.relay.smtp.transaction import Session, Transaction

LONGEST_LINE = 2048
"""Bytes of a command that are looked at (`line_length_limit`); the rest of the line is skipped."""

_ORDER = ("HELO", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "QUIT")
"""In which the counts of commands are logged."""


class Dialogue:
    """One session, without the commands.

    Attributes:
        where: the stage that lines name: the last command, or `END-OF-MESSAGE`.
        unread: bytes have come that a process would not have read: it slept, or waited for something else.
    """

    def __init__(self, site: Site, client: Client, log: Log, counts: ClientCounts) -> None:
        self.out = bytearray()
        self.requests: list[Any] = []
        self.deadline: float | None = None
        self.ended = self.unread = False
        self.site, self.client = site, client
        self.session = Session()
        self.mail = Transaction()
        self.where = "CONNECT"
        self.peer: dict[str, Any] = {"client_name": client.name, "client_address": client.address}
        if site.port_logging:
            self.peer["client_port"] = client.endpoint.port
        self.log, self.counts = log, counts
        self.buffer = bytearray()
        self.waiting = False
        self.errors = self.junk = 0
        self._held: bytearray | None = None
        self._counted = False
        self._counters: dict[str, list[int]] = {}
        self._improper = False
        self._skipped: bytes | None = None
        self._told_of_errors = False
        self._input_ended = False

    # --- for the commands ---------------------------------------------------------------------------------

    def on_line(self, line: bytes, now: float) -> None:
        """A line has come that is no content."""
        raise NotImplementedError

    def on_content(self, now: float) -> bool:
        """There is input, and it is content of a message. Returns whether any could be taken."""
        raise NotImplementedError

    @property
    def in_content(self) -> bool:
        """Whether what comes next is content."""
        raise NotImplementedError

    # --- what happens -------------------------------------------------------------------------------------

    def start(self, now: float, early: bytes = b"", screened: bool = False) -> None:
        """The connection is there.

        Args:
            early: what came before the server has spoken.
            screened: postscreen handed the client over; it has had its time to speak too early.
        """
        self.log("smtpd.connect", **self.peer)
        self._touch(now)
        self.buffer += early
        if early and not screened:
            self.log_improper("CONNECT")
        limits = self.site.limits
        count, rate = self.counts.connect(self.client.address, now)
        self._counted = True
        for observed, limit, kind in (
            (count, limits.connection_count, "smtpd.connection_concurrency_limit"),
            (rate, limits.connection_rate, "smtpd.connection_rate_limit"),
        ):
            if limit and observed > limit:
                self.log(kind, observed_count=observed, service_name=self.site.service, **self.peer)
                text = f"Error: too many connections from {self.client.address}"
                self.say(f"421 4.7.0 {self.site.hostname} {text}", now)
                self.end()
                return
        self.say(self.site.banner, now)
        self.run(now)

    def no_header(self, now: float) -> None:
        """The PROXY header that should have come first did not, or was wrong."""
        self.log("smtpd.connect", **self.peer)
        self.say(f"421 4.3.0 {self.site.hostname} Server local error", now)
        self.end()

    def receive(self, data: bytes, now: float) -> None:
        """Bytes have arrived."""
        if not self.ended:
            self.unread = self.waiting or self._held is not None
            self.buffer += data
            self.run(now)

    def closed(self, now: float) -> None:
        """The client has gone, or sends no more: what it has sent is still done, then the session ends."""
        self._input_ended = True
        if not self.ended:
            self.run(now)

    def wake(self, now: float) -> None:
        """The deadline has passed: a held reply is due, or the client was silent for too long."""
        if self.ended:
            return
        if self._held is not None:
            self.out += self._held
            self._held = None
            self.run(now)
        elif not self.waiting:
            self.errors = 0  # this last reply is not delayed
            self.say(f"421 4.4.2 {self.site.hostname} Error: timeout exceeded", now)
            self.abort("smtpd.timeout")

    def stopping(self, now: float) -> None:
        """The server is told to end: between messages the client is sent away, within one it may finish."""
        if not self.ended and self.mail.content is None and not self.waiting:
            self.say(f"421 4.3.2 {self.site.hostname} Service shutting down", now)
            self.end()

    # --- reading ------------------------------------------------------------------------------------------

    def run(self, now: float) -> None:
        """Take from the buffer what can be taken."""
        while not (self.ended or self.waiting or self._held is not None):
            if self.errors >= self.site.hard_errors:
                self._too_many_errors(now)
            elif not self._take(now):
                self.unread = False
                if self._input_ended:
                    self.abort("smtpd.lost_connection")
                break
        self._touch(now)

    def _take(self, now: float) -> bool:
        """Take one line, or some content. False when more must come first."""
        if not self.buffer:
            return False
        if self.in_content:
            return self.on_content(now)
        line = self._line()
        if line is not None:
            self.on_line(line, now)
        return line is not None

    def _line(self) -> bytes | None:
        end = self.buffer.find(b"\n")
        if end < 0:
            if len(self.buffer) > LONGEST_LINE:
                self._skipped = self._skipped or bytes(self.buffer[:LONGEST_LINE])
                self.buffer.clear()
            return None
        line = self._skipped or bytes(self.buffer[:end])
        self._skipped = None
        del self.buffer[: end + 1]
        return line.removesuffix(b"\r")[:LONGEST_LINE]

    def _too_many_errors(self, now: float) -> None:
        if self._told_of_errors:
            self.abort("smtpd.too_many_errors")
        else:
            self._told_of_errors = True
            self.say(f"421 4.7.0 {self.site.hostname} Error: too many errors", now)

    def _touch(self, now: float) -> None:
        if self._held is None:
            self.deadline = None if self.ended or self.waiting else now + self.site.timeout_s

    def check_pipelining(self, must_wait: bool) -> None:
        """A client that spoke when it should have listened (RFC 2920 section 3.1)."""
        if self.buffer and not self._improper and (must_wait or self.session.protocol != "ESMTP"):
            self.log_improper(self.where)

    def log_improper(self, stage: str) -> None:
        """Log input that came too early; once a session."""
        self._improper = True
        text = escaped(bytes(self.buffer[:100]))
        self.log("smtpd.improper_pipelining", stage=stage, client_text=text, **self.peer)

    @property
    def improper(self) -> bool:
        """Whether the client ever spoke when it should have listened."""
        return self._improper

    # --- writing ------------------------------------------------------------------------------------------

    def say(self, reply: str, now: float) -> None:
        """Send a reply; after many errors only a while later, and nothing else is done before."""
        data = (reply + "\r\n").encode("utf-8", "surrogateescape")
        if self._held is not None:
            self._held += data
        elif self.errors >= self.site.soft_errors and self.site.error_sleep_s:
            self._held = bytearray(data)
            self.deadline = now + self.site.error_sleep_s
        else:
            self.out += data

    def fail(self, reply: str, now: float) -> None:
        """Send a reply to an error that is counted here."""
        self.say(reply, now)
        self.errors += 1

    def refuse(self, reply: str, now: float) -> bool:
        """Send an error; the value is that of a command that failed."""
        self.say(reply, now)
        return False

    def accept(self, reply: str, now: float) -> bool:
        """Send a reply; the value is that of a command that succeeded."""
        self.say(reply, now)
        return True

    def begin(self, command: str) -> None:
        """A command has come: it is counted, whatever becomes of it."""
        self._counters.setdefault(command, [0, 0])[1] += 1

    def succeed(self, command: str) -> None:
        """It was served."""
        self._counters[command][0] += 1

    # --- the end ------------------------------------------------------------------------------------------

    def abort(self, kind: str) -> None:
        """The session breaks: say after what. A client may leave after a message without a word."""
        values: dict[str, Any] = {"stage": self.where, **self.peer}
        if self.mail.content is not None and self.in_content:
            values["byte_count"] = self.mail.content.size + len(self.buffer)
        if self.where != "END-OF-MESSAGE" or kind != "smtpd.lost_connection":
            self.log(kind, **values)
        self.end()

    def end(self) -> None:
        """Close, and sum up (`disconnect from …`)."""
        if self.ended:
            return
        self.ended = True
        self.deadline = None
        self.unread = self.unread and bool(self.buffer)
        if self._held is not None:
            self.out += self._held
            self._held = None
        if self._counted:
            self.counts.disconnect(self.client.address)
        self.log("smtpd.disconnect", **self._summary(), **self.peer)
        self.requests.append(Close())

    def _summary(self) -> dict[str, Any]:
        counters: dict[str, Any] = {}
        names = [name for name in (*_ORDER, "unknown") if name in self._counters]
        for name in names:
            accepted, total = self._counters[name]
            counters[name.lower()] = accepted if accepted == total else [accepted, total]
        accepted = sum(self._counters[name][0] for name in names)
        total = sum(self._counters[name][1] for name in names)
        summary: dict[str, Any] = {"commands": counters, "commands_ok": accepted}
        if accepted != total or not total:
            summary["commands_all"] = total
        return summary
