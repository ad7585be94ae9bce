"""Mail that clients brought without logging in and that went to domains which are not ours.

Behind a balancer whose address is trusted (`mynetworks`), anybody can do that. Which domains are ours only
the configuration says; without it, mail that was handed to public hosts of several domains is a suspicion.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logscope.detect.tally import PRIVATE

SESSIONS = ("mta_host", "peer_address", "masked", "client_known_from", "sasl_username", "queue_ids")
DELIVERIES = ("mta_host", "queue_id", "recipient", "original_recipient", "relay_address")
"""Columns that are read."""

MOST = 1 << 20
"""Queue ids, and recipients elsewhere, that are kept."""
MOST_TOLD = 20
MOST_PATTERNS = 500
"""Domains up to which those below them are told apart, too: an expression of very many would be refused."""


@dataclass(frozen=True)
class Relayed:
    """Mail of one peer of one host.

    Attributes:
        queue_ids: some of them.
        count: messages.
        domains: how many recipients in each domain.
    """

    queue_ids: list[str]
    count: int
    domains: Counter[str]


@dataclass
class Relays:
    """Looks for it in the tables of sessions and deliveries.

    Args:
        ours: our domains, in lower case; empty where no configuration was given.
    """

    ours: Collection[str] = ()
    _sent: list[pa.Table] = field(default_factory=list)
    _brought: list[pa.Table] = field(default_factory=list)
    _kept: Counter[str] = field(default_factory=Counter)

    def add_sessions(self, batch: pa.RecordBatch) -> None:
        """Note the mail of clients that the mail server did not see as themselves, and that did not log "
        "in."""
        if self._kept["brought"] >= MOST:
            return
        seen = pc.fill_null(pc.invert(batch.column("masked")), False)
        wanted = pc.and_(pc.is_null(batch.column("sasl_username")), pc.invert(seen))
        wanted = pc.and_(
            wanted, pc.greater(pc.fill_null(pc.list_value_length(batch.column("queue_ids")), 0), 0)
        )
        some = pa.Table.from_batches([batch.select(["mta_host", "peer_address", "queue_ids"]).filter(wanted)])
        owners = pc.list_parent_indices(some.column("queue_ids").combine_chunks())
        if not len(owners):
            return
        self._kept["brought"] += len(owners)
        self._brought.append(
            pa.table(
                {
                    "mta_host": _host(some.column("mta_host").take(owners)),
                    "peer_address": _plain(some.column("peer_address").take(owners)),
                    "queue_id": _plain(pc.list_flatten(some.column("queue_ids"))),
                }
            )
        )

    def add_deliveries(self, batch: pa.RecordBatch) -> None:
        """Note mail for elsewhere. What an alias sent on was ours at first."""
        if self._kept["sent"] >= MOST or not batch.num_rows:
            return
        recipients = _plain(batch.column("recipient"))
        domains = pc.utf8_lower(pc.replace_substring_regex(recipients, "^.*@", ""))
        wanted = pc.fill_null(pc.match_substring(recipients, "@"), False)
        wanted = pc.and_(wanted, pc.is_null(batch.column("original_recipient")))
        if self.ours:
            wanted = pc.and_(wanted, pc.invert(self._are_ours(domains)))
        else:
            relay = _plain(batch.column("relay_address"))
            public = pc.invert(pc.match_substring_regex(relay, PRIVATE))
            wanted = pc.and_(wanted, pc.fill_null(public, False))
        places = np.flatnonzero(np.asarray(wanted))
        self._kept["sent"] += len(places)
        if len(places):
            self._sent.append(
                pa.table(
                    {
                        "mta_host": _host(batch.column("mta_host").take(places)),
                        "queue_id": _plain(batch.column("queue_id").take(places)),
                        "domain": domains.take(places),
                    }
                )
            )

    def _are_ours(self, domains: pa.Array) -> pa.Array:
        """Whether these are our domains, below them, or address literals."""
        if len(self.ours) > MOST_PATTERNS:
            exact = pc.is_in(domains, pa.array(sorted(self.ours), pa.string()))
            return pc.or_(exact, pc.starts_with(domains, "["))
        return pc.match_substring_regex(domains, self._pattern)

    @cached_property
    def _pattern(self) -> str:
        return r"^\[|(^|\.)(" + "|".join(map(re.escape, sorted(self.ours))) + ")$"

    def by_peer(self) -> dict[tuple[str | None, str | None], Relayed]:
        """By host and peer address."""
        if not self._sent or not self._brought:
            return {}
        sent, brought = pa.concat_tables(self._sent), pa.concat_tables(self._brought)
        both = brought.join(sent, ["mta_host", "queue_id"], join_type="inner").to_pylist()
        found: dict[tuple[str | None, str | None], list[dict[str, str]]] = {}
        for row in both:
            found.setdefault((row["mta_host"] or None, row["peer_address"]), []).append(row)
        return {key: _relayed(rows) for key, rows in found.items()}


def _relayed(rows: list[dict[str, str]]) -> Relayed:
    ids = sorted({row["queue_id"] for row in rows})
    return Relayed(ids[:MOST_TOLD], len(ids), Counter(row["domain"] for row in rows))


def _host(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The same without null, which joins with nothing: lines may have no host."""
    return pc.fill_null(_plain(column), "")


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """As strings, whatever it is encoded as."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.cast(pa.string())
