"""Watches sockets on behalf of the event loop, for all of a relay's connections.

asyncio makes a handle for every socket that can be read and runs it in a context, and keeps a table of its
own for what it watches. For a relay, which answers a few bytes with a few bytes, that is a sixth of its
work. So it is told at once when its sockets are ready: in a `RelayLoop` by the loop's own `epoll`, in any
other loop by a second one, which the loop sees as a single file to be read (epoll(7) allows it).
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import selectors
from collections.abc import Callable, Iterable
from typing import Protocol

from logscope.relay.rim.alarms import Alarms

NO_MORE = select.EPOLLRDHUP
"""The other side has closed its own; what it sent before may still be there to be read."""
READ, WRITE = select.EPOLLIN | NO_MORE, select.EPOLLOUT
BROKEN = select.EPOLLHUP | select.EPOLLERR
"""Told whatever is waited for: the next call on the socket says what it is."""
_AT_ONCE = 256

Told = Callable[[int], None]
"""Called with what a file is ready for."""


class Sender(Protocol):
    """Somebody who puts off what he does to a socket."""

    def flush(self) -> None:
        """Do it."""


class Selector(selectors.EpollSelector):
    """A loop's selector, whose `epoll` watches files for somebody else too.

    Attributes:
        epoll: what both use.
        tell: takes what is ready, and gives back what it does not know.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoll = select.epoll.fromfd(os.dup(self.fileno()))  # each closes its own descriptor
        self.tell: Callable[[list[tuple[int, int]]], Iterable[tuple[int, int]]] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for what the loop watches, and tell the other at once of what it does."""
        if timeout is None:
            wait_s = -1.0
        else:
            wait_s = math.ceil(timeout * 1000) / 1000 if timeout > 0 else 0.0  # not to wake up too early
        events = self.epoll.poll(wait_s, _AT_ONCE)
        found = []
        for descriptor, event in events if self.tell is None else self.tell(events):
            key = self.get_map().get(descriptor)
            if key is not None:
                readable = selectors.EVENT_READ if event & ~select.EPOLLOUT else 0
                writable = selectors.EVENT_WRITE if event & ~select.EPOLLIN else 0
                found.append((key, (readable | writable) & key.events))
        return found

    def close(self) -> None:
        self.epoll.close()
        super().close()


class RelayLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with one `epoll` for its own files and a relay's sockets."""

    def __init__(self) -> None:
        self.selector = Selector()
        super().__init__(self.selector)


class Watch:
    """Says when files are ready, for as long as they are.

    Args:
        loop: where that is said.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.alarms = Alarms(loop)
        self._told: dict[int, Told] = {}
        self._due: list[tuple[Callable[[OSError | None], None], OSError | None]] = []
        self._outgoing: list[Sender] = []
        self._is_telling = False
        self._shared = loop.selector if isinstance(loop, RelayLoop) and loop.selector.tell is None else None
        if self._shared is not None:
            self._epoll = self._shared.epoll
            self._shared.tell = self._tell
        else:
            self._epoll = select.epoll()
            loop.add_reader(self._epoll.fileno(), self._ready)

    def begin(self, descriptor: int, wanted: int, told: Told) -> None:
        """Watch a file."""
        self._told[descriptor] = told
        self._epoll.register(descriptor, wanted)

    def change(self, descriptor: int, wanted: int) -> None:
        """Watch it for something else."""
        self._epoll.modify(descriptor, wanted)

    def end(self, descriptor: int) -> None:
        """Watch it no more."""
        del self._told[descriptor]
        self._epoll.unregister(descriptor)

    def forget(self, descriptor: int) -> None:
        """It is about to be closed: the kernel then watches it no more without being told (epoll(7))."""
        del self._told[descriptor]

    def soon(self, call: Callable[[OSError | None], None], error: OSError | None) -> None:
        """Say what has become of a file when whoever is at work now has come to his end."""
        if not (self._due or self._is_telling):
            self.loop.call_soon(self._say_what_is_due)
        self._due.append((call, error))

    def outgoing(self, sender: Sender) -> None:
        """Have somebody do what he put off when whoever is at work now has come to his end."""
        if not (self._outgoing or self._is_telling):
            self.loop.call_soon(self._flush)
        self._outgoing.append(sender)

    def _flush(self) -> None:
        senders, self._outgoing = self._outgoing, []
        for sender in senders:
            sender.flush()

    def _say_what_is_due(self) -> None:
        while self._due:
            due, self._due = self._due, []
            for call, broken in due:
                try:
                    call(broken)
                except Exception as error:
                    self._report(call, error)

    def _report(self, call: Callable[..., None], error: Exception) -> None:
        context = {"message": f"Exception in callback {call!r}", "exception": error}
        self.loop.call_exception_handler(context)

    def close(self) -> None:
        """Watch nothing any more."""
        self._flush()
        self.alarms.close()
        if self._shared is not None:
            for descriptor in list(self._told):
                self.end(descriptor)
            self._shared.tell = None
            self._shared = None
        elif not self._epoll.closed:
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _ready(self) -> None:
        self._tell(self._epoll.poll(0, _AT_ONCE))

    def _tell(self, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Tell who waits for these events. Returns those that nobody here waits for."""
        told = self._told
        others = []
        self._is_telling = True
        for event in events:
            descriptor, ready = event
            # Another file may have this number since, for what was done just now. It is told, too: a call
            # that would have to wait says so.
            call = told.get(descriptor)
            if call is None:
                others.append(event)
                continue
            try:
                call(ready)
            except Exception as error:
                self._report(call, error)
        self._flush()
        self._is_telling = False
        if self._due:
            self._say_what_is_due()
        return others
