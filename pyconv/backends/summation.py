"""What the kernels can do and how much they have to do, whichever backend they are built in."""

from __future__ import annotations

import math

from ..algorithm import Support
from ..problem import ConvProblem

__all__ = ["supports", "work"]

#: An element of x or of the output takes as long as so many flops where there are few others.
_FLOPS_PER_MOVE = 8


def supports(problem: ConvProblem, family: str, lanes: int) -> Support:
    """Whether a family of direct summation can do the problem with vectors of so many elements, or why not."""
    if family.startswith("depthwise") and problem.c_in != problem.groups:
        return Support(f"needs one input channel a group, here {problem.c_in // problem.groups}")
    if family == "grouped-channels":
        return Support(_not_grouped(problem, lanes))
    if family == "implicit-gemm" and problem.c_in == 0:
        return Support("needs something to sum")
    return Support()


def _not_grouped(problem: ConvProblem, lanes: int) -> str:
    """Why conv_grouped_channels cannot do it, or nothing."""
    each = problem.c_in // problem.groups
    planar, kernel = problem.out_spatial[-2:], problem.kernel[-2:]
    if each < 2 or lanes % each or problem.c_out != problem.c_in:
        return f"needs as many channels out as in, 2 or more in a group, and groups that divide a vector of {lanes}"
    if kernel not in ((3, 3), (5, 5), (7, 7)) or math.prod(problem.kernel[:-2]) != 1:
        return "needs a kernel of 3x3, 5x5 or 7x7"
    if problem.stride[-2:] not in ((1, 1), (2, 2)) or problem.dilation[-2:] != (1, 1):
        return "needs stride 1 or 2 along both axes, and no dilation"
    return "" if planar[0] >= 2 and planar[1] >= 4 else "needs two output rows of four at least"


def work(problem: ConvProblem) -> int:
    """Return the flops, and what is moved counted as flops: what the number of threads goes by."""
    return problem.flops + _FLOPS_PER_MOVE * (math.prod(problem.x_shape) + math.prod(problem.out_shape))
