"""The GPU kernels of pooling by p-norms as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..algorithm import Call, Packed, Runner, Support
from ..problem import FLOATS, PoolProblem
from . import pooling
from .gpu import EPSILON, OnCuda, Place, plain_steps, steps, three, why_not

__all__ = ["algorithms"]

#: Roundings of a power by libdevice, and of what it is taken of.
_POWERS = 20


@dataclass(frozen=True, slots=True)
class CudaNormPool(OnCuda):
    """A kernel of kernels/cuda/pool_norm.py."""

    unit: ClassVar[str] = "pool"

    def supports(self, problem: PoolProblem) -> Support:
        """Whether the kernel can do it."""
        axes = zip(problem.spatial, problem.stride, problem.kernel, strict=True)
        return Support(why_not(problem, *(size * stride + k for size, stride, k in axes)))

    def error_bound(self, problem: PoolProblem) -> float:
        """Return that of sums, and of powers."""
        return pooling.error_bound(problem, EPSILON[self.dtype]) + _POWERS * EPSILON[self.dtype]

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        problem: PoolProblem = call.problem
        real, last, p = self.real, problem.channels_last, problem.norm
        window = *three(problem.kernel), *three(problem.out_spatial), *three(problem.stride)
        sizes = problem.n, problem.c, *three(problem.spatial), *window
        large, small = math.prod(problem.x_shape), math.prod(problem.out_shape)
        # the norms in scratch are in the order of threads, which is that of memory
        in_order = _steps_in_order(problem.out_shape, last)
        sums = "f64" if self.dtype == "f64" else "f32"

        def forward(packed: Packed, x: Any, out: Any) -> bool:
            Place.of(out).run("pool_norm.lp_pool", (real, p, last, False), small, sizes, steps(x, out), x, out)
            return self.done()

        def gradient(packed: Packed, grad_output: Any, x: Any, out: Any) -> bool:
            place = Place.of(out)
            norms = place.scratch(small, sums)
            place.run("pool_norm.lp_pool", (real, p, last, True), small, sizes, (*steps(x), *in_order), x, norms)
            of_all = *steps(grad_output, x), *in_order, *steps(out)
            place.run("pool_norm.grad_lp", (real, p, last), large, sizes, of_all, grad_output, x, norms, out)
            return self.done()

        return gradient if problem.gradient else forward


def _steps_in_order(shape: tuple[int, ...], channels_last: bool) -> tuple[int, ...]:
    """Return the steps of an array in memory order."""
    if not channels_last:
        return plain_steps(shape)
    _, c, *spatial = shape
    found = [c]
    for size in reversed(spatial):
        found.append(found[-1] * size)
    *inner, image = found
    return (0, image, 1, *(0,) * (3 - len(spatial)), *reversed(inner))


def algorithms() -> Iterator[CudaNormPool]:
    """Every kernel, for each operation and element type."""
    for dtype in FLOATS:
        for rank in (1, 2, 3):
            for op in (f"lp_pool{rank}d", f"lp_pool{rank}d-grad-x"):
                yield CudaNormPool(op, "gather", dtype)
