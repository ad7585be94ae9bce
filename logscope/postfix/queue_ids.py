"""What a queue id tells: the moment, to the microsecond, at which Postfix made the queue file.

A short id is five hexadecimal digits of microseconds within the second, then the file's inode number. A long
one (`enable_long_queue_ids`, Postfix 2.9) is seconds and four digits of microseconds in base 52 (digits and
letters without vowels), the letter z, and the inode (postconf(5); global/mail_queue.h).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from logscope.engine import kernel

UNKNOWN = -1
_SHORT_DIGITS = 5
_LONG_SECONDS = 6  # digits at least; seconds will need a seventh in the year 2596
_LONG_DIGITS = 4


@kernel
def microseconds(data: NDArray[np.uint8], start: int, length: int) -> int:
    """Microseconds within the second of the id's first life; UNKNOWN (-1) where it has another shape.

    Args:
        data, start, length: where the id stands.
    """
    mark = length - 1
    while mark >= 0 and data[start + mark] != 122:  # z
        mark -= 1
    value = 0
    if mark >= _LONG_SECONDS + _LONG_DIGITS:
        for i in range(start + mark - _LONG_DIGITS, start + mark):
            digit = _base_52(int(data[i]))
            if digit < 0:
                return UNKNOWN
            value = value * 52 + digit
    else:
        if length <= _SHORT_DIGITS:
            return UNKNOWN
        for i in range(start, start + length):
            digit = _base_16(int(data[i]))
            if digit < 0:
                return UNKNOWN
            if i < start + _SHORT_DIGITS:
                value = value * 16 + digit
    return value if value < 1_000_000 else UNKNOWN


@kernel
def _base_16(byte: int) -> int:
    if 48 <= byte <= 57:
        return byte - 48
    return byte - 55 if 65 <= byte <= 70 else -1


@kernel
def _base_52(byte: int) -> int:
    """The digit of a byte among 0-9, then consonants in capitals, then small ones."""
    if 48 <= byte <= 57:
        return byte - 48
    letter = (byte | 32) - 97
    if letter < 0 or letter > 25 or letter in (0, 4, 8, 14, 20):
        return -1
    vowels_before = 1 + (letter > 4) + (letter > 8) + (letter > 14) + (letter > 20)
    return letter - vowels_before + (31 if byte & 32 else 10)
