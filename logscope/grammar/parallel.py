"""Chunks of one input scanned side by side, their rows handed out in the order of the chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from logscope.grammar.rows import Rows
from logscope.grammar.scan import Scanner


def scan_in_order(
    scanners: Sequence[Scanner], chunks: Iterable[tuple[NDArray[np.uint8], int]], threads: int
) -> Iterator[Rows]:
    """Scan chunks of whole lines, as many at a time as there are threads.

    Args:
        scanners: one more than threads keeps all threads busy while the rows of one chunk are looked at.
        chunks: a buffer, and where its last line ends. As many buffers as scanners may be used in turn.

    Yields:
        The rows of each chunk, valid until the next ones are asked for. Codes of names are those of
        `Rows.names`, each scanner's own.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Rows]] = deque()
        for turn, (buffer, end) in enumerate(chunks):
            waiting.append(pool.submit(scanners[turn % len(scanners)].scan, buffer, 0, end, True))
            if len(waiting) == len(scanners):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
