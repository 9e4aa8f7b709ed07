"""interpolate: resizing in all its modes, with its gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import FLOATS, RESIZE_MODES, ResizeProblem
from . import pool
from .arguments import as_array_anywhere, as_first_anywhere, flag, numbers, real
from .call import (
    REQUESTS,
    Explainable,
    Key,
    Operation,
    Request,
    check_one_dtype,
    check_word,
    exact,
    is_channels_last,
    key_of,
    run,
)
from .device import check_one_place

__all__ = ["interpolate", "interpolate_gradient"]

#: Adaptive average pooling, and planned as that.
_AREA = "area"
_MODES = (*RESIZE_MODES, _AREA)


def _sizes(size: Any, factors: Any, recompute: bool, spatial: tuple[int, ...]) -> tuple[tuple[int, ...], Any]:
    """Return the output's sizes, and the factors that places are computed by, None for the ratio of the sizes."""
    rank = len(spatial)
    if size is not None:
        return numbers("size", size, rank), None
    found = factors if isinstance(factors, tuple) else (factors,) * rank
    if len(found) != rank:
        raise InvalidProblem(f"scale_factor must be a number or {rank} of them, got {factors!r}")
    if min(found) <= 0 or not all(map(math.isfinite, found)):
        raise InvalidProblem(f"scale_factor must be finite and > 0, got {factors!r}")
    return tuple(math.floor(n * factor) for n, factor in zip(spatial, found, strict=True)), None if recompute else found


def _spatial(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sizes of the spatial axes of x."""
    if not 3 <= len(shape) <= 5:
        raise InvalidProblem(f"x must have axes (n, c, w), (n, c, h, w) or (n, c, d, h, w), got shape {shape}")
    return tuple(shape[2:])


def _problem_of(gradient: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> ResizeProblem:
    """Check everything and describe it; raises the bare fact."""
    size, factors, recompute, mode, align_corners, antialias, like = settings
    x: Key | None = like if gradient else arrays["x"]
    assert x is not None
    shape = x[0]
    spatial = _spatial(shape)
    dtype = check_one_dtype(arrays, ("grad_output",) if gradient else ("x",), FLOATS)
    out_spatial, scales = _sizes(size, factors, recompute, spatial)
    problem = ResizeProblem(
        n=shape[0],
        c=shape[1],
        spatial=spatial,
        out_spatial=out_spatial,
        scales=scales,
        mode=mode,
        align_corners=align_corners,
        antialias=antialias,
        gradient=gradient,
        dtype=dtype,
        channels_last=is_channels_last(x),
    )
    grad_output = arrays.get("grad_output")
    if grad_output is not None and grad_output[0] != problem.out_shape:
        raise InvalidProblem(f"grad_output must have the output's shape {problem.out_shape}, got {grad_output[0]}")
    return problem


_FORWARD, _GRADIENT = (
    Operation(
        name="grad.interpolate" if gradient else "interpolate",
        rank=0,
        inputs=("grad_output" if gradient else "x",),
        weights=(),
        outputs=("out",),
        describe=partial(_problem_of, gradient),
        unbatched=False,
    )
    for gradient in (False, True)
)


def _settings(
    size: Any, scale_factor: Any, mode: Any, align_corners: Any, recompute_scale_factor: Any, antialias: Any
) -> tuple[Any, ...]:
    check_word("mode", mode)
    if mode not in _MODES:
        raise InvalidProblem(f"interpolate: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if (size is None) == (scale_factor is None):
        given = "neither" if size is None else "both"
        raise InvalidProblem(f"interpolate: give size or scale_factor, got {given} of them")
    if align_corners is not None and (mode == _AREA or mode.startswith("nearest")):
        raise InvalidProblem(f"interpolate: align_corners has no meaning for mode {mode!r}; leave it out")
    corners = align_corners is not None and flag("align_corners", align_corners)
    if flag("antialias", antialias) and mode not in ("bilinear", "bicubic"):
        raise InvalidProblem(f"interpolate: antialias has no meaning for mode {mode!r}; leave it out")
    recompute = recompute_scale_factor is not None and flag("recompute_scale_factor", recompute_scale_factor)
    if recompute and size is not None:
        raise InvalidProblem("interpolate: recompute_scale_factor has no meaning with size; leave it out")
    factors = scale_factor
    if isinstance(scale_factor, (tuple, list)):
        factors = tuple(real("scale_factor", factor) for factor in scale_factor)
    elif scale_factor is not None:
        factors = real("scale_factor", scale_factor)
    return None if size is None else exact(size), factors, recompute, mode, corners, bool(antialias)


def _area_size(x: Array, settings: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the output's sizes of mode "area", of which nothing else is left."""
    size, factors, recompute, *_ = settings
    out = _sizes(size, factors, recompute, _spatial(x.shape))[0]
    if min(out) < 1 or min(x.shape[2:]) < 1:
        raise InvalidProblem(f"interpolate: sizes must be >= 1, got {x.shape[2:]} -> {out}")
    return out


def _request(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: Any = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: Any = False,
) -> Request:
    """Return the call with its arguments checked for what they are, not yet for what they mean."""
    settings = _settings(size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    x = as_first_anywhere("x", x)
    if mode == _AREA:
        return pool.adaptive_request("avg", x.ndim - 2, x, _area_size(x, settings))
    return Request(_FORWARD, (x,), None, (*settings, None))


def interpolate_gradient(
    grad_output: Any,
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: Any = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: Any = False,
) -> tuple[Request]:
    """Return the request of interpolate's gradient; only the shape, the dtype and the memory order of x matter."""
    settings = _settings(size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    grad_output, x = as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x)
    check_one_place({"grad_output": grad_output, "x": x})
    if mode == _AREA:
        size = _area_size(x, settings)
        return (pool.adaptive_gradient("avg", x.ndim - 2, grad_output, x, size)[0],)
    keys = {"grad_output": (grad_output.shape, (), grad_output.dtype), "x": (x.shape, (), x.dtype)}
    check_one_dtype(keys, ("grad_output", "x"), FLOATS)
    return (Request(_GRADIENT, (grad_output,), None, (*settings, key_of(x))),)


def interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    r"""Resize signals, images or volumes.

    ``out[n, c, o] = sum_i weight[o, i] x[n, c, i]`` along each axis. Output o lies at ``(o + 1/2) / scale - 1/2`` among
    the elements of x, or at ``o (in - 1) / (out - 1)`` with align_corners.

    Parameters
    ----------
    x : (n, c, w), (n, c, h, w) or (n, c, d, h, w) float16, float32 or float64
        Any strides. A view over channels-last memory gives channels-last results.
    size : int or tuple of int, optional
        The output's spatial size.
    scale_factor : float or tuple of float, optional
        Instead of size: the output has ``floor(in * scale_factor)`` elements along an axis.
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"}
        ``"nearest"``: output o takes element ``floor(o / scale)``; ``"nearest-exact"``: ``floor((o + 1/2) / scale)``,
        which is symmetric. ``"linear"``, ``"bilinear"`` and ``"trilinear"`` are for one, two and three axes: the two
        elements beside a place, by their distances. ``"bicubic"``: four elements along each of two axes, by Keys' cubic
        convolution of a = -0.75. ``"area"``: :func:`pyconv.adaptive_avg_pool2d` and its relatives, also by name of the
        algorithms.
        scale is scale_factor where that is given, else out / in; for nearest neighbours in float32 as torch has it.
    align_corners : bool, optional
        Whether the centres of the outermost elements meet, or, by default, the outer edges. Not for "nearest",
        "nearest-exact" and "area".
    recompute_scale_factor : bool, optional
        With scale_factor: whether scale is out / in all the same.
    antialias : bool
        For "bilinear" and "bicubic" (here of a = -0.5, as PIL has it): whether the interpolating function is as wide as
        an output where that is wider than an element of x, so that all elements count.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("nearest", "separable", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, \*size), the dtype of x

    Raises
    ------
    InvalidProblem
        Both or neither of size and scale_factor, sizes below 1, a setting without meaning for the mode.
    TypeError
        Not an array, or a dtype that is not taken.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Notes
    -----
    Elements beyond the ends are those at the ends. float16 is summed in float32. An element whose weight is zero is no
    part of a sum, also where it is infinite. The result has the same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[1, 2, 3]]], dtype=np.float32)
    >>> pyconv.interpolate(x, scale_factor=2)
    array([[[1., 1., 2., 2., 3., 3.]]], dtype=float32)
    >>> pyconv.interpolate(x, size=2), pyconv.interpolate(x, size=2, mode="nearest-exact")
    (array([[[1., 2.]]], dtype=float32), array([[[1., 3.]]], dtype=float32))
    >>> pyconv.interpolate(x, size=5, mode="linear", align_corners=True)
    array([[[1. , 1.5, 2. , 2.5, 3. ]]], dtype=float32)
    """
    request = _request(x, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


REQUESTS[interpolate] = Explainable(_request, 1)
