"""How kernels are compiled: without Python's lock, kept on disk where that is possible, and only when first needed."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import types
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.dispatcher import Dispatcher

__all__ = ["SOURCES", "c_function", "exact_word", "kernel", "once", "word"]

#: No fast-math but contraction, as the C kernels are built; divisions by zero give IEEE's answer.
_OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}


def _sources() -> tuple[tuple[str, int, int], ...]:
    """Time and size of every source file here and in the folder above.

    Numba's cache forgets a function when its own file changes; words of the other files are compiled into it as well.
    """
    here = Path(__file__).parent
    files = sorted((*here.glob("*.py"), *here.parent.glob("*.py")))
    return tuple((file.name, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)


SOURCES = _sources()


def _cached(function: Any) -> Any:
    """Keep what is compiled on disk, where a cache folder can be written."""
    try:
        function.enable_caching()
    except RuntimeError:
        return function
    function._cache._cache_file._source_stamp = SOURCES
    return function


class _NoMachineCode:
    """Numba's code generator for functions that have no address."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, env: Any) -> None:
        """Do nothing: the function's environment lies in the kernels that it is compiled into."""


class _Text(JITCodeLibrary):  # type: ignore[misc]
    """A word in LLVM's language, neither optimised nor made machine code before it is part of a kernel.

    Numba does both for every function, and once more for each that calls it: of deeply nested words that was most of
    the seconds that a kernel takes to compile.
    """

    @property
    def codegen(self) -> _NoMachineCode:
        """The code generator, which makes no machine code."""
        return _NoMachineCode(self._codegen)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _WordCompiler(Compiler):  # type: ignore[misc]
    """Compiles words into :class:`_Text`."""

    def define_pipelines(self) -> Any:
        """Return Numba's own passes."""
        self.state.library = _Text(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


def kernel(function: Callable[..., Any]) -> Dispatcher:
    """Decorate a function that Python calls."""
    return _cached(numba.njit(nogil=True, no_cfunc_wrapper=True, **_OPTIONS)(function))


def word(function: Callable[..., Any]) -> Dispatcher:
    """Decorate a function that kernels call; it is compiled into them."""
    return _for_kernels(function, _OPTIONS)


def exact_word(function: Callable[..., Any]) -> Dispatcher:
    """Decorate a function that kernels call, whose every operation is rounded by itself."""
    # said, for what is not said is inherited from the caller
    return _for_kernels(function, {"error_model": "numpy", "fastmath": False})


def _for_kernels(function: Callable[..., Any], options: dict[str, Any]) -> Dispatcher:
    """Compile a function for kernels only, and once for integers and for constants: Numba does so for each constant."""
    made = numba.njit(pipeline_class=_WordCompiler, no_cfunc_wrapper=True, no_cpython_wrapper=True, **options)(function)
    resolve = made.get_call_template

    def without_constants(arguments: Any, by_name: Any) -> Any:
        by_name = {name: types.unliteral(argument) for name, argument in by_name.items()}
        return resolve(tuple(types.unliteral(argument) for argument in arguments), by_name)

    made.get_call_template = without_constants
    return made


def c_function(function: Callable[..., Any], *arguments: types.Type) -> CFunc:
    """Compile a function to be called through its address by :func:`pyconv.kernels.cpu.simd.call`."""
    compiled = _cached(CFunc(function, (arguments, types.void), locals={}, options=dict(_OPTIONS)))
    compiled.compile()
    return compiled


def once(make: Callable[..., CFunc]) -> Callable[..., int]:
    """Decorate a function that compiles: each combination of arguments once, kept for ever, returned as an address."""
    lock, made = threading.Lock(), {}

    @functools.wraps(make)
    def address(*arguments: Any) -> int:
        with lock:
            if arguments not in made:
                made[arguments] = make(*arguments)
            return int(made[arguments].address)

    return address
