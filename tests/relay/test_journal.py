"""Log lines: their envelopes, formats of one's own, hostile text, and places that cannot be written to."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from logscope.errors import SettingsError
from logscope.grammar import catalogue
from logscope.grammar.language import parse
from logscope.grammar.reference import Reference
from logscope.haproxy.log_format import translate
from logscope.haproxy.stock_formats import TCPLOG
from logscope.relay.balance.formats import COUNTS, OTHERS, SessionFormat
from logscope.relay.balance.session import End, Phase
from logscope.relay.rim.clock import Clock
from logscope.relay.rim.journal import Daemons, Journal
from logscope.relay.settings import LogSettings

from .test_balance import session


class Stopped(Clock):
    """A clock that stands still."""

    def now(self) -> float:
        return 1_795_339_134.965


def journal(directory: Path, **settings: Any) -> Journal:
    return Journal(catalogue.load(), LogSettings(**settings), directory, Stopped())


def logged(directory: Path, **settings: Any) -> str:
    """The line of one event, envelope included."""

    async def log() -> None:
        found = journal(directory, **settings)
        Daemons(found, "mx-a").bound("smtpd", 2411)(
            "smtpd.connect", client_name="unknown", client_address="192.0.2.10"
        )
        found.close()

    asyncio.run(log())
    return (directory / "mail.log").read_text()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "Nov 22 09:18:54 mx-a postfix/smtpd[2411]: connect from unknown[192.0.2.10]\n"),
        (
            {"zone": "Asia/Kathmandu"},
            "Nov 22 15:03:54 mx-a postfix/smtpd[2411]: connect from unknown[192.0.2.10]\n",
        ),
        (
            {"form": "rfc3339"},
            "2026-11-22T09:18:54.965000+00:00 mx-a postfix/smtpd[2411]: connect from unknown[192.0.2.10]\n",
        ),
        (
            {"form": "rfc3339", "zone": "Asia/Kathmandu"},
            "2026-11-22T15:03:54.965000+05:45 mx-a postfix/smtpd[2411]: connect from unknown[192.0.2.10]\n",
        ),
        (
            {"form": "rfc5424"},
            (
                "<22>1 2026-11-22T09:18:54.965000+00:00 mx-a postfix/smtpd 2411 - - "
                "connect from unknown[192.0.2.10]\n"
            ),
        ),
    ],
)
def test_envelopes(tmp_path: Path, settings: dict[str, str], line: str) -> None:
    assert logged(tmp_path, **settings) == line


FORMATS = [
    TCPLOG,
    f"{TCPLOG} %bi:%bp %fi:%fp %si:%sp",
    "%ci %cp|%t|%ft|%b|%s|%ts|%U|%B|%ac",
    '%{+Q}o %t %s %{-Q}Tw "%ts" %rc',
    "%T %ms %Ts.%ms %f %f",
]


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("phase", list(Phase))
def test_formats_of_ones_own_are_written_so_that_they_can_be_read(
    tmp_path: Path, log_format: str, phase: Phase
) -> None:
    written = journal(tmp_path)
    ended = session(phase)
    ended.accepted_at = 1000.25
    ended.end(End.CLIENT)
    values = ended.values(1005.0) | {
        "accepted_at": written.date(ended.accepted_at),
        "accepted_at_utc": written.utc_date(ended.accepted_at),
        **ended.further_values(),
        **dict.fromkeys((*COUNTS, *OTHERS), 1),
    }
    text = written.formatted(log_format)(values)
    found = Reference(parse(translate(log_format).text)).match(text)
    assert isinstance(found, dict), found
    expected = values | {"accepted_at_utc": found.get("accepted_at_utc")}
    assert {name: expected[name] for name in found if name in expected} == {
        name: value for name, value in found.items() if name in expected
    }
    assert len(set(found) & set(expected)) >= 3


def test_what_the_relay_does_not_know_cannot_be_logged() -> None:
    with pytest.raises(SettingsError, match="cannot write this format"):
        SessionFormat("%ci %ST %[ssl_fc_sni]")


def test_hostile_text_stays_on_its_line(tmp_path: Path) -> None:
    written = journal(tmp_path)
    for text in ("a\rb", "a\x1b[2Jb", "a\x00b\x7f"):
        line = written.text("cleanup.message_id")({"queue_id": "A1B2C", "message_id": text})
        assert all(byte >= 32 and byte != 127 for byte in line)


def test_a_line_that_cannot_be_written_costs_no_other(tmp_path: Path) -> None:
    async def log() -> list[int]:
        found = journal(tmp_path)
        daemon = Daemons(found, "mx-a").bound("qmgr", 2401)
        numbers = [daemon("qmgr.removed", queue_id=queue_id) for queue_id in ("A1B2C", "no id", "D3E4F")]
        found.close()
        return numbers

    assert asyncio.run(log()) == [1, 2, 3]
    first, second, third = (tmp_path / "mail.log").read_text().splitlines()
    assert first.endswith(": A1B2C: removed")
    assert third.endswith(": D3E4F: removed")
    assert "postfix/qmgr[2401]: error: a line cannot be written: qmgr.removed: queue_id" in second


def test_a_rotated_log_goes_on_in_a_new_file(tmp_path: Path) -> None:
    async def log() -> None:
        found = journal(tmp_path)
        daemon = Daemons(found, "mx-a").bound("qmgr", 2401)
        daemon("qmgr.removed", queue_id="A1B2C")
        found.flush()
        (tmp_path / "mail.log").rename(tmp_path / "mail.log.1")
        found.reopen()
        daemon("qmgr.removed", queue_id="D3E4F")
        found.close()

    asyncio.run(log())
    assert "A1B2C" in (tmp_path / "mail.log.1").read_text()
    assert "D3E4F" in (tmp_path / "mail.log").read_text()


def test_a_log_that_cannot_be_written_loses_lines_and_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def log() -> None:
        found = journal(tmp_path, mail="/dev/full")
        daemon = Daemons(found, "mx-a").bound("qmgr", 2401)
        for _ in range(3):
            daemon("qmgr.removed", queue_id="A1B2C")
            found.flush()
        found.close()

    asyncio.run(log())
    assert capsys.readouterr().err.count("/dev/full: lines are lost: No space left on device") == 1


def test_a_line_that_was_cut_by_a_full_disk_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, write = [70], os.write

    def write_what_fits(descriptor: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    async def log() -> None:
        found = journal(tmp_path, balancer=os.devnull)
        daemon = Daemons(found, "mx-a").bound("qmgr", 2401)
        for queue_id in ("A1B2C", "A1B2D", "A1B2E"):
            if queue_id == "A1B2E":
                room[0] = 1000  # somebody has tidied up
            daemon("qmgr.removed", queue_id=queue_id)
            found.flush()
        found.close()

    with monkeypatch.context() as patched:
        patched.setattr("os.write", write_what_fits)
        asyncio.run(log())
    line = "Nov 22 09:18:54 mx-a postfix/qmgr[2401]: %s: removed"
    first, cut, last = (tmp_path / "mail.log").read_text().splitlines()
    assert [first, last] == [line % "A1B2C", line % "A1B2E"]
    assert (line % "A1B2D").startswith(cut)


def test_servers_with_one_local_socket_are_named_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(10)
        listening.bind(str(tmp_path / "log"))

        async def log() -> None:
            settings = LogSettings(os.devnull, f"unix:{tmp_path}/log")
            found = Journal(catalogue.load(), settings, tmp_path, Stopped(), ["mx-a", "mx-b"])
            Daemons(found, "mx-b").bound("qmgr", 2401)("qmgr.removed", queue_id="A1B2C")
            found.close()

        asyncio.run(log())
        assert listening.recv(1000) == b"<22>Nov 22 09:18:54 mx-b postfix/qmgr[2401]: A1B2C: removed"


@pytest.mark.parametrize("kind", ["udp", "unix", "tcp"])
def test_syslog_sockets(tmp_path: Path, kind: str) -> None:
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as listening:
        listening.settimeout(10)
        listening.bind(str(tmp_path / "log") if kind == "unix" else ("127.0.0.1", 0))
        if kind == "tcp":
            listening.listen()
        name = listening.getsockname()
        target = f"unix:{name}" if kind == "unix" else f"{kind}:127.0.0.1:{name[1]}"

        async def log() -> None:
            found = journal(tmp_path, mail=target, balancer=os.devnull)
            Daemons(found, "mx-a").bound("qmgr", 2401)("qmgr.removed", queue_id="A1B2C")
            found.close()

        asyncio.run(log())
        if kind == "tcp":
            connection, _ = listening.accept()
            with connection:
                data = connection.recv(1000)
        else:
            data = listening.recv(1000)
    host = b"" if kind == "unix" else b"mx-a "
    assert data.strip() == b"<22>Nov 22 09:18:54 " + host + b"postfix/qmgr[2401]: A1B2C: removed"
