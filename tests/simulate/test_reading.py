"""What the tables of a simulation say, and what reading its lines back gives, is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from logscope.simulate import KINDS, Fault, Options, Simulation, balancers
from logscope.simulate.journal import Style
from logscope.simulate.tables import TABLES, tables

from .reading import Row, read_back

HOUR = 3600.0
FINE = Style("rfc3339")
PORTS = Options(350, duration_s=86400.0, seed=11, smtpd_ports=True, backend_port=True)
FAULTS = (
    Fault("masked", 0.0, 2 * HOUR, server=0),
    Fault("header_missing", 2 * HOUR, HOUR, server=1),
    Fault("header_unexpected", 4 * HOUR, 2 * HOUR),
    Fault("server_down", 7 * HOUR, 2 * HOUR, server=2),
    Fault("no_server", 9 * HOUR, HOUR),
    Fault("mta_log_loss", 10 * HOUR, HOUR),
    Fault("balancer_log_loss", 11 * HOUR, HOUR),
    Fault("bypass", 12 * HOUR, HOUR, 0.4, server=1),
    Fault("auth_guessing", 14 * HOUR, HOUR, 0.3),
    Fault("slow_client", 15 * HOUR, HOUR, 1.0),
    Fault("account_takeover", 16 * HOUR, HOUR, 0.3),
    Fault("deferrals", 17 * HOUR, 4 * HOUR),
    Fault("bounces", 18 * HOUR),
)
SITES = {
    "v1": PORTS,
    "v2": replace(PORTS, header="v2", seed=12),
    "masked": replace(PORTS, header="none"),
    "faults": replace(PORTS, sessions=700, faults=FAULTS),
    "faults before smtpd alone": replace(PORTS, header="v2", screen=False, faults=FAULTS[:3]),
    "v2 unexpected": replace(PORTS, sessions=100, header="v2", faults=(Fault("header_unexpected", 0.0),)),
}


def session_key(row: Row) -> Any:
    """What names a session in either table: its client and when it was accepted, or met the mail server."""
    if row["accepted_at"] is not None:
        return row["client_address"], row["client_port"], str(row["accepted_at"])
    return row["mta_host"], row["peer_address"], row["peer_port"], str(row["mta_connected_at"])


KEYS: dict[str, Callable[[Row], Any]] = {
    "sessions": session_key,
    "messages": lambda row: (row["mta_host"], row["queue_id"], str(row["queued_at"])),
    "deliveries": lambda row: (row["mta_host"], row["queue_id"], str(row["logged_at"]), row["recipient"]),
}


def told(site: str) -> dict[str, list[Row]]:
    found = tables(Simulation(SITES[site], machine_code=False), TABLES)
    return {name: table.to_pylist() for name, table in found.items()}


def by_key(rows: dict[str, list[Row]], name: str) -> dict[Any, Row]:
    """The rows of one table, with sessions named by their key instead of their number."""
    sessions = {row["session_id"]: session_key(row) for row in rows["sessions"]}
    found = {}
    for row in rows[name]:
        plain = {
            column: dict(value) if column == "commands" and value else value for column, value in row.items()
        }
        if name != "deliveries":
            plain["session_id"] = sessions.get(row["session_id"])
        found[KEYS[name](row)] = plain
    assert len(found) == len(rows[name])
    return found


@pytest.mark.parametrize("site", SITES)
def test_tables_and_lines_agree(site: str) -> None:
    ours, theirs = told(site), read_back(SITES[site], FINE)
    assert len(theirs["sessions"]) > 60
    for name in TABLES:
        expected, found = by_key(ours, name), by_key(theirs, name)
        assert found.keys() == expected.keys()
        for key, row in found.items():
            columns = row.keys() & expected[key].keys() - {"events"}
            assert len(columns) > 10
            wrong = {c: (row[c], expected[key][c]) for c in columns if row[c] != expected[key][c]}
            assert not wrong, key


@pytest.mark.parametrize("header", ["v1", "none"])
@pytest.mark.parametrize("forwarded", [True, False])
def test_a_chain_of_balancers_is_one_session_told_by_the_outer_one(header: str, forwarded: bool) -> None:
    """Also where the second one is not told the client, and where the mail server is told neither."""
    site = replace(PORTS, inner=balancers(2, inner=True), sessions=150, header=header)
    found = read_back(site, replace(FINE, forwarded=forwarded))["sessions"]
    truth = tables(Simulation(site, machine_code=False), ("sessions",))["sessions"].to_pylist()
    expected = {session_key(row): row for row in truth}
    assert {session_key(row) for row in found} == expected.keys()
    assert len(found) == 150
    seen = forwarded and header == "v1"
    for row in found:
        true = expected[session_key(row)]
        for column in ("balancer", "balancers", "mta_host", "duration_ms", "bytes_to_client"):
            assert row[column] == true[column]
        assert row["server"] == row["balancers"][1]
        assert row["masked"] is (None if row["mta_host"] is None else not seen)
        chained = [link for link in row["links"] if link["to"] == "balancer"]
        assert [link["method"] for link in chained] == [
            "address_port" if forwarded else "backend_port" for _ in row["balancers"][1:]
        ]
    assert sum(row["join_confidence"] == "exact" for row in found) > 130


@pytest.mark.parametrize("stamps", ["bsd", "rfc3339", "rfc5424"])
@pytest.mark.parametrize("microseconds", [False, None])
def test_sessions_are_joined_whatever_the_stamps(stamps: str, microseconds: bool | None) -> None:
    """Clients and their servers are told right where stamps are no finer than seconds, too."""
    site = replace(PORTS, sessions=150)
    found = read_back(site, Style(stamps, microseconds=microseconds))["sessions"]
    truth = tables(Simulation(site, machine_code=False), ("sessions",))["sessions"].to_pylist()
    joined = {
        (row["client_address"], row["client_port"]): (row["mta_host"], row["queue_ids"]) for row in found
    }
    assert joined == {
        (row["client_address"], row["client_port"]): (row["mta_host"], row["queue_ids"]) for row in truth
    }


def test_every_line_of_every_fault_is_understood() -> None:
    """One fault after the other through a day; `read_back` fails on a line that nothing understands."""
    faults = tuple(
        Fault(kind, 1700.0 * number, 30.0, server=1 if known.scope == "server" else None)
        for number, (kind, known) in enumerate(KINDS.items())
    )
    found = read_back(replace(PORTS, sessions=200, faults=faults), Style())["sessions"]
    assert len(found) > 300
