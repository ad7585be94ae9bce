"""Work that is done in a thread of its own, one thing after the other, while whoever asked for it goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class Beside:
    """Does one thing after the other.

    Args:
        waiting: how many things may be under way or wait; whoever has more for it waits, so that what they
            hold is bounded.
    """

    def __init__(self, waiting: int = 1) -> None:
        self._waiting = waiting
        self._pool = ThreadPoolExecutor(1)
        self._due: deque[Future[None]] = deque()

    def do(self, function: Callable[..., None], *args: Any) -> None:
        """Have something done.

        Raises:
            Exception: whatever something done before has raised.
        """
        while len(self._due) >= self._waiting:
            self._due.popleft().result()
        self._due.append(self._pool.submit(function, *args))

    def finish(self) -> None:
        """Wait until all is done.

        Raises:
            Exception: whatever it has raised.
        """
        while self._due:
            self._due.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let nothing more begin, and wait for what has begun."""
        self._pool.shutdown(cancel_futures=True)
