"""Simulated sessions: the same for the same options, as many as asked for, with the faults asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from functools import lru_cache

import numpy as np
import pytest

from logscope.correlate.layout import NULL, SECOND
from logscope.errors import UsageError
from logscope.simulate import KINDS, Fault, Host, Options, Simulation, balancers, labels, parse_fault
from logscope.simulate.layout import *
from logscope.simulate.rhythm import rates
from logscope.simulate.site import STREAMS
from logscope.simulate.tables import tables

DAY = Options(2_000, duration_s=86400.0, seed=3)
HOUR = 3600.0


@lru_cache(maxsize=4)
def drawn(options: Options, size: int = 1 << 15, *, machine_code: bool = True) -> list[np.ndarray]:
    """All sessions, messages and deliveries; rows that name rows of the block are numbered through."""
    parts: list[list[np.ndarray]] = [[], [], []]
    sessions = messages = deliveries = 0
    for block in Simulation(options, machine_code=machine_code).blocks(size):
        s, m, d = block.sessions.copy(), block.messages.copy(), block.deliveries.copy()
        s[S_FIRST_MESSAGE] += messages
        m[M_SESSION] += np.where(m[M_SESSION] >= 0, sessions, 0)
        m[M_PARENT] += np.where(m[M_PARENT] >= 0, messages, 0)
        m[M_FIRST_DELIVERY] += deliveries
        d[D_MESSAGE] += messages
        sessions, messages, deliveries = sessions + s.shape[1], messages + m.shape[1], deliveries + d.shape[1]
        for part, rows in zip(parts, (s, m, d), strict=True):
            part.append(rows)
    return [np.concatenate(part, axis=1) for part in parts]


@pytest.mark.slow
def test_machine_code_draws_the_same() -> None:
    faults = tuple(
        Fault(kind, 900.0 * number, 1800.0, server=0)
        for number, kind in enumerate(KINDS)
        if kind != "silence"
    )
    options = replace(DAY, sessions=1_200, faults=faults, inner=(Host("inner1", "172.20.5.9"),))
    for plain, fast in zip(drawn(options, machine_code=False), drawn(options), strict=True):
        assert np.array_equal(plain, fast)


def test_another_seed_draws_others() -> None:
    first, second = drawn(DAY)[0], drawn(replace(DAY, seed=4))[0]
    assert not np.array_equal(first[S_AT], second[S_AT])
    assert np.array_equal(first, drawn(DAY)[0])


def test_sessions_do_not_depend_on_the_size_of_blocks() -> None:
    assert np.array_equal(drawn(DAY)[0][:S_FIRST_MESSAGE], drawn(DAY, 100)[0][:S_FIRST_MESSAGE])


def test_as_many_as_asked_for_in_order_and_in_time() -> None:
    at = drawn(DAY)[0][S_AT]
    assert len(at) == DAY.sessions
    assert (np.diff(at) >= 0).all()
    assert DAY.start_ns <= at[0]
    assert at[-1] < DAY.end_ns
    assert list(Simulation(replace(DAY, sessions=0)).blocks()) == []


def test_day_and_week_have_their_rhythm() -> None:
    week = Options(20_000, seed=5, duration_s=7 * 86400.0)
    counts = Simulation(week).plan.counts[:, STREAMS.index("mail")].reshape(7, 24, -1).sum(axis=2)
    assert counts[0, 10] > 2 * counts[0, 4]  # Monday morning and Monday night
    assert counts[6].sum() < 0.6 * counts[2].sum()  # Sunday and Wednesday
    holiday = replace(week, holidays=(date(2026, 11, 25),))
    assert Simulation(holiday).plan.counts.reshape(7, 24 * 60, -1)[2, :, 0].sum() < 0.6 * counts[2].sum()
    flat = Simulation(replace(week, rhythm=0.0)).plan.counts[:, 0].reshape(7, -1).sum(axis=1)
    assert flat.max() < 1.15 * flat.min()


def test_a_weekend_does_not_begin_at_the_stroke_of_midnight() -> None:
    options = Options(1_000, duration_s=7 * 86_400.0, holidays=(date(2026, 11, 25),))
    moments_s = np.arange(0.0, options.duration_s, 600.0)
    for stream in ("mail", "bots", "users"):
        steps = np.abs(np.diff(np.log(rates(stream, moments_s, options))))
        assert steps[np.abs((moments_s[1:] + 7200) % 86_400 - 7200) <= 3600].max() < 0.2
    noon = rates("mail", np.array([1.5, 2.5]) * 86_400.0, options)
    assert noon[1] == pytest.approx(0.36 * noon[0])  # Wednesday is a holiday, by day as before


def test_the_rhythm_follows_summer_time() -> None:
    """Users begin at the same hour of their clock before and after it is put forward."""
    options = Options(
        1, start=datetime(2026, 3, 25, tzinfo=UTC), duration_s=10 * 86400.0, zone="Europe/Berlin"
    )
    users = rates("users", np.arange(0.0, 10 * 86400.0, 3600.0), options).reshape(10, 24)
    before, after = users[1], users[7]  # Thursdays on both sides of 2026-03-29
    assert np.allclose(before[1:], after[:-1])


def test_growth_and_unrest_change_the_counts() -> None:
    two_weeks = Options(40_000, duration_s=14 * 86400.0, growth=0.5)
    weeks = Simulation(two_weeks).plan.counts.reshape(2, -1).sum(axis=1)
    assert 1.35 < weeks[1] / weeks[0] < 1.65
    calm, restless = (
        Simulation(Options(100_000, rhythm=0.0, unrest=unrest)).plan.counts.reshape(168, -1).sum(axis=1).std()
        for unrest in (0.0, 0.3)
    )
    assert restless > 3 * calm


def test_a_few_clients_come_often_and_many_hardly_ever() -> None:
    clients = np.sort(np.bincount(drawn(replace(DAY, sessions=6_000))[0][S_CLIENT]))[::-1]
    assert clients[:5].sum() > 0.15 * clients.sum()
    assert np.median(clients[clients > 0]) <= 5


def test_sessions_of_one_address_overlap_by_the_hundred() -> None:
    options = Options(1_500, duration_s=15.0, one_address=True, rhythm=0.0)
    s = drawn(options)[0]
    assert len(np.unique(s[S_LO])) == 1
    assert s[S_OPEN].max() > 150
    pids = np.stack([s[S_SERVER], s[S_PID]])
    for server, pid in np.unique(pids, axis=1).T:  # a process serves one session at a time
        mine = (s[S_SERVER] == server) & (s[S_PID] == pid) & (s[S_SMTPD_AT] != NULL)
        order = np.argsort(s[S_SMTPD_AT][mine])
        assert (s[S_SMTPD_AT][mine][order][1:] > s[S_SMTPD_END][mine][order][:-1]).all()


def test_ports_of_a_client_are_used_again_but_never_twice_at_once() -> None:
    s = drawn(Options(6_000, duration_s=60.0, one_address=True, rhythm=0.0))[0]
    assert s[S_OPEN].max() > 200
    until: dict[int, int] = {}
    again = 0
    for port, at, duration in zip(s[S_PORT].tolist(), s[S_AT].tolist(), s[S_DURATION].tolist(), strict=True):
        again += port in until
        assert until.get(port, 0) <= at
        until[port] = at + duration * MILLISECOND
    assert again > 100


def test_queue_ids_are_unique_on_a_host() -> None:
    m = drawn(DAY)[1]
    assert m.shape[1] > 800
    assert len(np.unique(np.stack([m[M_SERVER], m[M_QUEUE_ID]]), axis=1).T) == m.shape[1]


def test_the_mail_adds_up() -> None:
    s, m, d = drawn(
        replace(DAY, faults=(Fault("deferrals", 0.0, 12 * HOUR), Fault("bounces", 0.0, size=0.2)))
    )
    own = m[M_SESSION] >= 0
    assert np.array_equal(np.bincount(m[M_SESSION][own], minlength=s.shape[1]), s[S_MESSAGES])
    assert np.array_equal(np.bincount(d[D_MESSAGE], minlength=m.shape[1]), m[M_DELIVERIES])
    assert (m[M_PARENT][~own] >= 0).all()
    assert (~own).sum() > 5
    assert (m[M_ATTEMPTS] > 1).sum() > 5
    removed = m[M_REMOVED] != NULL
    last = np.zeros(m.shape[1], np.int64)
    np.maximum.at(last, d[D_MESSAGE], d[D_AT])
    assert (m[M_REMOVED][removed] > last[removed]).all()


def test_every_server_has_its_turn_and_a_weight_shifts_it() -> None:
    servers = np.bincount(drawn(DAY)[0][S_SERVER])
    assert servers.max() - servers.min() <= 2
    heavy = drawn(replace(DAY, faults=(Fault("imbalance", 0.0, server=2, size=2.0),)))[0]
    assert np.bincount(heavy[S_SERVER])[2] == pytest.approx(DAY.sessions / 2, abs=3)


def test_a_chain_of_balancers_has_a_port_of_each() -> None:
    s = drawn(replace(DAY, inner=(Host("inner1", "172.20.5.9"), Host("inner2", "172.20.5.10"))))[0]
    assert (s[S_OUTER_PORT] > 0).all()
    pairs = np.stack([s[S_NUMBER] % 2, s[S_SERVER], s[S_BACK_PORT]])
    assert len(np.unique(pairs, axis=1).T) == s.shape[1]


# --- faults -------------------------------------------------------------------------------------------------


def share(mask: np.ndarray, of: np.ndarray) -> float:
    return float((mask & of).sum() / max(of.sum(), 1))


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_is_seen_while_it_lasts(kind: str) -> None:
    """Sessions or mail differ from those without it, and only from its beginning on."""
    fault = Fault(kind, 10 * HOUR, 2 * HOUR, server=1 if KINDS[kind].scope == "server" else None)
    options = replace(DAY, faults=(fault,))
    plain, struck = Simulation(DAY), Simulation(options)
    before = plain.plan.edges[1:] <= DAY.start_ns + round(10 * HOUR * 1e9)
    same = plain.plan.counts[before]
    assert np.array_equal(same, struck.plan.counts[: len(same), : same.shape[1]])
    ours, theirs = drawn(DAY), drawn(options)
    number = int(same.sum())
    facts = [row for row in range(S_WIDTH) if row not in (S_STREAM, S_CLIENT, S_CONDITION, S_OUTCOME)]
    assert np.array_equal(ours[0][facts, :number], theirs[0][facts, :number])
    assert any(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_faults_have_their_size() -> None:
    busy = replace(DAY, sessions=8_000, rhythm=0.0)
    within = (np.array([6, 9]) * HOUR * 1e9).astype(np.int64) + DAY.start_ns

    def during(kind: str, size: float, **scope: int | str) -> np.ndarray:
        s = drawn(replace(busy, faults=(Fault(kind, 6 * HOUR, 3 * HOUR, size, **scope),)))[0]  # type: ignore[arg-type]
        return s[:, (s[S_AT] >= within[0]) & (s[S_AT] < within[1])]

    assert during("surge", 3.0).shape[1] == pytest.approx(3_000, rel=0.1)
    assert during("drop", 0.6).shape[1] == pytest.approx(400, rel=0.2)
    assert during("silence", 1.0).shape[1] == 0
    assert (during("auth_guessing", 5.0)[S_FAULT] == 0).sum() == pytest.approx(900, rel=0.15)
    s = during("server_rejects", 0.5, server=1)
    assert share(s[S_REJECT] == R_SERVER, s[S_SERVER] == 1) > 0.25
    assert share(s[S_REJECT] == R_SERVER, s[S_SERVER] != 1) == 0.0
    s = during("masked", 1.0, server=0)
    assert share(s[S_HEADER] == H_MASKED, s[S_SERVER] == 0) == 1.0
    assert share(s[S_HEADER] == H_MASKED, s[S_SERVER] != 0) == 0.0
    s = during("masked", 1.0, service="submission")
    assert np.array_equal(s[S_HEADER] == H_MASKED, s[S_SERVICE] == 1)
    s = during("slow_connect", 10.0)
    assert np.median(s[S_CONNECT]) >= 10
    s = during("no_server", 1.0)
    assert (s[S_SERVER] < 0).mean() > 0.95
    s = during("header_missing", 1.0, server=2)
    assert (s[S_DURATION][s[S_HEADER] == H_MISSING] >= 5000).all()
    s = during("clock_step", 5.0, server=1)
    assert set(s[S_SKEW][s[S_SERVER] == 1].tolist()) == {5_000_000_000}


def test_labels_say_what_was_made_to_happen() -> None:
    options = replace(DAY, faults=(Fault("surge", 7200.0, 600.0), Fault("server_down", 60.0, 90.0, server=2)))
    first, second = labels(options)
    assert (first["kind"], first["fault"], first["server"], first["scope"]) == (
        "server_down",
        1,
        "mx-c",
        "server",
    )
    assert first["start"] == options.start_ns + 60 * SECOND
    assert second["end"] == options.start_ns + 7800 * SECOND
    assert second["size"] == KINDS["surge"].usual


def test_a_fault_is_read_from_text() -> None:
    names = ("mx-a", "mx-b")
    assert parse_fault("masked@36h+1d12h:server=mx-b,service=smtp", names) == Fault(
        "masked", 36 * HOUR, 36 * HOUR, None, 1, service="smtp"
    )
    assert parse_fault("surge@90:size=2.5") == Fault("surge", 90.0, None, 2.5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("surge", "says not when"),
        ("surge@soon", "no length of time"),
        ("surge@1h+0s", "more than nothing"),
        ("flood@1h", "unknown fault"),
        ("masked@1h:server=mx-z", "there is no server 'mx-z'"),
        ("masked@1h:colour=red", "is none of size="),
        ("surge@1h:size=big", "is no number"),
        ("masked@1h:size=2", "share from 0 to 1"),
        ("masked@1h:service=imap", "unknown service"),
        ("surge@1h:server=mx-a", "surge strikes no single server"),
        ("masked@1h:destination=3", "masked strikes no single destination"),
        ("deferrals@1h:destination=40", "there are 0 to 39"),
    ],
)
def test_a_fault_that_makes_no_sense_is_explained(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_fault(text, ("mx-a", "mx-b"))


def test_one_balancer_alone_loses_lines() -> None:
    fault = Fault("balancer_log_loss", 0.0, size=0.5, balancer=1)
    s = drawn(replace(DAY, balancers=balancers(2), faults=(fault,)))[0]
    lost = s[S_LOST] & 1 == 1
    assert set(s[S_BALANCER][lost].tolist()) == {1}
    assert 0.4 < lost.sum() / (s[S_BALANCER] == 1).sum() < 0.6


# --- tables -------------------------------------------------------------------------------------------------


def test_tables_hang_together() -> None:
    found = tables(Simulation(DAY, machine_code=True), ("sessions", "messages", "deliveries"))
    sessions, messages, deliveries = (found[name].to_pylist() for name in found)
    mail = {(row["mta_host"], row["queue_id"]): row for row in messages}
    assert len(mail) == len(messages)
    by_id = {row["session_id"]: row for row in sessions}
    for row in messages:
        if row["session_id"] is not None:
            assert row["queue_id"] in by_id[row["session_id"]]["queue_ids"]
    assert all((row["mta_host"], row["queue_id"]) in mail for row in deliveries)


def test_what_is_not_logged_is_not_in_the_tables() -> None:
    faults = (
        Fault("balancer_log_loss", 0.0, size=1.0), Fault("log_gap", 12 * HOUR, server=0),
        Fault("header_missing", 18 * HOUR, server=1),
    )  # fmt: skip
    rows = tables(Simulation(replace(DAY, faults=faults), machine_code=True))["sessions"].to_pylist()
    assert len(rows) < DAY.sessions
    assert {row["balancer"] for row in rows} == {None}
    afternoon = DAY.start_ns + round(12 * HOUR * 1e9)
    late = [row for row in rows if row["mta_connected_at"].value >= afternoon]
    assert {row["mta_host"] for row in late} == {"mx-b", "mx-c"}
