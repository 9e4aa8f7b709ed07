"""Gradients of the moves between channels and pixels: each is the other move."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..algorithm import Array
from ..ops.call import REQUESTS, Explainable, gradients
from ..ops.shuffle import shuffle_gradient


def pixel_shuffle(
    grad_output: Any,
    x: Any,
    upscale_factor: int,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.pixel_shuffle`: grad_output with its pixels made into channels.

    Parameters
    ----------
    grad_output : (..., c, h r, w r), the dtype of x
    x, upscale_factor : as in the forward call
        Of x only the shape and the dtype matter; floats.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms` for pixel_unshuffle.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.pixel_shuffle(np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.zeros((4, 1, 1)), 2)[0].ravel()
    array([1., 2., 3., 4.])
    """
    requests = shuffle_gradient(False, grad_output, x, upscale_factor)
    return gradients("grad.pixel_shuffle", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def pixel_unshuffle(
    grad_output: Any,
    x: Any,
    downscale_factor: int,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.pixel_unshuffle`: grad_output with its channels made into pixels.

    Parameters
    ----------
    grad_output : (..., c r r, h, w), the dtype of x
    x, downscale_factor : as in the forward call
        Of x only the shape and the dtype matter; floats.
    output_mask, out, algorithm : as in :func:`pixel_shuffle`

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.pixel_unshuffle(np.arange(4.0).reshape(4, 1, 1), np.zeros((1, 2, 2)), 2)[0]
    array([[[0., 1.],
            [2., 3.]]])
    """
    requests = shuffle_gradient(True, grad_output, x, downscale_factor)
    return gradients("grad.pixel_unshuffle", requests, output_mask, out, algorithm)  # type: ignore[return-value]


REQUESTS.update(
    {
        pixel_shuffle: Explainable(partial(shuffle_gradient, False), 2),
        pixel_unshuffle: Explainable(partial(shuffle_gradient, True), 2),
    }
)
