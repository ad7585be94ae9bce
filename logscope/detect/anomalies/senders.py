"""Senders whose messages are no longer like their own: a taken-over account sends larger ones, or to many.

A sender's minutes are compared with its own past: the mean logarithm of size and of recipients in the last
half hour, and in the last six minutes in which it sent, against that of all before. Who sends in campaigns
sends minutes that are alike; how far one minute predicts the next is learnt for each sender, and so many
fewer of its minutes count (von Neumann 1941). A sender whose whole domain changes as it does is told so: that
is a mailing of the domain, and no matter of one account.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log

import numpy as np

from logscope.detect.anomalies.actors import Burst
from logscope.detect.anomalies.columns import Longs
from logscope.detect.anomalies.ledger import SECOND
from logscope.detect.anomalies.sent import (
    BEGINS,
    COUNT,
    GOES_ON,
    IS_OVER,
    LEAST_FACTOR,
    TOLD_MEAN,
    TOLD_TRAIT,
    TOLD_USUAL,
    TOLD_WHAT,
    TOTAL,
    WINDOW,
    Books,
    Minutes,
    Reader,
)

KIND = "sender_shift"
SIZE, RECIPIENTS = "bytes a message", "recipients a message"
_TRAITS = (SIZE, RECIPIENTS)
_MINUTE_S = 60
_LEAST_COMPANY, _COMPANY_PART = 4, 0.5
"""So many others of its domain must have changed as a sender did, and by this part of it at the mean."""
_FEW_SENDERS, _MOST_SENDERS = 256, 20_000


def domain_of(name: str) -> str:
    """What stands behind the @ of a sender; nothing for an account without one."""
    return name.rpartition("@")[2].lower() if "@" in name else ""


class Senders:
    """All who send messages, by account or envelope sender."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._accounts: list[bool] = []
        self._books = Books.empty(_FEW_SENDERS)
        self._reader = Reader()
        self._watched: dict[int, Burst] = {}
        """What goes on, by the sender's number."""
        self.bursts: list[Burst] = []

    def add(
        self,
        who: Longs,
        texts: Sequence[str],
        times_ns: Longs,
        sizes: Longs,
        recipients: Longs,
        accounts: bool = False,
    ) -> None:
        """Count messages.

        Args:
            who: the sender, an index into `texts`; below 0: not known.
            times_ns: when they were queued.
            sizes, recipients: of each; below 0: not known.
            accounts: they are accounts that logged in, not envelope senders.
        """
        rows = np.nonzero((who >= 0) & (times_ns > 0) & (sizes > 0))[0]
        if not len(rows):
            return
        minute = times_ns[rows] // (_MINUTE_S * SECOND)
        # in order of time: what others of its domain do at the same time says what one sender's change means
        first = int(minute.min())
        keys, inverse = np.unique((minute - first) * len(texts) + who[rows], return_inverse=True)
        counts = np.bincount(inverse)
        size = np.bincount(inverse, np.log(sizes[rows])) / counts
        many = np.bincount(inverse, np.log(np.maximum(recipients[rows], 1))) / counts
        new = Minutes(
            self._numbered(keys % len(texts), texts, accounts),
            keys // len(texts) + first,
            counts,
            np.stack((size, many), axis=1),
        )
        reader, books = self._reader, self._books
        reader.expect(len(keys))
        after = 0
        while (after := reader.next(after, new, books)) <= len(keys):
            number, at = int(new.senders[after - 1]), int(new.when[after - 1])
            what = reader.told[TOLD_WHAT]
            if what == BEGINS:
                self._begin(number, at)
            elif what == GOES_ON:
                burst = self._watched[number]
                burst.count += int(new.messages[after - 1])
                burst.until = float((at + 1) * _MINUTE_S)
            elif what == IS_OVER:
                self._watched.pop(number).over = True
        if len(self._numbers) > 2 * _MOST_SENDERS:
            self._forget()

    def _numbered(self, who: Longs, texts: Sequence[str], accounts: bool) -> Longs:
        """The number of each sender, given an index into `texts`; there is room for all of them."""
        present = np.flatnonzero(np.bincount(who))
        numbers, known = np.zeros(len(texts), np.int64), self._numbers
        before = len(known)
        numbers[present] = [known.setdefault(texts[at], len(known)) for at in present.tolist()]
        self._accounts += [accounts] * (len(known) - before)
        if len(known) > self._books.size:
            self._books = self._books.of(np.arange(before), 2 * len(known))
        return numbers[who]

    def _forget(self) -> None:
        """Keep those that sent last."""
        books = self._books
        count = len(self._numbers)
        latest = books.when[np.arange(count), books.held[:count] - 1]
        kept = np.argsort(-latest, kind="stable")[:_MOST_SENDERS]
        names = list(self._numbers)
        self._books = books.of(kept, 2 * _MOST_SENDERS)
        self._numbers = {names[old]: number for number, old in enumerate(kept.tolist())}
        self._accounts = [self._accounts[old] for old in kept.tolist()]
        self._watched = {
            number: self._watched[old] for number, old in enumerate(kept.tolist()) if old in self._watched
        }

    def _begin(self, number: int, minute: int) -> None:
        told, books = self._reader.told, self._books
        trait, mean, usual = int(told[TOLD_TRAIT]), float(told[TOLD_MEAN]), float(told[TOLD_USUAL])
        held = int(books.held[number])
        when, messages = books.when[number, :held], books.messages[number, :held]
        large = books.traits[number, :held, trait] > usual + log(LEAST_FACTOR) / 2
        since = int(when[large][0])
        name = list(self._numbers)[number]
        end = float((minute + 1) * _MINUTE_S)
        burst = Burst(
            KIND, name, float(since * _MINUTE_S), end, end, int(messages[when >= since].sum()),
            round(exp(mean)), exp(usual), what=_TRAITS[trait], is_account=self._accounts[number],
            company=self._company(name, minute, trait, mean, usual),
        )  # fmt: skip
        self._watched[number] = burst
        self.bursts.append(burst)

    def _company(self, name: str, minute: int, trait: int, mean: float, usual: float) -> int:
        """How many others of its domain send as it does now; 0 where they do so at other times, too."""
        domain, begun, edge = domain_of(name), minute - WINDOW, usual + log(LEAST_FACTOR) / 2
        others = [
            number for other, number in self._numbers.items() if other != name and domain_of(other) == domain
        ]
        books = self._books
        when, values = books.when[others], books.traits[others, :, trait]
        is_held = np.arange(when.shape[1]) < books.held[others][:, None]
        recent = is_held & (when > begun) & (when <= minute)
        old = is_held & (when <= begun)
        past = books.past[others, trait]
        alike = int(np.count_nonzero((recent & (values > edge)).any(axis=1)))
        before = int(old.sum()) + past[:, COUNT].sum()
        if alike < _LEAST_COMPANY or not before:
            return 0
        shift = values[recent].mean() - (values[old].sum() + past[:, TOTAL].sum()) / before
        return alike if shift >= _COMPANY_PART * (mean - usual) else 0

    def tell(self, now_s: float) -> None:
        """Say what time it is: who sends nothing any more is done."""
        for burst in self.bursts:
            if not burst.over and now_s > burst.until + WINDOW * _MINUTE_S:
                burst.over = True
                number = self._numbers.get(burst.actor, -1)
                if self._watched.get(number) is burst:
                    del self._watched[number]
                    self._books.watched[number] = 0

    def take(self) -> Iterator[Burst]:
        """All that were found so far, by their beginning."""
        yield from sorted(self.bursts, key=lambda burst: (burst.since, burst.actor))
