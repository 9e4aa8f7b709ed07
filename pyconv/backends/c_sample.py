"""The sampling kernels of csrc/ as algorithms: resizing by sums of neighbours, maps at places, affine grids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import cost
from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..problem import FLOATS, ITEM_BYTES, AffineGridProblem, GridSampleProblem, ResizeProblem
from . import c, sampling
from .plain import OnC

__all__ = ["algorithms"]

#: Bytes moved, and operations, below which a call stays on the caller's thread: waking another costs microseconds.
_BYTES_PER_THREAD = 128 << 10
_FLOPS_PER_THREAD = 800_000
_WHAT = {"": lib.PC_GRID_FORWARD, "x": lib.PC_GRID_GRAD_X, "grid": lib.PC_GRID_GRAD_GRID}
_PADDING = {"zeros": lib.PC_GRID_ZEROS, "border": lib.PC_GRID_BORDER, "reflection": lib.PC_GRID_REFLECTION}
#: Elements of a row whose places a table can hold.
_MAX_WIDTH = 1 << 31


@dataclass(frozen=True, slots=True)
class CSample(OnC):
    """What the sampling kernels answer alike."""

    unit: ClassVar[str] = "sample"

    op: str
    family: str
    dtype: str
    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    lanes: int
    backend: str = "c"

    def error_bound(self, problem: Any) -> float:
        """Return that of sums in one order."""
        return sampling.error_bound(problem, self.dtype)

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
        p = ffi.new("pc_resample *")
        keep: list[Any] = []
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
                kernel,
                p,
                point_x(x),
                point_out(out),
                null,
                null,
                null,
                null,
                null,
                null,
                null,
                c.scratch(size),
                threads,
            )
            return bool(status == 0)

        return run


def _elsewhere(packed: Packed, *arrays: Array | None) -> bool:
    """Return False: these strides are read and written from copies."""
    return False


@dataclass(frozen=True, slots=True)
class CGrid(CSample):
    """Maps sampled at places, and both gradients, on one instruction set."""

    def supports(self, problem: GridSampleProblem) -> Support:
        """Whether the kernel can do it."""
        largest = 1 << (52 if self.dtype == "f64" else 24)
        if max(problem.spatial) > largest:
            return Support(f"needs at most {largest} elements along an axis: places are computed in its arithmetic")
        return Support(self._here())

    def estimate(self, problem: GridSampleProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.resample_seconds(problem, machine)

    def _cut(self, call: Call) -> sampling.Cut | None:
        return sampling.grid(call, self.lanes)

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        cut = self._cut(call) or self._cut(Call.typical(call.problem, call.threads, call.max_workspace))
        return None if cut is None else cut.scratch_bytes * _threads(call, cut.scratch_bytes, cut.n_tasks)

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem, cut = call.problem, self._cut(call)
        if cut is None:
            return _elsewhere
        p = ffi.new("pc_grid *")
        for name, value in cut.fields.items():
            if name == "ld_x":
                p.ld_x.n, p.ld_x.c, p.ld_x.d, p.ld_x.h, p.ld_x.w = value
            else:
                setattr(p, name, value)
        p.what, p.padding = _WHAT[problem.argument], _PADDING[problem.padding_mode]
        threads = _threads(call, cut.scratch_bytes, cut.n_tasks)
        size, kernel, run_kernel, null = cut.scratch_bytes * threads, self.kernel, lib.pc_layer_run, ffi.NULL
        address = c.address

        def run(packed: Packed, *given: Array) -> bool:
            # x, out, grid, gradient of the grid; gradients write over one of the first
            if problem.argument == "grid":
                g, x, grid, out = given
                arrays = address(x), address(g), address(grid), address(out)
            elif problem.argument:
                g, grid, out = given
                arrays = address(out), address(g), address(grid), null
            else:
                x, grid, out = given
                arrays = address(x), address(out), address(grid), null
            status = run_kernel(kernel, p, *arrays, null, null, null, null, null, c.scratch(size), threads)
            return bool(status == 0)

        return run


@dataclass(frozen=True, slots=True)
class CAffine(CSample):
    """Affine grids and their gradient on one instruction set."""

    def supports(self, problem: AffineGridProblem) -> Support:
        """Whether the kernel runs here."""
        return Support(self._here())

    def estimate(self, problem: AffineGridProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.resample_seconds(problem, machine)

    def workspace(self, call: Call) -> int | None:
        """Return 0: none is needed."""
        return 0

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        cut = sampling.affine(call)
        if cut is None:
            return _elsewhere
        p = ffi.new("pc_affine *")
        keep: list[Any] = []
        for name, value in cut.fields.items():
            setattr(p, name, value)
        for i, axis in enumerate("dhw"):
            p.along[i] = _points(keep, "double[]", cut.tables[axis])
        threads, kernel, run_kernel, null = _threads(call, 0, cut.n_tasks), self.kernel, lib.pc_layer_run, ffi.NULL
        address = c.address

        def run(packed: Packed, given: Array, out: Array, keep: Any = keep) -> bool:
            status = run_kernel(
                kernel, p, address(given), address(out), null, null, null, null, null, null, null, null, threads
            )
            return bool(status == 0)

        return run


#: The operations of each family, and what runs them.
_FAMILIES: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "separable": (CResample, ("interpolate", "interpolate-grad-x")),
    "grid": (CGrid, ("grid_sample", "grid_sample-grad-x", "grid_sample-grad-grid")),
    "affine": (CAffine, ("affine_grid", "affine_grid-grad-theta")),
}


def algorithms(isas: dict[str, int], best: str) -> Iterator[Any]:
    """Every kernel of the family in the build, for each operation that it serves."""
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_sample_kernels(number)):
            kernel = lib.pc_sample_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_layer_kernel_name(kernel)).decode().partition("__")
            _, family, dtype = what.split("_")
            assert dtype in FLOATS
            lanes = int(lib.pc_layer_kernel_lanes(kernel))
            made, ops = _FAMILIES[family]
            for op in ops:
                yield made(op, family, dtype, isa, isa == best, runs_here, kernel, lanes)
