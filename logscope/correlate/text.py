"""Columns of text out of codes, spans and addresses, as Arrow strings."""

from __future__ import annotations

from collections.abc import Sequence
from socket import AF_INET6, inet_ntop
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from logscope import engine
from logscope.arrow import as_arrow, as_texts
from logscope.correlate.layout import NULL
from logscope.engine import kernel
from logscope.grammar.fields import dsn_text

Codes = NDArray[np.int64]


def code_texts(words: Sequence[str] | pa.Array, codes: NDArray[np.integer[Any]]) -> pa.Array:
    """string[n]: the word of each code; null for a negative one."""
    texts = words if isinstance(words, pa.Array) else as_texts(words)
    indices = as_arrow(np.maximum(codes, 0).astype(np.int32), codes < 0)
    return texts.take(indices)


def dsn_texts(values: Codes) -> pa.Array:
    """string[n]: enhanced status codes (RFC 3463) such as 4.7.1."""
    found = as_arrow(values).dictionary_encode()
    words = [None if value == NULL else dsn_text(value) for value in found.dictionary.to_pylist()]
    return as_texts(words).take(found.indices)


COUNTER_MAP = pa.map_(pa.string(), pa.list_(pa.int64()))


def counter_maps(texts: pa.Array) -> pa.Array:
    """map<string, list<int64>>[n]: smtpd's disconnect counters, ` ehlo=1 rcpt=1/2`, as command to [accepted,
    all].
    """
    unique = texts.dictionary_encode()
    parsed = [
        None if text is None else [_counter(word) for word in text.split()]
        for text in unique.dictionary.to_pylist()
    ]
    return pa.array(parsed, COUNTER_MAP).take(unique.indices)


def _counter(word: str) -> tuple[str, list[int]]:
    name, _, value = word.partition("=")
    accepted, _, total = value.partition("/")
    return name, [int(accepted), int(total or accepted)]


def hex_texts(values: NDArray[np.uint64]) -> pa.Array:
    """string[n]: sixteen hexadecimal digits each."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    shifts = np.arange(60, -4, -4, dtype=np.uint64)
    data = digits[((values[:, None] >> shifts) & np.uint64(15)).astype(np.int64)]
    offsets = np.arange(0, 16 * len(values) + 1, 16, dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(values), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))
    )


def span_texts(data: NDArray[np.uint8], spans: Codes, *, machine_code: bool) -> pa.Array:
    """string[n] of spans (`offset << 24 | length`); bytes that are not UTF-8 become backslash escapes."""
    present = spans != NULL
    lengths = np.where(present, spans & 0xFFFFFF, 0)
    offsets = np.zeros(len(spans) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    gathered = np.empty(int(offsets[-1]), np.uint8)
    plain = (engine.compiled(gather) if machine_code else gather)(data, spans, offsets, gathered)
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
    """Copy each span to its place; returns whether all of it is ASCII."""
    seen = 0
    for i in range(spans.shape[0]):
        if spans[i] == NULL:
            continue
        start = spans[i] >> 24
        at = offsets[i]
        for k in range(spans[i] & 0xFFFFFF):
            byte = data[start + k]
            seen |= byte
            out[at + k] = byte
    return seen < 128


def address_texts(hi: Codes, lo: Codes, *, machine_code: bool) -> pa.Array:
    """string[n]: canonical addresses (RFC 5952), IPv4-mapped ones as IPv4; null where `hi` is NULL."""
    four = (hi == 0) & ((lo >> 32) == 0xFFFF)
    offsets = np.zeros(len(hi) + 1, np.int32)
    data = np.empty(16 * len(hi), np.uint8)
    end = (engine.compiled(write_ipv4) if machine_code else write_ipv4)(lo, four, offsets, data)
    mask = None if four.all() else pa.py_buffer(np.packbits(four, bitorder="little"))
    texts = pa.StringArray.from_buffers(len(hi), pa.py_buffer(offsets), pa.py_buffer(data[:end]), mask)
    six = np.flatnonzero(~four & (hi != NULL))
    if len(six) == 0:
        return texts
    pairs = np.stack([hi[six], lo[six]], axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    words = [inet_ntop(AF_INET6, pair.astype(">i8").tobytes()) for pair in unique]
    indices = np.full(len(hi), -1, np.int64)
    indices[six] = inverse.reshape(-1)
    return pa.compute.coalesce(texts, code_texts(words, indices))


@kernel
def write_ipv4(lo: Codes, four: NDArray[np.bool_], offsets: NDArray[np.int32], out: NDArray[np.uint8]) -> int:
    at = 0
    for i in range(lo.shape[0]):
        offsets[i] = at
        if four[i]:
            for shift in (24, 16, 8, 0):
                byte = (lo[i] >> shift) & 255
                if byte >= 100:
                    out[at] = 48 + byte // 100
                    at += 1
                if byte >= 10:
                    out[at] = 48 + byte // 10 % 10
                    at += 1
                out[at] = 48 + byte % 10
                at += 1
                if shift:
                    out[at] = 46
                    at += 1
    offsets[lo.shape[0]] = at
    return at
