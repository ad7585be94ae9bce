"""Imports point the way ARCHITECTURE.md draws them.

The rules are the tables below; the tests walk the syntax tree of every module, so an import inside a function
or for types alone counts too, unless a rule says otherwise.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "logscope"

LAYERS = (
    ("errors", "schema", "engine", "compiler", "wide_copy", "arrow", "beside", "unreadable"),
    ("grammar",),
    ("syslog", "haproxy", "postfix"),
    ("site",),
    ("correlate", "trace", "readiness"),
    ("detect",),
    ("report",),
    ("pipeline", "live", "events", "settings", "where"),
    ("sources", "store", "relay", "simulate", "cli", "__init__", "__main__"),
)
"""A part may import what stands on its own line or above it."""

RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

PURE = (
    "schema",
    "syslog",
    "haproxy",
    "postfix",
    "site",
    "correlate",
    "trace",
    "readiness",
    "detect",
    "where",
)
"""Stages: they are handed bytes, tables and times, and hold no files, sockets, clocks or terminals."""

IMPURE_MODULES = {
    "asyncio", "os", "pathlib", "rich", "select", "shutil", "signal", "socket", "subprocess", "sys",
    "tempfile", "threading", "time", "typer",
}  # fmt: skip

PURE_PARTS = {"socket.AF_INET", "socket.AF_INET6", "socket.inet_ntop", "socket.inet_pton"}
"""What may be taken from those modules by name: conversions, which reach nothing outside."""

READERS = {
    ("haproxy.config", "pathlib.Path"): "`read_texts` is the part without files",
    ("postfix.config", "pathlib.Path"): "the same",
    ("site.learn", "pathlib.Path"): "`combined` is the part without files",
}
"""No stages: what they read is settled before the first line of a log."""

RELAY_RIM = ("relay.rim",)
"""The relay's edge. Everything else of it is told the time and handed bytes, like a stage."""

RELAY_PATHS = {("relay.config", "pathlib.Path"), ("relay.settings", "pathlib.Path")}
"""A configuration file is read, and says where directories are."""

IMPURE_CALLS = {"open", "print", "input", "now", "today", "utcnow"}

LAZY = {
    "numba": "compiling is for large inputs; plain Python serves the rest",
    "pandas": "the notebook's surface; the command line does without",
}
"""Imported inside functions (or for types alone), wherever that is."""

BEHIND = {"compiler": "numba"}
"""A module that imports one of those when it is loaded, and so is itself imported inside functions."""

HEAVY = {*LAZY, "pyarrow"}
"""Not loaded by `import logscope`, nor by the command line before it knows what is asked for."""


@dataclass(frozen=True)
class Import:
    """One import of a module: what it names, where, and whether it runs when the module is loaded."""

    module: str
    target: str
    line: int
    at_load: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def modules() -> dict[str, Path]:
    """Dotted name below the package → file; a package's `__init__` goes by the package's name."""
    named = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return named


def imports_of(module: str, tree: ast.Module, path: Path) -> Iterator[Import]:
    """Every import in a module, relative ones resolved."""
    package = ["logscope", *path.relative_to(PACKAGE).parts[:-1]]
    for node, at_load in _walk(tree, at_load=True):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(module, name.name, node.lineno, at_load)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                yield Import(module, f"{source}.{name.name}", node.lineno, at_load)


def _walk(node: ast.AST, at_load: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        )
        yield child, at_load
        yield from _walk(child, at_load and not deferred)


MODULES = modules()
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}
IMPORTS = [found for name, path in MODULES.items() for found in imports_of(name, TREES[name], path)]


def part_of(module: str) -> str:
    return module.split(".")[0]


def own(target: str) -> str | None:
    """The module of this package that an import names; None for other packages."""
    if target.split(".")[0] != "logscope":
        return None
    name = target.removeprefix("logscope").removeprefix(".")
    while name and name not in MODULES:
        name = name.rpartition(".")[0]  # a name inside a module
    return name or "__init__"


def test_every_part_has_its_place() -> None:
    """A new package must be put into the table before anything can be said about it."""
    assert {part_of(module) for module in MODULES} <= set(RANK)


def test_imports_point_up() -> None:
    wrong = [
        str(found)
        for found in IMPORTS
        if (target := own(found.target)) and RANK[part_of(target)] > RANK[part_of(found.module)]
    ]
    assert wrong == []


def test_loading_has_no_cycles() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for found in IMPORTS:
        target = own(found.target)
        if found.at_load and target and target != found.module:
            graph[found.module].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_stages_do_not_touch_the_world() -> None:
    imported = [
        str(found)
        for found in IMPORTS
        if part_of(found.module) in PURE
        and found.target.split(".")[0] in IMPURE_MODULES
        and found.target not in PURE_PARTS
        and (found.module, found.target) not in READERS
    ]
    called = [
        f"{name}:{node.lineno} calls {ast.unparse(node.func)}"
        for name, tree in TREES.items()
        if part_of(name) in PURE
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in IMPURE_CALLS
    ]
    assert imported + called == []


def test_the_relay_touches_the_world_at_its_rim() -> None:
    inside = {name for name in MODULES if part_of(name) == "relay" and not name.startswith(RELAY_RIM)}
    imported = [
        str(found)
        for found in IMPORTS
        if found.module in inside
        and found.target.split(".")[0] in IMPURE_MODULES
        and (found.module, found.target) not in RELAY_PATHS
    ]
    inward = [
        str(found)
        for found in IMPORTS
        if found.module in inside and (own(found.target) or "").startswith(RELAY_RIM)
    ]
    called = [
        f"{name}:{node.lineno} calls {ast.unparse(node.func)}"
        for name in inside
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in IMPURE_CALLS
    ]
    assert inside
    assert imported + inward + called == []


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    wrong = [
        f"{found} ({LAZY[package]})"
        for found in IMPORTS
        if found.at_load
        and (package := BEHIND.get(own(found.target) or "", found.target.split(".")[0])) in LAZY
        and BEHIND.get(found.module) != package
    ]
    assert wrong == []


@pytest.mark.parametrize("module", ["logscope", "logscope.cli.main"])
def test_loading_is_light(module: str) -> None:
    """What a process really loads, whoever asked for it."""
    program = f"import sys, {module}; print(*(name for name in {sorted(HEAVY)} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
