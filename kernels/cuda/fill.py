"""Memory set to one value."""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS

__all__ = ["fill"]


def fill() -> Any:
    """Return the kernel that sets so many elements; a thread each."""

    def kernel(elements: Any, value: Any, out: Any) -> None:
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < elements:
            out[task] = value

    return kernel
