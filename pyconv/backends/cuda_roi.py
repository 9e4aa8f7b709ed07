"""The GPU kernels of regions of interest and of non-maximum suppression as algorithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..algorithm import Call, Packed, Runner, Support
from ..errors import InvalidProblem
from ..problem import FLOATS, NmsProblem, RoiProblem
from .gpu import EPSILON, OnCuda, Place, plain_steps, steps, strides_of, three, why_not

__all__ = ["algorithms"]

#: Corners beyond this, in pixels of the map, are refused, as on the host.
_FARTHEST = 1e300


@dataclass(frozen=True, slots=True)
class CudaRoi(OnCuda):
    """A kernel of kernels/cuda/roi.py, for one operation."""

    unit: ClassVar[str] = "roi"

    def supports(self, problem: RoiProblem) -> Support:
        """Whether the kernel can do it."""
        return Support(why_not(problem, 2 * problem.boxes, math.prod(problem.out_shape)))

    def error_bound(self, problem: RoiProblem) -> float:
        """Return one rounding for each product and sum: bins add pixel by pixel, pixels box by box."""
        if problem.kind == "roi_pool" and not problem.gradient:
            return 0.0
        terms = math.prod(problem.taps)
        if problem.gradient:
            terms = problem.boxes * math.prod(problem.out_spatial) * max(8, 2 * problem.sampling_ratio)
        return (terms + 8) * EPSILON[self.dtype]

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory; it waits to look at the boxes."""
        problem: RoiProblem = call.problem
        real, kind, rank, join = self.real, problem.kind, problem.rank, problem.join
        spatial = *three(problem.spatial), *three(problem.out_spatial)
        sizes = problem.c_out, problem.slices, *spatial, problem.sampling_ratio
        scale = np.float64(problem.scale)
        sums = "f64" if self.dtype == "f64" else "f32"
        large, small = math.prod(problem.x_shape), math.prod(problem.out_shape)
        farthest = np.float64(_FARTHEST / max(1.0, problem.scale))

        def look_at(boxes: Any, place: Place) -> bool:
            """Refuse boxes that no map has; return whether they say which image they are on."""
            has_image = bool(boxes.shape[1] == 1 + 2 * rank)
            found = place.put(np.zeros(1, np.int32))
            of_boxes = problem.boxes, problem.n
            how = rank, has_image
            place.run("roi.check_boxes", how, problem.boxes, of_boxes, strides_of(boxes), farthest, boxes, found)
            state = place.get(found)
            if state:
                k, wrong_image = problem.boxes - state // 2, state % 2
                what = (
                    f"is on an image that x has not: 0 to {problem.n - 1}"
                    if wrong_image
                    else "has corners that are not"
                )
                raise InvalidProblem(
                    f"{problem.op}: boxes[{k}] {what}{'' if wrong_image else ' finite, or too far away'}"
                )
            return has_image

        def bins(place: Place, has_image: bool, x: Any, boxes: Any, of_out: Any, out: Any, notes: bool) -> Any:
            at = place.scratch(small, "int64") if notes else None
            weight = place.scratch(small, sums) if notes else None
            words = real, kind, join, rank, problem.aligned, has_image, problem.channels_last, notes
            of_arrays = (problem.boxes, *sizes), (*steps(x), *of_out), strides_of(boxes), scale
            place.run("roi.forward", words, small, *of_arrays, x, boxes, out, at, weight)
            return at, weight

        def forward(packed: Packed, x: Any, boxes: Any, out: Any) -> bool:
            place = Place.of(out)
            bins(place, look_at(boxes, place), x, boxes, steps(out), out, notes=False)
            return self.done()

        def backward(packed: Packed, grad_output: Any, boxes: Any, x: Any, out: Any) -> bool:
            place = Place.of(out)
            found = place.scratch(large, sums)
            place.run("fill.fill", (), large, large, self.number(0), found)
            if problem.boxes:
                has_image = look_at(boxes, place)
                of_arrays = (problem.boxes, problem.n, *sizes), steps(grad_output), strides_of(boxes), scale
                rows = large // problem.spatial[-1]
                how = problem.aligned, has_image
                if join == "mean":
                    place.run("roi.grad_mean", (real, kind, rank, *how), rows, *of_arrays, grad_output, boxes, found)
                else:
                    values = place.scratch(small, self.dtype)
                    at, weight = bins(place, has_image, x, boxes, plain_steps(problem.out_shape), values, notes=True)
                    arrays = grad_output, boxes, at, weight, found
                    place.run("roi.grad_max", (real, kind, join, rank, *how), rows, *of_arrays, *arrays)
            shape = 1, problem.n, problem.c, *three(problem.spatial)
            place.run("grad_weight.sum_parts", (real,), large, shape, steps(out), found, out)
            return self.done()

        return backward if problem.gradient else forward


@dataclass(frozen=True, slots=True)
class CudaNms(OnCuda):
    """The kernels of kernels/cuda/nms.py."""

    unit: ClassVar[str] = "nms"

    def supports(self, problem: NmsProblem) -> Support:
        """Whether the kernels can do it."""
        from ..kernels.cuda import MOST_BOXES

        if problem.boxes > MOST_BOXES:
            return Support(f"needs at most {MOST_BOXES} boxes")
        return Support(why_not(problem, problem.boxes * -(-problem.boxes // 32)))

    def error_bound(self, problem: NmsProblem) -> float:
        """Return 0: a box stays or goes."""
        return 0.0

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        from ..kernels.cuda.nms import BITS

        problem: NmsProblem = call.problem
        boxes, words = problem.boxes, -(-problem.boxes // BITS)
        threshold, has_classes = np.float64(problem.threshold), bool(problem.class_dtype)

        def run(packed: Packed, corners: Any, scores: Any, classes: Any, out: Any, count: Any) -> bool:
            place = Place.of(out)
            order, bits = place.scratch(boxes, "int32"), place.scratch(boxes * words, "int64")
            place.run("nms.ranks", (), boxes, boxes, strides_of(scores), scores, order)
            of_classes = strides_of(classes) if has_classes else (0, 0)
            of_arrays = (boxes, words), strides_of(corners), of_classes, threshold
            place.run("nms.overlaps", (has_classes,), boxes * words, *of_arrays, corners, classes, order, bits)
            place.launch("nms.greedy", (), 1, (boxes, words), strides_of(out), bits, order, out, count)
            return self.done()

        return run


def algorithms() -> Iterator[OnCuda]:
    """Every kernel, for each operation and element type."""
    yield CudaNms("nms", "greedy", "f64")
    for op in ("roi_align", "roi_align3d", "roi_pool", "ps_roi_align", "ps_roi_pool"):
        for dtype in FLOATS:
            yield CudaRoi(op, "gather", dtype)
            yield CudaRoi(f"{op}-grad-x", "gather", dtype)
