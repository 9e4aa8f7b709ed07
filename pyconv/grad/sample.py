"""Gradients of sampling at places, and of affine grids."""

from __future__ import annotations

from typing import Any

from ..algorithm import Array
from ..ops import sample
from ..ops.call import REQUESTS, Explainable, gradients


def grid_sample(
    grad_output: Any,
    x: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None, Array | None]:
    """Return the gradients of :func:`pyconv.grid_sample` with respect to x and grid.

    Parameters
    ----------
    grad_output : (n, c, h_out, w_out) or (n, c, d_out, h_out, w_out), the dtype of x
    x, grid, mode, padding_mode, align_corners : as in the forward call
    output_mask : (bool, bool), optional
        Which gradients are wanted; both by default.
    out : (numpy.ndarray or None, numpy.ndarray or None), optional
        Where to put them; may overlap the inputs.
    algorithm : str or (str, str)
        "auto", a family or an id of :func:`pyconv.algorithms`, for both or each.

    Returns
    -------
    (gradient of x, gradient of grid), None for one that was not asked for. That of the grid is zero for the mode
    "nearest", and along an axis where "border" or "reflection" cut the place.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, grid = np.array([[[[1.0, 5.0]]]]), np.zeros((1, 1, 1, 2))
    >>> gx, ggrid = pyconv.grad.grid_sample(np.ones((1, 1, 1, 1)), x, grid)
    >>> gx, ggrid
    (array([[[[0.5, 0.5]]]]), array([[[[ 4. , -1.5]]]]))
    """
    requests = sample.grid_sample_gradient(grad_output, x, grid, mode, padding_mode, align_corners)
    return gradients("grad.grid_sample", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def affine_grid(
    grad_output: Any,
    theta: Any,
    size: Any,
    align_corners: bool | None = False,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.affine_grid` with respect to theta.

    Parameters
    ----------
    grad_output : (n, h, w, 2) or (n, d, h, w, 3), the dtype of theta
    theta, size, align_corners : as in the forward call
        Only the shape and the dtype of theta matter.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap grad_output.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of theta,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.affine_grid(np.ones((1, 1, 2, 2)), np.zeros((1, 2, 3)), (1, 1, 1, 2))[0]
    array([[[0., 0., 2.],
            [0., 0., 2.]]])
    """
    requests = sample.affine_grid_gradient(grad_output, theta, size, align_corners)
    return gradients("grad.affine_grid", requests, output_mask, out, algorithm)  # type: ignore[return-value]


REQUESTS.update(
    {
        grid_sample: Explainable(sample.grid_sample_gradient, 3),
        affine_grid: Explainable(sample.affine_grid_gradient, 2),
    }
)
