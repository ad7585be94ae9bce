"""What the programs can write, as far as it is known, and how much of it the grammars understand.

The inventory is two tables beside the grammars (`wordings/*.tsv`): an example of every wording in which what
varies is marked. A wording is understood when a structured template matches it: each part that varies
is then a typed field of a kind of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from logscope.errors import GrammarError, Place
from logscope.grammar.catalogue import Catalogue, grammar_directory
from logscope.grammar.dispatch import search_order
from logscope.grammar.interpret import Log
from logscope.grammar.model import Template
from logscope.grammar.surface import captured
from logscope.unreadable import reason

SEVERITIES: Final = ("info", "notice", "warning", "alert", "error", "fatal", "panic")

_LINKED: Final = {
    "dns": ("smtp", "smtpd"),
    "global": ("smtpd", "cleanup", "smtp", "local", "qmgr", "pickup", "tlsproxy"),
    "milter": ("smtpd", "cleanup"),
    "tls": ("smtp", "smtpd", "tlsproxy", "tlsmgr"),
    "util": ("smtpd", "cleanup", "smtp", "local", "qmgr", "postscreen"),
    "xsasl": ("smtpd", "smtp"),
}
"""Daemons that write the lines of a library. What is the same under all of them is understood under one."""

_MARKED: Final = re.compile("«([^»]*)»")


@dataclass(frozen=True, slots=True)
class Wording:
    """One thing that a daemon can write.

    Attributes:
        daemon: the daemon, or the library that several daemons have in them.
        since: first release that has the wording; `until`: the last, empty for a current one.
        marked: an example, with what varies between « and ».
    """

    daemon: str
    severity: str
    since: str
    until: str
    marked: str

    @property
    def line(self) -> str:
        """The example as it would be in a log, after the tag."""
        return _MARKED.sub(r"\1", self.marked)

    @property
    def parts(self) -> list[str]:
        """Text that is always the same and text that varies, in turn, beginning with the former."""
        return _MARKED.split(self.marked)

    @property
    def programs(self) -> tuple[str, ...]:
        """Daemons that write it."""
        return _LINKED.get(self.daemon, (self.daemon,))


def wordings(files: Iterable[Path] | None = None) -> list[Wording]:
    """The inventory.

    Args:
        files: instead of the tables beside the grammars.

    Raises:
        GrammarError: a table cannot be read, or a line of it has not five columns.
    """
    paths = sorted((grammar_directory() / "wordings").glob("*.tsv")) if files is None else files
    return [one for path in paths for one in _table(path)]


def _table(path: Path) -> Iterator[Wording]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GrammarError(f"cannot be read: {reason(error)}", place=Place(str(path))) from error
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#"):
            yield _wording(line, Place(str(path), number))


def _wording(line: str, place: Place) -> Wording:
    columns = line.split("\t")
    if len(columns) != 5 or columns[1] not in SEVERITIES:
        hint = (
            f"Write daemon, severity ({', '.join(SEVERITIES)}), since, until and wording, with tabs between."
        )
        raise GrammarError("this is no wording", place=place, hint=hint)
    return Wording(*columns)


def understood(
    catalogue: Catalogue, programs: Iterable[str], line: str
) -> tuple[Template, dict[str, Any]] | None:
    """The structured template that matches a line under one of these daemons, and its values."""
    data = line.encode().rstrip(b" \t\r")
    for program in programs:
        for word in search_order(catalogue, program):
            log: Log = []
            number = catalogue.machine.match(data, 0, len(data), word, log)
            if number >= 0 and catalogue.templates[number].structured:
                return catalogue.templates[number], captured(catalogue, log, data)
    return None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many wordings of a daemon and severity there are, and those that no kind of its own understands."""

    daemon: str
    severity: str
    count: int
    rest: tuple[Wording, ...]


def coverage(catalogue: Catalogue, inventory: Iterable[Wording]) -> Iterator[Coverage]:
    """What is understood, for each daemon and severity."""
    groups: dict[tuple[str, str], list[Wording]] = {}
    for one in inventory:
        groups.setdefault((one.daemon, one.severity), []).append(one)
    for (daemon, severity), own in sorted(
        groups.items(), key=lambda item: (item[0][0], SEVERITIES.index(item[0][1]))
    ):
        rest = tuple(one for one in own if understood(catalogue, one.programs, one.line) is None)
        yield Coverage(daemon, severity, len(own), rest)
