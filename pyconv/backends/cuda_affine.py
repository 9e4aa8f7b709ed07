"""The GPU kernels of the places of affine transforms as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..algorithm import Call, Packed, Runner, Support
from ..problem import FLOATS, AffineGridProblem
from .gpu import EPSILON, OnCuda, Place, strides_of, why_not

__all__ = ["algorithms"]


@dataclass(frozen=True, slots=True)
class CudaAffine(OnCuda):
    """A kernel of kernels/cuda/affine.py."""

    unit: ClassVar[str] = "sample"

    def supports(self, problem: AffineGridProblem) -> Support:
        """Whether the kernel can do it."""
        return Support(why_not(problem, *(2 * size for size in problem.spatial), 1024 * problem.n))

    def error_bound(self, problem: AffineGridProblem) -> float:
        """Return one rounding for each coordinate, product and sum; of the gradient for each step of the longest."""
        from ..kernels.cuda.channel_sums import depth_of

        deep = depth_of(problem.n, math.prod(problem.spatial)) if problem.gradient else problem.rank + 1
        return (deep + 4) * EPSILON[self.dtype]

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        from ..kernels.cuda.channel_sums import parts_of

        problem: AffineGridProblem = call.problem
        n, rank = problem.n, problem.rank
        spatial, places = (*(1,) * (3 - rank), *problem.spatial), math.prod(problem.spatial)
        words = self.real, problem.align_corners, rank
        parts, sums = parts_of(n, places), rank * (rank + 1)

        def of_places(array: Any) -> tuple[int, ...]:
            start, of_n, *of_spatial, number = strides_of(array)
            return (start, of_n, *(0,) * (3 - rank), *of_spatial, number)

        def forward(packed: Packed, theta: Any, out: Any) -> bool:
            of_both = *strides_of(theta), *of_places(out)
            Place.of(out).run("affine.forward", words, n * places, (n, *spatial), of_both, theta, out)
            return self.done()

        def gradient(packed: Packed, grad_output: Any, out: Any) -> bool:
            place = Place.of(out)
            found = place.scratch(parts * n * sums, "f64" if self.dtype == "f64" else "f32")
            sizes = n, *spatial, parts
            place.launch("affine.grad_theta", words, n * parts, sizes, of_places(grad_output), grad_output, found)
            start, of_n, of_j, of_k = strides_of(out)
            shape, steps = (parts, n, rank, 1, 1, rank + 1), (start, of_n, of_j, 0, 0, of_k)
            place.run("grad_weight.sum_parts", (self.real,), n * sums, shape, steps, found, out)
            return self.done()

        return gradient if problem.gradient else forward


def algorithms() -> Iterator[CudaAffine]:
    """Every kernel, for each operation and element type."""
    for dtype in FLOATS:
        for op in ("affine_grid", "affine_grid-grad-theta"):
            yield CudaAffine(op, "affine", dtype)
