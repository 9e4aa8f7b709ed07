"""Gradients of deformable convolution."""

from __future__ import annotations

from typing import Any

from ..algorithm import Array
from ..ops.call import REQUESTS, gradients
from ..ops.deform import EXPLAINED_GRADIENT, deform_gradient


def deform_conv2d(
    grad_output: Any,
    x: Any,
    offset: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    mask: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None, ...]:
    """Return the gradients of :func:`pyconv.deform_conv2d` with respect to x, offset, w, bias and mask.

    Parameters
    ----------
    grad_output : (n, c_out, h_out, w_out), the dtype of x
    x, offset, w, bias, stride, padding, dilation, mask : as in the forward call
    output_mask : (bool, bool, bool, bool, bool), optional
        Which of the gradients are wanted, in the order of the result.
    out : (numpy.ndarray or None, ...), optional
        Where to put them; may overlap the inputs.
    algorithm : str or tuple of str
        "auto", a family ("scatter" for x, "slopes" for offset and mask, "outer" for w, "reference") or an id of
        :func:`pyconv.algorithms`, for all or for each.

    Returns
    -------
    gradients of x, offset, w, bias and mask
        None where not wanted, and for a bias or a mask that was not given.

    Notes
    -----
    Between pixels bilinear interpolation has one slope; where a sample lies on a pixel the slope is that towards larger
    places, as in torchvision, on the edge of the outside too. A sample outside, or with an offset that is NaN, has
    gradients of zero. Each gradient is an operation of its own, but those of offset and mask are computed together; all
    have the same bits for any number of threads, without atomics.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, w = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 1, 1))
    >>> offset, g = np.full((1, 2, 3, 3), 0.5), np.zeros((1, 1, 3, 3))
    >>> g[0, 0, 0, 0] = 4
    >>> gx, go, gw, gb, gm = pyconv.grad.deform_conv2d(g, x, offset, w)
    >>> gx[0, 0].astype(int).tolist(), go[0, :, 0, 0], gw.ravel(), gb, gm
    ([[1, 1, 0], [1, 1, 0], [0, 0, 0]], array([12.,  4.]), array([8.]), None, None)
    """
    *requests, both = deform_gradient(grad_output, x, offset, w, bias, stride, padding, dilation, mask)
    joined: dict[tuple[int, ...], Any] = {} if both is None else {(1, 4): both}
    return gradients("grad.deform_conv2d", requests, output_mask, out, algorithm, joined)


REQUESTS[deform_conv2d] = EXPLAINED_GRADIENT
