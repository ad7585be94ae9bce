"""python -m benchmarks.masking [--seeds N] [--kind NAME …]: the table of verdicts against the truth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .report import put_into
from .score import keep, kept, runs, summary
from .setups import CLEAN, MASKED, draw
from .site import Writer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.masking", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="runs of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--kind", action="append", choices=[*CLEAN, *MASKED], help="only these kinds")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, help="a file of outcomes: those in it are not run again")
    parser.add_argument("--docs", type=Path, help="put the table into this document")
    parser.add_argument(
        "--write", type=Path, help="write the logs of the first seed of one kind there instead"
    )
    given = parser.parse_args()
    kinds = given.kind or [*CLEAN, *MASKED]
    if given.write:
        given.write.mkdir(parents=True, exist_ok=True)
        texts = Writer(draw(kinds[0], given.first), given.first).write()
        for name, text in zip(("haproxy.log", "mail.log"), texts, strict=True):
            (given.write / name).write_text(text)
        return 0
    known = list(kept(given.keep)) if given.keep else []
    names = {(one.kind, one.seed) for one in known}
    outcomes = []
    for one in runs(kinds, range(given.first, given.first + given.seeds), given.jobs, known):
        outcomes.append(one)
        if given.keep and (one.kind, one.seed) not in names:
            keep(given.keep, one)
    summary(outcomes, sys.stdout)
    if given.docs:
        put_into(given.docs, outcomes)
    return 0 if all(one.right for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
