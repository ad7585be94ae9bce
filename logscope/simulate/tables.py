"""The tables that a perfect reader of complete logs would make, without the lines.

Columns are those of `logscope.schema`, in its order, except for `events` (there are no lines) and
`session_id`, which is the number of the session in sixteen digits. The last columns of the session table
are the truth that no reader knows:

- `true_client_address`: also where the client is masked;
- `behaviour`: what the client set out to do, one of `layout.BEHAVIOURS`;
- `stream`: who it is: mail, bots, users, monitor, or the kind of the fault that brought it;
- `fault`: number of the fault that made the session what it is, null for an ordinary one.

Times of the mail server are by its own clock, as in its lines; resolution is a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from logscope.correlate.layout import NULL, SCREEN_TESTS, SCREENS, STATUSES, V_NONE
from logscope.correlate.output import FINAL_STATUSES
from logscope.correlate.text import address_texts, code_texts, counter_maps, dsn_texts
from logscope.schema import OUTCOMES
from logscope.simulate import texts
from logscope.simulate.layout import *
from logscope.simulate.simulation import Block, Simulation
from logscope.simulate.site import (
    BACKENDS,
    FRONTENDS,
    PUBLIC_ADDRESS,
    PUBLIC_ADDRESS_6,
    SERVICES,
    STREAMS,
)

Ints = NDArray[np.int64]
Mask: TypeAlias = Any  # NDArray[np.bool_], which the type checker cannot see in a comparison

TABLES = ("sessions", "messages", "deliveries")
TRUTH = ("true_client_address", "behaviour", "stream", "fault")
"""Columns that the session table has beyond those of the schema."""


class Tables:
    """The tables of one block; columns are made when they are asked for."""

    def __init__(self, simulation: Simulation, block: Block) -> None:
        self._simulation = simulation
        self._options = simulation.options
        self._block = block
        self._s, self._m, self._d = block.sessions, block.messages, block.deliveries

    def sessions(self, columns: Sequence[str] = ()) -> pa.RecordBatch:
        """The session table; with names, only those columns."""
        seen = np.flatnonzero(self.visible)
        wanted = list(columns) or list(_SESSIONS)
        batch = pa.RecordBatch.from_arrays([_SESSIONS[name](self) for name in wanted], names=wanted)
        return batch if len(seen) == len(self.visible) else batch.take(pa.array(seen))

    def table(self, name: str) -> pa.RecordBatch:
        """One of `TABLES`."""
        batch: pa.RecordBatch = getattr(self, name)()
        return batch

    def truth(self) -> pa.RecordBatch:
        """What really was, seen or not: a row for each session, in the order of arrival."""
        columns = {name: make(self) for name, make in _TRUTH.items()}
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def messages(self) -> pa.RecordBatch:
        """The messages of these sessions and the notices that they caused."""
        return self._of(_MESSAGES, np.flatnonzero(self._m[M_LOST] & 2 == 0))

    def deliveries(self) -> pa.RecordBatch:
        """All attempts to deliver them."""
        return self._of(_DELIVERIES, np.flatnonzero(self._m[M_LOST][self._d[D_MESSAGE]] & 2 == 0))

    def _of(self, columns: dict[str, Callable[[Tables], pa.Array]], rows: Ints) -> pa.RecordBatch:
        batch = pa.RecordBatch.from_arrays([make(self) for make in columns.values()], names=list(columns))
        return batch if len(rows) == batch.num_rows else batch.take(pa.array(rows))

    # --- what the logs show of a session --------------------------------------------------------------------

    @cached_property
    def by_balancer(self) -> Mask:
        return (self._s[S_BALANCER] >= 0) & (self._s[S_LOST] & 1 == 0)

    @cached_property
    def by_mta(self) -> Mask:
        silent = (self._s[S_HEADER] == H_MISSING) & (self._s[S_SMTPD_AT] == NULL)
        return (self._s[S_CONNECTED] != NULL) & (self._s[S_LOST] & 2 == 0) & ~silent

    @cached_property
    def visible(self) -> Mask:
        """Sessions that left a line somewhere."""
        return self.by_balancer | self.by_mta

    @cached_property
    def by_screen(self) -> Mask:
        return self.by_mta & (self._s[S_SERVICE] == 0) & self._options.screen

    @cached_property
    def by_smtpd(self) -> Mask:
        return self.by_mta & (self._s[S_SMTPD_AT] != NULL)

    @cached_property
    def masked(self) -> Mask:
        return (self._s[S_HEADER] == H_MASKED) & self.by_mta

    def host_clock(self, times: Ints, skew: Ints) -> Ints:
        """Moments by the server's own clock, whole microseconds."""
        return np.where(times == NULL, NULL, (times + skew) // MICROSECOND * MICROSECOND)

    def hosts(self, numbers: Ints, there: Mask) -> pa.Array:
        return code_texts([host.name for host in self._options.servers], np.where(there, numbers, -1))

    def words(self, words: Sequence[str], codes: Ints, there: Mask) -> pa.Array:
        return code_texts(words, np.where(there, codes, -1))

    def addresses(self, hi: Ints, lo: Ints) -> pa.Array:
        return address_texts(hi, lo, machine_code=self._simulation.machine_code)

    @cached_property
    def pool(self) -> texts.Pool:
        """The bytes that spans point into; the spans themselves are made with them."""
        return self._simulation.texts(self._block)

    def text(self, rows: Ints, column: int, there: Mask | None = None) -> pa.Array:
        """Text of a column of spans."""
        pool = self.pool
        return texts.to_arrow(pool, rows[column], there, self._simulation.kernel(texts.gather))

    def last_next_ids(self) -> pa.Array:
        """The id under which the next hop took the message last: the end of what it said."""
        pool = self.pool
        found = np.full(self._m.shape[1], NULL, np.int64)
        there = self._d[D_NEXT] != NULL
        said = self._d[D_SAID][there]
        ids = ((said >> texts.SPAN) + (said & texts.LENGTH) - 9) << texts.SPAN | 9
        order = np.argsort(self._d[D_AT][there], kind="stable")
        found[self._d[D_MESSAGE][there][order]] = ids[order]  # of several the last one stays
        return texts.to_arrow(pool, found, None, self._simulation.kernel(texts.gather))

    @cached_property
    def started(self) -> Ints:
        """First line of the mail server."""
        return np.asarray(np.where(self.by_screen, self._s[S_CONNECTED], self._s[S_SMTPD_AT]))

    @cached_property
    def ended(self) -> Ints:
        by_balancer = self._s[S_AT] + self._s[S_DURATION] * MILLISECOND
        end = np.where(self._s[S_SMTPD_END] != NULL, self._s[S_SMTPD_END], self._s[S_SCREEN_END])
        return np.where(
            self.by_balancer,
            by_balancer,
            np.where(self.by_mta, self.host_clock(end, self._s[S_SKEW]), NULL),
        )

    @cached_property
    def duration_ms(self) -> Ints:
        start = self.host_clock(self.started, self._s[S_SKEW])
        known = (start != NULL) & (self.ended != NULL)
        by_mta = np.where(known, (self.ended - np.where(known, start, 0)) // MILLISECOND, NULL)
        return np.where(self.by_balancer, self._s[S_DURATION], by_mta)

    @cached_property
    def outcomes(self) -> Ints:
        """What a reader can tell: without the mail server's lines only what the balancer's say."""
        state = self._s[S_TERMINATION]
        by_state = np.array([0, 9, 11, 12, 12, 10, 9, 11, 11])[state]
        return np.asarray(np.where(self.by_mta | (self._s[S_SERVER] < 0), self._s[S_OUTCOME], by_state))

    def balancer_port(self) -> tuple[Ints, Ints, Ints]:
        """Address and port that the server sees where it does not see the client's."""
        inner = len(self._options.inner)
        outer = [_address(host.address) for host in self._options.balancers]
        chosen = np.array(outer + [_address(host.address) for host in self._options.inner])
        which = np.maximum(self._s[S_BALANCER], 0)
        if inner:
            which = len(outer) + self._s[S_NUMBER] % inner
        return np.zeros(len(which), np.int64), chosen[which], self._s[S_BACK_PORT]

    @cached_property
    def peer(self) -> tuple[Ints, Ints, Ints]:
        """Address and port that the mail server logs."""
        hi, lo, port = self.balancer_port()
        own = self._s[S_HEADER] != H_PASSED
        none = ~self.by_mta
        return (
            np.where(none, NULL, np.where(own, hi, self._s[S_HI])),
            np.where(none, NULL, np.where(own, lo, self._s[S_LO])),
            np.where(
                none | ~self.by_screen & (not self._options.smtpd_ports),
                NULL,
                np.where(own, port, self._s[S_PORT]),
            ),
        )

    @cached_property
    def known(self) -> Mask:
        """Whether a reader knows the client: not where only a masked mail server saw it."""
        return self.by_balancer | (self.by_mta & np.isin(self._s[S_HEADER], (H_PASSED,)))

    def list_of(self, counts: Ints, values: pa.Array) -> pa.Array:
        offsets = np.concatenate(([0], np.cumsum(counts)))
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)

    def flags(self, words: Sequence[str], masks: Sequence[Mask]) -> pa.Array:
        matrix = np.stack(masks, axis=1)
        return self.list_of(matrix.sum(axis=1), code_texts(words, np.nonzero(matrix)[1]))

    def rejects(self) -> pa.Array:
        """One refusal of each session that was refused; of those with many, all are alike."""
        there = (self._s[S_REJECT] > 0) & self.by_mta
        counts = np.where(there, self._s[S_REJECT_COUNT], 0)
        rows = pa.array(np.repeat(np.arange(len(there)), counts))
        kinds = np.where(there, self._s[S_REJECT], 0)
        columns = [
            code_texts([stage for stage, _, _ in REJECTS], kinds),
            pa.array(np.array([code for _, code, _ in REJECTS])[kinds]),
            dsn_texts(np.array([dsn for _, _, dsn in REJECTS])[kinds]),
            self.text(self._s, S_REASON),
            self.text(self._s, S_FROM),
            self.text(self._s, S_TO),
        ]
        struct = pa.StructArray.from_arrays(
            [column.take(rows) for column in columns],
            names=["stage", "code", "dsn", "text", "sender", "recipient"],
        )
        return self.list_of(counts, struct)

    def all_queue_ids(self) -> pa.Array:
        """Those that no line shows included."""
        return self._queue_ids(self._s[S_MESSAGES])

    def queue_ids(self) -> pa.Array:
        return self._queue_ids(np.where(self.by_mta, self._s[S_MESSAGES], 0))

    def _queue_ids(self, counts: Ints) -> pa.Array:
        first = self._s[S_FIRST_MESSAGE]
        rows = np.repeat(first - np.concatenate(([0], np.cumsum(counts)[:-1])), counts) + np.arange(
            counts.sum()
        )
        return self.list_of(counts, self.text(self._m, M_ID).take(pa.array(rows)))

    def links(self) -> pa.Array:
        """Exact ones: this reader is perfect."""
        masks = [
            self.by_balancer & self.by_mta,
            self.by_screen & self.by_smtpd,
            self.by_smtpd & (self._s[S_MESSAGES] > 0),
            self.by_smtpd & (self._s[S_QUEUED] > 0),
        ]
        counts = np.stack(masks, axis=1)
        rows, which = np.nonzero(counts)
        start = np.where((which == 0) | self.by_screen[rows], which, which)
        end = np.where((which == 0) & ~self.by_screen[rows], 2, which + 1)
        header = self._s[S_HEADER][rows]
        by_header = np.where(header == H_PASSED, 0, self.by_other_means[rows])
        by_mta = 0 if self._options.smtpd_ports else 2
        method = np.where(which == 0, by_header, np.where(which == 1, by_mta, 3))
        struct = pa.StructArray.from_arrays(
            [
                code_texts(HOPS, start),
                code_texts(HOPS, end),
                code_texts(
                    ("address_port", "backend_port", "order", "queue_id", "timing", "header_text"), method
                ),
                code_texts(("exact",), np.zeros(len(rows), np.int64)),
                pa.array(np.ones(len(rows))),
            ],
            names=["from", "to", "method", "confidence", "probability"],
        )
        return self.list_of(counts.sum(axis=1), struct)

    @cached_property
    def by_other_means(self) -> Ints:
        """How a session is joined whose client the mail server does not see: 5 by the header that came where
        none was expected, else 1 by the balancer's port where both log it, else 4 by time.
        """
        port = (self.by_screen | self._options.smtpd_ports) & self._options.backend_port
        return np.where(self._s[S_HEADER] == H_UNEXPECTED, 5, np.where(port, 1, 4))

    def hops(self) -> pa.Array:
        return self.flags(
            HOPS,
            [
                self.by_balancer,
                self.by_screen,
                self.by_smtpd,
                self.by_smtpd & (self._s[S_MESSAGES] > 0),
                self.by_smtpd & (self._s[S_QUEUED] > 0),
            ],
        )

    def screen_tests(self) -> pa.Array:
        tests = np.where(self.by_screen, self._s[S_TESTS], 0)
        return self.flags(SCREEN_TESTS, [(tests >> bit) & 1 == 1 for bit in range(len(SCREEN_TESTS))])

    def commands(self) -> pa.Array:
        return counter_maps(self.text(self._s, S_COUNTERS, self.by_smtpd))

    def balancer_list(self) -> pa.Array:
        names = [host.name for host in (*self._options.balancers, *self._options.inner)]
        inner = len(self._options.inner)
        each = 2 if inner else 1
        counts = np.where(self.by_balancer, each, 0)
        codes = self._s[S_BALANCER][self.by_balancer]
        if inner:
            second = len(self._options.balancers) + self._s[S_NUMBER][self.by_balancer] % inner
            codes = np.stack([codes, second], axis=1).ravel()
        return self.list_of(counts, code_texts(names, codes))

    def destination(self) -> pa.Array:
        """`[address]:port` after `to` in postscreen's CONNECT."""
        nodes = [f"[{host.address}]:10024" for host in self._options.servers]
        own = np.isin(self._s[S_HEADER], (H_MASKED, H_UNEXPECTED)) | (self._s[S_BALANCER] < 0)
        four = (self._s[S_HI] == 0) & (self._s[S_LO] >> 32 == 0xFFFF)
        codes = np.where(own, self._s[S_SERVER], np.where(four, len(nodes), len(nodes) + 1))
        public = [f"[{address}]:25" for address in (PUBLIC_ADDRESS, PUBLIC_ADDRESS_6)]
        return self.words([*nodes, *public], codes, self.by_screen)

    def streams(self) -> pa.Array:
        names = [*STREAMS]
        added = self._simulation.plan.streams[len(STREAMS) :]
        names += [self._options.faults[int(stream[Q_FAULT])].kind for stream in added]
        return code_texts(names, self._s[S_STREAM])

    # --- messages and deliveries ----------------------------------------------------------------------------

    def message_session_ids(self) -> pa.Array:
        owner = self._m[M_SESSION]
        ids = number_texts(self._s[S_NUMBER])
        return ids.take(pa.array(np.maximum(owner, 0), mask=owner < 0))

    def relay_addresses(self) -> pa.Array:
        return self.addresses(self._d[D_HI], self._d[D_LO]) if len(self.pool) else pa.nulls(0, pa.string())

    def of_message(self, column: int) -> Ints:
        return np.asarray(self._m[column][self._d[D_MESSAGE]])


HOPS = ("balancer", "screen", "smtpd", "queue", "delivery")


def number_texts(numbers: Ints) -> pa.Array:
    """string[n]: sixteen decimal digits each."""
    digits = (numbers[:, None] // 10 ** np.arange(15, -1, -1) % 10 + 48).astype(np.uint8)
    offsets = np.arange(0, 16 * len(numbers) + 1, 16, dtype=np.int32)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(digits))


def _address(text: str) -> int:
    low = 0
    for part in text.split("."):
        low = low << 8 | int(part)
    return 0xFFFF_0000_0000 | low


def _integers(values: Ints, there: Mask | None = None) -> pa.Array:
    absent = values == NULL
    return pa.array(values, mask=absent if there is None else absent | ~there)


def _durations(values: Ints, there: Mask) -> pa.Array:
    return pa.array(values, mask=(values < 0) | ~there)


def _times(values: Ints, there: Mask | None = None) -> pa.Array:
    return _integers(values, there).cast(pa.timestamp("ns", tz="UTC"))


def _seconds(values: Ints) -> pa.Array:
    return pa.array(values / 1e6)


def _confidence(t: Tables) -> pa.Array:
    joined = t.by_balancer & t.by_mta | t.by_screen & t.by_smtpd
    return code_texts(("none", "exact"), joined.astype(np.int64))


def _known_from(t: Tables) -> pa.Array:
    s = t._s
    both = t.by_balancer & t.by_mta
    words = ("none", "balancer", "proxy_header", "backend_port", "timing", "header_text", "mta")
    by_header = np.where(s[S_HEADER] == H_PASSED, 2, np.array([0, 3, 0, 0, 4, 5])[t.by_other_means])
    alone = np.where(t.by_balancer, 1, np.where(t.known, 6, 0))
    return code_texts(words, np.where(both, by_header, alone))


_SESSIONS: dict[str, Callable[[Tables], pa.Array]] = {
    "session_id": lambda t: number_texts(t._s[S_NUMBER]),
    "client_address": lambda t: t.addresses(*(np.where(t.known, t._s[half], NULL) for half in (S_HI, S_LO))),
    "client_port": lambda t: _integers(
        t._s[S_PORT], t.by_balancer | (t.by_screen | t._options.smtpd_ports) & t.known
    ),
    "client_known_from": _known_from,
    "client_name": lambda t: t.text(t._s, S_NAME, t.by_smtpd),
    "peer_address": lambda t: t.addresses(t.peer[0], t.peer[1]),
    "peer_port": lambda t: _integers(t.peer[2]),
    "destination_logged": Tables.destination,
    "masked": lambda t: pa.array(
        t._s[S_HEADER] != H_PASSED, mask=~t.by_mta | ~t.by_balancer & (t._s[S_HEADER] == H_PASSED)
    ),
    "balancer": lambda t: t.words(
        [host.name for host in t._options.balancers], t._s[S_BALANCER], t.by_balancer
    ),
    "balancers": Tables.balancer_list,
    "frontend": lambda t: t.words(FRONTENDS, t._s[S_SERVICE], t.by_balancer),
    "backend": lambda t: t.words(BACKENDS, t._s[S_SERVICE], t.by_balancer),
    "server": lambda t: t.hosts(t._s[S_SERVER], t.by_balancer),
    "mta_host": lambda t: t.hosts(t._s[S_SERVER], t.by_mta),
    "service": lambda t: t.words(
        ("postfix/postscreen", "postfix/smtpd", "postfix/submission/smtpd"),
        np.where(t._s[S_SERVICE] == 1, 2, np.where(t.by_screen, 0, 1)),
        t.by_mta,
    ),
    "accepted_at": lambda t: _times(t._s[S_AT], t.by_balancer),
    "mta_connected_at": lambda t: _times(t.host_clock(t.started, t._s[S_SKEW]), t.by_mta),
    "ended_at": lambda t: _times(t.ended),
    "queue_ms": lambda t: _durations(t._s[S_QUEUE], t.by_balancer),
    "connect_ms": lambda t: _durations(t._s[S_CONNECT], t.by_balancer),
    "duration_ms": lambda t: _integers(t.duration_ms),
    "bytes_to_client": lambda t: _integers(t._s[S_BYTES], t.by_balancer),
    "bytes_to_server": lambda t: pa.nulls(len(t.visible), pa.int64()),
    "retries": lambda t: _integers(t._s[S_RETRIES], t.by_balancer),
    "termination_state": lambda t: t.words(TERMINATIONS, t._s[S_TERMINATION], t.by_balancer),
    "screen": lambda t: code_texts(SCREENS, np.where(t.by_screen, t._s[S_VERDICT], V_NONE)),
    "screen_tests": Tables.screen_tests,
    "dnsbl_rank": lambda t: _integers(t._s[S_RANK], t.by_screen & (t._s[S_RANK] > 0)),
    "helo": lambda t: t.text(t._s, S_HELO, t.by_mta & (t._s[S_REJECT] > 0)),
    "tls_protocol": lambda t: t.words([texts.TLS_PROTOCOL], t._s[S_TLS] - 1, t.by_smtpd),
    "tls_cipher": lambda t: t.words([texts.TLS_CIPHER], t._s[S_TLS] - 1, t.by_smtpd),
    "sasl_method": lambda t: t.words(["PLAIN"], np.where(t._s[S_USER] >= 0, 0, -1), t.by_smtpd),
    "sasl_username": lambda t: t.text(t._s, S_LOGIN, t.by_smtpd),
    "commands": Tables.commands,
    "rejects": Tables.rejects,
    "queue_ids": Tables.queue_ids,
    "message_count": lambda t: pa.array(np.where(t.by_smtpd, t._s[S_QUEUED], 0)),
    "outcome": lambda t: code_texts(OUTCOMES, t.outcomes),
    "hops": Tables.hops,
    "links": Tables.links,
    "join_confidence": _confidence,
    "true_client_address": lambda t: t.addresses(t._s[S_HI], t._s[S_LO]),
    "behaviour": lambda t: code_texts(BEHAVIOURS, t._s[S_BEHAVIOUR]),
    "stream": Tables.streams,
    "fault": lambda t: pa.array(t._s[S_FAULT], mask=t._s[S_FAULT] < 0),
}  # fmt: skip

_TRUTH: dict[str, Callable[[Tables], pa.Array]] = {
    "session": lambda t: pa.array(t._s[S_NUMBER]),
    "client_address": lambda t: t.addresses(t._s[S_HI], t._s[S_LO]),
    "client_port": lambda t: pa.array(t._s[S_PORT]),
    "stream": Tables.streams,
    "behaviour": lambda t: code_texts(BEHAVIOURS, t._s[S_BEHAVIOUR]),
    "fault": _SESSIONS["fault"],
    "accepted_at": lambda t: _times(t._s[S_AT]),
    "balancer": lambda t: code_texts([host.name for host in t._options.balancers], t._s[S_BALANCER]),
    "service": lambda t: code_texts(SERVICES, t._s[S_SERVICE]),
    "server": lambda t: t.hosts(t._s[S_SERVER], t._s[S_CONNECTED] != NULL),
    "header": lambda t: code_texts(HEADERS, t._s[S_HEADER]),
    "screen": lambda t: code_texts(SCREENS, t._s[S_VERDICT]),
    "outcome": lambda t: code_texts(OUTCOMES, t._s[S_OUTCOME]),
    "smtpd_pid": lambda t: _integers(t._s[S_PID], t._s[S_SMTPD_AT] != NULL),
    "queue_ids": Tables.all_queue_ids,
}

_MESSAGES: dict[str, Callable[[Tables], pa.Array]] = {
    "mta_host": lambda t: code_texts([host.name for host in t._options.servers], t._m[M_SERVER]),
    "queue_id": lambda t: t.text(t._m, M_ID),
    "queued_at": lambda t: _times(t.host_clock(t._m[M_QUEUED], t._m[M_SKEW])),
    "session_id": Tables.message_session_ids,
    "message_id": lambda t: t.text(t._m, M_MESSAGE_ID),
    "sender": lambda t: t.text(t._m, M_FROM),
    "size": lambda t: _integers(t._m[M_SIZE]),
    "recipient_count": lambda t: _integers(t._m[M_RECIPIENTS]),
    "removed_at": lambda t: _times(t.host_clock(t._m[M_REMOVED], t._m[M_SKEW])),
    "final_status": lambda t: code_texts(FINAL_STATUSES, t._m[M_STATUS]),
    "next_queue_id": lambda t: t.last_next_ids(),
}

_DELIVERIES: dict[str, Callable[[Tables], pa.Array]] = {
    "mta_host": lambda t: code_texts([host.name for host in t._options.servers], t.of_message(M_SERVER)),
    "queue_id": lambda t: t.text(t._m, M_ID).take(pa.array(t._d[D_MESSAGE])),
    "queued_at": lambda t: _times(t.host_clock(t.of_message(M_QUEUED), t.of_message(M_SKEW))),
    "logged_at": lambda t: _times(t.host_clock(t._d[D_AT], t.of_message(M_SKEW))),
    "recipient": lambda t: t.text(t._d, D_TO),
    "original_recipient": lambda t: pa.nulls(len(t._d[D_AT]), pa.string()),
    "relay_host": lambda t: t.text(t._d, D_HOST),
    "relay_address": Tables.relay_addresses,
    "relay_port": lambda t: pa.array(
        np.full(len(t._d[D_AT]), 25), mask=(t._d[D_AGENT] == A_VIRTUAL) | (t._d[D_REPLY] == Y_TIMEOUT)
    ),
    "delay_s": lambda t: _seconds(t._d[D_DELAY]),
    "delay_before_queue_s": lambda t: _seconds(t._d[D_BEFORE_QUEUE]),
    "delay_in_queue_s": lambda t: _seconds(t._d[D_IN_QUEUE]),
    "delay_connect_s": lambda t: _seconds(t._d[D_CONNECT]),
    "delay_transmit_s": lambda t: _seconds(t._d[D_TRANSMIT]),
    "dsn": lambda t: dsn_texts(np.array(REPLY_DSN)[t._d[D_REPLY]]),
    "status": lambda t: code_texts(STATUSES, t._d[D_STATUS]),
    "reply": lambda t: t.text(t._d, D_SAID),
    "tls": lambda t: pa.nulls(len(t._d[D_AT]), pa.string()),
}


def tables(
    simulation: Simulation, wanted: Iterable[str] = ("sessions",), columns: Sequence[str] = ()
) -> dict[str, pa.Table]:
    """Whole tables in memory.

    Args:
        simulation: what to draw.
        wanted: of `sessions`, `messages`, `deliveries`.
        columns: of the session table; none means all.
    """
    parts: dict[str, list[pa.RecordBatch]] = {name: [] for name in wanted}

    def add(block: Block) -> None:
        made = Tables(simulation, block)
        for name, batches in parts.items():
            batches.append(made.sessions(columns) if name == "sessions" else made.table(name))

    for block in simulation.blocks():
        add(block)
    if not all(parts.values()):
        add(nothing())
    return {name: pa.Table.from_batches(batches) for name, batches in parts.items()}


def nothing() -> Block:
    """A block without sessions."""
    return Block(*(np.empty((width, 0), np.int64) for width in (S_WIDTH, M_WIDTH, D_WIDTH)))
