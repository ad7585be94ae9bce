"""Writes log lines: rendered by the grammars, an envelope in front, out to files and sockets.

Lines are gathered and written together a moment later. A log that cannot be written (a full disk, a log
host that is down) never stops mail: its lines are counted, the loss is reported once on standard error, and
writing is tried again with the next lines.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from logscope.errors import OutputError
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.render import LineWriter
from logscope.grammar.times import SECOND, write_time
from logscope.relay.balance.formats import SessionFormat
from logscope.relay.rim.clock import Clock
from logscope.relay.settings import LogSettings
from logscope.syslog.priority import LOCAL0, MAIL
from logscope.syslog.priority import priority as priority_of

GATHER_S = 0.02
_PRINTABLE = bytes(63 if byte < 32 or byte == 127 else byte for byte in range(256))
"""What Postfix does to the text of its lines: control characters become question marks."""


class Sink(Protocol):
    """Where lines go.

    Attributes:
        lines_before: that were there already.
    """

    lines_before: int

    def write(self, lines: list[bytes]) -> None:
        """Write lines, without their line feeds. OSError when that fails."""

    def close(self) -> None: ...


class FileSink:
    """Appends to a file, or to standard output."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.lines_before = _lines(path) if path is not None and path.is_file() else 0
        self._descriptor = sys.stdout.fileno() if path is None else self._open(path)

    @staticmethod
    def _open(path: Path) -> int:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror}", hint="Choose another place under [log].") from None

    def write(self, lines: list[bytes]) -> None:
        data = b"\n".join(lines) + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]

    def reopen(self) -> None:
        """Go on in a new file after the old one was renamed."""
        if self._path is not None:
            os.close(self._descriptor)
            self._descriptor = self._open(self._path)

    def close(self) -> None:
        if self._path is not None:
            os.close(self._descriptor)


class SocketSink:
    """Sends lines as syslog: a datagram each, or a stream with line feeds (RFC 6587 section 3.4.2)."""

    lines_before = 0

    def __init__(self, target: str) -> None:
        self._target = target
        self._socket: socket.socket | None = None

    def _connect(self) -> socket.socket:
        scheme, _, rest = self._target.partition(":")
        if scheme == "unix":
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                found = socket.socket(socket.AF_UNIX, kind)
                try:
                    found.connect(rest)
                    return found
                except OSError:
                    found.close()
                    if kind is socket.SOCK_STREAM:
                        raise
        host, _, port = rest.rpartition(":")
        kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
        address = host.strip("[]"), int(port)
        found = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind)
        found.settimeout(1.0)
        found.connect(address)
        return found

    def write(self, lines: list[bytes]) -> None:
        try:
            if self._socket is None:
                self._socket = self._connect()
            if self._socket.type is socket.SOCK_STREAM:
                self._socket.sendall(b"\n".join(lines) + b"\n")
            else:
                for line in lines:
                    self._socket.send(line)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Journal:
    """All logs of a relay.

    Args:
        catalogue: the grammars.
        settings: targets and form.
        directory: of relative file names.
        clock: the time of the lines.
        hosts: the mail servers, whose names may stand in their target.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        settings: LogSettings,
        directory: Path,
        clock: Clock,
        hosts: Iterable[str] = (),
    ) -> None:
        self.clock = clock
        self._lines = LineWriter(catalogue)
        self._settings = settings
        self._zone = ZoneInfo(settings.zone)
        own = map(self._mail, hosts) if "{host}" in settings.mail else [settings.mail]
        targets = dict.fromkeys((settings.balancer, *own))
        self._sinks: dict[str, Sink] = {target: _sink(target, directory) for target in targets}
        self._gathered: dict[str, list[bytes]] = {target: [] for target in self._sinks}
        self._numbers = {target: sink.lines_before for target, sink in self._sinks.items()}
        self._flush_due = False
        self._lost: dict[str, int] = dict.fromkeys(self._sinks, 0)
        self._formats: dict[str, SessionFormat] = {}
        self._severity = {template.kind: template.severity for template in catalogue.templates}
        self._second = -1
        self._stamp = b""
        self._frames: dict[tuple[Any, ...], tuple[bytes, bytes]] = {}

    def message(self, kind: str, values: Mapping[str, Any]) -> bytes:
        """The text of a line of the grammars."""
        return self._lines.write(kind, values).translate(_PRINTABLE)

    def formatted(self, log_format: str, values: Mapping[str, Any]) -> bytes:
        """The text of a session in a `log-format` of HAProxy's."""
        found = self._formats.get(log_format)
        if found is None:
            found = self._formats[log_format] = SessionFormat(log_format)
        return found.write(values).translate(_PRINTABLE)

    def balancer_line(self, host: str, pid: int, text: bytes, kind: str) -> int:
        """Log a line of a balancer. Returns its number in the log."""
        return self._put(self._settings.balancer, LOCAL0, kind, host, "haproxy", pid, text)

    def mail_line(self, host: str, service: str, pid: int, kind: str, values: Mapping[str, Any]) -> int:
        """Log a line of a mail server. Returns its number in the log."""
        return self._put(self._mail(host), MAIL, kind, host, service, pid, self.message(kind, values))

    def _mail(self, host: str) -> str:
        """Where a mail server's lines go."""
        return self._settings.mail.replace("{host}", host)

    def date(self, moment: float) -> str:
        """A moment as ISO 8601 in milliseconds, in the zone of the logs, for `%t`."""
        local = datetime.fromtimestamp(int(moment * 1000) / 1000, self._zone)
        return local.replace(tzinfo=None).isoformat(timespec="milliseconds")

    def utc_date(self, moment: float) -> str:
        """A moment as ISO 8601 in milliseconds, UTC, for `%T` and `%Ts`."""
        utc = datetime.fromtimestamp(int(moment * 1000) / 1000, UTC)
        return utc.replace(tzinfo=None).isoformat(timespec="milliseconds")

    def _put(
        self, target: str, facility: int, kind: str, host: str, service: str, pid: int, text: bytes
    ) -> int:
        severity = self._severity.get(kind, "info")
        is_file = target == "-" or not target.startswith(("udp:", "tcp:", "unix:"))
        priority = None if is_file and self._settings.form != "rfc5424" else priority_of(facility, severity)
        # A local socket belongs to one host, so nobody names it there.
        head, tail = self._frame(priority, "" if target.startswith("unix:") else host, service, pid)
        self._gathered[target].append(head + self._stamped() + tail + text)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_later(GATHER_S, self.flush)
        self._numbers[target] += 1
        return self._numbers[target]

    def _stamped(self) -> bytes:
        """The stamp of now, in the form of the envelope."""
        second, fraction = divmod(round(self.clock.now() * 1_000_000), 1_000_000)
        if self._settings.form == "bsd":
            if second != self._second:
                self._second = second
                local = datetime.fromtimestamp(second, self._zone).replace(tzinfo=UTC, year=2000)
                self._stamp = write_time("bsd", int(local.timestamp()) * SECOND)
            return self._stamp
        if second != self._second:
            self._second = second
            local = datetime.fromtimestamp(second, self._zone)
            self._stamp = local.isoformat().encode()
        return self._stamp[:19] + b".%06d" % fraction + self._stamp[19:]

    def _frame(self, priority: int | None, host: str, service: str, pid: int) -> tuple[bytes, bytes]:
        """What stands before and behind the stamp, out of the envelope's grammar."""
        key = priority, host, service, pid
        found = self._frames.get(key)
        if found is None:
            values: dict[str, Any] = {"service": service, "pid": pid, "message": ""}
            if host:
                values["host"] = host
            if priority is not None:
                values["priority"] = priority
            form = self._settings.form
            sample = "2000-01-02T03:04:05"
            if form == "rfc5424":
                values["syslog_msgid"] = "-"
            stamp = write_time("bsd" if form == "bsd" else "rfc3339", _nanoseconds(sample))
            line = self._lines.write(f"envelope.{form}", values | {"stamp": sample})
            head, _, tail = line.partition(stamp)
            found = self._frames[key] = head, tail
        return found

    # --- writing ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was gathered."""
        self._flush_due = False
        for target, lines in self._gathered.items():
            if not lines:
                continue
            self._gathered[target] = []
            try:
                self._sinks[target].write(lines)
            except OSError as error:
                self._report(target, len(lines), error)
            else:
                self._lost[target] = 0

    def _report(self, target: str, lines: int, error: OSError) -> None:
        if not self._lost[target]:
            print(
                f"logscope: {target}: lines are lost: {error.strerror or error}", file=sys.stderr, flush=True
            )
        self._lost[target] += lines

    def reopen(self) -> None:
        """Go on in new files, after a rotation."""
        self.flush()
        for sink in self._sinks.values():
            if isinstance(sink, FileSink):
                sink.reopen()

    def close(self) -> None:
        """Write the rest and close."""
        self.flush()
        for sink in self._sinks.values():
            sink.close()


class Daemons:
    """The daemons of one mail server, by name, as they log. Their numbers stand where Postfix has process
    ids."""

    FIRST = 2400

    def __init__(self, journal: Journal, host: str) -> None:
        self._journal, self.host = journal, host
        self._next = self.FIRST
        self._idle: dict[str, list[int]] = {}
        self._alone: dict[str, int] = {}

    def hire(self, program: str) -> int:
        """A worker for one session: an idle one, as a process serves many clients, or a new one."""
        idle = self._idle.setdefault(program, [])
        if idle:
            idle.sort(reverse=True)
            return idle.pop()
        self._next += 1
        return self._next

    def dismiss(self, program: str, pid: int) -> None:
        """The worker is free again."""
        self._idle[program].append(pid)

    def bound(self, program: str, pid: int, syslog_name: str = "postfix") -> Callable[..., int]:
        """A log for one worker. Lines of other programs go under the number of theirs."""
        own = f"{syslog_name}/{program}"
        line = self._journal.mail_line

        def log(kind: str, **values: Any) -> int:
            owner = kind.partition(".")[0]
            if owner in (program, "postfix"):
                return line(self.host, own, pid, kind, values)
            return line(self.host, f"postfix/{owner}", self.alone(owner), kind, values)

        return log

    def alone(self, program: str) -> int:
        """The number of a daemon that runs once."""
        pid = self._alone.get(program)
        if pid is None:
            self._next += 1
            pid = self._alone[program] = self._next
        return pid


def _sink(target: str, directory: Path) -> Sink:
    if target == "-":
        return FileSink(None)
    if target.startswith(("udp:", "tcp:", "unix:")):
        return SocketSink(target)
    return FileSink(directory / target)


def _lines(path: Path) -> int:
    """How many lines a file has."""
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))


def _nanoseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND
