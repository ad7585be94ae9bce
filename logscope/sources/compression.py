"""Decompression that keeps what was readable.

The file objects of the standard library raise at a truncated or damaged place and lose what they had decoded
before it. Logs are cut off in practice (a rotation on a full disk, a copy that was interrupted), so the
streams here hand back every byte up to the damage and then say what was wrong. Memory is bounded: a block of
output is at most `limit` bytes, except for zstd, whose decoder has no such limit and is fed so little at a
time that a block stays reasonable.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

READ_SIZE = 1 << 16
"""Compressed bytes asked of the file at once."""

_ZSTD_SLICE = 1 << 12
"""zstd can expand 4 KiB to 128 MiB at worst (run-length blocks), to about 50 KiB in ordinary logs."""


class DamagedError(Exception):
    """The compressed data is cut off or corrupt; the text says which."""


class Member(Protocol):
    """Decoder of one member (gzip), stream (bzip2, xz) or frame (zstd) of a file that may hold several."""

    finished: bool
    hungry: bool
    """Whether it needs more input to give more output."""

    def decode(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        """Return decoded bytes and the input not used yet."""


class _Zlib:
    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)  # 16 + 15: with gzip header and check sum
        self.finished = False
        self.hungry = True

    def decode(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        decoded = self._decoder.decompress(data, limit)
        self.finished = self._decoder.eof
        rest = self._decoder.unused_data if self.finished else self._decoder.unconsumed_tail
        self.hungry = not rest and len(decoded) < limit
        return decoded, rest


class _Limited:
    """bzip2 and xz: the decoder keeps the input that it had no room to decode."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self.finished = False
        self.hungry = True

    def decode(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        decoded: bytes = self._decoder.decompress(data, limit)
        self.finished = self._decoder.eof
        self.hungry = not self.finished and self._decoder.needs_input
        return decoded, self._decoder.unused_data if self.finished else b""


class _Zstandard:
    def __init__(self) -> None:
        import zstandard  # a dependency that plain logs need not load

        self._decoder: Any = zstandard.ZstdDecompressor().decompressobj()
        self.finished = False
        self.hungry = True

    def decode(self, data: bytes, limit: int) -> tuple[bytes, bytes]:  # noqa: ARG002 - zstd knows none
        decoded: bytes = self._decoder.decompress(data[:_ZSTD_SLICE])
        self.finished = self._decoder.eof
        rest = data[_ZSTD_SLICE:]
        self.hungry = not rest
        return decoded, self._decoder.unused_data + rest if self.finished else rest


@dataclass(frozen=True)
class Compression:
    """One way logs are compressed: its name, the first bytes of such files, and its decoder."""

    name: str
    magic: tuple[bytes, ...]
    member: Callable[[], Member]


COMPRESSIONS = (
    Compression("gzip", (b"\x1f\x8b\x08",), _Zlib),
    Compression("bzip2", (b"BZh",), lambda: _Limited(bz2.BZ2Decompressor())),
    Compression("xz", (b"\xfd7zXZ\x00",), lambda: _Limited(lzma.LZMADecompressor(lzma.FORMAT_XZ))),
    # Besides the magic number of a frame, that of a skippable one, which parallel compressors write first
    # (RFC 8878, 3.1.2).
    Compression(
        "zstd", (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))), _Zstandard
    ),
)
MAGIC_LENGTH = 6


def detect(head: bytes) -> Compression | None:
    """The compression that a file starting with these bytes has; its name's suffix is not asked."""
    for compression in COMPRESSIONS:
        if head.startswith(compression.magic):
            return compression
    return None


class Decompressed:
    """The decoded bytes of a compressed file, member after member.

    Args:
        compression: what the file starts with.
        read: gives the next compressed bytes, empty at the end.
    """

    def __init__(self, compression: Compression, read: Callable[[int], bytes]) -> None:
        self._compression = compression
        self._read = read
        self._member: Member | None = compression.member()
        self._pending = b""

    def read(self, limit: int) -> bytes:
        """Return up to about `limit` decoded bytes, empty at the end.

        Raises:
            DamagedError: the rest cannot be decoded. Everything before has been returned.
        """
        while self._member is not None or self._next_member():
            decoded = self._decode(limit)
            if decoded:
                return decoded
        return b""

    def _decode(self, limit: int) -> bytes:
        member = self._member
        assert member is not None
        if not self._pending and member.hungry:
            self._pending = self._read(READ_SIZE)
            if not self._pending:
                self._member = None
                raise DamagedError(f"the {self._compression.name} data is cut off")
        try:
            decoded, self._pending = member.decode(self._pending, limit)
        except (zlib.error, OSError, EOFError, lzma.LZMAError, _zstd_error()) as error:
            self._member = None
            raise DamagedError(f"the {self._compression.name} data is damaged") from error
        if member.finished:
            self._member = None
        return decoded

    def _next_member(self) -> bool:
        """Start on what follows a finished member: another one, padding with zeros (tapes, disks), or
        nothing.
        """
        while len(self._pending) < MAGIC_LENGTH:
            more = self._read(READ_SIZE)
            if not more:
                break
            self._pending = self._pending.lstrip(b"\0") + more
        self._pending = self._pending.lstrip(b"\0")
        if not self._pending:
            return False
        if not self._pending.startswith(self._compression.magic):
            self._pending = b""
            raise DamagedError(f"something else follows the {self._compression.name} data")
        self._member = self._compression.member()
        return True


def _zstd_error() -> type[Exception]:
    """zstandard's exception, or one that is never raised when it was not needed."""
    import sys

    module = sys.modules.get("zstandard")
    return module.ZstdError if module is not None else DamagedError
