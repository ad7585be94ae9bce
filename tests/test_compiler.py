"""Kernels as machine code: one library for each entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from logscope import engine
from logscope.engine import kernel

Longs = NDArray[np.int64]


@kernel
def plus(a: int, b: int) -> int:
    return a + b


@kernel
def total(values: Longs) -> int:
    """Calls `plus` with a constant, and with numbers."""
    result = plus(0, 0)
    for i in range(values.shape[0]):
        result = plus(result, plus(values[i], 7))
    return result


@kernel
def doubled(values: Longs) -> Longs:
    result = np.empty(values.shape[0], np.int64)
    for i in range(values.shape[0]):
        result[i] = plus(values[i], values[i])
    return result


@kernel
def last_doubled(values: Longs) -> int:
    return doubled(values)[values.shape[0] - 1]


BASE = 7


@kernel
def plus_base(a: int) -> int:
    return plus(a, BASE)


@kernel
def twice_plus_base(a: int) -> int:
    return plus_base(plus_base(a))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOGSCOPE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(engine, "_compiled", {})


def test_machine_code_gives_what_python_gives(fresh: None) -> None:
    values = np.arange(5)
    assert engine.compiled(total)(values) == total(values) == 45
    assert engine.compiled(last_doubled)(values) == last_doubled(values) == 8


def test_another_layout_is_compiled_anew_with_all_that_is_called(fresh: None) -> None:
    run = engine.compiled(total)
    values = np.arange(10)
    assert run(values) == total(values)
    assert run(values[::2]) == total(values[::2])
    assert len(run.signatures) == 2


def test_a_callee_is_compiled_once_for_all_constants(fresh: None) -> None:
    run = engine.compiled(total)
    run(np.arange(5))
    (code,) = run.inspect_llvm().values()
    assert code.count("define ") <= 3, "the function, its wrapper, and no more than one `plus`"


def test_only_who_makes_or_takes_arrays_counts_references() -> None:
    from logscope.compiler import _counts_references

    counting = [
        function.__name__ for function in (plus, total, doubled, last_doubled) if _counts_references(function)
    ]
    assert counting == ["doubled", "last_doubled"]


def test_compiled_code_is_fetched_by_the_next_process(tmp_path: Path) -> None:
    program = (
        "import numpy as np; from logscope import engine; from tests import test_compiler as t\n"
        "run = engine.compiled(t.total); print(run(np.arange(5)), sum(run.stats.cache_hits.values()))"
    )
    answers = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"LOGSCOPE_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert answers == [["45", "0"], ["45", "1"]]


def test_of_several_processes_one_compiles(tmp_path: Path) -> None:
    """The others wait for it, and fetch what it made."""
    program = (
        "import sys; import numpy as np; from logscope import engine; from tests import test_compiler as t\n"
        "run = engine.compiled(t.total); print('ready', flush=True); sys.stdin.readline()\n"
        "print(run(np.arange(5)), sum(run.stats.cache_hits.values()))"
    )
    environ = {"LOGSCOPE_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = sorted(process.communicate(timeout=120)[0].split() for process in processes)
    assert answers == [["45", "0"], ["45", "1"], ["45", "1"]]


def test_fetching_sets_up_nothing_that_only_the_compiler_needs(tmp_path: Path) -> None:
    """And when something has to be compiled after all, that goes on with what was fetched."""
    fetch = "print(engine.compiled(t.total)(np.arange(5)), 'numba.np.linalg' in sys.modules)\n"
    make = "print(engine.compiled(t.last_doubled)(np.arange(5)))\n"
    start = (
        "import sys; import numpy as np; from logscope import engine; from tests import test_compiler as t\n"
    )

    def run(program: str) -> list[str]:
        return subprocess.run(
            [sys.executable, "-c", start + program],
            env={"LOGSCOPE_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()

    assert run(fetch) == ["45", "True"]
    assert run(fetch + make + fetch) == ["45", "False", "8", "45", "True"]
    assert run(make + fetch) == ["8", "45", "False"]


def test_what_is_no_kernel_is_not_compiled() -> None:
    with pytest.raises(TypeError, match="test_what_is_no_kernel"):
        engine.compiled(test_what_is_no_kernel_is_not_compiled)


def test_a_constant_that_a_callee_names_makes_other_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def made_of() -> tuple[str, str]:
        engine._made_of.cache_clear()
        return engine._made_of(twice_plus_base), engine._made_of(total)

    before = made_of()
    monkeypatch.setitem(globals(), "BASE", 8)
    after = made_of()
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


def test_what_is_on_disk_is_known_for_each_entry_point(fresh: None) -> None:
    engine.compiled(total)(np.arange(5))
    assert engine.is_cached(total)
    assert not engine.is_cached(last_doubled)
