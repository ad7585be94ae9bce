"""Memory that was given back is used again, or goes back to the system."""

from __future__ import annotations

from contextlib import suppress

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # malloc.h
_LARGE = 1 << 23  # bytes; with less, Parquet takes a third longer for pages that come and go


def keep_small() -> None:
    """Have all threads take memory from one heap, and nothing large from any.

    glibc gives each thread a heap of its own, and once a large array was given back it takes the next ones
    from there, between small things that last (mallopt(3), M_ARENA_MAX and M_MMAP_THRESHOLD). What was taken
    that way hardly ever shrinks: of a million sessions it is 40 MB of 460, and more the longer a run lasts.
    Other C libraries are left as they are.
    """
    import ctypes  # takes some milliseconds, which `--help` need not wait for

    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
