"""The kernels of csrc/ for regions of interest, and for non-maximum suppression, as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import cost
from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner
from ..cost import Machine
from ..problem import AXES, ITEM_BYTES, NmsProblem, RoiProblem
from . import c
from .plain import OnC

__all__ = ["algorithms"]

#: Operations of the definition below which a call stays on the caller's thread: waking another costs microseconds.
_FLOPS_PER_THREAD = 800_000
#: Boxes of which a second thread is worth its while.
_BOXES_PER_THREAD = 500
_RULES = {
    "roi_align": lib.PC_ROI_ALIGN,
    "ps_roi_align": lib.PC_ROI_PS_ALIGN,
    "roi_pool": lib.PC_ROI_POOL,
    "ps_roi_pool": lib.PC_ROI_PS_POOL,
}
_JOINS = {"mean": lib.PC_ROI_MEAN, "max pixel": lib.PC_ROI_MAX_PIXEL, "max sample": lib.PC_ROI_MAX_SAMPLE}


def error_bound(problem: RoiProblem, dtype: str) -> float:
    """One rounding for each weight, product and sum, and that of the result; nothing for whole pixels compared."""
    if problem.kind == "roi_pool" and not problem.gradient:
        return 0.0
    terms = sum(problem.taps)
    if problem.gradient:
        bins = sum(problem.out_spatial) if problem.join == "mean" else 4 * math.prod(problem.out_spatial)
        terms = problem.boxes * (bins if problem.join != "mean" or problem.slices > 1 else 1) + bins
    return (terms + 8) * c.EPSILON[dtype] + c.ROUNDING[dtype]


@dataclass(frozen=True, slots=True)
class CRoi(OnC):
    """A kernel of regions of interest, for one operation, on one instruction set."""

    unit: ClassVar[str] = "roi"

    op: str
    family: str
    dtype: str
    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    backend: str = "c"

    def error_bound(self, problem: RoiProblem) -> float:
        """Return :func:`error_bound`."""
        return error_bound(problem, self.dtype)

    def estimate(self, problem: RoiProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.roi_seconds(problem, machine)

    def _described(self, call: Call) -> tuple[Any, bool]:
        """Return the kernel's description of the call, and whether its scratch is within the limit."""
        problem, item = call.problem, ITEM_BYTES[self.dtype]
        p = ffi.new("pc_roi *")
        p.n, p.c, p.boxes, p.rank, p.slices = problem.n, problem.c_out, problem.boxes, problem.rank, problem.slices
        setattr(p.d, "in", 1)
        p.d.out = 1
        for name, size, bins in zip(AXES[problem.rank], problem.spatial, problem.out_spatial, strict=True):
            axis = getattr(p, name)
            setattr(axis, "in", size)
            axis.out = bins
        p.rule, p.join = _RULES[problem.kind], _JOINS[problem.join]
        p.ratio, p.aligned, p.scale = problem.sampling_ratio, problem.aligned, problem.scale
        large, small = ("out", "grad_output") if problem.gradient else ("x", "out")
        forward = "x" if problem.gradient and problem.join != "mean" else ""
        for fields, array in ((p.ld_x, large), (p.ld_out, small), (p.ld_forward, forward)):
            strides = call.strides(array)
            if strides is None:
                continue
            elements = [s // item for s in strides]
            fields.n, fields.c = elements[:2]
            for name, step in zip(AXES[problem.rank], elements[2:], strict=True):
                setattr(fields, name, step)
            if problem.rank == 2:
                fields.d = fields.h * (problem.out_spatial if array == small else problem.spatial)[0]
        return p, bool(lib.pc_roi_plan(self.kernel, p, call.max_workspace // c.WORKERS_IN_LIMIT))

    @staticmethod
    def _threads(call: Call, p: Any) -> int:
        by_memory = (call.max_workspace - p.shared_bytes) // max(1, p.scratch_bytes)
        by_work = call.problem.flops // _FLOPS_PER_THREAD
        return int(max(1, min(call.threads, by_memory, by_work)))

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if _nothing_to_do(call.problem):
            return 0
        p, fits = self._described(call)
        total = int(p.shared_bytes) + int(p.scratch_bytes) * self._threads(call, p)
        return total if fits and total <= call.max_workspace else None

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem = call.problem
        if _nothing_to_do(problem):
            return _clear
        p, _ = self._described(call)
        threads = self._threads(call, p)
        size = int(p.shared_bytes) + int(p.scratch_bytes) * threads
        kernel, run_kernel, null, address, gradient = self.kernel, lib.pc_roi_run, ffi.NULL, c.address, problem.gradient
        as_doubles = _doubles

        def forward(packed: Packed, x: Array, boxes: Array, out: Array) -> bool:
            if not boxes.flags.c_contiguous:
                return False
            return bool(
                run_kernel(
                    kernel, p, address(x), address(out), as_doubles(boxes), null, c.scratch(size), threads
                ) == 0
            )  # fmt: skip

        def backward(packed: Packed, grad_output: Array, boxes: Array, x: Array | None, out: Array) -> bool:
            if not boxes.flags.c_contiguous:
                return False
            return bool(
                run_kernel(
                    kernel, p, address(out), address(grad_output), as_doubles(boxes),
                    null if x is None else address(x), c.scratch(size), threads,
                ) == 0
            )  # fmt: skip

        return backward if gradient else forward


def _doubles(array: Array) -> Any:
    return ffi.cast("double *", array.__array_interface__["data"][0])


def _nothing_to_do(problem: RoiProblem) -> bool:
    return 0 in problem.x_shape or 0 in problem.out_shape


def _clear(packed: Packed, *arrays: Array | None) -> bool:
    """Return what there is to do without boxes, or on maps without an element."""
    out = arrays[-1]
    assert out is not None
    out[...] = 0
    return True


@dataclass(frozen=True, slots=True)
class CNms(OnC):
    """Non-maximum suppression on one instruction set."""

    unit: ClassVar[str] = "nms"

    isa: str
    number: int
    preferred: bool
    runs_here: bool
    op: str = "nms"
    family: str = "greedy"
    dtype: str = "f64"
    backend: str = "c"

    def error_bound(self, problem: NmsProblem) -> float:
        """Return 0: a box stays or goes."""
        return 0.0

    def estimate(self, problem: NmsProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.nms_seconds(problem, machine)

    def workspace(self, call: Call) -> int | None:
        """Return an area for each box."""
        size = 8 * int(call.problem.boxes)
        return size if size <= call.max_workspace else None

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem, number = call.problem, self.number
        size = 8 * problem.boxes
        threads = max(1, min(call.threads, problem.runs, problem.boxes // _BOXES_PER_THREAD))

        def run(packed: Packed, boxes: Array, runs: Array, out: Array) -> bool:
            if not (boxes.flags.c_contiguous and runs.flags.c_contiguous and out.flags.c_contiguous):
                return False
            lib.pc_nms_run(
                number,
                _doubles(boxes),
                problem.boxes,
                ffi.cast("int64_t *", runs.__array_interface__["data"][0]),
                problem.runs,
                problem.threshold,
                ffi.from_buffer("uint8_t[]", out),
                ffi.cast("double *", c.scratch(size)),
                threads,
            )
            return True

        return run


def algorithms(isas: dict[str, int], best: str) -> Iterator[CRoi | CNms]:
    """Every kernel of the family in the build, for each operation that it serves."""
    ops = ("roi_align", "roi_align3d", "roi_pool", "ps_roi_align", "ps_roi_pool")
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        yield CNms(isa, number, isa == best, runs_here)
        for index in range(lib.pc_n_roi_kernels(number)):
            kernel = lib.pc_roi_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_roi_kernel_name(kernel)).decode().partition("__")
            _, family, dtype = what.split("_")
            for op in ops:
                name = f"{op}-grad-x" if family == "scatter" else op
                yield CRoi(name, family, dtype, isa, isa == best, runs_here, kernel)
