"""The SMTP server in memory: replies, lines, and what happens when a client does not behave."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from logscope.relay.header import Endpoint
from logscope.relay.machine import Close, StartTls
from logscope.relay.smtp.clients import ClientCounts, ClientLimits
from logscope.relay.smtp.server import Smtpd, Store
from logscope.relay.smtp.site import Client, Site

from .memory import HOST, RULES, START, Lines, Talk

CLIENT = "unknown[192.0.2.10]"
OTHER_IDENTITY = "Authorization identity differs from the user"
HELLO = "EHLO client.example"
ENVELOPE = (HELLO, "MAIL FROM:<carol@sender.example>", "RCPT TO:<alice@example.com>")
CONTENT = b"Message-ID: <1@sender.example>\r\nSubject: hello\r\n\r\nHello.\r\n.\r\n"


def codes(replies: list[str]) -> list[str]:
    return [reply.split(" ")[0] for reply in replies]


def test_a_message() -> None:
    talk = Talk()
    assert talk.said() == [f"220 {HOST} ESMTP Postfix"]
    greeting = talk.say(HELLO)
    assert greeting[0] == f"250-{HOST}"
    assert {"250-PIPELINING", "250-SIZE 1000", "250-8BITMIME", "250-DSN", "250 CHUNKING"} <= set(greeting)
    assert not any("STARTTLS" in line or "AUTH" in line for line in greeting)
    assert talk.say("MAIL FROM:<carol@sender.example> SIZE=100 BODY=8BITMIME") == ["250 2.1.0 Ok"]
    assert talk.say("RCPT TO:<alice@example.com>") == ["250 2.1.5 Ok"]
    assert talk.say("DATA") == ["354 End data with <CR><LF>.<CR><LF>"]
    talk.send(CONTENT)
    [message] = talk.stored
    assert talk.said() == [f"250 2.0.0 Ok: queued as {message.queue_id}"]
    assert talk.say("QUIT") == ["221 2.0.0 Bye"]
    assert isinstance(talk.requests[-1], Close)
    assert message.sender == "carol@sender.example"
    assert [entry.address for entry in message.recipients] == ["alice@example.com"]
    trace, _, rest = message.content.partition(b"Message-ID")
    assert trace.startswith(b"Received: from client.example (unknown [192.0.2.10])\r\n\tby mx-a.example.com")
    assert b"with ESMTP id " + message.queue_id.encode() in trace
    assert b"Message-ID" + rest == CONTENT[: -len(b".\r\n")]
    assert talk.lines.texts == [
        f"connect from {CLIENT}",
        f"{message.queue_id}: client={CLIENT}",
        f"{message.queue_id}: message-id=<1@sender.example>",
        f"disconnect from {CLIENT} ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
    ]


def test_nothing_is_acknowledged_before_it_is_stored() -> None:
    """What arrives while the disk works is kept, and answered afterwards."""
    talk = Talk()
    talk.say(*ENVELOPE, "DATA")
    talk.server.receive(CONTENT + b"NOOP\r\n", talk.now)
    [store] = talk.server.requests
    assert isinstance(store, Store)
    assert talk.said() == []
    assert talk.server.deadline is None
    talk.server.requests.clear()
    talk.server.stored(store.message, talk.now)
    assert codes(talk.said()) == ["250", "250"]


@pytest.mark.parametrize(("full", "reply"), [(True, "452 4.3.1"), (False, "451 4.3.0")])
def test_a_message_that_cannot_be_stored_is_left_to_the_client(full: bool, reply: str) -> None:
    talk = Talk()
    talk.say(*ENVELOPE, "DATA")
    talk.server.receive(CONTENT, talk.now)
    talk.server.requests.clear()
    talk.server.not_stored(full, talk.now)
    assert talk.said()[0].startswith(reply)
    assert talk.say("MAIL FROM:<carol@sender.example>") == ["250 2.1.0 Ok"]


def test_the_client_leaves_while_the_disk_works() -> None:
    """The message is stored all the same, and the session ends afterwards, in order."""
    talk = Talk()
    talk.say(*ENVELOPE, "DATA")
    talk.server.receive(CONTENT, talk.now)
    [store] = talk.server.requests
    talk.server.closed(talk.now)
    assert not talk.server.ended
    talk.server.stored(store.message, talk.now)
    assert talk.server.ended
    assert talk.lines.texts[-1].startswith("disconnect from")
    assert "smtpd.lost_connection" not in talk.lines.kinds


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["MAIL FROM:<a@b.example>"], "503 5.5.1 Error: send HELO/EHLO first"),
        (["HELO"], "501 Syntax: HELO hostname"),
        (["EHLO"], "501 Syntax: EHLO hostname"),
        ([HELLO, "RCPT TO:<alice@example.com>"], "503 5.5.1 Error: need MAIL command"),
        ([HELLO, "DATA"], "503 5.5.1 Error: need RCPT command"),
        ([HELLO, "MAIL FROM:<a@b.example>", "DATA"], "554 5.5.1 Error: no valid recipients"),
        (
            [HELLO, "MAIL FROM:<a@b.example>", "MAIL FROM:<a@b.example>"],
            "503 5.5.1 Error: nested MAIL command",
        ),
        ([HELLO, "MAIL a@b.example"], "501 5.5.4 Syntax: MAIL FROM:<address>"),
        ([HELLO, "MAIL FROM:<a b@c.example>"], "501 5.1.7 Bad sender address syntax"),
        ([HELLO, "MAIL FROM:<a@b.example> SIZE=x"], "501 5.5.4 Bad message size syntax"),
        ([HELLO, "MAIL FROM:<a@b.example> SIZE=1001"], "552 5.3.4 Message size exceeds fixed limit"),
        ([HELLO, "MAIL FROM:<a@b.example> RET=x"], "501 5.5.4 Bad RET parameter syntax"),
        ([HELLO, "MAIL FROM:<a@b.example> ENVID=a=b"], "501 5.5.4 Bad ENVID parameter syntax"),
        ([HELLO, "MAIL FROM:<a@b.example> X=1"], "555 5.5.4 Unsupported option: X=1"),
        ([*ENVELOPE[:2], "RCPT alice@example.com"], "501 5.5.4 Syntax: RCPT TO:<address>"),
        ([*ENVELOPE[:2], "RCPT TO:<>"], "501 5.1.3 Bad recipient address syntax"),
        (
            [*ENVELOPE[:2], "RCPT TO:<a@example.com> NOTIFY=SOON"],
            "501 5.5.4 Error: Bad NOTIFY parameter syntax",
        ),
        ([*ENVELOPE[:2], "RCPT TO:<a@example.com> ORCPT=x"], "501 5.5.4 Error: Bad ORCPT parameter syntax"),
        ([*ENVELOPE, "DATA now"], "501 5.5.4 Syntax: DATA"),
        ([HELLO, "RSET now"], "501 5.5.4 Syntax: RSET"),
        ([HELLO, "VRFY"], "501 5.5.4 Syntax: VRFY address [SMTPUTF8]"),
        ([HELLO, "VRFY alice@example.com"], "252 2.0.0 alice@example.com"),
        ([HELLO, "AUTH PLAIN"], "503 5.5.1 Error: authentication not enabled"),
        ([HELLO, "STARTTLS"], "502 5.5.1 Error: command not implemented"),
        (["HELO client.example"], f"250 {HOST}"),
        ([HELLO, "NOOP"], "250 2.0.0 Ok"),
        ([HELLO, "XYZZY"], "500 5.5.2 Error: command not recognized"),
        ([""], "500 5.5.2 Error: bad syntax"),
        ([b"EHLO \xff\xfe"], "500 5.5.2 Error: bad UTF-8 syntax"),
        (["NOOP " + "x" * 5000], "250 2.0.0 Ok"),
    ],
)
def test_replies(lines: list[str | bytes], reply: str) -> None:
    assert Talk().say(*lines)[-1] == reply or Talk().say(*lines) == [reply]
    talk = Talk()
    talk.said()
    assert talk.say(*lines) == [reply]


@pytest.mark.parametrize(
    ("lines", "decision"),
    [
        (
            [HELLO, "MAIL FROM:<carol@sender.example>", "RCPT TO:<victim@elsewhere.example>"],
            (
                "554 5.7.1 <victim@elsewhere.example>: Relay access denied; "
                "from=<carol@sender.example> to=<victim@elsewhere.example> proto=ESMTP helo=<client.example>"
            ),
        ),
        (
            [HELLO, "MAIL FROM:<carol@sender.example>", "RCPT TO:<nobody@example.com>"],
            (
                "550 5.1.1 <nobody@example.com>: Recipient address rejected: "
                "User unknown in virtual mailbox table; "
                "from=<carol@sender.example> to=<nobody@example.com> proto=ESMTP helo=<client.example>"
            ),
        ),
        (
            ["HELO bot", "MAIL FROM:<carol@sender.example>", "RCPT TO:<alice@example.com>"],
            (
                "504 5.5.2 <bot>: Helo command rejected: need fully-qualified hostname; "
                "from=<carol@sender.example> to=<alice@example.com> proto=SMTP helo=<bot>"
            ),
        ),
        (
            ["HELO -x-.example", "MAIL FROM:<>", "RCPT TO:<alice@example.com>"],
            (
                "501 5.5.2 <-x-.example>: Helo command rejected: Invalid name; "
                "from=<> to=<alice@example.com> proto=SMTP helo=<-x-.example>"
            ),
        ),
        (
            [HELLO, "MAIL FROM:<carol@nowhere.example>", "RCPT TO:<alice@example.com>"],
            (
                "450 4.1.8 <carol@nowhere.example>: Sender address rejected: Domain not found; "
                "from=<carol@nowhere.example> to=<alice@example.com> proto=ESMTP helo=<client.example>"
            ),
        ),
        (
            [HELLO, "MAIL FROM:<carol>", "RCPT TO:<alice@example.com>"],
            (
                "504 5.5.2 <carol>: Sender address rejected: need fully-qualified address; "
                "from=<carol> to=<alice@example.com> proto=ESMTP helo=<client.example>"
            ),
        ),
    ],
)
def test_refusals_are_logged(lines: list[str], decision: str) -> None:
    talk = Talk()
    talk.said()
    reply = decision.partition("; from=")[0]
    assert talk.say(*lines) == [reply]
    assert talk.lines.texts[-1] == f"NOQUEUE: reject: RCPT from {CLIENT}: {decision}"


def test_the_postmaster_is_always_there() -> None:
    site = Site(HOST, RULES, origin="example.com")
    assert Talk(site).say(*ENVELOPE[:2], "RCPT TO:<postmaster>") == ["250 2.1.5 Ok"]


def test_too_many_recipients() -> None:
    talk = Talk()
    talk.say(*ENVELOPE, "RCPT TO:<bob@example.com>", "RCPT TO:<a@example.org>")
    assert talk.say("RCPT TO:<b@example.org>") == ["452 4.5.3 Error: too many recipients"]


def test_content_is_refused() -> None:
    talk = Talk()
    talk.say(*ENVELOPE, "DATA")
    talk.send(b"Subject: forbidden fruit\r\n\r\nx\r\n.\r\n")
    assert talk.said() == ["550 5.7.1 content not wanted here"]
    assert talk.stored == []
    assert talk.lines.texts[-1].endswith(
        f": reject: header Subject: forbidden fruit from {CLIENT}; from=<carol@sender.example> "
        "to=<alice@example.com> proto=ESMTP helo=<client.example>: 5.7.1 content not wanted here"
    )


def test_a_message_that_is_too_large() -> None:
    talk = Talk()
    talk.say(*ENVELOPE, "DATA")
    talk.send(b"x" * 2000 + b"\r\n")
    assert talk.said() == []
    talk.send(b".\r\nNOOP\r\n")
    assert codes(talk.said()) == ["552", "250"]
    assert "queue file size limit exceeded" in talk.lines.texts[-1]
    assert talk.stored == []


def test_pipelining() -> None:
    """A whole transaction in one piece is answered in order."""
    talk = Talk()
    talk.say(HELLO)
    talk.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@example.com>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n")
    assert codes(talk.said()) == ["250", "550", "250", "354"]
    talk.send(CONTENT + b"QUIT\r\n")
    assert codes(talk.said()) == ["250", "221"]
    assert "smtpd.improper_pipelining" not in talk.lines.kinds


def test_what_was_answered_is_not_unread() -> None:
    """It came while the disk worked; a process that has read everything closes without a reset."""
    talk = Talk()
    talk.say(*ENVELOPE, "DATA")
    talk.server.receive(CONTENT, talk.now)
    talk.server.receive(b"QUIT\r\n", talk.now)
    assert talk.server.unread
    talk._serve()
    assert codes(talk.said()) == ["250", "221"]
    assert not talk.server.unread


def test_improper_pipelining_is_logged_once_and_refused_at_data() -> None:
    talk = Talk()
    talk.send(b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n")
    assert codes(talk.said())[-1] == "503"
    assert [text for text in talk.lines.texts if text.startswith("improper")] == [
        (
            f"improper command pipelining after EHLO from {CLIENT}: MAIL FROM:<a@b.example>\\r\\n"
            "RCPT TO:<alice@example.com>\\r\\nDATA\\r\\n"
        )
    ]
    assert (
        "503 5.5.0 <DATA>: Data command rejected: Improper use of SMTP command pipelining"
        in (talk.lines.texts[-1])
    )


def test_a_client_that_speaks_first() -> None:
    talk = Talk(early=b"EHLO client.example\r\n")
    assert (
        talk.lines.texts[1]
        == f"improper command pipelining after CONNECT from {CLIENT}: EHLO client.example\\r\\n"
    )
    assert "improper" not in "".join(Talk(early=b"EHLO x\r\n", screened=True).lines.texts)


def test_not_smtp() -> None:
    talk = Talk()
    talk.said()
    assert talk.say("GET / HTTP/1.1") == ["221 2.7.0 Error: I can break rules, too. Goodbye."]
    assert talk.lines.texts[1:] == [
        f"warning: non-SMTP command from {CLIENT}: GET / HTTP/1.1",
        f"disconnect from {CLIENT} unknown=0/1 commands=0/1",
    ]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ((), f"lost connection after CONNECT from {CLIENT}"),
        ((HELLO,), f"lost connection after EHLO from {CLIENT}"),
        (ENVELOPE, f"lost connection after RCPT from {CLIENT}"),
        ((*ENVELOPE, "DATA"), f"lost connection after DATA (0 bytes) from {CLIENT}"),
        ((*ENVELOPE, "DATA", "half a line"), f"lost connection after DATA (13 bytes) from {CLIENT}"),
    ],
)
def test_the_client_leaves(lines: tuple[str, ...], line: str) -> None:
    talk = Talk()
    talk.say(*lines)
    talk.leave()
    assert talk.lines.texts[-2] == line
    assert talk.lines.texts[-1].startswith(f"disconnect from {CLIENT}")


def test_after_a_message_the_client_may_leave_without_a_word() -> None:
    talk = Talk()
    talk.say(*ENVELOPE, "DATA")
    talk.send(CONTENT)
    talk.leave()
    assert talk.lines.kinds[-2:] == ["cleanup.message_id", "smtpd.disconnect"]


def test_a_silent_client() -> None:
    talk = Talk()
    talk.say(HELLO)
    assert talk.wait(299) == []
    assert talk.wait(2) == [f"421 4.4.2 {HOST} Error: timeout exceeded"]
    assert talk.lines.texts[-2] == f"timeout after EHLO from {CLIENT}"


def test_a_client_that_sends_byte_by_byte_may_take_its_time_but_not_forever_between_bytes() -> None:
    talk = Talk()
    for byte in b"EHLO client.example\r":
        talk.send(bytes([byte]))
        talk.wait(100)
    assert not talk.server.ended
    talk.wait(250)
    assert talk.server.ended


def test_many_errors_cost_time_and_then_the_session() -> None:
    talk = Talk(Site(HOST, RULES, soft_errors=3, hard_errors=5))
    for _ in range(3):
        assert talk.say("XYZZY")[-1].startswith("500")
    assert talk.say("XYZZY") == []
    assert talk.wait(0.5) == []
    assert talk.wait(0.6)[0].startswith("500")
    talk.say("XYZZY")
    assert codes(talk.wait(3)) == ["500", "421"]
    assert talk.server.ended
    assert talk.lines.texts[-2] == f"too many errors after UNKNOWN from {CLIENT}"
    assert talk.lines.texts[-1] == f"disconnect from {CLIENT} unknown=0/5 commands=0/5"
    assert talk.now > START + 2


def test_commands_that_do_nothing_become_errors() -> None:
    talk = Talk(Site(HOST, RULES, junk_limit=5, hard_errors=3))
    talk.send(b"NOOP\r\n" * 20)
    assert talk.server.ended


def test_too_many_connections_of_one_address() -> None:
    site = Site(HOST, RULES, limits=ClientLimits(connection_count=2))
    counts = ClientCounts()
    first, second, third = (Talk(site, counts) for _ in range(3))
    assert third.said() == [f"421 4.7.0 {HOST} Error: too many connections from 192.0.2.10"]
    assert third.lines.texts[1] == (
        f"warning: Connection concurrency limit exceeded: 3 from {CLIENT} for service smtpd"
    )
    first.leave()
    second.leave()
    assert codes(Talk(site, counts).said()) == ["220"]


def test_rates_are_counted_in_windows() -> None:
    site = Site(HOST, RULES, limits=ClientLimits(message_rate=1))
    talk = Talk(site)
    assert talk.say(HELLO, "MAIL FROM:<a@b.example>") == ["250 2.1.0 Ok"]
    assert talk.say("RSET", "MAIL FROM:<a@b.example>") == ["450 4.7.1 Error: too much mail from 192.0.2.10"]
    talk.wait(61)
    assert talk.say("MAIL FROM:<a@b.example>") == ["250 2.1.0 Ok"]


# --- chunks


def test_chunks() -> None:
    talk = Talk()
    talk.say(*ENVELOPE)
    talk.send(b"BDAT 12\r\nSubject: a\r\nBDAT 7 LAST\r\n\r\nb\r\n.\r")
    assert talk.said() == [
        "250 2.0.0 Ok: 12 bytes",
        f"250 2.0.0 Ok: 19 bytes queued as {talk.stored[0].queue_id}",
    ]
    assert talk.stored[0].content.endswith(b"Subject: a\r\n\r\nb\r\n.\r\n")
    assert talk.say("QUIT")
    assert "bdat=2 quit=1" in talk.lines.texts[-1]


def test_chunks_after_an_error_are_skipped() -> None:
    talk = Talk()
    talk.say(HELLO, "MAIL FROM:<a@b.example>")
    talk.send(b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert talk.said() == [
        "554 5.5.1 Error: no valid recipients",
        "551 5.0.0 Discarded 6 bytes after earlier error",
        "250 2.0.0 Ok",
    ]


def test_a_malformed_chunk_ends_the_session() -> None:
    talk = Talk()
    talk.say(*ENVELOPE)
    assert talk.say("BDAT x") == ["521 5.5.4 Syntax: BDAT count [LAST]"]
    assert talk.server.ended


# --- TLS and login

SECURE = Site(HOST, RULES, tls=True, auth=True, soft_errors=100)


def secure_talk() -> Talk:
    talk = Talk(SECURE)
    talk.say(HELLO)
    talk.say("STARTTLS")
    talk.server.tls_started("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256, talk.now)
    return talk


def test_tls() -> None:
    talk = Talk(SECURE)
    assert "250-STARTTLS" in talk.say(HELLO)
    talk.send(b"STARTTLS\r\nMAIL FROM:<evil@sender.example>\r\n")
    assert talk.said()[-1] == "220 2.0.0 Ready to start TLS"
    assert isinstance(talk.requests[-1], StartTls)
    talk.server.tls_started("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256, talk.now)
    assert talk.said() == [], "what was said in the clear is forgotten"
    assert talk.lines.texts[-1] == (
        f"Anonymous TLS connection established from {CLIENT}: "
        "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
    )
    assert talk.say("MAIL FROM:<a@b.example>") == ["503 5.5.1 Error: send HELO/EHLO first"]
    assert "250-AUTH PLAIN LOGIN" in talk.say(HELLO)
    assert talk.say("STARTTLS") == ["554 5.5.1 Error: TLS already active"]


def test_a_handshake_that_fails() -> None:
    talk = Talk(SECURE)
    talk.say(HELLO, "STARTTLS")
    talk.server.tls_failed("lost connection", talk.now)
    assert talk.lines.texts[-3:] == [
        f"SSL_accept error from {CLIENT}: lost connection",
        f"lost connection after STARTTLS from {CLIENT}",
        f"disconnect from {CLIENT} ehlo=1 starttls=0/1 commands=1/2",
    ]


def test_no_password_is_taken_in_the_clear() -> None:
    talk = Talk(SECURE)
    assert not any("AUTH" in line for line in talk.say(HELLO))
    assert talk.say("AUTH PLAIN AGEAcmlnaHQ=") == ["503 5.5.1 Error: authentication not enabled"]


def test_mail_may_be_refused_before_tls() -> None:
    talk = Talk(replace(SECURE, tls_required=True))
    talk.say(HELLO)
    assert talk.say("MAIL FROM:<a@b.example>") == ["530 5.7.0 Must issue a STARTTLS command first"]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "lines",
    [
        ["AUTH PLAIN " + encoded("\0alice\0right")],
        ["AUTH PLAIN", encoded("\0alice\0right")],
        ["AUTH LOGIN", encoded("alice"), encoded("right")],
        ["AUTH LOGIN " + encoded("alice"), encoded("right")],
        ["auth plain " + encoded("alice\0alice\0right")],
    ],
)
def test_a_user_may_send_anywhere(lines: list[str]) -> None:
    talk = secure_talk()
    talk.say(HELLO)
    assert talk.say(*lines) == ["235 2.7.0 Authentication successful"]
    assert talk.say("MAIL FROM:<alice@example.com>", "RCPT TO:<friend@elsewhere.example>") == ["250 2.1.5 Ok"]
    method = lines[0].split()[1].upper()
    assert talk.lines.texts[-1].endswith(f"client={CLIENT}, sasl_method={method}, sasl_username=alice")


@pytest.mark.parametrize(
    ("lines", "reply", "line"),
    [
        (
            ["AUTH PLAIN " + encoded("\0alice\0wrong")],
            "535 5.7.8 Error: authentication failed: ",
            f"warning: {CLIENT}: SASL PLAIN authentication failed:",
        ),
        (
            ["AUTH LOGIN", "*"],
            "501 5.7.0 Authentication aborted",
            f"warning: {CLIENT}: SASL LOGIN authentication aborted",
        ),
        (
            ["AUTH CRAM-MD5"],
            "535 5.7.8 Error: authentication failed: Invalid authentication mechanism",
            f"warning: {CLIENT}: SASL CRAM-MD5 authentication failed: Invalid authentication mechanism",
        ),
        (
            ["AUTH PLAIN !!!"],
            "535 5.7.8 Error: authentication failed: Invalid base64 data in response",
            f"warning: {CLIENT}: SASL PLAIN authentication failed: Invalid base64 data in response",
        ),
        (
            ["AUTH PLAIN " + encoded("bob\0alice\0right")],
            f"535 5.7.8 Error: authentication failed: {OTHER_IDENTITY}",
            f"warning: {CLIENT}: SASL PLAIN authentication failed: {OTHER_IDENTITY}",
        ),
    ],
)
def test_a_login_that_fails(lines: list[str], reply: str, line: str) -> None:
    talk = secure_talk()
    talk.say(HELLO)
    assert talk.say(*lines) == [reply]
    assert talk.lines.texts[-1] == line
    assert talk.say("MAIL FROM:<a@b.example>", "RCPT TO:<x@elsewhere.example>")[0].startswith("554")
    talk.say("QUIT")
    assert "auth=0/1" in talk.lines.texts[-1]


def test_stopping_waits_for_a_message() -> None:
    talk = Talk()
    talk.say(*ENVELOPE, "DATA")
    talk.server.stopping(talk.now)
    assert not talk.server.ended
    talk.send(CONTENT)
    assert codes(talk.said()) == ["250"]
    talk.server.stopping(talk.now)
    assert talk.said() == [f"421 4.3.2 {HOST} Service shutting down"]
    assert talk.server.ended


def test_a_missing_header() -> None:
    lines = Lines()
    peer = Endpoint("127.0.0.1", 40000)
    server = Smtpd(Site(HOST), Client("localhost", peer, peer), lines, ClientCounts(), lambda _: "A1B2C3D4E")
    server.no_header(START)
    assert server.out == f"421 4.3.0 {HOST} Server local error\r\n".encode()
    assert lines.texts == [
        "connect from localhost[127.0.0.1]",
        "disconnect from localhost[127.0.0.1] commands=0/0",
    ]
