"""What was measured, as a table in a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .score import Outcome, percentile
from .setups import CLEAN, MASKED

BEGIN, END = "<!-- verdicts: begin -->", "<!-- verdicts: end -->"


def put_into(document: Path, outcomes: Sequence[Outcome]) -> None:
    """Replace what stands between the marks.

    Raises:
        ValueError: the document has no marks.
    """
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join(markdown(outcomes))
    document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def markdown(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The lines: how many runs, then each kind."""
    clean, masked = ([one for one in outcomes if one.kind in kinds] for kinds in (CLEAN, MASKED))
    yield (
        f"From {len(clean)} runs that are in order and {len(masked)} that are not, of {_least(outcomes)} "
        f"sessions and more; where only some sessions of a server are hidden, {_fewest(masked)} and more are."
    )
    yield ""
    yield (
        f"False alarms: {_count(outcomes, 'false')}. Missed: {_count(outcomes, 'missed')}. Onset: "
        f"{_onset(masked)}."
    )
    yield from _table("In order", CLEAN, clean)
    yield from _table("Not in order", MASKED, masked)


def _table(title: str, kinds: Iterable[str], outcomes: Sequence[Outcome]) -> Iterator[str]:
    if not outcomes:
        return
    yield ""
    yield f"| {title} | runs | servers | false | missed | cannot tell |"
    yield "|---|--:|--:|--:|--:|--:|"
    for kind in kinds:
        some = [one for one in outcomes if one.kind == kind]
        if some:
            numbers = [
                sum(one.targets for one in some),
                *(_count(some, w) for w in ("false", "missed", "unknown")),
            ]
            yield f"| {kind} | {len(some)} | " + " | ".join(map(str, numbers)) + " |"


def _count(outcomes: Iterable[Outcome], what: str) -> int:
    return sum(len(getattr(one, what)) for one in outcomes)


def _least(outcomes: Iterable[Outcome]) -> int:
    return min((one.sessions for one in outcomes), default=0)


def _fewest(outcomes: Iterable[Outcome]) -> int:
    return min((one.fewest for one in outcomes if one.fewest), default=0)


def _onset(outcomes: Iterable[Outcome]) -> str:
    errors = [error for one in outcomes for error in one.onset_errors]
    return (
        f"{percentile(errors, 0.5)} sessions off in the median, {percentile(errors, 0.95)} at the "
        f"95th percentile, {len(errors)} changes"
    )
