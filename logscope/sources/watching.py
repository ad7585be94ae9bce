"""Word from the kernel that a followed file was written to, moved or made: inotify(7), as a descriptor to
wait for.

It only ends waiting. Files are looked at now and then all the same, since the kernel does not know what
others write to a network file system, and a run that finds lines nobody told of looks often from then on.
(Libraries for this, such as watchfiles, bring a thread of their own and gather events before they tell.)
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

_MODIFIED, _MOVED_AWAY, _MOVED_HERE, _MADE, _LINKS = 0x2, 0x800, 0x80, 0x100, 0x4
_EVENT = struct.Struct("iIII")
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # IN_NONBLOCK and IN_CLOEXEC have their values


class News(IntEnum):
    """What happened to files."""

    NONE = 0
    WRITTEN = 1
    """Something was written to a file, or it was cut; as far as that tells, it stands where it stood."""
    MOVED = 2
    """Perhaps another file stands somewhere, or there was too much to be told of."""


class Watching:
    """Watches files, and the directories that they are in for others that take their places.

    Attributes:
        descriptor: readable when something happened; None where the system has nothing of the kind.
        complete: whether everything that was asked for is watched.
    """

    def __init__(self) -> None:
        self.descriptor: int | None = None
        self.complete = False
        self._known: dict[Path, object] = {}
        with suppress(OSError, AttributeError):
            self._system = ctypes.CDLL(None, use_errno=True)
            descriptor = self._system.inotify_init1(_FLAGS)
            if descriptor >= 0:
                self.descriptor, self.complete = descriptor, True

    def follow(self, path: Path, identity: object) -> None:
        """Watch a file and its directory; `identity` tells whether another one has taken its place."""
        if self.descriptor is None or self._known.get(path) == (identity,):
            return
        self._known[path] = (identity,)
        for directory in {path.parent, path.resolve().parent}:
            self._watch(directory, _MADE | _MOVED_HERE)
        if identity is not None:
            self._watch(path, _MODIFIED | _MOVED_AWAY | _LINKS)

    def _watch(self, path: Path, events: int) -> None:
        added = self._system.inotify_add_watch(self.descriptor, os.fsencode(path), events)
        if added < 0 and path.exists():  # there are more files than watches (fs.inotify.max_user_watches)
            self.complete = False

    def take(self) -> News:
        """What has happened since this was last asked."""
        news = News.NONE
        if self.descriptor is not None:
            with suppress(BlockingIOError):
                while events := os.read(self.descriptor, 1 << 16):
                    news = max(news, _news(events))
        return news

    def close(self) -> None:
        """Watch nothing more."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _news(events: bytes) -> News:
    """What events tell (inotify(7), struct inotify_event)."""
    at = 0
    while at < len(events):
        _, mask, _, length = _EVENT.unpack_from(events, at)
        if mask != _MODIFIED:
            return News.MOVED
        at += _EVENT.size + length
    return News.WRITTEN
