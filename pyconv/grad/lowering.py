"""Gradients of unfold and fold: each is the other."""

from __future__ import annotations

from typing import Any

from ..algorithm import Array
from ..ops import lowering
from ..ops.call import REQUESTS, Explainable, gradients


def unfold(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    r"""Return the gradient of :func:`pyconv.unfold`: :func:`pyconv.fold` of grad_output, planned as such.

    Parameters
    ----------
    grad_output : (n, c \* kh \* kw, h_out \* w_out), the dtype of x
    x, kernel_size, dilation, padding, stride : as in the forward call
        Only the shape, the dtype and the memory order of x matter.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`, of "fold".

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.zeros((1, 1, 2, 3))
    >>> pyconv.grad.unfold(np.ones((1, 4, 2)), x, 2)[0]
    array([[[[1., 2., 1.],
             [1., 2., 1.]]]])
    """
    requests = lowering.unfold_gradient(grad_output, x, kernel_size, dilation, padding, stride)
    return gradients("grad.unfold", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def fold(
    grad_output: Any,
    x: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    r"""Return the gradient of :func:`pyconv.fold`: :func:`pyconv.unfold` of grad_output, planned as such.

    Parameters
    ----------
    grad_output : (n, c, \*output_size), the dtype of x
    x, output_size, kernel_size, dilation, padding, stride : as in the forward call
        Only the shape and the dtype of x matter.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`, of "unfold".

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> grad_output = np.arange(6.0).reshape(1, 1, 2, 3)
    >>> pyconv.grad.fold(grad_output, np.zeros((1, 4, 2)), (2, 3), 2)[0]
    array([[[0., 1.],
            [1., 2.],
            [3., 4.],
            [4., 5.]]])
    """
    requests = lowering.fold_gradient(grad_output, x, output_size, kernel_size, dilation, padding, stride)
    return gradients("grad.fold", requests, output_mask, out, algorithm)  # type: ignore[return-value]


REQUESTS.update(
    {
        unfold: Explainable(lowering.unfold_gradient, 2),
        fold: Explainable(lowering.fold_gradient, 2),
    }
)
