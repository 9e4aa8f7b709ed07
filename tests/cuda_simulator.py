"""Numba's own simulator of a GPU as the place where kernels run: the second opinion on what the emulator says.

For a process that was started with NUMBA_ENABLE_CUDASIM=1. It knows barriers, shared and local memory and atomics, by
threads of the operating system; of the words of kernels/cuda/memory.py it knows none, and gets them from here.
"""

from __future__ import annotations

import importlib
import operator
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

from pyconv.kernels import cuda as kernels
from pyconv.kernels.cuda import memory

__all__ = ["launch"]


def _load(array: Any, i: Any) -> Any:
    found = array[i]
    return np.float32(np.asarray(found).view(np.float16)[()]) if isinstance(found, np.uint16) else found


def _store(array: Any, i: Any, value: Any) -> None:
    array[i] = np.asarray(value, np.float16).view(np.uint16)[()] if array.dtype == np.uint16 else value


def _move(target: Any, to: Any, source: Any, at: Any) -> None:
    target[to] = source[at]


def _store2(array: Any, i: Any, first: Any, second: Any) -> None:
    array[i], array[i + 1] = first, second


def _copy(count: int) -> Callable[..., None]:
    def copy(target: Any, to: Any, source: Any, at: Any, inside: Any) -> None:
        for lane in range(count):
            target[to + lane] = source[at + lane] if inside else 0

    return copy


_WORDS: dict[str, Callable[..., Any]] = {
    "load": _load,
    "store": _store,
    "move": _move,
    "load2": lambda array, i: (array[i], array[i + 1]),
    "store2": _store2,
    "load4": lambda array, i: tuple(array[i + lane] for lane in range(4)),
    "copy_async": _copy(1),
    "copy2_async": _copy(2),
    "copy4_async": _copy(4),
    "commit_copies": lambda: None,
    "wait_copies": lambda: None,
    "wait_older_copies": lambda: None,
    "product": operator.mul,
    "quotient": lambda a, b: np.int32(a // b),
    "within": lambda index, size: 0 <= index < size,
}
# the simulator has no words of a warp
assert set(_WORDS) == set(memory.__all__) - {"mma_tf32", "tf32"}

for _module in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
    for _word, _function in _WORDS.items():
        if _module.name != memory.__name__ and hasattr(importlib.import_module(_module.name), _word):
            setattr(importlib.import_module(_module.name), _word, _function)


def launch(kernel: Callable[..., Any], grid: int, block: int, *args: Any) -> None:
    """Run a kernel over a grid; flat NumPy arrays are its global memory, and it writes into them."""

    def given(value: Any) -> Any:
        if isinstance(value, np.ndarray):  # where it is: one array that is two arguments must not become two
            return FakeCUDAArray(value)
        return tuple(map(np.int32, value)) if isinstance(value, tuple) else value

    cuda.jit(kernel)[grid, block](*map(given, args))
