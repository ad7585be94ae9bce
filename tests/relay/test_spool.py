"""What was acknowledged is never lost: every step of the spool is cut, or fails, and the disk is looked
at."""

from __future__ import annotations

import errno
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logscope.relay.queue.message import Message, Recipient, pack
from logscope.relay.rim.disk import RealDisk
from logscope.relay.rim.spool import Spool
from logscope.relay.smtp.content import Content

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
    spool.remove(["A1"])


def later(message: Message) -> Message:
    return replace(message, recipients=message.recipients[1:], attempts=1, next_attempt_at=START + 300)


def test_what_was_stored_is_found_again() -> None:
    disk = MemoryDisk()
    spool = Spool(PLACE, disk)
    assert spool.store(MESSAGES) == {"A0": None, "A1": None, "A2": None}
    assert found(disk) == {message.queue_id: message for message in MESSAGES}
    assert spool.load("A1") == MESSAGES[1]
    spool.update(later(MESSAGES[0]))
    spool.remove(["A1"])
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


def test_a_damaged_piece_is_put_aside() -> None:
    """What comes behind it is read all the same, and a second look finds nothing else."""
    disk = MemoryDisk()
    spool = Spool(PLACE, disk)
    spool.store(MESSAGES)
    inode = disk._names[PLACE / "queue/00000001"]
    data = disk._contents[inode]
    begin = data.index(b'"queue_id": "A1"')
    disk._contents[inode] = data[:begin] + b"?" + data[begin + 1 :]
    for _ in range(2):
        recovered = Spool(PLACE, disk).recover()
        assert [message.queue_id for message in recovered.messages] == ["A0", "A2"]
        (name,) = recovered.damaged
        assert disk.names(PLACE / "corrupt") == [name]
        assert b"Subject: 1" in disk.read(PLACE / "corrupt" / name)
        assert b"Subject: 2" not in disk.read(PLACE / "corrupt" / name)


@given(st.data())
def test_whatever_is_damaged_the_rest_is_read(data: st.DataObject) -> None:
    """A few bytes of a segment are changed: messages that they did not touch are there, and no other."""
    disk = MemoryDisk()
    Spool(PLACE, disk).store(MESSAGES)
    inode = disk._names[PLACE / "queue/00000001"]
    whole = disk._contents[inode]
    at = data.draw(st.integers(0, len(whole) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=20))
    disk._contents[inode] = (whole[:at] + piece + whole[at + len(piece) :])[: len(whole)]
    kept = found(disk)
    third = len(whole) / len(MESSAGES)
    touched = {int(at // third), int((at + len(piece) - 1) // third)}
    expected = {f"A{number}": message for number, message in enumerate(MESSAGES) if number not in touched}
    assert expected.items() <= kept.items()
    assert kept.items() <= {message.queue_id: message for message in MESSAGES}.items()


def test_a_message_cannot_pass_for_a_record() -> None:
    """Not even next to damage: content that looks like a record is none, as its lines end in CR LF."""
    forged = b"".join(pack(MESSAGES[1]).partition(b"\n"))
    segment = MemoryDisk()
    Spool(PLACE, segment).store([replace(MESSAGES[1], content=forged)])
    record = segment.read(PLACE / "queue/00000001")
    taken = Content(limit=1 << 20)
    assert taken.dotted(bytearray(b"Subject: x\r\n\r\n" + record + b"\r\n.\r\n"))
    disk = MemoryDisk()
    Spool(PLACE, disk).store([replace(MESSAGES[0], content=taken.lines(dotted=True))])
    inode = disk._names[PLACE / "queue/00000001"]
    disk._contents[inode] = b"?" + disk._contents[inode][1:]
    recovered = Spool(PLACE, disk).recover()
    assert recovered.messages == ()
    assert len(recovered.damaged) == 1


def of_an_earlier_relay(**how: int | None) -> MemoryDisk:
    """A disk with three messages in files of their own, as earlier relays kept them, one of them damaged."""
    disk = MemoryDisk()
    for message in MESSAGES:
        data = pack(message)
        disk.create(PLACE / "active" / message.queue_id, data[:-1] if message.queue_id == "A1" else data)
    disk.sync(PLACE / "active")
    disk._fails_at, disk._how = how.get("fails_at"), how.get("how")
    disk.operations = 0
    return disk


def operations_to_take_over() -> int:
    disk = of_an_earlier_relay()
    Spool(PLACE, disk).recover()
    return disk.operations


def test_mail_that_an_earlier_relay_has_left_is_taken_over() -> None:
    disk = of_an_earlier_relay()
    spool = Spool(PLACE, disk)
    recovered = spool.recover()
    assert (recovered.messages, recovered.damaged) == ((MESSAGES[0], MESSAGES[2]), ("A1",))
    assert (disk.listed(PLACE / "active"), disk.listed(PLACE / "corrupt")) == ([], ["A1"])
    assert spool.load("A2") == MESSAGES[2]
    spool.update(later(MESSAGES[0]))
    spool.remove(["A2"])
    assert found(disk) == {"A0": later(MESSAGES[0])}


@pytest.mark.parametrize("step", range(operations_to_take_over()))
@pytest.mark.parametrize("how", [None, errno.ENOSPC])
def test_taking_over_is_cut_or_fails_at_every_step(step: int, how: int | None) -> None:
    """Whatever of it is on the disk, the next run has all that was acknowledged."""
    disk = of_an_earlier_relay(fails_at=step, how=how)
    try:
        Spool(PLACE, disk).recover()
    except (PowerCutError, OSError):
        pass
    for world in disk.power_cut():
        assert found(world) == {"A0": MESSAGES[0], "A2": MESSAGES[2]}
        assert len(world.listed(PLACE / "corrupt") + world.listed(PLACE / "active")) >= 1


def test_what_was_taken_over_and_changed_since_is_not_put_back() -> None:
    """The files could not be taken away the first time: the later version in a segment counts."""
    disk = of_an_earlier_relay()
    Spool(PLACE, disk).store([later(MESSAGES[0])])
    assert found(disk) == {"A0": later(MESSAGES[0]), "A2": MESSAGES[2]}


def test_segments_go_when_nothing_in_them_is_wanted() -> None:
    """In order, so that what was removed does not come back; the disk holds little more than the queue."""
    disk = MemoryDisk()
    spool = Spool(PLACE, disk, segment_bytes=400)
    for number in range(50):
        message = replace(MESSAGES[0], queue_id=f"B{number}")
        assert spool.store([message]) == {message.queue_id: None}
        if number:
            spool.remove([message.queue_id])
    assert [*found(disk)] == ["B0"]
    assert spool.load("B0").content == MESSAGES[0].content
    many = len(disk.names(PLACE / "queue"))
    spool.update(replace(MESSAGES[0], queue_id="B0", attempts=1))
    spool.remove(["B0"])
    spool.close()
    assert (many > 10, disk.names(PLACE / "queue")) == (True, [])


def test_a_disk_that_is_full_does_not_keep_what_was_delivered() -> None:
    """The removal is told when there is room again."""
    disk = MemoryDisk()
    spool = Spool(PLACE, disk)
    spool.store(MESSAGES)
    disk._fails_at, disk._how = disk.operations, errno.ENOSPC
    spool.remove(["A1"])
    assert [*found(disk)] == ["A0", "A1", "A2"]
    spool.remove(["A0"])
    assert [*found(disk)] == ["A2"]


def test_the_real_disk_does_the_same(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "deep/spool", RealDisk())
    assert spool.recover().messages == ()
    assert spool.store(MESSAGES) == {"A0": None, "A1": None, "A2": None}
    assert spool.load("A1") == MESSAGES[1]
    spool.update(later(MESSAGES[0]))
    spool.remove(["A1"])
    segment = tmp_path / "deep/spool/queue/00000001"
    with segment.open("ab") as file:
        file.write(segment.read_bytes()[:70])  # a crash in the middle of a record
    recovered = Spool(tmp_path / "deep/spool", RealDisk()).recover()
    assert (recovered.messages, recovered.damaged) == ((MESSAGES[2], later(MESSAGES[0])), ())
    assert segment.parent.stat().st_mode & 0o077 == 0
    assert segment.stat().st_mode & 0o077 == 0
    spool.remove(["A0", "A2"])
    spool.close()
    assert list(segment.parent.iterdir()) == []


def test_a_real_file_that_cannot_grow_is_cut_back(tmp_path: Path) -> None:
    """A write that fails in the middle costs its own messages, and the next ones go elsewhere."""
    spool = Spool(tmp_path / "spool", RealDisk())
    spool.recover()
    assert spool.store(MESSAGES[:1]) == {"A0": None}
    size = (tmp_path / "spool/queue/00000001").stat().st_size
    large = replace(MESSAGES[1], content=b"x" * 10_000)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, former[1]))
    try:
        results = spool.store([large, MESSAGES[2]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, ignored)
    assert results["A2"] is None
    assert isinstance(results["A1"], OSError)
    assert (tmp_path / "spool/queue/00000001").stat().st_size == size
    assert [entry.queue_id for entry in Spool(tmp_path / "spool", RealDisk()).recover().messages] == [
        "A0",
        "A2",
    ]
