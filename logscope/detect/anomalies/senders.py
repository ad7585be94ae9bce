"""Senders whose messages are no longer like their own: a taken-over account sends larger ones, or to many.

A sender's minutes are compared with its own past: the mean logarithm of size and of recipients in the last
half hour, and in the last six minutes in which it sent, against that of all before. Who sends in campaigns
sends minutes that are alike; how far one minute predicts the next is learnt for each sender, and so many
fewer of its minutes count (von Neumann 1941). A sender whose whole domain changes as it does is told so: that
is a mailing of the domain, and no matter of one account.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
LEAST_FACTOR, _LEAST_Z = 4.0, 5.0
_FAR, _FARTHER = log(LEAST_FACTOR), log(2)
_ALIKE = 0.8
_LEAST_COMPANY, _COMPANY_PART = 4, 0.5
"""So many others of its domain must have changed as a sender did, and by this part of it at the mean."""
_MOST_PAST = 2000.0
_MOST_SENDERS = 20_000
_MOST_WAITING = 64


Minute = tuple[int, int, float, float]
"""A sender's minute: which, how many messages, and the mean logarithms of their traits."""


Means = tuple[float, float, float, float]
"""Of half an hour, then of a few minutes: each trait's."""


_NOTHING = (-1.0,) * 4


class _Past:
    """Minutes of a trait: how many, their sum, squares, and the squares from one to the next."""

    __slots__ = ("count", "last", "squares", "steps", "total")

    def __init__(self) -> None:
        self.count = self.total = self.squares = self.steps = self.last = 0.0

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


class _Sender:
    """What is known of one.

    Attributes:
        minutes: the last half hour, before it what has not entered the past yet.
        size, recipients: the sums of their logarithms.
        past: of each trait; made when it is needed, which for nearly all it never is.
        high, highest: the largest means of the hours since `since`, and of those before: of half hours, then
            of a few minutes, each trait's.
        burst: what it is found to do, if it is.
        is_account: it logged in.
    """

    __slots__ = (
        "burst", "high", "highest", "is_account", "minutes", "past", "recipients", "since", "size",
    )  # fmt: skip

    def __init__(self, is_account: bool) -> None:
        self.minutes: list[Minute] = []
        self.size = self.recipients = 0.0
        self.past: tuple[_Past, _Past] | None = None
        self.high: tuple[float, ...] = _NOTHING
        self.highest: tuple[float, ...] = _NOTHING
        self.since = 0
        self.burst: Burst | None = None
        self.is_account = is_account

    def add(self, new: Minute) -> None:
        """Take a minute, or more of the last one: a run that goes on takes in parts of minutes."""
        minute, count, size, recipients = new
        if self.minutes and self.minutes[-1][0] == minute:
            _, before, old_size, old_recipients = self.minutes.pop()
            self.size -= old_size
            self.recipients -= old_recipients
            count += before
            size = old_size + (size - old_size) * (count - before) / count
            recipients = old_recipients + (recipients - old_recipients) * (count - before) / count
        self.minutes.append((minute, count, size, recipients))
        self.size += size
        self.recipients += recipients

    def age(self, minute: int) -> tuple[_Past, _Past]:
        """Let what is older than half an hour enter the past, unless it is what was found."""
        if self.past is None:
            self.past = _Past(), _Past()
        minutes, old = self.minutes, 0
        while minutes[old][0] <= minute - _WINDOW:
            _, _, size, recipients = minutes[old]
            self.size -= size
            self.recipients -= recipients
            if self.burst is None:
                self.past[0].add(size)
                self.past[1].add(recipients)
            old += 1
        if old:
            del minutes[:old]
        return self.past

    def comes_often(self, new: Sequence[Minute]) -> bool:
        """Whether, with these minutes, which alone do not, it sent in enough of some half hour; without any,
        whether it did in the last one.
        """
        minutes = self.minutes
        if not new:
            return len(minutes) >= _LEAST_MINUTES and minutes[-1][0] - minutes[-_LEAST_MINUTES][0] < _WINDOW
        if len(minutes) + len(new) < _LEAST_MINUTES or minutes[-1][0] <= new[0][0] - _WINDOW:
            return False
        apart = _LEAST_MINUTES - 1
        known = [*minutes[-apart:], *new[:apart]]
        return any(later[0] - one[0] < _WINDOW for one, later in zip(known, known[apart:], strict=False))

    def means(self) -> Means:
        """Of the last half hour, and of the last minutes in it: each trait's."""
        count = len(self.minutes)
        size, recipients = self.size / count, self.recipients / count
        if count == _LEAST_MINUTES:
            return size, recipients, size, recipients
        newest_size = newest_recipients = 0.0
        for _, _, one_size, one_recipients in self.minutes[-_LEAST_MINUTES:]:
            newest_size += one_size
            newest_recipients += one_recipients
        return size, recipients, newest_size / _LEAST_MINUTES, newest_recipients / _LEAST_MINUTES


def _often(number: Longs, when: Longs) -> NDArray[np.bool_]:
    """Which minutes begin a half hour in which their sender sent in enough of them; all are by sender."""
    apart = _LEAST_MINUTES - 1
    found = np.zeros(len(when), np.bool_)
    if len(when) > apart:
        found[:-apart] = (number[apart:] == number[:-apart]) & (when[apart:] - when[:-apart] < _WINDOW)
    return found


def _when(entry: tuple[str, Minute]) -> int:
    return entry[1][0]


def domain_of(name: str) -> str:
    """What stands behind the @ of a sender; nothing for an account without one."""
    return name.rpartition("@")[2].lower() if "@" in name else ""


class Senders:
    """All who send messages, by account or envelope sender."""

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}
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
        first, last = int(minute.min()), int(minute.max())
        keys, inverse = np.unique(who[rows] * (last - first + 1) + (minute - first), return_inverse=True)
        counts = np.bincount(inverse)
        size = np.bincount(inverse, np.log(sizes[rows])) / counts
        many = np.bincount(inverse, np.log(np.maximum(recipients[rows], 1))) / counts
        number, when = keys // (last - first + 1), keys % (last - first + 1) + first
        minutes = list(zip(when.tolist(), counts.tolist(), size.tolist(), many.tolist(), strict=True))
        starts = np.concatenate(([0], np.nonzero(np.diff(number))[0] + 1))
        often = np.maximum.reduceat(_often(number, when), starts)
        senders = self._senders
        judged: list[tuple[str, Minute]] = []
        bounds = zip(number[starts].tolist(), starts.tolist(), [*starts[1:].tolist(), len(keys)], strict=True)
        for (which, start, end), is_often in zip(bounds, often.tolist(), strict=True):
            name = texts[which]
            sender = senders.get(name)
            if sender is None:
                sender = senders[name] = _Sender(accounts)
            new = minutes[start:end]
            if is_often or sender.burst is not None or (sender.minutes and sender.comes_often(new)):
                judged += [(name, one) for one in new]
                continue
            for one in new:
                sender.add(one)
            if len(sender.minutes) > _MOST_WAITING:
                sender.age(new[-1][0])
        # in order of time: what others of its domain do at the same time says what one sender's change means
        for name, one in sorted(judged, key=_when):
            sender = senders[name]
            sender.add(one)
            if sender.burst is not None or sender.comes_often(()):
                self._judge(name, sender, one)
            elif len(sender.minutes) > _MOST_WAITING:
                sender.age(one[0])
        if len(senders) > 2 * _MOST_SENDERS:
            latest = sorted(senders.items(), key=lambda entry: -entry[1].minutes[-1][0])
            self._senders = dict(latest[:_MOST_SENDERS])

    def _judge(self, name: str, sender: _Sender, new: Minute) -> None:
        """Judge the last half hour of one who sends often, or of whom something was found."""
        minute = new[0]
        pasts = sender.age(minute)
        if sender.burst is not None and len(sender.minutes) == 1:
            sender.burst.over, sender.burst = True, None
        if len(sender.minutes) < _LEAST_MINUTES:
            return
        means = sender.means()
        self._remember_highest(sender, minute, means)
        count = pasts[0].count
        if count < _LEAST_PAST:
            return
        changed = []
        for trait, past in enumerate(pasts):
            far = past.total / count + _FAR  # which few are
            if (means[trait] >= far or means[2 + trait] >= far) and self._has_changed(
                sender, past, trait, means
            ):
                changed.append(trait)
        if sender.burst is not None:
            self._go_on(sender, new, bool(changed))
        elif changed:
            trait = changed[-1]
            self._begin(name, sender, minute, trait, pasts[trait], max(means[trait], means[2 + trait]))

    @staticmethod
    def _remember_highest(sender: _Sender, minute: int, means: Means) -> None:
        """What it did some hours ago it may do again: who sends large reports every night does as ever."""
        if minute - sender.since >= _EPISODE:
            sender.highest = tuple(max(pair) for pair in zip(sender.highest, sender.high, strict=True))
            sender.high, sender.since = _NOTHING, minute
        size, recipients, newest_size, newest_recipients = sender.high
        if means[0] > size or means[1] > recipients or means[2] > newest_size or means[3] > newest_recipients:
            sender.high = tuple(map(max, sender.high, means))

    @staticmethod
    def _has_changed(sender: _Sender, past: _Past, trait: int, means: Means) -> bool:
        usual = past.total / past.count
        whole = len(sender.minutes), means[trait], sender.highest[trait]
        newest = _LEAST_MINUTES, means[2 + trait], sender.highest[2 + trait]
        for minutes, mean, highest in (whole, newest) if _TRAITS[trait] == SIZE else (whole,):
            if mean - usual < _FAR or mean < highest + _FARTHER:
                continue
            if past.surprise(mean, minutes, _FLOORS[trait]) >= _LEAST_Z * (1 + 5 / past.count):
                return True
        return False

    def _begin(self, name: str, sender: _Sender, minute: int, trait: int, past: _Past, mean: float) -> None:
        usual = past.total / past.count
        edge = usual + log(LEAST_FACTOR) / 2
        since = next(one[0] for one in sender.minutes if one[2 + trait] > edge)
        sender.burst = Burst(
            KIND, name, float(since * _MINUTE_S), float((minute + 1) * _MINUTE_S),
            float((minute + 1) * _MINUTE_S), sum(one[1] for one in sender.minutes if one[0] >= since),
            round(exp(mean)), exp(usual), what=_TRAITS[trait], is_account=sender.is_account,
            company=self._company(name, minute, trait, mean, usual),
        )  # fmt: skip
        self.bursts.append(sender.burst)

    def _company(self, name: str, minute: int, trait: int, mean: float, usual: float) -> int:
        """How many others of its domain send as it does now; 0 where they do so at other times, too."""
        domain, begun, edge = domain_of(name), minute - _WINDOW, usual + log(LEAST_FACTOR) / 2
        now, before, alike = [0, 0.0], [0.0, 0.0], 0
        for other, sender in self._senders.items():
            if other == name or domain_of(other) != domain:
                continue
            recent = [one[2 + trait] for one in sender.minutes if begun < one[0] <= minute]
            old = [one[2 + trait] for one in sender.minutes if one[0] <= begun]
            now[0] += len(recent)
            now[1] += sum(recent)
            alike += any(value > edge for value in recent)
            before[0] += len(old)
            before[1] += sum(old)
            if sender.past is not None:
                before[0] += sender.past[trait].count
                before[1] += sender.past[trait].total
        if alike < _LEAST_COMPANY or not before[0]:
            return 0
        shift = now[1] / now[0] - before[1] / before[0]
        return alike if shift >= _COMPANY_PART * (mean - usual) else 0

    @staticmethod
    def _go_on(sender: _Sender, new: Minute, changed: bool) -> None:
        burst = sender.burst
        assert burst is not None
        if changed:
            burst.count += new[1]
            burst.until = float((new[0] + 1) * _MINUTE_S)
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
