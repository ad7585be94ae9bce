"""Memory of `logscope tail` over a long time, at a steady rate.

    python -m benchmarks.soak --minutes 60 --rate 20000
    python -m benchmarks.soak --minutes 10 --rate 5000 --strangers 0.2

The lines of a simulated site are written to two files again and again, each round with the times that it is
written at, at a steady rate; the files are rotated every so many bytes, and so is the output. A run follows
them with `--state` and `--to`. Its memory (all processes), its processor time and how far it is behind are
printed as a table while it goes on. `--strangers` adds that share of clients that connect once and are never
heard of again, so that the sessions that are open would grow without bound.

Exit status 1 where memory grew by more than a tenth from the first quarter to the last, or the run failed. A
run of less than four minutes does not say whether memory grows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

NAMES = ("haproxy.log", "mail.log")
ROUND_S = 30
LINES_A_SESSION = 9.0
EVERY_S = 15.0
QUARTERS = 4
SHORTEST_S = 240.0  # in less, a quarter is not over before what is needed has been loaded
STEP_S = 0.1
ROTATE_AT = 256 << 20
_START = datetime(2026, 11, 23, tzinfo=UTC)
_ACCEPT = re.compile(rb"\[(\d\d)/Nov/2026:(\d\d):(\d\d):(\d\d)(\.\d+)\]")

Line = tuple[float, int, bytes, float | None, bytes]
"""Second in the site's time, number of the file, text behind the stamp up to an accept date, the second of
that date, and the text behind it.
"""


def site(directory: Path, sessions: int) -> list[Line]:
    """The lines of a simulated site, in the order of their times within a round."""
    options = ("--duration", f"{ROUND_S}s", "--rhythm", "0", "--truth", "none", "--start", "2026-11-23", "-q")
    command = [sys.executable, "-m", "logscope", "simulate", directory, "-n", sessions, *options]
    subprocess.run([str(word) for word in command], check=True)
    lines: list[Line] = []
    for number, name in enumerate(NAMES):
        content = (directory / name).read_bytes().splitlines(keepends=True)
        lines += [taken_apart(line, number) for line in content]
    lines.sort(key=lambda line: line[0] % ROUND_S)
    return lines


def taken_apart(line: bytes, number: int) -> Line:
    clock = line[7:15].split(b":")
    second = (int(line[4:6]) - _START.day) * 86400.0 + sum(
        int(p) * u for p, u in zip(clock, (3600, 60, 1), strict=True)
    )
    found = _ACCEPT.search(line)
    if found is None:
        return second, number, line[15:], None, b""
    day, hours, minutes, seconds = (int(found[part]) for part in range(1, 5))
    accepted = (day - _START.day) * 86400.0 + hours * 3600 + minutes * 60 + seconds
    return second, number, line[15 : found.start()], accepted, found[5] + line[found.end() - 1 :]


class Writer:
    """Writes rounds of lines to files, at the times that they are written at."""

    def __init__(self, directory: Path, lines: list[Line], began: datetime, strangers: float) -> None:
        self._paths = [directory / name for name in NAMES]
        self._files = [path.open("ab", buffering=0) for path in self._paths]
        self._lines, self._began = lines, began
        self._every = round(1 / strangers) if strangers else 0
        self._strangers = 0
        self._stamps: dict[int, tuple[bytes, bytes]] = {}
        self.written = 0
        self.sessions = 0

    def _stamp(self, second: float) -> tuple[bytes, bytes]:
        whole = int(second)
        if whole not in self._stamps:
            if len(self._stamps) > 100_000:
                self._stamps.clear()
            at = self._began + timedelta(seconds=whole)
            self._stamps[whole] = f"{at:%b %e %H:%M:%S}".encode(), f"{at:%d/%b/%Y:%H:%M:%S}".encode()
        return self._stamps[whole]

    def rounds(self) -> Iterator[tuple[int, bytes]]:
        """All lines for ever: the number of the file, and the text."""
        turn = 0
        while True:
            for second, number, text, accepted, rest in self._lines:
                begun = turn - int(second // ROUND_S)  # the round in which the line's session began
                if begun < 0:
                    continue
                shift = begun * ROUND_S
                line = self._stamp(second + shift)[0] + text
                if accepted is not None:
                    line += b"[" + self._stamp(accepted + shift)[1] + rest
                    self.sessions += 1
                yield number, line
                if self._every and self.written % self._every == 0:
                    self._strangers += 1
                    who = self._strangers
                    address = f"10.{who >> 16 & 255}.{who >> 8 & 255}.{who & 255}"
                    stamp = self._stamp(second + shift)[0].decode()
                    said = f"CONNECT from [{address}]:4000 to [192.0.2.25]:25"
                    yield 1, f"{stamp} mx-a postfix/postscreen[77]: {said}\n".encode()
            turn += 1

    def write(self, source: Iterator[tuple[int, bytes]], count: int) -> None:
        """The next lines; files that have grown large are rotated."""
        pieces: list[list[bytes]] = [[], []]
        for _ in range(count):
            number, line = next(source)
            pieces[number].append(line)
            self.written += 1
        for number, lines in enumerate(pieces):
            self._files[number].write(b"".join(lines))
            if self._files[number].tell() > ROTATE_AT:
                self._rotate(number)

    def _rotate(self, number: int) -> None:
        path = self._paths[number]
        path.rename(f"{path}.1")
        self._files[number].close()
        self._files[number] = path.open("ab", buffering=0)


class Output:
    """Counts what is written, and takes it away."""

    def __init__(self, path: Path) -> None:
        self._path, self._rotated = path, path.with_name(path.name + ".1")
        self.rows = 0

    def look(self, *, at_end: bool = False) -> None:
        """Rotate the output when it has grown large; count what was rotated before."""
        if self._rotated.exists() and (at_end or self._path.exists()):
            self._take(self._rotated)
        if self._path.exists() and (at_end or self._path.stat().st_size > ROTATE_AT):
            self._path.rename(self._rotated)
            if at_end:
                self._take(self._rotated)

    def _take(self, path: Path) -> None:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                self.rows += block.count(b"\n")
        path.unlink()


def tree(pid: int) -> list[int]:
    """A process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in tree(int(child)))]


def memory_mb(pid: int) -> float:
    """Memory of a process and its children that is theirs alone, and their share of what is not."""
    total = 0
    for one in tree(pid):
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(found[1]) if found else 0
    return total / 1024


def cpu_s(pid: int) -> float:
    """Processor time of a process and its children."""
    total = 0.0
    for one in tree(pid):
        words = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return total


def behind(directory: Path) -> int:
    """Bytes of the logs that have not been read, as the state says; a rotated one counts whole."""
    state = directory / "state" / "state"
    if not state.exists():
        return 0
    with state.open("rb") as file:
        file.readline()
        head = file.readline()
    offsets = [parts[-1]["offset"] for parts in json.loads(head)["positions"].values()]
    sizes = [(directory / name).stat().st_size for name in NAMES]
    return sum(max(size - offset, 0) for size, offset in zip(sizes, offsets, strict=False))


def soak(minutes: float, rate: int, strangers: float, directory: Path, more: list[str]) -> int:
    """Write, follow, watch; returns the exit status."""
    print("making the lines of a round …", flush=True)
    lines = site(directory / "site", int(rate * ROUND_S / LINES_A_SESSION))
    writer = Writer(directory, lines, datetime.now(UTC).replace(microsecond=0), strangers)
    output = Output(directory / "sessions.jsonl")
    command = [
        sys.executable, "-m", "logscope", "tail", "--from-start", "--state", directory / "state",
        "--tz", "UTC", "--to", directory / "sessions.jsonl", *(directory / name for name in NAMES), *more,
    ]  # fmt: skip
    source = writer.rounds()
    writer.write(source, 1)
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE)
    began = time.monotonic()
    every_s = min(EVERY_S, 60 * minutes / QUARTERS / 2)  # two samples in each quarter at least
    shown = began
    samples: list[tuple[float, float]] = []
    print(f"{'minutes':>8}{'lines':>14}{'MB':>8}{'CPU %':>7}{'behind':>12}{'rows':>12}", flush=True)
    try:
        while (now := time.monotonic()) - began < 60 * minutes and process.poll() is None:
            writer.write(source, max(int((now - began) * rate) - writer.written, 0))
            output.look()
            if now - shown >= every_s:
                shown = now
                samples.append((now - began, memory_mb(process.pid)))
                share = 100 * cpu_s(process.pid) / (now - began)
                print(
                    f"{(now - began) / 60:>8.1f}{writer.written:>14,}{samples[-1][1]:>8.0f}{share:>7.0f}"
                    f"{behind(directory):>12,}{output.rows:>12,}",
                    flush=True,
                )
            time.sleep(STEP_S)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    output.look(at_end=True)
    print(said.decode().strip())
    print(f"{writer.written:,} lines, {writer.sessions:,} of them a balancer's, {output.rows:,} sessions")
    grown, told = growth(samples, 60 * minutes)
    print(told)
    return int(grown or process.returncode != 0)


def growth(samples: list[tuple[float, float]], length_s: float) -> tuple[bool, str]:
    """Whether memory grew from the end of the first quarter to the end, in words besides.

    Args:
        samples: seconds since the beginning, and megabytes.
    """
    first = [size for at, size in samples if at <= length_s / QUARTERS]
    last = [size for at, size in samples if at >= length_s - length_s / QUARTERS]
    if length_s < SHORTEST_S or not first or not last:
        return False, f"too short to say whether memory grows: {SHORTEST_S / 60:.0f} minutes at least"
    grown = max(last) > 1.1 * max(first)
    return grown, (
        f"memory {'grew' if grown else 'is flat'}: {max(first):.0f} MB at most in the first quarter, "
        f"{max(last):.0f} MB in the last"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=20_000, help="lines a second")
    parser.add_argument("--strangers", type=float, default=0.0, help="share of clients never heard of again")
    parser.add_argument("more", nargs="*", help="further options of logscope tail, behind --")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the run that is watched ends too
    directory = Path(tempfile.mkdtemp(prefix="logscope-soak-"))
    try:
        return soak(told.minutes, told.rate, told.strangers, directory, told.more)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
