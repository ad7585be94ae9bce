"""Lines that tell of a PROXY header and belong to no session, and which hosts wrote logs of which kind.

A mail server that waits for a header in vain logs `haproxy read: …` without an address (postscreen(8),
postscreen_upstream_proxy_timeout in postconf(5)), so no join can place the line; only how many there were,
where and when counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from logscope.grammar.catalogue import Catalogue
from logscope.grammar.rows import NULL, Rows

NOT_WANTED, REFUSED, TOLD = range(3)
"""What a line says: nothing of headers; a header was missing or bad; a header came that was taken for
mail."""

MOST_TIMES = 4096
MOST_EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """A line, and where it stands."""

    source: str
    line_number: int
    text: str


@dataclass
class HeaderLines:
    """The lines of one meaning that one listener of one host wrote.

    Attributes:
        meaning: REFUSED or TOLD.
        count: lines, each as often as it says that it was repeated.
        first_at, last_at: ns since 1970; None without stamps.
        times: of the first lines, ns since 1970, one for each repetition.
    """

    meaning: int
    mta_host: str | None
    service: str | None
    count: int = 0
    first_at: int | None = None
    last_at: int | None = None
    times: list[int] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)

    def add(self, at: int | None, repeats: int, example: Example) -> None:
        """Count one line."""
        self.count += repeats
        if at is not None:
            self.first_at = at if self.first_at is None else min(self.first_at, at)
            self.last_at = at if self.last_at is None else max(self.last_at, at)
            self.times += [at] * min(repeats, MOST_TIMES - len(self.times))
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(example)

    def join(self, other: HeaderLines) -> None:
        """Count what was gathered from another source."""
        self.count += other.count
        self.first_at = min((at for at in (self.first_at, other.first_at) if at is not None), default=None)
        self.last_at = max((at for at in (self.last_at, other.last_at) if at is not None), default=None)
        self.times = sorted(self.times + other.times)[:MOST_TIMES]
        self.examples = (self.examples + other.examples)[:MOST_EXAMPLES]


@dataclass
class Signals:
    """What no session tells.

    Attributes:
        lines: by listener and meaning.
        mail_hosts, balancer_hosts: hosts that wrote lines of Postfix, and of HAProxy; None among them for
            lines without a host.
        servers: what HAProxy last said of a server's state, by backend and server.
    """

    lines: list[HeaderLines] = field(default_factory=list)
    mail_hosts: set[str | None] = field(default_factory=set)
    balancer_hosts: set[str | None] = field(default_factory=set)
    servers: dict[tuple[str, str], str] = field(default_factory=dict)


class Collector:
    """Gathers the signals of one source. Memory is bounded by the number of listeners."""

    def __init__(self, catalogue: Catalogue) -> None:
        kinds = [template.kind for template in catalogue.templates] + [""]  # the last is that of no template
        self._meaning = np.array([_meaning(kind) for kind in kinds], np.int8)
        self._balancers = np.array([kind.startswith("haproxy.") for kind in kinds])
        self._states = np.array([kind == "haproxy.server_state" for kind in kinds])
        self._found: dict[tuple[int, str | None, str | None], HeaderLines] = {}
        self._servers: dict[tuple[str, str], str] = {}
        self._mail_hosts: set[str | None] = set()
        self._balancer_hosts: set[str | None] = set()

    def add(self, rows: Rows, logged_at: NDArray[np.int64], source: str, first_line: int) -> None:
        """Look at one scanned chunk.

        Args:
            logged_at: the rows' times, ns since 1970 UTC; NULL without a stamp.
            source, first_line: where the rows were read.
        """
        if not rows.count:
            return
        known = rows.template >= 0
        template = np.where(known, rows.template, -1)
        balancer = self._balancers[template]
        self._balancer_hosts |= _hosts(rows, balancer)
        self._mail_hosts |= _hosts(rows, known & ~balancer)
        for row in np.flatnonzero(self._meaning[template]).tolist():
            host, service = int(rows.host[row]), int(rows.service[row])
            key = (
                int(self._meaning[template[row]]),
                rows.names.text(host) if host >= 0 else None,
                rows.names.text(service) if service >= 0 else None,
            )
            at = int(logged_at[row])
            example = Example(source, first_line + row, rows.line(row))
            self._found.setdefault(key, HeaderLines(*key)).add(
                None if at == NULL else at, int(rows.repeat_count[row]), example
            )
        for row in np.flatnonzero(self._states[template]).tolist():
            values = rows.values(row)
            if values.get("backend") and values.get("server"):
                self._servers[values["backend"], values["server"]] = str(values.get("server_state"))

    @property
    def signals(self) -> Signals:
        """What was gathered so far."""
        return Signals(list(self._found.values()), self._mail_hosts, self._balancer_hosts, self._servers)


def merged(parts: Iterable[Signals]) -> Signals:
    """The signals of several sources as those of one."""
    result = Signals()
    found: dict[tuple[int, str | None, str | None], HeaderLines] = {}
    for part in parts:
        result.mail_hosts |= part.mail_hosts
        result.balancer_hosts |= part.balancer_hosts
        result.servers |= part.servers
        for lines in part.lines:
            key = (lines.meaning, lines.mta_host, lines.service)
            found.setdefault(key, HeaderLines(*key)).join(lines)
    result.lines = [found[key] for key in sorted(found, key=str)]
    return result


def _meaning(kind: str) -> int:
    if kind.endswith(".haproxy_error"):
        return REFUSED
    return TOLD if kind.endswith(("_proxy_v1", "_proxy_v2")) else NOT_WANTED


def _hosts(rows: Rows, mask: NDArray[np.bool_]) -> set[str | None]:
    """Names of the hosts of some rows."""
    seen = np.zeros(len(rows.names) + 1, np.bool_)
    seen[rows.host[mask]] = True  # no host is code -1, the last place
    codes = np.flatnonzero(seen[:-1]).tolist()
    return {rows.names.text(code) for code in codes} | ({None} if seen[-1] else set())
