"""The minutes in which senders sent, as arrays, and the kernel that goes over new ones in order of time.

Of each sender the last half hour is held; what is older has entered its past: of each trait how many minutes
there were, their sum and squares, and the squares from one to the next. Beside them are the largest means of
the last hours, and of those before.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.detect.anomalies.columns import Longs
from logscope.engine import kernel

Floats = NDArray[np.float64]

WINDOW, LEAST_MINUTES = 30, 6
LEAST_FACTOR = 4.0
SIZE, RECIPIENTS = 0, 1
"""The traits of a minute's messages: the mean logarithms of size and of recipients."""
NOTHING, BEGINS, GOES_ON, IS_OVER = range(4)
"""What a minute says of its sender."""
TOLD_WHAT, TOLD_TRAIT, TOLD_MEAN, TOLD_USUAL = range(4)
COUNT, TOTAL, SQUARES, STEPS, LAST = range(5)
"""What is known of a past."""

_HELD = 32
_LEAST_PAST, _MOST_PAST = 15, 2000.0
_EPISODE = 180
_LEAST_Z = 5.0
_FAR, _FARTHER = log(LEAST_FACTOR), log(2)
_SIZE_FLOOR, _RECIPIENTS_FLOOR = 0.5, 0.35
"""Least spread that is believed, of the logarithms."""
_ALIKE = 0.8
_COMPILED_FROM, _COMPILED_FROM_UNCACHED = 5_000, 50_000
"""Minutes from which machine code pays; where it has to be compiled, more."""


@dataclass
class Books:
    """What is known of all senders; of each a row.

    Attributes:
        when, messages, traits: of the minutes that are held.
        held: how many these are.
        past: of each trait.
        high, highest: the largest means of the hours since `since`, and of those before: of half hours, then
            of a few minutes, each trait's.
        watched: 1 where something was found that goes on.
    """

    when: Longs
    messages: Longs
    traits: Floats
    held: Longs
    past: Floats
    high: Floats
    highest: Floats
    since: Longs
    watched: Longs

    @classmethod
    def empty(cls, size: int) -> Books:
        return cls(
            np.zeros((size, _HELD), np.int64), np.zeros((size, _HELD), np.int64),
            np.zeros((size, _HELD, 2)), np.zeros(size, np.int64), np.zeros((size, 2, 5)),
            np.full((size, 4), -1.0), np.full((size, 4), -1.0), np.zeros(size, np.int64),
            np.zeros(size, np.int64),
        )  # fmt: skip

    def of(self, rows: Longs, size: int) -> Books:
        """A copy of some rows, with room for others behind them."""
        copy = Books.empty(size)
        for field in fields(self):
            getattr(copy, field.name)[: len(rows)] = getattr(self, field.name)[rows]
        return copy

    @property
    def size(self) -> int:
        """How many senders there is room for."""
        return len(self.held)


@dataclass
class Minutes:
    """New minutes in order of time: whose, when, how many messages, and their traits."""

    senders: Longs
    when: Longs
    messages: Longs
    traits: Floats


class Reader:
    """Goes over minutes, as plain Python or as machine code."""

    def __init__(self) -> None:
        self._seen = 0
        self._go_over = go_over
        self.told = np.zeros(4)

    def next(self, first: int, new: Minutes, books: Books) -> int:
        """Enter minutes from `first` on; returns the one after the first that says something (`told`), or
        their number and one more.
        """
        self.told[:] = 0
        return int(
            self._go_over(
                first, new.senders, new.when, new.messages, new.traits, books.when, books.messages,
                books.traits, books.held, books.past, books.high, books.highest, books.since, books.watched,
                self.told,
            )
        )  # fmt: skip

    def expect(self, count: int) -> None:
        """Say how many minutes come next."""
        before, self._seen = self._seen, self._seen + count
        is_many = self._seen >= _COMPILED_FROM_UNCACHED
        if is_many or (before < _COMPILED_FROM <= self._seen and engine.is_cached(go_over)):
            self.use_machine_code()

    def use_machine_code(self) -> None:
        """Go on in machine code, compiling it if need be."""
        self._go_over = engine.compiled(go_over)


@kernel
def go_over(
    first: int,
    senders: Longs,
    new_when: Longs,
    new_messages: Longs,
    new_traits: Floats,
    when: Longs,
    messages: Longs,
    traits: Floats,
    held: Longs,
    past: Floats,
    high: Floats,
    highest: Floats,
    since: Longs,
    watched: Longs,
    told: Floats,
) -> int:
    """See `Reader.next`."""
    for at in range(first, senders.shape[0]):
        one = senders[at]
        minute = new_when[at]
        old = 0
        while old < held[one] and when[one, old] <= minute - WINDOW:
            old += 1
        if old == 0 and held[one] == _HELD:  # minutes that came late have not aged
            old = 1
        if old:
            _age(one, old, when, messages, traits, held, past, watched)
        _enter(one, minute, new_messages[at], new_traits[at], when, messages, traits, held)
        said = _judge(one, minute, traits, held, past, high, highest, since, watched, told)
        if said != NOTHING:
            told[TOLD_WHAT] = said
            return at + 1
    return int(senders.shape[0]) + 1


@kernel
def _age(
    one: int,
    old: int,
    when: Longs,
    messages: Longs,
    traits: Floats,
    held: Longs,
    past: Floats,
    watched: Longs,
) -> None:
    """Let the oldest minutes enter the past, unless they are what was found."""
    if not watched[one]:
        for at in range(old):
            for trait in range(2):
                _remember(past[one, trait], traits[one, at, trait])
    held[one] -= old
    for at in range(held[one]):
        when[one, at] = when[one, at + old]
        messages[one, at] = messages[one, at + old]
        for trait in range(2):
            traits[one, at, trait] = traits[one, at + old, trait]


@kernel
def _remember(known: Floats, value: float) -> None:
    """Add a minute's trait to a past."""
    if known[COUNT]:
        known[STEPS] += (value - known[LAST]) * (value - known[LAST])
    known[COUNT] += 1
    known[LAST] = value
    known[TOTAL] += value
    known[SQUARES] += value * value
    if known[COUNT] > _MOST_PAST:
        for at in range(LAST):
            known[at] /= 2


@kernel
def _enter(
    one: int,
    minute: int,
    count: int,
    means: Floats,
    when: Longs,
    messages: Longs,
    traits: Floats,
    held: Longs,
) -> None:
    """Hold a minute, or more of the last one: a run that goes on takes in parts of minutes."""
    last = held[one] - 1
    if last >= 0 and when[one, last] == minute:
        messages[one, last] += count
        for trait in range(2):
            share = count / messages[one, last]
            traits[one, last, trait] += (means[trait] - traits[one, last, trait]) * share
        return
    last += 1
    held[one] = last + 1
    when[one, last] = minute
    messages[one, last] = count
    for trait in range(2):
        traits[one, last, trait] = means[trait]


@kernel
def _judge(
    one: int,
    minute: int,
    traits: Floats,
    held: Longs,
    past: Floats,
    high: Floats,
    highest: Floats,
    since: Longs,
    watched: Longs,
    told: Floats,
) -> int:
    """What the last half hour says of one who sends often, or of whom something was found."""
    count = held[one]
    if watched[one] and count == 1:
        watched[one] = 0
        return IS_OVER
    if count < LEAST_MINUTES:
        return NOTHING
    # What it did some hours ago it may do again: who sends large reports every night does as ever.
    if minute - since[one] >= _EPISODE:
        for at in range(4):
            highest[one, at] = max(highest[one, at], high[one, at])
            high[one, at] = -1.0
        since[one] = minute
    is_past = past[one, SIZE, COUNT] >= _LEAST_PAST
    changed = False
    for trait in range(2):
        mean = newest = 0.0
        for at in range(count):
            mean += traits[one, at, trait]
        for at in range(count - LEAST_MINUTES, count):
            newest += traits[one, at, trait]
        mean /= count
        newest /= LEAST_MINUTES
        high[one, trait] = max(high[one, trait], mean)
        high[one, 2 + trait] = max(high[one, 2 + trait], newest)
        if not is_past:
            continue
        known = past[one, trait]
        if _is_far(known, mean, count, highest[one, trait], trait) or (
            trait == SIZE and _is_far(known, newest, LEAST_MINUTES, highest[one, 2 + trait], trait)
        ):
            changed = True
            told[TOLD_TRAIT] = trait
            told[TOLD_MEAN] = max(mean, newest)
            told[TOLD_USUAL] = known[TOTAL] / known[COUNT]
    if not is_past:
        return NOTHING
    if watched[one]:
        if changed:
            return GOES_ON
        watched[one] = 0
        return IS_OVER
    if changed:
        watched[one] = 1
        return BEGINS
    return NOTHING


@kernel
def _is_far(known: Floats, mean: float, minutes: int, highest: float, trait: int) -> bool:
    """Whether the mean of so many minutes is far above the past: by a factor, and by chance."""
    own = known[TOTAL] / known[COUNT]
    if mean - own < _FAR or mean < highest + _FARTHER:
        return False
    floor = _SIZE_FLOOR if trait == SIZE else _RECIPIENTS_FLOOR
    variance = max(known[SQUARES] / known[COUNT] - own * own, floor * floor)
    alike = 1 - known[STEPS] / 2 / max(known[COUNT] - 1, 1.0) / variance
    alike = min(max(alike, 0.0), _ALIKE)
    worth = (1 - alike) / (1 + alike)
    deviation = sqrt(variance * (1 / (minutes * worth) + 1 / (known[COUNT] * worth)))
    return bool((mean - own) / deviation >= _LEAST_Z * (1 + 5 / known[COUNT]))
