"""The journal as an input, shown by a stand-in of journalctl that does as its manual says."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from logscope.errors import InputError, UsageError
from logscope.sources.buffers import new_buffer
from logscope.sources.journal import LONGEST, Journal, arguments_of
from tests.tail.journaling import install, records_of

DEADLINE_S = 60.0
LINES = [b"Nov 22 10:00:%02d mx-a postfix/smtpd[9]: line %d" % (number, number) for number in range(20)]
RECORDS = records_of(b"\n".join(LINES))

Open = Callable[..., Journal]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "journal.json"
    path.write_bytes(b"".join(RECORDS[:10]))
    monkeypatch.setenv("PATH", install(tmp_path / "bin", path))
    return path


@pytest.fixture
def opened(journal: Path) -> Iterator[Open]:
    sources: list[Journal] = []

    def make(name: str = "journal:", **options: object) -> Journal:
        sources.append(Journal(name, **options))  # type: ignore[arg-type]
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def add(journal: Path, data: bytes) -> None:
    with journal.open("ab") as file:
        file.write(data)


def read(source: Journal, count: int, size: int = 1 << 16) -> list[bytes]:
    """The messages of the next records, as many as are waited for."""
    buffer, data = new_buffer(size), b""
    until = time.monotonic() + DEADLINE_S
    while data.count(b"\n") < count and time.monotonic() < until and source.follows:
        source.look(time.monotonic_ns())
        if read_now := source.read_into(buffer, 0):
            data += buffer[:read_now].tobytes()
        else:
            time.sleep(0.005)
    assert data.endswith(b"\n") or not data
    return [message(line) for line in data.splitlines()]


def message(line: bytes) -> bytes:
    said = json.loads(line)["MESSAGE"]
    return bytes(said) if isinstance(said, list) else said.encode()


def messages(first: int, last: int) -> list[bytes]:
    return [b"line %d" % number for number in range(first, last)]


def test_what_comes(journal: Path, opened: Open) -> None:
    source = opened(from_start=True)
    assert read(source, 10) == messages(0, 10)
    add(journal, b"".join(RECORDS[10:12]) + RECORDS[12][:30])
    assert read(source, 2) == messages(10, 12)
    add(journal, RECORDS[12][30:])
    assert read(source, 1) == messages(12, 13)
    assert source.cursor == json.loads(RECORDS[12])["__CURSOR"]


def test_only_what_is_to_come(journal: Path, opened: Open) -> None:
    source = opened()
    until = time.monotonic() + DEADLINE_S
    seen: list[bytes] = []
    number = 10
    while not seen and time.monotonic() < until:  # until journalctl has found the end
        add(journal, RECORDS[number])
        number += 1
        time.sleep(0.5)
        seen = read(source, 1) if source.ready() else []
    assert seen[0] not in messages(0, 10)


def test_behind_a_cursor(opened: Open) -> None:
    source = opened(cursor=json.loads(RECORDS[6])["__CURSOR"])
    assert read(source, 3) == messages(7, 10)


def test_to_its_end(opened: Open) -> None:
    source = opened(follow=False)
    source.stop()
    assert read(source, 99) == messages(0, 10)
    assert source.problem is None


def test_a_child_that_is_killed_is_started_again_where_it_was(journal: Path, opened: Open) -> None:
    source = opened(from_start=True)
    assert read(source, 10) == messages(0, 10)
    os.kill(source._child.pid, signal.SIGKILL)
    add(journal, b"".join(RECORDS[10:]))
    assert read(source, 10) == messages(10, 20)
    assert "is started again" in " ".join(source.notes)


def test_small_reads_hand_out_whole_records(opened: Open) -> None:
    """So that the cursor always says what has been handed out."""
    source = opened(from_start=True)
    found: list[bytes] = []
    while len(found) < 10:
        found += read(source, 1, 1500)
        assert source.cursor == json.loads(RECORDS[len(found) - 1])["__CURSOR"]
    assert found == messages(0, 10)


def test_a_record_without_end(journal: Path, opened: Open) -> None:
    long = json.loads(RECORDS[10]) | {"MESSAGE": "x" * LONGEST}
    add(journal, json.dumps(long).encode() + b"\n" + RECORDS[11])
    source = opened(from_start=True)
    assert read(source, 11, 1 << 20) == [*messages(0, 10), b"line 11"]
    assert source.left_out == 1
    assert "left out" in " ".join(source.notes)


def test_a_cursor_that_is_of_another_journal(opened: Open) -> None:
    """Begins at its time, and says that something may be lost or come twice."""
    microseconds = int(json.loads(RECORDS[5])["__REALTIME_TIMESTAMP"])
    source = opened(cursor=f"s=dead;i=1;b=beef;m=1;t={microseconds:x};x=1")
    assert read(source, 5) == messages(5, 10)
    assert "may be lost or come twice" in " ".join(source.notes)


def test_journalctl_that_may_not_read(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGSCOPE_TEST_JOURNAL_FAILS", "1")
    source = opened(follow=False)
    assert read(source, 1) == []
    assert "insufficient permissions" in str(source.problem)


def test_units_matches_and_directories(journal: Path, opened: Open) -> None:
    assert arguments_of("journal:") == []
    assert arguments_of("journal:haproxy,postfix@-") == ["--unit=haproxy", "--unit=postfix@-"]
    assert arguments_of("journal:/srv/logs,_UID=0") == ["--directory=/srv/logs", "_UID=0"]
    with pytest.raises(UsageError, match="is an option"):
        arguments_of("journal:--vacuum-size=1")
    source = opened("journal:haproxy", follow=False)
    assert read(source, 1) == []
    assert not source.follows


def test_without_journalctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="not installed"):
        Journal("journal:")
