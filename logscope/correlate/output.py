"""Finished sessions, messages and deliveries as Arrow batches, with the columns of `schema`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope import engine
from logscope.arrow import TIMES, as_arrow, as_lists
from logscope.correlate import balancers as balancer_addresses
from logscope.correlate.balancers import CHECK_COMMANDS
from logscope.correlate.layout import *
from logscope.correlate.tables import *
from logscope.correlate.text import address_texts, code_texts, counter_maps, dsn_texts, hex_texts, span_texts
from logscope.engine import kernel
from logscope.schema import CLIENT_KNOWN_FROM, OUTCOMES

Codes = NDArray[np.int64]

(
    UNKNOWN, DELIVERED, PARTLY_DELIVERED, ACCEPTED, DEFERRED, BOUNCED, REJECTED, SCREENED, NO_MAIL, ABORTED,
    TIMEOUT,
    SERVER_ERROR, NO_SERVER, PROBE, STILL_OPEN,
) = range(len(OUTCOMES))  # fmt: skip

_NONE, _BALANCER, _PROXY_HEADER, _BACKEND_PORT, _TIMING, _HEADER_TEXT, _MTA = range(len(CLIENT_KNOWN_FROM))

FINAL_STATUSES = (
    "unknown", "sent", "partly_sent", "deferred", "bounced", "expired", "discarded", "held", "rejected",
    "open",
)  # fmt: skip
F_UNKNOWN, F_SENT, F_PARTLY, F_DEFERRED, F_BOUNCED, F_EXPIRED, F_DISCARDED, F_HELD, F_REJECTED, F_OPEN = (
    range(10)
)


class Finished:
    """What one step handed out: columns are made when they are asked for.

    Args:
        memory, heap: of the joiner, before `release`.
        names: text of each dictionary code.
        hosts: name of each host number.
        sources: name of each source.
        known_balancers: addresses that are a balancer's, learnt so far (updated here).
    """

    def __init__(
        self,
        memory: Memory,
        heap: Bytes,
        names: Sequence[str],
        hosts: Sequence[str],
        sources: Sequence[str],
        known_balancers: balancer_addresses.Balancers,
        *,
        machine_code: bool,
    ) -> None:
        self._memory = memory
        self._heap = heap
        self._names = names
        self._hosts = hosts
        self._sources = sources
        self._machine_code = machine_code
        self._b, self._p, self._s = self._sessions()
        self.count = len(self._b)
        self._balancers = known_balancers
        self.told: frozenset[int] = frozenset()
        """Ids of sessions that were shown while they were open."""
        self._learn()

    def _sessions(self) -> tuple[Codes, Codes, Codes]:
        """Rows of balancer, postscreen and smtpd; of what was kept for late lines, what has changed since."""
        memory = self._memory
        finished = self._rows(SESSIONS_FIRST, int(memory[SESSIONS_COUNT]))
        b, p, s = (memory[finished + column] for column in (Z_BALANCER, Z_SCREEN, Z_SMTPD))
        if not memory[KEEPS_LATE]:
            return b, p, s
        alone = (b < 0) | ((p < 0) & (s < 0))
        as_before = alone & (
            _shown(memory, b, B_SHOWN) | _shown(memory, p, P_SHOWN) | _shown(memory, s, S_SHOWN)
        )
        return b[~as_before], p[~as_before], s[~as_before]

    def _learn(self) -> None:
        self._balancers.learn(self)

    def _kernel(self, function: Callable[..., Any]) -> Any:
        return engine.compiled(function) if self._machine_code else function

    def _rows(self, first: int, count: int) -> Codes:
        """Rows of a list."""
        rows = np.empty(count, np.int64)
        self._kernel(walk)(self._memory, int(self._memory[first]), rows)
        return rows

    # --- numbers of the three hops, NULL where the hop is missing -------------------------------------------

    @cached_property
    def _balancer_columns(self) -> Matrix:
        return self._columns(self._b, B_WIDTH)

    @cached_property
    def _screen_columns(self) -> Matrix:
        return self._columns(self._p, P_WIDTH)

    @cached_property
    def _smtpd_columns(self) -> Matrix:
        return self._columns(self._s, S_WIDTH)

    def _columns(self, rows: Codes, width: int) -> Matrix:
        """int64[width, rows]: all columns of some rows, read while each row is at hand."""
        columns = np.empty((width, len(rows)), np.int64)
        self._kernel(gather_columns)(self._memory, rows, columns)
        return columns

    def balancer(self, column: int) -> Codes:
        values: Codes = self._balancer_columns[column]
        return values

    def screen(self, column: int) -> Codes:
        values: Codes = self._screen_columns[column]
        return values

    def smtpd(self, column: int) -> Codes:
        values: Codes = self._smtpd_columns[column]
        return values

    @cached_property
    def has_balancer(self) -> NDArray[np.bool_]:
        return self._b >= 0

    @cached_property
    def has_screen(self) -> NDArray[np.bool_]:
        return self._p >= 0

    @cached_property
    def has_smtpd(self) -> NDArray[np.bool_]:
        return self._s >= 0

    def _mta(self, screen: int, smtpd: int) -> Codes:
        """A fact that both mail server hops have: postscreen's, else smtpd's."""
        return np.where(self.has_screen, self.screen(screen), self.smtpd(smtpd))

    # --- what follows from them -----------------------------------------------------------------------------

    @cached_property
    def peer(self) -> tuple[Codes, Codes, Codes]:
        port = self._mta(P_PORT, S_PORT)
        return self._mta(P_HI, S_HI), self._mta(P_LO, S_LO), np.where(port == NULL, self.smtpd(S_PORT), port)

    @cached_property
    def host(self) -> Codes:
        return self._mta(P_HOST, S_HOST)

    @cached_property
    def hidden(self) -> NDArray[np.bool_]:
        """Sessions of which the mail server saw another address than the balancer."""
        method = self.balancer(B_METHOD)
        hi, lo, _ = self.peer
        other = (hi != self.balancer(B_HI)) | (lo != self.balancer(B_LO))
        result: NDArray[np.bool_] = (self.has_balancer & (self.has_screen | self.has_smtpd)) & (
            (method == L_BACKEND_PORT) | (method == L_HEADER_TEXT) | ((method == L_TIMING) & other)
        )
        return result

    @cached_property
    def masked(self) -> Codes:
        """1 masked, 0 not, NULL unknown; a health check hides nobody."""
        method = self.balancer(B_METHOD)
        joined = self.has_balancer & (self.has_screen | self.has_smtpd)
        hi, lo, _ = self.peer
        seen = (joined & ~self.hidden & ((method == L_ADDRESS_PORT) | (method == L_TIMING))).astype(np.int64)
        alone = ~self.has_balancer & (self.has_screen | self.has_smtpd)
        by_address = self._balancers.is_one(self.host, hi, lo) & alone & ~self.probe
        return np.where(self.hidden | by_address, 1, np.where(seen == 1, 0, NULL))

    @cached_property
    def known_from(self) -> Codes:
        method = self.balancer(B_METHOD)
        by_method = np.array(
            [_BALANCER, _PROXY_HEADER, _BACKEND_PORT, _TIMING, _TIMING, _NONE, _NONE, _HEADER_TEXT]
        )
        both = self.has_balancer & (self.has_screen | self.has_smtpd)
        hi, _lo, _ = self.peer
        by_mta = np.where((self.masked == 1) | self.probe | (hi == NULL), _NONE, _MTA)
        by_balancer = np.where(self.balancer(B_HI) == NULL, _NONE, _BALANCER)
        return np.where(
            both,
            by_method[np.where(method == NULL, 0, method)],
            np.where(self.has_balancer, by_balancer, by_mta),
        )

    @cached_property
    def client(self) -> tuple[Codes, Codes, Codes]:
        """Address halves and port of the true client."""
        hi, lo, port = self.peer
        by_mta = self.known_from == _MTA
        known = self.known_from != _NONE
        return tuple(  # type: ignore[return-value]
            np.where(self.has_balancer, self.balancer(b), np.where(by_mta & known, p, NULL))
            for b, p in ((B_HI, hi), (B_LO, lo), (B_PORT, port))
        )

    @cached_property
    def connected_at(self) -> Codes:
        return self._mta(P_CONNECTED, S_STARTED)

    @cached_property
    def ended_at(self) -> Codes:
        b_end = np.where(self.balancer(B_ASAP) == 1, NULL, self.balancer(B_END))
        mta_end = np.where(self.has_smtpd, self.smtpd(S_ENDED), self.screen(P_ENDED))
        return np.where(b_end != NULL, b_end, mta_end)

    @cached_property
    def started_at(self) -> Codes:
        accepted = self.balancer(B_ACCEPTED)
        return np.where(accepted != NULL, accepted, self.connected_at)

    @cached_property
    def duration_ms(self) -> Codes:
        duration = np.where(self.balancer(B_ASAP) == 1, NULL, self.balancer(B_DURATION))
        known = (self.connected_at != NULL) & (self.ended_at != NULL)
        by_mta = np.where(known, (self.ended_at - np.where(known, self.connected_at, 0)) // 1_000_000, NULL)
        return np.where(duration != NULL, duration, np.where(self.has_balancer, NULL, by_mta))

    @cached_property
    def messages(self) -> NDArray[np.int64]:
        """int64[sessions, statuses]: messages of each session by final status."""
        counts = np.zeros((self.count, len(FINAL_STATUSES)), np.int64)
        if self.count:
            self._kernel(count_messages)(self._memory, self._s, counts)
        return counts

    @cached_property
    def queued(self) -> Codes:
        counts = self.messages
        return np.asarray(counts.sum(axis=1) - counts[:, F_UNKNOWN] - counts[:, F_REJECTED])

    @cached_property
    def recipients(self) -> Codes:
        """Recipients of each session's queued messages (`nrcpt` of the queue manager)."""
        counts = np.zeros(self.count, np.int64)
        if self.count:
            self._kernel(count_recipients)(self._memory, self._s, counts)
        return counts

    @cached_property
    def rejects(self) -> Codes:
        """Refusals of each session."""
        return np.maximum(self.screen(P_REJECTED), 0) + np.maximum(self.smtpd(S_REJECTED), 0)

    @cached_property
    def screen_verdict(self) -> Codes:
        verdict = self.screen(P_VERDICT)
        tests = np.maximum(self.screen(P_TESTS), 0)
        dropped = (tests & ~((1 << TEST_DNSBL) | (1 << TEST_PREGREET))) != 0
        over = self.screen(P_ENDED) != NULL
        derived = np.where(
            self.screen(P_REJECTED) > 0,
            V_REJECTED,
            np.where(
                self.screen(P_HANGUP) == 1,
                V_HANGUP,
                np.where(
                    over & ((tests != 0) | dropped),
                    V_DROPPED,
                    np.where(self.has_smtpd | ~over, V_HANDED_OFF, V_NONE),
                ),
            ),
        )
        unseen = ~self.has_smtpd & ~over & (self.screen(P_EXPIRED) == 0)
        derived = np.where((derived == V_HANDED_OFF) & unseen, V_UNKNOWN, derived)
        return np.where(self.has_screen, np.where(verdict == V_UNKNOWN, derived, verdict), V_NONE)

    @cached_property
    def silent(self) -> NDArray[np.bool_]:
        """Sessions that no balancer line explains, in which next to nothing was said, ended at once."""
        untested = (self.screen(P_REJECTED) == 0) & (self.screen(P_TESTS) == 0) & (self.screen(P_HANGUP) == 1)
        quiet_screen = self.has_screen & ~self.has_smtpd & untested
        wordless = self.has_smtpd & (self.said <= CHECK_COMMANDS) & (self.rejects == 0)
        quiet_smtpd = wordless & (self.smtpd(S_HEADER) <= 0) & (self.smtpd(S_MESSAGE_COUNT) <= 0)
        short = (
            (self.ended_at == NULL)
            | (self.connected_at == NULL)
            | (self.ended_at - self.connected_at <= 2 * SECOND)
        )
        silent: NDArray[np.bool_] = ~self.has_balancer & (quiet_screen | quiet_smtpd) & short
        return silent

    @cached_property
    def probe(self) -> NDArray[np.bool_]:
        """Health checks: an address that never says anything.

        Where clients are masked, one that hangs up looks like a check, and is taken for the client.
        """
        hi, lo, _ = self.peer
        return self.silent & self._balancers.only_checks(self.host, hi, lo)

    @cached_property
    def said(self) -> Codes:
        """Commands that smtpd counted, accepted or not; `commands=5` alone means that all were accepted."""
        return np.maximum(np.maximum(self.smtpd(S_COMMANDS_OK), self.smtpd(S_COMMANDS_ALL)), 0)

    @cached_property
    def outcome(self) -> Codes:
        m = self.messages
        sent, deferred = m[:, F_SENT] + m[:, F_DISCARDED], m[:, F_DEFERRED]
        bounced = m[:, F_BOUNCED] + m[:, F_EXPIRED]
        waiting = m[:, F_OPEN] + m[:, F_HELD]
        some = self.queued > 0
        by_mail = np.select(
            [
                ~some,
                sent == self.queued,
                (sent > 0) | (m[:, F_PARTLY] > 0),
                deferred > 0,
                (bounced > 0) & (waiting == 0),
            ],
            [UNKNOWN, DELIVERED, PARTLY_DELIVERED, DEFERRED, BOUNCED],
            ACCEPTED,
        )
        lost = self.smtpd(S_LOST)
        header = self.smtpd(S_HEADER)
        refused = (
            (self.rejects > 0) | (m[:, F_REJECTED] > 0) | (np.maximum(self.smtpd(S_SASL_FAILURES), 0) > 0)
        )
        by_smtpd = np.select(
            [
                some,
                header != 0,
                self.smtpd(S_ENDED) == NULL,
                refused | (lost == 3),
                lost == 2,
                lost == 1,
                self.smtpd(S_COMMANDS_ALL) == 0,
                lost == 4,
            ],
            [by_mail, SERVER_ERROR, STILL_OPEN, REJECTED, TIMEOUT, ABORTED, ABORTED, UNKNOWN],
            NO_MAIL,
        )
        screened = (self.screen(P_REJECTED) > 0) | (np.maximum(self.screen(P_TESTS), 0) != 0)
        by_screen = np.select(
            [
                np.maximum(self.screen(P_HEADER), 0) != 0,
                screened,
                self.screen(P_HANGUP) == 1,
                self.screen(P_VERDICT) == V_DENYLISTED,
                self.screen(P_ENDED) != NULL,
                (self.screen(P_EXPIRED) == 0) & ~self.has_balancer,
            ],
            [SERVER_ERROR, SCREENED, ABORTED, SCREENED, NO_MAIL, STILL_OPEN],
            UNKNOWN,
        )
        outcome = np.where(
            self.has_smtpd, by_smtpd, np.where(self.has_screen, by_screen, self._balancer_outcome)
        )
        state = self._termination_class
        vague = (self.has_screen | self.has_smtpd) & self.has_balancer & (outcome == UNKNOWN)
        outcome = np.where(vague & (state != UNKNOWN), state, outcome)
        return np.where(self.probe, PROBE, outcome)

    @cached_property
    def _termination_class(self) -> Codes:
        """Outcome that HAProxy's termination state tells by itself (configuration manual, section 8.5)."""
        table = np.array([_by_termination(name) for name in self._names] or [UNKNOWN])
        codes = self.balancer(B_TERMINATION)
        return np.where(codes >= 0, table[np.maximum(codes, 0)], UNKNOWN)

    @cached_property
    def _balancer_outcome(self) -> Codes:
        unreached = np.array([name == "<NOSRV>" for name in self._names] or [False])
        server = self.balancer(B_SERVER)
        nowhere = (server >= 0) & unreached[np.maximum(server, 0)]
        state = self._termination_class
        return np.where(nowhere & ((state == UNKNOWN) | (state == SERVER_ERROR)), NO_SERVER, state)

    @cached_property
    def confidence(self) -> Codes:
        """Of the weakest link; SURE_NONE where nothing is linked, SURE_AMBIGUOUS where several would fit."""
        b = np.where(self.has_balancer & (self.has_screen | self.has_smtpd), self.balancer(B_CONFIDENCE), 9)
        p = np.where(self.has_screen & self.has_smtpd, self.screen(P_CONFIDENCE), 9)
        weakest = np.minimum(b, p)
        several = (self.screen(P_AMBIGUOUS) > 0) | (self.smtpd(S_AMBIGUOUS) > 0)
        open_end = several & ~self.has_balancer
        open_end |= (self.balancer(B_AMBIGUOUS) > 0) & ~self.has_screen & ~self.has_smtpd
        weakest = np.where(open_end, SURE_AMBIGUOUS, weakest)
        return np.where(weakest == 9, SURE_NONE, weakest)

    @cached_property
    def joined(self) -> Codes:
        """Quality class: 0 exact, 1 probable, 2 ambiguous, 3 balancer only, 4 mail server only."""
        both = self.has_balancer & (self.has_screen | self.has_smtpd)
        classes = np.select(
            [
                self.confidence == SURE_AMBIGUOUS,
                both & (self.confidence == SURE_EXACT),
                both,
                self.has_balancer,
            ],
            [2, 0, 1, 3],
            4,
        )
        return classes.astype(np.int64)

    # --- Arrow ----------------------------------------------------------------------------------------------

    def names(self, codes: Codes) -> pa.Array:
        return code_texts(self._names, codes)

    def hosts(self, numbers: Codes) -> pa.Array:
        return code_texts(self._hosts, numbers)

    def heap(self, refs: Codes) -> pa.Array:
        return span_texts(self._heap, refs, machine_code=self._machine_code)

    def sessions(self, columns: Iterable[str]) -> pa.RecordBatch:
        """The `sessions` table with these columns, in this order."""
        wanted = list(columns)
        arrays = [_SESSION_COLUMNS[name](self) for name in wanted]
        return pa.RecordBatch.from_arrays(arrays, names=wanted)

    @cached_property
    def session_ids(self) -> NDArray[np.uint64]:
        return self._ids(self.has_screen, self.has_smtpd)

    @cached_property
    def earlier_ids(self) -> dict[int, list[int]]:
        """The ids under which sessions, or parts of them, were handed out before, by row."""
        if not self._memory[KEEPS_LATE]:
            return {}
        nowhere = np.zeros(self.count, np.bool_)
        by_balancer = self._ids(nowhere, nowhere)
        by_smtpd = self._ids(nowhere, self.has_smtpd)
        shown = (self.balancer(B_SHOWN) == 1, self._mta(P_SHOWN, S_SHOWN) == 1)
        told = np.array(sorted(self.told), np.uint64)
        again = np.isin(self.session_ids, told) | np.isin(by_smtpd, told)
        found = {}
        for row in np.flatnonzero(shown[0] | shown[1] | again).tolist():
            own, balancer, smtpd = (int(ids[row]) for ids in (self.session_ids, by_balancer, by_smtpd))
            parts = [balancer] * bool(shown[0][row]) + [own] * bool(shown[1][row])
            found[row] = list(dict.fromkeys([*parts, *(one for one in (own, smtpd) if one in self.told)]))
        return found

    def amends(self) -> pa.Array:
        """list<string>: the same as texts; null where there are none."""
        found = self.earlier_ids
        return pa.array(
            [[f"{one:016x}" for one in found[row]] if row in found else None for row in range(self.count)]
            if found
            else pa.nulls(self.count, pa.list_(pa.string())),
            pa.list_(pa.string()),
        )

    @property
    def amendments(self) -> int:
        """How many of them were handed out before, in parts."""
        return int(np.count_nonzero((self.balancer(B_SHOWN) == 1) | (self._mta(P_SHOWN, S_SHOWN) == 1)))

    @cached_property
    def amended(self) -> NDArray[np.int64]:
        """What was counted for the sessions of which these are amendments: by class, see `joined`."""
        both = self.has_balancer & (self.has_screen | self.has_smtpd)
        counts = np.zeros(5, np.int64)
        alone = both & (self.balancer(B_SHOWN) == 1)
        unsure = self.balancer(B_AMBIGUOUS) > 0
        counts[2] += np.count_nonzero(alone & unsure)
        counts[3] += np.count_nonzero(alone & ~unsure)
        unseen = both & (self._mta(P_SHOWN, S_SHOWN) == 1)
        unsure = (self.screen(P_AMBIGUOUS) > 0) | (self.smtpd(S_AMBIGUOUS) > 0)
        counts[2] += np.count_nonzero(unseen & unsure)
        counts[4] += np.count_nonzero(unseen & ~unsure)
        return counts

    def _ids(self, has_screen: NDArray[np.bool_], has_smtpd: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """Ids by the line that anchors a session: postscreen's, else smtpd's, else the balancer's."""
        mta = has_screen | has_smtpd

        def anchor(screen: int, smtpd: int, balancer: int) -> Codes:
            own = np.where(has_screen, self.screen(screen), self.smtpd(smtpd))
            return np.where(mta, own, self.balancer(balancer))

        screen = np.where(has_screen, _hash_text("postscreen"), _hash_text("smtpd"))
        program = np.where(mta, screen, _hash_text("haproxy"))
        hosts = np.array([_hash_text(name) for name in self._hosts] or [0], np.uint64)
        host = anchor(P_HOST, S_HOST, B_HOST)
        digest = np.where(host >= 0, hosts[np.maximum(host, 0)], np.uint64(0))
        digest = _mix64(digest, program.astype(np.uint64))
        for part in (
            anchor(P_STAMP, S_STAMP, B_STAMP),
            anchor(P_PID, S_PID, B_PID),
            anchor(P_HI, S_HI, B_HI),
            anchor(P_LO, S_LO, B_LO),
            anchor(P_PORT, S_PORT, B_PORT),
        ):
            digest = _mix64(digest, part.view(np.uint64))
        return digest

    def destination(self) -> pa.Array:
        hi, lo, port = self.screen(P_DEST_HI), self.screen(P_DEST_LO), self.screen(P_DEST_PORT)
        addresses = address_texts(hi, lo, machine_code=self._machine_code)
        ports = as_arrow(port).cast(pa.string())
        return pa.compute.binary_join_element_wise("[", addresses, "]:", ports, "")

    def addresses(self, hi: Codes, lo: Codes) -> pa.Array:
        return address_texts(hi, lo, machine_code=self._machine_code)

    def events(self) -> pa.Array:
        """list<struct<source, line_number>>: balancer, screen, smtpd, then the messages' lines."""
        run = self._kernel(collect_events)
        offsets = np.zeros(self.count + 1, np.int64)
        total = int(
            run(
                self._memory, self._b, self._p, self._s, offsets, np.empty(0, np.int64), np.empty(0, np.int64)
            )
        )
        sources, lines = np.empty(total, np.int64), np.empty(total, np.int64)
        run(self._memory, self._b, self._p, self._s, offsets, sources, lines)
        struct = pa.StructArray.from_arrays(
            [code_texts(self._sources, sources), as_arrow(lines)], names=["source", "line_number"]
        )
        return as_lists(offsets, struct)

    def queue_ids(self) -> pa.Array:
        run = self._kernel(collect_messages)
        offsets = np.zeros(self.count + 1, np.int64)
        total = int(run(self._memory, self._s, offsets, np.empty(0, np.int64)))
        rows = np.empty(total, np.int64)
        run(self._memory, self._s, offsets, rows)
        return as_lists(offsets, self.heap(self._memory[rows + M_QUEUE_ID]))

    def reject_list(self) -> pa.Array:
        run = self._kernel(collect_rejects)
        offsets = np.zeros(self.count + 1, np.int64)
        total = int(run(self._memory, self._p, self._s, offsets, np.empty(0, np.int64)))
        rows = np.empty(total, np.int64)
        run(self._memory, self._p, self._s, offsets, rows)
        m = self._memory
        struct = pa.StructArray.from_arrays(
            [
                self.names(m[rows + J_STAGE]),
                _integers(m[rows + J_CODE]),
                dsn_texts(m[rows + J_DSN]),
                self.heap(m[rows + J_TEXT]),
                self.heap(m[rows + J_SENDER]),
                self.heap(m[rows + J_RECIPIENT]),
            ],
            names=["stage", "code", "dsn", "text", "sender", "recipient"],
        )
        return as_lists(offsets, struct)

    def links(self) -> pa.Array:
        both = self.has_balancer & (self.has_screen | self.has_smtpd)
        inner = self.has_screen & self.has_smtpd
        queue = self.has_smtpd & (np.maximum(self.smtpd(S_MESSAGE_COUNT), 0) > 0)
        delivery = (self.messages[:, F_SENT:F_EXPIRED].sum(axis=1) > 0) & queue
        count = both.astype(np.int64) + inner + queue + delivery
        offsets = np.concatenate(([0], np.cumsum(count)))
        total = int(offsets[-1])
        start, end = np.zeros(total, np.int64), np.zeros(total, np.int64)
        method, sure = np.zeros(total, np.int64), np.full(total, SURE_EXACT, np.int64)
        probability = np.ones(total)
        at = offsets[:-1].copy()
        hops = ("balancer", "screen", "smtpd", "queue", "delivery")

        def put(mask: NDArray[np.bool_], a: Any, b: Any, how: Any, confidence: Any, odds: Any) -> None:
            rows = at[mask]
            for target, value in (
                (start, a),
                (end, b),
                (method, how),
                (sure, confidence),
                (probability, odds),
            ):
                target[rows] = value[mask] if isinstance(value, np.ndarray) else value
            at[mask] += 1

        put(
            both, 0, np.where(self.has_screen, 1, 2), self.balancer(B_METHOD), self.balancer(B_CONFIDENCE),
            self.balancer(B_PROBABILITY) / 1e6,
        )  # fmt: skip
        put(inner, 1, 2, self.screen(P_METHOD), self.screen(P_CONFIDENCE), self.screen(P_PROBABILITY) / 1e6)
        put(queue, 2, 3, L_QUEUE_ID, SURE_EXACT, 1.0)
        put(delivery, 3, 4, L_QUEUE_ID, SURE_EXACT, 1.0)
        struct = pa.StructArray.from_arrays(
            [
                code_texts(hops, start),
                code_texts(hops, end),
                code_texts(METHODS, method),
                code_texts(CONFIDENCES, sure),
                as_arrow(probability),
            ],
            names=["from", "to", "method", "confidence", "probability"],
        )
        return as_lists(offsets, struct)

    def flags(self, words: Sequence[str], masks: Sequence[NDArray[np.bool_]]) -> pa.Array:
        """list<string> of the words whose mask is set, in the order given."""
        matrix = np.stack(masks, axis=1) if masks else np.zeros((self.count, 0), np.bool_)
        offsets = np.concatenate(([0], np.cumsum(matrix.sum(axis=1))))
        return as_lists(offsets, code_texts(words, np.nonzero(matrix)[1]))

    def hops(self) -> pa.Array:
        queue = np.maximum(self.smtpd(S_MESSAGE_COUNT), 0) > 0
        delivery = self.messages[:, F_SENT:F_EXPIRED].sum(axis=1) > 0
        words = ("balancer", "screen", "smtpd", "queue", "delivery")
        return self.flags(words, [self.has_balancer, self.has_screen, self.has_smtpd, queue, delivery])

    def screen_tests(self) -> pa.Array:
        tests = np.maximum(self.screen(P_TESTS), 0)
        return self.flags(SCREEN_TESTS, [(tests >> bit) & 1 == 1 for bit in range(len(SCREEN_TESTS))])

    def commands(self) -> pa.Array:
        """map of command to [accepted, all]."""
        return counter_maps(self.heap(self.smtpd(S_COMMANDS)))

    def balancer_list(self) -> pa.Array:
        offsets = np.concatenate(([0], np.cumsum(self.has_balancer)))
        return as_lists(offsets, self.hosts(self.balancer(B_HOST)[self.has_balancer]))

    def server(self) -> Codes:
        """Code of the server's name; NULL where none was reached."""
        unreached = np.array([name == "<NOSRV>" for name in self._names] or [False])
        server = self.balancer(B_SERVER)
        return np.where((server >= 0) & unreached[np.maximum(server, 0)], NULL, server)

    def service(self) -> Codes:
        return self._mta(P_SERVICE, S_SERVICE)

    # --- messages and deliveries ----------------------------------------------------------------------------

    def message_table(self) -> pa.RecordBatch:
        """The `messages` table: those of the sessions handed out, and those that no session brought."""
        m = self._memory
        run = self._kernel(collect_messages)
        offsets = np.zeros(self.count + 1, np.int64)
        total = int(run(m, self._s, offsets, np.empty(0, np.int64)))
        rows = np.empty(total, np.int64)
        run(m, self._s, offsets, rows)
        done = self._rows(MESSAGES_FIRST, int(m[MESSAGES_COUNT]))
        owner = np.repeat(np.arange(self.count), np.diff(offsets))
        ids = pa.concat_arrays([hex_texts(self.session_ids[owner]), pa.nulls(len(done), pa.string())])
        rows = np.concatenate([rows, done])
        status = np.zeros(len(rows), np.int64)
        self._kernel(final_statuses)(m, rows, status)
        columns = {
            "mta_host": self.hosts(m[rows + M_HOST]),
            "queue_id": self.heap(m[rows + M_QUEUE_ID]),
            "queued_at": _times(m[rows + M_QUEUED]),
            "session_id": ids,
            "message_id": self.heap(m[rows + M_MESSAGE_ID]),
            "sender": self.heap(m[rows + M_SENDER]),
            "size": _integers(m[rows + M_SIZE]),
            "recipient_count": _integers(m[rows + M_RECIPIENTS]),
            "removed_at": _times(m[rows + M_REMOVED]),
            "final_status": code_texts(FINAL_STATUSES, status),
            "next_queue_id": self.heap(m[rows + M_NEXT_QUEUE_ID]),
        }
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def delivery_table(self) -> pa.RecordBatch:
        """The `deliveries` table of this step's lines."""
        m = self._memory
        rows = self._rows(DELIVERIES_FIRST, int(m[DELIVERIES_COUNT]))
        columns = {
            "mta_host": self.hosts(m[rows + Y_HOST]),
            "queue_id": self.heap(m[rows + Y_QUEUE_ID]),
            "queued_at": _times(m[rows + Y_QUEUED]),
            "logged_at": _times(m[rows + Y_LOGGED]),
            "recipient": self.heap(m[rows + Y_RECIPIENT]),
            "original_recipient": self.heap(m[rows + Y_ORIGINAL]),
            "relay_host": self.heap(m[rows + Y_RELAY]),
            "relay_address": self.addresses(m[rows + Y_RELAY_HI], m[rows + Y_RELAY_LO]),
            "relay_port": _integers(m[rows + Y_RELAY_PORT]),
            "delay_s": _decimals(m[rows + Y_DELAY]),
            "delay_before_queue_s": _decimals(m[rows + Y_DELAY_A]),
            "delay_in_queue_s": _decimals(m[rows + Y_DELAY_B]),
            "delay_connect_s": _decimals(m[rows + Y_DELAY_C]),
            "delay_transmit_s": _decimals(m[rows + Y_DELAY_D]),
            "dsn": dsn_texts(m[rows + Y_DSN]),
            "status": code_texts(STATUSES, m[rows + Y_STATUS]),
            "reply": self.heap(m[rows + Y_REPLY]),
            "tls": self.heap(m[rows + Y_TLS]),
        }
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


class StillOpen(Finished):
    """Sessions that go on, as they are now.

    Args:
        rows: of postscreen and smtpd, see `Joiner.still_open`.
        now: until when they have gone on.
    """

    def __init__(self, *arguments: Any, rows: Matrix, now: int, machine_code: bool) -> None:
        self._open_rows, self._now = rows, now
        super().__init__(*arguments, machine_code=machine_code)

    def _sessions(self) -> tuple[Codes, Codes, Codes]:
        p, s = self._open_rows
        b = np.full(len(p), -1, np.int64)
        for rows, column in ((p, P_B), (s, S_B)):
            b = np.where((b < 0) & (rows >= 0), self._memory[rows + column], b)
        return b, p, s

    def _learn(self) -> None:
        """They are learnt from when they have ended."""

    def only(self, rows: NDArray[np.bool_]) -> StillOpen:
        """Some of them."""
        return StillOpen(
            self._memory, self._heap, self._names, self._hosts, self._sources, self._balancers,
            rows=self._open_rows[:, rows], now=self._now, machine_code=self._machine_code,
        )  # fmt: skip

    @cached_property
    def outcome(self) -> Codes:
        ended = self.has_smtpd & (self.smtpd(S_ENDED) != NULL)
        return np.where(ended, super().outcome, STILL_OPEN)

    @cached_property
    def duration_ms(self) -> Codes:
        """So far; of those of which only the mail goes on, how long they took."""
        so_far = np.maximum(self._now - self.started_at, 0) // 1_000_000
        return np.where(self.outcome == STILL_OPEN, so_far, super().duration_ms)


def _shown(memory: Memory, rows: Codes, column: int) -> NDArray[np.bool_]:
    shown: NDArray[np.bool_] = (rows >= 0) & (memory[rows + column] == 1)
    return shown


_SESSION_COLUMNS: dict[str, Callable[[Finished], pa.Array]] = {
    "session_id": lambda f: hex_texts(f.session_ids),
    "client_address": lambda f: f.addresses(f.client[0], f.client[1]),
    "client_port": lambda f: _integers(f.client[2]),
    "client_known_from": lambda f: code_texts(CLIENT_KNOWN_FROM, f.known_from),
    "client_name": lambda f: f.heap(f.smtpd(S_NAME)),
    "peer_address": lambda f: f.addresses(f.peer[0], f.peer[1]),
    "peer_port": lambda f: _integers(f.peer[2]),
    "destination_logged": Finished.destination,
    "masked": lambda f: as_arrow(f.masked == 1, f.masked == NULL),
    "balancer": lambda f: f.hosts(f.balancer(B_HOST)),
    "balancers": Finished.balancer_list,
    "frontend": lambda f: f.names(f.balancer(B_FRONTEND)),
    "backend": lambda f: f.names(f.balancer(B_BACKEND)),
    "server": lambda f: f.names(f.server()),
    "mta_host": lambda f: f.hosts(f.host),
    "service": lambda f: f.names(f.service()),
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
    "screen": lambda f: code_texts(SCREENS, f.screen_verdict),
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
    "outcome": lambda f: code_texts(OUTCOMES, f.outcome),
    "hops": Finished.hops,
    "links": Finished.links,
    "join_confidence": lambda f: code_texts(CONFIDENCES, f.confidence),
    "events": Finished.events,
    "amends": Finished.amends,
}


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


def _by_termination(state: str) -> int:
    if len(state) < 2 or state[:2] == "--":
        return UNKNOWN
    first, second = state[0], state[1]
    if second == "Q" or state[:2] in ("SC", "sC"):
        return NO_SERVER
    if first == "C":
        return ABORTED
    if first in "cs":
        return TIMEOUT
    if first in "SKDURI":
        return SERVER_ERROR
    if first in "PLT":
        return REJECTED
    return UNKNOWN


def _hash_text(text: str) -> int:
    value = 0xCBF29CE484222325  # FNV-1a, 64 bits
    for byte in text.encode("utf-8", "surrogateescape"):
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def _mix64(digest: NDArray[np.uint64], part: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One round of a 64-bit mixer (the finalizer of splitmix64)."""
    x = digest * np.uint64(0x9E3779B97F4A7C15) + part
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


# --- walks over lists ---------------------------------------------------------------------------------------


@kernel
def walk(m: Memory, first: int, rows: Vector) -> None:
    for i in range(rows.shape[0]):
        rows[i] = first
        first = m[first + LINK]


@kernel
def gather_columns(m: Memory, rows: Vector, columns: Matrix) -> None:
    """The rows as columns, eight rows at a time: a row's words lie side by side, and so do a column's."""
    count = rows.shape[0]
    for first in range(0, count, 8):
        last = min(first + 8, count)
        for column in range(columns.shape[0]):
            for i in range(first, last):
                columns[column, i] = m[rows[i] + column] if rows[i] >= 0 else NULL


@kernel
def final_status(m: Memory, q: int) -> int:
    if m[q + M_REJECTED] > 0 and m[q + M_SIZE] == NULL:
        return F_REJECTED
    if m[q + M_REMOVED] != NULL:
        if m[q + M_BOUNCED] + m[q + M_EXPIRED] > 0:
            if m[q + M_SENT] > 0:
                return F_PARTLY
            return F_EXPIRED if m[q + M_EXPIRED] > 0 else F_BOUNCED
        if m[q + M_SENT] > 0:
            return F_SENT
        return F_DISCARDED if m[q + M_DISCARDED] > 0 else F_UNKNOWN if m[q + M_SIZE] == NULL else F_SENT
    if m[q + M_DISCARDED] > 0:
        return F_DISCARDED
    if m[q + M_HELD] > 0:
        return F_HELD
    if m[q + M_DEFERRED] > 0:
        return F_PARTLY if m[q + M_SENT] > 0 else F_DEFERRED
    if m[q + M_SIZE] != NULL or m[q + M_SENT] + m[q + M_BOUNCED] > 0:
        return F_OPEN
    return F_REJECTED if m[q + M_REJECTED] > 0 else F_UNKNOWN


@kernel
def final_statuses(m: Memory, rows: Vector, out: Vector) -> None:
    for i in range(rows.shape[0]):
        out[i] = final_status(m, rows[i])


@kernel
def count_messages(m: Memory, sessions: Vector, counts: Matrix) -> None:
    for i in range(sessions.shape[0]):
        q = m[sessions[i] + S_MESSAGES] if sessions[i] >= 0 else -1
        while q >= 0:
            counts[i, final_status(m, q)] += 1
            q = m[q + M_S_NEXT]


@kernel
def count_recipients(m: Memory, sessions: Vector, counts: Vector) -> None:
    for i in range(sessions.shape[0]):
        q = m[sessions[i] + S_MESSAGES] if sessions[i] >= 0 else -1
        while q >= 0:
            counts[i] += max(m[q + M_RECIPIENTS], 0)
            q = m[q + M_S_NEXT]


@kernel
def collect_messages(m: Memory, sessions: Vector, offsets: Vector, rows: Vector) -> int:
    """Message rows of each session; with an empty `rows` only the count and the offsets."""
    total = 0
    for i in range(sessions.shape[0]):
        offsets[i] = total
        q = m[sessions[i] + S_MESSAGES] if sessions[i] >= 0 else -1
        while q >= 0:
            if rows.shape[0]:
                rows[total] = q
            total += 1
            q = m[q + M_S_NEXT]
    offsets[sessions.shape[0]] = total
    return total


@kernel
def collect_rejects(m: Memory, screens: Vector, sessions: Vector, offsets: Vector, rows: Vector) -> int:
    total = 0
    for i in range(sessions.shape[0]):
        offsets[i] = total
        for hop in range(2):
            node = -1
            if hop == 0 and screens[i] >= 0:
                node = m[screens[i] + P_REJECTS]
            elif hop == 1 and sessions[i] >= 0:
                node = m[sessions[i] + S_REJECTS]
            while node >= 0:
                if rows.shape[0]:
                    rows[total] = node
                total += 1
                node = m[node + J_NEXT]
    offsets[sessions.shape[0]] = total
    return total


@kernel
def collect_events(
    m: Memory,
    balancers: Vector,
    screens: Vector,
    sessions: Vector,
    offsets: Vector,
    sources: Vector,
    lines: Vector,
) -> int:
    total = 0
    fill = sources.shape[0] > 0
    for i in range(sessions.shape[0]):
        offsets[i] = total
        if balancers[i] >= 0:
            if fill:
                sources[total] = m[balancers[i] + B_SRC]
                lines[total] = m[balancers[i] + B_LINE]
            total += 1
        if screens[i] >= 0:
            total = copy_events(m, m[screens[i] + P_EVENTS], sources, lines, total)
        if sessions[i] >= 0:
            total = copy_events(m, m[sessions[i] + S_EVENTS], sources, lines, total)
            q = m[sessions[i] + S_MESSAGES]
            while q >= 0:
                total = copy_events(m, m[q + M_EVENTS], sources, lines, total)
                q = m[q + M_S_NEXT]
    offsets[sessions.shape[0]] = total
    return total


@kernel
def copy_events(m: Memory, node: int, sources: Vector, lines: Vector, total: int) -> int:
    while node >= 0:
        if sources.shape[0] > 0:
            sources[total] = m[node + N_SOURCE]
            lines[total] = m[node + N_LINE]
        total += 1
        node = m[node + N_NEXT]
    return total
