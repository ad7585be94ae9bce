"""The PROXY header: written, read whole and byte by byte, and refused when it is wrong."""

from __future__ import annotations

import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.relay.header import (
    SIGNATURE,
    Endpoint,
    Header,
    HeaderError,
    Tlv,
    crc32c,
    decode,
    encode_v1,
    encode_v2,
)

CLIENT = Endpoint("198.51.100.22", 35646)
PUBLIC = Endpoint("192.0.2.25", 25)
CLIENT_6, PUBLIC_6 = Endpoint("2001:db8::22", 35646), Endpoint("2001:db8:25::25", 25)

V1 = [
    (Header(CLIENT, PUBLIC), b"PROXY TCP4 198.51.100.22 192.0.2.25 35646 25\r\n"),
    (Header(CLIENT_6, PUBLIC_6), b"PROXY TCP6 2001:db8::22 2001:db8:25::25 35646 25\r\n"),
    (Header(), b"PROXY UNKNOWN\r\n"),
]
V2 = [
    (
        Header(CLIENT, PUBLIC),
        SIGNATURE + bytes.fromhex("21 11 000c c6336416 c0000219 8b3e 0019"),
    ),
    (
        Header(CLIENT_6, PUBLIC_6),
        SIGNATURE
        + bytes.fromhex(
            "21 21 0024 20010db8000000000000000000000022 20010db8002500000000000000000025 8b3e 0019"
        ),
    ),
    (Header(is_local=True), SIGNATURE + bytes.fromhex("20 00 0000")),
    (
        Header(CLIENT, PUBLIC, tlvs=((Tlv.UNIQUE_ID, b"bd2-1"),)),
        SIGNATURE + bytes.fromhex("21 11 0014 c6336416 c0000219 8b3e 0019 05 0005") + b"bd2-1",
    ),
]


@pytest.mark.parametrize(("header", "data"), V1)
def test_version_1_is_written(header: Header, data: bytes) -> None:
    assert encode_v1(header) == data


@pytest.mark.parametrize(("header", "data"), V2)
def test_version_2_is_written(header: Header, data: bytes) -> None:
    assert encode_v2(header) == data


@pytest.mark.parametrize(("header", "data"), V1 + V2)
@pytest.mark.parametrize("behind", [b"", b"EHLO x\r\n", b"\r\n"])
def test_it_is_read_whatever_follows(header: Header, data: bytes, behind: bytes) -> None:
    assert decode(data + behind) == (header, len(data))


@pytest.mark.parametrize(("header", "data"), V1 + V2)
def test_it_may_come_byte_by_byte(header: Header, data: bytes) -> None:
    assert [decode(data[:length]) for length in range(len(data))] == [None] * len(data)
    assert decode(data) == (header, len(data))


def test_mapped_addresses_are_plain_ones() -> None:
    data = b"PROXY TCP6 ::ffff:198.51.100.22 ::ffff:192.0.2.25 35646 25\r\n"
    assert decode(data) == (Header(CLIENT, PUBLIC), len(data))


def test_two_families_become_one() -> None:
    data = encode_v1(Header(CLIENT, PUBLIC_6))
    assert data == b"PROXY TCP6 ::ffff:198.51.100.22 2001:db8:25::25 35646 25\r\n"
    assert decode(data) == (Header(CLIENT, PUBLIC_6), len(data))


def test_the_check_value_of_the_checksum() -> None:
    """From RFC 9260, appendix A, and the usual check value."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_a_checksum_is_checked() -> None:
    data = encode_v2(Header(CLIENT, PUBLIC), checksum=True)
    found = decode(data)
    assert found is not None
    assert found[0].source == CLIENT
    assert [kind for kind, _ in found[0].tlvs] == [Tlv.CRC32C]
    for position in range(len(SIGNATURE) + 4, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        assert not _is_believed(bytes(damaged)), position


def _is_believed(data: bytes) -> bool:
    """Whether a header is read, and has a checksum that was checked."""
    try:
        found = decode(data)
    except HeaderError:
        return False
    return found is not None and Tlv.CRC32C in [kind for kind, _ in found[0].tlvs]


WRONG = [
    (b"EHLO mail.example.net\r\n", "unrecognized protocol header"),
    (b"QUIT\r\n", "short protocol header"),
    (b"PROXY TCP4 198.51.100.22 192.0.2.25 35646\r\n", "bad or missing server port"),
    (b"PROXY TCP4 198.51.100.22 192.0.2.25 035646 25\r\n", "bad or missing client port"),
    (b"PROXY TCP4 198.51.100.22 192.0.2.25 65536 25\r\n", "bad or missing client port"),
    (b"PROXY TCP4 198.51.100.22 192.0.2.25 -1 25\r\n", "bad or missing client port"),
    (b"PROXY TCP4 2001:db8::22 192.0.2.25 35646 25\r\n", "bad or missing client address"),
    (b"PROXY TCP6 198.51.100.22 2001:db8::1 35646 25\r\n", "bad or missing client address"),
    (b"PROXY TCP6 fe80::1%eth0 2001:db8::1 35646 25\r\n", "bad or missing client address"),
    (b"PROXY TCP4 198.51.100.22 mx.example 35646 25\r\n", "bad or missing server address"),
    (b"PROXY UDP4 198.51.100.22 192.0.2.25 35646 25\r\n", "bad or missing protocol type"),
    (b"PROXY \xff\xff\r\n", "bad or missing protocol type"),
    (b"PROXY TCP4 " + b"1" * 200, "missing protocol header terminator"),
    (SIGNATURE + bytes.fromhex("11 11 000c") + bytes(12), "unrecognized protocol version"),
    (SIGNATURE + bytes.fromhex("22 11 000c") + bytes(12), "bad command in proxy header"),
    (SIGNATURE + bytes.fromhex("21 12 000c") + bytes(12), "unsupported network protocol"),
    (SIGNATURE + bytes.fromhex("21 11 000b") + bytes(11), "short address field"),
    (SIGNATURE + bytes.fromhex("21 11 ffff"), "overlong version 2 protocol header"),
    (SIGNATURE + bytes.fromhex("21 11 000e") + bytes(14), "malformed TLV in proxy header"),
    (SIGNATURE + bytes.fromhex("21 11 000f") + bytes(12) + b"\x05\x00\x09", "malformed TLV in proxy header"),
]


@pytest.mark.parametrize(("data", "reason"), WRONG)
def test_what_is_wrong_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(HeaderError, match=f"^{reason}$"):
        decode(data)


@given(
    st.binary(max_size=600),
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]),
)
def test_no_bytes_do_harm(rest: bytes, beginning: bytes) -> None:
    """Any input is a header, the beginning of one, or refused."""
    with suppress(HeaderError):
        found = decode(beginning + rest)
        assert found is None or 0 < found[1] <= len(beginning + rest)


def test_what_is_waited_for_is_bounded() -> None:
    """Nobody can make the reader wait for more than one header's length."""
    for beginning in (b"PROXY ", SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 4080)):
        length = len(beginning)
        while length < 5000:
            try:
                if decode(beginning.ljust(length, b"\0")) is not None:
                    break
            except HeaderError:
                break
            length += 1
        assert length <= 4096


ENDS = st.one_of(
    st.tuples(*[st.builds(Endpoint, st.ip_addresses(v=4).map(str), st.integers(0, 65535))] * 2),
    st.tuples(*[st.builds(Endpoint, st.ip_addresses(v=6).map(str), st.integers(0, 65535))] * 2),
)


@given(ENDS, st.booleans())
def test_what_is_written_is_read(ends: tuple[Endpoint, Endpoint], checksum: bool) -> None:
    expected = tuple(_plain(end) for end in ends)
    for data in (encode_v1(Header(*ends)), encode_v2(Header(*ends), checksum)):
        found = decode(data)
        assert found is not None
        assert ((found[0].source, found[0].destination), found[1]) == (expected, len(data))


def _plain(end: Endpoint) -> Endpoint:
    if ":" not in end.address:
        return Endpoint(str(IPv4Address(end.address)), end.port)
    address = IPv6Address(end.address)
    return Endpoint(str(address.ipv4_mapped or address), end.port)


@given(ENDS, st.booleans())
def test_another_codec_says_the_same(ends: tuple[Endpoint, Endpoint], checksum: bool) -> None:
    """The package proxy-protocol reads what is written here, and is read."""
    pytest.importorskip("proxyprotocol")
    from proxyprotocol.v1 import ProxyProtocolV1
    from proxyprotocol.v2 import ProxyProtocolV2

    header = Header(*ends)
    for codec, data in (
        (ProxyProtocolV1(), encode_v1(header)),
        (ProxyProtocolV2(), encode_v2(header, checksum)),
    ):
        found = codec.unpack(data)
        assert found.source == (ip_address(ends[0].address), ends[0].port)
        assert found.dest == (ip_address(ends[1].address), ends[1].port)
        read = decode(codec.pack(found))
        assert read is not None
        assert (read[0].source, read[0].destination) == (_plain(ends[0]), _plain(ends[1]))
    assert type(ProxyProtocolV2().unpack(encode_v2(Header(is_local=True)))).__name__ == "ProxyResultLocal"
