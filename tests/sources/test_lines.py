"""Evidence is quoted from the file it stands in."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from logscope.errors import InputError
from logscope.sources import lines
from logscope.sources.lines import lines_of

TEXT = b"".join(b"line %d %s\r\n" % (number, b"x" * (number % 50)) for number in range(1, 2001)) + b"the last"


def expected(number: int) -> str:
    return "the last" if number == 2001 else f"line {number} " + "x" * (number % 50)


@pytest.mark.parametrize("chunk", [64, 1000, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
def test_lines_are_found_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, packed: bool
) -> None:
    monkeypatch.setattr(lines, "_CHUNK", chunk)
    path = tmp_path / "mail.log"
    path.write_bytes(gzip.compress(TEXT) if packed else TEXT)
    wanted = [1, 2, 700, 701, 1999, 2000, 2001]
    assert lines_of(path, wanted) == {number: expected(number) for number in wanted}
    for number in wanted:
        assert lines_of(path, [number]) == {number: expected(number)}


def test_numbers_beyond_the_end_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"one\ntwo\n")
    assert lines_of(path, [0, -1, 2, 3, 99]) == {2: "two"}


def test_very_long_lines_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"x" * 3_000_000 + b"\nshort\n")
    assert lines_of(path, [1, 2]) == {1: "x" * 2000, 2: "short"}


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        lines_of(tmp_path / "gone", [1])
