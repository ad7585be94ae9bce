"""The masking verdict: do the mail servers behind a balancer see their clients' addresses, or the balancer's?

    judge = Judge()
    judge.add(batch)                    # finished sessions: a RecordBatch with the columns READS (and
    `events`) document = judge.document(signals)  # `pipeline.Result.signals`; the document of `logscope
    masking -o json` exit_status(document)               # 0 passed, 1 a finding, 3 nothing could be judged
    missing(document)                   # sentences: which log or line is missing

The document is `{"verdict", "targets": [...]}`. A target is a server of a backend for the clients of one
frontend and address family, with the listener that its sessions reach; it has a verdict with its cause,
confidence (0 to 1), counts, example lines (where the batches have `events`) and what to change. The overall
verdict is the common one of the targets that could be judged, otherwise `mixed`, and `unknown` where none
could.

The `evidence` of a target has, besides counts: `states` (what held from when to when), `ongoing`,
`began_after` (the reload or start before), `peers` (addresses that the mail server saw in its clients'
place), `consequences`, `signs`, `examples` (lines), and `configured` (what the configurations given say,
with their lines).

Evidence, strongest first: sessions joined by the client's address and port (passed), by the balancer's own
port or by the text of a PROXY header (not passed); sessions of the balancer's address at the mail server that
begin and end with balancer sessions which nothing else explains; lines about headers that never came. Health
checks, clients that come past the balancer, and addresses that both logs name are never masking.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa

from logscope.arrow import together
from logscope.detect.account import Account
from logscope.detect.configured import add_configuration, from_configuration
from logscope.detect.consequences import Consequences
from logscope.detect.effects import total
from logscope.detect.migration import step_of, visible
from logscope.detect.relayed import DELIVERIES, Relays
from logscope.detect.relayed import SESSIONS as MAIL
from logscope.detect.remedies.chosen import add_plan
from logscope.detect.signals import Signals
from logscope.detect.tally import READS, Tally
from logscope.detect.targets import targets
from logscope.detect.unjudged import unreached, without_targets
from logscope.detect.verdict import Verdict
from logscope.errors import ExitCode
from logscope.site import Site

__all__ = [
    "DELIVERIES",
    "FAILURES",
    "MAIL",
    "READS",
    "VERDICTS",
    "Judge",
    "exit_status",
    "missing",
    "of_configuration",
    "with_configuration",
]

VERDICTS = ("passed", "masked", "masked_upstream", "mixed", "unexpected_header", "missing_header", "unknown")


_HAS_MAIL = frozenset(MAIL)
_LOOKED_AT = {*READS, *MAIL, "events"}
_AT_ONCE = 1 << 14  # sessions


class Judge:
    """Takes in finished sessions, then judges. Memory grows with the number of targets, and to a bound with
    mail that was brought without a login.

    Args:
        site: what the configurations say, if any were given.
    """

    def __init__(self, site: Site | None = None) -> None:
        self._site = site or Site()
        self._tally = Tally()
        self._relays = Relays(self._site.domains)
        self._waiting: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of the `sessions` table with at least the columns `READS`."""
        self._waiting.append(batch.select([name for name in batch.schema.names if name in _LOOKED_AT]))
        if sum(waiting.num_rows for waiting in self._waiting) >= _AT_ONCE:
            self._count()

    def _count(self) -> None:
        """Counting has a price for each batch, so small ones are counted together."""
        for batch in together(self._waiting):
            self._tally.add(batch)
            if _HAS_MAIL.issubset(batch.schema.names):
                self._relays.add_sessions(batch)

    def add_deliveries(self, batch: pa.RecordBatch) -> None:
        """Look at a batch of the `deliveries` table with at least the columns `DELIVERIES`; sessions must
        have `MAIL`, too, then."""
        self._relays.add_deliveries(batch)

    def migration(self, signals: Signals | None = None) -> dict[str, Any]:
        """`{"step_s", "migration": […]}`: of each target and step in time how many sessions there were, and
        in how many of them the mail server saw the client."""
        verdicts = self._verdicts(signals or Signals())
        step_s = step_of([one.course for one in verdicts])
        rows = [
            {**one.target.name._asdict(), "mta_host": one.target.node and one.target.node.mta_host, **step}
            for one in verdicts
            for step in visible(one.course, step_s)
        ]
        return {"step_s": step_s, "migration": sorted(rows, key=lambda row: int(row["at"]))}

    def _verdicts(self, signals: Signals) -> list[Verdict]:
        self._count()
        found = targets(self._tally, signals, self._site)
        return [Verdict(target, self._tally, signals) for target in found]

    def _accounts(self, signals: Signals) -> list[dict[str, Any]]:
        verdicts = self._verdicts(signals)
        seen = total(cell.seen_effects for cell in self._tally.cells.values())
        consequences = Consequences(signals, self._relays.by_peer(), self._site, seen)
        return [Account(verdict, consequences).document() for verdict in verdicts]

    def document(self, signals: Signals | None = None) -> dict[str, Any]:
        """The verdict, overall and by target.

        Args:
            signals: header lines that belong to no session, and who logged at all.
        """
        signals = signals or Signals()
        found = self._accounts(signals)
        found = found or without_targets(self._tally, signals, self._site)
        known = {(target["backend"], target["server"]) for target in found}
        found += unreached(known, self._tally, signals)
        return {"verdict": overall(found), "targets": found}


def overall(found: Iterable[Mapping[str, Any]]) -> str:
    """The common verdict of the targets that could be judged."""
    verdicts = {target["verdict"] for target in found} - {"unknown"}
    return verdicts.pop() if len(verdicts) == 1 else "mixed" if verdicts else "unknown"


def with_configuration(document: Mapping[str, Any], site: Site, texts: Mapping[str, str]) -> dict[str, Any]:
    """The document with what the configurations say, and steps that change them.

    Args:
        document: of the logs; its targets are changed.
        texts: the files of the configurations, by the names that the site has.
    """
    targets: list[dict[str, Any]] = document["targets"]
    add_configuration(targets, site)
    add_plan(targets, site, texts)
    return {**document, "verdict": overall(targets)}


def of_configuration(site: Site, texts: Mapping[str, str]) -> dict[str, Any]:
    """The document by configurations alone."""
    targets = from_configuration(site)
    add_plan(targets, site, texts)
    return {"verdict": overall(targets), "targets": targets}


FAILURES = (*(word for word in VERDICTS if word != "passed"), "open_relay")
"""What a run may be told to fail on."""


def exit_status(document: Mapping[str, Any], fail_on: Collection[str] = ()) -> ExitCode:
    """The exit status of `logscope masking`.

    Args:
        fail_on: of `FAILURES`, those of a target, of what holds there at last, or of the whole that are a
            finding; without any, whatever is not `passed` is one.
    """
    if fail_on:
        found = {document["verdict"], *(target["verdict"] for target in document["targets"])}
        for target in document["targets"]:
            found |= {one["kind"] for one in target["evidence"]["consequences"] if not one.get("suspected")}
            found |= {state["verdict"] for state in target["evidence"].get("states", ())[-1:]}
        if found & set(fail_on):
            return ExitCode.FINDING
    if document["verdict"] == "unknown":
        return ExitCode.NO_EVIDENCE
    return ExitCode.FINE if fail_on or document["verdict"] == "passed" else ExitCode.FINDING


def missing(document: Mapping[str, Any]) -> list[str]:
    """Which log or line is missing, a sentence each, for the targets that could not be judged."""
    causes = [target["cause"] for target in document["targets"] if target["verdict"] == "unknown"]
    return list(dict.fromkeys(causes))
