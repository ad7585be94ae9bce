"""What is kept on disk: the compiled catalogue and the kernel's machine code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from logscope.errors import GrammarError
from logscope.grammar import catalogue as module
from logscope.grammar.catalogue import load

GRAMMAR = """
name = "{name}"
programs = ["smtpd"]
[[template]]
kind = "smtpd.hello"
text = 'hello {{client_name:word}}'
samples = [ {{ line = 'hello x', values = {{ client_name = "x" }} }} ]
"""
ROOT = Path(module.__file__).parents[2]

SCAN = """
import sys
from pathlib import Path
from logscope.grammar.catalogue import load
from logscope.grammar.scan import Scanner
compiled = sys.argv[1] == "compiled"
files = [Path(name) for name in sys.argv[2:]] or None
line = b"Nov 22 09:18:57 mx postfix/smtpd[1]: connect from unknown[192.0.2.1]"
rows = Scanner(load(files=files), compiled=compiled).scan_bytes(line)
print(rows.kind(0), rows.column("client_address")[0], "pyparsing" in sys.modules, "numba" in sys.modules)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("LOGSCOPE_CACHE_DIR", str(directory))
    return directory


def write(tmp_path: Path, name: str = "mine") -> Path:
    path = tmp_path / f"{name}.toml"
    path.write_text(GRAMMAR.format(name=name))
    return path


def run(mode: str = "plain", root: Path = ROOT, files: tuple[Path, ...] = (), **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", SCAN, mode, *map(str, files)],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.strip()


def test_the_second_load_compiles_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)
    first = load(files=[path])
    monkeypatch.setattr("logscope.grammar.build.build", None)
    second = load(files=[path])
    assert second.templates == first.templates
    assert (second.code == first.code).all()
    assert second.details == first.details


def test_a_changed_grammar_is_compiled_anew(cache: Path, tmp_path: Path) -> None:
    path = write(tmp_path)
    load(files=[path])
    path.write_text(path.read_text().replace("hello {", "bye {"))
    assert load(files=[path]).templates[0].text == "bye {client_name:word}"


def test_a_spoiled_cache_is_not_used(cache: Path, tmp_path: Path) -> None:
    path = write(tmp_path)
    load(files=[path])
    for kept in cache.rglob("catalogue-*.pickle"):
        kept.write_bytes(b"rubbish")
    assert load(files=[path]).templates[0].kind == "smtpd.hello"


def test_details_that_are_gone_are_made_again(cache: Path, tmp_path: Path) -> None:
    path = write(tmp_path)
    load(files=[path])
    for kept in cache.rglob("*.details.pickle"):
        kept.unlink()
    assert load(files=[path]).details[0].samples[0].line == "hello x"


def test_extra_grammars(cache: Path, tmp_path: Path) -> None:
    """A file, or what its TOML would contain, beside the others."""
    mapping = {
        "name": "custom",
        "programs": ["haproxy"],
        "template": [{"kind": "haproxy.custom", "text": "{client_port:port}!"}],
    }
    catalogue = load([write(tmp_path), mapping])
    assert {"mine", "custom", "smtpd"} <= {template.grammar for template in catalogue.templates}


def test_files_that_cannot_be_read(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(GrammarError, match="cannot be read"):
        load(files=[tmp_path / "missing.toml"])
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(GrammarError, match="is not TOML"):
        load(files=[broken])
    broken.write_text("name = 'x'\ncolour = 1")
    with pytest.raises(GrammarError, match="unknown key colour; known: macros"):
        load(files=[broken])


def test_plain_scanning_needs_neither_compiler_nor_parser(cache: Path, tmp_path: Path) -> None:
    """Small inputs must not wait for imports: the compiled catalogue is read back without pyparsing."""
    files = []
    for name in ("syslog", "postfix-macros", "postfix-table-macros", "smtpd"):
        files.append(tmp_path / f"{name}.toml")
        shutil.copy(ROOT / "grammars" / files[-1].name, files[-1])
    run(files=tuple(files))
    assert run(files=tuple(files)) == "smtpd.connect 192.0.2.1 False False"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_nowhere_to_write(tmp_path: Path) -> None:
    """Without a writable cache everything is compiled in memory."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    places = dict.fromkeys(("LOGSCOPE_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "TMPDIR"), str(closed / "x"))
    assert run(**places).startswith("smtpd.connect 192.0.2.1")


@pytest.mark.slow
def test_a_package_and_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """Installed read-only, run by a user without a home: machine code goes to a private temporary
    directory.
    """
    package = tmp_path / "site"
    shutil.copytree(ROOT / "logscope", package / "logscope", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "grammars", package / "grammars", ignore=shutil.ignore_patterns("*.pickle"))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    blocked = tmp_path / "file"
    blocked.write_text("")  # a directory below a file cannot be made, not even by root
    for path in [package, *package.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    places = {
        "LOGSCOPE_CACHE_DIR": "",  # as if not set
        "HOME": str(blocked / "home"),
        "XDG_CACHE_HOME": str(blocked / "cache"),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(package),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        assert run("compiled", package, **places).startswith("smtpd.connect 192.0.2.1")
        assert list(temporary.rglob("*.nbi"))
        assert list(temporary.rglob("catalogue-*.pickle"))
    finally:
        for path in [package, *package.rglob("*")]:
            path.chmod(0o755)


@pytest.mark.slow
def test_several_processes_fill_an_empty_cache_at_once(cache: Path) -> None:
    command = [sys.executable, "-c", SCAN, "compiled"]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(answer.startswith("smtpd.connect 192.0.2.1") for answer in answers)
    assert not list(cache.rglob("*.pickle?*"))
