"""Borders other than zeros on a GPU: x is copied with its border, and a gradient of x is folded back.

Whatever kernel a convolution has, it then knows no border at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..algorithm import Packed, Runner
from ..problem import ITEM_BYTES, ConvProblem, TransposedProblem
from .gpu import EPSILON, Place, seconds_of, steps, three

__all__ = ["fold", "fold_bound", "inside", "pad", "padder", "seconds"]


def inside(problem: ConvProblem) -> ConvProblem:
    """Return the convolution of x with its border; the problem itself where that is of zeros."""
    if problem.padding_mode == "zeros":
        return problem
    whole = tuple(size + sum(pads) for size, pads in zip(problem.spatial, problem.padding, strict=True))
    return replace(problem, spatial=whole, padding=((0, 0),) * problem.rank, padding_mode="zeros")


def seconds(problem: Any) -> float:
    """Return what the border costs beside the convolution: an array with and without it, once each, and a launch."""
    if problem.padding_mode == "zeros":
        return 0.0
    if isinstance(problem, TransposedProblem):
        channels, spatial = problem.c_out, problem.out_spatial
    else:
        channels, spatial = problem.c_in, problem.spatial
    whole = math.prod(size + sum(pads) for size, pads in zip(spatial, problem.padding, strict=True))
    elements = problem.n * channels * (math.prod(spatial) + whole)
    return seconds_of(0, elements * ITEM_BYTES[problem.dtype], problem.dtype, 1.0)


def padder(problem: ConvProblem) -> Callable[[Any], Any]:
    """Return the function of x that returns it with its border."""
    if problem.padding_mode == "zeros":
        return lambda x: x
    sizes = _sizes(problem.n, problem.c_in, problem.spatial, problem.padding)
    shape = problem.n, problem.c_in, *inside(problem).spatial

    def pad(x: Any) -> Any:
        place = Place.of(x)
        whole = place.array(shape, problem.dtype, x)
        place.run("border.pad", (problem.padding_mode,), math.prod(shape), sizes, steps(x), x, whole)
        return whole

    return pad


def pad(problem: ConvProblem, convolve: Runner) -> Runner:
    """Return the convolution that gives x its border first."""
    if problem.padding_mode == "zeros":
        return convolve
    with_border = padder(problem)

    def run(packed: Packed, x: Any, residual: Any, out: Any) -> bool:
        return convolve(packed, with_border(x), residual, out)

    return run


def fold(problem: TransposedProblem, real: Any, convolve: Runner) -> Runner:
    """Return the gradient that computes with the border, in the type of the sums, and then folds that."""
    if problem.padding_mode == "zeros":
        return convolve
    sizes = _sizes(problem.n, problem.c_out, problem.out_spatial, problem.padding)
    shape = problem.n, problem.c_out, *problem.onto_the_border.out_spatial
    words, sums = (real, problem.padding_mode), "f64" if problem.dtype == "f64" else "f32"

    def run(packed: Packed, x: Any, out: Any) -> bool:
        place = Place.of(out)
        whole = place.array(shape, sums, out)
        done = convolve(packed, x, whole)
        place.run("border.fold", words, math.prod(problem.out_shape), sizes, steps(out), whole, out)
        return done

    return run


def fold_bound(problem: TransposedProblem) -> float:
    """Return what folding adds to an error bound."""
    if problem.padding_mode == "zeros":
        return 0.0
    return math.prod(1 + sum(pads) for pads in problem.padding) * EPSILON[problem.dtype]


def _sizes(n: int, channels: int, spatial: tuple[int, ...], padding: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    whole = tuple(size + sum(pads) for size, pads in zip(spatial, padding, strict=True))
    before = three(tuple(pad for pad, _ in padding), 0)
    return n, channels, *three(spatial), *three(whole), *before
