"""What it costs `logscope tail` to look for anomalies: processor time with `--anomalies` and without.

    python -m benchmarks.live_anomalies
    python -m benchmarks.live_anomalies --rate 3000 --minutes 2

The lines of a simulated site are read as fast as can be, in turn with and without; printed is the least of
each. With `--rate` both runs follow the same files, to which so many lines a second are written, side by
side, and what they took after the first half minute is compared.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.soak import LINES_A_SESSION, NAMES, ROUND_S, STEP_S, Writer, cpu_s, site

KINDS: dict[str, tuple[str, ...]] = {"without": (), "with": ("--anomalies",)}
_WARM_S = 30.0


def command(directory: Path, *options: str) -> list[str]:
    files = [str(directory / name) for name in NAMES]
    common = ("-o", "jsonl", "--to", os.devnull, "-q")
    return [sys.executable, "-m", "logscope", "tail", *files, *common, *options]


def read(directory: Path, *options: str) -> float:
    """Seconds of processor time of a run that reads all of it."""
    words = command(directory, "--from-start", "--no-follow", *options)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"tail ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def as_fast_as_can_be(directory: Path, sessions: int, rounds: int) -> dict[str, float]:
    """The least processor time of each kind."""
    options = ("-n", str(sessions), "-d", "1d", "--truth", "none", "-q")
    subprocess.run([sys.executable, "-m", "logscope", "simulate", str(directory), *options], check=True)
    for kind in KINDS.values():
        read(directory, *kind)  # may have to compile
    taken: dict[str, list[float]] = {name: [] for name in KINDS}
    for _ in range(rounds):
        for name, kind in KINDS.items():
            taken[name].append(read(directory, *kind))
    return {name: min(times) for name, times in taken.items()}


def at_a_rate(directory: Path, rate: int, seconds: float) -> dict[str, float]:
    """The processor time of each kind in so many seconds after the first half minute."""
    lines = site(directory / "site", round(rate * ROUND_S / LINES_A_SESSION))
    logs = directory / "logs"
    logs.mkdir()
    writer = Writer(logs, lines, datetime.now(UTC).replace(microsecond=0), 0.0)
    source = writer.rounds()
    running = {name: subprocess.Popen(command(logs, *kind)) for name, kind in KINDS.items()}
    before: dict[str, float] = {}
    begun = time.monotonic()
    try:
        while (passed := time.monotonic() - begun) < _WARM_S + seconds:
            writer.write(source, max(round(passed * rate) - writer.written, 0))
            if not before and passed >= _WARM_S:
                before = {name: cpu_s(one.pid) for name, one in running.items()}
            time.sleep(STEP_S)
        return {name: cpu_s(one.pid) - before[name] for name, one in running.items()}
    finally:
        for one in running.values():
            one.send_signal(signal.SIGTERM)
            one.wait()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live_anomalies", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--sessions", type=int, default=100_000, help="of a day, nine lines each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, help="lines a second; not as fast as can be")
    parser.add_argument("--minutes", type=float, default=2.0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="logscope-bench-") as name:
        if given.rate:
            taken = at_a_rate(Path(name), given.rate, given.minutes * 60)
        else:
            taken = as_fast_as_can_be(Path(name), given.sessions, given.rounds)
    more = taken["with"] / taken["without"] - 1
    print(f"without {taken['without']:.2f} s, with {taken['with']:.2f} s: {100 * more:.0f} % more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
