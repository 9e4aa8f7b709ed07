"""Gradients of pooling boxes."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..algorithm import Array
from ..ops import roi
from ..ops.call import REQUESTS, Explainable, gradients


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


REQUESTS.update(
    {
        roi_align: Explainable(partial(roi.align_gradient, 2), 3),
        roi_align3d: Explainable(partial(roi.align_gradient, 3), 3),
        roi_pool: Explainable(partial(roi.pool_gradient, "roi_pool"), 3),
        ps_roi_align: Explainable(roi.ps_align_gradient, 3),
        ps_roi_pool: Explainable(partial(roi.pool_gradient, "ps_roi_pool"), 3),
    }
)
