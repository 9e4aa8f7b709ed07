"""Boxes for a layer, and what their bins are, by dense matrices of sample weights: out = Wy X Wx^T."""

from __future__ import annotations

import zlib

import numpy as np

from benchmarks.peers import Array
from benchmarks.shapes import BoxLayer

__all__ = ["make_boxes", "sampled_truth"]

#: Outputs that are recomputed in float64.
SAMPLES = 96


def make_boxes(layer: BoxLayer) -> Array:
    """Return (boxes, 5) float32: image 0, corners in the image, of a tenth of a map pixel to half of the map."""
    random = np.random.default_rng(zlib.crc32(layer.name.encode()))
    height, width = (size * layer.shrink for size in layer.spatial)
    x, y = random.uniform(0, 0.8 * width, layer.boxes), random.uniform(0, 0.8 * height, layer.boxes)
    w, h = random.uniform(10, 0.5 * width, layer.boxes), random.uniform(10, 0.5 * height, layer.boxes)
    return np.stack([np.zeros(layer.boxes), x, y, x + w, y + h], axis=1).astype(np.float32)


def _samples(size: int, bins: int, ratio: int, low: float, high: float) -> Array:
    """Return the weight of each pixel in each bin's mean, (bins, size), corners shifted by half a pixel."""
    weights = np.zeros((bins, size))
    step = (high - low) / bins
    count = ratio or max(1, int(np.ceil(step)))
    for o, s in np.ndindex(bins, count):
        at = low - 0.5 + (o + (s + 0.5) / count) * step
        if not -1 <= at <= size:
            continue
        at = min(max(at, 0.0), size - 1.0)
        pixel = min(int(at), size - 2)
        weights[o, pixel] += (1 - (at - pixel)) / count
        weights[o, pixel + 1] += (at - pixel) / count
    return weights


def _pixels(size: int, bins: int, low: float, high: float) -> Array:
    """Return which pixels are in each bin of roi_pool, (bins, size)."""
    start, end = (int(np.floor(corner + 0.5)) for corner in (low, high))
    found, n = np.zeros((bins, size), bool), max(1, end - start + 1)
    for o in range(bins):
        found[o, max(0, start + o * n // bins) : max(0, start - (-(o + 1) * n // bins))] = True
    return found


def sampled_truth(layer: BoxLayer, x: Array, boxes: Array, g: Array | None) -> tuple[Array, Array]:
    """Return indices into the result, (samples, 4), and what lies there, in float64."""
    random = np.random.default_rng(0)
    index = random.integers(0, np.array(layer.out_shape), (SAMPLES, 4))
    corners = boxes[:, 1:].astype(np.float64) / layer.shrink
    (height, width), (rows, columns) = layer.spatial, layer.kernel
    truth = np.zeros(SAMPLES)
    if layer.gradient:
        assert g is not None
        along_y = np.array([_samples(height, rows, layer.ratio, box[1], box[3]) for box in corners])
        along_x = np.array([_samples(width, columns, layer.ratio, box[0], box[2]) for box in corners])
        for i, (_, c, row, column) in enumerate(index):
            bins = np.einsum("kp,kpq,kq->", along_y[:, :, row], g[:, c].astype(np.float64), along_x[:, :, column])
            truth[i] = float(bins)
        return index, truth
    for i, (k, c, p, q) in enumerate(index):
        channel = c * rows * columns + p * columns + q if layer.function.startswith("ps_") else c
        plane = x[0, channel].astype(np.float64)
        left, top, right, bottom = corners[k]
        if layer.function == "roi_pool":
            rows_in, columns_in = _pixels(height, rows, top, bottom)[p], _pixels(width, columns, left, right)[q]
            window = plane[np.ix_(rows_in, columns_in)]
            truth[i] = window.max() if window.size else 0.0
        else:
            vertical = _samples(height, rows, layer.ratio, top, bottom)[p]
            truth[i] = vertical @ plane @ _samples(width, columns, layer.ratio, left, right)[q]
    return index, truth
