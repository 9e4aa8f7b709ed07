"""Deformable convolution and its gradients on GPUs: samples as columns, and products of 1x1 convolutions with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar

from ..algorithm import Call, Packed, Runner, Support
from ..problem import FLOATS, ConvProblem, ConvWeightProblem, DeformProblem
from .cuda_grad import CudaWeight
from .cuda_linear import turned
from .gpu import (
    EPSILON,
    SHARE,
    Flat,
    OnCuda,
    Place,
    check_contiguous,
    in_order,
    peak_seconds,
    plain_steps,
    seconds,
    steps,
    strides_of,
    why_not,
)

__all__ = ["algorithms"]

_ONES = (1, 1)


@lru_cache(maxsize=256)
def _product(problem: DeformProblem, of_columns: bool) -> ConvProblem:
    """Return the 1x1 convolution of columns, or of grad_output into the columns' gradient; float16 as float32."""
    conv = problem.conv
    rows = conv.c_in * problem.taps
    c_in, c_out = (rows, conv.c_out) if of_columns else (conv.c_out, rows)
    return ConvProblem(
        n=conv.n,
        c_in=c_in,
        c_out=c_out,
        spatial=conv.out_spatial,
        kernel=_ONES,
        stride=_ONES,
        padding=((0, 0),) * 2,
        dilation=_ONES,
        groups=conv.groups,
        dtype="f64" if conv.dtype == "f64" else "f32",
        bias=conv.bias,
    )


@dataclass(frozen=True, slots=True)
class CudaDeform(OnCuda):
    """The kernels of kernels/cuda/deform.py with those of convolutions, of which ``kernels`` are the best first."""

    unit: ClassVar[str] = "deform"
    kernels: tuple[Any, ...] = field(default=(), repr=False)

    @property
    def sums(self) -> str:
        """Return the type of columns."""
        return "f64" if self.dtype == "f64" else "f32"

    @staticmethod
    def _columns(problem: DeformProblem) -> tuple[int, int, int, int]:
        conv = problem.conv
        return (conv.n, conv.c_in * problem.taps, *conv.out_spatial)  # type: ignore[return-value]

    def supports(self, problem: DeformProblem) -> Support:
        """Whether the kernels can do it."""
        conv = problem.conv
        ends = zip(conv.spatial, conv.padding, conv.dilation, conv.kernel, conv.stride, strict=True)
        # four times: places and offsets are added in 32 bits
        reach = (4 * (size + sum(pads) + d * k + s) for size, pads, d, k, s in ends)
        parts = problem.taps * math.prod(conv.x_shape) if problem.argument == "x" else 0
        return Support(why_not(problem, math.prod(self._columns(problem)), parts, *reach))

    def error_bound(self, problem: DeformProblem) -> float:
        """Return one rounding for each product of the longest sum, and those of a sample; of w's also for its parts."""
        return (problem.reduction + 16 + (432 if problem.argument == "w" else 0)) * EPSILON[self.dtype]

    def estimate(self, problem: DeformProblem, machine: Any) -> float:
        """Return seconds of a nominal GPU: of the product, and of the columns that are written and read."""
        moved = 2 * math.prod(self._columns(problem)) * (8 if self.dtype == "f64" else 4)
        return seconds(problem, SHARE["implicit-gemm"]) + peak_seconds(0, moved)

    def prepare(self, problem: DeformProblem, *weights: Any) -> Packed:
        """Return the weights and the bias as they are."""
        return weights

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        ways = {"": self._forward, "x": self._of_x, "w": self._of_w}
        return ways.get(call.problem.argument, self._of_offset)(call)

    def _multiplied(self, call: Call, of_columns: bool) -> Runner:
        problem = _product(call.problem, of_columns)
        kernel = next(kernel for kernel in self.kernels if kernel.supports(problem))
        found: Runner = kernel.compile(replace(call, problem=problem))
        return found

    def _sizes(self, problem: DeformProblem) -> tuple[int, ...]:
        conv = problem.conv
        before = tuple(pad for pad, _ in conv.padding)
        window = *conv.kernel, *conv.out_spatial, *conv.stride, *conv.dilation, *before
        return (conv.n, problem.offset_groups, conv.c_in // problem.offset_groups, *conv.spatial, *window)

    def _blocks(self, problem: DeformProblem) -> int:
        """Return how many blocks of a thread's channels all images and offset groups have."""
        from ..kernels.cuda.deform import CHANNELS

        n, groups, each = self._sizes(problem)[:3]
        return int(n * groups * -(-each // CHANNELS))

    def _sampled(self, problem: DeformProblem, place: Place, x: Any, offset: Any, mask: Any) -> Flat:
        """Return the columns."""
        columns = place.scratch(math.prod(self._columns(problem)), self.sums)
        points = problem.taps * math.prod(problem.conv.out_spatial)
        of_arrays = *strides_of(x), *strides_of(offset), *strides_of(mask)[:5]
        words, sizes = (self.real, problem.mask), self._sizes(problem)
        threads = self._blocks(problem) * points
        place.run("deform.samples", words, threads, sizes, of_arrays, x, offset, mask, columns)
        return columns

    def _as_maps(self, problem: DeformProblem, columns: Flat, like: Any) -> Any:
        """Return columns in scratch as maps (n, c taps, h_out, w_out)."""
        return in_order(columns, self._columns(problem), like)

    def _grad_columns(self, call: Call) -> Any:
        """Return the function of (place, w, grad_output) that makes the columns' gradient in scratch."""
        problem: DeformProblem = call.problem
        conv, elements = problem.conv, math.prod(self._columns(problem))
        rows, each = conv.c_in * problem.taps // conv.groups, conv.c_out // conv.groups
        multiply = self._multiplied(call, of_columns=False) if elements else None
        shape = conv.out_shape

        def columns(place: Place, w: Any, grad_output: Any) -> Flat:
            found = place.scratch(elements, self.sums)
            if multiply is None:
                return found
            check_contiguous(w)
            kernels = turned(place, w, conv.groups, each, rows, self.sums, grad_output)
            if self.dtype == "f16":
                wide, sizes = place.scratch(math.prod(shape), self.sums), (*shape[:2], 1, *shape[2:])
                of_both, words = (*steps(grad_output), *plain_steps(shape)), (self.real, None)
                arrays = self.number(0), grad_output, wide
                place.run("elementwise.forward", words, wide.elements, sizes, of_both, *arrays)
                grad_output = in_order(wide, shape, grad_output)
            multiply((kernels, None), grad_output, None, self._as_maps(problem, found, grad_output))
            return found

        return columns

    def _forward(self, call: Call) -> Runner:
        problem: DeformProblem = call.problem
        multiply = self._multiplied(call, of_columns=True)

        def run(packed: Packed, x: Any, offset: Any, mask: Any, out: Any) -> bool:
            # streams and GPUs are asked of arrays that the caller has
            place = Place.of(out)
            columns = self._sampled(problem, place, x, offset, mask)
            multiply(packed, self._as_maps(problem, columns, x), None, out)
            return self.done()

        return run

    def _of_w(self, call: Call) -> Runner:
        problem: DeformProblem = call.problem
        weights = ConvWeightProblem(_product(problem, True))
        sums = CudaWeight("conv2d-grad-w", "direct", self.sums).compile(replace(call, problem=weights))
        c_out, *window = problem.conv.w_shape

        def run(packed: Packed, grad_output: Any, x: Any, offset: Any, mask: Any, out: Any) -> bool:
            columns = self._sampled(problem, Place.of(out), x, offset, mask)
            sums(None, grad_output, self._as_maps(problem, columns, x), _joined(out, c_out, math.prod(window)))
            return self.done()

        return run

    def _of_x(self, call: Call) -> Runner:
        problem: DeformProblem = call.problem
        conv, elements = problem.conv, math.prod(problem.conv.x_shape)
        gradient, sizes = self._grad_columns(call), self._sizes(problem)
        taps = problem.taps
        words, shape = (self.real, problem.mask), (taps, conv.n, conv.c_in, 1, *conv.spatial)

        def run(packed: Packed, grad_output: Any, offset: Any, mask: Any, out: Any) -> bool:
            place = Place.of(out)
            columns = gradient(place, packed[0], grad_output)
            found = place.scratch(taps * elements, self.sums)
            place.run("fill.fill", (), found.elements, found.elements, self.number(0), found)
            of_arrays = *strides_of(offset), *strides_of(mask)[:5]
            rows = taps * self._blocks(problem) * conv.spatial[0]
            place.run("deform.grad_x", words, rows, sizes, of_arrays, offset, mask, columns, found)
            place.run("grad_weight.sum_parts", (self.real,), elements, shape, steps(out), found, out)
            return self.done()

        return run

    def _of_offset(self, call: Call) -> Runner:
        problem: DeformProblem = call.problem
        gradient, sizes = self._grad_columns(call), self._sizes(problem)
        of_offset, of_mask = problem.argument == "offset", problem.argument == "mask" or problem.both
        points = math.prod(problem.offset_shape) // 2
        words = self.real, problem.mask, of_offset, of_mask

        def run(packed: Packed, grad_output: Any, x: Any, offset: Any, mask: Any, *results: Any) -> bool:
            place = Place.of(results[0])
            columns = gradient(place, packed[0], grad_output)
            outs = results[0] if of_offset else None, results[-1] if of_mask else None
            of_arrays = *strides_of(x), *strides_of(offset), *strides_of(mask)[:5]
            of_outs = *strides_of(outs[0])[:5], *strides_of(outs[1])[:5]
            arrays = x, offset, mask, columns, *outs
            place.run("deform.grad_offset", words, points, sizes, of_arrays, of_outs, *arrays)
            return self.done()

        return run


def _joined(out: Any, c_out: int, columns: int) -> Any:
    """Return the gradient of weights as that of a 1x1 convolution of columns."""
    item = out.dtype.itemsize
    return out.seen_as((c_out, columns, 1, 1), (columns * item, item, item, item))


def algorithms(convolutions: Iterable[Any]) -> Iterator[CudaDeform]:
    """Every kernel, for each operation and element type."""
    known = {(kernel.family, kernel.dtype): kernel for kernel in convolutions if kernel.op == "conv2d"}
    for dtype in FLOATS:
        kernels = tuple(known[family, "f64" if dtype == "f64" else "f32"] for family in ("implicit-gemm", "direct"))
        for argument in ("", "-grad-x", "-grad-offset", "-grad-w", "-grad-mask"):
            yield CudaDeform(f"deform_conv2d{argument}", "sampled", dtype, kernels=kernels)
