"""logscope on captures made here and now by real daemons: small ones, of the scenarios that matter most.

Skipped, with the reason, where the daemons, root or namespaces are missing. All captures run at the same
time, since they mostly wait.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from logscope.cli.main import main

from .capture import capture
from .network import CREATED, run
from .prerequisites import missing
from .score import logs, score_masking, score_sessions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason="; ".join(missing())),
]

#: Scenario, sessions, sessions at a time.
RUNS = {
    "proxied-v1": (90, 20),
    "proxied-v1-ports": (60, 20),
    "one-address": (80, 80),
    "masked": (60, 12),
    "masked-ports": (60, 20),
    "half-masked": (50, 15),
    "unexpected-v1": (30, 15),
    "unexpected-v2": (30, 15),
    "missing": (16, 16),
    "smtpd": (60, 15),
    "smtpd-ports": (60, 15),
    "submission-masked": (60, 15),
}
FORMS = ("traditional", "rfc3339")

#: They may leave before any server has heard of them.
LEAVES_AT_ONCE = {"probe", "drop_before_greeting", "rst_before_greeting"}

Score = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Gives the directory of a scenario's capture, once it is done."""
    home = tmp_path_factory.mktemp("captures")
    with ThreadPoolExecutor(len(RUNS)) as pool:
        running: dict[str, Future[dict[str, Any]]] = {
            name: pool.submit(
                capture, name, home / name, sessions=sessions, concurrency=concurrency, seed=5, limit_s=120
            )
            for name, (sessions, concurrency) in RUNS.items()
        }

        def done(name: str) -> Path:
            running[name].result(timeout=170)
            return home / name

        yield done
        for future in running.values():
            future.cancel()


def ask(directory: Path, form: str, command: str, answer: str) -> str:
    """What a command of logscope writes to the file `answer`, of a capture's logs."""
    to = directory / answer
    assert main([command, *logs(directory, form), "--quiet", "--to", str(to)]) in (0, 1, 3)
    return to.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def score(captures: Callable[[str], Path]) -> Score:
    """Scores what `logscope sessions` makes of a scenario's capture."""

    def scored(name: str, form: str = "traditional") -> dict[str, Any]:
        directory = captures(name)
        text = ask(directory, form, "sessions", f"sessions-{form}.jsonl")
        return score_sessions(directory, map(json.loads, text.splitlines()))

    return scored


@pytest.mark.parametrize("name", RUNS)
def test_truth_is_complete(captures: Callable[[str], Path], name: str) -> None:
    """The lab's own promise: lines of the balancer, and of a server, for every connection that can have them,
    queue ids in the right lines, and no guess by time.
    """
    directory = captures(name)
    found = defaultdict(int, json.loads((directory / "run.json").read_text())["found"])
    assert found["balancer"] == found["connections"]
    assert found["queue id not in the lines"] == found["told apart by time"] == 0
    if name == "missing":  # a server that waits for a header logs nobody
        return
    for record in map(json.loads, (directory / "truth.jsonl").read_text().splitlines()):
        seen = {"screen", "smtpd"} & set(record["lines"])
        assert seen or record["behaviour"] in LEAVES_AT_ONCE, record


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["proxied-v1", "proxied-v1-ports", "masked-ports", "smtpd-ports"])
def test_what_the_lines_decide_is_joined(score: Score, name: str, form: str) -> None:
    result = score(name, form)
    for pair, links in result["links"].items():
        least = 1.0 if pair != "screen-smtpd" or name.endswith("ports") else 0.97
        assert links["precision_exact"] == 1.0, (pair, links["wrong_examples"])
        assert links["recall"] >= least, pair
    assert result["client recall"] == 1.0
    assert "wrong client" not in result["examples"]


@pytest.mark.parametrize("name", ["one-address", "masked", "half-masked", "smtpd", "submission-masked"])
def test_what_is_called_exact_is_right(score: Score, name: str) -> None:
    """Where the lines leave room for doubt, the doubt has to be said."""
    result = score(name)
    for pair, links in result["links"].items():
        assert links["precision_exact"] in (None, 1.0), (pair, links["wrong_examples"])
    certain = ("balancer", "proxy_header", "backend_port", "header_text")
    assert not any(result["client"].get(source, {}).get("wrong") for source in certain), result["examples"]


@pytest.mark.parametrize("name", ["unexpected-v1", "unexpected-v2"])
def test_the_client_is_recovered_from_an_unexpected_header(score: Score, name: str) -> None:
    result = score(name)
    assert result["client recall"] == 1.0
    assert "wrong client" not in result["examples"]


@pytest.mark.parametrize("name", RUNS)
def test_masking_is_judged_rightly(captures: Callable[[str], Path], name: str) -> None:
    directory = captures(name)
    said = json.loads(ask(directory, "traditional", "masking", "masking.json"))
    judged = score_masking(directory, said)
    assert judged["wrong"] == {}
    assert judged["verdict"] == judged["expected"]


@pytest.mark.parametrize("name", RUNS)
def test_every_line_is_understood(captures: Callable[[str], Path], name: str) -> None:
    text = ask(captures(name), "traditional", "parse", "events.jsonl")
    kinds = [(row["kind"], row["source"], row["line_number"]) for row in map(json.loads, text.splitlines())]
    assert [row for row in kinds if row[0] in ("unparsed", "foreign")] == []


def test_nothing_is_left_behind(captures: Callable[[str], Path]) -> None:
    for name in RUNS:
        captures(name)
    # Another process may be running labs of its own.
    assert set(run("ip", "netns", "list").split()) & set(CREATED) == set()
    assert list(Path("/tmp").glob(f"logscope-lab-{os.getpid()}-*")) == []
