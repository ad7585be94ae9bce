"""What was acknowledged is never lost: every step of the spool is cut, or fails, and the disk is looked
at."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from logscope.relay.queue.message import Message, Recipient
from logscope.relay.rim.disk import RealDisk
from logscope.relay.rim.spool import Spool

from .disk import MemoryDisk, PowerCutError
from .memory import START

PLACE = Path("/spool")
MESSAGES = [
    Message(
        queue_id=f"A{number}",
        sender="carol@sender.example",
        recipients=(Recipient("alice@example.com"), Recipient("bob@example.com")),
        content=b"Subject: %d\r\n\r\ntext\r\n" % number,
        arrived_at=START,
        queued_at=START,
    )
    for number in range(3)
]


def found(disk: MemoryDisk) -> dict[str, Message]:
    """What a new run finds."""
    recovered = Spool(PLACE, disk).recover()
    return {message.queue_id: message for message in recovered.messages}


def operations() -> int:
    """How many steps a whole run takes."""
    disk = MemoryDisk()
    spool = Spool(PLACE, disk)
    spool.recover()
    run(spool, [])
    return disk.operations


def run(spool: Spool, acknowledged: list[str]) -> None:
    """Store three messages in two goes, change one, and remove one. Notes what was acknowledged."""
    for batch in (MESSAGES[:2], MESSAGES[2:]):
        for queue_id, error in spool.store(batch).items():
            if error is None:
                acknowledged.append(queue_id)
    try:
        if "A0" in acknowledged:
            spool.update(later(MESSAGES[0]))
    except OSError:
        pass
    try:
        spool.remove("A1")
    except OSError:
        pass


def later(message: Message) -> Message:
    return replace(message, recipients=message.recipients[1:], attempts=1, next_attempt_at=START + 300)


def test_what_was_stored_is_found_again() -> None:
    disk = MemoryDisk()
    spool = Spool(PLACE, disk)
    assert spool.store(MESSAGES) == {"A0": None, "A1": None, "A2": None}
    assert found(disk) == {message.queue_id: message for message in MESSAGES}
    assert spool.load("A1") == MESSAGES[1]
    spool.update(later(MESSAGES[0]))
    spool.remove("A1")
    assert found(disk) == {"A0": later(MESSAGES[0]), "A2": MESSAGES[2]}


@pytest.mark.parametrize("step", range(operations() + 1))
def test_the_power_is_cut_at_every_step(step: int) -> None:
    """Whatever of the unsynced writes survives: what was acknowledged is there, whole, in one of its
    states."""
    disk = MemoryDisk(fails_at=step)
    acknowledged: list[str] = []
    try:
        run(Spool(PLACE, disk), acknowledged)
    except PowerCutError:
        pass
    worlds = 0
    for world in disk.power_cut():
        worlds += 1
        kept = found(world)
        for queue_id in acknowledged:
            if queue_id == "A1":
                continue  # was delivered; it may be there again
            number = int(queue_id[1:])
            assert kept[queue_id] in (MESSAGES[number], later(MESSAGES[number]))
        for message in kept.values():
            assert message.content in {entry.content for entry in MESSAGES}
    assert worlds >= 1


@pytest.mark.parametrize("step", range(operations()))
@pytest.mark.parametrize("how", [errno.ENOSPC, errno.EIO])
def test_every_step_may_fail(step: int, how: int) -> None:
    """A step that fails costs at most the message it was for, which is then not acknowledged."""
    disk = MemoryDisk(fails_at=step, how=how)
    acknowledged: list[str] = []
    run(Spool(PLACE, disk), acknowledged)
    assert len(acknowledged) >= 1
    for world in disk.power_cut():
        kept = found(world)
        for queue_id in set(acknowledged) - {"A1"}:
            number = int(queue_id[1:])
            assert kept[queue_id] in (MESSAGES[number], later(MESSAGES[number]))


def test_the_test_can_see_a_spool_that_does_not_sync() -> None:
    """Without the directory's sync a cut loses mail: the disk above is not too kind."""

    class Careless(MemoryDisk):
        def sync(self, directory: Path) -> None:
            pass

    disk = Careless()
    spool = Spool(PLACE, disk)
    assert spool.store(MESSAGES[:1]) == {"A0": None}
    assert any(not found(world) for world in disk.power_cut())


def test_a_damaged_file_is_put_aside() -> None:
    disk = MemoryDisk()
    spool = Spool(PLACE, disk)
    spool.store(MESSAGES)
    disk._contents[disk._names[PLACE / "active/A1"]] = b"{}"
    recovered = Spool(PLACE, disk).recover()
    assert recovered.damaged == ("A1",)
    assert [message.queue_id for message in recovered.messages] == ["A0", "A2"]
    assert disk.names(PLACE / "corrupt") == ["A1"]


def test_the_real_disk_does_the_same(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "deep/spool", RealDisk())
    assert spool.recover().messages == ()
    assert spool.store(MESSAGES) == {"A0": None, "A1": None, "A2": None}
    spool.update(later(MESSAGES[0]))
    spool.remove("A1")
    (tmp_path / "deep/spool/incoming/A9").write_bytes(b"half")
    again = Spool(tmp_path / "deep/spool", RealDisk()).recover()
    assert again.messages == (later(MESSAGES[0]), MESSAGES[2])
    assert not (tmp_path / "deep/spool/incoming/A9").exists()
    assert (tmp_path / "deep/spool/active").stat().st_mode & 0o077 == 0
    assert (tmp_path / "deep/spool/active/A2").stat().st_mode & 0o077 == 0
