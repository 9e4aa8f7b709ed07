"""The kernels of csrc/ for deformable convolution and its gradients, as algorithms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import cost
from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner
from ..cost import Machine
from ..problem import ITEM_BYTES, DeformProblem
from . import c
from .memory import aligned
from .plain import OnC

__all__ = ["algorithms"]

#: Less work than this stays on the caller's thread: waking another costs some microseconds.
_FLOPS_PER_THREAD = 400_000
#: The arguments whose gradients each kernel computes.
_ARGUMENTS = {
    lib.PC_DEFORM_FORWARD: ("",),
    lib.PC_DEFORM_WEIGHTS: ("w",),
    lib.PC_DEFORM_X: ("x",),
    lib.PC_DEFORM_OFFSET: ("offset", "mask"),
}


@dataclass(frozen=True, slots=True)
class CDeform(OnC):
    """A kernel of deformable convolution, for one operation, on one instruction set."""

    unit: ClassVar[str] = "deform"

    op: str
    family: str
    dtype: str
    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    lanes: int
    backend: str = "c"

    def error_bound(self, problem: DeformProblem) -> float:
        """One rounding for each product of the longest sum, those of a sample, and that of the result."""
        return (problem.reduction + 16) * c.EPSILON[self.dtype] + c.ROUNDING[self.dtype]

    def estimate(self, problem: DeformProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.deform_seconds(problem, machine)

    def packing(self, problem: DeformProblem) -> str:
        """Name the order of weights, which the offset groups cut; gradients have output channels inside."""
        order = "turned" if problem.argument else "panels"
        return f"deform-{order}-{self.isa}-og{problem.offset_groups}"

    def _sized(self, problem: DeformProblem) -> Any:
        """Return the kernel's description without strides."""
        conv, p = problem.conv, ffi.new("pc_deform *")
        p.conv.n, p.conv.groups = conv.n, conv.groups
        p.conv.c_in, p.conv.c_out = conv.c_in // conv.groups, conv.c_out // conv.groups
        c.set_axes(p.conv, conv)
        p.offset_groups, p.has_mask = problem.offset_groups, problem.mask
        return p

    def prepare(self, problem: DeformProblem, *weights: Array | None) -> Packed:
        """Return pointers to reordered weights and bias in the sums' type (they keep their arrays alive)."""
        w, bias = (*weights, None)[:2]
        assert w is not None
        w, p = c.as_summed(w), self._sized(problem)
        p.conv.threads = c.packing_threads(w)
        packed = aligned(lib.pc_deform_pack(self.kernel, p, ffi.NULL, ffi.NULL), w.dtype)
        lib.pc_deform_pack(self.kernel, p, ffi.from_buffer(w), ffi.from_buffer(packed))
        return ffi.from_buffer(packed), ffi.NULL if bias is None else ffi.from_buffer(c.as_summed(bias))

    def _described(self, call: Call) -> tuple[Any, bool]:
        """Return the kernel's description of the call, and whether its scratch is within the limit."""
        problem, item = call.problem, ITEM_BYTES[self.dtype]
        p, argument = self._sized(problem), problem.argument
        places = [(p.conv.ld_x, "out" if argument == "x" else "x"), (p.ld_offset, "offset"), (p.ld_mask, "mask")]
        places += [(p.conv.ld_out, "grad_output" if argument else "out"), (p.ld_grad_mask, "grad_mask")]
        own = {"w": p.ld_w, "offset": p.ld_grad_offset, "mask": p.ld_grad_mask}
        if argument in own:
            places.append((own[argument], "out"))
        for ld, name in places:
            strides = call.strides(name)
            if strides is not None:
                c.set_steps(ld, problem.conv, strides, item)
        return p, bool(lib.pc_deform_plan(self.kernel, p, call.max_workspace // c.WORKERS_IN_LIMIT))

    @staticmethod
    def _threads(call: Call, p: Any) -> int:
        by_memory = (call.max_workspace - p.shared_bytes) // max(1, p.scratch_bytes)
        by_work = call.problem.flops // _FLOPS_PER_THREAD
        return int(max(1, min(call.threads, by_memory, by_work)))

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if _nothing_to_sum(call.problem):
            return 0
        p, fits = self._described(call)
        total = int(p.shared_bytes) + int(p.scratch_bytes) * self._threads(call, p)
        return total if fits and total <= call.max_workspace else None

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem = call.problem
        if _nothing_to_sum(problem):
            return _nothing_but_bias(len(problem.outputs))
        p, _ = self._described(call)
        threads = self._threads(call, p)
        size = int(p.shared_bytes) + int(p.scratch_bytes) * threads
        kernel, run_kernel = self.kernel, lib.pc_deform_run

        def point(array: Array | None) -> Any:
            return ffi.NULL if array is None else c.address(array)

        def run(
            packed: Packed,
            x: Array,
            y: Array,
            offset: Array,
            mask: Array | None,
            first: Array | None = None,
            second: Array | None = None,
        ) -> bool:
            w, bias = packed or (ffi.NULL, ffi.NULL)
            status = run_kernel(
                kernel, p, point(x), point(y), w, bias, point(offset), point(mask), point(first), point(second),
                c.scratch(size), threads,
            )  # fmt: skip
            return bool(status == 0)

        def forward(packed: Packed, x: Array, offset: Array, mask: Array | None, out: Array) -> bool:
            return run(packed, x, out, offset, mask)

        def grad_x(packed: Packed, grad_output: Array, offset: Array, mask: Array | None, out: Array) -> bool:
            return run(packed, out, grad_output, offset, mask)

        def grad_w(packed: Packed, grad_output: Array, x: Array, offset: Array, mask: Array | None, out: Array) -> bool:
            return run(packed, x, grad_output, offset, mask, out)

        def grad_offset(
            packed: Packed, grad_output: Array, x: Array, offset: Array, mask: Array | None, out: Array,
            grad_mask: Array | None = None,
        ) -> bool:  # fmt: skip
            return run(packed, x, grad_output, offset, mask, out, grad_mask)

        def grad_mask(
            packed: Packed, grad_output: Array, x: Array, offset: Array, mask: Array | None, out: Array
        ) -> bool:
            return run(packed, x, grad_output, offset, mask, None, out)

        runners: dict[str, Runner] = {
            "": forward,
            "x": grad_x,
            "w": grad_w,
            "offset": grad_offset,
            "mask": grad_mask,
        }
        return runners[problem.argument]


def _nothing_to_sum(problem: DeformProblem) -> bool:
    return 0 in problem.conv.x_shape


def _nothing_but_bias(n_outputs: int) -> Runner:
    """Return what there is to do without an element of x: outputs are the bias, and gradients zero."""

    def run(packed: Packed, *arrays: Array | None) -> bool:
        for out in arrays[-n_outputs:]:
            if out is not None:
                out[...] = 0
        if packed and packed[1] != ffi.NULL:
            out = arrays[-1]
            assert out is not None
            out[...] = np.frombuffer(ffi.buffer(packed[1]), out.dtype if out.itemsize > 2 else np.float32)[
                :, None, None
            ]
        return True

    return run


def algorithms(isas: dict[str, int], best: str) -> Iterator[CDeform]:
    """Every kernel of the family in the build, for each operation that it serves."""
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_deform_kernels(number)):
            kernel = lib.pc_deform_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_deform_kernel_name(kernel)).decode().partition("__")
            _, family, dtype = what.split("_")
            lanes = int(lib.pc_deform_kernel_lanes(kernel))
            for argument in _ARGUMENTS[lib.pc_deform_kernel_role(kernel)]:
                op = f"deform_conv2d-grad-{argument}" if argument else "deform_conv2d"
                yield CDeform(op, family, dtype, isa, isa == best, runs_here, kernel, lanes)
