"""The table of all lines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from logscope import events
from logscope.grammar import catalogue
from logscope.grammar.model import ENVELOPE
from logscope.pipeline import Options
from logscope.schema import EVENTS
from logscope.sources.source import Source

COLUMNS = {column.name for column in EVENTS}
SAMPLES = Path(__file__).parents[1] / "samples" / "proxy-v1"
GRAMMARS = catalogue.load()
HEAD = "Nov 22 09:20:30 mx-a postfix/smtp[1]: "


@pytest.mark.parametrize("machine_code", [False, True])
def test_a_batch_stays_as_it_was_when_later_chunks_are_read(
    machine_code: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "CHUNK", 1 << 14)
    monkeypatch.setattr(events, "SMALL_CHUNK", 1 << 14)
    source = Source("mail.log", io.BytesIO((SAMPLES / "mail.log").read_bytes()))
    options = Options(machine_code=machine_code, year=2026)
    kept, at_once = [], []
    for batch in events.events([source], GRAMMARS, options):
        kept.append(batch)
        at_once.append(batch.dense().to_pylist())
    assert len(kept) > 3
    assert [batch.dense().to_pylist() for batch in kept] == at_once


def test_machine_code_and_plain_python_make_the_same_table() -> None:
    tables = []
    for machine_code in (True, False):
        source = Source("mail.log", io.BytesIO((SAMPLES / "mail.log").read_bytes()))
        options = Options(machine_code=machine_code, year=2026)
        batches = events.events([source], GRAMMARS, options)
        tables.append([row for batch in batches for row in batch.dense().to_pylist()])
    assert tables[0] == tables[1]


def _rows(text: str, *, machine_code: bool) -> list[dict[str, Any]]:
    batches = events.events(
        [Source("mail.log", io.BytesIO(text.encode()))], GRAMMARS, Options(machine_code=machine_code)
    )
    return [row for batch in batches for row in batch.dense().to_pylist()]


@pytest.mark.parametrize("machine_code", [False, True])
def test_the_reason_that_a_line_gives_is_in_the_column_of_reasons(machine_code: bool) -> None:
    """A field of the grammars is not hidden by the column that says why a line was not understood."""
    text = (
        f"{HEAD}9A1B2C3D4E: Cannot start TLS: no shared cipher\n"
        f"{HEAD}what is this\n"
        f"{HEAD}9A1B2C3D4E: Cannot start TLS: handshake failure\n"
        f"{HEAD}statistics: none\n"
    )
    rows = _rows(text, machine_code=machine_code)
    assert [row["reason"] for row in rows] == [
        "no shared cipher",
        "no template of its program matches",
        "handshake failure",
        "no template of its program matches",
    ]
    assert [row["raw"] is None for row in rows] == [True, False, True, False]
    understood = _rows(text.splitlines()[0] + "\n", machine_code=machine_code)
    assert [row["reason"] for row in understood] == ["no shared cipher"]


def test_no_field_of_a_message_is_hidden_by_a_column_of_all_lines() -> None:
    shown = set(events.schema(GRAMMARS).names)
    hidden = {
        f"{template.kind}: {name}"
        for template in GRAMMARS.templates
        if ENVELOPE not in template.programs
        for name in template.types
        if name not in shown or (name in COLUMNS and name not in ("reason", "structured_data"))
    }
    assert hidden == set()
