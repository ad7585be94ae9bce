"""Live and from files, the same lines of simulated sites give the same sessions: chains, and masked clients.

A live run hands sessions out before it has read what comes later, so what is learnt on the way it learns
after some sessions are out. Two things follow, and no more; the README says them:

- Until sessions have shown which address is a balancer's, that address is told as the client's, and `masked`
  as unknown. Where the configuration says which address it is, nothing differs.
- The first links between two balancers may be `probable`, until links have shown how their clocks differ. It
  is the same link.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logscope import pipeline, simulate
from logscope.correlate.skew import SKEW_ENOUGH
from logscope.live import Live
from logscope.pipeline import Options
from logscope.simulate.journal import Style
from logscope.sources.reading import _halves
from logscope.sources.source import Source
from tests.simulate.reading import write
from tests.tail.arriving import SECOND, Arriving, arrivals, play, rows_of
from tests.tail.test_live import COLUMNS, GRACE, GRAMMARS, in_order

Row = dict[str, Any]

PLAIN = simulate.Options(60, duration_s=600.0, seed=4, rhythm=0.0)
INNER = simulate.balancers(2, inner=True)
PORTS = replace(PLAIN, header="none", backend_port=True, smtpd_ports=True)
TIMES = replace(PLAIN, header="none")
SITES = {
    "chained": replace(PLAIN, inner=INNER),
    "masked, ports": PORTS,
    "masked, ports, smtpd alone": replace(PORTS, screen=False),
    "masked, ports, chained": replace(PORTS, inner=INNER),
    "masked, times": TIMES,
    "masked, times, chained": replace(TIMES, inner=INNER),
    "masked, times, smtpd alone": replace(TIMES, screen=False),
}
OF_THE_CLIENT = ("client_address", "client_port", "client_known_from", "masked")


@cache
def lines_of(site: str) -> dict[str, bytes]:
    with TemporaryDirectory() as name:
        return {path.name: path.read_bytes() for path in write(SITES[site], Style(), Path(name))}


def options_of(site: str, *, configured: bool) -> Options:
    """How the site is read; `configured`: its balancers' addresses are known from the start."""
    addresses = {host.address for host in (*SITES[site].balancers, *SITES[site].inner)} if configured else ()
    return Options(
        machine_code=False, year=2026, balancers=frozenset(_halves(ip_address(one)) for one in addresses)
    )


@cache
def from_files(site: str, *, configured: bool) -> list[Row]:
    batches: list[pa.RecordBatch] = []
    pipeline.run(
        [Source(name, io.BytesIO(data)) for name, data in lines_of(site).items()],
        GRAMMARS,
        options_of(site, configured=configured),
        {"sessions": COLUMNS},
        lambda _table, batch: batches.append(batch),
    )
    return in_order([row for batch in batches for row in batch.to_pylist()])


def live(site: str, delays: list[float], pauses: list[int], cut: int, *, configured: bool) -> list[Row]:
    """The sessions of a live run, in the order in which they were handed out."""
    coming = [
        (at, number, data)
        for number, content in enumerate(lines_of(site).values())
        for at, data in arrivals(content, delays[number * len(delays) // 2 :] or delays, GRACE, cut)
    ]
    coming.sort(key=lambda one: one[:2])
    run = Live(GRAMMARS, options_of(site, configured=configured), grace=GRACE)
    inputs = [Arriving(name) for name in lines_of(site)]
    run.add(inputs, coming[0][0], 0)
    rows = rows_of(play(run, inputs, coming, pauses), COLUMNS)
    assert run.tally.late == run.tally.amended == 0
    return rows


def without_chain_sureness(row: Row) -> Row:
    """The session without how sure the link between its balancers is, and what follows from that."""
    links = [
        {name: one[name] for name in ("from", "to", "method")} if one["to"] == "balancer" else one
        for one in row["links"]
    ]
    return row | {"links": links, "join_confidence": None}


def chain_sureness(row: Row) -> list[str]:
    return [one["confidence"] for one in row["links"] if one["to"] == "balancer"]


arriving = given(
    delays=st.lists(st.floats(0, 1), min_size=1, max_size=50),
    pauses=st.lists(st.integers(SECOND // 10, 3 * SECOND), min_size=1, max_size=20),
    cut=st.integers(0, 200),
)


@pytest.mark.parametrize("site", SITES)
@settings(max_examples=2, deadline=None)
@arriving
def test_live_as_from_files(site: str, delays: list[float], pauses: list[int], cut: int) -> None:
    """However lines arrive within the grace, but for the sureness of a chain's first links."""
    found = in_order(live(site, delays, pauses, cut, configured=True))
    expected = from_files(site, configured=True)
    assert {row["masked"] for row in expected} >= {SITES[site].header == "none"}
    if SITES[site].inner:
        less_sure = [
            one["session_id"]
            for one, other in zip(found, expected, strict=True)
            if chain_sureness(one) != chain_sureness(other)
        ]
        pairs = len(SITES[site].balancers) * len(SITES[site].inner)
        assert len(less_sure) <= SKEW_ENOUGH * pairs
        unsure = [row for row in found if row["session_id"] in less_sure]
        assert {one for row in unsure for one in chain_sureness(row)} <= {"probable"}
        found = [without_chain_sureness(row) for row in found]
        expected = [without_chain_sureness(row) for row in expected]
    assert found == expected


@pytest.mark.parametrize("site", ["masked, times", "masked, times, chained"])
@settings(max_examples=2, deadline=None)
@arriving
def test_a_balancer_that_nobody_named_is_a_client_until_it_is_known(
    site: str, delays: list[float], pauses: list[int], cut: int
) -> None:
    """Only what is said of the client differs, and only before the first session that shows whose address it
    is.
    """
    rows = live(site, delays, pauses, cut, configured=False)
    expected = {row["session_id"]: row for row in from_files(site, configured=False)}
    assert len(rows) == len(expected)
    known: set[tuple[str, str]] = set()
    early = 0
    for row in rows:
        other = expected[row["session_id"]]
        place = row["mta_host"], row["peer_address"]
        if row["masked"]:
            known.add(place)
        differing = {name for name in COLUMNS if row[name] != other[name]}
        if not differing:
            continue
        if "masked" in differing:
            early += 1
            assert place not in known
            assert (row["masked"], other["masked"]) == (None, True)
            assert row["client_address"] == row["peer_address"]
            assert row["client_known_from"] == "mta"
        assert differing <= {*OF_THE_CLIENT}
    assert 0 < early < len(rows) / 4
