"""Files that are still written, through every way of rotating them.

A followed file is known by its path; what is read is the file that was found there, until its end, and after
it whatever took its place. Between two looks at the path several rotations may have happened: the files in
between are found among the path's siblings (`mail.log.1`, `mail.log-20261122.gz`). A file that was moved away
is read on for a while, because its writer goes on until it is told to open the new one.

Looking is done by asking the file system now and then, which works on all of them; nothing depends on being
notified. Only whole lines are handed out (but for endless ones), so that lines of two files never run
together.

What cannot be promised: under `copytruncate` lines that are written after the copy was made and before the
file was cut are in no file any more. Those that the copy has are read from it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from logscope.errors import InputError
from logscope.sources.buffers import Buffer
from logscope.sources.compression import detect
from logscope.sources.parts import Identity, Part, Plain, Position, head_of, opened

LINGER_NS = 60_000_000_000
"""How long a file that was moved away is still looked at."""
_START = 1 << 16
_PACKED = r"\.(?:gz|bz2|xz|zst|Z)"
_ROTATED = re.compile(rf"[.-]\d[\d.-]*(?:{_PACKED})?$|{_PACKED}$|\.(?:old|bak|swp)$|~$")
_RESTARTED = re.compile(r"\d+\.log(?:\.\d{8}-\d{6}(?:\.gz)?)?")
"""Logs of a container in a pod: one for each time that it was started, and how the kubelet rotates them."""
_NUMBER = re.compile(rf"\.(\d{{1,4}})(?:{_PACKED})?$")


@dataclass
class _Moved:
    """A file that was moved away, and until when it is looked at."""

    part: Plain
    until: int | None = None


class Followed:
    """A path that is followed; an input of `live.Live`.

    Args:
        path: of the file, which need not exist yet.
        name: what it is called in the `source` column; the path if not given.
        from_end: bytes before the end to begin at, if the file exists already; None for its beginning.
        resume: positions of an earlier run, that of the latest file last; what came since is read.

    Attributes:
        notes: what the user should know, to be taken out by whoever tells.
        cuts: how often the file was cut while it was followed; uncopied: and no copy of it was there, so that
            lines may be lost.
        lines_before: how many lines of the file are before the bytes that were read last.

    Raises:
        InputError: it cannot be read, or cannot be followed.
    """

    compression: str | None = None
    size: int | None = None

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        from_end: int | None = None,
        resume: Sequence[Position] = (),
    ) -> None:
        self.path = path
        self.name = name or str(path)
        self.follows = True
        self.position = 0
        self.problem: InputError | None = None
        self.modified_at: int | None = None
        self.head = b""
        self.notes: list[str] = []
        self.cuts = self.uncopied = 0
        self.lines_before: int | None = 0
        self._parts: list[Part] = []  # the first is read now; the last is what was found at the path
        self._moved: list[_Moved] = []
        self._unended: Part | None = None  # whose last line was handed out in part
        self._seen = {(identity, modified_at) for identity, modified_at, _ in _siblings(path)}
        self._told = ""
        if resume:
            self._resume(resume)
        else:
            self._begin(from_end)

    @property
    def identity(self) -> Identity | None:
        """Of the file at the path, as far as it is known."""
        return self._parts[-1].position().identity if self._parts else None

    # --- reading --------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether there may be something to read."""
        if len(self._parts) > 1 or not all(isinstance(part, Plain) for part in self._parts):
            return True
        plain = [moved.part for moved in self._moved]
        plain += [part for part in self._parts if isinstance(part, Plain)]
        return any(part.size() != part.offset for part in plain)

    @property
    def unread(self) -> int:
        """Bytes that are there and have not been read; those of compressed files are not known."""
        plain = [part for part in self._parts if isinstance(part, Plain)]
        return sum(max(part.size() - part.offset, 0) for part in plain)

    def read_into(self, buffer: Buffer, at: int) -> int:
        """Read some lines of one file; 0 when nothing has arrived."""
        if self._unended is not None:
            return self._go_on(self._unended, buffer, at)
        for moved in self._moved:
            if count := self._read(moved.part, buffer, at):
                return count
        while self._parts:
            part = self._parts[0]
            if isinstance(part, Plain) and not part.is_same():
                self._cut(part)
            elif count := self._read(part, buffer, at):
                return count
            elif len(self._parts) == 1:
                return 0
            else:
                self._leave(self._parts.pop(0))
        return 0

    def _read(self, part: Part, buffer: Buffer, at: int) -> int:
        before = part.lines
        try:
            count = part.read_into(buffer, at)
        except OSError as error:  # the stale handle of a network file system
            self._tell(f"reading failed: {error.strerror}")
            self._parts = [other for other in self._parts if other is not part]
            return 0
        if count:
            self.lines_before = before
            self.position += count
            self._unended = part if buffer[at + count - 1] != 10 else None
        return count

    def _go_on(self, part: Part, buffer: Buffer, at: int) -> int:
        """More of a line that was handed out in part; where no more comes, its end."""
        count = self._read(part, buffer, at)
        last = self._parts[-1] if self._parts else None
        if count == 0 and (part is not last or not self.follows):
            self._unended = None
            buffer[at] = 10
            return 1
        return count

    def _leave(self, part: Part) -> None:
        """The end of a file that has a successor; its writer may not know yet."""
        if isinstance(part, Plain):
            self._moved.append(_Moved(part))
        else:
            part.close()

    def _tell(self, what: str) -> None:
        """Say something, once until it changes."""
        if what != self._told:
            self.notes.append(f"{self.name}: {what}")
        self._told = what

    # --- what became of the path ----------------------------------------------------------------------------

    def look(self, now: int) -> None:
        """See whether the file was rotated; `now` in nanoseconds of any clock that goes forward."""
        self._look_at_moved(now)
        try:
            status = self.path.stat()
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._tell(str(error.strerror))
            return
        identity = (status.st_dev, status.st_ino)
        known = {part.position().identity for part in self._parts[-1:]}
        if identity not in known | {moved.part.identity for moved in self._moved}:
            self._replaced()

    def _look_at_moved(self, now: int) -> None:
        """Files that were moved away are closed in the end, a last line without its end read."""
        for moved in list(self._moved):
            if moved.until is None:
                moved.until = now + LINGER_NS
            elif now > moved.until:
                if moved.part.over and moved.part.size() <= moved.part.offset:
                    self._seen.add((moved.part.identity, moved.part.modified_at()))
                    moved.part.close()
                    self._moved.remove(moved)
                moved.part.over = True

    def _replaced(self) -> None:
        """Something else stands at the path: it is read after what is between."""
        current = self._parts[-1].position() if self._parts else None
        self._parts += [
            part
            for identity, modified_at, path in self._new_siblings()
            if current is None or _follows(current, identity, modified_at, path)
            if (part := opened(path, 0))
        ]
        self._note_siblings()
        self._add_current()

    def _new_siblings(self) -> list[tuple[Identity, int, Path]]:
        open_now = {moved.part.identity for moved in self._moved}
        return [
            (identity, modified_at, path)
            for identity, modified_at, path in _siblings(self.path)
            if (identity, modified_at) not in self._seen and identity not in open_now
        ]

    def _note_siblings(self) -> None:
        self._seen = {(identity, modified_at) for identity, modified_at, _ in _siblings(self.path)}

    def _add_current(self) -> None:
        try:
            part = Plain(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._tell(str(error.strerror))
            return
        except InputError as error:
            self._tell(str(error))
            return
        part.skip_hole()
        self._told = ""
        self._parts.append(part)

    def _cut(self, part: Plain) -> None:
        """The file was cut or rewritten in place: what was not read of it may be in a copy."""
        self.cuts += 1
        position = part.position()
        copies = [path for _, _, path in self._new_siblings() if position.head.fits(head_of(path))]
        self._note_siblings()
        copy = opened(copies[-1], position.offset) if copies else None
        if copy is None:
            self.uncopied += 1
            self.notes.append(f"{self.name}: was cut, and no copy of it is there: lines may be lost")
        else:
            copy.lines = position.lines
        at = self._parts.index(part)
        was_last = at == len(self._parts) - 1
        part.close()
        if self._unended is part:
            self._unended = copy
        self._parts[at : at + 1] = [copy] if copy else []
        if was_last:
            self._add_current()

    # --- beginning and end ----------------------------------------------------------------------------------

    def _begin(self, from_end: int | None) -> None:
        try:
            part = Plain(self.path)
        except FileNotFoundError:
            self._tell("does not exist yet; waiting for it")
            return
        except PermissionError:
            raise InputError(
                f"{self.name}: permission denied",
                hint="Logs are often readable by root or the group adm only.",
            ) from None
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}") from None
        self.head = os.pread(part.descriptor, _START, 0)
        if detect(self.head) is not None:
            part.close()
            raise InputError(
                f"{self.name}: is compressed, so nothing is added to it",
                hint="Follow the file that is being written; the other commands read this one.",
            )
        self.modified_at = part.modified_at()
        part.skip_hole()
        if from_end is not None:
            part.skip_to(max(part.size() - from_end, 0))
        self._parts.append(part)

    def _resume(self, positions: Sequence[Position]) -> None:
        """Go on where an earlier run was, in whatever its files have become."""
        files = [(modified_at, path) for _, modified_at, path in _siblings(self.path)]
        with suppress(OSError):
            files.append((self.path.stat().st_mtime_ns, self.path))
        names = [path for _, path in files]
        found = [(position, _find(position, names)) for position in positions]
        for position, path in found:
            part = opened(path, position.offset) if path else None
            if part is not None:
                part.lines = position.lines
                self._parts.append(part)
        latest, path = found[-1]
        unread = [name for name in names if name not in [place for _, place in found]]
        if path is None:
            self.notes.append(f"{self.name}: the file that was read last is gone: lines may be lost")
            times = {name: modified_at for modified_at, name in files}
            newer = [name for name in unread if times[name] > latest.modified_at]
        else:
            if latest.head.length == 0:
                older = [name for name in unread if names.index(name) < names.index(path)]
                self._parts[-1:-1] = _written_since(latest, older, positions)
            newer = [name for name in unread if names.index(name) > names.index(path)]
        if path != self.path:
            self._parts += [part for name in newer if name != self.path and (part := opened(name, 0))]
            self._add_current()

    def positions(self) -> list[Position]:
        """How far everything has been read, the latest file last."""
        return [part.position() for part in (*(moved.part for moved in self._moved), *self._parts)]

    def stop(self) -> None:
        """Nothing more is waited for: what is there now is all."""
        self.follows = False
        for part in [*self._parts, *(moved.part for moved in self._moved)]:
            if isinstance(part, Plain):
                part.over = True

    def close(self) -> None:
        """Close all files."""
        for part in [*self._parts, *(moved.part for moved in self._moved)]:
            part.close()
        self._parts, self._moved = [], []


def _follows(position: Position, identity: Identity, modified_at: int, path: Path) -> bool:
    """Whether a file was written after another, and is no copy of it."""
    return (
        identity != position.identity
        and modified_at > position.modified_at
        and not position.head.fits(head_of(path))
    )


def looks_rotated(name: str) -> bool:
    """Whether a file's name says that it was put aside: nothing is added to it.

    >>> looks_rotated("mail.log.1"), looks_rotated("mail.log-20261122.gz"), looks_rotated("mail.log")
    (True, True, False)
    """
    return _ROTATED.search(name) is not None


def _siblings(path: Path) -> list[tuple[Identity, int, Path]]:
    """Files that the path's rotation made: identity, time of the last change, path; the latest last.

    Of a link, such as Kubernetes has in /var/log/containers, they are beside what it leads to.
    """
    places = [path]
    with suppress(OSError, RuntimeError):
        if path.is_symlink():
            places.append(path.resolve())
    found = []
    for place in places:
        for entry in _entries(place.parent):
            if not _is_sibling(entry.name, place.name):
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    identity = (status.st_dev, status.st_ino)
                    found.append((identity, status.st_mtime_ns, place.parent / entry.name))
    return sorted(found, key=lambda one: (one[1], _age(one[2]), one[2]))


def _is_sibling(name: str, of: str) -> bool:
    """Whether a file was what another is now.

    >>> _is_sibling("mail.log.1", "mail.log"), _is_sibling("0.log", "1.log"), _is_sibling("a.log", "b.log")
    (True, True, False)
    """
    if name == of:
        return False
    if _RESTARTED.fullmatch(of) and _RESTARTED.fullmatch(name):
        return True
    return name.startswith(of) and looks_rotated(name)


def _age(path: Path) -> int:
    """Of files written at the same moment: `mail.log.2` is older than `mail.log.1`."""
    match = _NUMBER.search(path.name)
    return -int(match[1]) if match else 0


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from entries
    except OSError:
        return


def _written_since(empty: Position, paths: Sequence[Path], positions: Sequence[Position]) -> list[Part]:
    """What was written to a file that was empty, and copied away before it was cut: of some files those that
    are newer than it was then, and none of those that had been read.
    """
    heads = [position.head for position in positions]
    return [
        part
        for path in paths
        if path.stat().st_mtime_ns > empty.modified_at
        if not any(head.fits(head_of(path)) for head in heads)
        if (part := opened(path, 0))
    ]


def _find(position: Position, paths: Sequence[Path]) -> Path | None:
    """The file that a position belongs to: the same one, or one that begins like it, as copies do."""
    fitting = []
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            same = (status.st_dev, status.st_ino) == position.identity
            if position.head.fits(head_of(path)) or (same and position.head.length == 0):
                fitting.append((same, path))
    return max(fitting, key=lambda one: one[0])[1] if fitting else None
