"""Gradients, by the names of the forward functions: ``pyconv.grad.f(grad_output, ..., output_mask=None)``.

The arguments are the forward call's with ``grad_output`` in front. The result is a tuple with one gradient for each
floating array argument in the order of the forward signature, None where ``output_mask`` is False.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .algorithm import Array
from .ops import activation, conv, conv_grad, conv_transpose, norm, pool, roi
from .ops import interpolate as resize
from .ops.arguments import as_array
from .ops.call import REQUESTS, Explainable, gradients
from .ops.linear import linear_gradient

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
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "elu",
    "fpn_roi_align",
    "hardswish",
    "interpolate",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "ps_roi_align",
    "ps_roi_pool",
    "relu",
    "relu6",
    "roi_align",
    "roi_align3d",
    "roi_pool",
    "sigmoid",
    "silu",
    "tanh",
    "zero_unpool1d",
    "zero_unpool2d",
    "zero_unpool3d",
]

Gradients = tuple[Array | None, Array | None, Array | None]


def conv1d(
    grad_output: Any,
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
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> Gradients:
    """Return the gradients of :func:`pyconv.conv1d`; the parameters are those of :func:`conv2d`."""
    window = (stride, padding, dilation, groups)
    more = {"padding_mode": padding_mode, "residual": residual}
    grad_output = conv_grad.before_activation(conv.conv1d, grad_output, activation, x, w, bias, *window, **more)
    requests = conv_grad.conv_gradients(1, grad_output, x, w, bias, *window, padding_mode=padding_mode)
    return gradients("grad.conv1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def conv2d(
    grad_output: Any,
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
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> Gradients:
    r"""Return the gradients of :func:`pyconv.conv2d` with respect to x, w and bias.

    .. math:: \bar x = \text{conv_transpose}(\bar y, w),\quad
              \bar w_{o,c,a,b} = \sum_{n,p,q} \bar y_{n,o,p,q}\, x_{n,\,c,\,s_h p - p_h + d_h a,\,s_w q - p_w + d_w b},
              \quad \bar b_o = \sum_{n,p,q} \bar y_{n,o,p,q}

    Parameters
    ----------
    grad_output : (n, c_out, h_out, w_out) or (c_out, h_out, w_out), the dtype of x
    x, w, bias, stride, padding, dilation, groups, padding_mode : as in the forward call
    residual, activation : as in the forward call
        With an activation the forward pass is computed again, and grad_output is multiplied with its derivative. The
        gradient of the residual is that product itself.
    output_mask : (bool, bool, bool), optional
        Which of the gradients are wanted.
    out : (numpy.ndarray or None, ...), optional
        Where to put them; may overlap the inputs.
    algorithm : str or (str, str, str)
        "auto", a family or an id of :func:`pyconv.algorithms`, for all or for each.

    Returns
    -------
    gradients of x, w and bias
        None where not wanted, and for a bias that was not given.

    Notes
    -----
    Each gradient is an operation of its own (``conv2d-grad-x``, ``conv2d-grad-w``, ``conv2d-grad-bias``) with its own
    algorithms; all have the same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, w = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    >>> gx, gw, gb = pyconv.grad.conv2d(np.ones((1, 1, 2, 2)), x, w, np.zeros(1))
    >>> gx[0, 0].astype(int).tolist(), gw[0, 0].astype(int).tolist(), gb.tolist()
    ([[1, 2, 1], [2, 4, 2], [1, 2, 1]], [[8, 12], [20, 24]], [4.0])
    >>> pyconv.grad.conv2d(np.ones((1, 1, 2, 2)), x, w, output_mask=(False, True, False))[0] is None
    True
    """
    window = (stride, padding, dilation, groups)
    more = {"padding_mode": padding_mode, "residual": residual}
    grad_output = conv_grad.before_activation(conv.conv2d, grad_output, activation, x, w, bias, *window, **more)
    requests = conv_grad.conv_gradients(2, grad_output, x, w, bias, *window, padding_mode=padding_mode)
    return gradients("grad.conv2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def conv3d(
    grad_output: Any,
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
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> Gradients:
    """Return the gradients of :func:`pyconv.conv3d`; the parameters are those of :func:`conv2d`."""
    window = (stride, padding, dilation, groups)
    more = {"padding_mode": padding_mode, "residual": residual}
    grad_output = conv_grad.before_activation(conv.conv3d, grad_output, activation, x, w, bias, *window, **more)
    requests = conv_grad.conv_gradients(3, grad_output, x, w, bias, *window, padding_mode=padding_mode)
    return gradients("grad.conv3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def conv_transpose1d(
    grad_output: Any,
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
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> Gradients:
    """Return the gradients of :func:`pyconv.conv_transpose1d`; parameters as in :func:`conv_transpose2d`."""
    window = (stride, padding, output_padding, groups, dilation)
    forward = conv_transpose.conv_transpose1d
    grad_output = conv_grad.before_activation(forward, grad_output, activation, x, w, bias, *window)
    requests = conv_grad.conv_transpose_gradients(1, grad_output, x, w, bias, *window)
    return gradients("grad.conv_transpose1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def conv_transpose2d(
    grad_output: Any,
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
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> Gradients:
    """Return the gradients of :func:`pyconv.conv_transpose2d` with respect to x, w and bias.

    The gradient of x is the convolution that it is the transpose of, ``conv2d(grad_output, w)``, and is planned as one;
    that of w is a convolution's with x and grad_output exchanged.

    Parameters
    ----------
    grad_output : (n, c_out, h_out, w_out) or (c_out, h_out, w_out), the dtype of x
    x, w, bias, stride, padding, output_padding, groups, dilation, activation : as in the forward call
    output_mask, out, algorithm : as in :func:`conv2d`

    Returns
    -------
    gradients of x, w and bias
        None where not wanted, and for a bias that was not given.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, w = np.ones((1, 1, 2, 2)), np.arange(4.0).reshape(1, 1, 2, 2)
    >>> gx, gw, gb = pyconv.grad.conv_transpose2d(np.ones((1, 1, 4, 4)), x, w, np.zeros(1), stride=2)
    >>> gx[0, 0].astype(int).tolist(), gw[0, 0].astype(int).tolist(), gb.tolist()
    ([[6, 6], [6, 6]], [[4, 4], [4, 4]], [16.0])
    """
    window = (stride, padding, output_padding, groups, dilation)
    forward = conv_transpose.conv_transpose2d
    grad_output = conv_grad.before_activation(forward, grad_output, activation, x, w, bias, *window)
    requests = conv_grad.conv_transpose_gradients(2, grad_output, x, w, bias, *window)
    return gradients("grad.conv_transpose2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def conv_transpose3d(
    grad_output: Any,
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
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> Gradients:
    """Return the gradients of :func:`pyconv.conv_transpose3d`; parameters as in :func:`conv_transpose2d`."""
    window = (stride, padding, output_padding, groups, dilation)
    forward = conv_transpose.conv_transpose3d
    grad_output = conv_grad.before_activation(forward, grad_output, activation, x, w, bias, *window)
    requests = conv_grad.conv_transpose_gradients(3, grad_output, x, w, bias, *window)
    return gradients("grad.conv_transpose3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_pool1d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_pool1d`; the parameters are those of :func:`max_pool2d`."""
    requests = pool.max_gradient(
        1, grad_output, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, indices=indices
    )
    return gradients("grad.max_pool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_pool2d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_pool2d`: each element of grad_output added at its window's maximum.

    Parameters
    ----------
    grad_output : (n, c, h_out, w_out) or (c, h_out, w_out), the dtype of x
    x, kernel_size, stride, padding, dilation, ceil_mode, return_indices : as in the forward call
    indices : int64, the shape of grad_output, optional
        What the forward call returned; without them the maxima of x are looked for again: of equal ones the first. A
        window that holds no element of x gives its part to the element that its index names all the same.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.grad.max_pool2d(np.ones((1, 1, 1, 2), np.float32), x, 2)[0]
    array([[[[0., 1., 0., 0.],
             [0., 0., 1., 0.]]]], dtype=float32)
    """
    requests = pool.max_gradient(
        2, grad_output, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, indices=indices
    )
    return gradients("grad.max_pool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_pool3d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_pool3d`; the parameters are those of :func:`max_pool2d`."""
    requests = pool.max_gradient(
        3, grad_output, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, indices=indices
    )
    return gradients("grad.max_pool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def avg_pool1d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.avg_pool1d`; the parameters are those of :func:`avg_pool2d`."""
    requests = pool.avg_gradient(
        1, grad_output, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return gradients("grad.avg_pool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def avg_pool2d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.avg_pool2d`: each element of grad_output in equal parts to its window.

    Parameters
    ----------
    grad_output : (n, c, h_out, w_out) or (c, h_out, w_out), the dtype of x
    x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override : as in the forward call
        Only the shape and the dtype of x matter.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.avg_pool2d(np.ones((1, 1, 1, 2), np.float32), np.zeros((1, 1, 2, 4), np.float32), 2)[0]
    array([[[[0.25, 0.25, 0.25, 0.25],
             [0.25, 0.25, 0.25, 0.25]]]], dtype=float32)
    """
    requests = pool.avg_gradient(
        2, grad_output, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return gradients("grad.avg_pool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def avg_pool3d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.avg_pool3d`; the parameters are those of :func:`avg_pool2d`."""
    requests = pool.avg_gradient(
        3, grad_output, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return gradients("grad.avg_pool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_avg_pool1d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_avg_pool1d`, as :func:`adaptive_avg_pool2d` does."""
    requests = pool.adaptive_gradient("avg", 1, grad_output, x, output_size)
    return gradients("grad.adaptive_avg_pool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_avg_pool2d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_avg_pool2d`.

    Parameters
    ----------
    grad_output : (n, c, *output_size) or (c, *output_size), the dtype of x
    x, output_size : as in the forward call
        Only the shape and the dtype of x matter.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.grad.adaptive_avg_pool2d(np.ones((1, 1, 1, 1), np.float32), x, 1)[0]
    array([[[[0.125, 0.125, 0.125, 0.125],
             [0.125, 0.125, 0.125, 0.125]]]], dtype=float32)
    """
    requests = pool.adaptive_gradient("avg", 2, grad_output, x, output_size)
    return gradients("grad.adaptive_avg_pool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_avg_pool3d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_avg_pool3d`, as :func:`adaptive_avg_pool2d` does."""
    requests = pool.adaptive_gradient("avg", 3, grad_output, x, output_size)
    return gradients("grad.adaptive_avg_pool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_max_pool1d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_max_pool1d`, as :func:`adaptive_max_pool2d` does."""
    requests = pool.adaptive_gradient("max", 1, grad_output, x, output_size, return_indices, indices=indices)
    return gradients("grad.adaptive_max_pool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_max_pool2d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_max_pool2d`.

    Parameters
    ----------
    grad_output : (n, c, *output_size) or (c, *output_size), the dtype of x
    x, output_size, return_indices : as in the forward call
    indices : int64, the shape of grad_output, optional
        What the forward call returned; without them the maxima of x are looked for again.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.grad.adaptive_max_pool2d(np.ones((1, 1, 1, 1), np.float32), x, 1)[0]
    array([[[[0., 0., 0., 0.],
             [0., 0., 1., 0.]]]], dtype=float32)
    """
    requests = pool.adaptive_gradient("max", 2, grad_output, x, output_size, return_indices, indices=indices)
    return gradients("grad.adaptive_max_pool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_max_pool3d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_max_pool3d`, as :func:`adaptive_max_pool2d` does."""
    requests = pool.adaptive_gradient("max", 3, grad_output, x, output_size, return_indices, indices=indices)
    return gradients("grad.adaptive_max_pool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_unpool1d(
    grad_output: Any,
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_unpool1d`; the parameters are those of :func:`max_unpool2d`."""
    requests = pool.unpool_gradient(1, grad_output, x, indices, kernel_size, stride, padding, output_size)
    return gradients("grad.max_unpool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_unpool2d(
    grad_output: Any,
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_unpool2d`: what grad_output has at each index.

    Parameters
    ----------
    grad_output : (n, c, h_out, w_out) or (c, h_out, w_out), the dtype of x
    x, indices, kernel_size, stride, padding, output_size : as in the forward call
        Only the shape of x matters.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, indices = np.ones((1, 1, 1), np.float32), np.array([[[2]]])
    >>> pyconv.grad.max_unpool2d(np.arange(4, dtype=np.float32).reshape(1, 2, 2), x, indices, 2)[0]
    array([[[2.]]], dtype=float32)
    """
    requests = pool.unpool_gradient(2, grad_output, x, indices, kernel_size, stride, padding, output_size)
    return gradients("grad.max_unpool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_unpool3d(
    grad_output: Any,
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_unpool3d`; the parameters are those of :func:`max_unpool2d`."""
    requests = pool.unpool_gradient(3, grad_output, x, indices, kernel_size, stride, padding, output_size)
    return gradients("grad.max_unpool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def relu(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.relu`: grad_output where x > 0, else 0 (where x is NaN, grad_output).

    Parameters
    ----------
    grad_output : (...), the shape and dtype of x
    x : (...) float16, float32 or float64
        As in the forward call.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may be ``grad_output`` or ``x`` itself.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.relu(np.array([5.0, 6.0, 7.0]), np.array([-1.0, 0.0, 1.0]))[0]
    array([0., 0., 7.])
    """
    requests = activation.gradient("relu", grad_output, x)
    return gradients("grad.relu", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def relu6(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.relu6`: grad_output where 0 < x < 6, else 0 (where x is NaN, grad_output).

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("relu6", grad_output, x)
    return gradients("grad.relu6", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def leaky_relu(
    grad_output: Any,
    x: Any,
    negative_slope: float = 0.01,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.leaky_relu`: grad_output where x > 0, else negative_slope grad_output.

    The parameters are those of :func:`relu` and of the forward call.
    """
    requests = activation.gradient("leaky_relu", grad_output, x, negative_slope)
    return gradients("grad.leaky_relu", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def elu(
    grad_output: Any,
    x: Any,
    alpha: float = 1.0,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.elu`: grad_output where x > 0, else alpha exp(x) grad_output.

    The parameters are those of :func:`relu` and of the forward call.
    """
    requests = activation.gradient("elu", grad_output, x, alpha)
    return gradients("grad.elu", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def sigmoid(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.sigmoid`: grad_output s (1 - s), s = sigmoid(x).

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("sigmoid", grad_output, x)
    return gradients("grad.sigmoid", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def tanh(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.tanh`: grad_output (1 - tanh(x)^2).

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("tanh", grad_output, x)
    return gradients("grad.tanh", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def silu(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.silu`: grad_output s (1 + x (1 - s)), s = sigmoid(x).

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("silu", grad_output, x)
    return gradients("grad.silu", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def hardswish(
    grad_output: Any,
    x: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.hardswish`: 0 up to -3, all from 3 on, (x / 3 + 1 / 2) of it between.

    The parameters are those of :func:`relu`.
    """
    requests = activation.gradient("hardswish", grad_output, x)
    return gradients("grad.hardswish", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def linear(
    grad_output: Any,
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the gradients of :func:`pyconv.linear`: ``grad_output w``, ``grad_output^T x`` and sums of grad_output.

    Parameters
    ----------
    grad_output : (..., c_out), the dtype of x
    x, w, bias : as in the forward call
    output_mask : (bool, bool, bool), optional
        Which of the gradients are wanted.
    out : (numpy.ndarray or None, ...), optional
        Where to put them; may overlap the inputs.
    algorithm : str or (str, str, str)
        "auto", a family or an id of :func:`pyconv.algorithms`, for all or for each.

    Returns
    -------
    gradients of x, w and bias
        None where not wanted, and for a bias that was not given.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, w = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])
    >>> pyconv.grad.linear(np.array([[1.0, 10.0]]), x, w)
    (array([[53., 64.]]), array([[ 1.,  2.],
           [10., 20.]]), None)
    """
    requests = linear_gradient(grad_output, x, w, bias)
    shape = as_array("x", x).shape
    outs = [None, None, None] if out is None else list(out) if isinstance(out, (tuple, list)) else [out]
    given = outs[0]
    if given is not None and given.__class__ is np.ndarray and given.shape == shape and len(shape) != 2:
        outs[0] = None  # computed as rows, and put there when all is done
    found = gradients("grad.linear", requests, output_mask, tuple(outs), algorithm)
    gx = found[0]
    if gx is not None and gx.shape != shape:
        gx = gx.reshape(shape)
        if given is not None:
            given[...] = gx
            gx = given
    return gx, found[1], found[2]


def batch_norm(
    grad_output: Any,
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None, None, None, Array | None, Array | None]:
    """Return the gradients of :func:`pyconv.batch_norm`, all in one pass after the sums that they share.

    Parameters
    ----------
    grad_output : (n, c, ...), the dtype of x
    x, running_mean, running_var, weight, bias, training, momentum, eps : as in the forward call
        With ``training=True`` the statistics are computed from x again; running_mean, running_var and the values of
        bias do not matter.
    output_mask : (bool, bool, bool, bool, bool), optional
        Which gradients are wanted, in the order of the result.
    out : (numpy.ndarray or None, ...), optional
        Where to put them, in the same order; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    gradients of x, running_mean, running_var, weight and bias
        None for the running statistics, where not wanted, and for a weight or a bias that was not given.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[1.0], [3.0]])
    >>> g = pyconv.grad.batch_norm(np.ones((2, 1)), x, np.zeros(1), np.ones(1), np.ones(1), np.ones(1), eps=0.0)
    >>> g[0].ravel(), g[3], g[4]
    (array([1., 1.]), array([4.]), array([2.]))
    """
    arguments = (grad_output, x, running_mean, running_var, weight, bias, training, momentum, eps)
    return norm.batch_norm_gradient(arguments, output_mask, out, algorithm)  # type: ignore[return-value]


def local_response_norm(
    grad_output: Any,
    x: Any,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.local_response_norm`.

    Parameters
    ----------
    grad_output : (n, c, ...), the shape and dtype of x
    x, size, alpha, beta, k : as in the forward call
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.local_response_norm(np.ones((1, 1, 1)), np.ones((1, 1, 1)), 1, alpha=1.0, beta=1.0)[0]
    array([[[0.]]])
    """
    requests = norm.response_gradient(grad_output, x, size, alpha, beta, k)
    return gradients("grad.local_response_norm", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def interpolate(
    grad_output: Any,
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    r"""Return the gradient of :func:`pyconv.interpolate`: each element's sum over the outputs that it went to.

    Parameters
    ----------
    grad_output : (n, c, \*size), the dtype of x
    x, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias : as in the forward call
        Only the shape and the dtype of x matter.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.interpolate(np.array([[[1.0, 2.0, 3.0, 4.0]]]), np.zeros((1, 1, 2)), scale_factor=2)[0]
    array([[[3., 7.]]])
    """
    requests = resize.interpolate_gradient(
        grad_output, x, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias
    )
    return gradients("grad.interpolate", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def roi_align(
    grad_output: Any,
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int | None = None,
    aligned: bool | None = None,
    *,
    mode: str = "avg",
    max_of: str = "interpolated",
    convention: str = "torchvision",
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.roi_align` with respect to x.

    A mean's goes to the pixels of all samples, by their weights. A maximum's goes to the sample, or the pixel, that is
    the maximum: the first of equal ones; nowhere where a sample outside the map, which is zero, is as large.

    Parameters
    ----------
    grad_output : (k, c, *output_size), the dtype of x
    x, boxes, output_size, spatial_scale, sampling_ratio, aligned, mode, max_of, convention : as in the forward call
        Of x only the shape, the dtype and the memory order matter, but for maxima.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family ("scatter", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Notes
    -----
    Each element is summed by one thread, box by box: the same bits for any number of threads, without atomics.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, boxes = np.zeros((1, 1, 2, 4), np.float32), np.array([[0, 0, 0, 4, 2]])
    >>> pyconv.grad.roi_align(np.ones((1, 1, 1, 1), np.float32), x, boxes, 1, sampling_ratio=2, aligned=True)[0]
    array([[[[0.125, 0.125, 0.125, 0.125],
             [0.125, 0.125, 0.125, 0.125]]]], dtype=float32)
    """
    requests = roi.align_gradient(
        2, grad_output, x, boxes, output_size, spatial_scale, sampling_ratio, aligned, mode=mode, max_of=max_of,
        convention=convention,
    )  # fmt: skip
    return gradients("grad.roi_align", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def roi_align3d(
    grad_output: Any,
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int | None = None,
    aligned: bool | None = None,
    *,
    mode: str = "avg",
    max_of: str = "interpolated",
    convention: str = "torchvision",
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.roi_align3d`; the parameters are those of :func:`roi_align`."""
    requests = roi.align_gradient(
        3, grad_output, x, boxes, output_size, spatial_scale, sampling_ratio, aligned, mode=mode, max_of=max_of,
        convention=convention,
    )  # fmt: skip
    return gradients("grad.roi_align3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def roi_pool(
    grad_output: Any,
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.roi_pool`: each element of grad_output to the maximum of its bin.

    Parameters
    ----------
    grad_output : (k, c, *output_size), the dtype of x
    x, boxes, output_size, spatial_scale : as in the forward call
        The maxima of x are looked for again: of equal ones the first, of several NaN the last.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family ("scatter", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, boxes = np.arange(8.0).reshape(1, 1, 2, 4), np.array([[0, 0, 0, 3, 1]])
    >>> pyconv.grad.roi_pool(np.ones((1, 1, 1, 2)), x, boxes, (1, 2))[0]
    array([[[[0., 0., 0., 0.],
             [0., 1., 0., 1.]]]])
    """
    requests = roi.pool_gradient("roi_pool", grad_output, x, boxes, output_size, spatial_scale)
    return gradients("grad.roi_pool", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def ps_roi_align(
    grad_output: Any,
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.ps_roi_align`; the parameters are those of :func:`roi_align`."""
    requests = roi.ps_align_gradient(grad_output, x, boxes, output_size, spatial_scale, sampling_ratio)
    return gradients("grad.ps_roi_align", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def ps_roi_pool(
    grad_output: Any,
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.ps_roi_pool`; the parameters are those of :func:`roi_align`."""
    requests = roi.pool_gradient("ps_roi_pool", grad_output, x, boxes, output_size, spatial_scale)
    return gradients("grad.ps_roi_pool", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def fpn_roi_align(
    grad_output: Any,
    features: Any,
    boxes: Any,
    output_size: Any,
    scales: Any,
    sampling_ratio: int | None = None,
    aligned: bool | None = None,
    *,
    mode: str = "avg",
    max_of: str = "interpolated",
    convention: str = "torchvision",
    canonical_size: float = 224,
    canonical_level: float = 4,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None, ...]:
    """Return the gradients of :func:`pyconv.fpn_roi_align`, one for each level.

    Parameters
    ----------
    grad_output : (k, c, *output_size), the dtype of the features
    features, boxes, output_size, scales, sampling_ratio, aligned, mode, max_of, convention : as in the forward call
        As in :func:`roi_align`.
    canonical_size, canonical_level : float
        As in the forward call.
    output_mask, out, algorithm : for all levels, or a tuple with an entry for each
        As in :func:`roi_align`.

    Returns
    -------
    tuple of (n, c, h, w), one a level
    """
    requests = roi.fpn_gradient(
        grad_output, features, boxes, output_size, scales, sampling_ratio, aligned, mode=mode, max_of=max_of,
        convention=convention, canonical_size=canonical_size, canonical_level=canonical_level,
    )  # fmt: skip
    return gradients("grad.fpn_roi_align", requests, output_mask, out, algorithm)


def _lp_pool(
    rank: int, grad_output: Any, x: Any, norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: bool,
    output_mask: Any, out: Any, algorithm: Any,
) -> tuple[Array | None]:  # fmt: skip
    """Return the gradient; for an infinite p that of the largest |x|, times the sign of x."""
    requests = pool.lp_gradient(rank, grad_output, x, norm_type, kernel_size, stride, ceil_mode)
    signs = np.sign(as_array("x", x)) if pool.norm_of(norm_type) == np.inf else None
    result = gradients(f"grad.lp_pool{rank}d", requests, output_mask, out, algorithm)
    if signs is not None and result[0] is not None:
        # (the sign of a NaN is NaN, and so is the norm that it gives)
        np.multiply(result[0], signs, out=result[0], where=result[0] != 0)
    return result  # type: ignore[return-value]


def lp_pool1d(
    grad_output: Any,
    x: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.lp_pool1d`; the parameters are those of :func:`lp_pool2d`."""
    return _lp_pool(1, grad_output, x, norm_type, kernel_size, stride, ceil_mode, output_mask, out, algorithm)


def lp_pool2d(
    grad_output: Any,
    x: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.lp_pool2d`: grad_output times ``(x / norm)^(p - 1)``, summed over windows.

    Parameters
    ----------
    grad_output : (n, c, h_out, w_out) or (c, h_out, w_out), the dtype of x
    x, norm_type, kernel_size, stride, ceil_mode : as in the forward call
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family ("spread", "reference") or an id of :func:`pyconv.algorithms`. With ``norm_type=inf`` it is one
        of :func:`max_pool2d`'s.

    Returns
    -------
    (gradient of x,)

    Notes
    -----
    A window whose norm is 0 has a gradient of 0, as in torch, and so has an element that is 0 where p is no integer.
    Where the norm is that of ``|x|`` the gradient is so too.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[3, 0, 0, 0], [4, 0, 0, 0]]]], dtype=np.float32)
    >>> pyconv.grad.lp_pool2d(np.ones((1, 1, 1, 2), np.float32), x, 2, 2)[0]
    array([[[[0.6, 0. , 0. , 0. ],
             [0.8, 0. , 0. , 0. ]]]], dtype=float32)
    """
    return _lp_pool(2, grad_output, x, norm_type, kernel_size, stride, ceil_mode, output_mask, out, algorithm)


def lp_pool3d(
    grad_output: Any,
    x: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.lp_pool3d`; the parameters are those of :func:`lp_pool2d`."""
    return _lp_pool(3, grad_output, x, norm_type, kernel_size, stride, ceil_mode, output_mask, out, algorithm)


def zero_unpool1d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    output_size: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.zero_unpool1d`; the parameters are those of :func:`zero_unpool2d`."""
    requests = pool.zero_gradient(1, grad_output, x, kernel_size, stride, output_size)
    return gradients("grad.zero_unpool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def zero_unpool2d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    output_size: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.zero_unpool2d`: what grad_output has at the windows' first corners.

    Parameters
    ----------
    grad_output : (n, c, h_out, w_out) or (c, h_out, w_out), the dtype of x
    x, kernel_size, stride, output_size : as in the forward call
        Only the shape of x matters.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`max_unpool2d`'s.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> g = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 4)
    >>> pyconv.grad.zero_unpool2d(g, np.zeros((1, 1, 1, 2), np.float32), 2)[0]
    array([[[[0., 2.]]]], dtype=float32)
    """
    requests = pool.zero_gradient(2, grad_output, x, kernel_size, stride, output_size)
    return gradients("grad.zero_unpool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def zero_unpool3d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    output_size: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.zero_unpool3d`; the parameters are those of :func:`zero_unpool2d`."""
    requests = pool.zero_gradient(3, grad_output, x, kernel_size, stride, output_size)
    return gradients("grad.zero_unpool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def _negative_slope_request(grad_output: Any, x: Any, negative_slope: Any = 0.01) -> Any:
    return activation.gradient("leaky_relu", grad_output, x, negative_slope)


def _alpha_request(grad_output: Any, x: Any, alpha: Any = 1.0) -> Any:
    return activation.gradient("elu", grad_output, x, alpha)


REQUESTS.update(
    {f: Explainable(partial(conv_grad.conv_gradients, rank), 4) for rank, f in enumerate((conv1d, conv2d, conv3d), 1)}
)
REQUESTS.update(
    {
        f: Explainable(partial(conv_grad.conv_transpose_gradients, rank), 4)
        for rank, f in enumerate((conv_transpose1d, conv_transpose2d, conv_transpose3d), 1)
    }
)
REQUESTS.update(
    {f: Explainable(partial(activation.gradient, f.__name__), 2) for f in (relu, relu6, sigmoid, tanh, silu, hardswish)}
)
REQUESTS.update(
    {
        leaky_relu: Explainable(_negative_slope_request, 2),
        elu: Explainable(_alpha_request, 2),
        linear: Explainable(linear_gradient, 4),
        batch_norm: Explainable(norm.explained_gradient, 6),
        local_response_norm: Explainable(norm.response_gradient, 2),
        interpolate: Explainable(resize.interpolate_gradient, 2),
        max_pool1d: Explainable(partial(pool.max_gradient, 1), 2),
        max_pool2d: Explainable(partial(pool.max_gradient, 2), 2),
        max_pool3d: Explainable(partial(pool.max_gradient, 3), 2),
        avg_pool1d: Explainable(partial(pool.avg_gradient, 1), 2),
        avg_pool2d: Explainable(partial(pool.avg_gradient, 2), 2),
        avg_pool3d: Explainable(partial(pool.avg_gradient, 3), 2),
        adaptive_avg_pool1d: Explainable(partial(pool.adaptive_gradient, "avg", 1), 2),
        adaptive_avg_pool2d: Explainable(partial(pool.adaptive_gradient, "avg", 2), 2),
        adaptive_avg_pool3d: Explainable(partial(pool.adaptive_gradient, "avg", 3), 2),
        adaptive_max_pool1d: Explainable(partial(pool.adaptive_gradient, "max", 1), 2),
        adaptive_max_pool2d: Explainable(partial(pool.adaptive_gradient, "max", 2), 2),
        adaptive_max_pool3d: Explainable(partial(pool.adaptive_gradient, "max", 3), 2),
        max_unpool1d: Explainable(partial(pool.unpool_gradient, 1), 3),
        max_unpool2d: Explainable(partial(pool.unpool_gradient, 2), 3),
        max_unpool3d: Explainable(partial(pool.unpool_gradient, 3), 3),
        roi_align: Explainable(partial(roi.align_gradient, 2), 3),
        roi_align3d: Explainable(partial(roi.align_gradient, 3), 3),
        roi_pool: Explainable(partial(roi.pool_gradient, "roi_pool"), 3),
        ps_roi_align: Explainable(roi.ps_align_gradient, 3),
        ps_roi_pool: Explainable(partial(roi.pool_gradient, "ps_roi_pool"), 3),
        lp_pool1d: Explainable(partial(pool.lp_gradient, 1), 2),
        lp_pool2d: Explainable(partial(pool.lp_gradient, 2), 2),
        lp_pool3d: Explainable(partial(pool.lp_gradient, 3), 2),
        zero_unpool1d: Explainable(partial(pool.zero_gradient, 1), 2),
        zero_unpool2d: Explainable(partial(pool.zero_gradient, 2), 2),
        zero_unpool3d: Explainable(partial(pool.zero_gradient, 3), 2),
    }
)
