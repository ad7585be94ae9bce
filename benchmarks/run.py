"""Measures logscope's main job beside pflogsumm's pass over the mail log, on generated logs.

    python benchmarks/run.py                      a million sessions, three rounds
    python benchmarks/run.py --smoke              20,000 sessions, one round: does everything run?
    python benchmarks/run.py --sessions 5000000   does memory stay where it was?
    python benchmarks/run.py --strict             exit status 1 when a target is missed

Every job is a process of its own, start-up included, and its peak memory is the kernel's word for that
process. The jobs take turns in each round, so that a busy machine slows all of them, and the median of the
rounds counts. One run on a small pair comes first: it compiles the kernels, which are cached from then on.
The logs are kept in `.cache/` and are made anew when their generator changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import generate

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache"
LOGSCOPE = Path(sys.executable).with_name("logscope")
SMALL = 20_000  # enough for the kernels to be worth compiling
MEMORY_TARGET_MB = 500
SESSIONS_PER_S_TARGET = 300_000
BASELINE = "pflogsumm"
WRITING = "join, then write"


@dataclass
class Job:
    """One thing to measure. `target` is how many times faster than pflogsumm it has to be; `said` is what it
    printed to standard error last.
    """

    name: str
    command: Sequence[str]
    target: float | None = None
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    said: bytes = b""

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    def run(self, output: Path) -> None:
        """Run it once; what it prints goes to `output`.

        Raises:
            SystemExit: it failed; its standard error is shown.
        """
        with output.open("wb") as stdout, tempfile.TemporaryFile() as stderr:
            started = time.perf_counter()
            process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds.append(time.perf_counter() - started)
            process.returncode = os.waitstatus_to_exitcode(status)
            stderr.seek(0)
            self.said = stderr.read()
            if process.returncode:
                sys.stderr.write(self.said.decode(errors="replace"))
                raise SystemExit(f"{' '.join(self.command)}: exit status {process.returncode}")
        self.peak_mb = max(self.peak_mb, usage.ru_maxrss / 1024)  # Linux counts KiB


def logs(sessions: int) -> Path:
    """The directory of a generated pair, made on first use."""
    version = hashlib.blake2b(Path(generate.__file__).read_bytes(), digest_size=4).hexdigest()
    directory = CACHE / f"bench-{sessions}-{version}"
    if not directory.exists():
        print(f"generating {sessions:,} sessions …", file=sys.stderr)
        unfinished = directory.with_suffix(".unfinished")
        generate.generate(unfinished, generate.Options(sessions=sessions))
        unfinished.rename(directory)
    return directory


def jobs(directory: Path, scratch: Path) -> list[Job]:
    haproxy, mail = str(directory / "haproxy.log"), str(directory / "mail.log")
    logscope = str(LOGSCOPE)
    parquet = str(scratch / "events.parquet")
    listed = [
        Job("scan", [sys.executable, str(HERE / "scan.py"), haproxy, mail], target=15),
        Job("report clients", [logscope, "report", "clients", "-o", "json", haproxy, mail], target=10),
        Job("sessions -o jsonl", [logscope, "sessions", "-o", "jsonl", haproxy, mail]),
        Job(WRITING, [sys.executable, str(HERE / "write.py"), haproxy, mail]),
        Job(
            "parse -o parquet", [logscope, "parse", "-o", "parquet", "--to", parquet, haproxy, mail], target=6
        ),
    ]
    pflogsumm = shutil.which("pflogsumm")
    if pflogsumm:
        return [Job(BASELINE, [pflogsumm, mail]), *listed]
    print("pflogsumm is not installed: no ratios", file=sys.stderr)
    return listed


def warm_up(directory: Path, scratch: Path) -> None:
    """Compile what is not compiled, on a small pair, and read the logs into the page cache."""
    for job in jobs(logs(SMALL), scratch):
        job.run(scratch / "output")
    for path in sorted(directory.glob("*.log")):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def judge(measured: Sequence[Job]) -> tuple[list[str], list[str]]:
    """The table's lines, and which targets were missed."""
    by_name = {job.name: job for job in measured}
    baseline = by_name.get(BASELINE)
    lines = [f"{'job':<20} {'seconds':>8} {'x pflogsumm':>12} {'target':>7} {'peak MB':>8}"]
    missed = []
    for job in measured:
        ratio = baseline.median_s / job.median_s if baseline else None
        target = f"{job.target:g}" if job.target else ""
        shown = f"{ratio:.1f}" if ratio else ""
        lines.append(f"{job.name:<20} {job.median_s:>8.2f} {shown:>12} {target:>7} {job.peak_mb:>8.0f}")
        if ratio and job.target and ratio < job.target:
            missed.append(f"{job.name}: {ratio:.1f} times pflogsumm, not {job.target:g}")
        if job is not baseline and job.peak_mb > MEMORY_TARGET_MB:
            missed.append(f"{job.name}: {job.peak_mb:.0f} MB, not {MEMORY_TARGET_MB}")
    # The difference of two jobs would say little: sessions are written while the next are joined.
    written = json.loads(by_name[WRITING].said.splitlines()[-1])
    rate = written["sessions"] / written["seconds"]
    lines.append(f"sessions written a second, once joined: {rate:,.0f} (target {SESSIONS_PER_S_TARGET:,})")
    if rate < SESSIONS_PER_S_TARGET:
        missed.append(f"sessions: {rate:,.0f} a second, not {SESSIONS_PER_S_TARGET:,}")
    return lines, missed


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure speed and memory on generated logs.")
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help=f"{SMALL:,} sessions, one round, no targets")
    parser.add_argument("--strict", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--to", type=Path, help="also write the numbers to this JSON file")
    arguments = parser.parse_args()
    sessions, rounds = (SMALL, 1) if arguments.smoke else (arguments.sessions, arguments.rounds)
    os.environ.setdefault("LOGSCOPE_CACHE_DIR", str(CACHE))
    # Where it is set, Python compiles the package anew at each start, as it does for no user.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    directory = logs(sessions)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        scratch = Path(name)
        work = jobs(directory, scratch)
        warm_up(directory, scratch)
        for _ in range(rounds):
            for job in work:
                job.run(scratch / "output")
    lines, missed = judge(work)
    print(f"{sessions:,} sessions, median of {rounds}")
    print("\n".join(lines))
    if arguments.to:
        numbers = {job.name: {"seconds": job.seconds, "peak_mb": job.peak_mb} for job in work}
        arguments.to.write_text(json.dumps({"sessions": sessions, "jobs": numbers}, indent=1) + "\n")
    if arguments.smoke:
        return 0  # too small to say anything about speed
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    raise SystemExit(main())
