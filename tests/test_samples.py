"""The samples that logscope made itself: every line is understood, and their truth names the right ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from logscope.cli.main import main

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.parametrize("name", ["relayed", "simulated"])
def test_every_line_is_understood(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    logs = [str(SAMPLES / name / file) for file in ("haproxy.log", "mail.log")]
    assert main(["parse", "-q", "-o", "jsonl", *logs]) == 0
    kinds = [json.loads(line)["kind"] for line in capfd.readouterr().out.splitlines()]
    assert len(kinds) > 1000
    assert not {"unparsed", "foreign"} & set(kinds)


def test_the_truth_of_the_relay_names_the_lines_of_each_connection() -> None:
    lines = {
        "balancer": (SAMPLES / "relayed/haproxy.log").read_text("utf-8").splitlines(),
        "screen": (SAMPLES / "relayed/mail.log").read_text("utf-8").splitlines(),
    }
    lines["smtpd"] = lines["screen"]
    records = [json.loads(text) for text in (SAMPLES / "relayed/truth.jsonl").read_text("utf-8").splitlines()]
    assert len(records) == 121
    for record in records:
        for number in record["lines"].get("balancer", ()):
            assert f" {record['client_ip']}:{record['client_port']} " in lines["balancer"][number - 1]
        seen_as = record.get("seen_as", "").rpartition(":")[0].strip("[]")
        for number in record["lines"].get("screen", ()):
            line = lines["screen"][number - 1]
            assert "/postscreen[" in line
            assert "from [" not in line or f"[{seen_as}]" in line
        assert all("/smtpd[" in lines["smtpd"][number - 1] for number in record["lines"].get("smtpd", ()))


@pytest.mark.parametrize("name", ["relayed", "simulated"])
def test_the_verdict_finds_what_was_made(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    logs = [str(SAMPLES / name / file) for file in ("haproxy.log", "mail.log")]
    assert main(["masking", "-q", "--tz", "UTC", "-o", "json", *logs]) == 1
    assert "masked" in capfd.readouterr().out
