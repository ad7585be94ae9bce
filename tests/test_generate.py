"""The generator of benchmark logs: reproducible, in the order of its stamps, and true to its own truth."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from generate import Options, generate

SESSIONS = 3000
VARIANTS = {
    "plain": Options(SESSIONS),
    "masked": Options(SESSIONS, masked=True, backend_port=True),
    "one address": Options(SESSIONS, one_address=True, concurrency=300, smtpd_ports=True),
    "skewed": Options(SESSIONS, skew_s=(0.0, 2.0, -1.5)),
}


@pytest.fixture(scope="module", params=VARIANTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Options, Path]:
    directory = tmp_path_factory.mktemp("logs")
    options = VARIANTS[request.param]
    generate(directory, options, truth=True)
    return options, directory


def lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines()


def truth(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(directory / "truth.jsonl")]


def test_same_options_same_bytes(made: tuple[Options, Path], tmp_path: Path) -> None:
    options, directory = made
    generate(tmp_path, options)
    for name in ("haproxy.log", "mail.log"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes()


@pytest.mark.parametrize("name", ["haproxy.log", "mail.log"])
def test_stamps_do_not_go_back(made: tuple[Options, Path], name: str) -> None:
    stamps = [line[:15] for line in lines(made[1] / name)]
    assert stamps == sorted(stamps)  # all on one day


def test_truth_names_the_right_lines(made: tuple[Options, Path]) -> None:
    options, directory = made
    haproxy, mail = lines(directory / "haproxy.log"), lines(directory / "mail.log")
    sessions = truth(directory)
    assert len(sessions) == SESSIONS
    for session in sessions:
        address, port = session["client_address"], session["client_port"]
        assert f" {address}:{port} [" in haproxy[session["balancer_line"] - 1]
        if session["postscreen_line"]:
            line = mail[session["postscreen_line"] - 1]
            peer = r"172\.20\.5\.4\]:\d+" if options.masked else re.escape(f"{address}]:{port}")
            assert re.search(rf" {session['server']} postfix/postscreen\S+ CONNECT from \[{peer} to ", line)
        if session["smtpd_line"]:
            line = mail[session["smtpd_line"] - 1]
            peer = "172.20.5.4" if options.masked else address
            assert f"smtpd[{session['smtpd_pid']}]: connect from " in line
            assert f"[{peer}]" in line


def test_an_smtpd_process_serves_one_session_at_a_time(made: tuple[Options, Path]) -> None:
    open_at: dict[str, str] = {}
    for line in lines(made[1] / "mail.log"):
        host, process, text = re.match(r".{15} (\S+) (\S+): (.*)", line).groups()  # type: ignore[union-attr]
        if "/smtpd[" not in process:
            continue
        if text.startswith("connect from"):
            assert open_at.setdefault(f"{host} {process}", line) is line
        elif text.startswith("disconnect from"):
            del open_at[f"{host} {process}"]
    assert open_at == {}


def test_queue_ids_are_unique_on_a_host(made: tuple[Options, Path]) -> None:
    found = [(session["server"], queue_id) for session in truth(made[1]) for queue_id in session["queue_ids"]]
    assert len(found) > SESSIONS / 2
    assert len(set(found)) == len(found)
