"""`--state`: a run that was stopped or killed is followed by one that goes on there."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from logscope.cli.main import main
from logscope.grammar import catalogue
from logscope.live import Live
from logscope.pipeline import Options
from logscope.store.appending import Appending
from logscope.store.snapshot import frozen, key, thawed
from tests.tail.arriving import SECOND, Arriving, rows_of
from tests.tail.test_live import COLUMNS, FROM_FILES, GRACE, GRAMMARS, OPTIONS, capture, in_order

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
LOGS = [ROOT / "samples" / "proxy-v1" / name for name in ("haproxy.log", "mail.log")]


def run(*arguments: str | Path) -> int:
    return main([*map(str, arguments), "--tz", "UTC", "--year", "2026", "-q"])


def lines(path: Path) -> list[bytes]:
    return sorted(path.read_bytes().splitlines())


# --- the stage as bytes -------------------------------------------------------------------------------------


def followed(name: str, *, frozen_now_and_then: bool) -> list[Any]:
    """The sessions of a capture whose lines arrive piece by piece."""
    files, chance = capture(name), random.Random(3)
    sources = {file: Arriving(file) for file in files}
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    live.add(list(sources.values()), 0, 0)
    rows: list[Any] = []
    now = 0
    while any(files.values()):
        now += SECOND // 100
        for file, source in sources.items():
            cut = chance.randint(0, 4000)
            source.data += files[file][:cut]
            files[file] = files[file][cut:]
        rows += rows_of(live.pump(now), COLUMNS)
        if chance.random() < 0.2:
            if frozen_now_and_then:
                live = thawed(frozen(live), GRAMMARS)
            now = chance.randint(0, SECOND)  # another machine's clock, perhaps
            assert live.go_on(list(sources.values()), now) == []
    for source in sources.values():
        source.follows = False
    rows += rows_of(live.finish(now), COLUMNS)
    assert live.quality["sessions"] == len(rows)
    return in_order(rows)


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_stage_goes_on_in_another_process(name: str) -> None:
    """Frozen and thawed at random moments, it hands out what it would have handed out."""
    rows = followed(name, frozen_now_and_then=True)
    assert rows == followed(name, frozen_now_and_then=False)
    assert [row["session_id"] for row in rows] == [row["session_id"] for row in FROM_FILES[name]]


def test_an_input_that_is_gone_has_ended() -> None:
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    one, other = Arriving("a.log"), Arriving("b.log")
    live.add([one], 0, 0)
    live = thawed(frozen(live), GRAMMARS)
    assert live.go_on([other], 5) == [other]
    live.add([other], 5, 0)
    other.follows = False
    assert list(live.finish(10)) == []


def test_what_bytes_have_to_come_from() -> None:
    own = key(GRAMMARS, OPTIONS)
    assert own == key(catalogue.load(), OPTIONS)
    assert own != key(GRAMMARS, Options(year=2025))


# --- a file that is appended to -----------------------------------------------------------------------------


@pytest.mark.parametrize("written", [0, 3, 6])
@pytest.mark.parametrize("moved", ["stays", "renamed", "copied"])
def test_a_piece_that_was_being_written(tmp_path: Path, written: int, moved: str) -> None:
    """Whatever of it was written, and whatever became of the file, it is there once."""
    path, old = tmp_path / "out", tmp_path / "out.1"
    path.write_bytes(b"before\n")
    first = Appending(path)
    mark = first.mark()
    first.append(b"piece\n"[:written])
    first.close()
    if moved == "renamed":
        path.rename(old)
    elif moved == "copied":
        old.write_bytes(path.read_bytes())
        os.truncate(path, 0)
    second = Appending(path)
    assert second.complete(mark, b"piece\n")
    assert second.complete(second.mark(), b"")
    second.close()
    pieces = [one.read_bytes() for one in (old, path) if one.exists()]
    assert b"".join(pieces) == b"before\npiece\n"


def test_a_file_that_others_changed(tmp_path: Path) -> None:
    path = tmp_path / "out"
    first = Appending(path)
    first.append(b"before\n")
    mark = first.mark()
    path.write_bytes(b"other\n")
    assert not Appending(path).complete(mark, b"piece\n")
    assert path.read_bytes() == b"other\npiece\n"


def test_output_that_is_rotated_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "out"
    output = Appending(path)
    output.append(b"one\n")
    path.rename(tmp_path / "out.1")
    assert output.mark().length == 0
    output.append(b"two\n")
    assert path.read_bytes() == b"two\n"


# --- the command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_runs_that_follow_each_other(tmp_path: Path, suffix: str) -> None:
    """Stopped in order (Ctrl-C), what is open is neither handed out nor lost."""
    logs = [tmp_path / log.name for log in LOGS]
    target, whole = tmp_path / f"live.{suffix}", tmp_path / f"whole.{suffix}"
    rests = [log.read_bytes() for log in LOGS]
    for share in (3, 2):
        for number, log in enumerate(logs):
            cut = rests[number].index(b"\n", len(rests[number]) // share) + 1
            with log.open("ab") as file:
                file.write(rests[number][:cut])
            rests[number] = rests[number][cut:]
        stopped_run(tmp_path, target, logs)
    for log, rest in zip(logs, rests, strict=True):
        with log.open("ab") as file:
            file.write(rest)
    assert run("tail", "--no-follow", "--state", tmp_path / "state", "--to", target, *logs) == 0
    assert run("sessions", *logs, "--to", whole) == 0
    expected = lines(whole)
    if suffix == "csv":  # live, there is one column more
        expected = [line + (b',"amends"' if line.startswith(b'"session_id"') else b",") for line in expected]
    assert lines(target) == expected
    if suffix == "csv":
        with target.open(newline="") as file:
            assert len({row["session_id"] for row in csv.DictReader(file)}) == 120


def stopped_run(directory: Path, target: Path, logs: list[Path]) -> None:
    """A run that is told to stop when it has read what there is."""
    command = [
        sys.executable,
        "-m",
        "logscope",
        "tail",
        "--state",
        directory / "state",
        "--to",
        target,
        *logs,
    ]
    options = ["--from-start", "--grace", "60s", "--tz", "UTC", "--year", "2026"]
    with subprocess.Popen([*map(str, command), *options], stderr=subprocess.PIPE) as process:
        state, ends = directory / "state" / "state", [log.stat().st_size for log in logs]
        until = time.monotonic() + DEADLINE_S
        while process.poll() is None and offsets(state) != ends and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == 0
    assert b"still open" not in errors


def offsets(state: Path) -> list[int]:
    """How far each file has been read, as is kept."""
    if not state.exists():
        return []
    said: dict[str, Any] = json.loads(state.read_bytes().split(b"\n", 2)[1])
    return [parts[-1]["offset"] for parts in said["positions"].values()]


def test_killed_at_random_moments() -> None:
    """A short one; `python -m tests.tail.killing --kills 500` takes a quarter of an hour."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tail.killing", "--kills", "20", "--seed", "5"],
        cwd=ROOT, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda state: state.chmod(0o755), "others have access"),
        (lambda state: (state / "state").write_bytes(b"logscope state 2\n{}"), "is damaged"),
        (lambda state: (state / "state").write_bytes(b""), "is damaged"),
    ],
)
def test_a_directory_of_no_use(
    tmp_path: Path, spoil: Any, complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    state, target = tmp_path / "state", tmp_path / "out.jsonl"
    assert run("tail", "--no-follow", "--state", state, "--to", target, *LOGS) == 0
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "state").stat().st_mode) == 0o600
    capfd.readouterr()
    spoil(state)
    assert run("tail", "--no-follow", "--state", state, "--to", target, *LOGS) == 2
    assert complaint in capfd.readouterr().err


def test_nothing_comes_twice(tmp_path: Path) -> None:
    """A run over files that have been read writes nothing, another run in the directory does not begin."""
    target = tmp_path / "out.jsonl"
    for _ in range(2):
        assert run("tail", "--no-follow", "--state", tmp_path / "state", "--to", target, *LOGS) == 0
    assert len(lines(target)) == 120
    from logscope.store.state import StateDirectory

    held = StateDirectory(tmp_path / "state")
    assert run("tail", "--no-follow", "--state", tmp_path / "state", "--to", target, *LOGS) == 2
    held.close()


def test_other_options(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What was open cannot be used, and it is said; files are not read again."""
    target, logs = tmp_path / "out.jsonl", [tmp_path / log.name for log in LOGS]
    for log, path in zip(LOGS, logs, strict=True):
        path.write_bytes(log.read_bytes())
    stopped_run(tmp_path, target, logs)
    before = lines(target)
    command = ["tail", "--no-follow", "--state", tmp_path / "state", "--to", target, *logs]
    assert main([*map(str, command), "--tz", "Europe/Berlin", "--year", "2026"]) == 0
    assert "other options" in capfd.readouterr().err
    assert lines(target) == before


def test_a_run_that_goes_on_does_not_begin_anew(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first of a state does; the next one says that it does not."""
    state = tmp_path / "state"
    command = [
        "tail",
        "--no-follow",
        "--from-start",
        "--state",
        state,
        *LOGS,
        "--year",
        "2026",
        "-o",
        "jsonl",
    ]
    told = []
    for _ in range(2):
        assert main(list(map(str, command))) == 0
        output, errors = capfd.readouterr()
        told.append((len(output.splitlines()), "--from-start" in errors and str(state) in errors))
    assert told == [(120, False), (0, True)]


def test_lines_come_once_under_one_heading(tmp_path: Path) -> None:
    log, target = tmp_path / "mail.log", tmp_path / "lines.txt"
    written = LOGS[1].read_bytes().splitlines(keepends=True)
    for start in (0, 3, 6):
        with log.open("ab") as file:
            file.writelines(written[start : start + 3])
        state = tmp_path / "state"
        assert run("tail", "--events", "--no-follow", log, "--state", state, "--to", target) == 0
    listed = [line.split()[0] for line in target.read_text().splitlines()]
    assert listed == ["line", *(f"mail.log:{number}" for number in range(1, 10))]
