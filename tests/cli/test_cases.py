"""The real command, run on the cases of `tests/cases/*.toml`.

A case is a table `[[case]]`:

    name        what must hold
    arguments   of the command
    files       name = content, put into an empty working directory; a name ending in .gz is compressed
    copies      name = file of the repository, copied there
    stdin       text given on standard input
    environ     variables to set
    exit        the exit code; 0 if not given
    stdout      the whole standard output; or
    stdout_has  texts that it must contain, in this order
    stdout_not  texts that it must not contain
    json        what standard output is as JSON; an object may leave members out, "@null" stands for null
    stderr      the whole standard error; or
    stderr_has  texts that it must contain, in this order. Without either it must be empty.
    creates     files that must exist afterwards
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).resolve().parent.parent / "cases"
LOADED = [
    pytest.param(case, id=f"{path.stem}-{case['name'].replace(' ', '_')}")
    for path in sorted(CASES.glob("*.toml"))
    for case in tomllib.loads(path.read_text())["case"]
]


def run(
    directory: Path, arguments: list[str], stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """The command, in a directory of its own and with nobody's configuration."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LOGSCOPE_", "XDG_CONFIG"))
    }
    own = {"HOME": str(directory), "NO_COLOR": "", "COLUMNS": "100"} | environ
    cache = os.environ.get("LOGSCOPE_CACHE_DIR") or str(Path.home() / ".cache" / "logscope")
    return subprocess.run(
        [sys.executable, "-m", "logscope", *arguments],
        cwd=directory,
        env=kept | own | {"LOGSCOPE_CACHE_DIR": cache, "PYTHONWARNINGS": "error"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("case", LOADED)
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    for name, content in case.get("files", {}).items():
        data = content.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    for name, origin in case.get("copies", {}).items():
        shutil.copy(CASES.parent.parent / origin, tmp_path / name)
    done = run(tmp_path, case["arguments"], case.get("stdin", ""), **case.get("environ", {}))
    assert (done.returncode, done.stderr if done.returncode != case.get("exit", 0) else "") == (
        case.get("exit", 0),
        "",
    )
    check_text(done.stdout, case.get("stdout"), case.get("stdout_has", []), case.get("stdout_not", []))
    if "json" in case:
        assert_contains(json.loads(done.stdout), case["json"])
    stderr = case.get("stderr", None if "stderr_has" in case else "")
    check_text(done.stderr, stderr, case.get("stderr_has", []), ["Traceback"])
    for name in case.get("creates", []):
        assert (tmp_path / name).stat().st_size


def check_text(text: str, whole: str | None, parts: list[str], never: list[str]) -> None:
    if whole is not None:
        assert text == whole
    position = 0
    for part in parts:
        assert part in text[position:], f"{part!r} is not (or not there) in:\n{text}"
        position = text.index(part, position) + len(part)
    for part in never:
        assert part not in text


def assert_contains(got: Any, expected: Any) -> None:
    """Objects may have more members than expected; all else must be equal."""
    if isinstance(expected, dict):
        assert isinstance(got, dict)
        for name, value in expected.items():
            assert_contains(got[name], value)
    elif isinstance(expected, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_contains(one, other)
    else:
        assert got == (None if expected == "@null" else expected)


def test_there_are_cases() -> None:
    assert len(LOADED) > 10


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(tmp_path: Path, unbuffered: str) -> None:
    """`logscope … | head -1`. Python writes differently where it was told not to buffer."""
    line = "Jul 26 10:00:00 mx-a postfix/postscreen[7]: CONNECT from [203.0.113.9]:{} to [192.0.2.25]:25\n"
    (tmp_path / "mail.log").write_text("".join(line.format(1024 + i) for i in range(500)))
    command = [sys.executable, "-m", "logscope", "sessions", "-q", "-o", "jsonl", "mail.log"]
    environ = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        (">/dev/full", "logscope: standard output: cannot be written: No space left on device\n"),
        (">&-", "logscope: standard output is closed\n  Name a file with --to.\n"),
    ],
)
@pytest.mark.parametrize("arguments", ["grammar list", "sessions -q - -o jsonl"])
def test_an_output_that_takes_nothing_is_told(arguments: str, redirection: str, message: str) -> None:
    """Though the process ends without taking itself apart."""
    command = f'"{sys.executable}" -m logscope {arguments} {redirection}'
    line = "Jul 26 10:00:00 mx-a postfix/postscreen[7]: CONNECT from [203.0.113.9]:1024 to [192.0.2.25]:25\n"
    done = subprocess.run(["sh", "-c", command], input=line, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, message)


HEAVY = ("numpy", "numba", "pandas", "pyarrow", "rich", "asyncio")


@pytest.mark.parametrize(
    "statement",
    ["import logscope.cli.main", "import logscope", "from logscope.cli.main import main; main(['--help'])"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(tmp_path: Path, statement: str) -> None:
    told = f"' '.join(name for name in {HEAVY!r} if name in sys.modules)"
    code = f"import sys; {statement}; sys.stderr.write({told})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stderr == ""


@pytest.mark.parametrize("module", ["numba", "pandas"])
def test_small_work_does_without(tmp_path: Path, module: str) -> None:
    line = "Jul 26 10:00:00 mx-a postfix/postscreen[7]: CONNECT from [203.0.113.9]:1024 to [192.0.2.25]:25\n"
    (tmp_path / "mail.log").write_text(line)
    code = (
        "import sys; from logscope.cli.main import main;"
        "sys.argv[1:] = ['-q', 'mail.log', '--to', 'x.txt']; main();"
        f"sys.stderr.write({module!r} * ({module!r} in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stderr == ""
