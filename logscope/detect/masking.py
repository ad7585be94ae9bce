"""The masking verdict: do the mail servers behind a balancer see their clients' addresses, or the balancer's?

    judge = Judge()
    judge.add(batch)                    # finished sessions, a RecordBatch with the columns READS (and `events`, for examples)
    document = judge.document(signals)  # `pipeline.Result.signals`; the machine contract of `logscope masking -o json`
    exit_status(document)               # 0 passed, 1 a finding, 3 nothing could be judged

The document is `{"verdict", "targets": [...]}`; each target (frontend, backend, server, mail server, listener, address family of
the clients) has its verdict with cause, confidence, counts, example lines and what to change. A target that cannot be judged
names the log or line that is missing.

Evidence, strongest first: sessions joined by the client's address and port (passed) or by the balancer's own port or the text of a
PROXY header (not passed); sessions of one balancer's address at the mail server that begin and end with balancer sessions which
nothing else explains; lines about headers that never came. Health checks, clients that come without the balancer, and
addresses that both logs name are never masking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from logscope.detect import remedy
from logscope.detect.header_lines import REFUSED as REFUSED_LINES
from logscope.detect.header_lines import TOLD, HeaderLines, Signals
from logscope.detect.pairing import NOTHING, Pairing, pair
from logscope.detect.tally import (
    ALONE,
    BY_PORT,
    BY_TEXT,
    PASSED,
    READS,
    REFUSED,
    Cell,
    CellKey,
    Node,
    Peer,
    Place,
    Span,
    Tally,
)
from logscope.errors import ExitCode

__all__ = ["READS", "VERDICTS", "Judge", "exit_status", "missing"]

VERDICTS = ("passed", "masked", "masked_upstream", "mixed", "unexpected_header", "missing_header", "unknown")

ENOUGH = 3
"""Sessions below which a second kind is taken for an accident (a port reused, a client past the balancer)."""
MINOR = 0.02
"""A second kind that was inferred, not joined, must have this share at least."""
PAIRED = 0.6
"""Share of the balancer's lone sessions that must find a partner before an address is taken for the balancer's."""
LIFT = 0.3
"""By how much that must be more than chance."""
ALIKE = 0.25
"""Where chance explains everything (busy logs), the two counts may differ by no more than this."""
SAME_ADDRESSES = 0.5
"""Share of the lone sessions' client addresses that the mail server names, too: then addresses do pass, only the join failed."""
HEADER_FIRST = 0.9
"""Share of masked sessions that begin with an unknown command: the header, taken for one (seen where it is allowlisted)."""
GATEWAY_SHARE, GATEWAY_SESSIONS, GATEWAY_HELOS = 0.95, 20, 6
"""One private address carries this share of so many sessions, under so many HELO names: a gateway hides clients."""
_CANDIDATES = 8

_Target = dict[str, Any]
_Server = tuple[str | None, str | None, str | None]
"""Frontend, backend, server."""


class Judge:
    """Takes in finished sessions, then judges. Memory grows with the number of targets only."""

    def __init__(self) -> None:
        self._tally = Tally()

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of the `sessions` table with at least the columns `READS`."""
        self._tally.add(batch)

    def document(self, signals: Signals | None = None) -> dict[str, Any]:
        """The verdict, overall and by target.

        Args:
            signals: header lines that belong to no session, and who logged at all.
        """
        signals = signals or Signals()
        targets = [target.document() for target in _judged(self._tally, signals)]
        if not targets:
            targets = _without_targets(self._tally, signals)
        verdicts = {target["verdict"] for target in targets} - {"unknown"}
        overall = verdicts.pop() if len(verdicts) == 1 else "mixed" if verdicts else "unknown"
        return {"verdict": overall, "targets": targets}


def exit_status(document: Mapping[str, Any]) -> ExitCode:
    """The exit status of `logscope masking`."""
    if document["verdict"] == "unknown":
        return ExitCode.NO_EVIDENCE
    return ExitCode.FINE if document["verdict"] == "passed" else ExitCode.FINDING


def missing(document: Mapping[str, Any]) -> list[str]:
    """Which log or line is missing, a sentence each, for the targets that could not be judged."""
    return list(dict.fromkeys(target["cause"] for target in document["targets"] if target["verdict"] == "unknown"))


# --- targets ---------------------------------------------------------------------------------------------------------


@dataclass
class _Group:
    """One server of a backend, with its cells at all balancers and of both families, and where its sessions went.

    Attributes:
        node: the listener that its sessions reach, as far as it is known.
        peers: addresses at that listener that stand for its clients.
        pairing: of its lone sessions with those of the peers.
        headers: header lines of that host that its refused sessions explain.
    """

    name: _Server
    cells: dict[CellKey, Cell] = field(default_factory=dict)
    node: Node | None = None
    peers: list[Peer] = field(default_factory=list)
    pairing: Pairing = NOTHING
    headers: list[HeaderLines] = field(default_factory=list)

    @property
    def joined(self) -> Counter[Node]:
        """Listeners that its joined sessions reached."""
        return sum((cell.nodes for cell in self.cells.values()), Counter())

    def span(self, fate: int) -> Span:
        """Its sessions of one fate."""
        return _sum(cell.spans[fate] for cell in self.cells.values())

    @property
    def alone(self) -> int:
        """Sessions that only the balancer saw."""
        return self.span(ALONE).count + self.span(REFUSED).count

    @property
    def times(self) -> Any:
        """Their start and end, of the first and of the last of them."""
        parts = [part for cell in self.cells.values() for part in (cell.alone.first, cell.refused.first)]
        return np.concatenate(parts)

    @property
    def clients(self) -> set[str]:
        """Some addresses of the clients of those sessions."""
        return set().union(*(cell.clients for cell in self.cells.values()))


def _judged(tally: Tally, signals: Signals) -> Iterator[_Verdict]:
    """The verdict of each target, in the order of their names."""
    groups: dict[_Server, _Group] = {}
    for key in sorted(tally.cells, key=_order):
        name = (key.frontend, key.backend, key.server)
        groups.setdefault(name, _Group(name)).cells[key] = tally.cells[key]
    _place(list(groups.values()), tally, signals)
    for group in groups.values():
        for family in dict.fromkeys(key.family for key in group.cells):
            cells = {key: cell for key, cell in group.cells.items() if key.family == family}
            yield _Verdict(group, family, cells, tally, signals)


def _order(names: Iterable[str | None]) -> list[str]:
    return [name or "" for name in names]


def _sum(spans: Iterable[Span]) -> Span:
    total = Span()
    for span in spans:
        total = total.join(span)
    return total


# --- which listener a server's sessions reach ----------------------------------------------------------------------------


def _place(groups: list[_Group], tally: Tally, signals: Signals) -> None:
    """Find the listener of each server: by joined sessions, by name, else by the company that its sessions keep."""
    hosts = _hosts_of_servers(groups, tally, signals)
    taken = {host for host in hosts.values() if host is not None}
    for group in sorted(groups, key=lambda one: -one.alone):
        joined = group.joined.most_common(1)
        group.node = joined[0][0] if joined else None
        host = group.node.mta_host if group.node else hosts.get(group.name[2])
        known = group.node is not None or group.name[2] in hosts
        if known:
            nodes = [node for node in tally.peers if node.mta_host == host]
        else:
            nodes = [node for node in tally.peers if node.mta_host not in taken] or list(tally.peers)
        if group.alone:
            _seek_headers(group, [host] if known else sorted({str(at) for at in signals.mail_hosts - taken}), signals)
        if group.alone and not group.headers:
            _seek_company(group, nodes, tally, known=known)
        if not known and group.node is not None:
            taken.add(group.node.mta_host)
            hosts[group.name[2]] = group.node.mta_host
        if group.node is None and known:
            group.node = _busiest(nodes, tally) or Node(host, None)


def _hosts_of_servers(groups: Sequence[_Group], tally: Tally, signals: Signals) -> dict[str | None, str | None]:
    """Mail server host of each of HAProxy's servers that joined sessions or names tell."""
    votes: dict[str | None, Counter[str | None]] = {}
    for group in groups:
        for node, count in group.joined.items():
            votes.setdefault(group.name[2], Counter())[node.mta_host] += count
    hosts = {server: counts.most_common(1)[0][0] for server, counts in votes.items()}
    mail_hosts = {node.mta_host for node in tally.peers} | signals.mail_hosts
    names = {_first_label(host): host for host in sorted(filter(None, mail_hosts))}
    for group in groups:
        server = group.name[2]
        if server not in hosts and server is not None and _first_label(server) in names:
            hosts[server] = names[_first_label(server)]
    unplaced = {group.name[2] for group in groups} - set(hosts)
    left = mail_hosts - set(hosts.values())
    if len(unplaced) == 1 and len(left) == 1:
        hosts[unplaced.pop()] = left.pop()
    elif not hosts and len(mail_hosts) == 1:
        hosts = dict.fromkeys(unplaced, next(iter(mail_hosts)))
    return hosts


def _first_label(name: str) -> str:
    return name.split(".", 1)[0].lower()


def _busiest(nodes: Sequence[Node], tally: Tally) -> Node | None:
    """The listener with the most sessions of addresses that may be a balancer's."""
    return max(nodes, key=lambda node: sum(peer.masked for peer in tally.peers[node].values()), default=None)


def _seek_headers(group: _Group, hosts: Sequence[str | None], signals: Signals) -> None:
    """Header lines that the group's refused sessions explain: of its host, of the same time, and enough of them."""
    refused = group.span(REFUSED)
    if refused.count < ENOUGH or 2 * refused.count < group.alone or refused.first is None or refused.last is None:
        return
    times = np.concatenate([cell.refused.first for cell in group.cells.values()])
    best: tuple[float, list[HeaderLines]] = (0.0, [])
    for host in hosts:
        lines = [one for one in signals.lines if one.meaning == REFUSED_LINES and one.mta_host == host]
        near = [one for one in lines if _overlap(one, refused)]
        count = sum(one.count for one in near)
        if count < ENOUGH or count < refused.count / 10:
            continue
        logged = np.array(sorted(at for one in near for at in one.times), np.int64)
        score = pair(times[:, [1, 1]], np.stack([logged, logged], axis=1)).share if len(logged) else 0.5
        best = max(best, (score + 1e-6, near), key=lambda found: found[0])
    group.headers = best[1]
    if group.headers and group.node is None:
        group.node = Node(group.headers[0].mta_host, group.headers[0].service)


def _overlap(lines: HeaderLines, span: Span, slack: int = 120 * 10**9) -> bool:
    if lines.first_at is None or lines.last_at is None or span.first is None or span.last is None:
        return False
    return lines.first_at <= span.last + slack and span.first - slack <= lines.last_at


def _seek_company(group: _Group, nodes: Sequence[Node], tally: Tally, *, known: bool) -> None:
    """The listener whose unexplained sessions fit the group's lone ones best, if any fits them."""
    best: tuple[float, Node, list[Peer], Pairing] | None = None
    for node in nodes:
        if group.node is not None and not _related(group.node, node, tally):
            continue
        peers = _stand_ins(group, node, tally)
        if not peers:
            continue
        pairing = pair(group.times, np.concatenate([peer.sample.first for peer in peers]))
        count = sum(peer.span.count for peer in peers)
        alike = min(count, group.alone) / max(count, group.alone, 1)
        fits = pairing.share >= PAIRED and (pairing.lift >= LIFT or (known and alike >= 1 - ALIKE) or _flagged(peers))
        score = pairing.share + pairing.lift + alike / 2
        if fits and (best is None or score > best[0]):
            best = score, node, peers, pairing
    if best is not None:
        _, node, group.peers, group.pairing = best
        group.node = group.node or node


def _related(one: Node, other: Node, tally: Tally) -> bool:
    """Whether sessions of one listener may appear as the other's: it is the same, or postscreen's smtpd."""
    return one == other or one.mta_host == other.mta_host


def _flagged(peers: Sequence[Peer]) -> bool:
    """Whether the joins already hold them for a balancer's."""
    count = sum(peer.span.count for peer in peers)
    return count > 0 and sum(peer.masked for peer in peers) >= count / 2


def _stand_ins(group: _Group, node: Node, tally: Tally) -> list[Peer]:
    """Addresses at a listener that may stand for the group's clients: those known to be a balancer's, else the busiest that is
    no client's own."""
    peers = [(address, peer) for address, peer in tally.peers[node].items() if address is not None and peer.span.count]
    known = [peer for _, peer in peers if 2 * peer.masked >= peer.span.count]
    if known:
        return known
    clients = group.clients
    others = [peer for address, peer in peers if address not in clients and peer.span.count >= ENOUGH]
    return sorted(others, key=lambda peer: -peer.span.count)[:1]


# --- one target ------------------------------------------------------------------------------------------------------


class _Verdict:
    """What is known of one target, and what follows from it."""

    def __init__(
        self, group: _Group, family: str | None, cells: dict[CellKey, Cell], tally: Tally, signals: Signals
    ) -> None:
        self.group, self.family, self.cells, self.tally, self.signals = group, family, cells, tally, signals
        fates = [_sum(cell.spans[fate] for cell in cells.values()) for fate in range(6)]
        self.sessions = _sum(fates).count
        self.alone = fates[ALONE].join(fates[REFUSED])
        self.spans = {
            "passed": fates[PASSED],
            "masked": fates[BY_PORT],
            "unexpected_header": fates[BY_TEXT],
            "missing_header": Span(),
        }
        self.inferred = 0
        self._explain_lone(fates)
        self._own_address()
        self.verdict, self.cause, self.confidence = self._judge()

    def _explain_lone(self, fates: Sequence[Span]) -> None:
        """Give the sessions that only the balancer saw to a verdict, if anything explains them."""
        if self.group.headers:
            self.spans["missing_header"] = fates[REFUSED]
            return
        if _header_first([*self.group.cells.values()]):
            self.spans["unexpected_header"] = self.spans["unexpected_header"].join(self.spans.pop("masked"))
            self.spans["masked"] = Span()
        if not self.group.peers:
            return
        pairing = self.group.pairing
        share = 1.0 if pairing.share > 1 - ALIKE else pairing.share
        paired = pairing.starts[pairing.paired]
        count = round(share * self.alone.count)
        self.inferred = count
        first = max(self.alone.first or 0, int(paired.min())) if share < 1 and len(paired) else self.alone.first
        span = Span(count, first, self.alone.last)
        what = "unexpected_header" if _header_first(self.group.peers) else "masked"
        self.spans[what] = self.spans[what].join(span)

    def _own_address(self) -> None:
        """A session of the balancer's own is no witness for the clients: it looks the same either way."""
        own = {
            address
            for node, peers in self.tally.peers.items()
            if self.group.node and node.mta_host == self.group.node.mta_host
            for address, peer in peers.items()
            if peer.masked
        }
        passed = self.spans["passed"]
        count = sum(
            gateway.count for cell in self.cells.values() for address, gateway in cell.gateways.items() if address in own
        )
        if count and self.spans["masked"].count:
            self.spans["passed"] = Span(max(0, passed.count - count), passed.first, passed.last)

    # --- the verdict -------------------------------------------------------------------------------------------------

    def _judge(self) -> tuple[str, str, float | None]:
        total = sum(span.count for span in self.spans.values())
        if not total:
            return self._without_joins()
        least = max(ENOUGH, MINOR * total if self.inferred else 0)
        kinds = [name for name, span in self.spans.items() if span.count >= least] or [self._most()]
        if "passed" in kinds and len(kinds) == 1 and (gateway := self._gateway()):
            return "masked_upstream", _CAUSES["masked_upstream"].format(gateway=gateway), self._certainty(total, 0.9)
        if len(kinds) == 1:
            cause = _CAUSES[kinds[0]].format(peer=self._peer_name(), lines=self._header_lines())
            return kinds[0], cause, self._certainty(total, 0.97 if self.inferred else 0.999)
        return "mixed", self._mixture(kinds), self._certainty(total, 0.95 if self.inferred else 0.999)

    def _most(self) -> str:
        return max(self.spans, key=lambda name: self.spans[name].count)

    def _certainty(self, total: int, most: float) -> float:
        """From 0 to 1: more sessions say it more surely, unexplained ones less."""
        unexplained = max(0, self.sessions - total)
        return round(most * (1 - 0.5 / (total + 1)) * (1 - 0.5 * unexplained / (self.sessions + 1)), 3)

    def _without_joins(self) -> tuple[str, str, float | None]:
        shared = self._shared_addresses()
        if shared is not None:
            self.spans["passed"] = self.alone
            return (
                "passed",
                f"The mail server names the clients' own addresses ({shared:.0%} of them appear in both logs), though their "
                "sessions could not be joined: the clocks may be far apart.",
                0.7,
            )
        return "unknown", self._what_is_missing(), None

    def _shared_addresses(self) -> float | None:
        clients = self.group.clients
        if len(clients) < ENOUGH or self.group.node is None:
            return None
        named = {
            address
            for node, peers in self.tally.peers.items()
            if node.mta_host == self.group.node.mta_host
            for address in peers
        }
        share = len(clients & named) / len(clients)
        return share if share >= SAME_ADDRESSES else None

    def _what_is_missing(self) -> str:
        frontend, backend, server = self.group.name
        name = f"{backend}/{server}"
        if not self.tally.mta_sessions and not self.signals.mail_hosts:
            return f"No line of Postfix was read: the mail log of the host behind {name} is missing."
        hosts = sorted(filter(None, {node.mta_host for node in self.tally.peers} | self.signals.mail_hosts))
        if self.group.node is None or not self.tally.mta_sessions:
            return (
                f"No session at a mail server fits the {self.alone.count} sessions of {frontend} to {name}; there are mail logs of "
                f"{', '.join(hosts) or 'no host'}. The mail log of the host behind {name}, for the same time, is missing."
            )
        return (
            f"{self.group.node.mta_host} logged no session that fits the {self.alone.count} sessions of {frontend} to {name}: "
            "its postscreen and smtpd lines (`CONNECT from`, `connect from`) of the same time are missing."
        )

    def _gateway(self) -> str | None:
        """A private address that nearly all clients share, under many names."""
        counts: Counter[str] = Counter()
        helos: dict[str, set[str]] = {}
        for cell in self.cells.values():
            for address, gateway in cell.gateways.items():
                counts[address] += gateway.count
                helos.setdefault(address, set()).update(gateway.helos)
        for address, count in counts.most_common(1):
            if (
                count >= max(GATEWAY_SESSIONS, GATEWAY_SHARE * self.spans["passed"].count)
                and len(helos[address]) >= GATEWAY_HELOS
            ):
                return address
        return None

    # --- words -------------------------------------------------------------------------------------------------------

    def _mixture(self, kinds: Sequence[str]) -> str:
        parts = [f"{self.spans[kind].count} {_PLAIN[kind]}" for kind in kinds]
        text = "Of the sessions " + ", ".join(parts) + "."
        order = sorted(kinds, key=lambda kind: self.spans[kind].first or 0)
        ends = [(self.spans[one].last, self.spans[other].first) for one, other in zip(order, order[1:], strict=False)]
        if all(last is not None and first is not None and last <= first for last, first in ends):
            changes = [f"from {_time(self.spans[kind].first)} {_PLAIN[kind]}" for kind in order[1:]]
            text += " It changed: " + ", ".join(changes) + "."
        balancers = self._by_balancer()
        return text + (f" {balancers}" if balancers else "")

    def _by_balancer(self) -> str:
        """Which balancers differ, where several have the target."""
        differs: dict[str | None, bool] = {}
        for key, cell in self.cells.items():
            differs[key.balancer] = cell.spans[PASSED].count == 0
        hidden = sorted(str(name) for name, bad in differs.items() if bad)
        return f"None passed through {', '.join(hidden)}." if hidden and len(hidden) < len(differs) else ""

    def _peer_name(self) -> str:
        if self.group.node is None:
            return "the balancer"
        peers = {
            address: peer.masked
            for node, found in self.tally.peers.items()
            if node.mta_host == self.group.node.mta_host
            for address, peer in found.items()
            if any(peer is one for one in self.group.peers)
        }
        return max(peers, key=lambda address: peers[address], default=None) or "the balancer"

    def _header_lines(self) -> int:
        return sum(lines.count for lines in self.group.headers)

    # --- the document --------------------------------------------------------------------------------------------------

    def document(self) -> _Target:
        """The target as the machine contract has it."""
        frontend, backend, server = self.group.name
        node = self.group.node or Node(None, None)
        wrong = _sum(span for name, span in self.spans.items() if name != "passed")
        if self.verdict == "masked_upstream":
            wrong = self.spans["passed"]
        finding = self.verdict not in ("passed", "unknown")
        return {
            "frontend": frontend,
            "backend": backend,
            "server": server,
            "mta_host": node.mta_host,
            "service": node.service,
            "family": self.family,
            "verdict": self.verdict,
            "cause": self.cause,
            "confidence": self.confidence,
            "share_masked": self._share_masked(),
            "since": _time(wrong.first) if finding else None,
            "until": _time(wrong.last) if finding else None,
            "evidence": self._evidence(),
            "remedy": self._remedy() if finding else [],
        }

    def _share_masked(self) -> float | None:
        """Share of the sessions in which the mail server saw another address than the client's."""
        total = sum(span.count for span in self.spans.values())
        if self.verdict == "masked_upstream":
            return 1.0
        if self.verdict in ("unknown", "missing_header") or not total:
            return None
        return round((self.spans["masked"].count + self.spans["unexpected_header"].count) / total, 4)

    def _evidence(self) -> dict[str, Any]:
        node = self.group.node
        here = self.tally.peers.get(node, {}).values() if node else ()
        joined = sum(sum(cell.nodes.values()) for cell in self.cells.values())
        peers = self.group.peers or list(here)
        return {
            "balancer_sessions": self.sessions,
            "mta_sessions": joined + sum(peer.span.count for peer in peers),
            "joined": joined,
            "passed": self.spans["passed"].count,
            "masked": self.spans["masked"].count,
            "header_unexpected": self.spans["unexpected_header"].count,
            "header_missing": self.spans["missing_header"].count,
            "header_errors": self._errors_here(),
            "balancer_only": self.alone.count,
            "mta_only": sum(peer.span.count for peer in peers),
            "health_checks": sum(peer.probes for peer in here),
            "examples": self._examples(),
        }

    def _errors_here(self) -> int:
        """Header lines of the target's listener, whether or not they are about its sessions."""
        if self.group.headers or self.group.node is None:
            return self._header_lines()
        lines = (one for one in self.signals.lines if one.meaning == REFUSED_LINES)
        return sum(one.count for one in lines if Node(one.mta_host, one.service) == self.group.node)

    def _examples(self) -> list[dict[str, Any]]:
        """Up to three lines that show it."""
        if self.verdict == "passed":
            return _places(self._of_cells(PASSED))[:1]
        found: list[dict[str, Any]] = []
        if self.spans["missing_header"].count:
            found += _texts(self.group.headers)[:2] + _places(self._of_cells(REFUSED))[:1]
        if self.spans["unexpected_header"].count:
            found += self._told()[:2] + _places(self._of_cells(BY_TEXT))[:1]
        if self.spans["masked"].count or self.inferred:
            found += _places(self._of_cells(BY_PORT))[:2]
            found += _places([place for peer in self.group.peers for place in peer.examples])[:2]
            found += _places(self._of_cells(ALONE, REFUSED))[:1]
        if not found:
            found = _places(self._of_cells(*range(6)))
        return found[:3]

    def _told(self) -> list[dict[str, Any]]:
        host = self.group.node.mta_host if self.group.node else None
        return _texts([one for one in self.signals.lines if one.meaning == TOLD and one.mta_host == host])

    def _of_cells(self, *fates: int) -> list[Place]:
        return [place for cell in self.cells.values() for fate in fates for place in cell.examples.get(fate, [])]

    def _remedy(self) -> list[str]:
        node = self.group.node or Node(None, None)
        subject = remedy.Subject(self.group.name[1], self.group.name[2], node.mta_host, node.service)
        if self.verdict == "masked_upstream":
            return remedy.masked_upstream(self._gateway() or "the gateway")
        if self.verdict == "unexpected_header" or (self.verdict == "mixed" and self.spans["unexpected_header"].count >= ENOUGH):
            return remedy.unexpected_header(subject)
        if self.verdict == "missing_header" or (self.verdict == "mixed" and self.spans["missing_header"].count >= ENOUGH):
            return remedy.missing_header(subject)
        return remedy.masked(subject)


_CAUSES = {
    "passed": "The mail server logs the clients' own addresses.",
    "masked": "The mail server logs {peer} where the clients' addresses should be: the balancer sends no PROXY header, and the "
    "listener expects none.",
    "unexpected_header": "The balancer sends a PROXY header that the listener does not expect: it takes it for the client's first "
    "command, and refuses or drops the mail.",
    "missing_header": "The listener expects a PROXY header that the balancer does not send: it refuses every session after "
    "waiting for it ({lines} lines `haproxy read: …`).",
    "masked_upstream": "Balancer and mail server agree, but on {gateway}, under whose one private address many different "
    "clients come: they are masked before they reach the balancer.",
}
_PLAIN = {
    "passed": "came with the client's address",
    "masked": "came with the balancer's",
    "unexpected_header": "had a PROXY header that was not expected",
    "missing_header": "were refused for want of a PROXY header",
}


def _header_first(counted: Sequence[Cell] | Sequence[Peer]) -> bool:
    """Whether nearly every session that said anything began with an unknown command."""
    said = sum(one.said for one in counted)
    return said >= ENOUGH and sum(one.header_first for one in counted) >= HEADER_FIRST * said


def _places(places: Iterable[Place]) -> list[dict[str, Any]]:
    return [{"source": place.source, "line_number": place.line_number} for place in places]


def _texts(lines: Iterable[HeaderLines]) -> list[dict[str, Any]]:
    return [
        {"source": example.source, "line_number": example.line_number, "text": example.text}
        for one in lines
        for example in one.examples
    ]


def _time(ns: int | None) -> str | None:
    """RFC 3339, milliseconds, UTC."""
    if ns is None:
        return None
    seconds, rest = divmod(ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 10**6:03d}Z"


# --- nothing to judge ------------------------------------------------------------------------------------------------


def _without_targets(tally: Tally, signals: Signals) -> list[_Target]:
    """Listeners that cannot be judged, because no balancer session reached a server."""
    nodes = sorted(tally.peers, key=_order) or [Node(None, None)]
    return [_unjudged(node, tally, signals) for node in nodes]


def _unjudged(node: Node, tally: Tally, signals: Signals) -> _Target:
    peers = tally.peers.get(node, {})
    count = sum(peer.span.count for peer in peers.values())
    if tally.balancer_sessions:
        cause = (
            f"None of the {tally.balancer_sessions} sessions in the balancer's log reached a server. "
            "Lines of sessions that did are missing."
        )
    elif signals.balancer_hosts:
        cause = (
            "HAProxy's lines hold no sessions: `option tcplog` (or a log-format with client, frontend and server) is missing."
        )
    else:
        cause = "No line of HAProxy was read: the balancer's log is missing."
    if not peers and not signals.mail_hosts:
        cause += " No line of Postfix was read, either."
    busiest = max(peers, key=lambda address: peers[address].span.count, default=None)
    if busiest is not None and count >= GATEWAY_SESSIONS and peers[busiest].span.count >= GATEWAY_SHARE * count:
        cause += f" Suspected: {busiest} carries {peers[busiest].span.count} of {count} sessions, as a balancer's would."
    errors = sum(one.count for one in signals.lines if one.meaning == REFUSED_LINES and one.mta_host == node.mta_host)
    return {
        "frontend": None,
        "backend": None,
        "server": None,
        "mta_host": node.mta_host,
        "service": node.service,
        "family": None,
        "verdict": "unknown",
        "cause": cause,
        "confidence": None,
        "share_masked": None,
        "since": None,
        "until": None,
        "evidence": {
            "balancer_sessions": tally.balancer_sessions,
            "mta_sessions": count,
            "joined": 0,
            "passed": 0,
            "masked": 0,
            "header_unexpected": 0,
            "header_missing": 0,
            "header_errors": errors,
            "balancer_only": tally.balancer_sessions,
            "mta_only": count,
            "health_checks": sum(peer.probes for peer in peers.values()),
            "examples": _places(place for peer in peers.values() for place in peer.examples)[:3],
        },
        "remedy": [],
    }
