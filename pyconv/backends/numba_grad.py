"""The Numba kernels of the gradients of weights and bias as algorithms: the twins of csrc/grad_*.inc.c.

Not for float16, which Numba does not compute with on a CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from .. import cost
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..kernels.cpu import (
    grad_depthwise_channels,
    grad_direct,
    grad_pairwise,
    grad_plan,
    grad_planar,
    grad_winograd,
    simd,
    threads,
    tile,
)
from ..kernels.winograd_matrices import VARIANTS, Variant
from ..problem import AXES, ITEM_BYTES, ConvBiasProblem, ConvWeightProblem
from . import gradients, numba_cpu
from .plain import OnNumba

__all__ = ["algorithms"]

#: Bytes below which a bias stays on the caller's thread: it is read as fast as memory goes.
_BIAS_BYTES_PER_THREAD = 1 << 20
#: Each family's module, its kernel there, and what links a record to the functions that it calls.
_FUNCTIONS = {
    "direct": (grad_direct, "grad_direct", grad_direct.link_grad_direct),
    "planar": (grad_planar, "grad_planar", grad_planar.link_grad_planar),
    "depthwise-channels": (
        grad_depthwise_channels,
        "grad_depthwise_channels",
        grad_depthwise_channels.link_grad_depthwise_channels,
    ),
    **dict.fromkeys(
        ("winograd-f2x3", "winograd-f4x3"), (grad_winograd, "grad_winograd", grad_winograd.link_grad_winograd)
    ),
    "pairwise": (grad_pairwise, "grad_pairwise", grad_pairwise.link_grad_pairwise),
}


def _described(call: Call) -> grad_plan.Gradient:
    problem = call.problem
    if isinstance(problem, ConvBiasProblem):
        strides, out = call.strides("grad_output"), call.strides("out")
        assert strides is not None
        assert out is not None
        item, names = ITEM_BYTES[problem.dtype], AXES[problem.rank]
        steps = {name: step // item for name, step in zip(("n", "c", *names), strides, strict=True)}
        axes = {name: tile.Axis() for name in "dhw"}
        axes |= {name: tile.Axis(size=size, out=size) for name, size in zip(names, problem.spatial, strict=True)}
        return grad_plan.Gradient(
            item_bytes=item,
            n=problem.n,
            groups=1,
            c_in=1,
            c_out=problem.c,
            d=axes["d"],
            h=axes["h"],
            w=axes["w"],
            ld_x=tile.Strides(),
            ld_out=tile.Strides(**steps),
            ld_w=tile.Strides(n=out[0] // item),
            padding_mode=0,
        )
    conv, axes = problem.conv, numba_cpu.axes_of(problem.conv)
    large, small, out = (numba_cpu.steps_of(conv, call.strides(name)) for name in (problem.large, problem.small, "out"))
    return grad_plan.Gradient(
        item_bytes=ITEM_BYTES[problem.dtype],
        n=conv.n,
        groups=conv.groups,
        c_in=conv.c_in // conv.groups,
        c_out=conv.c_out // conv.groups,
        d=axes["d"],
        h=axes["h"],
        w=axes["w"],
        ld_x=large,
        ld_out=small,
        ld_w=out,
        padding_mode=tile.PADDING_MODES.index(conv.padding_mode),
    )


@lru_cache(maxsize=256)
def _cut(call: Call, family: str) -> Any:
    """Return the kernel's record of the call with its blocking, or None where the scratch limit is too small."""
    limit = call.max_workspace // numba_cpu.WORKERS_IN_LIMIT
    params = grad_plan.plan_gradient(_described(call), family, limit)
    if params is None or int(params[0]["shared_bytes"]) > call.max_workspace:
        return None
    return params


@dataclass(frozen=True, slots=True)
class _NumbaGradient(OnNumba):
    """A kernel of the gradients of kernels/cpu/."""

    unit: ClassVar[str] = "grad"

    op: str
    family: str
    dtype: str
    backend: str = "numba"
    preferred: bool = True

    @property
    def lanes(self) -> int:
        """Return the elements of a vector."""
        return simd.VECTOR_BYTES // ITEM_BYTES[self.dtype]

    def _threads(self, call: Call, p: Any) -> int:
        by_memory = (call.max_workspace - int(p["shared_bytes"])) // max(1, int(p["scratch_bytes"]))
        return int(max(1, min(call.threads, by_memory, self._useful_threads(call.problem), int(p["n_tasks"]))))

    def _useful_threads(self, problem: Any) -> int:
        raise NotImplementedError

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if 0 in call.problem.outputs[0].shape:
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
        if 0 in call.problem.outputs[0].shape:
            return gradients.nothing
        params = _cut(call, self.family).copy()
        record, item, name = params[0], ITEM_BYTES[self.dtype], self.kernel_name
        module, kernel, link = _FUNCTIONS[self.family]
        link(record, numba_cpu.REAL[self.dtype])
        function, like = getattr(module, kernel), numba_cpu.SCALAR[self.dtype](0)
        n_threads = self._threads(call, record)
        phases = [threads.Phase((grad_direct.SUM,), int(record["n_tasks"]), n_threads)]
        shared_bytes, size = int(record["shared_bytes"]), int(record["scratch_bytes"])
        if shared_bytes:
            gathered = module.n_gathered(record)
            phases.append(threads.Phase((grad_direct.GATHER,), gathered, min(n_threads, gathered)))
        places = _places(call.problem)

        def run(packed: Packed, *given: Array) -> bool:
            x, y, out = (0 if i is None else numba_cpu.address(given[i]) for i in places)
            if (x | y | out) % item:
                return False
            memory = numba_cpu.scratch(shared_bytes + size * n_threads)
            shared = numba_cpu.address(memory)
            own = shared + shared_bytes
            for (stage,), n_tasks, shares in phases:

                def work(share: int, first: int, last: int, stage: int = stage) -> Any:
                    return function(params, first, last, x, y, out, own + share * size, shared, like, stage)

                threads.run_tasks(name, n_tasks, shares, work)
            numba_cpu.note_kernel(name)
            return True

        return run


def _places(problem: ConvWeightProblem | ConvBiasProblem) -> tuple[int | None, int, int]:
    """Return where x, dY and the result stand in a runner's arguments."""
    if isinstance(problem, ConvBiasProblem):
        return None, 0, 1
    return (0, 1, 2) if problem.transposed else (1, 0, 2)


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

    def _useful_threads(self, problem: ConvWeightProblem) -> int:
        return numba_cpu.useful_threads(problem.flops, problem.bytes)


@dataclass(frozen=True, slots=True)
class NumbaBiasGradient(_NumbaGradient):
    """The kernel of the gradient of a bias."""

    def estimate(self, problem: ConvBiasProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.bias_gradient_seconds(problem, machine)

    def error_bound(self, problem: ConvBiasProblem) -> float:
        """Return the bound of pairwise sums of short blocks, their lanes and parts."""
        return gradients.bias_error_bound(problem, self.lanes, numba_cpu.EPSILON[self.dtype])

    def _useful_threads(self, problem: ConvBiasProblem) -> int:
        return problem.bytes // _BIAS_BYTES_PER_THREAD


def algorithms() -> Iterator[NumbaWeightGradient | NumbaBiasGradient]:
    """Every kernel of the gradients, for each operation that it serves."""
    for family in _FUNCTIONS:
        variant = VARIANTS.get(family.removeprefix("winograd-"))
        for op, dtype in itertools.product(gradients.operations(family, variant), numba_cpu.REAL):
            if family == "pairwise":
                yield NumbaBiasGradient(op, family, dtype)
            else:
                yield NumbaWeightGradient(op, family, dtype, variant=variant)
