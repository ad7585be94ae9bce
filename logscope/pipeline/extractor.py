"""Scanned chunks to the events that the joins read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.correlate.inputs import Plans, extract
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.rows import Rows
from logscope.pipeline.feed import Chunk
from logscope.pipeline.naming import NOTHING_SAID, Naming
from logscope.pipeline.numbering import Codes, Dictionary, Hosts


@dataclass(frozen=True)
class Numbers:
    """The run's numbers for the names and hosts of a chunk.

    Attributes:
        names: by the scanner's code; -1, no name, stays -1.
        labels: what hosts are known by, by the run's numbers.
        server_labels: the same of the hosts that servers of these names are.
        hosts, host_hashes: by the scanner's code plus one.
    """

    names: Codes
    labels: Codes
    server_labels: Codes
    hosts: Codes
    host_hashes: Codes


class Extractor:
    """Turns scanned rows into events, with names and hosts numbered for the run.

    Args:
        naming: what configurations say of hosts' and servers' names.
    """

    def __init__(self, catalogue: Catalogue, naming: Naming = NOTHING_SAID, *, machine_code: bool) -> None:
        self.machine_code = machine_code
        self.plans = Plans(catalogue)
        self.naming = naming
        self._dictionary = Dictionary()
        self._hosts = Hosts()

    def number(self, rows: Rows) -> Numbers:
        """Number what was not met before; to be called in an order that the input decides."""
        codes = np.append(self._dictionary.translate(rows.names), -1)
        present = np.flatnonzero(np.bincount(rows.host + 1)) - 1
        numbers, hashes = (np.full(int(present.max(initial=-1)) + 2, -1, np.int64) for _ in range(2))
        numbers[present + 1], hashes[present + 1] = self._hosts.number(codes[present], self._dictionary.raw)
        return Numbers(codes, *self._dictionary.labels(self.naming), numbers, hashes)

    def extract(
        self,
        chunk: Chunk,
        order: NDArray[np.int64],
        numbers: Numbers,
        source: int,
        pool: NDArray[np.uint8],
        base: int,
        out: NDArray[np.int64],
    ) -> int:
        """Write the events of a chunk to `out`; returns how many.

        Args:
            order: what the rows are merged by, see `order`.
            numbers: of the chunk's names and hosts.
            source: number of the source.
            pool, base: where the chunk's bytes are, and begin.
        """
        rows, plans = chunk.rows, self.plans
        run = engine.compiled(extract) if self.machine_code else extract
        count = run(
            rows.template, rows.start, rows.arena, 0, rows.count, rows.stamp, chunk.logged_at,
            chunk.accepted_at, order, rows.stamp_kind,
            rows.host, numbers.hosts, numbers.host_hashes, rows.service, rows.pid, source, chunk.first_line,
            plans.roles, plans.kinds, plans.first, plans.entries, plans.enum_values, numbers.names,
            numbers.labels, numbers.server_labels, pool, base, out,
        )  # fmt: skip
        return int(count)

    def texts(self) -> tuple[list[str], list[str | None]]:
        """The text of each name's code, and the name of each host's number."""
        names = self._dictionary.texts()
        return names, self._hosts.names(names)
