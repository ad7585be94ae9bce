"""What the mail server's log alone tells."""

from __future__ import annotations

from typing import Any

import pytest

from logscope.errors import Place
from logscope.site import Site
from logscope.site.facts import BalancerAddress
from tests.detect.scenes import LB, Scene

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
