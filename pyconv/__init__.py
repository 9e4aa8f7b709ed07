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
from .options import options, set_options
from .prepare import explain, prepare
from .problem import ConvProblem, PoolProblem, UnpoolProblem
from .registry import algorithms

__version__ = "0.1.0"

__all__ = [
    "ConvProblem",
    "InvalidProblem",
    "PoolProblem",
    "UnpoolProblem",
    "Unsupported",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "algorithms",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "explain",
    "grad",
    "info",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "options",
    "prepare",
    "set_options",
    "zero_unpool1d",
    "zero_unpool2d",
    "zero_unpool3d",
]
