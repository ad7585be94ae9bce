"""python -m benchmarks.anomalies: labelled weeks, what the detectors find in them, and what others find.

python -m benchmarks.anomalies --smoke                a few small weeks, in seconds
python -m benchmarks.anomalies --weeks 40 --misses    some weeks, with everything that went wrong
python -m benchmarks.anomalies --split train …        what detectors may be tuned on
python -m benchmarks.anomalies --write                all weeks, and the table in docs/anomalies.md

Each week is written down when it is done: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import controls as others
from . import run, table
from .outcomes import ROOT, Outcomes, digest
from .weeks import Spec, smoke, specs

DOCUMENT = ROOT / "docs" / "anomalies.md"
BEGIN, END = (
    "<!-- begin of the table: python -m benchmarks.anomalies --write -->",
    "<!-- end of the table -->",
)
_WEEKS, _HUGE = 300, 1
_COMPARED, _EVERY = 60, 4
"""Weeks over which the controls are compared; their scales come from two fifths as many weeks of training."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.anomalies", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--weeks", type=int, help=f"how many, {_WEEKS} unless said")
    parser.add_argument("--first", type=int, default=0, help="leave out so many weeks")
    parser.add_argument("--huge", type=int, help="weeks of 5 million sessions a day")
    parser.add_argument("--compared", type=int, help="weeks over which the controls are compared")
    parser.add_argument("--minutes", type=float, help="begin no more weeks after so many")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sort", action="append", help="only weeks of this sort: clean, faults, …")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="where weeks are written down; unless said, one of this code in .cache",
    )
    parser.add_argument("--misses", action="store_true", help="say what was missed, misnamed and false")
    parser.add_argument("--smoke", action="store_true", help="a few small weeks, to see that all of it runs")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {DOCUMENT.name}")
    given = parser.parse_args(arguments)
    begun = time.monotonic()
    weeks = given.weeks if given.weeks is not None else _WEEKS
    huge = given.huge if given.huge is not None else (_HUGE if given.write else 0)
    chosen = specs(given.split, given.first + weeks, huge)[given.first :]
    if given.sort:
        chosen = [spec for spec in chosen if spec.sort in given.sort]
    compared = given.compared if given.compared is not None else (_COMPARED if given.write else 0)
    names = others.available() if compared else []
    if given.smoke:
        chosen, names, compared = smoke(), ["tuned static threshold", "three sigma of the day before"], 2
    missing = set(others.CONTROLS) - set(names) if compared and not given.smoke else set()
    if missing:
        print(f"without {', '.join(sorted(missing))}: pip install 'logscope[bench]'", file=sys.stderr)
    until = None if given.minutes is None else begun + 60 * given.minutes
    kept = Outcomes(given.keep or ROOT / ".cache" / f"anomalies-{digest()}")
    calibrating = [] if not names else _calibrating(1 if given.smoke else max(3, compared * 2 // 5))
    train = run.all_judged(calibrating, names, calibrating, given.jobs, until, kept)
    test = run.all_judged(chosen, names, _with_controls(chosen, compared), given.jobs, until, kept)
    if not test:
        print("no week was done in that time", file=sys.stderr)
        return 1
    print(table.brief(test), file=sys.stderr)
    if given.misses:
        print("\n".join(table.misses(test)), file=sys.stderr)
    text = table.document(given.split, test, run.comparison(train, test))
    count = sum(week.spec.sort != "huge" for week in test)
    told = f"--split {given.split} --weeks {count} --huge {len(test) - count} --compared {compared}"
    text += f"\nMade by `python -m benchmarks.anomalies {told}`.\n"
    if given.write:
        put(DOCUMENT, text)
    else:
        print(text)
    return 0


def _calibrating(count: int) -> list[Spec]:
    """Clean weeks of training."""
    return [spec for spec in specs("train", 10 * count) if spec.sort.endswith("clean")][:count]


def _with_controls(chosen: list[Spec], count: int) -> list[Spec]:
    """Those over which the controls are compared: the first so many of every fourth."""
    some = [spec for spec in chosen if spec.sort != "huge"]
    return some[::_EVERY][:count]


def put(path: Path, text: str) -> None:
    """Replace what stands between the marks."""
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
