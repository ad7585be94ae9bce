"""Who comes when, and under which conditions: what the kernels are handed for each stretch of time.

Time is cut into stretches at a regular grid and wherever a fault begins or ends. Each stretch has a number
of sessions of each stream (drawn once, so that the total is known before the first session), and a row of
conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from logscope.simulate import rhythm
from logscope.simulate.faults import KINDS, Fault
from logscope.simulate.layout import *
from logscope.simulate.site import SERVICES, STREAMS, Options

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MOST_STRETCHES = 100_000
_SESSIONS_A_STRETCH = 8192
NOTICED_S = 6.0
"""Three failed checks, two seconds apart (`fall 3 inter 2s`): until then a dead server gets sessions."""


@dataclass(frozen=True)
class Plan:
    """What happens when.

    Attributes:
        edges: ns, where stretches begin and end; one more than there are stretches.
        counts: sessions of each stream in each stretch.
        condition: of each stretch the row in `conditions`.
        conditions: for each server V_…, then G_… for all.
        streams: Q_… of each stream.
        clients: how many there are in all streams.
    """

    edges: Ints
    counts: Ints
    condition: Ints
    conditions: Floats
    streams: Floats
    clients: int

    @property
    def sessions(self) -> int:
        """How many there will be."""
        return int(self.counts.sum())


def make_plan(options: Options) -> Plan:
    """Draw the plan that the options describe."""
    edges_s = _edges_s(options)
    middle_s = (edges_s[1:] + edges_s[:-1]) / 2
    width_s = np.diff(edges_s)
    streams, clients = _streams(options)
    counts = np.zeros((len(middle_s), len(streams)), np.int64)
    chance = np.random.default_rng([options.seed, 1])
    _ordinary(options, counts, middle_s, width_s, chance)
    for row, stream in enumerate(streams):
        number = int(stream[Q_FAULT])
        if number >= 0:
            rate = _extra_a_minute(options.faults[number])
            active = _active(options.faults[number], options, middle_s)
            counts[:, row] = chance.poisson(np.where(active, rate * width_s / 60.0, 0.0))
    condition, conditions = _conditions(options, middle_s)
    edges = options.start_ns + np.round(edges_s * 1e9).astype(np.int64)
    return Plan(edges, counts, condition, conditions, np.array(streams), clients)


# --- time ---------------------------------------------------------------------------------------------------


def _edges_s(options: Options) -> Floats:
    stretches = max(options.duration_s / 60.0, options.sessions / _SESSIONS_A_STRETCH, 1.0)
    grid = np.linspace(0.0, options.duration_s, int(min(stretches, _MOST_STRETCHES)) + 1)
    special = [edge for fault in options.faults for edge in _moments_s(fault, options)]
    inside = [edge for edge in special if 0.0 < edge < options.duration_s]
    return np.unique(np.concatenate([grid, inside]))


def _moments_s(fault: Fault, options: Options) -> Iterable[float]:
    """When something changes because of a fault."""
    end_s = fault.end_s(options.duration_s)
    yield from (fault.start_s, end_s)
    if fault.kind in ("server_down", "no_server"):
        yield from (fault.start_s + NOTICED_S,)
    for start_s, stop_s, _ in down_times(fault, options):
        yield from (start_s, start_s + NOTICED_S, stop_s)


def down_times(fault: Fault, options: Options) -> list[tuple[float, float, int]]:
    """From when until when which server is down because of a fault, in seconds after the start."""
    end_s = fault.end_s(options.duration_s)
    struck = range(len(options.servers)) if fault.server is None else (fault.server,)
    if fault.kind == "no_server":
        return [(fault.start_s, end_s, server) for server in range(len(options.servers))]
    if fault.kind == "server_down":
        return [(fault.start_s, end_s, server) for server in struck]
    if fault.kind == "flapping":
        period_s = 3600.0 / max(fault.magnitude, 1e-3)
        times = int(min((end_s - fault.start_s) / period_s, 10_000))
        return [
            (fault.start_s + n * period_s, fault.start_s + (n + 0.5) * period_s, server)
            for n in range(times)
            for server in struck
        ]
    if fault.kind == "deployment":
        return [
            (fault.start_s + n * 1.5 * fault.magnitude, fault.start_s + (n * 1.5 + 1) * fault.magnitude, n)
            for n in range(len(options.servers))
        ]
    return []


def _active(fault: Fault, options: Options, moments_s: Floats) -> NDArray[np.bool_]:
    return (moments_s >= fault.start_s) & (moments_s < fault.end_s(options.duration_s))


# --- how many -----------------------------------------------------------------------------------------------


def _ordinary(
    options: Options, counts: Ints, middle_s: Floats, width_s: Floats, chance: np.random.Generator
) -> None:
    """The sessions of the ordinary streams, then more or fewer of them where a fault says so."""
    share = np.zeros((len(middle_s), len(STREAMS)))
    shares = (1.0, 0.0, 0.0, 0.0) if options.one_address else options.shares
    for row, (stream, wanted) in enumerate(zip(STREAMS, shares, strict=True)):
        rate = rhythm.rates(stream, middle_s, options) * width_s
        share[:, row] = wanted / sum(shares) * rate / rate.sum()
    share /= share.sum()
    counts[:, : len(STREAMS)] = chance.multinomial(options.sessions, share.ravel()).reshape(share.shape)
    for fault in options.faults:
        factor = np.where(_active(fault, options, middle_s), _factor(fault, options, middle_s), 1.0)[:, None]
        if (factor == 1.0).all():
            continue
        ordinary = counts[:, : len(STREAMS)]
        ordinary += chance.poisson(options.sessions * share * np.maximum(factor - 1.0, 0.0))
        np.copyto(
            ordinary, chance.binomial(ordinary, np.broadcast_to(np.minimum(factor, 1.0), ordinary.shape))
        )


def _factor(fault: Fault, options: Options, moments_s: Floats) -> Floats:
    """What the rate of all ordinary streams is multiplied by."""
    if fault.kind == "surge":
        return np.full(len(moments_s), fault.magnitude)
    if fault.kind in ("drop", "silence"):
        return np.full(len(moments_s), 1.0 - fault.magnitude)
    if fault.kind == "ramp":
        length_s = fault.end_s(options.duration_s) - fault.start_s
        return 1.0 + (fault.magnitude - 1.0) * (moments_s - fault.start_s) / max(length_s, 1e-9)
    return np.ones(len(moments_s))


def _extra_a_minute(fault: Fault) -> float:
    """Sessions a minute of the stream that a fault adds."""
    if fault.kind == "auth_guessing_distributed":
        return fault.magnitude * 1.5 / 60.0  # each address comes once or twice an hour
    if fault.kind == "slow_client":
        return fault.magnitude / (_HOLD_S / 60.0)
    return fault.magnitude


# --- streams ------------------------------------------------------------------------------------------------

_HOLD_S = 600.0
_KNOWN_SENDER = 3

_MIXES: dict[str, dict[int, float]] = {
    "mail": {
        B_DELIVERED: 0.868, B_UNKNOWN_USER: 0.05, B_RELAY_DENIED: 0.006, B_HELO_REJECTED: 0.004,
        B_SENDER_REJECTED: 0.008, B_LOST_CONNECT: 0.014, B_LOST_EHLO: 0.008, B_LOST_RCPT: 0.008,
        B_LOST_DATA: 0.006, B_QUIT: 0.025, B_TIMEOUT: 0.002, B_TOO_MANY_ERRORS: 0.001,
    },
    "bots": {
        B_LISTED: 0.38, B_DENYLISTED: 0.05, B_PREGREET: 0.2, B_SCREEN_HANGUP: 0.18,
        B_BAD_PASSWORD: 0.04, B_RELAY_DENIED: 0.04, B_UNKNOWN_USER: 0.05, B_LOST_EHLO: 0.03,
        B_DELIVERED: 0.03,
    },
    "users": {B_DELIVERED: 0.955, B_BAD_PASSWORD: 0.02, B_QUIT: 0.015, B_LOST_DATA: 0.01},
    "monitor": {B_QUIT: 1.0},
    "heavy_client": {B_DELIVERED: 0.9, B_UNKNOWN_USER: 0.1},
    "heavy_network": {B_DELIVERED: 0.8, B_UNKNOWN_USER: 0.2},
    "auth_guessing": {B_BAD_PASSWORD: 1.0},
    "auth_guessing_distributed": {B_BAD_PASSWORD: 1.0},
    "pregreet_wave": {B_PREGREET: 1.0},
    "dnsbl_surge": {B_LISTED: 1.0},
    "backscatter": {B_UNKNOWN_USER: 0.85, B_DELIVERED: 0.15},
    "slow_client": {B_HOARD: 1.0},
    "user_enumeration": {B_UNKNOWN_USER: 0.7, B_TOO_MANY_ERRORS: 0.3},
    "port_scan": {B_SCREEN_HANGUP: 0.5, B_LOST_CONNECT: 0.5},
    "account_takeover": {B_DELIVERED: 0.97, B_BAD_PASSWORD: 0.03},
    "bypass": {B_DELIVERED: 0.6, B_RELAY_DENIED: 0.2, B_UNKNOWN_USER: 0.2},
    "newsletter": {B_DELIVERED: 0.985, B_UNKNOWN_USER: 0.015},
    "monitor_new": {B_QUIT: 1.0},
}  # fmt: skip


def _stream(first: int, clients: int, mix: str, **columns: float) -> Floats:
    row = np.zeros(Q_WIDTH)
    row[[Q_FIRST, Q_CLIENTS, Q_TAIL, Q_FAULT, Q_SIZE, Q_RECIPIENTS, Q_MESSAGES, Q_TRIES, Q_HOLD, Q_PAST]] = (
        first, clients, 1.0, -1, 1.0, 1.15, 1.06, 1.0, _HOLD_S, -1,
    )  # fmt: skip
    for name, value in columns.items():
        row[_STREAM_COLUMNS[name]] = value
    shares = np.array([_MIXES[mix].get(behaviour, 0.0) for behaviour in range(B_COUNT)])
    kept_away = shares[B_LISTED : B_SCREEN_HANGUP + 1].sum()
    row[Q_SPLIT] = clients >= 8 and 0.0 < kept_away < 1.0
    row[Q_MIX:] = np.cumsum(shares) / shares.sum()
    return row


_STREAM_COLUMNS = {
    "tail": Q_TAIL, "again": Q_AGAIN, "service": Q_SERVICE, "near": Q_NEAR, "fault": Q_FAULT, "size": Q_SIZE,
    "recipients": Q_RECIPIENTS, "messages": Q_MESSAGES, "users": Q_USERS, "first_user": Q_FIRST_USER,
    "tries": Q_TRIES, "past": Q_PAST,
}  # fmt: skip


def _streams(options: Options) -> tuple[list[Floats], int]:
    """The rows of all streams and the number of clients: the ordinary ones, then those that faults add."""
    clients = options.population
    again = options.overlap
    mail, bots, users = (1, 1, 1) if options.one_address else (clients // 3, clients // 2, clients // 6)
    users_first = mail + bots
    streams = [
        _stream(0, mail, "mail", tail=3.5, again=again),
        _stream(mail, bots, "bots", tail=1.6, again=again / 2),
        _stream(users_first, users, "users", tail=1.8, again=again, service=1, users=users),
        _stream(users_first + users, 2, "monitor"),
    ]
    first = users_first + users + 2
    for number, fault in enumerate(options.faults):
        row = _added(fault, number, first, users)
        if row is not None:
            streams.append(row)
            first += int(row[Q_CLIENTS])
    return streams, first


def _added(fault: Fault, number: int, first: int, users: int) -> Floats | None:
    """The stream that a fault adds, if it is of that kind."""
    kind = fault.kind
    service = 0 if fault.service is None else SERVICES.index(fault.service)

    def one(clients: int, **columns: float) -> Floats:
        return _stream(first, clients, kind, fault=number, **{"service": service, **columns})

    if kind in ("heavy_client", "user_enumeration", "port_scan", "backscatter"):
        return one(1 if kind != "backscatter" else 60, tail=1.5)
    if kind == "newsletter":
        # one that has come before, and often: among the first of the other mail servers
        return _stream(_KNOWN_SENDER, 1, kind, fault=number, recipients=6.0, messages=3.0, size=4.0)
    if kind == "heavy_network":
        return one(200, near=1)
    if kind == "auth_guessing":
        return one(1, users=40, tries=3.0, service=1 if fault.service is None else service)
    if kind == "auth_guessing_distributed":
        sources = max(int(fault.magnitude), 1)
        return one(sources, users=12, service=1 if fault.service is None else service)
    if kind in ("pregreet_wave", "dnsbl_surge"):
        return one(400, tail=1.3)
    if kind == "slow_client":
        return one(1)
    if kind == "account_takeover":
        return one(
            3, users=1, first_user=min(users - 1, 7), recipients=12.0, messages=2.0, size=0.5, service=1
        )
    if kind == "bypass":
        return one(20, past=fault.server or 0)
    if kind == "monitor":
        return _stream(first, 1, "monitor_new", fault=number)
    return None


# --- conditions ---------------------------------------------------------------------------------------------


def _conditions(options: Options, middle_s: Floats) -> tuple[Ints, Floats]:
    """Of each stretch a row of conditions; equal ones are kept once."""
    active = [_active(fault, options, middle_s) for fault in options.faults]
    rows: dict[tuple[object, ...], int] = {}
    made: list[Floats] = []
    condition = np.zeros(len(middle_s), np.int64)
    down = [
        (number, *span) for number, fault in enumerate(options.faults) for span in down_times(fault, options)
    ]
    changes = _changes(active, down, middle_s)
    for first, last in pairwise(changes):
        at_s = middle_s[first]
        now = tuple(number for number, mask in enumerate(active) if mask[first])
        dead = tuple(
            (number, server, at_s < start + NOTICED_S and options.faults[number].kind != "deployment")
            for number, start, stop, server in down
            if start <= at_s < stop
        )
        row = rows.get((now, dead))
        if row is None:
            row = rows[now, dead] = len(made)
            made.append(_condition(options, now, dead))
        condition[first:last] = row
    return condition, np.array(made)


def _changes(
    active: Sequence[NDArray[np.bool_]], down: Sequence[tuple[int, float, float, int]], middle_s: Floats
) -> list[int]:
    """The stretches at which conditions can change, and the number of stretches at the end."""
    found = {0, len(middle_s)}
    for mask in active:
        found.update((np.flatnonzero(np.diff(mask.astype(np.int8))) + 1).tolist())
    for _, start, stop, _ in down:
        found.update(np.searchsorted(middle_s, [start, start + NOTICED_S, stop]).tolist())
    return sorted(found)


def _condition(options: Options, active: Sequence[int], dead: Sequence[tuple[int, int, bool]]) -> Floats:
    """Conditions under these faults, for each server and for all."""
    each = np.zeros((len(options.servers), C_CONDITIONS))
    each[:, [C_WEIGHT, C_CONNECT, C_SCREEN, C_TALK, C_DNSBL]] = 1.0
    each[:, C_FAULT] = -1
    each[:, C_SKEW] = [host.skew_s * 1e9 for host in options.servers]
    if options.header == "none":
        each[:, [C_HEADER_SMTP, C_HEADER_SUBMISSION]] = H_MASKED
        each[:, [C_SHARE_SMTP, C_SHARE_SUBMISSION]] = 1.0
    common = np.zeros(G_WIDTH)
    common[[G_DESTINATION, G_BALANCER, G_FAULT]] = -1
    common[[G_BEFORE_QUEUE, G_IN_QUEUE, G_CONNECT, G_TRANSMIT, G_SIZE]] = 1.0
    for number in active:
        fault = options.faults[number]
        struck = slice(None) if fault.server is None else slice(fault.server, fault.server + 1)
        _strike(fault, number, each[struck], common, options)
    for number, server, unnoticed in dead:
        each[server, C_FAULT] = number
        if unnoticed:
            each[server, C_REFUSE] = 1.0
        else:
            each[server, C_WEIGHT] = 0.0
    return np.concatenate([each.ravel(), common])


_SERVER_EFFECTS = {
    "slow_queue": C_QUEUE,
    "slow_connect": C_CONNECT,
    "slow_screen": C_SCREEN,
    "slow_session": C_TALK,
    "server_rejects": C_REJECT,
    "server_cut": C_ABORT,
    "imbalance": C_WEIGHT,
    "mta_log_loss": C_LOSE,
    "log_gap": C_LOSE,
    "rotation_gap": C_LOSE,
}
_COMMON_EFFECTS = {
    "rejects": G_POLICY,
    "aborts": G_LEAVE,
    "bounces": G_UNKNOWN,
    "balancer_log_loss": G_LOSE,
    "large_messages": G_SIZE,
    "slow_delivery_before_queue": G_BEFORE_QUEUE,
    "slow_delivery_in_queue": G_IN_QUEUE,
    "slow_delivery_connect": G_CONNECT,
    "slow_delivery_transmit": G_TRANSMIT,
}
_HEADER_EFFECTS = {"masked": H_MASKED, "header_missing": H_MISSING, "header_unexpected": H_UNEXPECTED}


def _strike(fault: Fault, number: int, each: Floats, common: Floats, options: Options) -> None:
    """Change the conditions of the servers struck, and of all."""
    kind, size = fault.kind, fault.magnitude
    if kind in _SERVER_EFFECTS:
        each[:, _SERVER_EFFECTS[kind]] = size
        each[:, C_FAULT] = number
    elif kind in _COMMON_EFFECTS:
        common[[_COMMON_EFFECTS[kind], G_FAULT]] = size, number
        if kind == "balancer_log_loss" and fault.balancer is not None:
            common[G_BALANCER] = fault.balancer
    elif kind in _HEADER_EFFECTS:
        for service, header, share in (
            ("smtp", C_HEADER_SMTP, C_SHARE_SMTP),
            ("submission", C_HEADER_SUBMISSION, C_SHARE_SUBMISSION),
        ):
            if fault.service in (None, service):
                each[:, header] = _HEADER_EFFECTS[kind]
                each[:, share] = size
        each[:, C_FAULT] = number
    elif kind == "dnsbl_down":
        each[:, C_DNSBL] = 1.0 - size
        each[:, C_FAULT] = number
    elif kind == "clock_step":
        each[:, C_SKEW] += size * 1e9
    elif kind == "clock_drift":
        each[:, C_DRIFT] = size * 1e9 / 3600.0
        each[:, C_SINCE] = fault.start_s
    elif kind == "deferrals":
        until = options.start_ns + fault.end_s(options.duration_s) * 1e9
        common[[G_DESTINATION, G_DEFER, G_UNTIL, G_FAULT]] = fault.destination or 0, size, until, number


def labels(options: Options) -> list[dict[str, object]]:
    """What was made to happen, one row for each fault, in the order of their beginnings.

    Keys: `fault` (number), `kind`, `start` and `end` (ns since 1970 UTC), `size`, `scope`, `server`,
    `balancer`, `service`, `destination` (None where it is not about one), `hard_negative`.
    """
    rows: list[dict[str, object]] = []
    for number, fault in sorted(enumerate(options.faults), key=lambda entry: (entry[1].start_s, entry[0])):
        kind = KINDS[fault.kind]
        one_server = kind.scope == "server" and fault.server is not None
        rows.append(
            {
                "fault": number,
                "kind": fault.kind,
                "start": options.start_ns + round(fault.start_s * 1e9),
                "end": options.start_ns + round(fault.end_s(options.duration_s) * 1e9),
                "size": fault.magnitude,
                "scope": kind.scope if kind.scope != "server" or one_server else "fleet",
                "server": None if fault.server is None else options.servers[fault.server].name,
                "balancer": None if fault.balancer is None else options.balancers[fault.balancer].name,
                "service": fault.service,
                "destination": fault.destination,
                "hard_negative": kind.negative,
            }
        )
    return rows
