"""The content of a message as it arrives after DATA or in the chunks of BDAT.

Only CR LF "." CR LF ends a DATA (RFC 5321 section 4.1.1.4). Lines may end in a bare LF, but a "." on a line
of its own counts as the end only when both it and the line before it end in CR LF; near misses of that are
left out. That is Postfix's `smtpd_forbid_bare_newline = normalize`, and it leaves nothing of which another
server could think that a second message begins there (SMTP smuggling). A CR that belongs to no line ending
becomes a blank, as with `cleanup_replace_stray_cr_lf`, for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_END = b"\r\n.\r\n"


@dataclass(slots=True)
class Content:
    """Collects the content of one message.

    Attributes:
        limit: bytes that are kept; what is longer is read to its end and dropped.
        size: bytes so far, as sent.
        too_large: more than `limit` arrived.
    """

    limit: int
    size: int = 0
    too_large: bool = False
    _raw: bytearray = field(default_factory=lambda: bytearray(b"\r\n"))
    _searched: int = 0

    def dotted(self, data: bytearray) -> bool:
        """Take the bytes of a DATA out of `data`, up to its end.

        Returns:
            whether the end was there; what follows it is left in `data`.
        """
        self._raw += data
        found = self._raw.find(_END, self._searched)
        if found < 0:
            self._count(len(data))
            data.clear()
            self._searched = max(0, len(self._raw) - len(_END) + 1)
            self._drop_excess()
            return False
        rest = bytes(self._raw[found + len(_END) :])
        self._count(len(data) - len(rest))
        data[:] = rest
        del self._raw[found + 2 :]
        return True

    def chunk(self, data: bytes) -> None:
        """Take a piece of a BDAT chunk."""
        self._count(len(data))
        if not self.too_large:
            self._raw += data

    @property
    def head(self) -> bytes | None:
        """The header, once it is complete."""
        end = self._raw.find(b"\r\n\r\n")
        return bytes(self._raw[2:end]) if end >= 0 else None

    def _count(self, length: int) -> None:
        self.size += length
        self.too_large = self.too_large or self.size > self.limit

    def _drop_excess(self) -> None:
        """What is too large is still searched for its end, but not kept."""
        if self.too_large:
            del self._raw[: -len(_END) + 1]
            self._searched = 0

    def lines(self, dotted: bool) -> bytes:
        """The content with every line ending in CR LF.

        Args:
            dotted: whether lines carry the extra dot of DATA (section 4.5.2).
        """
        raw = self._raw
        line_feeds = raw.count(b"\n")
        if line_feeds == raw.count(b"\r") == raw.count(b"\r\n"):
            text = bytes(raw.replace(b"\r\n.", b"\r\n") if dotted else raw)[2:]
        else:
            text = self._normalized(dotted)
        return text if text.endswith(b"\r\n") or not text else text + b"\r\n"

    def _normalized(self, dotted: bool) -> bytes:
        lines = []
        bare_before = False
        for line in bytes(self._raw[2:]).split(b"\n"):
            bare = not line.endswith(b"\r")
            text = line if bare else line[:-1]
            if dotted and text == b"." and (bare or bare_before):
                bare_before = bare
                continue  # could pass for the end of the message elsewhere
            if dotted and text.startswith(b"."):
                text = text[1:]
            lines.append(text.replace(b"\r", b" "))
            bare_before = bare
        return b"\r\n".join(lines)
