"""What the live screen shows, gathered from sessions as they finish. Memory is bounded, whoever connects."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from logscope.report import stream

READS = (
    *stream.READS,
    "session_id", "client_port", "client_name", "peer_address", "peer_port", "destination_logged", "frontend",
    "backend", "queue_ms", "connect_ms", "bytes_to_client", "bytes_to_server", "helo", "tls_protocol",
    "tls_cipher", "queue_ids", "links", "events",
)  # fmt: skip
"""Columns of the sessions that are looked at."""

READS_OF_SERVERS = (
    "server", "mta_host", "outcome", "message_count", "bytes_to_client", "masked", "ended_at", "duration_ms",
)  # fmt: skip
"""Columns of those that only count for their servers."""

SECONDS = 120
"""How far back rates are known."""
MOST_CLIENTS = 20_000
MOST_SERVERS = 500
MOST_SESSIONS = 5_000
"""Clients, servers and sessions that are kept; those heard of longest ago make room."""

FAILURES = frozenset({"server_error", "no_server", "timeout"})
REFUSALS = frozenset({"rejected", "screened"})

Row = Mapping[str, Any]


class Pulse:
    """How much happened in each of the last seconds."""

    def __init__(self) -> None:
        self._counts: deque[int] = deque([0] * SECONDS, SECONDS)
        self._second = 0

    def add(self, now: float, count: int = 1) -> None:
        """Something happened at a time, in seconds of a clock that goes forward."""
        self._go_to(now)
        self._counts[-1] += count

    def rate(self, now: float, seconds: int = 10) -> float:
        """How much happens in a second: the mean of the last whole ones."""
        self._go_to(now)
        return sum(list(self._counts)[-seconds - 1 : -1]) / seconds

    def bars(self, now: float, count: int) -> list[int]:
        """The last whole seconds, the latest last."""
        self._go_to(now)
        return list(self._counts)[-count - 1 : -1]

    def _go_to(self, now: float) -> None:
        for _ in range(min(int(now) - self._second, SECONDS)):
            self._counts.append(0)
        self._second = max(self._second, int(now))


@dataclass
class Tally:
    """What came of one client, or of one server.

    Attributes:
        sessions, failed, refused, mails, bytes: how many; `bytes` to the client.
        masked: sessions whose client the mail server did not see; `seen`: those whose client it did.
        outcome: of the latest session.
        durations: of the latest sessions, ms.
        last: when the latest ended, ns since 1970; None if no line says.
    """

    sessions: int = 0
    failed: int = 0
    refused: int = 0
    mails: int = 0
    bytes: int = 0
    masked: int = 0
    seen: int = 0
    outcome: str = ""
    durations: deque[int] = field(default_factory=lambda: deque(maxlen=101))
    last: int | None = None

    def add(self, row: Row) -> None:
        """One more session."""
        self.sessions += 1
        self.outcome = str(row["outcome"] or "unknown")
        self.failed += self.outcome in FAILURES
        self.refused += self.outcome in REFUSALS
        self.mails += row["message_count"] or 0
        self.bytes += row["bytes_to_client"] or 0
        self.masked += row["masked"] is True
        self.seen += row["masked"] is False
        self.last = row["ended_at"] or self.last
        if row["duration_ms"] is not None:
            self.durations.append(row["duration_ms"])

    @property
    def median_ms(self) -> int | None:
        """Of the latest sessions."""
        return sorted(self.durations)[len(self.durations) // 2] if self.durations else None


@dataclass(frozen=True)
class Source:
    """How an input is doing.

    Attributes:
        name: of it.
        lines: read so far; `rate`: a second.
        lag_s: seconds from the latest stamp to now; None without any.
        waiting: events that wait for other inputs.
        lost: lines that are known to be lost.
    """

    name: str
    lines: int
    rate: float
    lag_s: float | None
    waiting: int
    lost: int = 0


class Board:
    """All that is gathered."""

    def __init__(self) -> None:
        self.pulses = {name: Pulse() for name in ("lines", "sessions", "refused", "mails")}
        self.outcomes: Counter[str] = Counter()
        self.recent_outcomes: deque[tuple[float, str]] = deque(maxlen=MOST_SESSIONS)
        self.clients: OrderedDict[str, Tally] = OrderedDict()
        self.servers: OrderedDict[str, Tally] = OrderedDict()
        self.sessions: deque[Row] = deque(maxlen=MOST_SESSIONS)
        self.open: OrderedDict[str, tuple[Row, float]] = OrderedDict()
        self.forgotten = 0
        self.states: Mapping[tuple[str, str], str] = {}
        self.quality: Mapping[str, int] = {}
        self.sources: Sequence[Source] = ()
        self.remarks: Sequence[str] = ()
        self._lines = 0
        self._source_pulses: dict[str, tuple[Pulse, int]] = {}

    def add(self, rows: Iterable[Row], now: float) -> None:
        """Take finished sessions.

        Args:
            rows: with the columns `READS`, times in ns.
            now: seconds of a clock that goes forward.
        """
        for row in rows:
            outcome = str(row["outcome"] or "unknown")
            self.outcomes[outcome] += 1
            self.recent_outcomes.append((now, outcome))
            self.pulses["sessions"].add(now)
            self.pulses["refused"].add(now, outcome in REFUSALS)
            self.pulses["mails"].add(now, row["message_count"] or 0)
            self.sessions.append(row)
            for name in (row["session_id"], *(row["amends"] or ())):
                self.open.pop(str(name), None)
            if outcome != "probe":
                self._of(self.clients, stream.client(row).lstrip("~"), MOST_CLIENTS).add(row)

    def add_to_servers(self, rows: Iterable[Row]) -> None:
        """Count finished sessions, with the columns `READS_OF_SERVERS`, for their servers: how those are does
        not depend on which sessions somebody looks at.
        """
        for row in rows:
            if row["server"] or row["mta_host"]:
                self._of(self.servers, str(row["server"] or row["mta_host"]), MOST_SERVERS).add(row)

    def filtered_anew(self) -> Board:
        """A board for other sessions of the same run."""
        board = Board()
        board.pulses["lines"], board._lines, board._source_pulses = (
            self.pulses["lines"], self._lines, self._source_pulses,
        )  # fmt: skip
        board.servers, board.states, board.quality = self.servers, self.states, self.quality
        return board

    def add_open(self, rows: Iterable[Row], now: float) -> None:
        """Take sessions that have been open for long, as they are now."""
        for row in rows:
            self.open[str(row["session_id"])] = row, now
            client = self._of(self.clients, stream.client(row).lstrip("~"), MOST_CLIENTS)
            client.outcome = client.outcome or str(row["outcome"])
            self.open.move_to_end(str(row["session_id"]))
            if len(self.open) > MOST_SESSIONS:
                self.open.popitem(last=False)

    def note(self, now: float, lines: int, quality: Mapping[str, int]) -> None:
        """Take the counts of the run so far."""
        self.pulses["lines"].add(now, lines - self._lines)
        self._lines = lines
        self.quality = quality

    def source_rate(self, name: str, lines: int, now: float) -> float:
        """Lines a second of an input that has had so many."""
        pulse, before = self._source_pulses.get(name, (Pulse(), lines))
        pulse.add(now, lines - before)
        self._source_pulses[name] = (pulse, lines)
        return pulse.rate(now)

    def latest_outcomes(self, now: float, seconds: float = 60) -> Counter[str]:
        """What became of the sessions of the last minute."""
        return Counter(outcome for at, outcome in self.recent_outcomes if now - at <= seconds)

    def of_client(self, client: str) -> list[Row]:
        """The sessions of a client that are still known, those that go on and then the latest first."""
        known = (*(row for row, _ in reversed(self.open.values())), *reversed(self.sessions))
        return [row for row in known if stream.client(row).lstrip("~") == client]

    def _of(self, tallies: OrderedDict[str, Tally], name: str, most: int) -> Tally:
        tally = tallies.get(name)
        if tally is None:
            tally = tallies[name] = Tally()
            if len(tallies) > most:
                tallies.popitem(last=False)
                self.forgotten += 1
        tallies.move_to_end(name)
        return tally


SORTS: dict[str, str] = {
    "sessions": "sessions",
    "refused": "refused",
    "failed": "failed",
    "mails": "mails",
    "bytes": "bytes",
    "latest": "last",
}
"""What clients can be sorted by: the word for it, and the attribute."""


def ranked(tallies: Mapping[str, Tally], by: str, count: int) -> list[tuple[str, Tally]]:
    """Those that have most of something, of equal ones by name."""
    from heapq import nsmallest

    attribute = SORTS[by]
    return nsmallest(count, tallies.items(), key=lambda one: (-(getattr(one[1], attribute) or 0), one[0]))
