"""`logscope masking --watch`: what is told, and when."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from logscope.cli.main import main
from logscope.cli.watch import Watch, name_of, state_of
from logscope.detect.masking import Judge
from logscope.live import Live
from tests.detect.scenes import Scene

SAMPLES = Path(__file__).parents[2] / "samples"
LOGS = ("haproxy.log", "mail.log")


class Fed:
    """A watch that is fed scenes instead of a live run."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.stream = io.BytesIO()
        self.watch = Watch(Judge(), self.stream, as_json=as_json)
        self._given = 0

    def feed(self, scene: Scene) -> str:
        """What is told of the rows that are new; `closing`, so that nothing has to be waited for."""
        for batch in scene.batches(1)[self._given :]:
            self._given += 1
            finished = SimpleNamespace(count=batch.num_rows, sessions=batch.select, new=lambda rows: rows)
            self.watch.show(finished, cast(Live, None))
        before = len(self.stream.getvalue())
        live = SimpleNamespace(closing=True, busy=False, signals=scene.signals)
        self.watch.pause(cast(Live, live))
        return self.stream.getvalue()[before:].decode()


def test_a_target_is_told_of_once_and_when_it_changes() -> None:
    fed, scene = Fed(), Scene()
    first = fed.feed(scene.passed("mx-a", "mx-a", 40))
    assert "ft_smtp → bk_smtp/mx-a IPv4: passed." in first
    assert fed.feed(scene.passed("mx-a", "mx-a", 20)) == ""
    assert "passed → masked since 2026-" in fed.feed(scene.by_port("mx-a", "mx-a", 20))
    assert "masked → passed" in fed.feed(scene.passed("mx-a", "mx-a", 40))
    assert fed.watch.document["verdict"] == "mixed"


def test_as_json_it_is_the_target_with_what_was_before() -> None:
    fed, scene = Fed(as_json=True), Scene()
    fed.feed(scene.passed("mx-a", "mx-a", 40))
    told = json.loads(fed.feed(scene.by_port("mx-a", "mx-a", 20)))
    assert (told["before"], told["server"], state_of(told)) == ("passed", "mx-a", "masked")


def test_hostile_names_are_made_harmless() -> None:
    target: dict[str, Any] = dict.fromkeys(("frontend", "backend", "server", "mta_host", "family"))
    assert name_of(target) == "(host not known)"
    fed, scene = Fed(), Scene()
    told = fed.feed(scene.passed("mx-a\x1b[31m", "mx-a", 40))
    assert "\x1b" not in told


def test_a_log_that_grows(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in LOGS]
    for path in paths:
        path.write_bytes((SAMPLES / "proxy-v1" / path.name).read_bytes())
    command = [sys.executable, "-m", "logscope", "masking", "--watch", *map(str, paths)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(2)]
        for path in paths:
            with path.open("ab") as out:
                out.write((SAMPLES / "partial-mask" / path.name).read_bytes())
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
    assert all(b": passed" in line for line in first)
    assert "mx-b IPv4: passed → masked since 2026-11-22 09:21" in rest.decode()
    assert b"mx-a" not in rest
    assert process.returncode == 1


def test_reports_are_not_watched(tmp_path: Path) -> None:
    log = tmp_path / "haproxy.log"
    log.touch()
    assert main(["masking", "--watch", "--recovered", str(log)]) == 2
    assert main(["masking", "--watch", "-o", "json", str(log)]) == 2
