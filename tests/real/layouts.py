"""What else stands between clients, balancer and mail servers: a container's gateway, a second balancer.

| layout | |
|---|---|
| `one-host` | the mail server runs where the balancer does, which reaches it at 127.0.0.1 |
| `docker-inside` | each server is in a container, and sees everybody as the gateway, 172.17.0.1 |
| `docker-before` | the balancer is in a container: all clients come from the gateway, 172.18.0.1 |
| `docker-before-six` | the same for IPv6 clients alone, as with Docker's userland proxy |
| `unix-front` | another process takes the clients, and hands them on by a unix socket |
| `transparent` | the balancer connects from its clients' addresses (`usesrc clientip`) |

A gateway is another HAProxy that logs nothing, as the userland proxy does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .network import BALANCER, CLIENT_NETWORKS, PUBLIC, PUBLIC_V6, SERVERS, Network

if TYPE_CHECKING:
    from .model import Scenario

CONTAINER = "172.17.0.2"
INNER_GATEWAY, OUTER_GATEWAY, OUTER_CONTAINER = "172.17.0.1", "172.18.0.1", "172.18.0.2"
_HEAD = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
"""


def quiet_binds(scenario: Scenario) -> tuple[str, ...]:
    """Where the balancer listens, if something stands before it."""
    return {
        "docker-before": (OUTER_CONTAINER,),
        "docker-before-six": (OUTER_CONTAINER, PUBLIC),
        "unix-front": ("unix@{run}/front-{port}.sock",),
    }.get(scenario.layout, ())


def aliases(scenario: Scenario) -> dict[str, str]:
    """Parts that are in another part's namespace."""
    return dict.fromkeys(SERVERS, "edge") if scenario.layout == "one-host" else {}


def arrange(scenario: Scenario, network: Network) -> None:
    """Addresses and routes that the layout needs."""
    match scenario.layout:
        case "docker-inside":
            for host in scenario.hosts:
                for address in (INNER_GATEWAY, CONTAINER):
                    network.ip(host, f"address add {address}/32 dev lo")
        case "docker-before" | "docker-before-six":
            for address in (OUTER_GATEWAY, OUTER_CONTAINER):
                network.ip("edge", f"address add {address}/32 dev lo")
        case "transparent":
            _take_answers(scenario, network)


def _take_answers(scenario: Scenario, network: Network) -> None:
    """What the servers answer to clients goes to the balancer's sockets."""
    network.sysctl("edge", net__ipv4__conf__all__rp_filter="0", net__ipv4__conf__inside__rp_filter="0")
    network.ip("edge", "rule add iif inside lookup 100")
    network.ip("edge", "route add local default dev lo table 100")
    for host in scenario.hosts:
        for clients in CLIENT_NETWORKS:
            network.ip(host, f"route add {clients} via {BALANCER}")


def gateways(scenario: Scenario, directory: Path) -> dict[str, str]:
    """The gateways' configurations, by the part that each runs in."""
    match scenario.layout:
        case "docker-inside":
            return {
                host: _HEAD
                + "".join(
                    _listen(
                        f"{SERVERS[host]}:{one.node_port}",
                        f"{CONTAINER}:{one.node_port} source {INNER_GATEWAY}",
                    )
                    for one in scenario.services
                )
                for host in scenario.hosts
            }
        case "docker-before" | "docker-before-six":
            public = [f"[{PUBLIC_V6}]"] + [PUBLIC] * (scenario.layout == "docker-before")
            listens = (
                _listen(f"{address}:{one.port}", f"{OUTER_CONTAINER}:{one.port} source {OUTER_GATEWAY}")
                for one in scenario.services
                for address in public
            )
            return {"edge": _HEAD + "".join(listens)}
        case "unix-front":
            listens = (
                _listen(f"{PUBLIC}:{one.port}", f"unix@{directory}/front-{one.port}.sock")
                for one in scenario.services
            )
            return {"edge": _HEAD + "".join(listens)}
    return {}


def _listen(bind: str, server: str) -> str:
    name = bind.strip("[").replace(":", "-").replace("]", "")
    return f"listen at-{name}\n    bind {bind}\n    server next {server}\n"
