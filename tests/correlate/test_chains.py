"""Join 8: one balancer behind another. Lines decide, or nothing is said to be sure."""

from __future__ import annotations

import io
from typing import Any

import pytest

from logscope import pipeline
from logscope.correlate import join
from logscope.grammar import catalogue
from logscope.pipeline import Options
from logscope.schema import SESSIONS
from logscope.sources.source import Source

GRAMMARS = catalogue.load()
COLUMNS = [column.name for column in SESSIONS]
Row = dict[str, Any]


def line(
    client: str, host: str, at_ms: int, lasted_ms: int, server: str, *, behind: str = "",
    frontend: str = "smtp", bytes_to_client: int = 420, stamp_s: int | None = None,
) -> str:  # fmt: skip
    """HAProxy's line of a session accepted at a time of 09:00, with ` %bi:%bp` where given."""
    seconds, milliseconds = divmod(at_ms, 1000)
    end = (at_ms + lasted_ms) // 1000 if stamp_s is None else stamp_s
    accepted = f"22/Nov/2026:09:{seconds // 60:02d}:{seconds % 60:02d}.{milliseconds:03d}"
    text = (
        f"Nov 22 09:{end // 60:02d}:{end % 60:02d} {host} haproxy[900]: {client} [{accepted}] {frontend} "
        f"be_{frontend}/{server} 0/0/{lasted_ms} {bytes_to_client} -- 1/1/0/0/0 0/0"
    )
    return f"{text} {behind}" if behind else text


def sessions(*lines: str) -> list[Row]:
    rows: list[Row] = []
    source = Source("haproxy.log", io.BytesIO("\n".join([*lines, ""]).encode()))
    pipeline.run(
        [source],
        GRAMMARS,
        Options(machine_code=False, year=2026),
        {"sessions": COLUMNS},
        lambda _table, batch: rows.extend(batch.to_pylist()),
    )
    return sorted(rows, key=lambda row: str(row["accepted_at"]))


def chain(
    number: int, *, outer: str = "edge", inner: str = "inner", skew_ms: int = 0, longer_ms: int = 2
) -> list[str]:
    """Both lines of a session that the outer one announced."""
    client, at_ms, lasted_ms = f"192.0.2.{number + 1}:{40000 + number}", 7_000 * number, 3_000 + 170 * number
    return [
        line(client, outer, at_ms, lasted_ms, "inner1", bytes_to_client=300 + number),
        line(
            client, inner, at_ms + 1 + skew_ms, lasted_ms - longer_ms, "mx-a", bytes_to_client=300 + number,
            stamp_s=(at_ms + lasted_ms) // 1000,
        ),
    ]  # fmt: skip


def both(rows: list[Row]) -> list[list[str]]:
    return [row["balancers"] for row in rows]


def test_the_outer_one_tells_the_session_and_both_lines_are_its_evidence() -> None:
    (row,) = sessions(*chain(0))
    assert row["balancers"] == ["edge", "inner"]
    assert (row["balancer"], row["server"], row["duration_ms"]) == ("edge", "inner1", 3000)
    assert [event["line_number"] for event in row["events"]] == [1, 2]
    assert row["links"][0]["from"] == row["links"][0]["to"] == "balancer"
    assert row["links"][0]["method"] == "address_port"


def test_the_order_of_the_lines_does_not_matter() -> None:
    assert both(sessions(*reversed(chain(0)))) == [["edge", "inner"]]


def test_what_two_balancers_were_in_other_sessions_decides_where_milliseconds_do_not() -> None:
    rows = sessions(*(text for n in range(12) for text in chain(n, longer_ms=2 if n < 10 else 0)))
    assert both(rows) == [["edge", "inner"]] * 12
    assert {row["join_confidence"] for row in rows[10:]} == {"exact"}


def test_clocks_of_balancers_may_differ() -> None:
    rows = sessions(*(text for n in range(20) for text in chain(n, skew_ms=3_500)))
    assert both(rows) == [["edge", "inner"]] * 20
    assert rows[-1]["join_confidence"] == "exact"


def test_an_outer_ones_own_port_is_the_client_of_the_inner_one() -> None:
    rows = sessions(
        line("192.0.2.1:40000", "edge", 1_000, 3_000, "inner1", behind="198.51.100.4:51000"),
        line("198.51.100.4:51000", "inner", 1_001, 2_999, "mx-a", behind="198.51.100.5:52000"),
    )
    assert both(rows) == [["edge", "inner"]]
    assert rows[0]["client_address"] == "192.0.2.1"
    assert rows[0]["links"][0]["method"] == "backend_port"


def test_three_in_a_row() -> None:
    rows = sessions(
        *(
            line(f"192.0.2.{n}:4000{n}", host, 9_000 * n + late, 4_000 - 2 * late, server)
            for n in range(1, 5)
            for late, (host, server) in enumerate(
                [("edge", "middle1"), ("middle", "inner1"), ("inner", "mx")]
            )
        )
    )
    assert both(rows) == [["edge", "middle", "inner"]] * 4


@pytest.mark.parametrize("gap_ms", [0, 40, 20_000])
def test_a_scanner_that_uses_one_port_for_two_frontends_is_two_sessions(gap_ms: int) -> None:
    """Both are over at once and nobody said a word: nothing but the port tells that they are one."""
    ordinary = [line(f"203.0.113.{n}:50000", "edge", 500 * n, 2_000, "mx-a") for n in range(1, 40)]
    scan = [
        line("192.0.2.7:61000", "edge", 30_000, 0, "mx-a", bytes_to_client=0),
        line("192.0.2.7:61000", "edge", 30_000 + gap_ms, 0, "mx-a", frontend="submission", bytes_to_client=0),
    ]
    assert len(sessions(*ordinary, *scan)) == 41


def test_one_port_used_again_at_the_same_frontend_is_two_sessions() -> None:
    again = [line("192.0.2.7:61000", "edge", at_ms, 3_000, "mx-a") for at_ms in (1_000, 5_000)]
    assert both(sessions(*again)) == [["edge"], ["edge"]]


def test_how_often_sessions_are_handed_out_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [text for n in range(6) for text in chain(n)]
    expected = sessions(*lines)
    monkeypatch.setattr(join, "ENOUGH", 1)
    assert sessions(*lines) == expected
