"""From the joined tables to stories: sessions and messages that are one thing seen at several places.

A session and the messages it brought belong together, and so do a message and the one that the next hop (or
the same host, behind a content filter) made of it: that hop's reply names the id under which it queued it.
Ids are used again, so of several messages of an id the one that was queued nearest in time counts, if it was
queued while the first still was, and their Message-IDs, where both are known, must be equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa

from logscope.trace.key import Key

Row: TypeAlias = dict[str, Any]
MessageKey: TypeAlias = tuple[str | None, str, int | None]

_SECOND = 1_000_000_000
_CLOCKS_APART = 120 * _SECOND
_LONGEST_HANDOVER = 3600 * _SECOND

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

    Of sessions only those are kept that the key means and those that brought messages.
    """

    def __init__(self, key: Key) -> None:
        self._key = key
        self._sessions: dict[str, Row] = {}
        self._found_sessions: list[str] = []
        self._messages: list[pa.RecordBatch] = []
        self._deliveries: list[pa.RecordBatch] = []

    def add(self, table: str, batch: pa.RecordBatch) -> None:
        """Take rows of a table."""
        if table == "messages":
            self._messages.append(batch)
        elif table == "deliveries":
            self._deliveries.append(batch)
        else:
            for row in _rows(batch):
                found = self._key.is_of_session(row)
                if found:
                    self._found_sessions.append(row["session_id"])
                if found or row["message_count"]:
                    self._sessions[row["session_id"]] = row

    def told(self) -> list[Story]:
        """The stories, the earliest first."""
        mail = _Mail([row for batch in self._messages for row in _rows(batch)])
        by_message: dict[MessageKey, list[Row]] = defaultdict(list)
        found = {_key(row) for row in mail.messages if self._key.is_of_message(row)}
        for batch in self._deliveries:
            for row in _rows(batch):
                by_message[_key(row)].append(row)
                if self._key.is_of_delivery(row):
                    found.add(_key(row))
        stories: list[Story] = []
        told: set[str] = set()
        told_messages: set[MessageKey] = set()
        starts: list[str | MessageKey] = [*self._found_sessions, *sorted(found, key=str)]
        for start in starts:
            if start in told or start in told_messages:
                continue
            story = self._story(start, mail)
            told |= {one["session_id"] for one in story.sessions}
            told_messages |= {_key(one) for one in story.messages}
            story.deliveries = [row for one in story.messages for row in by_message.get(_key(one), ())]
            stories.append(story)
        return sorted(stories, key=lambda story: story.began_at)

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


def _key(row: Row) -> MessageKey:
    return row["mta_host"], row["queue_id"], row["queued_at"]


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch, times as nanoseconds."""
    columns = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in batch.columns
    ]
    yield from pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
