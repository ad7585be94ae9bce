"""What HAProxy and Postfix can write is understood: every wording that matters, with any values in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logscope.errors import GrammarError
from logscope.grammar.catalogue import Catalogue, load
from logscope.grammar.wordings import SEVERITIES, Wording, coverage, understood, wordings

CATALOGUE = load()
INVENTORY = wordings()
DAEMONS = sorted({one.daemon for one in INVENTORY})

ABOUT_OTHER_THINGS = {
    "global": 9,  # child processes, own interfaces, library callers' mistakes
    "postscreen": 16,  # panics that name a function of the source
    "smtpd": 22,  # the same, and "usage"
    "util": 27,  # descriptors, directories, the machine's interfaces
}
"""Wordings that concern no client, message, connection, table or service: severity and text are kept."""

_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


def test_the_inventory_is_of_all_daemons_and_severities() -> None:
    assert len(INVENTORY) > 2200
    assert {"postscreen", "smtpd", "cleanup", "qmgr", "oqmgr", "smtp", "local", "virtual", "pipe"} <= set(
        DAEMONS
    )
    assert {one.severity for one in INVENTORY} == set(SEVERITIES)
    assert sum(one.daemon == "haproxy" for one in INVENTORY) > 200


def test_every_informational_wording_has_a_kind_of_its_own() -> None:
    rest = [one for found in coverage(CATALOGUE, INVENTORY) if found.severity == "info" for one in found.rest]
    assert [one.line for one in rest] == []


def test_warnings_and_errors_have_too_unless_they_concern_nothing_outside_the_program() -> None:
    rest: dict[str, int] = {}
    for found in coverage(CATALOGUE, INVENTORY):
        if found.rest:
            rest[found.daemon] = rest.get(found.daemon, 0) + len(found.rest)
    assert rest == ABOUT_OTHER_THINGS


@pytest.mark.parametrize("daemon", DAEMONS)
def test_other_values_come_back_as_fields(daemon: str) -> None:
    """Each part that varies is replaced by another value; a field has it then."""
    lost = [problem for one in INVENTORY if one.daemon == daemon for problem in _lost(CATALOGUE, one)]
    assert lost == []


def test_what_has_a_kind_has_samples() -> None:
    for one in INVENTORY:
        found = understood(CATALOGUE, one.programs, one.line)
        assert found is None or CATALOGUE.details[found[0].id].samples, one.marked


def test_a_line_of_the_inventory_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "postfix.tsv"
    file.write_text("# daemons\nsmtpd\tinfo\t2.3\t\tconnect from «x»[«192.0.2.1»]\nsmtpd\tinfo connect\n")
    with pytest.raises(GrammarError, match="no wording") as refused:
        wordings([file])
    assert str(refused.value.place) == f"{file}:3"


def _lost(catalogue: Catalogue, one: Wording) -> Iterator[str]:
    found = understood(catalogue, one.programs, one.line)
    if found is None:
        return
    _, values = found
    parts = one.parts
    for position in range(1, len(parts), 2):
        other = _other(parts[position])
        line = "".join([*parts[:position], other, *parts[position + 1 :]])
        again = understood(catalogue, one.programs, line)
        if again is None and _has(parts[position], values):
            continue  # one of a closed set of words
        if again is None or not _has(other, again[1]):
            yield f"{line}: {other!r} is not in {again and again[1]}"


def _other(value: str) -> str:
    """A value of the same sort."""
    if _ADDRESS.search(value):
        return _ADDRESS.sub("198.51.100.7", value)
    if re.fullmatch(r"-?\d+", value):
        return str(int(value) + 2)
    if re.fullmatch(r"[\d.]+(/\d+)?", value):
        return value[:-1] + ("4" if value[-1] != "4" else "5")
    if re.fullmatch(r"[0-9A-F]{8,}", value):
        return value[:-2] + "77"
    changed = re.sub(r"[a-z](?=[a-z])", lambda found: "y" if found[0] == "x" else "x", value, count=2)
    return changed if changed != value else value + "x"


def _has(wanted: str, values: dict[str, Any]) -> bool:
    """Whether a value is one of the fields, a word of one, or several of them with punctuation between."""
    texts = [text for value in values.values() for text in _texts(value)]
    if any(re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) for text in texts):
        return True
    if len(wanted) > 3 and any(wanted in text for text in texts):
        return True
    left = wanted
    for text in sorted(filter(None, texts), key=len, reverse=True):
        left = left.replace(text, "")
    return not re.search(r"\w", left)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [_counted(entry) for entry in value.values()]
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return [str(value), f"{value:x}", f"{value:o}"]
    return [f"{value:g}", str(value)] if isinstance(value, float) else [str(value)]


def _counted(entry: Any) -> str:
    """A counter of `disconnect` as it is written: `good` or `good/all`."""
    return "/".join(map(str, entry)) if isinstance(entry, list | tuple) else str(entry)
