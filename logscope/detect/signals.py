"""What masking is judged by besides sessions: lines about headers, who logged when, and what was restarted.

A `Collector` looks at the scanned rows of one source; `merged` puts several sources' signals together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logscope import engine
from logscope.detect import address_lines
from logscope.detect.address_lines import AddressLines
from logscope.detect.header_lines import DIED, REFUSED, TOLD, Example, HeaderLines, reason_of
from logscope.engine import kernel
from logscope.grammar.catalogue import Catalogue
from logscope.grammar.rows import NULL, Rows

MOST_CHANGES = 4096
MOST_SERVERS = 4096
MOST_HEADERS = 4096
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
    skew_s: dict[tuple[str | None, str | None], float] = field(default_factory=dict)
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

    def add(
        self,
        rows: Rows,
        logged_at: NDArray[np.int64],
        source: str,
        first_line: int,
        *,
        machine_code: bool = False,
    ) -> None:
        """Look at one scanned chunk.

        Args:
            logged_at: the rows' times, ns since 1970 UTC; NULL without a stamp.
            source, first_line: where the rows were read.
        """
        look = engine.compiled(look_over) if machine_code else look_over
        covered = np.zeros((2, int(rows.host.max(initial=-1)) + 2, 3), np.int64)
        telling = np.empty(rows.count, np.int64)
        count = int(look(rows.template, rows.host, rows.pid, logged_at, self._tells, covered, telling))
        _cover(self.signals.balancer_hosts, rows, covered[0])
        _cover(self.signals.mail_hosts, rows, covered[1])
        for row in telling[:count].tolist():
            self._note(rows, row, int(logged_at[row]), source, first_line)

    def _note(self, rows: Rows, row: int, at: int, source: str, first_line: int) -> None:
        """Read one line that tells something."""
        kind = self._kinds[rows.template[row]]
        tells = int(self._tells[rows.template[row]])
        if tells & _SESSION:
            self._note_process(rows, row, at)
        if tells & _HEADER:
            self._note_header(rows, row, at, Example(source, first_line + row, rows.line(row)))
        if tells & _ADDRESS:
            self._note_address(rows, row, address_lines.KINDS[kind], source, first_line)
        if tells & _STATE:
            values = rows.values(row)
            key = values.get("backend"), values.get("server")
            if all(key) and (key in self.signals.servers or len(self.signals.servers) < MOST_SERVERS):
                self.signals.servers[values["backend"], values["server"]] = str(values.get("server_state"))
        if tells & _CHANGE and at != NULL and len(self.signals.happened) < MOST_CHANGES:
            self.signals.happened.add(Change(at, _host(rows, row), _HAPPENED[kind]))

    def _note_header(self, rows: Rows, row: int, at: int, example: Example) -> None:
        service = int(rows.service[row])
        key = (
            _meaning(self._kinds[rows.template[row]]),
            _host(rows, row),
            rows.names.text(service) if service >= 0 else None,
        )
        lines = self._found.get(key)
        if lines is None and len(self._found) >= MOST_HEADERS:
            return
        if lines is None:
            lines = self._found[key] = HeaderLines(*key)
            self.signals.lines.append(lines)
        kind = self._kinds[rows.template[row]]
        lines.add(None if at == NULL else at, int(rows.repeat_count[row]), example, kind)
        if lines.reasons.total() < MOST_REASONS:
            lines.reasons[reason_of(rows.values(row))] += 1

    def _note_address(self, rows: Rows, row: int, what: str, source: str, first_line: int) -> None:
        self._left[what] -= 1
        if self._left[what] == 0:  # such lines are passed over from here on
            alike = [address_lines.KINDS.get(kind) == what for kind in self._kinds]
            self._tells[:-2][alike] &= ~np.uint8(_ADDRESS)
        values = rows.values(row, address_lines.FIELDS)
        address = values.get("client_address")
        key = (what, _host(rows, row), str(address))
        known = self.signals.addresses
        if address and (key in known or len(known) < address_lines.MOST_ADDRESSES):
            lines = known.setdefault(key, AddressLines(*key))
            lines.add(values, int(rows.repeat_count[row]))
            if lines.wants_examples:
                lines.examples.append(Example(source, first_line + row, rows.line(row)))

    def _note_process(self, rows: Rows, row: int, at: int) -> None:
        key = _host(rows, row), int(rows.pid[row])
        processes = self.signals.processes
        if key not in processes and len(processes) < MOST_CHANGES:
            processes[key] = at


@kernel
def look_over(
    template: NDArray[np.int32],
    host: NDArray[np.int32],
    pid: NDArray[np.int64],
    logged_at: NDArray[np.int64],
    tells: NDArray[np.uint8],
    covered: NDArray[np.int64],
    telling: NDArray[np.int64],
) -> int:
    """Find out what each host's lines cover, and which rows tell more than that; returns how many do.

    Args:
        tells: by template, see `_tells`.
        covered: of balancers and of mail servers, for each host's code (after a place for no host): whether
            there were lines without a stamp (bit 0) and with one (bit 1), and the first and last stamp.
        telling: filled with the rows.
    """
    count = 0
    process = -1
    process_host = -2
    for row in range(len(template)):
        if template[row] < 0:
            continue
        what = tells[template[row]]
        at = logged_at[row]
        side = 0 if what & _BALANCER else 1
        place = host[row] + 1
        if at == NULL:
            covered[side, place, 0] |= 1
        elif covered[side, place, 0] < 2:
            covered[side, place, 0] |= 2
            covered[side, place, 1] = at
            covered[side, place, 2] = at
        elif at < covered[side, place, 1]:
            covered[side, place, 1] = at
        elif at > covered[side, place, 2]:
            covered[side, place, 2] = at
        tell = what & (_STATE | _CHANGE | _HEADER | _ADDRESS) != 0
        if what & _SESSION and at != NULL and (pid[row] != process or host[row] != process_host):
            process = pid[row]
            process_host = host[row]
            tell = True
        if tell:
            telling[count] = row
            count += 1
    return count


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


def _cover(hosts: dict[str | None, Covered], rows: Rows, found: NDArray[np.int64]) -> None:
    """Widen what each host's lines cover by what was found in some rows."""
    for place in np.flatnonzero(found[:, 0]).tolist():
        kinds, first, last = found[place].tolist()
        covered = Covered(first, last) if kinds & 2 else NEVER
        host = rows.names.text(place - 1) if place else None
        hosts[host] = hosts.get(host, NEVER).join(covered)
