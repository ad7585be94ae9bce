"""A journal for tests: lines of a log as records, which the stand-in of journalctl shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

_LINE = re.compile(rb"(\w{3} [ \d]\d \d\d:\d\d:\d\d) (\S+) ([^\[:]+)(?:\[(\d+)\])?: (.*)")
STAND_IN = Path(__file__).with_name("journalctl.py")


def records_of(log: bytes, year: int = 2026, first: int = 1) -> list[bytes]:
    """The lines of a log as the journal would have them; some are numbers, some fields have two values."""
    found = []
    for number, line in enumerate(log.splitlines(), first):
        match = _LINE.fullmatch(line)
        assert match is not None, line
        stamp, host, service, pid, message = match.groups()
        at = datetime.strptime(f"{year} {stamp.decode()}", "%Y %b %d %H:%M:%S").replace(tzinfo=UTC)
        microseconds = int(at.timestamp()) * 1_000_000
        record: dict[str, object] = {
            "__CURSOR": f"s=feed;i={number:x};b=beef;m={number:x};t={microseconds:x};x=1",
            "__REALTIME_TIMESTAMP": str(microseconds),
            "_HOSTNAME": host.decode(),
            "SYSLOG_IDENTIFIER": service.decode() if number % 7 else [service.decode(), "other"],
            "SYSLOG_PID": pid.decode() if pid else "1",
            "_SYSTEMD_UNIT": "postfix@-.service" if b"postfix" in service else "haproxy.service",
            "COREDUMP": "x" * 100,
            "MESSAGE": list(message) if number % 5 == 0 else message.decode("utf-8", "surrogateescape"),
        }
        found.append(json.dumps(record).encode() + b"\n")
    return found


def install(directory: Path, journal: Path) -> str:
    """Put the stand-in into a directory; returns the search path with it at its head."""
    directory.mkdir(exist_ok=True)
    program = directory / "journalctl"
    command = f"exec {shlex.quote(sys.executable)} -S {shlex.quote(str(STAND_IN))}"
    program.write_text(
        f'#!/bin/sh\nexport LOGSCOPE_TEST_JOURNAL={shlex.quote(str(journal))}\n{command} "$@"\n'
    )
    program.chmod(0o755)
    return f"{directory}{os.pathsep}{os.environ['PATH']}"
