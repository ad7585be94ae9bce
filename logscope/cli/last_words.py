"""What a live run says of itself: at its end, and when it tells no more names apart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from logscope.report.wording import number, plural, span

if TYPE_CHECKING:
    from logscope.live import Live
    from logscope.sources.following import Following


class Counted:
    """What a stage has counted up to now: a run that goes on tells what came since then."""

    def __init__(self, live: Live) -> None:
        self.quality = {name: count for name, count in live.quality.items() if isinstance(count, int)}
        self.doubted = live.doubted
        self.tally = replace(live.tally, sessions=live.tally.sessions.copy())

    def without(self, before: Counted) -> Counted:
        """What came since an earlier count."""
        self.quality = {name: count - before.quality[name] for name, count in self.quality.items()}
        self.doubted -= before.doubted
        for name in ("late", "left_open", "amended", "evicted"):
            setattr(self.tally, name, getattr(self.tally, name) - getattr(before.tally, name))
        return self


def summary(counted: Counted, started_at: float, shown: int | None) -> str:
    """What a live run says at its end.

    Args:
        started_at: when it began, by `time.monotonic`.
        shown: sessions that were shown one by one; None where none are.
    """
    quality, tally = counted.quality, counted.tally
    kinds = [
        f"{number(quality[name])} {words}"
        for name, words in (
            ("joined_exact", "exactly joined"),
            ("joined_probable", "probably"),
            ("ambiguous", "ambiguous"),
        )
        if quality[name]
    ]
    parts = [
        f"{plural(quality['lines_read'], 'line')} in {span(1000 * (time.monotonic() - started_at))}",
        f"{number(quality['unparsed'])} not understood" if quality["unparsed"] else "",
        plural(quality["sessions"], "session") + (f" ({', '.join(kinds)})" if kinds else ""),
        f"{number(shown)} of them shown" if shown is not None and shown != quality["sessions"] else "",
        f"{number(tally.left_open)} of them had not ended yet" if tally.left_open else "",
        f"{number(tally.late)} lines came too late for their place (see --grace)" if tally.late else "",
        f"{number(counted.doubted)} lines stamped more than a day ahead of the others"
        if counted.doubted
        else "",
        f"{number(tally.amended)} amended by late lines" if tally.amended else "",
        f"{number(tally.evicted)} handed out before their ends, because too many were open"
        if tally.evicted
        else "",
    ]
    return ", ".join(part for part in parts if part)


def crowds(live: Live) -> Iterator[str]:
    """Inputs that name more hosts, programs or servers than are told apart."""
    for name, count in live.crowded():
        yield (
            f"{name}: more than {number(live.most_names)} hosts, programs and servers are named; further "
            f"ones are called (other), {plural(count, 'time')} so far"
        )


def losses(following: Following) -> Iterator[str]:
    """What is known not to have been read, input by input."""
    for name, count in following.cuts():
        yield f"{name}: was cut {plural(count, 'time')} and no copy of it was there: lines may be lost"
    for name, count in following.left_out():
        yield f"{name}: {plural(count, 'record')} too long, left out"
    words = {
        "lost": "lost: nobody fetched them in time (see net.core.rmem_max)",
        "dropped": "dropped: there were more than could be joined",
        "refused": "of senders that are not allowed (see --allow)",
        "cut": "too long, and cut",
        "failed": "connections failed",
    }
    for source in following.received:
        for name, what in words.items():
            if count := getattr(source.counts, name):
                yield f"{source.name}: {number(count)} {what}"
