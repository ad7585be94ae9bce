"""When a message is tried again, and when it is given up: the queue manager's decisions.

As in Postfix (`minimal_backoff_time`, `maximal_backoff_time`), the pause before the next attempt is the
time a message has waited so far, within limits: it doubles from one attempt to the next.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace

from logscope.relay.queue.message import Message, Recipient


@dataclass(frozen=True)
class Patience:
    """How long mail that cannot be delivered is kept, in seconds (postconf(5) has the same defaults)."""

    shortest_pause_s: float = 300.0
    longest_pause_s: float = 4000.0
    lifetime_s: float = 5 * 86_400.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A delivery that did not succeed.

    Attributes:
        dsn: enhanced status code, `4.…` to try again.
        reason: for the log and for the bounce.
    """

    recipient: Recipient
    dsn: str
    reason: str

    @property
    def is_temporary(self) -> bool:
        return self.dsn.startswith("4")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a message after an attempt.

    Attributes:
        kept: the message as it goes on waiting; None when it is done with.
        returned: failures that the sender is to be told of.
        expired: it was given up because of its age.
    """

    kept: Message | None
    returned: tuple[Failure, ...]
    expired: bool = False


def judge(message: Message, failures: tuple[Failure, ...], patience: Patience, now: float) -> Verdict:
    """Decide after an attempt to deliver to all of a message's recipients."""
    temporary = tuple(failure for failure in failures if failure.is_temporary)
    final = tuple(failure for failure in failures if not failure.is_temporary)
    age = now - message.queued_at
    if temporary and age >= patience.lifetime_s:
        return Verdict(None, final + temporary, expired=True)
    if not temporary:
        return Verdict(None, final)
    pause = min(max(age, patience.shortest_pause_s), patience.longest_pause_s)
    kept = replace(
        message,
        recipients=tuple(failure.recipient for failure in temporary),
        attempts=message.attempts + 1,
        next_attempt_at=now + pause,
    )
    return Verdict(kept, final)


@dataclass
class Schedule:
    """Messages by the time they are due."""

    _due: list[tuple[float, str]] = field(default_factory=list)

    def add(self, message: Message) -> None:
        """Have a message tried at its time."""
        heapq.heappush(self._due, (message.next_attempt_at, message.queue_id))

    @property
    def next_at(self) -> float | None:
        """When the first message is due."""
        return self._due[0][0] if self._due else None

    def take_due(self, now: float, limit: int) -> list[str]:
        """The queue ids that are due, in order and up to a number of them; they are taken out."""
        found: list[str] = []
        while self._due and len(found) < limit and self._due[0][0] <= now:
            found.append(heapq.heappop(self._due)[1])
        return found

    def __len__(self) -> int:
        return len(self._due)
