"""What the cost model knows of this processor, measured: ``pyconv tune --machine``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import machine
from .ops.activation import relu
from .ops.conv import conv2d
from .ops.prepared import PREPARED
from .options import options
from .registry import algorithms, find

__all__ = ["calibrate"]

#: A dense layer that is all arithmetic, and the share of a core's peak that its kernel reaches.
_CHANNELS, _SIDE, _SHARE = 192, 28, 0.92
#: Bytes of an array that lies in the last cache, and of one that does not.
_CACHED, _UNCACHED = 4 << 20, 256 << 20
_THREADS = 2


def _shortest(call: Callable[[], object], seconds: float) -> float:
    """Return the shortest of many calls."""
    call()
    until, best = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < until:
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best


def _gflops(id: str, seconds: float) -> float:
    """Return one core's multiply-adds in float32, by a kernel that does little else."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1, _CHANNELS, _SIDE, _SIDE), np.float32)
    w = random.standard_normal((_CHANNELS, _CHANNELS, 3, 3), np.float32)
    with options(threads=1):
        layer = PREPARED[conv2d](w, padding=1, algorithm=id)
        best = _shortest(lambda: layer(x), seconds)
    return 2 * w.size * _SIDE * _SIDE / best / 1e9 / _SHARE


def _gbytes(size: int, seconds: float) -> float:
    """Return GB/s of reading one array and writing another."""
    x = np.ones(size // 8, np.float32)
    out = np.empty_like(x)
    with options(threads=_THREADS):
        best = _shortest(lambda: relu(x, out=out), seconds)
    return 2 * x.nbytes / best / 1e9


def calibrate(seconds: float = 0.5) -> dict[int, dict[str, Any]]:
    """Measure this processor and keep the result for later processes; return it by float32 elements in a vector.

    Parameters
    ----------
    seconds : float
        For each number; two for the memory and one for each instruction set.

    Examples
    --------
    >>> from pyconv.calibrate import calibrate
    >>> sorted(next(iter(calibrate(0.01).values())))
    ['cache_bytes', 'cache_gbytes', 'gflops', 'memory_gbytes']
    """
    memory = {
        "cache_bytes": machine.last_cache_bytes(),
        "cache_gbytes": round(_gbytes(_CACHED, seconds), 1),
        "memory_gbytes": round(_gbytes(_UNCACHED, seconds), 1),
    }
    found = {}
    for algorithm in map(find, algorithms("conv2d")):
        if (algorithm.family, algorithm.dtype, algorithm.backend) == ("implicit-gemm", "f32", "c"):
            kernel: Any = algorithm
            if kernel.runs_here:
                found[int(kernel.lanes)] = {"gflops": round(_gflops(kernel.id, seconds), 1), **memory}
    machine.keep(found)
    return found
