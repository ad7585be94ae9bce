"""What balancers say of the servers behind them."""

from __future__ import annotations

import pytest

from logscope.grammar import catalogue
from logscope.simulate import Fault, Options, balancers
from logscope.simulate.notices import notices


def said(*faults: Fault, **options: object) -> list[str]:
    site = Options(1, duration_s=86400.0, faults=faults, **options)  # type: ignore[arg-type]
    return [notice.text.decode() for notice in notices(site, catalogue.load(), "bsd", "UTC")]


def test_a_server_goes_down_and_comes_back() -> None:
    first, second, third, fourth = said(Fault("server_down", 3600.0, 600.0, server=1))
    assert first.startswith(
        "Nov 23 01:00:06 edge1 haproxy[3026]: Server bk_postfix/mx-b is DOWN, reason: Layer4"
    )
    assert "2 active and 0 backup servers left" in first
    assert "bk_submission/mx-b is DOWN" in second
    assert third.startswith("Nov 23 01:10:00 edge1 haproxy[3026]: Server bk_postfix/mx-b is UP")
    assert "3 active and 0 backup servers online" in third
    assert "bk_submission/mx-b is UP" in fourth


def test_all_of_them_go_down() -> None:
    lines = said(Fault("no_server", 3600.0))
    assert sum("is DOWN" in line for line in lines) == 6
    assert [line.split("]: ")[1] for line in lines if "no server available" in line] == [
        "backend bk_postfix has no server available!\n", "backend bk_submission has no server available!\n",
    ]  # fmt: skip


def test_those_in_front_of_the_servers_say_it() -> None:
    down = Fault("server_down", 60.0, 600.0, server=0)
    lines = said(down, inner=balancers(2, inner=True), balancers=balancers(3))
    assert {line.split()[3] for line in lines} == {"inner1", "inner2"}


@pytest.mark.parametrize("length_s", [3.0, 6.0])
def test_what_is_over_before_a_check_fails_is_not_noticed(length_s: float) -> None:
    assert said(Fault("server_down", 60.0, length_s, server=0)) == []


def test_two_faults_of_one_server_are_told_once() -> None:
    lines = said(Fault("server_down", 60.0, 600.0, server=0), Fault("server_down", 90.0, 600.0, server=0))
    assert [("DOWN" in line, "bk_postfix" in line) for line in lines][:2] == [(True, True), (True, False)]
    assert sum("DOWN" in line for line in lines) == 2
