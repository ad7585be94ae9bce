"""Writes log lines: rendered by the grammars, an envelope in front."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.render import LineWriter
from logscope.grammar.times import SECOND, write_time
from logscope.relay.balance.formats import SessionFormat
from logscope.relay.rim.clock import Clock
from logscope.relay.rim.sinks import Target
from logscope.relay.settings import LogSettings
from logscope.syslog.priority import LOCAL0, MAIL
from logscope.syslog.priority import priority as priority_of

_PRINTABLE = bytes(63 if byte < 32 or byte == 127 else byte for byte in range(256))
"""What Postfix does to the text of its lines: control characters become question marks."""

Text: TypeAlias = Callable[[Mapping[str, Any]], bytes]
"""Writes the text of a line of its values."""
Voice: TypeAlias = Callable[[str, Text, Mapping[str, Any]], int]
"""Takes the kind of a line and what it is written with and of, gives its number in the log."""


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
        hosts: Collection[str] = (),
    ) -> None:
        self.clock = clock
        self._lines = LineWriter(catalogue)
        self._settings = settings
        self._zone = ZoneInfo(settings.zone)
        self._is_bsd = settings.form == "bsd"
        self._takes_many = "{host}" not in settings.mail and len(hosts) > 1
        own = map(self._mail, hosts) if "{host}" in settings.mail else [settings.mail]
        targets = dict.fromkeys((settings.balancer, *own))
        self._targets = {name: Target(name, directory) for name in targets}
        self._texts: dict[str, Text] = {}
        self._formats: dict[str, Text] = {}
        self._severity = {template.kind: template.severity for template in catalogue.templates}
        self._second = -1
        self._stamp = b""

    def text(self, kind: str) -> Text:
        """Writes the text of a kind of line of the grammars."""
        found = self._texts.get(kind)
        if found is None:
            found = self._texts[kind] = _printable(self._lines.of_kind(kind).write)
        return found

    def formatted(self, log_format: str) -> Text:
        """Writes the text of a session in a `log-format` of HAProxy's."""
        found = self._formats.get(log_format)
        if found is None:
            found = self._formats[log_format] = _printable(SessionFormat(log_format).write)
        return found

    def balancer(self, host: str, pid: int) -> Voice:
        """A log for a balancer."""
        return self._voice(self._settings.balancer, LOCAL0, host, "haproxy", pid)

    def daemon(self, host: str, service: str, pid: int) -> Voice:
        """A log for a daemon of a mail server."""
        return self._voice(self._mail(host), MAIL, host, service, pid)

    def _mail(self, host: str) -> str:
        """Where a mail server's lines go."""
        return self._settings.mail.replace("{host}", host)

    def date(self, moment: float) -> str:
        """A moment as ISO 8601 in milliseconds, in the zone of the logs, for `%t`."""
        return _in_milliseconds(moment, self._zone)

    def utc_date(self, moment: float) -> str:
        """A moment as ISO 8601 in milliseconds, UTC, for `%T` and `%Ts`."""
        return _in_milliseconds(moment, UTC)

    def _voice(self, name: str, facility: int, host: str, service: str, pid: int) -> Voice:
        """Puts a process's envelope in front of a text, and both into a log."""
        target = self._targets[name]
        # A local socket belongs to one host, so nobody names it there, unless servers share one here.
        is_shared = self._takes_many and name == self._settings.mail
        host = "" if name.startswith("unix:") and not is_shared else host
        has_priority = target.is_syslog or self._settings.form == "rfc5424"
        frames: dict[str, tuple[bytes, bytes]] = {}
        put, stamped = target.put, self._stamped
        if not has_priority:
            head, tail = self._frame(None, host, service, pid)
            return lambda _kind, text, values: put((head + stamped() + tail, text, values))

        def say(kind: str, text: Text, values: Mapping[str, Any]) -> int:
            severity = self._severity.get(kind, "info")
            frame = frames.get(severity)
            if frame is None:
                priority = priority_of(facility, severity)
                frame = frames[severity] = self._frame(priority, host, service, pid)
            return put((frame[0] + stamped() + frame[1], text, values))

        return say

    def _stamped(self) -> bytes:
        """The stamp of now, in the form of the envelope."""
        if self._is_bsd:
            second = int(self.clock.now())
            if second != self._second:
                self._second = second
                local = datetime.fromtimestamp(second, self._zone).replace(tzinfo=UTC, year=2000)
                self._stamp = write_time("bsd", int(local.timestamp()) * SECOND)
            return self._stamp
        second, fraction = divmod(round(self.clock.now() * 1_000_000), 1_000_000)
        if second != self._second:
            self._second = second
            local = datetime.fromtimestamp(second, self._zone)
            self._stamp = local.isoformat().encode()
        return self._stamp[:19] + b".%06d" % fraction + self._stamp[19:]

    def _frame(self, priority: int | None, host: str, service: str, pid: int) -> tuple[bytes, bytes]:
        """What stands before and behind the stamp, out of the envelope's grammar."""
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
        return head, tail

    # --- writing ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was gathered."""
        for target in self._targets.values():
            target.flush()

    def reopen(self) -> None:
        """Go on in new files, after a rotation."""
        for target in self._targets.values():
            target.reopen()

    def close(self) -> None:
        """Write the rest and close."""
        for target in self._targets.values():
            target.close()


class Daemons:
    """The daemons of one mail server, by name, as they log. Their numbers stand where Postfix has process
    ids."""

    FIRST = 2400

    def __init__(self, journal: Journal, host: str) -> None:
        self._journal, self.host = journal, host
        self._next = self.FIRST
        self._idle: dict[str, list[int]] = {}
        self._alone: dict[str, int] = {}
        self._voices: dict[tuple[str, int], Voice] = {}
        self._bound: dict[tuple[str, int, str], Callable[..., int]] = {}

    def hire(self, program: str) -> int:
        """A worker for one session: an idle one, as a process serves many clients, or a new one."""
        idle = self._idle.setdefault(program, [])
        if idle:
            return heapq.heappop(idle)
        self._next += 1
        return self._next

    def dismiss(self, program: str, pid: int) -> None:
        """The worker is free again."""
        heapq.heappush(self._idle[program], pid)

    def bound(self, program: str, pid: int, syslog_name: str = "postfix") -> Callable[..., int]:
        """A log for one worker. Lines of other programs go under the number of theirs."""
        found = self._bound.get((program, pid, syslog_name))
        if found is None:
            found = self._bound[program, pid, syslog_name] = self._bind(program, pid, syslog_name)
        return found

    def _bind(self, program: str, pid: int, syslog_name: str) -> Callable[..., int]:
        own = self._voice(f"{syslog_name}/{program}", pid)
        says: dict[str, Callable[[Mapping[str, Any]], int]] = {}

        def log(kind: str, **values: Any) -> int:
            say = says.get(kind)
            if say is None:
                owner = kind.partition(".")[0]
                is_own = owner in (program, "postfix")
                voice = own if is_own else self._voice(f"postfix/{owner}", self.alone(owner))
                say = says[kind] = partial(voice, kind, self._journal.text(kind))
            return say(values)

        return log

    def _voice(self, service: str, pid: int) -> Voice:
        found = self._voices.get((service, pid))
        if found is None:
            found = self._voices[service, pid] = self._journal.daemon(self.host, service, pid)
        return found

    def alone(self, program: str) -> int:
        """The number of a daemon that runs once."""
        pid = self._alone.get(program)
        if pid is None:
            self._next += 1
            pid = self._alone[program] = self._next
        return pid


def _printable(write: Text) -> Text:
    return lambda values: write(values).translate(_PRINTABLE)


def _in_milliseconds(moment: float, zone: tzinfo) -> str:
    second, millisecond = divmod(int(moment * 1000), 1000)
    return f"{_local(second, zone)}.{millisecond:03}"


@lru_cache(maxsize=64)
def _local(second: int, zone: tzinfo) -> str:
    """A second as ISO 8601 without its zone: sessions come many in a second."""
    return datetime.fromtimestamp(second, zone).replace(tzinfo=None).isoformat()


def _nanoseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND
