"""How often the joins hand out, and how little room they have, changes nothing in what they find."""

from __future__ import annotations

from typing import Any

import pytest

from logscope.correlate import join
from tests.correlate.test_parity import capture, sessions


@pytest.mark.parametrize("name", ["proxy-v1", "partial-mask"])
def test_sessions_are_the_same_however_often_they_are_handed_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = capture(name)
    expected = sessions(files)
    monkeypatch.setattr(join, "ENOUGH", 1)
    assert sessions(files) == expected


def test_text_survives_when_room_for_it_is_made_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    files = capture("proxy-v1")
    expected = sessions(files)
    made = 0
    move_text = join.move_text

    def counted(*arguments: Any) -> int:
        nonlocal made
        made += 1
        return move_text(*arguments)

    monkeypatch.setattr(join, "move_text", counted)
    monkeypatch.setattr(join, "LONGEST_LINE", max(map(len, files["mail.log"].splitlines())))
    assert sessions(files) == expected
    assert made >= 5


def test_a_header_that_an_allowlist_let_through_names_the_client() -> None:
    """Version 2 of it holds a QUIT, which smtpd obeys; what it logs then are the addresses (join 7)."""
    screened = "Nov 22 09:21:04 mx-a postfix/screen/postscreen[7]:"
    served = "Nov 22 09:21:04 mx-a postfix/smtpd[8]:"
    address = r"!\021\000\f\3063d\367\313\000q\031\243\003\000\031"
    mail = [
        f"{screened} CONNECT from [172.20.5.4]:34014 to [172.20.5.21]:10024",
        f"{screened} ALLOWLISTED [172.20.5.4]:34014",
        f"{served} connect from unknown[172.20.5.4]",
        f"{served} improper command pipelining after QUIT from unknown[172.20.5.4]: {address}",
        f"{served} disconnect from unknown[172.20.5.4] quit=1 commands=1",
    ]
    haproxy = (
        "Nov 22 09:21:04 edge1 haproxy[3]: 198.51.100.247:41731 [22/Nov/2026:09:21:04.001] ft bk/mx-a "
        "1/0/71 138 SD 1/1/0/0/0 0/0"
    )
    (found,) = sessions({"haproxy.log": f"{haproxy}\n".encode(), "mail.log": "\n".join(mail).encode()})
    assert found["hops"] == ["balancer", "screen", "smtpd"]
    assert (found["client_address"], found["client_known_from"]) == ("198.51.100.247", "header_text")


@pytest.mark.parametrize("ahead_s", [0, 3])
def test_such_headers_tell_sessions_apart_that_overlap(ahead_s: int) -> None:
    """Which smtpd took over which session is clear later than the headers are; with a mail server's clock
    ahead, later even than the balancer's session is found by the header.
    """
    screened = f"Nov 22 09:21:0{4 + ahead_s} mx-b postfix/screen/postscreen[7]:"
    served = f"Nov 22 09:21:0{4 + ahead_s} mx-b postfix/smtpd[8]:"
    mail = [
        f"{screened} {word} [172.20.5.4]:{port}{to}"
        for port in (34038, 34044)
        for word, to in (("CONNECT from", " to [172.20.5.22]:10024"), ("ALLOWLISTED", ""))
    ]
    early = f"{served} improper command pipelining after QUIT from"
    start, end = r"\021\000\f", r"\000\031"
    for rest in (r"\300\000\002\004\313\000q\031\217Q", r"\300\000\002\276\313\000q\031\230\315"):
        mail += [
            f"{served} connect from unknown[172.20.5.4]",
            f"{early} unknown[172.20.5.4]: !{start}{rest}{end}",
            f"{served} disconnect from unknown[172.20.5.4] quit=1 commands=1",
        ]
    haproxy = [
        f"Nov 22 09:21:04 edge1 haproxy[3]: {client} [22/Nov/2026:09:21:04.00{number}] ft bk/mx-b "
        "1/0/71 138 SD 1/1/0/0/0 0/0"
        for number, client in enumerate(("192.0.2.4:36689", "192.0.2.190:39117"))
    ]
    files = {
        name: "".join(f"{line}\n" for line in lines).encode()
        for name, lines in (("haproxy.log", haproxy), ("mail.log", mail))
    }
    assert {(one["client_address"], one["client_known_from"]) for one in sessions(files)} == {
        ("192.0.2.4", "header_text"),
        ("192.0.2.190", "header_text"),
    }
