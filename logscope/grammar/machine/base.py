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
SPARE = 8
"""So many bytes behind a text can be read, whatever they are: a word may hang over its end."""


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
ALL_BITS = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
ONES = np.uint64(0x0101_0101_0101_0101)
_PAIRS = np.uint64(0x5555_5555_5555_5555)
_FOURS = np.uint64(0x3333_3333_3333_3333)
_EIGHTS = np.uint64(0x0F0F_0F0F_0F0F_0F0F)


@kernel
def at_index(array: NDArray[Any], index: Number) -> Number:
    """array[index] as a signed number. An unsigned index spares the test whether it counts from the end."""
    return np.int64(array[np.uint64(index)])


@kernel
def word_at(buffer: Bytes, index: Number) -> Number:
    """Eight bytes as one unsigned number, the first one lowest; the compiler makes one load of it."""
    at = np.uint64(index)
    word = np.uint64(buffer[at])
    word |= np.uint64(buffer[at + np.uint64(1)]) << np.uint64(8)
    word |= np.uint64(buffer[at + np.uint64(2)]) << np.uint64(16)
    word |= np.uint64(buffer[at + np.uint64(3)]) << np.uint64(24)
    word |= np.uint64(buffer[at + np.uint64(4)]) << np.uint64(32)
    word |= np.uint64(buffer[at + np.uint64(5)]) << np.uint64(40)
    word |= np.uint64(buffer[at + np.uint64(6)]) << np.uint64(48)
    word |= np.uint64(buffer[at + np.uint64(7)]) << np.uint64(56)
    return word


@kernel
def first_bytes(buffer: Bytes, index: Number, count: Number) -> Number:
    """The same for one to eight bytes; those behind them are read, but do not count."""
    return word_at(buffer, index) & ALL_BITS >> np.uint64(64 - 8 * count)


@kernel
def bit_count(word: Number) -> Number:
    """How many bits of an unsigned number are set; the compiler makes one instruction of it."""
    word -= word >> np.uint64(1) & _PAIRS
    word = (word & _FOURS) + (word >> np.uint64(2) & _FOURS)
    word = word + (word >> np.uint64(4)) & _EIGHTS
    return np.int64(word * ONES >> np.uint64(56))


@kernel
def same_text(buffer: Bytes, position: Number, text: Bytes, offset: Number, length: Number) -> Number:
    """Whether `length` bytes are those of the text; up to seven bytes behind both are read, too."""
    if length <= 8:
        if length == 0:
            return True
        return first_bytes(buffer, position, length) == first_bytes(text, offset, length)
    at = 0
    while at < length - 8:
        if word_at(buffer, position + at) != word_at(text, offset + at):
            return False
        at += 8
    return word_at(buffer, position + length - 8) == word_at(text, offset + length - 8)
