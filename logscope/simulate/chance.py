"""Random numbers that plain Python and machine code draw alike.

Two multiply-with-carry generators (Marsaglia), their outputs combined: products stay below 2**63, so
nothing overflows in machine code. The state is int64[4].
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from logscope.engine import kernel

State = NDArray[np.int64]

_WORD = 0xFFFFFFFF
_A = 1791398085
_B = 2131995753
_UNIT = 2.0**-32


def begin(seed: int, *what: int) -> State:
    """The state for a purpose: other numbers give another sequence."""
    words = np.random.SeedSequence([seed, *what]).generate_state(4, np.uint32).astype(np.int64)
    # Neither generator may begin with nothing, nor with the one state that it never leaves.
    words[:2] |= 1
    words[2:] &= 0x3FFFFFFF
    return words


@kernel
def draw(r: State) -> float:
    """Evenly distributed over the open interval (0, 1)."""
    one = _A * (r[0] & _WORD) + r[2]
    two = _B * (r[1] & _WORD) + r[3]
    r[0] = one & _WORD
    r[2] = one >> 32
    r[1] = two & _WORD
    r[3] = two >> 32
    return float(((one ^ two) & _WORD) + 0.5) * _UNIT


@kernel
def below(r: State, limit: int) -> int:
    """A whole number of at least 0 and less than the limit."""
    return int(draw(r) * limit)


@kernel
def waiting(r: State, mean: float) -> float:
    """Exponentially distributed."""
    return -mean * math.log(draw(r))


@kernel
def spread(r: State, median: float, sigma: float) -> float:
    """Log-normally distributed, but for the far tails: four even draws stand for the normal one."""
    z = (draw(r) + draw(r) + draw(r) + draw(r) - 2.0) * 1.7320508
    return median * math.exp(sigma * z)


@kernel
def scattered(number: int, bits: int) -> int:
    """The number under a fixed permutation of the numbers of so many bits: neighbours end far apart."""
    mask = (1 << bits) - 1
    half = bits // 2
    for _ in range(3):
        number = (number * 0x2C1B3C6D + 0x297A2D39) & mask
        number ^= number >> half
    return number


@kernel
def trait(number: int, which: int) -> int:
    """31 bits that are the same whenever they are asked for."""
    h = (number * 0x45D9F3B + which * 0x119DE1F3 + 0x3C6EF372) & 0x7FFFFFFF
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & 0x7FFFFFFF
    h = ((h ^ (h >> 12)) * 0x297A2D39) & 0x7FFFFFFF
    return h ^ (h >> 15)
