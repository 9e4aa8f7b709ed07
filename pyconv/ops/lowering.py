"""unfold and fold: the windows of images as columns of a matrix, and images from such columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import FLOATS, ConvProblem, LoweringProblem, check_reach
from .arguments import as_first_anywhere, numbers, padding_of
from .call import REQUESTS, Explainable, Key, Operation, Request, check_one_dtype, exact, is_channels_last, key_of, run
from .device import check_one_place

__all__ = ["fold", "fold_gradient", "unfold", "unfold_gradient"]


def _windows(
    n: int, c: int, spatial: tuple[int, ...], window: tuple[Any, ...], dtype: str, channels_last: bool, fold: bool
) -> LoweringProblem:
    """Return the problem of images of this size and windows as the caller gave them."""
    kernel = numbers("kernel_size", window[0], 2)
    dilation, stride = numbers("dilation", window[1], 2), numbers("stride", window[3], 2)
    for name, values in (("kernel_size", kernel), ("dilation", dilation), ("stride", stride)):
        if min(values) < 1:
            raise InvalidProblem(f"{name} must be >= 1, got {values}")
    padding = padding_of(window[2], 2, kernel, stride, dilation)
    check_reach("output_size" if fold else "x", spatial, kernel, padding, dilation)
    conv = ConvProblem(
        n=n,
        c_in=c,
        c_out=1,
        spatial=spatial,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        dtype=dtype,
        channels_last=channels_last,
    )
    return LoweringProblem(conv, fold)


def _unfold_problem(arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> LoweringProblem:
    """Check everything and describe it; raises the bare fact."""
    x = arrays["x"]
    assert x is not None
    shape = x[0]
    if len(shape) != 4:
        raise InvalidProblem(f"x must have axes (n, c, h, w) or (c, h, w), got shape {shape}")
    dtype = check_one_dtype(arrays, ("x",), FLOATS)
    return _windows(shape[0], shape[1], tuple(shape[2:]), settings, dtype, is_channels_last(x), False)


def _fold_problem(arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> LoweringProblem:
    """Check everything and describe it; raises the bare fact."""
    x = arrays["x"]
    assert x is not None
    shape = x[0]
    if len(shape) != 3:
        raise InvalidProblem(f"x must have axes (n, c * kh * kw, columns) or (c * kh * kw, columns), got shape {shape}")
    dtype = check_one_dtype(arrays, ("x",), FLOATS)
    output_size, *window, channels_last = settings
    spatial, kernel = numbers("output_size", output_size, 2), numbers("kernel_size", window[0], 2)
    if min(spatial) < 0:
        raise InvalidProblem(f"output_size must be >= 0, got {spatial}")
    taps = math.prod(kernel)
    if min(kernel) >= 1 and shape[1] % taps:
        raise InvalidProblem(
            f"x must have a row for each channel and tap, a multiple of {kernel[0]} * {kernel[1]} = {taps}, got "
            f"{shape[1]} rows"
        )
    c = shape[1] // taps if min(kernel) >= 1 else 0
    problem = _windows(shape[0], c, spatial, tuple(window), dtype, channels_last, True)
    if shape[2] != problem.columns_shape[2]:
        h_out, w_out = problem.conv.out_spatial
        raise InvalidProblem(
            f"x must have a column for each of the {h_out} * {w_out} = {h_out * w_out} windows of output_size "
            f"{spatial}, got {shape[2]} columns"
        )
    return problem


def _operation(fold: bool, name: str) -> Operation:
    return Operation(
        name=name,
        rank=1 if fold else 2,  # axes behind the rows, or the channels
        inputs=("x",),
        weights=(),
        outputs=("out",),
        describe=_fold_problem if fold else _unfold_problem,
    )


_UNFOLD, _FOLD = _operation(False, "unfold"), _operation(True, "fold")
#: The gradient of one is the other.
_UNFOLD_GRADIENT, _FOLD_GRADIENT = _operation(True, "grad.unfold"), _operation(False, "grad.fold")


def _window_key(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[Any, ...]:
    return exact(kernel_size), exact(dilation), exact(padding), exact(stride)


def _unfold_request(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Request:
    """Return the call with its arguments checked for what they are, not yet for what they mean."""
    return Request(_UNFOLD, (as_first_anywhere("x", x),), None, _window_key(kernel_size, dilation, padding, stride))


def _fold_request(
    x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Request:
    """Return the call with its arguments checked for what they are, not yet for what they mean."""
    window = _window_key(kernel_size, dilation, padding, stride)
    return Request(_FOLD, (as_first_anywhere("x", x),), None, (exact(output_size), *window, False))


def _check_gradient(forward: Request, grad_output: Array) -> None:
    """Refuse a gradient that is none of the forward call's output."""
    operation, (x,) = forward.operation, forward.inputs
    assert x is not None
    name = f"grad.{operation.name}"
    check_one_place({"grad_output": grad_output, "x": x})
    keys: dict[str, Key | None] = {"grad_output": key_of(grad_output), "x": key_of(x)}
    lifted = x.ndim == operation.rank + 1
    try:
        check_one_dtype(keys, ("grad_output", "x"), FLOATS)
        shape = operation.describe({"x": key_of(x[None] if lifted else x)}, forward.settings).outputs[0].shape
    except (InvalidProblem, TypeError) as error:
        raise type(error)(f"{name}(grad_output {grad_output.shape}, x {x.shape}): {error}") from None
    shape = shape[1:] if lifted else shape
    if grad_output.shape != shape:
        raise InvalidProblem(f"{name}: grad_output must have the output's shape {shape}, got {grad_output.shape}")


def unfold_gradient(
    grad_output: Any, x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> tuple[Request]:
    """Return the request of unfold's gradient: to fold; shape, dtype and memory order of x are all that matters."""
    grad_output, forward = (
        as_first_anywhere("grad_output", grad_output),
        _unfold_request(x, kernel_size, dilation, padding, stride),
    )
    _check_gradient(forward, grad_output)
    x = as_first_anywhere("x", x)
    last = is_channels_last(key_of(x if x.ndim == 4 else x[None]))  # type: ignore[arg-type]
    settings = (tuple(x.shape[-2:]), *forward.settings, last)
    return (Request(_UNFOLD_GRADIENT, (grad_output,), None, settings),)


def fold_gradient(
    grad_output: Any,
    x: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> tuple[Request]:
    """Return the request of fold's gradient: to unfold; only the shape and the dtype of x matter."""
    forward = _fold_request(x, output_size, kernel_size, dilation, padding, stride)
    grad_output = as_first_anywhere("grad_output", grad_output)
    _check_gradient(forward, grad_output)
    return (Request(_FOLD_GRADIENT, (grad_output,), None, forward.settings[1:-1]),)


def unfold(
    x: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    r"""Spread the windows of images out into the columns of a matrix (im2col).

    ``out[n, (c kh + i) kw + j, p w_out + q] = x[n, c, p stride - before + i dilation, q stride - before + j dilation]``
    along h and w, zero where that lies outside. A convolution is then a product with the weights as a matrix,
    ``w.reshape(c_out, -1) @ unfold(x)``. Of images only, as torch has it; for signals, insert an axis of one element.

    Parameters
    ----------
    x : (n, c, h, w) or (c, h, w) float16, float32 or float64
        Any strides; channels-last memory is read where it lies.
    kernel_size, dilation, stride : int or tuple of int
        Of the windows, along h and w; the same as for a convolution.
    padding : int, tuple of int, "same", "valid", or pairs (before, after)
        Zeros on each side of each axis.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("im2col", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c \* kh \* kw, h_out \* w_out), the dtype of x
        C-contiguous whatever the memory order of x.

    Raises
    ------
    InvalidProblem
        Sizes without meaning, a window larger than the padded image.
    TypeError
        Not an array, or a dtype that is not taken.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> pyconv.unfold(x, 2)
    array([[[0., 1., 3., 4.],
            [1., 2., 4., 5.],
            [3., 4., 6., 7.],
            [4., 5., 7., 8.]]], dtype=float32)
    >>> w = np.ones((5, 1, 2, 2), np.float32)
    >>> y = w.reshape(5, -1) @ pyconv.unfold(x, 2)
    >>> bool((y.reshape(1, 5, 2, 2) == pyconv.conv2d(x, w)).all())
    True
    """
    return run(_unfold_request(x, kernel_size, dilation, padding, stride), (out,), algorithm)[0]  # type: ignore[no-any-return]


def fold(
    x: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    r"""Sum the columns of a matrix into the images whose windows they are (col2im), the adjoint of :func:`unfold`.

    Each pixel is the sum of the elements that :func:`unfold` would have copied it to, always in the same order; what
    stands for padding is left out. float16 is summed in float32.

    Parameters
    ----------
    x : (n, c \* kh \* kw, h_out \* w_out) or without n, float16, float32 or float64
        Any strides.
    output_size : int or tuple of int
        (h, w) of the images.
    kernel_size, dilation, padding, stride : as for :func:`unfold`
        Of windows over images of that size.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("col2im", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c, h, w), the dtype of x

    Raises
    ------
    InvalidProblem
        Rows that are no multiple of the window, another number of columns than there are windows, sizes without
        meaning.
    TypeError
        Not an array, or a dtype that is not taken.
    Unsupported
        The algorithm asked for cannot do it; the message says why.
    MemoryError
        With the number of bytes asked for.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> columns = pyconv.unfold(x, 2)
    >>> pyconv.fold(columns, 3, 2)
    array([[[[ 0.,  2.,  2.],
             [ 6., 16., 10.],
             [ 6., 14.,  8.]]]], dtype=float32)
    >>> pyconv.fold(columns, 3, 2) / pyconv.fold(np.ones_like(columns), 3, 2) == x
    array([[[[ True,  True,  True],
             [ True,  True,  True],
             [ True,  True,  True]]]])
    """
    request = _fold_request(x, output_size, kernel_size, dilation, padding, stride)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


REQUESTS[unfold] = Explainable(_unfold_request, 1)
REQUESTS[fold] = Explainable(_fold_request, 1)
