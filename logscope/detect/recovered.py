"""The clients that masked sessions were of, as far as the joins could tell, and what they meet once they
are seen.

A client is recovered from the balancer's own port in both logs (exact), from a PROXY header that was logged
as if it were mail (exact), or by when sessions began and ended (with a probability).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logscope.correlate.layout import NULL, SECOND
from logscope.detect.effects import DENYLISTED, LISTED, REFUSED_BY_LIST, Marks
from logscope.detect.effects import READS as MARKS
from logscope.site import MailServer, Site
from logscope.site.access import PERMIT, AccessLists, Decision, tables

SESSIONS = (
    *MARKS, "client_address", "client_known_from", "masked", "links", "frontend", "mta_host", "accepted_at",
    "mta_connected_at", "ended_at",
)  # fmt: skip
"""Columns that are read."""
METHODS = ("backend_port", "header_text", "timing")
"""Ways in which a masked client is known, the surest first (`client_known_from`)."""
MOST_TIMES = 1 << 20
"""Sessions whose times are kept, to tell how many a client has at once."""
_MINUTE = 60 * SECOND


@dataclass
class Client:
    """A client that was masked.

    Attributes:
        sessions: masked ones that are known to be its.
        methods: how each is known.
        probability: of the least sure of them.
        expected: how many are its, by the probabilities.
        first, last: ns since 1970 of the first and the last begin.
        frontends, mta_hosts: where.
        at_once, a_minute: most sessions open at one moment, and begun within a minute; as far as times were
            kept.
        against_it: what is held against the same client where it is seen: effects' kinds.
    """

    address: str
    sessions: int = 0
    methods: Counter[str] = field(default_factory=Counter)
    probability: float = 1.0
    expected: float = 0.0
    first: int | None = None
    last: int | None = None
    frontends: set[str] = field(default_factory=set)
    mta_hosts: set[str] = field(default_factory=set)
    at_once: int = 0
    a_minute: int = 0
    against_it: tuple[str, ...] = ()


class Recovered:
    """Gathers them from the table of sessions."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._against: dict[str, set[str]] = {}
        self._times: list[tuple[list[str], NDArray[np.int64]]] = []
        self._kept = 0
        self.masked = 0
        """Sessions in which the mail server is known to have seen the balancer."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at a batch with at least the columns `SESSIONS`."""
        masked = _true(batch.column("masked"))
        self.masked += int(
            np.count_nonzero(masked & np.asarray(pc.is_valid(batch.column("mta_connected_at"))))
        )
        self._note_seen(batch)
        methods = batch.column("client_known_from").cast(pa.string())
        known = np.asarray(pc.is_in(methods, pa.array(METHODS)))
        some = batch.filter(
            pa.array(masked & known & np.asarray(pc.is_valid(batch.column("client_address"))))
        )
        if some.num_rows:
            self._note_masked(some)

    def clients(self) -> list[Client]:
        """All of them, those with most sessions first."""
        self._find_peaks()
        for address, against in self._against.items():
            if address in self._clients:
                self._clients[address].against_it = tuple(sorted(against))
        return sorted(self._clients.values(), key=lambda one: (-one.sessions, one.address))

    def _note_seen(self, batch: pa.RecordBatch) -> None:
        """What lists hold against clients that are seen."""
        seen = _true(pc.invert(batch.column("masked")))
        if not seen.any():
            return
        marks = Marks(batch)
        for kind in (DENYLISTED, LISTED, REFUSED_BY_LIST):
            places = np.flatnonzero(seen & marks.by_kind[kind])
            for address in pc.unique(_texts(batch, "client_address").take(places)).to_pylist():
                if address is not None:
                    self._against.setdefault(address, set()).add(kind)

    def _note_masked(self, some: pa.RecordBatch) -> None:
        probable = _probabilities(some.column("links"))
        addresses = _texts(some, "client_address").to_pylist()
        columns = [_texts(some, name).to_pylist() for name in ("client_known_from", "frontend", "mta_host")]
        began = _times(some, "accepted_at", "mta_connected_at")
        for row, address in enumerate(addresses):
            client = self._clients.setdefault(address, Client(address))
            method, frontend, host = (column[row] for column in columns)
            client.sessions += 1
            client.methods[method] += 1
            client.probability = min(client.probability, float(probable[row]))
            client.expected += float(probable[row])
            client.frontends.update([frontend] if frontend else ())
            client.mta_hosts.update([host] if host else ())
            if (at := int(began[row])) != NULL:
                client.first = at if client.first is None else min(client.first, at)
                client.last = at if client.last is None else max(client.last, at)
        if self._kept < MOST_TIMES:
            self._kept += len(addresses)
            self._times.append((addresses, np.stack([began, _times(some, "ended_at")], axis=1)))

    def _find_peaks(self) -> None:
        by_client: dict[str, list[NDArray[np.int64]]] = {}
        for addresses, times in self._times:
            for address, both in zip(addresses, times, strict=True):
                if both[0] != NULL and both[1] != NULL:
                    by_client.setdefault(address, []).append(both)
        for address, found in by_client.items():
            client = self._clients[address]
            client.at_once, client.a_minute = _peaks(np.array(found))


def _peaks(times: NDArray[np.int64]) -> tuple[int, int]:
    """Most intervals open at one moment, and most begun within a minute."""
    starts, ends = np.sort(times[:, 0]), np.sort(times[:, 1])
    numbers = np.arange(1, len(starts) + 1)
    at_once = int((numbers - np.searchsorted(ends, starts, side="right")).max())
    a_minute = int((numbers - np.searchsorted(starts, starts - _MINUTE, side="right")).max())
    return max(1, at_once), a_minute


def rows(clients: list[Client]) -> Iterator[Mapping[str, Any]]:
    """For tables and documents; times are ns since 1970."""
    for one in clients:
        yield {
            "client": one.address,
            "sessions": one.sessions,
            "known_from": [method for method in METHODS if one.methods[method]],
            "probability": round(one.probability, 4),
            "expected_sessions": round(one.expected, 2),
            "first_seen": one.first,
            "last_seen": one.last,
            "frontends": sorted(one.frontends),
            "mta_hosts": sorted(one.mta_hosts),
            "at_once": one.at_once,
            "a_minute": one.a_minute,
            "against_it": list(one.against_it),
        }


def _true(column: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(column, False))


def _texts(batch: pa.RecordBatch, name: str) -> pa.Array:
    return batch.column(name).cast(pa.string())


def _times(batch: pa.RecordBatch, *names: str) -> NDArray[np.int64]:
    """The first of these columns that is known; NULL where none is."""
    columns = [batch.column(name).cast(pa.int64()) for name in names]
    return np.asarray(pc.fill_null(pc.coalesce(*columns), NULL))


def _probabilities(links: pa.Array) -> NDArray[np.float64]:
    """How surely each row's client is its own: the probability of the link between the balancer and a mail
    server. Exact ones have none and are certain; what the mail server's lines belong to is another question.
    """
    found = np.ones(len(links))
    flat = links.flatten()
    if len(flat):
        lengths = np.asarray(pc.fill_null(pc.list_value_length(links), 0))
        owners = np.repeat(np.arange(len(links)), lengths)
        own = np.flatnonzero(_true(pc.equal(flat.field("from").cast(pa.string()), "balancer")))
        said = np.asarray(pc.fill_null(flat.field("probability"), 1.0))
        np.minimum.at(found, owners[own], said[own])
    return found


_CONCURRENCY, _RATE = "smtpd_client_connection_count_limit", "smtpd_client_connection_rate_limit"
_USUAL = {_CONCURRENCY: 50, _RATE: 0}
"""postconf(5); 0 is no limit."""
MOST_NAMED = 20


def unmasking(
    clients: list[Client], site: Site, texts: Mapping[str, str] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """What the recovered clients will meet once the mail servers see them, by what the logs held against them
    elsewhere, and by the lists and limits configured: `kind`, `count`, `text`, `clients`.

    Args:
        texts: of the tables that the configuration names (`site.access.tables`), by name.
    """
    found = []
    held = {
        DENYLISTED: "postscreen's denylist has",
        LISTED: "DNS blocklists have",
        REFUSED_BY_LIST: "smtpd's DNS blocklists refuse",
    }
    for kind, what in held.items():
        some = [one for one in clients if kind in one.against_it]
        text = f"{what} {_clients(some)}: so these logs say of sessions in which they were seen."
        found.append(_met(kind, some, text))
    for configured in site.mail_servers:
        found += _by_lists(clients, AccessLists(configured, texts))
    for server in site.mail_servers or (None,):
        for name, what in ((_CONCURRENCY, "at_once"), (_RATE, "a_minute")):
            limit, where = _limit(server, name)
            some = [one for one in clients if limit and getattr(one, what) > limit]
            doing = "open more sessions at once" if what == "at_once" else "begin more sessions a minute"
            found.append(
                _met("limits", some, f"{_clients(some)} {doing} than {name} = {limit} allows{where}.")
            )
    found += _not_known(clients, site, texts)
    return [one for one in found if one["count"]]


def _not_known(clients: list[Client], site: Site, texts: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Lists that decide on these clients, too, and that were not given."""
    if not site.mail_servers:
        text = (
            f"What the lists in force say of {_clients(clients)} is not known: --postfix-config names them."
        )
        yield {"kind": "not_known", "count": len(clients), "text": text, "clients": []}
    for server in site.mail_servers:
        missing = sorted({name for name in tables(server) if name not in texts})
        if missing:
            absent = "files are" if len(missing) > 1 else "file is"
            text = (
                f"What {', '.join(missing)} would say on {server.name} is not known: the {absent} not there. "
                f"Tables beside main.cf are held against {_clients(clients)}, too."
            )
            yield {"kind": "not_known", "count": len(clients), "text": text, "clients": []}


_LISTED = {
    "mynetworks": "is trusted, and may relay",
    "postscreen_access_list": "is let in untested by postscreen",
}


def _by_lists(clients: list[Client], lists: AccessLists) -> list[dict[str, Any]]:
    """What the lists of one mail server say of them, entry by entry."""
    met: dict[Decision, list[Client]] = {}
    for one in clients:
        for decision in lists.decisions(one.address):
            met.setdefault(decision, []).append(one)
    return [
        _met(
            "allowed" if decision.verdict == PERMIT else "refused",
            some,
            f"on {lists.server.name} {_clients(some)} will meet {decision.entry} in {decision.parameter}: "
            f"who is there {_what_follows(decision)}.",
        )
        for decision, some in met.items()
    ]


def _what_follows(decision: Decision) -> str:
    refused = "is refused" if decision.verdict != PERMIT else "passes that list"
    return _LISTED.get(decision.parameter, refused) if decision.verdict == PERMIT else refused


def _limit(server: MailServer | None, name: str) -> tuple[int, str]:
    value = server.parameters.get(name, "") if server else ""
    if server is None:
        return _USUAL[name], " (Postfix's own value; --postfix-config tells yours)"
    return (int(value) if value.isdecimal() else _USUAL[name]), f" on {server.name}"


def _clients(some: list[Client]) -> str:
    return "1 client" if len(some) == 1 else f"{len(some)} clients"


def _met(kind: str, some: list[Client], text: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "count": len(some),
        "text": text[:1].upper() + text[1:],
        "clients": [one.address for one in some[:MOST_NAMED]],
    }
