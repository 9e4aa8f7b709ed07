"""The kernels of the small layers in csrc/ as algorithms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner, Support
from ..problem import ITEM_BYTES, NormProblem
from . import c, layers, linear
from .plain import OnC

__all__ = ["algorithms"]

_WHAT = {
    "infer": lib.PC_NORM_INFER,
    "train": lib.PC_NORM_TRAIN,
    "stats": lib.PC_NORM_STATS,
    "grad-infer": lib.PC_NORM_GRAD_INFER,
    "grad-train": lib.PC_NORM_GRAD_TRAIN,
}


@dataclass(frozen=True, slots=True)
class CLayer(OnC, layers.Layer):
    """A kernel of the small layers, for one operation, on one instruction set."""

    unit: ClassVar[str] = "layers"

    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    backend: str = "c"

    #: waking another thread costs microseconds
    bytes_per_thread: ClassVar[int] = 256 << 10
    flops_per_thread: ClassVar[int] = 400_000

    def supports(self, problem: Any) -> Support:
        """Whether the kernel runs here."""
        return Support(self.fits(problem) if self.runs_here else f"this processor does not have {self.isa}")

    def prepare(self, problem: Any, *weights: Array | None) -> Packed:
        """Return pointers to weights and bias, contiguous (they keep their arrays alive); linear layers have them."""
        return tuple(
            ffi.NULL
            if a is None
            else ffi.from_buffer(
                a if a.flags.c_contiguous and a.flags.aligned else np.require(a, requirements=["C", "A"])
            )
            for a in weights
        )

    def _described(self, problem: Any, cut: layers.Cut) -> tuple[Any, Any]:
        """Return the kernel's description of the call, and what it keeps alive."""
        p = ffi.new(f"pc_{self.family} *")
        keep = []
        for name, value in cut.fields.items():
            if name == "at":
                for i, table in enumerate(value):
                    keep.append(ffi.from_buffer("int64_t[]", table))
                    p.at[i] = keep[-1]
            elif name == "step":
                for i, steps in enumerate(value):
                    p.step[i] = steps
            else:
                setattr(p, name, value)
        if self.family == "elementwise":
            p.activation = c.ACTIVATIONS[problem.activation]
        if self.family == "channelwise":
            p.what = _WHAT[problem.kind] if isinstance(problem, NormProblem) else lib.PC_CHANNEL_SUM
        return p, keep

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem, cut = call.problem, self.cut(call)
        if cut is None:
            return layers.elsewhere
        p, keep = self._described(problem, cut)
        threads = self.threads(call, cut)
        size = cut.shared_bytes + cut.scratch_bytes * threads
        places = [
            (slot, place, ffi.from_buffer if c.is_contiguous(call, name, ITEM_BYTES[problem.dtype]) else c.address)
            for slot, place, name in layers.places(problem, self.family)
        ]
        kernel, run_kernel, null, scratch = self.kernel, lib.pc_layer_run, ffi.NULL, c.scratch
        weighted = self.family == "dot"

        def run(packed: Packed, *given: Array | None, keep: Any = keep) -> bool:
            arrays = [a for a in given if a is not None]
            a = [null] * layers.SLOTS
            for slot, place, point in places:
                a[slot] = point(arrays[place])
            if weighted:
                a[1], a[2] = packed
            memory = scratch(size) if size else null
            status = run_kernel(kernel, p, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], memory, threads)
            return bool(status == 0)

        return run


def algorithms(isas: dict[str, int], best: str, convolutions: list[c.CConv]) -> Iterator[CLayer | linear.Linear]:
    """Every kernel of the small layers in the build, for each operation that it serves."""
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_layer_kernels(number)):
            kernel = lib.pc_layer_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_layer_kernel_name(kernel)).decode().partition("__")
            kind, family, dtype = what.split("_")
            assert dtype in ITEM_BYTES
            if kind != "layers":  # of another family of operations in the same unit
                continue
            for op in layers.OPERATIONS[family]:
                lanes = int(lib.pc_layer_kernel_lanes(kernel))
                yield CLayer(op, family, dtype, lanes, isa, isa == best, runs_here, kernel)
    yield from linear.algorithms(convolutions)
