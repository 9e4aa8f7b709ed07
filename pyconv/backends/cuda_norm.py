"""The GPU kernels of batch normalisation and of the activations by themselves as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..algorithm import Call, Packed, Runner, Support
from ..problem import ACTIVATIONS, FLOATS, ElementwiseProblem, NormProblem
from . import layers
from .gpu import Flat, OnCuda, Place, steps, strides_of, three, why_not

__all__ = ["algorithms"]


def _vector_steps(*vectors: Any) -> tuple[int, ...]:
    """Return where the first value of each vector lies and its stride; scratch is in order."""
    found: list[int] = []
    for vector in vectors:
        found += (0, 1) if vector is None or isinstance(vector, Flat) else strides_of(vector)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class CudaNorm(OnCuda):
    """The kernels of kernels/cuda/norm.py and channel_sums.py, for one operation."""

    unit: ClassVar[str] = "norm"

    def supports(self, problem: NormProblem) -> Support:
        """Whether the kernel can do it."""
        if len(problem.shape) > 5:
            return Support("needs at most three axes behind the channels")
        return Support(why_not(problem, 1024 * problem.channels))

    def error_bound(self, problem: NormProblem) -> float:
        """Return that of sums in blocks."""
        return layers.error_bound(problem)

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        problem: NormProblem = call.problem
        return self._gradient(problem) if problem.gradient else self._forward(problem)

    @staticmethod
    def _sums(problem: NormProblem, place: Place, what: str, divisor: int, x: Any, y: Any, mean: Any) -> Flat:
        """Return the sum of each channel, in float64, divided."""
        import numba

        from ..kernels.cuda.channel_sums import parts_of

        channels, parts = problem.channels, parts_of(problem.channels, problem.count)
        sizes = channels, *three(tuple(problem.shape[2:])), problem.shape[0], parts
        found, joined = place.scratch(parts * channels, "f64"), place.scratch(channels, "f64")
        words = numba.float64, what
        of_arrays = sizes, steps(x, y), x, y, mean if mean is not None else found, found
        place.launch("channel_sums.channel_sums", words, channels * parts, *of_arrays)
        place.run("norm.join", (), channels, (parts, channels), np.float64(divisor), found, joined)
        return joined

    def _statistics(self, problem: NormProblem, place: Place, x: Any) -> tuple[Flat, Flat]:
        """Return mean and variance of each channel in float64."""
        mean = self._sums(problem, place, "values", problem.count, x, None, None)
        return mean, self._sums(problem, place, "squares", problem.count, x, None, mean)

    def _forward(self, problem: NormProblem) -> Runner:
        sizes = problem.shape[0], problem.channels, *three(tuple(problem.shape[2:]))
        elements, eps = math.prod(problem.shape), np.float64(problem.eps)
        words = self.real, problem.weight, problem.bias
        channels = 1, 1, 1, 1, 1, problem.channels

        def normalize(place: Place, x: Any, mean: Any, var: Any, weight: Any, bias: Any, out: Any) -> None:
            vectors = mean, var, weight, bias
            of_arrays = sizes, steps(x, out), _vector_steps(*vectors), eps
            place.run("norm.normalize", words, elements, *of_arrays, x, *vectors, out)

        def deliver(place: Place, vector: Flat, out: Any) -> None:
            """Store a vector in the type of an array."""
            import numba

            start, step = strides_of(out)
            of_out = start, 0, 0, 0, 0, step
            place.run("grad_weight.sum_parts", (numba.float64,), problem.channels, channels, of_out, vector, out)

        def infer(packed: Packed, x: Any, mean: Any, var: Any, weight: Any, bias: Any, out: Any) -> bool:
            normalize(Place.of(out), x, mean, var, weight, bias, out)
            return self.done()

        # the variance that is kept is the unbiased one
        share, unbiased = problem.momentum, problem.count / max(1, problem.count - 1)

        def update(place: Place, own: Flat, factor: float, running: Any) -> None:
            of_running = problem.channels, *strides_of(running)
            numbers = np.float64(1 - share), np.float64(share * factor)
            place.run("norm.update", (), problem.channels, of_running, *numbers, own, running)

        def train(
            packed: Packed, x: Any, weight: Any, bias: Any, out: Any, out_mean: Any, out_var: Any, *running: Any
        ) -> bool:
            if not problem.count:  # nothing to normalise, and no statistics
                return self.done()
            place = Place.of(out)
            mean, var = self._statistics(problem, place, x)
            normalize(place, x, mean, var, weight, bias, out)
            deliver(place, mean, out_mean)
            deliver(place, var, out_var)
            for own, factor, target in zip((mean, var), (1.0, unbiased), running, strict=False):
                if target is not None:
                    update(place, own, factor, target)
            return self.done()

        def stats(packed: Packed, x: Any, out: Any, out_var: Any) -> bool:
            place = Place.of(out)
            mean, var = self._statistics(problem, place, x)
            deliver(place, mean, out)
            deliver(place, var, out_var)
            return self.done()

        ways: dict[str, Runner] = {"infer": infer, "train": train, "stats": stats}
        return ways[problem.kind]

    def _gradient(self, problem: NormProblem) -> Runner:
        sizes = problem.shape[0], problem.channels, *three(tuple(problem.shape[2:]))
        elements, eps = math.prod(problem.shape), np.float64(problem.eps)

        def run(packed: Packed, grad_output: Any, x: Any, *rest: Any) -> bool:
            vectors, results = rest[: 1 if problem.own else 3], rest[1 if problem.own else 3 :]
            place = Place.of(grad_output)
            mean, var = self._statistics(problem, place, x) if problem.own else vectors[:2]
            weight = vectors[-1]
            middle = mean
            if not problem.own:
                # in float64, as the sums read it
                middle = self._widened(problem, place, mean)
            totals = self._sums(problem, place, "values", 1, grad_output, None, None)
            products = self._sums(problem, place, "products", 1, grad_output, x, middle)
            if problem.wants_x:
                out = results[0]
                given = mean, var, weight
                words = self.real, problem.own, problem.scaled
                of_arrays = sizes, steps(grad_output, x, out), _vector_steps(*given), eps, np.float64(problem.count)
                place.run("norm.grad_x", words, elements, *of_arrays, grad_output, x, *given, totals, products, out)
            of_weight, of_bias = results[-2:]
            if of_weight is not None or of_bias is not None:
                words = self.real, of_weight is not None, of_bias is not None
                of_vectors = _vector_steps(var, of_weight, of_bias)
                arrays = var, totals, products, of_weight, of_bias
                place.run("norm.grad_vectors", words, problem.channels, problem.channels, of_vectors, eps, *arrays)
            return self.done()

        return run

    @staticmethod
    def _widened(problem: NormProblem, place: Place, vector: Any) -> Flat:
        """Return a vector in float64."""
        found = place.scratch(problem.channels, "f64")
        start, step = strides_of(vector)
        place.run("norm.widen", (), problem.channels, (problem.channels, start, step), vector, found)
        return found


@dataclass(frozen=True, slots=True)
class CudaElementwise(OnCuda):
    """A kernel of kernels/cuda/elementwise.py, for one activation."""

    unit: ClassVar[str] = "layer"

    def supports(self, problem: ElementwiseProblem) -> Support:
        """Whether the kernel can do it."""
        return Support("needs at most five axes" if len(problem.shape) > 5 else why_not(problem))

    def error_bound(self, problem: ElementwiseProblem) -> float:
        """Return that of the functions of a few ulp."""
        return layers.error_bound(problem)

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        problem: ElementwiseProblem = call.problem
        before = 5 - len(problem.shape)
        sizes = (*(1,) * before, *problem.shape)
        name = f"elementwise.{'backward' if problem.gradient else 'forward'}"
        slope = self.number(problem.slope)

        def run(packed: Packed, *arrays: Any) -> bool:
            of_arrays: list[int] = []
            for array in arrays:
                start, *strides = strides_of(array)
                of_arrays += (start, *(0,) * before, *strides)
            words = self.real, problem.activation
            Place.of(arrays[0]).run(name, words, math.prod(sizes), sizes, tuple(of_arrays), slope, *arrays)
            return self.done()

        return run


def algorithms() -> Iterator[OnCuda]:
    """Every kernel, for each operation and element type."""
    for dtype in FLOATS:
        for name in ACTIVATIONS:
            for op in (name, f"{name}-grad-x"):
                yield CudaElementwise(op, "elementwise", dtype)
        for op in ("batch_norm", "batch_norm_stats", "batch_norm-grad-x", "batch_norm-grad-weight"):
            yield CudaNorm(op, "channelwise", dtype)
