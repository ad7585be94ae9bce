"""The built wheel works by itself: no checkout, no development tools, no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GRAMMARS = sorted((ROOT / "grammars").glob("*.toml"))
DEVELOPMENT_TOOLS = ("hypothesis", "mypy", "pytest", "ruff")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(directory),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and what it says it needs, linked from here: needs no index."""
    directory = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(directory, symlinks=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    for needed in dependencies("logscope"):
        tops = {file.parts[0] for file in needed.files or ()} - {".."}
        for entry in tops:
            link = packages / entry
            if not link.exists():
                link.symlink_to(Path(str(needed.locate_file(entry))))
    install = [
        "--python",
        str(directory / "bin" / "python"),
        "install",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    return directory


def dependencies(name: str) -> Iterator[Distribution]:
    """What a distribution needs when it runs, and what that needs, as installed here."""
    seen = set()
    waiting = [name]
    while waiting:
        for requirement in requires(waiting.pop()) or ():
            needed = re.match(r"[\w.-]+", requirement)
            assert needed, requirement
            if ";" in requirement or needed[0] in seen:
                continue  # an extra, or another platform's; what is here without a marker is enough
            seen.add(needed[0])
            waiting.append(needed[0])
            yield distribution(needed[0])


def run(environment: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment, away from the checkout and with a cache of its own."""
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LOGSCOPE_"))
    }
    variables["LOGSCOPE_CACHE_DIR"] = str(cwd / "cache")
    program = [str(environment / "bin" / command[0]), *command[1:]]
    return subprocess.run(
        program, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_wheel_holds_the_package_and_all_grammars(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"logscope/_grammars/{path.name}" for path in GRAMMARS} <= names
    assert "logscope/_grammars/wordings/postfix.tsv" in names
    assert "logscope/py.typed" in names
    outside = {name.split("/")[0] for name in names} - {"logscope"}
    assert [name for name in outside if not name.endswith(".dist-info")] == []


def test_the_grammars_are_compiled_already(environment: Path, tmp_path: Path) -> None:
    """A first run does not parse them, which takes seconds."""
    load = "import sys; sys.modules['pyparsing'] = None; from logscope.grammar import catalogue as c; "
    done = run(
        environment, "python", "-c", load + "print(len(c.load()), len(c.load().details))", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    templates, details = map(int, done.stdout.split())
    assert templates == details > 1000


def test_no_development_tools_are_there(environment: Path, tmp_path: Path) -> None:
    """Otherwise the tests below would prove nothing."""
    find = f"import importlib.util; print(*filter(importlib.util.find_spec, {DEVELOPMENT_TOOLS}))"
    assert run(environment, "python", "-c", find, cwd=tmp_path).stdout.strip() == ""


def test_help(environment: Path, tmp_path: Path) -> None:
    done = run(environment, "logscope", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "report" in done.stdout


def test_grammars_are_listed(environment: Path, tmp_path: Path) -> None:
    done = run(environment, "logscope", "grammar", "list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    listed = set(re.findall(r"[\w-]+", done.stdout))
    described = [tomllib.loads(path.read_text("utf-8")) for path in GRAMMARS]
    assert {grammar["name"] for grammar in described if grammar.get("template")} <= listed


def test_report(environment: Path, tmp_path: Path) -> None:
    logs = [str(ROOT / "samples" / "proxy-v1" / name) for name in ("haproxy.log", "mail.log")]
    done = run(environment, "logscope", "report", "clients", *logs, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "198.51.100.4" in done.stdout


def test_python_finds_the_library(environment: Path, tmp_path: Path) -> None:
    logs = [str(ROOT / "samples" / "proxy-v1" / name) for name in ("haproxy.log", "mail.log")]
    program = f"import logscope; print(len(logscope.read_sessions(*{logs!r})), logscope.__file__)"
    done = run(environment, "python", "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    count, file = done.stdout.split()
    assert int(count) == 120
    assert Path(file).is_relative_to(environment)
