"""Memory that is used again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from logscope.simulate.memory import Memory


def test_what_nobody_looks_at_is_used_again() -> None:
    memory = Memory()
    first = memory.empty((10, 100), np.int64)
    where = first.ctypes.data
    del first
    assert memory.empty((100,), np.int32).ctypes.data == where


def test_a_part_of_an_array_keeps_all_of_it() -> None:
    memory = Memory()
    column = memory.empty((100, 8), np.int64).T[3, :50]
    texts = pa.py_buffer(memory.empty((100,), np.uint8))
    taken = {memory.empty((10,), np.int8).ctypes.data for _ in range(3)}
    assert texts.address not in taken
    assert column.ctypes.data - 3 * 8 not in taken


@given(st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=30))
def test_no_two_arrays_share_memory(wanted: list[tuple[int, bool]]) -> None:
    memory = Memory()
    kept: list[tuple[int, np.ndarray]] = []
    for number, (size, keep) in enumerate(wanted):
        array = memory.empty((size,), np.int64)
        array[:] = number
        if keep:
            kept.append((number, array))
        del array
    for number, array in kept:
        assert (array == number).all()
