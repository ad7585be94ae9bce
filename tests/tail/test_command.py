"""`logscope tail` as a process: files that come and go, signals, pipes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from logscope.cli.main import main

SAMPLES = Path(__file__).parents[2] / "samples"
LOGS = [SAMPLES / "proxy-v1" / name for name in ("haproxy.log", "mail.log")]
COMMAND = [sys.executable, "-m", "logscope"]


def run(*arguments: str | Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], input=data, capture_output=True, check=False, timeout=60
    )


@contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*COMMAND, "tail", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(stream: IO[bytes] | None, what: bytes) -> bytes:
    """Read lines until one has some words."""
    assert stream is not None
    while line := stream.readline():
        if what in line:
            return line
    raise AssertionError(f"the process ended and never said {what!r}")


def sessions(output: bytes) -> list[Any]:
    rows = [json.loads(line) for line in output.splitlines()]
    return sorted(rows, key=lambda row: str(row["session_id"]))


@pytest.fixture(scope="module")
def from_files() -> list[Any]:
    return sessions(run("sessions", "-o", "jsonl", *LOGS).stdout)


def without_places(rows: list[Any]) -> list[Any]:
    return [{name: value for name, value in row.items() if name != "events"} for row in rows]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_files_that_appear_grow_and_are_rotated(tmp_path: Path, number: int, from_files: list[Any]) -> None:
    """The sessions are those of the same lines read as files; a signal ends the run with a summary."""
    balancer, mail = tmp_path / "haproxy.log", tmp_path / "mail.log"
    with running(balancer, mail, "-o", "jsonl", "--from-start") as process:
        wait_for(process.stderr, b"mail.log: does not exist yet")
        lines = LOGS[1].read_bytes().splitlines(keepends=True)
        balancer.write_bytes(LOGS[0].read_bytes())
        mail.write_bytes(b"".join(lines[:400]))
        mail.rename(tmp_path / "mail.log.1")
        mail.write_bytes(b"".join(lines[400:]))
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert without_places(sessions(output)) == without_places(from_files)
    assert b"120 sessions (120 exactly joined)" in errors


def test_only_what_comes_is_shown(tmp_path: Path, from_files: list[Any]) -> None:
    """What the files have already tells what is open, and is not shown."""
    rest = {}
    for log in LOGS:
        lines = log.read_bytes().splitlines(keepends=True)
        old = [line for line in lines if line[7:15] <= b"09:19:30"]
        (tmp_path / log.name).write_bytes(b"".join(old))
        rest[tmp_path / log.name] = b"".join(lines[len(old) :])
    with running(*rest, tmp_path / "later.log", "-o", "jsonl") as process:
        wait_for(process.stderr, b"later.log: does not exist yet")
        for path, data in rest.items():
            with path.open("ab") as file:
                file.write(data)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    ended_later = {row["session_id"] for row in from_files if row["ended_at"] >= "2026-11-22T09:19:31"}
    shown = {row["session_id"]: row for row in sessions(output)}
    assert 0 < len(ended_later) < len(from_files)
    assert ended_later <= shown.keys()
    for one in shown.keys() - ended_later:  # mail that was delivered later
        assert shown[one]["message_count"] or shown[one]["ended_at"] >= "2026-11-22T09:19:30"


@pytest.mark.parametrize("count", [40, 400, 800])
def test_open_is_what_had_not_ended(count: int) -> None:
    """Sessions that had ended and only waited to be decided are not called open."""
    done = run("tail", "-", "-o", "jsonl", data=b"".join(LOGS[1].read_bytes().splitlines(True)[:count]))
    rows = sessions(done.stdout)
    unended = sum(row["ended_at"] is None for row in rows)
    assert 0 < unended < len(rows)
    assert b"%d sessions, %d of them had not ended yet" % (len(rows), unended) in done.stderr


def test_the_end_says_how_many_sessions_were_shown() -> None:
    """Where a condition leaves some out."""
    done = run("tail", "--no-follow", "--where", "outcome = screened", "-o", "jsonl", *LOGS)
    shown = len(sessions(done.stdout))
    assert 0 < shown < 120
    assert b"120 sessions (120 exactly joined), %d of them shown\n" % shown in done.stderr


def test_a_run_that_goes_on_tells_of_its_own_lines(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state", "--from-start", "--no-follow", "-o", "jsonl")
    first = run("tail", *state, *LOGS)
    second = run("tail", *state, *LOGS)
    assert b"120 sessions (120 exactly joined)\n" in first.stderr
    assert b"0 lines in " in second.stderr
    assert b", 0 sessions\n" in second.stderr


def test_all_had_ended() -> None:
    done = run("tail", "--no-follow", *LOGS)
    assert b"120 sessions (120 exactly joined)\n" in done.stderr


def test_on_a_terminal_all_that_had_ended_is_shown() -> None:
    """Also what was decided only because the run ended; what goes on is counted alone."""
    data = b"".join(LOGS[1].read_bytes().splitlines(True)[:80])
    ended = [row for row in sessions(run("tail", "-", "-o", "jsonl", data=data).stdout) if row["ended_at"]]
    terminal, end = os.openpty()
    with os.fdopen(terminal, "rb", 0) as shown, os.fdopen(end, "wb", 0) as stdout:
        subprocess.run(
            [*COMMAND, "tail", "-"], input=data, stdout=stdout, stderr=subprocess.PIPE, check=True, timeout=60
        )
        lines = shown.read(1 << 16).decode().splitlines()
    assert 0 < len(ended) == len([line for line in lines if "──" not in line])


def test_standard_input_ends_the_run(from_files: list[Any]) -> None:
    done = run("tail", "-", "-o", "jsonl", data=b"".join(log.read_bytes() for log in LOGS))
    assert done.returncode == 0
    assert [row["session_id"] for row in sessions(done.stdout)] == [row["session_id"] for row in from_files]


def test_lines_of_all_inputs_in_order_of_time() -> None:
    done = run("tail", "--no-follow", "--events", "-o", "jsonl", *LOGS)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == sum(log.read_bytes().count(b"\n") for log in LOGS)
    times = [row["logged_at"] for row in rows]
    assert times == sorted(times)
    assert {row["source"] for row in rows} == {str(log) for log in LOGS}


@pytest.mark.parametrize("count", [1, 36, 501])
@pytest.mark.parametrize("to", ["", "lines.txt"])
def test_few_lines_are_listed_too(tmp_path: Path, count: int, to: str) -> None:
    """Each has its row under one heading, however few there are."""
    data = b"".join(LOGS[1].read_bytes().splitlines(keepends=True)[:count])
    target = tmp_path / to
    done = run("tail", "--events", "-", *(["--to", target] if to else []), data=data)
    listed = (target.read_bytes() if to else done.stdout).decode().splitlines()
    assert "kind" in listed[0]
    assert [row.split()[0] for row in listed[1:]] == [f"-:{number}" for number in range(1, count + 1)]


def test_lines_are_listed_as_they_come(tmp_path: Path) -> None:
    """The row of a line is there while the run goes on and nothing else has come."""
    log = tmp_path / "mail.log"
    log.touch()
    lines = LOGS[1].read_bytes().splitlines(keepends=True)
    with (
        running(log, "--from-start", "--events", "-o", "table") as process,
        log.open("ab", buffering=0) as file,
    ):
        for number, line in enumerate(lines[:3], 1):
            file.write(line)
            wait_for(process.stdout, b"mail.log:%d " % number)


def test_directories_and_patterns(tmp_path: Path, from_files: list[Any]) -> None:
    """All logs inside, those that were put aside excepted."""
    for log in LOGS:
        (tmp_path / log.name).write_bytes(log.read_bytes())
    (tmp_path / "mail.log.1").write_bytes(LOGS[1].read_bytes())
    (tmp_path / "program").write_bytes(b"\x7fELF" + bytes(100))
    done = run("tail", "--no-follow", "-o", "jsonl", tmp_path)
    assert len(sessions(done.stdout)) == len(from_files)
    assert done.returncode == 2  # the program is no log, and it is said
    assert b"is a program" in done.stderr


def test_into_a_file(tmp_path: Path, from_files: list[Any]) -> None:
    target = tmp_path / "sessions.jsonl"
    assert run("tail", "--no-follow", "--to", target, *LOGS).returncode == 0
    assert sessions(target.read_bytes()) == from_files


def test_syslog(tmp_path: Path, from_files: list[Any]) -> None:
    """The balancer over UDP, Postfix through a socket file."""
    path = tmp_path / "log"
    with running("--listen", "udp://127.0.0.1:0", "--listen", f"unix://{path}", "-o", "jsonl") as process:
        place = wait_for(process.stderr, b"listening on udp://127.0.0.1:")
        port = int(place.split(b":")[3].split(b",")[0])
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as balancer,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mail,
        ):
            for line in LOGS[0].read_bytes().splitlines():
                balancer.sendto(b"<134>" + line, ("127.0.0.1", port))
            for line in LOGS[1].read_bytes().splitlines():
                mail.sendto(b"<22>" + line, str(path))
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert [row["session_id"] for row in sessions(output)] == [row["session_id"] for row in from_files]
    assert not path.exists()


def test_the_configuration_is_read_anew(tmp_path: Path) -> None:
    """SIGHUP: lines of a format that was not known are read from then on; a mistake changes nothing."""
    log, settings = tmp_path / "haproxy.log", tmp_path / "logscope.toml"
    log.touch()
    line = b"Nov 22 10:00:0%d edge1 haproxy[9]: from 192.0.2.10 port 41522 %d ms\n"
    command = [*COMMAND, "tail", str(log), "--from-start", "--events", "-o", "jsonl", "--year", "2026"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        try:
            with log.open("ab", buffering=0) as file:
                file.write(line % (1, 1))
                kinds = [json.loads(wait_for(process.stdout, b"edge1"))["kind"]]
                settings.write_text("log_format = ['from %ci port %cp %Tt ms")
                process.send_signal(signal.SIGHUP)
                wait_for(process.stderr, b"the configuration stays as it was")
                settings.write_text("log_format = ['from %ci port %cp %Tt ms']")
                process.send_signal(signal.SIGHUP)
                wait_for(process.stderr, b"the configuration was read anew")
                file.write(line % (2, 2))
                kinds.append(json.loads(wait_for(process.stdout, b"edge1"))["kind"])
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert kinds[0] == "unparsed"
    assert kinds[1].startswith("haproxy.")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-o", "parquet", "x"], "parquet is complete only at its end"),
        (["--listen", "udp://0.0.0.0:5514"], "say who may send"),
        (["--listen", "5514", "--no-follow"], "does not wait"),
        (["--grace", "soon", "x"], "--grace: 'soon' is no length of time"),
        ([os.devnull], "is no file that could be followed"),
    ],
)
def test_wrong_usage(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", *arguments]) == 2
    assert complaint in capsys.readouterr().err
