"""Every format holds every row; none of them acts on its reader."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logscope import schema
from logscope import settings as configuration
from logscope.report.text import is_hostile
from logscope.report.writers import WRITERS, Canvas, table_writer
from logscope.sources.find import open_inputs
from logscope.sources.reading import read_tables
from tests.report.fabricated import batch_of, session

PIPE = Canvas()
SAMPLES = Path(__file__).parents[2] / "samples"
EVIL = "\x1b]8;;http://x\x07[red]\u202e\x9b2J"
HOSTILE = session(
    helo=EVIL, sasl_username="=cmd|' /C calc'!A0", client_address="2001:db8::1", queue_ids=["=1+1", EVIL]
)


def written(
    output: str, rows: list[dict[str, object]], table: str = "sessions", canvas: Canvas = PIPE
) -> bytes:
    stream = io.BytesIO()
    writer = table_writer(output, table, stream, canvas)
    for row in rows:
        writer.write(batch_of(table, [row]))
    writer.close()
    return stream.getvalue()


def test_json_lines_and_json_arrays_hold_the_same() -> None:
    rows = [session(), HOSTILE]
    lines = [json.loads(line) for line in written("jsonl", rows).splitlines()]
    assert json.loads(written("json", rows)) == lines
    assert list(lines[0]) == [column.name for column in schema.SESSIONS]
    assert lines[1]["helo"] == EVIL


@pytest.mark.parametrize("output", ["jsonl", "json", "csv", "table"])
def test_nothing_hostile_is_sent(output: str) -> None:
    text = written(output, [HOSTILE]).decode()
    assert "2001:db8::1" in text
    assert not is_hostile(text.replace("\n", ""))


def test_csv_has_nested_values_as_json_and_no_formulas() -> None:
    (row,) = csv.DictReader(io.StringIO(written("csv", [HOSTILE]).decode()))
    assert row["sasl_username"] == "'=cmd|' /C calc'!A0"
    assert json.loads(row["queue_ids"]) == ["=1+1", EVIL]
    assert json.loads(row["events"])[0] == {"source": "haproxy.log", "line_number": 12}
    assert row["accepted_at"] == "2026-07-26T10:00:00+00:00"
    assert row["dnsbl_rank"] == ""
    assert row["masked"] == "false"
    assert row["duration_ms"] == "2235"
    assert row["termination_state"] == "--"


def test_parquet_keeps_types_and_text_as_they_are() -> None:
    table = pq.read_table(io.BytesIO(written("parquet", [session(), HOSTILE])))
    assert table.column("helo")[1].as_py() == EVIL
    assert table.schema.field("accepted_at").type == pa.timestamp("ns", "UTC")
    assert table.column("events")[0].as_py()[0]["line_number"] == 12


@pytest.mark.parametrize("table", [name for name in schema.TABLES if name != "events"])
@pytest.mark.parametrize("output", WRITERS)
def test_a_table_without_rows_is_well_formed(output: str, table: str) -> None:
    data = written(output, [], table)
    names = [column.name for column in schema.TABLES[table]]
    if output == "json":
        assert json.loads(data) == []
    elif output == "jsonl":
        assert data == b""
    elif output == "csv":
        assert next(csv.reader(io.StringIO(data.decode()))) == names
    elif output == "parquet":
        assert pq.read_table(io.BytesIO(data)).schema.names == names
    else:
        assert data == f"No {table}.\n".encode()


EVENTS = [
    {"kind": "postscreen.connect", "client_port": 41282, "helo": None},
    {
        "kind": "unparsed",
        "client_port": None,
        "helo": None,
        "reason": "none of 3 templates matches",
        "raw": EVIL,
    },
    {"kind": "smtpd.connect", "client_port": None, "helo": "mail.example.net"},
]
FIELDS = [("client_port", pa.int64()), ("helo", pa.string())]


def event_batch(rows: list[dict[str, Any]], fields: list[tuple[str, pa.DataType]]) -> pa.RecordBatch:
    whole = batch_of("events", [{"source": "mail.log", "line_number": 7} | row for row in rows]).drop_columns(
        ["fields"]
    )
    for name, kind in fields:
        whole = whole.append_column(name, pa.array([row[name] for row in rows], kind))
    return whole


def written_events(output: str, canvas: Canvas = PIPE) -> bytes:
    stream = io.BytesIO()
    first, second = event_batch(EVENTS[:2], FIELDS[:1]), event_batch(EVENTS[2:], FIELDS[1:])
    schema = event_batch(EVENTS, FIELDS).schema
    writer = table_writer(output, "events", stream, canvas, schema)
    writer.write(first)
    writer.write(second)
    writer.close()
    return stream.getvalue()


def test_an_event_has_the_common_columns_and_its_own_fields() -> None:
    rows = [json.loads(line) for line in written_events("jsonl").splitlines()]
    assert json.loads(written_events("json")) == rows
    common = {column.name for column in schema.EVENTS} - {"structured_data", "fields", "reason", "raw"}
    assert [set(row) - common for row in rows] == [{"client_port"}, {"reason", "raw"}, {"helo"}]
    assert all(common <= set(row) for row in rows)
    assert rows[1]["raw"] == EVIL


def test_csv_of_events_has_the_fields_as_json() -> None:
    rows = list(csv.DictReader(io.StringIO(written_events("csv").decode())))
    assert [json.loads(row["fields"]) for row in rows] == [
        {"client_port": 41282},
        {},
        {"helo": "mail.example.net"},
    ]


def test_parquet_of_events_has_a_column_for_each_field() -> None:
    table = pq.read_table(io.BytesIO(written_events("parquet")))
    assert table.column("client_port").to_pylist() == [41282, None, None]
    assert table.column("helo").to_pylist() == [None, None, "mail.example.net"]


def test_listings_of_events_show_fields_or_why_there_are_none() -> None:
    text = written_events("table").decode()
    assert "client_port=41282" in text
    assert r"none of 3 templates matches: \x1b]8" in text
    assert "helo=mail.example.net" in text
    assert not is_hostile(text.replace("\n", ""))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_listings_fit_the_terminal(width: int) -> None:
    rows = [
        session(),
        HOSTILE,
        session(client_address="2001:db8:1234:5678:9abc:def0:1234:5678", outcome="server_error"),
    ]
    text = written("table", rows, canvas=Canvas(width)).decode()
    assert all(len(line) <= width for line in text.splitlines())
    assert "2001:db8::1" in text
    assert "server_error" in text


@pytest.mark.parametrize("width", [None, 40, 80, 120])
def test_live_rows_are_written_at_once(width: int | None) -> None:
    """With what is usual as widths, and wider where a row needs it and the last column has enough left."""
    stream = io.BytesIO()
    writer = table_writer("table", "events", stream, Canvas(width), live=True)
    written = []
    for host, number in (("mx-a", 1), ("a-long-name-of-a-host", 2), ("mx-a", 3)):
        event = EVENTS[2] | {"host": host, "line_number": number, "helo": f"{number}.example.net" * number}
        writer.write(event_batch([event], FIELDS[1:]))
        lines = stream.getvalue().decode().splitlines()
        assert len(lines) == number + 1  # the heading stands above
        assert "fields" in lines[0]
        written.append(lines[-1])
    if width is None:
        assert "a-long-name-of-a-host" in written[1]
        assert written[1].endswith("helo=2.example.net2.example.net")
        assert written[2].index("helo=") == written[1].index("helo=") > written[0].index("helo=")
    else:
        assert all(len(line) <= width for line in lines)
        assert all("helo=" in line for line in written)


def test_live_rows_have_no_second_heading_where_a_run_goes_on() -> None:
    stream = io.BytesIO()
    writer = table_writer("table", "events", stream, PIPE, live=True, continues=True)
    writer.write(event_batch(EVENTS[:1], FIELDS[:1]))
    (line,) = stream.getvalue().decode().splitlines()
    assert "client_port=41282" in line


def test_listings_in_pipes_are_whole_and_plain() -> None:
    address = "2001:db8:1234:5678:9abc:def0:1234:5678"
    text = written("table", [session(), session(client_address=address)], canvas=Canvas()).decode()
    assert address in text
    assert "\x1b" not in text


def test_colours_say_what_became_of_it() -> None:
    text = written(
        "table", [session(), session(outcome="no_server")], canvas=Canvas(100, colour=True)
    ).decode()
    assert "\x1b[32mdelivered" in text
    assert "\x1b[31mno_server" in text


def test_messages_and_deliveries_have_listings_too() -> None:
    message = {"mta_host": "mx-a", "queue_id": "4F1A2", "final_status": "bounced", "sender": "", "size": 1500}
    assert "1.5 kB" in written("table", [message], "messages").decode()
    delivery = {
        "mta_host": "mx-a",
        "queue_id": "4F1A2",
        "status": "deferred",
        "delay_s": 2.5,
        "recipient": "a@example.com",
    }
    assert "2.5 s" in written("table", [delivery], "deliveries").decode()


def sessions_of(logs: list[str], output: str, *, coded: bool) -> bytes:
    stream = io.BytesIO()
    writer = table_writer(output, "sessions", stream, PIPE)
    settings = configuration.load({}, {}, SAMPLES, datetime(2026, 11, 22, tzinfo=UTC))
    with open_inputs(logs) as found:
        read_tables(
            found.sources, settings, {"sessions": ()}, lambda _, batch: writer.write(batch), coded=coded
        )
    writer.close()
    return stream.getvalue()


@pytest.mark.parametrize("output", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("logs", ["proxy-v1/*", "partial-mask/*", "relayed/*", "proxy-v1/haproxy"])
def test_columns_that_are_coded_are_written_as_others_are(logs: str, output: str) -> None:
    """Sessions of captures, read both ways; by the balancer's log alone nobody gave a command."""
    files = sorted(map(str, SAMPLES.glob(f"{logs}.log")))
    texts = [sessions_of(files, output, coded=coded) for coded in (False, True)]
    if output == "parquet":
        plain, from_codes = (pq.read_table(io.BytesIO(text)) for text in texts)
        assert from_codes.equals(plain)
    else:
        assert texts[0] == texts[1]
    assert len(texts[0]) > 1000
