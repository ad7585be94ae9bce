"""Keeps accepted mail on disk: a message that was acknowledged is never lost.

Messages are appended to a file, a segment, many at once, and that is synced. Only then are they stored, and
only then may their senders be told so. A message that was delivered in part is appended anew; the latest
version counts. That one is done with is appended too, but nobody waits for the disk then: should it be lost
in a crash, the message is delivered a second time, never not at all. A new segment is begun when one is
full or a write has failed, and the directory is synced before anything in it counts.

Segments go in the order in which they came, each when nothing in it is wanted any more: what a later one
says of a message must not go before the message. Every attempt that fails moves a message to the newest
segment, so no old one stays for longer than the longest pause between attempts.

After a crash a segment may end in half a record, which was never acknowledged. Damage before its end is put
aside, and what comes behind it is read.

Earlier relays kept each message in a file of its own in `active/`. What is found there is put into a segment
first, and taken away when that is safe.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from logscope.relay.queue.message import DamagedError, Message, pack, unpack
from logscope.relay.rim.disk import Disk, Tail

SEGMENT_BYTES = 16 * 1024 * 1024
"""A segment that has grown to this is full."""
_MARK = b"\r\rQ1"
"""Before every record; the last character is the version of its form. It stands in no message, where each CR
is one of a CR LF, so that nobody can send one that passes for a record."""
_HEAD = struct.Struct(">4scII")
"""Mark, what it says, length of the rest, CRC-32 of that."""
_MESSAGE, _REMOVED = b"M", b"R"


@dataclass(frozen=True)
class Recovered:
    """What a spool held at the start.

    Attributes:
        messages: to be delivered, in the order in which they came.
        damaged: names of pieces that are no messages; they were saved in `corrupt/`.
    """

    messages: tuple[Message, ...]
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the latest version of a message is: in which segment, from which byte on, and how long it is."""

    segment: int
    offset: int
    length: int


class Spool:
    """The queue of one server. Its methods block; they are called from threads."""

    def __init__(self, directory: Path, disk: Disk, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory, self._corrupt = directory / "queue", directory / "corrupt"
        self._former = directory / "active"
        self._disk, self._segment_bytes = disk, segment_bytes
        self._lock = Lock()
        self._places: dict[str, Place] = {}
        self._wanted: dict[int, set[str]] = {}
        """For each segment, the messages whose latest version is there."""
        self._tail: Tail | None = None
        self._number = self._size = 0
        self._unsaid: list[str] = []
        """Removed, and not said so on the disk yet."""

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:08}"

    # --- reading ------------------------------------------------------------------------------------------

    def recover(self) -> Recovered:
        """Read what a former run has left."""
        found: dict[str, Message] = {}
        damaged: list[str] = []
        self._disk.names(self._corrupt)
        for name in filter(str.isdigit, self._disk.names(self._directory)):
            self._number = int(name)
            self._wanted[self._number] = set()
            data = self._disk.read(self._directory / name)
            for record in records(data):
                if isinstance(record, slice):
                    damaged.append(self._put_aside(f"{name}.{record.start}", data[record]))
                elif record.says == _REMOVED:
                    found.pop(record.content.decode(), None)
                    self._move(record.content.decode(), None)
                elif (message := _message(record)) is None:
                    damaged.append(self._put_aside(f"{name}.{record.offset}", record.content))
                else:
                    found.pop(message.queue_id, None)
                    found[message.queue_id] = message
                    self._move(message.queue_id, Place(self._number, record.offset, len(record.content)))
        self._take_over(found, damaged)
        return Recovered(tuple(found.values()), tuple(damaged))

    def _take_over(self, found: dict[str, Message], damaged: list[str]) -> None:
        """Take over what an earlier relay has left in files, which go when all is safe in a segment."""
        names = self._disk.listed(self._former)
        new = []
        for name in names:
            data = self._disk.read(self._former / name)
            try:
                message = unpack(data)
            except DamagedError:
                damaged.append(self._put_aside(name, data))
                continue
            if message.queue_id not in found:  # else it was taken over before, and perhaps changed since
                found[message.queue_id] = message
                new.append(message)
        if new:
            for error in self.store(new).values():
                if error is not None:
                    raise error
        if damaged:
            self._disk.sync(self._corrupt)
        for name in names:
            self._disk.remove(self._former / name)

    def _put_aside(self, name: str, data: bytes) -> str:
        try:
            self._disk.create(self._corrupt / name, data)
        except FileExistsError:
            pass  # by an earlier run
        return name

    def load(self, queue_id: str) -> Message:
        """Read a message that waits."""
        with self._lock:
            place = self._places[queue_id]
            return unpack(self._disk.read_part(self._path(place.segment), place.offset, place.length))

    # --- writing ------------------------------------------------------------------------------------------

    def store(self, messages: list[Message]) -> dict[str, OSError | None]:
        """Make messages durable, together.

        Returns:
            for each queue id, None when the message is safe, or why it is not.
        """
        with self._lock:
            error = self._write(messages)
            if error is None or len(messages) == 1:
                return {message.queue_id: error for message in messages}
            # One that is too large for what is left of the disk must not cost the others.
            return {message.queue_id: self._write([message]) for message in messages}

    def update(self, message: Message) -> None:
        """Put a message that is safe already in its new state; the old one stays until the new one is safe.

        Raises:
            OSError: it could not be written; the old state is still there.
        """
        error = self.store([message])[message.queue_id]
        if error is not None:
            raise error

    def remove(self, queue_ids: Iterable[str]) -> None:
        """Messages are done with. If the disk cannot be told now, it is told with the next ones."""
        with self._lock:
            for queue_id in queue_ids:
                self._unsaid.append(queue_id)
                self._move(queue_id, None)
            if self._unsaid and self._drop_segments():
                try:
                    self._append(b"".join(_record(_REMOVED, entry.encode()) for entry in self._unsaid))
                except OSError:
                    return
            self._unsaid.clear()

    def _write(self, messages: list[Message]) -> OSError | None:
        contents = [pack(message) for message in messages]
        try:
            offset = self._append(b"".join(_record(_MESSAGE, content) for content in contents), sync=True)
        except OSError as error:
            return error
        for message, content in zip(messages, contents, strict=True):
            self._move(message.queue_id, Place(self._number, offset + _HEAD.size, len(content)))
            offset += _HEAD.size + len(content)
        return None

    def _append(self, data: bytes, sync: bool = False) -> int:
        """Put records behind the others, and say where. What is written in part counts for nothing."""
        if self._tail is None or self._size >= self._segment_bytes:
            self._begin_segment()
        assert self._tail is not None
        try:
            self._tail.append(data)
            if sync:
                self._tail.sync()
        except OSError:
            self._give_up_segment()
            raise
        offset, self._size = self._size, self._size + len(data)
        return offset

    def close(self) -> None:
        """No more is to come. Nothing is left behind when nothing is wanted."""
        with self._lock:
            if self._tail is not None:
                self._tail.close()
                self._tail = None
            self._drop_segments()

    # --- segments -----------------------------------------------------------------------------------------

    def _begin_segment(self) -> None:
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        self._number, self._size = self._number + 1, 0
        self._wanted[self._number] = set()
        self._tail = self._disk.begin(self._path(self._number))
        try:
            self._disk.sync(self._directory)
        except OSError:
            self._give_up_segment()
            raise

    def _give_up_segment(self) -> None:
        """A write has failed. What is on the disk then is uncertain, so nothing is put behind it."""
        assert self._tail is not None
        try:
            self._tail.truncate(self._size)
        except OSError:
            pass  # then it is delivered though its sender was told to come again
        self._tail.close()
        self._tail = None

    def _move(self, queue_id: str, place: Place | None) -> None:
        """The latest version of a message is there now, or it is no more."""
        former = self._places.pop(queue_id, None)
        if former is not None:
            self._wanted[former.segment].discard(queue_id)
        if place is not None:
            self._places[queue_id] = place
            self._wanted[place.segment].add(queue_id)

    def _drop_segments(self) -> bool:
        """Delete the oldest segments as far as nothing in them is wanted.

        Returns:
            whether there are segments of which a later record can still say something.
        """
        for number in list(self._wanted):
            is_open = number == self._number and self._tail is not None
            if self._wanted[number] or (is_open and self._size < self._segment_bytes):
                return True
            try:
                self._disk.remove(self._path(number))
            except OSError:
                return True
            if is_open:
                self._give_up_segment()
            del self._wanted[number]
        return False


# --- records ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a segment: what it says, its content, and where that begins."""

    says: bytes
    content: bytes
    offset: int


def _record(says: bytes, content: bytes) -> bytes:
    return _HEAD.pack(_MARK, says, len(content), zlib.crc32(content)) + content


def records(data: bytes) -> Iterator[Record | slice]:
    """The records of a segment, and, as slices, the pieces between them that are none.

    What is cut short at the end is left out: a crash came before it was synced.
    """
    at = 0
    while at < len(data):
        record = _read(data, at)
        if record is not None:
            yield record
            at = record.offset + len(record.content)
            continue
        begin, at = at, data.find(_MARK, at + 1)
        while at >= 0 and _read(data, at) is None:
            at = data.find(_MARK, at + 1)
        if at < 0:
            if not _is_cut(data, begin):
                yield slice(begin, len(data))
            return
        yield slice(begin, at)


def _read(data: bytes, at: int) -> Record | None:
    """The record that begins at a place, if it is whole."""
    if len(data) < at + _HEAD.size:
        return None
    mark, says, length, checksum = _HEAD.unpack_from(data, at)
    begin = at + _HEAD.size
    content = data[begin : begin + length]
    if mark != _MARK or len(content) != length or zlib.crc32(content) != checksum:
        return None
    return Record(says, content, begin)


def _message(record: Record) -> Message | None:
    try:
        return unpack(record.content)
    except DamagedError:
        return None


def _is_cut(data: bytes, at: int) -> bool:
    """Whether the last record is not there up to its end."""
    if len(data) < at + _HEAD.size:
        return _MARK.startswith(data[at : at + len(_MARK)])
    mark, _, length, _ = _HEAD.unpack_from(data, at)
    return bool(mark == _MARK and len(data) < at + _HEAD.size + length)
