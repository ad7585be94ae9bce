"""What the configurations say of the same targets: a verdict of their own where there are no logs, and beside
the logs' verdict where there are.

A configuration says what was meant, logs what happened. Where they differ, the file may not be the one in
force, or not yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from logscope.detect.remedies.edits import without_secrets
from logscope.detect.words import Document, unknown
from logscope.errors import Place
from logscope.site.facts import Entrance, Listener, Route, Site, Target

_CONFIDENCE = 0.8
"""Of a verdict by configuration alone: it may not be in force."""


_CAUSES = {
    "passed": "{sent}, and {expected}.",
    "masked": "{sent}, and {expected}: the mail server sees the balancer's address.",
    "unexpected_header": "{sent}, but {expected}: the header is taken for mail, which is refused or dropped.",
    "missing_header": "{sent}, but {expected}: every session is refused when the wait for it is over.",
}


def from_configuration(site: Site) -> list[Document]:
    """A target for each way from a frontend to a server that the configurations name."""
    return [_target(site, route, frontend) for route in site.routes for frontend in _frontends(route.target)]


def add_configuration(targets: Iterable[Document], site: Site) -> None:
    """Put what is configured beside what was found; a target that the logs leave open gets its verdict.

    Args:
        targets: of the document; changed.
    """
    for target in targets:
        route = site.route(target["backend"] or "", target["server"] or "")
        if route is None:
            continue
        said = configured(route, site)
        target["evidence"]["configured"] = said
        if target["verdict"] == "unknown" and said["verdict"] != "unknown":
            cause = f"{said['cause']} (By configuration alone. In the logs: {target['cause']})"
            target |= {"verdict": said["verdict"], "cause": cause, "confidence": _CONFIDENCE / 2}
        elif said["verdict"] not in ("unknown", target["verdict"]) and not _elsewhere(target):
            target["cause"] += _difference(target, said["verdict"])


def configured(route: Route, site: Site) -> Document:
    """The verdict of the configurations on one way, and the lines that say so."""
    places = [route.target.place, *(place for one in route.listeners for place in _lines(one))]
    return {
        "verdict": route.verdict,
        "cause": _cause(route) + _misplaced(route, site),
        "lines": [_line(place) for place in dict.fromkeys(places)],
    }


def _lines(listener: Listener) -> Iterator[Place]:
    yield listener.place
    if listener.header_place is not None:
        yield listener.header_place


def _frontends(target: Target) -> Sequence[str | None]:
    return target.frontends or (None,)


def _target(site: Site, route: Route, frontend: str | None) -> Document:
    target, said = route.target, configured(route, site)
    listener = route.listeners[0] if route.listeners else None
    document = unknown(
        said["cause"],
        frontend=frontend,
        backend=target.backend,
        server=target.server,
        mta_host=listener.mail_server if listener else None,
        service=listener.tag if listener else None,
    )
    document["evidence"]["configured"] = said
    if said["verdict"] != "unknown":
        document |= {"verdict": said["verdict"], "confidence": _CONFIDENCE}
    upstream = _waits_for_header(site.entrances, frontend)
    if upstream is not None and said["verdict"] == "passed":
        document["cause"] += f" Clients are those that {upstream.place} is told of by another balancer."
    return document


def _waits_for_header(entrances: Iterable[Entrance], frontend: str | None) -> Entrance | None:
    return next((one for one in entrances if one.frontend == frontend and one.accept_proxy), None)


def _cause(route: Route) -> str:
    target = route.target
    name = f"{target.backend}/{target.server}"
    if target.transparent:
        return f"HAProxy connects to {name} from its clients' own addresses ({_at(target.place)})."
    header = {"none": "sends no PROXY header", "v1": "sends a PROXY header", "v2": "sends a PROXY v2 header"}
    sent = f"HAProxy {header[target.header]} to {name} ({_at(target.place)})"
    if route.verdict == "unknown":
        return f"{sent}. {_what_is_missing(route)}"
    listener = route.listeners[0]
    where = _at(listener.header_place or listener.place)
    expects = "expects one" if listener.expects_header else "expects none"
    return _CAUSES[route.verdict].format(sent=sent, expected=f"{listener.tag} there {expects} ({where})")


_SMTPD = "smtpd_upstream_proxy_protocol"


def _misplaced(route: Route, site: Site) -> str:
    """The header is expected by smtpd, and postscreen stands before it "
    "(postscreen_upstream_proxy_protocol)."""
    for listener in route.listeners:
        server = next((one for one in site.mail_servers if one.name == listener.mail_server), None)
        set_for_smtpd = server is not None and bool(server.parameters.get(_SMTPD))
        if listener.daemon == "postscreen" and not listener.expects_header and set_for_smtpd:
            return (
                f" {_SMTPD} is set, but postscreen takes the connection there and reads no header: it is "
                "postscreen_upstream_proxy_protocol that would."
            )
    return ""


def _what_is_missing(route: Route) -> str:
    target = route.target
    if route.listeners:
        tags = ", ".join(f"{one.tag} of {one.mail_server} ({_at(one.place)})" for one in route.listeners)
        return (
            f"Which of these listens there cannot be told: {tags}. Name the host: --postfix-config HOST=DIR."
        )
    port = target.port if target.port is not None else "that clients connect to"
    return (
        f"No service on port {port} is known: name the configuration of the mail server behind it "
        f"(--postfix-config {target.server}=DIR)."
    )


def _elsewhere(target: Document) -> bool:
    """What happens before the balancer is in no configuration of its own."""
    return target["verdict"] == "masked_upstream" or bool(target["evidence"].get("nameless_header"))


def _difference(target: Document, said: str) -> str:
    """Logs and configuration do not say the same."""
    evidence = target["evidence"]
    changed = evidence["states"] and not evidence["ongoing"] and said == "passed"
    if changed:
        return f" The configuration given says {said}, as it has been since {target['until']}."
    return (
        f" The configuration given says {said}: it is not what ran then. Was it changed and not reloaded, or "
        "is "
        "another file in force?"
    )


def _at(place: Place) -> str:
    return f"{place.file}:{place.line}" if place.line else place.file


def _line(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line, "text": without_secrets((place.text or "").strip())}
