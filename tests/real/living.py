"""Real HAProxy and Postfix log into `logscope tail` while it is rotated under and killed.

    python -m tests.real.living proxied-v1 --sessions 300 --concurrency 40

A lab runs a scenario, and its log host passes every datagram on, as a log daemon does: to a run of `logscope
tail --listen` (the balancer's over UDP, one mail server's over UDP, the other's through a socket file), and
into two files, which logrotate rotates every few seconds, by creating a new file and by copying and cutting
in turn. Another run, with `--state` and `--to`, follows the files, is killed at random moments and begun
again. In the end both are compared with `logscope sessions` over the same lines, and with what the clients
did: each connection that the balancer logged is there once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from . import services
from .capture import capture
from .daemons import Lab, wait_until
from .scenarios import Scenario

PORT = 5514
LOGSCOPE = (sys.executable, "-m", "logscope")
OPTIONS = ("--tz", "UTC", "--year", time.strftime("%Y", time.gmtime()))
ROTATE_S = 4.0
LONGEST_LIFE_S = 3.0
_STAMP = re.compile(rb"<\d+>(\w{3} [ \d]\d \d\d:\d\d:\d\d) ")
_TRUTH = re.compile(rb" truth=\S+$")
"""What the lab has HAProxy log besides, see `configuration`."""
_ROTATION = """\
{directory}/haproxy.log {directory}/mail.log {{
    size 1
    rotate 1000
    missingok
    {how}
}}
"""


class PassingOn(services.LogHost):
    """A log host that also passes on what it receives, and writes it to files."""

    def __init__(self, listening: socket.socket, host: str, out: TextIO) -> None:
        super().__init__(listening, host, out)
        directory = Path(out.name).parent
        self._listening, self._raw, self._name = listening, out, host
        self._path = directory / "files" / ("haproxy.log" if host == "edge1" else "mail.log")
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._place = str(directory / "live.sock") if host == "mx-b" else None

    def drain(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._listening.recvmsg(16384, 512)
            except BlockingIOError:
                return
            self._raw.write(f"{services._arrival(ancillary)} {self._name} {services._one_line(data)}\n")
            message = _TRUTH.sub(b"", self._named(data.rstrip(b"\0\n\r ")))
            if self._place:
                self._local.sendto(message, self._place)
            else:
                self._udp.sendto(message, ("127.0.0.1", PORT))
            with self._path.open("ab", buffering=0) as file:  # opened anew, so that rotation needs no signal
                file.write(message[message.index(b">") + 1 :] + b"\n")

    def _named(self, data: bytes) -> bytes:
        """With the host's name, as a log daemon passes it on."""
        found = _STAMP.match(data)
        if found is None or data[found.end() :].startswith(b"edge1 "):
            return data
        return data[: found.end()] + self._name.encode() + b" " + data[found.end() :]


class LivingLab(Lab):
    """A lab with two runs of `logscope tail`."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        super().__init__(scenario, directory)
        self.files = directory / "files"
        self.files.mkdir()
        self.kills = self.rotations = 0
        self._over = threading.Event()
        self._follower: subprocess.Popen[bytes] | None = None
        self._chance = random.Random(7)

    def _start_services(self) -> None:
        for host in self.scenario.hosts:
            (self.directory / host).mkdir()
        for name in ("haproxy.log", "mail.log"):
            (self.files / name).touch()
        listen = ("--listen", f"udp://127.0.0.1:{PORT}", "--listen", f"unix://{self.directory}/live.sock")
        said = self.directory / "ears.output"
        self.ears = self.spawn(
            "services",
            "ears",
            *LOGSCOPE,
            "tail",
            *listen,
            *OPTIONS,
            "--to",
            str(self.directory / "heard.jsonl"),
        )
        wait_until("logscope", lambda: b"listening" in said.read_bytes(), self.ears, said)
        self._services = self.python("services", "living", "--serve", str(self.directory))
        wait_until(
            "the services",
            (self.directory / "services.ready").exists,
            self._services,
            self.directory / "living.output",
        )
        self._threads = [threading.Thread(target=work) for work in (self._rotate, self._kill)]
        for thread in self._threads:
            thread.start()

    def _rotate(self) -> None:
        while not (self.directory / "state" / "state").exists():
            time.sleep(0.05)  # what is put aside before anybody reads is not read
        for turn in range(10_000):
            if self._over.wait(ROTATE_S):
                return
            how = "copytruncate" if turn % 2 else "create 0644 root root"
            settings = self.directory / "logrotate.conf"
            settings.write_text(_ROTATION.format(directory=self.files, how=how))
            command = ["logrotate", "--force", "--state", str(self.directory / "rotated"), str(settings)]
            subprocess.run(command, check=True)
            self.rotations += 1

    def follow(self, *more: str) -> subprocess.Popen[bytes]:
        """A run that follows the files."""
        places = ("--state", str(self.directory / "state"), "--to", str(self.directory / "followed.jsonl"))
        logs = (str(self.files / name) for name in ("haproxy.log", "mail.log"))
        command = [*LOGSCOPE, "tail", "--from-start", "--grace", "2s", *OPTIONS, *places, *more, *logs]
        with (self.directory / "follower.output").open("ab") as output:
            return subprocess.Popen(command, stderr=output)

    def _kill(self) -> None:
        state = self.directory / "state" / "state"
        while not self._over.is_set():
            before = state.stat().st_mtime_ns if state.exists() else 0
            follower = self.follow()
            while not self._over.wait(0.05) and (state.stat().st_mtime_ns if state.exists() else 0) == before:
                pass  # it has not begun yet
            self._over.wait(self._chance.uniform(0, LONGEST_LIFE_S))
            follower.send_signal(signal.SIGKILL)
            follower.wait()
            self.kills += 1

    def stop_daemons(self) -> None:
        """End the daemons, then the runs, which have had every line by then."""
        super().stop_daemons()
        time.sleep(1)
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert self.follow("--no-follow").wait(120) == 0
        self.ears.send_signal(signal.SIGTERM)
        assert self.ears.wait(60) == 0
        keep = self.directory.with_name("logscope-living")
        shutil.rmtree(keep, ignore_errors=True)
        keep.mkdir()
        for name in ("heard.jsonl", "followed.jsonl", "ears.output", "follower.output"):
            shutil.copy(self.directory / name, keep / name)
        shutil.copytree(self.files, keep / "files")
        (keep / "counts.json").write_text(json.dumps({"kills": self.kills, "rotations": self.rotations}))


def sessions(path: Path) -> Counter[str]:
    """Sessions in a file, in the end, without what depends on where their lines were read."""
    kept: dict[str, list[str]] = {}
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        for one in row.pop("amends", None) or ():
            kept.pop(one, None)
        del row["events"]
        for link in row["links"]:
            del link["probability"]
        kept.setdefault(row["session_id"], []).append(json.dumps(row))
    return Counter(row for rows in kept.values() for row in rows)


def whole(directory: Path, name: str) -> bytes:
    """A log put together again from what rotation made of it."""
    parts = sorted(directory.glob(f"{name}.*"), key=lambda path: -int(path.suffix[1:]))
    return b"".join(path.read_bytes() for path in [*parts, directory / name])


def compare(kept: Path, out: Path) -> None:
    """Say how the runs differ from the files, and from what the clients did."""
    logs = []
    for name in ("haproxy.log", "mail.log"):
        (kept / name).write_bytes(whole(kept / "files", name))
        logs.append(str(kept / name))
    batch = kept / "batch.jsonl"
    subprocess.run([*LOGSCOPE, "sessions", "-q", *OPTIONS, "--to", str(batch), *logs], check=True)
    expected = sessions(batch)
    counts = json.loads((kept / "counts.json").read_text())
    lines = sum(Path(log).read_bytes().count(b"\n") for log in logs)
    done = f"{counts['kills']} kills, {counts['rotations']} rotations"
    print(f"{lines:,} lines, {expected.total():,} sessions; {done}")
    for name in ("heard", "followed"):
        found = sessions(kept / f"{name}.jsonl")
        lost, more = expected - found, found - expected
        print(f"{name}: {found.total():,} sessions; {lost.total()} only from files, {more.total()} only live")
    truth = [json.loads(line) for line in (out / "truth.jsonl").read_text().splitlines()]
    logged = {(one["client_ip"], one["client_port"]) for one in truth if one.get("lines", {}).get("balancer")}
    rows = [json.loads(line) for line in (kept / "followed.jsonl").read_bytes().splitlines()]
    seen = {(row["client_address"], row["client_port"]) for row in rows}
    print(
        f"{len(logged):,} connections that the balancer logged, {len(logged - seen)} of them not found live"
    )
    print((kept / "ears.output").read_text().strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenario", nargs="?", default="proxied-v1")
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--concurrency", type=int, default=40)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.serve:
        services.LogHost = PassingOn  # type: ignore[misc]
        asyncio.run(services.serve(told.serve))
        return
    out = Path("/tmp") / f"logscope-living-capture-{os.getpid()}"
    try:
        capture(told.scenario, out, make_lab=LivingLab, sessions=told.sessions, concurrency=told.concurrency)
        compare(Path("/tmp/logscope-living"), out)
    finally:
        with suppress(OSError):
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
