"""What every backend's kernels of the gradients of weights and bias have in common: which problems, how exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .. import cost
from ..algorithm import Array, Packed, Support
from ..cost import Machine
from ..kernels.winograd_matrices import Variant
from ..problem import ConvBiasProblem, ConvWeightProblem
from . import winograd

__all__ = [
    "accuracy",
    "bias_error_bound",
    "error_reach",
    "estimate",
    "nothing",
    "operations",
    "supports",
    "weight_error_bound",
]

#: Elements that the kernels of the bias sum one after the other, and the most parts they deal them to.
_BIAS_BLOCK, _BIAS_PARTS = 16, 16


def supports(problem: ConvWeightProblem, family: str, variant: Variant | None) -> Support:
    """Whether a family of kernels can do a gradient of weights."""
    if variant is not None:
        return winograd.gradient_supports(problem, variant)
    conv = problem.conv
    if family == "depthwise-channels" and not conv.groups == conv.c_in == conv.c_out:
        return Support("needs one input and one output channel a group")
    return Support()


def accuracy(problem: ConvWeightProblem, variant: Variant | None) -> str:
    """Return "strict" for direct sums."""
    return "strict" if variant is None else winograd.gradient_accuracy(problem, variant)


def error_reach(variant: Variant | None) -> int:
    """Return how far beyond a pixel the error bound looks for the largest values."""
    return 0 if variant is None else variant.alpha


def estimate(problem: ConvWeightProblem, machine: Machine, family: str, variant: Variant | None) -> float:
    """Return seconds by :mod:`pyconv.cost`."""
    if variant is not None:
        return cost.winograd_gradient_seconds(problem, machine, variant.m)
    return cost.weight_gradient_seconds(problem, machine, family)


def weight_error_bound(problem: ConvWeightProblem, variant: Variant | None, epsilon: float) -> float:
    """(K + 2) eps for K pixels, or Winograd's."""
    if variant is not None:
        return winograd.gradient_error_bound(problem, variant, epsilon)
    return (problem.reduction + 2) * epsilon


def bias_error_bound(problem: ConvBiasProblem, lanes: int, epsilon: float) -> float:
    """Return the bound of pairwise sums of short blocks, their lanes and parts."""
    levels = max(1, problem.reduction).bit_length()
    return (_BIAS_BLOCK + 2 * levels + math.ceil(math.log2(lanes)) + _BIAS_PARTS) * epsilon


def operations(family: str, variant: Variant | None) -> Iterator[str]:
    """Yield the operations that a family serves."""
    argument = "bias" if family == "pairwise" else "w"
    for rank in (1, 2, 3) if variant is None else (2, 3):
        for function in (f"conv{rank}d", f"conv_transpose{rank}d"):
            yield f"{function}-grad-{argument}"


def nothing(packed: Packed, *arrays: Array) -> bool:
    """Return True: the result has no elements."""
    return True
