"""Formulas over the columns of a batch: a truth value for each row, of whole columns at once."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from functools import reduce
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logscope.where.model import Both, Either, Formula, Opposite, Test

Mask = NDArray[np.bool_]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def holds(formula: Formula, batch: pa.RecordBatch) -> Mask:
    """Where a formula is true."""
    if isinstance(formula, Opposite):
        return ~holds(formula.part, batch)
    if isinstance(formula, Both | Either):
        masks = [holds(part, batch) for part in formula.parts]
        return reduce(np.logical_and if isinstance(formula, Both) else np.logical_or, masks)
    return _tested(formula, batch)


def _tested(test: Test, batch: pa.RecordBatch) -> Mask:
    if test.column not in batch.schema.names:
        return np.full(batch.num_rows, test.operator == "null")
    array = batch.column(test.column)
    if pa.types.is_map(array.type):
        return _compared(_counters(array, str(test.member)), test)
    if not pa.types.is_list(array.type):
        return _compared(array, test)
    parents = pc.list_parent_indices(array).to_numpy()
    values = array.flatten()
    if test.member is not None:
        values = pc.struct_field(values, test.member)
    if test.operator == "null":  # no value of it is known
        return ~_marked(parents[_mask(values.is_valid())], len(array))
    return _marked(parents[_compared(values, test)], len(array))


def _marked(rows: NDArray[np.int64], count: int) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[rows] = True
    return mask


def _compared(array: pa.Array, test: Test) -> Mask:
    """Where the test is true of the values; of unknown ones it is not."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    operand = test.operand
    match test.operator:
        case "null":
            return _mask(array.is_null())
        case "in":
            return _mask(pc.is_in(array, value_set=pa.array(operand).cast(_set_type(array.type, operand))))
        case "network":
            return _in_networks(array, operand)
        case "contains":
            return _mask(pc.match_substring(array, operand, ignore_case=True))
        case "matches":
            return _mask(pc.match_substring_regex(array, operand))
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    return _mask(_ORDER[test.operator](array, pa.scalar(operand)))


def _set_type(type_: pa.DataType, operand: Sequence[Any]) -> pa.DataType:
    """The type of a column, unless it is of whole numbers and one of the values is not."""
    return pa.float64() if any(isinstance(one, float) for one in operand) else type_


def _mask(array: pa.Array) -> Mask:
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), np.bool_)


def _in_networks(array: pa.Array, networks: Sequence[Network]) -> Mask:
    """Each address is looked at once, however many rows have it."""
    coded = array.dictionary_encode()
    tests = [(one.version, int(one.netmask), int(one.network_address)) for one in networks]
    inside = [_is_inside(text, tests) for text in coded.dictionary.to_pylist()]
    return _mask(pa.array(inside, pa.bool_()).take(coded.indices))


def _is_inside(text: str | None, tests: Sequence[tuple[int, int, int]]) -> bool:
    if text is None:
        return False
    version = 6 if ":" in text else 4
    try:
        number = int.from_bytes(inet_pton(AF_INET6 if version == 6 else AF_INET, text))
    except OSError:
        return False
    return any(own == version and number & mask == first for own, mask, first in tests)


def _counters(array: pa.Array, command: str) -> pa.Array:
    """How often each row has a command, refused ones included; 0 where others were counted only."""
    found = pc.map_lookup(array, pa.scalar(command), "first")
    counts = [None if one is None else one[-1] for one in found.to_pylist()]
    return pc.if_else(array.is_valid(), pc.fill_null(pa.array(counts, pa.int64()), 0), None)
