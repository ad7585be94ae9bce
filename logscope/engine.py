"""Runs the same function as plain Python or as machine code.

A function marked `@kernel` stays an ordinary Python function over numpy arrays. `compiled(function)`
returns its Numba version; kernels that it calls by name are compiled along. Nothing is compiled, and Numba
is not even imported, until `compiled` is called, so small inputs and `--help` never wait for a compiler.

Machine code is kept on disk, for each entry point in a directory named after a hash of all it is made of:
the modules of the kernels it reaches, the constants they name, the versions of Python and Numba. A changed
callee in another module can therefore never leave stale code behind (Numba's own key is the caller's file
alone), and what is not concerned by a change stays.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeGuard, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])

_compiled: dict[FunctionType, Any] = {}


def kernel(function: _F) -> _F:
    """Mark a function as one that `compiled` may turn into machine code."""
    function.__kernel__ = True  # type: ignore[attr-defined]
    return function


def compiled(function: Callable[..., Any]) -> Any:
    """Return the Numba version of a kernel, compiling it (and the kernels it names) on first call.

    Raises:
        TypeError: the function is not marked with `kernel`.
    """
    if not getattr(function, "__kernel__", False):
        raise TypeError(f"{function.__qualname__} is not a kernel")
    assert isinstance(function, FunctionType)
    if function not in _compiled:
        _compiled[function] = _compile(function)
    return _compiled[function]


def is_kernel(value: object) -> TypeGuard[FunctionType]:
    """Whether a value is a function marked with `kernel`."""
    return isinstance(value, FunctionType) and hasattr(value, "__kernel__")


def names_used(code: CodeType) -> Iterator[str]:
    """The names that a function's code looks up, those of its inner functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_used(constant)


def is_cached(function: Callable[..., Any]) -> bool:
    """Whether a kernel's machine code is on disk already: nobody will wait for the compiler."""
    assert isinstance(function, FunctionType)
    directory = cache_directory(_made_of(function))
    return directory is not None and any(directory.glob("**/*.nbi"))


def cache_directory(name: str) -> Path | None:
    """A directory of that name in the first place where machine code can be kept: the user's cache, else a
    private temporary directory.

    None where neither can be written; the code is then compiled anew in each process.
    """
    for base in _cache_bases():
        directory = base / name
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = directory.stat()
        except OSError:
            continue
        # Machine code is loaded from here: nobody else may be able to write it.
        private = status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if private and os.access(directory, os.W_OK | os.X_OK):
            return directory
    return None


def _cache_bases() -> Iterator[Path]:
    configured = os.environ.get("LOGSCOPE_CACHE_DIR")
    if configured:
        yield Path(configured)
    cache_home = os.environ.get("XDG_CACHE_HOME")
    if cache_home:
        yield Path(cache_home) / "logscope"
    try:
        yield Path.home() / ".cache" / "logscope"
    except RuntimeError:  # no home directory for this user
        pass
    yield Path(tempfile.gettempdir()) / f"logscope-{os.getuid()}"


@cache
def _made_of(function: FunctionType) -> str:
    """A name for all that the machine code of an entry point depends on."""
    from importlib.metadata import (
        version,
    )  # with a mail parser behind it, which small inputs need not wait for

    digest = hashlib.blake2b(digest_size=12)
    for part in sorted(_parts(function)):
        digest.update(part)
    python = f"{sys.implementation.cache_tag}-numba{version('numba')}-numpy{version('numpy')}"
    return f"{python}-{function.__name__}-{digest.hexdigest()}"


def _parts(entry: FunctionType) -> set[bytes]:
    """The sources of the modules of all kernels that an entry point reaches, and the constants they name."""
    parts = {_source(str(Path(__file__).with_name("compiler.py")))}
    reached = [entry]
    for function in reached:  # grows meanwhile
        parts.add(_source(function.__code__.co_filename))
        for name in names_used(function.__code__):
            value: Any = function.__globals__.get(name)
            if value is None:
                continue
            if is_kernel(value):
                if value not in reached:
                    reached.append(value)
            elif isinstance(value, int | float | str | bytes | tuple):
                parts.add(f"{name}={value!r}".encode())
            elif hasattr(value, "tobytes"):  # of numpy
                parts.add(name.encode() + value.tobytes())
            else:
                home = getattr(value, "__module__", None)
                module = value if isinstance(value, ModuleType) else sys.modules.get(home or "")
                if module is not None and module.__name__.startswith(f"{__package__}."):
                    parts.add(_source(str(module.__file__)))
    return parts


@cache
def _source(path: str) -> bytes:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=12).digest()


def _compile(function: FunctionType) -> Any:
    from logscope import compiler

    return compiler.machine_code(function, cache_directory(_made_of(function)))
