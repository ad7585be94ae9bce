"""Scanning side by side gives the rows that scanning one chunk after the other gives, in the same order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.parallel import scan_in_order
from logscope.grammar.scan import Scanner

from .conftest import buffer_of, in_envelope, outcome

CHUNKS = [
    b"".join(
        in_envelope(b"connect from host%d.example[192.0.2.%d]" % (line * number, number)) + b"\n"
        for line in range(1 + 997 * number % 300)
    )
    for number in range(23)
]


def in_turn(buffers: list[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """The chunks in buffers that are used again, which spoils rows that are looked at too late."""
    for turn, chunk in enumerate(CHUNKS):
        buffer = buffers[turn % len(buffers)]
        buffer[: len(chunk)] = buffer_of(chunk)
        yield buffer, len(chunk)


def test_rows_come_in_the_order_of_the_chunks(catalogue: Catalogue) -> None:
    expected = [outcome(Scanner(catalogue, compiled=False).scan_bytes(chunk)) for chunk in CHUNKS]
    for compiled in (False, True):
        scanners = [Scanner(catalogue, compiled=compiled) for _ in range(3)]
        buffers = [np.zeros(1 << 16, np.uint8) for _ in scanners]
        found = [outcome(rows) for rows in scan_in_order(scanners, in_turn(buffers), threads=2)]
        assert found == expected


def test_nothing_to_scan(catalogue: Catalogue) -> None:
    assert list(scan_in_order([Scanner(catalogue, compiled=False)], [], threads=1)) == []
