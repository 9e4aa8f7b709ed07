"""Regions of interest on the maps of detectors, their gradients, and the suppression of overlapping boxes.

A bin's mean of samples is a product with dense matrices of sample weights: out = Wy X Wx^T.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from benchmarks.shapes.base import Array, Arrays, Layer

__all__ = ["LAYERS", "Boxes", "Suppression"]


@dataclass(frozen=True)
class Boxes(Layer):
    """Boxes on one map: a detector's head.

    Parameters
    ----------
    called : {"roi_align", "roi_pool", "ps_roi_align"}
    c : int
        Channels of the bins; the map has as many, or one for each bin where the channels are position-sensitive.
    spatial, bins : (int, int)
        Sizes of the map, and of a box's result.
    boxes : int
        How many.
    ratio : int
        Samples of a bin along each axis, 0 for as many as it has pixels.
    shrink : int
        Pixels of the image per pixel of the map.
    gradient : bool
        Whether the gradient with respect to the map is what is computed.
    """

    called: str = "roi_align"
    c: int = 1
    spatial: tuple[int, int] = (1, 1)
    boxes: int = 1
    bins: tuple[int, int] = (1, 1)
    ratio: int = 0
    shrink: int = 16
    gradient: bool = False

    inputs: ClassVar[tuple[str, ...]] = ("x", "boxes")

    @property
    def bench_class(self) -> str:
        """Means of samples, the other operations, and gradients of either."""
        return ("boxes" if self.called == "roi_align" else "boxes-more") + ("-grad" if self.gradient else "")

    @property
    def function(self) -> str:
        """As torchvision calls it."""
        return self.called

    @property
    def wanted(self) -> tuple[bool, ...] | None:
        """That of the map; boxes have none."""
        return (True,) if self.gradient else None

    @property
    def sensitive(self) -> bool:
        """Whether each bin has a channel of its own."""
        return self.called.startswith("ps_")

    @property
    def bins_shape(self) -> tuple[int, ...]:
        """Shape of the boxes' bins."""
        return (self.boxes, self.c, *self.bins)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x, the boxes, and g."""
        channels = self.c * (math.prod(self.bins) if self.sensitive else 1)
        shapes: dict[str, tuple[int, ...]] = {"x": (1, channels, *self.spatial), "boxes": (self.boxes, 5)}
        return {**shapes, "g": self.bins_shape} if self.gradient else shapes

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the bins, or of the map."""
        return (self.shapes["x"] if self.gradient else self.bins_shape,)

    @property
    def flops(self) -> int:
        """Those of the definition, of 2 x 2 samples where boxes say how many."""
        samples = (self.ratio or 2) ** 2 * 4 if "align" in self.called else 4
        return 2 * math.prod(self.bins_shape) * samples

    def make(self, random: np.random.Generator, dtype: str, *, bias: bool = False) -> Arrays:
        """Return normal numbers and boxes of a tenth of a map pixel to half of the map."""
        arrays = super().make(random, dtype)
        corners = _corners(random, self.boxes, self.spatial[0] * self.shrink, self.spatial[1] * self.shrink)
        # Half precision has too few places for the corners of a large image.
        arrays["boxes"] = np.c_[np.zeros(self.boxes), corners].astype("float64" if dtype == "float64" else "float32")
        return arrays

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, boxes, output_size, spatial_scale[, sampling_ratio[, aligned]])."""
        more = {"roi_align": (self.ratio or -1, True), "ps_roi_align": (self.ratio or -1,), "roi_pool": ()}
        return (arrays["x"], arrays["boxes"], self.bins, 1 / self.shrink, *more[self.called])

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one bin, or one element of the gradient."""
        corners = arrays["boxes"][:, 1:].astype(np.float64) / self.shrink
        if self.gradient:
            return self._scattered(arrays, corners, index)
        (k, c, p, q), (rows, columns) = index, self.bins
        channel = c * rows * columns + p * columns + q if self.sensitive else c
        plane = arrays["x"][0, channel].astype(np.float64)
        if self.called == "roi_pool":
            window = plane[np.ix_(*self._pixels(corners[k], p, q))]
            return float(window.max()) if window.size else 0.0
        along_y, along_x = self._weights(corners[k])
        return float(along_y[p] @ plane @ along_x[q])

    def _scattered(self, arrays: Arrays, corners: Array, index: tuple[int, ...]) -> float:
        """Return one element of the gradient: what all bins give it."""
        (_, channel, row, column), (rows, columns), total = index, self.bins, 0.0
        c = channel // (rows * columns) if self.sensitive else channel
        own = divmod(channel % (rows * columns), columns) if self.sensitive else None
        for box, g in zip(corners, arrays["g"][:, c].astype(np.float64), strict=True):
            if self.called == "roi_pool":
                total += self._maxima(arrays["x"][0, channel], box, g, (row, column))
                continue
            along_y, along_x = self._weights(box)
            if own is None:
                total += float(along_y[:, row] @ g @ along_x[:, column])
            else:
                total += float(along_y[own[0], row] * g[own] * along_x[own[1], column])
        return total

    def _maxima(self, plane: Array, box: Array, g: Array, place: tuple[int, int]) -> float:
        """Return what the bins of one box give to a pixel: theirs of whose window it is the maximum."""
        total = 0.0
        for p, q in np.ndindex(self.bins):
            reads = self._pixels(box, p, q)
            if place[0] in reads[0] and place[1] in reads[1]:
                total += float(g[p, q]) * float(plane[np.ix_(*reads)].max() == plane[place])
        return total

    def _weights(self, box: Array) -> tuple[Array, Array]:
        """Return the weight of each row in each row of bins, and of each column in each column of bins.

        ``roi_align`` is asked for with corners shifted by half a pixel; ``ps_roi_align`` has that always.
        """
        (height, width), (rows, columns) = self.spatial, self.bins
        return _samples(height, rows, self.ratio, box[1], box[3]), _samples(width, columns, self.ratio, box[0], box[2])

    def _pixels(self, box: Array, p: int, q: int) -> tuple[Array, Array]:
        """Return the rows and the columns of a bin of ``roi_pool``."""
        return (
            _range(self.spatial[0], self.bins[0], p, box[1], box[3]),
            _range(self.spatial[1], self.bins[1], q, box[0], box[2]),
        )

    def small(self) -> Self:
        """Return few boxes and channels on a smaller map."""
        return replace(self, c=min(self.c, 2), boxes=min(self.boxes, 12), spatial=(13, 17))


def _corners(random: np.random.Generator, count: int, height: float, width: float) -> Array:
    """Return boxes within an image as x1, y1, x2, y2."""
    x, y = random.uniform(0, 0.8 * width, count), random.uniform(0, 0.8 * height, count)
    w, h = random.uniform(10, 0.5 * width, count), random.uniform(10, 0.5 * height, count)
    return np.stack([x, y, x + w, y + h], axis=1)


def _samples(size: int, bins: int, ratio: int, low: float, high: float) -> Array:
    """Return the weight of each pixel in each bin's mean, (bins, size), corners shifted by half a pixel."""
    weights = np.zeros((bins, size))
    step = (high - low) / bins
    count = ratio or max(1, int(np.ceil(step)))
    at = low - 0.5 + (np.arange(bins)[:, None] + (np.arange(count) + 0.5) / count) * step
    numbers, samples = np.nonzero((at >= -1) & (at <= size))
    at = np.clip(at[numbers, samples], 0.0, size - 1.0)
    pixel = np.minimum(at.astype(int), size - 2)
    np.add.at(weights, (numbers, pixel), (1 - (at - pixel)) / count)
    np.add.at(weights, (numbers, pixel + 1), (at - pixel) / count)
    return weights


def _range(size: int, bins: int, number: int, low: float, high: float) -> Array:
    """Return which pixels are in a bin of ``roi_pool``."""
    start, end = (int(np.floor(corner + 0.5)) for corner in (low, high))
    n = max(1, end - start + 1)
    first, last = start + number * n // bins, start - (-(number + 1) * n // bins)
    return np.arange(max(0, first), min(size, max(0, last)))


@dataclass(frozen=True)
class Suppression(Layer):
    """Of boxes that overlap, only the best are kept.

    Parameters
    ----------
    boxes : int
        How many.
    threshold : float
        Overlap, as intersection over union, beyond which a box goes.
    """

    boxes: int = 1
    threshold: float = 0.5

    inputs: ClassVar[tuple[str, ...]] = ("boxes", "scores")

    @property
    def bench_class(self) -> str:
        """With the other operations on boxes."""
        return "boxes-more"

    @property
    def function(self) -> str:
        """As torchvision calls it."""
        return "nms"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of boxes and scores."""
        return {"boxes": (self.boxes, 4), "scores": (self.boxes,)}

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """None beforehand: as many as are kept."""
        return ()

    @property
    def flops(self) -> int:
        """A dozen for each pair."""
        return 12 * self.boxes * (self.boxes - 1) // 2

    def make(self, random: np.random.Generator, dtype: str, *, bias: bool = False) -> Arrays:
        """Return boxes in crowds around half as many places, as a region proposal network has them, and scores."""
        centres = _corners(random, -(-self.boxes // 8), 800, 1088)
        moved = centres[random.integers(0, len(centres), self.boxes)] + random.normal(0, 12, (self.boxes, 4))
        # a small one may be turned over; what that means differs between libraries
        corners = np.sort(moved.reshape(-1, 2, 2), axis=1)
        boxes = corners.reshape(-1, 4)
        scores = random.permutation(self.boxes) / self.boxes
        return {"boxes": boxes.astype(dtype), "scores": scores.astype(dtype)}

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (boxes, scores, iou_threshold)."""
        return (arrays["boxes"], arrays["scores"], self.threshold)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one of the kept boxes' numbers."""
        return float(self._kept(arrays)[index[0]])

    def _kept(self, arrays: Arrays) -> list[int]:
        """Return the numbers of the boxes that are kept, best first."""
        boxes, scores = arrays["boxes"].astype(np.float64), arrays["scores"].astype(np.float64)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        kept: list[int] = []
        left = np.argsort(-scores, kind="stable")
        while left.size:
            best, left = left[0], left[1:]
            kept.append(int(best))
            shared = np.minimum(boxes[left, 2:], boxes[best, 2:]) - np.maximum(boxes[left, :2], boxes[best, :2])
            common = np.prod(np.maximum(shared, 0), axis=1)
            left = left[common <= self.threshold * (area[left] + area[best] - common)]
        return kept

    def disagreement(self, arrays: Arrays, outputs: Sequence[Array], activation: str | None = None) -> float:
        """Return the share of boxes that are kept on one side only.

        Raises
        ------
        ValueError
            If the result is no list of whole numbers.
        """
        if len(outputs) != 1 or outputs[0].ndim != 1 or outputs[0].dtype.kind != "i":
            raise ValueError(f"got {[(out.dtype, out.shape) for out in outputs]}, expected numbers of boxes")
        expected = self._kept(arrays)
        if len(outputs[0]) == len(expected):
            return float(np.mean(outputs[0] != expected))
        return len(set(map(int, outputs[0])) ^ set(expected)) / len(expected)

    def small(self) -> Self:
        """Return fewer boxes."""
        return replace(self, boxes=60)


def _layers() -> list[Layer]:
    """Heads of Faster R-CNN and Mask R-CNN on one map or a level of a pyramid, and of R-FCN."""
    c4 = (50, 68)
    table = (
        ("1000x7.r2", c4, 1000, 7, 2, 16),
        ("1000x7.adaptive", c4, 1000, 7, 0, 16),
        ("60x7.r2", c4, 60, 7, 2, 16),
        ("60x7.adaptive", c4, 60, 7, 0, 16),
        ("256x14.r2", c4, 256, 14, 2, 16),
        ("100x14.adaptive", c4, 100, 14, 0, 16),
        ("p3.500x7.r2", (100, 136), 500, 7, 2, 8),
        ("p5.300x7.r2", (25, 34), 300, 7, 2, 32),
    )
    heads = [
        Boxes(f"roi.{name}", c=256, spatial=size, boxes=boxes, bins=(bins, bins), ratio=ratio, shrink=shrink)
        for name, size, boxes, bins, ratio, shrink in table
    ]
    seven: dict[str, Any] = {"bins": (7, 7)}
    pooled = {**seven, "called": "roi_pool", "c": 256, "spatial": c4}
    sensitive = {**seven, "called": "ps_roi_align", "c": 10, "spatial": (38, 63), "boxes": 300}
    more = [
        Boxes("roi_pool.1000x7", **pooled, boxes=1000),
        Boxes("roi_pool.100x7", **pooled, boxes=100),
        Boxes("ps_roi_align.300x7", **sensitive, ratio=2),
        Boxes("ps_roi_align.300x7.adaptive", **sensitive),
    ]

    def gradient(layer: Boxes) -> Boxes:
        return replace(layer, name=f"{layer.name}.grad", gradient=True)

    return [
        *heads,
        *map(gradient, heads[:5]),
        *more,
        Suppression("nms.2000", boxes=2000, threshold=0.7),
        Suppression("nms.300", boxes=300),
        *map(gradient, more[1:3]),
    ]


LAYERS: tuple[Layer, ...] = tuple(_layers())
