"""From sources to finished sessions: scanner, clocks and joins, wired.

Small inputs run in plain Python and never wait for a compiler. Large ones run as machine code, in which
nothing waits for anything it does not need: the joins go on in this thread, chunks are scanned ahead in
others, and what is finished is handed on in one of its own. Both give the same tables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from logscope.beside import Beside
from logscope.correlate.tables import (
    ALL_TEXT,
    TEXT_OF_COMMANDS,
    TEXT_OF_DELIVERIES,
    TEXT_OF_MESSAGES,
    TEXT_OF_NAMES,
    TEXT_OF_REJECTS,
    TEXT_OF_SESSIONS,
)
from logscope.detect.signals import Signals, merged
from logscope.errors import InputError
from logscope.grammar.catalogue import Catalogue
from logscope.pipeline.ahead import Ahead, AtOnce
from logscope.pipeline.beginnings import heads, in_time_order, references
from logscope.pipeline.engines import wants_machine_code
from logscope.pipeline.extractor import Extractor
from logscope.pipeline.feed import Feed, chunk_size
from logscope.pipeline.options import Counts, Input, Options
from logscope.pipeline.segments import Segments
from logscope.syslog.clock import Clock
from logscope.syslog.zone_names import offset_name

if TYPE_CHECKING:
    from logscope.correlate.join import Taken
    from logscope.correlate.output import Finished

_PLACES, _PLACES_AT_ONCE = 3, 2
"""Chunks of a source that may be under way, with threads and without."""
JOIN_CLASSES = ("joined_exact", "joined_probable", "ambiguous", "balancer_only", "mta_only")


@dataclass
class Result:
    """What is known when all is read.

    Attributes:
        quality: the counts that close: lines_read = parsed + foreign + unparsed, and sessions = the sum
            of `JOIN_CLASSES`.
        counts: lines by what became of them.
        notes: remarks for the user: guessed years and zones, skew, inputs that ended early.
        problems: inputs that could not be read to their end.
        skew_s: seconds by which a mail server's clock is ahead of a balancer's, by pair of host names,
            with its samples.
        signals: lines about PROXY headers that belong to no session, and who logged at all; empty where they
            were not wanted.
    """

    counts: Counts
    quality: dict[str, int]
    notes: list[str]
    problems: list[InputError]
    skew_s: dict[tuple[str | None, str | None], tuple[float, int]]
    years: set[str] = field(default_factory=set)
    signals: Signals = field(default_factory=Signals)


class Pipeline:
    """Joins the sessions of some sources.

    Args:
        sources: open inputs.
        catalogue: compiled grammars.
        options: how to read.
        events, deliveries: what the caller wants of the tables; the rest is not kept.
        signals: whether `Result.signals` is wanted.
        text: see `text_of`.
        progress: told the bytes consumed after each chunk.
    """

    def __init__(
        self,
        sources: Sequence[Input],
        catalogue: Catalogue,
        options: Options | None = None,
        *,
        events: bool = True,
        deliveries: bool = False,
        signals: bool = True,
        text: int = ALL_TEXT,
        progress: Callable[[int], None] | None = None,
        now: int = 0,
    ) -> None:
        options = options or Options()
        self._machine_code = wants_machine_code(sources, options.machine_code)
        self._progress = progress or (lambda _position: None)
        self._catalogue = catalogue
        scanned = heads(sources, catalogue, machine_code=self._machine_code)
        order = in_time_order(sources, scanned)
        known = references(sources, scanned, catalogue, options.year, now)
        self._sources = [sources[index] for index in order]
        self._extractor = Extractor(catalogue, options.naming, machine_code=self._machine_code)
        from logscope.correlate.balancers import Balancers
        from logscope.correlate.join import Joiner
        from logscope.correlate.zones_apart import ZonesApart

        self._zones_apart = ZonesApart()
        self._joiner = Joiner(
            machine_code=self._machine_code, events=events, deliveries=deliveries, text=text
        )
        self._balancers = Balancers(options.balancers)
        places = _PLACES if self._machine_code else _PLACES_AT_ONCE
        self._segments = Segments(len(sources), chunk_size(len(sources), self._machine_code), places)
        self._feeds = [
            Feed(
                source,
                catalogue,
                Clock(known[index], options.zones),
                self._segments.buffers(number),
                machine_code=self._machine_code,
                envelope=options.envelope,
                signals=signals,
            )
            for number, (index, source) in enumerate(zip(order, self._sources, strict=True))
        ]
        self._joined = np.zeros(len(JOIN_CLASSES), np.int64)

    def run(self, sink: Callable[[Finished], None]) -> Result:
        """Join everything.

        Args:
            sink: takes some thousand sessions at a time, in the order in which they were finished; what it is
                given is valid until it returns. It may be called in another thread, one call after the other.

        Raises:
            Exception: whatever the sink has raised.
        """
        with ExitStack() as running:
            beside = running.enter_context(Beside()) if self._machine_code else None
            hand_on = beside.do if beside else _now
            for taken in self._finished():
                hand_on(self._hand_on, taken, *self._extractor.texts(), sink)
            if beside:
                beside.finish()
        return self._result()

    def _hand_on(
        self, taken: Taken, names: list[str], hosts: list[str], sink: Callable[[Finished], None]
    ) -> None:
        from logscope.correlate.output import Finished

        sources = [source.name for source in self._sources]
        batch = Finished(taken, names, hosts, sources, self._balancers, machine_code=self._machine_code)
        self._joined += np.bincount(batch.joined, minlength=len(JOIN_CLASSES))
        self._zones_apart.note(batch)
        sink(batch)

    def _finished(self) -> Iterator[Taken]:
        """What the joins hand out; each is valid until the next but one is asked for."""
        for _ in self._steps():
            # Once: a few sessions more have been finished meanwhile, and are not worth a batch of their own.
            if (taken := self._joiner.take()) is not None:
                yield taken
        self._joiner.finish()  # what is left comes at once: whose addresses are a balancer's is told by many
        yield from iter(self._joiner.take, None)

    def _steps(self) -> Iterator[None]:
        """Join all that is read; stops now and then for what is finished to be taken."""
        count = len(self._feeds)
        cursor, limit = np.zeros(count, np.int64), np.zeros(count, np.int64)
        live = np.ones(count, np.int64)
        pool: Executor = ThreadPoolExecutor(os.cpu_count() or 1) if self._machine_code else AtOnce()
        try:
            inputs = [
                Ahead(feed, number, self._extractor, self._segments, pool)
                for number, feed in enumerate(self._feeds)
            ]
            for one in inputs:
                one.begin()
            for one in inputs:
                one.prepare()
            while (needy := self._joiner.step(*self._segments.all, cursor, limit, live)) != -1:
                if needy == -2:
                    yield
                    continue
                cursor[needy], limit[needy], ended = inputs[needy].take()
                live[needy] = not ended
                self._progress(sum(source.position for source in self._sources))
        finally:
            pool.shutdown(cancel_futures=True)

    def _result(self) -> Result:
        """Counts and remarks."""
        counts = Counts()
        for feed in self._feeds:
            counts.merge(feed.counts)
        problems = [source.problem for source in self._sources if source.problem is not None]
        _, names = self._extractor.texts()
        skew = {
            (names[balancer], names[mta]): (seconds, samples)
            for (balancer, mta), (seconds, samples) in self._joiner.skews().items()
        }
        years = {str(origin) for feed in self._feeds for origin in feed.clock.year_origins}
        quality = counts.numbers() | {"sessions": int(self._joined.sum())}
        quality |= dict(zip(JOIN_CLASSES, self._joined.tolist(), strict=True))
        signals = merged(feed.collector.signals for feed in self._feeds)
        signals.skew_s = {hosts: seconds for hosts, (seconds, _) in skew.items()}
        return Result(counts, quality, [*counts.remarks, *self._notes(years)], problems, skew, years, signals)

    def _notes(self, years: set[str]) -> list[str]:
        notes = []
        if "modified" in years:
            notes.append(
                "The stamps have no year: it was taken from the files' time of modification. "
                "Use --year if that is wrong."
            )
        elif "now" in years:
            notes.append("The stamps have no year: the current one was assumed. Use --year to name it.")
        zones = {name: origin for feed in self._feeds for name, origin in feed.clock.zone_origins.items()}
        assumed = sorted(name for name, origin in zones.items() if str(origin) == "assumed")
        if assumed:
            notes.append(
                f"The stamps of {', '.join(name or 'lines without a host' for name in assumed)} have no "
                "zone: UTC was assumed. Use --tz to name it."
            )
        return [*notes, *self._apart(set(assumed))]

    def _apart(self, assumed: set[str]) -> Iterator[str]:
        _, names = self._extractor.texts()
        for apart in self._zones_apart.found():
            balancer, mta = names[apart.balancer_host], names[apart.mta_host]
            hours = f"{abs(apart.ahead_s) / 3600:g} h {'ahead of' if apart.ahead_s > 0 else 'behind'}"
            if not (balancer and mta):
                continue  # lines without a host: no option could name it
            if mta in assumed:
                cure = f"Use --tz {mta}={offset_name(apart.ahead_s)} if {balancer}'s are right."
            elif balancer in assumed:
                cure = f"Use --tz {balancer}={offset_name(-apart.ahead_s)}."
            else:
                cure = "One of the two has a wrong clock, or was named a wrong zone."
            yield (
                f"The stamps of {mta} are {hours} those of {balancer} for the same clients "
                f"({apart.sessions} sessions), which are not joined for that reason. {cure}"
            )


def _now(function: Callable[..., None], *args: Any) -> None:
    function(*args)


def run(
    sources: Sequence[Input],
    catalogue: Catalogue,
    options: Options,
    tables: Mapping[str, Sequence[str]],
    sink: Callable[[str, Any], None],
    *,
    progress: Callable[[int], None] | None = None,
    now: int = 0,
    coded: bool = False,
    signals: bool = True,
) -> Result:
    """Join everything and hand each finished batch to `sink(table, record_batch)`, one after the other, maybe
    in another thread.

    Args:
        sources: open inputs.
        catalogue: compiled grammars.
        options: how to read.
        tables: the tables wanted (`sessions`, `messages`, `deliveries`) and the columns of `sessions`
            wanted, in order.
        sink: takes the name of a table and a `pyarrow.RecordBatch`.
        progress: told the bytes read so far, over all sources.
        now: the current time in nanoseconds, used only where nothing else says which year it is.
        coded: columns of sessions whose values repeat may be dictionary-coded.
        signals: whether `Result.signals` is wanted.
    """
    columns = tuple(tables.get("sessions", ()))
    joining = Pipeline(
        sources,
        catalogue,
        options,
        events="events" in columns,
        deliveries="deliveries" in tables,
        signals=signals,
        text=text_of(tables),
        progress=progress,
        now=now,
    )

    def hand_on(batch: Finished) -> None:
        if columns and batch.count:
            sink("sessions", batch.sessions(columns, coded=coded))
        if "messages" in tables:
            sink("messages", batch.message_table())
        if "deliveries" in tables:
            sink("deliveries", batch.delivery_table())

    return joining.run(hand_on)


def text_of(tables: Mapping[str, Sequence[str]]) -> int:
    """Whose text must be kept while a session is open for these tables and columns, as the joins' bits."""
    text = 0
    for name in tables.get("sessions", ()):
        text |= _TEXT_OF.get(name, 0)
    if "messages" in tables:
        text |= TEXT_OF_MESSAGES
    if "deliveries" in tables:
        text |= TEXT_OF_MESSAGES | TEXT_OF_DELIVERIES
    return text


_TEXT_OF = {
    "client_name": TEXT_OF_NAMES,
    "helo": TEXT_OF_SESSIONS,
    "sasl_username": TEXT_OF_SESSIONS,
    "commands": TEXT_OF_COMMANDS,
    "rejects": TEXT_OF_REJECTS,
    "queue_ids": TEXT_OF_MESSAGES,
}
