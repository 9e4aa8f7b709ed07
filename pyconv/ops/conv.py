"""conv1d, conv2d, conv3d, and preparing them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ..algorithm import Array
from ..errors import InvalidProblem
from ..options import current
from ..problem import FLOATS, ConvProblem
from .arguments import activation_of, as_array_anywhere, as_first_anywhere, hashable, numbers, padding_of
from .call import (
    REQUESTS,
    Explainable,
    Key,
    Operation,
    Request,
    Weights,
    check_one_dtype,
    check_word,
    exact,
    is_channels_last,
    is_plain_target,
    key_of,
    plan_for,
    run,
    spatial_axes,
)
from .device import check_one_place
from .prepared import PREPARED, Prepared, kept_weights

__all__ = ["conv1d", "conv2d", "conv3d", "conv_request"]

_ndarray = np.ndarray


def _problem_of(rank: int, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> ConvProblem:
    """Check everything and describe it; raises the bare fact."""
    stride_, padding, dilation_, groups_, padding_mode, activation_ = settings
    x, w, bias, residual = (arrays[name] for name in ("x", "w", "bias", "residual"))
    assert x is not None
    assert w is not None
    x_shape, w_shape = x[0], w[0]
    dtype = check_one_dtype(arrays, ("x",), FLOATS)
    if len(x_shape) != rank + 2:
        axes = spatial_axes(rank)
        raise InvalidProblem(f"x must have axes (n, c_in, {axes}) or (c_in, {axes}), got shape {x_shape}")
    if len(w_shape) != rank + 2:
        raise InvalidProblem(f"w must have {rank + 2} axes (c_out, c_in / groups, *kernel), got shape {w_shape}")
    check_one_dtype(arrays, ("x", "w", "bias", "residual", "out"), FLOATS)
    kernel = tuple(w_shape[2:])
    stride, dilation = numbers("stride", stride_, rank), numbers("dilation", dilation_, rank)
    (groups,) = numbers("groups", groups_, 1)
    activation, slope = activation_of(activation_)
    for name, values, given in (("stride", stride, stride_), ("dilation", dilation, dilation_)):
        if min(values) < 1:
            raise InvalidProblem(f"{name} must be >= 1, got {given}")
    if groups < 1:
        raise InvalidProblem(f"groups must be >= 1, got {groups}")
    if w_shape[1] * groups != x_shape[1]:
        raise InvalidProblem(
            f"channels disagree: x has {x_shape[1]}, w with groups={groups} expects {w_shape[1]} * {groups} = "
            f"{w_shape[1] * groups}"
        )
    problem = ConvProblem(
        n=x_shape[0],
        c_in=x_shape[1],
        c_out=w_shape[0],
        spatial=tuple(x_shape[2:]),
        kernel=kernel,
        stride=stride,
        padding=padding_of(padding, rank, kernel, stride, dilation),
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        dtype=dtype,
        channels_last=is_channels_last(x),
        bias=bias is not None,
        residual=residual is not None,
        activation=activation,
        slope=slope,
    )
    if bias is not None and bias[0] != (problem.c_out,):
        raise InvalidProblem(f"bias must have shape ({problem.c_out},), one value an output channel, got {bias[0]}")
    if residual is not None and residual[0] != problem.out_shape:
        raise InvalidProblem(f"residual must have the output's shape {problem.out_shape}, got {residual[0]}")
    return problem


_CONV = {
    rank: Operation(
        name=f"conv{rank}d",
        rank=rank,
        inputs=("x", "residual"),
        weights=("w", "bias"),
        outputs=("out",),
        describe=partial(_problem_of, rank),
        in_place=("residual",),
    )
    for rank in (1, 2, 3)
}


def conv_request(
    rank: int,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    *,
    padding_mode: Any = "zeros",
    residual: Any = None,
    activation: Any = None,
) -> Request:
    """Return the call with its arguments checked for what they are, not yet for what they mean."""
    x, w = as_first_anywhere("x", x), as_array_anywhere("w", w)
    bias = None if bias is None else as_array_anywhere("bias", bias)
    residual = None if residual is None else as_array_anywhere("residual", residual)
    check_one_place({"x": x, "w": w, "bias": bias, "residual": residual})
    weights = Weights(w, bias)
    check_word("padding_mode", padding_mode)
    return Request(
        _CONV[rank],
        (x, residual),
        weights,
        (exact(stride), exact(padding), exact(dilation), exact(groups), padding_mode, hashable(activation)),
    )


def _convolve(
    rank: int,
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
    residual: Any,
    activation: Any,
    out: Any,
    algorithm: Any,
) -> Array:
    if (
        x.__class__ is not _ndarray
        or w.__class__ is not _ndarray
        or (bias is not None and bias.__class__ is not _ndarray)
    ):
        request = conv_request(
            rank, x, w, bias, stride, padding, dilation, groups,
            padding_mode=padding_mode, residual=residual, activation=activation,
        )  # fmt: skip
        return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]
    if stride.__class__ is not int or dilation.__class__ is not int or groups.__class__ is not int:
        stride, dilation, groups = exact(stride), exact(dilation), exact(groups)
    if padding.__class__ is not int:
        padding = exact(padding)
    if activation is not None and activation.__class__ is not str:
        activation = hashable(activation)
    if padding_mode.__class__ is not str:
        check_word("padding_mode", padding_mode)
    if algorithm.__class__ is not str:
        check_word("algorithm", algorithm)
    options = current()
    operation, settings = _CONV[rank], (stride, padding, dilation, groups, padding_mode, activation)
    if residual is None and x.ndim == rank + 2 and (out is None or is_plain_target(out, x, w, bias)):
        # the usual call, with nothing between it and the cached plan
        plan = plan_for(
            operation,
            ((x.shape, x.strides, x.dtype), None),
            ((w.shape, (), w.dtype), None if bias is None else (bias.shape, (), bias.dtype)),
            (key_of(out),),
            settings,
            algorithm,
            options,
        )
        if plan is not None and not plan.is_empty:
            result = plan.fresh.allocate() if out is None else out
            if plan.run(plan.algorithm.prepare(plan.problem, w, bias), x, None, result):
                return result
    if residual is not None:
        residual = as_array_anywhere("residual", residual)
        check_one_place({"x": x, "residual": residual})
    request = Request(operation, (x, residual), Weights(w, bias), settings)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def conv1d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    residual: Any = None,
    activation: Any = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve along one axis: ``y[n, o, p] = sum over c, a of w[o, c, a] x[n, c, stride p - padding + dilation a]``.

    Parameters
    ----------
    x : (n, c_in, w) or (c_in, w) float16, float32 or float64
    w : (c_out, c_in / groups, kw), the dtype of x

    Other parameters, results and errors are those of :func:`conv2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[1, 2, 3, 4]], dtype=np.float32)
    >>> pyconv.conv1d(x, np.ones((1, 1, 2), dtype=np.float32))
    array([[3., 5., 7.]], dtype=float32)
    >>> pyconv.conv1d(x, np.ones((1, 1, 3), dtype=np.float32), padding="same", padding_mode="circular")
    array([[7., 6., 9., 8.]], dtype=float32)
    """
    return _convolve(
        1, x, w, bias, stride, padding, dilation, groups, padding_mode, residual, activation, out, algorithm
    )


def conv2d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    residual: Any = None,
    activation: Any = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    r"""Convolve images with a bank of kernels (cross-correlation, as in every neural-network library).

    .. math:: y_{n,o,p,q} = f\Big(b_o + r_{n,o,p,q} + \sum_{c,a,b} w_{o,c,a,b}\,
              x_{n,\,c,\,s_h p - p_h + d_h a,\,s_w q - p_w + d_w b}\Big)

    Parameters
    ----------
    x : (n, c_in, h, w) or (c_in, h, w) float16, float32 or float64
        Images, any strides. A view over channels-last memory gives channels-last results.
    w : (c_out, c_in / groups, kh, kw), the dtype of x
        Kernels.
    bias : (c_out,), optional
        Added to each output channel.
    stride, dilation : int or (int, int)
        Pixels between neighbouring outputs, and between neighbouring kernel taps.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Pixels added on each side. "same" keeps the size (stride 1; an even kernel gets its extra pixel at the end).
    groups : int
        Blocks that the channels are cut into; each output block sees its own input block.
    padding_mode : {"zeros", "reflect", "replicate", "circular", "symmetric"}
        What lies outside: ``'zeros': 0000|1234|0000``, ``'reflect': 3432|1234|3212`` (edge not repeated),
        ``'symmetric': 4321|1234|4321`` (edge repeated), ``'replicate': 1111|1234|4444``,
        ``'circular': 1234|1234|1234``.
    residual : (n, c_out, h_out, w_out), optional
        Added before the activation, in the same pass. May be ``out`` itself.
    activation : None, str or (str, float)
        "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu" or "hardswish"; a pair gives the slope below
        zero of leaky_relu (0.01) or the alpha of elu (1).
    out : numpy.ndarray, optional
        Where to put the result; may overlap the inputs.
    algorithm : str
        "auto", a family ("direct", "im2col", "depthwise", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c_out, h_out, w_out), the dtype of x
        ``h_out = (h + top + bottom - dilation (kh - 1) - 1) // stride + 1``, ``w_out`` alike.

    Raises
    ------
    InvalidProblem
        Shapes that disagree, or a problem without meaning.
    TypeError
        Not an array, or a dtype that is not taken, or two dtypes.
    Unsupported
        The algorithm asked for cannot do this problem; the message says why.
    MemoryError
        With the number of bytes asked for.

    Notes
    -----
    float32 and float64 sums are in that type, float16 in float32, or float64 without C kernels. The result has the
    same bits for any number of threads. See :func:`pyconv.explain` for the algorithm taken and its error bound.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> edge = np.array([[[[-1, 1]]]], dtype=np.float32)
    >>> pyconv.conv2d(x, edge)[0, 0, 0]
    array([1., 1., 1.], dtype=float32)
    >>> blur = np.full((1, 1, 3, 3), 1 / 9, dtype=np.float64)
    >>> pyconv.conv2d(x.astype(np.float64), blur, padding=1, padding_mode="reflect").shape
    (1, 1, 4, 4)
    """
    return _convolve(
        2, x, w, bias, stride, padding, dilation, groups, padding_mode, residual, activation, out, algorithm
    )


def conv3d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    residual: Any = None,
    activation: Any = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve volumes; :func:`conv2d` with a depth axis in front of h and w.

    Parameters
    ----------
    x : (n, c_in, d, h, w) or (c_in, d, h, w) float16, float32 or float64
    w : (c_out, c_in / groups, kd, kh, kw), the dtype of x

    Other parameters, results and errors are those of :func:`conv2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.ones((1, 1, 4, 4, 4), dtype=np.float32)
    >>> pyconv.conv3d(x, np.ones((2, 1, 3, 3, 3), dtype=np.float32)).shape
    (1, 2, 2, 2, 2)
    >>> float(pyconv.conv3d(x, np.ones((1, 1, 3, 3, 3), dtype=np.float32), padding=1)[0, 0, 0, 0, 0])
    8.0
    """
    return _convolve(
        3, x, w, bias, stride, padding, dilation, groups, padding_mode, residual, activation, out, algorithm
    )


def _prepared(
    rank: int,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: Any = None,
    algorithm: str = "auto",
) -> Prepared:
    check_word("padding_mode", padding_mode)
    settings = (exact(stride), exact(padding), exact(dilation), exact(groups), padding_mode, hashable(activation))
    return Prepared(_CONV[rank], kept_weights(w, bias), settings, algorithm)


_RANKS = {conv1d: 1, conv2d: 2, conv3d: 3}
REQUESTS.update({function: Explainable(partial(conv_request, rank), 3) for function, rank in _RANKS.items()})
PREPARED.update({function: partial(_prepared, rank) for function, rank in _RANKS.items()})
