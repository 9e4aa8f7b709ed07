"""Drop-ins for ``torchvision.ops``: its signatures, on pyconv where pyconv takes the call, on torchvision where not."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import operators as ops
from .functional import apply, drop_in
from .kinds import Operator
from .tensors import THEIRS, each, way_of

__all__ = ["deform_conv2d", "nms", "ps_roi_align", "ps_roi_pool", "roi_align", "roi_pool"]

#: Where torchvision has each function: in its own module, and where others have taken it from there.
PLACES = {
    "deform_conv2d": ("torchvision.ops.deform_conv",),
    "nms": ("torchvision.ops.boxes",),
    "ps_roi_align": ("torchvision.ops.ps_roi_align",),
    "ps_roi_pool": ("torchvision.ops.ps_roi_pool",),
    "roi_align": ("torchvision.ops.roi_align", "torchvision.ops.poolers"),
    "roi_pool": ("torchvision.ops.roi_pool",),
}
#: As they were before anybody replaced them.
_originals: dict[str, Callable[..., Any]] = {}


def original(name: str) -> Callable[..., Any]:
    """Return torchvision's function; ImportError where torchvision is not installed, or does not load."""
    if name not in _originals:
        try:
            _originals[name] = getattr(importlib.import_module(PLACES[name][0]), name)
        except (ImportError, RuntimeError, AttributeError) as error:
            raise ImportError(
                f"{name}: pyconv does not take this call, and torchvision, which would, does not load: {error}"
            ) from error
    return _originals[name]


def _named(ours: Callable[..., Any]) -> Callable[..., Any]:
    name = ours.__name__.removeprefix("_")

    def theirs(*arguments: Any, **settings: Any) -> Any:
        return original(name)(*arguments, **settings)

    ours.__name__ = ours.__qualname__ = name
    ours.__doc__ = f"As ``torchvision.ops.{name}``."
    return drop_in(theirs)(ours)


def _table(boxes: Any) -> Any:
    """Return boxes as a table with the image's index in front."""
    if not isinstance(boxes, (tuple, list)):
        return boxes
    return torch.cat([torch.cat((entry.new_full((len(entry), 1), i), entry), 1) for i, entry in enumerate(boxes)])


def _pooled(operator: Operator, input: Tensor, boxes: Any, output_size: Any, *settings: Any) -> Any:
    several = tuple(boxes) if isinstance(boxes, (tuple, list)) else (boxes,)
    way = way_of(input, *several)
    if way == THEIRS or not several or any(entry.ndim != 2 for entry in several):
        return NotImplemented
    table = _table(boxes)
    if table.shape[1] != 5:
        return NotImplemented
    # boxes have no gradient, here as there
    return operator.by(way)(input, table.detach(), each("output_size", output_size, 2), *settings)


def _roi_align(
    input: Tensor,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Any:
    return _pooled(ops.roi_align, input, boxes, output_size, float(spatial_scale), sampling_ratio, aligned)


def _roi_pool(input: Tensor, boxes: Any, output_size: Any, spatial_scale: float = 1.0) -> Any:
    return _pooled(ops.roi_pool, input, boxes, output_size, float(spatial_scale))


def _ps_roi_align(
    input: Tensor, boxes: Any, output_size: Any, spatial_scale: float = 1.0, sampling_ratio: int = -1
) -> Any:
    return _pooled(ops.ps_roi_align, input, boxes, output_size, float(spatial_scale), sampling_ratio)


def _ps_roi_pool(input: Tensor, boxes: Any, output_size: Any, spatial_scale: float = 1.0) -> Any:
    return _pooled(ops.ps_roi_pool, input, boxes, output_size, float(spatial_scale))


def _deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    mask: Tensor | None = None,
) -> Any:
    tensors = input, offset, weight, bias
    settings = (each("setting", value, 2) for value in (stride, padding, dilation))
    return apply(ops.deform_conv2d, (*tensors, mask), *tensors, *settings, mask)


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Any:
    # which boxes are left has no gradient
    boxes, scores = boxes.detach(), scores.detach()
    return apply(ops.nms, (boxes, scores), boxes, scores, float(iou_threshold))


roi_align = _named(_roi_align)
roi_pool = _named(_roi_pool)
ps_roi_align = _named(_ps_roi_align)
ps_roi_pool = _named(_ps_roi_pool)
deform_conv2d = _named(_deform_conv2d)
nms = _named(_nms)
