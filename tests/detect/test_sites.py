"""The verdict on small sites of every kind, from generated logs to the document.

`python -m benchmarks.masking` does the same for thousands of them.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.masking.score import Outcome, judged, outcome_of
from benchmarks.masking.setups import CLEAN, MASKED, draw
from benchmarks.masking.site import Writer
from logscope.grammar import catalogue
from logscope.grammar.catalogue import Catalogue

SEED = 1


@pytest.fixture(scope="module")
def grammars() -> Catalogue:
    return catalogue.load()


def scored(grammars: Catalogue, kind: str) -> Outcome:
    """One site of a kind against its truth; smaller than the benchmark's, for plain Python."""
    site = draw(kind, SEED)
    partly = site.clients.gateway_share < 1  # a gateway among other clients shows in many sessions alone
    if not partly and not any(len(route.ways) > 1 for route in site.routes):
        site = replace(site, sessions=min(site.sessions, 60), early_s=0.0)
    writer = Writer(site, SEED)
    return outcome_of(kind, SEED, writer, judged(grammars, *writer.write(), machine_code=False))


@pytest.mark.parametrize("kind", CLEAN)
def test_in_order(grammars: Catalogue, kind: str) -> None:
    assert scored(grammars, kind).false == []


@pytest.mark.parametrize("kind", MASKED)
def test_hiding_its_clients(grammars: Catalogue, kind: str) -> None:
    found = scored(grammars, kind)
    assert found.false == []
    assert found.missed == []
    assert all(error <= 3 for error in found.onset_errors)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("monitoring host", 2001),  # servers taken for other hosts, and the two that follow
        ("one frontend", 1006),
        ("header v2 not expected", 2),
        ("balancer on the mail server", 83),  # local mail under way when the log began
        ("one frontend", 53),  # sessions joined by time at another frontend's listener
        ("one frontend", 80),
        ("masked, busy", 74),  # an address that is a balancer's at the other servers
        ("header v2 not expected, allowlisted", 85),  # health checks joined by time
        ("header mismatched both ways", 16),  # one server's header lines taken for those of another
        ("header mismatched both ways", 132),  # and where health checks leave lines at every moment
        ("header names no client", 137),  # too few sessions of a family to tell the clock
        ("few masked", 125),  # six sessions after five hundred
        ("few masked", 137),  # one of a family, which an exact join tells
        ("rolling out", 95),  # a server that is reached from an address of each family
    ],
)
def test_judged_wrongly_once(grammars: Catalogue, kind: str, seed: int) -> None:
    """Whole sites."""
    writer = Writer(draw(kind, seed), seed)
    found = outcome_of(kind, seed, writer, judged(grammars, *writer.write(), machine_code=False))
    assert (found.false, found.missed) == ([], [])
