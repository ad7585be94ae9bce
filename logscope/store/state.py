"""The directory of `--state`: how far a run had come, kept so that it survives being killed at any moment.

One file holds all of it, and is replaced as a whole. It is for the user alone (mode 0700), because it says
who sent what to whom, and because objects are made of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from logscope.errors import InputError, UsageError
from logscope.sources.parts import Position, Print
from logscope.store.appending import Mark
from logscope.store.packing import packed, unpacked

_MAGIC = b"logscope state 2\n"
_DIGEST = 16


@dataclass(frozen=True)
class Saved:
    """How far a run had come.

    Attributes:
        key: what `live` needs to be of use, see `snapshot.key`.
        positions: of each file, by its name.
        cursors: of each journal, by its name.
        since: only what happened after this time is shown, ns since 1970; None for all.
        mark: where in the output `pending` belongs; None without an output file.
        pending: output that follows from all that was read, and may not be in the file yet.
        live: the stage, see `snapshot`; empty where nothing was open.
    """

    key: str
    positions: dict[str, list[Position]]
    since: int | None
    mark: Mark | None
    pending: bytes
    live: bytes
    cursors: dict[str, str] = field(default_factory=dict)


class StateDirectory:
    """A directory with the state of one run at a time.

    Raises:
        UsageError: it cannot be used, others could change it, or another run uses it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise UsageError(
                    f"--state {path}: others have access to it",
                    hint=f"Say chown and chmod 0700 {path}, or name a directory that does not exist yet.",
                )
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"--state {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise UsageError(
                f"--state {path}: another run is using it", hint="Each run has its own."
            ) from None

    def load(self) -> Saved | None:
        """What was saved last; None where nothing was.

        Raises:
            InputError: it is damaged.
        """
        path = self._path / "state"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        body, digest = data[:-_DIGEST], data[-_DIGEST:]
        if not body.startswith(_MAGIC) or _digest(body) != digest:
            hint = (
                "Remove it to begin anew; what happened since is then read by its files' positions no more."
            )
            raise InputError(f"{path}: is damaged, or of another release", hint=hint)
        head, _, rest = body[len(_MAGIC) :].partition(b"\n")
        said: dict[str, Any] = json.loads(head)
        pending = unpacked(rest[: said["pending"]])
        return Saved(
            said["key"],
            {name: [_position(one) for one in found] for name, found in said["positions"].items()},
            said["since"],
            Mark.of(said["mark"]),
            pending,
            rest[said["pending"] :],
            said.get("cursors", {}),
        )

    def save(self, saved: Saved) -> None:
        """Replace what was saved last. When this returns, it will be found, whatever happens."""
        pending = packed(saved.pending)
        head = {
            "key": saved.key,
            "positions": {name: [asdict(one) for one in found] for name, found in saved.positions.items()},
            "cursors": saved.cursors,
            "since": saved.since,
            "mark": asdict(saved.mark) if saved.mark else None,
            "pending": len(pending),
        }
        parts = _MAGIC + json.dumps(head).encode() + b"\n", pending, saved.live
        part = self._path / "state.part"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.write(_digest(*parts))
            file.flush()
            os.fsync(descriptor)
        part.replace(self._path / "state")
        directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(OSError):  # file systems that cannot
            os.fsync(directory)
        os.close(directory)

    def close(self) -> None:
        """Let another run have it."""
        os.close(self._lock)


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _position(said: dict[str, Any]) -> Position:
    return Position(
        (said["identity"][0], said["identity"][1]),
        said["offset"],
        said["lines"],
        Print(said["head"]["length"], said["head"]["digest"]),
        said["modified_at"],
    )
