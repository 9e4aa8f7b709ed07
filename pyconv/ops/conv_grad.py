"""The gradients of convolutions, and of transposed ones, as requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import FLOATS, ConvBiasProblem, ConvProblem, ConvWeightProblem, Pads
from .activation import activation_gradient
from .arguments import activation_of, as_array_anywhere, as_first_anywhere, numbers, padding_of
from .call import Key, Operation, Request, check_one_dtype, check_word, exact, is_channels_last, spatial_axes
from .conv import conv_request
from .conv_transpose import gradient_of_x, transposed_problem
from .device import check_one_place

__all__ = ["before_activation", "bias_request", "conv_gradients", "conv_transpose_gradients", "weight_request"]


def _check_axes(rank: int, name: str, shape: tuple[int, ...], channels: str) -> None:
    if len(shape) != rank + 2:
        axes = spatial_axes(rank)
        raise InvalidProblem(
            f"{name} must have axes (n, {channels}, {axes}) or ({channels}, {axes}), got shape {shape}"
        )


def _fit_transposed(
    large: tuple[int, ...],
    small: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Pads,
    dilation: tuple[int, ...],
) -> tuple[tuple[int, ...], Pads]:
    """Return the sizes and the padding of the convolution from large to small that a transposed convolution undoes.

    Whatever lies behind the last window, as output_padding, is left out: it met no weight.
    """
    spatial, pads = [], []
    for size, windows, k, s, (before, _), d in zip(large, small, kernel, stride, padding, dilation, strict=True):
        end = (windows - 1) * s - before + d * (k - 1) + 1
        spatial.append(min(size, max(0, end)))
        pads.append((before, max(0, end - size)))
    return tuple(spatial), tuple(pads)


def _weight_problem(
    rank: int, transposed: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]
) -> ConvWeightProblem:
    """Check everything and describe it; raises the bare fact."""
    w_shape, stride_, padding_, dilation_, groups_, padding_mode = settings
    grad_output, x = arrays["grad_output"], arrays["x"]
    assert grad_output is not None
    assert x is not None
    dtype = check_one_dtype(arrays, ("grad_output", "x"), FLOATS)
    _check_axes(rank, "grad_output", grad_output[0], "c_out")
    _check_axes(rank, "x", x[0], "c_in")
    large, small = (grad_output, x) if transposed else (x, grad_output)
    large_name, small_name = ("grad_output", "x") if transposed else ("x", "grad_output")
    first, second = ("c_in", "c_out") if transposed else ("c_out", "c_in")
    if len(w_shape) != rank + 2:
        raise InvalidProblem(f"w must have {rank + 2} axes ({first}, {second} / groups, *kernel), got shape {w_shape}")
    stride, dilation = numbers("stride", stride_, rank), numbers("dilation", dilation_, rank)
    (groups,) = numbers("groups", groups_, 1)
    for name, values, given in (("stride", stride, stride_), ("dilation", dilation, dilation_)):
        if min(values) < 1:
            raise InvalidProblem(f"{name} must be >= 1, got {given}")
    if groups < 1:
        raise InvalidProblem(f"groups must be >= 1, got {groups}")
    if w_shape[1] * groups != large[0][1] or w_shape[0] != small[0][1]:
        raise InvalidProblem(
            f"channels disagree: w {w_shape} with groups={groups} is for {w_shape[1]} * {groups} = "
            f"{w_shape[1] * groups} channels of {large_name} and {w_shape[0]} of {small_name}, which have "
            f"{large[0][1]} and {small[0][1]}"
        )
    kernel = tuple(w_shape[2:])
    padding = padding_of(padding_, rank, kernel, stride, dilation)
    spatial = tuple(large[0][2:])
    if transposed:
        if min(min(pair) for pair in padding) < 0:
            raise InvalidProblem(f"padding must be >= 0, got {padding}")
        spatial, padding = _fit_transposed(spatial, small[0][2:], kernel, stride, padding, dilation)
    conv = ConvProblem(
        n=large[0][0],
        c_in=large[0][1],
        c_out=small[0][1],
        spatial=spatial,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        dtype=dtype,
        channels_last=is_channels_last(large),
    )
    if small[0] != conv.out_shape:
        raise InvalidProblem(
            f"{small_name} must have the shape {conv.out_shape} that {large_name} {large[0]} and w {w_shape} go with, "
            f"got {small[0]}"
        )
    return ConvWeightProblem(conv, transposed)


def _bias_problem(
    rank: int, transposed: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]
) -> ConvBiasProblem:
    """Check everything and describe it; raises the bare fact."""
    grad_output = arrays["grad_output"]
    assert grad_output is not None
    dtype = check_one_dtype(arrays, ("grad_output",), FLOATS)
    shape = grad_output[0]
    _check_axes(rank, "grad_output", shape, "c_out")
    return ConvBiasProblem(
        n=shape[0],
        c=shape[1],
        spatial=tuple(shape[2:]),
        dtype=dtype,
        channels_last=is_channels_last(grad_output),
        transposed=transposed,
    )


def _name(rank: int, transposed: bool) -> str:
    return f"grad.conv{'_transpose' if transposed else ''}{rank}d"


_KINDS = [(rank, transposed) for rank in (1, 2, 3) for transposed in (False, True)]
_WEIGHT = {
    (rank, transposed): Operation(
        name=_name(rank, transposed),
        rank=rank,
        inputs=("grad_output", "x"),
        weights=(),
        outputs=("out",),
        describe=partial(_weight_problem, rank, transposed),
        whole=("out",),
    )
    for rank, transposed in _KINDS
}
_BIAS = {
    (rank, transposed): Operation(
        name=_name(rank, transposed),
        rank=rank,
        inputs=("grad_output",),
        weights=(),
        outputs=("out",),
        describe=partial(_bias_problem, rank, transposed),
        whole=("out",),
    )
    for rank, transposed in _KINDS
}


def weight_request(
    rank: int,
    grad_output: Any,
    x: Any,
    w_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    *,
    padding_mode: Any = "zeros",
    transposed: bool = False,
) -> Request:
    """Return the gradient of the weights, whose shape is all that is asked of them.

    Of a transposed convolution, ``padding`` is what it takes off its result, and whatever output_padding added is seen
    from the shape of grad_output.
    """
    check_word("padding_mode", padding_mode)
    settings = (exact(w_shape), exact(stride), exact(padding), exact(dilation), exact(groups), padding_mode)
    arrays = as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x)
    return Request(_WEIGHT[rank, transposed], arrays, None, settings)


def bias_request(rank: int, grad_output: Any, *, transposed: bool = False) -> Request:
    """Return the gradient of the bias: one sum for each channel of grad_output."""
    return Request(_BIAS[rank, transposed], (as_first_anywhere("grad_output", grad_output),), None, ())


def _in_one_place(grad_output: Any, x: Any, w: Any) -> tuple[Any, Any, Any]:
    """Return the arrays of a gradient, all in the host's memory or in a GPU's."""
    found = as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x), as_array_anywhere("w", w)
    check_one_place(dict(zip(("grad_output", "x", "w"), found, strict=True)))
    return found


def conv_gradients(
    rank: int,
    grad_output: Any,
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
) -> tuple[Request, Request, Request | None]:
    """Return the requests of a convolution's gradients with respect to x, w and bias.

    ``residual`` and ``activation`` have been seen to by :func:`before_activation`.
    """
    grad_output, x, w = _in_one_place(grad_output, x, w)
    window = (stride, padding, dilation, groups)
    return (
        gradient_of_x(rank, grad_output, x.shape, w, *window, padding_mode=padding_mode),
        weight_request(rank, grad_output, x, w.shape, *window, padding_mode=padding_mode),
        None if bias is None else bias_request(rank, grad_output),
    )


def conv_transpose_gradients(
    rank: int,
    grad_output: Any,
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
) -> tuple[Request, Request, Request | None]:
    """Return the requests of a transposed convolution's gradients; that with respect to x is a convolution.

    ``activation`` has been seen to by :func:`before_activation`.
    """
    grad_output, x, w = _in_one_place(grad_output, x, w)
    forward = transposed_problem(rank, x, w, stride, padding, output_padding, groups, dilation)
    if grad_output.shape[-rank - 1 :] != forward.out_shape[1:]:
        raise InvalidProblem(
            f"grad.conv_transpose{rank}d: grad_output must have the output's shape {forward.out_shape[-x.ndim :]}, got "
            f"{grad_output.shape}"
        )
    axes = forward.kernel, forward.stride, forward.padding, forward.dilation
    sizes, padding_of_conv = _fit_transposed(forward.out_spatial, forward.spatial, *axes)
    reached = grad_output[(..., *(slice(0, size) for size in sizes))]
    return (
        conv_request(rank, reached, w, None, stride, padding_of_conv, dilation, groups),
        weight_request(rank, grad_output, x, w.shape, stride, padding, dilation, groups, transposed=True),
        None if bias is None else bias_request(rank, grad_output, transposed=True),
    )


def before_activation(
    forward: Callable[..., Array], grad_output: Any, activation: Any, *arguments: Any, **more: Any
) -> Any:
    """Return the gradient before the activation that ended the forward call, which is computed again without it."""
    if activation is None:
        return grad_output
    name, slope = activation_of(activation)
    assert name is not None
    x = as_array_anywhere("x", forward(*arguments, **more))
    grad_output = as_first_anywhere("grad_output", grad_output)
    if grad_output.shape != x.shape:
        raise InvalidProblem(
            f"grad.{forward.__name__}: grad_output must have the output's shape {x.shape}, got {grad_output.shape}"
        )
    return activation_gradient(grad_output, x, name, slope)
