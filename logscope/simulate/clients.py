"""What clients and balancers are called, once for all of a simulation: columns of tables hold their places.

There are at most some tens of thousands of clients unless more are asked for, and each comes many times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope.arrow import as_texts
from logscope.correlate.text import address_texts
from logscope.engine import kernel
from logscope.grammar.fields import address_number
from logscope.simulate import texts
from logscope.simulate.columns import to_arrow
from logscope.simulate.layout import *
from logscope.simulate.model import address_of
from logscope.simulate.plan import Plan
from logscope.simulate.site import Options
from logscope.wide_copy import SPARE

Ints = NDArray[np.int64]
Indices = NDArray[np.int32]


@dataclass(frozen=True)
class Names:
    """Addresses and host names, each once.

    Attributes:
        addresses, names: string[n].
        who, named: of each client, and then of each balancer, the place of its address and of its name.
    """

    addresses: pa.Array
    names: pa.Array
    who: Indices
    named: Indices


def names_of(
    options: Options,
    plan: Plan,
    words: texts.Words,
    run: texts.Runner,
    *,
    machine_code: bool,
) -> Names:
    """All that clients of a plan, and the site's balancers, are called.

    Args:
        run: gives a kernel in the form that the simulation runs.
    """
    balancers = (*options.balancers, *options.inner)
    total = plan.clients + len(balancers)
    halves = np.zeros((2, total), np.int64)
    run(put_addresses)(plan.streams, halves)
    halves[1, plan.clients :] = [address_number(host.address.encode()) & (1 << 63) - 1 for host in balancers]
    # Two networks that faults bring can be the same one.
    unique, who = _distinct(halves)
    addresses = address_texts(unique[0], unique[1], machine_code=machine_code)
    pool = np.empty(len(words.data) + texts.ROOM_NAME * plan.clients + SPARE, np.uint8)
    pool[: len(words.data)] = words.data
    spans = np.empty(plan.clients, np.int64)
    items = texts.no_items(len(words.data))
    run(texts.put_names)(spans, pool, items, words.spans)
    own = spans != words.spans[texts.W_UNKNOWN]
    named = np.zeros(total, np.int32)
    named[: plan.clients][own] = 1 + len(balancers) + np.arange(own.sum())
    named[plan.clients :] = 1 + np.arange(len(balancers))
    first = as_texts(["unknown", *(f"{host.name}.{texts.DOMAIN}" for host in balancers)])
    of_clients = to_arrow(pool, spans[own], None, run)
    return Names(addresses, pa.concat_arrays([first, of_clients]), who, named)


def _distinct(halves: Ints) -> tuple[Ints, Indices]:
    """Each column once, in order, and where each one went: `numpy.unique` compares columns byte by byte,
    which takes ten times as long."""
    order = np.lexsort(halves[::-1])
    ordered = halves[:, order]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    who = np.empty(len(order), np.int32)
    who[order] = np.cumsum(is_new) - 1
    return ordered[:, is_new], who


@kernel
def put_addresses(streams: NDArray[np.float64], halves: NDArray[np.int64]) -> None:
    """The address of each client of each stream."""
    for stream in range(streams.shape[0]):
        first = int(streams[stream, Q_FIRST])
        for client in range(first, first + int(streams[stream, Q_CLIENTS])):
            halves[0, client], halves[1, client] = address_of(client, streams[stream, Q_NEAR] > 0.0)
