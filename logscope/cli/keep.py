"""Keeping a live run: what it has read, what is open and what it has written, so that the next goes on there.

Into a file: the state, with the output that is due, is saved first, and then the output is written; so a run
that was killed at any moment is followed by one that writes what is missing and nothing twice. To standard
output: what is due is written first, so that nothing is lost; what was written after the last save comes
again, with the same session ids.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from logscope.errors import UsageError
from logscope.store import snapshot
from logscope.store.appending import Appending, Mark
from logscope.store.state import Saved, StateDirectory

if TYPE_CHECKING:
    from logscope.cli.streams import Target
    from logscope.live import Live
    from logscope.sources.following import Following
    from logscope.sources.parts import Position
    from logscope.sources.reading import Preparation

_LEAST_S = 0.2
"""From one save to the next; output to a file comes as late."""
_SHARE = 40
"""Saving may take one part in so many of the time."""
_MOST = 16 << 20
"""Bytes of output that wait no longer. A run that catches up makes these in a fifth of a second, and
keeps some 30 MB of what it has read ahead each time."""


class Keeper:
    """The state of a live run and its output.

    Args:
        path: directory of the state.
        target: where output goes; to a file, each row once.

    Raises:
        LogscopeError: the directory or the file cannot be used, or what was kept is damaged.
    """

    def __init__(self, path: Path, target: Target) -> None:
        self._directory = StateDirectory(path)
        self._saved = self._directory.load()
        if target.path is not None and target.path.exists() and not target.path.is_file():
            raise UsageError(f"--to {target.path}: is no file, so nobody can tell what it has had already")
        self._output = Appending(target.path) if target.path is not None else None
        self._stream: IO[bytes] = io.BytesIO()
        self._places: tuple[dict[str, list[Position]], dict[str, str]] | None = None
        self._next = 0.0
        self._key = ""
        self.notes: list[str] = []
        if self._output is not None and self._saved is not None and self._saved.mark is not None:
            found = self._output.complete(self._saved.mark, self._saved.pending)
            self.notes += [] if found else [f"{target.path}: was moved away; its last rows may be in both"]

    @property
    def resumes(self) -> bool:
        """Whether there is a run to go on with."""
        return self._saved is not None

    @property
    def positions(self) -> dict[str, list[Position]]:
        """How far its files had been read."""
        return self._saved.positions if self._saved else {}

    @property
    def cursors(self) -> dict[str, str]:
        """How far its journals had been read."""
        return self._saved.cursors if self._saved else {}

    @property
    def since(self) -> int | None:
        """See `View.since`."""
        return self._saved.since if self._saved else None

    def stream(self, standard_output: IO[bytes] | None) -> IO[bytes]:
        """What to write to; `standard_output` where there is no file."""
        if standard_output is not None:
            self._stream = standard_output
        return self._stream

    @property
    def continues(self) -> bool:
        """Whether output has been written before, so that it has its header."""
        return self._output is not None and not self._output.is_empty

    def live(self, ready: Preparation, wanted: str) -> Live | None:
        """The stage of the run to go on with; None where there is none.

        Args:
            wanted: what is wanted of a stage; one of which something else was wanted is of no use.
        """
        self._key = snapshot.key(ready.catalogue, ready.options, wanted)
        if self._saved is None or not self._saved.live:
            return None
        if self._saved.key != self._key:
            self.notes.append(
                "the state is of another release, other grammars or other options: files are read on where "
                "they were, and what was open then is seen in part"
            )
            return None
        return snapshot.thawed(self._saved.live, ready.catalogue)

    def rekey(self, ready: Preparation, wanted: str) -> None:
        """From here on the stage is one of other grammars or options."""
        self._key = snapshot.key(ready.catalogue, ready.options, wanted)

    def keep(self, live: Live, following: Following, since: int | None, *, over: bool = False) -> None:
        """Save how far all is, and write what is due.

        Args:
            over: the run has ended, and nothing is open.
        """
        started = time.monotonic()
        pending = self._taken()
        places = following.positions(), following.cursors()
        if pending or over or places != self._places:
            mark: Mark | None = self._output.mark() if self._output else None
            data = b"" if over else snapshot.frozen(live)
            self._directory.save(Saved(self._key, places[0], since, mark, pending, data, places[1]))
            if self._output:
                self._output.append(pending)
            self._places = places
        ended = time.monotonic()
        self._next = ended + max(_LEAST_S, _SHARE * (ended - started))

    @property
    def due_s(self) -> float:
        """In how many seconds it is time to save."""
        return self._next - time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time to."""
        waiting = self._stream.tell() if self._output else 0
        return waiting > _MOST or time.monotonic() >= self._next

    def _taken(self) -> bytes:
        if self._output is None:
            self._stream.flush()
            return b""
        assert isinstance(self._stream, io.BytesIO)
        data = self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        return data

    def close(self) -> None:
        """Let go of directory and file."""
        if self._output is not None:
            self._output.close()
        self._directory.close()
