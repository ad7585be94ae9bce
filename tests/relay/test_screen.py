"""The screen in memory: tests, verdicts, the dialogue that refuses, and what is remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from logscope.relay.header import Endpoint
from logscope.relay.machine import Close, StartTls
from logscope.relay.screen.session import HandOver
from logscope.relay.screen.settings import DEEP, EARLY, Action, DnsList, Memory, ScreenSettings, ScreenTest

from .memory import CLIENT, HOST, START, Door, networks

PEER = "[192.0.2.10]:41522"
ZEN, LIST, WHITE = DnsList("zen.dnsbl", 2), DnsList("bl.list", 1), DnsList("wl.list", -2)
PLAIN = ScreenSettings(HOST, greet_wait_s=3.0, actions=dict.fromkeys(ScreenTest, Action.ENFORCE))
LISTS = replace(PLAIN, dns_lists=(ZEN, LIST, WHITE), dnsbl_threshold=2)
ALL = replace(PLAIN, tests=EARLY | DEEP)
CONNECT = f"CONNECT from {PEER} to [203.0.113.25]:25"


def with_action(settings: ScreenSettings, test: ScreenTest, action: Action) -> ScreenSettings:
    return replace(settings, actions={**settings.actions, test: action})


def test_a_patient_client_is_handed_over() -> None:
    door = Door(PLAIN)
    assert door.said() == [f"220-{HOST} ESMTP Postfix"]
    door.wait(2.9)
    assert not door.handed_over
    door.wait(0.2)
    assert door.handed_over
    assert door.lines.texts == [CONNECT, f"PASS NEW {PEER}"]
    assert door.memory.clients == {}
    assert door.memory.screening == 0


def test_a_known_client_is_handed_over_at_once() -> None:
    memory = Memory()
    Door(PLAIN, memory).wait(4)
    again = Door(PLAIN, memory, now=START + 3600)
    assert again.handed_over
    assert again.lines.texts == [CONNECT, f"PASS OLD {PEER}"]


def test_a_test_is_made_again_when_it_has_expired() -> None:
    memory = Memory()
    Door(PLAIN, memory).wait(4)
    again = Door(PLAIN, memory, now=START + 90_000)
    assert not again.handed_over
    again.wait(4)
    assert again.lines.texts[-1] == f"PASS OLD {PEER}"


def test_sessions_that_overlap_are_new_once() -> None:
    memory = Memory()
    first, second = Door(PLAIN, memory), Door(PLAIN, memory, Endpoint("192.0.2.10", 41523))
    first.wait(4)
    second.wait(4)
    assert first.lines.texts[-1] == f"PASS NEW {PEER}"
    assert second.lines.texts[-1] == "PASS NEW [192.0.2.10]:41523".replace("NEW", "OLD")


def test_lists_of_our_own_come_first() -> None:
    settings = replace(PLAIN, allow=networks("192.0.2.8/29"), deny=networks("192.0.2.0/24"))
    door = Door(settings)
    assert door.handed_over
    assert door.lines.texts == [CONNECT, f"ALLOWLISTED {PEER}"]


def test_a_denied_client_is_refused_for_every_recipient() -> None:
    door = Door(replace(PLAIN, deny=networks("192.0.2.0/24")))
    door.said()
    assert door.wait(4) == [f"220 {HOST} ESMTP Postfix"]
    door.send(b"EHLO client.example\r\n")
    door.send(b"MAIL FROM:<carol@sender.example>\r\n")
    assert door.send(b"RCPT TO:<alice@example.com>\r\n") == ["550 5.3.2 Service currently unavailable"]
    assert door.send(b"QUIT\r\n") == ["221 2.0.0 Bye"]
    assert door.lines.texts == [
        CONNECT,
        f"DENYLISTED {PEER}",
        (
            f"NOQUEUE: reject: RCPT from {PEER}: 550 5.3.2 Service currently unavailable; "
            "from=<carol@sender.example>, to=<alice@example.com>, proto=ESMTP, helo=<client.example>"
        ),
        f"DISCONNECT {PEER}",
    ]
    assert not door.handed_over


def test_a_denied_client_may_be_dropped() -> None:
    door = Door(replace(PLAIN, deny=networks("192.0.2.0/24"), deny_action=Action.DROP))
    assert door.said() == ["521 5.3.2 Service currently unavailable"]
    assert door.lines.texts[-1] == f"DISCONNECT {PEER}"


# --- speaking too early


def test_who_speaks_too_early_is_refused() -> None:
    door = Door(PLAIN)
    door.said()
    door.wait(0.456)
    assert door.send(b"EHLO bot.example\r\n") == [
        f"250-{HOST}",
        "250-SIZE 10240000",
        "250-VRFY",
        "250-ETRN",
        "250-ENHANCEDSTATUSCODES",
        "250-8BITMIME",
        "250-DSN",
        "250-SMTPUTF8",
        "250 CHUNKING",
    ], "there is no second greeting"
    door.send(b"MAIL FROM:<spam@bot.example>\r\n")
    assert door.send(b"RCPT TO:<alice@example.com>\r\n") == ["550 5.5.1 Protocol error"]
    assert door.lines.texts[1] == f"PREGREET 18 after 0.46 from {PEER}: EHLO bot.example\\r\\n"
    door.leave()
    assert door.lines.texts[-2:] == [
        f"HANGUP after 0 from {PEER} in tests after SMTP handshake",
        f"DISCONNECT {PEER}",
    ]
    assert door.memory.passed == {}


def test_who_speaks_too_early_may_be_dropped() -> None:
    door = Door(with_action(PLAIN, ScreenTest.PREGREET, Action.DROP), early=b"EHLO x\r\n")
    assert door.said()[-1] == "521 5.5.1 Protocol error"
    assert door.lines.texts == [
        CONNECT,
        f"PREGREET 8 after 0 from {PEER}: EHLO x\\r\\n",
        f"DISCONNECT {PEER}",
    ]


def test_who_speaks_too_early_may_be_let_through_without_a_verdict() -> None:
    """What it has said goes to the SMTP server, and there is no PASS."""
    door = Door(with_action(PLAIN, ScreenTest.PREGREET, Action.IGNORE))
    door.send(b"EHLO bot.example\r\n")
    assert door.requests == [HandOver(b"EHLO bot.example\r\n")]
    assert door.lines.kinds == ["postscreen.connect", "postscreen.pregreet"]


def test_only_the_beginning_of_early_text_is_shown() -> None:
    door = Door(PLAIN, early=b"\x00\xff" * 200)
    assert door.lines.texts[1] == f"PREGREET 400 after 0 from {PEER}: " + ("\\000\\377" * 50)[:100]


def test_a_header_that_is_not_expected_is_early_text() -> None:
    door = Door(PLAIN, early=b"PROXY TCP4 198.51.100.214 192.0.2.25 36131 25\r\n")
    assert door.lines.texts[1] == (
        f"PREGREET 47 after 0 from {PEER}: PROXY TCP4 198.51.100.214 192.0.2.25 36131 25\\r\\n"
    )
    assert door.said()[-1] == "502 5.5.2 Error: command not recognized"


def test_the_client_leaves_while_it_waits() -> None:
    door = Door(PLAIN)
    door.wait(1.24)
    door.leave()
    assert door.lines.texts[1:] == [
        f"HANGUP after 1.2 from {PEER} in tests before SMTP handshake",
        f"DISCONNECT {PEER}",
    ]
    assert isinstance(door.requests[-1], Close)


# --- lists


def test_a_listed_client() -> None:
    door = Door(LISTS)
    [lookup] = door.lookups
    assert lookup.domains == ("zen.dnsbl", "bl.list", "wl.list")
    door.answer(zen_dnsbl=["127.0.0.4"], bl_list=["127.0.0.2"], wl_list=[])
    door.said()
    assert door.wait(4) == [f"220 {HOST} ESMTP Postfix"]
    assert door.lines.texts[-1] == f"DNSBL rank 3 for {PEER}"
    door.send(b"HELO x\r\n")
    door.send(b"MAIL FROM:<a@b.example>\r\n")
    refused = "550 5.7.1 Service unavailable; client [192.0.2.10] blocked using zen.dnsbl"
    assert door.send(b"RCPT TO:<alice@example.com>\r\n") == [refused]
    assert f"RCPT from {PEER}: {refused};" in door.lines.texts[-1]


def test_a_good_name_makes_up_for_a_bad_one() -> None:
    door = Door(LISTS)
    door.answer(zen_dnsbl=["127.0.0.4"], bl_list=[], wl_list=["127.0.0.2"])
    door.wait(4)
    assert door.handed_over
    assert door.lines.texts[-1] == f"PASS NEW {PEER}"


def test_lists_that_do_not_answer_do_not_count() -> None:
    door = Door(LISTS)
    door.answer(bl_list=["127.0.0.2"])
    door.wait(4)
    assert door.handed_over


def test_results_may_be_chosen() -> None:
    settings = replace(LISTS, dns_lists=(DnsList("zen.dnsbl", 2, frozenset({"127.0.0.9"})),))
    door = Door(settings)
    door.answer(zen_dnsbl=["127.0.0.4"])
    door.wait(4)
    assert door.handed_over


def test_without_the_silence_test_the_answer_is_enough() -> None:
    door = Door(replace(LISTS, tests=frozenset({ScreenTest.DNSBL})))
    assert door.said() == []
    door.answer(zen_dnsbl=[], bl_list=[], wl_list=[])
    door.wait(0)
    assert door.handed_over


def test_an_early_talker_waits_for_the_lists_only() -> None:
    door = Door(LISTS, early=b"HELO x\r\n")
    assert door.lines.kinds == ["postscreen.connect", "postscreen.pregreet"]
    door.answer(zen_dnsbl=["127.0.0.4"], bl_list=[], wl_list=[])
    door.wait(0)
    assert door.lines.texts[-1] == f"DNSBL rank 2 for {PEER}"


def test_lookups_are_shared_while_they_last() -> None:
    memory = Memory()
    first, second = Door(LISTS, memory), Door(LISTS, memory, Endpoint("192.0.2.10", 41523))
    assert len(first.lookups) == 1
    assert second.lookups == []
    first.answer(zen_dnsbl=["127.0.0.4"], bl_list=[], wl_list=[])
    first.wait(4)
    second.wait(4)
    assert first.lines.kinds[-1] == second.lines.kinds[-1] == "postscreen.dnsbl_rank"
    first.leave()
    second.leave()
    assert memory.lookups == {}


# --- deep tests


def test_a_good_client_passes_the_deep_tests_and_must_come_again() -> None:
    memory = Memory()
    door = Door(ALL, memory)
    door.wait(4)
    door.send(b"EHLO client.example\r\n")
    door.send(b"MAIL FROM:<a@b.example>\r\n")
    assert door.send(b"RCPT TO:<alice@example.com>\r\n") == ["450 4.3.2 Service currently unavailable"]
    door.send(b"QUIT\r\n")
    assert door.lines.texts[-2:] == [f"PASS NEW {PEER}", f"DISCONNECT {PEER}"]
    assert Door(ALL, memory, now=START + 60).handed_over


@pytest.mark.parametrize(
    ("test", "data", "line"),
    [
        (
            ScreenTest.PIPELINING,
            b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\n",
            f"COMMAND PIPELINING from {PEER} after EHLO: MAIL FROM:<a@b.example>\\r\\n",
        ),
        (
            ScreenTest.NON_SMTP,
            b"GET /a HTTP/1.1\r\n",
            f"NON-SMTP COMMAND from {PEER} after CONNECT: GET /a HTTP/1.1",
        ),
        (
            ScreenTest.NON_SMTP,
            b"Subject: spam\r\n",
            f"NON-SMTP COMMAND from {PEER} after CONNECT: Subject: spam",
        ),
        (ScreenTest.BARE_NEWLINE, b"EHLO x.example\n", f"BARE NEWLINE from {PEER} after EHLO x.example"),
    ],
)
@pytest.mark.parametrize("action", list(Action))
def test_deep_tests_that_fail(test: ScreenTest, data: bytes, line: str, action: Action) -> None:
    memory = Memory()
    door = Door(with_action(ALL, test, action), memory)
    door.wait(4)
    replies = door.send(data)
    assert door.lines.texts[1] == line
    assert door.screen.ended is (action is Action.DROP)
    if action is Action.DROP:
        assert replies[-1].startswith("521 5.")
        return
    door.send(b"HELO x.example\r\n")
    door.send(b"MAIL FROM:<a@b.example>\r\n")
    refused = (
        "550 5.5.1 Protocol error" if action is Action.ENFORCE else "450 4.3.2 Service currently unavailable"
    )
    assert door.send(b"RCPT TO:<alice@example.com>\r\n") == [refused]
    door.send(b"QUIT\r\n")
    assert (f"PASS NEW {PEER}" in door.lines.texts) is (action is Action.IGNORE)
    assert Door(ALL, memory, now=START + 60).handed_over is (action is Action.IGNORE)


# --- limits


def test_too_many_connections() -> None:
    memory = Memory()
    settings = replace(PLAIN, client_limit=1)
    first, second = Door(settings, memory), Door(settings, memory, Endpoint("192.0.2.10", 41523))
    assert not first.screen.ended
    assert second.said() == ["421 4.7.0 Error: too many connections"]
    assert second.lines.texts[1:] == [
        "NOQUEUE: reject: CONNECT from [192.0.2.10]:41523: too many connections",
        "DISCONNECT [192.0.2.10]:41523",
    ]


def test_too_many_in_tests() -> None:
    memory = Memory()
    settings = replace(PLAIN, screening_limit=1)
    Door(settings, memory)
    second = Door(settings, memory, Endpoint("192.0.2.11", 41523))
    assert second.said() == ["421 4.3.2 All screening ports are busy"]


@pytest.mark.parametrize(
    ("change", "data", "wait", "line"),
    [
        ({"command_limit": 2}, b"NOOP\r\n" * 5, 0, f"COMMAND COUNT LIMIT from {PEER} after NOOP"),
        ({"command_time_limit_s": 10.0}, b"EHLO x\r\nMA", 11, f"COMMAND TIME LIMIT from {PEER} after EHLO"),
        ({"line_limit": 50}, b"EHLO " + b"x" * 100, 0, f"COMMAND LENGTH LIMIT from {PEER} after CONNECT"),
    ],
)
def test_limits_of_the_dialogue(change: dict[str, Any], data: bytes, wait: float, line: str) -> None:
    door = Door(replace(PLAIN, deny=networks("192.0.2.0/24"), **change))
    door.wait(4)
    door.send(data)
    door.wait(wait)
    assert line in door.lines.texts
    assert door.screen.ended


@pytest.mark.parametrize(
    ("commands", "reply"),
    [
        ([b"DATA"], "503 5.5.1 Error: need RCPT command"),
        ([b"MAIL FROM:<a@b.example>", b"DATA"], "554 5.5.1 Error: no valid recipients"),
        ([b"BDAT 100 LAST"], "554 5.5.1 Error: need MAIL command"),
        ([b"RCPT TO:<alice@example.com>"], "503 5.5.1 Error: need MAIL command"),
        ([b"MAIL FROM:<a@b.example>", b"MAIL FROM:<a@b.example>"], "503 5.5.1 Error: nested MAIL command"),
        ([b"MAIL"], "501 5.5.4 Syntax: MAIL FROM:<address>"),
        ([b"EHLO"], "501 Syntax: EHLO hostname"),
        ([b"VRFY alice"], "550 5.3.2 Service currently unavailable"),
        ([b"ETRN example.com"], "458 Unable to queue messages"),
        ([b"RSET"], "250 2.0.0 Ok"),
        ([b"STARTTLS"], "502 5.5.1 Error: command not implemented"),
        ([b"XYZZY"], "502 5.5.2 Error: command not recognized"),
    ],
)
def test_replies_of_the_dialogue(commands: list[bytes], reply: str) -> None:
    door = Door(replace(PLAIN, deny=networks("192.0.2.0/24")))
    door.wait(4)
    for command in commands:
        replies = door.send(command + b"\r\n")
    assert replies == [reply]


def test_tls_in_the_dialogue() -> None:
    door = Door(replace(PLAIN, deny=networks("192.0.2.0/24"), tls=True))
    door.wait(4)
    assert "250-STARTTLS" in door.send(b"EHLO x.example\r\n")
    assert door.send(b"STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n") == ["220 2.0.0 Ready to start TLS"]
    assert isinstance(door.requests[-1], StartTls)
    door.screen.tls_started("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256, door.now)
    assert "250-STARTTLS" not in door.send(b"EHLO x.example\r\n")
    assert door.send(b"RCPT TO:<a@b.example>\r\n") == ["503 5.5.1 Error: need MAIL command"]
    door.send(b"QUIT\r\n")
    tls = [text for kind, text in zip(door.lines.kinds, door.lines.texts, strict=True) if "tlsproxy" in kind]
    assert tls == [
        f"CONNECT from {PEER}",
        (
            f"Anonymous TLS connection established from {PEER}: "
            "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
        ),
        f"DISCONNECT {PEER}",
    ]


def test_a_client_that_speaks_as_soon_as_tls_is_on() -> None:
    """Its first command may be there before the machine is told that the handshake is done."""
    door = Door(replace(PLAIN, deny=networks("192.0.2.0/24"), tls=True))
    door.wait(4)
    door.send(b"EHLO x.example\r\n")
    door.send(b"STARTTLS\r\n")
    assert door.send(b"EHLO x.example\r\n") == []
    door.screen.tls_started("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256, door.now)
    assert door.said()[0] == "250-mx-a.example.com"
    assert door.send(b"RCPT TO:<a@b.example>\r\n") == ["503 5.5.1 Error: need MAIL command"]


def test_a_slow_handshake_is_no_command_that_is_late() -> None:
    """tlsproxy(8) has a limit of its own; the one for commands begins anew when TLS is on."""
    settings = replace(PLAIN, deny=networks("192.0.2.0/24"), tls=True, command_time_limit_s=10.0)
    door = Door(settings)
    door.wait(4)
    door.send(b"EHLO x.example\r\n")
    door.send(b"STARTTLS\r\n")
    door.wait(20)
    assert not door.screen.ended
    door.screen.tls_started("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256, door.now)
    door.wait(9)
    assert not door.screen.ended
    door.wait(2)
    assert f"COMMAND TIME LIMIT from {PEER} after STARTTLS" in door.lines.texts


def test_what_is_remembered_is_bounded() -> None:
    memory = Memory(limit=10)
    for number in range(50):
        Door(PLAIN, memory, Endpoint(f"192.0.2.{number}", 41522), now=START + number).wait(4)
    assert len(memory.passed) == 10
    assert "192.0.2.49" in memory.passed
    assert CLIENT.address not in memory.passed
