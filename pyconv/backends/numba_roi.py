"""The Numba kernels of regions of interest and of non-maximum suppression as algorithms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import cost
from ..algorithm import Array, Call, Packed, Runner
from ..cost import Machine
from ..kernels.cpu import roi, threads
from ..kernels.cpu.turn import VECTOR_BYTES, turn
from ..problem import ITEM_BYTES, NmsProblem, RoiProblem
from . import numba_cpu
from .plain import OnNumba

__all__ = ["algorithms", "run_tasks"]

_RULES = {"roi_align": roi.ALIGN, "ps_roi_align": roi.PS_ALIGN, "roi_pool": roi.POOL, "ps_roi_pool": roi.PS_POOL}
_JOINS = {"mean": roi.MEAN, "max pixel": roi.MAX_PIXEL, "max sample": roi.MAX_SAMPLE}
_NUMPY: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
_EPSILON = {"f32": 2.0**-24, "f64": 2.0**-53}
#: Operations of the definition below which a call stays on the caller's thread.
_FLOPS_PER_THREAD = 3_000_000
#: Channels of a task of a gradient: a cache line of float32.
_CHANNELS = 16


def run_tasks(name: str, n: int, shares: int, work: Callable[[int, int], int], done: Callable[[str], None]) -> None:
    """Share n tasks out, and say which kernel did them."""
    threads.run_tasks(name, n, shares, lambda _, first, last: work(first, last))
    done(name)


def _turned(x: Array, out: Array, n_threads: int) -> None:
    """Out[a, b, j, i] = x[a, b, i, j], several threads moving whole vectors where memory allows it."""
    item, target = x.itemsize, out.transpose(0, 1, 3, 2)
    whole = x.strides[-1] == item and out.flags.c_contiguous
    if not whole or numba_cpu.address(x) % item or numba_cpu.address(out) % item:
        target[...] = x
        return
    strides = tuple(stride // item for stride in x.strides[:3])
    where = numba_cpu.address(x), x.shape, strides, numba_cpu.address(out), x.dtype.type(0)
    tasks = math.prod(x.shape[:2]) * -(-x.shape[3] * item // VECTOR_BYTES)
    threads.run_tasks("turn", tasks, min(n_threads, tasks), lambda _, first, last: turn(*where, first, last))


@dataclass(frozen=True, slots=True)
class NumbaRoi(OnNumba):
    """A kernel of kernels/cpu/roi.py, for one operation."""

    unit: ClassVar[str] = "roi"

    op: str
    family: str
    dtype: str
    done: Callable[[str], None]
    backend: str = "numba"
    preferred: bool = True

    def error_bound(self, problem: RoiProblem) -> float:
        """Return one rounding for each product and sum: bins add pixel by pixel, pixels box by box."""
        if problem.kind == "roi_pool" and not problem.gradient:
            return 0.0
        terms = math.prod(problem.taps)
        if problem.gradient:
            terms = problem.boxes * math.prod(problem.out_spatial) * (1 if problem.join == "mean" else 8)
        return (terms + 8) * _EPSILON[self.dtype]

    def estimate(self, problem: RoiProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return 3 * cost.roi_seconds(problem, machine)

    def _chunk(self, call: Call) -> int:
        """Return how many boxes have their bins in scratch at a time."""
        problem: RoiProblem = call.problem
        each = math.prod(problem.out_shape[1:]) * ITEM_BYTES[self.dtype]
        return max(1, min(problem.boxes, call.max_workspace // 4 // max(1, each)))

    def workspace(self, call: Call) -> int | None:
        """Return the maps, or their gradient, and some boxes' bins, with channels last."""
        problem: RoiProblem = call.problem
        item = ITEM_BYTES[self.dtype]
        maps = math.prod(problem.x_shape) * item
        both = 2 if problem.gradient and problem.join != "mean" else 1
        total = maps * both + self._chunk(call) * math.prod(problem.out_shape[1:]) * item
        return total if total <= call.max_workspace else None

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem: RoiProblem = call.problem
        dtype = _NUMPY[self.dtype]
        rank, slices, c_out = problem.rank, problem.slices, problem.c_out
        words = (_RULES[problem.kind], _JOINS[problem.join], problem.sampling_ratio, int(problem.aligned))
        bins = (1, *problem.out_spatial) if rank == 2 else problem.out_spatial
        most = max(taps * out for taps, out in zip(problem.taps, problem.out_spatial, strict=True))
        most = max(2, most if problem.join == "mean" else 2 * (most + 2 * max(problem.spatial) + 8))
        n_bins, chunk = math.prod(bins), self._chunk(call)
        n_threads = max(1, min(call.threads, problem.flops // _FLOPS_PER_THREAD))
        shape = (problem.n, c_out, slices, *((1, *problem.spatial) if rank == 2 else problem.spatial))
        name, done, scale = self.kernel_name, self.done, problem.scale
        maps_shape = tuple(shape[i] for i in (2, 0, 3, 4, 5, 1))
        n_maps, each = math.prod(maps_shape), n_bins * c_out
        elements = (self.workspace(call) or 0) // dtype.itemsize

        def memory() -> Array:
            """Return the thread's scratch: the maps or their gradient, bins of a chunk, maps where both are needed."""
            return numba_cpu.scratch(elements * dtype.itemsize)[: elements * dtype.itemsize].view(dtype)

        def turned(x: Array, to: Array) -> Array:
            """Return (slice, image, d, h, w, channel)."""
            planes = x.reshape(shape).transpose(2, 0, 1, 3, 4, 5)
            last = planes.transpose(0, 1, 3, 4, 5, 2)
            if last.flags.c_contiguous:
                return last
            _turned(planes.reshape(*planes.shape[:3], -1), to.reshape(*planes.shape[:2], -1, c_out), n_threads)
            return to.reshape(maps_shape)

        def forward(packed: Packed, x: Array, boxes: Array, out: Array) -> bool:
            mine = memory()
            maps, bins_at = turned(x, mine[:n_maps]), mine[n_maps : n_maps + chunk * each]
            for first in range(0, problem.boxes, chunk):
                some = np.ascontiguousarray(boxes[first : first + chunk])
                found = bins_at[: len(some) * each].reshape(len(some), n_bins, c_out)

                def work(a: int, b: int, some: Array = some, found: Array = found) -> int:
                    return int(roi.roi_forward(maps, some, rank, words, scale, bins, most, a, b, found))

                run_tasks(name, len(some), min(n_threads, len(some)), work, done)
                there, part = some[:, 0] >= 0, out[first : first + chunk]
                if there.all() and part.flags.c_contiguous:
                    _turned(found[None], part.reshape(1, len(some), c_out, n_bins), n_threads)
                else:
                    part[there] = found.transpose(0, 2, 1).reshape(part.shape)[there]
            return True

        def backward(packed: Packed, grad_output: Array, boxes: Array, x: Array | None, out: Array) -> bool:
            mine = memory()
            grad, bins_at = mine[:n_maps].reshape(maps_shape), mine[n_maps : n_maps + chunk * each]
            grad[...] = 0
            maps = grad if x is None else turned(x, mine[n_maps + chunk * each :])
            blocks = -(-c_out // _CHANNELS)
            for first in range(0, problem.boxes, chunk):
                some = np.ascontiguousarray(boxes[first : first + chunk])
                given = grad_output[first : first + chunk].reshape(len(some), c_out, n_bins)
                g = bins_at[: len(some) * each].reshape(len(some), n_bins, c_out)
                _turned(given[None], g[None], n_threads)

                def work(a: int, b: int, some: Array = some, g: Array = g) -> int:
                    channels = a * _CHANNELS, min(c_out, b * _CHANNELS)
                    roi.roi_backward(maps, some, rank, words, scale, bins, most, *channels, g, grad)
                    return b - a

                run_tasks(name, blocks, min(n_threads, blocks), work, done)
            if out.flags.c_contiguous:
                planes = out.reshape(problem.n, c_out, slices, -1).transpose(2, 0, 1, 3)
                _turned(grad.reshape(slices, problem.n, -1, c_out), planes, n_threads)
            else:
                out[...] = grad.transpose(1, 5, 0, 2, 3, 4).reshape(problem.x_shape)
            return True

        def clear(packed: Packed, *arrays: Array | None) -> bool:
            out = arrays[-1]
            assert out is not None
            out[...] = 0
            return True

        if 0 in problem.x_shape or 0 in problem.out_shape:
            return clear
        return backward if problem.gradient else forward


@dataclass(frozen=True, slots=True)
class NumbaNms(OnNumba):
    """Non-maximum suppression."""

    unit: ClassVar[str] = "nms"

    done: Callable[[str], None]
    op: str = "nms"
    family: str = "greedy"
    dtype: str = "f64"
    backend: str = "numba"
    preferred: bool = True

    def error_bound(self, problem: NmsProblem) -> float:
        """Return 0: a box stays or goes."""
        return 0.0

    def estimate(self, problem: NmsProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return 3 * cost.nms_seconds(problem, machine)

    def workspace(self, call: Call) -> int | None:
        """Return 0: none is needed."""
        return 0

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem: NmsProblem = call.problem
        name, done = self.kernel_name, self.done
        shares = int(max(1, min(call.threads, problem.runs, problem.flops // _FLOPS_PER_THREAD)))

        def run(packed: Packed, boxes: Array, runs: Array, out: Array) -> bool:
            def work(a: int, b: int) -> int:
                return int(roi.nms(boxes, runs, problem.threshold, a, b, out))

            run_tasks(name, problem.runs, shares, work, done)
            return True

        return run


def algorithms(done: Callable[[str], None]) -> Iterator[Any]:
    """Every kernel, for each operation and element type; ``done`` notes which one has run."""
    yield NumbaNms(done)
    for op in ("roi_align", "roi_align3d", "roi_pool", "ps_roi_align", "ps_roi_pool"):
        for dtype in _NUMPY:
            yield NumbaRoi(op, "separable", dtype, done)
            yield NumbaRoi(f"{op}-grad-x", "scatter", dtype, done)
