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
from logscope.correlate.text import address_texts, code_texts, dsn_texts
from logscope.schema import OUTCOMES
from logscope.simulate import texts
from logscope.simulate.layout import *
from logscope.simulate.simulation import Block, Simulation
from logscope.simulate.site import BACKENDS, FRONTENDS, PUBLIC_ADDRESS, STREAMS

Ints = NDArray[np.int64]
Mask: TypeAlias = Any  # NDArray[np.bool_], which the type checker cannot see in a comparison

TRUTH = ("true_client_address", "behaviour", "stream", "fault")
"""Columns that the session table has beyond those of the schema."""


class Tables:
    """The tables of one block; columns are made when they are asked for."""

    def __init__(self, simulation: Simulation, block: Block) -> None:
        self._simulation = simulation
        self._options = simulation.options
        self._s, self._m, self._d = block.sessions, block.messages, block.deliveries

    def sessions(self, columns: Sequence[str] = ()) -> pa.RecordBatch:
        """The session table; with names, only those columns."""
        seen = np.flatnonzero(self.visible)
        wanted = list(columns) or list(_SESSIONS)
        batch = pa.RecordBatch.from_arrays([_SESSIONS[name](self) for name in wanted], names=wanted)
        return batch if len(seen) == len(self.visible) else batch.take(pa.array(seen))

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

    def client_names(self) -> pa.Array:
        """What smtpd found the peer's address to resolve to."""
        clients = self.by_client(texts.host_name, self.by_smtpd)
        own = np.flatnonzero(self.by_smtpd & (self._s[S_HEADER] != H_PASSED))
        if len(own) == 0:
            return clients
        inner = len(self._options.inner)
        names = [
            f"{host.name}.{texts.LOCAL_DOMAIN}" for host in (self._options.inner or self._options.balancers)
        ]
        which = self._s[S_NUMBER] % inner if inner else np.maximum(self._s[S_BALANCER], 0)
        balancers = code_texts(names, which)
        return pa.compute.if_else(pa.array(self._s[S_HEADER] != H_PASSED), balancers, clients)

    def last_next_ids(self) -> pa.Array:
        """The id under which the next hop took the message last."""
        found = np.full(self._m.shape[1], NULL, np.int64)
        there = self._d[D_NEXT] != NULL
        found[self._d[D_MESSAGE][there]] = self._d[D_NEXT][there]  # of several the last one stays
        return pa.array([None if n == NULL else texts.next_queue_id(n) for n in found.tolist()], pa.string())

    def by_client(self, name: Callable[[int], str], there: Mask) -> pa.Array:
        """Text that each client has, made once for each."""
        return named(name, self._s[S_CLIENT], there)

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
        start = self.host_clock(self._s[S_CONNECTED], self._s[S_SKEW])
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
        """Address and port that the mail server logs; a missing header leaves none."""
        hi, lo, port = self.balancer_port()
        own = np.isin(self._s[S_HEADER], (H_MASKED, H_UNEXPECTED))
        none = ~self.by_mta | (self._s[S_HEADER] == H_MISSING)
        return (
            np.where(none, NULL, np.where(own, hi, self._s[S_HI])),
            np.where(none, NULL, np.where(own, lo, self._s[S_LO])),
            np.where(none | ~self.by_screen, NULL, np.where(own, port, self._s[S_PORT])),
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
        rows = np.repeat(np.arange(len(there)), np.where(there, self._s[S_REJECT_COUNT], 0))
        kinds = self._s[S_REJECT][rows]
        sure = np.ones(len(rows), np.bool_)
        clients = self._s[S_CLIENT][rows]
        struct = pa.StructArray.from_arrays(
            [
                code_texts([stage for stage, _, _ in REJECTS], kinds),
                pa.array(np.array([code for _, code, _ in REJECTS])[kinds]),
                dsn_texts(np.array([dsn for _, _, dsn in REJECTS])[kinds]),
                code_texts(texts.REJECT_TEXTS, kinds),
                named(lambda n: texts.sender(n % 1013, n % len(texts.SENDER_DOMAINS)), clients, sure),
                named(lambda n: texts.refused_recipient(n), clients * 16 + kinds, sure),
            ],
            names=["stage", "code", "dsn", "text", "sender", "recipient"],
        )
        return self.list_of(np.where(there, self._s[S_REJECT_COUNT], 0), struct)

    def queue_ids(self) -> pa.Array:
        counts = np.where(self.by_mta, self._s[S_MESSAGES], 0)
        first = self._s[S_FIRST_MESSAGE]
        rows = np.repeat(first - np.concatenate(([0], np.cumsum(counts)[:-1])), counts) + np.arange(
            counts.sum()
        )
        return self.list_of(counts, unique_texts(texts.queue_id, self._m[M_QUEUE_ID][rows]))

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
        masked = self.masked[rows]
        method = np.where(which == 0, np.where(masked, 1, 0), np.where(which == 1, 2, 3))
        struct = pa.StructArray.from_arrays(
            [
                code_texts(HOPS, start),
                code_texts(HOPS, end),
                code_texts(("address_port", "backend_port", "order", "queue_id"), method),
                code_texts(("exact",), np.zeros(len(rows), np.int64)),
                pa.array(np.ones(len(rows))),
            ],
            names=["from", "to", "method", "confidence", "probability"],
        )
        return self.list_of(counts.sum(axis=1), struct)

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
        """smtpd's counters, the same map for all sessions that went alike."""
        columns = [
            np.where(self.by_smtpd & (self._s[S_HEADER] < H_MISSING), self._s[S_BEHAVIOUR], -1),
            self._s[S_TLS], self._s[S_USER] >= 0, self._s[S_MESSAGES], self._s[S_REJECT_COUNT],
            self._s[S_RECIPIENTS], self._s[S_SERVICE],
        ]  # fmt: skip
        keys, inverse = np.unique(np.stack(columns), axis=1, return_inverse=True)
        maps = [texts.counters(*key) for key in keys.T.tolist()]
        return pa.array(maps, pa.map_(pa.string(), pa.list_(pa.int64()))).take(pa.array(inverse.reshape(-1)))

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
        codes = np.where(own, self._s[S_SERVER], len(nodes))
        return self.words([*nodes, f"[{PUBLIC_ADDRESS}]:25"], codes, self.by_screen)

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

    def message_ids(self) -> pa.Array:
        domains = texts.SENDER_DOMAINS
        rows = zip(
            self._m[M_ID_AT].tolist(), self._m[M_NUMBER].tolist(), self._m[M_DOMAIN].tolist(),
            self._m[M_QUEUE_ID].tolist(), self._m[M_SESSION].tolist(), self._m[M_SERVER].tolist(),
            strict=True,
        )  # fmt: skip
        hosts = [host.name for host in self._options.servers]
        return pa.array(
            [
                None
                if at == NULL
                else f"{number:x}@{domains[domain]}"
                if session >= 0
                else f"{texts.queue_id(queue)}@{hosts[server]}.{texts.LOCAL_DOMAIN}"
                for at, number, domain, queue, session, server in rows
            ],
            pa.string(),
        )

    def senders(self) -> pa.Array:
        from_user = np.zeros(len(self._m[M_SESSION]), np.bool_)
        owner = self._m[M_SESSION]
        from_user[owner >= 0] = self._s[S_USER][owner[owner >= 0]] >= 0
        domain = np.where(from_user, len(texts.SENDER_DOMAINS), self._m[M_DOMAIN])
        codes = np.where(self._m[M_SENDER] < 0, -1, self._m[M_SENDER] * 8 + domain)
        there = self._m[M_SIZE] != NULL
        return named(_sender, codes, there)

    def of_message(self, column: int) -> Ints:
        return np.asarray(self._m[column][self._d[D_MESSAGE]])

    def recipients(self) -> pa.Array:
        codes = (self._d[D_RECIPIENT] * 8 + self._d[D_AGENT]) * 64 + self._d[D_DESTINATION] + 16
        return named(_recipient, codes, np.ones(len(codes), np.bool_))

    def relays(self) -> tuple[pa.Array, pa.Array]:
        agent, place = self._d[D_AGENT], self._d[D_DESTINATION]
        codes = np.where(agent == A_VIRTUAL, 0, np.where(agent == A_RELAY, 1, 18 + place))
        hosts: list[str | None] = ["virtual", texts.RELAY_HOST]
        addresses: list[str | None] = [None, texts.RELAY_ADDRESS]
        for number in range(-16, 48):
            real = -len(texts.SENDER_DOMAINS) <= number
            host, address = texts.destination(number) if real else (None, None)
            hosts.append(host)
            addresses.append(address)
        return tuple(pa.array(words, pa.string()).take(pa.array(codes)) for words in (hosts, addresses))

    def replies(self) -> pa.Array:
        rows = zip(
            self._d[D_REPLY].tolist(), self._d[D_NEXT].tolist(), self._d[D_DESTINATION].tolist(),
            self._d[D_AGENT].tolist(), self._d[D_RECIPIENT].tolist(), strict=True,
        )  # fmt: skip
        return pa.array([texts.reply(*row) for row in rows], pa.string())


HOPS = ("balancer", "screen", "smtpd", "queue", "delivery")


def _sender(code: int) -> str:
    number, domain = code >> 3, code & 7
    if code < 0:
        return ""
    return texts.user(number) if domain == len(texts.SENDER_DOMAINS) else texts.sender(number, domain)


def _recipient(code: int) -> str:
    number, agent, place = code >> 9, (code >> 6) & 7, (code & 63) - 16
    return texts.recipient(number, agent, place)


def named(name: Callable[[int], str], codes: Ints, there: Mask) -> pa.Array:
    """string[n]: the text of each code, made once for each."""
    unique, inverse = np.unique(codes, return_inverse=True)
    words = pa.array([name(code) for code in unique.tolist()], pa.string())
    return words.take(pa.array(inverse.reshape(-1), mask=~there))


def unique_texts(name: Callable[[int], str], codes: Ints) -> pa.Array:
    """string[n] of codes that are hardly ever equal."""
    return pa.array([name(code) for code in codes.tolist()], pa.string())


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
    words = ("none", "balancer", "proxy_header", "backend_port", "header_text", "mta")
    by_header = np.array([2, 3, 1, 4])[s[S_HEADER]]
    alone = np.where(t.by_balancer, 1, np.where(t.known, 5, 0))
    return code_texts(words, np.where(both, by_header, alone))


_SESSIONS: dict[str, Callable[[Tables], pa.Array]] = {
    "session_id": lambda t: number_texts(t._s[S_NUMBER]),
    "client_address": lambda t: t.addresses(*(np.where(t.known, t._s[half], NULL) for half in (S_HI, S_LO))),
    "client_port": lambda t: _integers(t._s[S_PORT], t.by_balancer | t.by_screen & t.known),
    "client_known_from": _known_from,
    "client_name": lambda t: t.client_names(),
    "peer_address": lambda t: t.addresses(t.peer[0], t.peer[1]),
    "peer_port": lambda t: _integers(t.peer[2]),
    "destination_logged": Tables.destination,
    "masked": lambda t: pa.array(t._s[S_HEADER] != H_PASSED, mask=~t.by_mta | (t._s[S_BALANCER] < 0)),
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
    "mta_connected_at": lambda t: _times(t.host_clock(t._s[S_CONNECTED], t._s[S_SKEW]), t.by_mta),
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
    "helo": lambda t: t.by_client(texts.helo, t.by_mta & (t._s[S_REJECT] > 0)),
    "tls_protocol": lambda t: t.words([texts.TLS_PROTOCOL], t._s[S_TLS] - 1, t.by_smtpd),
    "tls_cipher": lambda t: t.words([texts.TLS_CIPHER], t._s[S_TLS] - 1, t.by_smtpd),
    "sasl_method": lambda t: t.words(["PLAIN"], np.where(t._s[S_USER] >= 0, 0, -1), t.by_smtpd),
    "sasl_username": lambda t: named(texts.user, t._s[S_USER], t.by_smtpd & (t._s[S_USER] >= 0)),
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

_MESSAGES: dict[str, Callable[[Tables], pa.Array]] = {
    "mta_host": lambda t: code_texts([host.name for host in t._options.servers], t._m[M_SERVER]),
    "queue_id": lambda t: unique_texts(texts.queue_id, t._m[M_QUEUE_ID]),
    "queued_at": lambda t: _times(t.host_clock(t._m[M_QUEUED], t._m[M_SKEW])),
    "session_id": Tables.message_session_ids,
    "message_id": Tables.message_ids,
    "sender": Tables.senders,
    "size": lambda t: _integers(t._m[M_SIZE]),
    "recipient_count": lambda t: _integers(t._m[M_RECIPIENTS]),
    "removed_at": lambda t: _times(t.host_clock(t._m[M_REMOVED], t._m[M_SKEW])),
    "final_status": lambda t: code_texts(FINAL_STATUSES, t._m[M_STATUS]),
    "next_queue_id": lambda t: t.last_next_ids(),
}

_DELIVERIES: dict[str, Callable[[Tables], pa.Array]] = {
    "mta_host": lambda t: code_texts([host.name for host in t._options.servers], t.of_message(M_SERVER)),
    "queue_id": lambda t: unique_texts(texts.queue_id, t.of_message(M_QUEUE_ID)),
    "queued_at": lambda t: _times(t.host_clock(t.of_message(M_QUEUED), t.of_message(M_SKEW))),
    "logged_at": lambda t: _times(t.host_clock(t._d[D_AT], t.of_message(M_SKEW))),
    "recipient": Tables.recipients,
    "original_recipient": lambda t: pa.nulls(len(t._d[D_AT]), pa.string()),
    "relay_host": lambda t: t.relays()[0],
    "relay_address": lambda t: t.relays()[1],
    "relay_port": lambda t: pa.array(np.full(len(t._d[D_AT]), 25), mask=t._d[D_AGENT] == A_VIRTUAL),
    "delay_s": lambda t: _seconds(t._d[D_DELAY]),
    "delay_before_queue_s": lambda t: _seconds(t._d[D_BEFORE_QUEUE]),
    "delay_in_queue_s": lambda t: _seconds(t._d[D_IN_QUEUE]),
    "delay_connect_s": lambda t: _seconds(t._d[D_CONNECT]),
    "delay_transmit_s": lambda t: _seconds(t._d[D_TRANSMIT]),
    "dsn": lambda t: dsn_texts(np.array(REPLY_DSN)[t._d[D_REPLY]]),
    "status": lambda t: code_texts(STATUSES, t._d[D_STATUS]),
    "reply": Tables.replies,
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
    for block in simulation.blocks():
        made = Tables(simulation, block)
        for name, batches in parts.items():
            batches.append(made.sessions(columns) if name == "sessions" else getattr(made, name)())
    if not all(parts.values()):
        empty = Tables(simulation, nothing())
        for name, batches in parts.items():
            batches.append(empty.sessions(columns) if name == "sessions" else getattr(empty, name)())
    return {name: pa.Table.from_batches(batches) for name, batches in parts.items()}


def nothing() -> Block:
    """A block without sessions."""
    return Block(*(np.empty((width, 0), np.int64) for width in (S_WIDTH, M_WIDTH, D_WIDTH)))
