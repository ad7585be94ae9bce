"""Columns of text out of codes, spans and addresses, as Arrow strings."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logscope import engine
from logscope.arrow import as_arrow, as_texts
from logscope.correlate.layout import NULL
from logscope.engine import kernel
from logscope.grammar.fields import dsn_text
from logscope.grammar.machine.write import put_address
from logscope.wide_copy import SPARE, copy16, for_kernels

Codes = NDArray[np.int64]

_HALF = (1 << 64) - 1
_LONGEST_ADDRESS = 39


def coded(words: Sequence[str] | pa.Array, codes: NDArray[np.integer[Any]]) -> pa.DictionaryArray:
    """dictionary[n]: the word of each code; null for a negative one."""
    texts = words if isinstance(words, pa.Array) else as_texts(words)
    indices = as_arrow(np.maximum(codes, 0).astype(np.int32), codes < 0)
    return pa.DictionaryArray.from_arrays(indices, texts)


def coded_dsns(values: Codes) -> pa.DictionaryArray:
    """dictionary[n]: enhanced status codes (RFC 3463) such as 4.7.1; null for NULL."""
    found = as_arrow(values, values == NULL).dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        found.indices, as_texts([dsn_text(value) for value in found.dictionary.to_pylist()])
    )


COUNTER_MAP = pa.map_(pa.string(), pa.list_(pa.int64()))


def coded_counters(texts: pa.Array) -> pa.DictionaryArray:
    """dictionary<map<string, list<int64>>>[n]: smtpd's disconnect counters, ` ehlo=1 rcpt=1/2`, as command
    to [accepted, all].
    """
    unique = texts.dictionary_encode()
    parsed = [
        None if text is None else [_counter(word) for word in text.split()]
        for text in unique.dictionary.to_pylist()
    ]
    return pa.DictionaryArray.from_arrays(unique.indices, pa.array(parsed, COUNTER_MAP))


def _counter(word: str) -> tuple[str, list[int]]:
    name, _, value = word.partition("=")
    accepted, _, total = value.partition("/")
    return name, [int(accepted), int(total or accepted)]


def hex_texts(values: NDArray[np.uint64]) -> pa.Array:
    """string[n]: sixteen hexadecimal digits each."""
    data = values.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(0, 16 * len(values) + 1, 16, dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data))


def span_texts(data: NDArray[np.uint8], spans: Codes, *, machine_code: bool) -> pa.Array:
    """string[n] of spans (`offset << 24 | length`); bytes that are not UTF-8 become backslash escapes."""
    present = spans != NULL
    lengths = np.where(present, spans & 0xFFFFFF, 0)
    offsets = np.zeros(len(spans) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    room = np.empty(int(offsets[-1]) + SPARE, np.uint8)
    if machine_code:
        for_kernels()
    plain = (engine.compiled(gather) if machine_code else gather)(data, spans, offsets, room)
    gathered = room[: offsets[-1]]
    if plain:
        mask = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
        return pa.StringArray.from_buffers(len(spans), pa.py_buffer(offsets), pa.py_buffer(gathered), mask)
    return pa.array(
        [
            bytes(gathered[a:b]).decode("utf-8", "backslashreplace") if there else None
            for a, b, there in zip(offsets[:-1].tolist(), offsets[1:].tolist(), present.tolist(), strict=True)
        ],
        pa.string(),
    )


@kernel
def gather(data: NDArray[np.uint8], spans: Codes, offsets: NDArray[np.int32], out: NDArray[np.uint8]) -> bool:
    """Copy each span to its place; returns whether all of it is ASCII.

    Args:
        out: with room to spare; what is copied too far is overwritten by the next.
    """
    whole = data.shape[0] - SPARE
    for i in range(spans.shape[0]):
        if spans[i] == NULL:
            continue
        start = spans[i] >> 24
        at = offsets[i]
        length = spans[i] & 0xFFFFFF
        if start + length <= whole:
            for k in range(0, length, SPARE):
                copy16(data, start + k, out, at + k)
        else:
            for k in range(length):
                out[at + k] = data[start + k]
    seen = 0
    for k in range(offsets[spans.shape[0]]):
        seen |= out[k]
    return seen < 128


def address_texts(hi: Codes, lo: Codes, *, machine_code: bool) -> pa.Array:
    """string[n]: canonical addresses (RFC 5952), IPv4-mapped ones as IPv4; null where `hi` is NULL."""
    if not machine_code:
        pairs = list(zip(hi.tolist(), lo.tolist(), strict=True))
        spelled = {pair: None if pair[0] == NULL else _address(*pair) for pair in set(pairs)}
        return as_texts([spelled[pair] for pair in pairs])
    known = hi != NULL
    offsets = np.zeros(len(hi) + 1, np.int32)
    data = np.empty(_LONGEST_ADDRESS * len(hi), np.uint8)
    end = engine.compiled(write_addresses)(hi, lo, offsets, data)
    mask = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.StringArray.from_buffers(
        len(hi), pa.py_buffer(offsets), pa.py_buffer(data[:end].tobytes()), mask
    )


def _address(hi: int, lo: int) -> str:
    bits = (hi & _HALF) << 64 | (lo & _HALF)
    return str(IPv4Address(bits & 0xFFFF_FFFF) if bits >> 32 == 0xFFFF else IPv6Address(bits))


@kernel
def write_addresses(hi: Codes, lo: Codes, offsets: NDArray[np.int32], out: NDArray[np.uint8]) -> int:
    at = 0
    for i in range(lo.shape[0]):
        if hi[i] != NULL:
            at = put_address(out, at, hi[i], lo[i])
        offsets[i + 1] = at
    return at
