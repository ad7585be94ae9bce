"""How long after its last line a session is shown by `logscope tail`.

    python -m benchmarks.lag --minutes 3 --rate 50
    python -m benchmarks.lag --rate 50 -- --grace 50ms

The lines of a simulated site are written one by one to two files, with the times that they are written at. A
run follows them; for each session that it shows, the time since the last of its lines was written is noted.
Printed is how these times are distributed, by how the session was joined, and how many sessions were amended.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.soak import LINES_A_SESSION, NAMES, ROUND_S, Writer, cpu_s, site

SHARES = (10, 50, 90, 99)
AT_ONCE_S = 0.3
_START_S = 3.0
"""Until a run looks at its files."""
_WARM_S = 30.0
"""Sessions shown before are not counted: first it has to be learnt whether balancers stand behind others."""

Place = tuple[str, int]


class Shown:
    """Notes when which rows come."""

    def __init__(self, stream: Any) -> None:
        self.rows: list[tuple[float, dict[str, Any]]] = []
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self.rows.append((time.monotonic(), json.loads(line)))

    def join(self) -> None:
        """Wait until no more rows come."""
        self._thread.join()


def paced(writer: Writer) -> Iterator[tuple[float, int, bytes]]:
    """The lines with the time at which each is written: those of a second are spread over it."""
    began = None
    for second, lines in itertools.groupby(writer.rounds(), key=lambda one: one[1][4:15]):
        day, clock = second.decode().split()
        hours, minutes, seconds = clock.split(":")
        at = timedelta(int(day), hours=int(hours), minutes=int(minutes), seconds=int(seconds)).total_seconds()
        began = at if began is None else began
        group = list(lines)
        for place, (number, line) in enumerate(group):
            yield at - began + place / len(group), number, line


def measure(minutes: float, rate: int, directory: Path, more: list[str]) -> None:
    """Write, follow, and print how long it took."""
    lines = site(directory / "site", max(int(rate * ROUND_S / LINES_A_SESSION), 1))
    paths = [directory / name for name in NAMES]
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=_START_S)
    writer = Writer(directory, lines, start, 0.0)
    command = [
        sys.executable,
        "-m",
        "logscope",
        "tail",
        "--tz",
        "UTC",
        "-o",
        "jsonl",
        *map(str, paths),
        *more,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    shown = Shown(process.stdout)
    time.sleep(max((start - datetime.now(UTC)).total_seconds(), 0.0))
    written: dict[Place, float] = {}
    numbers = [0, 0]
    began, before = time.monotonic(), cpu_s(process.pid)
    with paths[0].open("ab", buffering=0) as balancer, paths[1].open("ab", buffering=0) as mail:
        for at, number, line in paced(writer):
            if at > 60 * minutes or process.poll() is not None:
                break
            time.sleep(max(began + at - time.monotonic(), 0.0))
            numbers[number] += 1
            written[str(paths[number]), numbers[number]] = time.monotonic()
            (mail if number else balancer).write(line)
    over = time.monotonic()
    share = (cpu_s(process.pid) - before) / (over - began)
    process.send_signal(signal.SIGTERM)
    shown.join()
    process.wait()
    print(f"{sum(numbers):,} lines, {sum(numbers) / (over - began):.0f} a second: {share:.1%} of a core")
    tell([row for row in shown.rows if began + _WARM_S < row[0] < over], written)


def tell(rows: list[tuple[float, dict[str, Any]]], written: dict[Place, float]) -> None:
    """Print how long it took, by what the sessions are."""
    lags: dict[str, list[float]] = defaultdict(list)
    for at, row in rows:
        last = max(written[one["source"], one["line_number"]] for one in row["events"])
        lags["all"].append(at - last)
        lags[f"{', '.join(row['hops'][:3])}: {row['join_confidence']}"].append(at - last)
    print(f"{'seconds after the last line':<46}" + "".join(f"{f'{share} %':>8}" for share in SHARES))
    for name, found in lags.items():
        found.sort()
        by_share = "".join(f"{found[len(found) * share // 100]:>8.3f}" for share in SHARES)
        early = sum(lag < AT_ONCE_S for lag in found)
        print(f"{f'{name} ({len(found):,})':<46}{by_share}   {early / len(found):.0%} within {AT_ONCE_S} s")
    times = Counter(row["session_id"] for _, row in rows)
    print(f"{sum(count > 1 for count in times.values()):,} sessions came more than once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rate", type=int, default=50, help="lines a second")
    parser.add_argument("more", nargs="*", help="further options of logscope tail, behind --")
    told = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="logscope-lag-"))
    try:
        measure(told.minutes, told.rate, directory, told.more)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
