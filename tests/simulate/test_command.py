"""`logscope simulate` from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from logscope.cli.main import main
from logscope.simulate import KINDS


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "logscope", "simulate", *map(str, arguments)],
        capture_output=True,
        check=False,
        timeout=120,
        encoding="utf-8",
    )


def test_logs_and_truth_are_written_and_nothing_is_overwritten(tmp_path: Path) -> None:
    place = tmp_path / "site"
    made = run(place, "-n", "60", "-d", "2h", "--header", "none", "--skew", "mx-b=2", "--servers", "2")
    assert (made.returncode, made.stdout) == (0, "")
    assert "60 sessions in" in made.stderr
    assert {path.name for path in place.iterdir()} == {
        "haproxy.log", "mail.log", "truth.jsonl", "truth-messages.jsonl", "labels.json",
    }  # fmt: skip
    assert len((place / "haproxy.log").read_text().splitlines()) == 60
    truth = [json.loads(line) for line in (place / "truth.jsonl").read_text().splitlines()]
    assert {row["header"] for row in truth} == {"masked"}
    assert {row["server"] for row in truth} == {"mx-a", "mx-b"}
    before = (place / "mail.log").read_bytes()
    again = run(place, "-n", "60")
    assert again.returncode == 2
    assert "has files already" in again.stderr
    assert (place / "mail.log").read_bytes() == before
    assert run(place, "-n", "5", "--overwrite", "-q").stderr == ""
    assert (place / "mail.log").read_bytes() != before


def test_as_long_as_so_many_are_open(tmp_path: Path) -> None:
    assert (
        run(tmp_path, "-n", "400", "--concurrency", "40", "--rhythm", "0", "--truth", "none").returncode == 0
    )
    assert {path.name for path in tmp_path.iterdir()} == {"haproxy.log", "mail.log"}
    lines = (tmp_path / "haproxy.log").read_text().splitlines()
    most_open = max(int(line.split()[-2].split("/")[0]) for line in lines)
    assert 20 < most_open < 80


def test_tables_instead_of_logs(tmp_path: Path) -> None:
    made = run(tmp_path, "-n", "40", "--tables", "jsonl", "-f", "masked@0:server=mx-a")
    assert made.returncode == 0, made.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"sessions.jsonl", "messages.jsonl", "deliveries.jsonl", "labels.json"}
    rows = [json.loads(line) for line in (tmp_path / "sessions.jsonl").read_text().splitlines()]
    assert {row["mta_host"] for row in rows if row["masked"]} == {"mx-a"}


def test_faults_are_listed() -> None:
    listed = run("--list-faults").stdout.splitlines()
    assert [line.split()[0] for line in listed[::2]] == list(KINDS)
    assert all("size: " in line for line in listed[1::2])
    assert max(map(len, listed)) <= 80


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Name a directory"),
        (["x", "--truth", "csv"], "--truth csv: unknown form"),
        (["x", "--tables", "csv"], "--tables csv: unknown form"),
        (["x", "--tables", "arrow", "--truth", "jsonl"], "has the truth in its columns"),
        (["x", "--start", "soon"], "--start 'soon' is no date"),
        (["x", "--skew", "mx-z=1"], "there is no server 'mx-z'"),
        (["x", "--skew", "mx-a"], "is no HOST=NUMBER"),
        (["x", "--concurrency", "5", "-d", "1h"], "both say how long"),
        (["x", "--concurrency", "0"], "more than none has to be open"),
        (["x", "-d", "long"], "'long' is no length of time"),
        (["x", "-d", "1h", "-f", "surge@2h"], "surge begins 7200 s after the start, when all is over"),
        (["/dev/null"], "nothing can be written there"),
    ],
)
def test_what_makes_no_sense_is_explained(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments]) == 2
    assert complaint in capsys.readouterr().err
