"""The Numba kernels of the gradients of weights and bias as algorithms: the twins of csrc/grad_*.inc.c.

Not for float16, which Numba does not compute with on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .. import cost
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..kernels.cpu import grad_direct, grad_plan, simd, threads, tile
from ..kernels.winograd_matrices import Variant
from ..problem import AXES, ITEM_BYTES, ConvBiasProblem, ConvWeightProblem
from . import gradients, numba_cpu

__all__ = ["algorithms"]

#: What each family's kernel is, and what links a record to the functions that it calls.
_FUNCTIONS = {
    "direct": (grad_direct, "grad_direct", grad_direct.link_grad_direct),
}


@lru_cache(maxsize=256)
def _cut(call: Call, family: str) -> Any:
    """Return the kernel's record of the call with its blocking, or None where the scratch limit is too small."""
    problem = call.problem
    limit = call.max_workspace // numba_cpu.WORKERS_IN_LIMIT
    conv = problem.conv
    large, small, out = (numba_cpu.steps_of(conv, call.strides(name)) for name in (problem.large, problem.small, "out"))
    described = grad_plan.Gradient(
        item_bytes=ITEM_BYTES[problem.dtype],
        n=conv.n,
        groups=conv.groups,
        c_in=conv.c_in // conv.groups,
        c_out=conv.c_out // conv.groups,
        **numba_cpu.axes_of(conv),
        ld_x=large,
        ld_out=small,
        ld_w=out,
        padding_mode=tile.PADDING_MODES.index(conv.padding_mode),
    )
    return grad_plan.plan_gradient(described, family, limit)


@dataclass(frozen=True, slots=True)
class _NumbaGradient:
    """A kernel of the gradients of kernels/cpu/."""

    op: str
    family: str
    dtype: str
    backend: str = "numba"
    preferred: bool = True

    @property
    def id(self) -> str:
        """Return op.family.dtype@numba."""
        return f"{self.op}.{self.family}.{self.dtype}@numba"

    @property
    def kernel_name(self) -> str:
        """Return what ``last_kernel`` says after this algorithm has run."""
        return f"grad_{self.family.replace('-', '_')}_{self.dtype}__numba"

    @property
    def lanes(self) -> int:
        """Return the elements of a vector."""
        return simd.VECTOR_BYTES // ITEM_BYTES[self.dtype]

    def packing(self, problem: Any) -> str:
        """Return "plain": there are no weights."""
        return "plain"

    def prepare(self, problem: Any, *weights: Array | None) -> Packed:
        """Return nothing: there are no weights."""
        return None

    @staticmethod
    def _threads(call: Call, p: Any) -> int:
        by_memory = (call.max_workspace - int(p["shared_bytes"])) // max(1, int(p["scratch_bytes"]))
        by_work = call.problem.flops // numba_cpu.FLOPS_PER_THREAD
        return int(max(1, min(call.threads, by_memory, by_work, int(p["n_tasks"]))))


@dataclass(frozen=True, slots=True)
class NumbaWeightGradient(_NumbaGradient):
    """A kernel of the gradient of weights."""

    variant: Variant | None = None

    def supports(self, problem: ConvWeightProblem) -> Support:
        """Whether the kernel can do it."""
        return gradients.supports(problem, self.family, self.variant)

    def accuracy(self, problem: ConvWeightProblem) -> str:
        """Return "strict" for direct sums."""
        return gradients.accuracy(problem, self.variant)

    def error_reach(self, problem: ConvWeightProblem) -> int:
        """Return how far beyond a pixel the error bound looks for the largest values."""
        return gradients.error_reach(self.variant)

    def estimate(self, problem: ConvWeightProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return gradients.estimate(problem, machine, self.family, self.variant)

    def error_bound(self, problem: ConvWeightProblem) -> float:
        """(K + 2) eps for K pixels, or Winograd's."""
        return gradients.weight_error_bound(problem, self.variant, numba_cpu.EPSILON[self.dtype])

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if 0 in call.problem.conv.w_shape:
            return 0
        params = _cut(call, self.family)
        if params is None:
            return None
        p = params[0]
        return int(p["shared_bytes"]) + int(p["scratch_bytes"]) * self._threads(call, p)

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs.

        Compiles the register tiles that this cut needs, where no earlier one did.
        """
        if 0 in call.problem.conv.w_shape:
            return gradients.nothing
        params = _cut(call, self.family).copy()
        record = params[0]
        module, kernel, link = _FUNCTIONS[self.family]
        link(record, numba_cpu.REAL[self.dtype])
        phases = module.phases(record, self._threads(call, record))
        transposed = call.problem.transposed
        sum_all = _runner(self, params, getattr(module, kernel), phases)

        def run(packed: Packed, grad_output: Array, x: Array, out: Array) -> bool:
            return sum_all(*((grad_output, x) if transposed else (x, grad_output)), out)

        return run


def _runner(algorithm: _NumbaGradient, params: Any, function: Any, phases: list[threads.Phase]) -> Any:
    """Return the function that has the phases of a kernel done for x, dY and the result."""
    record, item, name = params[0], ITEM_BYTES[algorithm.dtype], algorithm.kernel_name
    shared_bytes, size = int(record["shared_bytes"]), int(record["scratch_bytes"])
    like = numba_cpu.SCALAR[algorithm.dtype](0)
    whole = shared_bytes + size * max(shares for _, _, shares in phases)

    def run(x: Array | None, grad_output: Array, out: Array) -> bool:
        arrays = numba_cpu.address(x), numba_cpu.address(grad_output), numba_cpu.address(out)
        if (arrays[0] | arrays[1] | arrays[2]) % item:
            return False
        memory = numba_cpu.scratch(whole)
        shared = numba_cpu.address(memory)
        own = shared + shared_bytes
        for (stage,), n_tasks, shares in phases:
            done = [0] * shares

            def work(share: int, n: int = n_tasks, of: int = shares, stage: int = stage, done: Any = done) -> None:
                first, last = n * share // of, n * (share + 1) // of
                done[share] = function(params, first, last, *arrays, own + share * size, shared, like, stage)

            threads.run_shares(work, shares)
            if sum(done) != n_tasks:
                raise RuntimeError(f"{name} did {sum(done)} of {n_tasks} tasks")
        numba_cpu.note_kernel(name)
        return True

    return run


def algorithms() -> Iterator[NumbaWeightGradient]:
    """Every kernel of the gradients, for each operation that it serves."""
    for family in _FUNCTIONS:
        for dtype in numba_cpu.REAL:
            for op in gradients.operations(family, None):
                yield NumbaWeightGradient(op, family, dtype)
