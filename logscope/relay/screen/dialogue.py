"""The SMTP that postscreen itself speaks: it refuses every recipient and makes the deep tests meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from logscope.relay.escape import escaped
from logscope.relay.machine import StartTls
from logscope.relay.screen.settings import ScreenSettings, ScreenTest
from logscope.relay.smtp.words import address

if TYPE_CHECKING:
    from logscope.relay.screen.session import Screen

_FORBIDDEN = frozenset({"CONNECT", "GET", "POST"})
_HEADER = re.compile(r"[!-9;-~]+:")
_PAYLOAD = frozenset({"BDAT"})


class Refusal:
    """The dialogue with a client that is not let through."""

    def __init__(self, settings: ScreenSettings, screen: Screen, greet: bool) -> None:
        self.deadline: float | None = None
        self._settings, self._screen, self._greet = settings, screen, greet
        self._buffer = bytearray()
        self._where = "CONNECT"
        self._helo = ""
        self._protocol = "SMTP"
        self._sender: str | None = None
        self._commands = 0
        self._tls = False
        self._waiting = False

    def start(self, now: float) -> None:
        """Greet the client, unless it has spoken before."""
        if self._greet:
            self._say(f"220 {self._settings.banner}")
        self.deadline = now + self._settings.command_time_limit_s

    def receive(self, data: bytes, now: float) -> None:
        self._buffer += data
        while self._buffer and not (self._screen.ended or self._waiting):
            line = self._line(now)
            if line is None or self._screen.ended:
                break
            self._on_line(line, now)
            # While tlsproxy(8) shakes hands with the client, postscreen waits for no command.
            self.deadline = None if self._waiting else now + self._settings.command_time_limit_s

    def wake(self, now: float) -> None:
        """A whole command did not come in time."""
        self._screen.log("postscreen.command_time_limit", stage=self._where)
        self._screen.finish(f"421 4.4.2 {self._settings.hostname} Error: timeout exceeded", now)

    def tls_started(self, now: float) -> None:
        self._tls, self._waiting = True, False
        self._helo, self._sender = "", None
        self.deadline = now + self._settings.command_time_limit_s
        self.receive(b"", now)  # a quick client's first command may be there already

    def _line(self, now: float) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end > self._settings.line_limit or (end < 0 and len(self._buffer) > self._settings.line_limit):
            self._screen.log("postscreen.command_length_limit", stage=self._where)
            self._go_away(now)
            return None
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if line.endswith(b"\r"):
            return line[:-1]
        if self._screen.wants(ScreenTest.BARE_NEWLINE):
            self._screen.log("postscreen.bare_newline", client_text=escaped(line, 100))
            if not self._screen.fail(ScreenTest.BARE_NEWLINE, now):
                return None
        return line

    def _on_line(self, line: bytes, now: float) -> None:
        text = line.decode("utf-8", "surrogateescape")
        word, _, rest = text.lstrip(" \t").partition(" ")
        command = word.upper()
        before, self._where = self._where, command if command in _HANDLERS else "UNIMPLEMENTED"
        if not self._non_smtp_test(line, word, rest, before, now):
            return
        if not self._pipelining_test(word, now):
            return
        if command == "RCPT":
            self._screen.reached_recipient(now)
        self._commands += 1
        if self._commands > self._settings.command_limit and command != "QUIT":
            self._screen.log("postscreen.command_count_limit", stage=before)
            self._go_away(now)
            return
        handler = _HANDLERS.get(command)
        if handler is None:
            self._say("502 5.5.2 Error: command not recognized")
        else:
            handler(self, rest.strip(" "), now)

    def _non_smtp_test(self, line: bytes, word: str, rest: str, before: str, now: float) -> bool:
        if not self._screen.wants(ScreenTest.NON_SMTP) or word.upper() in _HANDLERS:
            return True
        is_text = line.isascii() or _is_utf8(line)
        if word.upper() not in _FORBIDDEN and not _HEADER.fullmatch(word) and is_text:
            return True
        shown = "".join(character if character.isprintable() else "?" for character in word)
        text = f"{shown} {escaped(rest.encode('utf-8', 'surrogateescape'), 100)}"
        self._screen.log("postscreen.non_smtp_command", stage=before, client_text=text)
        return self._screen.fail(ScreenTest.NON_SMTP, now)

    def _pipelining_test(self, word: str, now: float) -> bool:
        if not self._buffer or word.upper() in _PAYLOAD or not self._screen.wants(ScreenTest.PIPELINING):
            return True
        shown = "".join(character if character.isprintable() else "?" for character in word[:100])
        values = {"client_command": shown} if shown else {}
        text = escaped(bytes(self._buffer), 100)
        self._screen.log("postscreen.command_pipelining", client_text=text, **values)
        return self._screen.fail(ScreenTest.PIPELINING, now)

    def _say(self, reply: str) -> None:
        self._screen.out += (reply + "\r\n").encode("utf-8", "surrogateescape")

    def _go_away(self, now: float) -> None:
        self._screen.finish(f"421 {self._settings.hostname} Service unavailable - try again later", now)

    # --- commands -----------------------------------------------------------------------------------------

    def _hello(self, rest: str, _now: float) -> None:
        if not rest:
            self._say(f"501 Syntax: {self._where} hostname")
            return
        self._helo, self._sender = rest.split(" ")[0], None
        if self._where == "HELO":
            self._say(f"250 {self._settings.hostname}")
            return
        self._protocol = "ESMTP"
        keywords = [f"SIZE {self._settings.message_limit}", "VRFY", "ETRN"]
        if self._settings.tls and not self._tls:
            keywords.append("STARTTLS")
        keywords += ["ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8"]
        lines = [f"250-{line}" for line in (self._settings.hostname, *keywords)]
        self._say("\r\n".join([*lines, "250 CHUNKING"]))

    def _starttls(self, rest: str, _now: float) -> None:
        if rest:
            self._say("501 Syntax: EHLO hostname")
        elif self._tls:
            self._say("554 5.5.1 Error: TLS already active")
        elif not self._settings.tls:
            self._say("502 5.5.1 Error: command not implemented")
        else:
            self._screen.log("tlsproxy.connect")
            self._buffer.clear()
            self._waiting = True
            self._say("220 2.0.0 Ready to start TLS")
            self._screen.requests.append(StartTls())

    def _mail(self, rest: str, _now: float) -> None:
        if self._sender is not None:
            self._say("503 5.5.1 Error: nested MAIL command")
        elif ":" not in rest:
            self._say("501 5.5.4 Syntax: MAIL FROM:<address>")
        else:
            self._sender = _shown(rest)
            self._say("250 2.1.0 Ok")

    def _rcpt(self, rest: str, _now: float) -> None:
        if self._sender is None:
            self._say("503 5.5.1 Error: need MAIL command")
        elif ":" not in rest:
            self._say("501 5.5.4 Syntax: RCPT TO:<address>")
        else:
            code, dsn, text = self._screen.reply.split(" ", 2)
            self._screen.log(
                "postscreen.reject",
                action="reject",
                stage="RCPT",
                reply_code=int(code),
                dsn=dsn,
                reply=text,
                sender=self._sender,
                recipient=_shown(rest),
                protocol=self._protocol,
                helo=self._helo,
            )
            self._say(self._screen.reply)

    def _data(self, rest: str, now: float) -> None:
        self._screen.log("postscreen.no_valid_recipient", stage=self._where)
        if self._where == "DATA" and rest:
            reply = "501 5.5.4 Syntax: DATA"
        elif self._where == "BDAT" and not rest:
            reply = "501 5.5.4 Syntax: BDAT count [LAST]"
        elif self._sender is None:
            wanted = "need RCPT command" if self._where == "DATA" else "need MAIL command"
            reply = f"{503 if self._where == 'DATA' else 554} 5.5.1 Error: {wanted}"
        else:
            reply = "554 5.5.1 Error: no valid recipients"
        self._screen.finish(reply, now)

    def _rset(self, _rest: str, _now: float) -> None:
        self._sender = None
        self._say("250 2.0.0 Ok")

    def _noop(self, _rest: str, _now: float) -> None:
        self._say("250 2.0.0 Ok")

    def _vrfy(self, rest: str, _now: float) -> None:
        self._say(self._screen.reply if rest else "501 5.5.4 Syntax: VRFY address")

    def _etrn(self, rest: str, _now: float) -> None:
        self._say("458 Unable to queue messages" if rest else "500 Syntax: ETRN domain")

    def _quit(self, _rest: str, now: float) -> None:
        self._screen.finish("221 2.0.0 Bye", now)


_HANDLERS: dict[str, Callable[[Refusal, str, float], None]] = {
    "HELO": Refusal._hello,
    "EHLO": Refusal._hello,
    "STARTTLS": Refusal._starttls,
    "MAIL": Refusal._mail,
    "RCPT": Refusal._rcpt,
    "DATA": Refusal._data,
    "BDAT": Refusal._data,
    "RSET": Refusal._rset,
    "NOOP": Refusal._noop,
    "VRFY": Refusal._vrfy,
    "ETRN": Refusal._etrn,
    "QUIT": Refusal._quit,
}


def _shown(argument: str) -> str:
    """The address of `FROM:<…>`; what is none is logged as it stands."""
    path = argument.partition(":")[2].strip(" ")
    closing = path.find(">")
    found = address(path[: closing + 1] if path.startswith("<") and closing > 0 else path.split(" ")[0])
    return str(found) if found is not None else path.strip("<>")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
