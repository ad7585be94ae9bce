"""What all links by a key have in common: how long to wait, how sure to be, what times cost."""

from __future__ import annotations

import math

from logscope.correlate.layout import *
from logscope.engine import kernel

FAR = 60 * SECOND  # a balancer may wait this long for a busy server; beyond it, another session used the port
SOON, LAST = range(2)  # how long the sessions of a key have waited
EXACT = 0.9995  # so likely must a pair be, against all others that are possible
BACKGROUND = 2.0 * FAR / SECOND  # seconds within which two that happen to meet are anywhere


@kernel
def rarity(seconds: float, scale: float, coarse: int) -> float:
    """Of a difference that is mostly below `scale`, against one that may be anything."""
    return math.log((2.0 * scale + (1.0 if coarse else 0.0)) / BACKGROUND) + 2.0 * math.log1p(seconds / scale)
