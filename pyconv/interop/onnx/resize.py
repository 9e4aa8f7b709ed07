"""ONNX's Resize and Upsample: pyconv.interpolate where the meaning is the same, else tables of taps in NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import interpolate
from ...algorithm import Array
from ...errors import InvalidProblem
from .nodes import Call, Inputs, Node, operator

__all__: list[str] = []


class _Meaning(NamedTuple):
    """The attributes that say where an output lies and what it is made of."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    exclude_outside: bool
    extrapolation: float
    antialias: bool


class _Axis(NamedTuple):
    """An axis that is resized, its sizes and, of tf_crop_and_resize, the region that is taken."""

    axis: int
    size: int
    out: int
    scale: float
    region: tuple[float, float]


def _places(meaning: _Meaning, axis: _Axis) -> Array:
    """Return where each output lies among the inputs."""
    o = np.arange(axis.out, dtype=np.float64)
    size, scale, word = axis.size, axis.scale, meaning.coordinates
    length = scale * size
    if word == "asymmetric":
        return o / scale
    if word == "align_corners":
        return np.zeros(axis.out) if length == 1 else o * (size - 1) / (length - 1)
    if word == "tf_crop_and_resize":
        first, last = axis.region
        if length == 1:
            return np.full(axis.out, (first + last) * (size - 1) / 2)
        return first * (size - 1) + o * (last - first) * (size - 1) / (length - 1)
    if word == "tf_half_pixel_for_nn":
        return (o + 0.5) / scale
    half_pixel: Array = (o + 0.5) / scale - 0.5
    if word == "half_pixel_symmetric":
        return size / 2 * (1 - axis.out / length) + half_pixel
    if word == "pytorch_half_pixel" and axis.out == 1:
        return np.zeros(1)
    if word not in ("half_pixel", "pytorch_half_pixel"):
        raise InvalidProblem(f"coordinate_transformation_mode {word!r} is not known")
    return half_pixel


def _rounded(places: Array, word: str) -> Any:
    if word.startswith("round"):
        return np.ceil(places - 0.5) if word == "round_prefer_floor" else np.floor(places + 0.5)
    return np.floor(places) if word == "floor" else np.ceil(places)


def _cubic(t: Array, a: float) -> Array:
    """Return Keys' cubic convolution at distances t."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _linear(t: Array) -> Any:
    return np.clip(1 - np.abs(t), 0, None)


def _taps(meaning: _Meaning, axis: _Axis) -> tuple[Array, Array, Array]:
    """Return of each output the indices of its inputs, their weights, and whether it lies outside."""
    places = _places(meaning, axis)
    outside = np.zeros(axis.out, bool)
    if meaning.coordinates == "tf_crop_and_resize":
        outside = (places < 0) | (places > axis.size - 1)
    if meaning.mode == "nearest":
        index = np.clip(_rounded(places, meaning.nearest), 0, axis.size - 1).astype(np.int64)
        return index[:, None], np.ones((axis.out, 1)), outside
    shrink = min(axis.scale, 1.0) if meaning.antialias else 1.0
    support = (1 if meaning.mode == "linear" else 2) / shrink
    first = np.floor(places - support).astype(np.int64) + 1
    index = first[:, None] + np.arange(math.ceil(2 * support) + 1)
    distance = (index - places[:, None]) * shrink
    weights = _linear(distance) if meaning.mode == "linear" else _cubic(distance, meaning.cubic)
    if meaning.exclude_outside:
        weights = np.where((index < 0) | (index >= axis.size), 0.0, weights)
    if meaning.exclude_outside or meaning.antialias:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(index, 0, axis.size - 1), weights, outside


def _resized(x: Array, meaning: _Meaning, axes: Sequence[_Axis]) -> Array:
    """Resize axis by axis, in float64."""
    if meaning.mode == "nearest" and meaning.coordinates != "tf_crop_and_resize":
        y = x
        for axis in axes:
            y = np.take(y, _taps(meaning, axis)[0][:, 0], axis=axis.axis)
        return y
    y = x.astype(np.float64)
    for axis in axes:
        indices, weights, outside = _taps(meaning, axis)
        shape = [-1 if i == axis.axis else 1 for i in range(x.ndim)]
        total = sum(
            np.take(y, indices[:, tap], axis=axis.axis) * weights[:, tap].reshape(shape)
            for tap in range(indices.shape[1])
        )
        y = np.where(outside.reshape(shape), meaning.extrapolation, total) if outside.any() else np.asarray(total)
    if x.dtype.kind in "iu":
        limits = np.iinfo(x.dtype)
        y = np.clip(np.rint(y) if meaning.mode == "nearest" else np.trunc(y), limits.min, limits.max)
    return y.astype(x.dtype)


def _whole(scale: float) -> bool:
    """Whether a scale or its inverse is an integer, so that no rounding decides which neighbour is nearest."""
    return float(scale).is_integer() or (scale > 0 and (1 / scale).is_integer())


def _as_interpolate(meaning: _Meaning, axes: Sequence[_Axis], rank: int) -> dict[str, Any] | None:
    """Return how pyconv.interpolate spells this; None where it has another meaning."""
    if meaning.antialias or meaning.exclude_outside:
        return None
    word, corners = meaning.coordinates, meaning.coordinates == "align_corners"
    if meaning.mode == "nearest":
        if not all(_whole(axis.scale) for axis in axes):
            return None
        if word == "asymmetric" and meaning.nearest == "floor":
            return {"mode": "nearest"}
        centred = word == "half_pixel" and all(axis.scale >= 1 and axis.scale % 2 for axis in axes)
        if (word == "half_pixel" and meaning.nearest == "round_prefer_ceil") or (
            # no place is halfway between two elements where a scale is odd
            centred and meaning.nearest == "round_prefer_floor"
        ):
            return {"mode": "nearest-exact"}
        return None
    half = word == "half_pixel" or (word == "pytorch_half_pixel" and all(axis.out > 1 for axis in axes))
    # with scales of fractions the ends of an aligned axis are not where the sizes say
    if not half and not (corners and all(axis.scale * axis.size == axis.out for axis in axes)):
        return None
    if meaning.mode == "linear":
        return {"mode": {1: "linear", 2: "bilinear", 3: "trilinear"}[rank], "align_corners": corners}
    if meaning.mode == "cubic" and rank == 2 and meaning.cubic == -0.75:
        return {"mode": "bicubic", "align_corners": corners}
    return None


def _resize(x: Array, meaning: _Meaning, axes: Sequence[_Axis]) -> Any:
    axes = [a for a in axes if a.scale != 1 or a.size != a.out or a.region != (0.0, 1.0)]
    rank = x.ndim - 2
    if not axes:
        return x.copy()
    spatial = {a.axis: a for a in axes}
    if rank in (1, 2, 3) and min(spatial) >= 2 and x.dtype.name in ("float16", "float32", "float64") and x.size:
        spelled = _as_interpolate(meaning, axes, rank)
        if spelled is not None:
            same = [_Axis(i, x.shape[i], x.shape[i], 1.0, (0.0, 1.0)) for i in range(2, x.ndim)]
            by_axis = [spatial.get(axis.axis, axis) for axis in same]
            given: dict[str, Any] = {"size": tuple(a.out for a in by_axis)}
            if any(a.out != a.size * a.scale for a in by_axis):
                given = {"scale_factor": tuple(a.scale for a in by_axis)}
            return Call(interpolate, (x,), given | spelled)
    return _resized(x, meaning, axes)


def _number_list(values: Array | None) -> list[float] | None:
    return None if values is None or not values.size else [float(value) for value in values.reshape(-1)]


@operator("Resize")
def _resize_node(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x = inputs[0]
    assert x is not None
    roi, scales, sizes = [_number_list(value) for value in [*inputs[1:], None, None, None][:3]]
    meaning = _Meaning(
        node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel"),
        node.get("nearest_mode", "round_prefer_floor"), float(node.get("cubic_coeff_a", -0.75)),
        bool(node.get("exclude_outside", 0)), float(node.get("extrapolation_value", 0.0)),
        bool(node.get("antialias", 0)),
    )  # fmt: skip
    if node.opset < 11:
        # (x, scales), and places as Upsample has them
        scales = _number_list(inputs[1])
        roi = None
        meaning = meaning._replace(coordinates="asymmetric", nearest="floor")
    numbers = [axis % x.ndim for axis in node.get("axes", range(x.ndim))]
    if sizes is not None:
        scales = [size / x.shape[axis] for axis, size in zip(numbers, sizes, strict=True)]
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            scale = min(scales) if policy == "not_larger" else max(scales)
            scales = [scale] * len(numbers)
            sizes = [math.floor(scale * x.shape[axis] + 0.5) for axis in numbers]
    if scales is None:
        raise InvalidProblem("Resize needs scales or sizes")
    count = len(numbers)
    axes = []
    for i, (axis, scale) in enumerate(zip(numbers, scales, strict=True)):
        target = math.floor(x.shape[axis] * scale) if sizes is None else int(sizes[i])
        cropped = meaning.coordinates == "tf_crop_and_resize" and roi is not None
        region = (roi[i], roi[count + i]) if cropped and roi is not None else (0.0, 1.0)
        axes.append(_Axis(axis, x.shape[axis], target, scale, region))
    return _resize(x, meaning, axes)


@operator("Upsample")
def _upsample(node: Node, inputs: Inputs, out: Array | None) -> Any:
    x = inputs[0]
    assert x is not None
    if node.opset >= 9:
        scales = _number_list(inputs[1])
    elif node.opset >= 7:
        scales = [float(scale) for scale in node.attributes["scales"]]
    else:
        scales = [1.0] * (x.ndim - 2) + [float(node.attributes["height_scale"]), float(node.attributes["width_scale"])]
    assert scales is not None
    mode = {"bilinear": "linear"}.get(node.get("mode", "nearest"), node.get("mode", "nearest"))
    meaning = _Meaning(mode, "asymmetric", "floor", -0.75, False, 0.0, False)
    axes = [
        _Axis(i, size, math.floor(size * scale), scale, (0.0, 1.0))
        for i, (size, scale) in enumerate(zip(x.shape, scales, strict=True))
    ]
    return _resize(x, meaning, axes)
