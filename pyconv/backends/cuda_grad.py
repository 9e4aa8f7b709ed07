"""The GPU kernels of transposed convolutions and of convolutions' gradients as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..algorithm import Call, Packed, Runner, Support
from ..problem import FLOATS, ConvBiasProblem, ConvWeightProblem, TransposedProblem
from . import cuda_border
from .gpu import EPSILON, SHARE, OnCuda, Place, check_contiguous, seconds, steps, strides_of, three, why_not

__all__ = ["algorithms"]


@dataclass(frozen=True, slots=True)
class CudaTransposed(OnCuda):
    """The kernel of kernels/cuda/transposed.py."""

    unit: ClassVar[str] = "conv_transposed"

    def supports(self, problem: TransposedProblem) -> Support:
        """Whether the kernel can do it."""
        problem = _unfolded(problem)
        ends = zip(problem.out_spatial, problem.padding, problem.dilation, problem.kernel, strict=True)
        reach = [size + sum(pads) + d * (k + 1) for size, pads, d, k in ends]
        strides = [stride + d for stride, d in zip(problem.stride, problem.dilation, strict=True)]
        return Support(why_not(problem, math.prod(problem.w_shape), *reach, *strides))

    def error_bound(self, problem: TransposedProblem) -> float:
        """(K + 2) eps for the most products that an output has, and the bias."""
        return (problem.reduction + 2) * EPSILON[self.dtype] + cuda_border.fold_bound(problem)

    def estimate(self, problem: TransposedProblem, machine: Any) -> float:
        """Return seconds of a nominal GPU."""
        return seconds(problem, SHARE["direct"]) + cuda_border.seconds(problem)

    def prepare(self, problem: TransposedProblem, *weights: Any) -> Packed:
        """Return the weights and the bias as they are."""
        return weights

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        from ..kernels.cuda.direct import blocks_direct

        problem = _unfolded(call.problem)
        groups = problem.groups
        c_in, c_out = problem.c_in // groups, problem.c_out // groups
        out = three(problem.out_spatial)
        stride, dilation = three(problem.stride), three(problem.dilation)
        apart = tuple(s // math.gcd(s, d) for s, d in zip(stride, dilation, strict=True))
        before = three(tuple(pad for pad, _ in problem.padding), 0)
        window = *three(problem.kernel), *out, *stride, *dilation, *apart, *before
        sizes = problem.n, c_in, c_out, *three(problem.spatial), *window
        grid = blocks_direct(problem.n * math.prod(out), c_out, groups)
        words = self.real, problem.activation, problem.bias
        slope = self.number(problem.slope)

        def run(packed: Packed, x: Any, out: Any) -> bool:
            w, bias = (*packed, None)[:2]
            check_contiguous(w, bias)
            arrays = steps(x, out), slope, x, w, bias, out
            Place.of(out).launch("transposed.conv_transposed", words, grid, sizes, *arrays)
            return self.done()

        return cuda_border.fold(call.problem, self.real, run)


def _unfolded(problem: TransposedProblem) -> TransposedProblem:
    """Return what the kernel computes: the problem, or the same with its border."""
    return problem if problem.padding_mode == "zeros" else problem.onto_the_border


@dataclass(frozen=True, slots=True)
class CudaWeight(OnCuda):
    """The kernel of kernels/cuda/grad_weight.py."""

    unit: ClassVar[str] = "conv_grad"

    def supports(self, problem: ConvWeightProblem) -> Support:
        """Whether the kernel can do it."""
        conv = cuda_border.inside(problem.conv)
        sizes = [(size + sum(pads)) for size, pads in zip(conv.spatial, conv.padding, strict=True)]
        counts = *(size * max(conv.stride) for size in sizes), 512 * self._columns(problem), math.prod(conv.x_shape)
        return Support(why_not(problem, *counts))

    def _columns(self, problem: ConvWeightProblem) -> int:
        conv = problem.conv
        return conv.c_in // max(1, conv.groups) * math.prod(conv.kernel)

    def estimate(self, problem: ConvWeightProblem, machine: Any) -> float:
        """Return seconds of a nominal GPU."""
        return seconds(problem, SHARE["direct"]) + cuda_border.seconds(problem.conv)

    def error_bound(self, problem: ConvWeightProblem) -> float:
        """(K + 2) eps for K products, and the parts that they are dealt to."""
        return (problem.reduction + 2 + 432) * EPSILON[self.dtype]

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        from ..kernels.cuda.grad_weight import blocks_grad_weight, parts_of

        problem: ConvWeightProblem = call.problem
        conv, with_border = cuda_border.inside(problem.conv), cuda_border.padder(problem.conv)
        groups, columns = conv.groups, self._columns(problem)
        c_in, c_out = conv.c_in // groups, conv.c_out // groups
        window = three(conv.kernel), three(conv.stride), three(conv.dilation)
        before = three(tuple(pad for pad, _ in conv.padding), 0)
        parts = parts_of(c_out, columns, groups, problem.reduction)
        grid = blocks_grad_weight(c_out, columns, groups, parts)
        spatial = *three(conv.spatial), *three(conv.out_spatial)
        sizes = conv.n, c_in, c_out, groups, *spatial, *before, parts
        real, elements = self.real, math.prod(conv.w_shape)
        sums = "f64" if self.dtype == "f64" else "f32"
        shape = parts, conv.c_out, c_in, *window[0]

        def run(packed: Packed, grad_output: Any, x: Any, out: Any) -> bool:
            place = Place.of(out)
            large, small = (grad_output, x) if problem.transposed else (x, grad_output)
            large = with_border(large)
            found = place.scratch(parts * elements, sums)
            of_both = steps(large, small)
            place.launch("grad_weight.grad_weight", (real, *window), grid, sizes, of_both, large, small, found)
            place.run("grad_weight.sum_parts", (real,), elements, shape, steps(out), found, out)
            return self.done()

        return run


@dataclass(frozen=True, slots=True)
class CudaBias(OnCuda):
    """Sums of channels by kernels/cuda/channel_sums.py."""

    unit: ClassVar[str] = "conv_grad"

    def supports(self, problem: ConvBiasProblem) -> Support:
        """Whether the kernel can do it."""
        return Support(why_not(problem, 1024 * problem.c))

    def error_bound(self, problem: ConvBiasProblem) -> float:
        """One rounding for each step of the longest sum."""
        from ..kernels.cuda.channel_sums import depth_of

        return depth_of(problem.c, problem.reduction) * EPSILON[self.dtype]

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        from ..kernels.cuda.channel_sums import parts_of

        problem: ConvBiasProblem = call.problem
        parts, real = parts_of(problem.c, problem.reduction), self.real
        sizes = problem.c, *three(problem.spatial), problem.n, parts
        sums = "f64" if self.dtype == "f64" else "f32"

        def run(packed: Packed, grad_output: Any, out: Any) -> bool:
            place = Place.of(out)
            found = place.scratch(parts * problem.c, sums)
            arrays = steps(grad_output, None), grad_output, None, None, found
            place.launch("channel_sums.channel_sums", (real, "values"), problem.c * parts, sizes, *arrays)
            start, step = strides_of(out)
            shape, of_out = (parts, problem.c, 1, 1, 1, 1), (start, step, 0, 0, 0, 0)
            place.run("grad_weight.sum_parts", (real,), problem.c, shape, of_out, found, out)
            return self.done()

        return run


def algorithms() -> Iterator[OnCuda]:
    """Every kernel, for each operation and element type."""
    for dtype in FLOATS:
        for rank in (1, 2, 3):
            yield CudaTransposed(f"conv_transpose{rank}d", "direct", dtype)
            yield CudaTransposed(f"conv{rank}d-grad-x", "direct", dtype)
            for op in (f"conv{rank}d", f"conv_transpose{rank}d"):
                yield CudaWeight(f"{op}-grad-w", "direct", dtype)
                yield CudaBias(f"{op}-grad-bias", "pairwise", dtype)
