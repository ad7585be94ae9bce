"""How far the figures can be trusted: what was read and understood, and how surely sessions were put
together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logscope.report.model import Cell, Facts, Item, Note
from logscope.report.wording import number, plural, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from logscope.report.tones import Tone

COUNTS = (
    "lines_read",
    "parsed",
    "foreign",
    "unparsed",
    "sessions",
    "joined_exact",
    "joined_probable",
    "ambiguous",
    "balancer_only",
    "mta_only",
)
"""The counts, in the order in which they close: lines_read = parsed + foreign + unparsed; sessions = the five
others.
"""

_JOINED: tuple[tuple[str, str, Tone], ...] = (
    ("joined_exact", "exactly joined", "good"),
    ("joined_probable", "probably joined", "warn"),
    ("ambiguous", "ambiguous", "warn"),
    ("balancer_only", "seen by the balancer only", "plain"),
    ("mta_only", "seen by the mail server only", "plain"),
)


_WORTH_SAYING = 0.01
"""Of all sessions."""


def counted_twice(quality: Mapping[str, int]) -> int:
    """How many sessions at most are there twice, as the balancer's alone and as the mail server's; 0 where
    that is too few to matter.
    """
    most = min(quality.get("balancer_only", 0), quality.get("mta_only", 0))
    return most if most >= _WORTH_SAYING * quality.get("sessions", 0) else 0


def quality_notes(
    quality: Mapping[str, int], notes: Sequence[str] = (), *, counts_more: bool = False
) -> tuple[Item, ...]:
    """Lines, sessions and remarks for people.

    Args:
        counts_more: what is shown beside it is of a part of the sessions only.
    """
    lines, unparsed, foreign = (quality.get(name, 0) for name in ("lines_read", "unparsed", "foreign"))
    read = f"{plural(lines, 'line')} read, {share(quality.get('parsed', 0), lines)} understood"
    if foreign:
        read += f", {number(foreign)} of other programs"
    if unparsed:
        read += f", {number(unparsed)} not understood (logscope parse shows them)"
    kinds = [f"{number(quality[name])} {words}" for name, words, _ in _JOINED if quality.get(name)]
    where = " in all that was read" if counts_more else ""
    joined = f"{plural(quality.get('sessions', 0), 'session')}{where}: " + (", ".join(kinds) or "none joined")
    facts = Facts((("Lines", Cell(read, "warn" if unparsed else "plain")), ("Joins", Cell(joined))))
    told = [Note(text, "quiet") for text in notes]
    if twice := counted_twice(quality):
        text = f"Up to {plural(twice, 'session')} may be there twice, from lines that could not be joined."
        told.insert(0, Note(f"{text} `logscope readiness` says what would join them.", "warn"))
    return (facts, *told)
