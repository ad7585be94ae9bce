"""From what was gathered to signs: series that changed, actors that overdid it, clocks that moved.

A sign is what one test says. Which of them have the same cause is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from logscope.detect.anomalies import survey as surveys
from logscope.detect.anomalies.baseline import Baseline
from logscope.detect.anomalies.clocks import ClockChange, clock_changes
from logscope.detect.anomalies.gather import Gathered
from logscope.detect.anomalies.ledger import Ledger
from logscope.detect.anomalies.panels import Alarm, Panel, Scope
from logscope.detect.anomalies.rules import (
    Sensitivity,
    attack_rules,
    companion_rules,
    destination_rules,
    drift_rules,
    hop_rules,
    latency_rules,
    masked_rules,
    part_rules,
    peer_rules,
    share_rules,
    volume_rules,
)
from logscope.detect.anomalies.seasons import has_season
from logscope.detect.anomalies.survey import Site, Survey

_SAME_S = 1200
"""Two episodes of one series that are no further apart are one."""


@dataclass
class Sign:
    """A series that is found changed, in seconds.

    Attributes:
        alarm: what the panel says.
        panel: whose series it is.
        since, detected: seconds since 1970.
        until: the same; None while it goes on.
        observed, expected, trials: counts since then.
    """

    alarm: Alarm
    panel: Panel
    since: float
    detected: float
    until: float | None
    observed: float
    expected: float
    trials: float
    episodes: int = 1

    @property
    def detector(self) -> str:
        return self.alarm.series.detector

    @property
    def scope(self) -> Scope:
        return self.alarm.series.scope

    @property
    def what(self) -> tuple[str, str]:
        return self.alarm.series.what

    @property
    def is_volume(self) -> bool:
        """Whether it is about how many sessions there are."""
        return self.detector in ("volume", "drift")

    @property
    def up(self) -> bool:
        return self.alarm.up

    @property
    def excess(self) -> float:
        return self.observed - self.expected

    @property
    def ratio(self) -> float:
        return self.observed / max(self.expected, 0.5)

    @property
    def end(self) -> float:
        """When it is over; far away while it goes on."""
        return float("inf") if self.until is None else self.until


@dataclass
class Signs:
    """All signs, with what is needed to tell causes apart.

    Attributes:
        signs: changed series.
        clocks: changed clocks.
        gathered: the counts behind them.
        panels: by name.
        site: places of the sessions.
        first_s, now_s: the time that is known of, seconds since 1970.
        judged_s: from when on it was judged.
        of_other_days: whether what is usual was learnt from other days.
    """

    signs: list[Sign]
    clocks: list[ClockChange]
    gathered: Gathered
    panels: dict[str, Panel]
    site: Site
    first_s: float
    now_s: float
    judged_s: float = 0.0
    of_other_days: bool = False
    baseline: Baseline = field(default_factory=Baseline)


class Watch:
    """Panels over what was gathered.

    Args:
        gathered: the counts; they may go on growing.
        sensitivity: how sure a finding must be.
        baseline: what is usual; learnt from the counts themselves if not given.
        since_s: from when on it is judged, seconds since 1970; None: from the beginning.
    """

    def __init__(
        self,
        gathered: Gathered,
        sensitivity: Sensitivity,
        baseline: Baseline | None = None,
        since_s: float | None = None,
    ) -> None:
        self.gathered, self.sensitivity = gathered, sensitivity
        self.baseline = baseline or Baseline()
        self._since_s = since_s
        self._of_other_days = bool(self.baseline.scales)
        self.panels: dict[str, Panel] = {}
        self._ended: list[tuple[str, Alarm]] = []
        self._positions: dict[str, int] = {}
        self._build()

    def _build(self) -> None:
        gathered, usual = self.gathered, self.baseline
        learning = not self._of_other_days
        first, after = self._span(gathered.sessions)
        survey = Survey(gathered.sessions, first, after, usual.seasons, usual.edges, known=not learning)
        self.site = survey.site
        shares, volumes = list(survey.shares()), list(survey.volumes())
        wanted = [
            ("volume", gathered.sessions, volumes, volume_rules),
            ("drift", gathered.sessions, survey.drifts(volumes), drift_rules),
            ("attack", gathered.sessions, survey.attacks(), attack_rules),
            ("share", gathered.sessions, shares, share_rules),
            ("hops", gathered.sessions, survey.hops(), hop_rules),
            ("masked", gathered.sessions, survey.masked(), masked_rules),
            ("rate", gathered.sessions, survey.rates_of(shares), companion_rules),
            ("server", gathered.sessions, survey.servers(), peer_rules),
            ("part", gathered.sessions, survey.parts(), part_rules),
            ("latency", gathered.sessions, survey.latencies(), latency_rules),
            ("latency peers", gathered.sessions, survey.latency_peers(), peer_rules),
        ]
        mail = self._survey(gathered.mail, surveys.mail_site(gathered.mail))
        if mail is not None:
            deliveries = list(mail.delivery_shares())
            wanted += [
                ("mail attack", gathered.mail, mail.attacks("messages"), attack_rules),
                ("delivery", gathered.mail, deliveries, share_rules),
                ("delivery rate", gathered.mail, mail.rates_of(deliveries), companion_rules),
                ("delivery latency", gathered.mail, mail.delivery_latencies(), latency_rules),
                ("size", gathered.mail, mail.sizes(), latency_rules),
            ]
        far = self._survey(gathered.destinations, surveys.destination_site(gathered.destinations))
        if far is not None:
            wanted += [
                ("destination", gathered.destinations, far.destinations(), destination_rules),
                ("queue", gathered.destinations, far.queues(), attack_rules),
            ]
        for name, ledger, series, rules in wanted:
            span = self._span(ledger)
            seasoned = has_season(span[1] - span[0], ledger.tick_s) if learning else usual.is_seasoned
            one = surveys.panel(ledger, series, rules, self.sensitivity, usual.scales, seasoned)
            if learning:
                one.learn(*span)
            self.panels[name] = one
            self._positions[name] = span[0]
        if learning:
            self._keep(after - first)

    def _span(self, ledger: Ledger) -> tuple[int, int]:
        """The ticks that are judged."""
        first, after = ledger.span()
        if self._since_s is not None:
            first = max(first, int(self._since_s) // ledger.tick_s)
        return first, after

    def _survey(self, ledger: Ledger, site: Site) -> Survey | None:
        first, after = self._span(ledger)
        if after <= first:
            return None
        usual = self.baseline
        return Survey(ledger, first, after, usual.seasons, usual.edges, site, self._of_other_days)

    def _keep(self, ticks: int) -> None:
        """Put what was learnt into the baseline."""
        self.baseline.days = ticks * self.gathered.sessions.tick_s / 86_400
        for one in self.panels.values():
            for at, series in enumerate(one.series):
                self.baseline.scales[series.key] = one.scales[:, at].tolist()

    def advance(self, until_s: float | None = None) -> None:
        """Watch up to a time, or to the end of what was gathered."""
        for name, one in self.panels.items():
            ledger = one.ledger
            after = ledger.span()[1]
            if until_s is not None:
                after = min(after, int(until_s) // ledger.tick_s)
            self._ended += [(name, alarm) for alarm in one.advance(self._positions[name], after)]
            self._positions[name] = max(self._positions[name], after)

    def signs(self, now_s: float | None = None) -> Signs:
        """What was found so far."""
        ledger = self.gathered.sessions
        first, after = self._span(ledger)
        now = now_s if now_s is not None else float(after * ledger.tick_s)
        found = [self._sign(name, alarm) for name, alarm in self._ended]
        for name, one in self.panels.items():
            found += [self._sign(name, alarm) for alarm in one.lasting(int(now) // one.ledger.tick_s)]
        for actors in self.gathered.actors.values():
            actors.tell(now)
        self.gathered.senders.tell(now)
        return Signs(
            signs=list(_merged(found)),
            clocks=list(clock_changes(ledger, self.site, first, after)),
            gathered=self.gathered,
            panels=self.panels,
            site=self.site,
            first_s=float(ledger.span()[0] * ledger.tick_s),
            now_s=now,
            judged_s=float(first * ledger.tick_s),
            of_other_days=self._of_other_days,
            baseline=self.baseline,
        )

    def _sign(self, name: str, alarm: Alarm) -> Sign:
        one = self.panels[name]
        tick = one.ledger.tick_s
        return Sign(
            alarm, one, float(alarm.since * tick), float((alarm.detected + 1) * tick),
            None if alarm.until is None else float(alarm.until * tick), alarm.observed, alarm.expected,
            alarm.trials,
        )  # fmt: skip


def _merged(signs: Iterable[Sign]) -> Iterator[Sign]:
    """One sign for the tests and episodes of one series that belong together."""
    latest: dict[tuple[int, str, bool], Sign] = {}
    for sign in sorted(signs, key=lambda one: (one.since, one.detected)):
        key = (id(sign.panel), sign.alarm.series.key, sign.up)
        before = latest.get(key)
        if before is None or sign.since > before.end + _SAME_S:
            latest[key] = sign
            yield sign
            continue
        if sign.since > before.end:
            before.episodes += 1
        before.detected = min(before.detected, sign.detected)
        before.alarm.strength = max(before.alarm.strength, sign.alarm.strength)
        if sign.end > before.end:
            before.until = sign.until
            if sign.since > before.since + _SAME_S or before.episodes > 1:
                before.observed += sign.observed
                before.expected += sign.expected
                before.trials += sign.trials
            else:
                before.observed, before.expected, before.trials = sign.observed, sign.expected, sign.trials
