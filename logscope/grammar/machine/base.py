"""What the kernels share: types, character classes, reading without the sign test."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from logscope.engine import kernel

Number: TypeAlias = Any
"""An int here, an int64 (or a tuple of them) in machine code."""
Bytes: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.int32]
Numbers: TypeAlias = NDArray[np.int64]
LF = 10
CR = 13
BLANK = 32
TAB = 9
QUOTE = 34
BACKSLASH = 92
BRACKET = 91
AT_SIGN = 64
# Character classes, as bits.
DIGIT = 1
HEXDIGIT = 2
ALPHA = 4
AF = 8
ADDRESS = 16
COUNTER = 32


def _character_classes() -> NDArray[np.uint8]:
    classes = np.zeros(256, np.uint8)
    for symbol in range(256):
        text = chr(symbol) if symbol < 128 else ""
        digit, alpha = text.isdecimal(), text.isalpha()
        hexdigit = bool(text) and text in "0123456789abcdefABCDEF"
        classes[symbol] = (
            DIGIT * digit
            | HEXDIGIT * hexdigit
            | ALPHA * alpha
            | AF * (bool(text) and text in "ABCDEF")
            | ADDRESS * (hexdigit or symbol in b":.")
            | COUNTER * (digit or alpha or symbol in b"_-")
        )
    return classes


CLASSES = _character_classes()


@kernel
def at_index(array: NDArray[Any], index: Number) -> Number:
    """array[index] as a signed number. An unsigned index spares the test whether it counts from the end."""
    return np.int64(array[np.uint64(index)])
