"""Linear layers and their gradients on GPUs: 1x1 convolutions of rows as pixels, and a kernel for few rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

from ..algorithm import Call, Packed, Runner, Support
from ..problem import FLOATS, ConvBiasProblem, ConvProblem, ConvWeightProblem, LinearProblem
from .cuda_grad import CudaBias, CudaWeight
from .gpu import EPSILON, LAUNCH_S, OnCuda, Place, peak_seconds, seconds, strides_of, why_not

__all__ = ["DENSE", "algorithms", "turned"]

#: The families of convolution kernels that are products, whatever their window.
DENSE = ("direct", "implicit-gemm", "implicit-gemm-tf32")
#: Rows that a product's smallest tile has as pixels.
_PIXELS = 64


@lru_cache(maxsize=256)
def _as_convolution(problem: LinearProblem) -> ConvProblem:
    """Return the 1x1 convolution whose pixels are the rows: of x, or for its gradient of grad_output."""
    c_in, c_out = (problem.c_out, problem.c_in) if problem.argument == "x" else (problem.c_in, problem.c_out)
    return ConvProblem(
        n=1,
        c_in=c_in,
        c_out=c_out,
        spatial=(problem.rows,),
        kernel=(1,),
        stride=(1,),
        padding=((0, 0),),
        dilation=(1,),
        dtype=problem.dtype,
        bias=problem.bias,
    )


def _as_image(rows: Any) -> Any:
    """Return a matrix (rows, features) as an image of one row of pixels."""
    (pixels, features), (step, between) = rows.shape, rows.strides
    return rows.seen_as((1, features, pixels), (0, between, step))


def _as_kernels(w: Any) -> Any:
    """Return a matrix (c_out, c_in) as the weights of a 1x1 convolution."""
    return w.seen_as((*w.shape, 1), (*w.strides, w.dtype.itemsize))


def turned(place: Place, w: Any, groups: int, rows: int, columns: int, dtype: str, like: Any) -> Any:
    """Return the matrices (rows, columns) of weights with their axes turned, as the weights of a convolution.

    In order, of this element type; ``like`` is any array on the same GPU.
    """
    start, row, column = (0, columns, 1) if w.ndim != 2 else strides_of(w)
    found = place.array((groups * columns, rows, 1), dtype, like)
    steps = start, rows * columns, row, column
    place.run("linear.transpose", (), groups * rows * columns, (groups, rows, columns), steps, w, found)
    return found


def _is_empty(problem: LinearProblem) -> bool:
    return min(problem.rows, problem.c_in, problem.c_out) < 1


_NOTHING = "needs at least one row, input and output feature"


@dataclass(frozen=True, slots=True)
class CudaLinear(OnCuda):
    """A linear layer, or its gradient with respect to x, by a convolution's kernel."""

    unit: ClassVar[str] = "linear"
    kernel: Any = None

    def accuracy(self, problem: LinearProblem) -> str:
        """Return the kernel's: "fast" of operands that are rounded."""
        return str(self.kernel.accuracy(_as_convolution(problem)))

    def supports(self, problem: LinearProblem) -> Support:
        """Whether the kernel can do it."""
        if _is_empty(problem):
            return Support(_NOTHING)
        found: Support = self.kernel.supports(_as_convolution(problem))
        return found

    def error_bound(self, problem: LinearProblem) -> float:
        """Return the convolution's."""
        return float(self.kernel.error_bound(_as_convolution(problem)))

    def estimate(self, problem: LinearProblem, machine: Any) -> float:
        """Return the convolution's seconds for whole tiles of rows, and those of turning or packing the weights."""
        conv = _as_convolution(problem)
        whole = replace(conv, spatial=(-(-problem.rows // _PIXELS) * _PIXELS,))
        moved = 2 * math.prod(conv.w_shape) * self.item * (2 if problem.argument else 1)
        return float(self.kernel.estimate(whole, machine)) + peak_seconds(0, moved) + LAUNCH_S

    def prepare(self, problem: LinearProblem, *weights: Any) -> Packed:
        """Return what is packed on a host as it is."""
        return weights

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        problem: LinearProblem = call.problem
        convolve: Runner = self.kernel.compile(replace(call, problem=_as_convolution(problem)))

        def forward(packed: Packed, x: Any, out: Any) -> bool:
            w, bias = packed
            convolve((_as_kernels(w), bias), _as_image(x), None, _as_image(out))
            return self.done()

        def gradient(packed: Packed, w: Any, out: Any) -> bool:
            (grad_output,) = packed
            kernels = turned(Place.of(out), w, 1, problem.c_out, problem.c_in, self.dtype, out)
            convolve((kernels, None), _as_image(grad_output), None, _as_image(out))
            return self.done()

        return gradient if problem.argument else forward


@dataclass(frozen=True, slots=True)
class CudaLinearWeight(OnCuda):
    """The gradient with respect to w by the kernel of convolutions' weights."""

    unit: ClassVar[str] = "linear"

    @property
    def _kernel(self) -> CudaWeight:
        return CudaWeight("conv1d-grad-w", self.family, self.dtype)

    @staticmethod
    def _problem(problem: LinearProblem) -> ConvWeightProblem:
        return ConvWeightProblem(_as_convolution(problem))

    def supports(self, problem: LinearProblem) -> Support:
        """Whether the kernel can do it."""
        return Support(_NOTHING) if _is_empty(problem) else self._kernel.supports(self._problem(problem))

    def error_bound(self, problem: LinearProblem) -> float:
        """Return the convolution's."""
        return self._kernel.error_bound(self._problem(problem))

    def prepare(self, problem: LinearProblem, *weights: Any) -> Packed:
        """Return grad_output as it is."""
        return weights

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        sums = self._kernel.compile(replace(call, problem=self._problem(call.problem)))

        def run(packed: Packed, x: Any, out: Any) -> bool:
            sums(None, _as_image(packed[0]), _as_image(x), _as_kernels(out))
            return self.done()

        return run


@dataclass(frozen=True, slots=True)
class CudaLinearBias(OnCuda):
    """The gradient with respect to the bias: sums of columns."""

    unit: ClassVar[str] = "linear"

    @property
    def _kernel(self) -> CudaBias:
        return CudaBias("conv1d-grad-bias", self.family, self.dtype)

    @staticmethod
    def _problem(problem: LinearProblem) -> ConvBiasProblem:
        return ConvBiasProblem(1, problem.c_out, (problem.rows,), problem.dtype)

    def supports(self, problem: LinearProblem) -> Support:
        """Whether the kernel can do it."""
        return self._kernel.supports(self._problem(problem))

    def error_bound(self, problem: LinearProblem) -> float:
        """Return that of the sums."""
        return self._kernel.error_bound(self._problem(problem))

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        sums = self._kernel.compile(replace(call, problem=self._problem(call.problem)))

        def run(packed: Packed, grad_output: Any, out: Any) -> bool:
            sums(None, _as_image(grad_output), out)
            return self.done()

        return run


@dataclass(frozen=True, slots=True)
class CudaDot(OnCuda):
    """The kernel of kernels/cuda/linear.py for few rows, or for sums without terms."""

    unit: ClassVar[str] = "linear"

    def supports(self, problem: LinearProblem) -> Support:
        """Whether the kernel can do it."""
        return Support(why_not(problem, problem.rows * max(problem.c_in, problem.c_out)))

    def error_bound(self, problem: LinearProblem) -> float:
        """Return a rounding for each step of the longest sum, and those of the product and the bias."""
        from ..kernels.cuda import THREADS

        return (-(-problem.reduction // THREADS) + 7 + 2) * EPSILON[self.dtype]

    def estimate(self, problem: LinearProblem, machine: Any) -> float:
        """Return seconds of a nominal GPU: one matrix is read again for every few rows, of gradients in large steps."""
        from ..kernels.cuda.linear import ROWS

        rows = problem.c_out if problem.argument == "w" else problem.rows
        others = problem.c_in if problem.argument else problem.c_out
        again = (-(-rows // ROWS) - 1) * others * problem.reduction * self.item
        return seconds(problem, _SHARE) + peak_seconds(0, again) * (8 if problem.argument else 1)

    def prepare(self, problem: LinearProblem, *weights: Any) -> Packed:
        """Return what is packed on a host as it is."""
        return weights

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        from ..kernels.cuda.linear import blocks_dot

        problem: LinearProblem = call.problem
        rows, columns = problem.outputs[0].shape
        grid, sizes = blocks_dot(rows, columns), (rows, columns, problem.reduction)
        words = self.real, problem.bias

        def run(packed: Packed, given: Any, out: Any) -> bool:
            other, bias = (*packed, None)[:2]
            a, b = (given, other) if problem.argument == "" else (other, given)
            of_a, of_b = strides_of(a), strides_of(b)
            if problem.argument:  # sums run along the rows of w, or of both
                of_b = of_b[0], of_b[2], of_b[1]
            if problem.argument == "w":
                of_a = of_a[0], of_a[2], of_a[1]
            of_all = *of_a, *of_b, *strides_of(out), *strides_of(bias)[:2]
            Place.of(out).launch("linear.dot", words, grid, sizes, of_all, a, b, bias, out)
            return self.done()

        return run


#: Of the peak, in float32: nine values loaded for eight products.
_SHARE = 0.1


def algorithms(convolutions: Iterable[Any]) -> Iterator[OnCuda]:
    """Every kernel, for each operation and element type."""
    for kernel in convolutions:
        if kernel.op == "conv1d" and kernel.family in DENSE:
            for op in ("linear", "linear-grad-x"):
                yield CudaLinear(op, kernel.family, kernel.dtype, kernel=kernel)
    for dtype in FLOATS:
        for op in ("linear", "linear-grad-x", "linear-grad-w"):
            yield CudaDot(op, "dot", dtype)
        yield CudaLinearWeight("linear-grad-w", "direct", dtype)
        yield CudaLinearBias("linear-grad-bias", "pairwise", dtype)
