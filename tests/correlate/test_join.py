"""How often the joins hand out, and how little room they have, changes nothing in what they find."""

from __future__ import annotations

from typing import Any

import pytest

from logscope.correlate import join
from tests.correlate.test_parity import capture, sessions


@pytest.mark.parametrize("name", ["proxy-v1", "partial-mask"])
def test_sessions_are_the_same_however_often_they_are_handed_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = capture(name)
    expected = sessions(files)
    monkeypatch.setattr(join, "ENOUGH", 1)
    assert sessions(files) == expected


def test_text_survives_when_room_for_it_is_made_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    files = capture("proxy-v1")
    expected = sessions(files)
    made = 0
    move_text = join.move_text

    def counted(*arguments: Any) -> int:
        nonlocal made
        made += 1
        return move_text(*arguments)

    monkeypatch.setattr(join, "move_text", counted)
    monkeypatch.setattr(join, "LONGEST_LINE", max(map(len, files["mail.log"].splitlines())))
    assert sessions(files) == expected
    assert made >= 5
