"""Targets, and which listener of which mail server each of them reaches.

Joined sessions tell; where a target has none, the server's name does, or the company that its sessions keep:
header lines of the same moments, or sessions of one address that begin and end with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logscope.detect.company import ENOUGH, INSTEAD, MOST_CLOCK, PAIRED, Fit, Lone, beyond_chance, fits
from logscope.detect.header_lines import REFUSED as REFUSED_LINES
from logscope.detect.header_lines import HeaderLines
from logscope.detect.pairing import NEAR, Pairing, pair
from logscope.detect.sample import Sample, Times
from logscope.detect.signals import NEVER, Signals
from logscope.detect.tally import (
    ALONE,
    BY_PORT,
    BY_TEXT,
    CUT,
    FATES,
    REFUSED,
    SEEN,
    UNCLEAR,
    Cell,
    Node,
    Peer,
    Span,
    Tally,
)
from logscope.site import Site

LINES = 0.25
"""Header lines for each refused session, at least: syslog may have lost or folded some."""
LEFT = 0.5
"""Share of a way's lone sessions for which other ways must leave sessions of the same addresses."""
WHOLE = 0.75
"""Of a target's lone sessions so many are paired that the others are, too."""
ACCIDENT = 0.05
"""Share of a server's sessions that may be joined at the wrong host because a port was used twice."""
KNOWN_CLOCK = 20
"""Joined sessions from which on a host's clock is known."""
OWNED = 3
"""Another frontend has so many times the joined sessions of a listener: then it is that one's."""

Hosts = dict[str | None, str | None]
"""Mail server host of each of HAProxy's servers."""


class Name(NamedTuple):
    """What a target is called; `family` is that of the clients' addresses."""

    frontend: str | None
    backend: str | None
    server: str | None
    family: str | None


@dataclass(frozen=True)
class Found:
    """Sessions that were not joined, and that something else explains.

    Attributes:
        span: how many, and when the first and the last began.
        starts: when each began, in order; of very many a sample.
        complete: whether these are all.
    """

    span: Span = field(default_factory=Span)
    starts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    complete: bool = True

    @classmethod
    def of(cls, starts: NDArray[np.int64], scale: float, *, complete: bool) -> Found:
        """From the starts, each of which stands for `scale` sessions."""
        if not len(starts):
            return cls()
        return cls(Span(round(scale * len(starts)), int(starts.min()), int(starts.max())), starts, complete)


@dataclass
class Target:
    """One server of a backend for clients of one family, and where its sessions went.

    Attributes:
        cells: its sessions, by balancer.
        node: the listener that they reach, as far as it is known.
        peers: addresses at that listener that stand for its clients.
        hidden: those of its lone sessions that these explain.
        refused: those of its sessions that were refused for want of a header.
        named: share of its lone sessions whose clients the host names in sessions that are as lone: only the
            join failed.
        named_there: share of the host's sessions, of those as lone, that have these clients.
        named_sessions: how many these are.
        strangers: whether its joined sessions are accidents: they are at another frontend's listener.
        foreign: listeners that other frontends own, and it does not; what was joined there by time is an
            accident, too.
        headers: header lines of that host that its refused sessions explain.
    """

    name: Name
    cells: dict[str | None, Cell] = field(default_factory=dict)
    node: Node | None = None
    peers: dict[str, Peer] = field(default_factory=dict)
    hidden: Found = field(default_factory=lambda: Found())
    refused: Found = field(default_factory=lambda: Found())
    named: float = 0.0
    named_there: float = 0.0
    named_sessions: int = 0
    strangers: bool = False
    foreign: set[Node] = field(default_factory=set)
    headers: list[HeaderLines] = field(default_factory=list)

    @property
    def joined(self) -> Counter[Node]:
        """Listeners that its joined sessions reached."""
        return sum((cell.nodes for cell in self.cells.values()), Counter())

    def span(self, *fates: int) -> Span:
        """Its sessions of some fates."""
        return total(cell.spans[fate] for cell in self.cells.values() for fate in fates)

    @property
    def passed(self) -> Span:
        """Its sessions that were joined and in which the mail server saw the client, accidents left out."""
        spans = (
            span for cell in self.cells.values() for node, span in cell.passed.items() if self._own(node)
        )
        return total(spans)

    def _own(self, node: Node) -> bool:
        at = self.node
        elsewhere = at is not None and node.mta_host != at.mta_host
        if at is not None and at.mta_host is None and at.service and node.service:
            # One log of several hosts without names: a server line leads to one listener, what is joined at
            # another is another server's.
            elsewhere = elsewhere or node.service != at.service
        return not self.strangers and not elsewhere and node not in self.foreign

    @property
    def alone(self) -> int:
        """Sessions that only the balancer saw."""
        return self.span(ALONE, REFUSED).count


def total(spans: Iterable[Span]) -> Span:
    """All of them as one."""
    result = Span()
    for span in spans:
        result = result.join(span)
    return result


def in_order(names: Iterable[str | None]) -> list[str]:
    """Sorting key of names of which some are missing."""
    return [name or "" for name in names]


def targets(tally: Tally, signals: Signals, site: Site | None = None) -> list[Target]:
    """The targets by name, each with its listener.

    Args:
        site: what the configurations say.
    """
    found: dict[Name, Target] = {}
    for key in sorted(tally.cells, key=in_order):
        name = Name(key.frontend, key.backend, key.server, key.family)
        found.setdefault(name, Target(name)).cells[key.balancer] = tally.cells[key]
    everything = list(found.values())
    hosts = _hosts_of_servers(everything, tally, signals, site or Site())
    for target in everything:
        _seek_listener(target, hosts)
    _find_strangers(everything)
    _share_out_headers(everything, hosts, signals)
    _seek_company(everything, hosts, tally, signals)
    _find_named(everything, hosts, tally, signals)
    for target in everything:
        if target.node is None and target.name.server in hosts:
            target.node = Node(hosts[target.name.server], _common_service(target, everything))
    return everything


def _share_out_headers(everything: Sequence[Target], hosts: Hosts, signals: Signals) -> None:
    """Header lines for each target that they may belong to, those with most lone sessions first; where only
    their absence elsewhere speaks for it, those that fit best first."""
    taken = set(hosts.values())
    claimed: Hosts = {}
    refused: Counter[str | None] = Counter()
    luck: dict[int, float] = {}
    clocks: dict[str | None, int] = {}
    for doubtful_too in (False, True):
        for target in sorted(everything, key=lambda one: (luck.get(id(one), 1.0), -one.alone)):
            server = target.name.server
            if target.headers:
                continue
            some = [hosts[server]] if server in hosts else sorted(set(signals.mail_hosts) - taken, key=str)
            others = {host for host in some if claimed.get(host, server) != server}
            if _enough_lines(None, refused[None] + target.span(REFUSED, CUT).count, signals):
                others.discard(None)  # of hosts without names several may share these
            pairing = _seek_headers(target, some, signals, others if doubtful_too else some, clocks)
            if pairing is not None:
                luck[id(target)] = pairing.luck
            if pairing is not None and target.headers:
                host = target.headers[0].mta_host
                clocks.setdefault(host, pairing.clock_ns)
                claimed.setdefault(host, server)
                refused[host] += target.refused.span.count


def _enough_lines(host: str | None, sessions: int, signals: Signals) -> bool:
    """Whether a host logged a header line for most of so many sessions."""
    lines = sum(one.count for one in signals.lines if one.meaning == REFUSED_LINES and one.mta_host == host)
    return lines >= WHOLE * sessions


def hosts_by_name(tally: Tally, signals: Signals) -> dict[str, str]:
    """Mail server hosts by their first label."""
    hosts = {node.mta_host for node in tally.peers} | set(signals.mail_hosts)
    return {first_label(host): host for host in sorted(filter(None, hosts))}


def first_label(name: str) -> str:
    """`mx-a` of `mx-a.example.com`."""
    return name.split(".", 1)[0].lower()


def _hosts_of_servers(found: Iterable[Target], tally: Tally, signals: Signals, site: Site) -> Hosts:
    """The hosts that joined sessions, configurations or names tell, or that there is only one of."""
    votes: dict[str | None, Counter[str | None]] = {}
    sessions: Counter[str | None] = Counter()
    timed: Counter[str | None] = Counter()
    everywhere = {node.mta_host for node in tally.peers} | set(signals.mail_hosts)
    named_somewhere = any(everywhere)
    for target in found:
        timed[target.name.server] += sum(cell.timed for cell in target.cells.values())
        counts = votes.setdefault(target.name.server, Counter())
        sessions[target.name.server] += target.span(*range(FATES)).count
        for node, count in target.joined.items():
            # Where hosts have names, a session without one may be one of several hosts': it has no vote.
            if node.mta_host is not None or not named_somewhere:
                counts[node.mta_host] += count
    names = hosts_by_name(tally, signals)
    hosts: Hosts = {}
    for server, counts in votes.items():
        host, count = counts.most_common(1)[0] if counts else (None, 0)
        named = (site.logs_as(server, everywhere) or names.get(first_label(server))) if server else None
        most_there = max((others[host] for other, others in votes.items() if other != server), default=0)
        # Joined by address and time alone, sessions may be those of the same clients at another host.
        doubtful = named != host and 2 * timed[server] >= count
        if named is not None and (2 * count <= sessions[server] or doubtful):
            hosts[server] = named
        elif 2 * timed[server] >= count and 2 * count <= sessions[server] and OWNED * count <= most_there:
            continue  # few, and by time, at a host that is another server's: any of them may be an accident
        elif count >= max(ENOUGH, ACCIDENT * sessions[server]) or 2 * count > sessions[server]:
            hosts[server] = host
    if everywhere == {None} or (not hosts and len(everywhere) == 1):  # no line tells one from another
        hosts = dict.fromkeys(votes, *everywhere)
    return hosts


def _seek_listener(target: Target, hosts: Hosts) -> None:
    """Where the target's joined sessions went."""
    server = target.name.server
    here = {
        node: count
        for node, count in target.joined.items()
        if server in hosts and node.mta_host == hosts[server]
    }
    # Of several that fit none was chosen: such sessions name no service.
    target.node = max(
        here, key=lambda node: (node.service is not None, here[node], node.service), default=None
    )


def _find_strangers(everything: Sequence[Target]) -> None:
    """Targets whose few joined sessions are at a listener that is another frontend's.

    Where smtpd logs no ports, a masked session may be joined by address and time to one of the same client
    that came through another frontend.
    """
    owners: dict[Node, Counter[str | None]] = {}
    for target in everything:
        for node, count in target.joined.items():
            owners.setdefault(node, Counter())[target.name.frontend] += count
    for target in everything:
        passed = target.passed.count
        timed = sum(cell.timed for cell in target.cells.values())
        if target.node is None or 2 * timed < passed:
            continue

        def owned_by_others(node: Node, frontend: str | None = target.name.frontend) -> bool:
            return owners[node][frontend] * OWNED <= max(owners[node].values())

        target.foreign = {one for one in target.joined if one != target.node and owned_by_others(one)}
        target.strangers = owned_by_others(target.node) and 2 * passed < target.alone
        if target.strangers:
            target.node = None


def _common_service(target: Target, everything: Iterable[Target]) -> str | None:
    """The service that the backend's other servers have."""
    services = Counter(
        other.node.service
        for other in everything
        if other.node is not None and other.node.service and other.name[:2] == target.name[:2]
    )
    return services.most_common(1)[0][0] if services else None


def _seek_headers(
    target: Target,
    hosts: Sequence[str | None],
    signals: Signals,
    claimed: Collection[str | None],
    clocks: Mapping[str | None, int],
) -> Pairing | None:
    """Header lines that the target's refused sessions explain: of its host, at the moments of their ends.

    Args:
        claimed: hosts whose lines may be, or are, of another server's sessions: more is asked of these.
        clocks: ns to be added to hosts' times, as others' header lines told: few sessions cannot tell it.

    Returns:
        how its sessions fit the lines that are likeliest theirs, whether that is enough or not; None where
        there are none of either.
    """
    refused = target.span(REFUSED, CUT)
    if refused.count < ENOUGH or 2 * refused.count < target.alone:
        return None
    likeliest: Pairing | None = None
    samples = [cell.refused for cell in target.cells.values()]
    best = 0.0
    for host in hosts:
        lines = [one for one in signals.lines if one.meaning == REFUSED_LINES and one.mta_host == host]
        thinning = max((one.thinning for one in (*samples, *(line.sample for line in lines))), default=0)
        sessions = np.concatenate([one.times(thinning) for one in samples])
        dates = np.concatenate([one.dates(thinning) for one in samples])
        order = np.argsort(sessions[:, 1], kind="stable")
        sessions, dates = sessions[order], dates[order]
        logged = np.concatenate([np.empty((0, 2), np.int64), *(one.sample.times(thinning) for one in lines)])
        told = _clocks(host, signals) or ([clocks[host]] if host in clocks else [])
        pairing = pair(sessions[:, [1, 1]], logged[np.argsort(logged[:, 0], kind="stable")], told)
        if pairing is None:
            continue
        if not target.headers and (likeliest is None or pairing.luck < likeliest.luck):
            likeliest = pairing
        if pairing.share_one <= best:
            continue
        if not _are_refusals(target, pairing, sessions, only_pairs=host in claimed):
            continue
        best, target.headers, likeliest = pairing.share_one, lines, pairing
        # What looks like a refusal before the first line about one is something else.
        begun = sessions[:, 1] >= logged[:, 0].min() + pairing.clock_ns - NEAR
        covered = pairing.one | (_covered(sessions[:, 1], host, pairing.clock_ns, signals) & begun)
        chosen = covered if pairing.share_one >= WHOLE else pairing.paired_one
        scale = refused.count / len(sessions)
        target.refused = Found.of(np.sort(dates[chosen]), scale, complete=not thinning)
    if target.headers and target.node is None:
        target.node = Node(target.headers[0].mta_host, target.headers[0].service)
    return likeliest


def _are_refusals(target: Target, pairing: Pairing, sessions: Times, *, only_pairs: bool) -> bool:
    """Whether sessions that look like refusals end with header lines by more than chance, or instead of
    others."""
    if pairing.count < ENOUGH:
        return False
    together = pairing.share_one >= PAIRED and beyond_chance(pairing)
    if together or only_pairs:
        return together
    starts, refused = sessions[pairing.one, 0], int(pairing.one.sum())
    seen = sum(
        cell.timeline.count([*SEEN, UNCLEAR, BY_PORT, BY_TEXT], int(starts.min()), int(starts.max()))
        for cell in target.cells.values()
    )
    enough = LINES * refused <= int(pairing.other.sum())
    return enough and refused >= INSTEAD * (refused + seen) and abs(pairing.clock_ns) <= MOST_CLOCK


Branch = tuple[str | None, str | None, str | None]
"""Frontend, backend and server: the targets of either family go the same way."""


@dataclass(frozen=True)
class _Match:
    """A way's lone sessions, explained by sessions of a listener."""

    way: tuple[Target, ...]
    node: Node
    lone: Lone
    fit: Fit


def _seek_company(everything: Sequence[Target], hosts: Hosts, tally: Tally, signals: Signals) -> None:
    """For each way to a server the listener whose unexplained sessions fit its lone ones best, if any fit.

    What stands for the clients of one server is a balancer's address: less is asked of it at the others.
    """
    branches: dict[Branch, list[Target]] = {}
    for target in everything:
        if target.alone and not target.headers:
            name = target.name
            branches.setdefault((name.frontend, name.backend, name.server), []).append(target)
    known = frozenset(_balancers(tally))
    ways = [tuple(way) for way in branches.values()]
    found: list[_Match] = []
    for _ in range(2):
        left = [way for way in ways if way not in [match.way for match in found]]
        for way in left:
            for node in _nodes(way[0].name.server, hosts, tally):
                if _has_another(way, node, everything):
                    continue
                lone = _lone(way, node, everything, tally, signals)
                cells = [cell for target in way for cell in target.cells.values()]
                fit = fits(lone, tally.peers[node], cells, known, _clocks(node.mta_host, signals))
                if fit is not None:
                    found.append(_Match(way, node, lone, fit))
        known |= {address for match in found for address in match.fit.addresses}
    _settle(found, hosts, tally, signals)


def _has_another(way: Sequence[Target], node: Node, everything: Iterable[Target]) -> bool:
    """Whether a way leads to another listener than this one, which other frontends' sessions reach."""
    own = [one for target in way if (one := target.node) is not None and target.passed.count >= ENOUGH]
    return bool(own) and node not in own and node in _of_others(way, everything)


def _balancers(tally: Tally) -> Iterable[str]:
    """Addresses that are a balancer's wherever they are seen."""
    yield from tally.hidden_behind
    for peers in tally.peers.values():
        for address, peer in peers.items():
            if address is not None and peer.masked and 2 * peer.masked >= peer.span.count:
                yield address


def _nodes(server: str | None, hosts: Hosts, tally: Tally) -> list[Node]:
    """Listeners that a server may be, as far as its host is known."""
    if server in hosts:
        return [node for node in tally.peers if node.mta_host == hosts[server]]
    taken = set(hosts.values())
    return [node for node in tally.peers if node.mta_host not in taken] or list(tally.peers)


def _lone(
    way: Sequence[Target], node: Node, everything: Sequence[Target], tally: Tally, signals: Signals
) -> Lone:
    """The lone sessions of a way without those whose clients the host names in sessions that are as lone."""
    unexplained: Counter[str] = Counter()
    samples: dict[str, list[Sample]] = {}
    others = _of_others(way, everything)
    for other, peers in tally.peers.items():
        if other.mta_host == node.mta_host and other not in others:
            unexplained.update({address: peer.span.count for address, peer in peers.items() if address})
            for address, peer in peers.items():
                samples.setdefault(address or "", []).extend((peer.sample, peer.quiet))
    lone = Lone.of([[cell.lone for cell in target.cells.values()] for target in way])
    first, _ = signals.mail_hosts.get(node.mta_host, NEVER)
    clocks = _clocks(node.mta_host, signals)
    if first is not None and clocks:
        lone = lone.since(first + clocks[0])
    return lone.without(unexplained, _moments(way, node, samples, signals))


def _of_others(way: Sequence[Target], everything: Iterable[Target]) -> set[Node]:
    """Listeners that other frontends' joined sessions reach, and this way's do not."""
    own = {
        node
        for target in way
        for cell in target.cells.values()
        for node, passed in cell.passed.items()
        if passed.count
    }
    frontend = way[0].name.frontend
    return {
        target.node
        for target in everything
        if target.node is not None and target.name.frontend != frontend and target.node not in own
    }


def _moments(
    way: Sequence[Target], node: Node, samples: Mapping[str, Sequence[Sample]], signals: Signals
) -> dict[str, NDArray[np.int64]] | None:
    """When each address's sessions began, by the balancer's clock; None where that is not known well."""
    thinned = any(sample.thinning for some in samples.values() for sample in some)
    joined = sum(count for target in way for one, count in target.joined.items() if one == node)
    if thinned or joined < KNOWN_CLOCK:
        return None
    ahead = _clocks(node.mta_host, signals) or [0]
    return {
        address: np.sort(np.concatenate([sample.times()[:, 0] for sample in some])) + ahead[0]
        for address, some in samples.items()
    }


def _find_named(everything: Sequence[Target], hosts: Hosts, tally: Tally, signals: Signals) -> None:
    for target in everything:
        if target.alone and target.name.server in hosts:
            node = target.node or Node(hosts[target.name.server], None)
            lone = _lone([target], node, everything, tally, signals)
            if len(lone.seen) >= ENOUGH:
                target.named_sessions = len(lone.seen)
                target.named = len(lone.seen) / (len(lone.seen) + len(lone.times))
                target.named_there = len(lone.seen) / max(1, _unexplained(target, node, everything, tally))


def _unexplained(target: Target, node: Node, everything: Sequence[Target], tally: Tally) -> int:
    """Sessions of a host that no balancer session explains, other frontends' listeners left out."""
    others = _of_others([target], everything)
    return sum(
        peer.span.count
        for other, peers in tally.peers.items()
        if other.mta_host == node.mta_host and other not in others
        for peer in peers.values()
    )


def _covered(
    times: NDArray[np.int64], host: str | None, clock_ns: int, signals: Signals
) -> NDArray[np.bool_]:
    """bool[n]: the host's log covers the moment."""
    first, last = signals.mail_hosts.get(host, NEVER)
    if first is None or last is None:
        return np.zeros(len(times), np.bool_)
    inside: NDArray[np.bool_] = (times >= first + clock_ns - NEAR) & (times <= last + clock_ns + NEAR)
    return inside


def _clocks(host: str | None, signals: Signals) -> list[int]:
    """What the joins know of a host's clock: ns to be added to its times."""
    return [-round(ahead * 10**9) for (_, other), ahead in signals.skew_s.items() if other == host]


def _settle(found: Iterable[_Match], hosts: Hosts, tally: Tally, signals: Signals) -> None:
    """Each way gets its best listener; one that others have already only if it has sessions enough left."""
    done: set[int] = set()
    taken: Counter[tuple[Node, tuple[str, ...]]] = Counter()
    for match in sorted(found, key=lambda one: -one.fit.score):
        server, pairing = match.way[0].name.server, match.fit.pairing
        if id(match.way) in done or hosts.get(server, match.node.mta_host) != match.node.mta_host:
            continue
        place = match.node, match.fit.addresses
        lone = int(pairing.one.sum())
        if int(pairing.other.sum()) - taken[place] < LEFT * min(lone, int(pairing.other.sum())):
            continue
        taken[place] += lone
        done.add(id(match.way))
        hosts.setdefault(server, match.node.mta_host)
        _explain(match, tally, signals)


def _explain(match: _Match, tally: Tally, signals: Signals) -> None:
    """Give each target of a way its share of the sessions that were found."""
    pairing, lone = match.fit.pairing, match.lone
    log = _covered(lone.times[:, 0], match.node.mta_host, pairing.clock_ns, signals)
    for number, target in enumerate(match.way):
        mine = lone.owner == number
        paired = mine & pairing.paired_one
        if not paired.any():
            continue
        share = int(paired.sum()) / int((mine & pairing.one).sum())
        chosen = mine & (pairing.one | log) if share >= WHOLE else paired
        scale = target.alone / max(1, lone.before[number] + len(lone.seen) + int(mine.sum()))
        target.peers = {address: tally.peers[match.node][address] for address in match.fit.addresses}
        target.hidden = Found.of(np.sort(lone.dates[chosen]), scale, complete=not lone.thinning)
        if target.node not in (None, match.node):
            # It reaches one listener: few sessions joined by time at another are some other frontend's.
            timed = sum(cell.timed for cell in target.cells.values())
            target.strangers = target.passed.count <= min(2 * timed, target.hidden.span.count)
        if target.node is None or target.strangers:
            target.node = match.node
