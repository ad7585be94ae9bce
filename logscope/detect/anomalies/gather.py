"""Counts sessions, messages and deliveries as they come: bounded state, and the same whatever way the batches
were cut.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logscope.arrow import together
from logscope.detect.anomalies.actors import Actors, Doing
from logscope.detect.anomalies.columns import (
    NULL,
    Bools,
    Coded,
    Columns,
    Longs,
    counted,
    firsts_of,
    numbered,
    numbers_of,
)
from logscope.detect.anomalies.contributors import Contributors, Seen, networks_of
from logscope.detect.anomalies.facts import (
    DELIVERY_READS,
    MESSAGE_READS,
    ROUTE,
    SESSION_READS,
    Facts,
    Family,
    delivery_families,
    message_families,
    session_facts,
)
from logscope.detect.anomalies.ledger import SECOND, Ledger
from logscope.detect.anomalies.senders import Senders
from logscope.detect.anomalies.visits import Visits
from logscope.detect.anomalies.waiting import WaitingMail

_AT_ONCE = 1 << 15
_HOUR = 3600 * SECOND
_MOST_LOGINS = 200_000

GUESSING = Doing("auth_guessing", 9, 300)
ENUMERATION = Doing("user_enumeration", 50, 600)
SCANNING = Doing("connection_scan", 150, 600, 6.0)
HOARDING = Doing("connection_hoarding", 150, 600, 6.0)
TAKEOVER = Doing("account_takeover", 60, 600, 8.0)
TRYING = Doing("port_scan", 4, 600)
_DOINGS = (GUESSING, ENUMERATION, SCANNING, HOARDING, TAKEOVER, TRYING)

_NOTABLE = ("sessions", "outcome", "termination_state", "test", "reason", "refused", "auth", "hops", "masked")
_UNREMARKABLE = {"delivered", "accepted", "--", "joined", "seen", "granted"}
_LONG_MS = 60_000
_EXAMPLES = 3
_MOST_REGULARS = 20_000
_EXAMPLE_S = 600
_MOST_EXAMPLES = 60_000


class Gathered:
    """All that the detectors look at.

    Args:
        tick_s: seconds of a tick; None to choose by the time covered.
        known: addresses and networks that are no newcomers.
    """

    def __init__(self, tick_s: int | None = None, known: frozenset[str] = frozenset()) -> None:
        self.sessions = Ledger(len(ROUTE), tick_s)
        self.mail = Ledger(1, tick_s)
        self.destinations = Ledger(1, tick_s)
        self.clients = Contributors()
        self.networks = Contributors()
        self.actors = {
            doing.kind: Actors(doing)
            for doing in (GUESSING, ENUMERATION, SCANNING, HOARDING, TAKEOVER, TRYING)
        }
        self.senders = Senders()
        self._visits = Visits()
        self._waiting_mail = WaitingMail()
        self.allowed: tuple[str, ...] = ()
        self.newcomers: dict[str, int] = {}
        self.rows = {"sessions": 0, "messages": 0, "deliveries": 0}
        self._seen = Seen()
        self._examples: dict[tuple[int, int, int], list[dict[str, Any]]] = {}
        self._held_examples = 0
        if known:
            self._seen.test_and_add(sorted(known))
        self._waiting: dict[str, list[pa.RecordBatch]] = {"sessions": [], "messages": [], "deliveries": []}
        self._logins: OrderedDict[str, str] = OrderedDict()

    # --- taking in ------------------------------------------------------------------------------------------

    def add(self, table: str, batch: pa.RecordBatch) -> None:
        """Take some rows of `sessions`, `messages` or `deliveries`."""
        reads = {
            "sessions": (*SESSION_READS, "session_id", "events"),
            "messages": MESSAGE_READS,
            "deliveries": DELIVERY_READS,
        }[table]
        if not batch.num_rows:
            return
        self._waiting[table].append(batch.select([name for name in batch.schema.names if name in reads]))
        self.rows[table] += batch.num_rows
        if sum(one.num_rows for one in self._waiting[table]) >= _AT_ONCE:
            self.settle()

    def settle(self) -> None:
        """Count what waits. Sessions come first: they say who logged in for the messages."""
        for table, count in (
            ("sessions", self._sessions),
            ("messages", self._messages),
            ("deliveries", self._deliveries),
        ):
            for batch in together(self._waiting[table]):
                count(batch)

    def forget(self, keep_s: int) -> None:
        """Drop what is older than so many seconds before the latest, whole days at a time."""
        self.settle()
        latest = self.sessions.span()[1] * self.sessions.tick_s
        oldest = latest - keep_s
        if self.sessions.span()[0] * self.sessions.tick_s >= oldest - 86_400:
            return
        for ledger in (self.sessions, self.mail, self.destinations):
            ledger.forget_before(oldest // ledger.tick_s)
        for table in (self.clients, self.networks):
            table.forget_before(oldest)
        for actors in self.actors.values():
            actors.bursts = [burst for burst in actors.bursts if burst.until >= oldest]
        self.senders.bursts = [burst for burst in self.senders.bursts if burst.until >= oldest]
        for key in [key for key in self._examples if key[2] * _EXAMPLE_S < oldest]:
            self._held_examples -= len(self._examples.pop(key))

    # --- sessions -------------------------------------------------------------------------------------------

    def _sessions(self, batch: pa.RecordBatch) -> None:
        self._remember_logins(batch)
        facts = session_facts(batch)
        if not len(facts.times):
            return
        ledger = self.sessions
        ledger.cover(facts.times)
        ticks = ledger.ticks_of(facts.times)
        places = np.array([ledger.routes.number(place) for place in facts.places])[facts.routes]
        for family in facts.families:
            if len(family.rows):
                codes = ledger.code_numbers(family.name, family.values)[family.codes]
                ledger.add(ticks[family.rows], places[family.rows], codes)
                if family.name in _NOTABLE:
                    self._contribute(facts, family, codes)
                    self._exemplify(facts, family, codes, places)
        self._actors(facts)
        self._newcomers(facts)

    def _exemplify(self, facts: Facts, family: Family, codes: Longs, places: Longs) -> None:
        """Keep a few sessions of each thing, place and ten minutes, to show them."""
        if self._held_examples >= _MOST_EXAMPLES or family.name == "sessions":
            return
        plain = [code for code, value in enumerate(family.values) if value in _UNREMARKABLE]
        notable = np.nonzero(~np.isin(family.codes, plain))[0]
        if not len(notable):
            return
        rows = family.rows[notable]
        halves = facts.times[rows] // (_EXAMPLE_S * SECOND)
        low, width = int(halves.min()), int(halves.max() - halves.min()) + 1
        keys = (codes[notable] * len(self.sessions.routes) + places[rows]) * width + (halves - low)
        present, firsts = firsts_of(keys)
        wanting: list[tuple[list[dict[str, Any]], int]] = []
        for key, first in zip(present.tolist(), firsts.tolist(), strict=True):
            pair, half = divmod(key, width)
            code, place = divmod(pair, len(self.sessions.routes))
            held = self._examples.setdefault((code, place, half + low), [])
            if len(held) < _EXAMPLES:
                wanting.append((held, first))
        del wanting[_MOST_EXAMPLES - self._held_examples :]
        shown = facts.examples(rows[np.array([first for _, first in wanting], np.int64)])
        for (held, _), one in zip(wanting, shown, strict=False):
            held.append(one)
        self._held_examples += len(shown)

    def examples(
        self, pairs: Iterable[tuple[int, int]], since_s: float, until_s: float
    ) -> list[dict[str, Any]]:
        """Some sessions of these places and things between two times."""
        found: list[dict[str, Any]] = []
        first, last = int(since_s) // _EXAMPLE_S, int(until_s) // _EXAMPLE_S
        for place, code in pairs:
            for half in range(first, min(last, first + 288) + 1):
                for one in self._examples.get((code, place, half), []):
                    if since_s <= one["at_s"] < until_s and len(found) < _EXAMPLES:
                        found.append({key: value for key, value in one.items() if key != "at_s"})
        return found

    def examples_of(self, kind: str, names: Iterable[str]) -> list[dict[str, Any]]:
        """A session of each of these actors in what they overdid."""
        shown = [
            one.example
            for name in names
            for one in self.actors[kind].bursts
            if one.actor == name and one.example
        ]
        return [{key: value for key, value in one.items() if key != "at_s"} for one in shown[:_EXAMPLES]]

    def _contribute(self, facts: Facts, family: Family, codes: Longs) -> None:
        plain = [code for code, value in enumerate(family.values) if value in _UNREMARKABLE]
        notable = ~np.isin(family.codes, plain) if plain else np.ones(len(codes), np.bool_)
        rows = family.rows[notable]
        who, texts = facts.clients
        self.clients.add(who[rows], texts, codes[notable], facts.times[rows])

    def _actors(self, facts: Facts) -> None:
        who, texts = facts.clients
        show = facts.examples
        self.actors["auth_guessing"].add(who, texts, facts.times, facts.tries, show, facts.users)
        self.actors["user_enumeration"].add(who, texts, facts.times, facts.unknown, show)
        long_ms = np.where(facts.duration_ms >= _LONG_MS, facts.duration_ms // _LONG_MS, 0)
        self.actors["connection_hoarding"].add(who, texts, facts.times, long_ms, show)
        self.actors["connection_scan"].add(who, texts, facts.times, facts.left, show)
        firsts = self._visits.first(facts)
        self.actors["port_scan"].learn(*self._visits.take())
        self.actors["port_scan"].add(who, texts, facts.times, firsts, show)

    def _newcomers(self, facts: Facts) -> None:
        """Who was never seen before the hour in which it comes, and comes often; networks alike."""
        who, texts = facts.clients
        if not texts:
            return
        known = who >= 0
        hours = facts.times[known] // _HOUR
        pairs, counts = counted(hours * len(texts) + who[known])
        networks = networks_of(texts)
        self._network_counts(facts, networks)
        order = np.argsort(pairs)
        pairs, counts = pairs[order], counts[order]
        for hour in np.unique(pairs // len(texts)).tolist():
            here = pairs // len(texts) == hour
            clients = [texts[at] for at in (pairs[here] % len(texts)).tolist()]
            for names, amounts in (
                (clients, counts[here]),
                self._by_network(networks, pairs[here] % len(texts), counts[here]),
            ):
                new = ~self._seen.test_and_add(names)
                for at in np.nonzero(new & (amounts >= 5))[0].tolist():
                    self.newcomers.setdefault(names[at], hour)
        if len(self.newcomers) > 100_000:
            self.newcomers = dict(list(self.newcomers.items())[-50_000:])

    @staticmethod
    def _by_network(networks: Coded, clients: Longs, counts: Longs) -> tuple[list[str], Longs]:
        present, inverse = numbers_of(networks.codes[clients])
        names = [networks.texts[at] for at in present.tolist()]
        return names, np.bincount(inverse, weights=counts, minlength=len(names)).astype(np.int64)

    def _network_counts(self, facts: Facts, networks: Coded) -> None:
        who = facts.clients.codes
        network = np.where(who >= 0, networks.codes[np.maximum(who, 0)], -1)
        everything = self.sessions.code_numbers("sessions", ["all"])[0]
        self.networks.add(network, networks.texts, np.full(len(network), everything), facts.times)

    def _remember_logins(self, batch: pa.RecordBatch) -> None:
        """Which session belongs to which account, for the messages that come later."""
        names = batch.schema.names
        if "sasl_username" not in names or "session_id" not in names:
            return
        some = batch.filter(pc.is_valid(batch.column("sasl_username")))
        for session, user in zip(
            some.column("session_id").to_pylist(), some.column("sasl_username").to_pylist(), strict=True
        ):
            self._logins[session] = user
        while len(self._logins) > _MOST_LOGINS:
            self._logins.popitem(last=False)

    def regulars(self) -> list[str]:
        """Clients and networks that came often: no newcomers next time."""
        everything = int(self.sessions.code_numbers("sessions", ["all"])[0])
        found: Counter[str] = Counter()
        for table in (self.clients, self.networks):
            for bucket in table.buckets(everything):
                found.update(table.in_bucket(everything, bucket).keys())
        return [name for name, _ in found.most_common(_MOST_REGULARS)]

    # --- messages and deliveries ----------------------------------------------------------------------------

    def _messages(self, batch: pa.RecordBatch) -> None:
        columns = Columns(batch)
        times = columns.integers("queued_at")
        some = np.nonzero(times != NULL)[0]
        if not len(some):
            return
        self._count(self.mail, columns, times, message_families(columns), "mta_host")
        recipients = np.maximum(columns.integers("recipient_count"), 1)
        sizes, senders = columns.integers("size"), columns.coded("sender")
        if columns.has("session_id") and self._logins:
            codes, texts = numbered(map(self._logins.get, columns.raw("session_id").to_pylist()))
            self.actors["account_takeover"].add(np.where(times != NULL, codes, -1), texts, times, recipients)
            self.senders.add(codes, texts, times, sizes, recipients, accounts=True)
            senders = Coded(np.where(codes >= 0, -1, senders.codes), senders.texts)
        null_sender = senders.texts.index("") if "" in senders.texts else -2
        named = np.where(senders.codes == null_sender, -1, senders.codes)
        self.senders.add(named, senders.texts, times, sizes, recipients)

    def _deliveries(self, batch: pa.RecordBatch) -> None:
        columns = Columns(batch)
        times = columns.integers("logged_at")
        if not (times != NULL).any():
            return
        recipients, status = columns.coded("recipient"), columns.coded("status")
        waiting = [code for code, text in enumerate(status.texts) if text == "deferred"]
        late = np.isin(status.codes, waiting) & (times != NULL)
        first, done = self._waiting_mail.look(columns, recipients, late)
        families = delivery_families(columns, (late & ~first) | done)
        self._count(self.mail, columns, times, families, "mta_host")
        self._count_destinations(recipients, times, {"deferred": late, "waiting": first, "done": done})

    @staticmethod
    def _count(ledger: Ledger, columns: Columns, times: Longs, families: list[Family], place: str) -> None:
        known = times != NULL
        ledger.cover(times[known])
        ticks = ledger.ticks_of(times)
        codes, texts = columns.coded(place)
        places = np.array(
            [*(ledger.routes.number((text,)) for text in texts), ledger.routes.number((None,))]
        )[codes]
        for family in families:
            rows = family.rows[known[family.rows]] if not known.all() else family.rows
            own = family.codes[known[family.rows]] if not known.all() else family.codes
            if len(rows):
                ledger.add(ticks[rows], places[rows], ledger.code_numbers(family.name, family.values)[own])

    def _count_destinations(self, recipients: Coded, times: Longs, what: dict[str, Bools]) -> None:
        """Deliveries by the domain they go to, all of them and what became of some; domains beyond a number
        count together.
        """
        if not recipients.texts:
            return
        codes, names = numbered(text.rpartition("@")[2].lower() for text in recipients.texts)
        domain = np.where(recipients.codes >= 0, codes[np.maximum(recipients.codes, 0)], -1)
        ledger = self.destinations
        known = (times != NULL) & (domain >= 0)
        if not known.any():
            return
        ledger.cover(times[known])
        numbers = np.array([ledger.routes.number((name,)) for name in names])
        ticks = ledger.ticks_of(times)
        for value, mask in {"all": known, **what}.items():
            some = mask & known
            if some.any():
                code = ledger.code_numbers("destination", [value])[0]
                ledger.add(ticks[some], numbers[domain[some]], np.full(int(some.sum()), code))
