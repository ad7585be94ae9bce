"""What a cause explains: which signs begin while it lasts, and could have come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from logscope.detect.anomalies.actors import Burst
from logscope.detect.anomalies.clocks import ClockChange
from logscope.detect.anomalies.panels import FLEET, Scope
from logscope.detect.anomalies.signs import Sign

_BEFORE_S, _AFTER_S = 360.0, 240.0
"""A sign belongs to a cause if it begins so long before it, or so long after its end, at most."""
_BY_CHANCE_S = 3600.0
_RAMP_S = 1200.0
_SILENT_COUNT = 12.0
_COMES_S = 1800.0
"""So long after a newcomer, what it changed is seen."""
_AFTERMATH_S = 2700.0
"""What failed comes back in this time after an outage."""


@dataclass
class Cause:
    """What is wrong (or only looks so).

    Attributes:
        kind: of the finding.
        scope: where.
        sign: the sign that says most; None for an actor or a clock.
        since, detected, until: seconds since 1970.
        observed, expected: counts (or what the kind measures).
        who: busiest clients or networks, with their counts.
        signs: all signs that it explains.
        ordinary: why it is no finding.
        detail: a sentence more.
    """

    kind: str
    scope: Scope
    since: float
    detected: float
    until: float | None
    observed: float
    expected: float
    trials: float = 0.0
    sign: Sign | None = None
    burst: Burst | None = None
    clock: ClockChange | None = None
    who: Counter[str] = field(default_factory=Counter)
    clients: int = 0
    signs: list[Sign] = field(default_factory=list)
    ordinary: str = ""
    detail: str = ""

    @property
    def end(self) -> float:
        return float("inf") if self.until is None else self.until


def together(cause: Cause, sign: Sign) -> bool:
    """Whether a sign begins while a cause lasts."""
    after = _AFTERMATH_S if cause.kind in ("silence", "no_server", "drop") else _AFTER_S
    if sign.since > cause.end + after:
        return False
    # evidence may have begun to add up by chance before; that it became enough only then is what counts
    late = sign.detected >= cause.since and sign.since >= cause.since - _BY_CHANCE_S
    return late or sign.since >= cause.since - _BEFORE_S


def comings(sign: Sign) -> int:
    """How often a series went from next to nothing to what is usual while a sign lasts."""
    tick = sign.panel.ledger.tick_s
    first = int(sign.since) // tick
    observed, expected = sign.panel.plotted(
        sign.alarm, first, first + int(min(sign.end - sign.since, 21_600)) // tick
    )
    back, away, seen, due = 0, True, 0.0, 0.0
    for count, usual in zip(observed, expected, strict=True):
        seen, due = seen + count, due + usual
        if due < 6:
            continue
        if seen <= 0.25 * due:
            away = True
        elif away and seen >= 0.6 * due:
            away, back = False, back + 1
        seen, due = 0.0, 0.0
    return back


def meet(one: Sign, other: Sign) -> bool:
    return one.since <= other.end + 60 and other.since <= one.end + 60


def machine(scope: Scope) -> str:
    """The server itself, whichever backend names it."""
    return scope.name.rpartition("/")[2]


def same_clock(one: Cause, other: Cause) -> bool:
    """Whether two findings are about one machine's clock: seen through two backends, it is one."""
    return one.clock is not None and machine(one.scope) == machine(other.scope) and overlap(one, other)


def grows(sign: Sign) -> bool:
    """Whether it came by and by: each third of it further above the usual than the one before."""
    tick = sign.panel.ledger.tick_s
    first = int(sign.since) // tick
    last = max(int(sign.detected), int(min(sign.end, sign.since + 21_600.0))) // tick
    if not sign.up or (last - first) * tick < _RAMP_S:
        return False
    observed, expected = sign.panel.plotted(sign.alarm, first, last)
    thirds = [slice(n * len(observed) // 3, (n + 1) * len(observed) // 3) for n in range(3)]
    ratio = [sum(observed[part]) / max(sum(expected[part]), 1.0) for part in thirds]
    return ratio[0] < ratio[1] < ratio[2] and ratio[2] - 1 >= 1.8 * (ratio[0] - 1)


def silent_since(sign: Sign) -> float | None:
    """From when next to nothing came, if that is most of what a sign is about."""
    tick = sign.panel.ledger.tick_s
    first = int(sign.since) // tick
    last = int(min(max(sign.end if sign.until is not None else 0.0, sign.detected), sign.since + 21_600.0))
    observed, expected = sign.panel.plotted(sign.alarm, first, max(last // tick, first + 1))
    best, run, due, length = (0.0, 0), 0, 0.0, 0
    for at, (count, usual) in enumerate(zip(observed, expected, strict=True), 1):
        run, due = (run + 1, due + usual) if count <= 0.15 * usual else (0, 0.0)
        if due > best[0]:
            best, length = (due, at - run), run
    if best[0] < _SILENT_COUNT or length < 0.5 * len(observed):
        return None
    return float((first + best[1]) * tick)


def apart(one: Sign, other: Sign) -> bool:
    return one.since >= other.end - 60 or other.since >= one.end - 60


def overlap(one: Cause, other: Cause) -> bool:
    return one.since <= other.end + 300 and other.since <= one.end + 300


def stem(name: str) -> str:
    """What the addresses of a network begin with."""
    if name.endswith(".0/24"):
        return name.removesuffix("0/24")
    return name.removesuffix("/48").removesuffix(":") if name.endswith("/48") else name


def crowds(bursts: Sequence[Burst]) -> Iterator[list[Burst]]:
    """Bursts that overlap, together."""
    group: list[Burst] = []
    end = 0.0
    for one in sorted(bursts, key=lambda burst: burst.since):
        if group and one.since > end + 1800:
            yield group
            group = []
        group.append(one)
        end = max(end, one.until)
    if group:
        yield group


def silence_explains(_cause: Cause, sign: Sign) -> bool:
    # nothing is hidden because nobody comes
    return sign.detector not in ("destination", "queue") and sign.what[0] != "masked"


def outage_explains(_cause: Cause, _sign: Sign) -> bool:
    return True


def gone_explains(cause: Cause, sign: Sign) -> bool:
    if sign.detector == "part":
        return machine(sign.scope) == machine(cause.scope) or sign.up
    if sign.is_volume:
        return not sign.up
    return sign.what[0] in (
        "termination_state", "outcome", "dialogue", "hops", "connect_ms", "queue_ms", "duration_ms",
        "sessions", "screen",
    )  # fmt: skip


def hop_explains(_cause: Cause, sign: Sign) -> bool:
    return sign.detector not in ("destination", "queue", "delivery", "size") and sign.what[0] in (
        "hops", "outcome", "dialogue", "screen", "test", "reason", "refused", "auth", "duration_ms",
        "screen_ms", "sessions", "masked", "termination_state", "mail",
    )  # fmt: skip


def burst_explains(cause: Cause, sign: Sign) -> bool:
    own = {
        "auth_guessing": (("auth", "refused"), ("outcome", "rejected"), ("outcome", "aborted")),
        "auth_guessing_distributed": (("auth", "refused"), ("outcome", "rejected"), ("outcome", "aborted")),
        "user_enumeration": (("refused", "unknown_user"), ("outcome", "rejected"), ("outcome", "aborted")),
        "connection_hoarding": (("outcome", "timeout"), ("outcome", "aborted"), ("outcome", "no_mail")),
        "connection_scan": (("outcome", "aborted"), ("screen", "hangup"), ("outcome", "no_mail")),
        "port_scan": (("outcome", "aborted"), ("screen", "hangup")),
        "account_takeover": (("outcome", "delivered"),),
        "sender_shift": (),
    }[cause.kind]  # fmt: skip
    if sign.what in own or (sign.what[0] == "dialogue" and ("outcome", "aborted") in own):
        return True
    if sign.what[0] == "reason":
        return sign.up and cause.kind in ("user_enumeration", "auth_guessing", "auth_guessing_distributed")
    if sign.what[0] in ("termination_state", "duration_ms"):
        return cause.kind in ("connection_hoarding", "connection_scan")
    if sign.detector in ("size", "delivery", "destination", "queue") or sign.what[0].endswith("_ms"):
        return cause.kind in ("account_takeover", "sender_shift")
    return (
        (sign.is_volume or sign.detector in ("attack", "share"))
        and sign.up
        and sum(cause.who.values()) >= 0.4 * sign.excess
    )


def mailing_explains(_cause: Cause, sign: Sign) -> bool:
    """Larger messages take longer to come and to be handed over; nothing else comes of a newsletter."""
    return sign.detector == "size" or sign.what[0] in ("before_queue_ms", "transmit_ms")


def heavy_explains(cause: Cause, sign: Sign) -> bool:
    if sign.what[0] == "masked":
        return False
    if sign.since > cause.since + _COMES_S:
        # what is there all the time, as a monitor is, changes nothing later but the whole
        return sign.up and sign.is_volume and _meanwhile(cause, sign) >= 0.6 * sign.excess
    if sign.detector in ("size", "delivery_latency") or sign.what[0] == "duration_ms":
        return True
    return (
        sign.up
        and (sign.is_volume or sign.detector in ("attack", "share"))
        and cause.observed >= 0.4 * sign.excess
    )


def _meanwhile(cause: Cause, sign: Sign) -> float:
    """How much an actor brings while a sign lasts, at its own rate."""
    ledger = sign.panel.ledger
    now = float(ledger.span()[1] * ledger.tick_s)
    rate = cause.observed / max(min(cause.end, now) - cause.since, 60.0)
    return rate * (min(sign.end, now) - sign.since)


def attack_explains(cause: Cause, sign: Sign) -> bool:
    if sign.is_volume:
        return sign.up and cause.sign is not None and cause.sign.excess >= 0.4 * sign.excess
    if sign.what[0] in ("duration_ms", "screen_ms"):
        return True
    return sign.detector in ("share", "attack") and sign.what[0] in (
        "outcome", "dialogue", "screen", "test", "reason", "refused", "auth", "termination_state", "mail",
    )  # fmt: skip


def blocklist_explains(_cause: Cause, sign: Sign) -> bool:
    return sign.what[0] in ("test", "refused", "screen", "outcome", "reason")


def worse_explains(cause: Cause, sign: Sign) -> bool:
    if sign.detector in ("server", "latency", "latency_peer") and sign.scope != FLEET:
        return machine(sign.scope) == machine(cause.scope)
    if sign.detector == "share":
        return sign.what[0] in (
            "outcome", "dialogue", "reason", "termination_state", "refused", "screen", "test",
        )  # fmt: skip
    return False


def failing_explains(cause: Cause, sign: Sign) -> bool:
    if sign.detector == "server":
        return True  # what fails there is missing there, so that its peers seem to have more of it
    if sign.scope.type == "server":
        return machine(sign.scope) == machine(cause.scope)
    return sign.what[0] in ("hops", "masked") or worse_explains(cause, sign)


def latency_explains(cause: Cause, sign: Sign) -> bool:
    if sign.detector == "latency_peer":
        return True  # what is slow at one server makes its peers look quick, and back
    if sign.detector == "latency":
        return cause.scope == FLEET or sign.scope == FLEET or machine(sign.scope) == machine(cause.scope)
    if sign.detector == "delivery_latency":
        # what a session lasts, its messages wait before the queue
        return cause.kind == "session_latency" and sign.what[0] == "before_queue_ms"
    return sign.what[0] in ("termination_state", "outcome", "dialogue") and sign.what[1] not in (
        "rejected",
        "screened",
    )


def share_explains(_cause: Cause, sign: Sign) -> bool:
    if sign.detector == "latency":
        return sign.what[0] == "duration_ms"
    return sign.detector in ("share", "server", "attack") and sign.what[0] != "hops"


def mail_explains(cause: Cause, sign: Sign) -> bool:
    if sign.detector in ("destination", "queue"):
        return sign.scope == cause.scope or cause.scope == FLEET
    return (
        sign.detector == "delivery"
        or sign.what in (("outcome", "deferred"), ("outcome", "bounced"), ("outcome", "partly_delivered"))
        or sign.what[0].endswith("_ms")
    )


def volume_explains(cause: Cause, sign: Sign) -> bool:
    if sign.is_volume:
        return sign.up == cause.sign.up if cause.sign is not None else False
    return sign.detector in ("attack", "share", "size") or sign.what[0].endswith("_ms")
