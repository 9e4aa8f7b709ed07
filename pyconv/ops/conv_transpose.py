"""conv_transpose1d, 2d and 3d, and gradients with respect to x, which are the same operation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import FLOATS, TransposedProblem, output_size
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
    key_of,
    run,
    spatial_axes,
)
from .device import check_one_place
from .prepared import PREPARED, Prepared, kept_weights

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "gradient_of_x", "transposed_problem"]


def _check_axes(rank: int, name: str, shape: tuple[int, ...], channels: str) -> None:
    if len(shape) != rank + 2:
        axes = spatial_axes(rank)
        raise InvalidProblem(
            f"{name} must have axes (n, {channels}, {axes}) or ({channels}, {axes}), got shape {shape}"
        )


def _transposed(rank: int, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> TransposedProblem:
    """Check everything and describe a transposed convolution; raises the bare fact."""
    stride_, padding, output_padding_, groups_, dilation_, activation_ = settings
    x, w, bias = (arrays[name] for name in ("x", "w", "bias"))
    assert x is not None
    assert w is not None
    dtype = check_one_dtype(arrays, ("x",), FLOATS)
    _check_axes(rank, "x", x[0], "c_in")
    if len(w[0]) != rank + 2:
        raise InvalidProblem(f"w must have {rank + 2} axes (c_in, c_out / groups, *kernel), got shape {w[0]}")
    check_one_dtype(arrays, ("x", "w", "bias", "out"), FLOATS)
    kernel = tuple(w[0][2:])
    stride, dilation = numbers("stride", stride_, rank), numbers("dilation", dilation_, rank)
    (groups,) = numbers("groups", groups_, 1)
    activation, slope = activation_of(activation_)
    if isinstance(padding, str):
        raise InvalidProblem(f"padding of a transposed convolution must be numbers, got {padding!r}")
    if w[0][0] != x[0][1]:
        raise InvalidProblem(f"channels disagree: x has {x[0][1]}, w (c_in, c_out / groups, *kernel) has {w[0][0]}")
    problem = TransposedProblem(
        n=x[0][0],
        c_in=x[0][1],
        c_out=w[0][1] * max(1, groups),
        spatial=tuple(x[0][2:]),
        kernel=kernel,
        stride=stride,
        padding=padding_of(padding, rank, kernel, stride, dilation),
        output_padding=numbers("output_padding", output_padding_, rank),
        dilation=dilation,
        groups=groups,
        dtype=dtype,
        channels_last=is_channels_last(x),
        bias=bias is not None,
        activation=activation,
        slope=slope,
    )
    if bias is not None and bias[0] != (problem.c_out,):
        raise InvalidProblem(f"bias must have shape ({problem.c_out},), one value an output channel, got {bias[0]}")
    return problem


def _gradient(rank: int, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> TransposedProblem:
    """Check everything and describe the gradient of a convolution with respect to x; raises the bare fact."""
    x_shape, stride_, padding, dilation_, groups_, padding_mode = settings
    grad, w = arrays["grad_output"], arrays["w"]
    assert grad is not None
    assert w is not None
    dtype = check_one_dtype(arrays, ("grad_output", "w", "out"), FLOATS)
    _check_axes(rank, "grad_output", grad[0], "c_out")
    if len(w[0]) != rank + 2:
        raise InvalidProblem(f"w must have {rank + 2} axes (c_out, c_in / groups, *kernel), got shape {w[0]}")
    if len(x_shape) not in (rank + 1, rank + 2):
        _check_axes(rank, "x", x_shape, "c_in")
    spatial, kernel = tuple(x_shape[-rank:]), tuple(w[0][2:])
    stride, dilation = numbers("stride", stride_, rank), numbers("dilation", dilation_, rank)
    (groups,) = numbers("groups", groups_, 1)
    if min(*stride, *dilation, groups, *kernel) < 1:
        raise InvalidProblem(
            f"kernel, stride, dilation and groups must be >= 1, got {kernel}, {stride}, {dilation}, {groups}"
        )
    pads = padding_of(padding, rank, kernel, stride, dilation)
    out = tuple(map(output_size, spatial, kernel, stride, pads, dilation))
    batch = x_shape[0] if len(x_shape) == rank + 2 else grad[0][0]
    if grad[0] != (batch, w[0][0], *out):
        raise InvalidProblem(f"grad_output must have the output's shape {(batch, w[0][0], *out)}, got {grad[0]}")
    if x_shape[-rank - 1] != w[0][1] * groups:
        raise InvalidProblem(
            f"channels disagree: x has {x_shape[-rank - 1]}, w with groups={groups} expects {w[0][1]} * {groups} = "
            f"{w[0][1] * groups}"
        )
    sizes = zip(spatial, out, kernel, stride, pads, dilation, strict=True)
    extra = tuple(size - ((o - 1) * s - sum(p) + d * (k - 1) + 1) for size, o, k, s, p, d in sizes)
    return TransposedProblem(
        n=grad[0][0],
        c_in=grad[0][1],
        c_out=w[0][1] * groups,
        spatial=out,
        kernel=kernel,
        stride=stride,
        padding=pads,
        output_padding=extra,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        dtype=dtype,
        channels_last=is_channels_last(grad),
        gradient=True,
    )


_TRANSPOSED = {
    rank: Operation(
        name=f"conv_transpose{rank}d",
        rank=rank,
        inputs=("x",),
        weights=("w", "bias"),
        outputs=("out",),
        describe=partial(_transposed, rank),
    )
    for rank in (1, 2, 3)
}
_GRADIENT = {
    rank: Operation(
        name=f"grad.conv{rank}d",
        rank=rank,
        inputs=("grad_output",),
        weights=("w",),
        outputs=("out",),
        describe=partial(_gradient, rank),
    )
    for rank in (1, 2, 3)
}


def gradient_of_x(
    rank: int,
    grad_output: Any,
    x_shape: tuple[int, ...],
    w: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    padding_mode: Any = "zeros",
) -> Request:
    """Return the call that is a convolution's gradient with respect to x, which only has to have a shape."""
    check_word("padding_mode", padding_mode)
    grad_output, w = as_first_anywhere("grad_output", grad_output), as_array_anywhere("w", w)
    settings = (tuple(x_shape), exact(stride), exact(padding), exact(dilation), exact(groups), padding_mode)
    return Request(_GRADIENT[rank], (grad_output,), Weights(w), settings)


def transposed_problem(
    rank: int,
    x: Array,
    w: Array,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
) -> TransposedProblem:
    """Check the arguments of a transposed convolution and describe it."""
    x = x if x.ndim != rank + 1 else x[None]
    arrays = {"x": key_of(x), "w": key_of(w), "bias": None}
    try:
        return _transposed(rank, arrays, _settings(stride, padding, output_padding, groups, dilation, None))
    except (InvalidProblem, TypeError) as error:
        raise type(error)(f"conv_transpose{rank}d(x {x.shape}, w {w.shape}): {error}") from None


def _settings(
    stride: Any, padding: Any, output_padding: Any, groups: Any, dilation: Any, activation: Any
) -> tuple[Any, ...]:
    return exact(stride), exact(padding), exact(output_padding), exact(groups), exact(dilation), hashable(activation)


def _request(
    rank: int,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
    *,
    activation: Any = None,
) -> Request:
    x, w = as_first_anywhere("x", x), as_array_anywhere("w", w)
    bias = None if bias is None else as_array_anywhere("bias", bias)
    check_one_place({"x": x, "w": w, "bias": bias})
    settings = _settings(stride, padding, output_padding, groups, dilation, activation)
    return Request(_TRANSPOSED[rank], (x,), Weights(w, bias), settings)


def conv_transpose1d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: Any = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Spread signals over windows: :func:`conv_transpose2d` with one axis.

    Parameters
    ----------
    x : (n, c_in, w) or (c_in, w) float16, float32 or float64
    w : (c_in, c_out / groups, kw), the dtype of x

    Other parameters, results and errors are those of :func:`conv_transpose2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[1, 2, 3]], dtype=np.float32)
    >>> pyconv.conv_transpose1d(x, np.array([[[1, 10]]], dtype=np.float32), stride=2)
    array([[ 1., 10.,  2., 20.,  3., 30.]], dtype=float32)
    >>> pyconv.conv_transpose1d(x, np.array([[[1, 10]]], dtype=np.float32))
    array([[ 1., 12., 23., 30.]], dtype=float32)
    """
    request = _request(1, x, w, bias, stride, padding, output_padding, groups, dilation, activation=activation)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def conv_transpose2d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: Any = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    r"""Spread images over windows, the adjoint of :func:`conv2d`: learnable up-sampling ("deconvolution").

    .. math:: y_{n,o,p,q} = f\Big(b_o + \sum_{c,a,b,i,j} w_{c,o,a,b}\, x_{n,c,i,j}\Big)
              \text{ over } s_h i + d_h a - p_h = p,\ s_w j + d_w b - p_w = q

    Parameters
    ----------
    x : (n, c_in, h, w) or (c_in, h, w) float16, float32 or float64
        Images, any strides. A view over channels-last memory gives channels-last results.
    w : (c_in, c_out / groups, kh, kw), the dtype of x
        Kernels, in the order that the convolution of the other direction has them.
    bias : (c_out,), optional
        Added to each output channel.
    stride, dilation : int or (int, int)
        Pixels of the output between neighbours of x, and between neighbouring kernel taps.
    padding : int, (int, int) or ((top, bottom), (left, right))
        Pixels left out on each side of the full result: the padding of the convolution that this is the adjoint of.
    output_padding : int or (int, int)
        Pixels added at the bottom and the right, smaller than stride or dilation: of the sizes that a convolution with
        this stride takes to the size of x, the one that is meant.
    groups : int
        Blocks that the channels are cut into; each output block sees its own input block.
    activation : None, str or (str, float)
        As in :func:`conv2d`.
    out : numpy.ndarray, optional
        Where to put the result; may overlap the inputs.
    algorithm : str
        "auto", a family ("direct", "implicit-gemm", "winograd", "fft", "reference") or an id of
        :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c_out, h_out, w_out), the dtype of x
        ``h_out = (h - 1) stride - top - bottom + dilation (kh - 1) + 1 + output_padding``, ``w_out`` alike.

    Raises
    ------
    InvalidProblem
        Shapes that disagree, or a problem without meaning, as an empty output.
    TypeError
        Not an array, or a dtype that is not taken, or two dtypes.
    Unsupported
        The algorithm asked for cannot do this problem; the message says why.

    Notes
    -----
    Computed as convolutions of stride 1, one for all outputs whose windows hold the same number of taps (sub-pixel
    convolution: Shi et al. 2016); no zero is inserted and no product is summed that does not count. Where the kernel is
    smaller than the stride, outputs that no tap reaches hold the bias.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.ones((1, 2, 4, 4), dtype=np.float32)
    >>> w = np.ones((2, 3, 4, 4), dtype=np.float32)
    >>> pyconv.conv_transpose2d(x, w, stride=2, padding=1).shape
    (1, 3, 8, 8)
    >>> pyconv.conv_transpose2d(x, w, stride=2, padding=1)[0, 0, 0, :4]
    array([2., 4., 4., 4.], dtype=float32)
    """
    request = _request(2, x, w, bias, stride, padding, output_padding, groups, dilation, activation=activation)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def conv_transpose3d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: Any = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Spread volumes over windows: :func:`conv_transpose2d` with a depth axis in front of h and w.

    Parameters
    ----------
    x : (n, c_in, d, h, w) or (c_in, d, h, w) float16, float32 or float64
    w : (c_in, c_out / groups, kd, kh, kw), the dtype of x

    Other parameters, results and errors are those of :func:`conv_transpose2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.ones((1, 1, 2, 2, 2), dtype=np.float32)
    >>> pyconv.conv_transpose3d(x, np.ones((1, 4, 2, 2, 2), dtype=np.float32), stride=2).shape
    (1, 4, 4, 4, 4)
    >>> float(pyconv.conv_transpose3d(x, np.ones((1, 1, 3, 3, 3), dtype=np.float32), padding=1).sum())
    64.0
    """
    request = _request(3, x, w, bias, stride, padding, output_padding, groups, dilation, activation=activation)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def _prepared(
    rank: int,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: Any = None,
    algorithm: str = "auto",
) -> Prepared:
    settings = _settings(stride, padding, output_padding, groups, dilation, activation)
    return Prepared(_TRANSPOSED[rank], kept_weights(w, bias), settings, algorithm)


_RANKS = {conv_transpose1d: 1, conv_transpose2d: 2, conv_transpose3d: 3}
REQUESTS.update({function: Explainable(partial(_request, rank), 3) for function, rank in _RANKS.items()})
PREPARED.update({function: partial(_prepared, rank) for function, rank in _RANKS.items()})
