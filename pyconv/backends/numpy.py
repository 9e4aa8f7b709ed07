"""The reference as an algorithm: float64 sums, any problem, the last candidate of every list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .. import reference
from ..algorithm import Algorithm, Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..problem import ConvProblem

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


def algorithms() -> Iterator[Algorithm]:
    """Return the reference for each operation and element type."""
    for op in ("conv1d", "conv2d", "conv3d"):
        for dtype in EPSILON:
            yield ReferenceConv(op, dtype)
