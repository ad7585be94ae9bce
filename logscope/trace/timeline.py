"""The lines of a story in the order of their times, each with where it was logged and what it says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from logscope.trace.follow import Row, Story

_SECOND = 1_000_000_000
_SETTLE = 10 * _SECOND  # a line of a message that another process wrote after `removed`

_HOPS = {"haproxy": "balancer", "postscreen": "screen", "dnsblog": "screen", "smtpd": "smtpd"}
_ACCEPTED = "accepted "
_COMMON = {
    "source", "line_number", "logged_at", "resolution", "host", "service", "program", "pid", "kind",
    "structured", "repeat_count", "structured_data", "raw", "queue_id",
}  # fmt: skip
_CLIENT = {"client_address", "client_port", "client_name"}
"""Said where a session begins; not again in each of its lines."""


@dataclass(frozen=True)
class Moment:
    """One line of a timeline.

    Attributes:
        at: nanoseconds since 1970.
        coarse: the stamp has whole seconds only, so it may be up to a second later.
        story: number of the story it belongs to, from 0.
        hop: balancer, screen, smtpd, queue or delivery.
        host, service, program, kind: as in the table of events.
        text: what it says, in a few words.
        source, line_number: where it is written.
    """

    at: int
    coarse: bool
    story: int
    hop: str
    host: str
    service: str
    program: str
    kind: str
    text: str
    source: str
    line_number: int

    @property
    def place(self) -> str:
        """Host and service, without the `postfix/` that most services of Postfix have in common."""
        return f"{self.host} {self.service.removeprefix('postfix/')}".strip()


class Timeline:
    """Picks the lines of stories out of the table of events.

    Sessions name their lines. The lines of a message without a session are found by its queue id, its host
    and its time in the queue.
    """

    def __init__(self, stories: Sequence[Story]) -> None:
        self._lines: dict[str, dict[int, int]] = defaultdict(dict)
        self._messages: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
        self._moments: list[Moment] = []
        for number, story in enumerate(stories):
            for session in story.sessions:
                for line in session["events"] or ():
                    self._lines[line["source"]][line["line_number"]] = number
            for message in story.messages:
                start = message["queued_at"] or 0
                end = message["removed_at"] if message["removed_at"] is not None else 1 << 62
                key = (message["mta_host"] or "", message["queue_id"])
                self._messages[key].append((start - _SETTLE, end + _SETTLE, number))

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows of the table of events."""
        wanted = self._named(batch)
        if "queue_id" in batch.schema.names and self._messages:
            ids = pa.array(sorted({queue_id for _, queue_id in self._messages}))
            wanted = pc.or_(wanted, pc.fill_null(pc.is_in(batch.column("queue_id"), ids), False))
        chosen = batch.filter(wanted)
        if not chosen.num_rows:
            return
        names = chosen.schema.names
        columns = [
            column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
            for column in chosen.columns
        ]
        for row in pa.RecordBatch.from_arrays(columns, names=names).to_pylist():
            story = self._story_of(row)
            if story is not None:
                self._moments += _moments(row, story)

    def _named(self, batch: pa.RecordBatch) -> Any:
        """Which rows are lines that a session names."""
        source = batch.column("source")[0].as_py() if batch.num_rows else ""
        numbers = pa.array(sorted(self._lines.get(source, ())), pa.int64())
        return pc.is_in(batch.column("line_number"), numbers)

    def _story_of(self, row: Row) -> int | None:
        named = self._lines.get(row["source"], {}).get(row["line_number"])
        if named is not None:
            return named
        at = row["logged_at"]
        for start, end, story in self._messages.get((row["host"] or "", row.get("queue_id") or ""), ()):
            if at is not None and start <= at <= end:
                return story
        return None

    def moments(self) -> list[Moment]:
        """All lines, story by story, each in the order of its times."""
        return sorted(self._moments, key=_order)


def _order(one: Moment) -> tuple[int, int, bool, int, str, int]:
    """A balancer accepts before anybody else says anything, also where the others' clocks have only
    seconds.
    """
    begins = one.hop == "balancer" and one.text.startswith(_ACCEPTED)
    at = one.at - one.at % _SECOND if begins else one.at
    return one.story, at, not begins, one.at, one.source, one.line_number


def _moments(row: Row, story: int) -> list[Moment]:
    """A line as moments; HAProxy's line at the end of a session says when it began, too."""
    program = row["program"] or "haproxy"
    common = (row["host"] or "", row["service"] or program, program, row["kind"])
    where = (row["source"], row["line_number"])
    hop = _HOPS.get(program) or ("delivery" if row["kind"].endswith(".delivery") else "queue")
    accepted = row.get("accepted_at")
    logged = row["logged_at"]
    if row["kind"].startswith("haproxy.") and accepted is not None:
        end = accepted + (row.get("duration_ms") or 0) * 1_000_000
        to = f"{_text(row.get('backend'))}/{_text(row.get('server'))}"
        client = _endpoint(row.get("client_address"), row.get("client_port"))
        begun = f"{_ACCEPTED}{client} at {_text(row.get('frontend'))} for {to}"
        ended = f"ended {_text(row.get('termination_state'))} after {row.get('duration_ms')} ms"
        ended += f", {row.get('bytes_to_client')} bytes to the client"
        return [
            Moment(accepted, False, story, hop, *common, begun, *where),
            Moment(end, False, story, hop, *common, ended, *where),
        ]
    if logged is None:
        return []
    return [Moment(logged, row["resolution"] == "s", story, hop, *common, _said(row), *where)]


def _said(row: Row) -> str:
    """A line in a few words: what it is, and its fields."""
    kind = row["kind"].rpartition(".")[2]
    known = _COMMON if kind in ("connect", "client") else _COMMON | _CLIENT
    fields = [f"{name}={_value(value)}" for name, value in row.items() if name not in known and _is(value)]
    queue_id = row.get("queue_id")
    return (f"{queue_id}: " if queue_id else "") + " ".join([kind.replace("_", " "), *fields])


def _is(value: Any) -> bool:
    return value is not None and value is not False and value != ""


def _value(value: Any) -> str:
    if isinstance(value, list):  # counters, as pairs of name and [accepted, all]
        return ",".join(f"{name}:{'/'.join(map(str, _counts(counts)))}" for name, counts in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _counts(counts: Any) -> Sequence[Any]:
    if isinstance(counts, Mapping):
        return list(counts.values())
    return counts if isinstance(counts, list) else [counts]


def _endpoint(address: str | None, port: int | None) -> str:
    if address is None:
        return "a local socket"
    shown = f"[{address}]" if ":" in address else address
    return shown if port is None else f"{shown}:{port}"


def _text(value: Any) -> str:
    return "–" if value is None else str(value)
