"""Mail programs of others against the whole relay: balancer, PROXY header, screen, smtpd, queue."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from pathlib import Path
from shutil import which
from subprocess import PIPE

import pytest

from logscope.relay.rim.passwords import hashed
from logscope.relay.rim.run import Relay

from .running import lines, mails, run, until

RELAY = """\
[[balancer]]
[[balancer.frontend]]
name = "ft_smtp"
bind = "127.0.0.1:PORT0"
backend = "bk_postfix"
[[balancer.backend]]
name = "bk_postfix"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:PORT1"
send_proxy = "v2"
crc32c = true
[[mta]]
host = "mx-a"
hostname = "mx-a.example.com"
certificate = "self-signed"
users = "users"
relayhost = "127.0.0.1:PORT2"
client_limits = { connection_count = 0 }
[mta.domains]
"example.com" = ["alice", "bob"]
[mta.screen]
greet_wait = "100ms"
[[mta.listener]]
bind = "127.0.0.1:PORT1"
proxy_from = ["127.0.0.1"]
"""
SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin:/usr/local/sbin"
Play = Callable[[int], Awaitable[None]]


def played(directory: Path, play: Play, mails_expected: int) -> list[bytes]:
    """What is in the mailboxes when a client has done its work."""
    pytest.importorskip("cryptography")
    (directory / "users").write_text(f"alice@example.com:{hashed('right')}\n")

    async def both(relay: Relay, ports: list[int]) -> None:
        await play(ports[0])
        await until(lambda: len(mails(directory)) >= mails_expected, "all mail is there")

    run(directory, RELAY, both)
    found = mails(directory)
    assert len(found) == mails_expected
    text = "\n".join(lines(directory, "haproxy.log"))
    assert "ft_smtp bk_postfix/mx-a " in text
    return found


async def program(*command: str) -> str:
    """Run a program to its end; what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    text = said.decode("utf-8", "replace")
    assert process.returncode == 0, text
    return text


def needed(name: str) -> str:
    found = which(name, path=SEARCH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_smtplib(tmp_path: Path) -> None:
    def talk(port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", port, "client.example", 20) as smtp:
            assert smtp.verify("alice@example.com")[0] == 252
            smtp.starttls(context=context)
            smtp.ehlo()
            assert {"size", "dsn", "8bitmime", "chunking", "smtputf8"} <= set(smtp.esmtp_features)
            smtp.login("alice@example.com", "right")
            letter = EmailMessage()
            letter["From"], letter["To"], letter["Subject"] = "alice@example.com", "bob@example.com", "grüße"
            letter.set_content("Größe\n.\n..\n")
            smtp.send_message(letter, mail_options=["SMTPUTF8"], rcpt_options=["NOTIFY=NEVER"])
            with pytest.raises(smtplib.SMTPRecipientsRefused, match="User unknown"):
                smtp.sendmail("alice@example.com", ["nobody@example.com"], "Subject: x\r\n\r\n")

    [mail] = played(tmp_path, lambda port: asyncio.to_thread(talk, port), 1)
    assert b"with UTF8SMTPSA id" in mail
    assert b"\n.\n..\n" in mail


def test_aiosmtplib(tmp_path: Path) -> None:
    aiosmtplib = pytest.importorskip("aiosmtplib")

    async def send(port: int, number: int) -> None:
        text = f"Subject: {number}\r\n\r\n{number}\r\n"
        _, said = await aiosmtplib.send(
            text, sender="carol@sender.example", recipients=["alice@example.com", "bob@example.com"],
            hostname="127.0.0.1", port=port, local_hostname="c.example", validate_certs=False,
        )  # fmt: skip
        assert "queued as" in said

    async def talk(port: int) -> None:
        await asyncio.gather(*(send(port, number) for number in range(30)))

    found = played(tmp_path, talk, 60)
    assert {mail.rpartition(b"\n\n")[2] for mail in found} == {b"%d\n" % number for number in range(30)}
    assert sum("TLS connection established" in line for line in lines(tmp_path)) == 30


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--tls", "--auth", "PLAIN", "--auth-user", "alice@example.com", "--auth-password", "right"],
        ["--tls", "--auth", "LOGIN", "--auth-user", "alice@example.com", "--auth-password", "right"],
        ["--pipeline"],
        ["--protocol", "SMTP"],
    ],
)
def test_swaks(tmp_path: Path, options: list[str]) -> None:
    swaks = needed("swaks")
    if (
        "--tls" in options
        and b"TLS supported" not in subprocess.run([swaks, "--support"], stdout=PIPE).stdout
    ):
        pytest.skip("swaks lacks TLS (Debian package libnet-ssleay-perl)")

    async def talk(port: int) -> None:
        said = await program(
            swaks, "--server", f"127.0.0.1:{port}", "--from", "carol@sender.example", "--to",
            "alice@example.com", "--helo", "client.example", *options,
        )  # fmt: skip
        assert "250 2.0.0 Ok: queued as" in said

    [mail] = played(tmp_path, talk, 1)
    assert b"This is a test mailing" in mail


@pytest.mark.parametrize("options", [[], ["-d"]])
def test_smtp_source(tmp_path: Path, options: list[str]) -> None:
    """Twenty sessions at once, sixty messages; with `-d` connections are kept."""
    source = needed("smtp-source")

    async def talk(port: int) -> None:
        await program(
            source, "-s", "20", "-m", "60", "-l", "3000", "-f", "carol@sender.example", "-t",
            "alice@example.com", "-M", "client.example", *options, f"127.0.0.1:{port}",
        )  # fmt: skip

    found = played(tmp_path, talk, 60)
    assert all(len(mail) > 3000 for mail in found)
