"""Works on a spool beside everything else, and on many messages at once: group commit.

What comes while the disk is busy is done together in the next go, so that a busy server syncs its directory
once for many messages. Nobody is told of anything before it is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from logscope.relay.queue.message import Message
from logscope.relay.rim.spool import Spool

Told = Callable[[OSError | None], None]
"""Called in the event loop when something was done, or with the reason why it was not."""
_COMPANY_S = 0.005
"""How long a new message waits for company when there was some the last time (as PostgreSQL's commit_delay):
a sync and two changes of threads cost as much for one message as for ten."""
_REMOVAL_S = 0.02
"""How long removals may wait for company: nobody waits for them."""


class Keeper:
    """Stores new messages in a spool, and removes those that are done with, in a thread."""

    def __init__(self, spool: Spool, name: str) -> None:
        self._spool = spool
        self._loop: asyncio.AbstractEventLoop
        self._to_store: dict[str, tuple[Message, Told]] = {}
        self._to_remove: dict[str, Told] = {}
        self._told: dict[str, Told] = {}
        self._is_busy = self._is_due = self._had_company = False
        self._idle = asyncio.Event()
        self._batches: SimpleQueue[tuple[list[Message], list[str]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._loop = asyncio.get_running_loop()
        self._idle.set()
        self._thread.start()

    async def idle(self) -> None:
        """Come back when everything is done."""
        await self._idle.wait()

    def stop(self) -> None:
        """End, when what was begun is done."""
        self._batches.put(None)
        self._thread.join()

    def store(self, message: Message, told: Told) -> None:
        """Make a message durable."""
        self._to_store[message.queue_id] = message, told
        self._idle.clear()
        if not (self._is_busy or self._is_due):
            self._begin()

    def _begin(self) -> None:
        self._is_due = True
        self._loop.call_later(_COMPANY_S if self._had_company else 0.0, self._go)

    def remove(self, queue_id: str, told: Told) -> None:
        """A message is done with."""
        self._to_remove[queue_id] = told
        self._idle.clear()
        if not (self._is_busy or self._is_due or len(self._to_remove) > 1):
            self._loop.call_later(_REMOVAL_S, self._go)

    def _go(self) -> None:
        """Hand what there is to the thread."""
        self._is_due = False
        if self._is_busy or not (self._to_store or self._to_remove):
            return
        self._is_busy = True
        self._had_company = len(self._to_store) > 1
        stored, removed = self._to_store, self._to_remove
        self._to_store, self._to_remove = {}, {}
        self._told = {queue_id: told for queue_id, (_, told) in stored.items()} | removed
        self._batches.put(([message for message, _ in stored.values()], list(removed)))

    def _done(self, results: dict[str, OSError | None]) -> None:
        """The thread has done a batch."""
        told, self._told = self._told, {}
        self._is_busy = False
        for queue_id, error in results.items():
            told[queue_id](error)
        if self._to_store and not self._is_due:
            self._begin()
        elif self._to_remove and not self._is_due:
            self._go()
        if not (self._is_busy or self._is_due):
            self._idle.set()

    def _failed(self, error: Exception) -> None:
        """The thread has met what is no failure of a disk: nothing is acknowledged any more."""
        self._idle.set()
        raise RuntimeError("the spool cannot be worked on any longer") from error

    # --- in the thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while (batch := self._batches.get()) is not None:
                self._loop.call_soon_threadsafe(self._done, self._do(*batch))
        except Exception as error:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._failed, error)

    def _do(self, messages: list[Message], queue_ids: list[str]) -> dict[str, OSError | None]:
        if queue_ids:
            self._spool.remove(queue_ids)  # first, as what is synced then comes behind it
        results = self._spool.store(messages) if messages else {}
        return results | dict.fromkeys(queue_ids)
