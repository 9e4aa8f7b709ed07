"""The sampling kernels of csrc/ as algorithms: resizing by sums of neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .. import cost
from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..problem import FLOATS, ITEM_BYTES, ResizeProblem
from . import c, sampling

__all__ = ["algorithms"]

#: Bytes moved, and operations, below which a call stays on the caller's thread: waking another costs microseconds.
_BYTES_PER_THREAD = 128 << 10
_FLOPS_PER_THREAD = 800_000
#: Elements of a row whose places a table can hold.
_MAX_WIDTH = 1 << 31


@dataclass(frozen=True, slots=True)
class CSample:
    """What the sampling kernels answer alike."""

    op: str
    family: str
    dtype: str
    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    lanes: int
    backend: str = "c"

    @property
    def id(self) -> str:
        """Return op.family.dtype@c-isa."""
        return f"{self.op}.{self.family}.{self.dtype}@c-{self.isa}"

    @property
    def kernel_name(self) -> str:
        """Return what ``last_kernel`` says after this algorithm has run."""
        return f"sample_{self.family}_{self.dtype}__{self.isa}"

    def accuracy(self, problem: Any) -> str:
        """Return "strict"."""
        return "strict"

    def error_reach(self, problem: Any) -> int:
        """Return 0."""
        return 0

    def packing(self, problem: Any) -> str:
        """Return "plain": there are no weights."""
        return "plain"

    def prepare(self, problem: Any, *weights: Array | None) -> Packed:
        """Return nothing: there are no weights."""
        return None

    def _here(self) -> str:
        return "" if self.runs_here else f"this processor does not have {self.isa}"


def _threads(call: Call, scratch_bytes: int, n_tasks: int) -> int:
    by_memory = call.max_workspace // max(1, scratch_bytes)
    by_work = max(call.problem.bytes // _BYTES_PER_THREAD, call.problem.flops // _FLOPS_PER_THREAD)
    return int(max(1, min(call.threads, by_memory, by_work, n_tasks)))


def _points(keep: list[Any], kind: str, table: Array | None) -> Any:
    """Return a pointer to a table, which is kept alive."""
    if table is None or not table.size:
        return ffi.NULL
    keep.append(ffi.from_buffer(kind, table))
    return keep[-1]


@dataclass(frozen=True, slots=True)
class CResample(CSample):
    """Resizing by sums of neighbours, and its gradient, on one instruction set."""

    def supports(self, problem: ResizeProblem) -> Support:
        """Whether the kernel can do it."""
        if problem.is_nearest:
            return Support(f"is for sums of neighbours, not for mode {problem.mode!r}")
        if max(problem.spatial[-1], problem.out_spatial[-1]) * problem.c >= _MAX_WIDTH:
            return Support(f"needs rows of less than {_MAX_WIDTH} elements")
        return Support(self._here())

    def error_bound(self, problem: ResizeProblem) -> float:
        """Return that of sums along each axis."""
        return sampling.error_bound(problem, self.dtype)

    def estimate(self, problem: ResizeProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.resample_seconds(problem, machine)

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        cut = sampling.resample(call, self.lanes)
        total = cut.scratch_bytes * _threads(call, cut.scratch_bytes, cut.n_tasks)
        return total if cut.scratch_bytes <= call.max_workspace // c.WORKERS_IN_LIMIT else None

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        cut = sampling.resample(call, self.lanes)
        p, keep = ffi.new("pc_resample *"), []
        for name, value in cut.fields.items():
            setattr(p, name, value)
        for i, axis in enumerate("dh"):
            p.begin[i] = _points(keep, "int64_t[]", cut.tables[f"{axis}_begin"])
            p.index[i] = _points(keep, "int64_t[]", cut.tables[f"{axis}_index"])
            p.weight[i] = _points(keep, "char[]", cut.tables[f"{axis}_weight"])
        for name in ("start", "base", "column_begin", "empty"):
            setattr(p, name, _points(keep, "int64_t[]", cut.tables.get(name)))
        for name in ("column_place", "column_weight"):
            setattr(p, name, _points(keep, "char[]", cut.tables[name]))
        threads = _threads(call, cut.scratch_bytes, cut.n_tasks)
        size, kernel, run_kernel, null = cut.scratch_bytes * threads, self.kernel, lib.pc_layer_run, ffi.NULL
        name, item = ("grad_output" if call.problem.gradient else "x"), ITEM_BYTES[self.dtype]
        point_x = ffi.from_buffer if c.is_contiguous(call, name, item) else c.address
        point_out = ffi.from_buffer if c.is_contiguous(call, "out", item) else c.address

        def run(packed: Packed, x: Array, out: Array, keep: Any = keep) -> bool:
            status = run_kernel(
                kernel, p, point_x(x), point_out(out), null, null, null, null, null, null, null, c.scratch(size), threads
            )
            return bool(status == 0)

        return run


def algorithms(isas: dict[str, int], best: str) -> Iterator[CSample]:
    """Every kernel of the family in the build, for each operation that it serves."""
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_sample_kernels(number)):
            kernel = lib.pc_sample_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_layer_kernel_name(kernel)).decode().partition("__")
            _, family, dtype = what.split("_")
            assert dtype in FLOATS
            lanes = int(lib.pc_layer_kernel_lanes(kernel))
            for op in ("interpolate", "interpolate-grad-x"):
                yield CResample(op, family, dtype, isa, isa == best, runs_here, kernel, lanes)
