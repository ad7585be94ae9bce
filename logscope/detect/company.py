"""Sessions that only the balancer saw, held against sessions at a listener that no balancer session explains.

They are the same sessions, with the clients hidden behind one address, if they begin and end together and
that is no chance, or if the listener saw nobody else in the meantime. An address that has its own sessions in
the balancer's log is a client like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import SECOND
from logscope.detect.pairing import Pairing, pair
from logscope.detect.sample import Sample, Times
from logscope.detect.tally import SEEN, UNCLEAR, Cell, Peer

ENOUGH = 3
"""Sessions below which a kind is taken for an accident (a port reused, a client past the balancer)."""
PAIRED = 0.6
"""Share of the smaller side that must find a partner."""
PAIRED_LATE = 0.3
"""The same where everything else speaks for it."""
LIFT = 0.2
"""By how much that must be more than chance, …"""
LUCK = 0.001
"""… which would bring about as many pairs no more often than this."""
INSTEAD = 0.8
"""Or: share of the target's sessions, in the time of the address's, that only the balancer saw, …"""
ALIKE = 0.6
"""… and the address's sessions for each of these; there may be more, for health checks are among them."""
NAMES = 3
"""Or: names under which the address's sessions come, where the counts are alike: it is not one host."""
MOST_CLOCK = 10 * SECOND
"""Clocks that differ by more must show it by pairs."""
SAME_MOMENT = 10 * SECOND
"""So far apart two logs may have the begin of one session where the clocks are known."""
CANDIDATES = 4
"""Busiest addresses of a listener that are looked at."""


@dataclass(frozen=True)
class Lone:
    """Sessions of one or more targets that only the balancer saw.

    Attributes:
        times: start and end, in order of the starts.
        dates: when each was accepted.
        owner: which target each is of.
        clients: the address of each session's client.
        thinning: of the samples that these are from.
        seen: starts of sessions left out because the mail server saw their clients.
        own: sessions of each client, those left out included.
        before: how many of each target were left out because they began before the mail server's log did;
            what was under way then has its first line anywhere.
    """

    times: Times
    dates: NDArray[np.int64]
    owner: NDArray[np.int64]
    clients: list[str | None]
    thinning: int
    seen: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    own: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[int, int] = field(default_factory=Counter)

    @classmethod
    def of(cls, samples: Sequence[Sequence[Sample]], thinning: int = 0) -> Lone:
        """From the samples of each target."""
        thinning = max([thinning, *(one.thinning for some in samples for one in some)])
        parts = [(owner, one) for owner, some in enumerate(samples) for one in some]
        times = np.concatenate([np.empty((0, 2), np.int64), *(one.times(thinning) for _, one in parts)])
        dates = np.concatenate([np.empty(0, np.int64), *(one.dates(thinning) for _, one in parts)])
        owners = [np.full(len(one.times(thinning)), owner, np.int64) for owner, one in parts]
        owner = np.concatenate([np.empty(0, np.int64), *owners])
        clients = [address for _, one in parts for address in one.addresses(thinning)]
        order = np.argsort(times[:, 0], kind="stable")
        return cls(
            times[order], dates[order], owner[order], [clients[place] for place in order.tolist()], thinning
        )

    def since(self, first: int) -> Lone:
        """Without those that began before a moment, the begin of the mail server's log."""
        keep = self.times[:, 0] >= first
        return replace(
            self,
            times=self.times[keep],
            dates=self.dates[keep],
            owner=self.owner[keep],
            clients=[client for client, kept in zip(self.clients, keep.tolist(), strict=True) if kept],
            before=Counter(self.owner[~keep].tolist()),
        )

    def without(
        self, explained: Mapping[str, int], moments: Mapping[str, NDArray[np.int64]] | None = None
    ) -> Lone:
        """Without as many sessions of clients as the mail server has of the same address, unexplained.

        Args:
            moments: when those of each client began, in order, by the balancer's clock; None where the clocks
                may be far apart. Pieces of sessions whose lines were lost are unexplained, too, but at other
                moments.
        """
        left = Counter(explained)
        keep = np.ones(len(self.times), np.bool_)
        for place, client in enumerate(self.clients):
            if client is None or (moments is not None and not self._is_near(place, moments.get(client))):
                continue
            if left[client] > 0:
                left[client] -= 1
                keep[place] = False
        clients = [client for client, kept in zip(self.clients, keep.tolist(), strict=True) if kept]
        own = Counter(client for client in self.clients if client is not None)
        return Lone(
            self.times[keep],
            self.dates[keep],
            self.owner[keep],
            clients,
            self.thinning,
            self.times[~keep, 0],
            own,
            self.before,
        )

    def _is_near(self, place: int, moments: NDArray[np.int64] | None) -> bool:
        if moments is None:
            return False
        start = self.times[place, 0]
        first, last = np.searchsorted(moments, (start - SAME_MOMENT, start + SAME_MOMENT))
        return bool(last > first)


@dataclass(frozen=True)
class Fit:
    """Lone sessions that the sessions of some addresses explain.

    Attributes:
        addresses: those that stand for the clients.
        pairing: of the lone sessions with those of the addresses.
        score: to choose the best of several.
    """

    addresses: tuple[str, ...]
    pairing: Pairing
    score: float


def fits(
    lone: Lone,
    peers: Mapping[str | None, Peer],
    cells: Iterable[Cell],
    known: frozenset[str],
    clocks: Sequence[int],
) -> Fit | None:
    """The addresses of a listener that stand for the clients of lone sessions, if any do.

    Args:
        peers: the listener's.
        cells: all sessions of the targets.
        known: addresses that are a balancer's.
        clocks: ns by which the mail server's clock may be behind.
    """
    cells = list(cells)
    best: Fit | None = None
    for addresses in _candidates(lone, peers, known):
        found = _fit(lone, addresses, peers, cells, flagged=known.issuperset(addresses), clocks=clocks)
        if found is not None and (best is None or found.score > best.score):
            best = found
    return best


def _candidates(lone: Lone, peers: Mapping[str | None, Peer], known: frozenset[str]) -> list[tuple[str, ...]]:
    """Sets of addresses: those known to be a balancer's, the busiest others each and all together."""
    counts = {
        address: peer.span.count
        for address, peer in peers.items()
        if address is not None
        and peer.span.count
        and 2 * lone.own.get(address, 0) < max(ENOUGH, peer.span.count)
    }
    sure = tuple(sorted(address for address in counts if address in known))
    others = sorted((one for one in counts if one not in known), key=lambda one: (-counts[one], one))[
        :CANDIDATES
    ]
    sets = [sure, *((one,) for one in others), tuple(others[:2])]
    sets += [(*sure, one) for one in others] if sure else []
    wanted = [some for some in sets if sum(counts[one] for one in some) >= ENOUGH]
    return list(dict.fromkeys(wanted))


def _fit(
    lone: Lone,
    addresses: tuple[str, ...],
    peers: Mapping[str | None, Peer],
    cells: Sequence[Cell],
    *,
    flagged: bool,
    clocks: Sequence[int],
) -> Fit | None:
    """With all sessions of the addresses or without those that may be health checks, what fits better."""
    some = [peers[address] for address in addresses]
    several = len(set().union(*(one.names.different for one in some))) >= NAMES
    best: Fit | None = None
    for samples in (
        [sample for one in some for sample in (one.sample, one.quiet)],
        [one.sample for one in some],
    ):
        thinning = max(lone.thinning, *(one.thinning for one in samples))
        other = np.concatenate([one.times(thinning) for one in samples])
        other = other[np.argsort(other[:, 0], kind="stable")]
        pairing = pair(lone.times, other, clocks)
        if pairing is None or pairing.count < ENOUGH:
            continue
        instead = _instead(lone, pairing, other, cells, thinning)
        alike = min(pairing.share_one, pairing.share_other)
        together = beyond_chance(pairing, known=flagged)
        # Where machines are slow many pairs are missed; of a balancer's address, with nobody else about, half
        # of them will do.
        if pairing.share < (PAIRED_LATE if flagged and instead and together else PAIRED):
            continue
        if not together and not instead and not (several and alike >= ALIKE):
            continue
        score = pairing.lift + pairing.share + alike + instead / 2
        if best is None or score > best.score:
            best = Fit(addresses, pairing, score)
    return best


def beyond_chance(pairing: Pairing, *, known: bool = False) -> bool:
    """Whether so many pairs are no accident; of an address that is a balancer's less is asked."""
    return pairing.lift >= (LIFT / 2 if known else LIFT) and pairing.luck <= (20 * LUCK if known else LUCK)


def _instead(lone: Lone, pairing: Pairing, other: Times, cells: Sequence[Cell], thinning: int) -> bool:
    """Whether the listener saw nearly nobody else of the targets' clients in the time of the addresses'."""
    if abs(pairing.clock_ns) > MOST_CLOCK:
        return False  # the time that one log lacks would be taken for one in which nobody came
    theirs = other[pairing.other, 0] + pairing.clock_ns
    first, last = int(theirs.min()) - SECOND, int(theirs.max()) + SECOND
    seen = sum(cell.timeline.count([*SEEN, UNCLEAR], first, last) for cell in cells) / (1 << thinning)
    seen += int(((lone.seen >= first) & (lone.seen <= last)).sum())
    mine = int(pairing.one.sum())
    return len(theirs) >= ALIKE * mine and mine >= INSTEAD * (mine + seen)
