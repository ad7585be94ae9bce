"""Clients recovered while they were masked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from logscope.detect.recovered import Client, Recovered, rows, unmasking
from logscope.site import Site
from logscope.site.access import tables
from logscope.site.learn import learn
from tests.detect.scenes import SECOND, Scene


def recovered(scene: Scene) -> dict[str, Client]:
    found = Recovered()
    for batch in scene.batches(7):
        found.add(batch)
    return {one.address: one for one in found.clients()}


@pytest.mark.parametrize("method", ["backend_port", "header_text"])
def test_what_the_lines_decide_is_sure(method: str) -> None:
    scene = Scene().by_port("mx-a", "mx-a", 12, client_address="192.0.2.7", client_known_from=method)
    [client] = recovered(scene).values()
    assert (client.address, client.sessions, dict(client.methods)) == ("192.0.2.7", 12, {method: 12})
    assert client.probability == 1
    assert client.first == min(row["accepted_at"] for row in scene.rows)
    assert client.mta_hosts == {"mx-a"}


def test_what_times_suggest_has_its_probability() -> None:
    scene = Scene().by_port("mx-a", "mx-a", 2, client_address="192.0.2.7", client_known_from="timing")
    for row, probability in zip(scene.rows, (0.98, 0.75), strict=True):
        row["links"] = [
            {"from": "balancer", "method": "timing", "probability": probability},
            {
                "from": "screen",
                "method": "timing",
                "probability": 0.4,
            },  # which smtpd took it, not whose it is
            {"from": "smtpd", "method": "queue_id", "probability": 1.0},
        ]
    [row] = rows(list(recovered(scene).values()))
    assert (row["probability"], row["expected_sessions"]) == (0.75, 1.73)


def test_who_is_seen_or_not_known_is_not_listed() -> None:
    scene = Scene().passed("mx-a", "mx-a", 9).masked("mx-b", "mx-b", 9).direct("mx-a", 9)
    assert recovered(scene) == {}


def test_how_many_sessions_a_client_has_at_once() -> None:
    scene = Scene().by_port("mx-a", "mx-a", 5, client_address="192.0.2.7")
    for row, (start, end) in zip(scene.rows, [(0, 10), (1, 3), (2, 3), (3, 9), (100, 101)], strict=True):
        row["accepted_at"], row["ended_at"] = start * SECOND, end * SECOND
    [client] = recovered(scene).values()
    assert (client.at_once, client.a_minute) == (3, 4)


def met(clients: list[Client], site: Site | None = None) -> dict[str, list[str]]:
    found = unmasking(clients, site or Site())
    return {one["kind"]: one["clients"] for one in found if one["kind"] != "not_known"}


def test_lists_that_hit_a_client_where_it_is_seen_will_hit_it() -> None:
    scene = Scene().by_port("mx-a", "mx-a", 5, client_address="192.0.2.7").by_port("mx-a", "mx-a", 5)
    more: dict[str, Any] = {"client_address": "192.0.2.7", "dnsbl_rank": 4}
    scene.passed("mx-b", "mx-b", 1, **more)
    scene.passed("mx-b", "mx-b", 1, client_address="192.0.2.8", screen="denylisted")
    assert met(list(recovered(scene).values())) == {"listed": ["192.0.2.7"]}


def test_limits_that_a_client_exceeds() -> None:
    assert met([Client("192.0.2.7", at_once=51), Client("192.0.2.8", at_once=50, a_minute=900)]) == {
        "limits": ["192.0.2.7"]
    }


def test_the_lists_in_force_will_hit_a_client(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text(
        "mynetworks = 192.0.2.0/28\npostscreen_access_list = permit_mynetworks, cidr:access.cidr\n"
    )
    (tmp_path / "access.cidr").write_text("192.0.2.240/29 permit\n198.51.100.248/29 reject\n")
    site = learn((), [f"mx-a={tmp_path}"])
    clients = [Client(f"192.0.2.{last}") for last in (3, 100, 241)] + [Client("198.51.100.250")]
    found = unmasking(clients, site, {name: Path(name).read_text() for name in tables(site.mail_servers[0])})
    assert [(one["kind"], one["clients"]) for one in found] == [
        ("allowed", ["192.0.2.3"]),
        ("allowed", ["192.0.2.241"]),
        ("refused", ["198.51.100.250"]),
    ]
    assert "may relay" in found[0]["text"]
    assert "access.cidr:1" in found[1]["text"]


def test_lists_that_were_not_given_are_named(tmp_path: Path) -> None:
    clients = [Client("192.0.2.3"), Client("192.0.2.4")]
    [unnamed] = unmasking(clients, Site())
    assert (unnamed["kind"], unnamed["count"]) == ("not_known", 2)
    assert "--postfix-config" in unnamed["text"]
    assert unmasking([], Site()) == []
    (tmp_path / "main.cf").write_text("postscreen_access_list = cidr:/etc/postfix/access.cidr\n")
    [absent] = unmasking(clients, learn((), [f"mx-a={tmp_path}"]))
    assert (
        f"What {tmp_path}/access.cidr would say on mx-a is not known: the file is not there" in absent["text"]
    )
