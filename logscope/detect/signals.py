"""What masking is judged by besides sessions: lines about headers, who logged when, and what was restarted.

A `Collector` looks at the scanned rows of one source; `merged` puts several sources' signals together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logscope.detect import address_lines
from logscope.detect.address_lines import AddressLines
from logscope.detect.header_lines import DIED, REFUSED, TOLD, Example, HeaderLines, reason_of
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.rows import NULL, Rows

MOST_CHANGES = 4096
MOST_REASONS = 1000
"""Lines about headers that are read for why, of each listener."""
_MINUTE = 60 * 10**9

_HAPPENED = {
    "haproxy.proxy_state": "HAProxy was reloaded",  # the old process stops its proxies
    "haproxy.process": "HAProxy was reloaded",
    "master.started": "Postfix was started",
    "master.reloaded": "Postfix was reloaded",
}
_NEW_PROCESS = "HAProxy was reloaded"
_BALANCER, _MAIL, _SESSION, _STATE, _CHANGE, _HEADER, _ADDRESS = (1 << bit for bit in range(7))
_NONE = np.empty(0, np.intp)


class Change(NamedTuple):
    """A daemon was started or reloaded: ns since 1970, where, and what in words."""

    at: int
    host: str | None
    what: str


@dataclass
class Signals:
    """What no session tells.

    Attributes:
        lines: about headers, by listener and meaning.
        mail_hosts, balancer_hosts: hosts that wrote lines of Postfix, and of HAProxy; None among them for
            lines without a host. Each with the first and last time of such lines, ns since 1970.
        servers: what HAProxy last said of a server's state, by backend and server.
        skew_s: seconds by which a mail server's clock is ahead of a balancer's, by pair of host names.
        processes: HAProxy's processes by host and number, and when each logged a session first.
        happened: starts and reloads that lines tell of.
        addresses: what was held against an address, or for it, by what it is, host and address.
    """

    lines: list[HeaderLines] = field(default_factory=list)
    mail_hosts: dict[str | None, Covered] = field(default_factory=dict)
    balancer_hosts: dict[str | None, Covered] = field(default_factory=dict)
    servers: dict[tuple[str, str], str] = field(default_factory=dict)
    skew_s: dict[tuple[str, str], float] = field(default_factory=dict)
    processes: dict[tuple[str | None, int], int] = field(default_factory=dict)
    happened: set[Change] = field(default_factory=set)
    addresses: dict[tuple[str, str | None, str], AddressLines] = field(default_factory=dict)

    @property
    def changes(self) -> list[Change]:
        """Starts and reloads in order of time; what several lines tell within a minute is one."""
        changes: list[Change] = []
        for change in sorted({*self.happened, *self._new_processes()}, key=lambda one: one.at):
            near = [one for one in changes if change.at - one.at <= _MINUTE]
            if not any((one.host, one.what) == (change.host, change.what) for one in near):
                changes.append(change)
        return changes

    def _new_processes(self) -> Iterator[Change]:
        """A process that logs its first session after another did."""
        began: dict[str | None, int] = {}
        for (host, _), at in self.processes.items():
            began[host] = min(at, began.get(host, at))
        for (host, _), at in self.processes.items():
            if at > began[host]:
                yield Change(at, host, _NEW_PROCESS)


class Covered(NamedTuple):
    """When a log's first and last line were logged: ns since 1970, None where lines have no stamp."""

    first: int | None
    last: int | None

    def join(self, other: Covered) -> Covered:
        """Both together."""
        firsts = [at for at in (self.first, other.first) if at is not None]
        lasts = [at for at in (self.last, other.last) if at is not None]
        return Covered(min(firsts, default=None), max(lasts, default=None))


NEVER = Covered(None, None)


class Collector:
    """Gathers the signals of one source. Memory is bounded by the number of listeners and hosts."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._kinds = [template.kind for template in catalogue.templates]
        # Two more for rows of no template, whose numbers are negative.
        self._tells = np.array([_tells(kind) for kind in self._kinds] + [0, 0], np.uint8)
        self._left = dict(address_lines.MOST_LOOKED_AT)
        self._found: dict[tuple[int, str | None, str | None], HeaderLines] = {}
        self.signals = Signals()
        """What was gathered so far."""

    def add(self, rows: Rows, logged_at: NDArray[np.int64], source: str, first_line: int) -> None:
        """Look at one scanned chunk.

        Args:
            logged_at: the rows' times, ns since 1970 UTC; NULL without a stamp.
            source, first_line: where the rows were read.
        """
        tells = self._tells[rows.template]
        occurring = int(np.bitwise_or.reduce(tells, initial=0))

        def telling(what: int) -> NDArray[np.intp]:
            return np.flatnonzero(tells & what) if occurring & what else _NONE

        _cover(self.signals.balancer_hosts, rows, logged_at, telling(_BALANCER))
        _cover(self.signals.mail_hosts, rows, logged_at, telling(_MAIL))
        self._note_processes(rows, logged_at, telling(_SESSION))
        for row in telling(_HEADER).tolist():
            self._note_header(
                rows, row, int(logged_at[row]), Example(source, first_line + row, rows.line(row))
            )
        self._note_addresses(rows, telling(_ADDRESS), source, first_line)
        for row in telling(_STATE).tolist():
            values = rows.values(row)
            if values.get("backend") and values.get("server"):
                self.signals.servers[values["backend"], values["server"]] = str(values.get("server_state"))
        for row in telling(_CHANGE).tolist():
            what = _HAPPENED[self._kinds[rows.template[row]]]
            if logged_at[row] != NULL and len(self.signals.happened) < MOST_CHANGES:
                self.signals.happened.add(Change(int(logged_at[row]), _host(rows, row), what))

    def _note_header(self, rows: Rows, row: int, at: int, example: Example) -> None:
        service = int(rows.service[row])
        key = (
            _meaning(self._kinds[rows.template[row]]),
            _host(rows, row),
            rows.names.text(service) if service >= 0 else None,
        )
        lines = self._found.get(key)
        if lines is None:
            lines = self._found[key] = HeaderLines(*key)
            self.signals.lines.append(lines)
        kind = self._kinds[rows.template[row]]
        lines.add(None if at == NULL else at, int(rows.repeat_count[row]), example, kind)
        if lines.reasons.total() < MOST_REASONS:
            lines.reasons[reason_of(rows.values(row))] += 1

    def _note_addresses(self, rows: Rows, some: NDArray[np.intp], source: str, first_line: int) -> None:
        for template in np.unique(rows.template[some]).tolist():
            what = address_lines.KINDS[self._kinds[template]]
            looked_at = some[rows.template[some] == template][: self._left[what]]
            self._left[what] -= len(looked_at)
            for row in looked_at.tolist():
                values = rows.values(row)
                address = values.get("client_address")
                key = (what, _host(rows, row), str(address))
                known = self.signals.addresses
                if address and (key in known or len(known) < address_lines.MOST_ADDRESSES):
                    example = Example(source, first_line + row, rows.line(row))
                    known.setdefault(key, AddressLines(*key)).add(
                        values, int(rows.repeat_count[row]), example
                    )

    def _note_processes(self, rows: Rows, logged_at: NDArray[np.int64], sessions: NDArray[np.intp]) -> None:
        some = sessions[logged_at[sessions] != NULL]
        changed = np.ones(len(some), np.bool_)
        changed[1:] = (np.diff(rows.pid[some]) != 0) | (np.diff(rows.host[some]) != 0)
        for row in some[changed].tolist():
            key = _host(rows, row), int(rows.pid[row])
            processes = self.signals.processes
            if key not in processes and len(processes) < MOST_CHANGES:
                processes[key] = int(logged_at[row])


def merged(parts: Iterable[Signals]) -> Signals:
    """The signals of several sources as those of one."""
    result = Signals()
    found: dict[tuple[int, str | None, str | None], HeaderLines] = {}
    for part in parts:
        for hosts, more in (
            (result.mail_hosts, part.mail_hosts),
            (result.balancer_hosts, part.balancer_hosts),
        ):
            for host, covered in more.items():
                hosts[host] = hosts.get(host, NEVER).join(covered)
        result.servers |= part.servers
        result.skew_s |= part.skew_s
        result.happened |= part.happened
        for process, at in part.processes.items():
            result.processes[process] = min(at, result.processes.get(process, at))
        for told in part.addresses.values():
            result.addresses.setdefault(told.key, AddressLines(*told.key)).join(told)
        for lines in part.lines:
            key = (lines.meaning, lines.mta_host, lines.service)
            found.setdefault(key, HeaderLines(*key)).join(lines)
    result.lines = [found[key] for key in sorted(found, key=str)]
    return result


def _tells(kind: str) -> int:
    """What lines of a kind tell, as bits."""
    return (
        (_BALANCER if kind.startswith("haproxy.") else _MAIL)
        | _SESSION * (kind == "haproxy.tcp_session")
        | _STATE * (kind == "haproxy.server_state")
        | _CHANGE * (kind in _HAPPENED)
        | _HEADER * (_meaning(kind) != 0)
        | _ADDRESS * (kind in address_lines.KINDS)
    )


def _meaning(kind: str) -> int:
    if kind.endswith(".haproxy_error"):
        return REFUSED
    if kind == "smtpd.client_address_error":
        return DIED
    return TOLD if kind.endswith(("_proxy_v1", "_proxy_v2")) else 0


def _host(rows: Rows, row: int) -> str | None:
    code = int(rows.host[row])
    return rows.names.text(code) if code >= 0 else None


def _cover(
    hosts: dict[str | None, Covered], rows: Rows, logged_at: NDArray[np.int64], some: NDArray[np.intp]
) -> None:
    """Widen what each host's lines cover."""
    codes, times = rows.host[some], logged_at[some]
    for code in (np.flatnonzero(np.bincount(codes + 1)) - 1).tolist():
        own = times[(codes == code) & (times != NULL)]
        covered = Covered(int(own.min()), int(own.max())) if len(own) else NEVER
        host = rows.names.text(code) if code >= 0 else None
        hosts[host] = hosts.get(host, NEVER).join(covered)
