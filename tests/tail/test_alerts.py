"""Alerts: to a command and a URL, once in a while, tried again, never on the command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from logscope.cli.alerts import MOST_A_MINUTE, Gate, Post, Receivers
from logscope.cli.main import main

SAMPLE = Path(__file__).parents[2] / "samples" / "partial-mask"
LOGS = [str(SAMPLE / name) for name in ("haproxy.log", "mail.log")]


class Told:
    """A server that answers as it is told to, and what it was posted."""

    def __init__(self, *answers: int) -> None:
        told = self
        self.bodies: list[Any] = []
        self._answers = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                told.bodies.append(json.loads(self.rfile.read(length)))
                self.send_response(told._answers.pop(0) if told._answers else 204)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/secret"


@pytest.fixture
def servers() -> Iterator[list[Told]]:
    opened: list[Told] = []
    yield opened
    for one in opened:
        one.server.shutdown()
        one.server.server_close()


def test_a_command_and_a_url(tmp_path: Path, servers: list[Told]) -> None:
    """Each masked server once, each client's refused sessions once; the command gets the same objects."""
    servers.append(Told())
    script, log = tmp_path / "told", tmp_path / "alerts.jsonl"
    script.write_text(f"#!/bin/sh\ncat >> {log}; echo >> {log}\n")
    script.chmod(0o755)
    where = "outcome = screened and client in 192.0.2.0/24"
    options = ["--no-follow", "-q", "--to", str(tmp_path / "out.jsonl"), "--alert-where", where]
    assert (
        main(["tail", *options, "--alert-exec", str(script), "--alert-webhook", servers[0].url, *LOGS]) == 0
    )
    found = servers[0].bodies
    assert found == [json.loads(line) for line in log.read_text().splitlines()]
    masked = [one for one in found if one["kind"] == "masked"]
    (one,) = masked
    assert (one["severity"], one["count"], one["session"]) == ("critical", 1, None)
    assert "bk" in one["scope"] or "mx-b" in one["scope"]
    assert one["details"]["server"] == "mx-b"
    assert one["details"]["cause"] in one["explanation"]
    refused = [one for one in found if one["kind"] == "session.screened"]
    assert refused
    assert all(one["session"]["client_address"].startswith("192.0.2.") for one in refused)
    assert len({one["finding_id"] for one in found}) == len(found)


def test_a_flood_of_sessions_leaves_room_for_findings(
    tmp_path: Path, servers: list[Told], capfd: pytest.CaptureFixture[str]
) -> None:
    servers.append(Told())
    log = tmp_path / "haproxy.log"
    stamp = "Nov 22 10:00:01 edge1 haproxy[9]:"
    lost = "[22/Nov/2026:10:00:01.000] ft_smtp bk_mx/<NOSRV> -1/-1/2 0 SC 1/1/0/0/0 0/0"
    lines = [f"{stamp} 192.0.2.{number}:41522 {lost}\n" for number in range(MOST_A_MINUTE + 5)]
    down = "Server bk_mx/mx1 is DOWN, reason: Layer4 timeout, check duration: 2001ms."
    left = "0 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue."
    log.write_text("".join([*lines, f"{stamp} {down} {left}\n"]))
    options = ["--no-follow", "--from-start", "--to", str(tmp_path / "out.jsonl"), "--tz", "UTC"]
    where = ["--alert-where", "outcome = no_server"]
    assert main(["tail", *options, *where, "--alert-webhook", servers[0].url, str(log)]) == 0
    kinds = [one["kind"] for one in servers[0].bodies]
    assert kinds.count("session.no_server") == MOST_A_MINUTE
    assert kinds.count("server_state") == 1
    assert "5 alerts of sessions held back" in capfd.readouterr().err


def test_tried_again(servers: list[Told]) -> None:
    servers.append(Told(500, 503, 204))
    post = Post(Receivers(urls=(servers[0].url,)), delays_s=(0.0, 0.0))
    post.send({"finding_id": "1"})
    post._queue.put(None)
    post._thread.join(20)
    assert servers[0].bodies == [{"finding_id": "1"}] * 3
    assert not post.failures


@pytest.mark.parametrize(
    ("receiver", "tries", "failure"),
    [
        ("refuses", 1, "delivered to 127.0.0.1: answer 404"),
        ("fails", 3, "delivered to 127.0.0.1: answer 500"),
        ("false", 0, "delivered to false: exit status 1"),
        ("/nonexistent", 0, "delivered to /nonexistent: No such file or directory"),
    ],
)
def test_what_cannot_be_delivered(servers: list[Told], receiver: str, tries: int, failure: str) -> None:
    """It is said, without the path of the URL, and the next one is delivered all the same."""
    servers.append(Told(*{"refuses": [404], "fails": [500] * 3}.get(receiver, [])))
    is_url = receiver in ("refuses", "fails")
    receivers = Receivers(urls=(servers[0].url,)) if is_url else Receivers(commands=(receiver,))
    post = Post(receivers, delays_s=(0.0, 0.0))
    post.send({"finding_id": "1"})
    post._queue.put(None)
    post._thread.join(20)
    assert len(servers[0].bodies) == tries
    assert [failure in one and "secret" not in one for one in post.failures] == [True]


def test_the_same_once_in_a_while() -> None:
    gate = Gate(every_s=600, most=3)
    assert [gate.count("a", now) for now in (0, 1, 599, 600, 601)] == [1, 0, 0, 3, 0]
    assert [gate.count(name, 601) for name in "bcde"] == [1, 1, 0, 0]
    assert gate.held_back == 2
    assert gate.count("d", 700) == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--alert-webhook", "ftp://host/"], "is no URL"),
        (["--alert-exec", "'"], "--alert-exec"),
        (["--alert-exec", " "], "no command"),
        (["--alert-where", "masked"], "alerts nobody"),
        (["--alert-exec", "true", "--alert-where", "outcme = x"], "'outcome'"),
    ],
)
def test_wrong_usage(options: list[str], complaint: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", "--no-follow", *options, *LOGS]) == 2
    assert complaint in capfd.readouterr().err
