"""Finished sessions, messages and deliveries as Arrow batches, with the columns of `schema`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from logscope.arrow import TIMES, as_arrow, as_lists, as_texts, plain
from logscope.correlate.finished import STILL_OPEN, Codes, FinishedSessions, Mask
from logscope.correlate.handout import *
from logscope.correlate.layout import *
from logscope.correlate.text import (
    address_texts,
    coded,
    coded_counters,
    coded_dsns,
    hex_texts,
    span_texts,
)
from logscope.schema import CLIENT_KNOWN_FROM, OUTCOMES

if TYPE_CHECKING:
    from logscope.correlate.join import Taken

_HOPS = ("balancer", "screen", "smtpd", "queue", "delivery")
_MESSAGE_FACTS = {column: place for place, column in enumerate(OF_MESSAGE, 1)}


class Finished(FinishedSessions):
    """What was handed out together: columns are made when they are asked for."""

    def names(self, codes: Codes) -> pa.Array:
        return coded(self._name_words, codes)

    def hosts(self, numbers: Codes) -> pa.Array:
        if None in self.host_texts:  # lines that name no host
            numbers = np.where(numbers == self.host_texts.index(None), -1, numbers)
        return coded(self.host_texts, numbers)

    @cached_property
    def _name_words(self) -> pa.Array:
        return as_texts(self.name_texts)

    def heap(self, refs: Codes) -> pa.Array:
        return span_texts(self.taken.heap, refs, machine_code=self.machine_code)

    def sessions(self, columns: Iterable[str], *, coded: bool = False) -> pa.RecordBatch:
        """The `sessions` table with these columns, in this order.

        Args:
            coded: columns whose values repeat may be dictionary-coded, lists too: that is how they are made,
                and how they are written soonest.
        """
        wanted = list(columns)
        column = self._session_column if coded else self._plain_column
        return pa.RecordBatch.from_arrays([column(name) for name in wanted], names=wanted)

    def _session_column(self, name: str) -> pa.Array:
        """A column, made once: several may look at what was handed out."""
        if name not in self._session_columns:
            self._session_columns[name] = _SESSION_COLUMNS[name](self)
        return self._session_columns[name]

    def _plain_column(self, name: str) -> pa.Array:
        if name not in self._plain_columns:
            self._plain_columns[name] = plain(self._session_column(name))
        return self._plain_columns[name]

    @cached_property
    def _session_columns(self) -> dict[str, pa.Array]:
        return {}

    @cached_property
    def _plain_columns(self) -> dict[str, pa.Array]:
        return {}

    def new(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Of rows of all sessions those not handed out before: who counts has counted the others."""
        return rows.filter(as_arrow(~self.is_amendment)) if self.amendments else rows

    def destination(self) -> pa.Array:
        hi, lo, port = self.screen(P_DEST_HI), self.screen(P_DEST_LO), self.screen(P_DEST_PORT)
        addresses = address_texts(hi, lo, machine_code=self.machine_code)
        ports = as_arrow(port).cast(pa.string())
        return pa.compute.binary_join_element_wise("[", addresses, "]:", ports, "")

    def addresses(self, hi: Codes, lo: Codes) -> pa.Array:
        return address_texts(hi, lo, machine_code=self.machine_code)

    def events(self) -> pa.Array:
        """list<struct<source, line_number>>: balancer, screen, smtpd, then the messages' lines."""
        session, sources, lines = self.taken.events.T
        struct = pa.StructArray.from_arrays(
            [coded(self.source_texts, sources), as_arrow(lines.copy())], names=["source", "line_number"]
        )
        return as_lists(self._bounds(session), struct)

    def queue_ids(self) -> pa.Array:
        rows = self._session_messages
        return as_lists(self._bounds(rows[0]), self.heap(rows[_MESSAGE_FACTS[M_QUEUE_ID]]))

    def reject_list(self) -> pa.Array:
        session, stage, code, dsn, text, sender, recipient = self.taken.rejects.T
        struct = pa.StructArray.from_arrays(
            [
                self.names(stage),
                _integers(code),
                coded_dsns(dsn),
                self.heap(text),
                self.heap(sender),
                self.heap(recipient),
            ],
            names=["stage", "code", "dsn", "text", "sender", "recipient"],
        )
        return as_lists(self._bounds(session), struct)

    def _bounds(self, session: Codes) -> Codes:
        """Where each session's things begin, and the end of the last."""
        return np.searchsorted(session, np.arange(self.count + 1))

    @cached_property
    def _session_messages(self) -> Matrix:
        """Facts of the messages that sessions brought, as columns."""
        messages = self.taken.messages
        return np.ascontiguousarray(messages[messages[:, 0] >= 0].T)

    def links(self) -> pa.Array:
        """list<struct<from, to, method, confidence, probability>>, in the order of the hops."""
        inners = dict(zip(("session", *OF_INNER), self.taken.inners.T, strict=True))
        inner = self.has_screen & self.has_smtpd
        queue = self.has_smtpd & (np.maximum(self.smtpd(S_MESSAGE_COUNT), 0) > 0)
        delivery = (self.messages[F_SENT:F_EXPIRED].sum(axis=0) > 0) & queue
        balancer = self.balancer(B_METHOD), self.balancer(B_CONFIDENCE), self.balancer(B_PROBABILITY)
        screen = self.screen(P_METHOD), self.screen_confidence, self.screen(P_PROBABILITY)
        at_screen = self.has_screen & ~self.found_by_smtpd
        queue_id = L_QUEUE_ID, SURE_EXACT, 1_000_000
        # Most sessions are linked in one of few ways, those of chained balancers each in its own.
        ways = _way(self.joined_hops, *balancer) << 32 | _way(inner, *screen) << 4
        ways |= at_screen << 2 | queue << 1 | delivery
        ways[inners["session"]] = -1 - inners["session"]
        _, rows, places = np.unique(ways, return_index=True, return_inverse=True)
        places = places.reshape(-1)

        def some(mask: Mask, start: int, end: Any, *how: Any) -> Matrix:
            """The links of one kind: the way, both hops, method, confidence, probability."""
            facts = (np.broadcast_to(np.asarray(fact), self.count)[rows] for fact in (start, end, *how))
            return np.stack([np.arange(len(rows)), *facts])[:, mask[rows]]

        chained = np.zeros((6, len(inners["session"])), np.int64)
        chained[0] = places[inners["session"]]
        chained[3:] = [inners[column] for column in OF_INNER[1:]]
        links = np.concatenate(
            [
                chained,
                some(self.joined_hops, 0, np.where(at_screen, 1, 2), *balancer),
                some(inner, 1, 2, *screen),
                some(queue, 2, 3, *queue_id),
                some(delivery, 3, 4, *queue_id),
            ],
            axis=1,
        )
        way, start, end, method, sure, probability = links[:, np.argsort(links[0], kind="stable")]
        struct = pa.StructArray.from_arrays(
            [
                coded(_HOPS, start),
                coded(_HOPS, end),
                coded(METHODS, method),
                coded(CONFIDENCES, sure),
                as_arrow(probability / 1e6),
            ],
            names=["from", "to", "method", "confidence", "probability"],
        )
        lists = as_lists(np.searchsorted(way, np.arange(len(rows) + 1)), struct)
        return coded(lists, places)

    def amends(self) -> pa.Array:
        """list<string>: ids under which they were handed out before; null where there are none."""
        found = self.earlier_ids
        return pa.array(
            [[f"{one:016x}" for one in found[row]] if row in found else None for row in range(self.count)]
            if found
            else pa.nulls(self.count, pa.list_(pa.string())),
            pa.list_(pa.string()),
        )

    def flags(self, words: Sequence[str], bits: Codes) -> pa.Array:
        """list<string> of the words whose bit is set, in the order given."""
        present, places = np.unique(bits, return_inverse=True)
        matrix = (present[:, None] >> np.arange(len(words))) & 1
        offsets = np.concatenate(([0], np.cumsum(matrix.sum(axis=1))))
        return coded(as_lists(offsets, coded(words, np.nonzero(matrix)[1])), places.reshape(-1))

    def hops(self) -> pa.Array:
        queue = np.maximum(self.smtpd(S_MESSAGE_COUNT), 0) > 0
        delivery = self.messages[F_SENT:F_EXPIRED].sum(axis=0) > 0
        seen = (self.has_balancer, self.has_screen, self.has_smtpd, queue, delivery)
        return self.flags(_HOPS, sum(hop.astype(np.int64) << bit for bit, hop in enumerate(seen)))

    def screen_tests(self) -> pa.Array:
        return self.flags(SCREEN_TESTS, np.maximum(self.screen(P_TESTS), 0))

    def commands(self) -> pa.Array:
        """map of command to [accepted, all]."""
        return coded_counters(self.heap(self.smtpd(S_COMMANDS)))

    def balancer_list(self) -> pa.Array:
        """From the outermost on."""
        first = np.flatnonzero(self.has_balancer)
        session = np.concatenate([first, self.taken.inners[:, 0]])
        hosts = np.concatenate(
            [self.balancer(B_HOST)[first], self.taken.inners[:, 1 + OF_INNER.index(B_HOST)]]
        )
        order = np.argsort(session, kind="stable")
        return as_lists(self._bounds(session[order]), self.hosts(hosts[order]))

    # --- messages and deliveries ----------------------------------------------------------------------------

    def message_table(self, only: Collection[str] | None = None) -> pa.RecordBatch:
        """The `messages` table: those of the sessions handed out, and those that no session brought.

        Args:
            only: the columns wanted; None: all.
        """
        brought = self._session_messages
        messages = self.taken.messages
        others = messages[messages[:, 0] < 0].T
        ids = pa.concat_arrays(
            [hex_texts(self.session_ids[brought[0]]), pa.nulls(others.shape[1], pa.string())]
        )
        facts = np.concatenate([brought, others], axis=1)

        def fact(column: int) -> Codes:
            values: Codes = facts[_MESSAGE_FACTS[column]]
            return values

        columns: dict[str, Callable[[], pa.Array]] = {
            "mta_host": lambda: self.hosts(fact(M_HOST)),
            "queue_id": lambda: self.heap(fact(M_QUEUE_ID)),
            "queued_at": lambda: _times(fact(M_QUEUED)),
            "session_id": lambda: ids,
            "message_id": lambda: self.heap(fact(M_MESSAGE_ID)),
            "sender": lambda: self.heap(fact(M_SENDER)),
            "size": lambda: _integers(fact(M_SIZE)),
            "recipient_count": lambda: _integers(fact(M_RECIPIENTS)),
            "removed_at": lambda: _times(fact(M_REMOVED)),
            "final_status": lambda: coded(FINAL_STATUSES, facts[MESSAGE_STATUS]),
            "next_queue_id": lambda: self.heap(fact(M_NEXT_QUEUE_ID)),
        }
        return _made(columns, only)

    def delivery_table(self, only: Collection[str] | None = None) -> pa.RecordBatch:
        """The `deliveries` table of the lines since the last one; `only`: the columns wanted."""
        facts = np.ascontiguousarray(self.taken.deliveries.T)
        columns: dict[str, Callable[[], pa.Array]] = {
            "mta_host": lambda: self.hosts(facts[Y_HOST]),
            "queue_id": lambda: self.heap(facts[Y_QUEUE_ID]),
            "queued_at": lambda: _times(facts[Y_QUEUED]),
            "logged_at": lambda: _times(facts[Y_LOGGED]),
            "recipient": lambda: self.heap(facts[Y_RECIPIENT]),
            "original_recipient": lambda: self.heap(facts[Y_ORIGINAL]),
            "relay_host": lambda: self.heap(facts[Y_RELAY]),
            "relay_address": lambda: self.addresses(facts[Y_RELAY_HI], facts[Y_RELAY_LO]),
            "relay_port": lambda: _integers(facts[Y_RELAY_PORT]),
            "delay_s": lambda: _decimals(facts[Y_DELAY]),
            "delay_before_queue_s": lambda: _decimals(facts[Y_DELAY_A]),
            "delay_in_queue_s": lambda: _decimals(facts[Y_DELAY_B]),
            "delay_connect_s": lambda: _decimals(facts[Y_DELAY_C]),
            "delay_transmit_s": lambda: _decimals(facts[Y_DELAY_D]),
            "dsn": lambda: coded_dsns(facts[Y_DSN]),
            "status": lambda: coded(STATUSES, facts[Y_STATUS]),
            "reply": lambda: self.heap(facts[Y_REPLY]),
            "tls": lambda: self.heap(facts[Y_TLS]),
        }
        return _made(columns, only)


class StillOpen(Finished):
    """Sessions that go on, as they are now.

    Args:
        taken: see `Joiner.still_open`.
        now: until when they have gone on.
    """

    def __init__(self, taken: Taken, *context: Any, now: int, machine_code: bool) -> None:
        self._context, self._now = context, now
        super().__init__(taken, *context, machine_code=machine_code)

    def _learn(self) -> None:
        """They are learnt from when they have ended."""

    def only(self, rows: Mask) -> StillOpen:
        """Some of them."""
        taken = self.taken.only(rows)
        return StillOpen(taken, *self._context, now=self._now, machine_code=self.machine_code)

    @cached_property
    def outcome(self) -> Codes:
        ended = self.has_smtpd & (self.smtpd(S_ENDED) != NULL)
        return np.where(ended, super().outcome, STILL_OPEN)

    @cached_property
    def duration_ms(self) -> Codes:
        """So far; of those of which only the mail goes on, how long they took."""
        so_far = np.maximum(self._now - self.started_at, 0) // 1_000_000
        return np.where(self.outcome == STILL_OPEN, so_far, super().duration_ms)


_SESSION_COLUMNS: dict[str, Callable[[Finished], pa.Array]] = {
    "session_id": lambda f: hex_texts(f.session_ids),
    "client_address": lambda f: f.addresses(f.client[0], f.client[1]),
    "client_port": lambda f: _integers(f.client[2]),
    "client_known_from": lambda f: coded(CLIENT_KNOWN_FROM, f.known_from),
    "client_name": lambda f: f.heap(f.smtpd(S_NAME)),
    "peer_address": lambda f: f.addresses(f.peer[0], f.peer[1]),
    "peer_port": lambda f: _integers(f.peer[2]),
    "destination_logged": Finished.destination,
    "masked": lambda f: as_arrow(f.masked == 1, f.masked == NULL),
    "balancer": lambda f: f.hosts(f.balancer(B_HOST)),
    "balancers": Finished.balancer_list,
    "frontend": lambda f: f.names(f.balancer(B_FRONTEND)),
    "backend": lambda f: f.names(f.balancer(B_BACKEND)),
    "server": lambda f: f.names(f.server),
    "mta_host": lambda f: f.hosts(f.host),
    "service": lambda f: f.names(f.service),
    "accepted_at": lambda f: _times(f.balancer(B_ACCEPTED)),
    "mta_connected_at": lambda f: _times(f.connected_at),
    "ended_at": lambda f: _times(f.ended_at),
    "queue_ms": lambda f: _durations(f.balancer(B_QUEUE)),
    "connect_ms": lambda f: _durations(f.balancer(B_CONNECT)),
    "duration_ms": lambda f: _integers(f.duration_ms),
    "bytes_to_client": lambda f: _integers(f.balancer(B_BYTES_CLIENT)),
    "bytes_to_server": lambda f: _integers(f.balancer(B_BYTES_SERVER)),
    "retries": lambda f: _integers(f.balancer(B_RETRIES)),
    "termination_state": lambda f: f.names(f.balancer(B_TERMINATION)),
    "screen": lambda f: coded(SCREENS, f.screen_verdict),
    "screen_tests": Finished.screen_tests,
    "dnsbl_rank": lambda f: _integers(f.screen(P_RANK)),
    "helo": lambda f: f.heap(np.where(f.smtpd(S_HELO) != NULL, f.smtpd(S_HELO), f.screen(P_HELO))),
    "tls_protocol": lambda f: f.names(f.smtpd(S_TLS_PROTOCOL)),
    "tls_cipher": lambda f: f.names(f.smtpd(S_TLS_CIPHER)),
    "sasl_method": lambda f: f.names(f.smtpd(S_SASL_METHOD)),
    "sasl_username": lambda f: f.heap(f.smtpd(S_SASL_USER)),
    "commands": Finished.commands,
    "rejects": Finished.reject_list,
    "queue_ids": Finished.queue_ids,
    "message_count": lambda f: _integers(f.queued),
    # Counts that reports add up, without the lists that the table has.
    "recipient_count": lambda f: _integers(f.recipients),
    "reject_count": lambda f: _integers(f.rejects),
    "outcome": lambda f: coded(OUTCOMES, f.outcome),
    "hops": Finished.hops,
    "links": Finished.links,
    "join_confidence": lambda f: coded(CONFIDENCES, f.confidence),
    "events": Finished.events,
    "amends": Finished.amends,
}


def _made(columns: dict[str, Callable[[], pa.Array]], only: Collection[str] | None) -> pa.RecordBatch:
    """A table of those columns that are wanted."""
    names = [name for name in columns if only is None or name in only]
    return pa.RecordBatch.from_arrays([plain(columns[name]()) for name in names], names=names)


def _way(linked: Mask, method: Codes, confidence: Codes, probability: Codes) -> Codes:
    """How hops are linked, as one number of 28 bits; 0 where they are not."""
    return np.where(linked, (method + 1) << 23 | confidence << 20 | probability, 0)


# --- numbers to Arrow ---------------------------------------------------------------------------------------


def _integers(values: Codes) -> pa.Array:
    # A copy, so that a column that is kept does not keep all of its hop's.
    return as_arrow(values.copy(), values == NULL)


def _durations(values: Codes) -> pa.Array:
    """HAProxy's -1 means that the phase was not reached."""
    return as_arrow(values.copy(), values < 0)


def _times(values: Codes) -> pa.Array:
    return as_arrow(values.copy(), values == NULL, TIMES)


def _decimals(values: Codes) -> pa.Array:
    return as_arrow(values / 1e6, values == NULL)
