"""The reference as an algorithm: float64 sums, any problem, the last candidate of every list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .. import reference
from ..algorithm import Algorithm, Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..errors import InvalidProblem
from ..problem import FLOATS, ITEM_BYTES, ConvProblem, PoolProblem, UnpoolProblem

__all__ = ["algorithms"]

EPSILON = {"f16": 2.0**-11, "f32": 2.0**-24, "f64": 2.0**-53}


@dataclass(frozen=True, slots=True)
class ReferenceConv:
    """float64 accumulation in NumPy, rounded once at the end."""

    op: str
    dtype: str
    family: str = "reference"
    backend: str = "numpy"
    preferred: bool = True

    @property
    def id(self) -> str:
        """Return op.family.dtype@backend."""
        return f"{self.op}.reference.{self.dtype}@numpy"

    def supports(self, problem: ConvProblem) -> Support:
        """Return yes: it does everything."""
        return Support()

    def workspace(self, call: Call) -> int | None:
        """Return the block of float64 values that it works on."""
        return min(call.max_workspace // 2, 16 << 20)

    def estimate(self, problem: ConvProblem, machine: Machine) -> float:
        """Return a gigaflop a second and a NumPy call for each tap."""
        return problem.flops / 1e9 + 40e-6 * problem.n * problem.groups * int(np.prod(problem.kernel)) + 50e-6

    def accuracy(self, problem: ConvProblem) -> str:
        """Return "strict"."""
        return "strict"

    def error_reach(self, problem: ConvProblem) -> int:
        """Return 0."""
        return 0

    def error_bound(self, problem: ConvProblem) -> float:
        """Return one rounding to the output type, and the float64 sum's."""
        return EPSILON[self.dtype] + (problem.reduction + 4) * EPSILON["f64"]

    def packing(self, problem: ConvProblem) -> str:
        """Return the name of the order that weights come in."""
        return "plain"

    def prepare(self, problem: ConvProblem, w: Array, bias: Array | None) -> Packed:
        """Return a copy."""
        return w.copy(), None if bias is None else bias.copy()

    def compile(self, call: Call) -> Runner:
        """Return the loop over blocks."""
        limit = self.workspace(call) or 0

        def run(packed: Packed, x: Array, residual: Array | None, out: Array) -> bool:
            w, bias = packed
            for where, values in reference.conv_blocks(call.problem, x, w, bias, residual, limit):
                with np.errstate(over="ignore", invalid="ignore"):
                    out[where] = values
            return True

        return run


@dataclass(frozen=True, slots=True)
class ReferencePool:
    """Pooling and un-pooling by their definitions, window by window."""

    op: str
    dtype: str
    family: str = "reference"
    backend: str = "numpy"
    preferred: bool = True

    @property
    def id(self) -> str:
        """Return op.family.dtype@backend."""
        return f"{self.op}.reference.{self.dtype}@numpy"

    def supports(self, problem: PoolProblem | UnpoolProblem) -> Support:
        """Return yes: it does everything."""
        return Support()

    def workspace(self, call: Call) -> int | None:
        """Return the results in float64."""
        return 8 * sum(int(np.prod(a.shape, dtype=object)) for a in call.problem.outputs)

    def estimate(self, problem: PoolProblem | UnpoolProblem, machine: Machine) -> float:
        """Return some microseconds a window."""
        return problem.flops / 1e9 + 20e-6 * float(np.prod(problem.out_shape, dtype=object)) + 50e-6

    def accuracy(self, problem: PoolProblem | UnpoolProblem) -> str:
        """Return "strict"."""
        return "strict"

    def error_reach(self, problem: PoolProblem | UnpoolProblem) -> int:
        """Return 0."""
        return 0

    def error_bound(self, problem: PoolProblem | UnpoolProblem) -> float:
        """Return one rounding to the output type, and the float64 sum's."""
        if isinstance(problem, UnpoolProblem) or (problem.kind == "max" and not problem.gradient):
            return 0.0
        more = 0.0 if problem.kind != "lp" else 3 * problem.norm + (problem.window if problem.gradient else 0)
        return EPSILON[self.dtype] + (problem.overlap + more + 4) * EPSILON["f64"]

    def packing(self, problem: PoolProblem | UnpoolProblem) -> str:
        """Return "plain": there are no weights."""
        return "plain"

    def prepare(self, problem: PoolProblem | UnpoolProblem, *weights: Array | None) -> Packed:
        """Return nothing: there are no weights."""
        return None

    def compile(self, call: Call) -> Runner:
        """Return the definition."""
        problem = call.problem

        def run(packed: Packed, *given: Array | None) -> bool:
            names = [a.name for a in (*problem.inputs, *problem.outputs)]
            arrays = dict(zip(names, (a for a in given if a is not None), strict=True))
            indices = arrays.get("indices")
            reads = "indices" in [a.name for a in problem.inputs]
            if reads and indices is not None and indices.size:
                plane = int(np.prod(problem.spatial))
                if indices.min() < 0 or indices.max() >= plane:
                    raise InvalidProblem(f"{problem.op}: an index lies outside its plane of {plane} elements")
            found = None
            if isinstance(problem, UnpoolProblem):
                if problem.gradient:
                    values = reference.unpool_grad(arrays["grad_output"], arrays["indices"])
                else:
                    values = reference.unpool(arrays["x"], arrays["indices"], problem.spatial)
            elif problem.gradient:
                values = reference.pool_grad(problem, arrays["grad_output"], arrays.get("x"), indices)
            else:
                values, found = reference.pool(problem, arrays["x"])
            with np.errstate(over="ignore", invalid="ignore"):
                arrays["out"][...] = values
            if found is not None:
                arrays["indices"][...] = found
            return True

        return run


def _pool_ops() -> Iterator[tuple[str, str]]:
    for rank in (1, 2, 3):
        for dtype in ITEM_BYTES:
            moved = [f"max_pool{rank}d", f"adaptive_max_pool{rank}d", f"max_unpool{rank}d"]
            summed = [f"avg_pool{rank}d", f"adaptive_avg_pool{rank}d", f"lp_pool{rank}d"]
            if dtype in FLOATS:
                moved += [*summed, *(f"{op}-grad-x" for op in (*moved, *summed))]
            for op in moved:
                yield op, dtype


def algorithms() -> Iterator[Algorithm]:
    """Return the reference for each operation and element type."""
    for op, dtype in _pool_ops():
        yield ReferencePool(op, dtype)
    for op in ("conv1d", "conv2d", "conv3d"):
        for dtype in EPSILON:
            yield ReferenceConv(op, dtype)
