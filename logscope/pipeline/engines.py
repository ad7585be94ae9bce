"""Which engine reads the input: plain Python, which starts at once, or machine code, which has to be compiled
once.
"""

from __future__ import annotations

from collections.abc import Sequence

from logscope import engine
from logscope.pipeline.options import Input

MACHINE_CODE_FROM = 6 << 20
"""Bytes of input from which compiling pays, seconds of it included."""
CACHED_CODE_FROM = 1 << 20
"""The same where the machine code is on disk already."""


def wants_machine_code(sources: Sequence[Input], choice: bool | None) -> bool:
    """Whether the input is large enough for machine code."""
    if choice is not None:
        return choice
    total = sum((source.size or 0) * (8 if source.compression else 1) for source in sources)
    return total >= MACHINE_CODE_FROM or (total >= CACHED_CODE_FROM and has_machine_code())


def has_machine_code() -> bool:
    """Whether scanner and joins are on disk as machine code, so that nobody waits for the compiler."""
    from logscope.correlate.moves import move
    from logscope.grammar.machine.lines import scan

    return engine.is_cached(scan) and engine.is_cached(move)


def can_keep_machine_code() -> bool:
    """Whether what one process compiles can be loaded by another."""
    return engine.cache_directory("grammars") is not None
