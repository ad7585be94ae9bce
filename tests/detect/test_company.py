"""Sessions that only the balancer saw, and whose they are at the mail server."""

from __future__ import annotations

import numpy as np
import pytest

from logscope.correlate.layout import SECOND
from logscope.detect.company import Fit, Lone, fits
from logscope.detect.sample import Sample, Times
from logscope.detect.tally import PASSED, Cell, Peer

LB = "10.0.0.5"


def sessions(seed: int, count: int, pace_s: float = 3.0) -> Times:
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.exponential(pace_s, count)) + 1.7e9
    return (np.stack([starts, starts + random.choice([0.1, 2.5, 9], count)], axis=1) * SECOND).astype(
        np.int64
    )


def sampled(times: Times, clients: list[str] | None = None) -> Sample:
    sample = Sample()
    sample.add(times, (lambda places: [clients[place] for place in places]) if clients else None)
    return sample


def peer(times: Times, *, quiet: Times | None = None, names: set[str] | None = None) -> Peer:
    found = Peer(sample=sampled(times // SECOND * SECOND))
    found.span.add(len(times), times[:, 0])
    if quiet is not None:
        found.quiet = sampled(quiet // SECOND * SECOND)
        found.span.add(len(quiet), quiet[:, 0])
    found.names.add(len(names or ()), names or ())
    return found


def fitted(
    lone: Times,
    peers: dict[str | None, Peer],
    seen: Times | None = None,
    clients: list[str] | None = None,
    known: frozenset[str] = frozenset(),
) -> Fit | None:
    cell = Cell()
    if seen is not None:
        cell.timeline.add(seen[:, 0], np.full(len(seen), PASSED))
    return fits(Lone.of([[sampled(lone, clients)]]).without({}), peers, [cell], known, ())


@pytest.mark.parametrize("count", [5, 40, 400])
def test_an_address_that_comes_and_goes_with_them_stands_for_them(count: int) -> None:
    lone = sessions(1, count)
    found = fitted(lone, {LB: peer(lone), "203.0.113.9": peer(sessions(2, count))}, sessions(3, 3 * count))
    assert found is not None
    assert found.addresses == (LB,)
    assert found.pairing.share_one > 0.9


def test_another_that_only_comes_as_often_does_not() -> None:
    lone = sessions(1, 60)
    assert fitted(lone, {LB: peer(sessions(2, 60))}, sessions(3, 200)) is None


def test_busy_logs_tell_by_nobody_else_being_seen() -> None:
    lone = sessions(1, 300, 0.02)
    assert fitted(lone, {LB: peer(lone)}) is not None
    assert fitted(lone, {LB: peer(lone)}, sessions(3, 900, 0.006)) is None


def test_names_of_many_clients_tell_too() -> None:
    lone = sessions(1, 300, 0.02)
    names = {"mail1.sender.example", "mail2.sender.example", "mail3.sender.example"}
    assert fitted(lone, {LB: peer(lone, names=names)}, sessions(3, 900, 0.006)) is not None


def test_health_checks_of_the_same_address_do_not_hide_it() -> None:
    lone = sessions(1, 40)
    checks = np.repeat(np.arange(lone[0, 0], lone[-1, 0], 2 * SECOND)[:, None], 2, axis=1)
    found = fitted(lone, {LB: peer(lone, quiet=checks)}, sessions(3, 120))
    assert found is not None
    assert found.pairing.share_other > 0.8


def test_a_client_with_sessions_of_its_own_is_not_a_balancer() -> None:
    lone = sessions(1, 40)
    assert fitted(lone, {LB: peer(lone)}, clients=[LB] * 40) is None


def test_lone_sessions_of_named_clients_are_left_out() -> None:
    lone = Lone.of([[sampled(sessions(1, 6), ["a", "a", "a", "b", "c", "c"])]])
    rest = lone.without({"a": 2, "c": 9})
    assert rest.clients == ["a", "b"]
    assert len(rest.seen) == 4
    assert rest.own == {"a": 3, "b": 1, "c": 2}


def test_where_clocks_are_known_only_sessions_of_the_same_moment_explain() -> None:
    """Pieces of sessions whose lines were lost are unexplained, too, but at other moments."""
    times = sessions(1, 4, 60.0)
    lone = Lone.of([[sampled(times, ["a", "a", "b", "c"])]])
    near = {"a": times[:1, 0] + SECOND, "b": times[2:3, 0] + 3600 * SECOND}
    assert lone.without({"a": 9, "b": 9, "c": 9}, near).clients == ["a", "b", "c"]
    assert lone.without({"a": 9, "b": 9, "c": 9}).clients == []


def test_owners_stay_with_their_sessions() -> None:
    lone = Lone.of([[sampled(sessions(1, 10))], [sampled(sessions(2, 5))]])
    assert np.bincount(lone.owner).tolist() == [10, 5]
    assert (np.diff(lone.times[:, 0]) >= 0).all()


@pytest.mark.parametrize(("known", "found"), [(frozenset({LB}), True), (frozenset(), False)])
def test_where_machines_are_slow_half_of_a_balancers_sessions_will_do(
    known: frozenset[str], found: bool
) -> None:
    lone = sessions(1, 60, pace_s=9.0)
    late = lone.copy()
    late[::2] += 4 * SECOND  # logged seconds late, every other one
    assert (fitted(lone, {LB: peer(late)}, known=known) is not None) is found
    assert fitted(lone, {LB: peer(late)}, sessions(3, 300), known=known) is None  # others were seen
