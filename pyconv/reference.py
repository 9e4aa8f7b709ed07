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
from .problem import (
    MAX_SAMPLING_RATIO,
    AffineGridProblem,
    ConvProblem,
    ConvWeightProblem,
    DeformProblem,
    GridSampleProblem,
    LinearProblem,
    LoweringProblem,
    NormProblem,
    PoolProblem,
    ResizeProblem,
    ResponseProblem,
    RoiProblem,
    ShuffleProblem,
    TransposedProblem,
    pad_index,
)

__all__ = [
    "activate",
    "activation_grad",
    "affine_grid",
    "affine_grid_grad",
    "batch_norm",
    "batch_norm_grad",
    "box_iou",
    "conv",
    "conv_blocks",
    "conv_grad_bias",
    "conv_grad_w",
    "conv_transpose",
    "conv_transpose_blocks",
    "deform_conv",
    "deform_corners",
    "deform_grad",
    "fold",
    "grid_sample",
    "grid_sample_grad_grid",
    "grid_sample_grad_x",
    "grid_taps",
    "linear",
    "local_response_norm",
    "local_response_norm_grad",
    "moments",
    "nearest",
    "nearest_grad",
    "nearest_index",
    "nms",
    "norm_of",
    "pixel_shuffle",
    "pool",
    "pool_grad",
    "pool_windows",
    "resize",
    "resize_taps",
    "roi",
    "roi_grad",
    "unfold",
    "unpool",
    "unpool_grad",
]


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


def _gathered(problem: ConvProblem, planes: Array, tap: tuple[int, ...], block: tuple[tuple[int, int], ...]) -> Array:
    """Return what one tap reads for a box of outputs, in float64: channels by outputs."""
    shape = tuple(count for _, count in block)
    if min(problem.spatial) == 0:
        return np.zeros((planes.shape[0], *shape))
    axes = [_source_rows(problem, axis, tap[axis], first, count) for axis, (first, count) in enumerate(block)]
    everything: Any = slice(None)
    gathered: Array = planes[(everything, *np.ix_(*(index for index, _ in axes)))].astype(np.float64)
    for axis, (_, outside) in enumerate(axes):
        gathered[(everything,) * (axis + 1) + (outside,)] = 0
    return gathered


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
                gathered = _gathered(problem, group, tap, block)
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


def _reached(problem: TransposedProblem, axis: int, tap: int) -> tuple[slice, slice]:
    """Elements of x along an axis whose product with a tap lies in the output, and where they lie."""
    stride, out = problem.stride[axis], problem.out_spatial[axis]
    start = tap * problem.dilation[axis] - problem.padding[axis][0]
    first = max(0, -(start // stride))
    last = min(problem.spatial[axis] - 1, (out - 1 - start) // stride)
    at = start + first * stride
    return slice(first, max(first, last + 1)), slice(at, at + stride * max(0, last + 1 - first), stride)


def conv_transpose_blocks(
    problem: TransposedProblem, x: Array, w: Array, bias: Array | None, max_bytes: int
) -> Iterator[tuple[tuple[Any, ...], Array]]:
    """Yield (index into the output, float64 values) block by block: every element of x spread over its window.

        out[n, o, s i + d a - before] += w[c, o, a] x[n, c, i]

    Only products of elements of x exist: there is no padded zero that an infinite weight could turn into NaN. The
    values have their bias and activation.
    """
    if problem.padding_mode != "zeros":
        whole = problem.onto_the_border
        for where, values in conv_transpose_blocks(whole, x, w, bias, max_bytes):
            yield where, _fold_border(problem, values)
        return
    c_in, c_out = problem.c_in // problem.groups, problem.c_out // problem.groups
    each = 8 * (math.prod(problem.out_spatial) + 2 * math.prod(problem.spatial))
    channels = max(1, min(c_out, max_bytes // max(1, each)))
    for n, g, first in itertools.product(range(problem.n), range(problem.groups), range(0, c_out, channels)):
        last = min(c_out, first + channels)
        total = np.zeros((last - first, *problem.out_spatial))
        weights: Any = w[g * c_in : (g + 1) * c_in, first:last].astype(np.float64)
        for tap in itertools.product(*map(range, problem.kernel)):
            reached = [_reached(problem, axis, a) for axis, a in enumerate(tap)]
            read: Any = (n, slice(g * c_in, (g + 1) * c_in), *(source for source, _ in reached))
            part = x[read].astype(np.float64)
            if part.size == 0:
                continue
            with np.errstate(invalid="ignore", over="ignore"):
                product = weights[(..., *tap)].T @ part.reshape(c_in, -1)
                total[(slice(None), *(target for _, target in reached))] += product.reshape(-1, *part.shape[1:])
        here = slice(g * c_out + first, g * c_out + last)
        with np.errstate(invalid="ignore", over="ignore"):
            if bias is not None:
                total += bias[here].astype(np.float64).reshape(-1, *(1,) * problem.rank)
        yield (n, here), activate(total, problem.activation, problem.slope)


def _fold_border(problem: TransposedProblem, values: Array) -> Array:
    """Add what lies on the border where the border was read from: the adjoint of padding, axis by axis."""
    for axis, (before, after) in enumerate(problem.padding):
        moved = np.moveaxis(values, axis + 1, 0)
        size = moved.shape[0] - before - after
        folded = np.zeros((size, *moved.shape[1:]))
        with np.errstate(invalid="ignore", over="ignore"):
            for i in range(moved.shape[0]):
                folded[pad_index(i - before, size, problem.padding_mode)] += moved[i]
        values = np.moveaxis(folded, 0, axis + 1)
    return values


def conv_transpose(problem: TransposedProblem, x: Array, w: Array, bias: Array | None = None) -> Array:
    """Return the whole output in float64; shapes are ``problem.x_shape``, ``w_shape``, (c_out,), ``out_shape``."""
    out = np.empty(problem.out_shape)
    for where, values in conv_transpose_blocks(problem, x, w, bias, 64 << 20):
        out[where] = values
    return out


def conv_grad_w(problem: ConvWeightProblem, grad_output: Array, x: Array, max_bytes: int = 64 << 20) -> Array:
    """Return the gradient of the weights in float64: sum over n, p of small[n, o, p] * large[n, c, s p - before + d a].

    A padded zero takes part in the sum as a zero.
    """
    conv = problem.conv
    small, large = (x, grad_output) if problem.transposed else (grad_output, x)
    c_in, c_out = conv.c_in // conv.groups, conv.c_out // conv.groups
    positions = max(1, max_bytes // (8 * (2 * c_in + 2 * c_out + 4)))
    out = np.zeros(conv.w_shape)
    for n, g in itertools.product(range(conv.n), range(conv.groups)):
        planes, channels = large[n, g * c_in : (g + 1) * c_in], slice(g * c_out, (g + 1) * c_out)
        for block in _blocks(conv.out_spatial, positions):
            where: tuple[Any, ...] = (n, channels, *(slice(first, first + count) for first, count in block))
            size = math.prod(count for _, count in block)
            values = small[where].astype(np.float64).reshape(c_out, size)
            for tap in itertools.product(*map(range, conv.kernel)):
                gathered = _gathered(conv, planes, tap, block).reshape(c_in, size)
                weights: tuple[Any, ...] = (channels, slice(None), *tap)
                with np.errstate(invalid="ignore", over="ignore"):
                    out[weights] += values @ gathered.T
    return out


def conv_grad_bias(grad_output: Array) -> Array:
    """Return the gradient of the bias in float64: the sum over images and pixels."""
    with np.errstate(invalid="ignore", over="ignore"):
        total: Array = grad_output.astype(np.float64).sum(axis=(0, *range(2, grad_output.ndim)))
    return total


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


def activation_grad(grad_output: Array, x: Array, activation: str, slope: float = 0.0) -> Array:
    """Return f'(x) grad_output in float64; at kinks and for NaN as torch has it.

    relu: 0 up to 0. relu6: 0 up to 0 and from 6. leaky_relu: slope up to 0. elu: slope exp(x) up to 0. hardswish: 0 up
    to -3, 1 from 3, x / 3 + 1/2 between. NaN: relu and relu6 hand grad_output on, leaky_relu slope times it, others
    NaN.
    """
    g, x = grad_output.astype(np.float64), x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        e = np.exp(-np.abs(x))
        low, high = np.where(x < 0, e, 1.0) / (1 + e), np.where(x < 0, 1.0, e) / (1 + e)  # sigmoid of x and of -x
        if activation == "relu":
            result = np.where(x <= 0, 0, g)
        elif activation == "relu6":
            result = np.where((x <= 0) | (x >= 6), 0, g)
        elif activation == "leaky_relu":
            result = np.where(x > 0, g, g * slope)
        elif activation == "elu":
            result = np.where(x > 0, g, g * slope * np.exp(np.minimum(x, 0)))
        elif activation == "sigmoid":
            result = g * low * high
        elif activation == "tanh":
            e = np.exp(-2 * np.abs(x))
            result = g * 4 * e / (1 + e) ** 2
        elif activation == "silu":
            result = g * low * (1 + x * high)
        elif activation == "hardswish":
            result = np.where(x <= -3, 0, np.where(x >= 3, g, g * (x / 3 + 0.5)))
        else:
            raise ValueError(f"no activation is called {activation!r}")
    return np.asarray(result)


def _broadcast(vector: Array, rank: int) -> Array:
    """Return a value a channel (axis 1) in the shape that NumPy broadcasts."""
    return vector.astype(np.float64).reshape(-1, *(1,) * (rank - 2))


def moments(x: Array) -> tuple[Array, Array]:
    """Return the mean and the biased variance of each channel (axis 1), in float64."""
    axes = (0, *range(2, x.ndim))
    with np.errstate(all="ignore"):
        values = x.astype(np.float64)
        count = values.size // max(1, x.shape[1])
        mean = np.asarray(values.sum(axis=axes) / count if count else np.full(x.shape[1], np.nan))
        square = (values - _broadcast(mean, x.ndim)) ** 2
        return mean, np.asarray(square.sum(axis=axes) / count if count else mean)


def batch_norm(
    problem: NormProblem, x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None
) -> Array:
    """Return (x - mean) / sqrt(var + eps) * weight + bias in float64."""
    rank = x.ndim
    with np.errstate(all="ignore"):
        y = (x.astype(np.float64) - _broadcast(mean, rank)) / np.sqrt(_broadcast(var, rank) + problem.eps)
        if weight is not None:
            y = y * _broadcast(weight, rank)
        return np.asarray(y if bias is None else y + _broadcast(bias, rank))


def batch_norm_grad(
    problem: NormProblem, grad_output: Array, x: Array, mean: Array, var: Array, weight: Array | None
) -> tuple[Array, Array, Array]:
    """Return the gradients of x, weight and bias in float64."""
    rank, axes = x.ndim, (0, *range(2, x.ndim))
    with np.errstate(all="ignore"):
        g = grad_output.astype(np.float64)
        scale = 1 / np.sqrt(var.astype(np.float64) + problem.eps)
        centred = x.astype(np.float64) - _broadcast(mean, rank)
        total, product = g.sum(axis=axes), (g * centred).sum(axis=axes) * scale
        if problem.own:
            count = max(1, problem.count)
            g = g - _broadcast(total / count, rank) - centred * _broadcast(scale * product / count, rank)
        factor = scale if weight is None else scale * weight.astype(np.float64)
        return g * _broadcast(factor, rank), product, total


def _window_sums(values: Array, before: int, after: int) -> Array:
    """Return sums over channels (axis 1) from ``before`` ahead of each to ``after`` behind it."""
    result = np.zeros_like(values)
    channels = values.shape[1]
    for shift in range(-before, after + 1):
        first, last = max(0, -shift), min(channels, channels - shift)
        if first < last:
            result[:, first:last] += values[:, first + shift : last + shift]
    return result


def local_response_norm(problem: ResponseProblem, x: Array) -> Array:
    """Return x / (k + alpha / size * sum of squares of the window's channels)^beta in float64."""
    with np.errstate(all="ignore"):
        values = x.astype(np.float64)
        base = problem.k + problem.alpha / problem.size * _window_sums(values**2, *problem.window)
        return np.asarray(values / base**problem.beta)


def local_response_norm_grad(problem: ResponseProblem, grad_output: Array, x: Array) -> Array:
    """Return its gradient in float64: an element's own power, and its part in the windows of others."""
    before, after = problem.window
    with np.errstate(all="ignore"):
        values, g, alpha = x.astype(np.float64), grad_output.astype(np.float64), problem.alpha / problem.size
        base = problem.k + alpha * _window_sums(values**2, before, after)
        others = _window_sums(g * values / (base**problem.beta * base), after, before)
        return np.asarray(g / base**problem.beta - 2 * alpha * problem.beta * values * others)


def nearest_index(problem: ResizeProblem, axis: int) -> Array:
    """Return which input element each output along an axis takes, rounded as torch rounds it for contiguous arrays.

    ``nearest``: floor(o * in / out). ``nearest-exact``: floor((o + 1/2) in / out), computed as one number less a half,
    and the half. A factor given by the caller stands for out / in. The ratio and the sums are float32, of float64
    arrays float64; what is rounded down is float32. Never beyond the last element.
    """
    size, out = problem.spatial[axis], problem.out_spatial[axis]
    real: Any = np.float64 if problem.dtype == "f64" else np.float32
    ratio = real(size) / real(out) if problem.scales is None else real(1 / problem.scales[axis])
    if problem.mode == "nearest":
        place = np.arange(out).astype(real) * ratio
    else:
        place = (np.float64(ratio) * (np.arange(out) + 0.5) - 0.5).astype(real) + real(0.5)
    return np.asarray(np.minimum(np.floor(place.astype(np.float32)).astype(np.int64), size - 1))


def nearest(problem: ResizeProblem, x: Array) -> Array:
    """Return x at the nearest index along each axis."""
    for axis in range(len(problem.spatial)):
        x = np.take(x, nearest_index(problem, axis), axis=axis + 2)
    return x


def nearest_grad(problem: ResizeProblem, grad_output: Array) -> Array:
    """Return sums over the outputs that each element went to, in float64."""
    g = grad_output.astype(np.float64)
    for axis, size in enumerate(problem.spatial):
        total = np.zeros((*g.shape[: axis + 2], size, *g.shape[axis + 3 :]))
        with np.errstate(invalid="ignore"):
            where: Any = (slice(None),) * (axis + 2) + (nearest_index(problem, axis),)
            np.add.at(total, where, g)
        g = total
    return g


def _tap_slices(problem: LoweringProblem) -> Iterator[tuple[slice, slice]]:
    """Yield, tap by tap, what the windows' elements are in the padded images."""
    conv = problem.conv
    for tap in itertools.product(*map(range, conv.kernel)):
        h, w = (
            slice(first, first + (out - 1) * stride + 1, stride)
            for first, out, stride in zip(
                np.multiply(tap, conv.dilation).tolist(), conv.out_spatial, conv.stride, strict=True
            )
        )
        yield h, w


def unfold(problem: LoweringProblem, x: Array) -> Array:
    """Return the windows of x as columns, in its type."""
    padded = np.pad(x, ((0, 0), (0, 0), *problem.conv.padding))
    rows = [padded[:, :, h, w] for h, w in _tap_slices(problem)]
    return np.stack(rows, axis=2).reshape(problem.columns_shape)


def fold(problem: LoweringProblem, columns: Array) -> Array:
    """Return the sum of the columns in the images whose windows they are, in float64."""
    conv = problem.conv
    sizes = [size + sum(pads) for size, pads in zip(conv.spatial, conv.padding, strict=True)]
    total = np.zeros((conv.n, conv.c_in, *sizes))
    rows = columns.astype(np.float64).reshape(conv.n, conv.c_in, problem.taps, *conv.out_spatial)
    with np.errstate(invalid="ignore"):
        for tap, (h, w) in enumerate(_tap_slices(problem)):
            total[:, :, h, w] += rows[:, :, tap]
    inside = (slice(before, before + size) for size, (before, _) in zip(conv.spatial, conv.padding, strict=True))
    return total[(slice(None), slice(None), *inside)]


def _place(problem: ResizeProblem, axis: int) -> tuple[Array, float]:
    """Return where each output along an axis lies among the elements of x, in float64, and how many of them it spans.

    A factor that the caller gave stands for out / in, but not with align_corners.
    """
    size, out = problem.spatial[axis], problem.out_spatial[axis]
    o = np.arange(out, dtype=np.float64)
    if problem.align_corners:
        scale = (size - 1) / (out - 1) if out > 1 else 0.0
        return scale * o, scale
    scale = size / out if problem.scales is None else 1 / problem.scales[axis]
    return scale * (o + 0.5) - 0.5, scale


def _cubic(distance: Array, a: float) -> Array:
    """Return Keys' cubic convolution of this coefficient (Keys 1981, equation 4)."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def _cubic_weights(part: Array) -> tuple[Array, Array, Array, Array]:
    """Return Keys' function of a = -0.75 at the distances 1 + part, part, 1 - part and 2 - part, in its factors."""
    rest = 1 - part
    return (
        -0.75 * part * rest * rest,
        rest * (1 + part * (1 - 1.25 * part)),
        part * (1 + rest * (1 - 1.25 * rest)),
        -0.75 * rest * part * part,
    )


def _cubic_slopes(part: Array) -> tuple[Array, Array, Array, Array]:
    """Return the derivatives of these by part."""
    rest = 1 - part
    return (
        0.75 * (3 * part - 1) * rest,
        (3.75 * part - 4.5) * part,
        -(3.75 * rest - 4.5) * rest,
        -0.75 * (3 * rest - 1) * part,
    )


def resize_taps(problem: ResizeProblem, axis: int) -> tuple[Array, Array]:
    """Return the elements of x that each output along an axis is a sum of, and their weights: (out, taps) each.

    Linear modes join the two elements beside a place, bicubic ones four by Keys' function of a = -0.75; elements
    beyond the ends are those at the ends. With antialias the function (a = -0.5) is stretched to the width of an output
    where that is more than an element, is cut at the ends, and weights are divided by their sum. An axis that keeps its
    size is copied by all of these but plain bicubic, whatever the factor, as torch does. An element that is listed
    twice has the sum of its weights; one that weighs nothing is no part of the sum.
    """
    size, out = problem.spatial[axis], problem.out_spatial[axis]
    cubic = problem.reach == 2
    if size == out and (problem.antialias or not cubic):
        return np.arange(size)[:, None], np.ones((size, 1))
    if problem.antialias:
        _, scale = _place(problem, axis)
        wide = max(scale, 1.0)
        center = (scale * (np.arange(out) + 0.5))[:, None]
        reach = problem.reach * wide
        # what is rounded is positive, or clipped to zero
        first = np.maximum((center - reach + 0.5).astype(np.int64), 0)
        end = np.minimum((center + reach + 0.5).astype(np.int64), size)
        index = first + np.arange(max(1, int((end - first).max())))
        distance = (index + 0.5 - center) / wide
        weight = _cubic(distance, -0.5) if cubic else np.maximum(0.0, 1 - np.abs(distance))
        weight = np.where(index < end, weight, 0.0)
        return np.minimum(index, size - 1), weight / weight.sum(axis=1, keepdims=True)
    place, _ = _place(problem, axis)
    if not cubic:
        place = np.maximum(place, 0.0)
    low = np.minimum(np.floor(place), size - 1)
    part = np.clip(place - low, 0.0, 1.0)[:, None]
    offset = np.arange(-1, 3) if cubic else np.arange(2)
    index = np.clip(low.astype(np.int64)[:, None] + offset, 0, size - 1)
    return index, np.concatenate(_cubic_weights(part) if cubic else (1 - part, part), axis=1)


def _resize_step(problem: ResizeProblem, axis: int, values: Array, *, absolute: bool) -> Array:
    """Return the sums along one axis, or with ``gradient`` the transposed ones."""
    index, weight = resize_taps(problem, axis)
    sizes = problem.spatial if problem.gradient else problem.out_spatial
    values = np.moveaxis(values, axis + 2, 0)
    total = np.zeros((sizes[axis], *values.shape[1:]))
    with np.errstate(invalid="ignore", over="ignore"):
        for o in range(problem.out_spatial[axis]):
            for i in dict.fromkeys(index[o]):
                w = weight[o][index[o] == i].sum()
                w = abs(w) if absolute else w
                if w == 0:
                    continue
                if problem.gradient:
                    total[i] += w * values[o]
                else:
                    total[o] += w * values[i]
    return np.moveaxis(total, 0, axis + 2)


def resize(problem: ResizeProblem, values: Array, *, absolute: bool = False) -> Array:
    """Return x resized, or the gradient from grad_output, in float64; ``absolute``: with the weights' magnitudes."""
    values = values.astype(np.float64)
    for axis in range(len(problem.spatial)):
        values = _resize_step(problem, axis, values, absolute=absolute)
    return values


def _grid_place(problem: GridSampleProblem, axis: int, coordinate: Array) -> tuple[Array, float]:
    """Return where a coordinate lies among the elements of an axis, and how many of them it spans.

    Step by step in the type of the arithmetic, float32 for float16: rounding decides which element is nearest.
    """
    real: Any = np.float64 if problem.dtype == "f64" else np.float32
    size = problem.spatial[axis]
    scale = real(size - 1 if problem.align_corners else size) / real(2)
    place = (coordinate.astype(real) + real(1)) * scale
    return (place if problem.align_corners else place - real(0.5)), float(scale)


def _grid_bounded(problem: GridSampleProblem, axis: int, place: Array) -> tuple[Array, Array]:
    """Return places reflected, cut to the elements, NaN as 0, and the derivative: 0 where they were cut."""
    real: Any = place.dtype.type
    size = real(problem.spatial[axis])
    last, sign = size - real(1), np.ones(place.shape)
    if problem.padding_mode == "reflection":
        low = real(0) if problem.align_corners else real(-0.5)
        twice = real(2) * (last if problem.align_corners else size)
        away = np.abs(place - low)
        over = away - np.trunc(away / twice) * twice
        flipped = over > twice - over
        sign = np.where((place - low < 0) != flipped, -1.0, 1.0)
        place = np.where(flipped, twice - over, over) + low
    slope = np.where((place > 0) & (place < last), sign, 0.0)
    return np.minimum(np.where(place > 0, place, real(0)), last), slope


def grid_taps(problem: GridSampleProblem, axis: int, coordinate: Array) -> list[tuple[Array, Array, Array]]:
    """Return the elements of an axis that each point is a sum of: index, weight, derivative of the weight.

    Bilinear: the two beside the place, by distance; bicubic: four, by Keys' function of a = -0.75. With padding_mode
    "border" and "reflection" the place is moved inside first; of bicubic samples each element's is, and the weights of
    one element are added up. What is outside then has weight zero.
    """
    size = problem.spatial[axis]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        place, scale = _grid_place(problem, axis, coordinate)
        inside = problem.padding_mode != "zeros"
        slope = np.ones(place.shape)
        if inside and problem.taps < 4:
            place, slope = _grid_bounded(problem, axis, place)
        if problem.taps == 1:
            found = [(np.rint(place), np.ones(place.shape), np.zeros(place.shape))]
        elif problem.taps == 2:
            low = np.floor(place)
            part = (place - low).astype(np.float64)
            found = [(low, 1 - part, -scale * slope), (low + 1, part, scale * slope)]
        else:
            low = np.floor(place)
            part = (place - low).astype(np.float64)
            found = []
            for t, weight, change in zip(range(-1, 3), _cubic_weights(part), _cubic_slopes(part), strict=True):
                element = low + place.dtype.type(t)
                if inside:
                    element = _grid_bounded(problem, axis, element)[0]
                found.append((element, weight, scale * change))
        taps: list[tuple[Array, Array, Array]] = []
        for element, weight, change in found:
            there = (element >= 0) & (element <= size - 1)
            index = np.where(there, element, 0).astype(np.int64)
            weight, change = np.where(there, weight, 0.0), np.where(there, change, 0.0)
            for other, sum_of_weights, sum_of_changes in taps:
                same = there & (other == index)
                sum_of_weights += np.where(same, weight, 0.0)
                sum_of_changes += np.where(same, change, 0.0)
                weight, change, there = np.where(same, 0.0, weight), np.where(same, 0.0, change), there & ~same
            taps.append((np.minimum(index, size - 1), weight, change))
    return taps


def _grid_terms(
    problem: GridSampleProblem, grid: Array, derived: int = -1
) -> Iterator[tuple[tuple[Array, ...], Array]]:
    """Return, tap by tap, the element of each point and its weight, or its derivative along an axis.

    The last coordinate of a point is of the first axis. An element that weighs nothing is no part of a sum.
    """
    axes = [grid_taps(problem, axis, grid[..., problem.rank - 1 - axis]) for axis in range(problem.rank)]
    for taps in itertools.product(*axes):
        weight = np.ones(grid.shape[:-1])
        for axis, tap in enumerate(taps):
            weight = weight * tap[2 if axis == derived else 1]
        yield tuple(tap[0] for tap in taps), weight


def grid_sample(problem: GridSampleProblem, x: Array, grid: Array, *, absolute: bool = False) -> Array:
    """Return samples in float64; ``absolute``: with the weights' magnitudes."""
    out = np.zeros(problem.out_shape)
    with np.errstate(invalid="ignore", over="ignore"):
        for n in range(problem.n):
            for index, weight in _grid_terms(problem, grid[n]):
                weight = np.abs(weight) if absolute else weight
                values = x[n][(slice(None), *index)].astype(np.float64)
                out[n] += np.where(weight != 0, weight * values, 0.0)
    return out


def grid_sample_grad_x(problem: GridSampleProblem, grad_output: Array, grid: Array, *, absolute: bool = False) -> Array:
    """Return the gradient with respect to x in float64."""
    out = np.zeros(problem.x_shape)
    with np.errstate(invalid="ignore", over="ignore"):
        for n in range(problem.n):
            for index, weight in _grid_terms(problem, grid[n]):
                weight = np.abs(weight) if absolute else weight
                values = np.where(weight != 0, weight * grad_output[n].astype(np.float64), 0.0)
                where: Any = (slice(None), *index)
                np.add.at(out[n], where, values)
    return out


def grid_sample_grad_grid(
    problem: GridSampleProblem, grad_output: Array, x: Array, grid: Array, *, absolute: bool = False
) -> Array:
    """Return the gradient with respect to the places in float64."""
    out = np.zeros(problem.grid_shape)
    with np.errstate(invalid="ignore", over="ignore"):
        for n in range(problem.n):
            g = grad_output[n].astype(np.float64)
            for axis in range(problem.rank):
                for index, weight in _grid_terms(problem, grid[n], axis):
                    weight = np.abs(weight) if absolute else weight
                    values = x[n][(slice(None), *index)].astype(np.float64)
                    part = np.where(weight != 0, weight * values, 0.0)
                    out[n, ..., problem.rank - 1 - axis] += (part * g).sum(axis=0)
    return out


def _affine_base(problem: AffineGridProblem) -> Array:
    """Return the places of the identity, each with a 1 behind it: (*spatial, rank + 1)."""
    base = np.ones((*problem.spatial, problem.rank + 1))
    for axis, size in enumerate(problem.spatial):
        i = np.arange(size)
        if problem.align_corners:
            along = 2 * i / (size - 1) - 1 if size > 1 else np.zeros(1)
        else:
            along = (2 * i + 1) / size - 1
        shape = [1] * problem.rank
        shape[axis] = size
        base[..., problem.rank - 1 - axis] = along.reshape(shape)
    return base


def affine_grid(problem: AffineGridProblem, theta: Array) -> Array:
    """Return each place of the identity, transformed, in float64."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(np.einsum("...k,njk->n...j", _affine_base(problem), theta.astype(np.float64)))


def affine_grid_grad(problem: AffineGridProblem, grad_output: Array) -> Array:
    """Return the gradient with respect to the transforms, in float64."""
    axes = "dhw"[-problem.rank :]
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(np.einsum(f"n{axes}j,{axes}k->njk", grad_output.astype(np.float64), _affine_base(problem)))


def linear(problem: LinearProblem, arrays: dict[str, Array | None]) -> Array:
    """Return x w^T + bias or the gradient that the problem names, in float64."""

    def wide(name: str) -> Array:
        array = arrays[name]
        assert array is not None
        return array.astype(np.float64)

    with np.errstate(invalid="ignore", over="ignore"):
        if problem.argument == "x":
            return np.asarray(wide("grad_output") @ wide("w"))
        if problem.argument == "w":
            return np.asarray(wide("grad_output").T @ wide("x"))
        if problem.argument == "bias":
            return np.asarray(wide("grad_output").sum(axis=0))
        y = wide("x") @ wide("w").T
        return np.asarray(y if arrays.get("bias") is None else y + wide("bias"))


def deform_corners(problem: DeformProblem, offset: Array, rows: Array) -> tuple[Array, Array, list[tuple[Array, ...]]]:
    """Return where the samples of some output rows lie, from the offset of one image there.

    Arrays of (offset group, tap, row, column): whether a sample touches the map at all, whether it is inside, and for
    each of its four pixels: row, column, whether it exists, its weight, and how that grows along h and along w. The map
    ends one pixel outside its first and last rows and columns: -1 < place < size. What is no number is outside.
    """
    conv, found = problem.conv, []
    shape = (problem.offset_groups, problem.taps, 2, len(rows), conv.out_spatial[1])
    offsets = offset.reshape(shape).astype(np.float64)
    for axis in range(2):
        taps = np.arange(conv.kernel[axis]) * conv.dilation[axis] - conv.padding[axis][0]
        taps = np.repeat(taps, conv.kernel[1]) if axis == 0 else np.tile(taps, conv.kernel[0])
        places = conv.stride[axis] * (rows[:, None] if axis == 0 else np.arange(shape[-1]))
        along = offsets[:, :, axis]
        near = np.abs(along) < 2.0**60
        along = np.where(near, along, 0)
        whole = np.floor(along)
        low, fraction = taps[:, None, None] + places + whole.astype(np.int64), along - whole
        touches = near & (low >= -1) & (low < conv.spatial[axis])
        found.append((touches, touches & ~((low == -1) & (fraction == 0)), low, fraction))
    (touches_h, inside_h, low_h, part_h), (touches_w, inside_w, low_w, part_w) = found
    on_map: Array = touches_h & touches_w
    corners: list[tuple[Array, ...]] = []
    for i, j in itertools.product(range(2), repeat=2):
        h, w = low_h + i, low_w + j
        exists = on_map & (h >= 0) & (h < conv.spatial[0]) & (w >= 0) & (w < conv.spatial[1])
        of_h, of_w = (part_h if i else 1 - part_h), (part_w if j else 1 - part_w)
        slopes = (2 * i - 1) * of_w, (2 * j - 1) * of_h
        corners.append((np.where(exists, h, 0), np.where(exists, w, 0), exists, of_h * of_w, *slopes))
    return on_map, inside_h & inside_w, corners


def _deform_blocks(problem: DeformProblem, limit: int) -> Iterator[tuple[int, Array]]:
    """Yield images and some output rows of them whose samples in float64 take up so many bytes."""
    conv = problem.conv
    if 0 in conv.x_shape:
        return
    row = 8 * conv.c_in * problem.taps * conv.out_spatial[1]
    step = max(1, limit // max(1, 8 * row))
    for n in range(conv.n):
        for first in range(0, conv.out_spatial[0], step):
            yield n, np.arange(first, min(first + step, conv.out_spatial[0]))


def _deform_pixels(problem: DeformProblem, x: Array, corner: tuple[Array, ...]) -> Array:
    """Return one pixel of each sample of an image, (offset group, channel, tap, row, column); 0 where there is none."""
    groups = problem.offset_groups
    maps = x.reshape(groups, problem.conv.c_in // groups, *problem.conv.spatial)
    h, w, exists = corner[:3]
    pixels = np.stack([maps[g][:, h[g], w[g]] for g in range(groups)]).astype(np.float64)
    return np.where(exists[:, None], pixels, 0)


def _deform_samples(problem: DeformProblem, x: Array, offset: Array, mask: Array | None, rows: Array) -> Array:
    """Return the samples of some output rows of an image times their factors: (group, channels x taps, pixel)."""
    conv = problem.conv
    _, inside, corners = deform_corners(problem, offset[:, rows], rows)
    value = sum(_deform_pixels(problem, x, corner) * corner[3][:, None] for corner in corners)
    if mask is not None:
        value = value * mask[:, rows].reshape(inside.shape).astype(np.float64)[:, None]
    value = np.where(inside[:, None], value, 0)
    return np.asarray(value).reshape(conv.groups, conv.reduction, len(rows) * conv.out_spatial[1])


def deform_conv(problem: DeformProblem, arrays: dict[str, Array], w: Array, bias: Array | None, limit: int) -> Array:
    """Return a deformable convolution in float64, from x, offset and, where there is one, mask."""
    conv, out = problem.conv, np.zeros(problem.conv.out_shape)
    weights = w.astype(np.float64).reshape(conv.groups, conv.c_out // conv.groups, conv.reduction)
    with np.errstate(invalid="ignore", over="ignore"):
        for n, rows in _deform_blocks(problem, limit):
            mask = arrays.get("mask")
            samples = _deform_samples(
                problem, arrays["x"][n], arrays["offset"][n], None if mask is None else mask[n], rows
            )
            out[n][:, rows] = (weights @ samples).reshape(conv.c_out, len(rows), -1)
        return out if bias is None else out + bias.astype(np.float64)[:, None, None]


def deform_grad(problem: DeformProblem, arrays: dict[str, Any], w: Array | None, limit: int) -> tuple[Array, ...]:
    """Return the problem's gradients in float64, from grad_output, x, offset and mask as far as it has them."""
    conv = problem.conv
    results = tuple(np.zeros(a.shape) for a in problem.outputs)
    each = conv.c_out // conv.groups
    weights = None if w is None else w.astype(np.float64).reshape(conv.groups, each, conv.reduction)
    with np.errstate(invalid="ignore", over="ignore"):
        for n, rows in _deform_blocks(problem, limit):
            names = ("x", "offset", "mask")
            x, offset, mask = (None if arrays.get(name) is None else arrays[name][n] for name in names)
            g = arrays["grad_output"][n][:, rows].astype(np.float64).reshape(conv.groups, each, -1)
            if problem.argument == "w":
                samples = _deform_samples(problem, x, offset, mask, rows)  # type: ignore[arg-type]
                results[0][...] += (g @ samples.transpose(0, 2, 1)).reshape(conv.w_shape)
                continue
            assert weights is not None
            assert offset is not None
            columns = weights.transpose(0, 2, 1) @ g
            _deform_scatter(problem, n, rows, x, offset, mask, columns, results)
    return results


def _deform_scatter(
    problem: DeformProblem,
    n: int,
    rows: Array,
    x: Array | None,
    offset: Array,
    mask: Array | None,
    columns: Array,
    results: tuple[Array, ...],
) -> None:
    """Add the gradient of the samples of some output rows to those of x, or put down those of offset and mask."""
    conv, groups, taps = problem.conv, problem.offset_groups, problem.taps
    touches, inside, corners = deform_corners(problem, offset[:, rows], rows)
    grad = columns.reshape(groups, conv.c_in // groups, *touches.shape[1:])
    factor = np.ones(touches.shape) if mask is None else mask[:, rows].reshape(touches.shape).astype(np.float64)
    if problem.argument == "x":
        pixels = results[0][n].reshape(groups, -1, conv.spatial[0] * conv.spatial[1]).transpose(0, 2, 1)
        for h, w, exists, weight, _, _ in corners:
            parts = np.where((exists & inside)[:, None], grad * (factor * weight)[:, None], 0)
            for g in range(groups):
                np.add.at(pixels[g], (h[g] * conv.spatial[1] + w[g]).ravel(), parts[g].reshape(len(parts[g]), -1).T)
        return
    assert x is not None
    sums = [(grad * _deform_pixels(problem, x, corner)).sum(axis=1) for corner in corners]
    if problem.argument == "offset":
        slopes = [sum(s * corner[4 + axis] for s, corner in zip(sums, corners, strict=True)) for axis in range(2)]
        both = np.where(touches[:, :, None], np.stack(slopes, axis=2) * factor[:, :, None], 0)
        results[0][n][:, rows] = both.reshape(2 * groups * taps, len(rows), -1)
    if problem.argument == "mask" or problem.both:
        value = sum(s * corner[3] for s, corner in zip(sums, corners, strict=True))
        results[-1][n][:, rows] = np.where(inside, value, 0).reshape(groups * taps, len(rows), -1)


def pixel_shuffle(problem: ShuffleProblem, x: Array) -> Array:
    """Return the small image's channels as pixels, or the large image's pixels as channels."""
    r, lead, axes = problem.factor, problem.lead, len(problem.lead)
    front = tuple(range(axes))
    c, i, j, h, w = range(axes, axes + 5)
    if problem.gather:  # axes c, h, i, w, j
        split = x.reshape(*lead, problem.c, problem.h, r, problem.w, r)
        return split.transpose(*front, c, c + 2, c + 4, c + 1, c + 3).reshape(problem.small_shape)
    split = x.reshape(*lead, problem.c, r, r, problem.h, problem.w)
    return split.transpose(*front, c, h, i, w, j).reshape(problem.large_shape)


#: A sample along one axis: the pixels that it is interpolated from, each with its weight.
Sample = list[tuple[int, float]]


def roi_axis(problem: RoiProblem, axis: int, low: float, high: float) -> list[tuple[list[Sample], float]]:
    """Return, for each bin of a box along an axis, its samples on the map and how many it has in all.

    Samples outside the map, where everything is zero, are only counted. A pixel that weighs nothing is no part of a
    sample: it is a zero, also where it is infinite. A window of whole pixels is as many samples of one pixel each.
    """
    size, bins = problem.spatial[axis], problem.out_spatial[axis]
    if problem.has_samples:
        return _align_axis(problem, size, bins, low, high)
    start, end = (_rounded(corner * problem.scale) for corner in (low, high))
    pooled = problem.kind == "roi_pool"
    pixels, limit = max(1, end - start + pooled), size if pooled else size - 1
    found: list[tuple[list[Sample], float]] = []
    for o in range(bins):
        first = min(max(start + o * pixels // bins, 0), limit)
        last = min(max(start - (-(o + 1) * pixels // bins), 0), limit)
        found.append(([[(i, 1.0)] for i in range(first, last)], float(max(0, last - first))))
    return found


def _rounded(corner: float) -> int:
    """Round halves away from zero; what is clipped lies far outside any map."""
    near = min(abs(corner), 1e9)
    return math.floor(near + 0.5) if corner >= 0 else -math.floor(near + 0.5)


def _align_axis(problem: RoiProblem, size: int, bins: int, low: float, high: float) -> list[tuple[list[Sample], float]]:
    position_sensitive = problem.kind == "ps_roi_align"
    offset = 0.5 if problem.aligned or position_sensitive else 0.0
    start, end = low * problem.scale - offset, high * problem.scale - offset
    length = end - start
    if not problem.aligned and not position_sensitive:
        length = max(length, 1.0)
    step = length / bins
    count = float(problem.sampling_ratio) if problem.sampling_ratio else float(np.ceil(step))
    found: list[tuple[list[Sample], float]] = []
    for o in range(bins):
        base, samples = start + o * step, []
        for s in _candidates(base, step, count, size):
            at = base + (s + 0.5) * step / count
            if not -1.0 <= at <= size:
                continue
            at = max(at, 0.0)
            pixel = int(at)
            if pixel >= size - 1:
                samples.append([(size - 1, 1.0)])
            elif at == pixel:
                samples.append([(pixel, 1.0)])
            else:
                samples.append([(pixel, 1.0 - (at - pixel)), (pixel + 1, at - pixel)])
        found.append((samples, max(count, 0.0)))
    return found


def _candidates(base: float, step: float, count: float, size: int) -> Iterator[float]:
    """Yield the numbers of the samples that may lie on the map, of the first ``count`` ones, which may be 1e30."""
    if not count > 0:
        return
    if step == 0:
        low, high = 0.0, count - 1
    else:
        with np.errstate(over="ignore"):
            low, high = sorted(float(np.float64(edge - base) * count / step) for edge in (-1.0, float(size)))
    first, last = max(0.0, np.floor(low) - 2), min(count - 1, np.ceil(high) + 2)
    # adaptive samples are half a pixel apart at least
    visits = max(0.0, min(last - first + 1, 4.0 * size + 16 + MAX_SAMPLING_RATIO))
    for i in range(int(visits)):
        yield first + i


def _roi_bins(
    problem: RoiProblem, boxes: Array
) -> Iterator[tuple[int, int, tuple[int, ...], Any, list[list[Sample]], float]]:
    """Each bin of each box: box, image, bin, channels, samples along each axis, samples in all."""
    slices, rank = problem.slices, problem.rank
    for k, box in enumerate(boxes.tolist()):
        if box[0] < 0:
            continue
        axes = [roi_axis(problem, i, box[rank - i], box[2 * rank - i]) for i in range(rank)]
        for number, position in enumerate(np.ndindex(*problem.out_spatial)):
            along = [axis[o] for axis, o in zip(axes, position, strict=True)]
            channels = slice(number if slices > 1 else 0, None, slices)
            samples = [found for found, _ in along]
            yield k, int(box[0]), position, channels, samples, math.prod(count for _, count in along)


def _taps(sample: tuple[Sample, ...]) -> list[tuple[tuple[int, ...], float]]:
    """Return a sample's pixels and weights, from those along each axis."""
    return [
        (tuple(pixel for pixel, _ in taps), math.prod(weight for _, weight in taps))
        for taps in itertools.product(*sample)
    ]


def _parts(problem: RoiProblem, samples: list[list[Sample]]) -> Iterator[list[tuple[tuple[int, ...], float]]]:
    """Yield what a bin is joined from: samples, or for the largest weighted pixel each pixel by itself, row by row."""
    if problem.join != "max pixel":
        yield from map(_taps, itertools.product(*samples))
        return
    for taps in itertools.product(*([tap for sample in axis for tap in sample] for axis in samples)):
        yield [(tuple(pixel for pixel, _ in taps), math.prod(weight for _, weight in taps))]


def _all_channels(*index: Any) -> Any:
    return (slice(None), *index)


def _value(maps: Array, part: list[tuple[tuple[int, ...], float]]) -> Array:
    total: Array = np.zeros(maps.shape[0])
    for pixel, weight in part:
        total += maps[_all_channels(*pixel)].astype(np.float64) * weight
    return total


def _largest(
    problem: RoiProblem, maps: Array, samples: list[list[Sample]], total: float
) -> tuple[Array, Array, list[list[tuple[tuple[int, ...], float]]]]:
    """Return each channel's maximum, the number of the part that it is (-1: none), and the parts.

    The first of equal ones, the last NaN. A sample outside the map, or a pixel that weighs nothing, is zero, and comes
    before all others.
    """
    n = maps.shape[0]
    missing = math.prod(map(len, samples)) < total or not total
    if problem.join == "max pixel" and problem.has_samples:
        missing = missing or any(len(sample) < 2 for axis in samples for sample in axis)
    best, at, parts = np.full(n, 0.0 if missing else -np.inf), np.full(n, -1), list(_parts(problem, samples))
    for number, part in enumerate(parts):
        value = _value(maps, part)
        take = (value > best) | np.isnan(value)
        if number == 0 and not missing:
            take[...] = True
        best, at = np.where(take, value, best), np.where(take, number, at)
    return best, at, parts


def roi(problem: RoiProblem, x: Array, boxes: Array, out: Array | None = None) -> Array:
    """Return the bins of all boxes in float64; those of a box of image -1 stay as they are in ``out``."""
    out = np.zeros(problem.out_shape) if out is None else out
    with np.errstate(invalid="ignore", over="ignore"):
        for k, image, position, channels, samples, total in _roi_bins(problem, boxes):
            maps, mine = x[image, channels], out[k]
            if problem.join == "mean":
                values = [_value(maps, part) for part in _parts(problem, samples)]
                mine[_all_channels(*position)] = sum(values) / total if total and values else 0.0
            else:
                mine[_all_channels(*position)] = _largest(problem, maps, samples, total)[0]
    return out


def roi_grad(problem: RoiProblem, grad_output: Array, boxes: Array, x: Array | None) -> Array:
    """Return the gradient with respect to x in float64."""
    grad = np.zeros(problem.x_shape)
    with np.errstate(invalid="ignore", over="ignore"):
        for k, image, position, channels, samples, total in _roi_bins(problem, boxes):
            g = grad_output[k][_all_channels(*position)].astype(np.float64)
            maps = grad[image, channels]
            if problem.join == "mean":
                for part in _parts(problem, samples):
                    for pixel, weight in part:
                        maps[_all_channels(*pixel)] += g * weight / total
                continue
            assert x is not None
            _, at, parts = _largest(problem, x[image, channels], samples, total)
            for number, part in enumerate(parts):
                for pixel, weight in part:
                    maps[_all_channels(*pixel)] += np.where(at == number, g * weight, 0)
    return grad


def box_iou(a: Array, b: Array) -> Array:
    """Return intersection over union of each box of a with each of b, (x1, y1, x2, y2), in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        inter = np.prod(np.where(high > low, high - low, 0), axis=-1)
        areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (a, b)]
        return np.asarray(inter / (areas[0][:, None] + areas[1] - inter))


def nms(corners: Array, runs: Array, threshold: float) -> Array:
    """Return 1 for each box that stays, of boxes in falling order of their scores, four rows of corners."""
    boxes, keep = corners.T, np.ones(corners.shape[1], np.uint8)
    for begin, end in itertools.pairwise(runs.tolist()):
        for i in range(begin, end):
            if keep[i]:
                keep[i + 1 : end][box_iou(boxes[i : i + 1], boxes[i + 1 : end])[0] > threshold] = 0
    return keep
