"""Sessions of one address that overlap, and no port to tell them apart."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .site import CLIENT, START, Joined, Site, wrong


def busy_site(seed: int, *, queue_ids: bool, precise: bool = False) -> Site:
    """Sixty sessions of one relay, about six at a time, at one host without postscreen."""
    site = Site(precise=precise)
    draw = random.Random(seed)
    at = 0.0
    for number in range(60):
        at += draw.expovariate(4.0)
        lasts = draw.uniform(0.2, 3.0)
        site.balancer(str(number), at, lasts, 41000 + number, "mx-a")
        # the queue file is made a few milliseconds before the client quits
        made = at + lasts - 0.002 - draw.expovariate(500.0)
        micros = int((START + made) % 1 * 1e6)
        queue_id = f"{micros:05X}{0x2626BA + number:X}" if queue_ids else ""
        began = at + 0.001 + draw.expovariate(20.0)
        site.smtpd(
            str(number), min(began, made), at + lasts - min(began, made), "mx-a", 100 + number,
            f"unknown[{CLIENT}]", queue_id=queue_id, queued_at=made,
        )  # fmt: skip
    return site


def hosts_apart(servers: tuple[str, str]) -> Site:
    """Few clients at two hosts, mx-a and mx-b, whose clocks differ by seconds: times alone make wrong pairs.
    The balancer calls them as `servers` has it.
    """
    site, draw = Site(), random.Random(11)
    at, ahead = 10.0, {"mx-a": -2.3, "mx-b": 3.5}
    for number in range(120):
        at += draw.expovariate(1.0)
        host = draw.choice(("mx-a", "mx-b"))
        lasts, client = draw.uniform(0.02, 4.0), f"198.51.100.{draw.randrange(1, 5)}"
        server = servers[0] if host == "mx-a" else servers[1]
        site.balancer(str(number), at, lasts, 41000 + number, server, client=client)
        site.smtpd(str(number), at + ahead[host], lasts, host, 100 + number, f"unknown[{client}]")
    return site


def exact(found: list[Joined]) -> int:
    return sum(one.confidence == "exact" and one.is_whole for one in found)


@pytest.mark.parametrize("seed", range(3))
def test_queue_ids_tell_when_within_a_second(tmp_path: Path, seed: int) -> None:
    """They hold microseconds, so that stamps of whole seconds leave less open."""
    plain = busy_site(seed, queue_ids=False).join(tmp_path)
    told = busy_site(seed, queue_ids=True).join(tmp_path)
    assert wrong(plain, "exact") == wrong(told, "exact") == []
    assert exact(told) > exact(plain) + 5


@pytest.mark.parametrize("servers", [("mx-a", "mx-b"), ("MX-A.example.net", "mx-b.example.net")])
def test_a_server_is_taken_for_the_host_that_has_its_name(tmp_path: Path, servers: tuple[str, str]) -> None:
    site = hosts_apart(servers)
    found = site.join(tmp_path)
    assert sum(one.is_whole for one in found) >= 0.9 * 120
    assert wrong(found, "exact") == []


@pytest.mark.filterwarnings("ignore:.*logs no client ports")
@pytest.mark.parametrize(
    "servers", [("srv1", "srv2"), ("mx-b", "mx-a")], ids=["other names", "each other's names"]
)
def test_a_server_is_the_host_that_configurations_say(tmp_path: Path, servers: tuple[str, str]) -> None:
    cfg, mail = tmp_path / "haproxy.cfg", []
    cfg.write_text(
        "defaults\n mode tcp\n option tcplog\nfrontend ft_smtp\n bind :25\n default_backend bk_smtp\n"
        f"backend bk_smtp\n server {servers[0]} 192.0.2.11:25\n server {servers[1]} 192.0.2.12:25\n"
    )
    for host, address in (("mx-a", "192.0.2.11"), ("mx-b", "192.0.2.12")):
        main = tmp_path / host / "main.cf"
        main.parent.mkdir()
        main.write_text(f"myhostname = {host}.example.org\ninet_interfaces = {address}\n")
        main.with_name("master.cf").write_text(f"{address}:25 inet n - n - - smtpd\n")
        mail.append(str(main.parent))
    site = hosts_apart(servers)
    found = site.join(tmp_path, haproxy_cfg=[str(cfg)], postfix_config=mail)
    assert sum(one.is_whole for one in found) >= 0.9 * 120
    assert wrong(found, "exact") == []


def test_hosts_without_a_name_are_joined_by_address_and_time(tmp_path: Path) -> None:
    site = busy_site(1, queue_ids=True)
    site.nameless = True
    found = site.join(tmp_path)
    assert sum(one.is_whole for one in found) == 60
    assert wrong(found, "exact") == []


def test_one_wrong_link_does_not_hide_all_others(tmp_path: Path) -> None:
    """The first session's own line was lost, and its client was at the other host in the same second, past
    the balancer: that must not keep the server's other sessions from being looked for at their host."""
    site, draw = Site(), random.Random(4)
    site.balancer("lost", 10.1, 0.3, 40999, "srv1", client="198.51.100.99")
    site.smtpd("past", 10.1, 0.3, "mx-b", 99, "unknown[198.51.100.99]")
    at = 30.0
    for number in range(24):
        at += draw.expovariate(0.2)
        server, host = (("srv1", "mx-a"), ("srv2", "mx-b"))[number % 2]
        lasts, client = draw.uniform(0.05, 2.0), f"192.0.2.{number + 1}"
        site.balancer(str(number), at, lasts, 41000 + number, server, client=client)
        site.smtpd(str(number), at, lasts, host, 100 + number, f"unknown[{client}]")
    found = site.join(tmp_path)
    assert sum(one.is_whole for one in found) == 24
