"""The command `logscope`: which command is meant, and the boundary around it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from logscope import __version__
from logscope.cli.boundary import guarded
from logscope.errors import ExitCode, UsageError, did_you_mean

HELP = """Put mail sessions back together from the logs of HAProxy and Postfix.

\b
logscope haproxy.log mail.log    one screen: is mail flowing, what is broken, where
logscope COMMAND --help          what a command does

Exit codes: 0 fine; 1 a finding; 2 wrong usage, or some input could not be read;
3 not enough evidence to judge; 130 interrupted.
"""

COMMANDS = {
    "summary": "One screen for the person on call; `logscope FILES` is short for it.",
    "report": "Who, how much, and what became of it.",
    "sessions": "The joined table: every session, message or delivery.",
    "trace": "One client, message or address through all hops.",
    "masking": "Does the balancer hide the clients' addresses, where, and the fix.",
    "readiness": "What to change in the logging, so that more joins are exact.",
    "tail": "The same live: sessions, or lines, as they happen.",
    "anomalies": "What is unusual: explained, with what to do.",
    "parse": "Every line with its kind and typed fields.",
    "explain": "Why a line was understood the way it was, or was not.",
    "config": "What the configurations say about the logs.",
    "grammar": "Which lines are understood; test your own grammars.",
    "relay": "A balancer and mail servers to try all this on: real sockets and logs.",
    "simulate": "The same logs at any size in simulated time, with what really was.",
}
"""What `logscope --help` lists: each is a module of `commands`, with a function of that name or an `app`."""
_OWN_OPTIONS = ("-h", "--help", "--version")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"logscope {__version__}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """See HELP."""


def application(wanted: Collection[str] = COMMANDS) -> typer.Typer:
    """The command line. Of commands that are not wanted only the names are known: to work out the options of
    all takes longer than many a run.
    """
    app = typer.Typer(
        name="logscope",
        help=HELP,
        add_completion=False,
        no_args_is_help=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_options)
    for name, help_text in COMMANDS.items():
        if name not in wanted:
            app.command(name, short_help=help_text)(_not_wanted)
            continue
        module = import_module(f"logscope.cli.commands.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, short_help=help_text)
        else:
            app.command(name, short_help=help_text)(getattr(module, name))
    return app


def _not_wanted() -> None:
    """Stands for a command that is only listed."""


class WithoutPandas:
    """Refuses to import pandas: no command needs it, but Arrow imports it to ask whether values are its own,
    which takes a quarter of a second.
    """

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("commands do without pandas", name=name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        the exit code; the console script hands it to the shell.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        own_process()
    return guarded(lambda: _dispatch(given), sys.stderr, os.environ)


def own_process() -> None:
    """Settle what holds for the whole process, before NumPy and Arrow are loaded."""
    sys.meta_path.insert(0, WithoutPandas())
    # Arrow's own allocators keep some 50 MB more of what a large run has given back, and are not faster.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # The threads of NumPy's linear algebra, which there is none of here, spin for a tenth of a second.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # There is next to no garbage in cycles. At Python's own threshold, 700 objects, the collector walks all
    # that was imported again and again: an eighth of a report's CPU time.
    gc.set_threshold(100_000, 20, 20)


def process() -> NoReturn:
    """The command as a process of its own: run the command line, and end.

    Python would take the process apart first, object by object, for a third of a second after a large run.
    The system does that at once; all that is to be written has been, and threads and children are gone.
    """
    code = main()
    _flush()
    os._exit(code)


def _flush() -> None:
    """Write what is left of an output that went wrong, if it still can be."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _dispatch(given: list[str]) -> int:
    """Run the command that the arguments mean."""
    try:
        meant = with_command(given)
        code: Any = application(meant[:1])(meant, prog_name="logscope", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as error:  # what the option parser makes of a closed pipe
        raise (BrokenPipeError() if isinstance(error.__context__, BrokenPipeError) else error) from None
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
            return ExitCode.UNUSABLE
        if _is_usage(error):
            raise _usage_error(error) from None
        raise
    if code == ExitCode.INTERRUPTED:  # what the option parser makes of Ctrl-C
        raise KeyboardInterrupt
    if sys.stdout is not None:
        sys.stdout.flush()  # what cannot be written is an error, and here is who tells of it
    return int(code) if isinstance(code, int) else ExitCode.FINE


def with_command(given: list[str]) -> list[str]:
    """The arguments with a command in front: files alone, or options alone, mean the summary.

    Raises:
        UsageError: the first word is neither a command nor a file, but looks like a misspelt command.
    """
    if not given or given[0] in COMMANDS or given[0] in _OWN_OPTIONS:
        return given or ["summary"]
    first = given[0]
    is_word = first.isalpha() and not Path(first).exists()
    if is_word:
        hint = did_you_mean(first, COMMANDS)
        if hint:
            raise UsageError(f"no command and no file {first!r}", hint=hint)
    return ["summary", *given]


def _is_usage(error: Exception) -> bool:
    """Whether an exception is the option parser's. By shape: its class has lived in more than one package."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _usage_error(error: Any) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "logscope"
    return UsageError(error.format_message().rstrip("."), hint=f"See: {path} --help")


if __name__ == "__main__":
    sys.exit(main())
