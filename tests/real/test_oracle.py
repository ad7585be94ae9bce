"""The oracle's assignment, against every possible one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from .oracle import assign, certainty, curve, recall_at


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (4, 6), (6, 4)])
def test_the_assignment_is_the_cheapest(seed: int, shape: tuple[int, int]) -> None:
    costs = np.random.default_rng(seed).uniform(-5, 5, shape)
    rows, columns = shape
    chosen = assign(costs)
    assert len(set(chosen)) == rows
    found = sum(costs[row, column] for row, column in enumerate(chosen) if column < columns)
    short, wide = (costs, columns) if rows <= columns else (costs.T, rows)
    best = min(
        sum(short[row, column] for row, column in enumerate(order))
        for order in permutations(range(wide), min(shape))
    )
    assert found == pytest.approx(best)


def test_what_nothing_rivals_is_sure_and_what_two_could_be_is_not() -> None:
    sure = certainty(np.array([[0.0, 20.0, 20.0], [20.0, 0.0, 0.1], [20.0, 0.1, 0.0]]))
    assert sure[0, 0] > 0.999
    assert sure[1, 1] == pytest.approx(0.5, abs=0.05)


def test_recall_at_a_precision() -> None:
    made = [(0.9, True), (0.8, True), (0.7, False), (0.6, True)]
    assert curve(4, made) == [(1.0, 0.25), (1.0, 0.5), (2 / 3, 0.5), (0.75, 0.75)]
    assert recall_at(0.98, curve(4, made)) == 0.5
    assert recall_at(0.7, curve(4, made)) == 0.75
    assert recall_at(0.98, []) == 0.0
