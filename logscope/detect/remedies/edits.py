"""Changes to a configuration file, shown as unified diffs that `patch` takes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import count

SECRET = re.compile(
    r"password|passwd|secret|bind_pw|stats\s+auth|authorization|token|(static|inline):\s*\S*[:=]",
    re.IGNORECASE,
)
"""Lines that may hold one: they are never shown."""
HIDDEN = "(not shown: it may hold a password)"
_CONTEXT = 3


def without_secrets(line: str) -> str:
    """A line of a configuration as it may be shown."""
    return HIDDEN if SECRET.search(line) else line


class Draft:
    """One file while it is changed. Lines are named by their number in the file as it was given, from 1;
    new ones have names below 0."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        lines = text.splitlines()
        self._lines: list[tuple[int, str]] = list(enumerate(lines, 1))
        self._new = count(-1, -1)
        self._shown = list(lines)

    @property
    def text(self) -> str:
        """The file as it is now."""
        return "".join(f"{line}\n" for _, line in self._lines)

    def line(self, number: int) -> str:
        """A line as it is now; empty where it was removed."""
        return next((text for name, text in self._lines if name == number), "")

    def replace(self, number: int, text: str) -> None:
        """Put another text in a line's place."""
        self._lines = [(name, text if name == number else old) for name, old in self._lines]

    def insert_after(self, number: int, lines: Sequence[str]) -> None:
        """Put lines behind a line, which must be there, or in front of the first (0)."""
        at = 0 if not number else 1 + [name for name, _ in self._lines].index(number)
        self._lines[at:at] = [(next(self._new), line) for line in lines]

    def append(self, lines: Iterable[str]) -> None:
        """Put lines at the end."""
        self._lines += [(next(self._new), line) for line in lines]

    def remove(self, numbers: Iterable[int]) -> None:
        """Take lines out."""
        gone = set(numbers)
        self._lines = [(name, line) for name, line in self._lines if name not in gone]

    def block(self, number: int) -> list[int]:
        """A line and those that continue it: they begin with a blank (postconf(5), master(5)).

        Comments and empty lines among them belong to it, those behind it do not.
        """
        names = [name for name, _ in self._lines]
        end = at = names.index(number)
        for place in range(at + 1, len(self._lines)):
            text = self._lines[place][1]
            if text[:1].isspace() and text.strip() and not text.lstrip().startswith("#"):
                end = place
            elif text.strip() and not text.lstrip().startswith("#"):
                break
        return names[at : end + 1]

    def diff(self) -> str:
        """What changed since the last diff; empty where nothing did.

        Lines that may hold a secret are not shown: there is less context around the change where they would
        be, and where they are changed themselves the diff cannot be applied as it is.
        """
        now = [line for _, line in self._lines]
        before, self._shown = self._shown, now
        name = self.name.lstrip("/")  # for `patch -p1 -d /`
        found: list[str] = []
        for context in range(_CONTEXT, -1, -1):
            found = list(difflib.unified_diff(before, now, f"a/{name}", f"b/{name}", n=context, lineterm=""))
            if not any(SECRET.search(line) for line in found[2:]):
                break
        shown = [
            line[:1] + HIDDEN if at > 1 and SECRET.search(line) else line for at, line in enumerate(found)
        ]
        return "".join(f"{line}\n" for line in shown)
