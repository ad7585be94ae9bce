"""The service and the container file: what they start is what the command takes, and systemd takes it."""

from __future__ import annotations

import configparser
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from logscope.cli.main import application

UNIT = Path(__file__).parents[1] / "deploy" / "logscope-tail.service"


def service() -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


def container() -> list[str]:
    """What the container runs, unless told otherwise."""
    lines = (UNIT.parent / "Containerfile").read_text().splitlines()
    said = dict(line.split(" ", 1) for line in lines if line.startswith(("ENTRYPOINT", "CMD")))
    return [*json.loads(said["ENTRYPOINT"]), *json.loads(said["CMD"])]


@pytest.mark.parametrize(
    "words", [shlex.split(service()["ExecStart"]), container()], ids=["unit", "container"]
)
def test_the_command_takes_its_options(words: list[str]) -> None:
    program, command, *arguments = words
    assert Path(program).name == "logscope"
    group: Any = typer.main.get_command(application())
    taken = {name for parameter in group.commands[command].params for name in parameter.opts}
    options = [word for word in arguments if word.startswith("--")]
    assert {"--state", "--to"} <= set(options) <= taken


def test_directories_are_its_own() -> None:
    """A state that others can read would be refused; compiled code is kept where others cannot write."""
    found = service()
    assert found["StateDirectoryMode"] == "0700"
    assert found["Environment"] == "LOGSCOPE_CACHE_DIR=%C/logscope"
    assert "CacheDirectory" in found


def test_systemd_takes_it(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name  # with a program that is there
    copy.write_text(UNIT.read_text().replace("/opt/logscope/bin/logscope", "/bin/true"))
    done = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert complaints == []
