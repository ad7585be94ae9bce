"""Who logged when, and what was started or reloaded."""

from __future__ import annotations

import numpy as np
import pytest

from logscope.detect.signals import Change, Collector, Signals, merged
from logscope.grammar import catalogue
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.scan import Scanner

SECOND = 10**9
SESSION = (
    "Nov 22 16:2{minute}:00 edge1 haproxy[{pid}]: 192.0.2.7:4{minute}23 [22/Nov/2026:16:2{minute}:00.000] "
    "ft_smtp bk_smtp/mx-a 1/0/900 378 -- 1/1/1/1/0 0/0"
)


@pytest.fixture(scope="module")
def grammars() -> Catalogue:
    return catalogue.load()


def collected(grammars: Catalogue, *lines: str) -> Signals:
    rows = Scanner(grammars, compiled=False).scan_bytes("".join(line + "\n" for line in lines).encode())
    collector = Collector(grammars)
    collector.add(rows, np.asarray(rows.stamp), "x.log", 1)
    return collector.signals


def told(signals: Signals) -> list[tuple[str | None, str]]:
    return [(change.host, change.what) for change in signals.changes]


def test_a_reload_is_seen_in_a_new_process(grammars: Catalogue) -> None:
    lines = [SESSION.format(minute=minute, pid=pid) for minute, pid in enumerate((30, 30, 41, 41))]
    signals = collected(grammars, *lines)
    [change] = signals.changes
    assert (change.host, change.what) == ("edge1", "HAProxy was reloaded")
    assert change.at == min(at for (_, pid), at in signals.processes.items() if pid == 41)


def test_one_process_was_never_reloaded(grammars: Catalogue) -> None:
    assert collected(grammars, *(SESSION.format(minute=minute, pid=30) for minute in range(5))).changes == []


def test_a_rotated_log_is_no_reload(grammars: Catalogue) -> None:
    parts = [collected(grammars, SESSION.format(minute=minute, pid=30)) for minute in (3, 1)]
    assert merged(parts).changes == []


def test_what_daemons_say_of_themselves(grammars: Catalogue) -> None:
    signals = collected(
        grammars,
        "Nov 22 16:20:00 mx-a postfix/master[9]: daemon started -- version 3.7.11, configuration /etc",
        "Nov 22 16:25:00 mx-b postfix/master[9]: reload -- version 3.7.11, configuration /etc",
        "Nov 22 16:30:00 edge1 haproxy[30]: Proxy ft_smtp stopped (cumulated conns: FE: 364, BE: 0).",
        "Nov 22 16:30:01 edge1 haproxy[30]: Proxy bk_smtp stopped (cumulated conns: FE: 0, BE: 364).",
    )
    assert told(signals) == [
        ("mx-a", "Postfix was started"),
        ("mx-b", "Postfix was reloaded"),
        ("edge1", "HAProxy was reloaded"),
    ]


def test_how_much_time_each_log_covers(grammars: Catalogue) -> None:
    signals = collected(
        grammars,
        "Nov 22 16:20:00 mx-a postfix/qmgr[9]: 4F3A2B1C0D: removed",
        "Nov 22 16:20:09 mx-a postfix/qmgr[9]: 4F3A2B1C0E: removed",
        SESSION.format(minute=1, pid=30),
    )
    first, last = signals.mail_hosts["mx-a"]
    assert first is not None
    assert last is not None
    assert last - first == 9 * SECOND
    assert set(signals.balancer_hosts) == {"edge1"}


def test_changes_within_a_minute_are_one() -> None:
    signals = Signals(happened={Change(at * SECOND, "edge1", "x") for at in (0, 30, 100)})
    assert [change.at for change in signals.changes] == [0, 100 * SECOND]
