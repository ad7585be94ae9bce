"""What can go wrong, and what the user is told about it.

    LogscopeError           anything logscope can explain; its text is for people
    ├── UsageError          an option or argument makes no sense                              exit code 2
    ├── SettingsError       a configuration file or LOGSCOPE_* variable makes no sense                  2
    ├── GrammarError        a grammar file is wrong                                                     2
    ├── InputError          an input could not be read, or only its beginning                           2
    ├── OutputError         a report could not be written                                               2
    ├── ListenError         an address cannot be listened on                                            2
    └── EvidenceError       the logs given cannot answer the question                                   3

An error says what is wrong, where (file, line, column, and the line itself when it helps), and what to do
next. Whatever is not a `LogscopeError`, an interruption or a closed pipe is a bug in logscope, and is
reported as one (exit code 70).
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit status of the command says."""

    FINE = 0
    FINDING = 1
    """Something was found: clients are masked; for `trace`, nothing matched."""
    UNUSABLE = 2
    """Wrong usage, or some input could not be read; what could be read is still reported."""
    NO_EVIDENCE = 3
    """Not enough evidence to judge."""
    BUG = 70
    """logscope is wrong (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT, as shells count."""
    CLOSED_PIPE = 141
    """The reader of standard output left (`| head`): 128 + SIGPIPE, and no message."""


@dataclass(frozen=True)
class Place:
    """Where in a file something is.

    Args:
        file: the name as the user gave it.
        line: line number, from 1.
        column: column in characters, from 1.
        text: the line itself, shown with a mark under `column`.
        width: how many characters the mark covers.
    """

    file: str
    line: int | None = None
    column: int | None = None
    text: str | None = None
    width: int = 1

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def snippet(self) -> list[str]:
        """The line and a mark under the place in it; nothing when the text is unknown."""
        if self.text is None or self.line is None:
            return []
        number = f"{self.line:>5} | "
        shown = [number + self.text.rstrip("\r\n")]
        if self.column is not None:
            shown.append(" " * (len(number) - 2) + "| " + " " * (self.column - 1) + "^" * max(1, self.width))
        return shown


class LogscopeError(Exception):
    """Something logscope can explain.

    Args:
        message: what is wrong, as a sentence without its full stop.
        place: where.
        hint: the next step, as a sentence.
    """

    exit_code = ExitCode.UNUSABLE

    def __init__(self, message: str, *, place: Place | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint

    def __str__(self) -> str:
        """One line: place and message."""
        return f"{self.place}: {self.message}" if self.place else self.message

    def explain(self) -> str:
        """The whole explanation: message, snippet, next step. Not escaped; the rim does that."""
        lines = [str(self)]
        if self.place:
            lines += self.place.snippet()
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


class UsageError(LogscopeError):
    """An option or argument makes no sense."""


class SettingsError(LogscopeError):
    """A configuration file or environment variable makes no sense."""


class GrammarError(LogscopeError):
    """A grammar file is wrong."""


class InputError(LogscopeError):
    """An input could not be read at all, or only up to some point."""


class OutputError(LogscopeError):
    """A report could not be written."""


class ListenError(LogscopeError):
    """An address cannot be listened on.

    Args:
        address: as the user writes it.
        error: what the system says.
        setting: by what another address is chosen.
        port: of the address; None for the path of a local socket.
    """

    def __init__(self, address: str, error: OSError, setting: str, port: int | None) -> None:
        reason = error.strerror or str(error)
        hint = None
        match error.errno:
            case errno.EADDRINUSE if port is None:
                hint = (
                    f"Something of that name is there already: remove it, or choose another with {setting}."
                )
            case errno.EADDRINUSE:
                hint = f"End what listens there (`ss -ltnup` tells), or choose another with {setting}."
            case errno.EADDRNOTAVAIL:
                reason = "no address of this host"
                hint = f"`ip address` lists those it has; choose one of them with {setting}."
            case errno.EACCES | errno.EPERM if port is not None and port < 1024:
                hint = f"Ports below 1024 are for root; choose a higher one with {setting}."
        super().__init__(f"cannot listen on {address}: {reason[:1].lower()}{reason[1:]}", hint=hint)


class EvidenceError(LogscopeError):
    """The logs given cannot answer the question."""

    exit_code = ExitCode.NO_EVIDENCE


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint naming the closest of the known words, or None when none is close.

    >>> did_you_mean("sesions", ["sessions", "masking"])
    "Did you mean 'sessions'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else None
