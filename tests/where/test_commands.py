"""`--where` in every command that lists: the rows are those of which it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import logscope
from logscope.cli.main import main

SAMPLE = Path(__file__).parents[2] / "samples" / "proxy-v1"
LOGS = [str(SAMPLE / "haproxy.log"), str(SAMPLE / "mail.log")]
Rows = Callable[..., list[Any]]


@pytest.fixture
def rows(capfd: pytest.CaptureFixture[str]) -> Rows:
    def run(*arguments: str) -> list[Any]:
        assert main([*arguments, *LOGS, "-o", "jsonl", "-q"]) == 0
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    return run


def is_wanted(row: dict[str, Any]) -> bool:
    return str(row["client_address"]).startswith("198.51.100.") and row["duration_ms"] > 3000


def test_sessions_live_or_not(rows: Rows) -> None:
    condition = "client in 198.51.100.0/24 and duration > 3s"
    found = rows("sessions", "--where", condition)
    expected = [row for row in rows("sessions") if is_wanted(row)]
    assert 0 < len(found) < 60
    assert found == expected
    followed = rows("tail", "--no-follow", "--where", condition)
    assert sorted(row["session_id"] for row in followed) == sorted(row["session_id"] for row in expected)


def test_messages_and_deliveries(rows: Rows) -> None:
    messages = rows("sessions", "--messages", "--where", "size > 2k")
    assert messages == [row for row in rows("sessions", "--messages") if (row["size"] or 0) > 2000] != []
    deliveries = rows("sessions", "--deliveries", "--where", "status != sent")
    assert deliveries == [row for row in rows("sessions", "--deliveries") if row["status"] != "sent"]


def test_lines(rows: Rows) -> None:
    """Columns that some chunks lack, kinds included."""
    condition = "kind = postscreen.connect and client in 198.51.100.0/24"
    found = rows("parse", "--where", condition)
    expected = [
        row
        for row in rows("parse")
        if row["kind"] == "postscreen.connect" and row["client_address"].startswith("198.51.100.")
    ]
    assert found == expected != []
    assert len(rows("tail", "--events", "--no-follow", "--where", condition)) == len(expected)


def test_clients(rows: Rows) -> None:
    clients = rows("report", "clients", "--where", "outcome = delivered")
    assert sum(row["sessions"] for row in clients) == sum(
        row["outcome"] == "delivered" for row in rows("sessions")
    )


def test_masking(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["masking", *LOGS, "-o", "json", "-q", "--where", "server = mx-a"]) == 0
    assert {target["server"] for target in json.loads(capfd.readouterr().out)["targets"]} == {"mx-a"}


def test_notebooks() -> None:
    assert set(logscope.read_sessions(*LOGS, tz="UTC", where="outcome = rejected").outcome) == {"rejected"}


def test_columns_are_those_of_the_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["parse", *LOGS, "--where", "kind = postscren.connect"]) == 2
    assert "Did you mean 'postscreen.connect'?" in capfd.readouterr().err
    assert main(["sessions", "--messages", *LOGS, "--where", "outcome = rejected"]) == 2
    assert "there is no column 'outcome'" in capfd.readouterr().err
