"""The live screen: what it shows, in the room there is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.report import board as boards
from logscope.report.board import READS, Board, Pulse, Source, ranked
from logscope.report.screen import Look, drawn, sparkline
from logscope.report.text import cells

EMPTY = dict.fromkeys(READS)
HOSTILE = "\x1b[2J\u202e日本\n"
NOW, TODAY = 1000.0, 1_795_387_000.0


def row(client: str, outcome: str = "delivered", **more: Any) -> dict[str, Any]:
    ended = {"ended_at": int(TODAY * 1e9), "duration_ms": 1200, "message_count": 1, "bytes_to_client": 500}
    known = {
        "client_address": client,
        "outcome": outcome,
        "server": "mx-a",
        "masked": False,
        "hops": ["smtpd"],
    }
    return EMPTY | ended | known | more


def add(board: Board, rows: list[dict[str, Any]], now: float) -> None:
    board.add(rows, now)
    board.add_to_servers(rows)


def filled() -> Board:
    board = Board()
    add(board, [row("192.0.2.1"), row("192.0.2.1"), row("192.0.2.2", "rejected")], NOW)
    add(board, [row("198.51.100.9", "server_error", server="mx-b", masked=True, bytes_to_client=9000)], NOW)
    board.note(NOW, 400, {"joined_exact": 3, "ambiguous": 1, "unparsed": 7})
    board.states = {("bk", "mx-c"): "DOWN", ("bk", "mx-a"): "UP"}
    board.sources = [Source("udp://127.0.0.1:5514", 400, 40.0, 0.2, 3, lost=12)]
    return board


def text(board: Board, look: Look | None = None, width: int = 120, height: int = 40) -> str:
    return "\n".join(drawn(board, look or Look(), width, height, NOW + 1, TODAY, colour=False))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_all_that_matters_has_room(width: int) -> None:
    shown = text(filled(), width=width, height=30)
    for words in (
        "4 sessions", "192.0.2.1", "mx-b: clients are masked, 100 % of sessions", "bk/mx-c is DOWN",
        "udp://127.0.0.1:5514", "lost 12", "q quit", "delivered",
    ):  # fmt: skip
        assert words in shown
    assert "mx-a is" not in shown


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 60),
    page=st.sampled_from(["all", "client", "session", "help"]),
    prompt=st.none() | st.just(HOSTILE),
    colour=st.booleans(),
)
def test_every_line_fits_in_any_room(
    width: int, height: int, page: str, prompt: str | None, colour: bool
) -> None:
    """Whatever clients sent, the terminal gets so many lines of so many cells, and no escapes but colours."""
    board = filled()
    refusal = {"stage": HOSTILE, "code": 550, "dsn": None, "text": HOSTILE, "sender": None, "recipient": None}
    hostile = row(HOSTILE, HOSTILE, helo=HOSTILE, server=HOSTILE, sasl_username=HOSTILE, rejects=[refusal])
    add(board, [hostile], NOW)
    look = Look(page=page, client=HOSTILE, session=hostile, lines=[HOSTILE], prompt=prompt, where=HOSTILE)
    lines = drawn(board, look, width, height, NOW, TODAY, colour)
    assert len(lines) == height
    for line in lines:
        plain = re.sub(r"\x1b\[\d*m", "", line)
        assert sum(map(cells, plain)) == width
        assert plain.isprintable()


def test_one_client_and_one_session() -> None:
    board = filled()
    shown = text(board, Look(page="client", client="192.0.2.1"))
    assert "2 of the latest sessions" in shown
    assert shown.count("delivered") == 2
    session = row(
        "192.0.2.1", session_id="0123", accepted_at=int(TODAY * 1e9), balancer="edge1", queue_ids=["4F1"],
        links=[{"from": "screen", "to": "smtpd", "method": "order", "confidence": "probable"}],
    )  # fmt: skip
    shown = text(board, Look(page="session", session=session, lines=["the line itself"]))
    for words in ("0123", "by edge1", "4F1", "screen and smtpd by order: probable", "the line itself"):
        assert words in shown


def test_clients_are_ranked() -> None:
    clients = filled().clients
    assert [name for name, _ in ranked(clients, "sessions", 2)] == ["192.0.2.1", "192.0.2.2"]
    assert ranked(clients, "refused", 1)[0][0] == "192.0.2.2"
    assert ranked(clients, "bytes", 1)[0][0] == "198.51.100.9"


def test_a_flood_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "MOST_CLIENTS", 10)
    board = Board()
    add(board, [row(f"192.0.2.{number}") for number in range(200)], NOW)
    add(board, [row("192.0.2.199")], NOW)
    assert len(board.clients) == 10
    assert board.forgotten == 190
    assert board.clients["192.0.2.199"].sessions == 2
    assert sum(board.outcomes.values()) == 201


def test_rates() -> None:
    """Of whole seconds; what is long past is forgotten."""
    pulse = Pulse()
    for second in range(10):
        pulse.add(second, 5)
    assert pulse.rate(10.5) == 5
    assert pulse.bars(10.5, 3) == [5, 5, 5]
    assert pulse.rate(15) == 2.5
    assert pulse.rate(10_000) == 0


def test_sparkline() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "  "
    assert sparkline([1, 1000]) == "▁█"


def test_sessions_that_stay_open() -> None:
    """The longest are named, how long they have been open goes on, and their clients can be looked at."""

    row: dict[str, object] = dict.fromkeys(READS) | {
        "session_id": "a1", "client_address": "192.0.2.10", "outcome": "open", "duration_ms": 60_000,
        "hops": ["smtpd"], "mta_host": "mx-a", "amends": None,
    }  # fmt: skip
    board = Board()
    board.add_open([row, row | {"session_id": "a2", "client_address": "192.0.2.11"}], 100.0)
    for width in (60, 80, 160):
        shown = "\n".join(drawn(board, Look(), width, 24, 160.0, 0.0, False))
        assert "2 open for long  longest 2 min" in shown
        assert "192.0.2.10" in shown
    assert [one["session_id"] for one in board.of_client("192.0.2.11")] == ["a2"]
    add(board, [row | {"outcome": "no_mail", "ended_at": 1}], 161.0)
    assert list(board.open) == ["a2"]


def test_another_filter_leaves_the_servers_and_what_is_wrong_with_them() -> None:
    board = filled().filtered_anew()
    shown = text(board)
    assert "mx-b: clients are masked, 100 % of sessions" in shown
    assert "bk/mx-c is DOWN" in shown
    assert "192.0.2.1" not in shown
