"""The GPU kernels of resizing and of maps at places as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..algorithm import Call, Packed, Runner, Support
from ..problem import FLOATS, GridSampleProblem, ResizeProblem
from ..reference import nearest_index
from . import sampling
from .gpu import OnCuda, Place, steps, strides_of, three, why_not

__all__ = ["algorithms"]


def _taps_of(problem: ResizeProblem, axis: int) -> sampling.Taps:
    """Return an axis' taps, also of nearest neighbours."""
    if not problem.is_nearest:
        return sampling.taps_of(problem, axis)
    element = nearest_index(problem, axis)
    begin, ones = np.arange(element.size + 1), np.ones(element.size)
    if not problem.gradient:
        return sampling.Taps(begin, element, ones)
    order = np.argsort(element, kind="stable")
    return sampling.Taps(np.searchsorted(element[order], np.arange(problem.spatial[axis] + 1)), order, ones)


@dataclass(frozen=True, slots=True)
class CudaSample(OnCuda):
    """A kernel of kernels/cuda/sample.py, for one operation."""

    unit: ClassVar[str] = "sample"

    def supports(self, problem: GridSampleProblem | ResizeProblem) -> Support:
        """Whether the kernel can do it."""
        taps = 0
        if isinstance(problem, ResizeProblem):
            ends = zip(problem.taps, problem.out_spatial, strict=True)
            taps = sum(2 * count * (size + 1) for count, size in ends)
        return Support(why_not(problem, taps))

    def error_bound(self, problem: GridSampleProblem | ResizeProblem) -> float:
        """Return one rounding for each weight, product and sum; nothing where elements only move."""
        if isinstance(problem, ResizeProblem) and problem.is_nearest and not problem.gradient:
            return 0.0
        return sampling.error_bound(problem, self.dtype)

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        return self._resize(call.problem) if isinstance(call.problem, ResizeProblem) else self._sample(call.problem)

    def _resize(self, problem: ResizeProblem) -> Runner:
        rank = len(problem.spatial)
        tables = [_taps_of(problem, axis) for axis in range(rank)]
        tables = [sampling.Taps(np.arange(2), np.zeros(1, np.int64), np.ones(1))] * (3 - rank) + tables
        offsets = np.cumsum([0, *(table.element.size for table in tables[:-1])])
        begins = np.concatenate([table.begin + at for table, at in zip(tables, offsets, strict=True)]).astype(np.int32)
        elements = np.concatenate([table.element for table in tables]).astype(np.int32)
        weights = np.concatenate([table.weight for table in tables]).astype(self.number(0).dtype)
        out_spatial = problem.spatial if problem.gradient else problem.out_spatial
        sizes = problem.n, problem.c, *three(out_spatial)

        def run(packed: Packed, x: Any, out: Any) -> bool:
            place = Place.of(out)
            arrays = x, place.put(begins), place.put(elements), place.put(weights), out
            place.run("sample.resample", (self.real,), math.prod(sizes), sizes, steps(x, out), *arrays)
            return self.done()

        return run

    def _sample(self, problem: GridSampleProblem) -> Runner:
        from ..kernels.cuda.sample import CHANNELS

        words = self.real, problem.mode, problem.padding_mode, problem.align_corners, problem.rank
        sizes = problem.n, problem.c, *three(problem.spatial), *three(problem.out_spatial)
        points = problem.n * problem.points
        sums = "f64" if self.dtype == "f64" else "f32"

        def of_places(array: Any) -> tuple[int, ...]:
            start, n, *spatial, number = strides_of(array)
            return (start, n, *(0,) * (3 - problem.rank), *spatial, number)

        def forward(packed: Packed, x: Any, grid: Any, out: Any) -> bool:
            of_arrays = sizes, steps(x, out), of_places(grid)
            tasks = points * -(-problem.c // CHANNELS)
            Place.of(out).run("sample.grid_forward", words, tasks, *of_arrays, x, grid, out)
            return self.done()

        def gradient_of_x(packed: Packed, grad_output: Any, grid: Any, out: Any) -> bool:
            place, large = Place.of(out), math.prod(problem.x_shape)
            found = place.scratch(large, sums)
            place.run("fill.fill", (), large, large, self.number(0), found)
            if math.prod(problem.out_shape):
                rows, of_arrays = large // problem.spatial[-1], (sizes, steps(grad_output), of_places(grid))
                place.run("sample.grad_x", words, rows, *of_arrays, grad_output, grid, found)
            shape = 1, problem.n, problem.c, *three(problem.spatial)
            place.run("grad_weight.sum_parts", (self.real,), large, shape, steps(out), found, out)
            return self.done()

        def gradient_of_grid(packed: Packed, grad_output: Any, x: Any, grid: Any, out: Any) -> bool:
            of_arrays = sizes, steps(x, grad_output), of_places(grid), of_places(out)
            Place.of(out).run("sample.grad_grid", words, points, *of_arrays, grad_output, x, grid, out)
            return self.done()

        ways: dict[str, Runner] = {"": forward, "x": gradient_of_x, "grid": gradient_of_grid}
        return ways[problem.argument]


def algorithms() -> Iterator[CudaSample]:
    """Every kernel, for each operation and element type."""
    for dtype in FLOATS:
        for op in ("interpolate", "interpolate-grad-x"):
            yield CudaSample(op, "taps", dtype)
        for op in ("grid_sample", "grid_sample-grad-x", "grid_sample-grad-grid"):
            yield CudaSample(op, "grid", dtype)
