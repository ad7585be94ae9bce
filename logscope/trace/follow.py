"""From the joined tables to stories: sessions and messages that are one thing seen at several places.

A session and the messages it brought belong together, and so do a message and the one that the next hop (or
the same host, behind a content filter) made of it: that hop's reply names the id under which it queued it.
Ids are used again, so of several messages of an id the one that was queued nearest in time counts, if it was
queued while the first still was, and their Message-IDs, where both are known, must be equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from logscope.trace.key import Key

Row: TypeAlias = dict[str, Any]
MessageKey: TypeAlias = tuple[str | None, str, int | None]

_SECOND = 1_000_000_000
_CLOCKS_APART = 120 * _SECOND
_LONGEST_HANDOVER = 3600 * _SECOND
_MOST_HOPS = 50  # as many as Postfix lets a message make (hopcount_limit)

SESSION_COLUMNS = (
    "session_id", "client_address", "client_port", "client_name", "peer_address", "balancer", "frontend",
    "backend", "server", "mta_host", "service", "accepted_at", "mta_connected_at", "ended_at", "duration_ms",
    "screen", "helo", "tls_protocol", "sasl_username", "rejects", "queue_ids", "message_count", "outcome",
    "join_confidence", "masked", "events",
)  # fmt: skip
MESSAGE_COLUMNS = (
    "mta_host", "queue_id", "queued_at", "session_id", "message_id", "sender", "size", "recipient_count",
    "removed_at", "final_status", "next_queue_id",
)  # fmt: skip
DELIVERY_COLUMNS = (
    "mta_host", "queue_id", "queued_at", "logged_at", "recipient", "original_recipient", "relay_host",
    "relay_address", "relay_port", "delay_s", "dsn", "status", "reply",
)  # fmt: skip


TABLES: Mapping[str, tuple[str, ...]] = {
    "sessions": SESSION_COLUMNS,
    "messages": MESSAGE_COLUMNS,
    "deliveries": DELIVERY_COLUMNS,
}
"""What `Stories.add` wants to be given."""


@dataclass
class Story:
    """What belongs together.

    Attributes:
        sessions: rows of the table, the first one first.
        messages: likewise.
        deliveries: of these messages.
    """

    sessions: list[Row] = field(default_factory=list)
    messages: list[Row] = field(default_factory=list)
    deliveries: list[Row] = field(default_factory=list)

    @property
    def began_at(self) -> int:
        """The first time known of it, in nanoseconds."""
        times = [began(one) for one in self.sessions] + [one["queued_at"] for one in self.messages]
        return min((time for time in times if time is not None), default=0)


def began(session: Row) -> int | None:
    """When a session began, as far as it is known."""
    times = (session["accepted_at"], session["mta_connected_at"], session["ended_at"])
    return next((time for time in times if time is not None), None)


class Stories:
    """Takes the tables as they come, and tells the stories that a key is about.

    What is held are columns: of sessions only those that the key means and those that brought messages. Rows
    become objects where they can be a part of a story.
    """

    def __init__(self, key: Key) -> None:
        self._key = key
        self._held: dict[str, list[pa.RecordBatch]] = {table: [] for table in TABLES}
        self._meant: list[str] = []

    def add(self, table: str, batch: pa.RecordBatch) -> None:
        """Take rows of a table."""
        if table == "sessions":
            meant = self._key.sessions(batch)
            self._meant += batch.column("session_id").filter(meant).to_pylist()
            batch = batch.filter(
                pc.or_(meant, pc.fill_null(pc.greater(batch.column("message_count"), 0), False))
            )
        if batch.num_rows:
            self._held[table].append(batch)

    def told(self) -> list[Story]:
        """The stories, the earliest first."""
        deliveries = self._rows_where("deliveries", self._key.deliveries)
        starts = {_key(row) for row in deliveries}
        starts |= {_key(row) for row in self._rows_where("messages", self._key.messages)}
        mail = _Mail(self._related({queue_id for _, queue_id, _ in starts}))
        sessions = self._rows_of("sessions", "session_id", {*self._meant, *mail.of_session})
        self._sessions = {row["session_id"]: row for row in sessions}
        by_message: dict[MessageKey, list[Row]] = defaultdict(list)
        for row in self._rows_of("deliveries", "queue_id", {one["queue_id"] for one in mail.messages}):
            by_message[_key(row)].append(row)
        stories: list[Story] = []
        told: set[str | MessageKey] = set()
        todo: list[str | MessageKey] = [*self._meant, *sorted(starts, key=str)]
        for start in todo:
            if start not in told:
                story = self._story(start, mail)
                told |= {one["session_id"] for one in story.sessions}
                told |= {_key(one) for one in story.messages}
                story.deliveries = [row for one in story.messages for row in by_message.get(_key(one), ())]
                stories.append(story)
        return sorted(stories, key=lambda story: story.began_at)

    def _related(self, ids: set[str]) -> list[Row]:
        """All messages that can be a part of a story with one of these ids, or with a session that is
        meant.
        """
        sessions = set(self._meant)
        rows: list[Row] = []
        for _ in range(_MOST_HOPS):
            before = len(ids), len(sessions)
            rows = self._touching(ids, sessions)
            ids |= {row[name] for row in rows for name in ("queue_id", "next_queue_id") if row[name]}
            sessions |= {row["session_id"] for row in rows if row["session_id"]}
            if (len(ids), len(sessions)) == before:
                break
        return rows

    def _touching(self, ids: set[str], sessions: set[str]) -> list[Row]:
        """The messages of these ids, those that became one of them, and those of these sessions."""

        def touched(batch: pa.RecordBatch) -> Any:
            named = pc.or_(_is_in(batch, "queue_id", ids), _is_in(batch, "next_queue_id", ids))
            return pc.or_(named, _is_in(batch, "session_id", sessions))

        return self._rows_where("messages", touched)

    def _rows_of(self, table: str, column: str, values: set[str]) -> list[Row]:
        return self._rows_where(table, lambda batch: _is_in(batch, column, values))

    def _rows_where(self, table: str, chosen: Callable[[pa.RecordBatch], Any]) -> list[Row]:
        return [row for batch in self._held[table] for row in _rows(batch.filter(chosen(batch)))]

    def _story(self, start: str | MessageKey, mail: _Mail) -> Story:
        """Everything that hangs together with a session or message."""
        sessions: dict[str, Row] = {}
        messages: dict[MessageKey, Row] = {}
        todo: list[str | MessageKey] = [start]
        while todo:
            one = todo.pop()
            if isinstance(one, str):
                if one in self._sessions and one not in sessions:
                    sessions[one] = self._sessions[one]
                    todo += mail.of_session.get(one, ())
            elif one not in messages and one in mail.by_key:
                row = messages[one] = mail.by_key[one]
                if row["session_id"] is not None:
                    todo.append(row["session_id"])
                todo += [_key(other) for other in (*mail.after(row), *mail.before(row))]
        return Story(
            sorted(sessions.values(), key=lambda row: began(row) or 0),
            sorted(messages.values(), key=lambda row: row["queued_at"] or 0),
        )


class _Mail:
    """The messages, looked up by what links them."""

    def __init__(self, messages: list[Row]) -> None:
        self.messages = messages
        self.by_key = {_key(row): row for row in messages}
        self.of_session: dict[str, list[MessageKey]] = defaultdict(list)
        self._by_id: dict[str, list[Row]] = defaultdict(list)
        self._by_next: dict[str, list[Row]] = defaultdict(list)
        for row in messages:
            if row["session_id"] is not None:
                self.of_session[row["session_id"]].append(_key(row))
            self._by_id[row["queue_id"]].append(row)
            if row["next_queue_id"] is not None:
                self._by_next[row["next_queue_id"]].append(row)

    def after(self, row: Row) -> Iterator[Row]:
        """What the next hop made of a message."""
        named = row["next_queue_id"]
        candidates = self._by_id.get(named, ()) if named is not None else ()
        yield from _nearest(candidates, row, lambda first, second: (first, second))

    def before(self, row: Row) -> Iterator[Row]:
        """What a message was at the hop before."""
        yield from _nearest(
            self._by_next.get(row["queue_id"], ()), row, lambda first, second: (second, first)
        )


def _nearest(candidates: Iterable[Row], row: Row, order: Any) -> Iterator[Row]:
    fitting = [
        (abs((one["queued_at"] or 0) - (row["queued_at"] or 0)), number, one)
        for number, one in enumerate(candidates)
        if one is not row and _handed_over(*order(row, one))
    ]
    if fitting:
        yield min(fitting)[2]


def _handed_over(first: Row, second: Row) -> bool:
    """Whether the second can be what became of the first: it was queued while the first one was."""
    ids = (first["message_id"], second["message_id"])
    if None not in ids and ids[0] != ids[1]:
        return False
    if first["queued_at"] is None or second["queued_at"] is None:
        return True
    end = first["removed_at"] if first["removed_at"] is not None else first["queued_at"] + _LONGEST_HANDOVER
    queued: int = second["queued_at"]
    return bool(first["queued_at"] - _CLOCKS_APART <= queued <= end + _CLOCKS_APART)


def _is_in(batch: pa.RecordBatch, column: str, values: set[str]) -> Any:
    return pc.is_in(batch.column(column), pa.array(sorted(values), pa.string()))


def _key(row: Row) -> MessageKey:
    return row["mta_host"], row["queue_id"], row["queued_at"]


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch, times as nanoseconds."""
    columns = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in batch.columns
    ]
    yield from pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
