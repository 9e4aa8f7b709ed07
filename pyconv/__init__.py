"""pyconv: convolution kernels for NumPy arrays, compiled, with a dispatcher that picks the fastest and says why."""

from . import grad
from .errors import InvalidProblem, Unsupported
from .info import info
from .ops.activation import elu, hardswish, leaky_relu, relu, relu6, sigmoid, silu, tanh
from .ops.conv import conv1d, conv2d, conv3d
from .ops.conv_transpose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from .ops.interpolate import interpolate
from .ops.linear import linear
from .ops.norm import batch_norm, batch_norm_stats, local_response_norm
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
from .problem import (
    ConvBiasProblem,
    ConvProblem,
    ConvWeightProblem,
    ElementwiseProblem,
    LinearProblem,
    NmsProblem,
    NormProblem,
    PoolProblem,
    ResizeProblem,
    ResponseProblem,
    RoiProblem,
    TransposedProblem,
    UnpoolProblem,
)
from .registry import algorithms

__version__ = "0.1.0"

__all__ = [
    "ConvBiasProblem",
    "ConvProblem",
    "ConvWeightProblem",
    "ElementwiseProblem",
    "InvalidProblem",
    "LinearProblem",
    "NmsProblem",
    "NormProblem",
    "PoolProblem",
    "ResizeProblem",
    "ResponseProblem",
    "RoiProblem",
    "TransposedProblem",
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
    "batch_norm",
    "batch_norm_stats",
    "batched_nms",
    "box_iou",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "elu",
    "explain",
    "fpn_roi_align",
    "grad",
    "hardswish",
    "info",
    "interpolate",
    "leaky_relu",
    "linear",
    "local_response_norm",
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
    "relu",
    "relu6",
    "roi_align",
    "roi_align3d",
    "roi_pool",
    "set_options",
    "sigmoid",
    "silu",
    "tanh",
]
