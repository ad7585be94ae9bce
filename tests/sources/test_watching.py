"""A run that waits is woken by what happens to its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from logscope.sources import following
from logscope.sources.buffers import new_buffer
from logscope.sources.following import Following

DEADLINE_S = 60.0
"""Nobody waits so long here: what happened before ends the waiting at once."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    path.write_bytes(b"one\n")
    return path


@pytest.fixture
def quiet(log: Path) -> Iterator[Following]:
    """Inputs of which everything has been read and nothing is left to be told."""
    with closing(Following([str(log)])) as inputs:
        inputs.look(0)
        (file,) = inputs.inputs
        file.read_into(new_buffer(1 << 16), 0)
        inputs._watching.take()
        yield inputs


@pytest.fixture
def selected(quiet: Following, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """How long each wait was to be, and how many descriptors ended it."""
    found: list[tuple[float, int]] = []
    select = quiet._selector.select

    def noted(seconds: float) -> list[object]:
        ready = select(seconds)
        found.append((seconds, len(ready)))
        return ready  # type: ignore[return-value]

    monkeypatch.setattr(quiet._selector, "select", noted)
    return found


def test_a_line_that_is_written_ends_waiting(
    quiet: Following, log: Path, selected: list[tuple[float, int]]
) -> None:
    with log.open("ab") as file:
        file.write(b"two\n")
    quiet.wait(DEADLINE_S)
    assert selected == [(DEADLINE_S, 1)]


@pytest.mark.parametrize("how", ["rename", "create", "cut"])
def test_rotation_ends_waiting_and_is_looked_at_at_once(
    quiet: Following, log: Path, selected: list[tuple[float, int]], how: str
) -> None:
    if how == "cut":
        log.write_bytes(b"")
    else:
        log.rename(log.with_suffix(".1"))
    if how == "create":
        log.write_bytes(b"three\n")
    quiet.wait(DEADLINE_S)
    assert selected == [(DEADLINE_S, 1)]
    quiet.look(1)  # a nanosecond after the last look
    assert quiet.inputs[0].ready() == (how != "rename")


def test_what_is_only_written_to_is_not_looked_at_each_time(
    quiet: Following, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But now and then, and often again while nobody asks the kernel."""
    looked: list[int] = []
    monkeypatch.setattr(quiet.inputs[0], "look", looked.append)
    now = following.LOOK_NS
    quiet.look(now)
    for _ in range(3):
        with log.open("ab") as file:
            file.write(b"two\n")
        quiet.wait(DEADLINE_S)
        now += following.LOOK_NS
        quiet.look(now)
    assert looked == [following.LOOK_NS]
    now += following.LOOK_NS
    quiet.look(now)
    assert looked == [following.LOOK_NS, now]
    quiet.wait(0)
    quiet.look(now + following.CALM_NS)
    assert len(looked) == 3


def test_the_file_that_took_anothers_place_is_watched(quiet: Following, log: Path) -> None:
    log.rename(log.with_suffix(".1"))
    log.touch()
    quiet.look(1, at_once=True)
    quiet._watching.take()
    with log.open("ab") as file:
        file.write(b"three\n")
    assert quiet._watching.take()


def test_where_the_kernel_does_not_tell_files_are_looked_at_often(
    quiet: Following, log: Path, selected: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system that another host writes to."""
    descriptor = quiet._watching.descriptor
    assert descriptor is not None
    quiet._selector.unregister(descriptor)
    monkeypatch.setattr(quiet._watching, "take", lambda: False)
    with log.open("ab") as file:
        file.write(b"two\n")
    quiet.wait(0.01)
    quiet.wait(DEADLINE_S)
    assert [seconds for seconds, _ in selected] == [0.01, following.POLL_S]


def test_without_inotify_files_are_looked_at_often(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *_args, **_options: object())
    waited: list[float] = []
    with closing(Following([str(log)])) as inputs:
        inputs.look(0)
        monkeypatch.setattr(inputs._selector, "select", lambda seconds: waited.append(seconds) or [])
        inputs.wait(DEADLINE_S)
    assert waited == [following.POLL_S]
