"""The GPU kernels of local response normalisation as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..algorithm import Call, Packed, Runner, Support
from ..problem import FLOATS, ResponseProblem
from . import layers
from .gpu import OnCuda, Place, steps, three, why_not

__all__ = ["algorithms"]


@dataclass(frozen=True, slots=True)
class CudaResponse(OnCuda):
    """The kernels of kernels/cuda/response.py."""

    unit: ClassVar[str] = "layer"

    def supports(self, problem: ResponseProblem) -> Support:
        """Whether the kernel can do it."""
        if len(problem.shape) > 5:
            return Support("needs at most three axes behind the channels")
        return Support(why_not(problem))

    def error_bound(self, problem: ResponseProblem) -> float:
        """Return that of sums and powers."""
        return layers.error_bound(problem)

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        problem: ResponseProblem = call.problem
        n, c, *spatial = problem.shape
        sizes = n, c, *three(tuple(spatial)), *problem.window
        elements, words = math.prod(problem.shape), (self.real,)
        numbers = self.number(problem.alpha / problem.size), self.number(problem.beta), self.number(problem.k)
        sums = "f64" if self.dtype == "f64" else "f32"

        def forward(packed: Packed, x: Any, out: Any) -> bool:
            Place.of(out).run("response.forward", words, elements, sizes, steps(x, out), *numbers, x, out)
            return self.done()

        def gradient(packed: Packed, grad_output: Any, x: Any, out: Any) -> bool:
            place = Place.of(out)
            terms = place.scratch(elements, sums)
            of_both, arrays = steps(grad_output, x), (grad_output, x, terms)
            place.run("response.shares", words, elements, sizes, of_both, *numbers, *arrays)
            place.run("response.grad_x", words, elements, sizes, (*of_both, *steps(out)), *numbers, *arrays, out)
            return self.done()

        return gradient if problem.gradient else forward


def algorithms() -> Iterator[CudaResponse]:
    """Every kernel, for each operation and element type."""
    for dtype in FLOATS:
        for op in ("local_response_norm", "local_response_norm-grad-x"):
            yield CudaResponse(op, "response", dtype)
