"""`logscope tail --top` on a terminal: keys, sizes, and what is left behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from logscope.cli.main import main

SAMPLE = Path(__file__).parents[2] / "samples" / "proxy-v1"
DEADLINE_S = 60.0


class Screen:
    """A run on a terminal of its own, and what the terminal shows."""

    def __init__(self, *arguments: str, columns: int = 100, rows: int = 30) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-m", "logscope", "tail", "--top", *arguments])
        self.output = ""
        self.lines: dict[int, str] = {}
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def wait_for(self, words: str) -> str:
        """Look at the screen until it shows something."""
        until = time.monotonic() + DEADLINE_S
        while words not in (shown := "\n".join(self.lines[row] for row in sorted(self.lines))):
            assert time.monotonic() < until, (
                f"{words!r} is not on the screen:\n{shown}\n{self.output[-2000:]}"
            )
            self._read()
        return shown

    def _read(self) -> bool:
        if not select.select([self.descriptor], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.descriptor, 1 << 16).decode("utf-8", "replace")
        except OSError:
            return False
        self.output += data
        if "\x1b[2J" in data:
            self.lines = {}
        for row, line in re.findall(r"\x1b\[(\d+);1H(.*?)(?=\x1b\[\d+;1H|\x1b\[\?)", data, re.DOTALL):
            self.lines[int(row)] = re.sub(r"\x1b\[\d*m", "", line)
        return bool(data)

    def ended(self) -> int:
        """The exit code."""
        until = time.monotonic() + DEADLINE_S
        while self._read() and time.monotonic() < until:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def screen() -> Iterator[Screen]:
    logs = [str(SAMPLE / name) for name in ("haproxy.log", "mail.log")]
    one = Screen("--from-start", "--tz", "UTC", *logs)
    yield one
    os.close(one.descriptor)
    try:
        os.kill(one.pid, signal.SIGKILL)
        os.waitpid(one.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def test_keys(screen: Screen) -> None:
    """From the overview to the lines of one session and back; a filter; the end."""
    screen.wait_for("Client, by sessions")
    shown = screen.wait_for("120 sessions")
    client = next(line for line in shown.splitlines() if "▸" in line).split("▸ ")[1].split()[0]
    screen.press("\r")
    screen.wait_for(f"{client}  ")
    screen.wait_for("of the latest sessions")
    screen.press("\r")
    assert "postfix/" in screen.wait_for("exact")
    screen.press("\x1b")
    screen.wait_for("of the latest sessions")
    screen.press("\x1b")
    screen.wait_for("Client, by sessions")
    screen.press("s")
    screen.wait_for("Client, by refused")
    screen.press("/")
    for key in "outcome = rejectd":
        screen.press(key)
        screen._read()
    screen.press("\r")
    screen.wait_for("Did you mean 'rejected'?")
    for key in ("\x7f", "e", "d", "\r"):
        screen.press(key)
        screen._read()
    screen.wait_for("where outcome = rejected")
    screen.press("q")
    assert screen.ended() == 0
    assert screen.output.index("\x1b[?1049h") < screen.output.index("\x1b[?1049l")
    assert "1,167 lines" in screen.output.split("\x1b[?1049l")[1]


def test_sizes(screen: Screen) -> None:
    screen.wait_for("A second")
    screen.resize(60, 12)
    until = time.monotonic() + DEADLINE_S
    while max(map(len, screen.lines.values()), default=99) > 60 and time.monotonic() < until:
        screen._read()
    assert len(screen.lines) == 12
    assert {len(line) for line in screen.lines.values()} == {60}
    os.kill(screen.pid, signal.SIGTERM)
    assert screen.ended() == 0
    assert "\x1b[?1049l" in screen.output


@pytest.mark.parametrize("more", [["--events"], ["-o", "jsonl"], ["--state", "x"], ["--to", "x.jsonl"], []])
def test_where_there_is_no_screen(more: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", "--top", *more, str(SAMPLE / "mail.log")]) == 2
    assert "--top" in capfd.readouterr().err
