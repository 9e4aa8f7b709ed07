"""The kernels of csrc/ for the gradients of weights and bias, as algorithms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import cost
from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..kernels.winograd_matrices import VARIANTS, Variant
from ..problem import AXES, ITEM_BYTES, ConvBiasProblem, ConvWeightProblem
from . import c, gradients
from .plain import OnC

__all__ = ["algorithms"]

#: Less work than this stays on the caller's thread: waking another costs some microseconds.
_FLOPS_PER_THREAD = 400_000
_BYTES_PER_THREAD = 256 << 10


@dataclass(frozen=True, slots=True)
class _CGradient(OnC):
    """A kernel of the gradients, for one operation, on one instruction set."""

    unit: ClassVar[str] = "grad"

    op: str
    family: str
    dtype: str
    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    lanes: int
    variant: Variant | None = None
    backend: str = "c"

    def _planned(self, p: Any, call: Call) -> Any:
        """Return the C description with its cut, or None where the scratch limit is too small."""
        return p if lib.pc_grad_plan(self.kernel, p, call.max_workspace // c.WORKERS_IN_LIMIT) else None

    @staticmethod
    def _threads(call: Call, p: Any, by_work: int) -> int:
        by_memory = (call.max_workspace - p.shared_bytes) // max(1, p.scratch_bytes)
        return int(max(1, min(call.threads, by_memory, by_work, p.n_tasks)))


@dataclass(frozen=True, slots=True)
class CWeightGradient(_CGradient):
    """A kernel of the gradient of weights."""

    def supports(self, problem: ConvWeightProblem) -> Support:
        """Whether the kernel can do it."""
        if not self.runs_here:
            return Support(f"this processor does not have {self.isa}")
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
        """(K + 2) eps for K pixels, or Winograd's; and a result's rounding."""
        bound = gradients.weight_error_bound(problem, self.variant, c.EPSILON[self.dtype])
        return bound + c.ROUNDING[self.dtype]

    def _described(self, call: Call) -> Any:
        problem, item = call.problem, ITEM_BYTES[self.dtype]
        conv, g = problem.conv, ffi.new("pc_grad *")
        p = g.conv
        p.n, p.groups, p.c_in, p.c_out = conv.n, conv.groups, conv.c_in // conv.groups, conv.c_out // conv.groups
        c.set_axes(p, conv)
        for ld, name in ((p.ld_x, problem.large), (p.ld_out, problem.small), (g.ld_w, "out")):
            strides = call.strides(name)
            assert strides is not None
            c.set_steps(ld, conv, strides, item)
        return self._planned(g, call)

    def _threads_of(self, call: Call, p: Any) -> int:
        return self._threads(call, p, call.problem.flops // _FLOPS_PER_THREAD)

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if 0 in call.problem.conv.w_shape:
            return 0
        p = self._described(call)
        return None if p is None else int(p.shared_bytes + p.scratch_bytes * self._threads_of(call, p))

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        if 0 in call.problem.conv.w_shape:
            return gradients.nothing
        p = self._described(call)
        threads = self._threads_of(call, p)
        size = int(p.shared_bytes + p.scratch_bytes * threads)
        kernel, run_kernel, address = self.kernel, lib.pc_grad_run, c.address
        transposed = call.problem.transposed

        def run(packed: Packed, grad_output: Array, x: Array, out: Array) -> bool:
            large, small = (grad_output, x) if transposed else (x, grad_output)
            status = run_kernel(kernel, p, address(small), address(large), address(out), c.scratch(size), threads)
            return bool(status == 0)

        return run


@dataclass(frozen=True, slots=True)
class CBiasGradient(_CGradient):
    """The kernel of the gradient of a bias."""

    def estimate(self, problem: ConvBiasProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.bias_gradient_seconds(problem, machine)

    def error_bound(self, problem: ConvBiasProblem) -> float:
        """Return the bound of pairwise sums of short blocks, their lanes and parts; and a result's rounding."""
        return gradients.bias_error_bound(problem, self.lanes, c.EPSILON[self.dtype]) + c.ROUNDING[self.dtype]

    def _described(self, call: Call) -> Any:
        problem, item = call.problem, ITEM_BYTES[self.dtype]
        g = ffi.new("pc_grad *")
        p = g.conv
        p.n, p.groups, p.c_in, p.c_out = problem.n, 1, 1, problem.c
        strides, out = call.strides("grad_output"), call.strides("out")
        assert strides is not None
        assert out is not None
        for name in "dhw":
            getattr(p, name).out = 1
        for name, size, step in zip(AXES[problem.rank], problem.spatial, strides[2:], strict=True):
            getattr(p, name).out = size
            setattr(p.ld_out, name, step // item)
        p.ld_out.n, p.ld_out.c, g.ld_w.n = strides[0] // item, strides[1] // item, out[0] // item
        return self._planned(g, call)

    def _threads_of(self, call: Call, p: Any) -> int:
        return self._threads(call, p, call.problem.bytes // _BYTES_PER_THREAD)

    def workspace(self, call: Call) -> int | None:
        """Return the sums of all parts."""
        p = self._described(call)
        return None if p is None or p.shared_bytes > call.max_workspace else int(p.shared_bytes)

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        p = self._described(call)
        threads, size = self._threads_of(call, p), int(p.shared_bytes)
        kernel, run_kernel, address = self.kernel, lib.pc_grad_run, c.address

        def run(packed: Packed, grad_output: Array, out: Array) -> bool:
            status = run_kernel(kernel, p, address(grad_output), ffi.NULL, address(out), c.scratch(size), threads)
            return bool(status == 0)

        return run


def algorithms(isas: dict[str, int], best: str) -> Iterator[CWeightGradient | CBiasGradient]:
    """Every kernel of the gradients in the build, for each operation that it serves."""
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_grad_kernels(number)):
            kernel = lib.pc_grad_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_grad_kernel_name(kernel)).decode().partition("__")
            _, *words, dtype = what.split("_")
            family = "-".join(words)
            lanes = lib.pc_grad_kernel_lanes(kernel)
            variant = VARIANTS.get(family.removeprefix("winograd-"))
            kind = CBiasGradient if family == "pairwise" else CWeightGradient
            for op in gradients.operations(family, variant):
                yield kind(op, family, dtype, isa, isa == best, runs_here, kernel, lanes, variant)
