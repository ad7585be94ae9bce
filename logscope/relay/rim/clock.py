"""The time: seconds since 1970 that never run backwards."""

from __future__ import annotations

import time


class Clock:
    """Starts with the time of day and goes on with the monotonic clock, so that no duration is negative."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return self._offset + time.monotonic()
