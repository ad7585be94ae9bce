"""The simulation as a run of blocks: sessions in the order of their arrival, with all that comes of them.

A block depends on those before it and on nothing else, so memory stays the same however long the run is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.simulate import chance, mail, model, texts
from logscope.simulate.clients import Names, names_of
from logscope.simulate.layout import *
from logscope.simulate.memory import Memory
from logscope.simulate.plan import Plan, make_plan
from logscope.simulate.site import Options
from logscope.wide_copy import SPARE, for_kernels

Matrix = NDArray[np.int64]

BLOCK = 1 << 15
"""Sessions of a block, about."""
_WORTH_COMPILING = 5_000


@dataclass(frozen=True)
class Block:
    """Some sessions in the order of their arrival, and their mail; columns S_…, M_…, D_… of `layout`.

    Rows of messages and deliveries name rows of the same block.
    """

    sessions: Matrix
    messages: Matrix
    deliveries: Matrix

    @property
    def rows(self) -> tuple[Matrix, Matrix, Matrix]:
        """The same, as kernels see it: row after row, since they look at all that is known of one session."""
        return self.sessions.T, self.messages.T, self.deliveries.T


class Simulation:
    """What the options describe.

    Args:
        options: the site and what happens there.
        machine_code: run compiled kernels; None: where it is worth the wait. The result is the same.
    """

    def __init__(self, options: Options, *, machine_code: bool | None = None) -> None:
        self.options = options
        self.plan: Plan = make_plan(options)
        if machine_code is None:
            machine_code = self.plan.sessions >= _WORTH_COMPILING
        self.machine_code = machine_code
        if machine_code:
            for_kernels()
        self.words = texts.words(options)
        self.memory = Memory()

    @property
    def sessions(self) -> int:
        """How many there will be, those included that faults add."""
        return self.plan.sessions

    def kernel(self, function: Callable[..., Any]) -> Any:
        """A kernel in the form that this simulation runs."""
        return engine.compiled(function) if self.machine_code else function

    def blocks(self, size: int = BLOCK) -> Iterator[Block]:
        """Draw it all, block by block. The sessions do not depend on the size of the blocks."""
        plan, options = self.plan, self.options
        state = model.begin(options, plan)
        numbers = model.parameters(options, plan)
        inodes = np.zeros(len(options.servers), np.int64)
        letters = chance.begin(options.seed, 3)
        for first, last in _groups(plan, size):
            total = int(plan.counts[first:last].sum())
            s = self.memory.empty((total, S_WIDTH), np.int64)
            self.kernel(model.fill)(
                s, plan.edges[first : last + 1], plan.counts[first:last], plan.condition[first:last],
                plan.conditions, plan.streams, numbers, state.random, state.passed, state.inside,
                state.credit, state.ports, state.idle, state.idle_count, state.next_pid, state.open,
                state.open_count, state.last, state.busy, state.number,
            )  # fmt: skip
            m, d = self._mail(s, inodes, letters)
            yield Block(s.T, m.T, d.T)

    def texts(self, block: Block, *, lines: bool = True) -> texts.Pool:
        """Fill the columns of spans; returns the pool that they point into.

        Args:
            lines: also those of the texts that only lines have.
        """
        s, m, d = block.rows
        used = len(self.words.data)
        room = texts.ROOM_MESSAGE * len(m) + texts.ROOM_DELIVERY * len(d)
        room += (texts.ROOM_SESSION if lines else texts.ROOM_SEEN) * len(s)
        pool = self.memory.empty((used + room + SPARE,), np.uint8)
        pool[:used] = self.words.data
        counted = np.zeros((2, len(texts.COUNTED)), np.int64)
        end = self.kernel(texts.put_all)(
            s, m, d, pool, texts.no_items(used), self.words.spans, self._front(block), counted, lines
        )
        return pool[: end + SPARE]

    @cached_property
    def names(self) -> Names:
        """What clients and balancers are called."""
        return names_of(self.options, self.plan, self.words, self.kernel, machine_code=self.machine_code)

    def _front(self, block: Block) -> NDArray[np.int64]:
        """The word that is the name of the balancer in front of each session's server."""
        options, s = self.options, block.sessions
        first = texts.W_HOSTS + len(options.servers)
        if options.inner:
            return np.asarray(first + len(options.balancers) + s[S_NUMBER] % len(options.inner))
        return np.asarray(first + np.maximum(s[S_BALANCER], 0))

    def _mail(
        self, s: Matrix, inodes: NDArray[np.int64], letters: NDArray[np.int64]
    ) -> tuple[Matrix, Matrix]:
        plan, servers = self.plan, len(self.options.servers)
        brought = int(s[:, S_MESSAGES].sum())
        m = self.memory.empty((2 * brought, M_WIDTH), np.int64)  # each message can cause one notice
        count, recipients = self.kernel(mail.bring)(
            s, len(s), m, plan.conditions, plan.streams, servers, inodes, letters
        )
        d = self.memory.empty((recipients * mail.MOST_ATTEMPTS + brought, D_WIDTH), np.int64)
        messages, deliveries = self.kernel(mail.deliver)(
            s, len(s), m, count, d, plan.conditions, servers, inodes, letters
        )
        return m[:messages], d[:deliveries]


def _groups(plan: Plan, size: int) -> Iterator[tuple[int, int]]:
    """Neighbouring stretches that hold about so many sessions together; at least one stretch each."""
    totals = plan.counts.sum(axis=1)
    first, held = 0, 0
    for stretch, count in enumerate(totals.tolist()):
        if held and held + count > size:
            yield first, stretch
            first, held = stretch, 0
        held += count
    if held:
        yield first, len(totals)
