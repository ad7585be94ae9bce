"""Nothing a client sent acts on the reader."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.report.text import cells, csv_safe, cut, is_hostile, json_safe, visible


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]8;;http://x\x07", r"\x1b]8;;http://x\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("user\u202egnp.exe", r"user\u202egnp.exe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("\ufeff\u200b", r"\ufeff\u200b"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("\x00\x7f", r"\x00\x7f"),
    ],
)
def test_hostile_characters_are_shown_not_sent(hostile: str, shown: str) -> None:
    assert is_hostile(hostile)
    assert visible(hostile) == shown


@pytest.mark.parametrize("text", ["", "plain", "größe", "日本語", "emoji 👩", "[red]x[/red]", "a\\b"])
def test_ordinary_text_stays(text: str) -> None:
    assert visible(text) == text


@given(st.text())
def test_no_control_or_format_character_survives(text: str) -> None:
    """Soft hyphens and joiners are format characters as well; the few that are left have no effect on a
    terminal.
    """
    left = {unicodedata.category(character) for character in visible(text)}
    assert not left & {"Cc", "Cs", "Zl", "Zp"}
    assert not any(unicodedata.bidirectional(character) in BIDI for character in visible(text))


BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_escapes_lose_nothing(text: str) -> None:
    document = json_safe(json.dumps(text, ensure_ascii=False))
    assert not is_hostile(document)
    assert json.loads(document) == text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_spreadsheets_see_no_formulas(start: str) -> None:
    assert csv_safe(f"{start}cmd|' /C calc'!A0").startswith("'")


def test_csv_leaves_ordinary_text() -> None:
    assert csv_safe("mail.example.com") == "mail.example.com"


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])), st.integers(1, 30))
def test_cut_text_fits(text: str, width: int) -> None:
    short = cut(text, width)
    assert sum(map(cells, short)) <= width
    assert short == text or short.endswith("…")


def test_text_that_fits_is_not_cut() -> None:
    assert cut("日本", 4) == "日本"
    assert cut("日本語", 4) == "日…"
