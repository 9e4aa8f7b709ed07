"""Gradients of pooling and un-pooling."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..algorithm import Array
from ..ops import pool
from ..ops.activation import activation_gradient
from ..ops.arguments import as_array, as_array_anywhere
from ..ops.call import REQUESTS, Explainable, gradients
from ..ops.device import DeviceArray


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


def _signed(grad: Any, x: Any, magnitudes: Any, out: Any) -> Array:
    """Return a gradient in GPU memory times the sign of x, by the slopes of activations.

    elu's with an alpha of 0 is 1 above zero, 0 at zero, and no number where |x| is none; leaky_relu's is 1 or -1.
    """
    return activation_gradient(activation_gradient(grad, magnitudes, "elu", 0.0), x, "leaky_relu", -1.0, out=out)


def _lp_pool(
    rank: int, grad_output: Any, x: Any, norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: bool,
    output_mask: Any, out: Any, algorithm: Any,
) -> tuple[Array | None]:  # fmt: skip
    """Return the gradient; for an infinite p that of the largest |x|, times the sign of x."""
    requests = pool.lp_gradient(rank, grad_output, x, norm_type, kernel_size, stride, ceil_mode)
    name, x = f"grad.lp_pool{rank}d", as_array_anywhere("x", x)
    infinite = pool.norm_of(norm_type) == np.inf
    if infinite and isinstance(x, DeviceArray):
        (target,) = out if isinstance(out, (tuple, list)) else (out,)
        (found,) = gradients(name, requests, output_mask, None, algorithm)
        return (None if found is None else _signed(found, x, requests[0].inputs[1], target),)
    signs = np.sign(x) if infinite else None
    result = gradients(name, requests, output_mask, out, algorithm)
    if signs is not None and result[0] is not None:
        # (the sign of a NaN is NaN, and so is the norm that it gives)
        largest = as_array("out", result[0])
        np.multiply(largest, signs, out=largest, where=largest != 0)
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


REQUESTS.update(
    {
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
        lp_pool1d: Explainable(partial(pool.lp_gradient, 1), 2),
        lp_pool2d: Explainable(partial(pool.lp_gradient, 2), 2),
        lp_pool3d: Explainable(partial(pool.lp_gradient, 3), 2),
        zero_unpool1d: Explainable(partial(pool.zero_gradient, 1), 2),
        zero_unpool2d: Explainable(partial(pool.zero_gradient, 2), 2),
        zero_unpool3d: Explainable(partial(pool.zero_gradient, 3), 2),
    }
)
