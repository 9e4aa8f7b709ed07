"""What every backend's Winograd kernels have in common: which problems, how exactly.

The transforms themselves are in kernels/winograd_matrices.py.
"""

from __future__ import annotations

import math

from ..algorithm import Support
from ..kernels.winograd_matrices import Variant, error_factor, gradient_error_factor, rounding_steps
from ..problem import ConvProblem, ConvWeightProblem

__all__ = [
    "accuracy",
    "error_bound",
    "error_reach",
    "gradient_accuracy",
    "gradient_error_bound",
    "gradient_supports",
    "supports",
]

#: In float32, fewer input channels than this sum directly with less than a quarter of F(4, 3)'s error.
_CHANNELS_FOR_STANDARD = 16


def _planar(problem: ConvProblem) -> list[int]:
    """Positions of the axes that may be transformed: the kernels' h and w, not d."""
    return [i for i, axis in enumerate(problem.kernel_axes) if axis != "d"]


def _taps(problem: ConvProblem) -> list[int]:
    return [problem.kernel[i] for i in _planar(problem)]


def supports(problem: ConvProblem, variant: Variant) -> Support:
    """Stride 1 along h and w, and along each of them r taps or one."""
    taps = _taps(problem)
    if any(k not in (1, variant.r) for k in taps) or variant.r not in taps:
        return Support(f"needs kernels of {variant.r} taps (or 1) along h and w, here {'x'.join(map(str, taps))}")
    if any(problem.stride[i] != 1 for i in _planar(problem)):
        return Support("needs stride 1 along h and w")
    if problem.c_in == 0 or 0 in problem.out_shape:
        return Support("needs something to sum")
    return Support()


def accuracy(problem: ConvProblem, variant: Variant) -> str:
    """Return the strictest ``accuracy`` that permits the variant.

    In float64 that is always "standard". In float32 it is "standard" where the rms error stays within four times that
    of direct summation (docs/accuracy.md has the figures). Nothing here is "strict": in a window that holds values of
    very different size the transforms lose the small ones.
    """
    if problem.dtype == "f64" or variant.alpha == 4:
        return "standard"
    if variant.alpha == 6 and problem.c_in // problem.groups >= _CHANNELS_FOR_STANDARD:
        return "standard"
    return "fast"


def error_bound(problem: ConvProblem, variant: Variant, epsilon: float) -> float:
    """Return the bound relative to sum |w| max |x|, the maximum over the tile around each tap."""
    taps = _taps(problem)
    axes = taps.count(variant.r)
    channels = problem.reduction // variant.r**axes
    return float(error_factor(variant, axes) * (channels + rounding_steps(variant, axes)) * epsilon)


def error_reach(problem: ConvProblem, variant: Variant) -> int:
    """Return how far a tile reaches beyond a tap."""
    return (variant.alpha - 1) * max(problem.dilation[i] for i in _planar(problem))


def gradient_supports(problem: ConvWeightProblem, variant: Variant) -> Support:
    """Stride 1, no dilation and r x r taps along h and w."""
    conv = problem.conv
    planar = _planar(conv)
    if _taps(conv) != [variant.r, variant.r]:
        return Support(f"needs kernels of {variant.r}x{variant.r} taps along h and w")
    if any(conv.stride[i] != 1 or conv.dilation[i] != 1 for i in planar):
        return Support("needs stride 1 and no dilation along h and w")
    if conv.c_in == 0 or problem.reduction == 0:
        return Support("needs something to sum")
    return Support()


def gradient_accuracy(problem: ConvWeightProblem, variant: Variant) -> str:
    """Return the strictest ``accuracy`` that permits the variant; docs/accuracy.md has the figures."""
    return "standard" if problem.dtype == "f64" or variant.alpha <= 6 else "fast"


def gradient_error_bound(problem: ConvWeightProblem, variant: Variant, epsilon: float) -> float:
    """Return the bound relative to the sum of max |dY| max |x|, the maxima over the tile around each pixel."""
    conv = problem.conv
    tiles = conv.n * math.prod(conv.out_spatial)
    for i in _planar(conv):
        tiles = tiles // conv.out_spatial[i] * -(-conv.out_spatial[i] // variant.m)
    return float(gradient_error_factor(variant, 2) * (tiles + rounding_steps(variant, 2)) * epsilon)
