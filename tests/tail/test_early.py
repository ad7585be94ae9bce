"""Live, a session is shown once all its lines are there, seconds before it is decided; and it stays that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from logscope.correlate.early import ENOUGH_LINKED
from logscope.correlate.tables import WAIT, WAIT_END
from logscope.live import Live
from logscope.live.stage import UNHEARD
from logscope.store.snapshot import frozen, thawed
from tests.tail.arriving import SECOND, Arriving, rows_of
from tests.tail.test_amending import LIVE_COLUMNS, amended
from tests.tail.test_live import GRACE, GRAMMARS, OPTIONS

Row = dict[str, Any]

QUEUED = (
    "postfix/smtpd[7]: 4F3A1C2D3E: client=a.example[192.0.2.10]",
    "postfix/cleanup[6]: 4F3A1C2D3E: message-id=<1@example.net>",
    "postfix/qmgr[8]: 4F3A1C2D3E: from=<a@example.net>, size=320, nrcpt=2 (queue active)",
)
SENT = (
    "postfix/lmtp[5]: 4F3A1C2D3E: to=<{}@example.com>, relay=mx-a.example[198.51.100.9]:24, delay=0.1, "
    "delays=0/0/0/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok)"
)
REMOVED = "postfix/qmgr[8]: 4F3A1C2D3E: removed"


class Site:
    """A balancer and a mail server, whose lines are brought when a test says so."""

    def __init__(self) -> None:
        self.balancer, self.mail = Arriving("haproxy.log"), Arriving("mail.log")
        self.live = Live(GRAMMARS, OPTIONS, grace=GRACE)
        self.live.add([self.balancer, self.mail], 0, 0)
        self.now = 0
        self.rows: list[Row] = []

    def at(self, second: int) -> list[Row]:
        """What is shown at a second of the site's time, and by the time that the grace is over."""
        found: list[Row] = []
        for self.now in (second * SECOND, second * SECOND + GRACE, second * SECOND + GRACE + 1):
            found += rows_of(self.live.pump(self.now), LIVE_COLUMNS)
        self.rows += [dict(row) for row in found]
        return found

    def balanced(self, second: int, port: int, host: str = "edge1", frontend: str = "ft_smtp") -> None:
        """The balancer's line of a session that began and ended in a second."""
        self.balancer.data += (
            f"{clock(second)} {host} haproxy[9]: 192.0.2.10:{port} [22/Nov/2026:{clock(second)[7:]}.100] "
            f"{frontend} bk_mx/srv1 1/0/800 320 -- 1/1/0/0/0 0/0\n"
        ).encode()

    def logged(self, second: int, *lines: str) -> None:
        """Lines of the mail server."""
        self.mail.data += "".join(f"{clock(second)} mx-a {line}\n" for line in lines).encode()

    def served(self, second: int, port: int, *more: str) -> None:
        """The mail server's lines of a session that began and ended in a second."""
        self.logged(
            second,
            f"postfix/postscreen[3]: CONNECT from [192.0.2.10]:{port} to [203.0.113.25]:25",
            f"postfix/postscreen[3]: PASS OLD [192.0.2.10]:{port}",
            "postfix/smtpd[7]: connect from a.example[192.0.2.10]",
            *more,
            "postfix/smtpd[7]: disconnect from a.example[192.0.2.10] ehlo=1 quit=1 commands=2",
        )

    def has_linked(self, sessions: Iterable[int] = range(ENOUGH_LINKED)) -> int:
        """Some sessions, until they are decided; returns a second after that."""
        for number in sessions:
            self.balanced(2 * number, 20_000 + number)
            self.served(2 * number, 20_000 + number)
            self.at(2 * number)
        over = 2 * len(self.rows) + 2 * ENOUGH_LINKED + WAIT_END // SECOND + 1
        self.at(over)
        assert len(self.rows) == ENOUGH_LINKED
        return over + 1


def clock(second: int) -> str:
    return f"Nov 22 10:{second // 60:02}:{second % 60:02}"


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize("first", ["balancer", "mail"])
def test_a_session_is_shown_within_the_grace(site: Site, first: str) -> None:
    """Whoever tells of it first; and once."""
    second = site.has_linked()
    parts = [lambda: site.balanced(second, 41_522), lambda: site.served(second, 41_522)]
    for part in parts if first == "balancer" else reversed(parts):
        assert not site.at(second)
        part()
    (row,) = site.at(second)
    assert (row["client_port"], row["outcome"], row["amends"]) == (41_522, "no_mail", None)
    assert {link["confidence"] for link in row["links"]} == {"exact"}
    assert not site.at(second + 2 * WAIT // SECOND)
    assert site.live.quality["sessions"] == ENOUGH_LINKED + 1
    assert site.live.tally.amended == 0


def test_what_postscreen_ended_is_shown_within_the_grace(site: Site) -> None:
    second = site.has_linked()
    site.balanced(second, 41_522)
    site.logged(
        second,
        "postfix/postscreen[3]: CONNECT from [192.0.2.10]:41522 to [203.0.113.25]:25",
        "postfix/postscreen[3]: HANGUP after 0.1 from [192.0.2.10]:41522 in tests before SMTP handshake",
        "postfix/postscreen[3]: DISCONNECT [192.0.2.10]:41522",
    )
    (row,) = site.at(second)
    assert (row["outcome"], row["hops"]) == ("aborted", ["balancer", "screen"])


def test_it_is_what_it_would_be_if_it_waited(site: Site) -> None:
    waiting = Site()
    waiting.live.eager = False
    for one in (site, waiting):
        second = one.has_linked()
        one.balanced(second, 41_522)
        one.served(second, 41_522, *QUEUED, SENT.format("b"), SENT.format("c"), REMOVED)
        one.at(second)
        assert len(one.rows) == ENOUGH_LINKED + (one is site)
        one.at(second + 20)
    assert site.rows == waiting.rows


def test_nothing_is_shown_early_before_it_is_known_whether_a_balancer_stands_before_this_one(
    site: Site,
) -> None:
    site.balanced(1, 41_522)
    site.served(1, 41_522)
    assert not site.at(1)
    assert len(site.at(10)) == 1


def test_mail_is_waited_for_until_each_recipient_has_been_told_of(site: Site) -> None:
    second = site.has_linked()
    site.balanced(second, 41_522)
    site.served(second, 41_522, *QUEUED, SENT.format("b"))
    assert not site.at(second)
    site.logged(second + 20, SENT.format("c"), REMOVED)
    (row,) = site.at(second + 20)
    assert (row["outcome"], row["message_count"]) == ("delivered", 1)
    assert not site.at(second + 40)


def test_mail_that_did_not_reach_the_queue_is_not_waited_for(site: Site) -> None:
    second = site.has_linked()
    site.balanced(second, 41_522)
    site.served(second, 41_522, QUEUED[0])
    (row,) = site.at(second)
    assert row["message_count"] == 0
    assert not site.at(second + 40)


@pytest.mark.parametrize("frozen_between", [False, True])
def test_a_line_that_comes_after_all_amends_what_was_shown(site: Site, frozen_between: bool) -> None:
    """Here a delivery that the log daemon put behind `removed`."""
    second = site.has_linked()
    site.balanced(second, 41_522)
    site.served(second, 41_522, *QUEUED, SENT.format("b"), SENT.format("c"), REMOVED)
    (shown,) = site.at(second)
    if frozen_between:
        site.live = thawed(frozen(site.live), GRAMMARS)
        assert site.live.go_on([site.balancer, site.mail], site.now) == []
    site.logged(second + 1, SENT.format("d").replace("sent (250 2.0.0 Ok)", "bounced (no such user)"))
    (row,) = site.at(second + 20)
    assert row["amends"] == [shown["session_id"]] == [row["session_id"]]
    assert (shown["outcome"], row["outcome"]) == ("delivered", "partly_delivered")
    assert len(row["events"]) == len(shown["events"]) + 1
    assert len(amended(site.rows)) == site.live.quality["sessions"] == ENOUGH_LINKED + 1


def test_a_balancer_before_this_one_amends_what_was_shown(site: Site) -> None:
    second = site.has_linked()
    site.balanced(second, 41_522)
    site.served(second, 41_522)
    (shown,) = site.at(second)
    site.balanced(second, 41_522, "edge0", "ft_outer")
    assert not site.at(second + 1)
    site.at(second + 2 * WAIT // SECOND)
    (row,) = (one for one in site.rows if one["amends"])
    assert row["amends"] == [shown["session_id"]]
    assert row["balancers"] != shown["balancers"]
    assert len(amended(site.rows)) == site.live.quality["sessions"] == ENOUGH_LINKED + 1


def test_what_was_shown_is_not_handed_out_when_room_is_made(site: Site) -> None:
    second = site.has_linked()
    site.balanced(second, 41_522)
    site.served(second, 41_522)
    assert len(site.at(second)) == 1
    site.live.most_kept = 0
    site.logged(second, "postfix/smtpd[12]: connect from b.example[192.0.2.20]")
    site.at(second)
    site.at(second + 2 * WAIT // SECOND)
    assert site.live.tally.evicted
    assert [row["client_port"] for row in site.rows].count(41_522) == 1
    assert not any(row["amends"] for row in site.rows)


def test_without_any_balancer_sessions_are_shown_within_the_grace(site: Site) -> None:
    """Once it is known that there is none."""
    second = UNHEARD // SECOND + 1
    site.at(second)
    site.served(second, 41_522)
    site.logged(
        second,
        "postfix/submission/smtpd[12]: connect from b.example[192.0.2.20]",
        "postfix/submission/smtpd[12]: disconnect from b.example[192.0.2.20] ehlo=1 quit=1 commands=2",
    )
    assert [row["client_address"] for row in site.at(second)] == ["192.0.2.10", "192.0.2.20"]
    assert not site.at(second + 400)
    assert site.live.quality["sessions"] == 2
