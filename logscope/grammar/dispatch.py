"""Which programs a message is tried against, by the tag of its line.

The last part of the tag names the daemon (`postfix/submission/smtpd` is `smtpd`). A daemon's own templates
come first, then those of any Postfix daemon, then the catch-alls of both in the same order. The tag may lie
(`haproxy/postscreen` is a Postfix service whose `syslog_name` is `haproxy`), which the last part sees
through.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.model import (
    ANY_POSTFIX,
    ENVELOPE,
    HAPROXY,
    ONE_ENVELOPE,
    RAW,
    REST,
    SESSION,
    STRUCTURED,
)

Programs: TypeAlias = tuple[int, list[int], int]
"""Whose line a tag announces (POSTFIX_LINE, HAPROXY_LINE, OTHER_LINE), where matching starts, and where it
starts for a message together with the structured data before it (-1 for never)."""

MOST_STARTS: Final = 4

POSTFIX_LINE: Final = 1
HAPROXY_LINE: Final = 2
OTHER_LINE: Final = 0
"""A program that is neither: its lines are foreign unless they have the shape of a HAProxy session."""


def search_order(catalogue: Catalogue, program: str) -> list[int]:
    """Words of the table where matching starts for a program, in the order they are tried."""
    names = [program, REST.format(program)]
    if program not in (ENVELOPE, HAPROXY, ANY_POSTFIX):
        names = [program, ANY_POSTFIX, REST.format(program), REST.format(ANY_POSTFIX)]
    return [catalogue.programs[name] for name in names if name in catalogue.programs]


class Dispatcher:
    """Looks up the programs of a catalogue.

    Args:
        envelope: the one kind of envelope that there can be, `raw` for none; empty for any.

    Attributes:
        envelope: the word where envelopes are matched; the first word of a table always fails.
    """

    def __init__(self, catalogue: Catalogue, envelope: str = "") -> None:
        self._catalogue = catalogue
        self._daemons = {program for template in catalogue.templates for program in template.programs}
        self._daemons -= {ENVELOPE, ANY_POSTFIX, HAPROXY, STRUCTURED}
        self._structured = catalogue.programs.get(STRUCTURED, -1)
        any_kind = catalogue.programs.get(ENVELOPE, 0)
        own = ONE_ENVELOPE.format(envelope)
        self.envelope = 0 if envelope == RAW else catalogue.programs.get(own, any_kind)

    def without_service(self) -> Programs:
        """For a line without a tag: HAProxy writes such lines (`format raw`, `short`); no other is
        foreign for sure.
        """
        return HAPROXY_LINE, search_order(self._catalogue, HAPROXY), self._structured

    def names(self, tag: str | None) -> set[str]:
        """Programs of grammar files whose templates are tried for a tag."""
        if not tag or self._is_haproxy(tag):
            return {HAPROXY}
        return {tag.rpartition("/")[2], ANY_POSTFIX}

    def _is_haproxy(self, tag: str) -> bool:
        return tag.rpartition("/")[2] == HAPROXY or self._catalogue.tags.get(tag) == HAPROXY

    def programs(self, tag: str) -> Programs:
        """What to do with the lines of a tag."""
        catalogue = self._catalogue
        first, slash, _ = tag.partition("/")
        daemon = tag.rpartition("/")[2]
        if self._is_haproxy(tag):
            return self.without_service()
        if daemon in self._daemons:
            return POSTFIX_LINE, search_order(catalogue, daemon), -1
        if slash and daemon:
            # A daemon nobody described: Postfix if its first name says so, else perhaps under another
            # syslog_name.
            ours = first.startswith("postfix") or catalogue.tags.get(tag.removesuffix(daemon)) == ANY_POSTFIX
            return POSTFIX_LINE if ours else OTHER_LINE, search_order(catalogue, daemon), -1
        sessions = [catalogue.programs[SESSION]] if SESSION in catalogue.programs else []
        return OTHER_LINE, sessions, self._structured
