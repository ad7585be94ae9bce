"""The table of clients is what a simple count says, however the sessions arrive."""

from __future__ import annotations

import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pytest

from logscope.report import clients as module
from logscope.report import groups
from logscope.report.clients import COUNTED, SORTS, ClientTable, clients_report, sort_of
from logscope.report.output import write_report
from logscope.report.writers import Canvas
from tests.report.fabricated import START, batch_of, many_sessions, session, with_counts

SECOND = 1_000_000_000


def rows_of(*batches: pa.RecordBatch) -> list[dict[str, object]]:
    table = ClientTable()
    for batch in batches:
        table.add(with_counts(batch))
    return table.table().to_pylist()


def pieces(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, size):
        yield batch.slice(start, size)


def test_one_client_in_full() -> None:
    rejects = [{"stage": "RCPT", "code": 550}, {"stage": "RCPT", "code": 450}]
    plain = session(duration_ms=100, helo="b.example", sasl_username="anna", bytes_to_client=10)
    later = session(duration_ms=300, helo="a.example", accepted_ns=START + 60 * SECOND, bytes_to_server=5)
    masked = session(
        duration_ms=None, outcome=None, masked=True, client_known_from="backend_port", server="mx-b"
    )
    later |= {"outcome": "rejected", "message_count": 0, "rejects": rejects}
    masked |= {"screen_tests": ["pregreet", "dnsbl"], "dnsbl_rank": 7, "message_count": None}
    batch = batch_of("sessions", [plain, later, masked])
    (row,) = rows_of(batch)
    assert row["client"] == "203.0.113.9"
    assert (row["sessions"], row["delivered"], row["rejected"], row["unknown"]) == (3, 1, 1, 1)
    assert (row["messages"], row["recipients"], row["rejects"]) == (1, 2, 2)
    assert (row["bytes_to_client"], row["bytes_to_server"]) == (10 + 378 + 378, 5)
    assert row["helos"] == ["a.example", "b.example", "mail.example.net"]
    assert row["servers"] == ["mx-a", "mx-b"]
    assert row["sasl_usernames"] == ["anna"]
    assert row["screen_tests"] == ["dnsbl", "pregreet"]
    assert row["dnsbl_rank_max"] == 7
    assert (row["duration_ms_p50"], row["duration_ms_p95"]) == (100, 300)
    assert (row["masked_sessions"], row["recovered_sessions"]) == (1, 1)
    assert str(row["first_seen"]) == "2026-07-26 10:00:00+00:00"
    assert str(row["last_seen"]) == "2026-07-26 10:01:02.235000+00:00"


def test_health_checks_are_not_clients_and_the_unknown_are_one_row() -> None:
    batch = batch_of(
        "sessions",
        [session(outcome="probe", client_address="10.0.0.5")] * 3
        + [session(client_address=None, masked=True, client_known_from="none")] * 2,
    )
    table = ClientTable()
    table.add(with_counts(batch))
    (row,) = table.table().to_pylist()
    assert (row["client"], row["sessions"], row["masked_sessions"], row["recovered_sessions"]) == (
        None,
        2,
        2,
        0,
    )
    totals = table.totals()
    assert (totals["clients"], totals["sessions"], totals["probes"]) == (0, 5, 3)


def test_a_session_without_any_time_or_duration_is_counted() -> None:
    (row,) = rows_of(
        batch_of(
            "sessions", [session(accepted_at=None, mta_connected_at=None, ended_at=None, duration_ms=None)]
        )
    )
    assert (row["sessions"], row["first_seen"], row["last_seen"]) == (1, None, None)
    assert row["duration_ms_p95"] is None


@pytest.mark.parametrize("size", [70, 1000, 5000])
def test_batches_of_any_size_give_what_a_simple_count_gives(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """With limits so low that counting in parts and merging them happens often."""
    monkeypatch.setattr(module, "_AT_ONCE", 200)
    monkeypatch.setattr(groups, "_MERGE_FROM", 100)
    batch = many_sessions(5000, clients=700, seed=3)
    got = {row["client"]: row for row in rows_of(*pieces(batch, size))}
    expected = simple_count(batch)
    assert got.keys() == expected.keys()
    for client, numbers in expected.items():
        assert {name: got[client][name] for name in numbers} == numbers


def simple_count(batch: pa.RecordBatch) -> dict[str, dict[str, object]]:
    own: dict[str, list[dict[str, object]]] = defaultdict(list)
    names = [
        "client_address",
        "outcome",
        "duration_ms",
        "bytes_to_client",
        "server",
        "helo",
        "message_count",
        "screen_tests",
    ]
    for row in batch.select(names).to_pylist():
        if row["outcome"] != "probe":
            own[row["client_address"]].append(row)
    return {client: counted(rows) for client, rows in own.items()}


def counted(rows: list[dict[str, object]]) -> dict[str, object]:
    outcomes = Counter(row["outcome"] for row in rows)
    spans = sorted(int(str(row["duration_ms"])) for row in rows)
    tests = {test for row in rows for test in row["screen_tests"]}  # type: ignore[attr-defined]
    return {
        "sessions": len(rows),
        **{outcome: outcomes[outcome] for outcome in COUNTED},
        "bytes_to_client": sum(int(str(row["bytes_to_client"])) for row in rows),
        "messages": sum(int(str(row["message_count"])) for row in rows),
        "servers": sorted({row["server"] for row in rows}),  # type: ignore[type-var]
        "helos": sorted({row["helo"] for row in rows}),  # type: ignore[type-var]
        "screen_tests": sorted(tests),
        "duration_ms_p50": spans[math.ceil(0.5 * len(spans)) - 1],
        "duration_ms_p95": spans[math.ceil(0.95 * len(spans)) - 1],
    }


def test_order_is_by_sessions_then_address() -> None:
    rows = [
        session(client_address=address)
        for address in ("198.51.100.2", "192.0.2.1", "203.0.113.9", "203.0.113.9")
    ]
    assert [row["client"] for row in rows_of(batch_of("sessions", rows))] == [
        "203.0.113.9",
        "192.0.2.1",
        "198.51.100.2",
    ]


def test_clients_are_sorted_by_any_number_and_cut_where_it_is_asked_for() -> None:
    table = ClientTable()
    rows = [session(), session(), session(client_address="192.0.2.1", duration_ms=90_000)]
    refused = session(client_address="198.51.100.2") | {"outcome": "rejected"}
    table.add(with_counts(batch_of("sessions", [*rows, refused])))

    def first(sort: str, limit: int | None = None) -> list[str]:
        text = io.BytesIO()
        write_report(clients_report(table, {}, sort=sort, limit=limit), "json", text, Canvas())
        document = json.loads(text.getvalue())
        assert document["totals"]["clients"] == 3  # whatever is shown
        return [row["client"] for row in document["clients"]]

    assert first("sessions") == ["203.0.113.9", "192.0.2.1", "198.51.100.2"]
    assert first("rejected", 1) == ["198.51.100.2"]
    assert first("duration_ms_p95", 2) == ["192.0.2.1", "203.0.113.9"]
    assert first("client") == ["192.0.2.1", "198.51.100.2", "203.0.113.9"]
    for sort in SORTS:
        assert len(first(sort)) == 3
        drawn = io.BytesIO()
        write_report(clients_report(table, {}, sort=sort), "table", drawn, Canvas())
        assert "203.0.113.9" in drawn.getvalue().decode()


def test_what_clients_are_sorted_by_is_shown() -> None:
    table = ClientTable()
    table.add(with_counts(batch_of("sessions", [session()])))
    for sort, title in (("rejects", "rejects"), ("first_seen", "2026-07-26 10:00:00"), ("took", "took p95")):
        drawn = io.BytesIO()
        write_report(clients_report(table, {}, sort=sort_of(sort)), "table", drawn, Canvas())
        assert title in drawn.getvalue().decode()


def test_the_document_has_clients_totals_and_quality() -> None:
    table = ClientTable()
    table.add(with_counts(batch_of("sessions", [session(), session(client_address="2001:db8::1")])))
    text = io.BytesIO()
    write_report(clients_report(table, {"lines_read": 8, "parsed": 8}), "json", text, Canvas())
    document = json.loads(text.getvalue())
    assert [row["client"] for row in document["clients"]] == ["2001:db8::1", "203.0.113.9"]
    assert document["clients"][0]["first_seen"] == "2026-07-26T10:00:00+00:00"
    assert document["totals"]["sessions"] == 2
    assert document["quality"] == {"lines_read": 8, "parsed": 8}


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv", "parquet"])
def test_no_sessions_is_an_empty_report_not_an_error(output: str) -> None:
    text = io.BytesIO()
    write_report(clients_report(ClientTable(), {}), output, text, Canvas())
    if output == "json":
        assert json.loads(text.getvalue())["clients"] == []
    elif output == "table":
        assert "No sessions of clients." in text.getvalue().decode()
    elif output == "csv":
        assert text.getvalue().startswith(b'"client","sessions"')
