"""The dictionary of names, where there are more than there may be."""

from __future__ import annotations

import pytest

from logscope.grammar import catalogue
from logscope.grammar.rows import Names
from logscope.grammar.scan import Scanner

GRAMMARS = catalogue.load()


def line(host: str) -> bytes:
    return f"Nov 22 10:00:01 {host} postfix/qmgr[9]: 4QX0Zt3Lz1z9rT: removed\n".encode()


@pytest.mark.parametrize("compiled", [False, True])
def test_names_beyond_the_most_are_told_as_one(compiled: bool) -> None:
    """Those that are known stay known; each refusal is counted."""
    names = Names(most=5)
    scanner = Scanner(GRAMMARS, compiled=compiled, names=names)
    rows = scanner.scan_bytes(b"".join(line(f"host-{number}") for number in range(9)))
    found = [names.text(code) for code in rows.host.tolist()]
    assert len(names) == 5
    assert found[:3] == ["host-0", "host-1", "host-2"]
    assert found[5:] == ["(other)"] * 4
    assert names.refused >= 4
    again = scanner.scan_bytes(line("host-1") + line("host-8"))
    assert [names.text(code) for code in again.host.tolist()] == ["host-1", "(other)"]
    assert rows.count == 9
    assert (rows.template >= 0).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_names_take_no_more_bytes_than_they_may(compiled: bool) -> None:
    names = Names(most=1000, room=100)
    scanner = Scanner(GRAMMARS, compiled=compiled, names=names)
    scanner.scan_bytes(b"".join(line("h" * 40 + str(number)) for number in range(9)))
    assert names.offsets[names.count] <= 100
    assert names.refused


def test_as_many_as_there_are_unless_told_otherwise() -> None:
    names = Names()
    Scanner(GRAMMARS, compiled=False, names=names).scan_bytes(
        b"".join(line(f"h{number}") for number in range(3000))
    )
    assert len(names) == 3001
    assert not names.refused
