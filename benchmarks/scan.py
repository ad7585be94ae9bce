"""Scans files to typed rows, and nothing else. Prints how many lines there were, and how many not understood.

python benchmarks/scan.py FILE…
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from logscope.grammar.catalogue import load
from logscope.grammar.rows import FOREIGN, UNPARSED
from logscope.grammar.scan import Scanner
from logscope.sources.buffers import CHUNK_SIZE, new_buffer


def scan(scanner: Scanner, path: Path) -> np.ndarray:
    """Number of lines read, unparsed and foreign of one file."""
    counts = np.zeros(3, np.int64)
    buffer = new_buffer()
    filled = 0
    with path.open("rb", buffering=0) as file:
        while True:
            size = file.readinto(memoryview(buffer)[filled:CHUNK_SIZE])
            rows = scanner.scan(buffer, 0, filled + size, final=not size)
            counts += len(rows), (rows.template == UNPARSED).sum(), (rows.template == FOREIGN).sum()
            if not size:
                return counts
            left = filled + size - rows.consumed
            buffer[:left] = buffer[rows.consumed : filled + size].copy()
            filled = left


def main() -> None:
    scanner = Scanner(load())
    lines, unparsed, foreign = sum(scan(scanner, Path(name)) for name in sys.argv[1:])
    print(f"{lines} lines, {unparsed} unparsed, {foreign} foreign")


if __name__ == "__main__":
    main()
