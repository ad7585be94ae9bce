"""What cannot be judged: which log or line is missing, and what the logs that are there suggest."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from logscope.detect.company import ENOUGH
from logscope.detect.header_lines import REFUSED, TOLD, WAITED
from logscope.detect.remedies import steps
from logscope.detect.signals import Signals
from logscope.detect.tally import PRIVATE, Node, Peer, Tally
from logscope.detect.targets import first_label, hosts_by_name, in_order
from logscope.detect.verdict import (
    GATEWAY_MANY,
    GATEWAY_NAMES,
    GATEWAY_SESSIONS,
    GATEWAY_SHARE,
    MINOR,
)
from logscope.detect.words import Document, moment, places, unknown
from logscope.site import Site

_KNOWN_PORTS = frozenset(("25", "465", "587"))
EARLY = 0.8
"""Share of the sessions that have a header whose clients did not wait for the greeting."""
CLIMBING = 0.5
"""Share of an address's sessions whose port is a little above the one before; of many hosts' few are."""
UNHEARD = 0.25
"""Lines about headers that never came, for each session: fewer are of somebody else."""
_BY_CONFIGURATION = 0.8
"""Confidence where the balancer's log is missing, and only its configuration is known."""


def without_targets(tally: Tally, signals: Signals, site: Site | None = None) -> list[Document]:
    """The listeners, where no balancer session reached a server.

    Args:
        site: the configurations. Addresses that they say are a balancer's tell masking by themselves.
    """
    told = {Node(lines.mta_host, lines.service) for lines in signals.lines}
    nodes = sorted({*tally.peers, *told}, key=in_order) or [Node(None, None)]
    return [_listener(node, tally, signals, site or Site()) for node in nodes]


def unreached(
    known: Collection[tuple[str | None, str | None]], tally: Tally, signals: Signals
) -> list[Document]:
    """Servers that HAProxy spoke of and that no session reached.

    Args:
        known: backend and server of the targets that sessions did reach.
    """
    hosts = hosts_by_name(tally, signals)
    return [
        unknown(
            f"No session reached {backend}/{server}, of which HAProxy said last: {state}. One that did is "
            f"missing.",
            backend=backend,
            server=server,
            mta_host=hosts.get(first_label(server)),
        )
        for (backend, server), state in sorted(signals.servers.items())
        if (backend, server) not in known
    ]


def _listener(node: Node, tally: Tally, signals: Signals, site: Site) -> Document:
    peers = tally.peers.get(node, {})
    count = sum(peer.span.count for peer in peers.values())
    errors, told = (
        sum(
            one.count
            for one in signals.lines
            if one.meaning == meaning and (one.mta_host, one.service) == node
        )
        for meaning in (REFUSED, TOLD)
    )
    evidence = {
        "balancer_sessions": tally.balancer_sessions,
        "balancer_only": tally.balancer_sessions,
        "mta_sessions": count,
        "mta_only": count,
        "header_errors": errors,
        "health_checks": sum(peer.probes for peer in peers.values()),
        "examples": places(place for peer in peers.values() for place in peer.examples)[:3],
    }
    balancers = {str(address) for address in site.peer_addresses}
    if known := _by_known_balancer(node, peers, count, balancers):
        cause = known.pop("cause") + _one_name(node, site)
        return unknown(cause, evidence, mta_host=node.mta_host, service=node.service) | known
    waited = any(
        one.mostly(WAITED)
        for one in signals.lines
        if one.meaning == REFUSED and (one.mta_host, one.service) == node
    )
    suspicion = _suspicion(peers, count, errors, told, waited=waited)
    cause = _missing(tally, signals, bool(peers)) + suspicion + (_one_name(node, site) if suspicion else "")
    remedy = steps.suspected(header_missing=errors >= ENOUGH) if suspicion else []
    return unknown(cause, evidence, mta_host=node.mta_host, service=node.service, remedy=remedy)


def _one_name(node: Node, site: Site) -> str:
    """That services share the name by which smtpd's lines, which have no port, are told apart."""
    daemon = (node.service or "").rpartition("/")[2]
    server = site.mail_server(node.mta_host or "") if node.mta_host else None
    listeners = [one for one in server.listeners if one.tag == node.service] if server else []
    if daemon != "smtpd" or (server is not None and len(listeners) < 2):
        return ""
    if listeners:
        named = ", ".join(one.service for one in listeners)
        which = f"{node.service} is the name of several services there ({named})"
    else:
        which = f"{node.service} may be the name of several services"
    return (
        f" {which}: which of them a session came to cannot be told. Give each a name of its own with "
        "`-o syslog_name=postfix/NAME` in master.cf, or read the balancer's log, too."
    )


def _missing(tally: Tally, signals: Signals, mail: bool) -> str:
    if tally.balancer_sessions:
        cause = (
            f"None of the {tally.balancer_sessions} sessions in the balancer's log reached a server: lines "
            "of sessions that did are missing."
        )
    elif signals.balancer_hosts:
        cause = "HAProxy's lines hold no session: those of `option tcplog` or a format like it are missing."
    else:
        cause = "No line of HAProxy was read: the balancer's log is missing."
    return cause if mail or signals.mail_hosts else f"{cause} No line of Postfix was read, either."


def _suspicion(peers: Mapping[str | None, Peer], count: int, errors: int, told: int, *, waited: bool) -> str:
    """What the mail server's log alone suggests; the balancer's would have to confirm it."""
    suspected = ""
    busiest = max(peers, key=lambda address: peers[address].span.count, default=None)
    carried = peers[busiest].span.count if busiest else 0
    early = sum(peer.early for peer in peers.values())
    if errors >= ENOUGH and waited and early >= max(ENOUGH, EARLY * count):
        suspected = (
            f"a PROXY header that comes only with the client's first bytes: {errors} connections waited for "
            f"it in vain, and {early} of the {count} whose clients are seen spoke before the greeting. "
            "Balancers of clouds send it so"
        )
    elif errors >= max(ENOUGH, UNHEARD * count):
        suspected = f"a PROXY header that is expected and does not come ({errors} lines `haproxy read: …`)"
    elif told >= ENOUGH and 2 * told >= count:
        suspected = f"a PROXY header that is not expected ({told} lines show one as if it were mail)"
    elif busiest and carried >= max(GATEWAY_SESSIONS, GATEWAY_SHARE * count):
        why = _looks_like_balancer(busiest, peers[busiest])
        suspected = f"masking, for {busiest} carries {carried} of {count} sessions{why}" if why else ""
    return f" Suspected: {suspected}." if suspected else ""


def _looks_like_balancer(address: str, peer: Peer) -> str:
    """Why one address is not one client: many names, or a port that no client knows; empty where it may "
    "be."""
    names = peer.names
    climbing = ", from ports that climb as one host's do" if peer.climbs > CLIMBING * peer.steps else ""
    if len(names.different) >= max(GATEWAY_NAMES, min(names.count, GATEWAY_MANY) / 2):
        return f" under {len(names.different)} names{climbing}"
    ports = {name.rpartition(":")[2] for name in peer.destinations}
    if re.match(PRIVATE, address) and ports and not ports & _KNOWN_PORTS:
        return f", all of them to port {', '.join(sorted(ports))}, which no client would use{climbing}"
    return ""


def _by_known_balancer(
    node: Node, peers: Mapping[str | None, Peer], count: int, balancers: Collection[str]
) -> Document | None:
    """The verdict where the configuration says which address is a balancer's: its sessions are masked "
    "ones."""
    own = {address: peer for address, peer in peers.items() if address in balancers and peer.span.count}
    hidden = sum(peer.span.count for peer in own.values())
    least = max(ENOUGH, MINOR * count)
    if hidden < least:
        return None
    names = ", ".join(sorted(filter(None, own)))
    verdict = "masked" if count - hidden < least else "mixed"
    spans = [peer.span for peer in own.values()]
    firsts = [span.first for span in spans if span.first is not None]
    lasts = [span.last for span in spans if span.last is not None]
    return {
        "verdict": verdict,
        "cause": (
            f"{hidden} of {count} sessions came from {names}, which the configuration given says is the "
            "balancer's: "
            "their clients are hidden. (By the mail server's log alone.)"
        ),
        "confidence": _BY_CONFIGURATION,
        "share_masked": round(hidden / count, 4),
        "since": moment(min(firsts, default=None)),
        "until": moment(max(lasts, default=None)),
        "remedy": steps.masked(steps.Subject(None, None, node.mta_host, node.service)),
    }
