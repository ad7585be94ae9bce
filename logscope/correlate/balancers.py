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

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import *

if TYPE_CHECKING:
    from logscope.correlate.output import Finished

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

AT_ONCE = 1_500_000_000  # as far apart as whole seconds can put one moment
CHECKS = 5  # sessions without a word before an address is taken for a health check's
CHECK_SHARE = 0.95
CHECK_COMMANDS = 2  # a check says no more than HELO and QUIT

_STARTS = 1 << 15
_MOMENTS = 1 << 10
_PEERS = 1 << 12
_CANDIDATES = 16  # most frequent addresses that are looked at after each batch
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

    service: int
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
        self._clock: dict[Key, int] = {}  # ns to add to the host's times to get the balancer's
        self._peers: dict[Key, _Peer] = {}
        self._sessions: dict[tuple[int, int], int] = {}  # by host and listener
        self._destinations: dict[
            int, set[Key]
        ] = {}  # by host: where joined sessions went, as address and port
        self._starts = np.empty(
            (0, 4), np.int64
        )  # start, client address, end of unexplained balancer sessions, in order
        self._started = 0  # how many there were

    def is_one(self, host: Codes, hi: Codes, lo: Codes) -> Mask:
        """bool[n]: the address is a balancer's, as this host sees it."""
        return _among(self._at | self._checking, host, hi, lo) | self.is_own(hi, lo)

    def only_checks(self, host: Codes, hi: Codes, lo: Codes) -> Mask:
        """bool[n]: the address is known for nothing but health checks at this host."""
        return _among(self._checking - self._at, host, hi, lo)

    def accompanied(self, finished: Finished, rows: Codes) -> Mask:
        """bool[len(rows)]: a balancer session that nothing explains started and ended with the session of the
        row.
        """
        hi, lo, _ = finished.peer
        result = np.zeros(len(rows), np.bool_)
        for at, row in enumerate(rows.tolist()):
            clock = self._clock.get((int(finished.host[row]), int(hi[row]), int(lo[row])), 0)
            start, end = int(finished.connected_at[row]) + clock, int(finished.ended_at[row]) + clock
            first, last = np.searchsorted(self._starts[:, 0], (start - AT_ONCE, start + AT_ONCE))
            result[at] = bool((np.abs(self._starts[first:last, 3] - end) <= AT_ONCE).any())
        return result

    def is_own(self, hi: Codes, lo: Codes) -> Mask:
        """bool[n]: the configuration says that the address is a balancer's."""
        result = np.zeros(len(hi), np.bool_)
        for known_hi, known_lo in self._everywhere:
            result |= (hi == known_hi) & (lo == known_lo)
        return result

    def addresses(self) -> frozenset[tuple[int, int]]:
        """All of them, as halves of 128 bits."""
        return frozenset(self._everywhere | {(hi, lo) for _, hi, lo in self._at | self._checking})

    def learn(self, finished: Finished) -> None:
        """Look at one batch of finished sessions."""
        if finished.count == 0:
            return
        hi, lo, _ = finished.peer
        host = finished.host
        mta = finished.has_screen | finished.has_smtpd
        both = mta & finished.has_balancer
        method = finished.balancer(B_METHOD)
        proven = both & ((method == L_BACKEND_PORT) | (method == L_HEADER_TEXT))
        self._at.update(key for key, _ in _groups(host, hi, lo, np.flatnonzero(proven)))
        for (where, service), count in _counts(host, finished.service(), mta):
            self._sessions[where, service] = self._sessions.get((where, service), 0) + count
        self._note_destinations(finished, both & ~proven)
        for key, rows in _groups(host, hi, lo, np.flatnonzero(both & ~proven)):
            self._peer(key, int(finished.service()[rows[0]])).joined += len(rows)
        self._note_unexplained(finished, mta)
        self._judge()

    def _note_destinations(self, finished: Finished, passed: Mask) -> None:
        rows = np.flatnonzero(passed & finished.has_screen & (finished.screen(P_DEST_PORT) != NULL))
        if len(rows):
            hi, lo, port = (finished.screen(column)[rows] for column in (P_DEST_HI, P_DEST_LO, P_DEST_PORT))
            for where, *destination in np.unique(
                np.stack([finished.host[rows], hi, lo, port], axis=1), axis=0
            ).tolist():
                known = self._destinations.setdefault(where, set())
                if len(known) < _CANDIDATES:
                    known.add((destination[0], destination[1], destination[2]))

    def _note_unexplained(self, finished: Finished, mta: Mask) -> None:
        hi, lo, _ = finished.peer
        service, silent = finished.service(), finished.silent & self._elsewhere(finished)
        for key, rows in _groups(
            finished.host, hi, lo, np.flatnonzero(mta & ~finished.has_balancer & (hi != NULL))
        ):
            peer = self._peer(key, int(service[rows[-1]]))
            peer.service = int(service[rows[-1]])
            peer.alone += len(rows)
            peer.silent += int(np.count_nonzero(silent[rows]))
            moments = finished.connected_at[rows]
            peer.moments = np.append(peer.moments, moments[moments != NULL])[-_MOMENTS:]
        rows = np.flatnonzero(finished.has_balancer & ~mta & (finished.server() != NULL))
        self._started += len(rows)
        if len(rows):
            starts = np.stack(
                [finished.balancer(column)[rows] for column in (B_START, B_HI, B_LO, B_END)], axis=1
            )
            starts = np.concatenate([self._starts, starts])
            self._starts = starts[np.argsort(starts[:, 0], kind="stable")][-_STARTS:]

    def _elsewhere(self, finished: Finished) -> Mask:
        """bool[n]: the session did not go where the sessions of clients go; a check without a client's header
        does not.
        """
        result = np.ones(finished.count, np.bool_)
        rows = np.flatnonzero(finished.has_screen & ~finished.has_balancer)
        columns = [
            finished.host,
            finished.screen(P_DEST_HI),
            finished.screen(P_DEST_LO),
            finished.screen(P_DEST_PORT),
        ]
        for row, (where, *destination) in zip(
            rows.tolist(), np.stack(columns, axis=1)[rows].tolist(), strict=True
        ):
            result[row] = tuple(destination) not in self._destinations.get(where, ())
        return result

    def _peer(self, key: Key, service: int) -> _Peer:
        if key not in self._peers and len(self._peers) >= _PEERS:
            kept = sorted(self._peers.items(), key=lambda item: item[1].alone + item[1].joined)[_PEERS // 2 :]
            self._peers = dict(kept)
        return self._peers.setdefault(key, _Peer(service))

    def _judge(self) -> None:
        open_cases = [
            (key, peer)
            for key, peer in self._peers.items()
            if peer.alone >= ENOUGH and peer.alone > peer.joined and key not in self._at
        ]
        for key, peer in sorted(open_cases, key=lambda case: -case[1].alone)[:_CANDIDATES]:
            if peer.alone + self._started < _GROWTH * peer.looked_at:
                continue
            peer.looked_at = peer.alone + self._started
            if self._keeps_company(key, peer):
                self._at.add(key)
            elif (
                peer.silent >= CHECKS
                and peer.silent >= CHECK_SHARE * peer.alone
                and is_private(key[1], key[2])
            ):
                self._checking.add(key)
            else:
                self._checking.discard(key)

    def _keeps_company(self, key: Key, peer: _Peer) -> bool:
        others = (self._starts[:, 1] != key[1]) | (self._starts[:, 2] != key[2])
        starts = self._starts[others, 0]
        if len(starts) < ENOUGH or 2 * (len(self._starts) - len(starts)) > peer.alone:
            return False  # nobody to stand for, or a client of the balancer's like any other
        clock, best = 0, _together(peer.moments, starts)
        if best < SHARE and len(peer.moments) >= MANY:
            shares = [_together(peer.moments + other, starts) for other in CLOCKS.tolist()]
            best = max(shares)
            clock = int(CLOCKS[shares.index(best)])
        if best < SHARE:
            return False
        chance = float(
            np.mean([_together(_turned(peer.moments + clock, starts, part), starts) for part in WRONG_CLOCKS])
        )
        listener = self._sessions.get((key[0], peer.service), 0)
        alone = peer.alone >= MANY and peer.alone >= ALONE * listener
        if best - chance < CHANCE * best and not alone:
            return False
        self._clock[key] = clock
        return True


def is_private(hi: int, lo: int) -> bool:
    """Whether an address is of a private, shared, link-local or loopback network (RFC 1918, 4193, 6598)."""
    if hi == 0 and lo >> 32 == 0xFFFF:
        first, second = (lo >> 24) & 255, (lo >> 16) & 255
        return (
            first in (10, 127)
            or (first == 172 and 16 <= second < 32)
            or (first == 192 and second == 168)
            or (first == 100 and 64 <= second < 128)
            or (first == 169 and second == 254)
        )
    top = (hi >> 48) & 0xFFFF
    return (hi == 0 and lo == 1) or top >> 9 == 0xFC >> 1 or top >> 6 == 0xFE80 >> 6


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


def _groups(host: Codes, hi: Codes, lo: Codes, rows: Codes) -> list[tuple[Key, Codes]]:
    """The rows of each host and address."""
    if not len(rows):
        return []
    keys, inverse = np.unique(np.stack([host[rows], hi[rows], lo[rows]], axis=1), axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    order = np.argsort(inverse, kind="stable")
    parts = np.split(rows[order], np.flatnonzero(np.diff(inverse[order])) + 1)
    return [((key[0], key[1], key[2]), part) for key, part in zip(keys.tolist(), parts, strict=True)]


def _counts(one: Codes, other: Codes, mask: Mask) -> list[tuple[tuple[int, int], int]]:
    if not mask.any():
        return []
    pairs, counts = np.unique(np.stack([one[mask], other[mask]], axis=1), axis=0, return_counts=True)
    return [((a, b), count) for (a, b), count in zip(pairs.tolist(), counts.tolist(), strict=True)]
