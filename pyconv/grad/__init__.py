"""Gradients, by the names of the forward functions: ``pyconv.grad.f(grad_output, ..., output_mask=None)``.

The arguments are the forward call's with ``grad_output`` in front. The result is a tuple with one gradient for each
floating array argument in the order of the forward signature, None where ``output_mask`` is False.
"""

from __future__ import annotations

from .conv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from .deform import deform_conv2d
from .layers import (
    batch_norm,
    elu,
    hardswish,
    leaky_relu,
    linear,
    local_response_norm,
    relu,
    relu6,
    sigmoid,
    silu,
    tanh,
)
from .lowering import fold, unfold
from .pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    zero_unpool1d,
    zero_unpool2d,
    zero_unpool3d,
)
from .resize import interpolate
from .roi import fpn_roi_align, ps_roi_align, ps_roi_pool, roi_align, roi_align3d, roi_pool
from .sample import affine_grid, grid_sample
from .shuffle import pixel_shuffle, pixel_unshuffle

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "affine_grid",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "deform_conv2d",
    "elu",
    "fold",
    "fpn_roi_align",
    "grid_sample",
    "hardswish",
    "interpolate",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "pixel_shuffle",
    "pixel_unshuffle",
    "ps_roi_align",
    "ps_roi_pool",
    "relu",
    "relu6",
    "roi_align",
    "roi_align3d",
    "roi_pool",
    "sigmoid",
    "silu",
    "tanh",
    "unfold",
    "zero_unpool1d",
    "zero_unpool2d",
    "zero_unpool3d",
]
