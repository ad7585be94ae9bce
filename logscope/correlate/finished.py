"""Sessions that are over: what their hops say, taken together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from logscope.correlate import balancers as balancer_addresses
from logscope.correlate.balancers import CHECK_COMMANDS
from logscope.correlate.handout import *
from logscope.correlate.layout import *
from logscope.schema import CLIENT_KNOWN_FROM, OUTCOMES

if TYPE_CHECKING:
    from logscope.correlate.join import Taken

Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]

NO_HOP = 9  # more than any confidence

_BALANCER_FACTS = {column: place for place, column in enumerate(OF_BALANCER + OF_INNERMOST)}
_SCREEN_FACTS = {column: place for place, column in enumerate(OF_SCREEN, AT_SCREEN)}
_SMTPD_FACTS = {column: place for place, column in enumerate(OF_SMTPD, AT_SMTPD)}

(
    UNKNOWN, DELIVERED, PARTLY_DELIVERED, ACCEPTED, DEFERRED, BOUNCED, REJECTED, SCREENED, NO_MAIL, ABORTED,
    TIMEOUT,
    SERVER_ERROR, NO_SERVER, PROBE, STILL_OPEN,
) = range(len(OUTCOMES))  # fmt: skip

_NONE, _BALANCER, _PROXY_HEADER, _BACKEND_PORT, _TIMING, _HEADER_TEXT, _MTA = range(len(CLIENT_KNOWN_FROM))


class FinishedSessions:
    """What was handed out together: facts of sessions, and what follows from them, when it is asked for.

    Args:
        taken: from the joiner.
        names: text of each dictionary code.
        hosts: name of each host number, None for lines that name none.
        sources: name of each source.
        known_balancers: addresses that are a balancer's, learnt so far (updated here).
    """

    def __init__(
        self,
        taken: Taken,
        names: Sequence[str],
        hosts: Sequence[str | None],
        sources: Sequence[str],
        known_balancers: balancer_addresses.Balancers,
        *,
        machine_code: bool,
    ) -> None:
        self.taken = taken
        self.name_texts = names
        self.host_texts = hosts
        self.source_texts = sources
        self.machine_code = machine_code
        self.count = taken.sessions.shape[1]
        self._balancers = known_balancers
        self.told: frozenset[int] = frozenset()
        """Ids of sessions that were shown while they were open."""
        self._learn()

    def _learn(self) -> None:
        self._balancers.learn(self)

    # --- facts of the three hops, NULL where the hop is missing ---------------------------------------------

    def balancer(self, column: int) -> Codes:
        values: Codes = self.taken.sessions[_BALANCER_FACTS[column]]
        return values

    def screen(self, column: int) -> Codes:
        values: Codes = self.taken.sessions[_SCREEN_FACTS[column]]
        return values

    def smtpd(self, column: int) -> Codes:
        values: Codes = self.taken.sessions[_SMTPD_FACTS[column]]
        return values

    @cached_property
    def has_balancer(self) -> Mask:
        return self._has_hop(0)

    @cached_property
    def has_screen(self) -> Mask:
        return self._has_hop(1)

    @cached_property
    def has_smtpd(self) -> Mask:
        return self._has_hop(2)

    def _has_hop(self, hop: int) -> Mask:
        result: Mask = self.taken.sessions[AT_HOPS + hop] == 1
        return result

    @cached_property
    def at_mta(self) -> Mask:
        return self.has_screen | self.has_smtpd

    @cached_property
    def joined_hops(self) -> Mask:
        """Sessions that both the balancer and a mail server saw."""
        return self.has_balancer & self.at_mta

    def by_mta(self, screen: int, smtpd: int) -> Codes:
        """A fact that both mail server hops have: postscreen's, else smtpd's."""
        return np.where(self.has_screen, self.screen(screen), self.smtpd(smtpd))

    # --- what follows from them -----------------------------------------------------------------------------

    @cached_property
    def peer(self) -> tuple[Codes, Codes, Codes]:
        port = self.by_mta(P_PORT, S_PORT)
        return (
            self.by_mta(P_HI, S_HI),
            self.by_mta(P_LO, S_LO),
            np.where(port == NULL, self.smtpd(S_PORT), port),
        )

    @cached_property
    def host(self) -> Codes:
        return self.by_mta(P_HOST, S_HOST)

    @cached_property
    def behind(self) -> tuple[Codes, Codes]:
        """How the first balancer behind the outermost one was linked to it, L_NONE where there is none; and
        the least confidence of all that stand behind another, that of no hop where none does.
        """
        inners = self.taken.inners
        method, confidence = np.full(self.count, L_NONE), np.full(self.count, NO_HOP)
        session, links = inners[:, 0], dict(zip(OF_INNER, inners[:, 1:].T, strict=True))
        method[session[::-1]] = links[B_CHAIN_METHOD][::-1]
        np.minimum.at(confidence, session, links[B_CHAIN_CONFIDENCE])
        return method, confidence

    @cached_property
    def hidden(self) -> Mask:
        """Sessions of which the mail server saw another address than the balancer."""
        method = self.balancer(B_METHOD)
        hi, lo, _ = self.peer
        other = (hi != self.balancer(B_HI)) | (lo != self.balancer(B_LO))
        unlike = (method == L_TIMING) | (self.behind[0] != L_NONE)
        result: Mask = self.joined_hops & (
            (method == L_BACKEND_PORT) | (method == L_HEADER_TEXT) | (unlike & other)
        )
        return result

    @cached_property
    def masked(self) -> Codes:
        """1 masked, 0 not, NULL unknown; a health check hides nobody."""
        method = self.balancer(B_METHOD)
        joined = self.joined_hops
        hi, lo, _ = self.peer
        seen = (joined & ~self.hidden & ((method == L_ADDRESS_PORT) | (method == L_TIMING))).astype(np.int64)
        alone = ~self.has_balancer & self.at_mta
        by_address = self._balancers.is_one(self.host, hi, lo) & alone & ~self.probe
        return np.where(self.hidden | by_address, 1, np.where(seen == 1, 0, NULL))

    @cached_property
    def known_from(self) -> Codes:
        # Behind another balancer, the link to that one tells the client.
        method = np.where(
            self.hidden & (self.balancer(B_METHOD) == L_ADDRESS_PORT), self.behind[0], self.balancer(B_METHOD)
        )
        by_method = np.array(
            [_BALANCER, _PROXY_HEADER, _BACKEND_PORT, _TIMING, _TIMING, _NONE, _NONE, _HEADER_TEXT]
        )
        both = self.joined_hops
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
        return self.by_mta(P_CONNECTED, S_STARTED)

    @cached_property
    def ended_at(self) -> Codes:
        b_end = np.where(self.balancer(B_ASAP) == 1, NULL, self.balancer(B_END))
        mta_end = np.where(self.has_smtpd, self.smtpd(S_ENDED), self.screen(P_ENDED))
        return np.where(b_end != NULL, b_end, mta_end)

    @cached_property
    def unended(self) -> Mask:
        """Sessions whose end neither the mail server nor the balancer (which tells all at once) has told."""
        waits = (self.screen(P_ENDED) == NULL) & (self.screen(P_EXPIRED) == 0)
        at_mta = np.where(self.has_smtpd, self.smtpd(S_ENDED) == NULL, self.has_screen & waits)
        mask: Mask = at_mta & (self.ended_at == NULL)
        return mask

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
        """int64[statuses, sessions]: messages of each session by final status."""
        return self.taken.sessions[AT_STATUSES:AT_RECIPIENTS]

    @cached_property
    def queued(self) -> Codes:
        counts = self.messages
        return np.asarray(counts.sum(axis=0) - counts[F_UNKNOWN] - counts[F_REJECTED])

    @cached_property
    def recipients(self) -> Codes:
        """Recipients of each session's queued messages (`nrcpt` of the queue manager)."""
        values: Codes = self.taken.sessions[AT_RECIPIENTS]
        return values

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
    def silent(self) -> Mask:
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
        silent: Mask = ~self.has_balancer & (quiet_screen | quiet_smtpd) & short
        return silent

    @cached_property
    def probe(self) -> Mask:
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
        sent, deferred = m[F_SENT] + m[F_DISCARDED], m[F_DEFERRED]
        bounced = m[F_BOUNCED] + m[F_EXPIRED]
        waiting = m[F_OPEN] + m[F_HELD]
        some = self.queued > 0
        by_mail = np.select(
            [
                ~some,
                sent == self.queued,
                (sent > 0) | (m[F_PARTLY] > 0),
                deferred > 0,
                (bounced > 0) & (waiting == 0),
            ],
            [UNKNOWN, DELIVERED, PARTLY_DELIVERED, DEFERRED, BOUNCED],
            ACCEPTED,
        )
        lost = self.smtpd(S_LOST)
        header = self.smtpd(S_HEADER)
        refused = (self.rejects > 0) | (m[F_REJECTED] > 0) | (np.maximum(self.smtpd(S_SASL_FAILURES), 0) > 0)
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
        vague = self.at_mta & self.has_balancer & (outcome == UNKNOWN)
        outcome = np.where(vague & (state != UNKNOWN), state, outcome)
        return np.where(self.probe, PROBE, outcome)

    @cached_property
    def _termination_class(self) -> Codes:
        """Outcome that HAProxy's termination state tells by itself (configuration manual, section 8.5)."""
        table = np.array([_by_termination(name) for name in self.name_texts] or [UNKNOWN])
        codes = self.balancer(B_TERMINATION)
        return np.where(codes >= 0, table[np.maximum(codes, 0)], UNKNOWN)

    @cached_property
    def _balancer_outcome(self) -> Codes:
        unreached = np.array([name == "<NOSRV>" for name in self.name_texts] or [False])
        server = self.balancer(B_SERVER)
        nowhere = (server >= 0) & unreached[np.maximum(server, 0)]
        state = self._termination_class
        return np.where(nowhere & ((state == UNKNOWN) | (state == SERVER_ERROR)), NO_SERVER, state)

    @cached_property
    def found_by_smtpd(self) -> Mask:
        """Sessions whose balancer's was found by time, through how smtpd's session ended, where it is not
        certain which visit led to that: the balancer's session is smtpd's, and the visit may be another's.
        """
        result: Mask = (
            (self.has_balancer & self.has_screen & self.has_smtpd)
            & (self.balancer(B_METHOD) == L_TIMING)
            & (self.screen(P_CONFIDENCE) < SURE_EXACT)
        )
        return result

    @cached_property
    def screen_confidence(self) -> Codes:
        """Of the link between a visit and smtpd's session. Hardly three in four were right of those that were
        made without an end that the balancer saw, on captures of busy daemons, whatever was said of them.
        """
        return np.where(self.found_by_smtpd, SURE_AMBIGUOUS, self.screen(P_CONFIDENCE))

    @cached_property
    def confidence(self) -> Codes:
        """Of the weakest link; SURE_NONE where nothing is linked, SURE_AMBIGUOUS where several would fit."""
        b = np.where(self.joined_hops, self.balancer(B_CONFIDENCE), NO_HOP)
        p = np.where(self.has_screen & self.has_smtpd, self.screen_confidence, NO_HOP)
        weakest = np.minimum(np.minimum(b, p), self.behind[1])
        several = (self.screen(P_AMBIGUOUS) > 0) | (self.smtpd(S_AMBIGUOUS) > 0)
        open_end = several & ~self.has_balancer
        open_end |= (self.balancer(B_AMBIGUOUS) > 0) & ~self.has_screen & ~self.has_smtpd
        weakest = np.where(open_end, SURE_AMBIGUOUS, weakest)
        return np.where(weakest == NO_HOP, SURE_NONE, weakest)

    @cached_property
    def joined(self) -> Codes:
        """Quality class: 0 exact, 1 probable, 2 ambiguous, 3 balancer only, 4 mail server only."""
        both = self.joined_hops
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

    # --- ids ------------------------------------------------------------------------------------------------

    @cached_property
    def session_ids(self) -> NDArray[np.uint64]:
        return self._ids(self.has_screen, self.has_smtpd)

    @cached_property
    def earlier_ids(self) -> dict[int, list[int]]:
        """The ids under which sessions, or parts of them, were handed out before, by row."""
        nowhere = np.zeros(self.count, np.bool_)
        shown = self._shown
        if not (self.told or shown[0].any() or shown[1].any()):
            return {}
        by_balancer = self._ids(nowhere, nowhere)
        by_smtpd = self._ids(nowhere, self.has_smtpd)
        told = np.array(sorted(self.told), np.uint64)
        again = np.isin(self.session_ids, told) | np.isin(by_smtpd, told)
        found = {}
        for row in np.flatnonzero(shown[0] | shown[1] | again).tolist():
            own, balancer, smtpd = (int(ids[row]) for ids in (self.session_ids, by_balancer, by_smtpd))
            parts = [balancer] * bool(shown[0][row]) + [own] * bool(shown[1][row])
            found[row] = list(dict.fromkeys([*parts, *(one for one in (own, smtpd) if one in self.told)]))
        return found

    @property
    def amendments(self) -> int:
        """How many of them were handed out before, in parts."""
        return int(np.count_nonzero(self.is_amendment))

    @property
    def is_amendment(self) -> Mask:
        """Which of them were."""
        return self._shown[0] | self._shown[1]

    @cached_property
    def _shown(self) -> tuple[Mask, Mask]:
        """Which were handed out before under their balancers' ids, and which under their own."""
        own = self.by_mta(P_SHOWN, S_SHOWN)
        return self.balancer(B_SHOWN) == SHOWN_ALONE, (own == SHOWN_ALONE) | (own == SHOWN_WHOLE)

    @cached_property
    def amended(self) -> NDArray[np.int64]:
        """What was counted for the sessions of which these are amendments: by class, see `joined`."""
        counts = np.zeros(5, np.int64)
        alone = self.joined_hops & (self.balancer(B_SHOWN) == SHOWN_ALONE)
        unsure = self.balancer(B_AMBIGUOUS) > 0
        counts[2] += np.count_nonzero(alone & unsure)
        counts[3] += np.count_nonzero(alone & ~unsure)
        own = self.by_mta(P_SHOWN, S_SHOWN)
        counts[0] += np.count_nonzero(own == SHOWN_WHOLE)
        unseen = own == SHOWN_ALONE
        unsure = (self.screen(P_AMBIGUOUS) > 0) | (self.smtpd(S_AMBIGUOUS) > 0)
        counts[2] += np.count_nonzero(unseen & unsure)
        counts[4] += np.count_nonzero(unseen & ~unsure)
        return counts

    def _ids(self, has_screen: Mask, has_smtpd: Mask) -> NDArray[np.uint64]:
        """Ids by the line that anchors a session: postscreen's, else smtpd's, else the balancer's."""
        mta = has_screen | has_smtpd

        def anchor(screen: int, smtpd: int, balancer: int) -> Codes:
            own = np.where(has_screen, self.screen(screen), self.smtpd(smtpd))
            return np.where(mta, own, self.balancer(balancer))

        screen = np.where(has_screen, _hash_text("postscreen"), _hash_text("smtpd"))
        program = np.where(mta, screen, _hash_text("haproxy"))
        hosts = np.array(
            [0 if name is None else _hash_text(name) for name in self.host_texts] or [0], np.uint64
        )
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

    @cached_property
    def server(self) -> Codes:
        """Code of the server's name; NULL where none was reached."""
        unreached = np.array([name == "<NOSRV>" for name in self.name_texts] or [False])
        server = self.balancer(B_SERVER)
        return np.where((server >= 0) & unreached[np.maximum(server, 0)], NULL, server)

    @cached_property
    def service(self) -> Codes:
        return self.by_mta(P_SERVICE, S_SERVICE)


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
