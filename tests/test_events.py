"""The table of all lines."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from logscope import events, pipeline
from logscope.grammar import catalogue
from logscope.pipeline import Options
from logscope.sources.source import Source

SAMPLES = Path(__file__).parents[1] / "samples" / "proxy-v1"
GRAMMARS = catalogue.load()


@pytest.mark.parametrize("machine_code", [False, True])
def test_a_batch_stays_as_it_was_when_later_chunks_are_read(
    machine_code: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "CHUNK", 1 << 14)
    monkeypatch.setattr(pipeline, "SMALL_CHUNK", 1 << 14)
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
