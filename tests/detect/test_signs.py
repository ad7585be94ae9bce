"""What the logs show beside the verdict, and what looks like it."""

from __future__ import annotations

from typing import Any

import pytest

from logscope.detect.header_lines import DIED, REFUSED, Example, HeaderLines
from logscope.detect.signals import Covered
from tests.detect.scenes import LB, SECOND, START, Scene

PUBLIC, NODE = "[203.0.113.25]:25", "[10.0.0.11]:10024"


def signs(scene: Scene) -> dict[str, dict[str, Any]]:
    [target] = scene.document()["targets"]
    return {one["kind"]: one for one in target["evidence"]["signs"]}


def visible(count: int = 60) -> Scene:
    """A server that sees its clients through a header, with a balancer's log that covers everything."""
    scene = Scene().passed("mx-a", "mx-a", count, destination_logged=PUBLIC)
    scene.signals.balancer_hosts["edge1"] = Covered(START - 600 * SECOND, START + 7200 * SECOND)
    return scene


def test_nothing_is_said_where_nothing_is() -> None:
    assert signs(visible()) == {}


def test_health_checks_have_their_period() -> None:
    found = signs(visible().checks("mx-a", 20))
    assert list(found) == ["health_checks"]
    assert (found["health_checks"]["count"], found["health_checks"]["period_s"]) == (20, 2)
    assert LB in found["health_checks"]["text"]


def test_a_check_or_two_are_not_worth_a_word() -> None:
    assert signs(visible().checks("mx-a", 2)) == {}


def unread(scene: Scene, moments: list[float]) -> Scene:
    lines = HeaderLines(REFUSED, "mx-a", "postfix/postscreen")
    for number, moment in enumerate(moments):
        lines.add(START + int(moment * SECOND), 1, Example("mail.log", number, "haproxy read: EOF"))
    scene.signals.lines.append(lines)
    return scene


def test_connections_without_a_header_are_told() -> None:
    found = signs(unread(visible(), [1, 2, 40, 41, 90, 300, 301, 302, 400]))
    assert found["without_header"]["count"] == 9
    assert "only the balancers" in found["without_header"]["text"]


def test_health_checks_that_end_smtpd_are_told() -> None:
    scene = visible()
    lines = HeaderLines(DIED, "mx-a", "postfix/postscreen")
    for number in range(12):
        lines.add(START + 2 * number * SECOND, 1, Example("mail.log", number, "fatal: smtpd_peer_…"))
    scene.signals.lines.append(lines)
    found = signs(scene)["smtpd_dies"]
    assert (found["severity"], found["count"], found["period_s"]) == ("critical", 12, 2)
    assert "send-proxy" in found["text"]
    assert found["examples"][0]["line_number"] == 0


def test_checks_without_a_header_come_by_the_clock() -> None:
    found = signs(unread(visible(), [float(10 * number) for number in range(20)]))
    assert found["without_header"]["period_s"] == 10
    assert "check-send-proxy" in found["without_header"]["text"]


@pytest.mark.parametrize(("address", "severity"), [("198.51.100.200", "warning"), ("127.0.0.1", "critical")])
def test_sessions_with_a_header_that_no_balancer_logged(address: str, severity: str) -> None:
    found = signs(visible().direct("mx-a", 5, address, destination_logged=PUBLIC))
    assert (found["claimed"]["severity"], found["claimed"]["count"]) == (severity, 5)
    assert found["claimed"]["addresses"] == [address]
    assert "Suspected" in found["claimed"]["text"]


def test_clients_that_come_past_the_balancer_have_no_header() -> None:
    assert signs(visible().direct("mx-a", 20, destination_logged=NODE)) == {}


def test_the_ends_of_the_balancers_log_tell_nothing() -> None:
    scene = visible().direct("mx-a", 20, "127.0.0.1", destination_logged=PUBLIC)
    scene.signals.balancer_hosts["edge1"] = Covered(START - 600 * SECOND, START)
    assert signs(scene) == {}


def test_a_roll_out_names_both_destinations() -> None:
    scene = visible().by_port("mx-a", "mx-a", 30, destination_logged=NODE)
    assert PUBLIC in signs(scene)["rolling_out"]["text"]
    assert NODE in signs(scene)["rolling_out"]["text"]


def test_a_header_that_is_read_elsewhere_is_no_roll_out() -> None:
    assert signs(visible().by_port("mx-a", "mx-a", 30, destination_logged=PUBLIC)) == {}
