"""A client port that is used again within the resolution of the mail server's stamps."""

from __future__ import annotations

from pathlib import Path

import logscope

BALANCER = (
    "Nov 22 19:04:{second:02} edge1 haproxy[1148]: 192.0.2.68:{port} "
    "[22/Nov/2026:19:04:{second:02}.{millisecond:03}] ft_smtp bk_smtp/{server} 1/0/5 342 -- 5/5/4/2/0 0/0\n"
)
SMTPD = (
    "Nov 22 19:04:{second:02} {server} postfix/smtpd[{pid}]: {verb} from mx68.mail.example[192.0.2.68]:{port}"
    "{counts}\n"
)
COUNTS = " ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"


def test_order_within_each_host_decides_where_stamps_do_not(tmp_path: Path) -> None:
    """Which of two hosts was first within a second is unknown, but each host keeps its own order."""
    sessions = [  # second, millisecond, server, port, process id
        (30, 10, "mx-a", 41000, 11),
        (32, 10, "mx-b", 41001, 21),
        (38, 365, "mx-b", 41649, 22),
        (38, 373, "mx-a", 41649, 12),
        (38, 381, "mx-b", 41649, 23),
    ]
    balancer = [
        BALANCER.format(second=second, millisecond=millisecond, server=server, port=port)
        for second, millisecond, server, port, _ in sessions
    ]
    mail = []
    for second, _, server, port, pid in sorted(sessions, key=lambda session: (session[0], session[2])):
        for verb, counts in (("connect", ""), ("disconnect", COUNTS)):
            mail.append(
                SMTPD.format(second=second, server=server, port=port, pid=pid, verb=verb, counts=counts)
            )
    (tmp_path / "haproxy.log").write_text("".join(balancer))
    (tmp_path / "mail.log").write_text("".join(mail))
    found = logscope.read_sessions(tmp_path / "haproxy.log", tmp_path / "mail.log", tz="UTC")
    assert list(found["join_confidence"]) == ["exact"] * len(sessions)
    joined = {}
    for events in found["events"]:
        lines = {Path(event["source"]).name: event["line_number"] for event in reversed(list(events))}
        joined[balancer[lines["haproxy.log"] - 1]] = mail[lines["mail.log"] - 1]
    for line, (*_, server, _port, pid) in zip(balancer, sessions, strict=True):
        assert f"{server} postfix/smtpd[{pid}]" in joined[line]
