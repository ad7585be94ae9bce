"""Columns of text are the same, whichever engine makes them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from logscope.correlate.layout import NULL
from logscope.correlate.text import address_texts, hex_texts, span_texts

IPV4 = st.ip_addresses(v=4)
IPV6 = st.one_of(
    st.ip_addresses(v=6),
    st.lists(st.sampled_from([0, 0, 1, 0xABCD]), min_size=8, max_size=8).map(
        lambda groups: IPv6Address(int("".join(f"{group:04x}" for group in groups), 16))
    ),
).filter(lambda address: address.ipv4_mapped is None)


def halves(address: IPv4Address | IPv6Address | None) -> tuple[int, int]:
    if address is None:
        return NULL, NULL
    bits = int(address) if address.version == 6 else 0xFFFF_0000_0000 | int(address)
    high, low = (np.array([bits >> 64, bits & 0xFFFF_FFFF_FFFF_FFFF], np.uint64).view(np.int64)).tolist()
    return high, low


@given(st.lists(st.one_of(st.none(), IPV4, IPV6)))
def test_addresses_are_canonical(addresses: list[IPv4Address | IPv6Address | None]) -> None:
    hi, lo = np.array([halves(each) for each in addresses], np.int64).reshape(-1, 2).T
    expected = [None if each is None else str(each) for each in addresses]
    for machine_code in (False, True):
        assert address_texts(hi, lo, machine_code=machine_code).to_pylist() == expected


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_ids_have_sixteen_digits(values: list[int]) -> None:
    assert hex_texts(np.array(values, np.uint64)).to_pylist() == [f"{value:016x}" for value in values]


@given(st.lists(st.one_of(st.none(), st.binary(max_size=40), st.text("abcxyz", max_size=40).map(str.encode))))
def test_spans_are_read_up_to_the_end_of_the_heap(texts: list[bytes | None]) -> None:
    heap = np.frombuffer(b"".join(text or b"" for text in texts), np.uint8).copy()
    ends = np.cumsum([len(text or b"") for text in texts])
    spans = [
        NULL if text is None else (int(end) - len(text)) << 24 | len(text)
        for text, end in zip(texts, ends, strict=True)
    ]
    expected = [None if text is None else text.decode("utf-8", "backslashreplace") for text in texts]
    for machine_code in (False, True):
        assert span_texts(heap, np.array(spans, np.int64), machine_code=machine_code).to_pylist() == expected
