"""One test for all series of counts: a cumulative sum of the evidence for a change, tick by tick.

Each tick adds the logarithm of how much likelier its count is if the rate (or the share) has changed by a
given factor than if it has not; the sum never falls below zero (Page 1954). Where nothing changes it rarely
grows: the chance that it ever passes `h` between two returns to zero is about exp(-h). Where something does,
it grows as fast as the data allow (Moustakides 1986), so that a doubled rate at fifty a minute shows within
two minutes and a rise of a share by two points within the sessions that this takes, without any window to
choose. The last return to zero says since when.

What is expected is the usual shape (a season, if there is one) times a level that follows the recent past,
from which the last minutes and everything under suspicion are kept out. Where the level is known from few
counts, or the series is known to be unsteady, evidence counts less in proportion (quasi-likelihood).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_AT_ONCE = 256
"""Ticks: the shortest half-life is 20, and 2 to the 13th is no trouble for a double."""

HEADROOM = 6.0
"""A sum stops this far above its threshold, so that the end of a change shows soon."""


@dataclass(frozen=True)
class Test:
    """What change a sum waits for.

    Attributes:
        factor: of the rate, or of the odds of a share; below 1 a fall.
        points: for shares, the least change of the share itself.
        rest: for shares, what part of the others stays others, at least: a share near one does not double.
    """

    __test__ = False

    factor: float
    points: float = 0.0
    rest: float = 0.5


@dataclass
class Settings:
    """How some series are watched; arrays have one number for each series.

    Attributes:
        tests: the changes waited for.
        half_life: ticks in which the past loses half its weight.
        lag: ticks that are kept out of the level, in case they belong to a change.
        longest_hold: ticks after which a lasting change is taken for the new level.
        prior: weight of what the season says, in counts (rates) or trials (shares).
        floor: least share that is expected of anything, so that a first occurrence is no proof.
        shares: whether there are trials.
        warm_up: ticks before anything is judged.
        leak: evidence lost in each tick.
    """

    tests: tuple[Test, ...]
    half_life: Floats
    lag: int
    longest_hold: int
    prior: Floats
    floor: Floats
    shares: bool
    warm_up: int = 5
    leak: float = 0.0


@dataclass
class State:
    """What is carried from tick to tick: arrays for each series, sums for each test and series."""

    sums: Floats
    begun: NDArray[np.int64]
    over: NDArray[np.bool_]
    hold: NDArray[np.int64]
    counted: Floats
    expected: Floats
    trials: Floats
    ring: deque[tuple[Floats, Floats, Floats]] = field(default_factory=deque)
    ticks: int = 0


@dataclass
class Paths:
    """What came of some ticks.

    Attributes:
        sums: float32[ticks, tests, series].
        begun: [ticks, tests, series]: tick of each sum's last return to zero, plus one.
        expected: float32[ticks, series].
    """

    sums: NDArray[np.float32]
    begun: NDArray[np.int64]
    expected: NDArray[np.float32]


Calm = tuple[Paths, Floats]
"""Paths as they are while nothing is found, and the levels before each tick."""


def start(settings: Settings, series: int) -> State:
    """The state before anything was seen."""
    tests = len(settings.tests)
    return State(
        np.zeros((tests, series)),
        np.zeros((tests, series), np.int64),
        np.zeros((tests, series), np.bool_),
        np.zeros(series, np.int64),
        np.zeros(series),
        np.zeros(series),
        np.zeros(series),
    )


@dataclass(frozen=True)
class Ticks:
    """What happened in some ticks: [ticks, series] each.

    Attributes:
        counts: how often it happened.
        shape: what the season expects: a count, or a share of the trials.
        usual: the same as a count.
        whole: trials; the counts again where there are none.
    """

    counts: Floats
    shape: Floats
    usual: Floats
    whole: Floats

    def __len__(self) -> int:
        return len(self.counts)

    def part(self, begin: int, some: NDArray[np.int64] | slice = slice(None)) -> Ticks:
        """The ticks from one on, of some series."""
        arrays = (self.counts, self.shape, self.usual, self.whole)
        return Ticks(*(array[begin:, some] for array in arrays))

    def entry(self, at: int) -> tuple[Floats, Floats, Floats]:
        """What of a tick enters the level."""
        return self.counts[at], self.usual[at], self.whole[at]


def ticks_of(counts: Floats, shape: Floats, trials: Floats | None) -> Ticks:
    """What happened, ready to be watched.

    Args:
        counts: [ticks, series].
        shape: what the season expects: counts where there are no trials, else a share.
        trials: [ticks, series] for shares.
    """
    if trials is None:
        return Ticks(counts, shape, shape, counts)
    return Ticks(counts, shape, shape * trials, trials)


def run(
    settings: Settings,
    state: State,
    ticks: Ticks,
    thresholds: Floats,
    first_tick: int,
    calm: Calm | None = None,
) -> Paths:
    """Watch some ticks.

    The series that stay below their thresholds, nearly all of them, are computed over all ticks at once; from
    the first tick in which one passes, the others go on tick by tick, because what is found then decides what
    enters the level.

    Args:
        settings, state: of these series; the state is changed.
        ticks: what happened.
        thresholds: [tests, series]: where a sum is a finding.
        first_tick: number of the first tick, for `begun`.
        calm: what `at_once` made of the same, if that is known already.
    """
    before = replace(state, ring=deque(state.ring))
    paths, levels = calm or at_once(settings, before, ticks, first_tick)
    passing = np.asarray((paths.sums > thresholds[None]).any(axis=1))
    restless = np.asarray(passing.any(axis=0) | (state.hold != 0) | state.over.any(axis=0))
    end = _state_at(settings, before, len(ticks), paths, levels, ticks)
    if not restless.any():
        vars(state).update(vars(end))
        return paths
    some = np.nonzero(restless)[0]
    disturbed = bool((state.hold != 0).any() or state.over.any())
    begin = 0 if disturbed else int(np.argmax(passing.any(axis=1)))
    part = _selected(_state_at(settings, before, begin, paths, levels, ticks), some)
    narrow = replace(
        settings,
        half_life=settings.half_life[some],
        prior=settings.prior[some],
        floor=settings.floor[some],
    )
    stepped = _on_and_on(narrow, part, ticks.part(begin, some), thresholds[:, some], first_tick + begin)
    for column, at in enumerate(some.tolist()):
        paths.sums[begin:, :, at] = stepped.sums[:, :, column]
        paths.begun[begin:, :, at] = stepped.begun[:, :, column]
    paths.expected[begin:, some] = stepped.expected
    for name in ("counted", "expected", "trials", "hold"):
        getattr(end, name)[some] = getattr(part, name)
    for name in ("sums", "begun", "over"):
        getattr(end, name)[:, some] = getattr(part, name)
    vars(state).update(vars(end))
    return paths


def _on_and_on(settings: Settings, state: State, ticks: Ticks, thresholds: Floats, first_tick: int) -> Paths:
    """Step until all is calm again, and go on at once from there."""
    stepped = _stepwise(settings, state, ticks, thresholds, first_tick)
    done = len(stepped.sums)
    if done == len(ticks):
        return stepped
    rest = run(settings, state, ticks.part(done), thresholds, first_tick + done)
    return Paths(
        np.concatenate((stepped.sums, rest.sums)),
        np.concatenate((stepped.begun, rest.begun)),
        np.concatenate((stepped.expected, rest.expected)),
    )


def _selected(state: State, some: NDArray[np.int64]) -> State:
    """The state of some of the series."""
    return State(
        state.sums[:, some], state.begun[:, some], state.over[:, some], state.hold[some], state.counted[some],
        state.expected[some], state.trials[some],
        deque((x[some], f[some], n[some]) for x, f, n in state.ring), state.ticks,
    )  # fmt: skip


def at_once(settings: Settings, state: State, ticks: Ticks, first_tick: int) -> Calm:
    """The paths as they are while nothing is found, and the levels before each tick: [ticks + 1, 3, …]."""
    length = len(ticks)
    levels = _levels(settings, state, ticks)
    mean, gain = _gains(settings, levels[:length].transpose(1, 0, 2), ticks.counts, ticks.shape, ticks.whole)
    gain[:, : max(0, settings.warm_up - state.ticks)] = 0
    walked = np.cumsum(gain, axis=1) + state.sums[:, None]
    sums = walked - np.minimum(np.minimum.accumulate(walked, axis=1), 0.0)
    moments = np.arange(first_tick + 1, first_tick + length + 1)[None, :, None]
    begun = np.maximum.accumulate(np.where(sums <= 0, moments, state.begun[:, None]), axis=1)
    expected = mean * ticks.whole if settings.shares else mean
    paths = Paths(
        np.ascontiguousarray(sums.transpose(1, 0, 2), np.float32),
        np.ascontiguousarray(begun.transpose(1, 0, 2)),
        expected.astype(np.float32),
    )
    return paths, levels


def _levels(settings: Settings, state: State, ticks: Ticks) -> Floats:
    """Counted, expected and trials as the past has them before each tick: [ticks + 1, 3, series]; the last
    is that before the last tick, again.

    Each is a sum whose terms lose weight with their age; as many as numbers can hold are added up at once.
    """
    length, series = ticks.counts.shape
    entering = np.zeros((length, 3, series))
    held, lag = len(state.ring), settings.lag
    for at in range(max(0, lag - held), min(lag, length)):
        entering[at] = state.ring[held + at - lag]
    for row, values in enumerate((ticks.counts, ticks.usual, ticks.whole)):
        entering[lag:, row] = values[: max(0, length - lag)]
    levels = np.empty((length + 1, 3, series))
    level = np.stack((state.counted, state.expected, state.trials))
    begun = max(0, lag - held)  # before, nothing enters, and the level does not age either
    levels[:begun] = level
    for first in range(begun, length, _AT_ONCE):
        part = entering[first : first + _AT_ONCE]
        weight = 0.5 ** (np.arange(1, len(part) + 1)[:, None] / settings.half_life)[:, None]
        levels[first : first + len(part)] = weight * (level + np.cumsum(part / weight, axis=0))
        level = levels[first + len(part) - 1]
    levels[length] = level
    return levels


def _state_at(
    settings: Settings, before: State, at: int, paths: Paths, levels: Floats, ticks: Ticks
) -> State:
    """The state after `at` of the ticks, nothing having been found."""
    if not at:
        return replace(
            before, sums=before.sums.copy(), begun=before.begun.copy(), over=before.over.copy(),
            hold=before.hold.copy(), counted=before.counted.copy(), expected=before.expected.copy(),
            trials=before.trials.copy(), ring=deque(before.ring),
        )  # fmt: skip
    ring = deque(before.ring)
    ring.extend(ticks.entry(row) for row in range(max(0, at - settings.lag), at))
    while len(ring) > settings.lag:
        ring.popleft()
    counted, expected, trials = levels[at - 1].copy()
    sums = paths.sums[at - 1].astype(np.float64)
    return State(
        sums, paths.begun[at - 1].copy(), np.zeros_like(before.over), np.zeros_like(before.hold), counted,
        expected, trials, ring, before.ticks + at,
    )  # fmt: skip


def _stepwise(settings: Settings, state: State, ticks: Ticks, thresholds: Floats, first_tick: int) -> Paths:
    """Tick by tick, until nothing is found and nothing is held back any more."""
    length, series = ticks.counts.shape
    sums = np.empty((length, len(settings.tests), series), np.float32)
    begun = np.empty((length, len(settings.tests), series), np.int64)
    expected = np.empty((length, series), np.float32)
    decay = 0.5 ** (1 / settings.half_life)
    for at in range(length):
        if at > 1 and not state.hold.any() and not state.over.any():
            return Paths(sums[:at], begun[:at], expected[:at])
        _learn(settings, state, decay)
        level = np.stack((state.counted, state.expected, state.trials))
        mean, gain = _gains(settings, level, ticks.counts[at], ticks.shape[at], ticks.whole[at])
        if state.ticks < settings.warm_up:
            gain[:] = 0
        _advance(state, gain, thresholds, first_tick + at)
        _hold(settings, state, first_tick + at)
        state.ring.append(ticks.entry(at))
        state.ticks += 1
        sums[at], begun[at] = state.sums, state.begun
        expected[at] = mean * ticks.whole[at] if settings.shares else mean
    return Paths(sums, begun, expected)


def _learn(settings: Settings, state: State, decay: Floats) -> None:
    """Let the tick that is `lag` ago enter the level, unless something was wrong then."""
    if len(state.ring) < settings.lag:
        return
    x, f, n = state.ring.popleft()
    fine = state.hold == 0
    weight = np.where(fine, decay, 1.0)
    state.counted = state.counted * weight + np.where(fine, x, 0)
    state.expected = state.expected * weight + np.where(fine, f, 0)
    state.trials = state.trials * weight + np.where(fine, n, 0)


def _gains(settings: Settings, level: Floats, x: Floats, shape: Floats, n: Floats) -> tuple[Floats, Floats]:
    """What is expected, and what each test gains: [tests, …].

    Args:
        level: counted, expected and trials so far, one behind the other.
        x, shape, n: counts, season and trials of one tick, or of many.
    """
    mean, gain, doubt = (
        _share_gains(settings, level, x, shape, n)
        if settings.shares
        else _rate_gains(settings, level, x, shape)
    )
    return mean, gain / (1 + doubt) - settings.leak


def _rate_gains(settings: Settings, level: Floats, x: Floats, shape: Floats) -> tuple[Floats, Floats, Floats]:
    """Poisson counts; in doubt as far as the level is known from fewer counts than ten ticks bring."""
    counted, expected, _ = level
    mean = np.maximum((counted + settings.prior) / (expected + settings.prior) * shape, 1e-6)
    gain = np.stack([x * np.log(test.factor) - mean * (test.factor - 1) for test in settings.tests])
    return mean, gain, 10 * mean / (counted + settings.prior + 1.0)


def _share_gains(
    settings: Settings, level: Floats, x: Floats, shape: Floats, n: Floats
) -> tuple[Floats, Floats, Floats]:
    """Binomial counts; the share is the season's, its odds changed as the recent past has changed them."""
    counted, expected, trials = level
    usual = np.where(trials > 0, expected / np.maximum(trials, 1e-9), shape)
    usual = np.clip(usual, 1e-5, 1 - 1e-5)
    seen = np.clip((counted + settings.prior * usual) / (trials + settings.prior), 1e-5, 1 - 1e-5)
    odds = seen / (1 - seen) / (usual / (1 - usual)) * shape / np.maximum(1 - shape, 1e-5)
    share = np.clip(odds / (1 + odds), settings.floor, 1 - settings.floor)
    gain = np.stack([_share_gain(test, x, n, share) for test in settings.tests])
    return share, gain, 10 * n / (trials + settings.prior + 1.0)


def _share_gain(test: Test, x: Floats, n: Floats, share: Floats) -> Floats:
    odds = share / (1 - share) * test.factor
    other = odds / (1 + odds)
    if test.factor > 1:
        other = np.minimum(np.maximum(other, share + test.points), 1 - (1 - share) * test.rest)
    else:
        other = np.minimum(other, share - test.points)
    # a share that cannot fall so far is not tested: its other is itself, and gains nothing
    other = np.where(other > 0, other, share)
    return np.asarray(x * np.log(other / share) + (n - x) * np.log((1 - other) / (1 - share)))


def _advance(state: State, gain: Floats, thresholds: Floats, tick: int) -> None:
    risen = state.sums + gain
    zero = risen <= 0
    state.sums = np.where(zero, 0.0, np.minimum(risen, thresholds + HEADROOM))
    state.begun = np.where(zero, tick + 1, state.begun)
    state.over = np.where(zero, False, state.over | (state.sums > thresholds))


def _hold(settings: Settings, state: State, tick: int) -> None:
    """Keep a series' level while it is found changed, and while the ticks of the change leave the ring."""
    changed = state.over.any(axis=0)
    hold = np.where(changed, state.hold + 1, 0)
    lasting = changed & (hold > settings.longest_hold)
    if lasting.any():
        # The new level is the usual one from now on: begin anew from what the ring holds.
        state.over[:, lasting] = False
        state.sums[:, lasting] = 0
        state.begun[:, lasting] = tick + 1
        hold[lasting] = 0
        for name in ("counted", "expected", "trials"):
            getattr(state, name)[lasting] *= 0.02
    ended = ~changed & (state.hold > 0)
    hold = np.where(ended, -settings.lag, np.where(~changed & (state.hold < 0), state.hold + 1, hold))
    state.hold = hold
