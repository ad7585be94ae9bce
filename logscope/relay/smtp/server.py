"""The SMTP server: smtpd(8) as a state machine, with its replies and its log lines.

Where a reply or a line is not obvious it is that of Postfix 3.7 (smtpd.c), so that logs of this server and
of a real one can be read, and compared, alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from logscope.relay.escape import escaped
from logscope.relay.machine import Log, StartTls
from logscope.relay.queue.message import Message, Recipient
from logscope.relay.smtp import parameters, sasl
from logscope.relay.smtp.clients import ClientCounts
from logscope.relay.smtp.content import Content
from logscope.relay.smtp.dialogue import Dialogue
from logscope.relay.smtp.rules import Reply
from logscope.relay.smtp.site import Client, Site
from logscope.relay.smtp.transaction import Session, Transaction, message_id
from logscope.relay.smtp.words import Address, address, words

_LAST = frozenset({"HELO", "EHLO", "DATA", "NOOP", "VRFY"})
"""Commands after which a client must wait for the reply (RFC 2920 section 3.1)."""
_BEFORE_TLS = frozenset({"HELO", "EHLO", "STARTTLS", "NOOP", "QUIT"})
_JUNK = frozenset({"HELO", "EHLO", "RSET", "NOOP", "VRFY"})
_NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class Verify:
    """Check a password, then call `verified`."""

    credentials: sasl.Credentials


@dataclass(frozen=True, slots=True)
class Store:
    """Make a message durable, then call `stored` or `not_stored`."""

    message: Message


class Smtpd(Dialogue):
    """One session of the SMTP server.

    Args:
        site: the server.
        client: its client.
        log: takes the lines.
        counts: what is counted for each client address.
        new_queue_id: makes a queue id from the time.
    """

    def __init__(
        self,
        site: Site,
        client: Client,
        log: Log,
        counts: ClientCounts,
        new_queue_id: Callable[[float], str],
    ) -> None:
        super().__init__(site, client, log, counts)
        self._new_queue_id = new_queue_id
        self._command = ""
        self._exchange: sasl.Exchange | None = None

    # --- answers to requests ------------------------------------------------------------------------------

    def tls_started(self, protocol: str, cipher: str, bits: int, total_bits: int, now: float) -> None:
        """TLS is on. What the client said before it counts no more (RFC 3207 section 4.2)."""
        self.succeed("STARTTLS")
        self.session = Session(tls=protocol)
        self.log(
            "smtpd.tls_established",
            tls_level="Anonymous",
            tls_usage="established",
            tls_protocol=protocol,
            tls_cipher=cipher,
            tls_bits_used=bits,
            tls_bits=total_bits,
            **self.peer,
        )
        self.waiting = False
        self.run(now)

    def tls_failed(self, reason: str, _now: float) -> None:
        """The handshake came to nothing; without a reason, TLS itself was violated."""
        values: dict[str, Any] = {"reason": reason} if reason else {"ssl_error": -1}
        self.log("postfix.tls_accept_error", **values, **self.peer)
        self.waiting = False
        self.abort("smtpd.lost_connection")

    def verified(self, credentials: sasl.Credentials, correct: bool, now: float) -> None:
        """The answer to `Verify`."""
        self.waiting = False
        if correct:
            self.session.username = credentials.username
            self.succeed("AUTH")
            self.say("235 2.7.0 Authentication successful", now)
        else:
            self._sasl_failed("", now)
        self.run(now)

    def stored(self, message: Message, now: float) -> None:
        """The message is on disk: only now may the client forget it."""
        self.waiting = False
        self.errors = self.junk = 0
        self.succeed(self._command)
        size = self.mail.content.size if self.mail.content else 0
        in_chunks = f"{size} bytes " if self._command == "BDAT" else ""
        self.mail = Transaction()
        self.say(f"250 2.0.0 Ok: {in_chunks}queued as {message.queue_id}", now)
        self.run(now)

    def not_stored(self, full: bool, now: float) -> None:
        """The message could not be made durable; the client keeps it and comes again."""
        self.waiting = False
        full_text, text = "452 4.3.1 Insufficient system storage", "451 4.3.0 Error: queue file write error"
        self._reject_message(full_text if full else text, now)
        self.run(now)

    # --- lines --------------------------------------------------------------------------------------------

    def on_line(self, line: bytes, now: float) -> None:
        if self._exchange is not None:
            self._step_sasl(line.decode("utf-8", "replace"), now)
            return
        try:
            parts = words(line.decode("utf-8"))
        except UnicodeDecodeError:
            self.fail("500 5.5.2 Error: bad UTF-8 syntax", now)
            return
        if not parts:
            self.fail("500 5.5.2 Error: bad syntax", now)
            return
        self._command = parts[0].upper()
        handler = _HANDLERS.get(self._command)
        if handler is None:
            self._unknown(line, parts[0], now)
        else:
            self._execute(handler, parts, now)

    def _unknown(self, line: bytes, word: str, now: float) -> None:
        self.where = "UNKNOWN"
        self.begin("unknown")
        if word.upper() in ("CONNECT", "GET", "POST") or (word.endswith(":") and len(word) > 1):
            self.log("smtpd.non_smtp_command", client_text=escaped(line, 100), **self.peer)
            self.say("221 2.7.0 Error: I can break rules, too. Goodbye.", now)
            self.end()
        else:
            self.fail("500 5.5.2 Error: command not recognized", now)

    def _execute(self, handler: Handler, parts: list[str], now: float) -> None:
        command = self._command
        self.begin(command)
        if self.site.tls_required and not self.session.tls and command not in _BEFORE_TLS:
            self.fail("530 5.7.0 Must issue a STARTTLS command first", now)
            return
        self.where = command
        self.check_pipelining(must_wait=command in _LAST)
        success = handler(self, parts, now)
        if success:
            self.succeed(command)
        elif success is not None:
            self.errors += 1
        if command in _JUNK:
            self.junk += 1
            self.errors += self.junk > self.site.junk_limit

    # --- greeting, TLS, login -----------------------------------------------------------------------------

    def _hello(self, parts: list[str], now: float) -> bool:
        if len(parts) < 2:
            return self.refuse(f"501 Syntax: {self._command} hostname", now)
        self.mail = Transaction()
        self.session.helo = " ".join(parts[1:])
        if self._command == "HELO":
            self.session.protocol = "SMTP"
            return self.accept(f"250 {self.site.hostname}", now)
        self.session.protocol = "ESMTP"
        keywords = self._keywords()
        lines = [f"250-{line}" for line in (self.site.hostname, *keywords[:-1])]
        return self.accept("\r\n".join([*lines, f"250 {keywords[-1]}"]), now)

    def _keywords(self) -> list[str]:
        keywords = ["PIPELINING", f"SIZE {self.site.rules.message_limit}", "VRFY"]
        if self.site.tls and not self.session.tls:
            keywords.append("STARTTLS")
        if self.site.auth and self.session.tls:
            keywords.append("AUTH " + " ".join(sasl.MECHANISMS))
        return [*keywords, "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"]

    def _starttls(self, parts: list[str], now: float) -> bool | None:
        if len(parts) != 1:
            return self.refuse("501 5.5.4 Syntax: STARTTLS", now)
        if self.session.tls:
            return self.refuse("554 5.5.1 Error: TLS already active", now)
        if not self.site.tls:
            return self.refuse("502 5.5.1 Error: command not implemented", now)
        self.buffer.clear()  # nothing said in the clear may count under TLS (RFC 3207 section 5)
        self.mail = Transaction()
        self.waiting = True
        self.requests.append(StartTls())
        self.say("220 2.0.0 Ready to start TLS", now)
        return None

    def _auth(self, parts: list[str], now: float) -> bool | None:
        problem = self._auth_problem(parts)
        if problem:
            return self.refuse(problem, now)
        if self._over("auth", self.site.limits.auth_rate, "smtpd.auth_rate_limit", now):
            return self.refuse(f"450 4.7.1 Error: too many AUTH commands from {self.client.address}", now)
        self.session.method = parts[1].upper()
        mechanism = sasl.MECHANISMS.get(self.session.method)
        if mechanism is None:
            self._sasl_failed("Invalid authentication mechanism", now)
            return None
        self._exchange = mechanism(parts[2] if len(parts) == 3 else None)
        self._step_sasl(None, now)
        return None

    def _auth_problem(self, parts: list[str]) -> str:
        if self.site.rules.helo_required and not self.session.helo:
            return "503 5.5.1 Error: send HELO/EHLO first"
        if not self.site.auth or not self.session.tls:
            return "503 5.5.1 Error: authentication not enabled"
        if self.mail.sender is not None:
            return "503 5.5.1 Error: MAIL transaction in progress"
        if self.session.username:
            return "503 5.5.1 Error: already authenticated"
        return "" if 2 <= len(parts) <= 3 else "501 5.5.4 Syntax: AUTH mechanism"

    def _step_sasl(self, response: str | None, now: float) -> None:
        assert self._exchange is not None
        try:
            challenge = self._exchange.send(response) if response is not None else next(self._exchange)
        except StopIteration as done:
            self._exchange = None
            self.waiting = True
            self.requests.append(Verify(done.value))
        except sasl.AbortedError:
            self._exchange = None
            self.log("smtpd.sasl_aborted", sasl_method=self.session.method, **self.peer)
            self.fail("501 5.7.0 Authentication aborted", now)
        except sasl.SaslError as error:
            self._sasl_failed(str(error), now)
        else:
            self.say(f"334 {challenge}", now)

    def _sasl_failed(self, reason: str, now: float) -> None:
        self._exchange = None
        values = {"reason": reason} if reason else {}
        self.log("smtpd.sasl_failed", sasl_method=self.session.method, **values, **self.peer)
        self.fail(f"535 5.7.8 Error: authentication failed: {reason}", now)

    def _over(self, event: str, limit: int, kind: str, now: float) -> bool:
        """Whether a client is over a rate; logged when it is."""
        if not limit:
            return False
        observed = self.counts.count(event, self.client.address, now)
        if observed > limit:
            self.log(kind, observed_count=observed, service_name=self.site.service, **self.peer)
        return observed > limit

    # --- the envelope -------------------------------------------------------------------------------------

    def _mail(self, parts: list[str], now: float) -> bool:
        if self.site.rules.helo_required and not self.session.helo:
            return self.refuse("503 5.5.1 Error: send HELO/EHLO first", now)
        if self.mail.sender is not None:
            return self.refuse("503 5.5.1 Error: nested MAIL command", now)
        if len(parts) < 3 or parts[1].upper() != "FROM:":
            return self.refuse("501 5.5.4 Syntax: MAIL FROM:<address>", now)
        if self._over("message", self.site.limits.message_rate, "smtpd.message_rate_limit", now):
            return self.refuse(f"450 4.7.1 Error: too much mail from {self.client.address}", now)
        sender = address(parts[2])
        if sender is None:
            return self.refuse("501 5.1.7 Bad sender address syntax", now)
        try:
            found = parameters.of_mail(parts[3:], self.site.rules.message_limit)
        except parameters.ParameterError as error:
            return self.refuse(str(error), now)
        self.mail = Transaction(sender, found, arrived_at=now)
        return self.accept("250 2.1.0 Ok", now)

    def _rcpt(self, parts: list[str], now: float) -> bool:
        if self.mail.sender is None:
            return self.refuse("503 5.5.1 Error: need MAIL command", now)
        if self.mail.content is not None:
            return self.refuse("503 5.5.1 Error: RCPT after BDAT", now)
        if len(parts) < 3 or parts[1].upper() != "TO:":
            return self.refuse("501 5.5.4 Syntax: RCPT TO:<address>", now)
        if self._over("recipient", self.site.limits.recipient_rate, "smtpd.recipient_rate_limit", now):
            return self.refuse(f"450 4.7.1 Error: too many recipients from {self.client.address}", now)
        recipient = address(parts[2])
        if recipient is None or not recipient.local:
            return self.refuse("501 5.1.3 Bad recipient address syntax", now)
        try:
            found = parameters.of_rcpt(parts[3:])
        except parameters.ParameterError as error:
            return self.refuse(str(error), now)
        if len(self.mail.recipients) >= self.site.rules.recipient_limit:
            self.mail.overshoot += 1
            self.say("452 4.5.3 Error: too many recipients", now)
            return self.mail.overshoot <= self.site.rules.recipient_limit
        recipient = self._completed(recipient)
        refused = self._refuses(self.mail.sender, recipient)
        if refused:
            self._log_refusal("RCPT", refused, recipient)
            return self.refuse(str(refused), now)
        if not self.mail.queue_id:
            self._open_message(now)
        self.mail.recipients.append(Recipient(str(recipient), found.notify, found.original))
        return self.accept("250 2.1.5 Ok", now)

    def _completed(self, recipient: Address) -> Address:
        """An address without a domain is one of our own."""
        domain = recipient.domain or self.site.origin or self.site.hostname
        return Address(recipient.local, domain)

    def _refuses(self, sender: Address, recipient: Address) -> Reply | None:
        logged_in = bool(self.session.username)
        return self.site.rules.refuses(self.session.helo, sender, recipient, logged_in)

    def _log_refusal(self, stage: str, reply: Reply, recipient: Address | None) -> None:
        values: dict[str, Any] = {"sender": str(self.mail.sender or ""), **self._id}
        if recipient is not None:
            values["recipient"] = str(recipient)
        if self.session.helo:
            values["helo"] = self.session.helo
        self.log(
            "smtpd.decision",
            action="reject",
            stage=stage,
            reply_code=reply.code,
            dsn=reply.dsn,
            reply=reply.text,
            protocol=self.session.protocol,
            **values,
            **self.peer,
        )

    @property
    def _id(self) -> dict[str, str]:
        """The queue id as a field, once there is one."""
        return {"queue_id": self.mail.queue_id} if self.mail.queue_id else {}

    def _open_message(self, now: float) -> None:
        """The first recipient is accepted: the message has an id."""
        self.mail.queue_id = self._new_queue_id(now)
        session = self.session
        login = {"sasl_method": session.method, "sasl_username": session.username} if session.username else {}
        self.log("smtpd.client", queue_id=self.mail.queue_id, **login, **self.peer)

    # --- the content --------------------------------------------------------------------------------------

    @property
    def in_content(self) -> bool:
        return self.mail.chunk_left > 0 or (self.mail.content is not None and self._command == "DATA")

    def on_content(self, now: float) -> bool:
        if self.mail.chunk_left:
            self._take_chunk(now)
            return True
        assert self.mail.content is not None
        if not self.mail.content.dotted(self.buffer):
            self._log_message_id(self.mail.content.head)
            return False
        self._end_of_message(now)
        return True

    def _data(self, parts: list[str], now: float) -> bool | None:
        if self.mail.content is not None:
            return self.refuse("503 5.5.1 Error: DATA after BDAT", now)
        if not self.mail.recipients:
            return self.refuse(self._no_recipients(), now)
        if len(parts) != 1:
            return self.refuse("501 5.5.4 Syntax: DATA", now)
        if self.improper and not self.session.username:
            text = "<DATA>: Data command rejected: Improper use of SMTP command pipelining"
            refused = Reply(503, "5.5.0", text)
            self._log_refusal("DATA", refused, self.mail.only_recipient)
            return self.refuse(str(refused), now)
        self.mail.content = Content(self.site.rules.message_limit or _NO_LIMIT)
        self.say("354 End data with <CR><LF>.<CR><LF>", now)
        return None

    def _no_recipients(self) -> str:
        if self.mail.sender is None:
            return "503 5.5.1 Error: need RCPT command"
        return "554 5.5.1 Error: no valid recipients"

    def _bdat(self, parts: list[str], now: float) -> bool | None:
        mail = self.mail
        known = 2 <= len(parts) <= 3 and parts[1].isascii() and parts[1].isdigit() and len(parts[1]) < 16
        if not known or (len(parts) == 3 and parts[2].upper() != "LAST"):
            text = escaped(" ".join(parts).encode(), 100)
            self.log("smtpd.bdat_malformed", client_text=text, **self._id, **self.peer)
            self.say("521 5.5.4 Syntax: BDAT count [LAST]", now)
            self.end()  # what follows would be content, read as commands
            return None
        mail.chunk = mail.chunk_left = int(parts[1])
        mail.last_chunk = len(parts) == 3
        mail.error = mail.error or self._bdat_problem()
        if not mail.error and mail.content is None:
            mail.content = Content(self.site.rules.message_limit or _NO_LIMIT)
        if not mail.chunk:
            self._end_of_chunk(now)
        return None

    def _bdat_problem(self) -> str:
        mail = self.mail
        if not mail.chunk and not mail.last_chunk:
            self.log("smtpd.bdat_malformed", **self._id, **self.peer)
            return "551 5.7.1 Null BDAT request"
        if not mail.recipients:
            return self._no_recipients()
        taken = mail.content.size if mail.content else 0
        if taken + mail.chunk > (self.site.rules.message_limit or _NO_LIMIT):
            self.log("smtpd.bdat_too_large", **self._id, **self.peer)
            return "552 5.3.4 Chunk exceeds message size limit"
        return ""

    def _take_chunk(self, now: float) -> None:
        mail = self.mail
        data = bytes(self.buffer[: mail.chunk_left])
        del self.buffer[: len(data)]
        mail.chunk_left -= len(data)
        if mail.content is not None and not mail.error:
            mail.content.chunk(data)
        if not mail.chunk_left:
            self._end_of_chunk(now)

    def _end_of_chunk(self, now: float) -> None:
        mail = self.mail
        if mail.error:
            self.fail(mail.error, now)
            mail.content = None
            mail.error = f"551 5.0.0 Discarded {mail.chunk} bytes after earlier error"
            if mail.last_chunk:
                self.mail = Transaction()
        elif mail.last_chunk:
            self._end_of_message(now)
        else:
            self.succeed("BDAT")
            self.say(f"250 2.0.0 Ok: {mail.chunk} bytes", now)

    def _end_of_message(self, now: float) -> None:
        mail, rules = self.mail, self.site.rules
        assert mail.content is not None
        self.where = "END-OF-MESSAGE"
        if mail.content.too_large:
            self.log("smtpd.queue_file_limit", queue_id=mail.queue_id)
            self._reject_message("552 5.3.4 Error: message file too big", now)
            return
        body = mail.content.lines(dotted=self._command == "DATA")
        forbidden = rules.forbidden_header(body)
        if forbidden:
            self._log_content_refusal(*forbidden)
            self._reject_message(f"550 5.7.1 {forbidden[1]}", now)
            return
        self._log_message_id(body.partition(b"\r\n\r\n")[0])
        self.waiting = True
        self.requests.append(Store(mail.message(self.site, self.client, self.session, body, now)))

    def _log_message_id(self, head: bytes | None) -> None:
        """Log the Message-ID, once, as soon as the header is complete."""
        if head is not None and not self.mail.id_is_logged:
            self.mail.id_is_logged = True
            self.log("cleanup.message_id", queue_id=self.mail.queue_id, message_id=message_id(head))

    def _reject_message(self, reply: str, now: float) -> None:
        self.mail = Transaction()
        self.fail(reply, now)

    def _log_content_refusal(self, line: str, text: str) -> None:
        self.log(
            "cleanup.content_action",
            queue_id=self.mail.queue_id,
            action="reject",
            content_class="header",
            content_text=line,
            client_name=self.client.name,
            client_address=self.client.address,
            sender=str(self.mail.sender or ""),
            recipient=self.mail.recipients[0].address,
            protocol=self.session.protocol,
            helo=self.session.helo,
            reply=f"5.7.1 {text}",
        )

    # --- the rest -----------------------------------------------------------------------------------------

    def _rset(self, parts: list[str], now: float) -> bool:
        if len(parts) != 1:
            return self.refuse("501 5.5.4 Syntax: RSET", now)
        self.mail = Transaction()
        return self.accept("250 2.0.0 Ok", now)

    def _noop(self, _parts: list[str], now: float) -> bool:
        return self.accept("250 2.0.0 Ok", now)

    def _vrfy(self, parts: list[str], now: float) -> bool:
        wanted = address(parts[1]) if len(parts) > 1 else None
        if wanted is None or not wanted.local:
            return self.refuse("501 5.5.4 Syntax: VRFY address [SMTPUTF8]", now)
        wanted = self._completed(wanted)
        refused = self._refuses(Address("", ""), wanted)
        if refused:
            self._log_refusal("VRFY", refused, wanted)
            return self.refuse(str(refused), now)
        return self.accept(f"252 2.0.0 {parts[1]}", now)

    def _quit(self, _parts: list[str], now: float) -> None:
        self.succeed("QUIT")
        self.say("221 2.0.0 Bye", now)
        self.end()


Handler = Callable[[Smtpd, list[str], float], bool | None]
_HANDLERS: dict[str, Handler] = {
    "HELO": Smtpd._hello,
    "EHLO": Smtpd._hello,
    "STARTTLS": Smtpd._starttls,
    "AUTH": Smtpd._auth,
    "MAIL": Smtpd._mail,
    "RCPT": Smtpd._rcpt,
    "DATA": Smtpd._data,
    "BDAT": Smtpd._bdat,
    "RSET": Smtpd._rset,
    "NOOP": Smtpd._noop,
    "VRFY": Smtpd._vrfy,
    "QUIT": Smtpd._quit,
}
"""A handler says whether its command succeeded; None when that is counted elsewhere."""
