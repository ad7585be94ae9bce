"""Clients hidden by a balancer that logs no port of its own: recovered by time, order and habits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .site import BALANCER, CLIENT, Joined, Site, wrong

NODES = {"mx-a": "172.20.5.21]:10024", "mx-b": "172.20.5.22]:10024"}
TALKS = [  # how long, the counters of smtpd, and the bytes that they bring the client
    (0.004, "ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5", 342),
    (0.3, "ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4", 320),
    (1.7, "ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7", 1728),
    (4.2, "ehlo=1 mail=3 rcpt=3 data=3 quit=1 commands=11", 546),
    (0.02, "helo=1 quit=1 commands=2", 111),
]


def masked_site(
    seed: int,
    *,
    balancers: tuple[str, ...] = (BALANCER,),
    count: int = 150,
    each_second: float = 4.0,
    precise: bool = False,
    ahead: dict[str, float] | None = None,
    servers: tuple[str, str] = ("mx-a", "mx-b"),
) -> Site:
    """Sessions of as many clients at two servers, both of which see the balancer's address.

    `ahead` is by how many seconds their clocks are, `servers` what the balancer calls them, `balancers` its
    addresses, which it uses in turn.
    """
    site, draw = Site(precise=precise), random.Random(seed)
    ahead = ahead or {}
    at = 10.0
    for number in range(count):
        at += draw.expovariate(each_second)
        lasts, counters, sent = draw.choice(TALKS)
        lasts *= draw.uniform(0.8, 1.5)
        host = draw.choice(list(NODES))
        server = servers[list(NODES).index(host)]
        client = f"198.51.100.{number % 250 + 1}"
        site.balancer(str(number), at, lasts, 20000 + number, server, client=client, sent=sent)
        site.visit(
            str(number), at + ahead.get(host, 0.0) + draw.uniform(0.0005, 0.002), lasts - 0.003, host,
            3000 + number, balancers[number % len(balancers)], 45000 + number, NODES[host], counters=counters,
        )  # fmt: skip
    return site


def by_timing(found: list[Joined]) -> list[Joined]:
    return [one for one in found if one.known_from == "timing"]


def right(found: list[Joined]) -> int:
    return sum(one.is_whole for one in by_timing(found))


@pytest.mark.parametrize("precise", [False, True], ids=["seconds", "microseconds"])
def test_hidden_clients_are_recovered_and_never_called_exact(tmp_path: Path, precise: bool) -> None:
    site = masked_site(1, each_second=1.0, precise=precise)
    found = site.join(tmp_path)
    assert right(found) >= 0.95 * 150
    assert len(by_timing(found)) - right(found) <= 1
    for one in by_timing(found):
        assert one.confidence in ("probable", "ambiguous")
        link = next(link for link in one.links if link["from"] == "balancer")
        assert (link["method"], link["confidence"]) == ("timing", "probable")
        assert 0.5 < link["probability"] <= 0.998


def test_hosts_without_a_name_are_joined_too(tmp_path: Path) -> None:
    site = Site(nameless=True)
    for number in range(60):
        at, lasts = 10.0 + 2.3 * number + number % 7 / 10, TALKS[number % 5][0] + number % 3
        site.balancer(
            str(number), at, lasts, 20000 + number, "mx-a", client=f"198.51.100.{number + 1}",
            sent=TALKS[number % 5][2],
        )  # fmt: skip
        site.visit(
            str(number), at + 0.001, lasts, "mx-a", 3000 + number, BALANCER, 45000 + number, NODES["mx-a"],
            counters=TALKS[number % 5][1],
        )  # fmt: skip
    found = site.join(tmp_path)
    assert right(found) >= 57
    assert len(by_timing(found)) == right(found)


@pytest.mark.parametrize(("ahead", "share"), [(0.0, 0.95), (1.5, 0.95), (-37.2, 0.8)])
def test_clocks_that_disagree_are_found_out(tmp_path: Path, ahead: float, share: float) -> None:
    """At the end of the logs, what one clock puts beyond the end of the other's has no partner in time."""
    site = masked_site(2, each_second=2.0, ahead={"mx-a": ahead, "mx-b": -ahead / 2})
    found = site.join(tmp_path)
    assert right(found) >= share * 150
    assert len(by_timing(found)) - right(found) <= 3


@pytest.mark.slow
def test_clocks_that_agree_are_not_doubted_where_sessions_are_many(tmp_path: Path) -> None:
    """Fifteen sessions a second at each server, with whole seconds, fit many clocks about as well."""
    found = masked_site(1, count=400, each_second=30.0).join(tmp_path)
    assert len(by_timing(found)) == right(found) >= 0.9 * 400


def test_names_of_servers_do_not_mislead(tmp_path: Path) -> None:
    """Which server is which host is learnt from the sessions, whatever the balancer calls them."""
    found = masked_site(3, precise=True, servers=("mx-b", "mx-a")).join(tmp_path)
    assert right(found) >= 0.95 * 150
    assert not [one for one in by_timing(found) if not one.is_whole]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_to_be_likely_is(tmp_path: Path, seed: int) -> None:
    """The more at a time, the less stamps of whole seconds tell; what is claimed stays true."""
    site = masked_site(seed, each_second=(2.0, 4.0, 8.0, 16.0)[seed])
    found = site.join(tmp_path)
    claims = [
        (link["probability"], one.is_whole)
        for one in by_timing(found)
        for link in one.links
        if link["from"] == "balancer"
    ]
    expected = sum(probability for probability, _ in claims)
    assert sum(true for _, true in claims) >= expected - 0.03 * len(claims) - 3
    assert not wrong(found, "exact")


def test_a_link_names_the_hop_that_it_was_found_for(tmp_path: Path) -> None:
    """Where smtpd's sessions begin in another order than the visits that lead to them, the balancer's session
    is found by how smtpd's ended; whose visit it was stays open.
    """
    site, draw = Site(), random.Random(11)
    at = 10.0
    for number in range(160):
        at += draw.expovariate(4.0)
        lasts, counters, sent = draw.choice(TALKS)
        lasts = 1.0 + lasts * draw.uniform(0.8, 3.0)
        peer, later = f"[{BALANCER}]:{45000 + number}", draw.uniform(0.0, 0.3)
        site.balancer(
            str(number), at, lasts, 20000 + number, "mx-a", client=f"198.51.100.{number}", sent=sent
        )
        site.screen(f"visit {number}", at + 0.001, "mx-a", f"CONNECT from {peer} to [{NODES['mx-a']}")
        site.screen(f"visit {number}", at + 0.002, "mx-a", f"PASS OLD {peer}")
        site.smtpd(
            str(number), at + later, lasts - later, "mx-a", 3000 + number, f"unknown[{BALANCER}]",
            counters=counters,
        )  # fmt: skip
    claims: dict[str, list[bool]] = {"screen": [], "smtpd": []}
    for one in by_timing(site.join(tmp_path)):
        (own,) = one.owners["haproxy.log"]
        link, *others = (link for link in one.links if link["from"] in ("balancer", "screen"))
        wanted = f"visit {own}" if link["to"] == "screen" else own
        claims[link["to"]].append(wanted in one.owners["mail.log"])
        assert (link["confidence"], one.confidence) == (
            ("probable", "ambiguous") if link["to"] == "smtpd" else ("probable", "probable")
        )
        assert [other["confidence"] for other in others] == (
            ["ambiguous"] if link["to"] == "smtpd" else ["exact"] * len(others)
        )
    assert len(claims["smtpd"]) >= 30
    for rights in claims.values():
        assert sum(rights) >= 0.97 * len(rights) - 1


def test_strangers_are_given_to_nobody(tmp_path: Path) -> None:
    """One address that talks to the server directly, while the balancer's sessions go elsewhere."""
    site, draw = Site(), random.Random(5)
    at = here = 10.0
    for number in range(160):
        at += draw.expovariate(4.0)
        here += draw.expovariate(4.0)
        lasts, counters, sent = draw.choice(TALKS)
        site.balancer(f"b{number}", at, lasts, 20000 + number, "mx-z", client=f"198.51.100.{number + 1}",
                      sent=sent)  # fmt: skip
        lasts, counters, _ = draw.choice(TALKS)
        site.smtpd(f"v{number}", here, lasts, "mx-a", 3000 + number, "unknown[203.0.113.77]",
                   counters=counters)  # fmt: skip
    found = site.join(tmp_path)
    assert len(found) == 320
    assert not by_timing(found)


def test_clients_that_are_seen_are_not_taken_for_hidden_ones(tmp_path: Path) -> None:
    """Half of the sessions come with their clients' addresses: those are joined by these, and exact."""
    site = masked_site(6, count=140, precise=True)
    for number in range(30):
        at, port = 11.0 + 1.3 * number, 61000 + number
        site.balancer(f"p{number}", at, 0.2, port, "mx-c", backend="bk_other")
        site.visit(f"p{number}", at + 0.001, 0.19, "mx-c", 100 + number, CLIENT, port, "203.0.113.25]:25")
    found = site.join(tmp_path)
    seen = [one for one in found if one.client[0] == CLIENT]
    assert [one.known_from for one in seen] == ["proxy_header"] * 30
    assert all(one.is_whole and one.confidence == "exact" for one in seen)
    assert right(found) >= 0.95 * 140


def transparent_site(*, count: int, apart_s: float = 0.0) -> Site:
    """A balancer that comes with its clients' addresses and ports of its own (`usesrc clientip`).

    `apart_s` puts the mail servers' sessions at other times: then they are others, of the same clients.
    """
    site, draw = Site(), random.Random(7)
    at = 10.0
    for number in range(count):
        at += draw.expovariate(2.0)
        lasts, counters, sent = draw.choice(TALKS)
        host = draw.choice(list(NODES))
        client = f"198.51.100.{draw.randrange(1, 30)}"
        server = {"mx-a": "srv1", "mx-b": "srv2"}[host]
        site.balancer(str(number), at, lasts, 20000 + number, server, client=client, sent=sent)
        here = at + draw.uniform(0.0005, 0.002) + (draw.uniform(-apart_s, apart_s) if apart_s else 0.0)
        site.visit(
            str(number), here, lasts - 0.003, host, 3000 + number, client, 45000 + number, NODES[host],
            counters=counters,
        )  # fmt: skip
    return site


def test_a_transparent_balancers_sessions_are_joined_by_address_and_time(tmp_path: Path) -> None:
    found = transparent_site(count=80).join(tmp_path)
    assert right(found) >= 0.95 * 80
    assert not [one for one in by_timing(found) if not one.is_whole]
    for one in by_timing(found):
        assert one.confidence != "exact"
        assert one.client[0] is not None
        assert one.client[1] is not None
        assert one.client[1] < 45000


def test_sessions_of_the_same_clients_at_other_times_are_others(tmp_path: Path) -> None:
    found = transparent_site(count=80, apart_s=40.0).join(tmp_path)
    assert len(by_timing(found)) <= 2


def test_a_server_that_the_balancer_reaches_from_two_addresses(tmp_path: Path) -> None:
    """As for clients of either family: what is joined for one address must not hide the other's sessions."""
    site = masked_site(4, each_second=1.0, precise=True, balancers=(BALANCER, "fd00:20:5::4"))
    found = site.join(tmp_path)
    assert right(found) >= 0.95 * 150
    assert len(by_timing(found)) - right(found) <= 1
