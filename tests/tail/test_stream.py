"""The line that a finished session is shown as."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from logscope.report.arrow_schema import arrow_schema
from logscope.report.stream import READS, SessionLines
from logscope.report.writers import Canvas

START = datetime(2026, 11, 22, 9, 18, 57, tzinfo=UTC)
REFUSAL = {
    "stage": "RCPT", "code": 554, "dsn": "5.7.1", "text": "<a@example.org>: Relay access denied",
    "sender": "", "recipient": "",
}  # fmt: skip
PLAIN: dict[str, Any] = {
    "accepted_at": START, "client_address": "192.0.2.24", "client_known_from": "balancer", "masked": False,
    "balancer": "edge1", "server": "mx1", "mta_host": "mx-a", "service": "postfix/postscreen",
    "screen": "pass_new",
    "hops": ["balancer", "screen", "smtpd", "queue"], "outcome": "delivered", "message_count": 2,
    "duration_ms": 2200, "termination_state": "--", "join_confidence": "exact", "retries": 0,
}  # fmt: skip


def shown(*rows: dict[str, Any], width: int | None = None, colour: bool = False) -> list[str]:
    stream = io.BytesIO()
    writer = SessionLines(stream, Canvas(width, colour))
    schema = pa.schema([arrow_schema("live_sessions").field(name) for name in READS])
    for row in rows:
        writer.write(pa.RecordBatch.from_pylist([PLAIN | row], schema=schema))
    writer.close()
    return stream.getvalue().decode().splitlines()


def test_who_on_which_way_what_and_why() -> None:
    assert shown({}) == [
        "── 2026-11-22 UTC ──",
        "09:18:57  192.0.2.24       edge1 › mx1 › pass_new › smtpd      delivered   2 mails, 2.2 s",
    ]


def test_the_day_is_said_when_it_changes() -> None:
    lines = shown({}, {}, {"accepted_at": datetime(2026, 11, 23, tzinfo=UTC)})
    assert [line for line in lines if line.startswith("──")] == [
        "── 2026-11-22 UTC ──",
        "── 2026-11-23 UTC ──",
    ]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (
            {"outcome": "rejected", "message_count": 0, "rejects": [REFUSAL]},
            "554 5.7.1 <a@example.org>: Relay",
        ),
        ({"outcome": "rejected", "message_count": 0, "rejects": [REFUSAL, REFUSAL]}, "(and 1 more), 2.2 s"),
        ({"outcome": "screened", "screen_tests": ["pregreet", "dnsbl"], "dnsbl_rank": 8}, "pregreet dnsbl 8"),
        ({"outcome": "aborted", "termination_state": "CD"}, "client closed during the dialogue (CD)"),
        (
            {"outcome": "no_server", "termination_state": "SC", "retries": 3},
            "server closed or refused while connecting (SC) after 3 retries",
        ),
        ({"outcome": "rejected", "message_count": 0, "sasl_username": "alice"}, "login failed, as alice"),
        ({"join_confidence": "probable"}, "joined: probable"),
    ],
)
def test_why(row: dict[str, Any], why: str) -> None:
    assert why in shown(row)[1]


def test_clients_that_are_not_known() -> None:
    masked, unknown, timed = (
        shown({"client_address": None, "masked": True})[1],
        shown({"client_address": None, "masked": None})[1],
        shown({"client_known_from": "timing"})[1],
    )
    assert "(masked)" in masked
    assert "09:18:57  –" in unknown
    assert "~192.0.2.24" in timed


def test_columns_grow_and_stay() -> None:
    wide = "2001:db8:1:2:3:4:5:6"
    lines = shown({}, {"client_address": wide}, {})
    assert lines[2].index("edge1") == lines[3].index("edge1") > lines[1].index("edge1")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_lines_fit(width: int) -> None:
    rows = [{"rejects": [REFUSAL] * 3, "outcome": "rejected"}, {"client_address": "2001:db8:1:2:3:4:5:6"}]
    for line in shown(*rows, width=width):
        assert len(line) <= width
        assert line.startswith("──") or any(word in line for word in ("rejected", "delivered"))


def test_colours_by_outcome() -> None:
    assert "\x1b[32mdelivered" in shown({}, colour=True)[1]


def test_what_a_client_says_is_harmless() -> None:
    hostile = REFUSAL | {"text": "\x1b[2J\x1b]0;title\x07\u202egpj"}
    line = shown({"rejects": [hostile], "outcome": "rejected", "message_count": 0})[1]
    assert "\x1b" not in line
    assert "\u202e" not in line
    assert r"\x1b[2J" in line
