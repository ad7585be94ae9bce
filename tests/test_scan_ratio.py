"""The benchmark of what the number of templates costs compares catalogues that read the same."""

from __future__ import annotations

from pathlib import Path

from scan_ratio import occurring, scanned, smallest

from logscope.grammar.catalogue import load
from logscope.grammar.model import ENVELOPE
from logscope.grammar.scan import Scanner

SAMPLE = Path(__file__).parent.parent / "samples" / "proxy-v1"


def test_only_what_occurs_is_kept_and_reads_the_same_lines() -> None:
    files = [SAMPLE / "haproxy.log", SAMPLE / "mail.log"]
    everything = load()
    few = smallest(everything, occurring(everything, files))
    kept = {one.kind for one in few.templates if ENVELOPE not in one.programs}
    assert "postscreen.connect" in kept
    assert "anvil.statistics" not in kept
    assert len(few) < len(everything) / 10
    assert scanned(Scanner(few), files)[1:] == scanned(Scanner(everything), files)[1:]
