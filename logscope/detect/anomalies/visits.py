"""Who knocks at which listener for the first time: a client that tries many is looking for something."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from logscope.detect.anomalies.columns import Longs
from logscope.detect.anomalies.facts import Facts
from logscope.detect.anomalies.ledger import SECOND

_LEAST_LISTENERS = 4
_LEARNING_NS = 1800 * SECOND
"""So long at the beginning nobody is new: monitors knock everywhere, and always have."""
_MOST_VISITS = 100_000
_TOGETHER_NS = 600 * SECOND


class Visits:
    """Which clients were seen at which listeners.

    Attributes:
        visits, visitors: first visits since they were taken, and how many clients paid them, one that comes
            again after ten minutes anew.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._listeners: set[str] = set()
        self._begun_ns: int | None = None
        self._latest: OrderedDict[str, int] = OrderedDict()
        self.visits = self.visitors = 0

    def first(self, facts: Facts) -> Longs:
        """1 for each row in which a client tries a listener at which it was not seen before."""
        found = np.zeros(len(facts.times), np.int64)
        if self._begun_ns is None and len(facts.times):
            self._begun_ns = int(facts.times.min())
        who, tried = facts.clients, facts.tried
        rows = np.nonzero((who.codes >= 0) & (tried.codes >= 0))[0]
        present, firsts = np.unique(who.codes[rows] * len(tried.texts) + tried.codes[rows], return_index=True)
        self._listeners.update(tried.texts[at] for at in np.unique(tried.codes[rows]).tolist())
        for key, row in zip(present.tolist(), rows[firsts].tolist(), strict=True):
            client, listener = divmod(key, len(tried.texts))
            visit = (who.texts[client], tried.texts[listener])
            if visit not in self._seen:
                found[row] = 1
                self._count(visit[0], int(facts.times[row]))
            self._seen[visit] = None
            self._seen.move_to_end(visit)
        while len(self._seen) > _MOST_VISITS:
            self._seen.popitem(last=False)
        if len(self._listeners) < _LEAST_LISTENERS:
            return np.zeros_like(found)
        return np.where(facts.times >= (self._begun_ns or 0) + _LEARNING_NS, found, 0)

    def _count(self, client: str, at_ns: int) -> None:
        self.visits += 1
        self.visitors += at_ns - self._latest.get(client, -_TOGETHER_NS) >= _TOGETHER_NS
        self._latest[client] = at_ns
        if len(self._latest) > _MOST_VISITS:
            self._latest.popitem(last=False)

    def take(self) -> tuple[int, int]:
        """Visits and visitors since the last time."""
        taken = self.visits, self.visitors
        self.visits = self.visitors = 0
        return taken
