"""What to set on other products than HAProxy and Postfix, where the logs point at one or leave it open.

Sources: nginx, ngx_stream_proxy_module and ngx_mail_proxy_module (proxy_protocol); Traefik, TCP services
and entry points; Envoy, upstream PROXY protocol transport socket; AWS, target group attributes of network
load balancers; Kubernetes, Service externalTrafficPolicy; Docker, dockerd and port publishing; Dovecot,
inet_listener; Exim, proxies.
"""

from __future__ import annotations

import re

SENDERS = (
    "\n    - nginx, stream or mail (1.19.8 and later): proxy_protocol on;"
    "\n    - Traefik, TCP service: loadBalancer.proxyProtocol.version = 1 (in version 3 of its "
    "serversTransport)"
    "\n    - Envoy, cluster: transport_socket envoy.transport_sockets.upstream_proxy_protocol, version V1"
    "\n    - AWS network load balancer: preserve_client_ip.enabled = true, or "
    "proxy_protocol_v2.enabled = true"
    "\n    - Kubernetes, MetalLB: externalTrafficPolicy: Local on the Service"
)
"""How products other than HAProxy hand the client's address on."""
BALANCERS = (
    "If the balancer is not HAProxy, switch the header on there, and expect it in Postfix on that one "
    f"listener:{SENDERS}"
)
LATE_HEADER = (
    "A cloud balancer may send its header only with the client's first bytes, and an SMTP client waits for "
    "the server "
    "to speak: AWS does so unless its support sets the target group's attribute\n"
    "    - proxy_protocol_v2.client_to_server.header_placement = on_first_ack"
)
OTHER_SERVERS = (
    "Other servers that the same header reaches must expect it, too:\n"
    "    - Dovecot: haproxy = yes in the inet_listener, and haproxy_trusted_networks\n"
    "    - Exim: hosts_proxy = the balancer's address"
)
DOCKER = (
    "An address of Docker's own networks: with the userland proxy, or for IPv6 without ip6tables, every "
    "client is the "
    "gateway. In /etc/docker/daemon.json, then restart Docker and the containers:\n"
    '    - "userland-proxy": false, "ip6tables": true\n'
    "    or publish nothing and let the container use the host's network (network_mode: host)."
)
TRANSLATED = (
    "Something translates addresses between the balancer and {host} (a container's published port, a "
    "router): there is no {address} where Postfix runs. Bind the new listener to an address that is there, "
    "and publish its port, too:\n"
    "    - Docker: -p {address}:NEW_PORT:NEW_PORT, an inner address, so that nobody else can connect"
)
KUBERNETES = (
    "Kubernetes: a Service hides its clients unless it has externalTrafficPolicy: Local; MetalLB needs it, "
    "too."
)
ROUTER = "A router: translate the destination address only, not the source (no SNAT or masquerading inwards)."

_DOCKER = re.compile(r"172\.(1[7-9]|2\d|3[01])\.0\.1$|fd[0-9a-f]{2}:.*::1$")
"""Gateways of Docker's usual networks (default-address-pools in dockerd(8))."""


def is_container(address: str) -> bool:
    """Whether an address is one that Docker's usual networks give to their gateway."""
    return bool(_DOCKER.match(address))


def gateway(address: str) -> list[str]:
    """What may hide clients behind a gateway's address, the likeliest first."""
    return [DOCKER, KUBERNETES, ROUTER] if _DOCKER.match(address) else [ROUTER, KUBERNETES, DOCKER]
