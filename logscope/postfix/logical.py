"""Logical lines of Postfix configuration files: a line that starts with a blank continues the one before
it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from logscope.errors import Place, SettingsError


class ConfigError(SettingsError):
    """A configuration file that Postfix would refuse. The place names file, line and column."""


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """A line with its continuations, joined by single blanks.

    Attributes:
        text: the joined text.
        file: where it stands.
        parts: where each physical line begins in `text`, its number, the column its text begins in, and the
            line itself.
    """

    text: str
    file: str
    parts: tuple[tuple[int, int, int, str], ...]

    def place(self, offset: int = 0, width: int = 1) -> Place:
        """The file, line and column of a character of `text`."""
        start, number, column, line = next(part for part in reversed(self.parts) if part[0] <= offset)
        return Place(self.file, number, column + offset - start, line, width)


def logical_lines(text: str, file: str) -> Iterator[LogicalLine]:
    """The logical lines of a file. Blank lines and comments are left out, inside a logical line too.

    Raises:
        ConfigError: the first line is a continuation.
    """
    joined = ""
    parts: list[tuple[int, int, int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        column = len(line) - len(line.lstrip()) + 1
        if column > 1 and not parts:
            place = Place(file, number, column, line)
            hint = "Remove the blanks in front: a line that starts with one continues the line before."
            raise ConfigError("this continues a line, but none stands before it", place=place, hint=hint)
        if column == 1 and parts:
            yield LogicalLine(joined, file, tuple(parts))
            joined, parts = "", []
        joined = f"{joined} " if joined else ""
        parts.append((len(joined), number, column, line))
        joined += content
    if parts:
        yield LogicalLine(joined, file, tuple(parts))
