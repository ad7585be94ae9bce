"""Anomalies: what is unusual at a mail site, since when, why it is believed, and what to do.

    finder = Finder()
    finder.add("sessions", batch)       # and "messages", "deliveries": any order, any size
    report = finder.report()            # findings, and what was looked at and found to be in order

Sessions are counted by minute, place and what became of them (`gather`); counts are compared with what is
usual (`seasons`, `panels`) by one test (`cusum`); single clients and accounts are watched on their own
(`actors`), and clocks (`clocks`). The signs are then sorted by cause (`causes`), so that a failing server is
one finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import pyarrow as pa

from logscope.detect.anomalies.baseline import Baseline
from logscope.detect.anomalies.causes import sort
from logscope.detect.anomalies.explain import Cause
from logscope.detect.anomalies.facts import DELIVERY_READS, MESSAGE_READS, SESSION_READS
from logscope.detect.anomalies.findings import Finding, finding, findings
from logscope.detect.anomalies.gather import Gathered
from logscope.detect.anomalies.rules import Sensitivity
from logscope.detect.anomalies.signs import Watch

__all__ = ["READS", "Baseline", "Finder", "Finding", "Options", "Report"]

READS = {
    "sessions": (*SESSION_READS, "session_id", "events"),
    "messages": MESSAGE_READS,
    "deliveries": DELIVERY_READS,
}
"""Columns that are looked at, by table; those that are missing are taken as unknown."""


@dataclass(frozen=True)
class Options:
    """How to judge.

    Attributes:
        sensitivity: 1 as published; 2 believes on half the evidence, 0.5 on twice as much.
        allowed: addresses and networks whose doings are nobody's concern, such as monitoring hosts.
        maintenance: from when until when (ns since 1970) nothing is to be reported.
    """

    sensitivity: float = 1.0
    allowed: tuple[str, ...] = ()
    maintenance: tuple[tuple[int, int], ...] = ()


@dataclass
class Report:
    """What was found.

    Attributes:
        findings: the gravest first.
        ordinary: what looked unusual and is not, each as a finding, with the reason.
        rows: rows looked at, by table.
        span: first and last moment, ns since 1970; None where nothing was seen.
    """

    findings: list[Finding]
    ordinary: list[tuple[Finding, str]]
    rows: dict[str, int]
    span: tuple[int, int] | None
    baseline: Baseline = field(default_factory=Baseline)

    def document(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "findings": [one.document() for one in self.findings],
            "ordinary": [{"reason": reason, **_brief(one)} for one, reason in self.ordinary],
            "rows": self.rows,
            "baseline_days": round(self.baseline.days, 3),
        }


def _brief(one: Finding) -> dict[str, Any]:
    document = one.document()
    return {
        name: document[name]
        for name in ("kind", "scope", "since", "until", "observed", "expected", "measure")
    }


class Finder:
    """Takes in tables, then says what is unusual.

    Args:
        options: how to judge.
        baseline: what is usual; learnt from the tables themselves if not given.
    """

    def __init__(self, options: Options | None = None, baseline: Baseline | None = None) -> None:
        self._options = options or Options()
        self._baseline = baseline
        self._learnt: Baseline | None = None
        self._gathered = Gathered(known=baseline.known if baseline is not None else frozenset())

    def add(self, table: str, batch: pa.RecordBatch) -> None:
        """Take some rows of `sessions`, `messages` or `deliveries`."""
        self._gathered.add(table, batch)

    def forget(self, keep_s: int) -> None:
        """Keep only so many seconds of what was added."""
        self._gathered.forget(keep_s)

    @property
    def span_s(self) -> tuple[int, int]:
        """The first second that is known of, since 1970, and the one after the last."""
        sessions = self._gathered.sessions
        first, after = sessions.span()
        return first * sessions.tick_s, after * sessions.tick_s

    def report(self, last_s: int | None = None) -> Report:
        """What was unusual in all of it.

        Args:
            last_s: judge only so many seconds, by what the last report of all of it learnt to be usual: much
                less work. None: all.
        """
        gathered = self._gathered
        gathered.settle()
        first, after = gathered.sessions.span()
        tick = gathered.sessions.tick_s
        whole = last_s is None or self._learnt is None
        baseline = self._baseline or Baseline() if whole or self._learnt is None else self._learnt
        if after <= first:
            return Report([], [], gathered.rows, None, baseline)
        since_s = None if whole or last_s is None else float(after * tick - last_s)
        watch = Watch(gathered, Sensitivity(self._options.sensitivity), baseline, since_s)
        watch.advance()
        signs = watch.signs()
        wrong, in_order = sort(signs, allowance(self._options.allowed))
        found = [cause for cause in wrong if not self._in_maintenance(cause)]
        if whole:
            baseline.known = frozenset(gathered.regulars())
            self._learnt = baseline
        ordinary = [(finding(cause, signs), cause.ordinary) for cause in in_order]
        span = (first * tick * 1_000_000_000, after * tick * 1_000_000_000)
        return Report(findings(found, signs), ordinary, gathered.rows, span, baseline)

    def _in_maintenance(self, cause: Cause) -> bool:
        since = int(cause.since * 1e9)
        return any(start <= since < end for start, end in self._options.maintenance)


def allowance(allowed: Iterable[str]) -> Callable[[str], bool]:
    """Whether an address, or a network, is among those allowed.

    Raises:
        ValueError: an entry is neither an address nor a network.
    """
    networks = [ip_network(one, strict=False) for one in allowed]
    if not networks:
        return lambda _name: False

    def is_allowed(name: str) -> bool:
        try:
            first = ip_network(name, strict=False).network_address if "/" in name else ip_address(name)
        except ValueError:
            return False
        return any(first.version == network.version and first in network for network in networks)

    return is_allowed
