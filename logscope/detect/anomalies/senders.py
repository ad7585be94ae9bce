"""Senders whose messages are no longer like their own: a taken-over account sends larger ones, or to many.

A sender's minutes are compared with its own past: the mean logarithm of size and of recipients in the last
half hour against that of all before. Who sends in campaigns sends minutes that are alike; how far one minute
predicts the next is learnt for each sender, and so many fewer of its minutes count (von Neumann 1941).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from logscope.detect.anomalies.actors import Burst
from logscope.detect.anomalies.columns import Longs
from logscope.detect.anomalies.ledger import SECOND

Floats = NDArray[np.float64]

KIND = "sender_shift"
SIZE, RECIPIENTS = "bytes a message", "recipients a message"
_TRAITS = (SIZE, RECIPIENTS)
_FLOORS = (0.5, 0.35)
"""Least spread that is believed, of the logarithms."""
_MINUTE_S, _WINDOW, _EPISODE = 60, 30, 180
_LEAST_MINUTES, _LEAST_PAST = 6, 15
LEAST_FACTOR, _LEAST_Z = 4.0, 6.0
_ALIKE = 0.8
_MOST_PAST = 2000.0
_MOST_SENDERS = 20_000


@dataclass
class _Past:
    """Minutes of a trait: how many, their sum, squares, and the squares from one to the next."""

    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    steps: float = 0.0
    last: float = 0.0

    def add(self, value: float) -> None:
        if self.count:
            self.steps += (value - self.last) ** 2
        self.count, self.last = self.count + 1, value
        self.total, self.squares = self.total + value, self.squares + value * value
        if self.count > _MOST_PAST:
            for name in ("count", "total", "squares", "steps"):
                setattr(self, name, getattr(self, name) / 2)

    def surprise(self, mean: float, minutes: int, floor: float) -> float:
        """By how many of its deviations the mean of so many minutes is above the past."""
        own = self.total / self.count
        variance = max(self.squares / self.count - own * own, floor * floor)
        alike = min(max(1 - self.steps / 2 / max(self.count - 1, 1) / variance, 0.0), _ALIKE)
        worth = (1 - alike) / (1 + alike)
        return (mean - own) / sqrt(variance * (1 / (minutes * worth) + 1 / (self.count * worth)))


@dataclass
class _Sender:
    recent: deque[tuple[int, int, tuple[float, float]]] = field(default_factory=deque)
    past: tuple[_Past, _Past] = field(default_factory=lambda: (_Past(), _Past()))
    high: list[float] = field(default_factory=lambda: [-1.0, -1.0])
    highest: list[float] = field(default_factory=lambda: [-1.0, -1.0])
    since: int = 0
    burst: Burst | None = None


class Senders:
    """All who send messages, by account or envelope sender."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, _Sender] = OrderedDict()
        self.bursts: list[Burst] = []

    def add(self, who: Longs, texts: Sequence[str], times_ns: Longs, sizes: Longs, recipients: Longs) -> None:
        """Count messages.

        Args:
            who: the sender, an index into `texts`; below 0: not known.
            times_ns: when they were queued.
            sizes, recipients: of each; below 0: not known.
        """
        rows = np.nonzero((who >= 0) & (times_ns > 0) & (sizes > 0))[0]
        if not len(rows):
            return
        minute = times_ns[rows] // (_MINUTE_S * SECOND)
        first = int(minute.min())
        keys, inverse = np.unique((minute - first) * len(texts) + who[rows], return_inverse=True)
        counts = np.bincount(inverse)
        size = np.bincount(inverse, np.log(sizes[rows])) / counts
        many = np.bincount(inverse, np.log(np.maximum(recipients[rows], 1))) / counts
        for key, count, *means in zip(
            keys.tolist(), counts.tolist(), size.tolist(), many.tolist(), strict=True
        ):
            at, number = divmod(key, len(texts))
            self._minute(texts[number], first + at, count, (means[0], means[1]))
        while len(self._senders) > _MOST_SENDERS:
            self._senders.popitem(last=False)

    def _minute(self, name: str, minute: int, count: int, means: tuple[float, float]) -> None:
        sender = self._senders.setdefault(name, _Sender())
        self._senders.move_to_end(name)
        recent = sender.recent
        while recent and recent[0][0] <= minute - _WINDOW:
            _, _, old = recent.popleft()
            if sender.burst is None:
                for past, value in zip(sender.past, old, strict=True):
                    past.add(value)
        if sender.burst is not None and not recent:
            sender.burst.over, sender.burst = True, None
        recent.append((minute, count, means))
        if len(recent) < _LEAST_MINUTES:
            return
        self._remember_highest(sender, minute)
        if sender.past[0].count < _LEAST_PAST:
            return
        changed = [trait for trait in range(len(_TRAITS)) if self._has_changed(sender, trait)]
        if sender.burst is not None:
            self._go_on(sender, minute, count, bool(changed))
        elif changed:
            self._begin(name, sender, minute, changed[-1])

    def _remember_highest(self, sender: _Sender, minute: int) -> None:
        """What it did some hours ago it may do again: who sends large reports every night does as ever."""
        if minute - sender.since >= _EPISODE:
            sender.highest = [max(pair) for pair in zip(sender.highest, sender.high, strict=True)]
            sender.high, sender.since = [-1.0, -1.0], minute
        for trait in range(len(_TRAITS)):
            sender.high[trait] = max(sender.high[trait], self._mean(sender, trait))

    @staticmethod
    def _mean(sender: _Sender, trait: int) -> float:
        return sum(means[trait] for _, _, means in sender.recent) / len(sender.recent)

    def _has_changed(self, sender: _Sender, trait: int) -> bool:
        past, mean = sender.past[trait], self._mean(sender, trait)
        if mean - past.total / past.count < log(LEAST_FACTOR) or mean < sender.highest[trait] + log(2):
            return False
        surprise = past.surprise(mean, len(sender.recent), _FLOORS[trait])
        return surprise >= _LEAST_Z * (1 + 5 / past.count)

    def _begin(self, name: str, sender: _Sender, minute: int, trait: int) -> None:
        past = sender.past[trait]
        usual = past.total / past.count
        edge = usual + log(LEAST_FACTOR) / 2
        since = next(at for at, _, means in sender.recent if means[trait] > edge)
        sender.burst = Burst(
            KIND, name, float(since * _MINUTE_S), float((minute + 1) * _MINUTE_S),
            float((minute + 1) * _MINUTE_S), sum(n for at, n, _ in sender.recent if at >= since),
            round(exp(self._mean(sender, trait))), exp(usual), what=_TRAITS[trait],
        )  # fmt: skip
        self.bursts.append(sender.burst)

    @staticmethod
    def _go_on(sender: _Sender, minute: int, count: int, changed: bool) -> None:
        burst = sender.burst
        assert burst is not None
        if changed:
            burst.count += count
            burst.until = float((minute + 1) * _MINUTE_S)
        else:
            burst.over, sender.burst = True, None

    def tell(self, now_s: float) -> None:
        """Say what time it is: who sends nothing any more is done."""
        for burst in self.bursts:
            if not burst.over and now_s > burst.until + _WINDOW * _MINUTE_S:
                burst.over = True
                sender = self._senders.get(burst.actor)
                if sender is not None and sender.burst is burst:
                    sender.burst = None

    def take(self) -> Iterator[Burst]:
        """All that were found so far, by their beginning."""
        yield from sorted(self.bursts, key=lambda burst: (burst.since, burst.actor))
