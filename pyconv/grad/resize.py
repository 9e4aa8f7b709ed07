"""Gradients of interpolation."""

from __future__ import annotations

from typing import Any

from ..algorithm import Array
from ..ops import interpolate as resize
from ..ops.call import REQUESTS, Explainable, gradients


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
    r"""Return the gradient of :func:`pyconv.interpolate`: each element's sum over the outputs that it is a part of.

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
    >>> pyconv.grad.interpolate(np.ones((1, 1, 5)), np.zeros((1, 1, 3)), 5, mode="linear", align_corners=True)[0]
    array([[[1.5, 2. , 1.5]]])
    """
    requests = resize.interpolate_gradient(
        grad_output, x, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias
    )
    return gradients("grad.interpolate", requests, output_mask, out, algorithm)  # type: ignore[return-value]


REQUESTS.update(
    {
        interpolate: Explainable(resize.interpolate_gradient, 2),
    }
)
