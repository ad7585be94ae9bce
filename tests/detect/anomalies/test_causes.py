"""Which signs go together, and which do not: cases that were wrong once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from anomalies.holdout import START_S, Fault, Week

from logscope.detect.anomalies import Finder, Report

HOUR, DAY = 3600, 86_400


def report_of(week: Week) -> Report:
    finder = Finder()
    for table, batch in week.batches():
        finder.add(table, batch)
    return finder.report()


def sessions(times: pa.Array, hosts: np.ndarray, **others: object) -> pa.RecordBatch:
    """Delivered sessions of one service, at servers of these names."""
    count = len(times)
    columns = {
        "accepted_at": times, "mta_connected_at": times, "balancer": ["lb1"] * count,
        "frontend": ["ft_smtp"] * count, "backend": ["bk_smtp"] * count, "server": hosts.tolist(),
        "mta_host": hosts.tolist(), "outcome": ["delivered"] * count,
    }  # fmt: skip
    return pa.record_batch(columns | others)


def test_a_surge_after_a_server_came_back_is_a_surge() -> None:
    """Nobody waits for a server whose peers took the sessions: what comes later is not its aftermath."""
    faults = [
        Fault("server_down", 4800, 720, target="1"),
        Fault("volume_surge", 7200, 600, 4.0),
    ]
    report = report_of(Week(31, 30_000, faults, days=0.125, servers=3))
    assert sorted(one.kind for one in report.findings) == ["server_silent", "surge"]


def test_silence_is_that_of_the_whole_site_though_its_listener_fell_silent_too() -> None:
    fault = Fault("silence", 2 * DAY + 10 * HOUR, 360)
    report = report_of(Week(32, 60_000, [fault], days=3, lines=False))
    assert [(one.kind, one.scope) for one in report.findings] == [("silence", "fleet")]
    assert abs(report.findings[0].since / 1e9 - START_S - fault.start_s) <= 120


@pytest.mark.parametrize("kind", ["connect_latency", "server_latency"])
def test_slowness_is_of_the_server_that_is_slow(kind: str) -> None:
    fault = Fault(kind, DAY + 10 * HOUR, 1200, 3.0, "2")
    report = report_of(Week(33, 60_000, [fault], days=2, lines=False))
    where = "fleet" if kind == "connect_latency" else "server bk_smtp/mx-c"
    assert [(one.kind, one.scope) for one in report.findings] == [("connect_latency", where)]


@pytest.mark.parametrize("slow", ["mx-b", None])
def test_slow_deliveries_are_of_the_server_that_is_slow(slow: str | None) -> None:
    """What a session's servers are, its messages' hosts are: one slow in a short log is named."""
    chance = np.random.default_rng(4)
    count = 9_000
    at = np.sort(chance.uniform(0, 2 * HOUR, count))
    hosts = chance.choice(["mx-a", "mx-b", "mx-c"], count)
    struck = (at > 4000) & (at < 5500) & ((hosts == slow) if slow else True)
    delay_s = np.exp(chance.normal(-1.5, 0.5, count)) + np.where(struck, 5.0, 0.0)
    times = pa.array((START_S * 10**9 + at * 1e9).astype(np.int64)).cast(pa.timestamp("ns", tz="UTC"))
    finder = Finder()
    finder.add("sessions", sessions(times, hosts, mta_host=[f"{host}.example" for host in hosts]))
    finder.add(
        "deliveries",
        pa.record_batch(
            {
                "mta_host": [f"{host}.example" for host in hosts], "logged_at": times,
                "recipient": ["a@dest.example"] * count, "status": ["sent"] * count,
                "delay_before_queue_s": delay_s,
            }
        ),
    )  # fmt: skip
    found = [(one.kind, one.scope) for one in finder.report().findings]
    assert found == [("delivery_latency", f"server bk_smtp/{slow}" if slow else "fleet")]


@pytest.mark.parametrize(
    ("servers", "masked", "scope"),
    [
        (3, "b", "server bk_smtp/mx-b"),
        (2, "a", "server bk_smtp/mx-a"),
        (4, "d", "server bk_smtp/mx-d"),
        (3, "abc", "fleet"),
        (3, "ab", "fleet"),
    ],
)
def test_clients_are_hidden_at_the_server_that_does_not_see_them(
    servers: int, masked: str, scope: str
) -> None:
    """However long it has been so: what is usual of the server is learnt anew meanwhile."""
    faults = [Fault("masking", 1.5 * 86400, 43200, 1, str(ord(letter) - ord("a"))) for letter in masked]
    report = report_of(Week(35, 10_000, faults, days=2, servers=servers, lines=False))
    [found] = [one for one in report.findings if one.kind == "masking"]
    assert found.scope == scope
    assert ("of all sessions" in found.explanation) is (scope != "fleet")


def test_the_pieces_of_a_service_behind_a_balancer_are_no_listener_of_their_own() -> None:
    """With their clients hidden some sessions are not joined. Before that there were no such pieces of the
    submission service, which is no silence.
    """
    chance = np.random.default_rng(7)
    count = 20_000
    at = np.sort(chance.random(count)) * 2 * DAY
    service = np.where(chance.random(count) < 0.12, "submission", "smtp")
    host = np.where(chance.random(count) < 0.5, "mx-a", "mx-b")
    hidden = at > 1.5 * DAY
    is_joined = ~(hidden & (service == "submission"))
    time = pa.array((START_S * 10**9 + at * 1e9).astype(np.int64)).cast(pa.timestamp("ns", tz="UTC"))
    balanced = {
        "balancer": pa.array(["lb1"] * count), "frontend": pa.array(np.char.add("ft_", service)),
        "backend": pa.array(np.char.add("bk_", service)), "server": pa.array(host),
    }  # fmt: skip
    served = {"mta_host": pa.array(host), "service": pa.array(np.char.add(service, "/smtpd"))}
    shared = {"accepted_at": time, "outcome": pa.array(["delivered"] * count)}
    masked = {"masked": pa.array(hidden)}
    pieces = [
        pa.table(shared | balanced | served | masked).filter(pa.array(is_joined)),
        pa.table(shared | balanced).filter(pa.array(~is_joined)),
        pa.table(shared | served | masked).filter(pa.array(~is_joined)),
    ]
    finder = Finder()
    for batch in pa.concat_tables(pieces, promote_options="default").sort_by("accepted_at").to_batches():
        finder.add("sessions", batch)
    assert [(one.kind, one.scope) for one in finder.report().findings] == [("masking", "fleet")]


def test_a_handful_of_deferrals_suffices_where_a_destination_takes_nothing() -> None:
    """Two days of a delivery every four minutes, one of fifty deferred; then nine of nine."""
    chance = np.random.default_rng(9)
    at = np.concatenate((np.arange(0, 2 * DAY, 240), 2 * DAY + np.arange(0, 2160, 240)))
    late = chance.random(len(at)) < 0.02
    late[-9:] = True
    others = np.sort(chance.uniform(0, 2 * DAY + 2160, 6_000))
    when = np.concatenate((at, others))
    columns = {
        "logged_at": pa.array((START_S * 10**9 + when * 1e9).astype(np.int64)).cast(
            pa.timestamp("ns", tz="UTC")
        ),
        "recipient": ["a@partner.example"] * len(at) + ["b@other.example"] * len(others),
        "status": np.where(np.concatenate((late, np.zeros(len(others), bool))), "deferred", "sent"),
        "mta_host": ["mx-a"] * len(when),
    }
    rows = pa.record_batch(columns).take(pa.array(np.argsort(when)))
    times = rows.column("logged_at")
    finder = Finder()
    finder.add("sessions", pa.record_batch({"accepted_at": times, "outcome": ["delivered"] * len(when)}))
    finder.add("deliveries", rows)
    (found,) = finder.report().findings
    assert (found.kind, found.scope) == ("deferrals", "destination partner.example")
    assert found.detected_at / 1e9 <= START_S + 2 * DAY + 1800


def test_a_slow_server_is_found_where_everything_is_slow_now_and_then() -> None:
    """A quarter of an hour of a busy machine's lab; for two minutes and a half one of two servers waits."""
    chance = np.random.default_rng(12)
    count = 1_500
    at = np.sort(chance.uniform(0, 840, count))
    hosts = chance.choice(["mx-a", "mx-b"], count)
    load_s = np.array([1.0, 0.3, 2.4, 0.5, 0.3, 0.3, 0.4, 0.2, 0.4, 0.8, 1.8, 1.2, 0.2, 0.1])[
        (at // 60).astype(int)
    ]
    struck = (at >= 240) & (at < 390) & (hosts == "mx-a")
    lasts_ms = 1000 * (load_s * np.exp(chance.normal(0, 0.7, count)) + np.where(struck, 3.0, 0.0))
    times = pa.array((START_S * 10**9 + at * 1e9).astype(np.int64)).cast(pa.timestamp("ns", tz="UTC"))
    finder = Finder()
    finder.add("sessions", sessions(times, hosts, duration_ms=lasts_ms.astype(np.int64)))
    found = min(finder.report().findings, key=lambda one: one.since)
    assert (found.kind, found.scope) == ("session_latency", "server bk_smtp/mx-a")
    assert abs(found.since / 1e9 - START_S - 240) <= 60
    assert found.detected_at / 1e9 <= START_S + 400


def test_a_slow_server_is_told_though_the_whole_site_was_a_little_slower_before() -> None:
    """Seen on real daemons: connecting took longer everywhere, by what nobody feels, and explained it."""
    chance = np.random.default_rng(13)
    count = 9_000
    at = np.sort(chance.uniform(0, 3000, count))
    hosts = chance.choice(["mx-a", "mx-b"], count)
    slower, struck = at > 1500, (at > 1740) & (at < 1860) & (hosts == "mx-a")
    connect_ms = chance.poisson(np.where(slower, 1.2, 0.4))
    duration_ms = np.exp(chance.normal(4, 1.2, count)) + np.where(struck, 3000, 0)
    times = pa.array((START_S * 10**9 + at * 1e9).astype(np.int64)).cast(pa.timestamp("ns", tz="UTC"))
    finder = Finder()
    columns = {"connect_ms": connect_ms.astype(np.int64), "duration_ms": duration_ms.astype(np.int64)}
    finder.add("sessions", sessions(times, hosts, **columns))
    told = [(one.kind, one.scope) for one in finder.report().findings]
    assert told.count(("session_latency", "server bk_smtp/mx-a")) == 1
    assert ("connect_latency", "fleet") in told


def test_clients_hidden_in_a_short_log_are_told_once_and_of_the_server_alone() -> None:
    """Two hours. Of the sessions whose clients are hidden, those that passed the screen are not joined: the
    mail server's own service has sessions only then, which is no silence before, and explains nothing.
    """
    chance = np.random.default_rng(3)
    count = 40_000
    at = np.sort(chance.random(count)) * 2.05 * HOUR
    host = np.where(chance.random(count) < 0.6, "mx-a", "mx-b")
    hidden = (at > 1.02 * HOUR) & (host == "mx-b")
    is_joined = ~(hidden & (chance.random(count) < 0.3))
    time = pa.array((START_S * 10**9 + at * 1e9).astype(np.int64)).cast(pa.timestamp("ns", tz="UTC"))
    shared = {"accepted_at": time, "outcome": pa.array(["delivered"] * count)}
    balanced = {
        "balancer": pa.array(["lb1"] * count), "frontend": pa.array(["ft_smtp"] * count),
        "backend": pa.array(["bk_smtp"] * count), "server": pa.array(host),
    }  # fmt: skip
    masked = {"masked": pa.array(hidden), "mta_host": pa.array(host)}
    screen, smtpd = ({"service": pa.array([f"postfix/{one}"] * count)} for one in ("postscreen", "smtpd"))
    few = (at < 200) & (chance.random(count) < 0.01)  # some of the first have no balancer's side yet
    pieces = [
        pa.table(shared | balanced | masked | screen).filter(pa.array(is_joined & ~few)),
        pa.table(shared | balanced).filter(pa.array(~is_joined)),
        pa.table(shared | masked | smtpd).filter(pa.array(~is_joined | few)),
    ]
    finder = Finder()
    for batch in pa.concat_tables(pieces, promote_options="default").sort_by("accepted_at").to_batches():
        finder.add("sessions", batch)
    (found,) = finder.report().findings
    assert (found.kind, found.scope, found.until) == ("masking", "server bk_smtp/mx-b", None)


def test_hidden_clients_do_not_become_usual_by_lasting() -> None:
    fault = Fault("masking", DAY + 10 * HOUR, 1.8 * DAY, 1, "1")
    (found,) = report_of(Week(36, 20_000, [fault], days=4, servers=3, lines=False)).findings
    assert (found.kind, found.scope) == ("masking", "server bk_smtp/mx-b")
    assert found.until is not None
    assert abs(found.until / 1e9 - START_S - fault.start_s - fault.length_s) <= 600
    assert "came and went" not in found.explanation


def test_who_was_there_before_is_no_new_client_when_others_go() -> None:
    """Two and a half hours; after one and a half the others bring a tenth of what they did."""
    chance = np.random.default_rng(5)
    crowd = np.sort(np.concatenate((chance.uniform(0, 5400, 9_000), chance.uniform(5400, 9000, 600))))
    steady = np.arange(0, 9000, 8.0)
    at = np.concatenate((crowd, steady))
    who = np.array([*(f"192.0.2.{n % 200}" for n in range(len(crowd))), *["198.51.100.7"] * len(steady)])
    order = np.argsort(at, kind="stable")
    times = pa.array((START_S * 10**9 + at[order] * 1e9).astype(np.int64)).cast(pa.timestamp("ns", tz="UTC"))
    finder = Finder()
    hosts = np.array(["mx-a"] * len(at))
    finder.add("sessions", sessions(times, hosts, client_address=who[order].tolist()))
    assert not [one for one in finder.report().findings if one.kind == "heavy_client"]
