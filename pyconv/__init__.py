"""pyconv: convolution kernels for NumPy arrays, compiled, with a dispatcher that picks the fastest and says why."""

from . import grad
from .errors import InvalidProblem, Unsupported
from .info import info
from .ops.conv import conv1d, conv2d, conv3d
from .ops.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from .ops.roi import (
    anchors,
    batched_nms,
    box_iou,
    fpn_roi_align,
    nms,
    ps_roi_align,
    ps_roi_pool,
    roi_align,
    roi_align3d,
    roi_pool,
)
from .options import options, set_options
from .prepare import explain, prepare
from .problem import ConvProblem, NmsProblem, PoolProblem, RoiProblem, UnpoolProblem
from .registry import algorithms

__version__ = "0.1.0"

__all__ = [
    "ConvProblem",
    "InvalidProblem",
    "NmsProblem",
    "PoolProblem",
    "RoiProblem",
    "UnpoolProblem",
    "Unsupported",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "algorithms",
    "anchors",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batched_nms",
    "box_iou",
    "conv1d",
    "conv2d",
    "conv3d",
    "explain",
    "fpn_roi_align",
    "grad",
    "info",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "nms",
    "options",
    "prepare",
    "ps_roi_align",
    "ps_roi_pool",
    "roi_align",
    "roi_align3d",
    "roi_pool",
    "set_options",
]
