"""The pooling kernels of csrc/ as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .. import cost
from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..errors import InvalidProblem
from ..problem import AXES, FLOATS, ITEM_BYTES, PoolProblem, UnpoolProblem
from . import c

__all__ = ["algorithms"]

#: Offsets inside a window have to fit 32 bits, with some to spare.
_MAX_REACH = 0x7F000000
#: Bytes moved below which a call stays on the caller's thread: waking another costs some microseconds.
_BYTES_PER_THREAD = 256 << 10


def _row_is_plain(call: Call, name: str, item: int, channels_last: bool) -> bool:
    """Whether the elements of a row, or of its pixels, are neighbours in memory: what every kernel here needs."""
    strides, shape = call.strides(name), call.shape(name)
    assert strides is not None
    if channels_last:
        return (shape[1] == 1 or strides[1] == item) and (shape[-1] == 1 or strides[-1] == shape[1] * item)
    return shape[-1] == 1 or strides[-1] == item


def _plane_is_plain(call: Call, name: str, item: int, channels_last: bool) -> bool:
    """Whether a plane is one run of memory: what an index points into."""
    strides, shape = call.strides(name), call.shape(name)
    assert strides is not None
    step = item * (shape[1] if channels_last else 1)
    for size, stride in zip(reversed(shape[2:]), reversed(strides[2:]), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return not channels_last or shape[1] == 1 or strides[1] == item


@dataclass(frozen=True, slots=True)
class CPool:
    """A kernel of the pooling family, for one operation, on one instruction set."""

    op: str
    family: str
    dtype: str
    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    backend: str = "c"

    @property
    def id(self) -> str:
        """Return op.family.dtype@c-isa."""
        return f"{self.op}.{self.family}.{self.dtype}@c-{self.isa}"

    @property
    def kernel_name(self) -> str:
        """Return what ``last_kernel`` says after this algorithm has run."""
        return f"pool_{self.family}_{self.dtype}__{self.isa}"

    def supports(self, problem: PoolProblem | UnpoolProblem) -> Support:
        """Whether the kernel can do it."""
        if not self.runs_here:
            return Support(f"this processor does not have {self.isa}")
        if isinstance(problem, UnpoolProblem):
            return Support()
        if self.family == "separable" and problem.indices:
            return Support("finds no indices")
        if self.family == "indexed" and not problem.indices:
            return Support("is for maxima with their indices")
        if (self.family == "indexed" and problem.dtype in FLOATS) or (self.family == "scatter" and not problem.indices):
            steps = [math.prod(problem.spatial[i + 1 :]) for i in range(problem.rank)]
            windows = problem.kernel if problem.adaptive is None else problem.spatial
            reach = sum(k * d * step for k, d, step in zip(windows, problem.dilation, steps, strict=True))
            if reach >= _MAX_REACH:
                return Support("needs windows that reach less than 2^31 elements")
        return Support()

    def accuracy(self, problem: PoolProblem | UnpoolProblem) -> str:
        """Return "strict"."""
        return "strict"

    def error_reach(self, problem: PoolProblem | UnpoolProblem) -> int:
        """Return 0."""
        return 0

    def error_bound(self, problem: PoolProblem | UnpoolProblem) -> float:
        """Return one rounding for each addition and division, and of the result; nothing for what only moves.

        That of norms is of the sums that they are roots of.
        """
        if isinstance(problem, UnpoolProblem) or (problem.kind == "max" and not problem.gradient):
            return 0.0
        # (of the powers and their slopes each multiplication; of a norm's gradient the sums of its windows as well)
        more = 0.0 if problem.kind != "lp" else 3 * problem.norm + (problem.window if problem.gradient else 0)
        return (problem.overlap + more + 4) * c.EPSILON[self.dtype] + c.ROUNDING[self.dtype]

    def estimate(self, problem: PoolProblem | UnpoolProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return cost.pool_seconds(problem, machine)

    def packing(self, problem: PoolProblem | UnpoolProblem) -> str:
        """Return "plain": there are no weights."""
        return "plain"

    def prepare(self, problem: PoolProblem | UnpoolProblem, *weights: Array | None) -> Packed:
        """Return nothing: there are no weights."""
        return None

    def _described(self, call: Call) -> tuple[Any, bool]:
        """Return the kernel's description of the call, and whether its scratch is within the limit."""
        problem, item = call.problem, ITEM_BYTES[self.dtype]
        p = ffi.new("pc_pool *")
        flat = _flat(call, problem)
        inner = problem.c if problem.channels_last else 1
        p.n, p.c, p.inner = problem.n, problem.c // inner if inner else 0, inner
        rank = 1 if flat else problem.rank
        spatial = (math.prod(problem.spatial),) if flat else problem.spatial
        out_spatial = (1,) if flat else problem.out_spatial
        kernel, stride, padding, dilation, adaptive = _windows(problem, spatial, out_spatial)
        for axis in (p.d, p.h, p.w):
            setattr(axis, "in", 1)
            axis.k = axis.out = axis.stride = axis.dilation = 1
        for i, name in enumerate(AXES[rank]):
            axis = getattr(p, name)
            setattr(axis, "in", spatial[i])
            axis.k, axis.out, axis.stride = kernel[i], out_spatial[i], stride[i]
            axis.dilation, axis.pad = dilation[i], padding[i][0]
            setattr(p, f"pad_after_{name}", padding[i][1])
        p.adaptive = adaptive
        for ld, end, role in (("ld_x", "x_end", "x"), ("ld_out", "out_end", "out"), ("ld_idx", "", "indices"),
                              ("ld_forward", "forward_end", "forward")):  # fmt: skip
            name = problem.roles.get(role)
            strides = None if name is None else call.strides(name)
            if name is None or strides is None:
                continue
            size = 8 if role == "indices" else item
            elements = [s // size for s in strides]
            if end:
                reach = zip(call.shape(name), elements, strict=True)
                setattr(p, end, 1 + sum((n - 1) * s for n, s in reach if s > 0 and n > 0))
            fields = getattr(p, ld)
            fields.n, fields.c = elements[0], 0 if problem.channels_last else elements[1]
            if not flat:
                for axis_name, step in zip(AXES[problem.rank], elements[2:], strict=True):
                    setattr(fields, axis_name, step)
        if isinstance(problem, UnpoolProblem):
            p.scatter = lib.PC_SCATTER_GET if problem.gradient else lib.PC_SCATTER_PUT
        else:
            p.kind = {"max": lib.PC_POOL_MAX, "avg": lib.PC_POOL_AVG, "lp": lib.PC_POOL_LP}[problem.kind]
            p.norm, p.power = problem.norm, power_of(problem.norm)
            p.signs = p.power % 2 == 1
            p.scatter = lib.PC_SCATTER_ADD
            p.include_pad = problem.count_include_pad
            p.divisor = problem.divisor or 0
            p.own_indices = problem.gradient and problem.kind == "max" and not problem.indices
        return p, bool(lib.pc_pool_plan(self.kernel, p, call.max_workspace // c.WORKERS_IN_LIMIT))

    @staticmethod
    def _threads(call: Call, p: Any) -> int:
        by_memory = call.max_workspace // max(1, p.scratch_bytes)
        by_work = call.problem.bytes // _BYTES_PER_THREAD
        return int(max(1, min(call.threads, by_memory, by_work, p.n_tasks)))

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if 0 in call.problem.x_shape or 0 in call.problem.out_shape:
            return 0
        p, fits = self._described(call)
        return int(p.scratch_bytes) * self._threads(call, p) if fits else None

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem, item = call.problem, ITEM_BYTES[self.dtype]
        if 0 in problem.x_shape or 0 in problem.out_shape:
            return _clear(len(problem.outputs))
        names = {role: name for role, name in problem.roles.items() if call.strides(name) is not None}
        for role, name in names.items():
            size = 8 if role == "indices" else item
            whole = role == "x" and self.family == "scatter"
            if not (_plane_is_plain if whole else _row_is_plain)(call, name, size, problem.channels_last):
                return _elsewhere
        p, _ = self._described(call)
        threads = self._threads(call, p)
        size = int(p.scratch_bytes) * threads
        order = [a.name for a in (*problem.inputs, *problem.outputs)]
        places = [order.index(names[role]) if role in names else -1 for role in ("x", "out", "indices", "forward")]
        x_at, out_at, indices_at, forward_at = places
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
                raise InvalidProblem(
                    f"{problem.op}: an index lies outside its plane of {math.prod(problem.spatial)} elements"
                )
            return bool(status == 0)

        return run


def power_of(norm: float) -> float:
    """Return what elements are raised to: -p for |x|^p, p where x^p has a meaning for any x, 0 for x itself."""
    return 0.0 if norm == 1 else norm if norm % 1 == 0 else -norm


def _elsewhere(packed: Packed, *arrays: Array | None) -> bool:
    """Return False: these strides are read and written from copies."""
    return False


def _clear(n_outputs: int) -> Runner:
    """Return what there is to do where x or the output is empty: the rest of the results is zero."""

    def run(packed: Packed, *arrays: Array | None) -> bool:
        for out in arrays[len(arrays) - n_outputs :]:
            if out is not None:
                out[...] = 0
        return True

    return run


def _flat(call: Call, problem: Any) -> bool:
    """Whether one window covers whole planes, each a run of memory: then it is one row."""
    if isinstance(problem, UnpoolProblem) or problem.gradient or problem.channels_last or problem.rank == 1:
        return False
    whole = problem.adaptive is not None or problem.kernel == problem.spatial
    one = all(size == 1 for size in problem.out_spatial) and all(pad == (0, 0) for pad in problem.padding)
    return whole and one and _plane_is_plain(call, "x", ITEM_BYTES[problem.dtype], False)


def _windows(problem: Any, spatial: tuple[int, ...], out_spatial: tuple[int, ...]) -> tuple[Any, Any, Any, Any, bool]:
    """Return kernel, stride, padding, dilation and whether windows differ in size."""
    rank = len(spatial)
    ones, none = (1,) * rank, ((0, 0),) * rank
    if isinstance(problem, UnpoolProblem):
        return ones, ones, none, ones, False
    if problem.adaptive is None and len(spatial) == problem.rank:
        return problem.kernel, problem.stride, problem.padding, problem.dilation, False
    if all(size % out == 0 for size, out in zip(spatial, out_spatial, strict=True)):
        sizes = tuple(size // out for size, out in zip(spatial, out_spatial, strict=True))
        return sizes, sizes, none, ones, False
    return ones, ones, none, ones, True


def algorithms(isas: dict[str, int], best: str) -> Iterator[CPool]:
    """Every pooling kernel of the build, for each operation that it serves."""
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_pool_kernels(number)):
            kernel = lib.pc_pool_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_pool_kernel_name(kernel)).decode().partition("__")
            _, family, dtype = what.split("_")
            for rank in (1, 2, 3):
                maxima = (f"max_pool{rank}d", f"adaptive_max_pool{rank}d")
                averages = (f"avg_pool{rank}d", f"adaptive_avg_pool{rank}d", f"lp_pool{rank}d")
                ops: tuple[str, ...] = {"separable": maxima, "indexed": maxima}.get(family, ())
                if family == "separable" and dtype in FLOATS:
                    ops += averages
                elif family == "spread":
                    ops = tuple(f"{op}-grad-x" for op in averages)
                elif family == "scatter":
                    ops = (f"max_unpool{rank}d",)
                    if dtype in FLOATS:
                        ops += (f"max_unpool{rank}d-grad-x", *(f"{op}-grad-x" for op in maxima))
                for op in ops:
                    yield CPool(op, family, dtype, isa, isa == best, runs_here, kernel)
