"""Messages that come at about the same time are made durable together, and nobody is told before that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from logscope.relay.queue.message import Message
from logscope.relay.rim import keeper as module
from logscope.relay.rim.keeper import Keeper
from logscope.relay.rim.spool import Spool

from .disk import MemoryDisk
from .test_spool import MESSAGES, found

PLACE = Path("/spool")


class NotingSpool(Spool):
    """Notes which messages were stored together."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(PLACE, disk)
        self.batches: list[list[str]] = []

    def store(self, messages: list[Message]) -> dict[str, OSError | None]:
        self.batches.append([message.queue_id for message in messages])
        return super().store(messages)


def message(name: str) -> Message:
    return replace(MESSAGES[0], queue_id=name)


def test_who_had_company_waits_for_it_and_who_is_alone_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = MemoryDisk()
    spool = NotingSpool(disk)
    told: list[str] = []

    async def play() -> None:
        spool.recover()
        keeper = Keeper(spool, "spool")
        keeper.start()

        def store(*names: str) -> None:
            for name in names:
                keeper.store(message(name), lambda _error, name=name: told.append(name))  # type: ignore[misc]

        monkeypatch.setattr(module, "_COMPANY_S", 3600.0)
        store("A")
        await keeper.idle()  # at once, or the test would last for an hour
        store("B", "C")
        await keeper.idle()
        monkeypatch.setattr(module, "_COMPANY_S", 0.2)
        store("D")
        await asyncio.sleep(0)
        store("E")
        assert told == ["A", "B", "C"]
        await keeper.idle()
        store("F")
        keeper.remove("A", lambda _error: told.append("A is gone"))
        await keeper.idle()
        keeper.stop()

    asyncio.run(play())
    assert spool.batches == [["A"], ["B", "C"], ["D", "E"], ["F"]]
    assert told == ["A", "B", "C", "D", "E", "F", "A is gone"]
    assert sorted(found(disk)) == ["B", "C", "D", "E", "F"]
