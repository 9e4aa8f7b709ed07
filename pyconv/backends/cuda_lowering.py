"""The GPU kernels of unfold, fold, pixel_shuffle and pixel_unshuffle as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..algorithm import Call, Packed, Runner, Support
from ..problem import DTYPES, FLOATS, LoweringProblem, ShuffleProblem
from . import layers
from .gpu import OnCuda, Place, strides_of, why_not

__all__ = ["algorithms"]


@dataclass(frozen=True, slots=True)
class CudaLowering(OnCuda):
    """A kernel of kernels/cuda/lowering.py."""

    unit: ClassVar[str] = "lowering"

    def supports(self, problem: LoweringProblem) -> Support:
        """Whether the kernel can do it."""
        conv = problem.conv
        ends = zip(conv.spatial, conv.padding, conv.dilation, conv.kernel, conv.stride, strict=True)
        return Support(why_not(problem, *(size + sum(pads) + d * k + s for size, pads, d, k, s in ends)))

    def error_bound(self, problem: LoweringProblem) -> float:
        """Return that of sums of as many terms as a pixel has; nothing for what only moves."""
        return layers.error_bound(problem)

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        problem: LoweringProblem = call.problem
        conv = problem.conv
        before = tuple(pad for pad, _ in conv.padding)
        elements = math.prod(problem.outputs[0].shape)
        window = *conv.kernel, *conv.out_spatial, *conv.stride, *conv.dilation, *before
        sizes = conv.c_in, *conv.spatial, *window, elements
        name, words = ("lowering.fold", (self.real,)) if problem.fold else ("lowering.unfold", ())

        def run(packed: Packed, x: Any, out: Any) -> bool:
            images, columns = (out, x) if problem.fold else (x, out)
            of_both = *strides_of(images), *strides_of(columns)
            Place.of(out).run(name, words, elements, sizes, of_both, x, out)
            return self.done()

        return run


@dataclass(frozen=True, slots=True)
class CudaShuffle(OnCuda):
    """The kernel of kernels/cuda/shuffle.py."""

    unit: ClassVar[str] = "shuffle"

    def supports(self, problem: ShuffleProblem) -> Support:
        """Whether the kernel can do it."""
        from ..kernels.cuda.shuffle import AXES

        if len(problem.lead) > AXES:
            return Support(f"needs at most {AXES} axes in front of the channels")
        return Support(why_not(problem, problem.factor**2 * max(1, problem.c)))

    def error_bound(self, problem: ShuffleProblem) -> float:
        """Return 0: elements are moved."""
        return 0.0

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        from ..kernels.cuda.shuffle import AXES

        problem: ShuffleProblem = call.problem
        shape = problem.outputs[0].shape
        before, elements = AXES - len(problem.lead), math.prod(shape)
        front = (*(1,) * before, *problem.lead)
        sizes = *front[1:], *shape[-3:], problem.factor, elements
        words = problem.gather, problem.channels_last

        def run(packed: Packed, x: Any, out: Any) -> bool:
            of_arrays: list[int] = []
            for array in (x, out):
                start, *strides = strides_of(array)
                of_arrays += (start, *(0,) * before, *strides)
            Place.of(out).run("shuffle.interleave", words, elements, sizes, tuple(of_arrays), x, out)
            return self.done()

        return run


def algorithms() -> Iterator[OnCuda]:
    """Every kernel, for each operation and element type."""
    for dtype in FLOATS:
        yield CudaLowering("unfold", "im2col", dtype)
        yield CudaLowering("fold", "col2im", dtype)
    for dtype in DTYPES.values():
        for op in ("pixel_shuffle", "pixel_unshuffle"):
            yield CudaShuffle(op, "interleave", dtype)
