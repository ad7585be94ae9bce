"""From open sources and settings to the joined tables: the one call behind every command and library
function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logscope.errors import GrammarError, Place
from logscope.schema import TABLES

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from logscope.arrow import SparseBatch
    from logscope.grammar.catalogue import Catalogue
    from logscope.pipeline import Counts, Options, Result
    from logscope.settings import Settings
    from logscope.site import Site
    from logscope.sources.source import Source
    from logscope.where import Condition

_HAPPENED: dict[str, tuple[str, ...]] = {
    "sessions": ("accepted_at", "mta_connected_at", "ended_at"),
    "messages": ("queued_at",),
    "deliveries": ("logged_at",),
    "events": ("logged_at",),
}
"""The column that says when a row happened: the first of these that is known."""


@dataclass(frozen=True)
class Preparation:
    """What the settings come to.

    Attributes:
        catalogue: the compiled grammars, the user's own and configured log formats included.
        options: for the pipeline.
        notes: what could not be learnt from the configurations given.
    """

    catalogue: Catalogue
    options: Options
    notes: tuple[str, ...]


def prepare(settings: Settings) -> Preparation:
    """Load what is needed to read.

    Raises:
        GrammarError: a grammar is wrong.
        LogscopeError: a configuration given cannot be read.
    """
    from logscope.grammar import catalogue
    from logscope.pipeline import Options
    from logscope.pipeline.naming import Naming
    from logscope.syslog.zone_names import zone
    from logscope.syslog.zones import Zones

    site = settings.site
    grammars: list[Any] = [*grammar_files(settings.grammars), *site.grammars]
    if settings.log_formats:
        from logscope.grammar.model import STRUCTURED
        from logscope.haproxy.log_format import as_grammar, translate

        formats = [translate(one) for one in settings.log_formats]
        grammars.append(as_grammar(formats, "haproxy-log-format"))
        behind_data = [one for one in formats if one.log_format.startswith("[")]
        if behind_data:
            grammars.append(as_grammar(behind_data, "haproxy-log-format-sd", STRUCTURED))
    notes = [*site.notes, *_join_notes(site)]
    balancers = frozenset(map(_halves, site.peer_addresses))
    named = dict(settings.zones)
    default = named.pop("", None)
    zones = Zones({host: zone(name) for host, name in named.items()}, zone(default) if default else None)
    naming = Naming(
        {name.encode(): host.encode() for name, host in site.names_of_hosts.items()},
        {server.encode(): host.encode() for server, host in site.hosts_of_servers.items()},
    )
    options = Options(
        zones=zones, year=settings.year, balancers=balancers, naming=naming, envelope=settings.envelope
    )
    return Preparation(catalogue.load(grammars), options, tuple(notes))


def _join_notes(site: Site) -> Iterator[str]:
    """What the Postfix configurations say about how far their logs can be joined."""
    for server in site.mail_servers:
        silent = [one for one in (*server.listeners, *server.behind_postscreen) if not one.logs_client_port]
        if silent:
            tags = ", ".join(dict.fromkeys(one.tag for one in silent))
            yield (
                f"{server.name}: {tags} logs no client ports, so its sessions are joined by order and time. "
                "With smtpd_client_port_logging = yes they are joined exactly."
            )


def grammar_files(named: Iterable[str]) -> list[Path]:
    """Grammar files out of files and directories of them.

    Raises:
        GrammarError: there is no such file, or none in the directory.
    """
    files: list[Path] = []
    for name in named:
        path = Path(name)
        found = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        if not found or not all(entry.is_file() for entry in found):
            what = "no grammar (*.toml) inside" if path.is_dir() else "no such grammar file"
            raise GrammarError(what, place=Place(name))
        files += found
    return files


def _mta_only(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = batch.column("balancer").is_null().to_numpy(zero_copy_only=False)
    return mask


def read_tables(
    sources: Sequence[Source],
    settings: Settings,
    tables: Mapping[str, Sequence[str]],
    sink: Callable[[str, pa.RecordBatch], None],
    *,
    coded: bool = False,
    with_mta_only: bool = False,
    signals: bool = True,
) -> Result:
    """Join the sources and hand each batch to `sink(table, batch)`.

    Args:
        sources: open inputs.
        settings: what the run was told.
        tables: the tables wanted, and of each the columns; no column means all.
        sink: takes the rows that the settings ask for.
        coded: columns of sessions whose values repeat may be dictionary-coded.
        with_mta_only: hand on sessions that no balancer logged, whatever `where` says: which frontend and
            client they are of is what a verdict has to find out.
        signals: whether the result's signals are wanted, as they are for a verdict.

    Returns:
        the pipeline's result, with the notes of the preparation in front of its own.
    """
    from logscope import pipeline

    ready = prepare(settings)
    wanted = {table: list(columns) or column_names(table) for table, columns in tables.items()}
    main = next(iter(tables))
    condition = condition_of(settings, main)
    covered = Covered(settings)
    for table, columns in wanted.items():
        needed = [*_HAPPENED[table]] if _bounded(settings) else []
        if condition and table == main:
            needed += condition.columns
        columns += [name for name in dict.fromkeys(needed) if name not in columns]

    passed = 0  # rows before and after the condition
    is_met = False

    def within(table: str, batch: pa.RecordBatch) -> None:
        nonlocal passed, is_met
        if table == main:
            covered.add(table, batch)
        batch = in_period(table, batch, settings)
        if condition and table == main:
            passed += batch.num_rows
            is_met = is_met or condition.select(batch).num_rows > 0
            batch = condition.select(batch, _mta_only(batch) if with_mta_only else None)
        sink(table, batch.select(list(tables[table])) if tables[table] else batch)

    result = pipeline.run(
        sources,
        ready.catalogue,
        ready.options,
        wanted,
        within,
        now=time.time_ns(),
        coded=coded and condition is None and not _bounded(settings),
        signals=signals,
    )
    result.notes[:0] = ready.notes
    result.notes += covered.notes()
    if passed and not is_met:
        result.notes.append(f"--where holds for none of {passed:,} {main}.")
    return result


def read_events(
    sources: Sequence[Source], settings: Settings
) -> tuple[pa.Schema, Iterator[pa.RecordBatch], Counts]:
    """Read every line of the sources, as `read_sparse_events` does, as ordinary batches."""
    schema, batches, counts = read_sparse_events(sources, settings)
    return schema, (batch.dense() for batch in batches), counts


def read_sparse_events(
    sources: Sequence[Source], settings: Settings
) -> tuple[pa.Schema, Iterator[SparseBatch], Counts]:
    """Read every line of the sources, in the order given.

    Returns:
        all columns there can be; batches with those that occur, of the rows that the settings ask for; and
        the counts of lines, complete when the batches are exhausted.
    """
    from logscope import arrow, events
    from logscope.pipeline import Counts

    ready = prepare(settings)
    counts = Counts()
    condition = condition_of(settings, "events", ready.catalogue)
    covered = Covered(settings)

    def wanted(batch: SparseBatch) -> SparseBatch:
        if not condition and not _bounded(settings):
            return batch
        dense = batch.dense()
        covered.add("events", dense)
        dense = in_period("events", dense, settings)
        return arrow.SparseBatch.of(condition.select(dense) if condition else dense)

    def batches() -> Iterator[SparseBatch]:
        read = events.events(sources, ready.catalogue, ready.options, counts=counts, now=time.time_ns())
        yield from map(wanted, read)
        counts.remarks += covered.notes()

    return events.schema(ready.catalogue), batches(), counts


def condition_of(settings: Settings, table: str, catalogue: Catalogue | None = None) -> Condition | None:
    """What the settings ask of the rows of a table; None for all of them.

    Args:
        catalogue: for `events`, whose columns it says.

    Raises:
        UsageError: it makes no sense, or the table has no such column.
    """
    if settings.where is None:
        return None
    from logscope import where

    if catalogue is not None:
        from logscope.events import column_types

        kinds = (*catalogue.kinds, "unparsed", "foreign")
        columns = where.Columns(column_types(catalogue), {"kind": kinds})
    else:
        columns = where.Columns({column.name: column.type for column in TABLES[table]})
    return where.condition(settings.where, columns, settings.moment)


def column_names(table: str) -> list[str]:
    """The names of a table's columns."""
    return [column.name for column in TABLES[table]]


def in_period(table: str, batch: pa.RecordBatch, settings: Settings) -> pa.RecordBatch:
    """The rows of a batch that happened in the period asked for; those without any time are left out of a
    period.
    """
    if not _bounded(settings):
        return batch
    import pyarrow.compute as pc

    happened = _happened(table, batch)
    keep = happened.is_valid()
    if settings.since is not None:
        keep = pc.and_kleene(keep, pc.greater_equal(happened, settings.since))
    if settings.until is not None:
        keep = pc.and_kleene(keep, pc.less(happened, settings.until))
    return batch.filter(keep)


class Covered:
    """What the rows that were read cover, where only those of a period are wanted.

    Args:
        settings: which period.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._first: int | None = None
        self._last: int | None = None
        self._is_met = False

    def add(self, table: str, batch: pa.RecordBatch) -> None:
        """Take note of some rows, those outside the period included."""
        if not _bounded(self._settings) or self._is_met or not batch.num_rows:
            return
        import pyarrow.compute as pc

        found = pc.min_max(_happened(table, batch)).as_py()
        self._first = min((one for one in (self._first, found["min"]) if one is not None), default=None)
        self._last = max((one for one in (self._last, found["max"]) if one is not None), default=None)
        self._is_met = in_period(table, batch, self._settings).num_rows > 0

    def notes(self) -> Iterator[str]:
        """That nothing lies in the period, where that is so, and when all that was read happened."""
        if self._is_met or self._first is None:
            return
        from logscope.report.wording import bounds, period

        undated = " (a time without a date is today's)" if self._settings.undated else ""
        asked = bounds(self._settings.since, self._settings.until)
        yield f"nothing happened {asked}{undated}; what was read is of {period(self._first, self._last)}"


def _happened(table: str, batch: pa.RecordBatch) -> pa.Array:
    """When each row happened, nanoseconds since 1970."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.coalesce(*(batch.column(name) for name in _HAPPENED[table])).cast(pa.int64())


def _bounded(settings: Settings) -> bool:
    return settings.since is not None or settings.until is not None


def _halves(address: IPv4Address | IPv6Address) -> tuple[int, int]:
    """An address as signed halves of its 128 bits, IPv4 as ::ffff:a.b.c.d, as the joins hold it."""
    bits = int(address) if address.version == 6 else 0xFFFF_0000_0000 | int(address)
    return _signed(bits >> 64), _signed(bits & 0xFFFF_FFFF_FFFF_FFFF)


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits
