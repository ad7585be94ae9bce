"""NumPy arrays as Arrow columns.

`pyarrow.array` would do, but imports pandas to find out whether it was given something of pandas', which
costs half a second. These wrap the memory instead.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def longs(values: NDArray[np.int64], nulls: NDArray[np.bool_] | None = None) -> pa.Array:
    """A column of int64 over the same memory.

    Args:
        values: the numbers.
        nulls: where the value is null, if anywhere.
    """
    values = np.ascontiguousarray(values, dtype=np.int64)
    validity = None
    if nulls is not None and nulls.any():
        validity = pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(values), [validity, pa.py_buffer(values)])


def lists(offsets: NDArray[np.int64], items: pa.Array) -> pa.Array:
    """A list column over some items.

    Args:
        offsets: where each list begins, and the end of the last.
        items: all lists' items, one behind the other.
    """
    bounds = np.ascontiguousarray(offsets, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.list_(items.type), len(offsets) - 1, [None, pa.py_buffer(bounds)], children=[items]
    )
