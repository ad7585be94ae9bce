"""A small generator of labelled weeks that shares nothing with `logscope simulate`: its rhythm, its noise,
its clients and its faults are made in another way, so that a detector tuned on the simulator's weeks can be
checked on weeks of another kind.

    for table, batch in Week(seed=1, per_day=100_000, faults=[Fault("volume_surge", …)]).batches(): …

Everything is drawn with numpy, an hour at a time; the tables have the columns that the detectors read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa

START_S = 1_780_876_800  # Monday 2026-06-08 00:00 UTC
MINUTE = 60
NS = 1_000_000_000

HOURS = np.array(
    [.22, .18, .16, .15, .17, .25, .45, .80, 1.25, 1.60, 1.75, 1.70, 1.45, 1.50, 1.65, 1.60, 1.45, 1.20, .95,
     .80, .70, .60, .45, .30]
)  # fmt: skip
WEEKEND = 0.38

(HAM, USER, SPAM_LISTED, SPAM_EARLY, SPAM_UNKNOWN, HANGUP, GUESS, STALE) = range(8)
SHARES = np.array([0.56, 0.13, 0.13, 0.05, 0.06, 0.045, 0.02, 0.005])
FLAT = np.array([0, 0, 1, 1, 1, 0.7, 1, 0.5])
"""How little a class follows the day: bots do not sleep."""


@dataclass
class Fault:
    """One thing that goes wrong.

    Args:
        kind: what it is; a method of `Week` of that name makes it.
        start_s, length_s: seconds after the week's begin, and how long.
        size: how much, in the fault's own measure.
        target: server, client or destination, where it has one.
    """

    kind: str
    start_s: float
    length_s: float
    size: float = 2.0
    target: str = ""

    @property
    def end_s(self) -> float:
        return self.start_s + self.length_s


@dataclass
class Rows:
    """Sessions being made: one array for each column."""

    at: np.ndarray
    kind: np.ndarray
    client: np.ndarray
    server: np.ndarray
    outcome: np.ndarray
    state: np.ndarray
    screen: np.ndarray
    test: np.ndarray
    reason: np.ndarray
    rejects: np.ndarray
    tries: np.ndarray
    user: np.ndarray
    queue_ms: np.ndarray
    connect_ms: np.ndarray
    duration_ms: np.ndarray
    hop: np.ndarray
    offset_s: np.ndarray
    size: np.ndarray
    recipients: np.ndarray
    sender: np.ndarray
    number: np.ndarray
    listener: np.ndarray

    def take(self, where: np.ndarray) -> Rows:
        return Rows(**{name: values[where] for name, values in vars(self).items()})


OUTCOMES = ["delivered", "rejected", "screened", "no_mail", "aborted", "timeout", "server_error", "no_server",
            "deferred", "bounced", "accepted"]  # fmt: skip
OUT = {name: code for code, name in enumerate(OUTCOMES)}
STATES = ["--", "CD", "SD", "cD", "sD", "SC", "sC"]
END = {name: code for code, name in enumerate(STATES)}
LISTENERS = ["ft_smtp", "ft_submission", "ft_submissions", "ft_customers", "ft_lists", "ft_relay", "ft_test"]
SLOW_DESTINATION = 1
SCREENS = ["pass_old", "pass_new", "rejected", "hangup", "none"]
TESTS = ["", "dnsbl", "pregreet"]
REASONS = [
    None,
    ("RCPT", 550, "5.1.1", "User unknown in virtual mailbox table"),
    ("RCPT", 550, "5.7.1", "Service unavailable; client [192.0.2.7] blocked using zen.dnsbl.example"),
    ("RCPT", 554, "5.7.1", "Relay access denied"),
    ("RCPT", 450, "4.1.8", "Sender address rejected: Domain not found"),
    ("RCPT", 451, "4.3.5", "Server configuration error"),
]


class Week:
    """A week of a mail site.

    Args:
        seed: of everything that is drawn.
        per_day: sessions on a weekday.
        faults: what goes wrong.
        days: how long.
        servers: how many.
        noise: of the rate from quarter-hour to quarter-hour, as a share.
        holiday: a day that is like a Sunday, or None.
        growth: from the first to the last day, as a factor.
        extras: names of hard negatives: newsletter, monitor, deployment, rotation, summer_time.
        lines: whether messages and deliveries are wanted too.
        connect_ms: what connecting usually takes; drawn if not given.
    """

    def __init__(
        self,
        seed: int,
        per_day: float,
        faults: list[Fault] | None = None,
        *,
        days: float = 7.0,
        servers: int = 4,
        noise: float = 0.06,
        holiday: int | None = None,
        growth: float = 1.0,
        extras: tuple[str, ...] = (),
        lines: bool = True,
        connect_ms: float | None = None,
    ) -> None:
        self.draw = np.random.default_rng(seed)
        self.per_day, self.days, self.faults = per_day, days, faults or []
        self.servers = [f"mx-{chr(97 + n)}" for n in range(servers)]
        self.holiday, self.growth, self.extras, self.lines = holiday, growth, extras, lines
        minutes = int(days * 1440)
        steps = minutes // 15 + 2
        wander = np.zeros(steps)
        for step in range(1, steps):
            wander[step] = 0.85 * wander[step - 1] + noise * 0.53 * self.draw.standard_normal()
        self.wander = np.exp(np.interp(np.arange(minutes), np.arange(steps) * 15, wander))
        self.ham = 100 + int(per_day**0.6)
        self.bots = 1000 + int(per_day)
        self.people = 20 + int(per_day**0.5)
        self.base_connect = connect_ms or float(self.draw.uniform(1.5, 6))
        self.base_list = float(self.draw.uniform(0.9, 1.1))
        weights = self.draw.pareto(1.2, self.ham) + 0.1
        self.busiest = np.argsort(-weights)[2:5]  # well-known senders
        self.ham_cdf = np.cumsum(weights / weights.sum())
        self.many_listeners = "prober" in extras or any(one.kind == "listener_scan" for one in self.faults)
        self.newsletter_at = 86400 * 1 + 3600 * 10 + int(self.draw.integers(0, 3600))

    # --- rates --------------------------------------------------------------------------------------------

    def rates(self) -> np.ndarray:
        """Sessions a minute of each class: float[minutes, classes]."""
        minutes = len(self.wander)
        hour = np.arange(minutes) / 60
        if "summer_time" in self.extras:
            hour = hour + (np.arange(minutes) >= 6 * 1440 + 120)
        shape = np.interp(hour % 24, np.arange(25), np.append(HOURS, HOURS[0]))
        day = (np.arange(minutes) // 1440).astype(int)
        level = np.where(day % 7 >= 5, WEEKEND, 1.0)
        if self.holiday is not None:
            level = np.where(day == self.holiday, WEEKEND * 1.1, level)
        level = level * self.growth ** (np.arange(minutes) / minutes)
        legit = shape / HOURS.mean() * level * self.wander
        flat = 0.5 * (self.wander**0.5) + 0.5
        mixed = legit[:, None] * (1 - FLAT) + flat[:, None] * FLAT
        return self.per_day / 1440 * SHARES * mixed

    # --- making -------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Tables and batches, in the order of time."""
        rates = self.rates()
        for hour in range(int(np.ceil(len(rates) / 60))):
            part = rates[hour * 60 : hour * 60 + 60]
            counts = self.draw.poisson(part)
            rows = self._sessions(counts, hour * 3600.0)
            for fault in [*self.faults, *self._hard_negatives()]:
                if fault.start_s < hour * 3600 + 3600 and fault.end_s > hour * 3600:
                    rows = getattr(self, "_" + fault.kind)(rows, fault, hour * 3600.0)
            rows = rows.take(np.argsort(rows.at, kind="stable"))
            yield "sessions", self._session_table(rows)
            if self.lines:
                yield from self._mail_tables(rows)

    def _sessions(self, counts: np.ndarray, begin: float) -> Rows:
        minute, kind = np.nonzero(counts)
        reps = counts[minute, kind]
        minute, kind = np.repeat(minute, reps), np.repeat(kind, reps)
        at = begin + minute * 60 + self.draw.random(len(minute)) * 60
        return self._dressed(at, kind)

    def _dressed(self, at: np.ndarray, kind: np.ndarray) -> Rows:
        n = len(at)
        draw = self.draw
        client = np.select(
            [kind == HAM, kind == USER, kind == STALE],
            [
                np.searchsorted(self.ham_cdf, draw.random(n)),
                1_000_000 + draw.integers(0, self.people, n),
                1_900_000 + draw.integers(0, 3, n),
            ],
            2_000_000 + (draw.random(n) ** 2 * self.bots).astype(int),
        )
        outcome = np.select(
            [kind == HAM, kind == USER, (kind == SPAM_LISTED) | (kind == SPAM_EARLY), kind == SPAM_UNKNOWN,
             kind == HANGUP],
            [OUT[one] for one in ("delivered", "delivered", "screened", "rejected", "aborted")],
            OUT["rejected"],
        )  # fmt: skip
        late = draw.random(n)
        ordinary = (kind == HAM) | (kind == USER)
        outcome = np.where(ordinary & (late < 0.03), OUT["deferred"], outcome)
        outcome = np.where(ordinary & (late > 0.985), OUT["rejected"], outcome)
        outcome = np.where(ordinary & (late > 0.996), OUT["aborted"], outcome)
        reason = np.select(
            [kind == SPAM_LISTED, kind == SPAM_UNKNOWN, ordinary & (late > 0.985) & (late <= 0.996)],
            [2, np.where(draw.random(n) < 0.7, 1, 3), 4], 0,
        )  # fmt: skip
        test = np.select([kind == SPAM_LISTED, kind == SPAM_EARLY], [1, 2], 0)
        screen = np.select(
            [kind == SPAM_LISTED, kind == SPAM_EARLY, (kind == HANGUP)], [2, 2, 3],
            np.where(draw.random(n) < 0.8, 0, 1),
        )  # fmt: skip
        duration = np.exp(draw.normal(7.2, 0.9, n)) + np.where(screen == 1, 6000, 0)
        state = np.where(draw.random(n) < 0.004, END["cD"], END["--"])
        state = np.where(outcome == OUT["aborted"], END["CD"], state)
        return Rows(
            at=at,
            kind=kind,
            client=client,
            server=draw.integers(0, len(self.servers), n),
            outcome=outcome,
            state=state,
            screen=screen,
            test=test,
            reason=reason,
            rejects=(reason > 0).astype(int),
            tries=np.where((kind == GUESS) | (kind == STALE), 1, 0),
            user=np.where(
                kind == USER, client - 1_000_000, np.where(kind >= GUESS, draw.integers(0, 50, n), -1)
            ),
            queue_ms=draw.poisson(0.3, n),
            connect_ms=np.exp(draw.normal(np.log(self.base_connect), 0.4, n)),
            duration_ms=duration,
            hop=np.where(draw.random(n) < 0.001, 1, 0),
            offset_s=draw.normal(0.002, 0.001, n),
            size=np.exp(draw.normal(9.8, 1.4, n)),
            recipients=1 + draw.poisson(0.25, n),
            sender=client,
            number=draw.integers(0, 2**62, n),
            listener=self._listeners(client, kind),
        )

    def _listeners(self, client: np.ndarray, kind: np.ndarray) -> np.ndarray:
        """Where a client connects: at one listener, always the same."""
        if not self.many_listeners:
            return np.zeros(len(client), int)
        return np.select([kind == HAM, kind == USER], [0, 1 + client % 2], client % len(LISTENERS))

    @staticmethod
    def _within(rows: Rows, fault: Fault) -> np.ndarray:
        return (rows.at >= fault.start_s) & (rows.at < fault.end_s)

    def _more(self, rows: Rows, fault: Fault, begin: float, count: float, kind: int | np.ndarray) -> Rows:
        """Add sessions of a class, evenly over the fault's part of this hour."""
        low, high = max(fault.start_s, begin), min(fault.end_s, begin + 3600)
        n = int(self.draw.poisson(count * max(0.0, high - low) / 60))
        at = self.draw.uniform(low, high, n)
        return self._dressed(at, np.full(n, kind) if np.isscalar(kind) else self.draw.choice(kind, n))

    @staticmethod
    def _joined(first: Rows, second: Rows) -> Rows:
        return Rows(
            **{name: np.concatenate((getattr(first, name), getattr(second, name))) for name in vars(first)}
        )

    # --- faults: size is what the docstring says ------------------------------------------------------------

    def _volume_surge(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """Arrivals times `size`, the same mix."""
        here = np.nonzero(self._within(rows, fault))[0]
        more = self.draw.poisson((fault.size - 1), len(here)).sum()
        again = rows.take(self.draw.choice(here, more)) if len(here) else rows.take(here)
        low, high = max(fault.start_s, begin), min(fault.end_s, begin + 3600)
        again.at = self.draw.uniform(low, high, len(again.at))
        fresh = self._dressed(again.at, again.kind)
        return self._joined(rows, fresh)

    def _volume_drop(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """Of the arrivals only `size` remain."""
        lost = self._within(rows, fault) & (self.draw.random(len(rows.at)) >= fault.size)
        return rows.take(~lost)

    def _ramp(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """Arrivals grow steadily to `size` times."""
        here = np.nonzero(self._within(rows, fault))[0]
        grown = (fault.size - 1) * (rows.at[here] - fault.start_s) / fault.length_s
        again = rows.take(np.repeat(here, self.draw.poisson(grown)))
        fresh = self._dressed(again.at + self.draw.uniform(0, 5, len(again.at)), again.kind)
        return self._joined(rows, fresh)

    def _silence(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        return rows.take(~self._within(rows, fault))

    def _auth_guessing(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` tries a minute from one address, each its own session and user."""
        more = self._more(rows, fault, begin, fault.size, GUESS)
        more.client[:] = 3_000_000 + int(fault.start_s) % 997
        more.user = self.draw.integers(0, 400, len(more.at))
        return self._joined(rows, more)

    def _auth_guessing_distributed(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` tries a minute, each from another address."""
        more = self._more(rows, fault, begin, fault.size, GUESS)
        more.client = 4_000_000 + self.draw.integers(0, 60_000, len(more.at))
        return self._joined(rows, more)

    def _pregreet_wave(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` a minute of clients that talk before the greeting."""
        more = self._more(rows, fault, begin, fault.size, SPAM_EARLY)
        more.client = 5_000_000 + self.draw.integers(0, 60_000, len(more.at))
        return self._joined(rows, more)

    def _dnsbl_surge(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        more = self._more(rows, fault, begin, fault.size, SPAM_LISTED)
        more.client = 6_000_000 + self.draw.integers(0, 60_000, len(more.at))
        return self._joined(rows, more)

    def _heavy_client(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` sessions a minute of one address that never came before, refused for relaying."""
        more = self._more(rows, fault, begin, fault.size, SPAM_UNKNOWN)
        more.client[:] = 7_000_000 + int(fault.start_s) % 997
        more.reason[:] = 3
        return self._joined(rows, more)

    def _heavy_network(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """The same from a network of 200 addresses."""
        more = self._heavy_client(rows.take(np.zeros(len(rows.at), bool)), fault, begin)
        more.client = 7_000_000 + 256 * (int(fault.start_s) % 97) + self.draw.integers(0, 200, len(more.at))
        return self._joined(rows, more)

    def _user_enumeration(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` sessions a minute of one address, each with three unknown recipients."""
        more = self._more(rows, fault, begin, fault.size, SPAM_UNKNOWN)
        more.client[:] = 8_000_000 + int(fault.start_s) % 997
        more.reason[:], more.rejects[:] = 1, 3
        return self._joined(rows, more)

    def _server_worse(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One server refuses `size` more of its sessions (a share)."""
        good = (rows.outcome == OUT["delivered"]) | (rows.outcome == OUT["deferred"])
        chosen = (
            self._within(rows, fault)
            & (rows.server == int(fault.target or 0))
            & good
            & (self.draw.random(len(rows.at)) < fault.size / 0.68)
        )
        rows.outcome[chosen], rows.reason[chosen], rows.rejects[chosen] = OUT["rejected"], 5, 1
        return rows

    def _reject_shift(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """All servers refuse `size` more of the sessions (a share)."""
        good = (rows.outcome == OUT["delivered"]) | (rows.outcome == OUT["deferred"])
        chosen = self._within(rows, fault) & good & (self.draw.random(len(rows.at)) < fault.size / 0.68)
        rows.outcome[chosen], rows.reason[chosen], rows.rejects[chosen] = OUT["rejected"], 5, 1
        return rows

    def _termination_shift(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` of the sessions end with the server's timeout (a share)."""
        chosen = self._within(rows, fault) & (self.draw.random(len(rows.at)) < fault.size)
        rows.state[chosen], rows.outcome[chosen] = END["sD"], OUT["timeout"]
        return rows

    def _server_down(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One server takes nothing; what it would have got goes to the others after two retries' time."""
        hit = self._within(rows, fault) & (rows.server == int(fault.target or 0))
        others = [n for n in range(len(self.servers)) if n != int(fault.target or 0)]
        early = hit & (rows.at < fault.start_s + 6)
        rows.state[early], rows.outcome[early] = END["SC"], OUT["server_error"]
        moved = hit & ~early
        rows.server[moved] = self.draw.choice(others, int(moved.sum()))
        return rows

    def _no_server(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """No server is up at all."""
        hit = self._within(rows, fault)
        rows.state[hit], rows.outcome[hit] = END["SC"], OUT["no_server"]
        rows.server[hit] = -1
        rows.hop[hit] = 1
        rows.reason[hit] = rows.test[hit] = rows.tries[hit] = 0
        return rows

    def _connect_latency(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """Connecting takes `size` times as long."""
        hit = self._within(rows, fault)
        rows.connect_ms[hit] *= fault.size
        return rows

    def _server_latency(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        hit = self._within(rows, fault) & (rows.server == int(fault.target or 0))
        rows.connect_ms[hit] *= fault.size
        return rows

    def _session_latency(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        hit = self._within(rows, fault)
        rows.duration_ms[hit] *= fault.size
        return rows

    def _unmatched(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` of the balancer's sessions have no side at the mail server (a share)."""
        hit = self._within(rows, fault) & (self.draw.random(len(rows.at)) < fault.size)
        rows.hop[hit] = 1
        return rows

    def _bypass(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` of one server's sessions come past the balancer (a share)."""
        hit = self._within(rows, fault) & (rows.server == int(fault.target or 0))
        hit &= self.draw.random(len(rows.at)) < fault.size
        rows.hop[hit] = 2
        return rows

    def _log_gap(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One server's log is missing."""
        hit = self._within(rows, fault) & (rows.server == int(fault.target or 0))
        rows.hop[hit] = 1
        return rows

    def _clock_step(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One server's clock is `size` seconds ahead from then on."""
        hit = self._within(rows, fault) & (rows.server == int(fault.target or 0))
        rows.offset_s[hit] += fault.size
        return rows

    def _clock_drift(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One server's clock gains `size` seconds over the fault's length."""
        hit = self._within(rows, fault) & (rows.server == int(fault.target or 0))
        rows.offset_s[hit] += fault.size * (rows.at[hit] - fault.start_s) / fault.length_s
        return rows

    def _imbalance(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One server gets `size` of the others' sessions as well."""
        hit = self._within(rows, fault) & (self.draw.random(len(rows.at)) < fault.size)
        rows.server[hit & (rows.server >= 0)] = int(fault.target or 0)
        return rows

    def _flapping(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One server is gone for four minutes of every eight."""
        hit = self._within(rows, fault) & (rows.server == int(fault.target or 0))
        hit &= ((rows.at - fault.start_s) % 480) < 240
        others = [n for n in range(len(self.servers)) if n != int(fault.target or 0)]
        rows.server[hit] = self.draw.choice(others, int(hit.sum()))
        return rows

    def _hoarding(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One client opens `size` connections a minute and leaves them until the timeout of five minutes."""
        more = self._more(rows, fault, begin, fault.size, HANGUP)
        more.client[:] = 9_000_000 + int(fault.start_s) % 997
        more.duration_ms[:] = 300_000
        more.outcome[:], more.state[:] = OUT["timeout"], END["cD"]
        return self._joined(rows, more)

    def _backscatter(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` bounces a minute for mail that was never sent here."""
        more = self._more(rows, fault, begin, fault.size, HAM)
        more.sender[:] = -1
        return self._joined(rows, more)

    def _account_takeover(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One account sends `size` messages a minute to twenty recipients each."""
        more = self._more(rows, fault, begin, fault.size, USER)
        more.user[:] = 7
        more.sender[:] = 1_000_007
        more.client = 5_500_000 + self.draw.integers(0, 6, len(more.at))
        more.recipients[:] = 20
        return self._joined(rows, more)

    def _sender_size(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One account sends a message a minute, each `size` times as large as usual."""
        more = self._from_account(rows, fault, begin, 3)
        more.size *= fault.size
        return self._joined(rows, more)

    def _sender_recipients(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One account sends a message a minute, each to `size` recipients."""
        more = self._from_account(rows, fault, begin, 4)
        more.recipients[:] = int(fault.size)
        return self._joined(rows, more)

    def _from_account(self, rows: Rows, fault: Fault, begin: float, user: int) -> Rows:
        more = self._more(rows, fault, begin, 1.0, USER)
        more.user[:] = user
        more.sender[:] = more.client[:] = 1_000_000 + user
        more.outcome[:], more.reason[:], more.state[:] = OUT["delivered"], 0, END["--"]
        return more

    def _listener_scan(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One client tries `size` listeners, each once, and leaves."""
        at = fault.start_s + (np.arange(int(fault.size)) + 0.5) * fault.length_s / int(fault.size)
        which = np.nonzero((at >= begin) & (at < begin + 3600))[0]
        more = self._dressed(at[which], np.full(len(which), HANGUP))
        more.client[:] = 9_100_000 + int(fault.start_s) % 997
        more.listener[:] = which
        more.outcome[:], more.state[:] = OUT["aborted"], END["CD"]
        return self._joined(rows, more)

    def _queue_growth(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """`size` times as much of the mail goes to a destination that takes only some of it."""
        return rows

    def _deferral_growth(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """Deliveries to the first destination are deferred."""
        return rows

    def _delivery_latency(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """Deliveries take `size` times as long to connect."""
        return rows

    def _masking(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """One server sees the balancer's address."""
        hit = self._within(rows, fault) & (rows.server == int(fault.target or 0))
        rows.hop[hit & (rows.hop == 0)] = 3
        return rows

    # --- what looks like a fault and is none ----------------------------------------------------------------

    def _hard_negatives(self) -> list[Fault]:
        found = []
        if "newsletter" in self.extras:
            found.append(Fault("newsletter", self.newsletter_at, 1500, self.per_day / 1440))
        if "monitor" in self.extras:
            found.append(Fault("monitor", 0, self.days * 86400, 1))
        if "deployment" in self.extras:
            found += [
                Fault("server_down", 86400 * 2 + 36000 + n * 300, 100, target=str(n))
                for n in range(len(self.servers))
            ]
        if "reports" in self.extras:
            found += [Fault("reports", day * 86400 + 7200, 1800, 30) for day in range(int(self.days))]
        if "prober" in self.extras:
            found.append(Fault("prober", 0, self.days * 86400))
        if "rotation" in self.extras:
            found += [Fault("silence", day * 86400 + 1, 40) for day in range(1, int(self.days))]
        return found

    def _newsletter(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        more = self._more(rows, fault, begin, fault.size, HAM)
        more.client[:] = self.draw.choice(self.busiest, len(more.at))
        more.sender[:] = self.busiest[0]
        return self._joined(rows, more)

    def _reports(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """A well-known sender's large messages, every night."""
        more = self._more(rows, fault, begin, 1.0, HAM)
        more.client[:] = more.sender[:] = self.busiest[1]
        more.size *= fault.size
        return self._joined(rows, more)

    def _prober(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        """A monitor that connects to all listeners and hangs up, as ever."""
        at = np.repeat(np.arange(begin, begin + 3600, 600.0), len(LISTENERS)) + 20.0
        more = self._dressed(at, np.full(len(at), HANGUP))
        more.client[:] = 9_999_998
        more.listener[:] = np.arange(len(at)) % len(LISTENERS)
        return self._joined(rows, more)

    def _monitor(self, rows: Rows, fault: Fault, begin: float) -> Rows:
        at = np.arange(max(begin, 0), begin + 3600, 30.0)
        more = self._dressed(at, np.full(len(at), HAM))
        more.client[:] = 9_999_999
        more.outcome[:], more.reason[:], more.state[:] = OUT["no_mail"], 0, END["--"]
        return self._joined(rows, more)

    # --- tables ---------------------------------------------------------------------------------------------

    def _session_table(self, rows: Rows) -> pa.RecordBatch:
        n = len(rows.at)
        at = START_S * NS + (rows.at * NS).astype(np.int64)
        queue, connect = rows.queue_ms.astype(np.int64), np.round(rows.connect_ms).astype(np.int64)
        has_balancer, has_mta = rows.hop != 2, (rows.hop == 0) | (rows.hop >= 2)
        connected = at + ((queue + connect) / 1e3 * NS + rows.offset_s * NS).astype(np.int64)
        connected = connected // NS * NS  # traditional stamps
        ended = at + (rows.duration_ms * 1e6).astype(np.int64)
        no_server = rows.server < 0
        mta_outcome = has_mta | no_server
        outcome = np.where(mta_outcome, rows.outcome, len(OUTCOMES))
        rejects = np.where(has_mta & (rows.reason > 0), rows.rejects, 0)
        tests = np.where(has_mta, rows.test, 0)
        tries = np.where(has_mta, rows.tries, 0)
        ok = has_mta & (rows.kind == USER) & (tries == 0)
        columns = {
            "session_id": pa.array(rows.number).cast(pa.string()),
            "client_address": texts(rows.client, address),
            "masked": pa.array(rows.hop == 3, mask=~(has_balancer & has_mta)),
            "balancer": words(np.where(has_balancer, 0, -1), ["edge1"]),
            "frontend": words(np.where(has_balancer, rows.listener, -1), LISTENERS),
            "backend": words(np.where(has_balancer, 0, -1), ["bk_smtp"]),
            "server": words(np.where(has_balancer, rows.server, -1), self.servers),
            "mta_host": words(np.where(has_mta, rows.server, -1), self.servers),
            "service": words(np.where(has_mta, 0, -1), ["postfix/postscreen"]),
            "accepted_at": times(at, has_balancer),
            "mta_connected_at": times(connected, has_mta),
            "ended_at": times(ended, np.ones(n, bool)),
            "queue_ms": pa.array(queue, mask=~has_balancer | no_server),
            "connect_ms": pa.array(connect, mask=~has_balancer | no_server),
            "duration_ms": pa.array(rows.duration_ms.astype(np.int64)),
            "termination_state": words(np.where(has_balancer, rows.state, -1), STATES),
            "screen": words(np.where(has_mta, rows.screen, -1), SCREENS),
            "screen_tests": list_of(words(tests[tests > 0], TESTS), (tests > 0).astype(int)),
            "sasl_username": texts(
                np.where((tries > 0) | ok, rows.user, -1), lambda n: f"user{n}@example.com"
            ),
            "commands": commands(tries, ok),
            "rejects": reject_lists(rejects, rows.reason),
            "outcome": words(outcome, [*OUTCOMES, "unknown"]),
            "join_confidence": words(np.where(has_balancer & has_mta, 0, 1), ["exact", "none"]),
        }
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def _mail_tables(self, rows: Rows) -> Iterator[tuple[str, pa.RecordBatch]]:
        good = np.isin(rows.outcome, [OUT["delivered"], OUT["deferred"], OUT["bounced"], OUT["accepted"]])
        rows = rows.take(good & (rows.hop != 1))
        n = len(rows.at)
        at = START_S * NS + ((rows.at + 1) * NS).astype(np.int64)
        yield (
            "messages",
            pa.RecordBatch.from_arrays(
                [
                    words(rows.server, self.servers),
                    times(at, np.ones(n, bool)),
                    times(at + 2 * NS, rows.outcome != OUT["deferred"]),
                    texts(
                        np.where(rows.sender < 0, -2, rows.sender),
                        lambda n: "" if n < 0 else f"s{n}@sender.example",
                    ),
                    pa.array(rows.size.astype(np.int64)),
                    pa.array(rows.recipients),
                    pa.array(rows.number).cast(pa.string()),
                ],
                names=[
                    "mta_host",
                    "queued_at",
                    "removed_at",
                    "sender",
                    "size",
                    "recipient_count",
                    "session_id",
                ],
            ),
        )
        who = np.repeat(np.arange(n), rows.recipients)
        m = len(who)
        destination = (self.draw.random(m) ** 2 * 40).astype(int)
        deferred = rows.outcome[who] == OUT["deferred"]
        connect = np.exp(self.draw.normal(-2.5, 0.8, m))
        when = rows.at[who] + 2
        for fault in self.faults:
            here = (when >= fault.start_s) & (when < fault.end_s)
            if fault.kind == "deferral_growth":
                deferred |= here & (destination == 0)
            if fault.kind == "queue_growth":
                usual = sqrt((SLOW_DESTINATION + 1) / 40) - sqrt(SLOW_DESTINATION / 40)
                destination[here & (self.draw.random(m) < usual * (fault.size - 1))] = SLOW_DESTINATION
            if fault.kind == "delivery_latency":
                connect[here] *= fault.size
        if any(fault.kind == "queue_growth" for fault in self.faults):
            deferred |= (destination == SLOW_DESTINATION) & (self.draw.random(m) < 0.5)
        transmit = np.exp(self.draw.normal(-1.5, 0.8, m))
        yield "deliveries", pa.RecordBatch.from_arrays(
            [
                words(rows.server[who], self.servers),
                times(START_S * NS + (when * NS).astype(np.int64), np.ones(m, bool)),
                texts(destination, lambda n: f"someone@dest{n}.example"),
                texts(destination, lambda n: f"mx.dest{n}.example"),
                words(np.where(deferred, 1, 0), ["sent", "deferred"]),
                pa.array(np.full(m, 0.1)),
                pa.array(np.full(m, 0.01)),
                pa.array(np.round(connect, 2)),
                pa.array(np.round(transmit, 2)),
            ],
            names=["mta_host", "logged_at", "recipient", "relay_host", "status", "delay_before_queue_s",
                   "delay_in_queue_s", "delay_connect_s", "delay_transmit_s"],
        )  # fmt: skip


def address(number: int) -> str:
    """A made-up address of the networks for documentation and benchmarks; each class has its own range."""
    if number < 1_000_000:
        return f"198.18.{number // 250 % 250}.{number % 250 + 1}"
    group, inside = divmod(number, 500_000)
    return (
        f"2001:db8:{group:x}:{inside // 256:x}::{inside % 256:x}"
        if group % 2
        else (f"100.{64 + group % 64}.{inside // 256 % 256}.{inside % 256}")
    )


def words(codes: np.ndarray, texts: list[str]) -> pa.Array:
    """Texts of codes, null below 0."""
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32), mask=codes < 0), pa.array(texts, pa.string())
    ).cast(pa.string())


def texts(numbers: np.ndarray, name: Callable[[int], str]) -> pa.Array:
    """Texts of numbers that are too many for a list; null for -1."""
    present, codes = np.unique(numbers, return_inverse=True)
    named = pa.array([None if n == -1 else name(n) for n in present.tolist()], pa.string())
    return named.take(pa.array(codes))


def times(values: np.ndarray, known: np.ndarray) -> pa.Array:
    return pa.array(values, mask=~known).cast(pa.timestamp("ns", tz="UTC"))


def list_of(items: pa.Array, lengths: np.ndarray) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32()), items)


def commands(tries: np.ndarray, ok: np.ndarray) -> pa.Array:
    has = (tries > 0) | ok
    pairs = np.stack([ok[has].astype(np.int64), tries[has] + ok[has]], axis=1).ravel()
    items = pa.ListArray.from_arrays(pa.array(np.arange(0, len(pairs) + 1, 2), pa.int32()), pa.array(pairs))
    keys = pa.array(["auth"] * int(has.sum()), pa.string())
    offsets = pa.array(np.concatenate(([0], np.cumsum(has))), pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, items)


def reject_lists(counts: np.ndarray, reasons: np.ndarray) -> pa.Array:
    each = np.repeat(reasons, counts)
    present: dict[str, list[Any]] = {"stage": [], "code": [], "dsn": [], "text": []}
    for entry in REASONS:
        for name, value in zip(present, entry or (None, None, None, None), strict=True):
            present[name].append(value)
    index = pa.array(each)
    struct = pa.StructArray.from_arrays(
        [pa.array(values).take(index) for values in present.values()], names=list(present)
    )
    return list_of(struct, counts)


def minutes(count: float) -> float:
    return count * MINUTE


@dataclass
class Labelled:
    """A week and what is wrong with it."""

    week: Week
    faults: list[Fault] = field(default_factory=list)
