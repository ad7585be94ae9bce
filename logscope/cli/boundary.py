"""The one place where what happened becomes an exit code and a message on standard error."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from logscope import __version__
from logscope.errors import ExitCode, LogscopeError
from logscope.report.text import visible

_NARROWEST = 20  # columns in which words are worth keeping together
ISSUES = "the issue tracker of logscope"


def guarded(work: Callable[[], int], stderr: IO[str], environ: Mapping[str, str]) -> int:
    """Run something and turn whatever comes out of it into an exit code.

    Args:
        work: does the job and returns its exit code.
        stderr: for messages.
        environ: where `LOGSCOPE_DEBUG` asks for tracebacks.
    """
    try:
        return work()
    except LogscopeError as error:
        if environ.get("LOGSCOPE_DEBUG"):
            traceback.print_exc(file=stderr)
        complain(error, stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("logscope: interrupted", file=stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return ExitCode.CLOSED_PIPE
    except MemoryError:
        print("logscope: out of memory\n  Narrow the period with --since and --until.", file=stderr)
        return ExitCode.UNUSABLE
    except OSError as error:
        if environ.get("LOGSCOPE_DEBUG"):
            traceback.print_exc(file=stderr)
        named = f"{error.filename}: " if error.filename else ""
        print(visible(f"logscope: {named}{error.strerror or error}"), file=stderr)
        return ExitCode.UNUSABLE
    except Exception as error:
        print(_bug_report(error, environ), file=stderr)
        return ExitCode.BUG


def complain(error: LogscopeError, stderr: IO[str]) -> None:
    """Say what is wrong, where, and what to do next. Names and lines in it may come from anywhere."""
    shown = [visible(line) for line in error.explain().split("\n")]
    shown[0] = folded(f"logscope: {shown[0]}", stderr)
    if error.hint:  # other lines are those of a file, with a mark under the place
        shown[-1] = folded(shown[-1], stderr)
    print("\n".join(shown), file=stderr)


def folded(text: str, stream: IO[str]) -> str:
    """A line cut between words, where it goes to a terminal that is not as wide."""
    if not stream.isatty():
        return text
    import textwrap

    with suppress(OSError, ValueError):
        width = os.get_terminal_size(stream.fileno()).columns
        if len(text) > width > _NARROWEST:
            return textwrap.fill(
                text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
    return text


def _bug_report(error: Exception, environ: Mapping[str, str]) -> str:
    """What a person can paste: version, place, kind of error; no log text, which may be confidential."""
    if environ.get("LOGSCOPE_DEBUG"):
        return "".join(traceback.format_exception(error)).rstrip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "logscope" in frame.filename]
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-3:]]
    return "\n".join(
        [
            f"logscope: this is a bug in logscope, not in your logs ({type(error).__name__})",
            f"  logscope {__version__}, Python {platform.python_version()}, {platform.system()}; "
            + " < ".join(reversed(places)),
            f"  Please report these lines and the command to {ISSUES}.",
            "  With LOGSCOPE_DEBUG=1 the command shows a traceback, which may quote your logs.",
        ]
    )


def _silence_stdout() -> None:
    """Point standard output elsewhere, so that Python's own flush at exit does not fail as well."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass
