"""The measure itself, on a capture made by hand: three connections of one address, and a health check."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .score import calibration, score_masking, score_sessions

ADDRESS = "192.0.2.7"
CONNECTIONS = (
    {
        "id": "a",
        "client_port": 4001,
        "lines": {"balancer": [1], "screen": [2, 3], "smtpd": [4, 5, 6]},
        "queue_ids": ["QA"],
        "logged_queue_ids": ["QA"],
    },
    {"id": "b", "client_port": 4002, "lines": {"balancer": [2], "screen": [7, 8], "smtpd": [9, 10]}},
    {"id": "c", "client_port": 4003, "lines": {"balancer": [3], "screen": [11, 12]}},
)
MASKING = [
    {"backend": "bk", "server": "mx-a", "expected": "masked"},
    {"backend": "bk", "server": "mx-b", "expected": "passed"},
]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    records = [
        {"client_ip": ADDRESS, "behaviour": "clean", "observed": "", **connection}
        for connection in CONNECTIONS
    ]
    (tmp_path / "truth.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "run.json").write_text(json.dumps({"scenario": "by-hand", "masking": MASKING}))
    return tmp_path


def session(id_: str, *, smtpd: str | None = None, **changes: Any) -> dict[str, Any]:
    """What a perfect join gives for a connection, or with the smtpd process of another one."""
    record = {str(item["id"]): item for item in CONNECTIONS}[id_]
    lines: dict[str, list[int]] = dict(record["lines"])  # type: ignore[call-overload]
    queue_ids = record.get("logged_queue_ids", [])
    if smtpd:
        other = {str(item["id"]): item for item in CONNECTIONS}[smtpd]
        lines["smtpd"] = other["lines"]["smtpd"]  # type: ignore[index]
        queue_ids = other.get("logged_queue_ids", [])
    events = [
        {"source": f"/logs/{'haproxy' if hop == 'balancer' else 'mail'}.log", "line_number": number}
        for hop, numbers in lines.items()
        for number in numbers
    ]
    hops = list(lines)
    links = [
        {"from": one, "to": other, "method": "address_port", "confidence": "exact", "probability": 1.0}
        for one, other in pairwise(hops)
    ]
    return {
        "session_id": id_,
        "client_address": ADDRESS,
        "client_port": record["client_port"],
        "client_known_from": "proxy_header",
        "queue_ids": queue_ids,
        "events": events,
        "links": links,
        "outcome": "delivered" if queue_ids else "no_mail",
        **changes,
    }


def test_a_perfect_join_scores_perfectly(capture: Path) -> None:
    probe = {"outcome": "probe", "events": [{"source": "mail.log", "line_number": 99}]}
    score = score_sessions(capture, [session("a"), session("b"), session("c"), probe])
    assert score["in one session"] == score["client recall"] == 1.0
    assert {name: (links["recall"], links["precision_exact"]) for name, links in score["links"].items()} == {
        "balancer-screen": (1.0, 1.0),
        "screen-smtpd": (1.0, 1.0),
    }
    assert score["examples"] == {}


def test_swapped_processes_cost_precision_and_recall(capture: Path) -> None:
    score = score_sessions(capture, [session("a", smtpd="b"), session("b", smtpd="a"), session("c")])
    assert score["links"]["screen-smtpd"]["wrong"] == {"exact": 2}
    assert score["links"]["screen-smtpd"]["recall"] == 0
    assert score["links"]["balancer-screen"]["precision_exact"] == 1.0
    assert score["in several sessions"] == 2


def test_a_lost_session_and_a_split_one_are_seen(capture: Path) -> None:
    split = session("a")
    parts = [{**split, "events": split["events"][:3]}, {**split, "events": split["events"][3:]}]
    score = score_sessions(capture, [*parts, session("b")])
    assert (score["in several sessions"], score["in no session"]) == (1, 1)
    assert score["links"]["screen-smtpd"]["recall"] == 0.5


def test_the_balancers_address_is_not_a_client(capture: Path) -> None:
    score = score_sessions(capture, [session("a", client_address="172.20.5.4", client_known_from="mta")])
    assert score["client"] == {"mta": {"wrong": 1}}
    assert "wrong client" in score["examples"]


def test_a_client_called_a_probe_and_a_probe_called_a_client(capture: Path) -> None:
    stranger = {"outcome": "no_mail", "events": [{"source": "mail.log", "line_number": 99}]}
    counts = score_sessions(capture, [session("c", outcome="probe"), stranger])["counts"]
    assert counts["client called a probe"] == counts["not a probe, but of no connection"] == 1


def test_calibration_compares_what_was_said_with_what_was_so() -> None:
    assert calibration([(0.5, True), (0.5, False), (0.95, True)]) == [
        {"said": 0.5, "was": 0.5, "count": 2},
        {"said": 0.95, "was": 1.0, "count": 1},
    ]


def test_masking_is_judged_target_by_target(capture: Path) -> None:
    said = {
        "verdict": "mixed",
        "targets": [
            {"backend": "bk", "server": "mx-a", "verdict": "masked"},
            {"backend": "bk", "server": "mx-b", "verdict": "masked"},
        ],
    }
    score = score_masking(capture, said)
    assert score["wrong"] == {"bk/mx-b": {"expected": "passed", "said": "masked"}}
    assert (score["right"], score["verdict"], score["expected"]) == (1, "mixed", "mixed")
