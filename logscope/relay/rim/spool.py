"""Keeps accepted mail on disk: a message that was acknowledged is never lost.

A message is written to a file of its own in `incoming/` and synced; renamed into `active/`; and `active/`
is synced. Only then is it stored, and only then may its sender be told so. After a crash what is in
`active/` is delivered, and what is in `incoming/` was never acknowledged and is thrown away. A message that
was delivered in part is written anew in the same way, over the old one, so that at every moment one whole
version is there. What is done with is removed; should the removal be lost in a crash, it is delivered a
second time, never not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from logscope.relay.queue.message import DamagedError, Message, pack, unpack
from logscope.relay.rim.disk import Disk


@dataclass(frozen=True)
class Recovered:
    """What a spool held at the start.

    Attributes:
        messages: to be delivered.
        damaged: names of files that are no messages; they were moved to `corrupt/`.
    """

    messages: tuple[Message, ...]
    damaged: tuple[str, ...]


class Spool:
    """The queue files of one server. Its methods block; they are called from a thread."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._incoming, self._active = directory / "incoming", directory / "active"
        self._corrupt = directory / "corrupt"
        self._disk = disk

    def recover(self) -> Recovered:
        """Read what a former run has left."""
        for name in self._disk.names(self._incoming):
            self._disk.remove(self._incoming / name)
        messages, damaged = [], []
        self._disk.names(self._corrupt)
        for name in self._disk.names(self._active):
            try:
                messages.append(unpack(self._disk.read(self._active / name)))
            except DamagedError:
                self._disk.rename(self._active / name, self._corrupt / name)
                damaged.append(name)
        if damaged:
            self._disk.sync(self._corrupt)
            self._disk.sync(self._active)
        return Recovered(tuple(messages), tuple(damaged))

    def store(self, messages: Iterable[Message]) -> dict[str, OSError | None]:
        """Make messages durable, together: the directory is synced once.

        Returns:
            for each queue id, None when the message is safe, or why it is not.
        """
        results: dict[str, OSError | None] = {}
        for message in messages:
            results[message.queue_id] = self._write(message)
        if any(error is None for error in results.values()):
            try:
                self._disk.sync(self._active)
            except OSError as error:
                for queue_id, earlier in results.items():
                    if earlier is None:
                        results[queue_id] = error
                        self._forget(queue_id)
        return results

    def _write(self, message: Message) -> OSError | None:
        path = self._incoming / message.queue_id
        try:
            try:
                self._disk.create(path, pack(message))
            except FileExistsError:
                self._disk.remove(path)  # left by an attempt that could not even clean up
                self._disk.create(path, pack(message))
            self._disk.rename(path, self._active / message.queue_id)
        except OSError as error:
            return error
        return None

    def _forget(self, queue_id: str) -> None:
        """Take back a message that may or may not be safe; its sender comes again."""
        try:
            self._disk.remove(self._active / queue_id)
        except OSError:
            pass  # then it will be delivered twice

    def update(self, message: Message) -> None:
        """Put a message that is safe already in its new state; the old one stays until the new one is safe.

        Raises:
            OSError: it could not be written; the old state is still there.
        """
        error = self._write(message)
        if error is not None:
            raise error
        self._disk.sync(self._active)

    def load(self, queue_id: str) -> Message:
        """Read a message that waits."""
        return unpack(self._disk.read(self._active / queue_id))

    def remove(self, queue_id: str) -> None:
        """A message is done with."""
        self._disk.remove(self._active / queue_id)
