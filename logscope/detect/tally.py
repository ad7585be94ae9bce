"""Sessions counted by what masking is judged by: the balancer's targets, and the mail servers' listeners and
peers.

Memory grows with the number of targets and listeners, not with the number of sessions: of each a bounded
sample of times, of addresses and of HELO names is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logscope.correlate.layout import NULL, SECOND
from logscope.detect.effects import Effects, Marks, lists_with, pairs, refused
from logscope.detect.sample import Sample
from logscope.detect.timeline import Timeline

READS = (
    "balancer", "frontend", "backend", "server", "mta_host", "service", "client_address", "client_known_from",
    "peer_address", "masked", "outcome", "accepted_at", "queue_ms", "connect_ms", "mta_connected_at",
    "ended_at", "duration_ms", "bytes_to_client", "commands", "helo", "join_confidence", "screen",
    "dnsbl_rank", "rejects", "destination_logged", "screen_tests",
    "peer_port",
)  # fmt: skip
"""Columns of `sessions` that are read. `events`, where it is there, gives example lines."""

PASSED, INNER, BY_PORT, BY_TEXT, CUT, UNCLEAR, ALONE, REFUSED = range(8)
"""What became of a balancer session: joined and seen as the client; the same, and the client has a private
address, which may be a gateway's; joined by the balancer's own port, or by
the text of an unexpected header (both: seen as the balancer); joined by the port, and it looks like a refusal
for want of a header; of several that fit at the mail server it is not clear which is its own; seen by the
balancer alone; the same, and it looks like such a refusal."""
FATES = 8
SEEN = (PASSED, INNER)
"""Fates in which the mail server saw the client that the balancer saw."""
QUIET = ("probe", "no_mail", "aborted")
"""Outcomes of health checks; of hasty clients, too."""
QUIET_S = 1
CLIMB = 64
"""Ports that a host takes for other connections between two to the same listener, at most."""

REFUSAL_BYTES = 300
"""A refusal is one line: `421 4.3.2 No system resources` of postscreen, `421 4.3.0 host Server local error`
of smtpd."""
REFUSAL_MS = 30_000
"""Both come after postscreen_upstream_proxy_timeout or smtpd_upstream_proxy_timeout, 5 s unless
configured."""

MOST_ADDRESSES = 4096
MOST_GATEWAYS = 64
MOST_NAMES = 64
MOST_EXAMPLES = 3
MOST_DESTINATIONS = 8
PRIVATE = (
    r"^(10\.|127\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\."
    r"|169\.254\.|::1$|f[cd]|fe[89ab])"
)
"""Addresses of private, shared, link-local and loopback networks (RFC 1918, 4193, 6598), in canonical
text."""


class CellKey(NamedTuple):
    """A target as one balancer sees it; `family` is that of the client."""

    balancer: str | None
    frontend: str | None
    backend: str | None
    server: str | None
    family: str | None


class Node(NamedTuple):
    """A listener of a mail server."""

    mta_host: str | None
    service: str | None


class Place(NamedTuple):
    """Where a line stands."""

    source: str
    line_number: int


@dataclass
class Span:
    """How many, the first and the last: ns since 1970."""

    count: int = 0
    first: int | None = None
    last: int | None = None

    def add(self, count: int, times: NDArray[np.int64]) -> None:
        """Count some more."""
        self.count += count
        times = times[times != NULL]
        if len(times):
            first, last = int(times.min()), int(times.max())
            self.first = first if self.first is None else min(self.first, first)
            self.last = last if self.last is None else max(self.last, last)

    def join(self, other: Span) -> Span:
        """Both together."""
        firsts = [at for at in (self.first, other.first) if at is not None]
        lasts = [at for at in (self.last, other.last) if at is not None]
        return Span(self.count + other.count, min(firsts, default=None), max(lasts, default=None))


@dataclass
class Names:
    """What the clients of one address call themselves (HELO), as far as lines name it.

    Login names would not do: webmail logs many users in, from one host.

    Attributes:
        count: sessions that named themselves.
        different: some of the names.
    """

    count: int = 0
    different: set[str] = field(default_factory=set)

    def add(self, count: int, names: Iterable[str]) -> None:
        """Take in some sessions' names."""
        self.count += count
        if len(self.different) < MOST_NAMES:
            self.different.update(names)


@dataclass
class Gateway:
    """A private address that clients come from."""

    count: int = 0
    names: Names = field(default_factory=Names)


@dataclass
class Cell:
    """The sessions of one target at one balancer.

    Attributes:
        spans: by what became of them, `PASSED` to `REFUSED`.
        nodes: listeners that the joined ones reached.
        passed: of the passed ones, by listener.
        timed: passed ones joined by address and time alone.
        hidden_by_time: masked ones joined by time alone: some are another target's.
        timeline: what became of them, in time.
        lone: start and end of those without a partner.
        refused: of those that look like refusals, joined or not.
        said, header_first: masked ones whose disconnect counters are known, and those with a refused unknown
        command.
        destinations, hidden_destinations: where the sessions with the client's address came to, as postscreen
            logs it, and those with the balancer's; a few.
        behind: addresses that the mail server saw in the clients' place, in joined sessions.
        effects, seen_effects: what was done to masked sessions, and to those whose client was seen.
        examples: places of lines, by what became of the session.
    """

    spans: list[Span] = field(default_factory=lambda: [Span() for _ in range(FATES)])
    nodes: Counter[Node] = field(default_factory=Counter)
    passed: dict[Node, Span] = field(default_factory=dict)
    timed: int = 0
    hidden_by_time: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    lone: Sample = field(default_factory=Sample)
    refused: Sample = field(default_factory=Sample)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    said: int = 0
    header_first: int = 0
    destinations: set[str] = field(default_factory=set)
    hidden_destinations: set[str] = field(default_factory=set)
    behind: Counter[str] = field(default_factory=Counter)
    effects: Effects = field(default_factory=Effects)
    seen_effects: Effects = field(default_factory=Effects)
    examples: dict[int, list[Place]] = field(default_factory=dict)


@dataclass
class Peer:
    """Sessions of one address at one listener that no balancer session explains.

    Attributes:
        span: all but health checks.
        masked: those that the joins hold for a balancer's.
        probes: health checks.
        climbs: those whose port is a little above the one before, as one host's are; of `steps`.
        early: those that spoke before the greeting.
        quiet: sessions that were as short and silent as health checks.
        checks: when the health checks were.
        names: what its sessions call themselves.
        destinations: where its sessions came to, as postscreen logs it; a few.
        said, header_first, effects: as in `Cell`.
        examples: places of lines.
    """

    span: Span = field(default_factory=Span)
    masked: int = 0
    climbs: int = 0
    steps: int = 0
    early: int = 0
    probes: int = 0
    sample: Sample = field(default_factory=Sample)
    quiet: Sample = field(default_factory=Sample)
    checks: Sample = field(default_factory=Sample)
    destinations: set[str] = field(default_factory=set)
    names: Names = field(default_factory=Names)
    said: int = 0
    header_first: int = 0
    effects: Effects = field(default_factory=Effects)
    examples: list[Place] = field(default_factory=list)


class Tally:
    """Counts of finished sessions.

    Attributes:
        cells: targets, by balancer.
        peers: addresses that came to a listener in sessions that no balancer session explains.
        gateways: private addresses of clients that the mail server sees.
        hidden_behind: addresses that joined sessions had at the mail server in their clients' place.
        unreached: sessions of the balancer that reached no server.
    """

    def __init__(self) -> None:
        self.cells: dict[CellKey, Cell] = {}
        self.peers: dict[Node, dict[str | None, Peer]] = {}
        self.gateways: dict[str, Gateway] = {}
        self.hidden_behind: Counter[str] = Counter()
        self.unreached = 0
        self.balancer_sessions = 0
        self.mta_sessions = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Count one batch of sessions with the columns `READS`."""
        if not batch.num_rows:
            return
        rows = _Rows(batch)
        self.balancer_sessions += int(rows.balancer.sum())
        self.mta_sessions += int(rows.mta.sum())
        self.unreached += int((rows.balancer & ~rows.reached).sum())
        names = ("balancer", "frontend", "backend", "server")
        for (balancer, frontend, backend, server), here in rows.groups(names, rows.balancer & rows.reached):
            for family, version in (("IPv4", ~rows.six), ("IPv6", rows.six)):
                some = here[version[here]]
                if len(some):
                    self._add_cell(
                        self._cell(CellKey(balancer, frontend, backend, server, family)), rows, some
                    )
        for (host, service, address), here in rows.groups(
            ("mta_host", "service", "peer_address"), rows.mta & ~rows.balancer
        ):
            self._add_peer(Node(host, service), address, rows, here)

    def _cell(self, key: CellKey) -> Cell:
        return self.cells.setdefault(key, Cell())

    def _add_cell(self, cell: Cell, rows: _Rows, here: NDArray[np.int64]) -> None:
        fates = rows.fate[here]
        for fate in np.unique(fates).tolist():
            some = here[fates == fate]
            cell.spans[fate].add(len(some), rows.accepted_at[some])
            rows.take_examples(cell.examples.setdefault(fate, []), some)
        joined = here[fates < ALONE]
        for node, some in rows.by_node(joined):
            cell.nodes[node] += len(some)
            passed = some[rows.fate[some] <= INNER]
            cell.passed.setdefault(node, Span()).add(len(passed), rows.accepted_at[passed])
        seen = here[fates <= INNER]
        cell.timed += int(rows.timed[seen].sum())
        hidden = here[(fates == BY_PORT) | (fates == CUT) | (fates == BY_TEXT)]
        self._add_hidden(cell, rows, hidden)
        cell.hidden_by_time += int(rows.timed[hidden].sum())
        cell.seen_effects.add(rows.marks, seen)
        rows.take_destinations(cell.destinations, seen)
        rows.take_destinations(cell.hidden_destinations, hidden)
        masked = here[(fates == BY_PORT) | (fates == CUT)]
        cell.said += int(rows.said[masked].sum())
        cell.header_first += int(rows.header_first[masked].sum())
        cell.timeline.add(rows.accepted_at[here], fates)
        lone = here[fates >= ALONE]
        cell.lone.add(
            rows.balancer_times[lone],
            lambda places: rows.texts("client_address", lone[places]),
            rows.accepted_at[lone],
        )
        refused = here[(fates == REFUSED) | (fates == CUT)]
        cell.refused.add(rows.balancer_times[refused], dates=rows.accepted_at[refused])
        for gateways in (cell.gateways, self.gateways):
            self._add_gateways(gateways, rows, here[fates == INNER])

    def _add_hidden(self, cell: Cell, rows: _Rows, hidden: NDArray[np.int64]) -> None:
        cell.effects.add(rows.marks, hidden)
        for (address,), here in rows.groups(("peer_address",), _mask(len(rows.fate), hidden)):
            if address is not None and len(self.hidden_behind) < MOST_ADDRESSES:
                cell.behind[address] += len(here)
                self.hidden_behind[address] += len(here)

    def _add_gateways(self, gateways: dict[str, Gateway], rows: _Rows, inner: NDArray[np.int64]) -> None:
        for (address,), here in rows.groups(("client_address",), _mask(len(rows.fate), inner)):
            if address is None or (address not in gateways and len(gateways) >= MOST_GATEWAYS):
                continue
            gateway = gateways.setdefault(address, Gateway())
            gateway.count += len(here)
            rows.take_names(gateway.names, here)

    def _add_peer(self, node: Node, address: str | None, rows: _Rows, here: NDArray[np.int64]) -> None:
        peers = self.peers.setdefault(node, {})
        if address not in peers and len(peers) >= MOST_ADDRESSES:
            busiest = sorted(peers, key=lambda name: -peers[name].span.count)[: MOST_ADDRESSES // 2]
            peers = self.peers[node] = {name: peers[name] for name in busiest}
        peer = peers.setdefault(address, Peer())
        probes = rows.probe[here]
        peer.probes += int(probes.sum())
        checks = rows.connected_at[here[probes]]
        peer.checks.add(np.stack([checks, checks], axis=1))
        some = here[~probes]
        rows.take_destinations(peer.destinations, some)
        peer.span.add(len(some), rows.connected_at[some])
        peer.masked += int(rows.masked[some].sum())
        apart = np.diff(rows.peer_port[some][np.argsort(rows.connected_at[some], kind="stable")])
        peer.climbs += int(((apart > 0) & (apart <= CLIMB)).sum())
        peer.steps += int((rows.peer_port[some] != NULL).sum() and len(apart))
        peer.early += int(rows.early[some].sum())
        peer.effects.add(rows.marks, some)
        peer.said += int(rows.said[some].sum())
        peer.header_first += int(rows.header_first[some].sum())
        quiet = rows.quiet[some]
        for sample, part in ((peer.quiet, some[quiet]), (peer.sample, some[~quiet])):
            sample.add(np.stack([rows.connected_at[part], rows.ended_at[part]], axis=1))
        rows.take_names(peer.names, some)
        rows.take_examples(peer.examples, some)


class _Rows:
    """One batch as numpy columns; each is bool[n] or int64[n] (times in ns since 1970, NULL unknown)."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._codes: dict[str, tuple[NDArray[np.int64], list[Any]]] = {}
        self.accepted_at = self._integers("accepted_at")
        self.connected_at = self._integers("mta_connected_at")
        self.ended_at = self._integers("ended_at")
        self.balancer = ~np.asarray(pc.is_null(batch.column("frontend")))
        self.mta = self.connected_at != NULL
        self.reached = ~np.asarray(pc.is_null(batch.column("server")))
        self.six = self._matches("client_address", pc.match_substring, ":")
        self.private = self._matches("client_address", pc.match_substring_regex, PRIVATE)
        self.masked = self._true(batch.column("masked"))
        self.probe = self._equal("outcome", "probe")
        self.timed = self._equal("client_known_from", "timing")
        self.said, self.header_first = _commands(batch.column("commands"))
        self.peer_port = self._integers("peer_port")
        self.early = lists_with(batch.column("screen_tests"), "pregreet")
        self.marks = Marks(batch)
        self.fate = self._fates()
        ended_soon = (self.ended_at != NULL) & (self.ended_at - self.connected_at <= QUIET_S * SECOND)
        self.quiet = ended_soon & np.logical_or.reduce([self._equal("outcome", word) for word in QUIET])
        waited = np.maximum(self._integers("queue_ms"), 0) + np.maximum(self._integers("connect_ms"), 0)
        started = np.where(self.accepted_at == NULL, NULL, self.accepted_at + waited * 1_000_000)
        self.balancer_times = np.stack([started, self.ended_at], axis=1)

    def _fates(self) -> NDArray[np.int64]:
        client, peer = self._batch.column("client_address"), self._batch.column("peer_address")
        # A transparent balancer's own address is its client's: that such a port joins says nothing.
        seen = self._true(pc.invert(self._batch.column("masked"))) | self._true(pc.equal(client, peer))
        by_text = self._equal("client_known_from", "header_text")
        size, duration = self._integers("bytes_to_client"), self._integers("duration_ms")
        refusal = (size != NULL) & (size <= REFUSAL_BYTES) & (duration != NULL) & (duration <= REFUSAL_MS)
        alone = self.balancer & ~self.mta & ~self._equal("join_confidence", "ambiguous")
        return np.select(
            [
                alone & refusal,
                alone,
                by_text,
                seen & self.private,
                seen,
                self.masked & refusal & ~self.said,
                self.masked,
            ],
            [REFUSED, ALONE, BY_TEXT, INNER, PASSED, CUT, BY_PORT],
            UNCLEAR,
        )

    # --- columns --------------------------------------------------------------------------------------------

    def _integers(self, name: str) -> NDArray[np.int64]:
        return np.asarray(pc.fill_null(self._batch.column(name).cast(pa.int64()), NULL))

    def _true(self, column: pa.Array) -> NDArray[np.bool_]:
        return np.asarray(pc.fill_null(column, False))

    def _dictionary(self, name: str) -> tuple[NDArray[np.int64], list[Any]]:
        """Codes of a column's texts, -1 for null, and the texts."""
        if name not in self._codes:
            encoded = self._batch.column(name)
            if not pa.types.is_dictionary(encoded.type):
                encoded = encoded.dictionary_encode()
            codes = np.asarray(pc.fill_null(encoded.indices.cast(pa.int64()), -1))
            self._codes[name] = codes, encoded.dictionary.to_pylist()
        return self._codes[name]

    def _matches(self, name: str, test: Callable[..., pa.Array], pattern: str) -> NDArray[np.bool_]:
        codes, texts = self._dictionary(name)
        found = np.append(np.asarray(test(pa.array(texts, pa.string()), pattern), np.bool_), False)
        return found[codes]

    def _equal(self, name: str, word: str) -> NDArray[np.bool_]:
        codes, texts = self._dictionary(name)
        return codes == texts.index(word) if word in texts else np.zeros(len(codes), np.bool_)

    # --- groups ---------------------------------------------------------------------------------------------

    def groups(
        self, names: Sequence[str], mask: NDArray[np.bool_]
    ) -> Iterator[tuple[tuple[Any, ...], NDArray[np.int64]]]:
        """The rows of each combination of values of some text columns."""
        rows = np.flatnonzero(mask)
        if not len(rows):
            return
        columns = [self._dictionary(name) for name in names]
        combined = np.zeros(len(rows), np.int64)
        for codes, texts in columns:
            combined = (
                np.unique(combined, return_inverse=True)[1].reshape(-1) * (len(texts) + 1) + codes[rows] + 1
            )
        order = np.argsort(combined, kind="stable")
        cuts = np.flatnonzero(np.diff(combined[order])) + 1
        for part in np.split(rows[order], cuts):
            row = int(part[0])
            yield tuple(texts[codes[row]] if codes[row] >= 0 else None for codes, texts in columns), part

    def by_node(self, rows: NDArray[np.int64]) -> Iterator[tuple[Node, NDArray[np.int64]]]:
        """Those of some rows that each listener had."""
        for (host, service), here in self.groups(("mta_host", "service"), _mask(len(self.fate), rows)):
            yield Node(host, service), here

    def texts(self, name: str, rows: NDArray[np.int64]) -> list[Any]:
        """A text column in some rows."""
        codes, texts = self._dictionary(name)
        return [texts[code] if code >= 0 else None for code in codes[rows].tolist()]

    def unique(self, name: str, rows: NDArray[np.int64]) -> list[Any]:
        """The texts of a column in some rows, null left out."""
        codes, texts = self._dictionary(name)
        return [texts[code] for code in np.unique(codes[rows]).tolist() if code >= 0]

    def take_names(self, names: Names, rows: NDArray[np.int64]) -> None:
        """Add what the clients of some rows call themselves."""
        codes, texts = self._dictionary("helo")
        said = codes[rows]
        said = said[said >= 0]
        names.add(len(said), (texts[code] for code in np.unique(said).tolist()))

    def take_destinations(self, destinations: set[str], rows: NDArray[np.int64]) -> None:
        """Add where the sessions of some rows came to, until there are enough."""
        if len(destinations) < MOST_DESTINATIONS:
            destinations.update(self.unique("destination_logged", rows)[:MOST_DESTINATIONS])

    def take_examples(self, examples: list[Place], rows: NDArray[np.int64]) -> None:
        """Add the first line in each log of some of the rows, until there are enough."""
        if "events" not in self._batch.schema.names:
            return
        for row in rows[: max(0, MOST_EXAMPLES - len(examples))].tolist():
            first: dict[str, Place] = {}
            for event in self._batch.column("events")[row].as_py() or []:
                first.setdefault(event["source"], Place(event["source"], event["line_number"]))
            examples += first.values()


def _mask(count: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(count, np.bool_)
    mask[rows] = True
    return mask


def _commands(column: pa.Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """bool[n] each: the disconnect counters name a command; and they name an unknown one that was refused,
    as a header is."""
    named = np.asarray(pc.fill_null(pc.list_value_length(pairs(column)), 0)) > 0
    return named, refused(column, "unknown") > 0
