"""Pages of Parquet for columns of numbers, times, truth values and text, most of which may be null.

Where a value is null stands in a page as bits. Text that is dictionary-coded keeps its codes, a whole number
of bytes each: compression makes up for the bits that fewer would save.

https://parquet.apache.org/docs/file-format/data-pages/encodings/; the numbers below are those of its
`parquet.thrift`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logscope.arrow import Sparse
from logscope.report import thrift
from logscope.report.thrift import Fields, Items

COMPRESSION = "zstd"
_ZSTD = 6
_BOOLEAN, _INT64, _DOUBLE, _BYTE_ARRAY = 0, 2, 5, 6
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_DATA_HEADER, _DICTIONARY_HEADER = 5, 7

# ColumnMetaData
TYPE, ENCODINGS, PATH, CODEC, VALUES, SIZE, COMPRESSED_SIZE = 1, 2, 3, 4, 5, 6, 7
DATA_OFFSET, INDEX_OFFSET, DICTIONARY_OFFSET, STATISTICS = 9, 10, 11, 12
_NULL_COUNT, _GREATEST, _LEAST, _GREATEST_IS_EXACT, _LEAST_IS_EXACT = 3, 5, 6, 7, 8

_MANY_WORDS = 1000
_LONG_WORD = 64
"""Least and greatest word are noted of dictionaries with fewer words, and shorter ones."""


class Chunk(NamedTuple):
    """A column of a row group: what describes it, with offsets from where its pages begin, and these."""

    described: Fields
    pages: bytes


def can_write(kind: pa.DataType) -> bool:
    """Whether columns of this type are written here."""
    return _physical(kind) is not None


def chunk(name: str, column: Sparse, count: int) -> Chunk:
    """A column of so many rows."""
    present = column.values
    coded = pa.types.is_dictionary(present.type)
    pages: list[bytes] = []
    sizes: list[int] = []
    encodings = [_PLAIN, _RLE]
    described: Fields = {}
    if coded and len(present):
        words = _plain(present.dictionary)
        _page(
            pages, sizes, words, _DICTIONARY_PAGE, _DICTIONARY_HEADER, {1: len(present.dictionary), 2: _PLAIN}
        )
        described[DICTIONARY_OFFSET] = thrift.I64, 0
        described[DATA_OFFSET] = thrift.I64, len(pages[0])
        values, encoding = _codes(present.indices.to_numpy()), _RLE_DICTIONARY
        encodings.append(_RLE_DICTIONARY)
    else:
        described[DATA_OFFSET] = thrift.I64, 0
        values, encoding = _plain(present.dictionary_decode() if coded else present), _PLAIN
    header = {1: count, 2: encoding, 3: _RLE, 4: _RLE}
    _page(pages, sizes, _levels(column.rows, count) + values, _DATA_PAGE, _DATA_HEADER, header)
    written = b"".join(pages)
    described |= {
        TYPE: (thrift.I32, _physical(column.kind)),
        ENCODINGS: (thrift.LIST, Items(thrift.I32, encodings)),
        PATH: (thrift.LIST, Items(thrift.BINARY, [name.encode()])),
        CODEC: (thrift.I32, _ZSTD),
        VALUES: (thrift.I64, count),
        SIZE: (thrift.I64, sum(sizes)),
        COMPRESSED_SIZE: (thrift.I64, len(written)),
        STATISTICS: (thrift.STRUCT, _statistics(present, count - len(present))),
    }
    return Chunk(described, written)


def _physical(kind: pa.DataType) -> int | None:
    if pa.types.is_int64(kind) or (pa.types.is_timestamp(kind) and kind.unit == "ns"):
        return _INT64
    if pa.types.is_float64(kind):
        return _DOUBLE
    if pa.types.is_boolean(kind):
        return _BOOLEAN
    return _BYTE_ARRAY if pa.types.is_string(kind) else None


def _page(
    pages: list[bytes], sizes: list[int], data: bytes, kind: int, number: int, header: dict[int, int]
) -> None:
    """Add a page, and its size before it is compressed."""
    compressed = _codec().compress(data, asbytes=True)
    head = thrift.write(
        {
            1: (thrift.I32, kind),
            2: (thrift.I32, len(data)),
            3: (thrift.I32, len(compressed)),
            number: (thrift.STRUCT, {key: (thrift.I32, value) for key, value in header.items()}),
        }
    )
    pages.append(head + compressed)
    sizes.append(len(head) + len(data))


@cache
def _codec() -> Any:
    return pa.Codec(COMPRESSION)


def _levels(rows: NDArray[np.int64] | None, count: int) -> bytes:
    """Which rows have a value: one run of ones or zeros, or bits."""
    if rows is None or not len(rows):
        run = _varint(count << 1) + (b"\1" if rows is None else b"\0")
    else:
        has = np.zeros(count, np.bool_)
        has[rows] = True
        bits = np.packbits(has, bitorder="little")
        run = _varint(len(bits) << 1 | 1) + bits.tobytes()
    return len(run).to_bytes(4, "little") + run


def _codes(codes: NDArray[np.int32]) -> bytes:
    """Codes of a dictionary: how many bits each has, and one run."""
    greatest = int(codes.max())
    if greatest == codes.min():
        return b"\x20" + _varint(len(codes) << 1) + greatest.to_bytes(4, "little")
    width = 1 if greatest < 1 << 8 else 2 if greatest < 1 << 16 else 4
    groups = -(-len(codes) // 8)
    packed = np.zeros(8 * groups, f"<u{width}")
    packed[: len(codes)] = codes
    return bytes([8 * width]) + _varint(groups << 1 | 1) + packed.tobytes()


def _plain(array: pa.Array) -> bytes:
    """Values without nulls, one behind the other."""
    if pa.types.is_boolean(array.type):
        return np.packbits(array.to_numpy(zero_copy_only=False), bitorder="little").tobytes()
    if not len(array):
        return b""
    if not pa.types.is_string(array.type):
        return bytes(array.buffers()[1].slice(8 * array.offset, 8 * len(array)))
    # Each text stands behind its length: four bytes, little end first.
    lengths = pc.binary_length(array).buffers()[1]
    places = pa.py_buffer(np.arange(0, 4 * len(array) + 1, 4, dtype=np.int32))
    heads = pa.BinaryArray.from_buffers(pa.binary(), len(array), [None, places, lengths])
    joined = pc.binary_join_element_wise(heads, array.cast(pa.binary()), pa.scalar(b"", pa.binary()))
    _, bounds, data = joined.buffers()
    return bytes(data)[: np.frombuffer(bounds, np.int32)[len(array)]]


def _statistics(present: pa.Array, nulls: int) -> Fields:
    """How many nulls there are, and of whole numbers, times and few words the least and the greatest."""
    found: Fields = {_NULL_COUNT: (thrift.I64, nulls)}
    bounds = _bounds(present) if len(present) else None
    if bounds:
        for number, value in zip((_LEAST, _GREATEST), bounds, strict=True):
            found[number] = thrift.BINARY, value
        found[_LEAST_IS_EXACT] = found[_GREATEST_IS_EXACT] = thrift.TRUE, True
    return found


def _bounds(present: pa.Array) -> tuple[bytes, bytes] | None:
    kind = present.type
    if _physical(kind) == _INT64:
        numbers = present.cast(pa.int64()).to_numpy()
        least, greatest = (
            int(number).to_bytes(8, "little", signed=True) for number in (numbers.min(), numbers.max())
        )
        return least, greatest
    if pa.types.is_dictionary(kind) and len(present.dictionary) < _MANY_WORDS:
        used = present.dictionary.take(pc.unique(present.indices))
        words = sorted(word.encode() for word in used.to_pylist())
        if max(map(len, words)) <= _LONG_WORD:
            return words[0], words[-1]
    return None


def _varint(value: int) -> bytes:
    out = bytearray()
    thrift.write_varint(out, value)
    return bytes(out)
