"""Runs the same function as plain Python or as machine code.

A function marked `@kernel` stays an ordinary Python function over numpy arrays. `compiled(function)`
returns its Numba version; kernels that it calls by name are compiled along. Nothing is compiled, and Numba
is not even imported, until `compiled` is called, so small inputs and `--help` never wait for a compiler.

Machine code is kept on disk in a directory named after a hash of every kernel's source and the versions of
Python and Numba: a changed callee in another module can therefore never leave stale code behind (Numba's
own key is the caller's file alone).
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])

_PACKAGE = Path(__file__).parent
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


def is_cached() -> bool:
    """Whether machine code of these very sources is on disk already: nobody will wait for the compiler."""
    directory = cache_directory()
    return directory is not None and any(directory.glob("**/*.nbi"))


def cache_directory() -> Path | None:
    """The first place where machine code can be kept: the user's cache, else a private temporary directory.

    None where neither can be written; the code is then compiled anew in each process.
    """
    name = _source_key()
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
def _source_key() -> str:
    digest = hashlib.blake2b(digest_size=12)
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_bytes()
        if b"kernel" in source:
            digest.update(path.relative_to(_PACKAGE).as_posix().encode())
            digest.update(source)
    python = f"{sys.implementation.cache_tag}-numba{version('numba')}-numpy{version('numpy')}"
    return f"{python}-{digest.hexdigest()}"


def _compile(function: FunctionType) -> Any:
    import numba

    from logscope import compiler

    directory = cache_directory()
    if directory is not None:
        configuration: Any = numba.config
        configuration.CACHE_DIR = str(directory)
    return compiler.machine_code(function, cached=directory is not None)
