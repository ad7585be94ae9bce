"""Labelled weeks: a site drawn by its seed, and what goes wrong there.

Even seeds are for training, odd ones for testing; a week is the same whatever else is drawn. Most weeks come
from `logscope simulate` as tables; some from the generator in `holdout`, which shares nothing with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from logscope.detect.anomalies import READS
from logscope.simulate import Fault, Options, Simulation, Tables, balancers, servers

from . import holdout
from .cases import BY_NAME, CASES, NEGATIVES, Case

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
NS = 1_000_000_000
_SPARSE = (200, 600, 2_000)
_BUSY = (8_000, 25_000, 90_000)
_FAULTY = (9_000, 75_000, 75_000, 150_000)
_HUGE = 5_000_000
_COLUMNS = [name for name in READS["sessions"] if name != "events"]
_ZONES = ("UTC", "Europe/Berlin", "Europe/London", "America/New_York", "Asia/Tokyo")
_SUMMER_TIME = (date(2026, 3, 25), date(2026, 10, 21), date(2026, 10, 28), date(2026, 3, 5))


_SORTS = ("faults", "clean", "faults", "faults", "clean", "faults", "other faults", "clean", "faults",
          "other clean")  # fmt: skip
_EACH = 12
"""Faults of a week: two on each day but the first."""


@dataclass
class Label:
    """Something that goes wrong, and when.

    Attributes:
        case: name of the `Case`.
        size: of this one.
        start_s, end_s: seconds since 1970.
        server: name of the server it strikes, if it is one.
        rate: sessions a minute in the hour before; filled in by who counts them.
    """

    case: str
    size: float
    start_s: float
    end_s: float
    server: str = ""
    rate: float = 0.0


@dataclass(frozen=True)
class Spec:
    """A week to be made.

    Attributes:
        seed: even: train; odd: test.
        sort: `clean`, `faults`, `other clean` and `other faults` (the second generator), `huge` (5 million
            sessions a day), `small` (attacks on a site of 200).
    """

    seed: int
    sort: str


@dataclass
class Made:
    """A week.

    Attributes:
        per_day: sessions on an average day.
        labels: what goes wrong.
        start_s: its first second, since 1970.
        mail: whether messages and deliveries are made.
        batches: tables and their batches, in order of time; to be taken once.
    """

    per_day: float
    labels: list[Label]
    start_s: float
    mail: bool
    batches: Iterator[tuple[str, pa.RecordBatch]]


def specs(split: str, weeks: int, huge: int = 0) -> list[Spec]:
    """The weeks of a split: of ten, four are clean; one of each sort is of the other kind."""
    odd = {"train": 0, "test": 1}[split]
    found = [Spec(2 * number + odd, _SORTS[number % len(_SORTS)]) for number in range(weeks)]
    return found + [Spec(200_000 + 2 * number + odd, "huge") for number in range(huge)]


def smoke() -> list[Spec]:
    """Two small weeks, for a look at whether everything runs."""
    return [Spec(1, "small"), Spec(3, "clean")]


def make(spec: Spec) -> Made:
    """Draw a week."""
    if spec.sort.startswith("other"):
        return _other(spec)
    return _simulated(spec)


# --- simulated ----------------------------------------------------------------------------------------------


def _simulated(spec: Spec) -> Made:
    chance = np.random.default_rng([spec.seed, 71])
    clean = spec.sort == "clean"
    if spec.sort in ("huge", "small"):
        per_day = float(_HUGE if spec.sort == "huge" else _SPARSE[0])
    elif clean:
        sizes = _SPARSE if chance.random() < 0.5 else _BUSY
        per_day = float(chance.choice(sizes) * chance.uniform(0.8, 1.25))
    else:
        per_day = float(chance.choice(_FAULTY) * chance.uniform(0.85, 1.2))
    options = _site(spec.seed, per_day, chance)
    cases = [] if clean else _cases(spec, per_day)
    labels, faults = _placed(cases, options, chance)
    if (clean and chance.random() < 0.6) or (not clean and chance.random() < 0.25):
        faults += _negatives(options, chance, per_day)
    options = replace(options, faults=tuple(faults))
    mail = spec.sort != "huge"
    return Made(per_day, labels, options.start_ns / NS, mail, _tables(options, mail))


def _site(seed: int, per_day: float, chance: np.random.Generator) -> Options:
    """How the site is: its servers, its rhythm, its restlessness, its clients."""
    first = date(2026, 1, 5) + timedelta(days=int(chance.integers(0, 350)))
    if chance.random() < 0.2:
        first = _SUMMER_TIME[int(chance.integers(0, len(_SUMMER_TIME)))]
    holidays = ()
    if chance.random() < 0.25:
        holidays = (first + timedelta(days=int(chance.integers(1, 7))),)
    mail = chance.uniform(0.4, 0.7)
    bots = chance.uniform(0.15, 0.45)
    users = chance.uniform(0.05, 0.25)
    return Options(
        sessions=int(7 * per_day),
        start=datetime(first.year, first.month, first.day, tzinfo=UTC),
        duration_s=WEEK_S,
        seed=seed,
        balancers=balancers(int(chance.choice((1, 1, 2)))),
        servers=servers(int(chance.choice((2, 3, 4, 4, 6)))),
        shares=(mail, bots, users, 0.005),
        unrest=float(chance.choice((0.0, 0.04, 0.08, 0.12))),
        growth=float(chance.choice((0.0, 0.0, 0.1, 0.3))),
        zone=str(chance.choice(_ZONES)),
        holidays=holidays,
        overlap=float(chance.uniform(0.02, 0.2)),
        rhythm=float(chance.choice((1.0, 1.0, 0.6))),
        talk=float(chance.uniform(0.6, 1.6)),
        connect_ms=float(chance.uniform(0.8, 6.0)),
    )


def _cases(spec: Spec, per_day: float) -> list[Case]:
    """Which faults the week has: every case comes as often as the others, over some weeks."""
    rate = max(per_day / 1440, 1.0)
    fitting = [
        case
        for case in CASES
        if case.simulated and 0.5 * case.least_rate <= 1.3 * rate and rate <= case.most_rate
    ]
    turn = sum(sort == "faults" for sort in _SORTS[: spec.seed // 2 % len(_SORTS)])
    turn += spec.seed // 2 // len(_SORTS) * _SORTS.count("faults")
    order = np.random.default_rng([turn * _EACH // len(fitting), 5]).permutation(len(fitting))
    first = turn * _EACH % len(fitting)
    return [fitting[int(order[(first + n) % len(fitting)])] for n in range(min(_EACH, len(fitting)))]


def _placed(
    cases: list[Case], options: Options, chance: np.random.Generator
) -> tuple[list[Label], list[Fault]]:
    """Two faults on each day, the first left alone: one in the morning, one in the afternoon."""
    labels, faults = [], []
    start = options.start_ns / NS
    offset = options.start.replace(tzinfo=UTC).astimezone(ZoneInfo(options.zone)).utcoffset()
    local = 0.0 if offset is None else offset.total_seconds()
    for number, case in enumerate(cases):
        day = 1 + number // 2
        hour = chance.uniform(15, 20) if number % 2 else chance.uniform(6, 11)
        at = max(day * DAY_S + hour * 3600 - local, DAY_S)
        at = min(at, WEEK_S - case.minutes * 60 - 1800)
        at = float(round(at))
        stated = chance.random() < 0.5
        size = case.stated if stated else float(chance.choice(case.sizes))
        server = int(chance.integers(0, len(options.servers))) if case.one_server else None
        destination = int(chance.integers(0, 3)) if case.fault == "deferrals" else None
        length = case.minutes * 60
        faults.append(Fault(case.fault, at, length, size, server, destination=destination))
        name = options.servers[server].name if server is not None else ""
        labels.append(Label(case.name, size, start + at, start + at + length, name))
    return labels, faults


def _negatives(options: Options, chance: np.random.Generator, per_day: float) -> list[Fault]:
    """What looks unusual and is in order, at moments of their own."""
    found = []
    rate = per_day / 1440
    for kind in NEGATIVES:
        if chance.random() < 0.5:
            continue
        at = float(round(chance.uniform(1, 6) * DAY_S + 3 * 3600))
        if kind == "newsletter":
            found.append(Fault(kind, at, 1800, max(1.0, rate * chance.uniform(0.3, 1.2))))
        elif kind == "monitor":
            found.append(Fault(kind, at, None, float(chance.choice((1, 2, 6)))))
        elif kind == "deployment":
            found.append(Fault(kind, at, 1800, float(chance.uniform(60, 150))))
        else:
            server = int(chance.integers(0, len(options.servers)))
            found.append(Fault(kind, at, float(chance.uniform(10, 90)), 1.0, server))
    return found


def _tables(options: Options, mail: bool) -> Iterator[tuple[str, pa.RecordBatch]]:
    simulation = Simulation(options)
    for block in simulation.blocks():
        made = Tables(simulation, block)
        yield "sessions", made.sessions(_COLUMNS)
        if mail:
            for name in ("messages", "deliveries"):
                yield name, made.table(name)


# --- of another kind ----------------------------------------------------------------------------------------

_OTHERS: tuple[tuple[str, str, float], ...] = (
    ("surge", "volume_surge", 2.0),
    ("drop", "volume_drop", 0.5),
    ("silence", "silence", 1.0),
    ("ramp", "ramp", 3.0),
    ("heavy_client", "heavy_client", 20),
    ("heavy_network", "heavy_network", 40),
    ("rejects", "reject_shift", 0.1),
    ("aborts", "termination_shift", 0.1),
    ("auth_guessing", "auth_guessing", 4),
    ("auth_guessing_distributed", "auth_guessing_distributed", 4),
    ("pregreet_wave", "pregreet_wave", 40),
    ("dnsbl_surge", "dnsbl_surge", 40),
    ("slow_connect", "connect_latency", 2.0),
    ("slow_connect, one server", "server_latency", 2.0),
    ("slow_session", "session_latency", 2.0),
    ("slow_delivery_connect", "delivery_latency", 10),
    ("server_rejects", "server_worse", 0.1),
    ("server_down", "server_down", 1.0),
    ("imbalance", "imbalance", 0.5),
    ("flapping", "flapping", 7.5),
    ("no_server", "no_server", 1.0),
    ("deferrals", "deferral_growth", 1.0),
    ("backscatter", "backscatter", 40),
    ("slow_client", "hoarding", 5),
    ("user_enumeration", "user_enumeration", 20),
    ("account_takeover", "account_takeover", 10),
    ("mta_log_loss", "unmatched", 0.02),
    ("log_gap", "log_gap", 1.0),
    ("bypass", "bypass", 0.3),
    ("clock_step", "clock_step", 5),
    ("clock_drift", "clock_drift", 20),
    ("masked", "masking", 1.0),
    ("sender_size", "sender_size", 30),
    ("sender_recipients", "sender_recipients", 8),
    ("listener_scan", "listener_scan", 5),
    ("queue_growth", "queue_growth", 8),
)  # fmt: skip
"""Case, the other generator's name of it, and a size that is about the stated one."""


def _other(spec: Spec) -> Made:
    chance = np.random.default_rng([spec.seed, 72])
    clean = spec.sort.endswith("clean")
    per_day = float(chance.choice((200, 2_000, 20_000)) if clean else 90_000)
    count = int(chance.choice((2, 3, 4)))
    names = [f"mx-{chr(97 + n)}" for n in range(count)]
    labels, faults = [], []
    if not clean:
        order = np.random.default_rng(6).permutation(len(_OTHERS))
        first = spec.seed // 2 // len(_SORTS) * _EACH
        for number in range(_EACH):
            case_name, kind, size = _OTHERS[int(order[(first + number) % len(_OTHERS)])]
            case = BY_NAME[case_name]
            hour = chance.uniform(15, 19) if number % 2 else chance.uniform(8, 11)
            at = (1 + number // 2) * DAY_S + hour * 3600
            server = int(chance.integers(0, count))
            length = case.minutes * 60
            faults.append(holdout.Fault(kind, at, length, size, str(server)))
            start = holdout.START_S + at
            name = names[server] if case.one_server else ""
            labels.append(Label(case_name, case.stated, start, start + length, name))
    extras = tuple(
        name
        for name in ("newsletter", "monitor", "deployment", "rotation", "summer_time", "reports", "prober")
        if clean and chance.random() < 0.4
    )
    week = holdout.Week(
        spec.seed, per_day, faults, servers=count, noise=float(chance.uniform(0.02, 0.1)),
        holiday=int(chance.integers(1, 5)) if chance.random() < 0.2 else None,
        growth=float(chance.choice((1.0, 1.2))), extras=extras,
    )  # fmt: skip
    return Made(per_day, labels, float(holdout.START_S), True, week.batches())
