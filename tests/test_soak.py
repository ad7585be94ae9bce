"""What the soak benchmark makes of its samples."""

from __future__ import annotations

import pytest

from benchmarks.soak import growth


def samples(length_s: float, *sizes: float) -> list[tuple[float, float]]:
    """Sizes at equal distances, the last at the end."""
    return [((number + 1) * length_s / len(sizes), size) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "grew"),
    [
        ((400, 400, 410, 430), False),
        ((400, 400, 400, 450), True),
        ((100, 400, 100, 300, 300, 300, 430, 100), False),
        ((100, 200, 900, 900, 900, 200, 210, 230), True),
    ],
)
def test_the_last_quarter_is_compared_with_the_first(sizes: tuple[float, ...], grew: bool) -> None:
    found, told = growth(samples(3600, *sizes), 3600)
    assert found is grew
    assert told.startswith("memory grew" if grew else "memory is flat")


@pytest.mark.parametrize("found", [[], samples(30, 100, 400), samples(30, 100, 100, 100, 100)])
def test_a_short_run_says_nothing_of_growth(found: list[tuple[float, float]]) -> None:
    grew, told = growth(found, 30)
    assert not grew
    assert told.startswith("too short")
