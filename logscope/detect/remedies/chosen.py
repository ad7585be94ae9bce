"""Which of the targets found need a change of the configurations given, and the steps in place of the "
"words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from logscope.detect.remedies import products
from logscope.detect.remedies.plan import Step, Wrong, plan
from logscope.site.facts import ANY, Route, Site, parsed

_NOTHING = ("passed", "masked_upstream", "unknown")
"""Verdicts that ask for no change of these configurations."""
_WELL_KNOWN = (25, 465, 587)
"""Ports that others than the balancer may well use."""
_RELOAD = (
    "The configurations given say {said}, and the logs do not: what stands in the files is not in force. Run "
    "`postfix reload` on {host} and reload HAProxy, or give the files that are in force."
)


_Target = TypeVar("_Target", bound=Mapping[str, Any])


def add_plan(targets: Iterable[dict[str, Any]], site: Site, texts: Mapping[str, str]) -> None:
    """Give each target that the configurations can mend the steps that mend all of them.

    Args:
        targets: of the document, with what is configured beside what was found; changed.
        texts: the files of the configurations, by the names that the site has.
    """
    targets = list(targets)
    found = _found(targets, site)
    steps = [step.text() for step in plan(list(_wrongs(found)), site, texts)]
    for target in targets:
        route = site.route(target["backend"] or "", target["server"] or "")
        if route is not None and target["verdict"] not in _NOTHING and _translated(target, route):
            told = products.TRANSLATED.format(
                host=target["mta_host"] or "the mail server", address=route.target.address
            )
            target["remedy"] = [told, *target["remedy"]]
    for target, route in found:
        if route.verdict == "passed":
            host = target["mta_host"] or "the mail server"
            target["remedy"] = [_RELOAD.format(said=route.verdict, host=host), *target["remedy"]]
        elif steps:
            target["remedy"] = steps


def steps_for(targets: Iterable[Mapping[str, Any]], site: Site, texts: Mapping[str, str]) -> list[Step]:
    """The steps that mend all targets."""
    return plan(list(_wrongs(_found(targets, site))), site, texts)


def _found(targets: Iterable[_Target], site: Site) -> list[tuple[_Target, Route]]:
    return [(target, route) for target in targets if (route := _route(target, site)) is not None]


def _route(target: Mapping[str, Any], site: Site) -> Route | None:
    """The way that a target went, if something is wrong with it that its configuration can change."""
    if target["verdict"] in _NOTHING:
        return None
    if target["evidence"].get("nameless_header"):
        return None  # what it lacks is lost before the balancer
    if target["evidence"]["states"] and not target["evidence"]["ongoing"]:
        return None  # it has been mended
    route = site.route(target["backend"] or "", target["server"] or "")
    if route is not None and _translated(target, route):
        return None  # a new listener could not be bound to the address that the balancer connects to
    return route if route is not None and route.verdict != "unknown" and len(route.listeners) == 1 else None


def _translated(target: Mapping[str, Any], route: Route) -> bool:
    """Whether the mail server does not have the address that the balancer connects to."""
    address = parsed(route.target.address)
    if address is None:
        return False
    evidence = target["evidence"]
    seen = {parsed(name.rpartition(":")[0].strip("[]")) for name in evidence["destinations"]}
    return (bool(seen) and address not in seen) or any(map(products.is_container, evidence["peers"]))


def _wrongs(found: Iterable[tuple[Mapping[str, Any], Route]]) -> Iterator[Wrong]:
    """One for each way, whichever frontends and families go it."""
    ways: dict[tuple[str, str], tuple[Route, list[Mapping[str, Any]]]] = {}
    for target, route in found:
        if route.verdict != "passed":
            ways.setdefault((route.target.backend, route.target.server), (route, []))[1].append(target)
    for route, targets in ways.values():
        evidence = [target["evidence"] for target in targets]
        seen = any(one["balancer_sessions"] for one in evidence)
        yield Wrong(
            kind=route.verdict,
            frontends=frozenset(filter(None, (target["frontend"] for target in targets))),
            route=route,
            peers=tuple(sorted({address for one in evidence for address in one["peers"]})),
            shared=any(one.get("past_the_balancer") for one in evidence) if seen else _may_be_shared(route),
            relayed=any(told["kind"] == "open_relay" for one in evidence for told in one["consequences"]),
        )


def _may_be_shared(route: Route) -> bool:
    """Whether others may come to the listener without the balancer; without logs nobody can tell."""
    listener = route.listeners[0]
    return listener.address == ANY and listener.port in _WELL_KNOWN
