"""`make demo`: sessions are shown while there is traffic, then the report and the verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .relay.running import free_row

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_demo(tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DEMO_PLACE": str(tmp_path / "demo"),
        "DEMO_PORT": str(free_row(20)),
        "DEMO_SECONDS": "6",
    }
    command = ["sh", str(ROOT / "samples/demo")]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    relay, live, *reports = found.stdout.split("\n$ logscope ")[1:]
    assert "edge1 ft_masked  127.0.0.1:" in relay
    assert "delivered" in live
    assert len(reports) == 3
    assert "MIXED" in reports[2]
    assert (tmp_path / "demo/truth.jsonl").stat().st_size
