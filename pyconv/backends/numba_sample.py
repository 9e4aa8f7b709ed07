"""The Numba kernels of sampling as algorithms: resizing, maps at places, affine grids, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import cost
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..kernels.cpu import sample
from ..problem import ITEM_BYTES, AffineGridProblem, GridSampleProblem, ResizeProblem
from ..reference import grid_taps
from . import sampling
from .layers import EPSILON
from .numba_roi import run_tasks
from .plain import OnNumba

__all__ = ["algorithms"]

_NUMPY: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
#: Operations of the definition below which a call stays on the caller's thread.
_FLOPS_PER_THREAD = 1_000_000
#: Points whose tables are made at a time, and channels of a task of a gradient: a cache line of float32.
_POINTS, _CHANNELS = 1 << 16, 16


@dataclass(frozen=True, slots=True)
class NumbaSample(OnNumba):
    """A kernel of kernels/cpu/sample.py, for one operation."""

    unit: ClassVar[str] = "sample"

    op: str
    family: str
    dtype: str
    done: Callable[[str], None]
    backend: str = "numba"
    preferred: bool = True

    def supports(self, problem: Any) -> Support:
        """Whether the kernel can do it."""
        if isinstance(problem, ResizeProblem) and problem.is_nearest:
            return Support(f"is for sums of neighbours, not for mode {problem.mode!r}")
        return Support()

    def error_bound(self, problem: Any) -> float:
        """Return that of sums in one order; each tap is a term."""
        terms = sampling.terms(problem)
        if isinstance(problem, GridSampleProblem):
            terms = max(terms, problem.taps**problem.rank + problem.c)
        return (terms + 16) * EPSILON[self.dtype]

    def estimate(self, problem: Any, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return 3 * cost.resample_seconds(problem, machine)

    def workspace(self, call: Call) -> int | None:
        """Return copies with channels last, or what is between two axes."""
        problem, item = call.problem, ITEM_BYTES[self.dtype]
        if isinstance(problem, AffineGridProblem):
            return 0
        total = 2 * (math.prod(problem.x_shape) + math.prod(problem.out_shape)) * item
        return total if total <= call.max_workspace else None

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem = call.problem
        threads = max(1, min(call.threads, problem.flops // _FLOPS_PER_THREAD))
        name, done = self.kernel_name, self.done

        def share(n: int, work: Callable[[int, int], int]) -> None:
            # nothing to do is done as well
            run_tasks(name, n, max(1, min(threads, n)), work, done)

        if isinstance(problem, ResizeProblem):
            return _resize(problem, _NUMPY[self.dtype], share)
        if isinstance(problem, AffineGridProblem):
            return _affine(call, share)
        return _grid(problem, _NUMPY[self.dtype], share)


Share = Callable[[int, Callable[[int, int], int]], None]


def _resize(problem: ResizeProblem, dtype: np.dtype[Any], share: Share) -> Runner:
    tables = []
    for axis in range(len(problem.spatial)):
        taps = sampling.taps_of(problem, axis)
        if not taps.same:
            tables.append((axis, taps.begin, taps.element, taps.weight.astype(dtype)))

    def run(packed: Packed, x: Array, out: Array) -> bool:
        # channels innermost where they are in memory
        last = x.ndim > 2 and x.strides[1] == x.itemsize and x.shape[1] > 1
        values = np.moveaxis(x, 1, -1) if last else x
        for axis, begin, index, weight in tables:
            at = axis + (1 if last else 2)
            shape = values.shape
            source = np.ascontiguousarray(values).reshape(math.prod(shape[:at]), shape[at], math.prod(shape[at + 1 :]))
            found = np.empty((source.shape[0], begin.size - 1, source.shape[2]), dtype)

            def work(
                a: int, b: int, source: Array = source, begin: Array = begin, index: Array = index,
                weight: Array = weight, found: Array = found,
            ) -> int:  # fmt: skip
                return int(sample.resample_axis(source, begin, index, weight, a, b, found))

            share(found.shape[0] * found.shape[1], work)
            values = found.reshape(*shape[:at], begin.size - 1, *shape[at + 1 :])
        out[...] = np.moveaxis(values, -1, 1) if last else values
        if not tables:
            share(1, lambda a, b: b - a)
        return True

    return run


def _grid(problem: GridSampleProblem, dtype: np.dtype[Any], share: Share) -> Runner:
    rank, points, c = problem.rank, problem.points, problem.c
    sizes = (1, *problem.spatial) if rank == 2 else problem.spatial
    taps = np.array([1 if rank == 2 else problem.taps, problem.taps, problem.taps])
    slopes = problem.argument == "grid"

    def tables(places: Array) -> tuple[Array, ...]:
        """Return index, weight and slope by axis (d, h, w), tap and point."""
        count = len(places)
        index = np.zeros((3, problem.taps, count), np.int64)
        weight, slope = np.ones((3, problem.taps, count), dtype), np.zeros((3, problem.taps, count), dtype)
        for axis in range(rank):
            for t, found in enumerate(grid_taps(problem, axis, places[:, rank - 1 - axis])):
                index[3 - rank + axis, t], weight[3 - rank + axis, t], slope[3 - rank + axis, t] = found
        return index, weight, slope

    def run(packed: Packed, *given: Array) -> bool:
        arrays = dict(zip([a.name for a in (*problem.inputs, *problem.outputs)], given, strict=True))
        grid, out = arrays["grid"].reshape(problem.n, points, rank), arrays["out"]
        result = out.reshape(problem.n, points, rank) if slopes else None
        if slopes and not np.may_share_memory(result, out):
            result = np.empty((problem.n, points, rank), dtype)
        for n in range(problem.n):
            if problem.argument == "x":
                pixels = np.zeros((*sizes, c), dtype)
            else:
                pixels = np.ascontiguousarray(arrays["x"][n].reshape(c, *sizes).transpose(1, 2, 3, 0))
            wide = arrays["grad_output"] if problem.argument else out
            values = np.ascontiguousarray(wide[n].reshape(c, points).T) if problem.argument else None
            found = np.empty((points, c), dtype) if not problem.argument else None
            for first in range(0, max(1, points), _POINTS):
                some = slice(first, min(points, first + _POINTS))
                index, weight, slope = tables(grid[n, some])
                g = None if values is None else values[some]
                to = None if found is None else found[some]
                along = None if result is None else result[n, some]

                def work(
                    a: int, b: int, pixels: Array = pixels, index: Array = index, weight: Array = weight,
                    slope: Array = slope, g: Array | None = g, to: Array | None = to, along: Array | None = along,
                ) -> int:  # fmt: skip
                    if problem.argument == "x":
                        channels = a * _CHANNELS, min(c, b * _CHANNELS)
                        sample.grid_backward_x(pixels, index, weight, taps, *channels, g)
                        return b - a
                    if slopes:
                        return int(sample.grid_backward_grid(pixels, index, weight, slope, taps, g, a, b, along))
                    return int(sample.grid_forward(pixels, index, weight, taps, a, b, to))

                share(-(-c // _CHANNELS) if problem.argument == "x" else some.stop - some.start, work)
            if problem.argument == "x":
                out[n] = pixels.transpose(3, 0, 1, 2).reshape(c, *problem.spatial)
            elif found is not None:
                out[n] = found.T.reshape(c, *problem.out_spatial)
        if result is not None and not np.may_share_memory(result, out):
            out[...] = result.reshape(out.shape)
        return True

    return run


def _affine(call: Call, share: Share) -> Runner:
    problem: AffineGridProblem = call.problem
    sizes = (*(1,) * (3 - problem.rank), *problem.spatial)
    along = tuple(sampling.along(size, align_corners=problem.align_corners) for size in sizes)
    shape = (problem.n, *sizes, problem.rank)

    def forward(packed: Packed, theta: Array, out: Array) -> bool:
        found = np.empty(shape, out.dtype)
        share(problem.n * sizes[0] * sizes[1], lambda a, b: int(sample.affine_forward(theta, along, a, b, found)))
        out[...] = found.reshape(out.shape)
        return True

    def backward(packed: Packed, g: Array, out: Array) -> bool:
        given = np.ascontiguousarray(g).reshape(shape)
        found = np.empty(problem.theta_shape, out.dtype)
        share(problem.n, lambda a, b: int(sample.affine_backward(given, along, a, b, found)))
        out[...] = found
        return True

    return backward if problem.gradient else forward


def algorithms(done: Callable[[str], None]) -> Iterator[NumbaSample]:
    """Every kernel, for each operation and element type; ``done`` notes which one has run."""
    families = {
        "separable": ("interpolate", "interpolate-grad-x"),
        "grid": ("grid_sample", "grid_sample-grad-x", "grid_sample-grad-grid"),
        "affine": ("affine_grid", "affine_grid-grad-theta"),
    }
    for family, ops in families.items():
        for op in ops:
            for dtype in _NUMPY:
                yield NumbaSample(op, family, dtype, done)
