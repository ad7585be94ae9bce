"""Single clients, networks and users that do too much of something in a short time.

Each kind of doing has a window and a least count. Who is above it is a finding only if chance does not
explain it among all who were active: the counts of ordinary clients fall off geometrically (most try one
password, fewer two, …), the rate of that fall is learnt from the site, and the chance of so large a count,
times the number of clients among whom it was looked for, must be below one in a thousand a day (Bonferroni's
bound on the false-discovery rate). Who has done as much all along is no news either.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

import numpy as np

from logscope.detect.anomalies.columns import Bools, Coded, Longs
from logscope.detect.anomalies.ledger import SECOND

_STEP_S = 60
_MOST_ACTORS = 20_000
_FALSE_A_DAY = 1e-3
_LEAST_LOG = 1e-3
_MOST_DETAILS = 32


@dataclass(frozen=True)
class Doing:
    """Something that a client should not do much of.

    Attributes:
        kind: of the finding.
        least: count in the window from which it may be one.
        window_s: seconds looked back over.
        times_own: how many times its own usual rate the count must be.
    """

    kind: str
    least: int
    window_s: int
    times_own: float = 4.0


@dataclass
class Burst:
    """An actor doing too much.

    Attributes:
        since, detected, until: seconds since 1970; `until` is of the last count, and moves on.
        count: in all since then.
        peak: most in a window.
        usual: what an ordinary actor has in such a window at most once in a thousand times; of a
            sender, what is its own.
        what: measure of a sender's `peak` and `usual`.
        is_account: a sender that logged in.
        company: how many others of a sender's domain changed with it.
    """

    kind: str
    actor: str
    since: float
    detected: float
    until: float
    count: int
    peak: int
    usual: float
    details: Counter[str] = field(default_factory=Counter)
    example: dict[str, Any] | None = None
    over: bool = False
    what: str = ""
    is_account: bool = False
    company: int = 0


@dataclass
class _Actor:
    steps: deque[tuple[int, int]] = field(default_factory=deque)
    held: int = 0
    first: int = 0
    before: int = 0
    latest: int = 0
    burst: Burst | None = None


class Actors:
    """All who do one thing.

    Args:
        doing: what.
    """

    def __init__(self, doing: Doing) -> None:
        self.doing = doing
        self._actors: dict[str, _Actor] = {}
        self.bursts: list[Burst] = []
        self._sum = 1.0
        self._active = 1.0
        self._clock = 0

    def add(
        self,
        actors: Longs,
        texts: Sequence[str],
        times_ns: Longs,
        counts: Longs,
        show: Callable[[Longs], list[dict[str, Any]]] | None = None,
        accounts: Coded | None = None,
    ) -> None:
        """Count what some did.

        Args:
            actors: who, an index into `texts`; below 0: not known.
            times_ns: when.
            counts: how much.
            show: makes examples out of rows.
            accounts: whom they tried to be.
        """
        rows = np.nonzero((actors >= 0) & (counts > 0))[0]
        if not len(rows):
            return
        rows = rows[self._worth_following(actors[rows], texts, times_ns[rows], counts[rows])]
        if not len(rows):
            return
        who, step = actors[rows], times_ns[rows] // (_STEP_S * SECOND)
        first = int(step.min())
        present, firsts, inverse = np.unique(
            (step - first) * len(texts) + who, return_index=True, return_inverse=True
        )
        amounts = np.bincount(inverse, weights=counts[rows]).astype(np.int64)
        for key, amount, row in zip(present.tolist(), amounts.tolist(), rows[firsts].tolist(), strict=True):
            burst = self._one(texts[key % len(texts)], key // len(texts) + first, amount)
            if burst is None:
                continue
            if burst.example is None and show is not None:
                burst.example = next(iter(show(np.array([row]))), None)
            if accounts is not None and len(burst.details) < _MOST_DETAILS and accounts.codes[row] >= 0:
                burst.details[accounts.texts[int(accounts.codes[row])]] += amount
        if len(self._actors) > 2 * _MOST_ACTORS:
            self._forget()

    def learn(self, done: int, actors: int) -> None:
        """How much so many ordinary actors did, where that is known better than from those who come again."""
        self._sum += done
        self._active += actors

    def _worth_following(self, who: Longs, texts: Sequence[str], times_ns: Longs, counts: Longs) -> Bools:
        """Leave out those who are far from doing too much: nearly all. They still say what is usual."""
        if times_ns.max() - times_ns.min() < self.doing.window_s * SECOND // 2:
            return np.ones(len(who), np.bool_)
        totals = np.bincount(who, weights=counts, minlength=len(texts))
        minor = (totals > 0) & (totals < self.doing.least / 4)
        known = [at for at in np.nonzero(minor)[0].tolist() if texts[at] in self._actors]
        minor[known] = False
        self._sum += float(totals[minor].sum())
        self._active += int(minor.sum())
        return ~minor[who]

    def _one(self, name: str, step: int, amount: int) -> Burst | None:
        """Count what one did in a minute; the burst that it is part of, if it is one."""
        doing = self.doing
        steps = doing.window_s // _STEP_S
        self._clock = max(self._clock, step)
        actor = self._actors.get(name)
        if actor is None:
            actor = self._actors[name] = _Actor(first=step)
        if step > actor.latest + steps:
            self._settle(actor)
        while actor.steps and actor.steps[0][0] <= step - steps:
            _, gone = actor.steps.popleft()
            actor.held -= gone
            actor.before += gone
        actor.steps.append((step, amount))
        actor.held += amount
        actor.latest = max(actor.latest, step)
        burst = actor.burst
        if burst is not None:
            burst.count += amount
            burst.until = (step + 1) * _STEP_S
            burst.peak = max(burst.peak, actor.held)
        elif actor.held >= doing.least and self._is_news(actor, step):
            self._begin(name, actor, step)
        return actor.burst

    def _settle(self, actor: _Actor) -> None:
        """An actor was quiet for a window: what it did before is an ordinary amount, or its burst ends."""
        if actor.burst is not None:
            actor.burst.over = True
            actor.burst = None
        elif actor.held:
            self._sum += min(actor.held, self.doing.least)
            self._active += 1
        actor.before += actor.held
        actor.steps.clear()
        actor.held = 0

    def _is_news(self, actor: _Actor, step: int) -> bool:
        if actor.held < self.usual:
            return False
        age = max(step - actor.first, 0) - self.doing.window_s // _STEP_S
        if age < 5 * self.doing.window_s // _STEP_S:
            return True
        own = actor.before / age * (self.doing.window_s // _STEP_S)
        return actor.held >= self.doing.times_own * own

    @property
    def usual(self) -> float:
        """What chance gives one of all the actors of a day less than once in a thousand days."""
        go_on = min(1 - self._active / (self._sum + 1.0), 0.98)  # chance to do it once more
        fall = max(-log(max(go_on, 1e-6)), _LEAST_LOG)
        return 1 + (log(self._active + 1.0) - log(_FALSE_A_DAY)) / fall if go_on > 0 else 1.0

    def _begin(self, name: str, actor: _Actor, step: int) -> None:
        since = actor.steps[0][0]
        actor.burst = Burst(
            self.doing.kind, name, since * _STEP_S, (step + 1) * _STEP_S, (step + 1) * _STEP_S, actor.held,
            actor.held, self.usual,
        )  # fmt: skip
        self.bursts.append(actor.burst)

    def tell(self, now_s: float) -> None:
        """Say what time it is: bursts of those who are quiet are over."""
        steps = self.doing.window_s // _STEP_S
        for burst in self.bursts:
            if not burst.over and now_s > burst.until + steps * _STEP_S:
                actor = self._actors.get(burst.actor)
                if actor is not None and actor.burst is burst:
                    self._settle(actor)
                burst.over = True

    def _forget(self) -> None:
        """Keep the half that was active last."""
        order = sorted(self._actors.items(), key=lambda entry: -entry[1].latest)
        for _, actor in order[_MOST_ACTORS:]:
            self._settle(actor)
        self._actors = dict(order[:_MOST_ACTORS])

    def take(self) -> Iterator[Burst]:
        """All bursts so far, by their beginning."""
        yield from sorted(self.bursts, key=lambda burst: (burst.since, burst.actor))
