"""Clients that are hidden before they reach the balancer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.detect.scenes import Scene

DOCKER = "172.18.0.1"


def through(scene: Scene, address: str, names: int, count: int = 30) -> Scene:
    """Sessions of one address under so many names."""
    for number in range(count):
        scene.passed(
            "mx-a", "mx-a", 1, client_address=address, peer_address=address,
            helo=f"mail{number % names}.example.net",
        )  # fmt: skip
    return scene


def target(scene: Scene) -> dict[str, Any]:
    [found] = scene.document()["targets"]
    return found


def test_everybody_comes_from_a_gateway() -> None:
    found = target(through(Scene(), DOCKER, 12))
    assert (found["verdict"], found["share_masked"]) == ("masked_upstream", 1.0)
    assert DOCKER in found["cause"]
    assert "userland-proxy" in " ".join(found["remedy"])


def test_some_come_from_a_gateway() -> None:
    """As with Docker's userland proxy for IPv6 alone: HAProxy sees it as an IPv4 client among others."""
    found = target(through(Scene().passed("mx-a", "mx-a", 60), DOCKER, 12))
    assert (found["verdict"], found["share_masked"]) == ("mixed", pytest.approx(1 / 3, abs=0.01))
    assert f"30 came from a gateway before the balancer. The gateway is {DOCKER}" in found["cause"]
    assert found["evidence"]["peers"] == [DOCKER]
    assert "userland-proxy" in " ".join(found["remedy"])
    assert [state["verdict"] for state in found["evidence"]["states"]] == ["passed", "masked_upstream"]
    assert found["since"] == found["evidence"]["states"][1]["since"]


@pytest.mark.parametrize(("address", "names"), [(DOCKER, 1), ("10.1.1.8", 2), ("203.0.113.7", 12)])
@pytest.mark.parametrize("others", [0, 60])
def test_who_has_few_names_or_a_public_address_is_one_client(address: str, names: int, others: int) -> None:
    found = target(through(Scene().passed("mx-a", "mx-a", others), address, names))
    assert (found["verdict"], found["share_masked"]) == ("passed", 0.0)


def test_masked_clients_besides_are_told_apart() -> None:
    scene = through(Scene().by_port("mx-a", "mx-a", 40), DOCKER, 12)
    found = target(scene)
    assert found["verdict"] == "mixed"
    assert "40 came with the balancer's" in found["cause"]
    assert "30 came from a gateway" in found["cause"]
