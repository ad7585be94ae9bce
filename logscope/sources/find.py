"""From the names on the command line to open sources.

One bad name never hides the others: what cannot be read becomes a problem, and everything else is read.
"""

from __future__ import annotations

import glob
import os
import re
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from logscope.errors import InputError, did_you_mean
from logscope.sources.buffers import new_buffer
from logscope.sources.source import Source

USUAL_PLACES = (
    "/var/log/haproxy.log",  # Debian, Ubuntu (rsyslog.d/49-haproxy.conf)
    "/var/log/haproxy/haproxy.log",
    "/var/log/haproxy-traffic.log",
    "/var/log/mail.log",  # Debian, Ubuntu
    "/var/log/maillog",  # Red Hat, FreeBSD
    "/var/log/mail",  # SUSE
)
"""Where distributions keep these logs; looked at when no file is named."""

_NOT_LOGS: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"LPKSHHRH",
        "a systemd journal",
        "Export it: journalctl --file FILE -o short-iso-precise | logscope -",
    ),
    (0, b"PK\x03\x04", "a zip archive", "Unpack it: unzip -p FILE | logscope -"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first."),
    (0, b"PAR1", "a Parquet file", "logscope reads logs; give the logs this was made from."),
    (0, b"SQLite format 3\x00", "a SQLite database", "logscope reads logs."),
    (0, b"\xff\xfe", "UTF-16 text", "Convert it: iconv -f UTF-16 -t UTF-8 FILE | logscope -"),
    (0, b"\xfe\xff", "UTF-16 text", "Convert it: iconv -f UTF-16 -t UTF-8 FILE | logscope -"),
    (0, b"\xd4\xc3\xb2\xa1", "a packet capture", "logscope reads logs."),
    (0, b"\x0a\x0d\x0d\x0a", "a packet capture", "logscope reads logs."),
    (0, b"\x7fELF", "a program", "logscope reads logs."),
    (0, b"%PDF-", "a PDF document", "logscope reads logs."),
    (257, b"ustar", "a tar archive", "Unpack it: tar -xOf FILE | logscope -"),
)
_STAMP = re.compile(
    rb"(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?[\d:]{8}(?:\.\d+)?|\d{4}-\d\d-\d\d[T ][\d:.,+Z-]+) "
)
_LINES_RETOLD = 3
"""So many lines that are the same but for their stamps are no chance: they have ports, pids, queue ids."""

_LEAST_JUDGED = 32
_CONTROLS_OF_BINARY = 0.05
"""Share of control characters above which bytes are no text: random bytes have 0.1, a damaged log fewer."""

_CONTROLS = bytes(code for code in range(1, 32) if code not in b"\t\n\r\x1b") + b"\x7f"


@dataclass
class Inputs:
    """What the names led to.

    Attributes:
        sources: open, in the order given; series named by a pattern in their natural order.
        problems: inputs that cannot be read.
        notes: what was left out on purpose, for the user to know.
    """

    sources: list[Source] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Close all sources."""
        for source in self.sources:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_inputs(names: Sequence[str | os.PathLike[str]], stdin: BinaryIO | None = None) -> Inputs:
    """Open files, patterns and `-`, in any mix.

    Args:
        names: file names, patterns (`mail.log*`), `-` for standard input.
        stdin: what `-` reads; the process's standard input if not given.
    """
    inputs = Inputs()
    for name in names:
        for path in _expanded(os.fspath(name), inputs):
            _open_one(path, inputs, stdin)
    _drop_copies(inputs)
    _tell_retold(inputs)
    return inputs


def usual_files() -> list[str]:
    """The usual log files that exist on this machine."""
    return [place for place in USUAL_PLACES if Path(place).is_file()]


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sort key that puts `mail.log.2` before `mail.log.10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _expanded(name: str, inputs: Inputs) -> list[str]:
    """The files a name stands for. A file whose name happens to hold `*` or `[` is just that file."""
    if name == "-" or not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    found = sorted((path for path in glob.glob(name) if not Path(path).is_dir()), key=natural_order)  # noqa: PTH207 - Path.glob refuses absolute patterns
    if not found:
        inputs.problems.append(InputError(f"{name}: no file matches", hint=_closest(name)))
    return found


def _open_one(name: str, inputs: Inputs, stdin: BinaryIO | None) -> None:
    try:
        source = _open_stdin(stdin) if name == "-" else _open_file(name)
    except InputError as error:
        inputs.problems.append(error)
        return
    if source.identity is not None and any(source.identity == other.identity for other in inputs.sources):
        inputs.notes.append(f"{name}: given more than once, read once")
    elif problem := _not_a_log(source):
        inputs.problems.append(problem)
    elif not source.head and source.problem is None:
        inputs.notes.append(f"{name}: empty")
    else:
        inputs.sources.append(source)
        return
    source.close()


def _open_stdin(stdin: BinaryIO | None) -> Source:
    if stdin is None:
        if sys.stdin is None or sys.stdin.closed:
            raise InputError("-: there is no standard input")
        stdin = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115 - closed by the source
    return Source("-", stdin)


def _open_file(name: str) -> Source:
    path = Path(name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name}: is a directory", hint=_logs_inside(path))
        if stat.S_ISSOCK(mode):
            raise InputError(f"{name}: is a socket", hint="Give the files the log daemon writes.")
        return Source(name, path.open("rb", buffering=0), path)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file", hint=_closest(name)) from None
    except PermissionError:
        raise InputError(
            f"{name}: permission denied",
            hint="Logs are often readable by root or the group adm only. Try: sudo cat FILE | logscope -",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{name}: {reason or 'cannot be opened'}") from error


def check_log(path: Path) -> None:
    """See whether a file can be read and is text.

    Raises:
        InputError: it cannot, or is not.
    """
    with _open_file(str(path)) as source:
        if problem := _not_a_log(source):
            raise problem


def _closest(name: str) -> str | None:
    """A hint with a file of the same directory that has a similar name."""
    directory = Path(name).parent
    try:
        present = [str(directory / entry.name) for entry in directory.iterdir()]
    except (OSError, ValueError):
        return f"There is no directory {directory}."
    return did_you_mean(name, present)


def _logs_inside(directory: Path) -> str:
    try:
        entries = sorted(entry.name for entry in directory.iterdir() if entry.is_file())
    except OSError:
        entries = []
    likely = [
        entry
        for entry in entries
        if re.search(r"haproxy|mail|log", entry) and not entry.endswith(_OTHER_FILES)
    ]
    if not likely:
        return "Give the log files themselves."
    names = " ".join(str(directory / entry) for entry in likely[:3])
    return f"Give the log files themselves, such as: {names}"


_COMMENTS = rb"(?:[ \t]*(?:#.*)?\r?\n)*"
_CONFIGURATIONS = (
    (
        re.compile(
            _COMMENTS
            + rb"(?:(?:global|defaults)[ \t]*\r?\n|(?:frontend|backend|listen)[ \t]+[\w.:-]+[ \t]*\r?\n)"
        ),
        "a configuration of HAProxy",
        "Give it with --haproxy-cfg.",
    ),
    (
        re.compile(
            _COMMENTS + rb"(?:[a-z][a-z0-9_]+[ \t]*=|[\w.:-]+[ \t]+(?:inet|unix|fifo|pass)[ \t]+[-yn])"
        ),
        "a configuration of Postfix",
        "Give its directory with --postfix-config.",
    ),
)
_OTHER_FILES = (".cfg", ".cf", ".csv", ".json", ".jsonl", ".md", ".parquet", ".toml")


def _not_a_log(source: Source) -> InputError | None:
    head = source.head
    for offset, magic, what, next_step in _NOT_LOGS:
        if head[offset : offset + len(magic)] == magic:
            return InputError(
                f"{source.name}: is {what}, not a log", hint=next_step.replace("FILE", source.name)
            )
    for first_line, what, next_step in _CONFIGURATIONS:
        if first_line.match(head):
            return InputError(f"{source.name}: is {what}, not a log", hint=next_step)
    written = head.replace(b"\0", b"")  # a crash leaves blocks of NUL in a good log
    controls = len(written) - len(written.translate(None, _CONTROLS))
    if len(written) >= _LEAST_JUDGED and controls > _CONTROLS_OF_BINARY * len(written):
        return InputError(
            f"{source.name}: is binary data, not a log", hint="logscope reads text logs, compressed or not."
        )
    return None


def _drop_copies(inputs: Inputs) -> None:
    """Leave out files whose whole content is the beginning (or all) of another's: copies, and copies made
    earlier.

    Sessions of a log read twice would be counted twice. Only files with the same first line are compared, so
    this costs nothing for logs that differ.
    """
    alike: dict[bytes, list[Source]] = {}
    for source in inputs.sources:
        first_line = source.head.partition(b"\n")[0]
        if source.is_file and source.problem is None and first_line:
            alike.setdefault(first_line, []).append(source)
    for group in alike.values():
        for position, one in enumerate(group):
            for other in group[position + 1 :]:
                if one in inputs.sources and other in inputs.sources:
                    _drop_copy(one, other, inputs)


def _drop_copy(one: Source, other: Source, inputs: Inputs) -> None:
    shorter = shorter_copy(one, other)
    if shorter is None:
        return
    longer = other if shorter is one else one
    inputs.notes.append(f"{shorter.name}: its lines are all in {longer.name} too, read once")
    inputs.sources.remove(shorter)
    shorter.close()


def _tell_retold(inputs: Inputs) -> None:
    """Say which files begin with the same lines in another form of stamp, as when a log daemon writes each
    line to a traditional file and to one with RFC 3339 stamps. Whether they are the same to the end is not
    looked at, so both are read.
    """
    seen: dict[tuple[bytes, ...], Source] = {}
    for source in inputs.sources:
        lines = source.head.split(b"\n", _LINES_RETOLD)[:_LINES_RETOLD]
        stamps = [_STAMP.match(line) for line in lines]
        bare = tuple(line[stamp.end() :] for line, stamp in zip(lines, stamps, strict=True) if stamp)
        if len(bare) < _LINES_RETOLD:
            continue
        other = seen.setdefault(bare, source)
        if other is not source:
            inputs.notes.append(
                f"{source.name}: begins with the lines of {other.name} in other stamps; if it is the same "
                "log, give one of the two: its sessions are counted twice"
            )


def shorter_copy(one: Source, other: Source) -> Source | None:
    """Which of two files holds nothing but the beginning of the other; `other` when they are equal, None if
    neither.
    """
    assert one.path is not None
    assert other.path is not None
    left, right = _open_file(str(one.path)), _open_file(str(other.path))
    room = 1 << 20
    left_buffer, right_buffer = new_buffer(room), new_buffer(room)
    try:
        while True:
            left_count, right_count = left.read_into(left_buffer, 0), right.read_into(right_buffer, 0)
            common = min(left_count, right_count)
            if (left_buffer[:common] != right_buffer[:common]).any():
                return None
            if left_count != right_count or common == 0:
                break
    finally:
        left.close()
        right.close()
    if left.problem or right.problem:
        return None
    return one if left_count < right_count else other
