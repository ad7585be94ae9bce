"""Series that are watched together, from the ledger to alarms.

A panel knows for each of its series where its counts come from, what is usual, and how large the evidence
grows when nothing is wrong: most logs are less even than chance alone, and a threshold that does not know
that is either deaf or a nuisance. That scale is learnt from the series' own excursions, the largest of them
left out, since they may be what is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logscope.detect.anomalies import cusum
from logscope.detect.anomalies.ledger import Ledger
from logscope.detect.anomalies.seasons import Season

Floats = NDArray[np.float64]
Pairs = tuple[tuple[int, int], ...]

_HISTORY = 720
_QUIET = 20
_DROPPED = 3
"""Largest excursions of a series that say nothing about what is usual."""
_LEAST_EXCURSIONS = 12
_MOST_SCALE = 40.0
_UNSEASONED = 15.0
"""Ticks of memory where the shape of a day is not known."""


@dataclass(frozen=True)
class Scope:
    """Where: `fleet`, `balancer`, `listener`, `server`, `host`, `destination`, with its name."""

    type: str
    name: str = ""


FLEET = Scope("fleet")


@dataclass(frozen=True)
class Series:
    """One series of counts.

    Attributes:
        detector: what watches it.
        scope: where.
        what: family and value of the code.
        counts: pairs of the ledger that are added up.
        trials: the same for what the counts are a share of; empty for a rate.
        parts: pairs whose share of `wholes` is what is expected as a share, tick by tick (a server's part of
        the
            sessions), instead of a season.
        wholes: see `parts`.
        season: what is usual.
        unit: for the words: `sessions`, `deliveries`, `messages`.
        prior: how many counts (or trials) the season is worth at the start.
        floor: least expected share.
    """

    detector: str
    scope: Scope
    what: tuple[str, str]
    counts: Pairs
    season: Season
    trials: Pairs = ()
    parts: Pairs = ()
    wholes: Pairs = ()
    unit: str = "sessions"
    prior: float = 20.0
    floor: float = 0.002

    @property
    def key(self) -> str:
        """Names the series in a stored baseline."""
        return "/".join((self.detector, self.scope.type, self.scope.name, *self.what))


@dataclass
class Alarm:
    """A series that is found changed.

    Attributes:
        series: which.
        factor: of the test that found it: above 1 a rise.
        since, detected: ticks.
        until: tick after the last that belongs to it; None while it goes on.
        observed, expected, trials: counts from `since` to `until`.
        strength: evidence over its threshold, at most a little above 1 for a sum that was capped.
        scale: of the series.
        last: tick after the latest that added to the evidence.
    """

    series: Series
    factor: float
    since: int
    detected: int
    until: int | None
    observed: float
    expected: float
    trials: float
    strength: float
    scale: float = 1.0
    last: int = 0

    @property
    def up(self) -> bool:
        return self.factor > 1

    @property
    def excess(self) -> float:
        """Counts above (or below) what was expected."""
        return self.observed - self.expected


@dataclass(frozen=True)
class Rules:
    """How a panel judges.

    Attributes:
        tests: the changes waited for.
        shares: whether its series are shares.
        threshold: of the evidence, before the series' own scale.
        half_life: least and most ticks of memory.
        known: counts that the memory should hold.
        least_scale: scale of a series about which nothing is known yet.
        longest_hold: ticks after which a lasting change is the new level.
        leak: evidence that is forgotten in a minute, so that rare events hours apart do not add up.
        sparse: events are few, and each is a good part of the evidence: one alone is no excursion, and a rise
            begins where that is likeliest, not where the evidence was last nothing.
    """

    tests: tuple[cusum.Test, ...]
    shares: bool
    threshold: float
    half_life: tuple[float, float] = (20.0, 360.0)
    known: float = 400.0
    least_scale: float = 1.0
    longest_hold: int = 720
    leak: float = 0.02
    sparse: bool = False


@dataclass
class _Learnt:
    """What was computed for learning, and is needed again if the same stretch is judged."""

    first: int
    after: int
    ticks: cusum.Ticks
    settings: cusum.Settings
    calm: cusum.Calm


class Panel:
    """Some series under the same rules.

    Args:
        ledger: where the counts are.
        series: what is watched.
        rules: how.
        scales: of series that are known from before, by key: one number for each test.
    """

    def __init__(
        self,
        ledger: Ledger,
        series: Sequence[Series],
        rules: Rules,
        scales: dict[str, list[float]] | None = None,
    ) -> None:
        self.ledger, self.series, self.rules = ledger, list(series), rules
        tests = len(rules.tests)
        known = scales or {}
        self.scales = (
            np.array([known.get(one.key, [rules.least_scale] * tests) for one in self.series], np.float64)
            .reshape(-1, tests)
            .T
        )
        self._settings: cusum.Settings | None = None
        self._state: cusum.State | None = None
        self.open: dict[tuple[int, int], Alarm] = {}
        self._history: list[tuple[int, Floats, Floats, Floats]] = []
        self._learnt: _Learnt | None = None

    # --- data -----------------------------------------------------------------------------------------------

    def _ticks(self, first: int, after: int) -> cusum.Ticks:
        """Counts, what is usual, and trials."""
        ledger = self.ledger
        cached: dict[Pairs, Floats] = {}

        def of(pairs: Pairs) -> Floats:
            if pairs not in cached:
                cached[pairs] = ledger.series(pairs, first, after).astype(np.float64)
            return cached[pairs]

        seconds = (np.arange(first, after) + 0.5) * ledger.tick_s
        counts = np.stack([of(one.counts) for one in self.series], axis=1)
        shape = np.empty_like(counts)
        trials = np.empty_like(counts) if self.rules.shares else None
        usual: dict[int, Floats] = {}
        for at, one in enumerate(self.series):
            if one.parts:
                part, whole = of(one.parts), of(one.wholes)
                shape[:, at] = np.clip((part + 0.5) / (whole + 2.0), 1e-4, 1 - 1e-4)
            else:
                if id(one.season) not in usual:
                    usual[id(one.season)] = one.season.at(seconds.astype(np.float64))
                shape[:, at] = usual[id(one.season)] * (1.0 if self.rules.shares else ledger.tick_s)
            if trials is not None:
                trials[:, at] = np.maximum(of(one.trials), counts[:, at])
        return cusum.ticks_of(counts, shape, trials)

    def _configure(self, ticks: cusum.Ticks) -> cusum.Settings:
        rules = self.rules
        counts, trials = ticks.counts, ticks.whole
        rate = (np.minimum(trials, 20 * counts + 0.05 * trials) if rules.shares else counts).mean(axis=0)
        low, high = rules.half_life
        slow = 60 / self.ledger.tick_s
        half_life = np.clip(rules.known / np.maximum(rate, 1e-9), low * min(slow, 3), high * min(slow, 3))
        if not rules.shares:
            # without a season the level alone has to follow the morning, in which rates double in an hour
            flat = np.array([one.season.days.std() == 0 for one in self.series])
            half_life = np.where(flat, np.minimum(half_life, _UNSEASONED * min(slow, 3)), half_life)
        return cusum.Settings(
            rules.tests,
            half_life,
            10 if slow == 1 else 12,
            rules.longest_hold,
            np.array([one.prior for one in self.series]),
            np.array([one.floor for one in self.series]),
            rules.shares,
            warm_up=5 if slow == 1 else 12,
            leak=rules.leak / slow,
        )

    # --- learning -------------------------------------------------------------------------------------------

    def learn(self, first: int, after: int) -> None:
        """Learn how large the evidence grows by itself, from a stretch of time."""
        if not self.series or after - first < 60:
            return
        ticks = self._ticks(first, after)
        settings = self._configure(ticks)
        calm = cusum.at_once(settings, cusum.start(settings, len(self.series)), ticks, first)
        self._learnt = _Learnt(first, after, ticks, settings, calm)
        paths = calm[0]
        for test in range(len(self.rules.tests)):
            for at in range(len(self.series)):
                self.scales[test, at] = max(
                    self.scales[test, at],
                    excursion_scale(paths.sums[:, test, at], self.rules.least_scale, self.rules.sparse),
                )

    @property
    def thresholds(self) -> Floats:
        """[tests, series]"""
        return self.rules.threshold * self.scales

    # --- watching -------------------------------------------------------------------------------------------

    def advance(self, first: int, after: int) -> Iterator[Alarm]:
        """Watch some more ticks; hands out alarms that are over. Those that are not are in `open`."""
        if not self.series or after <= first:
            return
        learnt, self._learnt = self._learnt, None
        calm = None
        if learnt is not None and (learnt.first, learnt.after) == (first, after) and self._state is None:
            ticks, self._settings, calm = learnt.ticks, learnt.settings, learnt.calm
        else:
            ticks = self._ticks(first, after)
        if self._settings is None:
            self._settings = self._configure(ticks)
        if self._state is None:
            self._state = cusum.start(self._settings, len(self.series))
        paths = cusum.run(self._settings, self._state, ticks, self.thresholds, first, calm)
        self._remember(first, ticks, paths.expected)
        yield from self._alarms(paths, first)

    def lasting(self, now: int) -> Iterator[Alarm]:
        """Alarms that are not over. One to whose evidence nothing was added for a while ended then, though
        nothing has spoken against it either.
        """
        for alarm in self.open.values():
            alarm.until = alarm.last if now - alarm.last > _QUIET else None
            yield alarm

    def _remember(self, first: int, ticks: cusum.Ticks, expected: NDArray[np.float32]) -> None:
        counts = ticks.counts
        self._history.append((first, counts, expected.astype(np.float64), ticks.whole))
        newest = first + len(counts)
        while len(self._history) > 1 and self._history[0][0] + len(self._history[0][1]) < newest - _HISTORY:
            self._history.pop(0)

    def _alarms(self, paths: cusum.Paths, first: int) -> Iterator[Alarm]:
        thresholds = self.thresholds
        passed = (paths.sums > thresholds[None]).any(axis=0)
        for test, at in {*zip(*(part.tolist() for part in np.nonzero(passed)), strict=True), *self.open}:
            yield from self._episodes(
                test,
                at,
                paths.sums[:, test, at],
                paths.begun[:, test, at],
                float(thresholds[test, at]),
                first,
            )

    def _episodes(
        self,
        test: int,
        at: int,
        sums: NDArray[np.float32],
        begun: NDArray[np.int64],
        threshold: float,
        first: int,
    ) -> Iterator[Alarm]:
        """Alarms of one sum: from where it passes its threshold to where it is back at zero."""
        tick, ticks = 0, len(sums)
        key = (test, at)
        while tick < ticks:
            alarm = self.open.get(key)
            if alarm is None:
                over = np.nonzero(sums[tick:] > threshold)[0]
                if not len(over):
                    return
                tick += int(over[0])
                alarm = Alarm(
                    self.series[at], self.rules.tests[test].factor, int(begun[tick]), first + tick, None,
                    0, 0, 0, 0, float(self.scales[test, at]),
                )  # fmt: skip
                alarm.since = self._likeliest(alarm, at) if alarm.up and self.rules.sparse else alarm.since
                self.open[key] = alarm
            zero = np.nonzero(sums[tick:] <= 0)[0]
            end = tick + int(zero[0]) if len(zero) else ticks
            part = sums[tick:end]
            alarm.last = max(alarm.last, first + tick + _last_rise(part, threshold))
            alarm.strength = max(alarm.strength, float(part.max(initial=0.0)) / threshold)
            self._measure(alarm, at, alarm.last)
            tick = end
            if len(zero):
                alarm.until = max(alarm.last, alarm.detected + 1)
                del self.open[key]
                yield alarm

    def _likeliest(self, alarm: Alarm, at: int) -> int:
        """Since when a share is changed, most likely: of all ticks since its evidence was last nothing, that
        from which what was seen until it was found is the least to be expected (Hinkley 1970). Few events,
        hours apart, keep a little evidence alive, and with it a date that is too early.
        """
        after = alarm.detected + 1
        seen, due, tried = (np.zeros(after - alarm.since) for _ in range(3))
        for first, counts, usual, whole in self._history:
            low, high = max(alarm.since, first), min(after, first + len(counts))
            if low < high:
                here, there = slice(low - alarm.since, high - alarm.since), slice(low - first, high - first)
                seen[here], due[here], tried[here] = (part[there, at] for part in (counts, usual, whole))
        seen, due, tried = (np.cumsum(part[::-1])[::-1] for part in (seen, due, tried))
        rest, usual_rest = np.maximum(tried - seen, 1e-9), np.maximum(tried - due, 1e-9)
        likelier = seen * np.log(np.maximum(seen, 1e-9) / np.maximum(due, 1e-9))
        likelier += rest * np.log(rest / usual_rest)
        return alarm.since + int(np.argmax(np.where(seen > due, likelier, 0.0)))

    def _measure(self, alarm: Alarm, at: int, after: int) -> None:
        """Observed and expected counts since the change, as far as they are still known."""
        observed = expected = trials = 0.0
        for first, counts, usual, tried in self._history:
            low, high = max(alarm.since, first) - first, min(after, first + len(counts)) - first
            if low < high:
                observed += float(counts[low:high, at].sum())
                expected += float(usual[low:high, at].sum())
                trials += float(tried[low:high, at].sum())
        alarm.observed, alarm.expected, alarm.trials = observed, expected, trials

    def expected(self, at: int, since: int, until: int) -> tuple[float, float]:
        """Observed and expected counts of a series between two ticks."""
        probe = Alarm(self.series[at], 2.0, since, since, until, 0, 0, 0, 0)
        self._measure(probe, at, until)
        return probe.observed, probe.expected

    def plotted(self, alarm: Alarm, first: int, after: int) -> tuple[list[float], list[float]]:
        """Counts and expectation of an alarm's series for a plot."""
        at = self.series.index(alarm.series)
        observed, expected = np.zeros(after - first), np.zeros(after - first)
        for start, counts, usual, _ in self._history:
            low, high = max(first, start), min(after, start + len(counts))
            if low < high:
                observed[low - first : high - first] = counts[low - start : high - start, at]
                expected[low - first : high - first] = usual[low - start : high - start, at]
        return observed.tolist(), expected.tolist()


def _last_rise(sums: NDArray[np.float32], threshold: float) -> int:
    """The tick after the last in which the evidence rose, or was as high as it is kept, while above the
    threshold.
    """
    rising = np.concatenate(([True], np.diff(sums) > 0)) | (sums >= threshold + cusum.HEADROOM - 0.01)
    found = np.nonzero(rising & (sums >= max(threshold, float(sums.max(initial=0.0)) - 2.0)))[0]
    return int(found[-1]) + 1 if len(found) else 0


def excursion_scale(sums: NDArray[np.float32], least: float, sparse: bool = False) -> float:
    """By how much the evidence's excursions are larger than those of pure chance, whose peaks exceed y with
    chance exp(-y).

    Args:
        least: what it is at least, and where there are too few excursions.
        sparse: half of the excursions are of a single event, and as high as that makes them: only what is
            above them tells anything. An exponential distribution is the same above any height.
    """
    zero = sums <= 0
    if zero.all():
        return least
    starts = np.nonzero(~zero & np.concatenate(([True], zero[:-1])))[0]
    peaks = np.maximum.reduceat(np.where(zero, 0, sums), starts)
    peaks = np.sort(peaks[peaks > 0.5])[::-1]
    dropped = max(_DROPPED, len(peaks) // 50)
    rest = peaks[dropped:]
    if len(rest) < _LEAST_EXCURSIONS:
        return least
    base, many = 0.0, len(peaks)
    if sparse:
        base, many = float(np.median(rest)), len(peaks) // 2
        rest = rest[rest > base]
    mean = float((rest - max(base, 0.5)).mean()) if len(rest) else least
    # the largest that is left, against where it should be: a tail that is heavier than its middle shows
    tail = float(peaks[dropped] - base) / np.log(max(many / (dropped + 1), np.e))
    return float(min(max(least, mean, 0.8 * tail), _MOST_SCALE))
