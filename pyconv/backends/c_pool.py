"""The pooling kernels of csrc/ as algorithms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import cost
from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..errors import InvalidProblem
from ..problem import PoolProblem, UnpoolProblem
from . import c, pooling
from .plain import OnC

__all__ = ["algorithms"]

_KINDS = {"max": lib.PC_POOL_MAX, "avg": lib.PC_POOL_AVG, "lp": lib.PC_POOL_LP}
_ROLES = {"x": "x", "out": "out", "indices": "idx", "forward": "forward"}


@dataclass(frozen=True, slots=True)
class CPool(OnC):
    """A kernel of the pooling family, for one operation, on one instruction set."""

    unit: ClassVar[str] = "pool"

    op: str
    family: str
    dtype: str
    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    backend: str = "c"

    def supports(self, problem: PoolProblem | UnpoolProblem) -> Support:
        """Whether the kernel can do it."""
        if not self.runs_here:
            return Support(f"this processor does not have {self.isa}")
        return pooling.supports(problem, self.family)

    def error_bound(self, problem: PoolProblem | UnpoolProblem) -> float:
        """Return that of sums, and the rounding of a result that is stored in another type."""
        bound = pooling.error_bound(problem, c.EPSILON.get(self.dtype, 0.0))
        return bound + c.ROUNDING[self.dtype] if bound else 0.0

    def estimate(self, problem: PoolProblem | UnpoolProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.pool_seconds(problem, machine)

    def _described(self, call: Call) -> tuple[Any, bool]:
        """Return the kernel's description of the call, and whether its scratch is within the limit."""
        problem, found = call.problem, pooling.describe(call)
        p = ffi.new("pc_pool *")
        p.n, p.c, p.inner = found.n, found.c, found.inner
        for name in "dhw":
            axis, given = getattr(p, name), getattr(found, name)
            setattr(axis, "in", given.size)
            axis.k, axis.out, axis.stride = given.k, given.out, given.stride
            axis.dilation, axis.pad = given.dilation, given.before
            setattr(p, f"pad_after_{name}", given.after)
        p.adaptive, p.include_pad, p.divisor = found.adaptive, found.include_pad, found.divisor
        p.norm, p.power, p.signs, p.own_indices = found.norm, found.power, found.signs, found.own_indices
        for role, strides in found.strides.items():
            for axis_name, step in strides.items():
                setattr(getattr(p, f"ld_{_ROLES[role]}"), axis_name, step)
            if role != "indices":
                setattr(p, f"{_ROLES[role]}_end", found.ends[role])
        if isinstance(problem, UnpoolProblem):
            p.scatter = lib.PC_SCATTER_GET if problem.gradient else lib.PC_SCATTER_PUT
        else:
            p.kind, p.scatter = _KINDS[problem.kind], lib.PC_SCATTER_ADD
        return p, bool(lib.pc_pool_plan(self.kernel, p, call.max_workspace // c.WORKERS_IN_LIMIT))

    @staticmethod
    def _threads(call: Call, p: Any) -> int:
        by_memory = call.max_workspace // max(1, p.scratch_bytes)
        by_work = call.problem.bytes // pooling.BYTES_PER_THREAD
        return int(max(1, min(call.threads, by_memory, by_work, p.n_tasks)))

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if 0 in call.problem.x_shape or 0 in call.problem.out_shape:
            return 0
        p, fits = self._described(call)
        return int(p.scratch_bytes) * self._threads(call, p) if fits else None

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem = call.problem
        if 0 in problem.x_shape or 0 in problem.out_shape:
            return pooling.clear(len(problem.outputs))
        if not pooling.takes(call, self.family):
            return pooling.elsewhere
        p, _ = self._described(call)
        threads = self._threads(call, p)
        size = int(p.scratch_bytes) * threads
        x_at, out_at, indices_at, forward_at = pooling.places(call)
        kernel, run_kernel, null, address = self.kernel, lib.pc_pool_run, ffi.NULL, c.address
        reads_indices = problem.roles.get("indices") in [a.name for a in problem.inputs]

        def run(packed: Packed, *given: Array | None) -> bool:
            arrays = [a for a in given if a is not None]
            status = run_kernel(
                kernel,
                p,
                address(arrays[x_at]),
                address(arrays[out_at]),
                null if indices_at < 0 else address(arrays[indices_at]),
                null if forward_at < 0 else address(arrays[forward_at]),
                c.scratch(size),
                threads,
            )
            if reads_indices and status == lib.PC_BAD_INDEX:
                raise InvalidProblem(pooling.bad_index(problem))
            return bool(status == 0)

        return run


def algorithms(isas: dict[str, int], best: str) -> Iterator[CPool]:
    """Every pooling kernel of the build, for each operation that it serves."""
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_pool_kernels(number)):
            kernel = lib.pc_pool_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_pool_kernel_name(kernel)).decode().partition("__")
            _, family, dtype = what.split("_")
            for op in pooling.operations(family, dtype):
                yield CPool(op, family, dtype, isa, isa == best, runs_here, kernel)
