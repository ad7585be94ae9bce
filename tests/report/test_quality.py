"""How far figures can be trusted."""

from __future__ import annotations

import pytest

from logscope.report.model import Note
from logscope.report.quality import counted_twice, quality_notes


@pytest.mark.parametrize(
    ("balancer_only", "mta_only", "twice"), [(30, 20, 20), (0, 40, 0), (200, 9, 0), (10, 10, 10)]
)
def test_what_one_hop_alone_saw_may_be_what_the_other_did(
    balancer_only: int, mta_only: int, twice: int
) -> None:
    quality = {"sessions": 1000, "balancer_only": balancer_only, "mta_only": mta_only}
    assert counted_twice(quality) == twice
    notes = [item.text for item in quality_notes(quality) if isinstance(item, Note)]
    assert [str(twice) in text for text in notes] == [True] * bool(twice)


def test_of_no_sessions_none_is_there_twice() -> None:
    assert counted_twice({}) == 0
