"""Where log lines go: files, standard output, syslog over UDP, TCP and local sockets.

Lines are gathered, and composed and written together a moment later: what was just done for one is done
faster for the next, and a session costs a fourteenth less than with each line composed at once. A log that
cannot be written (a full disk, a log host that is down) never stops mail: its lines are counted, the loss is
reported once on standard error, and writing is tried again with the next lines.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from logscope.errors import OutputError
from logscope.grammar.errors import RenderError

Line = tuple[bytes, Callable[[Any], bytes], Any]
"""What stands in front of a line's text, what writes the text, and the values it is written of."""
GATHER_S = 0.05
_MOST_WAITING = 20_000
"""Lines that wait for a log host; more than these are lost."""
_TIMEOUT_S = 5.0


class Sink(Protocol):
    """A place for lines.

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
        self._is_cut = False
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
        if self._is_cut:
            data = b"\n" + data  # a full disk took a part of the line before
        while data:
            written = os.write(self._descriptor, data)
            self._is_cut = data[written - 1 : written] != b"\n"
            data = data[written:]

    def reopen(self) -> None:
        """Go on in a new file after the old one was renamed."""
        if self._path is not None:
            os.close(self._descriptor)
            self._descriptor = self._open(self._path)
            self._is_cut = False

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
        found.settimeout(_TIMEOUT_S)
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


class Target:
    """A log: gathers lines, and hands them to its sink.

    A log host may take its time, so it is written to from a thread; a file is not.

    Args:
        name: a file, `-` for standard output, `udp:HOST:PORT`, `tcp:HOST:PORT` or `unix:PATH`.
        directory: of relative file names.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.is_syslog = name, name.startswith(("udp:", "tcp:", "unix:"))
        self._sink: Sink
        if self.is_syslog:
            self._sink = SocketSink(name)
        else:
            self._sink = FileSink(None if name == "-" else directory / name)
        self._number = self._sink.lines_before
        self._lines: list[Line] = []
        self._lost = 0
        self._is_due = False
        self._thread = ThreadPoolExecutor(1, "log") if self.is_syslog else None

    def put(self, line: Line) -> int:
        """Add a line. Returns its number in the log."""
        self._lines.append(line)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(GATHER_S, self._when_due)
        self._number += 1
        return self._number

    def _when_due(self) -> None:
        if self._thread is None or not self._lines:
            self.flush()
            return
        lines = self._lines[:_MOST_WAITING]
        if len(lines) < len(self._lines):
            self._report(len(self._lines) - len(lines), "the log host takes too long")
        self._lines = []
        composed = [_composed(line) for line in lines]
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._thread, self._write, composed).add_done_callback(self._written)

    def _written(self, _done: asyncio.Future[None]) -> None:
        """A log host has taken its lines; meanwhile others have come."""
        self._is_due = False
        if self._lines:
            self._is_due = True
            self._when_due()

    def flush(self) -> None:
        """Write what was gathered."""
        self._is_due = False
        lines, self._lines = self._lines, []
        if lines:
            self._write([_composed(line) for line in lines])

    def _write(self, lines: list[bytes]) -> None:
        try:
            self._sink.write(lines)
        except OSError as error:
            self._report(len(lines), error.strerror or str(error))
        else:
            self._lost = 0

    def _report(self, lines: int, reason: str) -> None:
        if not self._lost:
            print(f"logscope: {self.name}: lines are lost: {reason}", file=sys.stderr, flush=True)
        self._lost += lines

    def reopen(self) -> None:
        """Go on in a new file, after a rotation."""
        if isinstance(self._sink, FileSink):
            self.flush()
            self._sink.reopen()

    def close(self) -> None:
        """Write the rest and close."""
        if self._thread is not None:
            self._thread.shutdown()
        self.flush()
        self._sink.close()


def _composed(line: Line) -> bytes:
    before, write, values = line
    try:
        return before + write(values)
    except RenderError as error:
        # A fault of the relay's own: it must cost no other line, and shift no number.
        return before + f"error: a line cannot be written: {error}".encode()


def _lines(path: Path) -> int:
    """How many lines a file has."""
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
