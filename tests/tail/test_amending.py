"""What is said of a session before everything is known of it: while it is open, and when lines come late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from logscope.live import Live
from logscope.store.snapshot import frozen, thawed
from tests.tail.arriving import SECOND, Arriving, rows_of
from tests.tail.test_live import COLUMNS, FROM_FILES, GRACE, GRAMMARS, OPTIONS, capture

LIVE_COLUMNS = [*COLUMNS, "amends"]
MINUTE = 60 * SECOND
NAMES = ("haproxy.log", "mail.log")


def amended(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a reader has in the end who takes out what is amended."""
    kept: dict[str, dict[str, Any]] = {}
    for row in rows:
        for one in row.pop("amends") or ():
            del kept[one]  # it was handed out
        assert row["session_id"] not in kept
        kept[row["session_id"]] = row
    return [kept[one] for one in sorted(kept)]


def without_probability(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Its last digits depend on what had been learnt when."""
    return [
        row | {"links": [{name: one[name] for name in one if name != "probability"} for one in row["links"]]}
        for row in rows
    ]


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("frozen_between", [False, True])
def test_a_log_that_comes_ten_minutes_late(first: str, frozen_between: bool) -> None:
    """The sessions are handed out without its lines, and then again with them: in the end as from files."""
    files = capture("proxy-v1")
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    inputs = {name: Arriving(name) for name in NAMES}
    live.add(list(inputs.values()), 0, 0)
    inputs[first].data = files[first]
    rows = rows_of(live.pump(0), LIVE_COLUMNS)
    for now in range(0, 10 * MINUTE, MINUTE // 4):
        rows += rows_of(live.pump(now), LIVE_COLUMNS)
    alone = len(rows)
    assert alone >= len(FROM_FILES["proxy-v1"]) - 1
    assert {row["join_confidence"] for row in rows} == {"none"} or first == "mail.log"
    if frozen_between:
        live = thawed(frozen(live), GRAMMARS)
        assert live.go_on(list(inputs.values()), 10 * MINUTE) == []
    late = next(name for name in NAMES if name != first)
    inputs[late].data = files[late]
    for now in range(10 * MINUTE, 20 * MINUTE, MINUTE // 4):
        rows += rows_of(live.pump(now), LIVE_COLUMNS)
    rows += rows_of(live.finish(20 * MINUTE), LIVE_COLUMNS)
    assert live.tally.amended > 100
    assert live.tally.late > 100
    found = without_probability(amended(rows))
    assert live.quality["sessions"] == len(found)
    for row in found:
        row["events"].sort(key=lambda one: (one["source"], one["line_number"]))
    expected = without_probability([dict(row) for row in FROM_FILES["proxy-v1"]])
    for row in expected:
        row["events"] = sorted(row["events"], key=lambda one: (one["source"], one["line_number"]))
    different = [row["session_id"] for row, other in zip(found, expected, strict=True) if row != other]
    # Which smtpd follows which postscreen session may be surer where the balancer's line is there.
    assert len(different) <= (first == "mail.log")
    for row in (*found, *expected):
        if row["session_id"] in different:
            del row["links"], row["join_confidence"]
    assert found == expected


def talking(*lines: str) -> bytes:
    return "".join(f"Nov 22 {line}\n" for line in lines).encode()


def test_a_long_session_is_shown_while_it_is_open() -> None:
    """After a minute, and after two, four …; what is handed out at its end says that it was."""
    mail = Arriving("mail.log")
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    live.add([mail], 0, 0)
    mail.data = talking("10:00:00 mx-a postfix/smtpd[9]: connect from a.example[192.0.2.10]")
    shown: list[tuple[int, dict[str, Any]]] = []
    for second in range(0, 600, 5):
        assert not list(live.pump(second * SECOND))
        shown += [(second, row) for row in rows_of(live.still_open(second * SECOND), LIVE_COLUMNS)]
    assert [second for second, _ in shown] == [65, 130, 260, 520]
    assert {row["outcome"] for _, row in shown} == {"open"}
    assert [row["duration_ms"] // 5000 for _, row in shown] == [12, 25, 51, 103]
    mail.data = talking(
        "10:10:00 mx-a postfix/smtpd[9]: disconnect from a.example[192.0.2.10] ehlo=1 quit=1 commands=2"
    )
    rows = rows_of(live.pump(600 * SECOND), LIVE_COLUMNS) + rows_of(live.pump(620 * SECOND), LIVE_COLUMNS)
    (row,) = rows
    assert row["outcome"] == "no_mail"
    assert row["amends"] == [row["session_id"]] == [shown[0][1]["session_id"]]
    assert not list(live.still_open(700 * SECOND))
    assert live.quality["sessions"] == 1


def test_mail_in_the_queue_is_shown_with_its_session() -> None:
    mail = Arriving("mail.log")
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    live.add([mail], 0, 0)
    mail.data = talking(
        "10:00:00 mx-a postfix/smtpd[9]: connect from a.example[192.0.2.10]",
        "10:00:00 mx-a postfix/smtpd[9]: 4F3A1C2D3E: client=a.example[192.0.2.10]",
        "10:00:00 mx-a postfix/qmgr[8]: 4F3A1C2D3E: from=<a@example.net>, size=320, nrcpt=1 (queue active)",
        "10:00:01 mx-a postfix/smtpd[9]: disconnect from a.example[192.0.2.10] ehlo=1 mail=1 commands=2",
        "10:00:02 mx-a postfix/smtp[7]: 4F3A1C2D3E: to=<b@example.com>, relay=none, delay=2, "
        "delays=0/0/2/0, dsn=4.4.1, status=deferred (connect to mx.example.com[192.0.2.99]:25: timed out)",
    )
    assert not list(live.pump(0))
    assert not list(live.pump(90 * SECOND))
    (row,) = rows_of(live.still_open(90 * SECOND), LIVE_COLUMNS)
    assert (row["outcome"], row["duration_ms"]) == ("deferred", 1000)


def test_sessions_that_never_end_are_handed_out_when_there_are_too_many() -> None:
    """A flood of clients that are never heard of again: memory is bounded, and what had to go is counted."""
    mail = Arriving("mail.log")
    live = Live(GRAMMARS, OPTIONS, grace=0)
    live.most_kept = 200_000
    live.add([mail], 0, 0)
    rows: list[Any] = []
    taken = []
    for number in range(6000):
        second, address = number // 100, f"203.0.{number // 250}.{number % 250}"
        mail.data += talking(
            f"10:00:{second:02} mx-a postfix/postscreen[9]: CONNECT from [{address}]:4000 to [192.0.2.25]:25"
        )
        if number % 500 == 499:
            for pump in range(2):
                rows += rows_of(live.pump(number + pump), LIVE_COLUMNS)
            taken.append(live._joiner.taken)
    assert live.tally.evicted == len(rows) > 4000
    assert max(taken) < 5 * live.most_kept
    rows += rows_of(live.finish(10_000), LIVE_COLUMNS)
    assert len({row["session_id"] for row in rows}) == len(rows) == 6000
    assert {row["outcome"] for row in rows} <= {"open", "unknown"}


def test_without_any_balancer_nobody_waits_for_it() -> None:
    """A site without HAProxy's log: sessions come some seconds after their ends, not minutes."""
    mail = Arriving("mail.log")
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    live.add([mail], 0, 0)
    mail.data = talking(
        "10:00:00 mx-a postfix/postscreen[9]: CONNECT from [192.0.2.10]:41522 to [203.0.113.25]:25",
        "10:00:00 mx-a postfix/postscreen[9]: HANGUP after 0.1 from [192.0.2.10]:41522 in tests before "
        "SMTP handshake",
        "10:00:00 mx-a postfix/postscreen[9]: DISCONNECT [192.0.2.10]:41522",
        "10:00:00 mx-a postfix/smtpd[7]: connect from unknown[192.0.2.11]",
        "10:00:01 mx-a postfix/smtpd[7]: disconnect from unknown[192.0.2.11] ehlo=1 quit=1 commands=2",
    )
    rows: list[dict[str, Any]] = []
    assert not list(live.pump(0))
    for second in range(0, 40, 5):
        rows += rows_of(live.pump(second * SECOND), LIVE_COLUMNS)
    assert sorted(row["client_address"] for row in rows) == ["192.0.2.10", "192.0.2.11"]


def test_a_session_that_reached_no_server_waits_for_nobody() -> None:
    balancer = Arriving("haproxy.log")
    live = Live(GRAMMARS, OPTIONS, grace=0)
    live.add([balancer], 0, 0)
    balancer.data = talking(
        "10:00:01 edge1 haproxy[9]: 192.0.2.10:41522 [22/Nov/2026:10:00:01.000] ft_smtp bk_mx/<NOSRV> "
        "-1/-1/2 0 SC 1/1/0/0/0 0/0"
    )
    (row,) = rows_of(live.pump(0), LIVE_COLUMNS)
    assert row["outcome"] == "no_server"


def test_who_counts_leaves_amendments_out() -> None:
    """The mail log comes ten minutes late: each session is counted when its first part is handed out."""
    files = capture("proxy-v1")
    inputs = [Arriving(name) for name in ("haproxy.log", "mail.log")]
    live = Live(GRAMMARS, OPTIONS, grace=GRACE)
    live.add(inputs, 0, 0)
    counted = handed_out = 0

    def count(batches: Iterator[Any]) -> None:
        nonlocal counted, handed_out
        for batch in batches:
            counted += batch.new(batch.sessions(["session_id"])).num_rows
            handed_out += batch.count

    inputs[0].data = files["haproxy.log"]
    for moment in (0, 10 * MINUTE):
        count(live.pump(moment))
    inputs[1].data = files["mail.log"]
    count(live.pump(10 * MINUTE + SECOND))
    for one in inputs:
        one.follows = False
    count(live.finish(20 * MINUTE))
    assert handed_out > counted == live.quality["sessions"]
