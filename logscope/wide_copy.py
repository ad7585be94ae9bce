"""Copies 16 bytes at a time, for kernels that put text together.

JSON rows, columns of text and simulated texts are made of many short pieces. A loop over bytes takes about a
nanosecond for each of them, and a call of memcpy ten for each piece. These functions are plain Python; once
`for_kernels` has been called, machine code uses one vector load and one store in their place, written with
LLVM's portable vector type, so it fits any processor.

Both read and write 16 bytes whatever is asked: the arrays need as many bytes to spare behind what counts
(`SPARE`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPARE = 16


def copy16(data: NDArray[np.uint8], at: int, out: NDArray[np.uint8], target: int) -> None:
    """Copy `data[at:at + 16]` to `out[target:target + 16]`."""
    out[target : target + 16] = data[at : at + 16].copy()


def copy_plain16(data: NDArray[np.uint8], at: int, out: NDArray[np.uint8], target: int) -> int:
    """Copy as `copy16` does, and count the leading bytes that need no escape in JSON: ASCII but controls,
    `"`, `\\`.
    """
    copy16(data, at, out, target)
    for position in range(16):
        byte = data[at + position]
        if byte < 0x20 or byte >= 0x7F or byte == 0x22 or byte == 0x5C:
            return position
    return 16


@cache
def for_kernels() -> None:
    """Teach Numba the two functions above. To be called before kernels that use them are compiled."""
    from llvmlite import ir  # type: ignore[import-untyped]
    from numba.core import types
    from numba.extending import intrinsic, overload

    byte, vector = ir.IntType(8), ir.VectorType(ir.IntType(8), 16)

    def place(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
        start = context.make_array(array_type)(context, builder, array).data
        return builder.bitcast(builder.gep(start, [index]), vector.as_pointer())

    def move(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, at, out, target = arguments
        loaded = builder.load(place(context, builder, signature.args[0], data, at), align=1, typ=vector)
        builder.store(loaded, place(context, builder, signature.args[2], out, target), align=1)
        return loaded

    def all_bytes(value: int) -> Any:
        return ir.Constant(vector, [ir.Constant(byte, value)] * 16)

    @intrinsic
    def move16(_typing: Any, data: Any, _at: Any, out: Any, _target: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            move(context, builder, signature, arguments)
            return context.get_dummy_value()

        return types.void(data, types.int64, out, types.int64), generate

    @intrinsic
    def move_plain16(_typing: Any, data: Any, _at: Any, out: Any, _target: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            loaded = move(context, builder, signature, arguments)
            special = builder.or_(
                builder.or_(
                    builder.icmp_unsigned("<", loaded, all_bytes(0x20)),
                    builder.icmp_unsigned(">=", loaded, all_bytes(0x7F)),
                ),
                builder.or_(
                    builder.icmp_unsigned("==", loaded, all_bytes(0x22)),
                    builder.icmp_unsigned("==", loaded, all_bytes(0x5C)),
                ),
            )
            bits = builder.zext(builder.bitcast(special, ir.IntType(16)), ir.IntType(64))
            # A bit beyond the sixteen, so that a vector without special bytes counts 16.
            marked = builder.or_(bits, ir.Constant(ir.IntType(64), 1 << 16))
            return builder.cttz(marked, ir.Constant(ir.IntType(1), 1))

        return types.int64(data, types.int64, out, types.int64), generate

    @overload(copy16)
    def _copy16(data: Any, at: Any, out: Any, target: Any) -> Any:  # noqa: ARG001 - the names count
        def use(data: Any, at: Any, out: Any, target: Any) -> Any:
            move16(data, np.int64(at), out, np.int64(target))  # type: ignore[call-arg]

        return use

    @overload(copy_plain16)
    def _copy_plain16(data: Any, at: Any, out: Any, target: Any) -> Any:  # noqa: ARG001 - as above
        def use(data: Any, at: Any, out: Any, target: Any) -> Any:
            return move_plain16(data, np.int64(at), out, np.int64(target))  # type: ignore[call-arg]

        return use
