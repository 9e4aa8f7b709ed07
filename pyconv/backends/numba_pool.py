"""The Numba kernels of the pooling family as algorithms: the twins of csrc/pool*.inc.c.

Not for float16, which Numba does not compute with on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from .. import cost
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..errors import InvalidProblem
from ..kernels.cpu import pool, pool_indexed, pool_plan, threads, tile
from ..problem import DTYPES, FLOATS, INTEGERS, ITEM_BYTES, PoolProblem, UnpoolProblem
from . import numba_cpu, pooling
from .plain import OnNumba

__all__ = ["algorithms"]

_SCALAR = {word: np.dtype(name).type for name, word in DTYPES.items()}
#: Of offsets: integers as wide as the elements that they stand beside.
_OFFSET = {"f32": np.int32(0), "f64": np.int64(0)}


def _axis(axis: pooling.PoolAxis) -> tile.Axis:
    return tile.Axis(axis.size, axis.k, axis.out, axis.stride, axis.dilation, axis.before)


@lru_cache(maxsize=256)
def _cut(call: Call, family: str) -> Any:
    """Return the kernel's record of the call with its blocking, or None where the scratch limit is too small."""
    problem, found = call.problem, pooling.describe(call)
    scatter = pool_indexed.ADD
    if isinstance(problem, UnpoolProblem):
        scatter = pool_indexed.GET if problem.gradient else pool_indexed.PUT

    def strides(role: str) -> tile.Strides:
        return tile.Strides(**found.strides.get(role, {}))

    described = pool_plan.Pool(
        item_bytes=ITEM_BYTES[problem.dtype],
        n=found.n,
        c=found.c,
        inner=found.inner,
        d=_axis(found.d),
        h=_axis(found.h),
        w=_axis(found.w),
        after=(found.d.after, found.h.after, found.w.after),
        adaptive=found.adaptive,
        scatter=scatter,
        include_pad=found.include_pad,
        signs=found.signs,
        own_indices=found.own_indices,
        divisor=found.divisor,
        norm=found.norm,
        power=found.power,
        ld_x=strides("x"),
        ld_out=strides("out"),
        ld_idx=strides("indices"),
        ld_forward=strides("forward"),
    )
    return pool_plan.plan_pool(described, family, call.max_workspace // numba_cpu.WORKERS_IN_LIMIT)


@dataclass(frozen=True, slots=True)
class NumbaPool(OnNumba):
    """A pooling kernel of kernels/cpu/."""

    unit: ClassVar[str] = "pool"

    op: str
    family: str
    dtype: str
    backend: str = "numba"
    preferred: bool = True

    def supports(self, problem: PoolProblem | UnpoolProblem) -> Support:
        """Whether the kernel can do it."""
        return pooling.supports(problem, self.family)

    def error_bound(self, problem: PoolProblem | UnpoolProblem) -> float:
        """Return that of sums."""
        return pooling.error_bound(problem, numba_cpu.EPSILON.get(self.dtype, 0.0))

    def estimate(self, problem: PoolProblem | UnpoolProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.pool_seconds(problem, machine)

    @staticmethod
    def _threads(call: Call, record: Any) -> int:
        by_memory = call.max_workspace // max(1, int(record["scratch_bytes"]))
        by_work = numba_cpu.useful_threads(0, call.problem.bytes)
        return int(max(1, min(call.threads, by_memory, by_work, int(record["n_tasks"]))))

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if 0 in call.problem.x_shape or 0 in call.problem.out_shape:
            return 0
        params = _cut(call, self.family)
        return None if params is None else int(params[0]["scratch_bytes"]) * self._threads(call, params[0])

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem, family, name = call.problem, self.family, self.kernel_name
        if 0 in problem.x_shape or 0 in problem.out_shape:
            return pooling.clear(len(problem.outputs))
        if not pooling.takes(call, family):
            return pooling.elsewhere
        params = _cut(call, family)
        record = params[0]
        shares, n_tasks, size = self._threads(call, record), int(record["n_tasks"]), int(record["scratch_bytes"])
        at = pooling.places(call)
        items = [ITEM_BYTES[problem.dtype]] * 2 + [8, ITEM_BYTES[problem.dtype]]
        reads_indices = problem.roles.get("indices") in [a.name for a in problem.inputs]
        like, offset = _SCALAR[self.dtype](0), _OFFSET.get(self.dtype)
        total = None if getattr(problem, "kind", "max") == "max" else 0

        def tasks(arrays: tuple[int, ...], first: int, last: int, scratch: int) -> Any:
            """Do some tasks and return how many were done."""
            x, out, indices, forward = arrays
            if family == "separable":
                return pool.pool_separable(params, first, last, x, out, scratch, like, total)
            if family == "spread":
                return pool.pool_spread(params, first, last, out, forward, x, scratch, like)
            if family == "scatter":
                more = indices, forward, scratch, like, offset
                return pool_indexed.pool_scatter(params, first, last, x, out, *more)
            kernel = pool_indexed.pool_indexed_integers if offset is None else pool_indexed.pool_indexed
            return kernel(params, first, last, x, out, indices, scratch, like, offset)

        def run(packed: Packed, *given: Array | None) -> bool:
            arrays = [a for a in given if a is not None]
            addresses = tuple(0 if i < 0 else numba_cpu.address(arrays[i]) for i in at)
            if any(where % item for where, item in zip(addresses, items, strict=True)):
                return False
            if reads_indices and pool_indexed.check_indices(params, 0, n_tasks, addresses[2]):
                raise InvalidProblem(pooling.bad_index(problem))
            memory = numba_cpu.scratch(size * shares)
            scratch = numba_cpu.address(memory)

            def work(share: int, first: int, last: int) -> Any:
                return tasks(addresses, first, last, scratch + share * size)

            threads.run_tasks(name, n_tasks, shares, work)
            numba_cpu.note_kernel(name)
            return True

        return run


def algorithms() -> Iterator[NumbaPool]:
    """Every pooling kernel, for each operation that it serves."""
    for dtype in ("f32", "f64", *INTEGERS):
        for family in ("separable", "indexed", "scatter", *(("spread",) if dtype in FLOATS else ())):
            for op in pooling.operations(family, dtype):
                yield NumbaPool(op, family, dtype)
