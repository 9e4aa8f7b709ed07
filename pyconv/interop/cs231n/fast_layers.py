"""The course's ``fast_layers``: convolution and max pooling, each with a cache for its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyconv

from ...algorithm import Array
from ...errors import InvalidProblem

__all__ = [
    "conv_backward_fast",
    "conv_backward_im2col",
    "conv_backward_strides",
    "conv_forward_fast",
    "conv_forward_im2col",
    "conv_forward_strides",
    "max_pool_backward_fast",
    "max_pool_backward_im2col",
    "max_pool_backward_reshape",
    "max_pool_forward_fast",
    "max_pool_forward_im2col",
    "max_pool_forward_reshape",
]

Cache = tuple[Any, ...]


def _check_tiling(size: int, field: int, stride: int, pad: int, axis: str) -> None:
    """Refuse windows that do not end where the padded image ends, as the course's assertions do."""
    if (size + 2 * pad - field) % stride:
        raise InvalidProblem(
            f"the windows do not tile the {axis} of {size}: ({size} + 2 * {pad} - {field}) is no multiple of the "
            f"stride {stride}; change pad or stride"
        )


def conv_forward_fast(x: Array, w: Array, b: Array, conv_param: Mapping[str, int]) -> tuple[Array, Cache]:
    """Return ``out[n, f, i, j] = b[f] + sum over c, p, q of w[f, c, p, q] x[n, c, s i + p - pad, s j + q - pad]``.

    Parameters
    ----------
    x : (N, C, H, W) float32 or float64
    w : (F, C, HH, WW)
    b : (F,)
    conv_param : mapping
        ``"stride"`` and ``"pad"``, one number for both axes.

    Returns
    -------
    out : (N, F, H', W')
        H' = 1 + (H + 2 pad - HH) / stride.
    cache : tuple
        For :func:`conv_backward_fast`.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, b = np.ones((1, 3, 4, 4)), np.ones((2, 3, 3, 3)), np.zeros(2)
    >>> out, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 1})
    >>> out[0, 0, :2]
    array([[12., 18., 18., 12.],
           [18., 27., 27., 18.]])
    """
    stride, pad = conv_param["stride"], conv_param["pad"]
    for axis, name in ((2, "height"), (3, "width")):
        _check_tiling(x.shape[axis], w.shape[axis], stride, pad, name)
    return pyconv.conv2d(x, w, b, stride=stride, padding=pad), (x, w, b, stride, pad)


def conv_backward_fast(dout: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Return the gradients of x, w and b.

    Parameters
    ----------
    dout : (N, F, H', W')
    cache : tuple
        Of :func:`conv_forward_fast`.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, b = np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), np.zeros(1)
    >>> out, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 1})
    >>> dx, dw, db = conv_backward_fast(np.ones_like(out), cache)
    >>> db
    array([9.])
    """
    x, w, b, stride, pad = cache
    dx, dw, db = pyconv.grad.conv2d(dout, x, w, b, stride=stride, padding=pad)
    assert dx is not None
    assert dw is not None
    assert db is not None
    return dx, dw, db


def max_pool_forward_fast(x: Array, pool_param: Mapping[str, int]) -> tuple[Array, Cache]:
    """Return the maximum of each window.

    Parameters
    ----------
    x : (N, C, H, W) float32 or float64
    pool_param : mapping
        ``"pool_height"``, ``"pool_width"`` and ``"stride"``.

    Returns
    -------
    out : (N, C, H', W')
        H' = 1 + (H - pool_height) / stride.
    cache : tuple
        For :func:`max_pool_backward_fast`.

    Examples
    --------
    >>> import numpy as np
    >>> max_pool_forward_fast(np.arange(4.0).reshape(1, 1, 2, 2), {"pool_height": 2, "pool_width": 2, "stride": 2})[0]
    array([[[[3.]]]])
    """
    field, stride = (pool_param["pool_height"], pool_param["pool_width"]), pool_param["stride"]
    out, indices = pyconv.max_pool2d(x, field, stride, return_indices=True)
    return out, (x, indices, field, stride)


def max_pool_backward_fast(dout: Array, cache: Cache) -> Array:
    """Return the gradient of x.

    Parameters
    ----------
    dout : (N, C, H', W')
    cache : tuple
        Of :func:`max_pool_forward_fast`.

    Examples
    --------
    >>> import numpy as np
    >>> out, cache = max_pool_forward_fast(np.ones((1, 1, 2, 2)), {"pool_height": 2, "pool_width": 2, "stride": 2})
    >>> max_pool_backward_fast(out, cache)
    array([[[[1., 0.],
             [0., 0.]]]])
    """
    x, indices, field, stride = cache
    (dx,) = pyconv.grad.max_pool2d(dout, x, field, stride, indices=indices)
    assert dx is not None
    return dx


conv_forward_im2col = conv_forward_strides = conv_forward_fast
conv_backward_im2col = conv_backward_strides = conv_backward_fast
max_pool_forward_im2col = max_pool_forward_reshape = max_pool_forward_fast
max_pool_backward_im2col = max_pool_backward_reshape = max_pool_backward_fast
