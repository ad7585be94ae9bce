"""The oracle's assignment, against every possible one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from .oracle import assign


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
