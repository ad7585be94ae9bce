"""A progress bar on standard error, for work long enough to wonder about."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
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
    bar = _Bar(sources)
    try:
        yield
    finally:
        bar.close()


class _Bar:
    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
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
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        if self._closed:
            return
        sources = self._sources
        total = sum(source.size or 0 for source in sources)

        class Live(Progress):
            """Asks the sources where they are each time it is drawn, so that readers need not report."""

            def get_renderables(self) -> Any:
                for task in self.tasks:
                    task.completed = sum(source.position for source in sources if source.size)
                return super().get_renderables()

        self._shown = Live(
            TextColumn("reading"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._shown.add_task("reading", total=total or None)
        self._shown.start()
