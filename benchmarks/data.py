"""Arrays for a layer, and the truth that a library's output is held against before it is timed."""

from __future__ import annotations

import itertools
import math
import zlib
from dataclasses import dataclass

import numpy as np

from benchmarks.boxes import make_boxes, sampled_truth
from benchmarks.peers import Array
from benchmarks.shapes import BoxLayer, Layer

__all__ = ["SAMPLES", "TOLERANCE", "Arrays", "disagreement", "make_arrays"]

#: Outputs that are recomputed in float64.
SAMPLES = 96
#: Largest rms error of the sample, relative to its rms. Direct float32 sums have about 1e-6 and Winograd F(6,3) 3e-6;
#: arithmetic in float16, bfloat16 or TF32 has 2e-4 and more, and is refused. One rounding to float16 has 3e-4.
TOLERANCE = {"float16": 5e-4, "float32": 2e-5, "float64": 1e-12}


@dataclass(frozen=True)
class Arrays:
    """The arguments of one layer: x, w and a bias or None; of boxes w, and of their gradient its argument as bias."""

    x: Array
    w: Array
    bias: Array | None


def make_arrays(layer: Layer, dtype: str, bias: bool) -> Arrays:
    """Return normal numbers seeded by the layer's name (equal in every process), outputs of about unit size."""
    random = np.random.default_rng(zlib.crc32(layer.name.encode()))
    x = random.standard_normal(layer.x_shape, dtype=np.float32).astype(dtype)
    if isinstance(layer, BoxLayer):
        g = random.standard_normal(layer.bins_shape, dtype=np.float32).astype(dtype) if layer.gradient else None
        return Arrays(x, make_boxes(layer), g)
    w = random.standard_normal(layer.w_shape, dtype=np.float32).astype(dtype)
    w /= np.sqrt(w[0].size)
    if layer.pooling:  # an average is a depthwise convolution with equal weights
        return Arrays(x, np.full_like(w, 1 / math.prod(layer.kernel)), None)
    return Arrays(x, w, random.standard_normal(layer.c_out, dtype=np.float32).astype(dtype) if bias else None)


def _sample(layer: Layer) -> Array:
    """Return indices into the output, (samples, 2 + rank): the corners and random ones."""
    random = np.random.default_rng(0)
    shape = np.array(layer.out_shape)
    corners = np.indices((2,) * len(shape)).reshape(len(shape), -1).T * (shape - 1)
    return np.unique(np.concatenate([corners, random.integers(0, shape, (SAMPLES - len(corners), len(shape)))]), axis=0)


def _truth(layer: Layer, arrays: Arrays, activation: str | None, index: Array) -> float:
    """Return one output in float64, by the definition."""
    image, o = int(index[0]), int(index[1])
    per_group = layer.c_in // layer.groups
    first = o // (layer.c_out // layer.groups) * per_group
    if layer.pooling.endswith("grad"):
        return _gradient(layer, arrays, index)
    reads: list[Array] = []
    taps: list[Array] = []
    for at, size, k, s, p, d in zip(
        index[2:], layer.spatial, layer.kernel, layer.stride, layer.padding, layer.dilation, strict=True
    ):
        positions = int(at) * s - p + d * np.arange(k)
        inside = (positions >= 0) & (positions < size)
        reads.append(positions[inside])
        taps.append(np.arange(k)[inside])
    window = arrays.x[np.ix_(np.array([image]), np.arange(first, first + per_group), *reads)][0].astype(np.float64)
    if layer.pooling.startswith("max"):
        return float(window.max())
    if layer.pooling == "lp":
        return float(np.sqrt(np.sum(window**2)))
    weights = arrays.w[np.ix_(np.array([o]), np.arange(per_group), *taps)][0].astype(np.float64)
    y = float(np.sum(window * weights)) + (0.0 if arrays.bias is None else float(arrays.bias[o]))
    return max(y, 0.0) if activation == "relu" else y


def _gradient(layer: Layer, arrays: Arrays, index: Array) -> float:
    """Return one element of a gradient for ones: a share of each window that it is in, or that it is the maximum of."""
    plane, place, total = arrays.x[tuple(index[:2])], tuple(int(i) for i in index[2:]), 0.0
    axes = zip(place, layer.kernel, layer.stride, layer.padding, layer.out_spatial, strict=True)
    covering = [[o for o in range(out) if 0 <= at + p - o * s < k] for at, k, s, p, out in axes]
    for position in itertools.product(*covering):
        starts = [o * s - p for o, s, p in zip(position, layer.stride, layer.padding, strict=True)]
        window = plane[tuple(slice(max(0, b), b + k) for b, k in zip(starts, layer.kernel, strict=True))]
        if layer.pooling == "avg_grad":
            total += 1 / math.prod(layer.kernel)
        else:
            total += float(window.max() == plane[place])
    return total


def disagreement(layer: Layer, arrays: Arrays, activation: str | None, out: Array) -> float:
    """Return the rms error of a sample of ``out`` relative to its rms in float64.

    Raises
    ------
    ValueError
        If ``out`` has another shape or dtype than it should.
    """
    if out.shape != layer.out_shape or out.dtype != arrays.x.dtype:
        raise ValueError(f"got {out.dtype} {out.shape}, expected {arrays.x.dtype} {layer.out_shape}")
    if isinstance(layer, BoxLayer):
        indices, truth = sampled_truth(layer, arrays.x, arrays.w, arrays.bias)
        found = np.array([float(out[tuple(index)]) for index in indices])
        return float(np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)))
    indices = _sample(layer)
    truth = np.array([_truth(layer, arrays, activation, index) for index in indices])
    found = np.array([float(out[tuple(index)]) for index in indices])
    return float(np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)))
