"""`logscope tail --anomalies`: what is unusual, told as soon as it is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from logscope.report.text import visible

if TYPE_CHECKING:
    from logscope.cli.alerts import Alerts
    from logscope.detect.anomalies.live import LiveFinder, News
    from logscope.live import Live

EVERY_S = 10.0
"""How often it is judged, at most; …"""
_SHARE = 0.04
"""… and so seldom that judging takes no more than this part of what all else costs the processor, but …"""
LATEST_S = 120.0
"""… no more seldom than this."""


class Unusual:
    """Looks at what a live run hands out; beside the view, and with its methods.

    Args:
        finder: takes in the tables.
        tell: takes remarks for the user.
        alerts: told of each finding; None for nobody.
    """

    wants_evidence = False
    wants_signals = False
    rest_s = 1.0

    def __init__(self, finder: LiveFinder, tell: Callable[[str], None], alerts: Alerts | None = None) -> None:
        self._finder, self._tell, self._alerts = finder, tell, alerts
        self._looked_at = -LATEST_S
        self._spent_s = self._last_s = 0.0
        self._new = False

    @property
    def since(self) -> int | None:
        """See `cli.loop.Shows`: what was known before is not told, but it shows what is usual."""
        return self._finder.since

    @since.setter
    def since(self, moment: int | None) -> None:
        self._finder.since = moment

    def show(self, batch: Any, live: Live) -> None:
        """Take in finished sessions and their mail; those that only the end of the run ends say nothing."""
        if live.closing:
            return
        if batch.count:
            self._finder.add("sessions", batch.new(batch.sessions(_read("sessions"))))
            self._new = True
        messages = batch.message_table(_read("messages"))
        for table, rows in (
            ("messages", messages),
            ("deliveries", batch.delivery_table(_read("deliveries"))),
        ):
            if rows.num_rows:
                self._finder.add(table, rows)
                self._new = True

    def show_open(self, batch: Any) -> None:
        """What is still open is counted when it has ended."""

    def pause(self, live: Live) -> None:
        """Everything that has arrived was taken in: judge, if it is time or the end."""
        if not self._new or (not live.closing and (live.busy or not self._is_time())):
            return
        self._new = False
        begun_s = time.process_time()
        for news in self._finder.look():
            self._tell(line_of(news))
            if self._alerts is not None and not news.over:
                self._alerts.finding(news.finding)
        self._looked_at = time.monotonic()
        self._last_s = time.process_time() - begun_s
        self._spent_s += self._last_s

    def _is_time(self) -> bool:
        waited_s = time.monotonic() - self._looked_at
        if waited_s < EVERY_S:
            return False
        rest_s = time.process_time() - self._spent_s
        return waited_s >= LATEST_S or self._spent_s + self._last_s <= _SHARE * rest_s


def _read(table: str) -> list[str]:
    """What is looked at, without the lines of each session, which nobody here shows."""
    from logscope.detect.anomalies import READS

    return [name for name in READS[table] if name != "events"]


def line_of(news: News) -> str:
    """One finding on one line."""
    finding = news.finding
    since = _clock(finding.since)
    if news.over:
        until = _clock(finding.until) if finding.until is not None else "now"
        return visible(
            f"over since {until}: {finding.kind.replace('_', ' ')}, {finding.scope} (since {since})"
        )
    return visible(f"{finding.severity} since {since} UTC: {finding.explanation} {finding.remedy[0]}")


def _clock(nanoseconds: int) -> str:
    return f"{datetime.fromtimestamp(nanoseconds / 1e9, UTC):%Y-%m-%d %H:%M}"
