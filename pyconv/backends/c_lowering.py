"""The kernels of csrc/lowering.inc.c as algorithms: windows as columns of a matrix, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner
from ..problem import ITEM_BYTES
from . import c, lowering, pooling
from .plain import OnC

__all__ = ["algorithms"]


@dataclass(frozen=True, slots=True)
class CLowering(OnC, lowering.Lowering):
    """A kernel of csrc/lowering.inc.c, on one instruction set."""

    unit: ClassVar[str] = "lowering"

    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    lanes: int
    backend: str = "c"

    def _cut(self, call: Call) -> lowering.Cut | None:
        return lowering.cut(call, self.lanes, call.max_workspace // c.WORKERS_IN_LIMIT)

    @staticmethod
    def _threads(call: Call, cut: lowering.Cut) -> int:
        by_memory = call.max_workspace // max(1, cut.scratch_bytes)
        by_work = call.problem.bytes // lowering.BYTES_PER_THREAD
        return int(max(1, min(call.threads, by_memory, by_work, cut.n_tasks)))

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if lowering.is_empty(call.problem):
            return 0
        cut = self._cut(call)
        return None if cut is None else cut.scratch_bytes * self._threads(call, cut)

    def _described(self, call: Call, cut: lowering.Cut) -> Any:
        """Return the kernel's description of the call."""
        problem, item, p = call.problem, ITEM_BYTES[self.dtype], ffi.new("pc_conv *")
        conv = problem.conv
        p.n, p.groups, p.c_in, p.c_out = conv.n, 1, conv.c_in, 1
        c.set_axes(p, conv)
        images, columns = call.strides("out" if problem.fold else "x"), call.strides("x" if problem.fold else "out")
        assert images is not None
        assert columns is not None
        c.set_steps(p.ld_x, conv, images, item)
        p.ld_out.n, p.ld_out.c = columns[0] // item, columns[1] // item
        for name, value in cut._asdict().items():
            setattr(p if name == "scratch_bytes" else p.blk, name, value)
        return p

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem, item = call.problem, ITEM_BYTES[self.dtype]
        if lowering.is_empty(problem):
            return pooling.clear(1)
        if not lowering.takes(call):
            return pooling.elsewhere
        cut = self._cut(call)
        assert cut is not None
        p, threads = self._described(call, cut), self._threads(call, cut)
        size, kernel, run_kernel, null, scratch = (
            cut.scratch_bytes * threads,
            self.kernel,
            lib.pc_layer_run,
            ffi.NULL,
            c.scratch,
        )
        point_x = ffi.from_buffer if c.is_contiguous(call, "x", item) else c.address
        point_out = ffi.from_buffer if c.is_contiguous(call, "out", item) else c.address
        none = (null,) * 7

        def run(packed: Packed, x: Array, out: Array) -> bool:
            memory = scratch(size) if size else null
            return bool(run_kernel(kernel, p, point_x(x), point_out(out), *none, memory, threads) == 0)

        return run


def algorithms(isas: dict[str, int], best: str) -> Iterator[CLowering]:
    """Every such kernel of the build."""
    operations = {family: op for op, family in lowering.FAMILIES.items()}
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_layer_kernels(number)):
            kernel = lib.pc_layer_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_layer_kernel_name(kernel)).decode().partition("__")
            kind, family, dtype = what.split("_")
            if kind == "lowering":
                lanes = int(lib.pc_layer_kernel_lanes(kernel))
                yield CLowering(operations[family], dtype, isa, isa == best, runs_here, kernel, lanes)
