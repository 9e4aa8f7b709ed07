"""pyconv: convolution kernels for NumPy arrays, compiled, with a dispatcher that picks the fastest and says why."""

from . import grad
from .errors import InvalidProblem, Unsupported
from .info import info
from .ops.conv import conv1d, conv2d, conv3d
from .options import options, set_options
from .prepare import explain, prepare
from .problem import ConvProblem
from .registry import algorithms

__version__ = "0.1.0"

__all__ = [
    "ConvProblem",
    "InvalidProblem",
    "Unsupported",
    "algorithms",
    "conv1d",
    "conv2d",
    "conv3d",
    "explain",
    "grad",
    "info",
    "options",
    "prepare",
    "set_options",
]
