"""One bad name never hides the others."""

from __future__ import annotations

import gzip
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from logscope import sources
from logscope.sources.find import natural_order

LINE = "Jul 26 10:00:00 mx-a postfix/qmgr[7]: 4F1A2: removed\n"


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


_opened: list[sources.Inputs] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def open_inputs(names: list[str], stdin: io.BytesIO | None = None) -> sources.Inputs:
    _opened.append(sources.open_inputs(names, stdin))
    return _opened[-1]


def write(name: str, content: str | bytes = LINE) -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def names(inputs: sources.Inputs) -> list[str]:
    return [source.name for source in inputs.sources]


def only_problem(inputs: sources.Inputs) -> str:
    (problem,) = inputs.problems
    return problem.explain()


def test_files_patterns_and_standard_input_mix() -> None:
    for number in (1, 2, 10):
        write(f"mail.log.{number}", f"{number} {LINE}")
    write("haproxy.log", "h " + LINE)
    inputs = open_inputs(["haproxy.log", "mail.log.*", "-"], stdin=io.BytesIO(b"s " + LINE.encode()))
    assert names(inputs) == ["haproxy.log", "mail.log.1", "mail.log.2", "mail.log.10", "-"]
    assert (inputs.problems, inputs.notes) == ([], [])


def test_a_name_that_looks_like_a_pattern_is_a_file_first() -> None:
    write("mail[1].log")
    write("mail1.log")
    assert names(open_inputs(["mail[1].log"])) == ["mail[1].log"]


def test_a_missing_file_is_reported_with_the_nearest_name_and_the_rest_is_read() -> None:
    write("mail.log")
    inputs = open_inputs(["mial.log", "mail.log"])
    assert names(inputs) == ["mail.log"]
    assert only_problem(inputs) == "mial.log: no such file\n  Did you mean 'mail.log'?"


def test_a_missing_directory_is_named() -> None:
    assert "There is no directory nowhere." in only_problem(open_inputs(["nowhere/mail.log"]))


def test_a_pattern_without_files_is_reported() -> None:
    assert "mail.log*: no file matches" in only_problem(open_inputs(["mail.log*"]))


def test_a_directory_names_the_logs_inside() -> None:
    Path("logs").mkdir()
    write("logs/mail.log")
    write("logs/readme")
    write("logs/haproxy.cfg")
    assert only_problem(open_inputs(["logs"])) == (
        "logs: is a directory\n  Give the log files themselves, such as: logs/mail.log"
    )


def test_an_unreadable_file_says_how_to_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made to fail rather than chmod-ed: tests may run as root."""
    write("mail.log")

    def deny(*_args: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    text = only_problem(open_inputs(["mail.log"]))
    assert "mail.log: permission denied" in text
    assert "sudo cat FILE | logscope -" in text


def test_an_empty_file_is_a_note_not_a_problem() -> None:
    write("mail.log", "")
    write("packed.gz", gzip.compress(b""))
    inputs = open_inputs(["mail.log", "packed.gz"])
    assert (inputs.sources, inputs.problems) == ([], [])
    assert inputs.notes == ["mail.log: empty", "packed.gz: empty"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"LPKSHHRH" + b"\0" * 100, "a systemd journal"),
        (b"PK\x03\x04" + b"\x14" * 100, "a zip archive"),
        (b"mail.log" + b"\0" * 249 + b"ustar" + b"\0" * 100, "a tar archive"),
        ("Jul 26 10:00:00 mx".encode("utf-16"), "UTF-16 text"),
        (bytes(range(256)) * 8, "binary data"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_files_that_are_no_logs_are_named_for_what_they_are(content: bytes, what: str, packed: bool) -> None:
    write("thing", gzip.compress(content) if packed else content)
    write("mail.log")
    inputs = open_inputs(["thing", "mail.log"])
    assert names(inputs) == ["mail.log"]
    assert f"thing: is {what}, not a log" in only_problem(inputs)


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 4096 + LINE.encode(),
        b"\0" * 70_000,
        b"Jul 26 10:00:00 mx-a postfix/smtpd[1]: \xff\xfe\xe4\xf6 text\n",
        LINE.encode() * 20 + b"\x1b[31mred\x1b[0m \x01\x02\n",
        b"\xef\xbb\xbf" + LINE.encode(),
    ],
)
def test_damaged_logs_are_still_logs(content: bytes) -> None:
    write("mail.log", content)
    assert names(open_inputs(["mail.log"])) == ["mail.log"]


def test_the_same_file_is_read_once() -> None:
    write("mail.log")
    os.link("mail.log", "hard")
    Path("soft").symlink_to("mail.log")
    inputs = open_inputs(["mail.log", "./mail.log", "hard", "soft"])
    assert names(inputs) == ["mail.log"]
    assert len(inputs.notes) == 3
    assert "soft: given more than once, read once" in inputs.notes


def test_copies_are_read_once_also_compressed_or_made_earlier() -> None:
    lines = "".join(f"Jul 26 10:00:00 mx-a postfix/qmgr[7]: line {i}\n" for i in range(50_000))
    write("mail.log", lines)
    write("earlier", lines[: len(lines) // 2])
    write("mail.log.gz", gzip.compress(lines.encode()))
    inputs = open_inputs(["earlier", "mail.log.gz", "mail.log"])
    assert names(inputs) == ["mail.log.gz"]
    assert sorted(inputs.notes) == [
        "earlier: its lines are all in mail.log.gz too, read once",
        "mail.log: its lines are all in mail.log.gz too, read once",
    ]


@pytest.mark.parametrize("clock", ["2026-07-26T10:00:{:02d}.123456+02:00", "<22>Jul 26 2026 10:00:{:02d}"])
def test_the_same_lines_in_other_stamps_are_told(clock: str) -> None:
    texts = [f"mx-a postfix/smtpd[7]: connect from x[192.0.2.{i}]" for i in range(5)]
    write("mail.log", "".join(f"Jul 26 10:00:{i:02d} {text}\n" for i, text in enumerate(texts)))
    write("other", "".join(f"{clock.format(i)} {text}\n" for i, text in enumerate(texts)))
    write("next", "".join(f"Jul 26 10:01:{i:02d} {text}\n" for i, text in enumerate(reversed(texts))))
    inputs = open_inputs(["mail.log", "other", "next"])
    assert names(inputs) == ["mail.log", "other", "next"]
    (note,) = inputs.notes
    assert note.startswith("other: begins with the lines of mail.log in other stamps; ")


def test_files_with_the_same_first_line_only_are_both_read() -> None:
    write("a.log", LINE + "Jul 26 10:00:01 mx-a x\n")
    write("b.log", LINE + "Jul 26 10:00:01 mx-b x\n")
    assert names(open_inputs(["a.log", "b.log"])) == ["a.log", "b.log"]


def test_cut_off_copies_are_not_compared() -> None:
    """What is missing at the end of a damaged file is unknown, so it is no copy of anything."""
    packed = gzip.compress(LINE.encode() * 5)
    write("cut.gz", packed[:-6])
    write("mail.log", LINE * 5)
    inputs = open_inputs(["cut.gz", "mail.log"])
    assert len(inputs.sources) == 2


def test_a_socket_is_refused() -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind("s")  # relative: the path of a socket must be short
    assert "is a socket" in only_problem(open_inputs(["s"]))
    server.close()


def test_names_with_nul_are_refused_not_a_bug() -> None:
    assert only_problem(open_inputs(["a\0b"])).startswith("a\0b: ")


def test_natural_order_counts() -> None:
    assert sorted(["m.10", "m.9", "m.1.gz", "m"], key=natural_order) == ["m", "m.1.gz", "m.9", "m.10"]
