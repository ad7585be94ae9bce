"""What leaves the lab: no surplus in the published lines, and truth that follows ports through reuse."""

from __future__ import annotations

from typing import Any

from .publish import Entry, numbered, published_text
from .scenarios import SCENARIOS
from .truth import Resolver

START = 1_795_000_000


def entry(seconds: float, host: str, tag: str, pid: int, text: str) -> Entry:
    return Entry(round((START + seconds) * 1e9), host, tag, pid, text)


def test_ports_are_cut_from_smtpd_lines_only() -> None:
    scenario = SCENARIOS["proxied-v1"]
    smtpd = entry(
        0,
        "mx-a",
        "postfix/submission/smtpd",
        1,
        "NOQUEUE: reject: RCPT from mx2.mail.example[192.0.2.2]:4711: 550 5.1.1 <x>: no",
    )
    assert published_text(smtpd, scenario) == (
        "NOQUEUE: reject: RCPT from mx2.mail.example[192.0.2.2]: 550 5.1.1 <x>: no"
    )
    screen = entry(0, "mx-a", "postfix/postscreen", 1, "PASS NEW [192.0.2.2]:4711")
    assert published_text(screen, scenario) == screen.text
    assert ":4711" in published_text(smtpd, SCENARIOS["proxied-v1-ports"])


def test_ports_are_cut_wherever_smtpds_client_is_repeated() -> None:
    scenario = SCENARIOS["proxied-v1"]
    cleanup = entry(0, "mx-a", "postfix/cleanup", 1, "1A: reject: header X: y from unknown[192.0.2.2]:99; f")
    assert published_text(cleanup, scenario) == "1A: reject: header X: y from unknown[192.0.2.2]; f"
    gone = entry(0, "mx-a", "postfix/smtpd", 1, "connect from unknown[unknown]:unknown")
    assert published_text(gone, scenario) == "connect from unknown[unknown]"


def test_the_balancers_truth_is_cut() -> None:
    line = entry(0, "edge1", "haproxy", 1, "192.0.2.2:4711 […] 0/0 truth=172.20.5.4:5000,172.20.5.21:10024")
    assert published_text(line, SCENARIOS["masked"]) == "192.0.2.2:4711 […] 0/0"


def test_repeats_are_folded_as_rsyslog_does() -> None:
    texts = ["once", "twice", "twice", "often", "often", "often", "last"]
    entries = [entry(at, "mx-a", "postfix/postscreen", 7, text) for at, text in enumerate(texts)]
    kept = [(line.line_number, line.text, line.repeats) for line in numbered(entries, True)]
    assert kept == [
        (1, "once", 0),
        (2, "twice", 0),
        (3, "twice", 0),
        (4, "often", 0),
        (5, "often", 2),
        (6, "last", 0),
    ]


MASKED_A = "CONNECT from [172.20.5.4]:5000 to [172.20.5.21]:10024"
MASKED_B = "CONNECT from [172.20.5.4]:5000 to [172.20.5.22]:10024"


def balancer_line(accepted: str, source_port: int) -> str:
    return (
        f"192.0.2.2:4711 [18/Nov/2026:{accepted}] ft_smtp bk_smtp/mx-a 1/0/5 100 -- 1/1/0/0/0 0/0 "
        f"truth=172.20.5.4:{source_port},172.20.5.21:10024"
    )


def record(id_: str, start: float, end: float) -> dict[str, Any]:
    return {
        "id": id_,
        "client_ip": "192.0.2.2",
        "client_port": 4711,
        "service": "smtp",
        "start": START + start,
        "end": START + end,
    }


def test_a_port_used_twice_within_milliseconds_is_two_connections() -> None:
    balancer = numbered(
        [  # START is 11:06:40
            entry(0.005, "edge1", "haproxy", 1, balancer_line("11:06:40.000", 5000)),
            entry(0.015, "edge1", "haproxy", 1, balancer_line("11:06:40.010", 5001)),
        ],
        False,
    )
    mail = numbered(
        [
            entry(
                0.001, "mx-a", "postfix/postscreen", 2, "CONNECT from [192.0.2.2]:4711 to [203.0.113.25]:25"
            ),
            entry(0.002, "mx-a", "postfix/smtpd", 3, "connect from mx2.mail.example[192.0.2.2]:4711"),
            entry(
                0.005, "mx-a", "postfix/smtpd", 3, "disconnect from mx2.mail.example[192.0.2.2]:4711 quit=1"
            ),
            entry(
                0.011, "mx-a", "postfix/postscreen", 2, "CONNECT from [192.0.2.2]:4711 to [203.0.113.25]:25"
            ),
            entry(0.012, "mx-a", "postfix/smtpd", 4, "connect from mx2.mail.example[192.0.2.2]:4711"),
        ],
        False,
    )
    one, other = Resolver(SCENARIOS["proxied-v1"], balancer, mail).resolve(
        [record("one", 0.0001, 0.005), record("other", 0.0101, 0.015)]
    )
    assert one["lines"] == {"balancer": [1], "screen": [1], "smtpd": [2, 3]}
    assert other["lines"] == {"balancer": [2], "screen": [4], "smtpd": [5]}


def test_a_connection_without_a_balancer_line_is_found_by_its_port() -> None:
    mail = numbered(
        [
            entry(
                0.001, "mx-b", "postfix/postscreen", 2, "CONNECT from [192.0.2.2]:4711 to [203.0.113.25]:25"
            ),
        ],
        False,
    )
    [found] = Resolver(SCENARIOS["dontlognull"], [], mail).resolve([record("one", 0.0001, 0.005)])
    assert (found["lines"], found["mta_host"]) == ({"screen": [1]}, "mx-b")


def test_a_masked_connection_is_followed_by_the_balancers_own_port() -> None:
    balancer = numbered([entry(0.005, "edge1", "haproxy", 1, balancer_line("11:06:40.000", 5000))], False)
    mail = numbered(
        [
            entry(0.001, "mx-a", "postfix/postscreen", 2, MASKED_A),
            entry(0.001, "mx-b", "postfix/postscreen", 2, MASKED_B),
        ],
        False,
    )
    [found] = Resolver(SCENARIOS["masked"], balancer, mail).resolve([record("one", 0.0001, 0.005)])
    assert found["lines"] == {"balancer": [1], "screen": [1]}
    assert found["seen_as"] == "172.20.5.4:5000"
