"""Lines about PROXY headers that belong to no session."""

from __future__ import annotations

import numpy as np
import pytest

from logscope.detect.header_lines import (
    DIED,
    LEFT,
    NO_ADDRESS,
    REFUSED,
    SPOKE,
    TOLD,
    WAITED,
    Example,
    HeaderLines,
)
from logscope.detect.signals import Collector, Signals, merged
from logscope.grammar import catalogue
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.scan import Scanner

LOG = r"""Nov 22 16:25:58 mx-a postfix/postscreen[9068]: warning: haproxy read: time limit exceeded
Nov 22 16:26:10 mx-a postfix/postscreen[9068]: message repeated 21 times: [ warning: haproxy read: time limit exceeded]
Nov 22 16:26:12 mx-b postfix/smtpd[9073]: warning: haproxy read: EOF
Nov 22 16:26:13 mx-b postfix/postscreen[8]: PREGREET 47 after 0 from [10.0.0.5]:38626: PROXY TCP4 198.51.100.214 192.0.2.25 36131 25\r\n
Nov 22 16:26:13 mx-b postfix/postscreen[8]: CONNECT from [198.51.100.214]:36131 to [192.0.2.25]:25
Nov 22 16:26:14 edge1 haproxy[3]: Server bk_smtp/mx-a is DOWN, reason: Layer4 timeout, check duration: 2001ms. 1 active and 0 backup servers left. 3 sessions active, 0 requeued, 0 remaining in queue.
"""  # noqa: E501


@pytest.fixture(scope="module")
def grammars() -> Catalogue:
    return catalogue.load()


def collected(grammars: Catalogue, text: str) -> Signals:
    rows = Scanner(grammars, compiled=False).scan_bytes(text.encode())
    collector = Collector(grammars)
    collector.add(rows, np.asarray(rows.stamp), "mail.log", 1)
    return collector.signals


def test_lines_are_counted_by_listener_and_meaning(grammars: Catalogue) -> None:
    found = {(one.meaning, one.mta_host, one.service): one for one in collected(grammars, LOG).lines}
    assert {key: one.count for key, one in found.items()} == {
        (REFUSED, "mx-a", "postfix/postscreen"): 22,
        (REFUSED, "mx-b", "postfix/smtpd"): 1,
        (TOLD, "mx-b", "postfix/postscreen"): 1,
    }
    repeated = found[REFUSED, "mx-a", "postfix/postscreen"]
    assert len(repeated.sample) == 22
    assert repeated.last_at is not None
    assert repeated.first_at is not None
    assert repeated.last_at - repeated.first_at == 12 * 10**9
    assert [example.line_number for example in repeated.examples] == [1, 2]
    assert repeated.examples[0].text.endswith("haproxy read: time limit exceeded")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("postscreen[9]: warning: haproxy read: time limit exceeded", WAITED),
        ("smtpd[9]: warning: haproxy read: timeout error", WAITED),
        ("smtpd[9]: warning: haproxy read: unexpected EOF", LEFT),
        (
            "postscreen[9]: warning: haproxy read: unrecognized protocol header: EHLO mail.example.net\\r\\n",
            SPOKE,
        ),
        (
            "postscreen[9]: warning: haproxy read: bad or missing protocol type: PROXY UNKNOWN\\r\\n",
            NO_ADDRESS,
        ),
        (
            r"smtpd[9]: warning: haproxy read: unsupported network protocol: \r\n\r\n\000\r\nQUIT\n!\000",
            NO_ADDRESS,
        ),
        (
            r"postscreen[9]: PREGREET 15 after 0 from [10.0.0.5]:38626: PROXY UNKNOWN\r\n",
            NO_ADDRESS,
        ),
        (
            r"postscreen[9]: PREGREET 47 after 0 from [10.0.0.5]:3: PROXY TCP4 192.0.2.9 192.0.2.2 3 25\r\n",
            None,
        ),
        ("postscreen[9]: warning: haproxy read: line too long", None),
    ],
)
def test_why_a_header_was_no_good(grammars: Catalogue, text: str, reason: str | None) -> None:
    [lines] = collected(grammars, f"Nov 22 16:25:58 mx-a postfix/{text}\n").lines
    assert lines.reasons == {reason: 1}
    assert reason is None or lines.mostly(reason)


def test_a_process_that_dies_of_a_header_is_counted(grammars: Catalogue) -> None:
    text = (
        "Nov 22 16:25:58 mx-a postfix/smtpd[9]: fatal: smtpd_peer_hostaddr_to_sockaddr: cannot convert "
        "client address/port to string: Servname not supported for ai_socktype\n"
    )
    assert [(one.meaning, one.service) for one in collected(grammars, text).lines] == [
        (DIED, "postfix/smtpd")
    ]


def test_a_session_has_one_line_of_a_kind() -> None:
    lines = HeaderLines(TOLD, "mx-a", "postfix/postscreen")
    for kind in ("pregreet", "pregreet", "pipelining"):
        lines.add(None, 1, Example("mail.log", 1, ""), kind)
    assert (lines.count, lines.sessions) == (3, 2)


def test_who_logged_and_what_became_of_servers(grammars: Catalogue) -> None:
    signals = collected(grammars, LOG)
    assert set(signals.mail_hosts) == {"mx-a", "mx-b"}
    assert set(signals.balancer_hosts) == {"edge1"}
    assert signals.servers == {("bk_smtp", "mx-a"): "DOWN"}


def test_two_sources_are_one(grammars: Catalogue) -> None:
    lines = LOG.splitlines(keepends=True)
    whole = collected(grammars, LOG)
    parts = merged([collected(grammars, "".join(lines[:2])), collected(grammars, "".join(lines[2:]))])
    assert sorted(
        (one.meaning, one.mta_host, one.count, one.first_at, one.last_at) for one in parts.lines
    ) == sorted((one.meaning, one.mta_host, one.count, one.first_at, one.last_at) for one in whole.lines)
    assert parts.mail_hosts == whole.mail_hosts
    assert parts.servers == whole.servers


def test_memory_is_bounded() -> None:
    lines = HeaderLines(REFUSED, "mx-a", "postfix/postscreen")
    for at in range(3):
        lines.add(at, 10**6, None)  # type: ignore[arg-type]
    assert lines.count == 3 * 10**6
    assert len(lines.sample) <= 4096
