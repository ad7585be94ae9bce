"""A port that is used again within the resolution of the mail server's stamps, or while lines are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from .site import BALANCER, CLIENT, Site, wrong

PUBLIC = "203.0.113.25]:25"
NODE = "172.20.5.22]:10024"


@pytest.fixture(params=[False, True], ids=["seconds", "microseconds"])
def site(request: pytest.FixtureRequest) -> Site:
    return Site(precise=request.param)


def ordinary_sessions(site: Site, count: int) -> None:
    """Sessions at mx-a, which sees clients, and at mx-b, from which they are hidden."""
    for number in range(count):
        at, port = 2.5 * number, 41000 + number
        site.balancer(f"a{number}", at, 0.3, port, "mx-a")
        site.visit(f"a{number}", at + 0.01, 0.28, "mx-a", 100 + number, CLIENT, port, PUBLIC)
        site.balancer(f"b{number}", at + 1.1, 0.3, port + 500, "mx-b")
        peer_port = 51000 + number
        site.visit(f"b{number}", at + 1.11, 0.28, "mx-b", 200 + number, BALANCER, peer_port, NODE)


def test_order_within_each_host_decides_where_stamps_do_not(tmp_path: Path, site: Site) -> None:
    """Which of two hosts was first within a second is unknown, but each host keeps its own order."""
    sessions = [  # seconds, server, port, process id
        (30.010, "mx-a", 41000, 11),
        (32.010, "mx-b", 41001, 21),
        (38.365, "mx-b", 41649, 22),
        (38.373, "mx-a", 41649, 12),
        (38.381, "mx-b", 41649, 23),
    ]
    for at, server, port, pid in sessions:
        site.balancer(str(pid), at, 0.005, port, server)
    for at, server, port, pid in sorted(sessions, key=lambda session: (int(session[0]), session[1])):
        site.smtpd(str(pid), at + 0.001, 0.003, server, pid, f"mx68.mail.example[{CLIENT}]:{port}")
    found = site.join(tmp_path)
    assert [one.confidence for one in found] == ["exact"] * len(sessions)
    assert all(one.is_whole for one in found)


@pytest.mark.parametrize("history", [1, 12])
def test_a_session_that_nobody_saw_is_not_given_the_visit_of_the_next(
    tmp_path: Path, site: Site, history: int
) -> None:
    """The same client port goes to a host that does not see it and, milliseconds later, to one that does."""
    ordinary_sessions(site, history)
    at = 2.5 * history + 0.142
    site.balancer("hidden", at, 0.005, 43627, "mx-b")
    site.visit("hidden", at + 0.001, 0.003, "mx-b", 900, BALANCER, 52000, NODE)
    site.balancer("seen", at + 0.007, 3.153, 43627, "mx-a")
    site.screen("seen", at + 0.009, "mx-a", f"CONNECT from [{CLIENT}]:43627 to [{PUBLIC}")
    site.screen("seen", at + 3.01, "mx-a", f"PASS NEW [{CLIENT}]:43627")
    site.smtpd("seen", at + 3.02, 0.13, "mx-a", 901, f"unknown[{CLIENT}]")
    found = site.join(tmp_path)
    assert wrong(found, "exact") == []
    seen = [one for one in found if "seen" in one.names]
    assert [one.is_whole for one in seen] == [True]


def test_the_end_of_the_log_is_no_reason_to_take_another_session(tmp_path: Path, site: Site) -> None:
    """The balancer's line of what still runs is not written yet; one of the same port, just before, is."""
    ordinary_sessions(site, 12)
    site.balancer("hidden", 30.142, 0.005, 43627, "mx-b")
    site.screen("open", 30.151, "mx-a", f"CONNECT from [{CLIENT}]:43627 to [{PUBLIC}")
    site.screen("open", 33.2, "mx-a", f"PASS NEW [{CLIENT}]:43627")
    site.smtpd("open", 33.21, 60.0, "mx-a", 901, f"unknown[{CLIENT}]")
    site.cut_at(34.0)
    found = site.join(tmp_path)
    assert wrong(found, "exact") == []
    assert [set(one.owners) for one in found if "open" in one.names] == [{"mail.log"}]


def test_a_session_without_a_visit_leaves_the_visit_to_the_next(tmp_path: Path, site: Site) -> None:
    """Of two sessions with one port on one host the first never got as far as a line of the mail server."""
    ordinary_sessions(site, 12)
    site.balancer("lost", 30.142, 0.002, 43627, "mx-a")
    site.balancer("seen", 30.160, 2.0, 43627, "mx-a")
    site.visit("seen", 30.162, 1.99, "mx-a", 901, CLIENT, 43627, PUBLIC)
    found = site.join(tmp_path)
    assert [one.is_whole for one in found if "seen" in one.names] == [True]
