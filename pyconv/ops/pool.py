"""Pooling and un-pooling: max_pool, avg_pool, lp_pool, adaptive and global ones, max_unpool, each with its gradient."""

from __future__ import annotations

import itertools
import math
import numbers as numeric
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import DTYPES, FLOATS, PoolProblem, UnpoolProblem
from .activation import leaky_relu
from .arguments import as_array, as_array_anywhere, as_first, as_first_anywhere, flag, numbers, padding_of
from .call import (
    REQUESTS,
    Explainable,
    Key,
    Operation,
    Request,
    check_one_dtype,
    exact,
    is_channels_last,
    key_of,
    run,
    spatial_axes,
)
from .device import DeviceArray, check_one_place

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "zero_unpool1d",
    "zero_unpool2d",
    "zero_unpool3d",
]


def _shape_of(rank: int, arrays: Mapping[str, Key | None], name: str) -> tuple[Key, tuple[int, ...]]:
    """Return an array of images and its shape."""
    key = arrays[name]
    assert key is not None
    if len(key[0]) != rank + 2:
        axes = spatial_axes(rank)
        raise InvalidProblem(f"{name} must have axes (n, c, {axes}) or (c, {axes}), got shape {key[0]}")
    return key, key[0]


def _check_same(what: str, given: Key | None, wanted: tuple[int, ...], of: str) -> None:
    if given is not None and given[0] != wanted:
        raise InvalidProblem(f"{what} must have {of} shape {wanted}, got {given[0]}")


def _check_indices(arrays: Mapping[str, Key | None]) -> None:
    indices = arrays["indices"]
    if indices is not None and indices[2].newbyteorder("=") != np.int64:
        raise TypeError(f"indices must be int64, got {indices[2].name}")


def _sizes(value: Any, spatial: tuple[int, ...]) -> tuple[int, ...]:
    """Return an adaptive output size, None for the input's own."""
    rank = len(spatial)
    entries = value if isinstance(value, tuple) else (value,) * rank
    if len(entries) != rank:
        raise InvalidProblem(f"output_size must be a size or {rank} of them, got {value!r}")
    sizes = tuple(
        size if entry is None else numbers("output_size", entry, 1)[0]
        for entry, size in zip(entries, spatial, strict=True)
    )
    if min(sizes) < 0:
        raise InvalidProblem(f"output_size must be >= 0, got {value!r}")
    return sizes


def _optional(value: Any) -> Any:
    """Return a setting of integers, None among them, as a key."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and any(entry is None for entry in value):
        return tuple(map(_optional, value))
    return exact(value)


def _problem_of(
    rank: int, kind: str, adaptive: bool, gradient: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]
) -> PoolProblem:
    """Check everything and describe it; raises the bare fact."""
    x = settings[-1] if gradient else _shape_of(rank, arrays, "x")[0]
    shape = x[0]
    words = tuple(DTYPES.values()) if kind == "max" and not gradient else FLOATS
    dtype = check_one_dtype(arrays, ("grad_output", "x") if gradient else ("x",), words)
    if gradient:
        _shape_of(rank, arrays, "grad_output")
    spatial = tuple(shape[2:])
    found: dict[str, Any] = {}
    ones = (1,) * rank
    if adaptive:
        output_size, indices = settings[:2]
        found = {"adaptive": _sizes(output_size, spatial), "kernel": ones, "stride": ones, "dilation": ones}
        found["padding"] = ((0, 0),) * rank
    else:
        kernel_size, stride_, padding, dilation_, ceil_mode, count, divisor, indices, norm = settings[:9]
        kernel = numbers("kernel_size", kernel_size, rank)
        stride = kernel if stride_ is None else numbers("stride", stride_, rank)
        dilation = numbers("dilation", dilation_, rank)
        for name, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
            if min(values) < 1:
                raise InvalidProblem(f"{name} must be >= 1, got {values}")
        found = {"kernel": kernel, "stride": stride, "dilation": dilation, "ceil_mode": ceil_mode}
        found |= {"count_include_pad": count, "divisor": divisor, "norm": norm}
        found["padding"] = padding_of(padding, rank, kernel, stride, dilation)
    if gradient:
        indices = arrays.get("indices") is not None
    problem = PoolProblem(
        kind=kind,
        n=shape[0],
        c=shape[1],
        spatial=spatial,
        indices=indices,
        gradient=gradient,
        dtype=dtype,
        channels_last=is_channels_last(x),
        **found,
    )
    if gradient:
        _check_same("grad_output", arrays["grad_output"], problem.out_shape, "the output's")
    if gradient and indices:
        _check_indices(arrays)
        _check_same("indices", arrays["indices"], problem.out_shape, "the output's")
    return problem


def _operations(kind: str, adaptive: bool, gradient: bool) -> dict[int, Operation]:
    name = f"{'grad.' if gradient else ''}{'adaptive_' if adaptive else ''}{kind}_pool"
    maxima = kind == "max"
    besides = {"max": ("x", "indices"), "avg": (), "lp": ("x",)}[kind]
    return {
        rank: Operation(
            name=f"{name}{rank}d",
            rank=rank,
            inputs=("grad_output", *besides) if gradient else ("x",),
            weights=(),
            outputs=("out", "indices") if maxima and not gradient else ("out",),
            describe=partial(_problem_of, rank, kind, adaptive, gradient),
        )
        for rank in (1, 2, 3)
    }


_FORWARD, _GRADIENT = (
    {
        (kind, adaptive): _operations(kind, adaptive, gradient)
        for kind, adaptive in itertools.product(("max", "avg", "lp"), (False, True))
    }
    for gradient in (False, True)
)


def _max_settings(
    kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, return_indices: Any
) -> tuple[Any, ...]:
    return (
        exact(kernel_size),
        _optional(stride),
        exact(padding),
        exact(dilation),
        flag("ceil_mode", ceil_mode),
        True,
        None,
        flag("return_indices", return_indices),
        0.0,
    )


def _avg_settings(
    kernel_size: Any, stride: Any, padding: Any, ceil_mode: Any, count_include_pad: Any, divisor_override: Any
) -> tuple[Any, ...]:
    return (
        exact(kernel_size),
        _optional(stride),
        exact(padding),
        1,
        flag("ceil_mode", ceil_mode),
        flag("count_include_pad", count_include_pad),
        None if divisor_override is None else numbers("divisor_override", divisor_override, 1)[0],
        False,
        0.0,
    )


def norm_of(norm_type: Any) -> float:
    """Return the p of a norm, refusing what is none."""
    if not isinstance(norm_type, numeric.Real):
        raise TypeError(f"norm_type must be a number, got {norm_type!r}")
    p = float(norm_type)
    if not p > 0:
        raise InvalidProblem(f"norm_type must be above 0, got {norm_type!r}; a p-norm has p >= 1")
    return p


def _lp_settings(norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: Any) -> tuple[Any, ...]:
    ceil = flag("ceil_mode", ceil_mode)
    return exact(kernel_size), _optional(stride), 0, 1, ceil, True, None, False, norm_of(norm_type)


def _adaptive_settings(output_size: Any, return_indices: Any) -> tuple[Any, ...]:
    return _optional(output_size), flag("return_indices", return_indices)


def _request(kind: str, adaptive: bool, rank: int, x: Any, settings: tuple[Any, ...]) -> Request:
    return Request(_FORWARD[kind, adaptive][rank], (as_first_anywhere("x", x),), None, settings)


def _gradient_request(
    kind: str, adaptive: bool, rank: int, grad_output: Any, x: Any, indices: Any, settings: tuple[Any, ...]
) -> Request:
    """Return the gradient; an average's needs only the shape of x, a maximum's with indices too."""
    grad_output, x = as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x)
    indices = None if indices is None else as_array_anywhere("indices", indices)
    check_one_place({"grad_output": grad_output, "x": x, "indices": indices})
    if x.ndim not in (rank + 1, rank + 2) or x.ndim != grad_output.ndim:
        axes = spatial_axes(rank)
        raise InvalidProblem(
            f"grad.{'adaptive_' if adaptive else ''}{kind}_pool{rank}d: x and grad_output must have axes "
            f"(n, c, {axes}) or (c, {axes}), got shapes {x.shape} and {grad_output.shape}"
        )
    check_one_dtype({"grad_output": (grad_output.shape, (), grad_output.dtype), "x": (x.shape, (), x.dtype)},
                    ("grad_output", "x"), FLOATS)  # fmt: skip
    # its shape, and the memory order that the gradient takes from it
    like = key_of(x if x.ndim == rank + 2 else x[None])
    inputs: tuple[Array | None, ...] = (grad_output,)
    if kind == "lp":
        inputs = grad_output, x
    if kind == "max":
        inputs = (grad_output, x, None) if indices is None else (grad_output, None, indices)
    return Request(_GRADIENT[kind, adaptive][rank], inputs, None, (*settings, like))


def _max_request(
    rank: int, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: Any = False, return_indices: Any = False,
) -> Request:  # fmt: skip
    return _request(
        "max", False, rank, x, _max_settings(kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    )


def _avg_request(
    rank: int, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: Any = False,
    count_include_pad: Any = True, divisor_override: Any = None,
) -> Request:  # fmt: skip
    return _request(
        "avg", False, rank, x,
        _avg_settings(kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override),
    )  # fmt: skip


def _magnitudes(x: Any) -> Any:
    """Return |x|."""
    x = as_first_anywhere("x", x)
    # NumPy knows no other memory than its own; below zero this is -x
    return leaky_relu(x, -1.0) if isinstance(x, DeviceArray) else np.abs(x)


def _lp_request(
    rank: int, x: Any, norm_type: Any, kernel_size: Any, stride: Any = None, ceil_mode: Any = False
) -> Request:
    """Return the request; of the largest |x| where p is infinite."""
    settings = _lp_settings(norm_type, kernel_size, stride, ceil_mode)
    if settings[-1] == math.inf:
        return _max_request(rank, _magnitudes(x), kernel_size, stride, 0, 1, ceil_mode)
    return _request("lp", False, rank, x, settings)


def adaptive_request(kind: str, rank: int, x: Any, output_size: Any, return_indices: Any = False) -> Request:
    """Return an adaptive pooling's request."""
    settings = _adaptive_settings(output_size, return_indices)
    return _request(kind, True, rank, x, settings)


def max_gradient(
    rank: int, grad_output: Any, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: Any = False, return_indices: Any = False, *, indices: Any = None,
) -> tuple[Request]:  # fmt: skip
    """Return the request of max_pool's gradient."""
    settings = _max_settings(kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return (_gradient_request("max", False, rank, grad_output, x, indices, settings),)


def avg_gradient(
    rank: int, grad_output: Any, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: Any = False, count_include_pad: Any = True, divisor_override: Any = None,
) -> tuple[Request]:  # fmt: skip
    """Return the request of avg_pool's gradient."""
    settings = _avg_settings(kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return (_gradient_request("avg", False, rank, grad_output, x, None, settings),)


def lp_gradient(
    rank: int, grad_output: Any, x: Any, norm_type: Any, kernel_size: Any, stride: Any = None, ceil_mode: Any = False
) -> tuple[Request]:
    """Return the request of lp_pool's gradient; of that of the largest |x|, with respect to |x|, for an infinite p."""
    settings = _lp_settings(norm_type, kernel_size, stride, ceil_mode)
    if settings[-1] == math.inf:
        return max_gradient(rank, grad_output, _magnitudes(x), kernel_size, stride, 0, 1, ceil_mode)
    return (_gradient_request("lp", False, rank, grad_output, x, None, settings),)


def adaptive_gradient(
    kind: str, rank: int, grad_output: Any, x: Any, output_size: Any, return_indices: Any = False, *,
    indices: Any = None,
) -> tuple[Request]:  # fmt: skip
    """Return the request of an adaptive pooling's gradient."""
    settings = _adaptive_settings(output_size, return_indices)
    return (_gradient_request(kind, True, rank, grad_output, x, indices, settings),)


def _unpool_of(rank: int, gradient: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> UnpoolProblem:
    """Check everything and describe it; raises the bare fact."""
    kernel_size, stride_, padding_, output_size, small = settings
    name = "grad_output" if gradient else "x"
    key, shape = _shape_of(rank, arrays, name)
    if gradient:
        shape = small
    dtype = check_one_dtype(arrays, (name,), FLOATS if gradient else tuple(DTYPES.values()))
    _check_indices(arrays)
    _check_same("indices", arrays["indices"], shape, "the shape of x, its")
    kernel = numbers("kernel_size", kernel_size, rank)
    stride = kernel if stride_ is None else numbers("stride", stride_, rank)
    padding = numbers("padding", padding_, rank)
    for what, values, least in (("kernel_size", kernel, 1), ("stride", stride, 1), ("padding", padding, 0)):
        if min(values) < least:
            raise InvalidProblem(f"{what} must be >= {least}, got {values}")
    default = tuple((n - 1) * s + k - 2 * p for n, s, k, p in zip(shape[2:], stride, kernel, padding, strict=True))
    if 0 in shape[2:]:
        default = tuple(max(0, size) for size in default)
    spatial = default
    if output_size is not None:
        spatial = numbers("output_size", output_size[-rank:] if isinstance(output_size, tuple) else output_size, rank)
        for size, usual, s in zip(spatial, default, stride, strict=True):
            if not usual - s < size < usual + s:
                raise InvalidProblem(
                    f"output_size must be within one stride of {default} (stride {stride}), got {spatial}"
                )
    if min(spatial) < 0 or (0 in spatial and 0 not in shape):
        raise InvalidProblem(f"the output would have size {spatial}")
    problem = UnpoolProblem(
        n=shape[0],
        c=shape[1],
        spatial=spatial,
        out_spatial=tuple(shape[2:]),
        gradient=gradient,
        dtype=dtype,
        channels_last=is_channels_last(key),
    )
    if gradient:
        _check_same("grad_output", key, problem.x_shape, "the output's")
    return problem


_UNPOOL = {
    (rank, gradient): Operation(
        name=f"{'grad.' if gradient else ''}max_unpool{rank}d",
        rank=rank,
        inputs=("grad_output" if gradient else "x", "indices"),
        weights=(),
        outputs=("out",),
        describe=partial(_unpool_of, rank, gradient),
    )
    for rank in (1, 2, 3)
    for gradient in (False, True)
}


def _unpool_settings(kernel_size: Any, stride: Any, padding: Any, output_size: Any) -> tuple[Any, ...]:
    return exact(kernel_size), _optional(stride), exact(padding), _optional(output_size)


def _unpool_request(
    rank: int, x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Request:
    settings = _unpool_settings(kernel_size, stride, padding, output_size)
    arrays = as_first_anywhere("x", x), as_array_anywhere("indices", indices)
    return Request(_UNPOOL[rank, False], arrays, None, (*settings, None))


def unpool_gradient(
    rank: int, grad_output: Any, x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> tuple[Request]:  # fmt: skip
    """Return the request of max_unpool's gradient."""
    x = as_array_anywhere("x", x)
    settings = _unpool_settings(kernel_size, stride, padding, output_size)
    shape = x.shape if x.ndim == rank + 2 else (1, *x.shape)
    arrays = as_first_anywhere("grad_output", grad_output), as_array_anywhere("indices", indices)
    check_one_place({"grad_output": arrays[0], "x": x, "indices": arrays[1]})
    return (Request(_UNPOOL[rank, True], arrays, None, (*settings, shape)),)


def _corners(rank: int, x: Array, kernel_size: Any, stride: Any, output_size: Any) -> tuple[Array, tuple[int, ...]]:
    """Return the index of the first element of each window, for all planes of x the same, and the planes' size."""
    if x.ndim not in (rank + 1, rank + 2):
        axes = spatial_axes(rank)
        raise InvalidProblem(f"zero_unpool{rank}d: x must have axes (n, c, {axes}) or (c, {axes}), got shape {x.shape}")
    kernel = numbers("kernel_size", kernel_size, rank)
    steps = kernel if stride is None else numbers("stride", stride, rank)
    sizes = x.shape[-rank:]
    spatial = tuple(max(0, (n - 1) * s + k) for n, s, k in zip(sizes, steps, kernel, strict=True))
    if output_size is not None:
        spatial = numbers("output_size", output_size[-rank:] if isinstance(output_size, tuple) else output_size, rank)
    corners = np.zeros(sizes, np.int64)
    for axis, (n, s) in enumerate(zip(sizes, steps, strict=True)):
        along = np.arange(n, dtype=np.int64) * (s * math.prod(spatial[axis + 1 :]))
        corners += along.reshape(-1, *(1,) * (rank - 1 - axis))
    return np.broadcast_to(corners, x.shape), spatial


def _zero_request(rank: int, x: Any, kernel_size: Any, stride: Any = None, output_size: Any = None) -> Request:
    x = as_first("x", x)
    indices, spatial = _corners(rank, x, kernel_size, stride, output_size)
    return _unpool_request(rank, x, indices, kernel_size, stride, 0, spatial)


def zero_gradient(
    rank: int, grad_output: Any, x: Any, kernel_size: Any, stride: Any = None, output_size: Any = None
) -> tuple[Request]:
    """Return the request of zero_unpool's gradient."""
    x = as_array("x", x)
    indices, spatial = _corners(rank, x, kernel_size, stride, output_size)
    return unpool_gradient(rank, grad_output, x, indices, kernel_size, stride, 0, spatial)


def _with_indices(request: Request, return_indices: bool, out: Any, algorithm: Any) -> Any:
    """Run; ``out`` and the result are pairs where indices are asked for."""
    if not return_indices:
        return run(request, (out, None), algorithm)[0]
    outs = (None, None) if out is None else out
    if not isinstance(outs, (tuple, list)) or len(outs) != 2:
        raise TypeError(f"out must be a pair (values, indices) with return_indices=True, got {type(out).__name__}")
    return run(request, tuple(outs), algorithm)


def _norms(request: Request, out: Any, algorithm: Any) -> Array:
    """Run; maxima, which stand in for an infinite p, have a second output that is not asked for."""
    outs = (out, None)[: len(request.operation.outputs)]
    return run(request, outs, algorithm)[0]  # type: ignore[no-any-return]


def max_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Any:
    """Take the largest element of each window, along one axis.

    Parameters, results and errors are those of :func:`max_pool2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.max_pool1d(np.array([[1, 5, 2, 0]], dtype=np.int8), 2)
    array([[5, 2]], dtype=int8)
    """
    request = _max_request(1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _with_indices(request, return_indices, out, algorithm)


def max_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Any:
    """Take the largest element of each window: ``y[n, c, p, q] = max over a, b of x[n, c, s p - pad + d a, ...]``.

    Parameters
    ----------
    x : (n, c, h, w) or (c, h, w) float16, float32, float64 or an integer type
        Images, any strides. A view over channels-last memory gives channels-last results.
    kernel_size, stride, dilation : int or (int, int)
        The window, the pixels between windows (None: windows side by side), and between its elements.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Pixels around x that are never the largest; at most half a window.
    ceil_mode : bool
        Whether a last window may hang over the end; one that would begin behind x and its left padding is left out.
    return_indices : bool
        Whether to return also where each maximum lies.
    out : numpy.ndarray, optional
        Where to put the result (with ``return_indices`` a pair, either of which may be None); may overlap x.
    algorithm : str
        "auto", a family ("separable", "indexed", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, h_out, w_out), the dtype of x; with ``return_indices`` also int64
        An index counts the elements of one image and channel, rows after rows. Of equal elements it is the first one's.
        A window with NaN gives NaN and the index of its last NaN, one of -inf only gives -inf and an index inside x.

    Raises
    ------
    InvalidProblem
        A window without meaning, or padding of more than half of it.
    TypeError
        Not an array, or a dtype that is not taken.
    Unsupported
        The algorithm asked for cannot do this problem; the message says why.
    MemoryError
        With the number of bytes asked for.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.max_pool2d(x, 2)
    array([[[[5., 8.]]]], dtype=float32)
    >>> pyconv.max_pool2d(x, 2, return_indices=True)[1]
    array([[[[1, 6]]]])
    """
    request = _max_request(2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _with_indices(request, return_indices, out, algorithm)


def max_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Any:
    """Take the largest element of each window, along three axes.

    Parameters, results and errors are those of :func:`max_pool2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.max_pool3d(np.arange(8, dtype=np.float64).reshape(1, 1, 2, 2, 2), 2).item()
    7.0
    """
    request = _max_request(3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _with_indices(request, return_indices, out, algorithm)


def avg_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Average each window, along one axis.

    Parameters, results and errors are those of :func:`avg_pool2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.avg_pool1d(np.array([[1.0, 5.0, 2.0, 0.0]]), 2)
    array([[3., 1.]])
    """
    request = _avg_request(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Average each window: the sum of its elements over their number.

    Parameters
    ----------
    x : (n, c, h, w) or (c, h, w) float16, float32 or float64
        Images, any strides. A view over channels-last memory gives channels-last results.
    kernel_size, stride : int or (int, int)
        The window, and the pixels between windows (None: windows side by side).
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Zeros around x; at most half a window.
    ceil_mode : bool
        Whether a last window may hang over the end; what hangs over the padding is never counted.
    count_include_pad : bool
        Whether padding counts as elements.
    divisor_override : int, optional
        What to divide by instead.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("separable", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, h_out, w_out), the dtype of x

    Raises
    ------
    InvalidProblem, TypeError, Unsupported, MemoryError
        As :func:`max_pool2d`.

    Notes
    -----
    float16 is summed in float32. Nothing is ever subtracted from a sum, so that a large element, an infinity or a NaN
    changes its own windows only. The result has the same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.avg_pool2d(x, 2)
    array([[[[3.25, 4.  ]]]], dtype=float32)
    >>> pyconv.avg_pool2d(x, 2, padding=1, count_include_pad=False)[0, 0]
    array([[1. , 3.5, 0. ],
           [3. , 6. , 6. ]], dtype=float32)
    """
    request = _avg_request(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def avg_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Average each window, along three axes.

    Parameters, results and errors are those of :func:`avg_pool2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.avg_pool3d(np.arange(8.0).reshape(1, 1, 2, 2, 2), 2).item()
    3.5
    """
    request = _avg_request(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def lp_pool1d(
    x: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Take the p-norm of each window, along one axis.

    Parameters, results and errors are those of :func:`lp_pool2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.lp_pool1d(np.array([[3.0, 4.0, 5.0, 12.0]]), 2, 2)
    array([[ 5., 13.]])
    >>> pyconv.lp_pool1d(np.array([[3.0, -4.0, 5.0, 12.0]]), 1, 2)
    array([[-1., 17.]])
    """
    return _norms(_lp_request(1, x, norm_type, kernel_size, stride, ceil_mode), out, algorithm)


def lp_pool2d(
    x: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Take the p-norm of each window: the p-th root of the sum of its elements' p-th powers.

    Parameters
    ----------
    x : (n, c, h, w) or (c, h, w) float16, float32 or float64
        Images, any strides. A view over channels-last memory gives channels-last results.
    norm_type : float
        The p, above 0. 1 is sum pooling, ``inf`` the largest ``|x|``.
    kernel_size, stride : int or (int, int)
        The window, and the pixels between windows (None: windows side by side).
    ceil_mode : bool
        Whether a last window may hang over the end; its sum is scaled to that of a whole one.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("separable", "reference") or an id of :func:`pyconv.algorithms`. With ``norm_type=inf`` it is
        one of :func:`max_pool2d`.

    Returns
    -------
    (n, c, h_out, w_out), the dtype of x

    Raises
    ------
    InvalidProblem
        Also for a ``norm_type`` that is not above 0.
    TypeError, Unsupported, MemoryError
        As :func:`max_pool2d`.

    Notes
    -----
    The powers are of x, not of ``|x|``, as torch has it: the sum of p = 1 keeps its sign, and in that of an odd p
    elements of different signs cancel. Where the root of this sum is no number, because it is negative or p is no
    integer, torch returns NaN; the result here is the root of the sum of ``|x|^p``.

    Powers and sums are in the type of x, but float32 for float16. p = 1 and 2 are as fast as averages, other integers
    need a few multiplications more; other p call the library's ``pow`` for each element.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[3, 0, 1, 2], [4, 0, 2, 4]]]], dtype=np.float32)
    >>> pyconv.lp_pool2d(x, 2, 2)
    array([[[[5., 5.]]]], dtype=float32)
    >>> pyconv.lp_pool2d(-x, np.inf, 2)
    array([[[[4., 4.]]]], dtype=float32)
    """
    return _norms(_lp_request(2, x, norm_type, kernel_size, stride, ceil_mode), out, algorithm)


def lp_pool3d(
    x: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Take the p-norm of each window, along three axes.

    Parameters, results and errors are those of :func:`lp_pool2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.lp_pool3d(np.full((1, 1, 2, 2, 2), 2.0), 3, 2).item()
    4.0
    >>> pyconv.lp_pool3d(np.full((1, 1, 2, 2, 2), 2.0), 1, 2).item()
    16.0
    """
    return _norms(_lp_request(3, x, norm_type, kernel_size, stride, ceil_mode), out, algorithm)


def adaptive_avg_pool1d(
    x: Any,
    output_size: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Cut x into ``output_size`` windows and take the average of each, along one axis.

    Parameters, results and errors are those of :func:`adaptive_avg_pool2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.adaptive_avg_pool1d(np.array([[1.0, 5.0, 2.0, 0.0]]), 2)
    array([[3., 1.]])
    """
    return run(adaptive_request("avg", 1, x, output_size), (out,), algorithm)[0]  # type: ignore[no-any-return]


def adaptive_avg_pool2d(
    x: Any,
    output_size: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Cut x into ``output_size`` windows and take the average of each; ``output_size=1`` is global pooling.

    Along an axis of n elements output o covers those from ``floor(o n / size)`` up to ``ceil((o + 1) n / size)``.

    Parameters
    ----------
    x : (n, c, h, w) or (c, h, w) float16, float32, float64
        Images, any strides. A view over channels-last memory gives channels-last results.
    output_size : int or (int, int)
        Rows and columns of the output; None for x's own.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, *output_size), the dtype of x

    Raises
    ------
    InvalidProblem, TypeError, Unsupported, MemoryError
        As :func:`max_pool2d`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.adaptive_avg_pool2d(x, 1)
    array([[[[3.625]]]], dtype=float32)
    >>> pyconv.adaptive_avg_pool2d(x, (None, 3)).shape
    (1, 1, 2, 3)
    """
    return run(adaptive_request("avg", 2, x, output_size), (out,), algorithm)[0]  # type: ignore[no-any-return]


def adaptive_avg_pool3d(
    x: Any,
    output_size: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Cut x into ``output_size`` windows and take the average of each, along three axes.

    Parameters, results and errors are those of :func:`adaptive_avg_pool2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.adaptive_avg_pool3d(np.arange(8.0).reshape(1, 1, 2, 2, 2), 1).item()
    3.5
    """
    return run(adaptive_request("avg", 3, x, output_size), (out,), algorithm)[0]  # type: ignore[no-any-return]


def adaptive_max_pool1d(
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Any:
    """Cut x into ``output_size`` windows and take the largest element of each, along one axis.

    Parameters, results and errors are those of :func:`adaptive_max_pool2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.adaptive_max_pool1d(np.array([[1.0, 5.0, 2.0, 0.0]]), 2)
    array([[5., 2.]])
    """
    request = adaptive_request("max", 1, x, output_size, return_indices)
    return _with_indices(request, return_indices, out, algorithm)


def adaptive_max_pool2d(
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Any:
    """Cut x into ``output_size`` windows and take the largest element of each; ``output_size=1`` is global pooling.

    Along an axis of n elements output o covers those from ``floor(o n / size)`` up to ``ceil((o + 1) n / size)``.

    Parameters
    ----------
    x : (n, c, h, w) or (c, h, w) float16, float32, float64 or an integer type
        Images, any strides. A view over channels-last memory gives channels-last results.
    output_size : int or (int, int)
        Rows and columns of the output; None for x's own.
    return_indices : bool
        Whether to return also where each maximum lies, as :func:`max_pool2d` does.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, *output_size), the dtype of x; with ``return_indices`` also int64

    Raises
    ------
    InvalidProblem, TypeError, Unsupported, MemoryError
        As :func:`max_pool2d`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.adaptive_max_pool2d(x, (1, 3))
    array([[[[5., 8., 8.]]]], dtype=float32)
    """
    request = adaptive_request("max", 2, x, output_size, return_indices)
    return _with_indices(request, return_indices, out, algorithm)


def adaptive_max_pool3d(
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Any:
    """Cut x into ``output_size`` windows and take the largest element of each, along three axes.

    Parameters, results and errors are those of :func:`adaptive_max_pool2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.adaptive_max_pool3d(np.arange(8.0).reshape(1, 1, 2, 2, 2), 1).item()
    7.0
    """
    request = adaptive_request("max", 3, x, output_size, return_indices)
    return _with_indices(request, return_indices, out, algorithm)


def max_unpool1d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Put each element of x at its index in a larger array of zeros, along one axis.

    Parameters, results and errors are those of :func:`max_unpool2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.max_unpool1d(np.array([[7.0, 9.0]]), np.array([[1, 2]]), 2)
    array([[0., 7., 9., 0.]])
    """
    request = _unpool_request(1, x, indices, kernel_size, stride, padding, output_size)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def max_unpool2d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Put each element of x at its index in a larger plane of zeros: what :func:`max_pool2d` took out goes back.

    Parameters
    ----------
    x : (n, c, h, w) or (c, h, w) float16, float32, float64 or an integer type
        The elements.
    indices : int64, the shape of x
        Where each goes: an offset in its plane of the output, as ``max_pool2d(..., return_indices=True)`` gives it. Of
        several elements with one index the last one stays.
    kernel_size, stride, padding : int or (int, int)
        Those of the pooling; they say how large the output is.
    output_size : tuple of int, optional
        The exact size, within one stride of the usual one; a whole shape is taken too.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("scatter", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, h_out, w_out), the dtype of x
        ``h_out = (h - 1) stride - 2 padding + kernel_size``, unless ``output_size`` says otherwise.

    Raises
    ------
    InvalidProblem
        Also for an index outside its plane.
    TypeError, Unsupported, MemoryError
        As :func:`max_pool2d`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> largest, indices = pyconv.max_pool2d(x, 2, return_indices=True)
    >>> pyconv.max_unpool2d(largest, indices, 2)
    array([[[[0., 5., 0., 0.],
             [0., 0., 8., 0.]]]], dtype=float32)
    """
    request = _unpool_request(2, x, indices, kernel_size, stride, padding, output_size)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def max_unpool3d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Put each element of x at its index in a larger array of zeros, along three axes.

    Parameters, results and errors are those of :func:`max_unpool2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.max_unpool3d(np.full((1, 1, 1, 1), 7.0), np.full((1, 1, 1, 1), 3), 2).ravel()
    array([0., 0., 0., 7., 0., 0., 0., 0.])
    """
    request = _unpool_request(3, x, indices, kernel_size, stride, padding, output_size)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def zero_unpool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    output_size: Any = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Put each element of x at the first place of its window of zeros, along one axis.

    Parameters, results and errors are those of :func:`zero_unpool2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.zero_unpool1d(np.array([[7.0, 9.0]]), 2)
    array([[7., 0., 9., 0.]])
    >>> pyconv.zero_unpool1d(np.array([[7.0, 9.0]]), 1, 3)
    array([[7., 0., 0., 9.]])
    """
    return run(_zero_request(1, x, kernel_size, stride, output_size), (out,), algorithm)[0]  # type: ignore[no-any-return]


def zero_unpool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    output_size: Any = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Put each element of x at the first corner of its window of zeros: "bed of nails" un-pooling.

    It is :func:`max_unpool2d` with the indices of the windows' first elements.

    Parameters
    ----------
    x : (n, c, h, w) or (c, h, w) float16, float32, float64 or an integer type
        The elements.
    kernel_size, stride : int or (int, int)
        The window, and the pixels between windows (None: windows side by side).
    output_size : tuple of int, optional
        The exact size, within one stride of the usual one; a whole shape is taken too.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family or an id of :func:`max_unpool2d`.

    Returns
    -------
    (n, c, h_out, w_out), the dtype of x
        ``h_out = (h - 1) stride + kernel_size``, unless ``output_size`` says otherwise.

    Raises
    ------
    InvalidProblem, TypeError, Unsupported, MemoryError
        As :func:`max_unpool2d`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 2], [3, 4]]]], dtype=np.float32)
    >>> pyconv.zero_unpool2d(x, 2)
    array([[[[1., 0., 2., 0.],
             [0., 0., 0., 0.],
             [3., 0., 4., 0.],
             [0., 0., 0., 0.]]]], dtype=float32)
    >>> pyconv.zero_unpool2d(x, 1, 2).shape
    (1, 1, 3, 3)
    """
    return run(_zero_request(2, x, kernel_size, stride, output_size), (out,), algorithm)[0]  # type: ignore[no-any-return]


def zero_unpool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    output_size: Any = None,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Put each element of x at the first corner of its window of zeros, along three axes.

    Parameters, results and errors are those of :func:`zero_unpool2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.zero_unpool3d(np.full((1, 1, 1, 1), 7.0), 2).ravel()
    array([7., 0., 0., 0., 0., 0., 0., 0.])
    >>> pyconv.zero_unpool3d(np.full((1, 1, 1, 1), 7.0), 2, output_size=(1, 2, 2)).shape
    (1, 1, 2, 2)
    """
    return run(_zero_request(3, x, kernel_size, stride, output_size), (out,), algorithm)[0]  # type: ignore[no-any-return]


REQUESTS.update(
    {
        max_pool1d: Explainable(partial(_max_request, 1), 1),
        max_pool2d: Explainable(partial(_max_request, 2), 1),
        max_pool3d: Explainable(partial(_max_request, 3), 1),
        avg_pool1d: Explainable(partial(_avg_request, 1), 1),
        avg_pool2d: Explainable(partial(_avg_request, 2), 1),
        avg_pool3d: Explainable(partial(_avg_request, 3), 1),
        lp_pool1d: Explainable(partial(_lp_request, 1), 1),
        lp_pool2d: Explainable(partial(_lp_request, 2), 1),
        lp_pool3d: Explainable(partial(_lp_request, 3), 1),
        adaptive_avg_pool1d: Explainable(partial(adaptive_request, "avg", 1), 1),
        adaptive_avg_pool2d: Explainable(partial(adaptive_request, "avg", 2), 1),
        adaptive_avg_pool3d: Explainable(partial(adaptive_request, "avg", 3), 1),
        adaptive_max_pool1d: Explainable(partial(adaptive_request, "max", 1), 1),
        adaptive_max_pool2d: Explainable(partial(adaptive_request, "max", 2), 1),
        adaptive_max_pool3d: Explainable(partial(adaptive_request, "max", 3), 1),
        max_unpool1d: Explainable(partial(_unpool_request, 1), 2),
        max_unpool2d: Explainable(partial(_unpool_request, 2), 2),
        max_unpool3d: Explainable(partial(_unpool_request, 3), 2),
        zero_unpool1d: Explainable(partial(_zero_request, 1), 1),
        zero_unpool2d: Explainable(partial(_zero_request, 2), 1),
        zero_unpool3d: Explainable(partial(_zero_request, 3), 1),
    }
)
