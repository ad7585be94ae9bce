"""A trace finds what belongs together, in the order of its times, and nothing else."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest

from logscope.cli.main import main
from logscope.report import trace as report
from logscope.trace import Key, Moment, Story

LINES = Path(__file__).with_name("relayed.log")
"""A message through a content filter and to the next hop, and its queue id used again the day after."""

RELAYED = ["9A1B2C3D4E", "9A1B2C3D50", "4c2kXz1b7Vz9rTn"]


def traced(capfd: pytest.CaptureFixture[str], key: str, *arguments: str) -> list[dict]:
    assert main(["trace", key, *arguments, "-q", "-o", "json", "--year", "2026"]) == 0
    stories: list[dict] = json.loads(capfd.readouterr().out)["stories"]
    return stories


@pytest.mark.parametrize(
    "key",
    ["192.0.2.10", "192.0.2.0/28", "9A1B2C3D4E", "<m1@example.net>", "A@example.net", "b@example.org"],
)
def test_a_message_is_followed_through_the_filter_and_to_the_next_hop(
    key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (story,) = traced(capfd, key, str(LINES))
    assert [one["queue_id"] for one in story["messages"]] == RELAYED
    assert [one["client_address"] for one in story["sessions"]] == ["192.0.2.10", "127.0.0.1", "192.0.2.25"]
    assert [one["status"] for one in story["deliveries"]] == ["sent"] * 3
    assert [one["line_number"] for one in story["timeline"]] == list(range(1, 22))
    assert [one["offset_s"] for one in story["timeline"]][-1] == 4.0


def test_an_id_used_again_is_another_story(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = traced(capfd, "9A1B2C3D50", str(LINES))
    assert [one["queue_id"] for one in first["messages"]] == RELAYED
    assert [one["sender"] for one in second["messages"]] == ["root@example.com"]
    assert [one["line_number"] for one in second["timeline"]] == list(range(22, 27))


def test_a_session_id_is_a_key(capfd: pytest.CaptureFixture[str]) -> None:
    (story,) = traced(capfd, "192.0.2.10", str(LINES))
    assert traced(capfd, story["sessions"][0]["session_id"], str(LINES)) == [story]


def test_the_balancer_accepts_before_anything_else(capfd: pytest.CaptureFixture[str]) -> None:
    """Also where the mail server's stamps have whole seconds."""
    sample = Path(__file__).resolve().parents[2] / "samples" / "proxy-v1"
    files = [str(sample / name) for name in ("haproxy.log", "mail.log")]
    story = traced(capfd, "198.51.100.4", *files)[0]
    hops = [one["hop"] for one in story["timeline"]]
    assert hops[0] == "balancer"
    assert [hop for at, hop in enumerate(hops) if hop not in hops[:at]] == [
        "balancer", "screen", "smtpd", "queue", "delivery",
    ]  # fmt: skip
    assert all(one["since_last_s"] >= 0 for one in story["timeline"])


def test_nothing_found_is_a_finding(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "203.0.113.1", str(LINES), "-q"]) == 1
    assert "Nothing in these logs is about 203.0.113.1" in capfd.readouterr().out


def test_standard_input_is_refused_in_words(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["trace", "203.0.113.1", "-"]) == 2
    assert "Save it to a file" in capfd.readouterr().err


def test_a_diagram_holds_no_text_that_means_something_to_mermaid() -> None:
    moment = Moment(
        10**18,
        True,
        0,
        "smtpd",
        "mx-a",
        "postfix/smtpd",
        "smtpd",
        "smtpd.connect",
        'a;b#c%%{x}\n-->>"d"',
        "f",
        1,
    )
    drawn = report.mermaid([Story()], [moment])
    assert drawn.startswith("sequenceDiagram\n  participant client\n  participant p0 as mx-a smtpd\n")
    (said,) = [line for line in drawn.splitlines() if line.startswith("  client->>p0: ")]
    assert "a#59;b#35;c#37;#37;#123;x#125;#92;n--#62;#62;#34;d#34;" in said


def test_a_diagrams_note_spans_two_participants_as_mermaid_wants() -> None:
    moments = [
        Moment(
            10**18 + number,
            True,
            number % 2,
            "smtpd",
            host,
            "postfix/smtpd",
            "smtpd",
            "smtpd.connect",
            "x",
            "f",
            1,
        )
        for number, host in enumerate(("mx-a", "mx-b", "mx-c"))
    ]
    drawn = report.mermaid([Story(), Story()], moments)
    notes = [line for line in drawn.splitlines() if line.startswith("  Note over")]
    assert len(notes) == 2
    assert all(line.startswith("  Note over client,p2: ") for line in notes)


def test_keys() -> None:
    assert Key.parse("[2001:db8::1]").network is not None
    clients = pa.RecordBatch.from_pydict({"client_address": ["2001:db8::7", None, "192.0.2.1"]})
    assert Key.parse("2001:db8::/32").sessions(clients).to_pylist() == [True, False, False]
    assert Key.parse("192.0.2.0/24").sessions(clients).to_pylist() == [False, False, True]


def test_instances_of_postfix_on_one_host_are_told_apart(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "mail.log"
    log.write_text(
        "Nov 22 09:20:29 mx-a postfix-in/cleanup[12]: 4ABCDE1001: message-id=<m1@example.net>\n"
        "Nov 22 09:20:30 mx-a postfix/submission/cleanup[22]: 4ABCDE2002: message-id=<m1@example.net>\n"
    )
    assert main(["trace", "m1@example.net", str(log), "-q", "--year", "2026", "--mermaid"]) == 0
    said = capfd.readouterr().out
    assert "as mx-a postfix-in/cleanup\n" in said
    assert "as mx-a submission/cleanup\n" in said
