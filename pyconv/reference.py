"""The float64 definition of every operation, written to be believed, not to be fast.

    out[n, o, p] = activation(sum over c, a of w[o, c, a] * x[n, c, s p - before + d a] + bias[o] + residual[n, o, p])

with x read through :func:`pyconv.problem.pad_index` outside its bounds, so that a padded zero takes part in the sum
as a zero (0 * Inf is NaN). Axes p and a have one, two or three components.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .algorithm import Array
from .problem import ConvProblem, PoolProblem, pad_index

__all__ = ["activate", "conv", "conv_blocks", "norm_of", "pool", "pool_grad", "pool_windows", "unpool", "unpool_grad"]


def activate(values: Array, activation: str | None, slope: float = 0.0) -> Array:
    """Apply an activation, elementwise, in the type of ``values``.

    relu: max(x, 0). relu6: min(max(x, 0), 6). leaky_relu: x or slope x below 0. elu: x or slope (exp(x) - 1) below 0.
    sigmoid: 1 / (1 + exp(-x)). tanh. silu: x / (1 + exp(-x)). hardswish: 0 up to -3, x from 3 on, x (x + 3) / 6
    between. NaN stays NaN.
    """
    x = values
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if activation is None:
            result = x
        elif activation == "relu":
            result = np.where(x < 0, 0, x)
        elif activation == "relu6":
            result = np.where(x > 6, 6, np.where(x < 0, 0, x))
        elif activation == "leaky_relu":
            result = np.where(x < 0, x * slope, x)
        elif activation == "elu":
            result = np.where(x < 0, np.expm1(np.minimum(x, 0)) * slope, x)
        elif activation == "sigmoid":
            result = 1 / (1 + np.exp(-x))
        elif activation == "tanh":
            result = np.tanh(x)
        elif activation == "silu":
            result = x / (1 + np.exp(-x))
        elif activation == "hardswish":
            result = np.where(x < -3, 0, np.where(x > 3, x, x * (x + 3) / 6))
        else:
            raise ValueError(f"no activation is called {activation!r}")
    return np.asarray(result, dtype=x.dtype)


def _source_rows(problem: ConvProblem, axis: int, tap: int, first: int, count: int) -> tuple[Array, Array]:
    """Input index of each output position for one tap of one axis, and which of them are padded zeros."""
    start = first * problem.stride[axis] - problem.padding[axis][0] + tap * problem.dilation[axis]
    size, mode = problem.spatial[axis], problem.padding_mode
    index = np.array([pad_index(start + p * problem.stride[axis], size, mode) for p in range(count)], dtype=np.intp)
    return np.maximum(index, 0), index < 0


def _blocks(shape: tuple[int, ...], elements: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Cut an index space into boxes of at most ``elements`` points (at least one), first axes first."""
    sizes = list(shape)
    for axis in range(len(sizes)):
        if np.prod(sizes, dtype=object) <= elements:
            break
        rest = int(np.prod(sizes[axis + 1 :], dtype=object))
        sizes[axis] = max(1, min(sizes[axis], elements // max(1, rest)))
    starts = [range(0, size, max(1, step)) for size, step in zip(shape, sizes, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple((first, min(step, size - first)) for first, step, size in zip(corner, sizes, shape, strict=True))


def conv_blocks(
    problem: ConvProblem, x: Array, w: Array, bias: Array | None, residual: Array | None, max_bytes: int
) -> Iterator[tuple[tuple[Any, ...], Array]]:
    """Yield (index into the output, float64 values) block by block, within about ``max_bytes`` of memory.

    The values have their activation applied.
    """
    c_in, c_out = problem.c_in // problem.groups, problem.c_out // problem.groups
    # per output position: the gathered input, its float64 copy, the product and the sum
    positions = max(1, max_bytes // (8 * (2 * c_in + 2 * c_out + 4)))
    for n, g in itertools.product(range(problem.n), range(problem.groups)):
        group = x[n, g * c_in : (g + 1) * c_in]
        channels = slice(g * c_out, (g + 1) * c_out)
        weights: Any = w[channels].astype(np.float64)
        for block in _blocks(problem.out_spatial, positions):
            shape = tuple(count for _, count in block)
            size = int(np.prod(shape))
            total = np.zeros((c_out, size))
            for tap in itertools.product(*map(range, problem.kernel)):
                axes = [
                    _source_rows(problem, axis, tap[axis], first, count) for axis, (first, count) in enumerate(block)
                ]
                if min(problem.spatial) == 0:
                    gathered = np.zeros((c_in, *shape))
                else:
                    everything: Any = slice(None)
                    gathered = group[(everything, *np.ix_(*(index for index, _ in axes)))].astype(np.float64)
                    for axis, (_, outside) in enumerate(axes):
                        gathered[(everything,) * (axis + 1) + (outside,)] = 0
                with np.errstate(invalid="ignore", over="ignore"):
                    total += weights[(..., *tap)] @ gathered.reshape(c_in, size)
            where: tuple[Any, ...] = (n, channels, *(slice(first, first + count) for first, count in block))
            with np.errstate(invalid="ignore", over="ignore"):
                if bias is not None:
                    total += bias[channels].astype(np.float64)[:, None]
                values = total.reshape(c_out, *shape)
                if residual is not None:
                    values += residual[where]
            yield where, activate(values, problem.activation, problem.slope)


def conv(problem: ConvProblem, x: Array, w: Array, bias: Array | None = None, residual: Array | None = None) -> Array:
    """Return the whole output in float64; shapes are ``problem.x_shape``, ``w_shape``, (c_out,), ``out_shape``."""
    out = np.empty(problem.out_shape)
    for where, values in conv_blocks(problem, x, w, bias, residual, max_bytes=64 << 20):
        out[where] = values
    return out


def pool_windows(problem: PoolProblem, axis: int) -> list[tuple[slice, int]]:
    """Return, for each output along an axis, its taps that lie in x, and how many an average counts."""
    size, found = problem.spatial[axis], []
    for o in range(problem.out_spatial[axis]):
        if problem.adaptive is not None:
            out = problem.adaptive[axis]
            inside = range(o * size // out, -((-(o + 1) * size) // out))
            found.append((slice(inside.start, inside.stop, 1), len(inside)))
            continue
        kernel, dilation = problem.kernel[axis], problem.dilation[axis]
        before, after = problem.padding[axis]
        start = o * problem.stride[axis] - before
        first = start + max(0, -(start // dilation)) * dilation
        inside = range(first, min(size, start + kernel * dilation), dilation)
        padded = min(start + kernel, size + after) - start
        found.append(
            (slice(first, max(first, inside.stop), dilation), len(inside) if not problem.count_include_pad else padded)
        )
    return found


def _windows(problem: PoolProblem) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], int]]:
    """Each output of a plane: its index, its window in x, and what an average divides by."""
    axes = [pool_windows(problem, axis) for axis in range(problem.rank)]
    for position, taps in zip(
        itertools.product(*map(range, problem.out_spatial)), itertools.product(*axes), strict=True
    ):
        counted = math.prod(count for _, count in taps)
        yield position, tuple(tap for tap, _ in taps), counted if problem.divisor is None else problem.divisor


def _planes(problem: PoolProblem) -> Iterator[tuple[int, int]]:
    return itertools.product(range(problem.n), range(problem.c))


def _first_maximum(problem: PoolProblem, window: Array, where: tuple[slice, ...]) -> tuple[Any, int]:
    """Return a window's maximum and its offset in the plane: the first one, or the last NaN.

    A window without elements has the least value there is, at the index inside x that is nearest to it.
    """
    if window.size == 0:
        least = -np.inf if window.dtype.kind == "f" else np.iinfo(window.dtype).min
        place = [min(tap.start, size - 1) for tap, size in zip(where, problem.spatial, strict=True)]
        return least, int(np.ravel_multi_index(place, problem.spatial))
    flat = window.ravel()
    at = int(np.argmax(flat))  # of NaN the first one, where there is any
    if flat[at] != flat[at]:
        at = int(np.flatnonzero(flat != flat)[-1])
    inside = np.unravel_index(at, window.shape)
    place = [tap.start + int(i) * tap.step for tap, i in zip(where, inside, strict=True)]
    return flat[at], int(np.ravel_multi_index(place, problem.spatial))


def norm_of(problem: PoolProblem, window: Array) -> tuple[float, Array, Array]:
    """Return a window's norm, the terms of the sum that it is the root of, and the slope of each over p.

    torch's meaning: the root of sum x^p, which for p = 1 has the sum's sign. Where that is no number, because p is no
    integer or the sum is negative, it is the root of sum |x|^p. A window that hangs over the end counts as a whole one.
    The slope of a norm of 0 is 0, and so is that of |x|^p at 0.
    """
    p = problem.norm
    whole = math.prod(problem.kernel) / window.size
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        terms, slopes = window**p * whole, window ** (p - 1) * whole
        total = terms.sum()
        if p != 1 and (p % 1 != 0 or total < 0):
            terms = np.abs(window) ** p * whole
            slopes = np.where(window == 0, 0, np.sign(window) * np.abs(window) ** (p - 1)) * whole
            total = terms.sum()
        norm = float(total if p == 1 else total ** (1 / p))
        return norm, terms, slopes * (norm ** (1 - p) if norm != 0 else 0.0)


def pool(problem: PoolProblem, x: Array) -> tuple[Array, Array | None]:
    """Return the whole output, maxima in x's type and sums in float64, and the indices of maxima if asked for."""
    out = np.empty(problem.out_shape, x.dtype if problem.kind == "max" else np.float64)
    indices = np.empty(problem.out_shape, np.int64) if problem.indices else None
    for image in _planes(problem):
        plane = x[image]
        for position, where, counted in _windows(problem):
            window = plane[where]
            if problem.kind == "max":
                out[image + position], at = _first_maximum(problem, window, where)
                if indices is not None:
                    indices[image + position] = at
                continue
            with np.errstate(invalid="ignore", over="ignore"):
                values = window.astype(np.float64)
                if problem.kind == "lp":
                    out[image + position] = norm_of(problem, values)[0]
                else:
                    out[image + position] = values.sum() / counted if counted else 0.0
    return out, indices


def pool_grad(problem: PoolProblem, grad_output: Array, x: Array | None, indices: Array | None) -> Array:
    """Return the gradient with respect to x in float64.

    A maximum's goes to the element that it is; an average's in equal parts to its window; a norm's as :func:`norm_of`
    says.
    """
    grad = np.zeros(problem.x_shape)
    for image in _planes(problem):
        plane, flat = grad[image], grad[image].reshape(-1)
        for position, where, counted in _windows(problem):
            g = float(grad_output[image + position])
            with np.errstate(invalid="ignore", over="ignore"):
                if problem.kind == "max":
                    if indices is not None:
                        at = int(indices[image + position])
                    else:
                        assert x is not None
                        _, at = _first_maximum(problem, x[image][where], where)
                    flat[at] += g
                elif problem.kind == "lp":
                    assert x is not None
                    plane[where] += g * norm_of(problem, x[image][where].astype(np.float64))[2]
                else:
                    plane[where] += g / counted if counted else 0.0
    return grad


def unpool(x: Array, indices: Array, spatial: tuple[int, ...]) -> Array:
    """Return zeros of planes of size ``spatial`` with each element of x at its index; the last of several wins."""
    out = np.zeros((*x.shape[:2], int(np.prod(spatial))), x.dtype)
    for n, c in np.ndindex(*x.shape[:2]):
        for value, at in zip(x[n, c].ravel(), indices[n, c].ravel(), strict=True):
            out[n, c, at] = value
    return out.reshape(*x.shape[:2], *spatial)


def unpool_grad(grad_output: Array, indices: Array) -> Array:
    """Return what lies at each index."""
    planes = grad_output.reshape(*grad_output.shape[:2], -1)
    out = np.empty(indices.shape, grad_output.dtype)
    for n, c in np.ndindex(*indices.shape[:2]):
        out[n, c] = planes[n, c][indices[n, c]]
    return out
