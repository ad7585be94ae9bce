"""Rows that a thread writes are those that were handed over, in order; what goes wrong is raised."""

from __future__ import annotations

from threading import Event

import pyarrow as pa
import pytest

from logscope.report.beside import written_beside

ROWS = [pa.record_batch({"number": [number]}) for number in range(9)]


class Kept:
    """Keeps what it is to write."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.numbers: list[int] = []
        self.is_closed = False
        self.goes_on = Event()
        self._fails_at = fails_at

    def write(self, batch: pa.RecordBatch) -> None:
        self.goes_on.wait()
        (number,) = batch.column("number").to_pylist()
        if number == self._fails_at:
            raise OSError("the disk is full")
        self.numbers.append(number)

    def close(self) -> None:
        self.is_closed = True


def write_all(kept: Kept) -> None:
    with written_beside(kept) as writer:
        for batch in ROWS:
            writer.write(batch)


def give_up(kept: Kept) -> None:
    with written_beside(kept) as writer:
        writer.write(ROWS[0])
        writer.write(ROWS[1])
        kept.goes_on.set()
        raise KeyboardInterrupt


def test_all_rows_are_written_in_order_and_the_table_is_ended() -> None:
    kept = Kept()
    kept.goes_on.set()
    write_all(kept)
    assert kept.numbers == list(range(9))
    assert kept.is_closed


@pytest.mark.parametrize("at", [0, 4, 8])
def test_what_goes_wrong_is_raised_and_the_table_is_not_ended(at: int) -> None:
    kept = Kept(fails_at=at)
    kept.goes_on.set()
    with pytest.raises(OSError, match="the disk is full"):
        write_all(kept)
    assert kept.numbers[:at] == list(range(at))
    assert not kept.is_closed


def test_who_gives_up_leaves_nothing_running() -> None:
    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        give_up(kept)
    assert kept.numbers in ([0], [0, 1], [])
    assert not kept.is_closed
