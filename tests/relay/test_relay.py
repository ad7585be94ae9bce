"""The whole relay on real sockets, and its logs read back by logscope."""

from __future__ import annotations

import asyncio
import gc
import json
import smtplib
import ssl
from pathlib import Path

import pytest

import logscope
from logscope.cli.main import main
from logscope.haproxy.stock_formats import TCPLOG
from logscope.relay.header import Endpoint
from logscope.relay.rim.passwords import hashed
from logscope.relay.rim.run import Relay

from .running import Caller, lines, mails, run, until

SERVERS = """\
[[mta]]
host = "mx-a"
error_sleep = 0
minimal_backoff = "200ms"
[mta.domains]
"example.com" = ["alice", "bob"]
"example.org" = { deliver = "discard" }
"example.net" = { deliver = "smtp:127.0.0.1:PORT7" }
[mta.screen]
greet_wait = "300ms"
dnsbl_sites = ["zen.dnsbl.example*2"]
dnsbl_threshold = 2
deny = ["198.51.100.248/29"]
[mta.dns_zone]
"zen.dnsbl.example" = { "198.51.100.0/25" = "127.0.0.4" }
[[mta.listener]]
bind = "127.0.0.1:PORT2"
proxy_from = ["127.0.0.1"]
[[mta.listener]]
bind = "127.0.0.1:PORT3"

[[mta]]
host = "mx-b"
client_port_logging = true
[mta.domains]
"example.com" = ["alice", "bob"]
[[mta.listener]]
bind = "127.0.0.1:PORT4"
proxy_from = ["127.0.0.1"]
screen = false
"""
BALANCED = (
    """\
drain = "3s"
[log]
format = "FORM"
[[balancer]]
[[balancer.frontend]]
name = "ft_smtp"
bind = "127.0.0.1:PORT0"
backend = "bk_postfix"
accept_proxy_from = ["127.0.0.1"]
log_format = "FORMAT"
[[balancer.frontend]]
name = "ft_masked"
bind = "127.0.0.1:PORT1"
backend = "bk_masked"
accept_proxy_from = ["127.0.0.1"]
log_format = "FORMAT"
[[balancer.backend]]
name = "bk_postfix"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:PORT2"
send_proxy = "v1"
check = "tcp"
check_send_proxy = true
inter = "400ms"
[[balancer.backend.server]]
name = "mx-b"
address = "127.0.0.1:PORT4"
send_proxy = "v2"
crc32c = true
unique_id = true
[[balancer.backend]]
name = "bk_masked"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:PORT3"
"""
    + SERVERS
)
WITH_SOURCE = f"{TCPLOG} %bi:%bp"


def balanced(form: str = "bsd", log_format: str = "") -> str:
    return BALANCED.replace("FORMAT", log_format).replace("FORM", form)


def client(number: int, network: str = "192.0.2") -> Endpoint:
    return Endpoint(f"{network}.{number}", 40_000 + number)


def test_a_session_that_is_over_leaves_nothing_to_the_garbage_collector(tmp_path: Path) -> None:
    left: set[str] = set()

    async def serve(relay: Relay, ports: list[int]) -> None:
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        for number in range(10, 14):  # two at each server
            caller = await Caller.call(ports[0], client(number))
            assert "queued as" in await caller.message(helo=f"c{number}.example")
        await until(lambda: not any(server.connections for server in relay.servers), "the end of all")
        gc.collect()
        left.update(type(entry).__name__ for entry in gc.garbage)

    try:
        run(tmp_path, balanced(), serve)
        assert not left & {"ClientSide", "ServerSide", "MtaConnection", "Wire", "Smtpd"}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


async def traffic(relay: Relay, ports: list[int]) -> None:
    """Six messages in the open, eight masked, and clients that do not behave."""

    async def good(port: int, number: int) -> None:
        caller = await Caller.call(port, client(number))
        assert "queued as" in await caller.message(helo=f"c{number}.example")

    async def early() -> None:
        caller = await Caller.call(ports[0], client(90))
        await caller.say("EHLO bot.example")
        await caller.close()

    async def refused(number: int, network: str, recipient: str, code: str) -> None:
        caller = await Caller.call(ports[0], client(number, network))
        await caller.reply()
        await caller.say("EHLO c.example", "MAIL FROM:<x@sender.example>")
        assert (await caller.say(f"RCPT TO:<{recipient}>")).startswith(code)
        await caller.say("QUIT")
        await caller.close()

    async def reset() -> None:
        caller = await Caller.call(ports[0], client(92))
        await caller.reply()
        caller.reset()

    # In turns: mx-a and mx-b alternate, so each of these meets the server it is meant for.
    await asyncio.gather(*(good(ports[0], number) for number in range(10, 16)))
    await early()
    await refused(91, "192.0.2", "victim@elsewhere.example", "554")
    await refused(7, "198.51.100", "alice@example.com", "550")
    await reset()
    await asyncio.gather(*(good(ports[1], number) for number in range(20, 28)))
    await asyncio.sleep(0.5)  # a health check comes by


@pytest.mark.parametrize(("form", "log_format"), [("bsd", ""), ("rfc3339", WITH_SOURCE), ("rfc5424", TCPLOG)])
def test_every_line_is_understood_and_every_session_joined(
    tmp_path: Path, form: str, log_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, balanced(form, log_format), traffic)
    logs = [str(tmp_path / "haproxy.log"), str(tmp_path / "mail.log")]
    assert main(["parse", "-q", "-o", "jsonl", *logs]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event for event in events if event["kind"] in ("unparsed", "foreign")] == []
    assert main(["sessions", "-q", "-o", "jsonl", *logs]) == 0
    sessions = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    by_client = {entry["client_address"]: entry for entry in sessions if entry["outcome"] != "probe"}
    for number in range(10, 16):
        found = by_client[f"192.0.2.{number}"]
        assert (found["outcome"], found["client_port"], found["join_confidence"]) == (
            "delivered",
            40_000 + number,
            "exact",
        )
        assert found["masked"] is False
        assert found["helo"] in (None, f"c{number}.example")
    assert by_client["192.0.2.90"]["screen_tests"] in (["pregreet"], [])
    assert by_client["192.0.2.91"]["outcome"] == "rejected"
    assert by_client["192.0.2.92"]["termination_state"] == "CD"
    if log_format == WITH_SOURCE:
        for number in range(20, 28):
            found = by_client[f"192.0.2.{number}"]
            assert (found["masked"], found["client_known_from"]) == (True, "backend_port")
            assert found["outcome"] == "delivered"


def test_mail_arrives_as_it_was_sent(tmp_path: Path) -> None:
    run(tmp_path, balanced(), traffic)
    found = mails(tmp_path) + mails(tmp_path, "mx-b")
    assert len(found) == 14
    for mail in found:
        head, _, body = mail.partition(b"\n\n")
        assert body == b". dots\n"
        assert head.startswith(b"Return-Path: <carol@sender.example>\nX-Original-To: alice@example.com\n")
        assert b"\nReceived: from c" in head
        assert b"\r" not in mail
    assert list((tmp_path / "spool").glob("*/*/*")) == []


def test_library_reads_it_too(tmp_path: Path) -> None:
    run(tmp_path, balanced("rfc3339"), traffic)
    sessions = logscope.read_sessions(str(tmp_path / "haproxy.log"), str(tmp_path / "mail.log"), tz="UTC")
    assert (sessions.outcome == "delivered").sum() >= 6
    deliveries = logscope.read_deliveries(str(tmp_path / "mail.log"), tz="UTC")
    assert set(deliveries.status) == {"sent"}


# --- TLS and login

SECURE = (
    """\
[[mta]]
host = "mx-s"
hostname = "mx-s.example.com"
certificate = "self-signed"
users = "users"
relayhost = "127.0.0.1:PORT2"
[mta.domains]
"example.com" = ["alice"]
[[mta.listener]]
bind = "127.0.0.1:PORT0"
screen = false
"""
    + SERVERS
)


def test_a_user_logs_in_under_tls_and_sends_anywhere(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    (tmp_path / "users").write_text(f"# users\nalice@example.com:{hashed('right')}\n")
    text = SECURE.replace('bind = "127.0.0.1:PORT2"\nproxy_from = ["127.0.0.1"]', 'bind = "127.0.0.1:PORT2"')
    text = text.replace('"example.com" = ["alice", "bob"]', '"elsewhere.example" = "*"', 1)

    def talk(port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as smtp:
            smtp.ehlo("client.example")
            assert not smtp.has_extn("auth")
            smtp.starttls(context=context)
            with pytest.raises(smtplib.SMTPAuthenticationError):
                smtp.login("alice@example.com", "wrong")
            smtp.login("alice@example.com", "right")
            smtp.sendmail(
                "alice@example.com", ["friend@elsewhere.example"], "Subject: hello\r\n\r\nHello.\r\n"
            )

    async def play(relay: Relay, ports: list[int]) -> None:
        await asyncio.to_thread(talk, ports[0])
        await until(lambda: mails(tmp_path), "the mail has come through both servers")

    run(tmp_path, text, play)
    [mail] = mails(tmp_path)
    assert b"with ESMTPSA id" in mail
    log = "\n".join(lines(tmp_path))
    assert "TLS connection established from localhost[127.0.0.1]: TLSv1.3 with cipher" in log
    assert "SASL PLAIN authentication failed:" in log or "SASL LOGIN authentication failed:" in log
    assert "sasl_username=alice@example.com" in log
    assert "status=sent (250 2.0.0 Ok: queued as" in log
    assert "right" not in log


# --- the queue


def test_mail_waits_for_its_next_hop_and_bounces_when_that_refuses(tmp_path: Path) -> None:
    """The next hop is down, then there; one recipient is refused, and the local sender is told."""

    async def next_hop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 next.example ESMTP\r\n")
        while line := await reader.readline():
            if line.startswith(b"RCPT TO:<gone@"):
                writer.write(b"550 5.1.1 no such user\r\n")
            elif line == b"DATA\r\n":
                writer.write(b"354 go\r\n")
            elif line == b".\r\n":
                writer.write(b"250 2.0.0 Ok: queued as 77777\r\n")
            elif line[:4] in (b"EHLO", b"MAIL", b"RCPT", b"QUIT"):
                writer.write(b"250 ok\r\n")
        writer.close()

    async def play(relay: Relay, ports: list[int]) -> None:
        caller = await Caller.call(ports[2], client(30))
        await caller.reply()
        await caller.say(
            "EHLO client.example", "MAIL FROM:<bob@example.com>", "RCPT TO:<gone@example.net>",
            "RCPT TO:<there@example.net>", "RCPT TO:<x@example.org>", "DATA",
        )  # fmt: skip
        assert "queued" in await caller.say("Subject: x\r\n\r\nx\r\n.")
        await caller.close()
        await until(lambda: "status=deferred" in (tmp_path / "mail.log").read_text(), "deferred")
        server = await asyncio.start_server(next_hop, "127.0.0.1", ports[7])
        await until(lambda: mails(tmp_path), "the sender is told")
        server.close()

    run(tmp_path, SERVERS, play)
    [notice] = mails(tmp_path)
    assert b"Status: 5.1.1" in notice
    assert b"<gone@example.net>: host 127.0.0.1" in notice
    log = "\n".join(lines(tmp_path))
    assert "to=<x@example.org>, relay=none" in log
    assert "Connection refused" in log
    assert "to=<there@example.net>, relay=127.0.0.1[127.0.0.1]:" in log
    assert "status=bounced (host 127.0.0.1[127.0.0.1] said: 550" in log
    assert "sender non-delivery notification: " in log


def test_who_asks_is_told_that_a_message_went_nowhere_as_ordered(tmp_path: Path) -> None:
    """Discarded mail is delivered mail: each recipient has its line, and a notice where one was asked for."""

    async def play(relay: Relay, ports: list[int]) -> None:
        caller = await Caller.call(ports[2], client(32))
        await caller.reply()
        await caller.say("EHLO client.example")
        for notify in ("", " NOTIFY=SUCCESS"):
            await caller.say(
                "MAIL FROM:<bob@example.com>",
                "RCPT TO:<x@example.org>",
                f"RCPT TO:<y@example.org>{notify}",
                "DATA",
            )
            assert "queued" in await caller.say("Subject: x\r\n\r\nx\r\n.")
        await caller.close()
        await until(lambda: mails(tmp_path), "the sender is told")
        await until(lambda: len(relay.servers[0].postman) == 0, "an empty queue")

    run(tmp_path, SERVERS, play)
    [notice] = mails(tmp_path)
    assert b"Final-Recipient: rfc822; y@example.org" in notice
    assert b"x@example.org" not in notice.partition(b"Action:")[0]
    log = "\n".join(lines(tmp_path))
    assert log.count("to=<x@example.org>, relay=none") == 2
    assert log.count("to=<y@example.org>, relay=none") == 2
    assert list((tmp_path / "spool").glob("*/*/*")) == []


def test_nobody_outside_is_told_of_a_failure(tmp_path: Path) -> None:
    """A bounce to a sender that may be forged hits somebody who has nothing to do with it."""
    impatient = 'minimal_backoff = "50ms"\nmaximal_lifetime = "100ms"'
    text = SERVERS.replace('minimal_backoff = "200ms"', impatient)

    async def play(relay: Relay, ports: list[int]) -> None:
        caller = await Caller.call(ports[2], client(31))
        assert "queued" in await caller.message("late@example.net")
        await until(lambda: "removed" in (tmp_path / "mail.log").read_text(), "given up")

    run(tmp_path, text, play)
    log = "\n".join(lines(tmp_path))
    assert "status=expired, returned to sender" in log
    assert "notification" not in log
