"""Metrics of a live run: what a scrape and the file say, and which labels there never are."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from logscope.cli import metrics as module
from logscope.cli.main import main
from logscope.cli.metrics import Metrics, parse_address
from logscope.errors import ListenError, UsageError
from logscope.sources.following import Following

SAMPLE = Path(__file__).parents[2] / "samples" / "partial-mask"
LOGS = [str(SAMPLE / name) for name in ("haproxy.log", "mail.log")]


def values(text: str) -> dict[str, float]:
    """Each sample, spelled with its labels."""
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape(tmp_path: Path) -> None:
    """The counts are those of the run's own summary, and nobody's address is among the labels."""
    options = ["--from-start", "--to", str(tmp_path / "out.jsonl"), "--metrics", "0", "--tz", "UTC"]
    command = [sys.executable, "-m", "logscope", "tail", *options, *LOGS]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        place = next(line for line in process.stderr if "metrics at" in line).split("metrics at ")[1].strip()
        scraped = ""
        until = time.monotonic() + 60
        while 'lines_total{result="parsed"} 1125' not in scraped and time.monotonic() < until:
            scraped = urllib.request.urlopen(place, timeout=20).read().decode()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        summary = process.stderr.read()
    found = values(scraped)
    assert found["logscope_lines_total parsed"] == 1125
    assert "1,125 lines" in summary
    ended = sum(value for name, value in found.items() if name.startswith("logscope_sessions_total"))
    assert 0 < ended <= 123
    assert found["logscope_session_duration_seconds_count"] > 0
    assert found["logscope_server_sessions_total mx-a"] > 0
    assert found[f"logscope_source_lines_total {LOGS[1]}"] == 1002
    assert not re.search(r"=\"[0-9a-f.:]*(192\.0\.2|198\.51)", scraped)


def test_the_file(tmp_path: Path) -> None:
    file = tmp_path / "logscope.prom"
    options = ["--no-follow", "-q", "--to", str(tmp_path / "out.jsonl"), "--metrics-file", str(file)]
    assert main(["tail", *options, *LOGS]) == 0
    found = values(file.read_text())
    assert found["logscope_lines_total parsed"] == 1125
    assert found["logscope_sessions_total delivered"] > 0
    assert found["logscope_server_masked_sessions_total mx-b"] > 0
    assert found["logscope_server_masked_sessions_total mx-a"] == 0
    assert list(tmp_path.glob("*.prom*")) == [file]


def test_servers_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of many server names makes a bounded number of series."""
    monkeypatch.setattr(module, "MOST_LABELS", 3)
    metrics = Metrics(Following([]), None, None)
    row = {"outcome": "delivered", "mta_host": None, "masked": False, "duration_ms": 5, "message_count": 1}
    for number in range(10):
        metrics._count(row | {"server": f"mx{number}", "bytes_to_client": 1})
    assert metrics.registry.get_sample_value("logscope_server_sessions_total", {"server": "other"}) == 7
    assert metrics.registry.get_sample_value("logscope_server_sessions_total", {"server": "mx3"}) is None
    assert metrics.registry.get_sample_value("logscope_sent_bytes_total") == 10


def test_addresses() -> None:
    assert parse_address("192.0.2.1:9108") == ("192.0.2.1", 9108)
    with pytest.raises(UsageError, match="is no port"):
        parse_address("localhost")
    first = Metrics(Following([]), ("127.0.0.1", 0), None)
    with pytest.raises(ListenError, match="address already in use"):
        Metrics(Following([]), ("127.0.0.1", first.port), None)
    first.close()
