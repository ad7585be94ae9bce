"""Followed files: every line once, however the file is rotated, and across restarts."""

from __future__ import annotations

import bz2
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logscope.errors import InputError
from logscope.sources.buffers import new_buffer
from logscope.sources.follow import LINGER_NS, Followed, looks_rotated


def read_all(source: Followed, room: int = 1 << 16) -> bytes:
    """Everything there is to read by now."""
    buffer = new_buffer(room)
    data = b""
    while count := source.read_into(buffer, 0):
        data += buffer[:count].tobytes()
    return data


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    path.write_bytes(b"one\ntwo\n")
    return path


def test_what_is_added_is_read(log: Path) -> None:
    source = Followed(log)
    assert read_all(source) == b"one\ntwo\n"
    assert not source.ready()
    append(log, b"three\nfo")
    assert source.ready()
    assert read_all(source) == b"three\n"
    append(log, b"ur\n")
    assert read_all(source) == b"four\n"
    assert source.positions()[-1].lines == 4


def test_the_last_line_needs_no_end_when_following_stops(log: Path) -> None:
    append(log, b"three")
    source = Followed(log)
    assert read_all(source) == b"one\ntwo\n"
    source.stop()
    assert read_all(source) == b"three\n"


def test_a_file_appears_later(tmp_path: Path) -> None:
    source = Followed(tmp_path / "mail.log")
    assert "does not exist yet" in source.notes[0]
    source.look(0)
    assert read_all(source) == b""
    append(tmp_path / "mail.log", b"one\n")
    source.look(1)
    assert read_all(source) == b"one\n"


def test_a_file_appears_and_is_rotated_before_anybody_looks(tmp_path: Path) -> None:
    append(tmp_path / "mail.log.1", b"old\n")
    source = Followed(tmp_path / "mail.log")
    (tmp_path / "mail.log.1").rename(tmp_path / "mail.log.2")
    append(tmp_path / "mail.log.1", b"one\n")
    append(tmp_path / "mail.log", b"two\n")
    source.look(0)
    assert read_all(source) == b"one\ntwo\n"


def test_from_the_end(log: Path) -> None:
    source = Followed(log, from_end=0)
    assert read_all(source) == b""
    append(log, b"three\n")
    buffer = new_buffer(100)
    assert buffer[: source.read_into(buffer, 0)].tobytes() == b"three\n"
    assert source.lines_before == 2


def test_from_the_end_begins_at_a_line(log: Path) -> None:
    assert read_all(Followed(log, from_end=4)) == b"two\n"
    assert read_all(Followed(log, from_end=5)) == b"one\ntwo\n"


def test_renamed_and_created(log: Path) -> None:
    """The writer goes on with the old file until it is told."""
    source = Followed(log)
    read_all(source)
    log.rename(log.with_name("mail.log.1"))
    source.look(0)
    append(log.with_name("mail.log.1"), b"three\n")
    assert read_all(source) == b"three\n"
    append(log, b"five\n")
    source.look(1)
    append(log.with_name("mail.log.1"), b"four\n")
    assert read_all(source) == b"four\nfive\n"
    append(log.with_name("mail.log.1"), b"late\n")
    source.look(2)
    assert read_all(source) == b"late\n"
    assert source.lines_before == 4


def test_a_file_moved_away_is_closed_in_the_end(log: Path) -> None:
    source = Followed(log)
    read_all(source)
    log.rename(log.with_name("mail.log.1"))
    append(log, b"three\n")
    append(log.with_name("mail.log.1"), b"without end")
    source.look(0)
    assert read_all(source) == b"three\n"
    source.look(1)
    source.look(2 + LINGER_NS)
    assert read_all(source) == b"without end\n"
    source.look(3 + LINGER_NS)
    assert len(source.positions()) == 1


def test_two_rotations_between_two_looks(log: Path) -> None:
    source = Followed(log)
    read_all(source)
    log.rename(log.with_name("mail.log.2"))
    append(log, b"three\n")
    log.rename(log.with_name("mail.log.1"))
    append(log, b"four\n")
    source.look(0)
    assert read_all(source) == b"three\nfour\n"


def test_old_rotations_are_not_read(log: Path) -> None:
    append(log.with_name("mail.log.1"), b"old\n")
    append(log.with_name("mail.log.2.gz"), gzip.compress(b"older\n"))
    source = Followed(log)
    read_all(source)
    log.with_name("mail.log.1").rename(log.with_name("mail.log.2"))
    log.rename(log.with_name("mail.log.1"))
    append(log, b"three\n")
    source.look(0)
    assert read_all(source) == b"three\n"


def test_copied_and_truncated(log: Path) -> None:
    source = Followed(log)
    read_all(source)
    append(log, b"three\n")  # the copy has it
    shutil.copy2(log, log.with_name("mail.log.1"))
    os.truncate(log, 0)
    append(log, b"four\n")
    source.look(0)
    assert read_all(source) == b"three\nfour\n"
    assert source.cuts == 1
    assert source.notes == []


def test_truncated_and_longer_than_before(log: Path) -> None:
    """Its size alone would not show that it is another file."""
    source = Followed(log)
    read_all(source)
    log.write_bytes(b"")
    append(log, b"another first line\nand more\n")
    assert read_all(source) == b"another first line\nand more\n"
    assert "lines may be lost" in source.notes[0]


def test_a_writer_that_does_not_append_leaves_a_hole(log: Path) -> None:
    source = Followed(log)
    size = 1 << 20
    with log.open("r+b") as writer:
        writer.seek(0, os.SEEK_END)
        writer.write(b"x" * size + b"\n")
        writer.flush()
        read_all(source)
        os.truncate(log, 0)
        writer.write(b"three\n")
    assert read_all(source).lstrip(b"\0") == b"three\n"


def test_a_line_longer_than_the_buffer(log: Path) -> None:
    append(log, b"x" * 300 + b"\nthree\n")
    source = Followed(log)
    assert read_all(source, 100) == log.read_bytes()


def test_an_endless_line_ends_where_its_file_does(log: Path) -> None:
    log.write_bytes(b"x" * 300)
    source = Followed(log)
    assert read_all(source, 100) == b"x" * 300
    log.rename(log.with_name("mail.log.1"))
    append(log, b"one\n")
    source.look(0)
    assert read_all(source, 100) == b"\none\n"


def test_a_compressed_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    path.write_bytes(gzip.compress(b"one\n"))
    with pytest.raises(InputError, match="compressed"):
        Followed(path)


# --- restarts -----------------------------------------------------------------------------------------------


def unchanged(log: Path) -> bytes:
    return b""


def renamed(log: Path) -> bytes:
    log.rename(log.with_name("mail.log.1"))
    append(log, b"in the new one\n")
    return b"in the new one\n"


def renamed_and_none_yet(log: Path) -> bytes:
    log.rename(log.with_name("mail.log.1"))
    return b""


def compressed(log: Path) -> bytes:
    log.with_name("mail.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    append(log, b"in the new one\n")
    return b"in the new one\n"


def rotated_twice(log: Path) -> bytes:
    log.with_name("mail.log-20261121.bz2").write_bytes(bz2.compress(log.read_bytes()))
    log.unlink()
    append(log.with_name("mail.log-20261122"), b"between\n")
    append(log, b"in the new one\n")
    return b"between\nin the new one\n"


def copied_and_truncated(log: Path) -> bytes:
    shutil.copy2(log, log.with_name("mail.log.1"))
    os.truncate(log, 0)
    append(log, b"in the new one\n")
    return b"in the new one\n"


def test_copied_and_truncated_after_it_was_empty(log: Path) -> None:
    """Its beginning does not tell the copy, its time does; what is older had been read before."""
    append(log.with_name("mail.log.1"), b"long ago\n")
    os.truncate(log, 0)
    before = Followed(log)
    assert read_all(before) == b""
    os.utime(log.with_name("mail.log.1"), ns=(0, 0))
    log.with_name("mail.log.1").rename(log.with_name("mail.log.2"))
    positions = before.positions()
    before.close()
    append(log, b"three\n")
    shutil.copy2(log, log.with_name("mail.log.1"))
    os.truncate(log, 0)
    append(log, b"four\n")
    assert read_all(Followed(log, resume=positions)) == b"three\nfour\n"


@pytest.mark.parametrize(
    "rotate", [unchanged, renamed, renamed_and_none_yet, compressed, rotated_twice, copied_and_truncated]
)
def test_rotated_while_nobody_looked(log: Path, rotate: Callable[[Path], bytes]) -> None:
    before = Followed(log)
    read_all(before)
    positions = before.positions()
    before.close()
    append(log, b"three\n")
    new = rotate(log)
    after = Followed(log, resume=positions)
    assert read_all(after) == b"three\n" + new
    assert after.notes == []


def test_the_file_read_last_is_gone(log: Path) -> None:
    before = Followed(log)
    read_all(before)
    log.unlink()
    append(log, b"three\n")
    after = Followed(log, resume=before.positions())
    assert read_all(after) == b"three\n"
    assert "is gone" in after.notes[0]


# --- containers ---------------------------------------------------------------------------------------------


@pytest.fixture
def pod(tmp_path: Path) -> tuple[Path, Path]:
    """A container's log as Kubernetes has it: a link to the log of the container's first start."""
    real = tmp_path / "pods" / "mail_postfix_1" / "postfix" / "0.log"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"one\ntwo\n")
    link = tmp_path / "containers" / "postfix.log"
    link.parent.mkdir()
    link.symlink_to(real)
    return link, real


def test_a_container_log_that_is_rotated_twice_between_two_looks(pod: tuple[Path, Path]) -> None:
    """What the kubelet puts aside is beside the file that the link leads to."""
    link, real = pod
    source = Followed(link)
    assert read_all(source) == b"one\ntwo\n"
    for number in (1, 2):
        append(real, b"line %d\n" % number)
        aside = real.with_name(f"0.log.20261122-10000{number}")
        real.rename(aside)
        os.utime(aside, ns=(2**61 + number, 2**61 + number))
        real.touch()
    append(real, b"three\n")
    source.look(0)
    assert read_all(source) == b"line 1\nline 2\nthree\n"


def test_a_container_that_is_started_again(pod: tuple[Path, Path]) -> None:
    """The link leads to another file then; the end of the former one is read, also by a run that goes on."""
    link, real = pod
    source = Followed(link)
    assert read_all(source) == b"one\ntwo\n"
    positions = source.positions()
    append(real, b"three\n")
    link.unlink()
    link.symlink_to(real.with_name("1.log"))
    append(real.with_name("1.log"), b"four\n")
    source.look(0)
    assert read_all(source) == b"three\nfour\n"
    later = Followed(link, resume=positions)
    assert read_all(later) == b"three\nfour\n"
    assert later.notes == []


# --- any life of a file -------------------------------------------------------------------------------------

STEPS = (
    "write",
    "write",
    "write",
    "part",
    "rename",
    "copytruncate",
    "read",
    "read",
    "look",
    "restart",
    "compress",
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=30), st.randoms(use_true_random=False))
def test_every_line_once(steps: list[str], random: object) -> None:
    """Whatever happens to a file in whatever order, all of its lines arrive, once, and whole."""
    with TemporaryDirectory() as directory:
        log = Path(directory) / "mail.log"
        log.touch()
        source = Followed(log)
        now = written = rotations = 0
        got: list[bytes] = []

        def read() -> None:
            nonlocal now
            now += 1
            source.look(now)
            got.extend(read_all(source).splitlines(keepends=True))

        for step in [*steps, "read", "read"]:
            if step == "write":
                written += 1
                append(log, b"line %d\n" % written)
            elif step == "part":
                written += 1
                append(log, b"line ")
                source.look(now)
                got.extend(read_all(source).splitlines(keepends=True))
                append(log, b"%d\n" % written)
            elif step in ("rename", "copytruncate"):
                read()  # so that what comes between copying and cutting is not asked for
                rotations += 1
                rotated = log.with_name(f"mail.log-{20260000 + rotations}")
                os.utime(log, ns=(10**18 + rotations * 10**9, 10**18 + rotations * 10**9))
                if step == "rename":
                    log.rename(rotated)
                    log.touch()
                else:
                    shutil.copy2(log, rotated)
                    os.truncate(log, 0)
            elif step == "compress" and rotations:
                rotated = log.with_name(f"mail.log-{20260000 + rotations}")
                packed = rotated.with_name(rotated.name + ".gz")
                if rotated.exists():
                    packed.write_bytes(gzip.compress(rotated.read_bytes()))
                    shutil.copystat(rotated, packed)
                    rotated.unlink()
            elif step == "look":
                now += 1
                source.look(now)
            elif step == "read":
                read()
            elif step == "restart":
                positions = source.positions()
                source.close()
                source = Followed(log, resume=positions)
        source.close()
        assert got == [b"line %d\n" % number for number in range(1, written + 1)]


@pytest.mark.parametrize(
    "name",
    [
        "mail.log.1",
        "mail.log.12.gz",
        "mail.log-20261122",
        "mail.log-20261122-1785060000.zst",
        "mail.log~",
        "x.old",
    ],
)
def test_rotated_names(name: str) -> None:
    assert looks_rotated(name)


@pytest.mark.parametrize(
    "name", ["mail.log", "haproxy.log", "mx1", "mx-1.log", "maillog", "srv2.example.org"]
)
def test_names_of_living_files(name: str) -> None:
    assert not looks_rotated(name)
