"""Which addresses the joins hold for a balancer's, seen in the sessions that they hand out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from logscope.grammar import catalogue
from logscope.pipeline import Options, run
from logscope.sources import open_inputs

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
COLUMNS = ("server", "mta_host", "client_address", "client_known_from", "peer_address", "masked", "outcome")
START = datetime(2026, 11, 22, 9, 0, 0, tzinfo=UTC)


def sessions(*paths: Path) -> list[dict[str, Any]]:
    """The sessions of some logs."""
    rows: list[dict[str, Any]] = []
    with open_inputs([str(path) for path in paths]) as inputs:
        tables = {"sessions": COLUMNS}
        options = Options(machine_code=False)
        run(
            inputs.sources, catalogue.load(), options, tables, lambda _, batch: rows.extend(batch.to_pylist())
        )
    return rows


def written(folder: Path, haproxy: list[str], mail: list[str]) -> list[dict[str, Any]]:
    """The sessions of a log made of these lines."""
    for name, lines in (("haproxy.log", haproxy), ("mail.log", mail)):
        (folder / name).write_text("".join(line + "\n" for line in lines))
    return sessions(folder / "haproxy.log", folder / "mail.log")


def at(seconds: float) -> str:
    return f"{START + timedelta(seconds=seconds):%b %d %H:%M:%S}"


def balancer_line(seconds: float, length: float, client: str) -> str:
    accepted = START + timedelta(seconds=seconds)
    stamp = f"{accepted:%d/%b/%Y:%H:%M:%S}.{accepted.microsecond // 1000:03d}"
    return (
        f"{at(seconds + length)} edge1 haproxy[3026]: {client} [{stamp}] ft_smtp bk_smtp/mx-a "
        f"1/0/{int(length * 1000)} 378 -- 1/1/1/1/0 0/0"
    )


def screened(seconds: float, length: float, peer: str, destination: str = "192.0.2.25]:25") -> list[str]:
    """What postscreen and smtpd log of a session with mail in it."""
    address = peer[1 : peer.index("]")]
    host = "mx-a postfix"
    return [
        f"{at(seconds)} {host}/postscreen[7]: CONNECT from {peer} to [{destination}",
        f"{at(seconds)} {host}/postscreen[7]: PASS OLD {peer}",
        f"{at(seconds)} {host}/smtpd[{int(seconds) + 100}]: connect from unknown[{address}]",
        (
            f"{at(seconds + length)} {host}/smtpd[{int(seconds) + 100}]: disconnect from unknown[{address}] "
            "ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"
        ),
    ]


def check(seconds: float, port: int) -> list[str]:
    """What postscreen logs of a health check."""
    peer, host = f"[10.0.0.5]:{port}", "mx-a postfix/postscreen[7]:"
    return [
        f"{at(seconds)} {host} CONNECT from {peer} to [10.0.0.11]:10024",
        f"{at(seconds)} {host} HANGUP after 0 from {peer} in tests before SMTP handshake",
        f"{at(seconds)} {host} DISCONNECT {peer}",
    ]


@pytest.mark.parametrize("form", [".", "rfc3339"])
def test_masked_sessions_are_known_and_never_given_the_balancers_address(form: str) -> None:
    found = sessions(SAMPLES / "masked" / form / "haproxy.log", SAMPLES / "masked" / form / "mail.log")
    mail = [row for row in found if row["peer_address"] == "172.20.5.4"]
    assert len(mail) == 120
    assert all(row["masked"] for row in mail)
    assert all(row["client_address"] != "172.20.5.4" for row in found)
    assert not any(row["outcome"] == "probe" for row in found)


def test_visible_clients_are_never_masked() -> None:
    found = sessions(SAMPLES / "proxy-v1" / "haproxy.log", SAMPLES / "proxy-v1" / "mail.log")
    assert not any(row["masked"] for row in found)


def test_health_checks_are_probes_and_mask_nobody(tmp_path: Path) -> None:
    clients = [(20.0 * n, f"198.51.100.{n}") for n in range(1, 9)]
    haproxy = [balancer_line(start, 1.2, f"{client}:4000") for start, client in clients]
    mail = [line for start, client in clients for line in screened(start, 1.2, f"[{client}]:4000")]
    mail += [line for n in range(40) for line in check(5.0 * n, 30000 + n)]
    mail.sort(key=lambda line: line[:15])
    found = written(tmp_path, haproxy, mail)
    checks = [row for row in found if row["peer_address"] == "10.0.0.5"]
    assert len(checks) == 40
    assert {row["outcome"] for row in checks} == {"probe"}
    assert {row["masked"] for row in checks} == {None}
    assert {row["client_address"] for row in checks} == {None}
    assert sum(row["masked"] is False for row in found) == 8


def test_masked_sessions_with_the_clock_seconds_off(tmp_path: Path) -> None:
    starts = [11.3 * n + (n % 3) for n in range(40)]
    haproxy = [balancer_line(at_, 1.0 + n % 4, f"198.51.100.{n}:4000") for n, at_ in enumerate(starts, 1)]
    mail = [
        line
        for n, at_ in enumerate(starts, 1)
        for line in screened(at_ + 7, 1.0 + n % 4, f"[10.0.0.5]:{30000 + n}", "10.0.0.11]:10024")
    ]
    found = written(tmp_path, haproxy, sorted(mail, key=lambda line: line[:15]))
    mail_side = [row for row in found if row["peer_address"] == "10.0.0.5"]
    assert len(mail_side) == 40
    assert all(row["masked"] for row in mail_side)


def test_a_client_past_the_balancer_is_not_a_balancer(tmp_path: Path) -> None:
    """Even where the balancer has sessions whose mail server lines are lost."""
    lost = [13.0 * n for n in range(1, 30)]
    haproxy = [balancer_line(at_, 2.0, f"198.51.100.{n}:4000") for n, at_ in enumerate(lost, 1)]
    past = [6.0 + 31.0 * n for n in range(1, 12)]
    mail = [line for at_ in past for line in screened(at_, 1.0, f"[203.0.113.9]:{int(at_)}")]
    found = written(tmp_path, haproxy, mail)
    mail_side = [row for row in found if row["peer_address"] == "203.0.113.9"]
    assert len(mail_side) == 11
    assert {row["masked"] for row in mail_side} == {None}
    assert {row["client_address"] for row in mail_side} == {"203.0.113.9"}
