"""Scans files to typed rows, and nothing else. Prints how many lines there were, and how many not understood.

Chunks of a file are scanned side by side, one thread for each core; rows come in order.

python benchmarks/scan.py FILE…
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from logscope.grammar.catalogue import load
from logscope.grammar.parallel import scan_in_order
from logscope.grammar.rows import FOREIGN, UNPARSED
from logscope.grammar.scan import Scanner

CHUNK = 2 << 20
PADDING = 64


def chunks(path: Path, buffers: int) -> Iterator[tuple[np.ndarray, int]]:
    """Whole lines of a file, in so many buffers in turn."""
    recycled = [np.zeros(CHUNK + PADDING, np.uint8) for _ in range(buffers)]
    rest, turn = b"", 0
    with path.open("rb", buffering=0) as file:
        while True:
            buffer = recycled[turn % buffers]
            buffer[: len(rest)] = np.frombuffer(rest, np.uint8)
            size = file.readinto(memoryview(buffer)[len(rest) : CHUNK])
            filled = len(rest) + size
            end = filled if not size else memoryview(buffer)[:filled].tobytes().rfind(b"\n") + 1
            rest = buffer[end:filled].tobytes()
            if end:
                yield buffer, end
            if not size:
                return
            turn += 1


def main() -> None:
    threads = os.cpu_count() or 1
    catalogue = load()
    scanners = [Scanner(catalogue) for _ in range(threads + 1)]
    counts = np.zeros(3, np.int64)
    for name in sys.argv[1:]:
        for rows in scan_in_order(scanners, chunks(Path(name), len(scanners)), threads):
            counts += len(rows), (rows.template == UNPARSED).sum(), (rows.template == FOREIGN).sum()
    lines, unparsed, foreign = counts.tolist()
    print(f"{lines} lines, {unparsed} unparsed, {foreign} foreign")


if __name__ == "__main__":
    main()
