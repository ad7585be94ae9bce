"""Targets, and which listener of which mail server each of them reaches.

Joined sessions tell; where a target has none, the server's name does, or the company that its sessions keep:
header lines of the same moments, or sessions of one address that begin and end with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from logscope.detect.header_lines import REFUSED as REFUSED_LINES
from logscope.detect.header_lines import HeaderLines, Signals
from logscope.detect.pairing import NOTHING, Pairing, Times, pair
from logscope.detect.tally import ALONE, REFUSED, Cell, Node, Peer, Span, Tally

ENOUGH = 3
"""Sessions below which a kind is taken for an accident (a port reused, a client past the balancer)."""
PAIRED = 0.6
"""Share of a target's lone sessions that must find a partner before an address is taken for the
balancer's."""
LIFT = 0.3
"""By how much that must be more than chance."""
ALIKE = 0.25
"""Where chance explains everything (busy logs), the two counts may differ by no more than this."""
LEFT = 0.5
"""Share of a target's lone sessions for which other targets must leave sessions of the balancer's address."""
ACCIDENT = 0.05
"""Share of a server's sessions that may be joined at the wrong host because a port was used twice."""
_SLACK = 120 * 10**9  # ns by which clocks may be apart

Hosts = dict[str | None, str | None]
"""Mail server host of each of HAProxy's servers."""


class Name(NamedTuple):
    """What a target is called; `family` is that of the clients' addresses."""

    frontend: str | None
    backend: str | None
    server: str | None
    family: str | None


@dataclass
class Target:
    """One server of a backend for clients of one family, and where its sessions went.

    Attributes:
        cells: its sessions, by balancer.
        node: the listener that they reach, as far as it is known.
        peers: addresses at that listener that stand for its clients.
        pairing: of its lone sessions with those of the peers.
        headers: header lines of that host that its refused sessions explain.
    """

    name: Name
    cells: dict[str | None, Cell] = field(default_factory=dict)
    node: Node | None = None
    peers: dict[str, Peer] = field(default_factory=dict)
    pairing: Pairing = NOTHING
    headers: list[HeaderLines] = field(default_factory=list)

    @property
    def joined(self) -> Counter[Node]:
        """Listeners that its joined sessions reached."""
        return sum((cell.nodes for cell in self.cells.values()), Counter())

    def span(self, *fates: int) -> Span:
        """Its sessions of some fates."""
        return total(cell.spans[fate] for cell in self.cells.values() for fate in fates)

    @property
    def alone(self) -> int:
        """Sessions that only the balancer saw."""
        return self.span(ALONE, REFUSED).count

    @property
    def lone_times(self) -> Times:
        """Their start and end, of the first and the last of them."""
        parts = [part for cell in self.cells.values() for part in (cell.alone.times, cell.refused.times)]
        return np.concatenate(parts)

    @property
    def clients(self) -> set[str]:
        """Some addresses of the clients of those sessions."""
        return set().union(*(cell.clients for cell in self.cells.values()))


def total(spans: Iterable[Span]) -> Span:
    """All of them as one."""
    result = Span()
    for span in spans:
        result = result.join(span)
    return result


def in_order(names: Iterable[str | None]) -> list[str]:
    """Sorting key of names of which some are missing."""
    return [name or "" for name in names]


def targets(tally: Tally, signals: Signals) -> list[Target]:
    """The targets by name, each with its listener."""
    found: dict[Name, Target] = {}
    for key in sorted(tally.cells, key=in_order):
        name = Name(key.frontend, key.backend, key.server, key.family)
        found.setdefault(name, Target(name)).cells[key.balancer] = tally.cells[key]
    hosts = _hosts_of_servers(found.values(), tally, signals)
    explained: Counter[Node] = Counter()
    for target in sorted(found.values(), key=lambda one: -one.alone):
        _place(target, hosts, tally, signals, explained)
    return [found[name] for name in sorted(found, key=in_order)]


def hosts_by_name(tally: Tally, signals: Signals) -> dict[str, str]:
    """Mail server hosts by their first label."""
    hosts = {node.mta_host for node in tally.peers} | signals.mail_hosts
    return {first_label(host): host for host in sorted(filter(None, hosts))}


def first_label(name: str) -> str:
    """`mx-a` of `mx-a.example.com`."""
    return name.split(".", 1)[0].lower()


def _hosts_of_servers(found: Iterable[Target], tally: Tally, signals: Signals) -> Hosts:
    """The hosts that joined sessions or names tell, or that there is only one of."""
    votes: dict[str | None, Counter[str | None]] = {}
    sessions: Counter[str | None] = Counter()
    for target in found:
        counts = votes.setdefault(target.name.server, Counter())
        sessions[target.name.server] += target.span(*range(6)).count
        for node, count in target.joined.items():
            counts[node.mta_host] += count
    names = hosts_by_name(tally, signals)
    hosts: Hosts = {}
    for server, counts in votes.items():
        host, count = counts.most_common(1)[0] if counts else (None, 0)
        named = names.get(first_label(server)) if server else None
        if count >= max(ENOUGH, ACCIDENT * sessions[server]) or 2 * count > sessions[server]:
            hosts[server] = host
        elif named is not None:
            hosts[server] = named
    everywhere = {node.mta_host for node in tally.peers} | signals.mail_hosts
    if not hosts and len(everywhere) == 1:
        hosts = dict.fromkeys(votes, *everywhere)
    return hosts


def _place(target: Target, hosts: Hosts, tally: Tally, signals: Signals, explained: Counter[Node]) -> None:
    """Find the listener of one target, and what explains its lone sessions."""
    server = target.name.server
    known = server in hosts
    here = [
        (count, node) for node, count in target.joined.items() if known and node.mta_host == hosts[server]
    ]
    target.node = max(here)[1] if here else None
    taken = set(hosts.values())
    if known:
        nodes = [node for node in tally.peers if node.mta_host == hosts[server]]
    else:
        nodes = [node for node in tally.peers if node.mta_host not in taken] or list(tally.peers)
    if target.alone:
        _seek_headers(
            target, [hosts[server]] if known else sorted(signals.mail_hosts - taken, key=str), signals
        )
    if target.alone and not target.headers:
        _seek_company(target, nodes, tally, explained, known=known)
    if target.node is None and known:
        target.node = Node(hosts[server], None)
    elif target.node is not None and not known:
        hosts[server] = target.node.mta_host


def _seek_headers(target: Target, hosts: Sequence[str | None], signals: Signals) -> None:
    """Header lines that the target's refused sessions explain: of its host and time, and enough of them."""
    refused = target.span(REFUSED)
    if refused.count < ENOUGH or 2 * refused.count < target.alone:
        return
    ends = np.concatenate([cell.refused.times for cell in target.cells.values()])[:, [1, 1]]
    best = -1.0
    for host in hosts:
        lines = [one for one in signals.lines if one.meaning == REFUSED_LINES and one.mta_host == host]
        lines = [one for one in lines if _overlap(one, refused)]
        if sum(one.count for one in lines) < max(ENOUGH, refused.count / 10):
            continue
        logged = np.array([[at, at] for one in lines for at in one.times], np.int64).reshape(-1, 2)
        score = pair(ends, logged).share
        if score > best:
            best, target.headers = score, lines
    if target.headers and target.node is None:
        target.node = Node(target.headers[0].mta_host, target.headers[0].service)


def _overlap(lines: HeaderLines, span: Span) -> bool:
    if lines.first_at is None or lines.last_at is None or span.first is None or span.last is None:
        return False
    return lines.first_at <= span.last + _SLACK and span.first - _SLACK <= lines.last_at


def _seek_company(
    target: Target, nodes: Sequence[Node], tally: Tally, explained: Counter[Node], *, known: bool
) -> None:
    """The listener whose unexplained sessions fit the target's lone ones best, if any fits them.

    Args:
        explained: sessions of each listener that targets with more lone sessions account for; added to here.
    """
    best, chosen = 0.0, None
    for node in nodes:
        peers = _stand_ins(target, tally.peers[node])
        if not peers:
            continue
        pairing = pair(target.lone_times, np.concatenate([peer.sample.times for peer in peers.values()]))
        lone = pairing.looked_at * target.alone
        count = pairing.others * sum(peer.span.count for peer in peers.values()) - explained[node]
        if len(pairing.paired) < ENOUGH or count < LEFT * lone:
            continue
        alike = min(count, lone) / max(count, lone)
        beyond_chance = pairing.lift >= LIFT or _flagged(peers.values()) or (known and alike >= 1 - ALIKE)
        score = pairing.share + pairing.lift + alike / 2
        if pairing.share >= PAIRED and beyond_chance and score > best:
            best, chosen, target.peers, target.pairing = score, node, peers, pairing
    if chosen is not None:
        explained[chosen] += round(target.pairing.looked_at * target.alone)
        target.node = target.node or chosen


def _flagged(peers: Iterable[Peer]) -> bool:
    """Whether the joins already hold them for a balancer's."""
    return all(2 * peer.masked >= peer.span.count for peer in peers)


def _stand_ins(target: Target, peers: dict[str | None, Peer]) -> dict[str, Peer]:
    """Addresses at a listener that may stand for the target's clients.

    They are those known to be a balancer's, else the busiest that is no client's own.
    """
    named = {address: peer for address, peer in peers.items() if address is not None and peer.span.count}
    known = {address: peer for address, peer in named.items() if _flagged([peer])}
    if known:
        return known
    clients = target.clients
    others = [address for address in named if address not in clients and named[address].span.count >= ENOUGH]
    return {address: named[address] for address in sorted(others, key=lambda one: -named[one].span.count)[:1]}
