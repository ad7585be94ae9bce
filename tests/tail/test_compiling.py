"""A live run reads on in plain Python while machine code is compiled beside it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from logscope import pipeline
from logscope.cli import compiling, loop
from logscope.cli.main import main
from logscope.live import Live

SAMPLES = Path(__file__).parents[2] / "samples"
LOGS = [str(SAMPLES / "proxy-v1" / name) for name in ("haproxy.log", "mail.log")]


class Child:
    """Stands for the process that compiles; over when it has been asked so often."""

    asked = 0
    ends_after = 3
    failed = False
    closed = 0

    @property
    def is_over(self) -> bool:
        Child.asked += 1
        return Child.asked > Child.ends_after

    def close(self) -> None:
        Child.closed += 1


class Failing(Child):
    """Ends without machine code; the run ends soon after."""

    ends_after = 0

    @property
    def is_over(self) -> bool:
        return True

    @property
    def failed(self) -> bool:  # type: ignore[override]
        os.kill(os.getpid(), signal.SIGTERM)
        return True


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lines had been read whenever machine code was taken; the run ends some turns later."""
    taken: list[int] = []
    monkeypatch.setattr(Child, "asked", 0)
    monkeypatch.setattr(Child, "closed", 0)
    monkeypatch.setattr(compiling, "Compiling", Child)
    monkeypatch.setattr(loop, "_machine_code_from", lambda: 1000)
    monkeypatch.setattr(pipeline, "has_machine_code", lambda: False)

    def noted(stage: Live) -> None:
        taken.append(stage.counts.lines_read)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Live, "use_machine_code", noted)
    return taken


def test_lines_are_read_until_machine_code_is_there(
    changes: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["tail", "--from-start", "--year", "2026", "-o", "jsonl", *LOGS]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(changes) == 1
    assert changes[0] > 500
    assert len(rows) == 120
    assert Child.closed == 1


def test_where_compiling_fails_plain_python_goes_on(
    changes: list[int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "Compiling", Failing)
    assert main(["tail", "--from-start", "--year", "2026", "-o", "jsonl", *LOGS]) == 0
    captured = capfd.readouterr()
    assert not changes
    assert len(captured.out.splitlines()) == 120
    assert captured.err.count("could not be compiled") == 1


def test_where_nothing_can_be_kept_it_compiles_itself(
    changes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "can_keep_machine_code", lambda: False)
    assert main(["tail", "--from-start", "--year", "2026", "-o", "jsonl", "-q", *LOGS]) == 0
    assert len(changes) == 1
    assert Child.asked == 0
