"""A progress bar on standard error, for work long enough to wonder about."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logscope.sources import Source

_DELAY_S = 0.5
"""Work that is done sooner shows no bar."""


@contextmanager
def progress(sources: Sequence[Source], *, wanted: bool) -> Iterator[None]:
    """Show how much of the sources has been read, while the body runs.

    Args:
        sources: their `position` and `size` are looked at; pipes count as nothing.
        wanted: whether to show anything at all.
    """
    if not wanted or not sys.stderr.isatty():
        yield
        return
    bar = _Bar(
        "reading",
        lambda: sum(source.size or 0 for source in sources),
        lambda: sum(source.position for source in sources if source.size),
    )
    try:
        yield
    finally:
        bar.close()


@contextmanager
def counting(what: str, total: int, done: Callable[[], int], *, wanted: bool) -> Iterator[None]:
    """Show how many of a known number of things are done, while the body runs.

    Args:
        what: the word in front of the bar.
        done: asked each time the bar is drawn.
    """
    if not wanted or not sys.stderr.isatty():
        yield
        return
    bar = _Bar(what, lambda: total, done, in_bytes=False)
    try:
        yield
    finally:
        bar.close()


class _Bar:
    """A bar that appears after a while and asks how far things are each time it is drawn."""

    def __init__(
        self, what: str, total: Callable[[], int], done: Callable[[], int], *, in_bytes: bool = True
    ) -> None:
        self._what = what
        self._total = total
        self._done = done
        self._in_bytes = in_bytes
        self._shown: Any = None
        self._closed = False
        self._timer = Timer(_DELAY_S, self._show)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """Take the bar away."""
        self._closed = True
        self._timer.cancel()
        self._timer.join()
        if self._shown is not None:
            self._shown.stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        if self._closed:
            return
        done = self._done

        class Live(Progress):
            """Asks each time it is drawn, so that those who work need not report."""

            def get_renderables(self) -> Any:
                for task in self.tasks:
                    task.completed = done()
                return super().get_renderables()

        self._shown = Live(
            TextColumn(self._what),
            BarColumn(),
            DownloadColumn() if self._in_bytes else MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._shown.add_task(self._what, total=self._total() or None)
        self._shown.start()
