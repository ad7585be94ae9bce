"""Makes Numba compile a kernel and all that it calls into one library, in seconds.

By itself Numba gives every function a library of its own: optimised together with copies of all that it
calls, wrapped for Python and for C, linked, and made anew for each constant that a caller passes. The joins
are two hundred small functions in ten layers, which took two minutes that way.

Here only the entry point is a library. What it calls is typed and lowered as ever, but into that library,
which is optimised and linked once. So each entry point has its own copy of what it calls.

This module imports Numba when it is loaded, so it is imported where something is compiled or fetched.
"""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType
from typing import Any

from llvmlite.binding import parse_assembly  # type: ignore[import-untyped]
from numba import config, njit, types
from numba.core import typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, _LowerResult
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.runtime.nrt import rtsys

from logscope.engine import is_kernel, names_used

_PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.RewriteSemanticConstants,
    untyped_passes.DeadBranchPrune,
    untyped_passes.GenericRewrites,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.NoPythonSupportedFeatureValidation,
    typed_passes.IRLegalization,
)
"""Numba's own but for those that deal with what no kernel has: closures, `with`, loops over literals,
arithmetic of whole arrays.
"""


def machine_code(function: FunctionType, directory: Path | None) -> Any:
    """The Numba dispatcher of an entry point.

    Args:
        function: a kernel; the kernels that it names are compiled along.
        directory: where its machine code is kept, and nothing else's; None where it is not.
    """
    configuration: Any = config
    if directory is not None:
        configuration.CACHE_DIR = str(directory)
    dispatcher = njit(cache=directory is not None, pipeline_class=_EntryPoint, **_options(function))(function)
    if directory is not None:
        _adapt(dispatcher._cache, directory)
    return dispatcher


def _adapt(cache: Any, directory: Path) -> None:
    """Make Numba's cache fit.

    Machine code is loaded without what only the compiler needs: declarations of all that Numba knows, which
    take longer to set up than the code takes to load. When something is compiled, Numba sets them up.

    Of processes that need the same code one compiles it, and the others wait for that: it takes minutes of
    both cores where they all do.
    """
    compiling = _Lock(directory / "compiling")
    save = cache.save_overload

    def load(signature: Any, context: Any) -> Any:
        rtsys.initialize(context)
        found = cache._load_overload(signature, context)
        if found is None:
            compiling.acquire()
            found = cache._load_overload(signature, context)  # somebody else may have compiled it meanwhile
            if found is not None:
                compiling.release()
        return found

    def keep(signature: Any, result: Any) -> None:
        try:
            save(signature, result)
        finally:
            compiling.release()

    cache.load_overload, cache.save_overload = load, keep


class _Lock:
    """One process at a time has it, until it releases it or ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Wait for it, where the file system knows locks."""
        if self._descriptor is None:
            with suppress(OSError):
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _options(function: FunctionType) -> dict[str, Any]:
    return {"nogil": True, "no_cfunc_wrapper": True, "_nrt": _counts_references(function)}


def _counts_references(function: FunctionType) -> bool:
    """Whether a function must count references to arrays: it creates one, hands one out, or is handed one.

    Counting is atomic and happens at every call; small functions called for each field of each line run at
    half the speed with it. The others only look at arrays that somebody above them holds.
    """
    if not _hands_out_numbers(function):
        return True
    for name in names_used(function.__code__):
        value = function.__globals__.get(name)
        if name in _ALLOCATORS or (is_kernel(value) and not _hands_out_numbers(value)):
            return True
    return False


_ALLOCATORS = {"arange", "empty", "full", "ones", "sort", "zeros"}
_NUMBERS = {"None", "Number", "bool", "float", "int"}


def _hands_out_numbers(function: FunctionType) -> bool:
    result = function.__annotations__["return"]
    return result in _NUMBERS or result.startswith("tuple[int")


class _Library(JITCodeLibrary):
    """The library of an entry point, into which all that it calls is lowered."""

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self.parts: list[str] = []
        """Names of the functions that nobody outside calls."""

    def _optimize_functions(self, ll_module: Any) -> None:
        """Nothing yet: all is optimised together at the end."""
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        """Optimise and link; what nobody outside calls can be inlined, or changed, or dropped."""
        for name in self.parts:
            self._final_module.get_function(name).linkage = "internal"
        super().finalize()

    def serialize_using_object_code(self) -> tuple[str, str, tuple[bytes, bytes]]:
        """What is kept on disk. Beside the machine code Numba keeps all of the bitcode, for others to inline.
        Nobody does, and to read it would take as long as the rest: here it has the names alone.
        """
        self._ensure_finalized()
        functions = [one.name for one in self._final_module.functions if not one.is_declaration]
        variables = [one.name for one in self._final_module.global_variables if not one.is_declaration]
        lines = [f'define void @"{name}"() {{ ret void }}' for name in functions]
        lines += [f'@"{name}" = global i8 0' for name in variables]
        names = parse_assembly("\n".join(lines)).as_bitcode()
        return self.name, "object", (self._get_compiled_object(), names)

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager(slp_vectorize=False)
        passes.run(self._final_module, builder)


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(typed_passes.NativeLowering):
    """Lowers a function into the library at hand and leaves it there, neither optimised nor linked."""

    _name = "logscope_part_lowering"

    def run_pass(self, state: Any) -> bool:
        state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        state["library"].parts.append(lowered.fndesc.llvm_func_name)
        # Numba finds what a call is lowered to by the callee's entry point, which has to be a builtin:
        # this one.
        never_called: list[None] = []
        key = never_called.append
        state.targetctx.insert_user_function(key, lowered.fndesc)
        state["cr"] = _LowerResult(lowered.fndesc, lowered.call_helper, cfunc=key, env=lowered.env)
        return True


class _Compiler(CompilerBase):
    lowering: type = typed_passes.NativeLowering

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("kernel")
        for each in (*_PASSES, self.lowering, typed_passes.NoPythonBackend):
            passes.add_pass(each, each.__name__)
        passes.finalize()
        return [passes]


class _EntryPoint(_Compiler):
    def compile_extra(self, func: FunctionType) -> Any:
        codegen = self.state.targetctx.codegen()
        library = self.state["library"] = _Library(codegen, func.__qualname__)
        library.enable_object_caching()
        with _undisturbed(), _remembered():
            return super().compile_extra(_with_parts(func, library, {}))


def _part(function: FunctionType, library: _Library, made: dict[FunctionType, Any]) -> Any:
    """The dispatcher of a function that an entry point calls, directly or not."""

    class Part(_Compiler):
        lowering = _PartLowering

        def compile_extra(self, func: FunctionType) -> Any:
            self.state["library"] = library
            return super().compile_extra(func)

    if function not in made:
        clone = _with_parts(function, library, made)
        options = _options(function) | {"no_cpython_wrapper": True}
        made[function] = njit(pipeline_class=Part, **options)(clone)
        _forget_constants(made[function])
    return made[function]


def _with_parts(function: FunctionType, library: _Library, made: dict[FunctionType, Any]) -> FunctionType:
    """A copy of a function in which the kernels that it names are dispatchers."""
    names = dict(function.__globals__)
    for name in names_used(function.__code__):
        callee = names.get(name)
        if callee is not function and is_kernel(callee):
            names[name] = _part(callee, library, made)
    clone = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    clone.__module__ = function.__module__
    clone.__qualname__ = function.__qualname__
    return clone


def _forget_constants(dispatcher: Any) -> None:
    """Compile a function once for an int, not once for each constant that is passed to it."""
    fold = dispatcher._compiler.fold_argument_types

    def folded(args: Any, kws: Any) -> tuple[Any, tuple[Any, ...]]:
        signature, folded_args = fold(args, kws)
        return signature, tuple(types.unliteral(arg) for arg in folded_args)

    dispatcher._compiler.fold_argument_types = folded


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the garbage collector, which would walk millions of live objects of the compiler."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _remembered() -> Iterator[None]:
    """With a memory of what operators give for operands: Numba searches anew, for long, each time."""
    search = types.Function.get_call_type
    known: dict[Any, Any] = {}

    def remembered(function: Any, context: Any, args: Any, kws: Any) -> Any:
        if kws:
            return search(function, context, args, kws)
        key = function, tuple(args)
        if key not in known:
            known[key] = search(function, context, args, kws)
        return known[key]

    types.Function.get_call_type = remembered  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        types.Function.get_call_type = search  # type: ignore[method-assign]
