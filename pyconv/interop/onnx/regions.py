"""ONNX's operators on boxes and at places of maps: RoIs, non-maximum suppression, GridSample, AffineGrid."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import affine_grid, grid_sample, nms, roi_align, roi_pool
from ...algorithm import Array
from .nodes import Inputs, Node, NotTaken, floats, operator

__all__: list[str] = []

#: Operator set 20 renamed two of them.
_GRID_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}
_GRID_MODES |= {"bicubic": "bicubic"}


@operator("RoiAlign")
def _roi_align(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, corners, images = inputs
    assert x is not None
    assert corners is not None
    assert images is not None
    floats(x)
    boxes = np.concatenate([images.reshape(-1, 1).astype(np.float64), corners.astype(np.float64)], axis=1)
    # before operator set 16 there was no choice: boxes were not aligned
    word = node.get("coordinate_transformation_mode", "output_half_pixel")
    return roi_align(
        x,
        boxes,
        (node.get("output_height", 1), node.get("output_width", 1)),
        float(node.get("spatial_scale", 1.0)),
        node.get("sampling_ratio", 0),
        word == "half_pixel",
        mode=node.get("mode", "avg"),
        max_of="weighted",
        out=out,
    )


@operator("MaxRoiPool")
def _max_roi_pool(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, boxes = inputs
    assert x is not None
    floats(x)
    size = tuple(node.attributes["pooled_shape"])
    return roi_pool(x, boxes, size, float(node.get("spatial_scale", 1.0)), out=out)


@operator("NonMaxSuppression")
def _non_max_suppression(node: Node, inputs: Inputs, out: Array | None) -> Array:
    boxes, scores, *limits = inputs
    assert boxes is not None
    assert scores is not None
    numbers = [None if limit is None or not limit.size else limit.reshape(-1)[0].item() for limit in limits]
    most, iou, least = [*numbers, None, None, None][:3]
    if node.get("center_point_box", 0):
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        corners = np.concatenate([centre - half, centre + half], axis=-1)
    else:
        # either pair of opposite corners
        a, b = boxes[..., :2], boxes[..., 2:]
        corners = np.concatenate([np.minimum(a, b), np.maximum(a, b)], axis=-1)
    chosen = []
    for image, category in np.ndindex(*scores.shape[:2]):
        found = scores[image, category]
        above = np.arange(found.size) if least is None else np.flatnonzero(found > least)
        kept = above[nms(corners[image][above], found[above], iou or 0.0)][: most or 0]
        chosen.append(np.stack([np.full(kept.size, image), np.full(kept.size, category), kept], axis=1))
    return np.concatenate(chosen).astype(np.int64) if chosen else np.zeros((0, 3), np.int64)


@operator("GridSample")
def _grid_sample(node: Node, inputs: Inputs, out: Array | None) -> Array:
    x, grid = inputs
    assert x is not None
    assert grid is not None
    floats(x)
    mode = _GRID_MODES[node.get("mode", "linear")]
    if x.ndim not in (4, 5) or (mode == "bicubic" and x.ndim == 5) or not x.size or not grid.size:
        raise NotTaken(f"mode {mode} of {x.ndim - 2} spatial axes")
    places = grid.astype(x.dtype, copy=False)
    return grid_sample(x, places, mode, node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0)), out=out)


@operator("AffineGrid")
def _affine_grid(node: Node, inputs: Inputs, out: Array | None) -> Any:
    theta, size = inputs
    assert theta is not None
    assert size is not None
    floats(theta)
    return affine_grid(theta, tuple(size.tolist()), bool(node.get("align_corners", 0)), out=out)
