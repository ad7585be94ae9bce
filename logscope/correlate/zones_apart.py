"""Hosts whose stamps are of different time zones: the same client and port at both, hours apart.

RFC 3164 stamps have no zone (RFC 3164, 4.1.2): a balancer in a container that logs UTC and a mail server
that logs local time look hours apart, and nothing of the two joins. The sessions left over on both sides
tell by how much.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from logscope.correlate.layout import *

if TYPE_CHECKING:
    from logscope.correlate.finished import FinishedSessions

QUARTER_S = 900  # zones differ by quarters of an hour (tz database: Asia/Kathmandu, Australia/Eucla)
MOST_S = 26 * 3600  # from UTC-12 to UTC+14
NEAR_S = 60  # clocks may be off besides
ENOUGH = 3  # sessions: a client's port comes back by chance, but not thrice at one distance
SHARE = 0.5  # of the leftover sessions with the same client and port on both sides
KEPT = 20_000  # leftover sessions remembered for each side


@dataclass(frozen=True)
class Apart:
    """Two hosts, by number; the mail server's stamps are so many seconds ahead (negative: behind)."""

    balancer_host: int
    mta_host: int
    ahead_s: int
    sessions: int


class ZonesApart:
    """Finds them among the sessions that only one side saw.

    smtpd logs no ports unless told to (postconf(5), smtpd_client_port_logging): then the address alone has
    to do, and some pairs are of two sessions.
    """

    def __init__(self) -> None:
        self._balancer: dict[tuple[int, ...], tuple[int, int]] = {}
        self._mta: dict[tuple[int, ...], tuple[int, int]] = {}
        self._distances: dict[tuple[int, int], Counter[int]] = {}

    def note(self, finished: FinishedSessions) -> None:
        """Look at one batch of finished sessions."""
        if len(self._balancer) < KEPT:
            lone = np.flatnonzero(finished.has_balancer & ~finished.at_mta)
            facts = (finished.balancer(column)[lone] for column in (B_HOST, B_START, B_HI, B_LO, B_PORT))
            for host, began, hi, lo, port in np.stack([*facts], axis=1).tolist():
                for key in ((hi, lo, port), (hi, lo, NULL)):
                    self._balancer[key] = host, began
                    if key in self._mta:
                        self._compare((host, began), self._mta[key])
        if len(self._mta) < KEPT:
            lone = np.flatnonzero(finished.at_mta & ~finished.has_balancer)
            facts = (values[lone] for values in (finished.host, finished.connected_at, *finished.peer))
            for host, connected, *address in np.stack([*facts], axis=1).tolist():
                key = tuple(address)
                self._mta[key] = host, connected
                if key in self._balancer:
                    self._compare(self._balancer[key], (host, connected))

    def _compare(self, balancer: tuple[int, int], mta: tuple[int, int]) -> None:
        ahead_s = (mta[1] - balancer[1]) / SECOND
        quarters = round(ahead_s / QUARTER_S)
        if abs(ahead_s) > MOST_S or abs(ahead_s - quarters * QUARTER_S) > NEAR_S:
            quarters = 0
        self._distances.setdefault((balancer[0], mta[0]), Counter())[quarters] += 1

    def found(self) -> list[Apart]:
        """The pairs of hosts whose zones differ, as far as is known."""
        result = []
        for (balancer_host, mta_host), distances in sorted(self._distances.items()):
            quarters, count = distances.most_common(1)[0]
            if quarters and count >= max(ENOUGH, SHARE * distances.total()):
                result.append(Apart(balancer_host, mta_host, quarters * QUARTER_S, count))
        return result
