"""Where data goes: standard output or a file, in which format, in which width, with or without colours."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from logscope.errors import OutputError, UsageError

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "table",
}
"""The format that a file's suffix asks for."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Target:
    """Where data goes and how.

    Args:
        output: the format.
        path: a file; None for standard output.
        width: columns of the terminal; None where lines may have any length.
        colour: whether colours are wanted.
        page: columns that `COLUMNS` asks for where there is no terminal, for what is drawn; rows are not cut.
    """

    output: str
    path: Path | None
    width: int | None
    colour: bool
    page: int | None = None


def choose_target(
    output: str | None,
    to: str | None,
    color: str,
    default: str,
    environ: Mapping[str, str],
    *,
    terminal: bool,
) -> Target:
    """Decide where data goes.

    Args:
        output: the format asked for, if any.
        to: the file asked for, if any.
        color: auto, always or never.
        default: the format of the command.
        environ: `NO_COLOR` (no-color.org), `TERM` and `COLUMNS` (POSIX, XBD 8.3).
        terminal: whether standard output is one.

    Raises:
        UsageError: the suffix says no format; binary data would go to the terminal.
    """
    path = Path(to) if to not in (None, "-") else None
    if output is None:
        output = default if path is None else _format_of(path)
    shown = terminal and path is None
    if output == "parquet" and shown:
        raise UsageError(
            "Parquet is binary data and would garble the terminal", hint="Add --to FILE.parquet, or a pipe."
        )
    wanted = color == "always" or (color == "auto" and shown and _colours_welcome(environ))
    width = shutil.get_terminal_size((80, 24)).columns if shown else None
    asked = environ.get("COLUMNS", "")
    page = int(asked) if asked.isdecimal() and path is None else 0
    return Target(output, path, width, wanted, page or None)


@contextmanager
def opened(target: Target) -> Iterator[IO[bytes]]:
    """The stream to write to. A file appears when it is complete; an error leaves what was there.

    Raises:
        OutputError: it cannot be written.
    """
    if target.path is None:
        if sys.stdout is None:
            raise OutputError("standard output is closed", hint="Name a file with --to.")
        # Not sys.stdout.buffer: with PYTHONUNBUFFERED that writes a part of what it is given, and says so to
        # nobody.
        with (
            _told_whose("standard output"),
            open(sys.stdout.fileno(), "wb", buffering=1 << 16, closefd=False) as stream,
        ):
            yield stream
        return
    if target.path.exists() and not target.path.is_file():  # a device or a named pipe
        with _told_whose(str(target.path)), _writable(target.path, target.path) as special:
            yield special
        return
    part = target.path.with_name(f".{target.path.name}.{os.getpid()}.part")
    try:
        with _told_whose(str(target.path)), _writable(part, target.path) as file:
            yield file
        part.replace(target.path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def opened_live(target: Target) -> Iterator[IO[bytes]]:
    """The stream for what goes on: a file is written in place, so that others can read along.

    Raises:
        OutputError: it cannot be written.
    """
    if target.path is None:
        with opened(target) as stream:
            yield stream
    else:
        with _writable(target.path, target.path) as file:
            yield file


@contextmanager
def _told_whose(name: str) -> Iterator[None]:
    """A write that fails for want of room does not say where."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OutputError(f"{name}: cannot be written: {error.strerror}") from None


def _writable(path: Path, named: Path) -> IO[bytes]:
    """The file at a path, open for writing; errors speak of the one that the user named."""
    try:
        return path.open("wb")
    except OSError as error:
        raise OutputError(f"{named}: cannot be written: {error.strerror}") from None


def _format_of(path: Path) -> str:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(FORMATS)
        raise UsageError(
            f"--to {path}: its suffix names no format", hint=f"Use one of {known}, or add -o."
        ) from None


def _colours_welcome(environ: Mapping[str, str]) -> bool:
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
