"""The simulation as a run of blocks: sessions in the order of their arrival, with all that comes of them.

A block depends on those before it and on nothing else, so memory stays the same however long the run is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.correlate.layout import NULL
from logscope.simulate import chance, mail, model, texts
from logscope.simulate.layout import *
from logscope.simulate.plan import Plan, make_plan
from logscope.simulate.site import Options

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
        self.words = texts.words(options)

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
            s = np.empty((S_WIDTH, total), np.int64)
            s[S_NAME:] = NULL
            self.kernel(model.fill)(
                s, plan.edges[first : last + 1], plan.counts[first:last], plan.condition[first:last],
                plan.conditions, plan.streams, numbers, state.random, state.passed, state.inside,
                state.credit, state.ports, state.idle, state.idle_count, state.next_pid, state.open,
                state.open_count, state.last, state.number,
            )  # fmt: skip
            m, d = self._mail(s, inodes, letters)
            yield Block(s, m, d)

    def texts(self, block: Block) -> texts.Pool:
        """Fill the columns of spans; returns the pool that they point into."""
        s, m, d = block.sessions, block.messages, block.deliveries
        used = len(self.words.data)
        room = texts.ROOM_SESSION * s.shape[1] + texts.ROOM_MESSAGE * m.shape[1]
        # Memory that is never written is never used: room for the worst case costs nothing.
        pool = np.empty(used + room + texts.ROOM_DELIVERY * d.shape[1], np.uint8)
        pool[:used] = self.words.data
        items = np.zeros(3 * texts.MOST_ITEMS + 2, np.int64)
        items[-1] = used
        end = self.kernel(texts.put_all)(s, m, d, pool, items, self.words.spans, self._front(s))
        return pool[:end]

    def _front(self, s: Matrix) -> NDArray[np.int64]:
        """The word that is the name of the balancer in front of each session's server."""
        options = self.options
        first = texts.W_HOSTS + len(options.servers)
        if options.inner:
            return np.asarray(first + len(options.balancers) + s[S_NUMBER] % len(options.inner))
        return np.asarray(first + np.maximum(s[S_BALANCER], 0))

    def _mail(
        self, s: Matrix, inodes: NDArray[np.int64], letters: NDArray[np.int64]
    ) -> tuple[Matrix, Matrix]:
        plan, servers = self.plan, len(self.options.servers)
        brought = int(s[S_MESSAGES].sum())
        m = np.empty((M_WIDTH, 2 * brought), np.int64)  # each message can cause one notice
        count, recipients = self.kernel(mail.bring)(
            s, s.shape[1], m, plan.conditions, plan.streams, servers, inodes, letters
        )
        m[M_ID:] = NULL
        d = np.empty((D_WIDTH, recipients * mail.MOST_ATTEMPTS + brought), np.int64)
        messages, deliveries = self.kernel(mail.deliver)(
            s, s.shape[1], m, count, d, plan.conditions, servers, inodes, letters
        )
        d[D_HI:, :deliveries] = NULL
        return m[:, :messages], d[:, :deliveries]


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
