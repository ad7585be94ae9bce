"""Sites drawn at random: those in order, whose look invites a wrong verdict, and those that hide clients.

`CLEAN` and `MASKED` name the kinds; `draw(kind, seed)` gives a site of a kind, varied in size, pace, servers,
stamps, clocks and in what the logs lack.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .site import BALANCER, HIDDEN, VISIBLE, Clients, Route, Site, Way

OTHER_NAMES = 0.35
"""Share of the sites whose balancer calls its servers otherwise than they call themselves."""
Draw = random.Random
Ways = tuple[tuple[float, Way], ...]


def always(way: Way) -> Ways:
    """One way for the whole run."""
    return ((0.0, way),)


SUBMISSION_ROUTE: dict[str, Any] = {
    "frontend": "ft_submission",
    "daemon": "smtpd",
    "syslog_name": "postfix/submission",
    "public_port": 587,
    "node_port": 10587,
}
PASSING = always(VISIBLE)


def _routes(draw: Draw, ways: Ways = PASSING, **more: Any) -> tuple[Route, ...]:
    """One frontend, one to three servers."""
    count = draw.choice((1, 2, 2, 3))
    more.setdefault("daemon", draw.choice(("postscreen", "postscreen", "smtpd")))
    return tuple(Route(f"mx-{'abc'[n]}", ways, **more) for n in range(count))


def _site(draw: Draw, name: str, routes: tuple[Route, ...], **more: Any) -> Site:
    """A site whose size, logs and clocks vary; `more` is what the kind is about."""
    sessions = int(30 * 12 ** draw.random()) * (1 if len(routes) == 1 else 2)
    skewed = draw.random() < 0.3
    servers = sorted({route.server for route in routes})
    ports = draw.random() < 0.3
    values: dict[str, Any] = {
        "sessions": sessions,
        "pace_s": 0.15 * 60 ** draw.random(),
        "skew_s": {server: draw.uniform(-4, 4) for server in servers} if skewed else {},
        "lost": draw.choice((0, 0, 0, 0.01, 0.03)),
        "fine": draw.random() < 0.4,
        "ports": ports,
        "backend_ports": draw.random() < 0.3,
        "dontlognull": draw.random() < 0.15,
        "clients": Clients(draw.choice((3, 20, 80, 300)), six=draw.choice((0, 0, 0.3))),
        "nat": BALANCER if draw.random() < 0.3 else dict.fromkeys(BALANCER, BALANCER["IPv4"]),
    }
    if draw.random() < 0.4:
        values |= {
            "checks": draw.choice(("tcp", "v1", "v2", "smtp")),
            "checks_s": draw.choice((2.0, 5.0, 10.0)),
        }
    site = Site(name, routes, **(values | more))
    length = site.sessions * site.pace_s
    return replace(site, early_s=draw.choice((site.early_s, site.early_s, 0.2 * length)))


# --- in order -----------------------------------------------------------------------------------------------


def _clean(**more: Any) -> Callable[[Draw, str], Site]:
    return lambda draw, name: _site(draw, name, _routes(draw), **more)


def _hub(draw: Draw, name: str) -> Site:
    clients = Clients(20, hub=draw.uniform(0.5, 1.0), hub_address=draw.choice(("198.51.100.9", "10.3.0.9")))
    return _site(draw, name, _routes(draw), clients=clients)


def _monitored(draw: Draw, name: str) -> Site:
    """A monitoring host inside asks through the balancer, and hangs up or says nothing."""
    clients = Clients(10, hub=draw.uniform(0.4, 0.8), hub_address="10.0.0.77")
    mix = {"silent": 50.0, "lost": 20.0, "delivered": 30.0}
    return _site(draw, name, _routes(draw), clients=clients, mix=mix)


def _application(draw: Draw, name: str) -> Site:
    """One application server submits everything, through the balancer."""
    clients = Clients(1, hub=1.0, hub_address=draw.choice(("10.1.1.8", "192.168.7.8")))
    routes = _routes(draw, **SUBMISSION_ROUTE)
    return _site(draw, name, routes, clients=clients)


def _past(draw: Draw, name: str) -> Site:
    """Many sessions come past the balancer: from one host inside, a backup MX, or anybody."""
    address = draw.choice(("", "10.1.1.8", "203.0.113.77", "192.168.3.3"))
    return _site(draw, name, _routes(draw), direct=draw.uniform(0.3, 3), direct_address=address)


def _transparent(draw: Draw, name: str) -> Site:
    return _site(draw, name, _routes(draw, always(Way("", False, transparent=True))))


def _checked(draw: Draw, name: str) -> Site:
    kind = draw.choice(("tcp", "v1", "v2", "smtp"))
    return _site(draw, name, _routes(draw), checks=kind, checks_s=draw.choice((1.0, 2.0, 5.0)))


def _on_one_host(draw: Draw, name: str) -> Site:
    """The balancer runs on the mail server, where programs send through 127.0.0.1, too."""
    routes = (Route("mx-a", daemon=draw.choice(("postscreen", "smtpd"))),)
    local = {"IPv4": "127.0.0.1", "IPv6": "::1"}
    return _site(draw, name, routes, nat=local, direct=draw.uniform(0, 1), direct_address="127.0.0.1")


def _two_frontends(draw: Draw, name: str) -> Site:
    routes = _routes(draw) + _routes(draw, **SUBMISSION_ROUTE, share=0.5)
    return _site(draw, name, routes)


def _reloaded(draw: Draw, name: str) -> Site:
    site = _site(draw, name, _routes(draw))
    length = site.sessions * site.pace_s
    return replace(site, reloads=(length * 0.4, length * 0.7))


def _lossy(draw: Draw, name: str) -> Site:
    return _site(
        draw, name, _routes(draw), lost=draw.uniform(0.05, 0.2), direct=0.2, direct_address="10.1.1.8"
    )


def _partly_covered(draw: Draw, name: str) -> Site:
    site = _site(draw, name, _routes(draw))
    length = site.sessions * site.pace_s
    return replace(site, early_s=length * draw.uniform(0, 0.4), late_s=length * draw.uniform(0, 0.4))


CLEAN: dict[str, Callable[[Draw, str], Site]] = {
    "ordinary": _clean(),
    "few clients": _clean(clients=Clients(3)),
    "one client": _clean(clients=Clients(1)),
    "relay hub": _hub,
    "monitoring host": _monitored,
    "one application server": _application,
    "clients past the balancer": _past,
    "transparent balancer": _transparent,
    "health checks": _checked,
    "balancer's own mail": _clean(balancer_mail=12, clients=Clients(20)),
    "second balancer": _clean(second=0.4),
    "outsiders at the PROXY port": _clean(outsiders=60),
    "forged headers": _clean(clients=Clients(200, forgers=0.1), mix={"pregreet": 30.0, "delivered": 70.0}),
    "lost lines": _lossy,
    "logs of other hours": _partly_covered,
    "balancer on the mail server": _on_one_host,
    "two frontends": _two_frontends,
    "reloads": _reloaded,
    "busy": _clean(pace_s=0.02, sessions=500),
    "busy, one client": _clean(pace_s=0.02, sessions=500, clients=Clients(1)),
    "clients inside": _clean(clients=Clients(4, hub=0.9, hub_address="10.20.0.4")),
    "IPv6": _clean(clients=Clients(60, six=0.8)),
}


# --- hiding their clients -----------------------------------------------------------------------------------


def _hidden(way: Way = HIDDEN, **more: Any) -> Callable[[Draw, str], Site]:
    def make(draw: Draw, name: str) -> Site:
        daemon = {"daemon": "postscreen"} if way.allowlisted or not way.enforce else {}
        return _site(draw, name, _routes(draw, always(way), **daemon), **more)

    return make


def _one_server(draw: Draw, name: str, bad: Way = HIDDEN) -> Site:
    daemon = draw.choice(("postscreen", "smtpd"))
    routes = (Route("mx-a", daemon=daemon), Route("mx-b", always(bad), daemon=daemon))
    return _site(draw, name, routes)


def _one_frontend(draw: Draw, name: str) -> Site:
    ways = [always(VISIBLE), always(HIDDEN)]
    draw.shuffle(ways)
    routes = _routes(draw, ways[0]) + _routes(draw, ways[1], **SUBMISSION_ROUTE, share=0.6)
    return _site(draw, name, routes)


def _one_family(draw: Draw, name: str) -> Site:
    ways = [always(VISIBLE), always(HIDDEN)]
    draw.shuffle(ways)
    routes = _routes(draw, ways[0], six=ways[1])
    return _site(draw, name, routes, clients=Clients(80, six=0.5))


def _changing(draw: Draw, name: str, *, overlap: float = 0.0, bad: Way = HIDDEN, least: int = 10) -> Site:
    """From one way to the other in the middle; the balancer is reloaded for it."""
    site = _site(draw, name, ())
    per_server = max(1, draw.choice((1, 2)))
    count = max(site.sessions, 4 * least * per_server)
    length = count * site.pace_s
    early = least * per_server * site.pace_s * 2
    at = draw.uniform(early, max(length - early, early))
    ways = [VISIBLE, bad] if draw.random() < 0.7 else [bad, VISIBLE]
    daemon = draw.choice(("postscreen", "smtpd"))
    routes = tuple(
        Route(f"mx-{'ab'[n]}", ((0.0, ways[0]), (at, ways[1])), daemon=daemon, overlap=overlap)
        for n in range(per_server)
    )
    return replace(site, routes=routes, sessions=count, reloads=(at,), lost=0.0, early_s=0.0)


def _few_masked(draw: Draw, name: str) -> Site:
    """A handful of masked sessions at the end of many visible ones."""
    site = _site(draw, name, ())
    count = max(60, site.sessions)
    at = (count - draw.randrange(5, 25)) * site.pace_s
    routes = (Route("mx-a", ((0.0, VISIBLE), (at, HIDDEN)), daemon=draw.choice(("postscreen", "smtpd"))),)
    return replace(site, routes=routes, sessions=count, reloads=(at,), early_s=0.0, dontlognull=False)


def _translated(draw: Draw, name: str) -> Site:
    """A NAT between balancer and server: the server sees its gateway."""
    gateway = draw.choice(("172.17.0.1", "172.18.0.1", "10.88.0.1", "127.0.0.1"))
    return _site(
        draw,
        name,
        _routes(draw, always(HIDDEN)),
        nat={"IPv4": gateway, "IPv6": draw.choice((gateway, "fd00:dead::1"))},
    )


def _one_name(draw: Draw, name: str) -> Site:
    """Two services of smtpd that log under one name, only one of which sees its clients."""
    ways = [always(VISIBLE), always(HIDDEN)]
    draw.shuffle(ways)
    submission = SUBMISSION_ROUTE | {"syslog_name": "postfix"}
    routes = _routes(draw, ways[0], daemon="smtpd") + _routes(draw, ways[1], **submission, share=0.6)
    return _site(draw, name, routes)


def _both_ways(draw: Draw, name: str) -> Site:
    """A server that waits for a header in vain, and one that gets one and does not expect it."""
    daemon = draw.choice(("postscreen", "smtpd"))
    missing, unexpected = Way("", True), Way(draw.choice(("v1", "v2")), False)
    routes = (
        Route("mx-a", always(missing), daemon=daemon),
        Route("mx-b", always(unexpected), daemon=daemon),
    )
    return _site(draw, name, routes)


def _partly_upstream(draw: Draw, name: str) -> Site:
    """Some clients come by a gateway before the balancer, as IPv6 clients do with Docker's userland proxy."""
    gateway = draw.choice(("172.17.0.1", "172.19.0.1", "fd00:dead::1"))
    clients = Clients(80, gateway=gateway, gateway_share=draw.uniform(0.3, 0.7))
    site = _site(draw, name, _routes(draw), clients=clients)
    return replace(site, sessions=max(site.sessions, 120 * len(site.routes)))


def _upstream(draw: Draw, name: str) -> Site:
    gateway = draw.choice(("172.17.0.1", "172.19.0.1", "10.0.2.2", "fd00:dead::1"))
    return _site(draw, name, _routes(draw), clients=Clients(80, gateway=gateway))


MASKED: dict[str, Callable[[Draw, str], Site]] = {
    "masked": _hidden(),
    "masked, ports logged": _hidden(ports=True, backend_ports=True),
    "masked, no ports": _hidden(ports=False, backend_ports=False),
    "masked, allowlisted": _hidden(Way("", False, allowlisted=True)),
    "masked, checked": _hidden(checks="tcp", checks_s=2.0),
    "masked, clients past the balancer": _hidden(direct=0.5),
    "masked, one client": _hidden(clients=Clients(1)),
    "masked, busy": _hidden(pace_s=0.05, sessions=400),
    "masked behind NAT": _translated,
    "masked on one host": _hidden(nat={"IPv4": "127.0.0.1", "IPv6": "127.0.0.1"}),
    "one server": _one_server,
    "one frontend": _one_frontend,
    "one family": _one_family,
    "changed": _changing,
    "rolling out": lambda draw, name: _changing(draw, name, overlap=0.3),
    "few masked": _few_masked,
    "masked upstream": _upstream,
    "masked upstream, some clients": _partly_upstream,
    "one frontend, services of one name": _one_name,
    "header names no client": _hidden(Way("", True, nameless=True)),
    "header mismatched both ways": _both_ways,
    "header v1 not expected": _hidden(Way("v1", False)),
    "header v1 not expected, only logged": _hidden(Way("v1", False, enforce=False)),
    "header v1 not expected, allowlisted": _hidden(Way("v1", False, allowlisted=True)),
    "header v2 not expected": _hidden(Way("v2", False)),
    "header v2 not expected, allowlisted": _hidden(Way("v2", False, allowlisted=True)),
    "header missing": _hidden(Way("", True)),
    "header missing at one server": lambda draw, name: _one_server(draw, name, Way("", True)),
    "header unexpected at one server": lambda draw, name: _one_server(draw, name, Way("v1", False)),
    "header missing since": lambda draw, name: _changing(draw, name, bad=Way("", True)),
    "header unexpected since": lambda draw, name: _changing(draw, name, bad=Way("v1", False)),
}


def draw(kind: str, seed: int) -> Site:
    """A site of a kind; the same seed gives the same site."""
    make = CLEAN.get(kind) or MASKED[kind]
    site = make(random.Random(f"{kind}{seed}"), kind)
    if random.Random(f"names {kind}{seed}").random() >= OTHER_NAMES:
        return site
    routes = (replace(route, called=f"srv{'abc'.index(route.server[-1]) + 1}") for route in site.routes)
    return replace(site, routes=tuple(routes))
