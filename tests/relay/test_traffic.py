"""Traffic: who comes, what they do, and whether the record of it is true."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from logscope.cli.main import main
from logscope.relay.header import Endpoint
from logscope.relay.rim.run import Relay
from logscope.relay.rim.traffic import Traffic
from logscope.relay.rim.witness import Witness
from logscope.relay.smtp.rules import Rules
from logscope.relay.smtp.site import Site
from logscope.relay.traffic.behaviours import BEHAVIOURS, perform
from logscope.relay.traffic.plan import PROFILES, Profile, Target, people
from logscope.relay.traffic.talk import LineEndedError
from logscope.relay.traffic.talk import Talk as Client
from tests.real.score import score_sessions

from .memory import HOST, Talk
from .running import run

TARGETS = [Target("ft", Endpoint("127.0.0.1", 2525), True), Target("ft2", Endpoint("127.0.0.1", 2526), True)]
RECIPIENTS = tuple(f"user{number}@example.com" for number in range(1, 9))
RULES = Rules(
    domains={"example.com": frozenset(entry.partition("@")[0] for entry in RECIPIENTS)},
    unknown_domains=frozenset({"nowhere.example"}),
    forbidden_headers={"Subject: forbidden": "content not wanted here"},
)


class MemoryLine:
    """A line to a server in memory, with a clock of its own."""

    def __init__(self) -> None:
        self.server = Talk(Site(HOST, RULES, tls=True, auth=True, error_sleep_s=0))
        self.closed = self.reset = False
        self._received = b""

    async def receive(self) -> bytes:
        for _ in range(2000):
            self._received += bytes(self.server.server.out)
            self.server.server.out.clear()
            line, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                return line + newline
            if self.server.server.ended:
                raise LineEndedError("peer (EOF)")
            self._received += "".join(f"{reply}\r\n" for reply in self.server.wait(1)).encode()
        raise LineEndedError("client (gave up waiting)")

    async def send(self, data: bytes) -> None:
        if self.server.server.ended:
            raise LineEndedError("peer (RST)")
        self.server.send(data)

    async def pause(self, seconds: float) -> None:
        self._received += "".join(f"{reply}\r\n" for reply in self.server.wait(seconds)).encode()

    async def start_tls(self) -> str:
        self.server.server.tls_started("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256, self.server.now)
        return "TLSv1.3"

    async def close(self, reset: bool = False) -> None:
        if not self.closed:
            self.closed, self.reset = True, reset
            self.server.leave()


def played(name: str, seed: int = 1) -> tuple[MemoryLine, dict[str, Any]]:
    line = MemoryLine()
    client = Client("c1", line, "mx-c1.mail.example", "alice@sender.example", RECIPIENTS, Random(seed))
    asyncio.run(perform(name, client))
    return line, client.summed_up()


OBSERVED = {
    "delivered": "queued:",
    "rejected-550-unknown-recipient": "first-error:550 5.1.1",
    "rejected-554-relay-denied": "first-error:554 5.7.1",
    "rejected-450-unknown-sender-domain": "first-error:450 4.1.8",
    "rejected-504-helo": "first-error:504 5.5.2",
    "rejected-550-content": "first-error:550 5.7.1",
    "auth-failed": "first-error:535 5.7.8",
    "too-many-errors": "first-error:500 5.5.2",
}


@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
def test_every_behaviour_does_what_it_says(name: str) -> None:
    line, record = played(name)
    expected = BEHAVIOURS[name].expected
    assert record["observed"].startswith(OBSERVED.get(expected, ""))
    assert line.closed
    assert line.reset is name.startswith("reset_")
    assert line.server.lines.kinds[-1] == "smtpd.disconnect"
    if expected == "delivered":
        assert sorted(record["queue_ids"]) == sorted(entry.queue_id for entry in line.server.stored)
        assert len(record["message_ids"]) == len(record["queue_ids"])
    if expected.startswith("client-"):
        assert "lost_connection" in line.server.lines.kinds[-2]
        assert record["closed_by"] == ("client (RST)" if line.reset else "client (FIN)")


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_profiles_are_made_of_behaviours(name: str) -> None:
    assert set(PROFILES[name].mix) <= set(BEHAVIOURS)


def test_the_same_seed_gives_the_same_people() -> None:
    first, again, other = (list(people(PROFILES["everyday"], TARGETS, seed, 20)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert 60 < len(first) < 140
    assert all(early.at_s <= late.at_s < 20 for early, late in pairwise(first))
    assert len({person.client for person in first}) == len(first)
    assert {person.target.name for person in first} == {"ft", "ft2"}


def test_a_few_clients_make_most_connections() -> None:
    found = Counter(person.client.address for person in people(PROFILES["clean"], TARGETS, 1, 200))
    busiest = sum(count for _, count in found.most_common(10))
    assert busiest > sum(found.values()) * 0.3


# More that speak before they are greeted: on a busy machine some are late, and are greeted first.
QUICK = Profile("everything, quickly", PROFILES["everyday"].mix | {"early": 15}, per_second=40, clients=40)
RELAYED = """\
drain = "2s"
[log]
format = "rfc3339"
[[balancer]]
[[balancer.frontend]]
name = "ft_smtp"
bind = "127.0.0.1:PORT0"
backend = "bk_postfix"
accept_proxy_from = ["127.0.0.1"]
[[balancer.frontend]]
name = "ft_masked"
bind = "127.0.0.1:PORT1"
backend = "bk_masked"
accept_proxy_from = ["127.0.0.1"]
[[balancer.backend]]
name = "bk_postfix"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:PORT2"
send_proxy = "v2"
[[balancer.backend]]
name = "bk_masked"
[[balancer.backend.server]]
name = "mx-a"
address = "127.0.0.1:PORT3"
[[mta]]
host = "mx-a"
error_sleep = 0
unknown_domains = ["nowhere.example"]
timeout = "2s"
[mta.domains]
"example.com" = "*"
[mta.screen]
greet_wait = "300ms"
dnsbl_sites = ["zen.dnsbl.example"]
[mta.dns_zone]
"zen.dnsbl.example" = { "198.51.100.0/26" = "127.0.0.4" }
[[mta.listener]]
bind = "127.0.0.1:PORT2"
proxy_from = ["127.0.0.1"]
[[mta.listener]]
bind = "127.0.0.1:PORT3"
syslog_name = "postfix/masked"
"""


def test_the_record_agrees_with_the_logs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every kind of client at once: no line is strange, no exact join wrong, and the verdict is right."""
    made: list[Traffic] = []

    async def play(relay: Relay, _ports: list[int]) -> None:
        made.append(Traffic(relay, QUICK, 7, 4.0, tmp_path / "truth.jsonl"))
        await made[0].run()

    run(tmp_path, RELAYED, play, Witness())
    made[0].finish()
    logs = [str(tmp_path / "haproxy.log"), str(tmp_path / "mail.log")]
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert len(truth) == made[0].started > 100
    assert [record["id"] for record in truth if not record["lines"]] == []

    assert main(["parse", "-q", "-o", "jsonl", *logs]) == 0
    kinds = Counter(json.loads(line)["kind"] for line in capfd.readouterr().out.splitlines())
    assert kinds["unparsed"] == kinds["foreign"] == 0
    assert {"smtpd.lost_connection", "postscreen.pregreet", "smtpd.decision", "dnsblog.listed"} <= set(kinds)

    assert main(["sessions", "-q", "-o", "jsonl", *logs]) == 0
    sessions = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    score = score_sessions(tmp_path, sessions)
    for links in score["links"].values():
        assert links["wrong"].get("exact", 0) == 0
    assert score["links"]["screen-smtpd"]["recall"] > 0.95
    assert score["client"].get("proxy_header", {}).get("wrong", 0) == 0
    assert score["counts"].get("queue ids wrong", 0) == 0

    assert main(["masking", "-q", "-o", "json", *logs]) == 1
    targets = json.loads(capfd.readouterr().out)["targets"]
    verdicts = {(target["backend"], target["verdict"]) for target in targets}
    assert {("bk_postfix", "passed"), ("bk_masked", "masked")} <= verdicts
