"""The systemd journal: `journalctl -f -o json` as a child, whose records are read as they come.

Each record has a cursor. What has been read is known by that of the last one, so a run that goes on, or a
child that is started again, begins behind it, and nothing is lost or comes twice. Only whole records are
handed out.

`journal:` is all of it; behind the colon may stand, with commas between, units (`journal:haproxy,postfix@-`),
matches (`journal:SYSLOG_FACILITY=2`) and a directory of journals (`journal:/var/log/journal/remote`); see
journalctl(1).
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import time
from contextlib import suppress

from logscope.errors import InputError, UsageError
from logscope.sources.buffers import PADDING, Buffer

PREFIX = "journal:"
FIELDS = (
    "MESSAGE", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "_PID", "_HOSTNAME", "_SOURCE_REALTIME_TIMESTAMP",
)  # fmt: skip
"""Asked for besides those that each record has: other fields may be very large, such as COREDUMP."""
LONGEST = 1 << 18
"""Bytes of a record; longer ones are left out and counted."""
_BLOCK = 1 << 16
_DELAYS_S = (0.5, 1.0, 5.0, 30.0)
"""Before a child that has ended is started again; the last one holds on."""
_LIVED_S = 10.0
"""A child that lived for so long was in order, and the next is started soon."""


def arguments_of(name: str) -> list[str]:
    """What journalctl is asked for.

    >>> arguments_of("journal:haproxy,SYSLOG_FACILITY=2")
    ['--unit=haproxy', 'SYSLOG_FACILITY=2']

    Raises:
        UsageError: an option, which is not for users to choose.
    """
    found = []
    for word in filter(None, name.removeprefix(PREFIX).split(",")):
        if word.startswith("-"):
            raise UsageError(
                f"{name}: {word} is an option of journalctl",
                hint="Write journal:UNIT or journal:FIELD=VALUE.",
            )
        is_match = "=" in word or word == "+"
        found.append(
            word if is_match else f"--directory={word}" if word.startswith("/") else f"--unit={word}"
        )
    return found


class Journal:
    """Records of the journal; an input of `live.Live`.

    Args:
        name: `journal:` and what is wanted of it.
        follow: wait for more; else it ends where the journal does.
        from_start: begin with the oldest record, not with those to come.
        cursor: begin behind this one, whatever else is said.

    Attributes:
        cursor: of the record handed out last; None before the first.
        notes: what the user should know, to be taken out by whoever tells.
        left_out: records that were too long.

    Raises:
        InputError: there is no journalctl.
    """

    compression: str | None = None
    size: int | None = None
    modified_at: int | None = None
    head = b""
    lines_before: int | None = None

    def __init__(
        self, name: str, *, follow: bool = True, from_start: bool = False, cursor: str | None = None
    ) -> None:
        self.name = name
        self.follows = True
        self.position = 0
        self.problem: InputError | None = None
        self.notes: list[str] = []
        self.cursor = cursor
        self.left_out = 0
        self._arguments = arguments_of(name)
        self._follow = follow
        self._from_start = from_start or not follow
        self._begun_behind = cursor
        self._since = 0 if self._from_start else int(time.time())
        self._program = shutil.which("journalctl")
        if self._program is None:
            raise InputError(
                f"{name}: journalctl is not installed", hint="Follow the files that the log daemon writes."
            )
        self._rest = b""
        self._skipping = False
        self._tries = 0
        self._again_at: int | None = None  # when the child is started again
        self._stopped = False
        self._started_at = 0.0
        self._child = self._started()

    # --- reading --------------------------------------------------------------------------------------------

    @property
    def descriptor(self) -> int:
        """Where records come."""
        assert self._child.stdout is not None
        return self._child.stdout.fileno()

    @property
    def waits_for(self) -> int | None:
        """The descriptor by which new records are noticed; None while there is no child."""
        return self.descriptor if self.follows and self._again_at is None else None

    def ready(self) -> bool:
        """Whether there is something to read, if it is only the end."""
        if not self.follows or self._again_at is not None:
            return b"\n" in self._rest
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return b"\n" in self._rest or bool(poll.poll(0))

    def read_into(self, buffer: Buffer, at: int) -> int:
        """Read whole records; 0 when none has arrived."""
        room = min(len(buffer) - PADDING - at, LONGEST)
        if self._again_at is None and len(self._rest) < room:
            self._fetch()
        end = self._rest.rfind(b"\n", 0, room) + 1
        if end == 0:
            self._drop_long(room)
            return 0
        data, self._rest = self._rest[:end], self._rest[end:]
        self.cursor = _cursor_of(data) or self.cursor
        buffer[at : at + end] = memoryview(data)
        self.position += end
        return end

    def _fetch(self) -> None:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        if not self.follows or not poll.poll(0):
            return
        data = os.read(self.descriptor, _BLOCK)
        if self._skipping:
            _, found, data = data.partition(b"\n")
            self._skipping = not found
        self._rest += data
        if not data and not self._skipping:
            self._ended()

    def _drop_long(self, room: int) -> None:
        """A record that nobody has room for."""
        if len(self._rest) < room:
            return
        self.left_out += 1
        self.notes.append(f"{self.name}: a record of more than {room} bytes was left out")
        _, found, self._rest = self._rest.partition(b"\n")
        self._skipping = not found

    # --- the child ------------------------------------------------------------------------------------------

    def _started(self) -> subprocess.Popen[bytes]:
        assert self._program is not None
        command = [
            self._program, "--quiet", "--no-pager", "--output=json", "--all",
            f"--output-fields={','.join(FIELDS)}", *self._where(), *self._arguments,
        ]  # fmt: skip
        self._started_at, self._begun_behind = time.monotonic(), self.cursor
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            start_new_session=True,  # Ctrl-C is for the parent
        )  # fmt: skip
        assert child.stderr is not None
        os.set_blocking(child.stderr.fileno(), False)
        return child

    def _where(self) -> list[str]:
        """Where it begins. In follow mode journalctl shows the last ten records, unless told otherwise."""
        follow = ["--follow"] if self._follow else []
        if self.cursor is not None:
            return [*follow, f"--after-cursor={self.cursor}", *(["--no-tail"] if self._follow else [])]
        if self._from_start and not self._tries:
            return [*follow, *(["--no-tail"] if self._follow else [])]
        if self._tries:  # nothing was read before the child ended
            return [*follow, *(["--no-tail"] if self._follow else []), f"--since=@{self._since}"]
        return [*follow, "--lines=0"]

    def _ended(self) -> None:
        """The child has ended: as it should, or it is started again in a while."""
        self._rest = b""  # of records that were being written; they come again
        code = self._child.wait()
        reason = self._said() or f"exit code {code}"
        if not self._follow:
            self.follows = False
            self.problem = InputError(f"{self.name}: journalctl ended: {reason}") if code else None
            return
        self._tries = 0 if time.monotonic() - self._started_at > _LIVED_S else self._tries
        delay = _DELAYS_S[min(self._tries, len(_DELAYS_S) - 1)]
        self._tries += 1
        self._again_at = time.monotonic_ns() + int(delay * 1e9)
        self.notes.append(f"{self.name}: journalctl ended ({reason}), and is started again")
        if code and self.cursor is not None and self.cursor == self._begun_behind and self._tries > 1:
            self._go_by_time(self.cursor)

    def _go_by_time(self, cursor: str) -> None:
        """The journal does not know the cursor any more: begin at its second (`t=`, microseconds)."""
        time_part = re.search(r"(?:^|;)t=([0-9a-f]{1,16})(?:;|$)", cursor)
        self._since = int(time_part[1], 16) // 1_000_000 if time_part else self._since
        self.cursor = None
        self.notes.append(
            f"{self.name}: does not know where the last run was: some records may be lost or come twice"
        )

    def _said(self) -> str:
        """The last line of what it complained of."""
        assert self._child.stderr is not None
        with suppress(OSError):
            lines = (
                (os.read(self._child.stderr.fileno(), _BLOCK) or b"").decode("utf-8", "replace").split("\n")
            )
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""

    def look(self, now: int) -> None:
        """Start a child again that has ended; `now` as `time.monotonic_ns` has it."""
        if self._again_at is not None and now >= self._again_at and self.follows:
            self._close_pipes()
            self._again_at = None
            self._child = self._started()

    def stop(self) -> None:
        """Nothing more is waited for. One that does not follow is read to its end first."""
        if self._follow or self._stopped:
            self.follows = False
        self._stopped = True

    def close(self) -> None:
        """End the child."""
        self._child.terminate()
        try:
            self._child.wait(2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()


def _cursor_of(data: bytes) -> str | None:
    """The cursor of the last record that has one."""
    for line in reversed(data.splitlines()):
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("__CURSOR"), str):
                return str(record["__CURSOR"])
    return None
