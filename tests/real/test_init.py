"""What `relay init` writes for HAProxy and Postfix is run: mail arrives, and masking is where it was put."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from logscope.cli.main import main

from .daemons import workspace
from .prerequisites import missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))]

ALONE = ("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Ports and processes of its own: nothing is left behind, whatever happens."""
RUN = f"""\
ip link set lo up
sh real/run.sh start
{sys.executable} send.py
sh real/run.sh stop
"""
SEND = """\
import pathlib, smtplib, socket, time

def wait_for(condition):
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise SystemExit("waited in vain")

def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0

wait_for(lambda: listens(2525))
for port in (2525, 2526):
    for number in range(6):
        with smtplib.SMTP("127.0.0.1", port, "client.example", 20, ("127.0.0.3", 0)) as smtp:
            smtp.sendmail("carol@sender.example", f"user{number + 1}@example.com", b"Subject: x\\r\\n\\r\\nx")
wait_for(lambda: len(list(pathlib.Path("real/state/mx-a/mail").glob("*/*/new/*"))) == 12)
"""


@pytest.fixture(scope="module")
def real() -> Iterator[Path]:
    """The directory of the real daemons, after they have run."""
    with workspace() as home:
        place = home / "site"
        assert main(["relay", "--masked", "--servers", "1", "--greet-wait", "1", "init", str(place)]) == 0
        (place / "run.sh").write_text(RUN)
        (place / "send.py").write_text(SEND)
        done = subprocess.run(
            [*ALONE, "sh", "-e", "run.sh"],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        yield place / "real"


def test_every_line_is_understood(real: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["parse", "-q", "-o", "jsonl", str(real / "haproxy.log"), str(real / "mx-a.log")]) == 0
    kinds = [json.loads(line)["kind"] for line in capfd.readouterr().out.splitlines()]
    assert kinds.count("virtual.delivery") == 12
    assert kinds.count("haproxy.tcp_session") >= 12
    assert "unparsed" not in kinds


def test_masking_is_where_it_was_put(real: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = [str(real / "haproxy.log"), str(real / "mx-a.log")]
    configured = ["--haproxy-cfg", f"edge1={real}/haproxy.cfg", "--postfix-config", f"mx-a={real}/mx-a"]
    for learnt in ([], configured):
        assert main(["masking", "-q", "-o", "json", *learnt, *files]) == 1
        targets = json.loads(capfd.readouterr().out)["targets"]
        assert {(one["backend"], one["verdict"]) for one in targets} == {
            ("bk_postfix", "passed"), ("bk_masked", "masked"),
        }  # fmt: skip
