"""What the pipeline is given, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from logscope.errors import InputError
from logscope.grammar.rows import FOREIGN, UNPARSED
from logscope.pipeline.naming import NOTHING_SAID, Naming
from logscope.syslog.zones import Zones


class Input(Protocol):
    """What the pipeline needs of an input; `sources.Source` has it.

    `follows`: reading nothing means that nothing has arrived yet, not that the input is over.
    """

    name: str
    size: int | None
    position: int
    compression: str | None
    modified_at: int | None
    head: bytes
    problem: InputError | None
    follows: bool

    def read_into(self, buffer: NDArray[np.uint8], at: int) -> int: ...


@dataclass(frozen=True)
class Options:
    """How to read.

    Attributes:
        zones: of hosts whose stamps have none.
        year: of the first year-less stamp.
        balancers: addresses that the configuration says are a balancer's, as halves of 128 bits.
        naming: what the configuration says of hosts' and servers' names.
        machine_code: force one engine; None chooses by the size of the input.
        envelope: what stands before each message, one of `syslog.envelopes.NAMES`; empty to find out.
    """

    zones: Zones = field(default_factory=Zones)
    year: int | None = None
    balancers: frozenset[tuple[int, int]] = frozenset()
    naming: Naming = NOTHING_SAID
    machine_code: bool | None = None
    envelope: str = ""


@dataclass
class Counts:
    """Lines read, and what became of them: `lines_read = parsed + foreign + unparsed`, always.

    Attributes:
        remarks: what users should know of lines that could not be read.
    """

    lines_read: int = 0
    parsed: int = 0
    foreign: int = 0
    unparsed: int = 0
    remarks: list[str] = field(default_factory=list)

    def add(self, template: NDArray[np.int32]) -> None:
        foreign = int(np.count_nonzero(template == FOREIGN))
        unparsed = int(np.count_nonzero(template == UNPARSED))
        self.lines_read += len(template)
        self.foreign += foreign
        self.unparsed += unparsed
        self.parsed += len(template) - foreign - unparsed

    def numbers(self) -> dict[str, int]:
        """The counts by their names."""
        return {name: count for name, count in vars(self).items() if isinstance(count, int)}

    def merge(self, other: Counts) -> None:
        self.lines_read += other.lines_read
        self.parsed += other.parsed
        self.foreign += other.foreign
        self.unparsed += other.unparsed
        self.remarks += other.remarks
