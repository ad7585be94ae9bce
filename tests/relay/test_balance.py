"""Choosing servers, their health, and what a session's line says of its end."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.relay.balance.servers import Admin, Backend, Server, Waiting
from logscope.relay.balance.session import End, Phase, Session
from logscope.relay.balance.settings import BackendSettings, Balance, ServerSettings
from logscope.relay.header import Endpoint

CLIENT, PUBLIC = Endpoint("192.0.2.10", 41522), Endpoint("203.0.113.25", 25)


def backend(balance: Balance = Balance.ROUND_ROBIN, **servers: ServerSettings) -> Backend:
    given_ = servers or {name: settings(name) for name in ("a", "b", "c")}
    return Backend(BackendSettings("bk", tuple(given_.values()), balance))


def settings(name: str, weight: int = 1, max_connections: int = 0, backup: bool = False) -> ServerSettings:
    return ServerSettings(
        name, Endpoint("127.0.0.1", 10025), weight=weight, max_connections=max_connections, backup=backup
    )


def chosen(group: Backend, times: int, client: str = "192.0.2.10") -> str:
    names = []
    for _ in range(times):
        server = group.choose(client)
        names.append(server.settings.name if server else "-")
        if server:
            server.connections += 1
    return "".join(names)


def test_round_robin_takes_turns() -> None:
    assert chosen(backend(), 7) == "abcabca"


def test_weights_are_kept_smoothly() -> None:
    """In HAProxy's own order: `tests/real/test_choices.py`."""
    group = backend(a=settings("a", 3), b=settings("b", 1))
    assert chosen(group, 8) == "aaabaaab"


def test_the_least_busy_server_is_next() -> None:
    group = backend(Balance.LEAST_CONN)
    group.servers[0].connections = 5
    assert sorted(chosen(group, 4)) == ["b", "b", "c", "c"]


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20))
def test_a_client_stays_with_its_server(numbers: list[int]) -> None:
    group = backend(Balance.SOURCE)
    for number in numbers:
        assert len(set(chosen(group, 5, f"192.0.2.{number}"))) == 1


def test_many_clients_are_spread() -> None:
    group = backend(Balance.SOURCE)
    counts = Counter(chosen(group, 1, f"198.51.100.{number}") for number in range(256))
    assert len(counts) == 3
    assert min(counts.values()) > 40


def test_servers_that_are_down_or_full_are_left_out() -> None:
    group = backend(a=settings("a"), b=settings("b", max_connections=1), c=settings("c"))
    group.servers[0].up = False
    group.servers[2].admin = Admin.DRAIN
    assert chosen(group, 2) == "b-"


def test_a_backup_server_is_for_when_all_others_are_down() -> None:
    group = backend(a=settings("a"), b=settings("b", backup=True), c=settings("c", backup=True))
    assert chosen(group, 3) == "aaa"
    group.servers[0].up = False
    assert chosen(group, 3) == "bbb"
    assert group.counts_left(group.servers[0])["running_on_backup"] is True


def test_who_waits_is_served_in_order() -> None:
    group = backend(a=settings("a", max_connections=1))
    served: list[tuple[str, Server]] = []
    for client in ("192.0.2.1", "192.0.2.2"):
        group.queue.append(Waiting(client, lambda server, client=client: served.append((client, server))))
    group.servers[0].connections = 1
    assert group.next_waiting() is None
    group.servers[0].connections = 0
    found = group.next_waiting()
    assert found is not None
    assert found[0].client == "192.0.2.1"
    assert [entry.client for entry in group.queue] == ["192.0.2.2"]


def test_another_server_is_tried_if_there_is_one() -> None:
    group = backend()
    tried = group.servers[0]
    assert all(group.choose("192.0.2.1", avoid=tried) is not tried for _ in range(9))
    alone = backend(a=settings("a"))
    assert alone.choose("192.0.2.1", avoid=alone.servers[0]) is alone.servers[0]


def test_rise_and_fall() -> None:
    """A server starts up, and the first failure takes it down; later it takes more of them."""
    server = Server(settings("a"))
    assert server.checked(False) is False
    assert [server.checked(True), server.checked(True)] == [None, True]
    assert [server.checked(False), server.checked(False), server.checked(True)] == [None] * 3
    assert [server.checked(False), server.checked(False)] == [None, False]
    assert [server.checked(True), server.checked(False), server.checked(True)] == [None] * 3
    assert server.checked(True) is True


# --- lines


def session(phase: Phase) -> Session:
    found = Session("ft", "bk", CLIENT, PUBLIC, 1000.0, phase=phase)
    if phase in (Phase.CONNECT, Phase.DATA):
        found.server, found.assigned_at, found.connecting_at = "a", 1000.001, 1000.001
    if phase is Phase.DATA:
        found.connected_at = 1000.003
    return found


@pytest.mark.parametrize(
    ("phase", "end", "state", "timers"),
    [
        (Phase.DATA, End.NORMAL, "--", (1, 2, 5000)),
        (Phase.DATA, End.CLIENT, "CD", (1, 2, 5000)),
        (Phase.DATA, End.SERVER, "SD", (1, 2, 5000)),
        (Phase.DATA, End.CLIENT_TIMEOUT, "cD", (1, 2, 5000)),
        (Phase.DATA, End.SERVER_TIMEOUT, "sD", (1, 2, 5000)),
        (Phase.DATA, End.KILLED, "K-", (1, 2, 5000)),
        (Phase.DATA, End.SERVER_DOWN, "D-", (1, 2, 5000)),
        (Phase.CONNECT, End.SERVER, "SC", (1, -1, 5000)),
        (Phase.CONNECT, End.SERVER_TIMEOUT, "sC", (1, -1, 5000)),
        (Phase.CONNECT, End.CLIENT, "CC", (1, -1, 5000)),
        (Phase.QUEUE, End.CLIENT, "CQ", (5000, -1, 5000)),
        (Phase.QUEUE, End.SERVER_TIMEOUT, "sQ", (5000, -1, 5000)),
        (Phase.REQUEST, End.CLIENT, "CR", (-1, -1, 5000)),
        (Phase.REQUEST, End.PROXY, "PR", (-1, -1, 5000)),
    ],
)
def test_termination_states(phase: Phase, end: End, state: str, timers: tuple[int, int, int]) -> None:
    ended = session(phase)
    if phase is Phase.QUEUE:
        ended.left_queue_at = 1005.0
    assert ended.end(end)
    assert not ended.end(End.KILLED), "the first end counts"
    values = ended.values(1005.0)
    assert values["termination_state"] == state
    assert (values["queue_ms"], values["connect_ms"], values["duration_ms"]) == timers
    assert values["backend"] == ("ft" if end is End.PROXY else "bk")
    assert values["server"] == ("a" if phase in (Phase.CONNECT, Phase.DATA) else "<NOSRV>")


def test_a_reset_is_seen_as_broken_data_in_every_phase_but_the_first() -> None:
    states = []
    for phase in Phase:
        broken = session(phase)
        broken.broke_off()
        states.append(broken.state)
    assert states == ["CR", "CD", "CD", "CD"]


def test_totals_may_be_minimums() -> None:
    values = session(Phase.DATA).values(1000.003, as_soon=True)
    assert (values["total_plus"], values["bytes_plus"], values["termination_state"]) == (True, True, "--")
