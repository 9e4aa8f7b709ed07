"""The Numba kernels for NVIDIA GPUs as algorithms, on arrays in GPU memory: convolutions here, the rest by family."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..algorithm import Call, Packed, Runner, Support
from ..cost import Machine
from ..problem import FLOATS, ConvProblem
from . import (
    cuda_affine,
    cuda_border,
    cuda_deform,
    cuda_fft,
    cuda_grad,
    cuda_linear,
    cuda_lowering,
    cuda_norm,
    cuda_pool,
    cuda_pool_norm,
    cuda_product,
    cuda_response,
    cuda_roi,
    cuda_sample,
    cuda_winograd,
    gpu,
    summation,
)
from .gpu import EPSILON, LAUNCH_S, SHARE, OnCuda, Place, check_contiguous, seconds, steps, three, why_not

__all__ = ["algorithms", "every"]


def _padded(problem: ConvProblem) -> list[int]:
    """Return what kernels count besides the elements of arrays."""
    sizes = [size + sum(pad) for size, pad in zip(problem.spatial, problem.padding, strict=True)]
    bordered = problem.n * problem.c_in * math.prod(sizes)
    return [math.prod(problem.w_shape), bordered, *(size * max(problem.stride) for size in sizes)]


@dataclass(frozen=True, slots=True)
class CudaConv(OnCuda):
    """A convolution kernel of kernels/cuda/."""

    unit: ClassVar[str] = "conv"

    @property
    def is_product(self) -> bool:
        """Whether it is a product of tiles in shared memory."""
        return self.family.startswith("implicit-gemm")

    @property
    def on_tensor_cores(self) -> bool:
        """Whether its operands are rounded to tf32."""
        return self.family.endswith("tf32")

    def accuracy(self, problem: ConvProblem) -> str:
        """Return "fast" of operands that are rounded, "strict" of direct sums."""
        return "fast" if self.on_tensor_cores else "strict"

    def supports(self, problem: ConvProblem) -> Support:
        """Whether the kernel can do it."""
        found = summation.supports(problem, self.family.removesuffix("-tf32"), 1)
        if not found:
            return found
        if self.family == "depthwise" and not _fits_registers(problem):
            return Support("needs a kernel whose rows fit a thread's registers")
        problem = cuda_border.inside(problem)
        return Support(why_not(problem, *_padded(problem)))

    def estimate(self, problem: ConvProblem, machine: Machine) -> float:
        """Return seconds of a nominal GPU; the launches of one kernel, or of two where weights are packed."""
        again = LAUNCH_S if self.is_product else 0.0
        share = SHARE[self.family]
        if self.is_product:
            share *= cuda_product.filled(_tile_of(problem, self.on_tensor_cores), problem.c_out // problem.groups)
        return seconds(problem, share) + again + cuda_border.seconds(problem)

    def error_bound(self, problem: ConvProblem) -> float:
        """(K + 2) eps for K products summed in one order, the bias and the residual; tf32 rounds both operands."""
        if self.on_tensor_cores:
            # how tensor cores round their sums is not said: twice as much
            return 2.0**-10 + 2.0**-22 + 2 * (problem.reduction + 2) * EPSILON[self.dtype]
        return (problem.reduction + 2) * EPSILON[self.dtype]

    def prepare(self, problem: ConvProblem, *weights: Any) -> Packed:
        """Return the weights and the bias as they are."""
        return weights

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        problem = cuda_border.inside(call.problem)
        kernel, words, grid, threads, blocks, sizes = self._launch_of(problem)
        slope = self.number(problem.slope)
        groups, c_out, reduction = problem.groups, problem.c_out // problem.groups, problem.reduction

        def run(packed: Packed, x: Any, residual: Any, out: Any) -> bool:
            w, bias = packed
            place = Place.of(x)
            check_contiguous(w, bias)
            if self.is_product:
                rows = sizes[-1]
                ordered = place.scratch(groups * rows * reduction, "f64" if self.dtype == "f64" else "f32")
                of_weights = c_out, reduction, rows, groups
                place.run("implicit_gemm.pack_weights", (), ordered.elements, of_weights, w, ordered)
                w = ordered
            arrays = steps(x, residual, out), slope, x, w, bias, residual, out
            place.launch(kernel, words, grid, sizes, *arrays, threads=threads, blocks=blocks)
            return self.done()

        return cuda_border.pad(call.problem, run)

    def _launch_of(self, problem: ConvProblem) -> tuple[str, tuple[Any, ...], int, int, int, tuple[int, ...]]:
        """Return the kernel and its constants, its grid, its block, how many fit a multiprocessor, and its sizes."""
        from ..kernels.cuda import THREADS, depthwise, direct, implicit_gemm

        n, groups = problem.n, problem.groups
        c_in, c_out = problem.c_in // groups, problem.c_out // groups
        x, taps, out = three(problem.spatial), three(problem.kernel), three(problem.out_spatial)
        stride, dilation = three(problem.stride), three(problem.dilation)
        before = three(tuple(pad for pad, _ in problem.padding), 0)
        epilogue = problem.activation, problem.bias, problem.residual
        real, pixels = self.real, n * math.prod(out)
        sizes: tuple[int, ...]
        if self.is_product:
            tile = _tile_of(problem, self.on_tensor_cores)
            words = real, taps, stride, dilation, tile, *epilogue, self.on_tensor_cores, False, self.dtype == "f16"
            grid = implicit_gemm.blocks_implicit_gemm(tile, pixels, c_out, groups)
            sizes = n, c_in, c_out, *x, *out, *before, implicit_gemm.packed_rows(c_out)
            blocks = tile.blocks if self.dtype != "f64" else 1
            return "implicit_gemm.conv_implicit_gemm", words, grid, tile.threads, blocks, sizes
        if self.family == "depthwise":
            rows = real, taps[1], stride[1], dilation[1], *epilogue
            grid = depthwise.blocks_depthwise(n, problem.c_out, out)
            sizes = n, groups, c_out, *x, taps[0], taps[2], *out, stride[0], stride[2], dilation[0], dilation[2]
            return "depthwise.conv_depthwise", rows, grid, THREADS, 1, (*sizes, *before)
        sizes = n, c_in, c_out, *x, *taps, *out, *stride, *dilation, *before
        grid = direct.blocks_direct(pixels, c_out, groups)
        return "direct.conv_direct", (real, *epilogue), grid, THREADS, 1, sizes


def _fits_registers(problem: ConvProblem) -> bool:
    """Whether the depthwise kernel unrolls."""
    from ..kernels.cuda import depthwise

    kh, stride, dilation = three(problem.kernel)[1], three(problem.stride)[1], three(problem.dilation)[1]
    return bool(kh <= depthwise.MAX_ROWS and depthwise.span_of(kh, stride, dilation) <= depthwise.MAX_SPAN)


def _tile_of(problem: ConvProblem, tensor: bool = False) -> Any:
    """Return the tile of the product."""
    from ..kernels.cuda import implicit_gemm

    long = problem.residual or problem.activation in implicit_gemm.LONG_ACTIVATIONS
    pixels = problem.n * math.prod(problem.out_spatial)
    return cuda_product.tile_of(problem.c_out // problem.groups, pixels, problem.groups, long, tensor)


def _convolutions() -> Iterator[CudaConv]:
    for rank in (1, 2, 3):
        for dtype in FLOATS:
            for family in ("direct", "depthwise", "implicit-gemm"):
                yield CudaConv(f"conv{rank}d", family, dtype)
        yield CudaConv(f"conv{rank}d", "implicit-gemm-tf32", "f32")


def algorithms() -> Iterator[OnCuda]:
    """Every kernel, where numba-cuda could compile it."""
    if not gpu.machine.is_installed():
        raise ImportError("numba-cuda is not installed; pip install 'pyconv-kernels[cuda]'")
    yield from every()


def every() -> Iterator[OnCuda]:
    """Every kernel that there is, for each operation and element type."""
    convolutions = tuple(_convolutions())
    yield from convolutions
    yield from cuda_linear.algorithms(convolutions)
    yield from cuda_deform.algorithms(convolutions)
    for family in (
        cuda_affine,
        cuda_fft,
        cuda_grad,
        cuda_lowering,
        cuda_norm,
        cuda_pool,
        cuda_pool_norm,
        cuda_response,
        cuda_roi,
        cuda_sample,
        cuda_winograd,
    ):
        yield from family.algorithms()
