"""Which addresses are a balancer's: those that stand for many clients at a mail server.

An address is learnt from an exact join (the server logged the balancer's own port, or the text of an
unexpected PROXY header named a client whose balancer session exists), from the configuration, from the
company it keeps (its sessions at a server match no client of the balancer's log, while balancer sessions
of other clients that match nothing start at the same moments), or from health checks (a private address
that never says anything, at short and regular intervals).

Either side of a session may be handed out minutes before the other, so what is unexplained is remembered
for a while; all of it is bounded by the constants below.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import *

if TYPE_CHECKING:
    from logscope.correlate.finished import FinishedSessions

Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]
Key = tuple[int, int, int]
"""Host number of the mail server and halves of the address that it logged."""

ENOUGH = 3  # sessions of an address at a host before company counts
SHARE = 0.8  # of them must start together with a balancer session that nobody else explains
TOGETHER = 2 * SECOND
CHANCE = 0.5  # of the share that shifted clocks must lose, or company says nothing
ALONE = 0.9  # of a listener's sessions are of one address: then company may be chance and still count
MANY = 20  # sessions before being alone counts, and before another clock is considered
CLOCKS = np.arange(-90, 91, 3, dtype=np.int64) * SECOND // 2
WRONG_CLOCKS = (0.17, 0.37, 0.61, 0.83)  # of the time that the starts cover, or of ten minutes

CHECKS = 5  # sessions without a word before an address is taken for a health check's
CHECK_SHARE = 0.95
CHECK_COMMANDS = 2  # a check says no more than HELO and QUIT

_STARTS = 1 << 14
_MOMENTS = 1 << 10
_PEERS = 1 << 12
_CANDIDATES = 16  # most frequent addresses of a batch that are noted, and that are looked at after it
_QUICK = 64
_GROWTH = 1.25  # an address is looked at again when this much more is known


@dataclass
class _Peer:
    """What is known of one address at one host.

    Attributes:
        service: listener (dictionary code) of its latest session.
        alone, joined: sessions that no balancer session explained, and those that one did.
        silent: of the former, those that said next to nothing and ended at once.
        moments: when the latest of the former started, ns since 1970.
        looked_at: how much was known when the address was last looked at.
    """

    service: int = -1
    alone: int = 0
    joined: int = 0
    silent: int = 0
    moments: Codes = field(default_factory=lambda: np.empty(0, np.int64))
    looked_at: int = 0


class Balancers:
    """Addresses known to be a balancer's, for each mail server host."""

    def __init__(self, addresses: frozenset[tuple[int, int]] = frozenset()) -> None:
        self._everywhere = set(addresses)
        self._at: set[Key] = set()
        self._checking: set[Key] = set()
        self._peers: dict[Key, _Peer] = {}
        self._sessions: dict[tuple[int, int], int] = {}  # by host and listener
        # Host, address and port that joined sessions went to, as postscreen logged them.
        self._destinations: set[tuple[int, int, int, int]] = set()
        # Start and client address of balancer sessions that nothing explains: the latest of them, in order.
        self._starts = np.empty((0, 3), np.int64)
        self._new_starts: list[Codes] = []
        self._started = 0  # how many there were

    def configure(self, addresses: frozenset[tuple[int, int]]) -> None:
        """Take what the configuration says now; what was learnt stays."""
        self._everywhere = set(addresses)

    def is_one(self, host: Codes, hi: Codes, lo: Codes) -> Mask:
        """bool[n]: the address is a balancer's, as this host sees it."""
        return _among(self._at | self._checking, host, hi, lo) | self.is_own(hi, lo)

    def only_checks(self, host: Codes, hi: Codes, lo: Codes) -> Mask:
        """bool[n]: the address is known for nothing but health checks at this host."""
        return _among(self._checking - self._at, host, hi, lo)

    def is_own(self, hi: Codes, lo: Codes) -> Mask:
        """bool[n]: the configuration says that the address is a balancer's."""
        result = np.zeros(len(hi), np.bool_)
        for known_hi, known_lo in self._everywhere:
            result |= (hi == known_hi) & (lo == known_lo)
        return result

    def addresses(self) -> frozenset[tuple[int, int]]:
        """All of them, as halves of 128 bits."""
        return frozenset(self._everywhere | {(hi, lo) for _, hi, lo in self._at | self._checking})

    def learn(self, finished: FinishedSessions) -> None:
        """Look at one batch of finished sessions."""
        if finished.count == 0:
            return
        mta = finished.at_mta
        both = mta & finished.has_balancer
        self._note_joined(finished, both, finished.hidden)
        unexplained = np.flatnonzero(mta & ~finished.has_balancer & (finished.peer[0] != NULL))
        if len(unexplained):
            self._note_unexplained(finished, unexplained)
        lone = np.flatnonzero(finished.has_balancer & ~mta & (finished.server != NULL))
        if len(lone):
            self._started += len(lone)
            self._new_starts.append(
                np.stack([finished.balancer(column)[lone] for column in (B_START, B_HI, B_LO)], axis=1)
            )
        self._judge()

    def _note_joined(self, finished: FinishedSessions, both: Mask, hidden: Mask) -> None:
        hi, lo, _ = finished.peer
        self._at.update((a, b, c) for (a, b, c), _ in _groups(np.flatnonzero(hidden), finished.host, hi, lo))
        passed = both & ~hidden
        for (host, service), count in _counted(both, self._sessions, finished.host, finished.service):
            self._sessions[host, service] = self._sessions.get((host, service), 0) + count
        if self._peers:
            self._count_joined(np.flatnonzero(passed), finished)
        gone_to = [finished.screen(column) for column in (P_DEST_HI, P_DEST_LO, P_DEST_PORT)]
        logged = passed & (gone_to[2] != NULL)
        for (host, *address), _ in _counted(logged, self._destinations, finished.host, *gone_to):
            if len(self._destinations) < _PEERS:
                self._destinations.add((host, address[0], address[1], address[2]))

    def _count_joined(self, rows: Codes, finished: FinishedSessions) -> None:
        """Count sessions of addresses that others have without an explanation."""
        hi, lo, _ = finished.peer
        host, hi, lo = finished.host[rows], hi[rows], lo[rows]
        mine = np.flatnonzero(np.isin(lo, [key[2] for key in self._peers]))
        for key in zip(host[mine].tolist(), hi[mine].tolist(), lo[mine].tolist(), strict=True):
            if key in self._peers:
                self._peers[key].joined += 1

    def _note_unexplained(self, finished: FinishedSessions, unexplained: Codes) -> None:
        """Those of the busiest addresses; without lone balancer sessions, of inner addresses only."""
        hi, lo, _ = finished.peer
        service, silent = finished.service, finished.silent & self._elsewhere(finished)
        for (host, listener), rows in _groups(unexplained, finished.host, service):
            self._sessions[host, listener] = self._sessions.get((host, listener), 0) + len(rows)
        if not self._started:
            unexplained = unexplained[is_private(hi[unexplained], lo[unexplained])]
        groups = _groups(unexplained, finished.host, hi, lo)
        for (host, key_hi, key_lo), rows in sorted(groups, key=lambda group: -len(group[1]))[:_CANDIDATES]:
            peer = self._peer((host, key_hi, key_lo))
            peer.service = int(service[rows[-1]])
            peer.alone += len(rows)
            peer.silent += int(np.count_nonzero(silent[rows]))
            if (host, key_hi, key_lo) not in self._at:
                moments = finished.connected_at[rows]
                peer.moments = np.append(peer.moments, moments[moments != NULL])[-_MOMENTS:]

    def _elsewhere(self, finished: FinishedSessions) -> Mask:
        """bool[n]: the session did not go where clients' sessions go; checks without a client's header do
        not."""
        result = np.ones(finished.count, np.bool_)
        hi, lo, port = (finished.screen(column) for column in (P_DEST_HI, P_DEST_LO, P_DEST_PORT))
        for known_host, known_hi, known_lo, known_port in self._destinations:
            there = (hi == known_hi) & (lo == known_lo) & (port == known_port)
            result &= ~(there & (finished.host == known_host))
        return result

    def _peer(self, key: Key) -> _Peer:
        if key not in self._peers and len(self._peers) >= _PEERS:
            kept = sorted(self._peers.items(), key=lambda item: item[1].alone)[_PEERS // 2 :]
            self._peers = dict(kept)
        return self._peers.setdefault(key, _Peer())

    def _judge(self) -> None:
        open_cases = [
            (key, peer)
            for key, peer in self._peers.items()
            if peer.alone >= ENOUGH
            and peer.alone > peer.joined
            and key not in self._at
            and peer.alone + self._started >= _GROWTH * peer.looked_at
        ]
        for key, peer in sorted(open_cases, key=lambda case: -case[1].alone)[:_CANDIDATES]:
            peer.looked_at = peer.alone + self._started
            silent = peer.silent >= max(CHECKS, CHECK_SHARE * peer.alone)
            if self._keeps_company(key, peer):
                self._at.add(key)
            elif silent and bool(is_private(*np.array(key[1:], np.int64).reshape(2, 1))[0]):
                self._checking.add(key)
            else:
                self._checking.discard(key)

    def _all_starts(self) -> Codes:
        if self._new_starts:
            starts = np.concatenate([self._starts, *self._new_starts])
            self._starts = starts[np.argsort(starts[:, 0], kind="stable")][-_STARTS:]
            self._new_starts = []
        return self._starts

    def _keeps_company(self, key: Key, peer: _Peer) -> bool:
        every = self._all_starts()
        starts = every[(every[:, 1] != key[1]) | (every[:, 2] != key[2]), 0]
        if len(starts) < ENOUGH or 2 * (len(every) - len(starts)) > peer.alone:
            return False  # nobody to stand for, or a client of the balancer's like any other
        clock, best = 0, _together(peer.moments, starts)
        if best < SHARE and len(peer.moments) >= MANY:
            shares = [_together(peer.moments + other, starts) for other in CLOCKS.tolist()]
            best = max(shares)
            clock = int(CLOCKS[shares.index(best)])
        if best < SHARE:
            return False
        wrong = [_turned(peer.moments + clock, starts, part) for part in WRONG_CLOCKS]
        chance = float(np.mean([_together(moments, starts) for moments in wrong]))
        listener = self._sessions.get((key[0], peer.service), 0)
        alone = peer.alone >= MANY and peer.alone >= ALONE * listener
        return alone or best - chance >= CHANCE * best


def is_private(hi: Codes, lo: Codes) -> Mask:
    """bool[n]: addresses of private, shared, link-local and loopback networks (RFC 1918, 4193, 6598)."""
    four = (hi == 0) & (lo >> 32 == 0xFFFF)
    first, second = (lo >> 24) & 255, (lo >> 16) & 255
    inner = (first == 10) | (first == 127) | ((first == 172) & (second >> 4 == 1))
    inner |= ((first == 192) & (second == 168)) | ((first == 100) & (second >> 6 == 1))
    inner |= (first == 169) & (second == 254)
    top = (hi >> 48) & 0xFFFF
    six = ((hi == 0) & (lo == 1)) | (top >> 9 == 0xFC00 >> 9) | (top >> 6 == 0xFE80 >> 6)
    result: Mask = np.where(four, inner, six)
    return result


def _together(moments: Codes, starts: Codes) -> float:
    """Share of the moments with a start nearby; `starts` in order."""
    after = np.searchsorted(starts, moments)
    later = np.abs(starts[np.minimum(after, len(starts) - 1)] - moments)
    earlier = np.abs(moments - starts[np.maximum(after - 1, 0)])
    return float(np.mean(np.minimum(later, earlier) <= TOGETHER)) if len(moments) else 0.0


def _turned(moments: Codes, starts: Codes, part: float) -> Codes:
    """The moments by a wrong clock; what leaves the time that the starts cover comes in again at its other
    end.
    """
    first, length = int(starts[0]), int(starts[-1] - starts[0]) + SECOND
    return first + (moments - first + int(part * min(length, 600 * SECOND))) % length


def _among(keys: set[Key], host: Codes, hi: Codes, lo: Codes) -> Mask:
    result = np.zeros(len(hi), np.bool_)
    for known_host, known_hi, known_lo in keys:
        result |= (host == known_host) & (hi == known_hi) & (lo == known_lo)
    return result


def _counted(
    mask: Mask, known: Collection[tuple[int, ...]], *columns: Codes
) -> list[tuple[tuple[int, ...], int]]:
    """How many sessions have each combination of values, of those in a mask.

    Args:
        known: combinations that most will have; others are found by sorting, which takes longer.
    """
    counts = []
    rest = mask
    for values in sorted(known) if len(known) <= _QUICK else ():
        same = rest.copy()
        for column, value in zip(columns, values, strict=True):
            same &= column == value
        if count := int(np.count_nonzero(same)):
            counts.append((values, count))
            rest = rest & ~same
    return counts + [(values, len(rows)) for values, rows in _groups(np.flatnonzero(rest), *columns)]


def _groups(rows: Codes, *columns: Codes) -> list[tuple[tuple[int, ...], Codes]]:
    """Some rows by the values that they have in some columns, in order of these."""
    if not len(rows):
        return []
    values = [column[rows] for column in columns]
    order = np.lexsort(values[::-1])
    cuts = np.zeros(len(rows) - 1, np.bool_)
    for column in values:
        cuts |= np.diff(column[order]) != 0
    parts = np.split(order, np.flatnonzero(cuts) + 1)
    return [(tuple(int(column[part[0]]) for column in values), rows[part]) for part in parts]
