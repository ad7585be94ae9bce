"""Which addresses are a balancer's: those that stand for many clients at a mail server.

An address is learnt from an exact join (the server logged the balancer's own port, or the text of an unexpected PROXY header
named a client whose balancer session exists), from the configuration, or from the company it keeps: its sessions at
a server match no client of the balancer's log, while balancer sessions that match nothing start at the same moments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from logscope.correlate.layout import *

if TYPE_CHECKING:
    from logscope.correlate.output import Finished

Codes = NDArray[np.int64]

ENOUGH = 3  # sessions of an address at a host before company counts
SHARE = 0.8  # of them must start together with a balancer session that nobody else explains
TOGETHER = 2 * SECOND


class Balancers:
    """Addresses known to be a balancer's, for each mail server host."""

    def __init__(self, addresses: frozenset[tuple[int, int]] = frozenset()) -> None:
        self._everywhere = set(addresses)
        self._at: set[tuple[int, int, int]] = set()
        self._cleared: set[tuple[int, int]] = set()
        self._company: dict[tuple[int, int, int], list[int]] = {}

    def is_one(self, host: Codes, hi: Codes, lo: Codes) -> NDArray[np.bool_]:
        """bool[n]: the address is a balancer's, as this host sees it."""
        result = np.zeros(len(hi), np.bool_)
        for known_host, known_hi, known_lo in self._at:
            result |= (host == known_host) & (hi == known_hi) & (lo == known_lo)
        return result | self.is_own(hi, lo)

    def is_own(self, hi: Codes, lo: Codes) -> NDArray[np.bool_]:
        result = np.zeros(len(hi), np.bool_)
        for known_hi, known_lo in self._everywhere:
            result |= (hi == known_hi) & (lo == known_lo)
        return result

    def addresses(self) -> frozenset[tuple[int, int]]:
        """All of them, as halves of 128 bits."""
        return frozenset(self._everywhere | {(hi, lo) for _, hi, lo in self._at})

    def learn(self, finished: Finished) -> None:
        """Look at one batch of finished sessions."""
        if finished.count == 0:
            return
        hi, lo, _ = finished.peer
        host = finished.host
        mta = finished.has_screen | finished.has_smtpd
        method = finished.balancer(B_METHOD)
        proven = mta & finished.has_balancer & ((method == L_BACKEND_PORT) | (method == L_HEADER_TEXT))
        for key in _unique(host, hi, lo, proven):
            self._at.add(key)
        for key in _unique(host, hi, lo, mta & finished.has_balancer & (method == L_ADDRESS_PORT)):
            self._cleared.add(key[1:])
        self._keep_company(finished, host, hi, lo, mta)

    def _keep_company(self, finished: Finished, host: Codes, hi: Codes, lo: Codes, mta: NDArray[np.bool_]) -> None:
        unjoined = mta & ~finished.has_balancer & (hi != NULL)
        starts = np.sort(finished.balancer(B_START)[finished.has_balancer & ~mta])
        if not len(starts) or not unjoined.any():
            return
        moment = finished.connected_at[unjoined]
        after = np.searchsorted(starts, moment)
        nearest = np.minimum(
            np.abs(moment - starts[np.minimum(after, len(starts) - 1)]), np.abs(moment - starts[np.maximum(after - 1, 0)])
        )
        together = nearest <= TOGETHER
        for key in _unique(host, hi, lo, unjoined):
            if key in self._at or key[1:] in self._cleared:
                continue
            mine = (host[unjoined] == key[0]) & (hi[unjoined] == key[1]) & (lo[unjoined] == key[2])
            tally = self._company.setdefault(key, [0, 0])
            tally[0] += int(mine.sum())
            tally[1] += int(together[mine].sum())
            if tally[0] >= ENOUGH and tally[1] >= SHARE * tally[0]:
                self._at.add(key)


def _unique(host: Codes, hi: Codes, lo: Codes, mask: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    if not mask.any():
        return []
    rows = np.unique(np.stack([host[mask], hi[mask], lo[mask]], axis=1), axis=0)
    return [(int(a), int(b), int(c)) for a, b, c in rows]
