"""The GPU kernels of pooling and un-pooling as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..algorithm import Call, Packed, Runner, Support
from ..errors import InvalidProblem
from ..problem import FLOATS, PoolProblem, UnpoolProblem
from . import pooling
from .gpu import EPSILON, OnCuda, Place, plain_steps, steps, three, why_not

__all__ = ["CudaPool", "algorithms"]

#: What kernels/cuda/pool.py says of indices.
_INSIDE, _OUTSIDE = 0, 2


def _padded(problem: PoolProblem) -> list[int]:
    """Return what kernels count along the axes besides elements."""
    if problem.adaptive is not None:
        sizes = zip(problem.spatial, problem.out_spatial, strict=True)
        return [size * (out + 1) + max(size, out) for size, out in sizes]
    axes = zip(problem.spatial, problem.padding, problem.stride, problem.kernel, problem.dilation, strict=True)
    return [(size + sum(pad)) * stride + k * d for size, pad, stride, k, d in axes]


def _has_empty_windows(problem: PoolProblem) -> bool:
    """Whether a window has no tap in x."""
    if problem.adaptive is not None:
        return False
    for size, out, k, stride, dilation, (before, _) in zip(
        problem.spatial, problem.out_spatial, problem.kernel, problem.stride, problem.dilation, problem.padding,
        strict=True,
    ):  # fmt: skip
        for o in range(out):
            start = o * stride - before
            first = start + max(0, -(start // dilation)) * dilation
            if first >= min(size, start + k * dilation):
                return True
    return False


def _waits_for(place: Place, found: Any, problem: PoolProblem | UnpoolProblem) -> int:
    """Return what a kernel found of the indices, refusing those that lie outside."""
    state = place.get(found)
    if state == _OUTSIDE:
        raise InvalidProblem(pooling.bad_index(problem))
    return state


@dataclass(frozen=True, slots=True)
class CudaPool(OnCuda):
    """A kernel of kernels/cuda/pool.py."""

    unit: ClassVar[str] = "pool"

    def supports(self, problem: PoolProblem | UnpoolProblem) -> Support:
        """Whether the kernel can do it."""
        if isinstance(problem, UnpoolProblem):
            return Support(why_not(problem))
        if self.op.startswith("max") and problem.gradient and not problem.indices and _has_empty_windows(problem):
            return Support("needs the indices where a window holds no element of x")
        return Support(why_not(problem, *_padded(problem)))

    def error_bound(self, problem: PoolProblem | UnpoolProblem) -> float:
        """Return that of sums."""
        return pooling.error_bound(problem, EPSILON[self.dtype])

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory; it waits only to look at indices that the caller gave."""
        if isinstance(call.problem, UnpoolProblem):
            return self._unpool_gradient(call.problem) if call.problem.gradient else self._unpool(call.problem)
        return self._pool(call.problem)

    def _pool(self, problem: PoolProblem) -> Runner:
        real, last, adaptive = self.real, problem.channels_last, problem.adaptive is not None
        average = problem.kind == "avg"
        before = three(tuple(pad for pad, _ in problem.padding), 0)
        after = three(tuple(pad for _, pad in problem.padding), 0)
        window = three(problem.kernel), three(problem.out_spatial), three(problem.stride)
        shape = problem.n, problem.c, *three(problem.spatial), *(size for axis in window for size in axis)
        sizes = (*shape, *(() if average else three(problem.dilation)), *before, *(after if average else ()))
        large, small = math.prod(problem.x_shape), math.prod(problem.out_shape)
        divisor = self.number(problem.divisor or 0)
        words = real, problem.count_include_pad, problem.divisor is not None, last, adaptive

        def forward(packed: Packed, x: Any, out: Any, indices: Any = None) -> bool:
            place = Place.of(out)
            if average:
                place.run("pool.avg_pool", words, small, sizes, steps(x, out), divisor, x, out)
            else:
                kind = real, indices is not None, last, adaptive
                place.run("pool.max_pool", kind, small, sizes, steps(x, out, indices), x, out, indices)
            return self.done()

        def average_gradient(packed: Packed, grad_output: Any, out: Any) -> bool:
            of_both = steps(grad_output, out)
            Place.of(out).run("pool.grad_avg", words, large, sizes, of_both, divisor, grad_output, out)
            return self.done()

        def maximum_gradient(packed: Packed, grad_output: Any, x: Any, indices: Any, out: Any) -> bool:
            place, word = Place.of(out), "pool.grad_max"
            if indices is not None:
                found, of_indices = place.put(np.array([_INSIDE], np.int32)), steps(indices)
                kind = last, adaptive
                place.run("pool.check_indices", kind, small, sizes, of_indices, indices, found)
                if _waits_for(place, found, problem) != _INSIDE:
                    word = "pool.grad_max_anywhere"
            else:
                indices, values = place.scratch(small, "int64"), place.scratch(small, self.dtype)
                of_indices = plain_steps(problem.out_shape)
                found_by = real, True, last, adaptive
                of_all = (*steps(x), *of_indices, *of_indices)
                place.run("pool.max_pool", found_by, small, sizes, of_all, x, values, indices)
            more = (*steps(grad_output), *of_indices, *steps(out))
            how = (real, last) if word.endswith("anywhere") else (real, last, adaptive)
            place.run(word, how, large, sizes, more, grad_output, indices, out)
            return self.done()

        if not problem.gradient:
            return forward
        return average_gradient if average else maximum_gradient

    def _unpool(self, problem: UnpoolProblem) -> Runner:
        large, small = (problem.c, *three(problem.spatial)), (problem.c, *three(problem.out_spatial))
        elements, few = math.prod(problem.x_shape), math.prod(problem.out_shape)
        sizes = few, math.prod(problem.out_spatial), math.prod(problem.spatial)

        def run(packed: Packed, x: Any, indices: Any, out: Any) -> bool:
            place = Place.of(out)
            found = place.put(np.array([_INSIDE], np.int32))
            owners = place.scratch(elements, "int32")
            place.run("fill.fill", (), elements, elements, -1, owners)
            place.run("pool.unpool_owners", (), few, sizes, small, steps(indices), indices, owners, found)
            _waits_for(place, found, problem)
            place.run("pool.unpool", (self.real,), elements, elements, large, small, steps(x, out), owners, x, out)
            return self.done()

        return run

    def _unpool_gradient(self, problem: UnpoolProblem) -> Runner:
        large, small = (problem.c, *three(problem.spatial)), (problem.c, *three(problem.out_spatial))
        few = math.prod(problem.out_shape)

        def run(packed: Packed, grad_output: Any, indices: Any, out: Any) -> bool:
            place = Place.of(out)
            found = place.put(np.array([_INSIDE], np.int32))
            of_all = steps(grad_output, indices, out)
            arrays = grad_output, indices, found, out
            place.run("pool.grad_unpool", (self.real,), few, few, large, small, of_all, *arrays)
            _waits_for(place, found, problem)
            return self.done()

        return run


def algorithms() -> Iterator[CudaPool]:
    """Every kernel, for each operation and element type."""
    for dtype in FLOATS:
        for rank in (1, 2, 3):
            for kind in ("max", "avg"):
                for form in ("", "adaptive_"):
                    yield CudaPool(f"{form}{kind}_pool{rank}d", "gather", dtype)
                    yield CudaPool(f"{form}{kind}_pool{rank}d-grad-x", "gather", dtype)
            yield CudaPool(f"max_unpool{rank}d", "gather", dtype)
            yield CudaPool(f"max_unpool{rank}d-grad-x", "gather", dtype)
