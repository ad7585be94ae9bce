"""How many sessions a minute `logscope simulate` makes, beside plain string formatting of such lines.

    python benchmarks/simulate_speed.py                       1,000,000 sessions of each kind
    python benchmarks/simulate_speed.py --smoke               does it run?

The yardstick makes no sessions at all: it puts the numbers of one session after the other into the lines of
a delivered message, as format strings do it, and writes them. It runs on one core, the simulator on two.
Both are told by the clock and by their time on the processor, as the kernel counts it, so that other work on
the machine matters little: two cores make at most twice as many sessions a minute as are made in a minute on
the processor, and the ratio to the yardstick is of the latter.

The files are written to `--to`, a new directory in the place for temporary files where none is named, and
removed.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from logscope.grammar import catalogue
from logscope.simulate import Options, Simulation
from logscope.simulate.journal import Style
from logscope.simulate.output import write_logs, write_tables

MAIL = """\
{stamp} mx-a postfix/postscreen[8947]: CONNECT from [{client}]:{port} to [203.0.113.25]:25
{stamp} mx-a postfix/postscreen[8947]: PASS OLD [{client}]:{port}
{stamp} mx-a postfix/smtpd[{pid}]: connect from mx{n}.sender.example[{client}]
{stamp} mx-a postfix/smtpd[{pid}]: {queue_id}: client=mx{n}.sender.example[{client}]
{stamp} mx-a postfix/cleanup[8941]: {queue_id}: message-id=<{n}.{port}@sender.example>
{stamp} mx-a postfix/qmgr[8946]: {queue_id}: from=<user{pid}@sender.example>, size={size}, \
nrcpt=1 (queue active)
{stamp} mx-a postfix/virtual[8930]: {queue_id}: to=<box{port}@example.com>, relay=virtual, \
delay={delay:.2g}, delays={before:.2g}/0.01/0/0.01, dsn=2.0.0, status=sent (delivered to maildir)
{stamp} mx-a postfix/qmgr[8946]: {queue_id}: removed
{stamp} mx-a postfix/smtpd[{pid}]: disconnect from mx{n}.sender.example[{client}] \
ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5
"""
BALANCER = """\
{stamp} edge1 haproxy[3026]: {client}:{port} [{accepted}] ft_smtp bk_postfix/mx-a 1/{connect}/{took} {size} \
-- {n}/{n}/{n}/{n}/0 0/0
"""


@dataclass(frozen=True)
class Measured:
    """What making so many sessions took."""

    what: str
    sessions: int
    seconds: float
    processor_s: float
    size: int

    @property
    def a_minute(self) -> float:
        """Sessions in a minute by the clock."""
        return 60 * self.sessions / self.seconds

    @property
    def a_core_minute(self) -> float:
        """Sessions in a minute on the processor."""
        return 60 * self.sessions / self.processor_s


def measured(what: str, sessions: int, make: Callable[[], int]) -> Measured:
    """Run it and look at both clocks; it says how many bytes it wrote."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    size = make()
    after, seconds = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(what, sessions, seconds, spent, size)


def plain_formatting(directory: Path, sessions: int) -> int:
    """Lines of as many delivered messages, by format strings."""
    with (directory / "mail.log").open("w") as mail, (directory / "haproxy.log").open("w") as balancer:
        for n in range(sessions):
            second = n % 86_400
            clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
            values = {
                "stamp": f"Nov 23 {clock}", "accepted": f"23/Nov/2026:{clock}.{n % 1000:03}",
                "client": f"198.18.{n >> 8 & 255}.{n & 255}", "port": 1024 + n % 60_000,
                "pid": 2000 + n % 700, "n": n % 997, "queue_id": f"{n & 0xFFFFFFFFFFF:011X}",
                "size": 520 + n % 5000, "delay": 0.1 + n % 60 / 7, "before": 0.1 + n % 60 / 7,
                "connect": n % 4, "took": n % 9000,
            }  # fmt: skip
            mail.write(MAIL.format_map(values))
            balancer.write(BALANCER.format_map(values))
    return sum(path.stat().st_size for path in directory.iterdir())


def lines(directory: Path, sessions: int, truth: str | None) -> int:
    """The log files of a week, with or without the truth beside them."""
    simulation = Simulation(Options(sessions), machine_code=True)
    write_logs(simulation, Style(), catalogue.load(), directory, truth=truth)
    return sum(path.stat().st_size for path in directory.iterdir())


def tables(directory: Path, sessions: int, form: str) -> int:
    """The tables of a week."""
    return write_tables(Simulation(Options(sessions), machine_code=True), directory, form).size


@contextmanager
def directories(place: str | None) -> Iterator[Callable[[], Path]]:
    """New directories, one at a time."""
    with tempfile.TemporaryDirectory(dir=place) as name:

        def next_one() -> Path:
            fresh = Path(name) / "site"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            return fresh

        yield next_one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--smoke", action="store_true", help="few sessions: does it run?")
    parser.add_argument("--to", help="directory to write in")
    parser.add_argument("--only", nargs="*", help="some of: lines, truth, arrow, parquet")
    chosen = parser.parse_args()
    sessions = 3_000 if chosen.smoke else chosen.sessions
    kinds: dict[str, tuple[str, Callable[[Path, int], int]]] = {
        "lines": ("lines", lambda place, count: lines(place, count, None)),
        "truth": ("lines and truth.jsonl", lambda place, count: lines(place, count, "jsonl")),
        "arrow": ("tables, Arrow", lambda place, count: tables(place, count, "arrow")),
        "parquet": ("tables, Parquet", lambda place, count: tables(place, count, "parquet")),
    }
    wanted = {name: kind for name, kind in kinds.items() if not chosen.only or name in chosen.only}
    with directories(chosen.to) as fresh:
        for _, make in wanted.values():
            make(fresh(), 2_000)  # compiles
        plain = max(sessions // 10, 1000)
        place = fresh()
        yardstick = measured("plain formatting", plain, lambda: plain_formatting(place, plain))
        show(yardstick, yardstick)
        for what, make in wanted.values():
            place = fresh()
            show(measured(what, sessions, lambda made=make, at=place: made(at, sessions)), yardstick)


def show(found: Measured, yardstick: Measured) -> None:
    """One line: sessions a minute by the clock, and on two processors that do nothing else."""
    if found is yardstick:
        print(f"{'':24}{'a minute':>12}{'a core minute':>16}{'µs of a core':>14}{'ratio':>8}{'bytes':>8}")
    print(
        f"{found.what:24}{found.a_minute:12,.0f}{found.a_core_minute:16,.0f}"
        f"{60e6 / found.a_core_minute:14.2f}{found.a_core_minute / yardstick.a_core_minute:8.1f}"
        f"{found.size / found.sessions:8,.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
