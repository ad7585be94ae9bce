"""What the number of templates costs: files are scanned with all grammars and, in turn, with those templates
alone that occur in them. Prints CPU time for a line of both, and the ratio, which is to be at most 1.3.

python benchmarks/scan_ratio.py [--rounds N] FILE…

The smaller catalogue reads the same lines to the same kinds, or the run fails. One thread; what the machine
does besides makes both slower, so the fastest round of each counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scan import chunks

from logscope.grammar.build import build
from logscope.grammar.catalogue import Catalogue, grammar_files, load, read_sources
from logscope.grammar.model import ENVELOPE
from logscope.grammar.scan import Scanner

LIMIT = 1.3


def occurring(catalogue: Catalogue, files: Sequence[Path]) -> set[int]:
    """The templates that lines of the files have."""
    scanner, found = Scanner(catalogue), set[int]()
    for path in files:
        for buffer, end in chunks(path, 1):
            found.update(scanner.scan(buffer, 0, end, True).templates.tolist())
    return found


def smallest(catalogue: Catalogue, wanted: set[int]) -> Catalogue:
    """The catalogue of some templates, and of all that can stand before a message."""
    kept = {(catalogue.templates[one].grammar, catalogue.templates[one].text) for one in wanted}
    sources = [
        source
        if ENVELOPE in source.programs
        else replace(
            source, templates=tuple(one for one in source.templates if (source.name, one.text) in kept)
        )
        for source in read_sources(grammar_files())
    ]
    return Catalogue(*build(sources))


def scanned(scanner: Scanner, files: Sequence[Path]) -> tuple[float, int, list[int]]:
    """CPU seconds, lines, and how many lines there are of each kind (sorted: kinds have other numbers)."""
    lines, kinds = 0, dict[str, int]()
    seconds = 0.0
    for path in files:
        for buffer, end in chunks(path, 1):
            before = time.thread_time()
            rows = scanner.scan(buffer, 0, end, True)
            seconds += time.thread_time() - before
            lines += rows.count
            numbers, counts = np.unique(rows.template, return_counts=True)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                kind = scanner.catalogue.templates[number].kind if number >= 0 else str(number)
                kinds[kind] = kinds.get(kind, 0) + count
    return seconds, lines, [kinds[kind] for kind in sorted(kinds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    everything = load()
    few = smallest(everything, occurring(everything, options.files))
    scanners = Scanner(few), Scanner(everything)
    best = [float("inf"), float("inf")]
    for _ in range(options.rounds + 1):  # the first fills memories
        rounds = [scanned(one, options.files) for one in scanners]
        if rounds[0][1:] != rounds[1][1:]:
            sys.exit("the smaller catalogue reads the lines otherwise")
        best = [min(known, now[0]) for known, now in zip(best, rounds, strict=True)]
    lines = rounds[0][1]
    for catalogue, seconds in zip((few, everything), best, strict=True):
        print(f"{len(catalogue):5} templates  {1e9 * seconds / lines:6.0f} ns a line")
    ratio = best[1] / best[0]
    print(f"ratio {ratio:.2f}, at most {LIMIT}")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
