"""Linear layers, and their gradients, by the dense convolution kernels of a backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .. import cost
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..problem import ConvProblem, LinearProblem
from . import layers
from .borrowed import Borrowed

__all__ = ["Linear", "algorithms"]

#: The dense kernels that do a linear layer.
_DENSE = ("direct", "im2col", "implicit-gemm")


@lru_cache(maxsize=256)
def _as_convolution(problem: LinearProblem) -> ConvProblem:
    """Return the pointwise convolution of a linear layer: the rows that stay in place are its pixels.

    ``y = x w^T`` has the rows of x as pixels, channels fastest. Its gradients are turned so that nothing is transposed
    but what is packed: with the columns of w as pixels and grad_output as weights, ``gx = grad_output w``; with those
    of x, ``gw = grad_output^T x``.
    """
    c_in, pixels, c_out = {
        "": (problem.c_in, problem.rows, problem.c_out),
        "x": (problem.c_out, problem.c_in, problem.rows),
        "w": (problem.rows, problem.c_in, problem.c_out),
    }[problem.argument]
    return ConvProblem(
        n=1,
        c_in=c_in,
        c_out=c_out,
        spatial=(pixels,),
        kernel=(1,),
        stride=(1,),
        padding=((0, 0),),
        dilation=(1,),
        dtype=problem.dtype,
        channels_last=problem.argument == "",
        bias=problem.bias,
    )


def _turned(strides: tuple[int, ...] | None, pixels_first: bool) -> tuple[int, ...]:
    """Return a matrix's strides as (image, channel, pixel)."""
    assert strides is not None
    rows, columns = strides
    return (0, columns, rows) if pixels_first else (0, rows, columns)


@dataclass(frozen=True, slots=True)
class Linear(Borrowed):
    """A linear layer, or a gradient of it, on a dense kernel of the convolutions."""

    def supports(self, problem: LinearProblem) -> Support:
        """Whether the kernel can do it; a convolution has at least one pixel and one output channel."""
        if min(problem.rows, problem.c_in, problem.c_out) < 1:
            return Support("needs at least one row, input and output feature")
        return Support(self.kernel.supports(_as_convolution(problem)).reason)

    def accuracy(self, problem: LinearProblem) -> str:
        """Return "strict"."""
        return "strict"

    def error_reach(self, problem: LinearProblem) -> int:
        """Return 0."""
        return 0

    def error_bound(self, problem: LinearProblem) -> float:
        """(K + 2) eps for K products."""
        return layers.error_bound(problem)

    def estimate(self, problem: LinearProblem, machine: Machine) -> float:
        """Return the convolution's seconds, and those of packing."""
        seconds: float = self.kernel.estimate(_as_convolution(problem), machine)
        return seconds + cost.packing_seconds(problem, machine)

    def packing(self, problem: LinearProblem) -> str:
        """Return the convolution's order."""
        return str(self.kernel.packing(_as_convolution(problem)))

    def prepare(self, problem: LinearProblem, w: Array, bias: Array | None = None) -> Packed:
        """Return the convolution's packed weights, of w or of grad_output."""
        if problem.argument == "w":
            w = w.T
        packed: Packed = self.kernel.prepare(_as_convolution(problem), w[:, :, None], bias)
        return packed

    def _turned(self, call: Call) -> Call:
        problem = call.problem
        first, out = problem.inputs[0].name, "out"
        rows_are_pixels = problem.argument == ""
        arrays = (
            ("x", _turned(call.strides(first), rows_are_pixels)),
            (out, _turned(call.strides(out), rows_are_pixels)),
        )
        return Call(_as_convolution(problem), arrays, call.threads, call.max_workspace)

    def workspace(self, call: Call) -> int | None:
        """Return the convolution's scratch."""
        size: int | None = self.kernel.workspace(self._turned(call))
        return size

    def compile(self, call: Call) -> Runner:
        """Return the convolution on the matrices as they lie."""
        convolve: Runner = self.kernel.compile(self._turned(call))

        def run(packed: Packed, x: Array, out: Array) -> bool:
            return convolve(packed, x, None, out)

        def run_turned(packed: Packed, x: Array, out: Array) -> bool:
            return convolve(packed, x.T, None, out.T)

        if call.problem.argument == "":
            return run_turned

        return run


def algorithms(convolutions: Iterable[Any]) -> Iterator[Linear]:
    """Yield a linear layer and its gradients for each dense kernel of ordinary convolution."""
    for convolution in convolutions:
        if convolution.op == "conv1d" and convolution.family in _DENSE:
            for op in ("linear", "linear-grad-x", "linear-grad-w"):
                yield Linear(op, convolution)
