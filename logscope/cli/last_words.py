"""What a live run says of itself: at its end, and when it tells no more names apart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from logscope.report.wording import number, plural, span

if TYPE_CHECKING:
    from logscope.live import Live
    from logscope.sources.following import Following


def summary(live: Live, started_at: float) -> str:
    """What a live run says at its end; it began at `started_at` of `time.monotonic`."""
    quality = live.quality
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
        f"{number(live.tally.left_open)} of them had not ended yet" if live.tally.left_open else "",
        f"{number(live.tally.late)} lines came too late for their place (see --grace)"
        if live.tally.late
        else "",
        f"{number(live.doubted)} lines stamped more than a day ahead of the others" if live.doubted else "",
        f"{number(live.tally.amended)} amended by late lines" if live.tally.amended else "",
        f"{number(live.tally.evicted)} handed out before their ends, because too many were open"
        if live.tally.evicted
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
