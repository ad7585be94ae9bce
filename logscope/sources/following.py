"""Everything that one live run reads: files, patterns, directories and pipes, and when to look at them."""

from __future__ import annotations

import glob
import os
import selectors
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import compress
from pathlib import Path
from typing import Protocol

from logscope.errors import InputError
from logscope.live import LiveInput
from logscope.sources.find import check_log
from logscope.sources.follow import Followed, looks_rotated
from logscope.sources.journal import PREFIX, Journal
from logscope.sources.listen import Listening, Received
from logscope.sources.parts import Position
from logscope.sources.pipes import Piped, named_pipe, standard_input
from logscope.sources.watching import News, Watching

LOOK_NS = 50_000_000
"""From one look at the files to the next, at least."""
CALM_NS = 500_000_000
"""The same where the kernel has been asked, and told of nothing but that something was written."""
POLL_S = 0.05
"""How long to wait where the kernel does not tell of everything."""
SEARCH_NS = 1_000_000_000
"""From one search for new files to the next."""


class Watched(LiveInput, Protocol):
    """An input of a live run, as this module handles it."""

    notes: list[str]

    def look(self, now: int) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


class Following:
    """The inputs of a live run.

    Args:
        names: files, patterns, directories, `-`, `journal:`. Files need not exist yet.
        from_end: bytes before its end at which a file begins; None for its beginning.
        resume: positions of files in an earlier run, by name.
        cursors: those of journals, likewise.
        follow: wait for more; else journals end where they do now.

    Attributes:
        inputs: all that are open.
        problems: what cannot be read.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        from_end: int | None = None,
        resume: dict[str, list[Position]] | None = None,
        cursors: dict[str, str] | None = None,
        follow: bool = True,
    ) -> None:
        self.inputs: list[Watched] = []
        self.problems: list[InputError] = []
        self._patterns: list[str] = []
        self._resume, self._cursors = resume or {}, cursors or {}
        self._follow = follow
        self._told: set[int] = set()  # inputs whose problems are known
        self._selector = selectors.DefaultSelector()
        self._watching = Watching()
        if self._watching.descriptor is not None:
            self._selector.register(self._watching.descriptor, selectors.EVENT_READ)
        self._polls = False
        """Something was read that the kernel had not told of."""
        self._calm = False
        self._journals: dict[str, int] = {}
        self._listening: Listening | None = None
        self._ignored: set[Path] = set()
        self._looked_at = self._searched_at = -(2**62)
        self._new: list[Watched] = []
        for name in names:
            self._add_named(name, from_end)
        for name in self._resume:  # what a pattern led to in the earlier run, if it no longer does
            if self._patterns and not self._has(Path(name)):
                self._add_file(name, from_end)
        self._search(from_end)

    def add(self, source: Watched, descriptors: Sequence[int] = ()) -> None:
        """Read one more input; the descriptors wake a run that waits."""
        self.inputs.append(source)
        self._new.append(source)
        for descriptor in descriptors:
            with suppress(PermissionError):  # of a file as standard input, which is always ready
                self._selector.register(descriptor, selectors.EVENT_READ)

    def listen(self, listening: Listening) -> None:
        """Read what endpoints receive, too."""
        self._listening = listening
        for source in listening.inputs:
            self.add(source, [source.descriptor])

    def wake_by(self, descriptor: int) -> None:
        """End waiting when this can be read (it is not read here)."""
        self._selector.register(descriptor, selectors.EVENT_READ)

    def look(self, now: int, *, at_once: bool = False) -> list[Watched]:
        """See what became of the files, now and then or at once; returns inputs that are new.

        `now` is in nanoseconds of a clock that only goes forward.
        """
        calm, self._calm = self._calm, False
        if at_once or now - self._looked_at >= (CALM_NS if calm else LOOK_NS):
            self._looked_at = now
            for source in self.inputs:
                source.look(now)
                self._note_problem(source)
                if isinstance(source, Followed):
                    self._watching.follow(source.path, source.identity)
            if self._listening is not None:
                self._listening.look()
        if at_once or now - self._searched_at >= SEARCH_NS:
            self._searched_at = now
            self._search(None)
        new, self._new = self._new, []
        return new

    def _note_problem(self, source: Watched) -> None:
        if source.problem is not None and id(source) not in self._told:
            self._told.add(id(source))
            self.problems.append(source.problem)

    def look_first(self, now: int) -> tuple[list[Watched], list[Watched]]:
        """The inputs at the beginning: files, and others."""
        new = self.look(now)
        files = [isinstance(source, Followed) for source in new]
        return list(compress(new, files)), [source for source in new if not isinstance(source, Followed)]

    def wait(self, seconds: float) -> None:
        """Wait for something to happen, at most so long; less where files have to be looked at for it."""
        files = [one for one in self.inputs if isinstance(one, Followed)]
        told = self._watching.complete and not self._polls
        for source in self.inputs:
            if isinstance(source, Journal):
                self._wake_by_journal(source)
        found = self._selector.select(seconds if told or not files else min(seconds, POLL_S))
        for key, _ in found:
            ended = [one for one in self.inputs if isinstance(one, Piped) and one.descriptor == key.fd]
            if ended and not ended[0].follows:
                self._selector.unregister(key.fd)
        news = self._watching.take()
        self._calm = told and news != News.MOVED
        if news == News.MOVED:
            self._looked_at = -(2**62)
        elif not news and told and not found and any(one.ready() for one in files):
            time.sleep(0.001)  # what is being written is told of at once, but not before
            self._polls = not self._watching.take()
            self._calm = False

    def _wake_by_journal(self, journal: Journal) -> None:
        """Its child may be another one than before."""
        before, now = self._journals.get(journal.name), journal.waits_for
        if before == now:
            return
        if before is not None:
            with suppress(KeyError, OSError):
                self._selector.unregister(before)
            del self._journals[journal.name]
        if now is not None:
            self._selector.register(now, selectors.EVENT_READ)
            self._journals[journal.name] = now

    @property
    def known_bytes(self) -> int:
        """What has been read, and what is known to be there for it."""
        return sum(one.position for one in self.inputs) + sum(
            one.unread for one in self.inputs if isinstance(one, Followed)
        )

    @property
    def over(self) -> bool:
        """Whether nothing can come any more: there were pipes only, and all of them have ended."""
        return not self._patterns and not any(source.follows for source in self.inputs)

    @property
    def received(self) -> list[Received]:
        """The inputs that are endpoints."""
        return [] if self._listening is None else self._listening.inputs

    def notes(self) -> Iterator[str]:
        """What the user should know, each told once."""
        if self._listening is not None:
            notes, self._listening.notes = self._listening.notes, []
            yield from notes
        for source in self.inputs:
            notes, source.notes = source.notes, []
            yield from notes

    def positions(self) -> dict[str, list[Position]]:
        """How far each file has been read."""
        return {source.name: source.positions() for source in self.inputs if isinstance(source, Followed)}

    def cursors(self) -> dict[str, str]:
        """How far each journal has been read."""
        return {
            source.name: source.cursor
            for source in self.inputs
            if isinstance(source, Journal) and source.cursor is not None
        }

    def cuts(self) -> Iterator[tuple[str, int]]:
        """Files that were cut so that lines may be lost, and how often."""
        files = [one for one in self.inputs if isinstance(one, Followed)]
        yield from ((one.name, one.uncopied) for one in files if one.uncopied)

    def left_out(self) -> Iterator[tuple[str, int]]:
        """Journals of which records were left out, and how many."""
        yield from (
            (one.name, one.left_out) for one in self.inputs if isinstance(one, Journal) and one.left_out
        )

    def stop(self) -> None:
        """Nothing more is waited for; endpoints end when what they have received has been passed on."""
        self._patterns = []
        self.stop_receiving()
        for source in self.inputs:
            source.stop()

    def stop_receiving(self) -> None:
        """Endpoints take nothing more."""
        if self._listening is not None:
            self._listening.stop()

    def close(self) -> None:
        """Close everything."""
        if self._listening is not None:
            self._listening.close()
        for source in self.inputs:
            source.close()
        self._selector.close()
        self._watching.close()

    # --- names ----------------------------------------------------------------------------------------------

    def _add_named(self, name: str, from_end: int | None) -> None:
        path = Path(name)
        try:
            if name == "-":
                source = standard_input()
                self.add(source, [source.descriptor])
            elif name.startswith(PREFIX) and not path.exists():
                self._add_journal(name, from_end)
            elif path.is_dir():
                self._patterns.append(str(Path(glob.escape(name)) / "*"))
            elif glob.has_magic(name) and not os.path.lexists(name):
                self._patterns.append(name)
            elif path.exists() and stat.S_ISFIFO(path.stat().st_mode):
                pipe = named_pipe(path, name)
                self.add(pipe, [pipe.descriptor])
            elif not self._has(path):
                self._add_file(name, from_end)
        except InputError as error:
            self.problems.append(error)
        except OSError as error:
            self.problems.append(InputError(f"{name}: {error.strerror}"))

    def _add_file(self, name: str, from_end: int | None) -> None:
        resume = self._resume.get(name, ())
        self.add(Followed(Path(name), from_end=None if resume else from_end, resume=resume))

    def _add_journal(self, name: str, from_end: int | None) -> None:
        if any(source.name == name for source in self.inputs):
            return
        self.add(
            Journal(name, follow=self._follow, from_start=from_end is None, cursor=self._cursors.get(name))
        )

    def _has(self, path: Path) -> bool:
        return any(isinstance(source, Followed) and source.path == path for source in self.inputs)

    def _search(self, from_end: int | None) -> None:
        """Look for files that the patterns lead to now; files that were put aside are no new ones."""
        for pattern in self._patterns:
            for name in sorted(glob.glob(pattern)):  # noqa: PTH207 - Path.glob refuses absolute patterns
                path = Path(name)
                if looks_rotated(path.name) or path in self._ignored or self._has(path) or not path.is_file():
                    continue
                try:
                    check_log(path)
                    self._add_file(name, from_end)
                except InputError as error:
                    self._ignored.add(path)
                    self.problems.append(error)
