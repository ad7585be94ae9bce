"""The documents say what is true: examples print what they show, and everything there is has its place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import logscope
from logscope.cli.main import application
from tests import readme
from tests.test_architecture import LAYERS

README = readme.README.read_text("utf-8")
GRAMMARS = sorted((readme.ROOT / "grammars").glob("*.toml"))


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command of the command line, as it is typed."""
    inner = getattr(command, "commands", None)
    if path and (not inner or command.invoke_without_command):
        yield " ".join(path)
    for name, child in (inner or {}).items():
        yield from commands(child, (*path, name))


COMMANDS = sorted(
    set(commands(typer.main.get_command(application()))) - {"summary"}
)  # `logscope FILES` is the summary


@pytest.mark.parametrize(("command", "output"), list(readme.examples(README)))
def test_readme_shows_what_is_printed(command: str, output: str) -> None:
    """`make readme` puts in what is printed now."""
    assert readme.output_of(command) == output


def test_readme_has_pictures() -> None:
    outputs = [output for _, output in readme.examples(README)]
    assert len(outputs) >= 3
    assert all(len(output.splitlines()) >= 1 for output in outputs)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`logscope {command}" in README


def test_readme_names_no_command_that_is_not_there() -> None:
    named = re.findall(r"(?:`|^\$ )logscope ([a-z][a-z ]*[a-z])", README, re.MULTILINE)
    assert named
    unknown = [
        words for words in named if not any(f"{words} ".startswith(f"{command} ") for command in COMMANDS)
    ]
    assert unknown == ["samples"]  # the one screen: files alone


def test_readme_names_the_library() -> None:
    functions = {name for name in logscope.__all__ if name.startswith("read_")}
    assert set(re.findall(r"\bread_\w+", README)) == functions


@pytest.mark.parametrize("path", GRAMMARS, ids=lambda path: path.stem)
def test_every_grammar_says_what_it_describes(path: Path) -> None:
    grammar = tomllib.loads(path.read_text("utf-8"))
    templates = grammar.get("template", [])
    assert grammar["title"]
    assert [template["kind"] for template in templates if not template.get("source")] == []


def test_architecture_draws_the_layers_that_are_tested() -> None:
    text = (readme.ROOT / "ARCHITECTURE.md").read_text("utf-8")
    section = text.split("## Which way imports point")[1].split("\n\n")[1]
    drawn = [
        tuple(re.findall(r"[a-z_]+", line.removeprefix("    ").split("    ")[0]))
        for line in section.splitlines()
        if "▲" not in line
    ]
    tested = [tuple(part for part in layer if not part.startswith("__")) for layer in LAYERS]
    assert drawn == tested


def test_changelog_begins_with_what_is_not_released() -> None:
    text = (readme.ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## (.*)", text, re.MULTILINE)[0] == "[Unreleased]"
