"""Anomalies of a run that goes on: the same findings as of the finished tables, as soon as they are known.

What was gathered is judged anew now and then, as if it were all there is; what was not told yet is news. So
a live run and a batch run find the same, and all that a live run has to remember is what it has told.
History is kept for some days, which is what the season of a week needs. What is usual changes slowly: between
two looks at all of it only the last hours are judged, by what was learnt, which is little work.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from logscope.detect.anomalies import Baseline, Finder, Finding, Options, Report

HISTORY_S = 9 * 86_400
"""What is older is forgotten: a week for the season, and a bit."""
RECENT_S = 6 * 3600
"""What is judged when not all of it is."""
_LEARN_AGAIN = 24
"""All of it is judged when it has grown by this part, but …"""
_LEARN_AGAIN_S = (600, 3 * 3600)
"""… not sooner, nor later than this."""
_SAME_NS = 1800 * 1_000_000_000
_MOST_TOLD = 1000
_HINDSIGHT_NS = 600 * 1_000_000_000


@dataclass(frozen=True)
class News:
    """Something to tell.

    Attributes:
        finding: what was found.
        over: it has been told before, and is over now.
    """

    finding: Finding
    over: bool = False


class LiveFinder:
    """Takes in tables as they come, and says what is new.

    Args:
        options: how to judge.
        baseline: what is usual; learnt from what came so far if not given.

    Attributes:
        since: what was known before this time (ns since 1970) is no news; None: all is.
        findings: what was found when it was judged last.
    """

    def __init__(self, options: Options | None = None, baseline: Baseline | None = None) -> None:
        self._finder = Finder(options, baseline)
        self.since: int | None = None
        self._told: list[Finding] = []
        self._looked_until = 0
        self._learnt_at = 0
        self._is_seasoned = False
        self.findings: list[Finding] = []

    def add(self, table: str, batch: pa.RecordBatch) -> None:
        """Take some rows of `sessions`, `messages` or `deliveries`."""
        self._finder.add(table, batch)

    def look(self) -> list[News]:
        """Judge what came so far; what has not been told yet, the gravest first."""
        self._finder.forget(HISTORY_S)
        report = self._judged()
        self.findings = report.findings
        fresh = max(self.since or 0, self._looked_until - _HINDSIGHT_NS)
        self._looked_until = report.span[1] if report.span is not None else 0
        news = []
        for finding in self.findings:
            told = next((n for n, one in enumerate(self._told) if _same(one, finding)), None)
            if told is not None:
                if finding.until is not None and self._told[told].until is None:
                    news.append(News(finding, over=True))
                self._told[told] = finding
            elif finding.detected_at > fresh:  # what only looks otherwise with hindsight is no news
                news.append(News(finding))
                self._told.append(finding)
        del self._told[:-_MOST_TOLD]
        return news

    def _judged(self) -> Report:
        """Findings of all of it, or of the last hours."""
        first_s, after_s = self._finder.span_s
        known_s = after_s - first_s
        soonest, latest = _LEARN_AGAIN_S
        due = self._learnt_at + min(max(known_s // _LEARN_AGAIN, soonest), latest)
        # who does not know night from day would take every morning for a shift
        if not self._is_seasoned or not self._learnt_at <= after_s < due:
            self._learnt_at = after_s
            report = self._finder.report()
            self._is_seasoned = report.baseline.is_seasoned
            return report
        return self._finder.report(RECENT_S)


def _same(told: Finding, found: Finding) -> bool:
    """Whether two findings are one: with more evidence its beginning may move."""
    if (told.kind, told.scope) != (found.kind, found.scope):
        return False
    end = told.until if told.until is not None else found.since
    return told.since - _SAME_NS <= found.since <= end + _SAME_NS
