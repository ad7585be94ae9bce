"""Durations as Postfix writes them: two significant digits, at most two decimals."""

from __future__ import annotations


def rounded(seconds: float) -> float:
    """What is logged of a duration.

    >>> [rounded(0.004), rounded(0.4567), rounded(3.14), rounded(19.6), rounded(123.4)]
    [0.0, 0.46, 3.1, 20.0, 123.0]
    """
    seconds = max(0.0, seconds)
    decimals = 2 if seconds < 1 else 1 if seconds < 10 else 0
    return round(seconds, decimals)
