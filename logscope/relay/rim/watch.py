"""Watches sockets on behalf of the event loop: one `epoll` for all of a relay's connections.

asyncio makes a handle for every socket that can be read and runs it in a context, and keeps a table of its
own for what it watches. For a relay, which answers a few bytes with a few bytes, that is a sixth of its
work. So its sockets are watched by an `epoll` of its own, which the loop, whichever it is, sees as a single
file to be read (epoll(7) allows it).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

NO_MORE = select.EPOLLRDHUP
"""The other side has closed its own; what it sent before may still be there to be read."""
READ, WRITE = select.EPOLLIN | NO_MORE, select.EPOLLOUT
BROKEN = select.EPOLLHUP | select.EPOLLERR
"""Told whatever is waited for: the next call on the socket says what it is."""
_AT_ONCE = 256

Told = Callable[[int], None]
"""Called with what a file is ready for."""


class Watch:
    """Says when files are ready, for as long as they are.

    Args:
        loop: where that is said.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = select.epoll()
        self._told: dict[int, Told] = {}
        loop.add_reader(self._epoll.fileno(), self._ready)

    def begin(self, descriptor: int, wanted: int, told: Told) -> None:
        """Watch a file."""
        self._told[descriptor] = told
        self._epoll.register(descriptor, wanted)

    def change(self, descriptor: int, wanted: int) -> None:
        """Watch it for something else."""
        self._epoll.modify(descriptor, wanted)

    def end(self, descriptor: int) -> None:
        """Watch it no more; to be called before it is closed."""
        del self._told[descriptor]
        self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        if not self._epoll.closed:
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _ready(self) -> None:
        told = self._told
        for descriptor, ready in self._epoll.poll(0, _AT_ONCE):
            # Another file may have this number since, for what was done just now. It is told, too: a call
            # that would have to wait says so.
            call = told.get(descriptor)
            if call is None:
                continue
            try:
                call(ready)
            except Exception as error:
                context = {"message": f"Exception in callback {call!r}", "exception": error}
                self.loop.call_exception_handler(context)
