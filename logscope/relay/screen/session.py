"""One client in front of the screen: postscreen(8), from CONNECT to the hand-over or the end.

A test is to do, then passed or failed. A client that has passed all is handed over to the SMTP server; one
that has failed talks to a dialogue that refuses every recipient, which shows in the log whose mail it was
(the `enforce` action). The order of lines and replies is that of Postfix 3.7 (postscreen_early.c,
postscreen_smtpd.c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from logscope.relay.escape import escaped
from logscope.relay.header import Endpoint
from logscope.relay.machine import Close, Log
from logscope.relay.screen.dialogue import Refusal
from logscope.relay.screen.settings import (
    DEEP,
    EARLY,
    Action,
    ClientRecord,
    DnsLookup,
    Memory,
    ScreenSettings,
    ScreenTest,
)
from logscope.relay.seconds import rounded

_PROTOCOL_ERROR = "5.5.1 Protocol error"
_BREAK_RULES = "5.7.0 Error: I can break rules, too. Goodbye."
_UNAVAILABLE = "Service currently unavailable"


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask these lists about an address; the answers go to `answer`."""

    address: str
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HandOver:
    """The SMTP server is to go on with this connection, beginning with bytes that have arrived."""

    data: bytes


def answer(memory: Memory, address: str, domain: str, answers: list[str], now: float) -> None:
    """A list has answered about an address (nothing, when it is not listed)."""
    lookup = memory.lookups.get(address)
    if lookup is None or domain not in lookup.pending:
        return
    lookup.pending.discard(domain)
    lookup.answers[domain] = answers
    if not lookup.pending:
        for tell in lookup.waiting[:]:
            tell(now)


class Screen:
    """One connection in the screen."""

    def __init__(
        self, settings: ScreenSettings, client: Endpoint, destination: Endpoint, log: Log, memory: Memory
    ) -> None:
        self.out = bytearray()
        self.requests: list[Any] = []
        self.deadline: float | None = None
        self.ended = False
        self.settings, self.client, self.destination = settings, client, destination
        self._log, self._memory = log, memory
        self._peer = {"client_address": client.address, "client_port": client.port}
        self._record = memory.clients.setdefault(client.address, ClientRecord())
        self._record.connections += 1
        memory.screening += 1
        self._todo: set[ScreenTest] = set()
        self._passed: set[ScreenTest] = set()
        self._failed: set[ScreenTest] = set()
        self._denied = False
        self._spoke = False
        self._hung_up = False
        self._lookup: DnsLookup | None = None
        self._rank: int | None = None
        self._refusal: Refusal | None = None
        self._buffer = b""
        self._phase = "tests before SMTP handshake"
        self._phase_began = 0.0
        self._is_new = False
        self._tls = False
        self.reply = f"450 4.3.2 {_UNAVAILABLE}"

    @property
    def unread(self) -> bool:
        """What comes before the greeting is looked at, and left for whoever goes on."""
        return self._refusal is None and bool(self._buffer)

    # --- what happens -------------------------------------------------------------------------------------

    def start(self, now: float, early: bytes = b"") -> None:
        """The client is known; `early` has arrived already."""
        self._log(
            "postscreen.connect",
            **self._peer,
            destination_address=self.destination.address,
            destination_port=self.destination.port,
        )
        if self.settings.client_limit and self._record.connections > self.settings.client_limit:
            self._log(
                "postscreen.reject_connect", action="reject", reply="too many connections", **self._peer
            )
            self._drop("421 4.7.0 Error: too many connections", now)
            return
        if self._decided_by_list(now):
            return
        self._choose_tests(now)
        if not self._todo and not self._denied:
            self._log("postscreen.pass_old", **self._peer)
            self._buffer = early
            self._conclude(now)
            return
        if self._memory.screening > self.settings.screening_limit > 0:
            self._log(
                "postscreen.reject_connect", action="reject", reply="all screening ports busy", **self._peer
            )
            self._drop("421 4.3.2 All screening ports are busy", now)
        elif self._todo & EARLY:
            self._begin_early(now)
            if early:
                self.receive(early, now)
        else:
            self._begin_dialogue(now)
            if early:
                self.receive(early, now)

    def receive(self, data: bytes, now: float) -> None:
        """Bytes have arrived."""
        if self.ended:
            return
        if self._refusal is not None:
            self._refusal.receive(data, now)
            self._after_dialogue()
            return
        self._buffer += data
        if ScreenTest.PREGREET in self._todo and not self._spoke:
            self._pregreet(now)

    def closed(self, now: float) -> None:
        """The client has gone."""
        if self.ended:
            return
        if self._refusal is None and self._spoke:
            self._hung_up = True  # noticed when the dialogue reads on
        else:
            self.hang_up(now)

    def wake(self, now: float) -> None:
        """The greeting is due, or the client was silent for too long."""
        if self.ended:
            return
        if self._refusal is not None:
            self._refusal.wake(now)
            self._after_dialogue()
        else:
            self._end_early(now)

    def stopping(self, now: float) -> None:
        """The server is told to end."""
        if not self.ended:
            self._drop(f"421 4.3.2 {_UNAVAILABLE}", now)

    # --- before the greeting ------------------------------------------------------------------------------

    def _decided_by_list(self, now: float) -> bool:
        """The permanent lists come before everything else."""
        verdict = self.settings.listed(self.client.address)
        if verdict is True:
            self._log("postscreen.allowlisted", **self._peer)
            self._conclude(now)
            return True
        if verdict is False:
            self._log("postscreen.denylisted", **self._peer)
            if self.settings.deny_action is Action.DROP:
                self._drop(f"521 5.3.2 {_UNAVAILABLE}", now)
                return True
            if self.settings.deny_action is Action.ENFORCE:
                self._denied = True
                self.reply = f"550 5.3.2 {_UNAVAILABLE}"
        return False

    def _choose_tests(self, now: float) -> None:
        """What the temporary allowlist does not spare the client.

        Sessions that overlap share what has been passed in the meantime. A denied client is spared nothing.
        """
        if self._denied:
            self._is_new, self._todo = True, set(self.settings.wanted)
            return
        if self._record.connections == 1:
            self._record.expires = dict(self._memory.passed.get(self.client.address, {}))
        expires = self._record.expires
        self._is_new = not expires
        self._todo = {test for test in self.settings.wanted if expires.get(test, 0.0) <= now}

    def _begin_early(self, now: float) -> None:
        self._phase_began = now
        if ScreenTest.PREGREET in self._todo:
            self.out += self.settings.teaser_line.encode()
        if ScreenTest.DNSBL in self._todo:
            self._look_up()
        self.deadline = now + self.settings.greet_wait_s

    def _look_up(self) -> None:
        address = self.client.address
        lookup = self._memory.lookups.get(address)
        if lookup is None:
            domains = tuple(dict.fromkeys(entry.domain for entry in self.settings.dns_lists))
            lookup = self._memory.lookups[address] = DnsLookup(set(domains))
            self.requests.append(LookUp(address, domains))
        lookup.users += 1
        lookup.waiting.append(self._looked_up)
        self._lookup = lookup
        if not lookup.pending:
            self._rank = self._score(lookup)

    def _looked_up(self, now: float) -> None:
        """All lists have answered: the greeting need not wait for them any longer."""
        if self.ended or self._lookup is None:
            return
        self._rank = self._score(self._lookup)
        if ScreenTest.PREGREET not in self._todo or self._spoke:
            self.deadline = now

    def _score(self, lookup: DnsLookup) -> int:
        return sum(entry.score(lookup.answers.get(entry.domain, [])) for entry in self.settings.dns_lists)

    def _pregreet(self, now: float) -> None:
        """The client spoke before its turn."""
        self._spoke = True
        self._log(
            "postscreen.pregreet",
            text_length=len(self._buffer),
            after_s=rounded(now - self._phase_began),
            client_text=escaped(self._buffer, 100),
            **self._peer,
        )
        action = self.settings.action(ScreenTest.PREGREET)
        if action is Action.DROP:
            self._failed.add(ScreenTest.PREGREET)
            self._drop(f"521 {_PROTOCOL_ERROR}", now)
            return
        if action is Action.ENFORCE:
            self._failed.add(ScreenTest.PREGREET)
            self._enforce(f"550 {_PROTOCOL_ERROR}")
        if ScreenTest.DNSBL not in self._todo or self._rank is not None:
            self._end_early(now)

    def _end_early(self, now: float) -> None:
        """The time to be silent is over, or nothing is left to wait for."""
        if ScreenTest.PREGREET in self._todo and not self._spoke:
            self._pass(ScreenTest.PREGREET, now)
        if ScreenTest.DNSBL in self._todo and not self._judge_rank(now):
            return
        if self._denied or self._failed or (self._todo & DEEP) - self._passed:
            self._begin_dialogue(now)
        else:
            self._conclude(now)

    def _judge_rank(self, now: float) -> bool:
        """Whether the session goes on. Lists that have not answered by now do not count."""
        assert self._lookup is not None
        rank = self._rank = self._score(self._lookup) if self._rank is None else self._rank
        if rank < self.settings.dnsbl_threshold:
            self._pass(ScreenTest.DNSBL, now)
            if self.settings.dnsbl_allow_threshold < 0 and rank <= self.settings.dnsbl_allow_threshold:
                for test in self._todo & DEEP:
                    self._pass(test, now)
            return True
        self._log("postscreen.dnsbl_rank", dnsbl_rank=rank, **self._peer)
        action = self.settings.action(ScreenTest.DNSBL)
        text = f"5.7.1 Service unavailable; client [{self.client.address}] blocked using {self._worst_list()}"
        if action is Action.DROP:
            self._failed.add(ScreenTest.DNSBL)
            self._drop(f"521 {text}", now)
            return False
        if action is Action.ENFORCE:
            self._failed.add(ScreenTest.DNSBL)
            self._enforce(f"550 {text}")
        return True

    def _worst_list(self) -> str:
        """The list that weighed most; it is named to the client."""
        assert self._lookup is not None
        answers = self._lookup.answers
        return max(
            self.settings.dns_lists, key=lambda entry: entry.score(answers.get(entry.domain, []))
        ).domain

    def _pass(self, test: ScreenTest, now: float) -> None:
        self._passed.add(test)
        self._record.expires[test] = now + self.settings.lifetime(test)

    def _enforce(self, reply: str) -> None:
        self.reply = reply

    # --- the dialogue that refuses ------------------------------------------------------------------------

    def _begin_dialogue(self, now: float) -> None:
        self._phase = "tests after SMTP handshake"
        self._phase_began = now
        if self._failed or self._denied:
            self._todo |= DEEP  # what else a bad client does wrong is worth knowing
        data, self._buffer = self._buffer, b""
        self._refusal = Refusal(self.settings, self, greet=ScreenTest.PREGREET not in self._failed)
        self._refusal.start(now)
        if data:
            self._refusal.receive(data, now)
        self._after_dialogue()
        if self._hung_up and not self.ended:
            self.hang_up(now)

    def _after_dialogue(self) -> None:
        if self._refusal is not None and not self.ended:
            self.deadline = self._refusal.deadline

    def log(self, kind: str, **values: Any) -> None:
        """A line about this client."""
        self._log(kind, **values, **self._peer)

    def wants(self, test: ScreenTest) -> bool:
        """Whether a deep test is still to be made."""
        return test in self._todo and test not in self._failed

    def fail(self, test: ScreenTest, now: float) -> bool:
        """A deep test has failed. Returns whether the session goes on."""
        action = self.settings.action(test)
        if action is Action.IGNORE:
            self._pass(test, now)
            return True
        self._failed.add(test)
        self._passed.discard(test)
        self._record.expires.pop(test, None)
        text = _BREAK_RULES if test is ScreenTest.NON_SMTP else _PROTOCOL_ERROR
        if action is Action.DROP:
            self._drop(f"521 {text}", now)
            return False
        self._enforce(f"550 {_PROTOCOL_ERROR}")
        return True

    def reached_recipient(self, now: float) -> None:
        """A client that has come to RCPT without a fault has passed the deep tests."""
        for test in (self._todo & DEEP) - self._failed - self._passed:
            self._pass(test, now)

    def finish(self, reply: str, now: float) -> None:
        """The dialogue is over, with this reply."""
        self._drop(reply, now)

    def tls_started(self, protocol: str, cipher: str, bits: int, total_bits: int, now: float) -> None:
        """TLS is on; in Postfix a process of its own does it."""
        self._tls = True
        self.log(
            "tlsproxy.tls_established",
            tls_level="Anonymous",
            tls_usage="established",
            tls_protocol=protocol,
            tls_cipher=cipher,
            tls_bits_used=bits,
            tls_bits=total_bits,
        )
        if self._refusal is not None:
            self._refusal.tls_started(now)
            self._after_dialogue()

    def tls_failed(self, _reason: str, now: float) -> None:
        """The handshake came to nothing."""
        self.log("tlsproxy.handshake_failed", service_name="smtpd")
        self._tls = True
        self.hang_up(now)

    # --- the end ------------------------------------------------------------------------------------------

    def hang_up(self, now: float) -> None:
        """The client has left in the middle."""
        if self.ended:
            return
        after = rounded(now - self._phase_began)
        self._log("postscreen.hangup", after_s=after, test_phase=self._phase, **self._peer)
        self._leave(now, None)

    def _drop(self, reply: str, now: float) -> None:
        self._leave(now, reply)

    def _leave(self, now: float, reply: str | None) -> None:
        """The client is not handed over. It may have passed the deep tests all the same."""
        self._log_pass(now)
        if reply is not None:
            self.out += (reply + "\r\n").encode()
        if self._tls:
            self.log("tlsproxy.disconnect")
        self._log("postscreen.disconnect", **self._peer)
        self._release()
        self.requests.append(Close())

    def _conclude(self, now: float) -> None:
        """The client is handed over."""
        self._log_pass(now)
        self._release()
        self.requests.append(HandOver(self._buffer))

    def _log_pass(self, now: float) -> None:
        if self._failed or self._denied:
            self._passed.clear()
        if self._passed and self._passed == self._todo:
            is_new = self._is_new and not self._record.told_new
            self._record.told_new = self._record.told_new or self._is_new
            self._log("postscreen.pass_new" if is_new else "postscreen.pass_old", **self._peer)
        if self._passed:
            self._memory.remember(self.client.address, self._record.expires, now)

    def _release(self) -> None:
        """This connection is no more in tests."""
        self.ended = True
        self.deadline = None
        self._memory.screening -= 1
        self._record.connections -= 1
        if not self._record.connections:
            self._memory.clients.pop(self.client.address, None)
        if self._lookup is not None:
            self._lookup.users -= 1
            self._lookup.waiting.remove(self._looked_up)
            if not self._lookup.users:
                self._memory.lookups.pop(self.client.address, None)
