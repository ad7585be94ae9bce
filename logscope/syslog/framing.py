"""Syslog messages off the wire, each made one line of a log.

A datagram is a message. A stream is cut by RFC 6587: a frame that begins with a digit says its length
(octet counting), any other ends at a line feed. Both may be mixed in one stream, as senders in practice do.
"""

from __future__ import annotations

from collections.abc import Iterator

LONGEST = 1 << 16
"""Bytes of a message that are kept; daemons send some kilobytes at most, a datagram has no more."""

_COUNT_DIGITS = 6
_STAMP = 15  # `Nov 22 08:41:56`
_DIGITS = frozenset(b"0123456789")


def as_line(message: bytes, host: bytes = b"") -> bytes:
    """A message as one line, without its line feed.

    Line breaks inside become `#012` and NULs `#000`, as rsyslog writes them, so that nobody can forge a line.
    A message with a stamp of RFC 3164 and no host (local sockets, HAProxy unless told otherwise) gets one.

    Args:
        host: who sent it; empty if that is not to be said.

    >>> as_line(b"<134>Nov 22 08:41:56 haproxy[9]: started", b"edge1")
    b'<134>Nov 22 08:41:56 edge1 haproxy[9]: started'
    """
    line = message.rstrip(b"\0\r\n ")
    if b"\n" in line:
        line = line.replace(b"\r\n", b"#012").replace(b"\n", b"#012")
    if b"\0" in line:
        line = line.replace(b"\0", b"#000")
    if host:
        start = line.find(b">", 0, 5) + 1
        word = start + _STAMP + 1
        if (
            line[word - 1 : word] == b" "
            and line[start + 3 : start + 4] == b" "
            and line[word - 4 : word - 3] == b":"
        ):
            end = line.find(b" ", word)
            if end > word and line[end - 1] == 58:  # the first word ends in a colon: it is the tag
                line = line[:word] + host + b" " + line[word:]
    return line


class Frames:
    """Cuts one stream into messages. What it keeps of an unfinished one is bounded.

    Attributes:
        cut: messages that were longer than what is kept, so that their ends were dropped.
    """

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # where the next message begins in it
        self._skip = 0  # bytes of a counted frame that are dropped
        self._to_line_feed = False  # an endless line is dropped up to its end
        self.cut = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete now."""
        self._data, self._at = self._data[self._at :] + data, 0
        while self._at < len(self._data):
            message = self._next()
            if message is None:
                break
            if message:
                yield message

    def close(self) -> Iterator[bytes]:
        """The stream has ended: what is left is a message too, unless it is the end of one that was cut."""
        rest, self._data = self._data[self._at :], b""
        if rest and not self._to_line_feed and not self._skip:
            yield rest

    def _next(self) -> bytes | None:
        """The next message; empty where something was dropped, None where more is needed."""
        if self._skip:
            dropped = min(self._skip, len(self._data) - self._at)
            self._skip -= dropped
            self._at += dropped
            return b""
        if self._to_line_feed:
            end = self._data.find(b"\n", self._at)
            self._to_line_feed = end < 0
            self._at = end + 1 if end >= 0 else len(self._data)
            return b""
        if self._data[self._at] not in _DIGITS:
            return self._line()
        head = self._data[self._at : self._at + _COUNT_DIGITS + 1]
        digits, blank, _ = head.partition(b" ")
        if not digits.isdigit() or len(digits) > _COUNT_DIGITS:
            return self._line()
        return self._counted(int(digits), self._at + len(digits) + 1) if blank else None

    def _counted(self, count: int, start: int) -> bytes | None:
        kept = min(count, LONGEST)
        if len(self._data) < start + kept:
            return None
        self._at = start + kept
        if kept < count:
            self.cut += 1
            self._skip = count - kept
        return self._data[start : self._at]

    def _line(self) -> bytes | None:
        start = self._at
        end = self._data.find(b"\n", start, start + LONGEST + 1)
        if end >= 0:
            self._at = end + 1
            return self._data[start:end]
        if len(self._data) - start <= LONGEST:
            return None
        self._at = start + LONGEST
        self.cut += 1
        self._to_line_feed = True
        return self._data[start : self._at]
