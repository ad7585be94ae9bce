"""Single clients, networks and accounts: who did too much, and who is new and brings much."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from logscope.detect.anomalies.actors import Burst
from logscope.detect.anomalies.contributors import BUCKET_S, Contributors
from logscope.detect.anomalies.explain import (
    Cause,
    burst_explains,
    crowds,
    heavy_explains,
    mailing_explains,
    overlap,
    stem,
)
from logscope.detect.anomalies.panels import FLEET, Scope
from logscope.detect.anomalies.senders import SIZE, domain_of
from logscope.detect.anomalies.sorting import Sorter

_MANY_TIMES = 5
"""As many sessions as with unknown recipients: it brings mail."""
_AS_BEFORE = 0.25
_MANY_SENDERS = 3
"""So many senders of one domain that change at one time have one cause."""


def actors(sorter: Sorter) -> None:
    for kind in (
        "auth_guessing",
        "user_enumeration",
        "account_takeover",
        "connection_hoarding",
        "port_scan",
        "connection_scan",
    ):
        bursts = [one for one in sorter.signs.gathered.actors[kind].take() if not sorter.allowed(one.actor)]
        if kind == "user_enumeration":
            bursts = [one for one in bursts if not _mails_others(sorter, one)]
        for crowd in crowds(bursts):
            _one_crowd(sorter, kind, crowd)
    _senders(sorter)


def _mails_others(sorter: Sorter, burst: Burst) -> bool:
    """Whether most of what it brings is for users that there are, as of one with an old list of addresses:
    who tries names finds few.
    """
    codes = sorter.signs.gathered.sessions.code_numbers
    top = sorter.signs.gathered.clients.top
    every = top([int(codes("sessions", ["all"])[0])], burst.since, burst.until)[burst.actor]
    refused = top([int(codes("refused", ["unknown_user"])[0])], burst.since, burst.until)[burst.actor]
    return every >= _MANY_TIMES * max(refused, 1)


def _senders(sorter: Sorter) -> None:
    """Senders that changed: each by itself, but those of a domain that changes as a whole, and several of one
    domain at one time, are one matter.
    """
    by_domain: dict[tuple[str, bool], list[Burst]] = defaultdict(list)
    for burst in sorter.signs.gathered.senders.take():
        if not (sorter.allowed(burst.actor) or _known_to_send(sorter, burst) or _as_others(sorter, burst)):
            by_domain[domain_of(burst.actor), burst.is_account].append(burst)
    for (domain, accounts), bursts in by_domain.items():
        for crowd in crowds(bursts):
            company = max(one.company for one in crowd)
            if company and not accounts:
                others = max(company, len(crowd) - 1)
                where = f"{others:,} others of {domain}" if domain else f"{others:,} others"
                _one_crowd(sorter, "sender_shift", crowd, f"{where} changed with it, as with a newsletter")
            elif company or len(crowd) >= _MANY_SENDERS:
                _one_crowd(sorter, "sender_shift", crowd)
            else:
                for burst in crowd:
                    _one_crowd(sorter, "sender_shift", [burst])


def _known_to_send(sorter: Sorter, burst: Burst) -> bool:
    """Whether it is told already that this account sends far too much."""
    return any(
        one.kind == "account_takeover"
        and burst.actor in one.who
        and burst.since <= one.end + 1800
        and one.since <= burst.until + 1800
        for one in sorter.found
    )


def _as_others(sorter: Sorter, burst: Burst) -> bool:
    """Whether the messages of everybody are larger: then it is no matter of one sender."""
    if burst.what != SIZE:
        return False
    return any(
        sign.since - 600 <= burst.until and burst.since <= sign.end + 600 and burst.count < 0.3 * sign.excess
        for sign in sorter.of("size")
    )


def _one_crowd(sorter: Sorter, kind: str, bursts: list[Burst], ordinary: str = "") -> None:
    """Bursts of one kind at one time: one actor, or several that act alike."""
    first = bursts[0]
    over = all(one.over for one in bursts)
    who: Counter[str] = Counter()
    for one in bursts:
        who[one.actor] += one.count
    name = {"account_takeover": "user", "sender_shift": "sender"}.get(kind, "client")
    domain = domain_of(first.actor) if kind == "sender_shift" else ""
    many = f"{len(who)} {name}s of {domain}" if domain else f"{len(who)} {name}s"
    scope = Scope(name, first.actor) if len(who) == 1 else Scope(name, many)
    cause = Cause(
        kind, scope, first.since, first.detected, max(one.until for one in bursts) if over else None,
        sum(who.values()), first.usual, burst=first, who=who, clients=len(who),
    )  # fmt: skip
    if kind == "auth_guessing" and len(who) >= 8:
        cause.kind, cause.scope = "auth_guessing_distributed", FLEET
    sorter.take(cause, mailing_explains if ordinary else burst_explains, ordinary)


def newcomers(sorter: Sorter) -> None:
    """Clients and networks that were never seen before and at once bring much."""
    for cause in _heavy(sorter, "client"):
        _judge_heavy(sorter, cause)
    for cause in _heavy(sorter, "network"):
        inside = [one for one in sorter.found if one.kind == "heavy_client" and overlap(one, cause)]
        if not inside:
            _judge_heavy(sorter, cause)


def _judge_heavy(sorter: Sorter, cause: Cause) -> None:
    bursts = [one for one in sorter.found if one.burst is not None and overlap(one, cause)]
    name = cause.scope.name
    if any(one.kind == "account_takeover" for one in bursts):
        return  # that is where the taken account is used from
    if sorter.allowed(name) or any(
        who == name or who.startswith(stem(name)) for one in bursts for who in one.who
    ):
        return
    sorter.take(cause, heavy_explains, cause.ordinary)


def _heavy(sorter: Sorter, kind: str) -> Iterator[Cause]:
    signs = sorter.signs
    table = signs.gathered.clients if kind == "client" else signs.gathered.networks
    code = signs.gathered.sessions.code_numbers("sessions", ["all"])[0]
    warm = max(signs.first_s + 3600, signs.judged_s)
    runs: dict[str, Cause] = {}
    recent: dict[str, int] = {}
    done: list[Cause] = []
    for bucket in table.buckets(int(code)):
        here = table.in_bucket(int(code), bucket)
        total = table.total.get((int(code), bucket), 0)
        before_total = table.total.get((int(code), bucket - 1), 0)
        begin = float(bucket * BUCKET_S)
        if begin < warm:
            recent = dict(here)
            continue
        for name, count in here.items():
            if name in runs and begin <= runs[name].end + 2 * BUCKET_S:
                if count >= 8:
                    runs[name].until = begin + BUCKET_S
                    runs[name].observed += count
                continue
            if not sorter.is_new(name, begin):
                continue
            both = count + recent.get(name, 0)
            if both < 60 or both < 0.06 * (total + before_total):
                continue
            if _was_there(table, int(code), bucket, name, both):
                continue
            if (
                kind == "network"
                and max(
                    (
                        n
                        for client, n in signs.gathered.clients.in_bucket(int(code), bucket).items()
                        if client.startswith(stem(name))
                    ),
                    default=0,
                )
                > 0.7 * count
            ):
                continue  # that is a client, not a network
            since = begin - (BUCKET_S if recent.get(name, 0) > 0.3 * count else 0)
            cause = Cause(
                f"heavy_{kind}", Scope(kind, name), since, min(begin + BUCKET_S, signs.now_s), begin +
                BUCKET_S, both, 0.0, who=Counter({name: both}),
            )  # fmt: skip
            runs[name] = cause
            done.append(cause)
        recent = dict(here)
    for cause in done:
        cause.ordinary = _why_ordinary(sorter, cause)
        if cause.end >= signs.now_s - BUCKET_S:
            cause.until = None
        yield cause


def _was_there(table: Contributors, code: int, bucket: int, name: str, both: int) -> bool:
    """Whether it came in the hour before as well: in a short log everybody was seen for the first time not
    long ago, and who stays while others go has a larger part.
    """
    earlier = [table.in_bucket(code, bucket - back)[name] for back in range(2, 14)]
    return sum(earlier) / len(earlier) >= _AS_BEFORE * both / 2


def _why_ordinary(sorter: Sorter, cause: Cause) -> str:
    """A monitor connects and quits, at a steady and modest rate."""
    length = max(cause.end - cause.since, 60.0)
    rate = cause.observed / length * 60
    quits = _counted(sorter, "outcome", "no_mail", cause)
    if quits >= 0.9 * cause.observed and rate <= 15:
        return "it connects and quits at a steady rate, as a monitor does"
    return ""


def _counted(sorter: Sorter, family: str, value: str, cause: Cause) -> int:
    """How often something happened to a cause's client."""
    code = sorter.signs.gathered.sessions.code_numbers(family, [value])[0]
    top = sorter.signs.gathered.clients.top([int(code)], cause.since, min(cause.end, sorter.signs.now_s))
    beginning = stem(cause.scope.name)
    return sum(count for name, count in top.items() if name.startswith(beginning))
