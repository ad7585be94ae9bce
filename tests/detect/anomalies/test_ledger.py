"""Counts by tick: whatever order and size the batches have, and whatever stamps a stranger writes."""

from __future__ import annotations

import numpy as np

from logscope.detect.anomalies.ledger import SECOND, Ledger

START = 1_780_876_800


def filled(seconds: np.ndarray, pieces: int = 1) -> Ledger:
    ledger = Ledger(1)
    ledger.routes.number(("a",))
    code = ledger.code_numbers("sessions", ["all"])[0]
    for part in np.array_split(seconds, pieces):
        times = (START + part) * SECOND
        ledger.cover(times)
        zeros = np.zeros(len(part), np.int64)
        ledger.add(ledger.ticks_of(times), zeros, zeros + code)
    return ledger


def counts(ledger: Ledger) -> list[int]:
    return list(ledger.series([(0, 0)], *ledger.span()).tolist())


def test_short_logs_have_short_ticks() -> None:
    ledger = filled(np.array([0, 5, 12, 3000]))
    assert ledger.tick_s == 10
    assert counts(ledger)[:2] == [2, 1]
    assert sum(counts(ledger)) == 4


def test_ticks_become_minutes_when_the_log_is_long_enough() -> None:
    seconds = np.random.default_rng(1).integers(0, 40_000, 5000)
    whole, pieces = filled(seconds), filled(seconds, 7)
    assert whole.tick_s == pieces.tick_s == 60
    assert counts(whole) == counts(pieces)
    assert sum(counts(whole)) == 5000


def test_the_order_does_not_matter() -> None:
    seconds = np.random.default_rng(2).integers(0, 300_000, 3000)
    assert counts(filled(seconds, 5)) == counts(filled(np.sort(seconds), 3))


def test_a_stamp_years_away_is_no_history() -> None:
    seconds = np.concatenate((np.arange(0, 90_000, 30), [-900_000_000, 900_000_000]))
    ledger = filled(seconds)
    first, after = ledger.span()
    assert (after - first) * ledger.tick_s <= 90_060
    assert sum(counts(ledger)) == 3000


def test_more_places_than_can_be_kept_share_one() -> None:
    ledger = Ledger(1, 60)
    numbers = {ledger.routes.number((f"host{n}",)) for n in range(5000)}
    assert len(numbers) == 512
