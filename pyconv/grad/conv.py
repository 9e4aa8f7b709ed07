"""Gradients of convolutions and of transposed convolutions."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..algorithm import Array
from ..ops import conv, conv_grad, conv_transpose
from ..ops.call import REQUESTS, Explainable, gradients

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


REQUESTS.update(
    {f: Explainable(partial(conv_grad.conv_gradients, rank), 4) for rank, f in enumerate((conv1d, conv2d, conv3d), 1)}
)
REQUESTS.update(
    {
        f: Explainable(partial(conv_grad.conv_transpose_gradients, rank), 4)
        for rank, f in enumerate((conv_transpose1d, conv_transpose2d, conv_transpose3d), 1)
    }
)
