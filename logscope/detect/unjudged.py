"""What cannot be judged: which log or line is missing, and what the logs that are there suggest."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from logscope.detect.company import ENOUGH
from logscope.detect.header_lines import REFUSED, TOLD
from logscope.detect.signals import Signals
from logscope.detect.tally import PRIVATE, Node, Peer, Tally
from logscope.detect.targets import first_label, hosts_by_name, in_order
from logscope.detect.verdict import GATEWAY_SESSIONS, GATEWAY_SHARE, Document, places, unknown


def without_targets(tally: Tally, signals: Signals) -> list[Document]:
    """The listeners, where no balancer session reached a server."""
    told = {Node(lines.mta_host, lines.service) for lines in signals.lines}
    nodes = sorted({*tally.peers, *told}, key=in_order) or [Node(None, None)]
    return [_listener(node, tally, signals) for node in nodes]


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


def _listener(node: Node, tally: Tally, signals: Signals) -> Document:
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
    cause = _missing(tally, signals, bool(peers)) + _suspicion(peers, count, errors, told)
    return unknown(cause, evidence, mta_host=node.mta_host, service=node.service)


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


def _suspicion(peers: Mapping[str | None, Peer], count: int, errors: int, told: int) -> str:
    """What the mail server's log alone suggests; the balancer's would have to confirm it."""
    suspected = ""
    busiest = max(peers, key=lambda address: peers[address].span.count, default=None)
    carried = peers[busiest].span.count if busiest else 0
    if errors >= ENOUGH:
        suspected = f"a PROXY header that is expected and does not come ({errors} lines `haproxy read: …`)"
    elif told >= ENOUGH and 2 * told >= count:
        suspected = f"a PROXY header that is not expected ({told} lines show one as if it were mail)"
    elif busiest and re.match(PRIVATE, busiest) and carried >= max(GATEWAY_SESSIONS, GATEWAY_SHARE * count):
        suspected = f"masking, for {busiest} carries {carried} of {count} sessions, as a balancer's would"
    return f" Suspected: {suspected}." if suspected else ""
