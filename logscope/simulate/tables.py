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
from functools import cache, cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope.arrow import TIMES, as_arrow, as_lists, as_texts
from logscope.correlate.layout import NULL, SCREEN_TESTS, SCREENS, STATUSES
from logscope.correlate.output import FINAL_STATUSES
from logscope.grammar.fields import dsn_text
from logscope.schema import OUTCOMES
from logscope.simulate import tabulate as rows
from logscope.simulate import tabulate_mail as mail_rows
from logscope.simulate import texts
from logscope.simulate.columns import numbers, put_sixteen_digits, to_arrow
from logscope.simulate.faults import DESTINATIONS
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
from logscope.simulate.tabulate import SessionRows
from logscope.simulate.tabulate_mail import MailRows

Ints = NDArray[np.int64]
Codes = NDArray[np.integer[Any]]

TABLES = ("sessions", "messages", "deliveries")
TRUTH = ("true_client_address", "behaviour", "stream", "fault")
"""Columns that the session table has beyond those of the schema."""
HOPS = ("balancer", "screen", "smtpd", "queue", "delivery")
RELAYS = (
    texts.INNER,
    *((f"mx.partner{n}.example", f"192.0.2.{n + 1}") for n in range(DESTINATIONS)),
    *((f"mx.{domain}", f"192.0.2.{101 + n}") for n, domain in enumerate(texts.SENDER_DOMAINS)),
)
"""Next hops, by the code of `tabulate_mail.relay`: host name and address."""

PLAIN, WORDS, ENCODED = range(3)
"""How text is handed out that few values make up: as text; by a dictionary where it comes from a short list
of words; also where it is what clients are called."""


class Tables:
    """The tables of one block; columns are made when they are asked for.

    Args:
        simulation, block: what is told.
        encoding: PLAIN, WORDS or ENCODED.
    """

    def __init__(self, simulation: Simulation, block: Block, encoding: int = PLAIN) -> None:
        self._simulation = simulation
        self._options = simulation.options
        self._encoding = encoding
        self._block = block
        self._s = block.sessions
        self._run = simulation.kernel

    def sessions(self, columns: Sequence[str] = ()) -> pa.RecordBatch:
        """The sessions that left a line somewhere; with names, only those columns."""
        wanted = list(columns) or list(_SESSIONS)
        return pa.RecordBatch.from_arrays([_SESSIONS[name](self) for name in wanted], names=wanted)

    def table(self, name: str) -> pa.RecordBatch:
        """One of `TABLES`."""
        batch: pa.RecordBatch = getattr(self, name)()
        return batch

    def truth(self) -> pa.RecordBatch:
        """What really was, seen or not: a row for each session, in the order of arrival."""
        return self._batch(_TRUTH)

    def messages(self) -> pa.RecordBatch:
        """The messages of these sessions and the notices that they caused."""
        return self._batch(_MESSAGES)

    def deliveries(self) -> pa.RecordBatch:
        """All attempts to deliver them."""
        return self._batch(_DELIVERIES)

    def _batch(self, columns: dict[str, Callable[[Tables], pa.Array]]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([make(self) for make in columns.values()], names=list(columns))

    # --- what they are made of ------------------------------------------------------------------------------

    @cached_property
    def rows(self) -> SessionRows:
        """What a reader can tell of each session."""
        options = self._options
        site = np.array(
            [
                options.screen, options.smtpd_ports, options.backend_port, len(options.servers),
                len(options.balancers), len(options.inner), self._simulation.plan.clients,
            ],
            np.int64,
        )  # fmt: skip
        names, memory = self._simulation.names, self._simulation.memory
        return rows.rows_of(self._block, site, names.who, names.named, self._run(rows.tabulate), memory)

    @cached_property
    def mail(self) -> MailRows:
        """What a reader can tell of each message and delivery."""
        kernel = self._run(mail_rows.tabulate_mail)
        return mail_rows.mail_rows_of(self.spelled, kernel, self._simulation.memory)

    @property
    def spelled(self) -> Block:
        """The block when it has its texts, so that its columns of spans can be looked at."""
        return self._texts[0]

    @cached_property
    def _texts(self) -> tuple[Block, texts.Pool]:
        """The block, and the bytes that its spans point into: they are made together."""
        return self._block, self._simulation.texts(self._block, lines=False)

    # --- columns --------------------------------------------------------------------------------------------

    def words(self, words: Sequence[str], codes: Codes) -> pa.Array:
        """The word of each code; null for a negative one."""
        return self._by_place(as_words(*words), codes, self._encoding >= WORDS)

    def code(self, column: int, words: Sequence[str]) -> pa.Array:
        """A column of codes of the session table."""
        return self.words(words, self.rows.codes[column, : self.rows.count])

    def name(self, column: int, names: pa.Array) -> pa.Array:
        """A column of addresses or names of clients of the session table."""
        return self._by_place(names, self.rows.indices[column, : self.rows.count], self._encoding >= ENCODED)

    def _by_place(self, values: pa.Array, places: Codes, encoded: bool) -> pa.Array:
        indices = as_arrow(np.ascontiguousarray(places), places < 0)
        if not encoded:
            return values.take(indices)
        return pa.DictionaryArray.from_arrays(indices, values, safe=False)

    def number(self, column: int, kind: pa.DataType | None = None) -> pa.Array:
        """A column of numbers of the session table."""
        return numbers(self.rows.numbers[column, : self.rows.count], kind, self._run)

    def text(self, spans: Ints, there: NDArray[np.bool_] | None = None) -> pa.Array:
        """Text that stands in the pool."""
        return to_arrow(self._texts[1], spans, there, self._run)

    def texts(self, column: int, there: NDArray[np.bool_]) -> pa.Array:
        """A column of spans of the session table."""
        count, spans = self.rows.count, self.spelled.sessions[column]
        if count < len(spans):
            spans = spans[self.rows.indices[rows.I_ROW, :count]]
        return self.text(spans, there)

    def digits(self, values: Ints) -> pa.Array:
        """Numbers as sixteen digits each; null where there is none."""
        data = self._simulation.memory.empty((16 * len(values),), np.uint8)
        self._run(put_sixteen_digits)(values, data)
        absent = values == NULL
        mask = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
        offsets = np.arange(0, 16 * len(values) + 1, 16, dtype=np.int32)
        return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data), mask)

    def hosts(self, codes: Codes) -> pa.Array:
        return self.words([host.name for host in self._options.servers], codes)

    # --- lists ----------------------------------------------------------------------------------------------

    def offsets(self, which: int) -> NDArray[np.int32]:
        return self.rows.offsets[which, : self.rows.count + 1]

    def items(self, which: int, column: int) -> NDArray[np.int8]:
        return self.rows.items[column, : self.offsets(which)[-1]]

    def list_of_words(self, which: int, column: int, words: Sequence[str]) -> pa.Array:
        return as_lists(self.offsets(which), self.words(words, self.items(which, column)))

    def balancer_list(self) -> pa.Array:
        names = [host.name for host in (*self._options.balancers, *self._options.inner)]
        return self.list_of_words(rows.L_BALANCERS, rows.IN_BALANCERS, names)

    def links(self) -> pa.Array:
        columns = (
            ("from", rows.IN_FROM, HOPS),
            ("to", rows.IN_TO, HOPS),
            ("method", rows.IN_METHOD, rows.METHODS),
        )
        items = {name: self.words(words, self.items(rows.L_LINKS, column)) for name, column, words in columns}
        count = len(items["from"])
        items["confidence"] = self.words(("exact",), np.zeros(count, np.int8))
        items["probability"] = as_arrow(np.ones(count))
        struct = pa.StructArray.from_arrays(list(items.values()), names=list(items))
        return as_lists(self.offsets(rows.L_LINKS), struct)

    def commands(self) -> pa.Array:
        """smtpd's counters, as command to [accepted, all]."""
        offsets = self.offsets(rows.L_COMMANDS)
        count = int(offsets[-1])
        values = as_lists(np.arange(0, 2 * count + 1, 2), as_arrow(self.rows.commands[: 2 * count]))
        keys = self.words(texts.COUNTED, self.items(rows.L_COMMANDS, rows.IN_COMMANDS))
        entries = pa.StructArray.from_arrays(
            [keys, values],
            fields=[pa.field("key", keys.type, nullable=False), pa.field("value", values.type)],
        )
        absent = self.rows.codes[rows.X_SMTPD, : self.rows.count] < 0
        mask = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
        kind = pa.map_(keys.type, values.type)
        bounds = pa.py_buffer(np.ascontiguousarray(offsets))
        return pa.Array.from_buffers(kind, len(absent), [mask, bounds], children=[entries])

    def rejects(self) -> pa.Array:
        """The refusals of each session; of those with many, all are alike."""
        offsets = self.offsets(rows.L_REJECTS)
        refused = self.rows.refused[: offsets[-1]]
        s = self.spelled.sessions
        kinds = s[S_REJECT][refused]
        stages, codes, dsns = zip(*REJECTS[1:], strict=True)
        items = {
            "stage": self._refusal(stages, kinds),
            "code": as_arrow(np.array([0, *codes])[kinds]),
            "dsn": self._refusal([dsn_text(dsn) for dsn in dsns], kinds),
            "text": self.text(s[S_REASON][refused]),
            "sender": self.text(s[S_FROM][refused]),
            "recipient": self.text(s[S_TO][refused]),
        }
        struct = pa.StructArray.from_arrays(list(items.values()), names=list(items))
        return as_lists(offsets, struct)

    def _refusal(self, words: Sequence[str], kinds: Ints) -> pa.Array:
        """What is said of a kind of refusal; the first kind is none."""
        unique = tuple(dict.fromkeys(words))
        codes = np.array([-1, *(unique.index(word) for word in words)], np.int8)
        return self.words(unique, codes[kinds])

    def queue_ids(self) -> pa.Array:
        offsets = self.offsets(rows.L_QUEUE_IDS)
        return as_lists(offsets, self.text(self.spelled.messages[M_ID][self.rows.brought[: offsets[-1]]]))

    def all_queue_ids(self) -> pa.Array:
        """Those that no line shows included."""
        offsets = np.concatenate(([0], np.cumsum(self._s[S_MESSAGES])))
        return as_lists(offsets, self.text(self.spelled.messages[M_ID][: offsets[-1]]))

    def destination(self) -> pa.Array:
        """`[address]:port` after `to` in postscreen's CONNECT."""
        nodes = [f"[{host.address}]:10024" for host in self._options.servers]
        public = [f"[{address}]:25" for address in (PUBLIC_ADDRESS, PUBLIC_ADDRESS_6)]
        return self.code(rows.X_DESTINATION, [*nodes, *public])

    def streams(self, of_sessions: Ints) -> pa.Array:
        added = self._simulation.plan.streams[len(STREAMS) :]
        names = [*STREAMS, *(self._options.faults[int(stream[Q_FAULT])].kind for stream in added)]
        unique = list(dict.fromkeys(names))
        codes = np.array([unique.index(name) for name in names], np.int16)
        return self.words(unique, codes[of_sessions])

    def seen(self, column: int) -> Ints:
        """A column of the model, of those sessions that left a line."""
        return np.asarray(self._s[column][self.rows.indices[rows.I_ROW, : self.rows.count]])

    # --- messages and deliveries ----------------------------------------------------------------------------

    def message_number(self, column: int, kind: pa.DataType | None = None) -> pa.Array:
        return numbers(self.mail.message_numbers[column, : self.mail.messages], kind, self._run)

    def message_text(self, column: int) -> pa.Array:
        mail, spans = self.mail, self.spelled.messages[column]
        if mail.messages < len(spans):
            spans = spans[mail.message_numbers[mail_rows.NM_ROW, : mail.messages]]
        return self.text(spans)

    def delivery_number(self, column: int, kind: pa.DataType | None = None) -> pa.Array:
        return numbers(self.mail.numbers[column, : self.mail.deliveries], kind, self._run)

    def delivery_code(self, column: int, words: Sequence[str]) -> pa.Array:
        return self.words(words, self.mail.codes[column, : self.mail.deliveries])

    def delivery_text(self, column: int) -> pa.Array:
        mail, spans = self.mail, self.spelled.deliveries[column]
        if mail.deliveries < len(spans):
            spans = spans[mail.numbers[mail_rows.ND_ROW, : mail.deliveries]]
        return self.text(spans)

    def delivered_ids(self) -> pa.Array:
        messages = self.mail.numbers[mail_rows.ND_MESSAGE, : self.mail.deliveries]
        return self.text(self.spelled.messages[M_ID][messages])

    def relay_port(self) -> pa.Array:
        unreached = self.mail.codes[mail_rows.XD_RELAY, : self.mail.deliveries] < 0
        return as_arrow(np.full(len(unreached), 25), unreached)

    def delay(self, which: int) -> pa.Array:
        return as_arrow(self.mail.delays_s[which, : self.mail.deliveries])


@cache
def as_words(*words: str) -> pa.Array:
    """string[n]: the same one for the same words."""
    return as_texts(words)


_SESSIONS: dict[str, Callable[[Tables], pa.Array]] = {
    "session_id": lambda t: t.digits(t.rows.numbers[rows.N_SESSION, : t.rows.count]),
    "client_address": lambda t: t.name(rows.I_CLIENT, t._simulation.names.addresses),
    "client_port": lambda t: t.number(rows.N_CLIENT_PORT),
    "client_known_from": lambda t: t.code(rows.X_KNOWN_FROM, rows.KNOWN_FROM),
    "client_name": lambda t: t.name(rows.I_NAME, t._simulation.names.names),
    "peer_address": lambda t: t.name(rows.I_PEER, t._simulation.names.addresses),
    "peer_port": lambda t: t.number(rows.N_PEER_PORT),
    "destination_logged": Tables.destination,
    "masked": lambda t: _truths(t.rows.codes[rows.X_MASKED, : t.rows.count]),
    "balancer": lambda t: t.code(rows.X_BALANCER, [host.name for host in t._options.balancers]),
    "balancers": Tables.balancer_list,
    "frontend": lambda t: t.code(rows.X_PORTAL, FRONTENDS),
    "backend": lambda t: t.code(rows.X_PORTAL, BACKENDS),
    "server": lambda t: t.hosts(t.rows.codes[rows.X_SERVER, : t.rows.count]),
    "mta_host": lambda t: t.hosts(t.rows.codes[rows.X_MTA_HOST, : t.rows.count]),
    "service": lambda t: t.code(
        rows.X_SERVICE, ("postfix/postscreen", "postfix/smtpd", "postfix/submission/smtpd")
    ),
    "accepted_at": lambda t: t.number(rows.N_ACCEPTED, TIMES),
    "mta_connected_at": lambda t: t.number(rows.N_MTA_CONNECTED, TIMES),
    "ended_at": lambda t: t.number(rows.N_ENDED, TIMES),
    "queue_ms": lambda t: t.number(rows.N_QUEUE),
    "connect_ms": lambda t: t.number(rows.N_CONNECT),
    "duration_ms": lambda t: t.number(rows.N_DURATION),
    "bytes_to_client": lambda t: t.number(rows.N_BYTES),
    "bytes_to_server": lambda t: pa.nulls(t.rows.count, pa.int64()),
    "retries": lambda t: t.number(rows.N_RETRIES),
    "termination_state": lambda t: t.code(rows.X_TERMINATION, TERMINATIONS),
    "screen": lambda t: t.code(rows.X_SCREEN, SCREENS),
    "screen_tests": lambda t: t.list_of_words(rows.L_TESTS, rows.IN_TESTS, SCREEN_TESTS),
    "dnsbl_rank": lambda t: t.number(rows.N_RANK),
    "helo": lambda t: t.texts(S_HELO, np.diff(t.offsets(rows.L_REJECTS)) > 0),
    "tls_protocol": lambda t: t.code(rows.X_TLS, [texts.TLS_PROTOCOL]),
    "tls_cipher": lambda t: t.code(rows.X_TLS, [texts.TLS_CIPHER]),
    "sasl_method": lambda t: t.code(rows.X_SASL, ["PLAIN"]),
    "sasl_username": lambda t: t.texts(S_LOGIN, t.rows.codes[rows.X_SASL, : t.rows.count] >= 0),
    "commands": Tables.commands,
    "rejects": Tables.rejects,
    "queue_ids": Tables.queue_ids,
    "message_count": lambda t: t.number(rows.N_MESSAGES),
    "outcome": lambda t: t.code(rows.X_OUTCOME, OUTCOMES),
    "hops": lambda t: t.list_of_words(rows.L_HOPS, rows.IN_HOPS, HOPS),
    "links": Tables.links,
    "join_confidence": lambda t: t.code(rows.X_CONFIDENCE, ("none", "exact")),
    "true_client_address": lambda t: t.name(rows.I_TRUE_CLIENT, t._simulation.names.addresses),
    "behaviour": lambda t: t.code(rows.X_BEHAVIOUR, BEHAVIOURS),
    "stream": lambda t: t.streams(t.seen(S_STREAM)),
    "fault": lambda t: t.number(rows.N_FAULT),
}

_TRUTH: dict[str, Callable[[Tables], pa.Array]] = {
    "session": lambda t: as_arrow(t._s[S_NUMBER]),
    "client_address": lambda t: t._by_place(
        t._simulation.names.addresses, t._simulation.names.who[t._s[S_CLIENT]], encoded=False
    ),
    "client_port": lambda t: as_arrow(t._s[S_PORT]),
    "stream": lambda t: t.streams(t._s[S_STREAM]),
    "behaviour": lambda t: t.words(BEHAVIOURS, t._s[S_BEHAVIOUR]),
    "fault": lambda t: as_arrow(t._s[S_FAULT], t._s[S_FAULT] < 0),
    "accepted_at": lambda t: as_arrow(t._s[S_AT], kind=TIMES),
    "balancer": lambda t: t.words([host.name for host in t._options.balancers], t._s[S_BALANCER]),
    "service": lambda t: t.words(SERVICES, t._s[S_SERVICE]),
    "server": lambda t: t.hosts(np.where(t._s[S_CONNECTED] != NULL, t._s[S_SERVER], -1)),
    "header": lambda t: t.words(HEADERS, t._s[S_HEADER]),
    "screen": lambda t: t.words(SCREENS, t._s[S_VERDICT]),
    "outcome": lambda t: t.words(OUTCOMES, t._s[S_OUTCOME]),
    "smtpd_pid": lambda t: as_arrow(t._s[S_PID], t._s[S_SMTPD_AT] == NULL),
    "queue_ids": Tables.all_queue_ids,
}

_MESSAGES: dict[str, Callable[[Tables], pa.Array]] = {
    "mta_host": lambda t: t.hosts(t.mail.message_codes[mail_rows.XM_HOST, : t.mail.messages]),
    "queue_id": lambda t: t.message_text(M_ID),
    "queued_at": lambda t: t.message_number(mail_rows.NM_QUEUED, TIMES),
    "session_id": lambda t: t.digits(t.mail.message_numbers[mail_rows.NM_SESSION, : t.mail.messages]),
    "message_id": lambda t: t.message_text(M_MESSAGE_ID),
    "sender": lambda t: t.message_text(M_FROM),
    "size": lambda t: t.message_number(mail_rows.NM_SIZE),
    "recipient_count": lambda t: t.message_number(mail_rows.NM_RECIPIENTS),
    "removed_at": lambda t: t.message_number(mail_rows.NM_REMOVED, TIMES),
    "final_status": lambda t: t.words(
        FINAL_STATUSES, t.mail.message_codes[mail_rows.XM_STATUS, : t.mail.messages]
    ),
    "next_queue_id": lambda t: t.text(t.mail.message_numbers[mail_rows.NM_NEXT, : t.mail.messages]),
}

_DELIVERIES: dict[str, Callable[[Tables], pa.Array]] = {
    "mta_host": lambda t: t.hosts(t.mail.codes[mail_rows.XD_HOST, : t.mail.deliveries]),
    "queue_id": Tables.delivered_ids,
    "queued_at": lambda t: t.delivery_number(mail_rows.ND_QUEUED, TIMES),
    "logged_at": lambda t: t.delivery_number(mail_rows.ND_LOGGED, TIMES),
    "recipient": lambda t: t.delivery_text(D_TO),
    "original_recipient": lambda t: pa.nulls(t.mail.deliveries, pa.string()),
    "relay_host": lambda t: t.delivery_code(mail_rows.XD_RELAY, [name for name, _ in RELAYS]),
    "relay_address": lambda t: t.delivery_code(mail_rows.XD_RELAY, [address for _, address in RELAYS]),
    "relay_port": Tables.relay_port,
    "delay_s": lambda t: t.delay(0),
    "delay_before_queue_s": lambda t: t.delay(1),
    "delay_in_queue_s": lambda t: t.delay(2),
    "delay_connect_s": lambda t: t.delay(3),
    "delay_transmit_s": lambda t: t.delay(4),
    "dsn": lambda t: t.delivery_code(mail_rows.XD_DSN, [dsn_text(dsn) for dsn in mail_rows.REPLY_DSNS]),
    "status": lambda t: t.delivery_code(mail_rows.XD_STATUS, STATUSES),
    "reply": lambda t: t.delivery_text(D_SAID),
    "tls": lambda t: pa.nulls(t.mail.deliveries, pa.string()),
}


def _truths(codes: NDArray[np.int8]) -> pa.Array:
    return as_arrow(codes > 0, codes < 0)


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
