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


def kernel(function: Callable[..., Any]) -> Dispatcher:
    """Decorate a function that Python calls."""
    return _cached(numba.njit(nogil=True, **_OPTIONS)(function))


def word(function: Callable[..., Any]) -> Dispatcher:
    """Decorate a function that kernels call; it is compiled into them."""
    return numba.njit(**_OPTIONS)(function)


def exact_word(function: Callable[..., Any]) -> Dispatcher:
    """Decorate a function that kernels call, whose every operation is rounded by itself."""
    # said, for what is not said is inherited from the caller
    return numba.njit(error_model="numpy", fastmath=False)(function)


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
