"""What is told of other products, where a gateway's address points at one."""

from __future__ import annotations

import pytest

from logscope.detect.remedies.products import DOCKER, ROUTER, SENDERS, gateway
from logscope.detect.remedies.steps import masked_upstream


@pytest.mark.parametrize("address", ["172.17.0.1", "172.18.0.1", "172.31.0.1", "fd12:3456::1"])
def test_dockers_gateways_come_first(address: str) -> None:
    assert gateway(address)[0] == DOCKER


@pytest.mark.parametrize("address", ["10.0.0.1", "172.20.5.4", "192.168.0.1", "172.16.0.1", "203.0.113.1"])
def test_others_are_routers_first(address: str) -> None:
    assert gateway(address)[0] == ROUTER


def test_the_remedy_names_the_gateway_and_leaves_nothing_out() -> None:
    steps = masked_upstream("172.18.0.1")
    assert "172.18.0.1" in steps[0]
    assert set(gateway("172.18.0.1")) <= set(steps)
    assert any("accept-proxy" in step and SENDERS in step for step in steps)
