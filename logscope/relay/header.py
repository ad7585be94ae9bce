"""The PROXY protocol header, versions 1 and 2 (proxy-protocol.txt, sections 2.1 and 2.2).

A header stands before everything else on a connection and says whose connection it is. The sender writes it
at once, but TCP may deliver it in pieces, so `decode` says when it needs more. What is wrong with a header
is said in the words that Postfix logs (haproxy_srvr.c), since that is what readers of its log know.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import cache, lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

V1_PREFIX = b"PROXY "
V1_LONGEST = 107
"""Bytes of the longest header of version 1, its line ending included (section 2.1)."""

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""The first twelve bytes of version 2."""

_FIXED = 16
"""Signature, version and command, family, length."""
V2_LONGEST = 4096
"""Longer headers are refused: addresses and a few TLVs need some hundred bytes."""

_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6 = 0x00, 0x11, 0x21
_ADDRESSES = {_TCP4: struct.Struct("!4s4sHH"), _TCP6: struct.Struct("!16s16sHH")}


class Tlv(IntEnum):
    """Types of the values that version 2 may carry behind the addresses (section 2.2)."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05


class Endpoint(NamedTuple):
    """One end of a TCP connection."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.address


class Header(NamedTuple):
    """What a header says.

    Attributes:
        source: the client; None when the header names no TCP connection (`UNKNOWN`, `LOCAL`).
        destination: what the client connected to.
        is_local: the sender speaks for itself: a health check.
        tlvs: further values of version 2, type and content.
    """

    source: Endpoint | None = None
    destination: Endpoint | None = None
    is_local: bool = False
    tlvs: tuple[tuple[int, bytes], ...] = ()


class HeaderError(ValueError):
    """These bytes are no header, or a wrong one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# --- writing ----------------------------------------------------------------------------------------------


def encode_v1(header: Header) -> bytes:
    """A header of version 1. It has no words for `LOCAL` and TLVs."""
    source, destination = header.source, header.destination
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    source, destination = _one_family(source, destination)
    family = "TCP6" if source.is_ipv6 else "TCP4"
    addresses = f"{source.address} {destination.address}"
    return f"PROXY {family} {addresses} {source.port} {destination.port}\r\n".encode("ascii")


def encode_v2(header: Header, checksum: bool = False) -> bytes:
    """A header of version 2.

    Args:
        checksum: append the CRC32C of the whole header as a TLV of its own.
    """
    command = _LOCAL if header.is_local else _PROXY
    family, addresses = _addresses(header)
    tlvs = [*header.tlvs, (int(Tlv.CRC32C), bytes(4))] if checksum else list(header.tlvs)
    body = addresses + b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    if _FIXED + len(body) > V2_LONGEST:
        raise ValueError("the TLVs are too long for a header")
    data = SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body
    return data[:-4] + struct.pack("!I", crc32c(data)) if checksum else data


def _addresses(header: Header) -> tuple[int, bytes]:
    if header.source is None or header.destination is None:
        return _UNSPEC, b""
    source, destination = _one_family(header.source, header.destination)
    family, kind = (_TCP6, IPv6Address) if source.is_ipv6 else (_TCP4, IPv4Address)
    packed = kind(source.address).packed, kind(destination.address).packed
    return family, _ADDRESSES[family].pack(*packed, source.port, destination.port)


def _one_family(source: Endpoint, destination: Endpoint) -> tuple[Endpoint, Endpoint]:
    """Both ends as IPv6 when one of them is, as HAProxy sends it."""
    if source.is_ipv6 == destination.is_ipv6:
        return source, destination
    return _as_ipv6(source), _as_ipv6(destination)


def _as_ipv6(end: Endpoint) -> Endpoint:
    return end if end.is_ipv6 else end._replace(address=f"::ffff:{end.address}")


# --- reading ----------------------------------------------------------------------------------------------


def decode(data: bytes) -> tuple[Header, int] | None:
    """Read a header from the first bytes of a connection.

    Returns:
        the header and its length, or None when more bytes are needed to tell.

    Raises:
        HeaderError: these bytes do not begin a header, or it is malformed.
    """
    if data.startswith(V1_PREFIX):
        return _decode_v1(data)
    if data.startswith(SIGNATURE):
        return _decode_v2(data)
    if V1_PREFIX.startswith(data) or SIGNATURE.startswith(data):
        return None
    raise HeaderError("short protocol header" if len(data) < _FIXED else "unrecognized protocol header")


def is_begun(data: bytes | bytearray) -> bool:
    """Whether these bytes begin as a header does, be it a wrong one."""
    return data.startswith((V1_PREFIX, SIGNATURE))


def _decode_v1(data: bytes) -> tuple[Header, int] | None:
    end = data.find(b"\n", 0, V1_LONGEST)
    if end < 0:
        if len(data) >= V1_LONGEST:
            raise HeaderError("missing protocol header terminator")
        return None
    words = data[:end].removesuffix(b"\r").decode("latin-1").split(" ")
    family = words[1].upper()
    if family == "UNKNOWN":
        return Header(), end + 1
    if family not in ("TCP4", "TCP6"):
        raise HeaderError("bad or missing protocol type")
    words += [""] * (6 - len(words))
    source = _address(words[2], family, "client"), _port(words[4], "client")
    destination = _address(words[3], family, "server"), _port(words[5], "server")
    return Header(Endpoint(*source), Endpoint(*destination)), end + 1


def _address(text: str, family: str, side: str) -> str:
    try:
        return _canonical(text, family)
    except AddressValueError:
        raise HeaderError(f"bad or missing {side} address") from None


@lru_cache(maxsize=4096)
def _canonical(text: str, family: str) -> str:
    if "%" in text:
        raise AddressValueError
    return _plain(IPv6Address(text)) if family == "TCP6" else str(IPv4Address(text))


def _plain(address: IPv6Address) -> str:
    """Canonical text; an IPv4-mapped address is the IPv4 address."""
    return str(address.ipv4_mapped or address)


def _port(text: str, side: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535 and str(int(text)) == text:
        return int(text)
    raise HeaderError(f"bad or missing {side} port")


def _decode_v2(data: bytes) -> tuple[Header, int] | None:
    if len(data) < _FIXED:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(SIGNATURE))
    if command & 0xF0 != 0x20:
        raise HeaderError("unrecognized protocol version")
    if command not in (_LOCAL, _PROXY):
        raise HeaderError("bad command in proxy header")
    whole = _FIXED + length
    if whole > V2_LONGEST:
        raise HeaderError("overlong version 2 protocol header")
    if len(data) < whole:
        return None
    body = data[_FIXED:whole]
    layout = _ADDRESSES.get(family)
    if command == _LOCAL:
        skipped = layout.size if layout and len(body) >= layout.size else len(body)
        return Header(is_local=True, tlvs=_tlvs(body[skipped:], data[:whole])), whole
    if layout is None:
        if family == _UNSPEC:
            return Header(), whole
        raise HeaderError("unsupported network protocol")
    if len(body) < layout.size:
        raise HeaderError("short address field")
    source, destination, source_port, destination_port = layout.unpack_from(body)
    ends = Endpoint(_unpacked(source), source_port), Endpoint(_unpacked(destination), destination_port)
    return Header(*ends, tlvs=_tlvs(body[layout.size :], data[:whole])), whole


def _unpacked(packed: bytes) -> str:
    return str(IPv4Address(packed)) if len(packed) == 4 else _plain(IPv6Address(packed))


def _tlvs(rest: bytes, whole: bytes) -> tuple[tuple[int, bytes], ...]:
    found = []
    at = 0
    while at < len(rest):
        if len(rest) - at < 3:
            raise HeaderError("malformed TLV in proxy header")
        kind, length = struct.unpack_from("!BH", rest, at)
        value = rest[at + 3 : at + 3 + length]
        if len(value) < length:
            raise HeaderError("malformed TLV in proxy header")
        if kind == Tlv.CRC32C:
            _check(value, whole, len(whole) - len(rest) + at + 3)
        found.append((kind, value))
        at += 3 + length
    return tuple(found)


def _check(value: bytes, whole: bytes, at: int) -> None:
    """The checksum is that of the header with zeros in its own place."""
    blank = whole[:at] + bytes(4) + whole[at + 4 :]
    if len(value) != 4 or struct.unpack("!I", value)[0] != crc32c(blank):
        raise HeaderError("wrong checksum in proxy header")


# --- checksum ---------------------------------------------------------------------------------------------


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as RFC 9260 defines it.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    table = _crc_table()
    crc = 0xFFFF_FFFF
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F6_3B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)
