"""NumPy arrays and lists of words as Arrow columns.

`pyarrow.array` would do, but it imports pandas to find out whether it was given something of pandas', which
takes half a second; and these do not copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TIMES = pa.timestamp("ns", tz="UTC")


def as_arrow(
    values: NDArray[Any], nulls: NDArray[np.bool_] | None = None, kind: pa.DataType | None = None
) -> pa.Array:
    """A column of numbers or of truth values.

    Args:
        values: integers, floats or booleans.
        nulls: where the value is null, if anywhere.
        kind: what the numbers mean, such as `TIMES`; it must be as wide as they are.
    """
    data = (
        np.packbits(values, bitorder="little") if values.dtype == np.bool_ else np.ascontiguousarray(values)
    )
    validity = None
    if nulls is not None and nulls.any():
        validity = pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    kind = kind or pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])


def as_lists(offsets: NDArray[np.integer[Any]], items: pa.Array) -> pa.Array:
    """A list column over some items.

    Args:
        offsets: where each list begins, and the end of the last.
        items: all lists' items, one behind the other.
    """
    bounds = np.ascontiguousarray(offsets, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.list_(items.type), len(offsets) - 1, [None, pa.py_buffer(bounds)], children=[items]
    )


def as_texts(words: Sequence[str | None]) -> pa.Array:
    """A column of text."""
    encoded = [b"" if word is None else word.encode() for word in words]
    bounds = np.fromiter(accumulate(map(len, encoded), initial=0), np.int32, len(words) + 1)
    validity = None
    if None in words:
        known = np.fromiter((word is not None for word in words), np.bool_, len(words))
        validity = pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.StringArray.from_buffers(
        len(words), pa.py_buffer(bounds), pa.py_buffer(b"".join(encoded)), validity
    )
