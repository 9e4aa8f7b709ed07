"""The custom operators ``torch.ops.pyconv.*``, by kind; see :mod:`pyconv.interop.torch.kinds`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import pyconv

from .kinds import Product, Settings, arrays_of, define, linear_map, maxima, once, product
from .packs import kept
from .tensors import array_of, call, tensor_of

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "affine_grid",
    "avg_pool",
    "batch_norm",
    "batch_norm_training",
    "conv",
    "conv_transpose",
    "deform_conv2d",
    "fold",
    "grid_sample",
    "interpolate",
    "linear",
    "local_response_norm",
    "lp_pool",
    "max_pool",
    "max_unpool",
    "nms",
    "pixel_shuffle",
    "pixel_unshuffle",
    "ps_roi_align",
    "ps_roi_pool",
    "roi_align",
    "roi_pool",
    "unfold",
]

#: torch's own, before anybody replaced them.
_torch = {
    f"{name}{rank}d": getattr(F, f"{name}{rank}d")
    for name in ("conv", "conv_transpose", "max_pool")
    for rank in (1, 2, 3)
}
_torch |= {name: getattr(F, name) for name in ("fold", "interpolate", "pad", "unfold")}


def _named(name: str) -> Callable[[Settings], str]:
    return lambda settings: name


def _ranked(name: str, at: int = 0) -> Callable[[Settings], str]:
    """Return how a function's name ends in the number of entries of one of its settings."""
    return lambda settings: f"{name}{len(settings[at])}d"


def _before_spatial(at: int = 0) -> Callable[[int, Settings], int]:
    """Return where the channels are, batch or no batch, from the number of entries of one of the settings."""
    return lambda ndim, settings: ndim - len(settings[at]) - 1


def _second(ndim: int, settings: Settings) -> int:
    return 1


def _second_of_images(ndim: int, settings: Settings) -> int | None:
    return 1 if ndim > 2 else None


def _nowhere(ndim: int, settings: Settings) -> None:
    return None


# ---- products ----


def _conv_sizes(x: Tensor, w: Tensor, bias: Tensor | None, settings: Settings) -> Sequence[Any]:
    stride, padding, dilation, groups = settings
    rank = len(stride)
    if len(padding) != rank:
        pads = [entry for axis in reversed(range(rank)) for entry in padding[2 * axis : 2 * axis + 2]]
        x, padding = _torch["pad"](x, pads), (0,) * rank
    found: Tensor = _torch[f"conv{rank}d"](x, w, bias, stride, padding, dilation, groups)
    return tuple(found.shape)


def _conv_transpose_sizes(x: Tensor, w: Tensor, bias: Tensor | None, settings: Settings) -> Sequence[Any]:
    stride, padding, output_padding, groups, dilation = settings
    function = _torch[f"conv_transpose{len(stride)}d"]
    found: Tensor = function(x, w, bias, stride, padding, output_padding, groups, dilation)
    return tuple(found.shape)


def _before_kernel(ndim: int, ndim_w: int) -> int:
    return ndim - ndim_w + 1


conv = product(
    "conv",
    "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups",
    Product(
        ("stride", "padding", "dilation", "groups"),
        _ranked("conv"),
        _conv_sizes,
        _before_spatial(),
        _before_kernel,
    ),
)
conv_transpose = product(
    "conv_transpose",
    "SymInt[] stride, SymInt[] padding, SymInt[] output_padding, SymInt groups, SymInt[] dilation",
    Product(
        ("stride", "padding", "output_padding", "groups", "dilation"),
        _ranked("conv_transpose"),
        _conv_transpose_sizes,
        _before_spatial(),
        _before_kernel,
    ),
)
linear = product(
    "linear",
    "",
    Product(
        (),
        _named("linear"),
        lambda x, w, bias, settings: (*x.shape[:-1], w.shape[0]),
        _nowhere,
        lambda ndim, ndim_w: ndim - 1,
    ),
)


# ---- maps ----


def _pool_sizes(
    x: Tensor, kernel: Settings, stride: Settings, padding: Settings, dilation: Settings, ceil_mode: bool
) -> Sequence[Any]:
    found: Tensor = _torch[f"max_pool{len(kernel)}d"](x, kernel, stride, padding, dilation, ceil_mode)
    return tuple(found.shape)


def _avg_pool_sizes(
    x: Tensor, kernel: Settings, stride: Settings, padding: Settings, ceil_mode: bool, *rest: Any
) -> Sequence[Any]:
    return _pool_sizes(x, kernel, stride, padding, (1,) * len(kernel), ceil_mode)


def _given_sizes(x: Tensor, *settings: Any) -> Sequence[Any]:
    """Return the sizes of x with its last axes as the last setting says."""
    size = settings[-1]
    return (*x.shape[: x.ndim - len(size)], *size)


def _boxes_sizes(x: Tensor, boxes: Tensor, size: Settings, *rest: Any) -> Sequence[Any]:
    return (boxes.shape[0], x.shape[1], *size)


def _boxes_sizes_by_place(x: Tensor, boxes: Tensor, size: Settings, *rest: Any) -> Sequence[Any]:
    return (boxes.shape[0], x.shape[1] // math.prod(size), *size)


avg_pool = linear_map(
    "avg_pool",
    "SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, bool ceil_mode, bool count_include_pad, "
    "SymInt? divisor_override",
    _ranked("avg_pool"),
    _avg_pool_sizes,
    _before_spatial(),
)
adaptive_avg_pool = linear_map(
    "adaptive_avg_pool", "SymInt[] output_size", _ranked("adaptive_avg_pool"), _given_sizes, _before_spatial()
)
max_unpool = linear_map(
    "max_unpool",
    "Tensor indices, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, SymInt[] output_size",
    _ranked("max_unpool", 1),
    _given_sizes,
    _before_spatial(1),
)
interpolate = linear_map(
    "interpolate",
    "SymInt[]? size, float[]? scale_factor, str mode, bool? align_corners, bool? recompute_scale_factor, "
    "bool antialias",
    _named("interpolate"),
    lambda x, *settings: _torch["interpolate"](x, *settings).shape,
    _second,
)
unfold = linear_map(
    "unfold",
    "SymInt[] kernel_size, SymInt[] dilation, SymInt[] padding, SymInt[] stride",
    _named("unfold"),
    lambda x, *settings: _torch["unfold"](x, *settings).shape,
    lambda ndim, settings: ndim - 3,
    in_order=False,
)
fold = linear_map(
    "fold",
    "SymInt[] output_size, SymInt[] kernel_size, SymInt[] dilation, SymInt[] padding, SymInt[] stride",
    _named("fold"),
    lambda x, *settings: _torch["fold"](x, *settings).shape,
    _nowhere,
)
pixel_shuffle = linear_map(
    "pixel_shuffle",
    "SymInt upscale_factor",
    _named("pixel_shuffle"),
    lambda x, r: (*x.shape[:-3], x.shape[-3] // r**2, x.shape[-2] * r, x.shape[-1] * r),
    lambda ndim, settings: ndim - 3,
)
pixel_unshuffle = linear_map(
    "pixel_unshuffle",
    "SymInt downscale_factor",
    _named("pixel_unshuffle"),
    lambda x, r: (*x.shape[:-3], x.shape[-3] * r**2, x.shape[-2] // r, x.shape[-1] // r),
    lambda ndim, settings: ndim - 3,
)
affine_grid = linear_map(
    "affine_grid",
    "SymInt[] size, bool align_corners",
    _named("affine_grid"),
    lambda theta, size, align_corners: (theta.shape[0], *size[2:], len(size) - 2),
    _nowhere,
)
roi_align = linear_map(
    "roi_align",
    "Tensor boxes, SymInt[] output_size, float spatial_scale, SymInt sampling_ratio, bool aligned",
    _named("roi_align"),
    _boxes_sizes,
    _second,
)
ps_roi_align = linear_map(
    "ps_roi_align",
    "Tensor boxes, SymInt[] output_size, float spatial_scale, SymInt sampling_ratio",
    _named("ps_roi_align"),
    _boxes_sizes_by_place,
    _second,
)
ps_roi_pool = linear_map(
    "ps_roi_pool",
    "Tensor boxes, SymInt[] output_size, float spatial_scale",
    _named("ps_roi_pool"),
    _boxes_sizes_by_place,
    _second,
)


# ---- maxima ----

max_pool = maxima(
    "max_pool",
    "SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool ceil_mode",
    _ranked("max_pool"),
    _pool_sizes,
    _before_spatial(),
)
adaptive_max_pool = maxima(
    "adaptive_max_pool", "SymInt[] output_size", _ranked("adaptive_max_pool"), _given_sizes, _before_spatial()
)


# ---- everything else ----


def _lp_pool_sizes(x: Tensor, p: float, kernel: Settings, stride: Settings, ceil_mode: bool) -> Sequence[Any]:
    return _pool_sizes(x, kernel, stride, (0,) * len(kernel), (1,) * len(kernel), ceil_mode)


def _same_sizes(x: Tensor, *rest: Any) -> Sequence[Any]:
    return tuple(x.shape)


lp_pool = once(
    "lp_pool",
    "Tensor x, float norm_type, SymInt[] kernel_size, SymInt[] stride, bool ceil_mode",
    (0,),
    _ranked("lp_pool", 2),
    _lp_pool_sizes,
    _before_spatial(2),
)
local_response_norm = once(
    "local_response_norm",
    "Tensor x, SymInt size, float alpha, float beta, float k",
    (0,),
    _named("local_response_norm"),
    _same_sizes,
    _second,
)
grid_sample = once(
    "grid_sample",
    "Tensor x, Tensor grid, str mode, str padding_mode, bool align_corners",
    (0, 1),
    _named("grid_sample"),
    lambda x, grid, *settings: (*x.shape[:2], *grid.shape[1:-1]),
    _second,
)
roi_pool = once(
    "roi_pool",
    "Tensor x, Tensor boxes, SymInt[] output_size, float spatial_scale",
    (0,),
    _named("roi_pool"),
    _boxes_sizes,
    _second,
)


def _infer(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return tensor_of(call(pyconv.batch_norm, *arrays_of((x, mean, var, weight, bias)), eps=eps))


def _norm_gradient(
    g: Tensor, mask: Sequence[bool], tensors: Sequence[Any], training: bool, eps: float
) -> tuple[Any, ...]:
    wants_x, wants_weight, wants_bias = mask
    wants = wants_x, False, False, wants_weight, wants_bias
    arrays = arrays_of(tensors)
    found = call(pyconv.grad.batch_norm, array_of(g), *arrays, training=training, eps=eps, output_mask=wants)
    return found[0], found[3], found[4]


def _infer_gradient(g: Tensor, mask: Sequence[bool], *arguments: Any) -> tuple[Any, ...]:
    return _norm_gradient(g, mask, arguments[:5], False, arguments[5])


batch_norm = once(
    "batch_norm",
    "Tensor x, Tensor running_mean, Tensor running_var, Tensor? weight, Tensor? bias, float eps",
    (0, 3, 4),
    _named("batch_norm"),
    _same_sizes,
    _second_of_images,
    _infer,
    _infer_gradient,
)


def _train(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result, and the mean and the unbiased variance of x: running statistics that forget all before."""
    mean, var = (x.new_zeros(x.shape[1]) for _ in range(2))
    arrays = arrays_of((x, mean, var, weight, bias))
    y = tensor_of(call(pyconv.batch_norm, *arrays, training=True, momentum=1.0, eps=eps))
    return y, mean, var


def _train_gradient(g: Tensor, mask: Sequence[bool], *arguments: Any) -> tuple[Any, ...]:
    x, weight, bias, eps = arguments
    return _norm_gradient(g, mask, (x, None, None, weight, bias), True, eps)


batch_norm_training = once(
    "batch_norm_training",
    "Tensor x, Tensor? weight, Tensor? bias, float eps",
    (0, 1, 2),
    _named("batch_norm"),
    _same_sizes,
    _second_of_images,
    _train,
    _train_gradient,
    vectors=2,
)


def _deform(x: Tensor, offset: Tensor, w: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    stride, padding, dilation, mask = rest
    words = ("stride", stride), ("padding", padding), ("dilation", dilation)
    packed = kept(pyconv.deform_conv2d, w, bias, words)
    if packed is not None:
        return tensor_of(call(packed, *arrays_of((x, offset, mask))))
    *arrays, mask_array = arrays_of((x, offset, w, bias, mask))
    return tensor_of(call(pyconv.deform_conv2d, *arrays, **dict(words), mask=mask_array))


deform_conv2d = once(
    "deform_conv2d",
    "Tensor x, Tensor offset, Tensor w, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, "
    "Tensor? mask",
    (0, 1, 2, 3, 7),
    _named("deform_conv2d"),
    lambda x, offset, w, *rest: (x.shape[0], w.shape[0], *offset.shape[2:]),
    _second,
    _deform,
)


# ---- without gradients ----


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return tensor_of(call(pyconv.nms, array_of(boxes), array_of(scores), iou_threshold))


def _fake_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(),), dtype=torch.int64)


nms = define("nms", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor", _nms, _fake_nms)
