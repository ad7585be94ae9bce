"""python -m benchmarks.masking [--seeds N] [--kind NAME …]: the table of verdicts against the truth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .score import runs, summary
from .setups import CLEAN, MASKED, draw
from .site import Writer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.masking", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="runs of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--kind", action="append", choices=[*CLEAN, *MASKED], help="only these kinds")
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
    outcomes = list(runs(kinds, range(given.first, given.first + given.seeds)))
    summary(outcomes, sys.stdout)
    return 0 if all(one.right for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
