"""Inputs that tests bring lines to, and the times at which lines of a capture might arrive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope.errors import InputError
from logscope.live import Live
from logscope.sources.buffers import PADDING

SECOND = 1_000_000_000


class Arriving:
    """An input of `live.Live` that has what a test put there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size: int | None = None
        self.position = 0
        self.compression: str | None = None
        self.modified_at: int | None = None
        self.head = b""
        self.problem: InputError | None = None
        self.follows = True
        self.lines_before: int | None = None
        self.data = b""

    def ready(self) -> bool:
        return bool(self.data)

    def read_into(self, buffer: NDArray[np.uint8], at: int) -> int:
        data = self.data[: len(buffer) - PADDING - at]
        self.data = self.data[len(data) :]
        buffer[at : at + len(data)] = np.frombuffer(data, np.uint8)
        self.position += len(data)
        return len(data)


def stamp_of(line: bytes) -> int:
    """Nanoseconds of the day in a traditional stamp."""
    hours, minutes, seconds = line[7:15].split(b":")
    return (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * SECOND


def arrivals(data: bytes, delays: Sequence[float], grace: int, cut: int) -> Iterator[tuple[int, bytes]]:
    """When which bytes of a log arrive: none later than the grace, none before the one it follows.

    Args:
        delays: of the lines, in turn, as shares of the grace.
        cut: byte of each line at which it arrives in two pieces.
    """
    now, latest = 0, 0
    for number, line in enumerate(data.splitlines(keepends=True)):
        latest = max(latest, stamp_of(line))
        for part, piece in enumerate((line[:cut], line[cut:])):
            now = max(now, latest + int(delays[(2 * number + part) % len(delays)] * grace))
            yield now, piece


def rows_of(batches: Iterator[Any], columns: Sequence[str]) -> list[dict[str, Any]]:
    """The sessions of what a stage hands out."""
    return [row for batch in batches if batch.count for row in batch.sessions(columns).to_pylist()]


def play(
    live: Live, inputs: Sequence[Arriving], coming: Sequence[tuple[int, int, bytes]], pauses: Sequence[int]
) -> Iterator[Any]:
    """Bring everything at its time and look at the stage in between, to the end.

    Args:
        coming: time, number of the input, bytes; in order of time.
        pauses: nanoseconds from one look to the next, in turn.
    """
    now, at, turn = coming[0][0], 0, 0
    while at < len(coming):
        now = max(now + pauses[turn % len(pauses)], min(coming[at][0], now + 400 * SECOND))
        turn += 1
        while at < len(coming) and coming[at][0] <= now:
            inputs[coming[at][1]].data += coming[at][2]
            at += 1
        yield from live.pump(now)
    for one in inputs:
        one.follows = False
    yield from live.finish(now)
