"""What the mail server's log alone tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from logscope.detect.header_lines import REFUSED, Example, HeaderLines
from logscope.errors import Place
from logscope.site import Site
from logscope.site.facts import BalancerAddress, Listener, MailServer
from tests.detect.scenes import LB, SECOND, START, Scene

NODE, PUBLIC = "[10.0.0.11]:10024", "[203.0.113.25]:25"
SITE = Site(balancer_addresses=(BalancerAddress("edge1", LB, "source", Place("haproxy.cfg", line=9)),))


def judged(scene: Scene, site: Site | None = None) -> dict[str, Any]:
    [target] = scene.document(site)["targets"]
    return target


def named(scene: Scene, *helos: str) -> Scene:
    for number, row in enumerate(scene.rows):
        row["helo"] = helos[number % len(helos)]
    return scene


def test_one_inner_address_at_a_port_of_its_own_is_suspected() -> None:
    target = judged(Scene().direct("mx-a", 40, LB, destination_logged=NODE))
    assert target["verdict"] == "unknown"
    assert "Suspected: masking" in target["cause"]
    assert "10024" in target["cause"]


@pytest.mark.parametrize("address", [LB, "203.0.113.99"])
def test_one_address_with_many_names_is_suspected(address: str) -> None:
    scene = Scene().direct("mx-a", 40, address, destination_logged=PUBLIC)
    many = named(scene, *(f"mx{number}.example" for number in range(12)))
    assert "Suspected: masking" in judged(many)["cause"]


@pytest.mark.parametrize("address", [LB, "203.0.113.99"])
def test_an_application_server_or_a_relay_hub_is_not(address: str) -> None:
    scene = Scene().direct("mx-a", 40, address, destination_logged=PUBLIC)
    assert "Suspected" not in judged(named(scene, "app.example"))["cause"]


def test_many_addresses_are_not() -> None:
    assert "Suspected" not in judged(Scene().direct("mx-a", 40, destination_logged=NODE))["cause"]


def test_ports_that_climb_are_said() -> None:
    scene = Scene().direct("mx-a", 40, LB, destination_logged=NODE)
    for number, row in enumerate(scene.rows):
        row["peer_port"] = 40_000 + 2 * number
    assert "ports that climb" in judged(scene)["cause"]
    for number, row in enumerate(scene.rows):
        row["peer_port"] = 1024 + number * 7919 % 60_000
    assert "Suspected" in judged(scene)["cause"]
    assert "climb" not in judged(scene)["cause"]


def smtpd(*listeners: tuple[str, str]) -> Site:
    """A mail server with services on these ports under these names, behind a balancer that is known."""
    place = Place("master.cf", line=3)
    found = tuple(
        Listener("mx-a", port, "smtpd", tag, "", int(port), False, None, False, None, False, place)
        for port, tag in listeners
    )
    server = MailServer(
        "mx-a", frozenset(("mx-a",)), (), "", "postfix", found, (), None, "host", (), True, (), {}
    )
    return replace(SITE, mail_servers=(server,))


def test_services_of_one_name_cannot_be_told_apart() -> None:
    scene = (
        Scene().direct("mx-a", 40, LB, service="postfix/smtpd").direct("mx-a", 20, service="postfix/smtpd")
    )
    one_name = smtpd(("25", "postfix/smtpd"), ("587", "postfix/smtpd"))
    own_names = smtpd(("25", "postfix/smtpd"), ("587", "postfix/submission/smtpd"))
    target = judged(scene, one_name)
    assert target["verdict"] == "mixed"
    assert "(25, 587): which of them a session came to cannot be told" in target["cause"]
    assert "syslog_name" in target["cause"]
    assert "cannot be told" not in judged(scene, own_names)["cause"]
    assert "may be the name of several" in judged(scene, SITE)["cause"]


def waited(scene: Scene, count: int, reason: str = "waited") -> Scene:
    """Connections of which only `haproxy read: …` is logged."""
    lines = HeaderLines(REFUSED, "mx-a", "postfix/postscreen")
    for number in range(count):
        lines.add(START + number * SECOND, 1, Example("mail.log", number + 1, "haproxy read: …"))
    lines.reasons[reason] = count
    scene.signals.lines.append(lines)
    return scene


def test_a_header_that_comes_with_the_first_bytes_is_suspected() -> None:
    early = Scene().direct("mx-a", 12, screen_tests=["pregreet"], destination_logged=PUBLIC)
    target = judged(waited(early, 80))
    assert "only with the client's first bytes" in target["cause"]
    assert "header_placement" in " ".join(target["remedy"])


def test_a_header_that_never_comes_is_another_thing() -> None:
    target = judged(waited(Scene().direct("mx-a", 12, destination_logged=PUBLIC), 80))
    assert "does not come" in target["cause"]
    assert "first bytes" not in target["cause"]


@pytest.mark.parametrize("reason", ["left", "waited"])
def test_early_talkers_among_many_and_some_who_bring_no_header_are_ordinary(reason: str) -> None:
    scene = Scene().direct("mx-a", 90, destination_logged=PUBLIC)
    scene.direct("mx-a", 10, screen_tests=["pregreet"], destination_logged=PUBLIC)
    assert "Suspected" not in judged(waited(scene, 20, reason))["cause"]


def test_a_configuration_that_names_the_balancer_tells() -> None:
    target = judged(Scene().direct("mx-a", 40, LB), SITE)
    assert (target["verdict"], target["share_masked"]) == ("masked", 1.0)
    assert LB in target["cause"]
    assert target["since"] is not None
    assert target["remedy"]


def test_clients_beside_the_balancer_make_it_mixed() -> None:
    target = judged(Scene().direct("mx-a", 40, LB).direct("mx-a", 40), SITE)
    assert (target["verdict"], target["share_masked"]) == ("mixed", 0.5)


def test_the_balancers_health_checks_are_not_its_clients() -> None:
    target = judged(Scene().checks("mx-a", 40).direct("mx-a", 40), SITE)
    assert target["verdict"] == "unknown"
