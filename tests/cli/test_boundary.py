"""Whatever happens becomes an exit code and a message; nothing becomes a traceback."""

from __future__ import annotations

import errno
import io
import os
import pty
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from logscope.cli.boundary import complain, folded, guarded
from logscope.cli.main import COMMANDS, main, with_command
from logscope.cli.streams import Target, choose_target, opened
from logscope.errors import (
    EvidenceError,
    ExitCode,
    InputError,
    ListenError,
    LogscopeError,
    OutputError,
    Place,
    UsageError,
    did_you_mean,
)


def test_who_is_interrupted_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("logscope.cli.run.Run.tables", interrupt)
    assert main(["report", "clients", str(tmp_path)]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "logscope: interrupted\n"


def test_a_simulation_that_is_interrupted_says_how_far_it_came(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(*_: object, report: Callable[[int], None], **__: object) -> None:
        report(1200)
        raise KeyboardInterrupt

    monkeypatch.setattr("logscope.simulate.output.write_logs", interrupt)
    assert main(["simulate", str(tmp_path / "site"), "-n", "5000"]) == ExitCode.INTERRUPTED
    told = capsys.readouterr().err
    assert "site is not whole: 1,200 of 5,000 sessions were made\n" in told
    assert told.endswith("logscope: interrupted\n")


@pytest.mark.parametrize("group", ["report", "grammar", "config"])
def test_a_group_alone_shows_its_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == ExitCode.UNUSABLE
    out, told = capsys.readouterr()
    assert (out, told.partition(" [OPTIONS]")[0]) == ("", f"Usage: logscope {group}")


def outcome(error: BaseException, **environ: str) -> tuple[int, str]:
    def fail() -> int:
        raise error

    stderr = io.StringIO()
    return guarded(fail, stderr, environ), stderr.getvalue()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("no such thing"), 2, "logscope: no such thing\n"),
        (EvidenceError("no mail log"), 3, "no mail log"),
        (InputError("x.log: \x1b[2Jevil"), 2, r"x.log: \x1b[2Jevil"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "out of memory"),
        (PermissionError(13, "Permission denied", "/x"), 2, "/x: Permission denied"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
    ],
)
def test_expected_failures(error: BaseException, code: int, words: str) -> None:
    got, text = outcome(error)
    assert got == code
    assert words in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("number", "port", "reason", "next_step"),
    [
        (errno.EADDRINUSE, 2525, "address already in use", "End what listens there (`ss -ltnup` tells)"),
        (errno.EADDRINUSE, None, "address already in use", "Something of that name is there already"),
        (errno.EADDRNOTAVAIL, 2525, "no address of this host", "`ip address` lists those it has"),
        (errno.EACCES, 25, "permission denied", "Ports below 1024 are for root"),
        (errno.EACCES, 2525, "permission denied", ""),
        (errno.EAFNOSUPPORT, 2525, "address family not supported by protocol", ""),
    ],
)
def test_an_address_that_cannot_be_listened_on(
    number: int, port: int | None, reason: str, next_step: str
) -> None:
    code, text = outcome(ListenError("PLACE", OSError(number, os.strerror(number)), "--listen", port))
    assert code == 2
    assert text.startswith(f"logscope: cannot listen on PLACE: {reason}\n")
    assert next_step in text
    assert ("with --listen." in text) is bool(next_step)


def test_a_closed_pipe_is_quiet() -> None:
    assert outcome(BrokenPipeError()) == (ExitCode.CLOSED_PIPE, "")


def test_a_bug_is_reported_as_one_without_quoting_logs() -> None:
    code, text = outcome(KeyError("secret@example.com"))
    assert code == 70
    assert "a bug in logscope" in text
    assert "KeyError" in text
    assert "secret" not in text
    assert "Traceback" not in text


def test_debugging_shows_the_traceback() -> None:
    for error in (KeyError("detail"), UsageError("detail")):
        _, text = outcome(error, LOGSCOPE_DEBUG="1")
        assert "Traceback" in text
        assert "detail" in text


def test_success_passes_through() -> None:
    assert guarded(lambda: 1, io.StringIO(), {}) == 1


def test_an_explanation_has_place_snippet_and_next_step() -> None:
    error = LogscopeError("wrong", place=Place("f.toml", 3, 5, "a = bcd", 3), hint="Do this.")
    assert error.explain() == "f.toml:3:5: wrong\n    3 | a = bcd\n      |     ^^^\n  Do this."


def test_every_error_has_an_exit_code() -> None:
    kinds = LogscopeError.__subclasses__()
    assert len(kinds) >= 6
    assert {kind.exit_code for kind in kinds} == {2, 3}


def test_did_you_mean_only_says_what_is_close() -> None:
    assert did_you_mean("sesions", COMMANDS) == "Did you mean 'sessions'?"
    assert did_you_mean("xyz", COMMANDS) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ["summary"]),
        (["mail.log"], ["summary", "mail.log"]),
        (["-o", "json", "mail.log"], ["summary", "-o", "json", "mail.log"]),
        (["-"], ["summary", "-"]),
        (["sessions", "mail.log"], ["sessions", "mail.log"]),
        (["--help"], ["--help"]),
        (["maillog"], ["summary", "maillog"]),
    ],
)
def test_files_alone_mean_the_summary(given: list[str], expected: list[str]) -> None:
    assert with_command(given) == expected


def test_a_misspelt_command_is_not_taken_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        with_command(["sesions", "mail.log"])
    assert caught.value.hint == "Did you mean 'sessions'?"
    Path("sesions").touch()
    assert with_command(["sesions"]) == ["summary", "sesions"]


# --- where output goes
# ------------------------------------------------------------------------------------------------


def target(**changes: object) -> Target:
    told: dict[str, object] = {
        "output": None,
        "to": None,
        "color": "auto",
        "default": "table",
        "environ": {},
        "terminal": True,
    }
    return choose_target(**(told | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("to", "output", "expected"),
    [
        (None, None, "table"),
        (None, "csv", "csv"),
        ("x.jsonl", None, "jsonl"),
        ("x.CSV", None, "csv"),
        ("x.parquet", None, "parquet"),
        ("x.json", "jsonl", "jsonl"),
        ("-", None, "table"),
    ],
)
def test_the_suffix_chooses_the_format_unless_it_is_said(
    to: str | None, output: str | None, expected: str
) -> None:
    assert target(to=to, output=output).output == expected


def test_an_unknown_suffix_is_told() -> None:
    with pytest.raises(UsageError, match="its suffix names no format"):
        target(to="report.xml")


def test_binary_data_spares_the_terminal() -> None:
    with pytest.raises(UsageError, match="garble"):
        target(output="parquet")
    assert target(output="parquet", terminal=False).output == "parquet"


@pytest.mark.parametrize(
    ("changes", "colour"),
    [
        ({}, True),
        ({"terminal": False}, False),
        ({"to": "x.txt"}, False),
        ({"environ": {"NO_COLOR": "1"}}, False),
        ({"environ": {"NO_COLOR": ""}}, True),
        ({"environ": {"TERM": "dumb"}}, False),
        ({"color": "never"}, False),
        ({"color": "always", "terminal": False, "environ": {"NO_COLOR": "1"}}, True),
    ],
)
def test_colours_are_for_terminals(changes: dict[str, object], colour: bool) -> None:
    assert target(**changes).colour is colour


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    with suppress(KeyError), opened(Target("csv", path, None, False)) as stream:
        stream.write(b"half")
        raise KeyError
    assert path.read_text() == "before"
    with opened(Target("csv", path, None, False)) as stream:
        stream.write(b"whole")
    assert path.read_text() == "whole"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]


def test_devices_are_written_to_as_they_are() -> None:
    with opened(Target("csv", Path("/dev/null"), None, False)) as stream:
        stream.write(b"gone")
    assert Path("/dev/null").is_char_device()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    def write() -> None:
        with opened(Target("csv", tmp_path / "missing" / "out.csv", None, False)):
            pass

    attempt: Callable[[], None] = write
    with pytest.raises(OutputError, match=r"cannot be written: No such file"):
        attempt()


@pytest.mark.parametrize("columns", [40, 80])
def test_messages_are_cut_between_words_on_a_terminal(columns: int) -> None:
    """But the line of a file keeps its mark under the place."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    text = f"a = {'b' * 100}"
    place = Place("logscope.toml", 3, 5, text)
    words = "no input can be read here, because " * 4
    with os.fdopen(theirs, "w") as stream:
        complain(UsageError(words, place=place, hint="Look at this. " * 8), stream)
        stream.flush()
        shown = os.read(ours, 1 << 16).decode().splitlines()
        assert [line for line in shown if "|" in line] == place.snippet()
        prose = [line for line in shown if "|" not in line]
        assert max(map(len, prose)) <= columns
        said = f"logscope: {place}: {words}{'Look at this. ' * 8}"
        assert " ".join(prose).split() == said.split()
        assert folded("/var/log/" + "x" * 100, stream) == "/var/log/" + "x" * 100
    os.close(ours)


def test_messages_stay_on_their_lines_in_a_file() -> None:
    assert folded("word " * 100, io.StringIO()) == "word " * 100
