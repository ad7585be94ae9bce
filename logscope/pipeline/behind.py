"""What is finished is handed on in a thread of its own, while the joins go on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class Behind:
    """Does one thing after the other; whoever asks for one waits until the one before is done."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None

    def do(self, function: Callable[..., None], *args: Any) -> None:
        """Have something done.

        Raises:
            Exception: whatever something done before has raised.
        """
        self.finish()
        self._under_way = self._pool.submit(function, *args)

    def finish(self) -> None:
        """Wait until all is done.

        Raises:
            Exception: whatever it has raised.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
