"""Kills `logscope tail --state DIR --to FILE` at random moments and compares what it wrote with a batch run.

    python -m tests.tail.killing --kills 500 --seed 1

In each round the lines of a capture are brought to two files piece by piece, while runs follow them one after
the other. Each is killed (SIGKILL), after some milliseconds or at the n-th time that it writes, syncs or
renames something; in between and meanwhile the files are rotated by rename, or by copytruncate while nobody
reads, and so is the output. In every other round the mail log comes out of the journal instead (a stand-in
for journalctl shows it). The last run may finish. Then each session is there once, as from files. Runs are
forked from one process that has everything loaded, so that a run takes a tenth of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from logscope.cli import keep, view  # noqa: F401 - loaded before anything is forked
from logscope.cli.main import main
from logscope.grammar import catalogue
from tests.tail.arriving import stamp_of
from tests.tail.journaling import install, records_of

SAMPLES = Path(__file__).parents[2] / "samples"
CAPTURES = ("proxy-v1", "partial-mask", "masked")
NAMES = ("haproxy.log", "mail.log")
OPTIONS = ("--year", "2026", "--tz", "UTC", "-q")
LONGEST_S = 0.6
PLANNED_S = 3.0
MOVES = {"fsync": 8, "write": 2, "replace": 3}
"""Up to which time that it does this a run may live."""
DEADLINE_S = 1200.0  # it may run beside much else


class Round:
    """One capture, followed by many runs."""

    def __init__(self, directory: Path, capture: str, chance: random.Random, *, journal: bool) -> None:
        self.directory = directory
        self.chance = chance
        self.output = directory / "sessions.jsonl"
        self.files = [directory / name for name in NAMES]
        self.names = [str(path) for path in self.files]
        contents = [(SAMPLES / capture / name).read_bytes().splitlines(keepends=True) for name in NAMES]
        written = list(contents)
        if journal:
            self.names[1] = "journal:"
            written[1] = records_of(b"".join(contents[1]))
            os.environ["PATH"] = install(directory / "bin", self.files[1])
        lines = [
            (stamp_of(line), number, record)
            for number in range(2)
            for line, record in zip(contents[number], written[number], strict=True)
        ]
        self.lines = [(number, line) for _, number, line in sorted(lines, key=lambda one: one[0])]
        self.expected = self.from_files(written)
        self.rotating = [*self.files[: 1 if journal else 2], self.output]
        for path in self.files:
            path.touch()
        child, until = self.follow(), time.monotonic() + DEADLINE_S
        while not (directory / "state" / "state").exists() and time.monotonic() < until:
            time.sleep(0.005)
        kill(child)

    def from_files(self, written: list[list[bytes]]) -> Counter[str]:
        logs = [str(self.directory / f"whole-{name}") for name in NAMES]
        for path, lines in zip(logs, written, strict=True):
            Path(path).write_bytes(b"".join(lines))
        target = self.directory / "batch.jsonl"
        waited(forked(lambda: main(["sessions", *OPTIONS, "--to", str(target), *logs])))
        return rows(target)

    def bring(self, count: int) -> None:
        """Append some more lines, the last one in two pieces now and then."""
        for number, line in self.lines[:count]:
            cut = self.chance.randint(1, 100) if self.chance.random() < 0.05 else len(line)
            with self.files[number].open("ab", buffering=0) as file:
                for piece in (line[:cut], line[cut:]):
                    file.write(piece)
        del self.lines[:count]

    def rotate(self, *, read: bool) -> None:
        """Move a log or the output away, `read`: while somebody reads."""
        path = self.chance.choice(self.rotating)
        if not path.exists():
            return
        shift(path)
        if path != self.output and not read and self.chance.random() < 0.5:
            shutil.copy(path, f"{path}.1")
            os.truncate(path, 0)
        else:
            path.rename(f"{path}.1")
            if path != self.output:
                path.touch()

    def follow(self, *more: str) -> int:
        """Begin a run."""
        command = ["tail", *OPTIONS, "--state", str(self.directory / "state"), "--from-start", *more]
        command += ["--grace", "60s", "--to", str(self.output), *self.names]
        return forked(lambda: main(command))

    def killed_run(self) -> None:
        """One run, to its violent end."""
        planned = self.chance.random() < 0.5
        ends_at = time.monotonic() + (PLANNED_S if planned else self.chance.uniform(0, LONGEST_S))
        child = self.mortal() if planned else self.follow()
        while time.monotonic() < ends_at and os.waitpid(child, os.WNOHANG) == (0, 0):
            self.bring(self.chance.randint(0, 30))
            if self.chance.random() < 0.05:
                self.rotate(read=True)
            time.sleep(self.chance.uniform(0, 0.08))
        kill(child)

    def mortal(self) -> int:
        """A run that is killed when it is about to sync, write or rename something for the n-th time."""
        name = self.chance.choice(list(MOVES))
        move, left = getattr(os, name), [self.chance.randint(1, MOVES[name])]

        def dying(*arguments: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return move(*arguments)

        setattr(os, name, dying)
        try:
            return self.follow()
        finally:
            setattr(os, name, move)

    def check(self) -> None:
        """Let a last run finish, and compare."""
        self.bring(len(self.lines))
        code = waited(self.follow("--no-follow"))
        found = sum((rows(path) for path in self.directory.glob("sessions.jsonl*")), Counter[str]())
        lost, more = self.expected - found, found - self.expected
        if code or lost or more:
            wrong = f"{lost.total()} sessions lost, {more.total()} too many"
            raise SystemExit(f"exit code {code}; {wrong}; see {self.directory}")


def rows(path: Path) -> Counter[str]:
    """The sessions in a file, without the places of their lines, which rotation changes, and without
    probabilities, whose last digits depend on what had been learnt when.
    """
    found = []
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        del row["events"]
        for link in row["links"]:
            del link["probability"]
        found.append(json.dumps(row))
    return Counter(found)


def shift(path: Path) -> None:
    """Make room for a rotated file: `.1` becomes `.2`."""
    taken = [number for number in range(1, 1000) if Path(f"{path}.{number}").exists()]
    for number in reversed(taken):
        Path(f"{path}.{number}").rename(f"{path}.{number + 1}")


def forked(work: Callable[[], int]) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = work()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def kill(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def waited(child: int) -> int:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    kill(child)
    raise SystemExit("the last run did not end")


def test(kills: int, seed: int, directory: Path) -> None:
    """So many kills, ten to a round."""
    chance = random.Random(seed)
    catalogue.load()
    for number in range(-(-kills // 10)):
        place = directory / f"round-{number}"
        place.mkdir()
        one = Round(place, CAPTURES[number % len(CAPTURES)], chance, journal=number % 2 == 1)
        for _ in range(min(10, kills - 10 * number)):
            one.killed_run()
            if chance.random() < 0.2:
                one.rotate(read=False)
        one.check()
        shutil.rmtree(place)
        done = min(10 * (number + 1), kills)
        print(f"{done} of {kills} kills: each session once, as from files", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    test(told.kills, told.seed, Path(tempfile.mkdtemp(prefix="logscope-kills-")))
