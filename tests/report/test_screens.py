"""What people see: the right sentences first, nothing too wide, nothing hostile."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from rich.cells import cell_len

from logscope.errors import UsageError
from logscope.report.clients import ClientTable, clients_report
from logscope.report.masking import VERDICTS, masking_report
from logscope.report.model import Report
from logscope.report.output import write_report
from logscope.report.summary import Summary, summary_report
from logscope.report.terminal import drawn
from logscope.report.text import is_hostile
from logscope.report.writers import Canvas
from tests.report.fabricated import START, batch_of, many_sessions, session, with_counts

EVIL = "[bold]\x1b[31m\u202e\x07"
QUALITY = {
    "lines_read": 50_123,
    "parsed": 50_100,
    "foreign": 20,
    "unparsed": 3,
    "sessions": 30,
    "joined_exact": 30,
}


def target(**known: Any) -> dict[str, Any]:
    return {
        "frontend": "ft_smtp",
        "backend": "bk_postfix",
        "server": "mx-a",
        "mta_host": "mx-a",
        "service": "postfix/postscreen",
        "family": "IPv4",
        "verdict": "passed",
        "cause": None,
        "confidence": "exact",
        "share_masked": 0.0,
        "since": None,
        "until": None,
        "evidence": {"sessions": 10},
        "remedy": [],
    } | known


def masking(verdict: str = "masked") -> dict[str, Any]:
    wrong = target(
        server="mx-b",
        verdict="masked",
        cause=f"No PROXY header. {EVIL}",
        share_masked=0.998,
        since="2026-07-26T10:00:00+00:00",
        evidence={"masked": 9, "examples": [{"source": "mail.log", "line_number": 3, "line": EVIL}]},
        remedy=["add send-proxy-v2 to the server line", "reload"],
    )
    return {"verdict": verdict, "targets": [target(), wrong]}


def summary(**changes: Any) -> Summary:
    gathered = Summary()
    reject = {"stage": "RCPT", "code": 550, "dsn": "5.1.1", "text": f"User unknown {EVIL}"}
    rows = [session(accepted_ns=START + i * 60_000_000_000, **changes) for i in range(30)]
    rows += [session(outcome="no_server", server=None, mta_host=None, masked=None)] * 4
    rows += [
        session(outcome="rejected", server=f"mx-{EVIL}", rejects=[reject], screen_tests=["pregreet"])
    ] * 2
    gathered.add_sessions(with_counts(batch_of("sessions", rows)))
    deliveries = [{"status": "sent", "recipient": "a@example.com"}] * 9
    deliveries += [{"status": "deferred", "recipient": "b@late.example", "reply": f"timed out {EVIL}"}] * 3
    gathered.add_deliveries(batch_of("deliveries", deliveries))
    return gathered


def reports() -> list[Report]:
    table = ClientTable()
    table.add(with_counts(many_sessions(2000, clients=80)))
    odd = session(client_address="2001:db8:1234:5678:9abc:def0:1234:5678", helo=EVIL)
    table.add(with_counts(batch_of("sessions", [odd])))
    return [
        summary_report(summary(), QUALITY, masking("mixed"), [f"a note {EVIL}"]),
        clients_report(table, QUALITY),
        masking_report(masking("mixed")),
    ]


@pytest.mark.parametrize("width", [50, 60, 80, 120, None])
@pytest.mark.parametrize("colour", [False, True])
def test_screens_fit_and_show_hostile_text_harmlessly(width: int | None, colour: bool) -> None:
    for report in reports():
        text = drawn(report, Canvas(width, colour))
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        if width:
            assert max(cell_len(line) for line in plain.splitlines()) <= width
        else:
            assert "…" not in plain  # nothing is cut in a pipe
        assert not is_hostile(plain.replace("\n", ""))
        assert "\x1b[" not in text or colour
        assert not re.search(r" +$", text, re.MULTILINE)


def test_where_there_is_no_terminal_a_width_can_be_asked_for() -> None:
    for report in reports():
        assert drawn(report, Canvas(page=60)) == drawn(report, Canvas(60))


def test_what_needs_a_person_comes_first() -> None:
    text = drawn(summary_report(summary(), QUALITY, masking("mixed")), Canvas(100))
    masked, lost, flowing = (
        text.index(word) for word in ("MIXED", "no server could be reached", "Mail is flowing")
    )
    assert masked < lost < flowing
    assert "4 sessions lost" in text
    assert "bk_postfix/mx-b" in text


def test_the_screen_counts() -> None:
    report = summary_report(summary(), QUALITY, None)
    text = drawn(report, Canvas(100))
    assert "36 sessions of 1 client" in text
    assert re.search(r"delivered +30 +83 %", text)
    assert re.search(r"2 +RCPT +550 +5\.1\.1", text)
    assert re.search(r"3 +late\.example +timed out", text)
    assert "pregreet 2" in text
    assert "50,123 lines read, >99 % understood" in text
    assert "sessions each 1 min from 2026-07-26 10:00 UTC, at most 7" in text
    document = report.document
    assert document["deliveries"] == {"deferred": 3, "sent": 9}
    assert document["rejects"][0]["count"] == 2
    assert document["masking"] is None


def test_the_screen_is_the_same_however_sessions_arrive() -> None:
    batch = with_counts(many_sessions(3000, clients=50))
    whole, parts = Summary(), Summary()
    whole.add_sessions(batch)
    for start in range(0, 3000, 700):
        parts.add_sessions(batch.slice(start, 700))
    assert drawn(summary_report(whole, QUALITY, None), Canvas()) == drawn(
        summary_report(parts, QUALITY, None), Canvas()
    )


@pytest.mark.parametrize(
    ("sent", "late", "words"),
    [
        (0, 0, "Mail is accepted"),
        (9, 2, "Mail is flowing"),
        (1, 8, "mostly does not get on"),
        (0, 1, "mostly does not"),
    ],
)
def test_the_sentence_about_the_flow_is_true(sent: int, late: int, words: str) -> None:
    gathered = Summary()
    gathered.add_sessions(with_counts(batch_of("sessions", [session()] * 3)))
    rows = [{"status": "sent", "recipient": "a@example.com"}] * sent + [
        {"status": "deferred", "recipient": "a"}
    ] * late
    gathered.add_deliveries(batch_of("deliveries", rows))
    assert words in drawn(summary_report(gathered, {}, None), Canvas())


def test_no_sessions_at_all_is_said() -> None:
    text = drawn(summary_report(Summary(), {"lines_read": 0}, None), Canvas())
    assert "No session brought mail." in text
    assert "no time known" in text


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_its_sentence(verdict: str) -> None:
    text = drawn(masking_report({"verdict": verdict, "targets": [target(verdict=verdict)]}), Canvas(100))
    assert verdict in text


def test_the_masking_report_shows_cause_evidence_and_remedy() -> None:
    text = drawn(masking_report(masking()), Canvas(100))
    for words in (
        "No PROXY header",
        "1. add send-proxy-v2",
        "2. reload",
        "mail.log:3:",
        ">99 %",
        "2026-07-26 10:00:00",
    ):
        assert words in text


def test_steps_that_mend_several_targets_are_told_once() -> None:
    steps = ["mx-a: expect the header", "mx-b: expect the header", "Balancer: send it"]
    both = [target(verdict="masked", server=name, mta_host=name, remedy=steps) for name in ("mx-a", "mx-b")]
    text = drawn(masking_report({"verdict": "masked", "targets": both}), Canvas(100))
    assert text.count("expect the header") == 2
    assert "the steps that are told for" in text


def test_a_report_that_is_no_table_says_which_format_to_use() -> None:
    with pytest.raises(UsageError, match="not one table"):
        write_report(masking_report(masking()), "csv", io.BytesIO(), Canvas())


def test_the_masking_document_is_handed_on_unchanged() -> None:
    text = io.BytesIO()
    write_report(masking_report(masking()), "json", text, Canvas())
    assert json.loads(text.getvalue()) == masking()
    assert not is_hostile(text.getvalue().decode().replace("\n", ""))
